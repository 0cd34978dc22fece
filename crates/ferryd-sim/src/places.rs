//! Where things are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The folder that users put files into.
pub(crate) const DROP: &str = "/drop";
/// Where files go that are moved.
pub(crate) const SENT: &str = "/sent";
/// Where users make what they move into the watch.
pub(crate) const ELSEWHERE: &str = "/elsewhere";
/// What follows the name of a file in that of its marker.
pub(crate) const MARKER: &str = ".done";
/// Where the hosts believe to be.
pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
