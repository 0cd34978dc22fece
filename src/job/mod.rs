//! The domain: jobs, their states, and the words of an upload. Pure: no clock, no disk, no network, no database, no runtime.

pub mod attempt;
pub mod believed;
pub mod content_type;
pub mod delivery;
pub mod digest;
pub mod event;
pub mod health;
pub mod identity;
pub mod plan;
pub mod proof;
pub mod reason;
pub mod release;
pub mod remote_path;
pub mod report;
pub mod share;
pub mod state;
pub mod upload;
pub mod verdict;
pub mod watch;
pub mod watch_report;

pub use delivery::{Delivery, DeliveryId};
pub use event::Event;
pub use identity::Identity;
pub use proof::Proof;
pub use reason::{Reason, ReasonClass, Step};
pub use report::{HostReport, HostRow, JobId, JobRow};
pub use state::State;
pub use watch::{Watch, Watches};
pub use watch_report::{WatchReport, WatchState};
