//! The domain: jobs, their states, and the words of an upload. Pure: no clock, no disk, no network, no database, no runtime.

pub mod attempt;
pub(crate) mod believed;
pub(crate) mod content_type;
pub(crate) mod delivery;
pub(crate) mod digest;
pub(crate) mod event;
pub(crate) mod flow;
pub mod health;
pub(crate) mod identity;
pub(crate) mod network;
pub(crate) mod outage;
pub mod plan;
pub(crate) mod proof;
pub mod reason;
pub(crate) mod release;
pub(crate) mod remote_path;
pub(crate) mod report;
pub(crate) mod share;
pub(crate) mod state;
pub mod upload;
pub(crate) mod verdict;
pub mod watch;
pub(crate) mod watch_report;

pub(crate) use delivery::{Delivery, DeliveryId};
pub(crate) use event::Event;
pub use identity::Identity;
pub(crate) use proof::Proof;
pub use reason::{Reason, ReasonClass, Step};
pub(crate) use report::HostReport;
pub use report::{HostRow, JobId, JobRow};
pub use state::State;
pub(crate) use watch::Watch;
pub use watch::Watches;
pub use watch_report::{WatchReport, WatchState};
