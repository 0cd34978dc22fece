//! The domain: jobs, their states, and the words of an upload. Pure: no clock, no disk, no network, no database, no runtime.

pub mod believed;
pub mod identity;
pub mod plan;
pub mod share;
pub mod state;
pub mod upload;
pub mod verdict;

pub use identity::Identity;
pub use state::State;
