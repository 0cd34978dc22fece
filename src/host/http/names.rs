//! Names that must not lead into a private network.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::super::address;

/// A name that leads to a private network only.
#[derive(Debug, thiserror::Error)]
#[error("the host gave an upload address in a private network; set `allow_private = true` to allow that")]
pub(super) struct PrivateName;

/// Names, but not those of private networks.
pub(super) struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| address::is_public(at.ip())).collect();
            if public.is_empty() { Err(PrivateName.into()) } else { Ok(Box::new(public.into_iter()) as Addrs) }
        })
    }
}
