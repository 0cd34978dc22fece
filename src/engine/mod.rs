//! The only place where the queue and the hosts meet: builds the tasks, names them, and stops them in order.

pub mod bandwidth;
pub mod dispatch;
pub mod live;
pub mod phase;
pub mod source;
pub mod upload;
