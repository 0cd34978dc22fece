//! The transport: the one user of reqwest (and of hyper, in a simulator). Sends a request, watches that bytes keep moving, reads a
//! bounded reply, and says in the words of `job` what a status or a broken connection means where a protocol's own page says
//! nothing else.

mod ahead;
mod body;
mod clients;
mod connected;
mod failure;
mod headers;
mod names;
mod page;
mod reply;
mod request;
#[cfg(feature = "simulator")]
mod simulated;
#[cfg(test)]
mod tests;
mod transport;

pub use clients::{Clients, Settings};
pub use connected::Proxy;
pub use headers::Headers;
pub use reply::Reply;
pub(super) use reply::parse_retry_after;
pub use request::Request;
#[cfg(feature = "simulator")]
pub use simulated::{Connecting, Connector, Destination, Stream};
pub use transport::Transport;
