//! The client.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Response};
use tokio::task::JoinSet;
use url::{Position, Url};

use super::super::error::HostError;
use super::super::form::Form;
use super::body::{Around, Meter, watched};
use super::connected::Connected;
use super::failure::lost;
use super::reply::{Reply, read_reply};
use super::request::{Payload, Request};
#[cfg(feature = "simulator")]
use super::simulated::Network;
use crate::job::upload::Class;
use crate::os::chance::Chance;
use crate::os::clock::Clock;
use crate::os::system::System;

/// How many redirections of a call are followed (`docs/protocols/README.md`, section 2).
const REDIRECTS_MAX: usize = 5;

/// What we say of ourselves where nobody wants otherwise.
const USER_AGENT: &str = concat!("ferryd/", env!("CARGO_PKG_VERSION"));

/// A client with its connections, and how it is used. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    connected: Arc<Connected>,
    #[cfg(feature = "simulator")]
    network: Option<Arc<Network>>,
    idle: Duration,
    user_agent: Option<Arc<str>>,
    is_through_proxy: bool,
    clock: Clock,
    chance: Chance,
}

impl Transport {
    pub(super) fn of(
        connected: Arc<Connected>,
        system: &System,
        idle: Duration,
        user_agent: Option<&str>,
        is_through_proxy: bool,
    ) -> Transport {
        let (clock, chance) = (system.clock.clone(), system.chance.clone());
        Transport {
            connected,
            #[cfg(feature = "simulator")]
            network: None,
            idle,
            user_agent: user_agent.map(Arc::from),
            is_through_proxy,
            clock,
            chance,
        }
    }

    /// The same over the connections of a simulator.
    #[cfg(feature = "simulator")]
    pub(super) fn on(self, network: &Arc<Network>) -> Transport {
        Transport { network: Some(network.clone()), ..self }
    }

    #[cfg(test)]
    pub(super) fn shares_client_with(&self, other: &Transport) -> bool {
        Arc::ptr_eq(&self.connected, &other.connected)
    }

    /// The time by which replies are read.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Random numbers.
    pub fn chance(&self) -> &Chance {
        &self.chance
    }

    /// An empty form with a boundary nobody can guess, so that no file can hold it.
    pub fn form(&self) -> Form {
        let boundary: String = self.chance.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        Form::with_boundary(format!("ferryd-{boundary}"))
    }

    /// Makes connections to the place where requests to `url` go, for `files` files to come, so that no more than `most` wait. None is made
    /// where a request was answered a short while ago, whose connection waits for the next. One that is not used for 10 seconds is
    /// closed.
    ///
    /// # Errors
    /// Those of a request that gets no connection.
    pub async fn open_ahead(&self, url: &str, files: usize, most: usize) -> Result<(), HostError> {
        let url = Url::parse(url).map_err(|_| unusable_address())?;
        #[cfg(feature = "simulator")]
        if let Some(network) = &self.network {
            return network.connect_ahead(&url, files, most).await;
        }
        let Some(opener) = self.connected.opener() else { return Ok(()) };
        let mut opening = JoinSet::new();
        for making in self.connected.ahead.begin(&url, files, most) {
            opening.spawn(making.by(opener.get(url.clone()).send()));
        }
        while let Some(opened) = opening.join_next().await {
            opened.unwrap_or(Ok(())).map_err(|error| self.lost(error))?;
        }
        Ok(())
    }

    /// Sends a request and reads its reply, whatever its status.
    pub async fn send(&self, request: Request<'_>) -> Result<Reply, HostError> {
        let mut url = Url::parse(request.url).map_err(|_| unusable_address())?;
        if request.exact && target(request.url) != url[Position::BeforePath..] {
            return Err(HostError::new(Class::Unreadable, "the host gave an address that cannot be used as it is"));
        }
        for _ in 0..REDIRECTS_MAX {
            let reply = self.send_once(&request, url.clone()).await?;
            let target = reply.header("location").filter(|_| request.follows && matches!(reply.status, 307 | 308));
            let next = target.and_then(|target| url.join(target).ok()).filter(|next| same_host(next, &url));
            match next {
                Some(next) => url = next,
                None => return Ok(reply.without(&request.secrets)),
            }
        }
        Err(HostError::new(Class::Unreadable, "the host redirects in circles").worsening_to(Class::HostRefused))
    }

    async fn send_once(&self, request: &Request<'_>, url: Url) -> Result<Reply, HostError> {
        let meter = Arc::new(Meter::default());
        let method = request.method.clone().ok_or_else(|| HostError::new(Class::Unreadable, "the request has no valid method"))?;
        let may_have_no_length = matches!(method, Method::GET | Method::HEAD | Method::DELETE);
        let mut builder = self.connected.client.request(method, url).header("user-agent", self.user_agent());
        for (name, value) in &request.headers {
            builder = builder.header(name.as_ref(), value);
        }
        builder = match &request.body {
            Payload::Nothing if may_have_no_length => builder,
            Payload::Nothing => builder.header("content-length", "0"),
            Payload::Text(text) => builder.body(text.clone()),
            Payload::Around { head, file, tail } => {
                let body = Around::new(head.clone(), *file, tail.clone(), meter.clone());
                // An empty body has no length of its own to announce.
                if body.left == 0 { builder.header("content-length", "0") } else { builder.body(reqwest::Body::wrap(body)) }
            }
        };
        let ready = builder.build().map_err(|error| self.lost(error))?;
        let exchange = async {
            let response = self.execute(ready).await?;
            read_reply(response, &meter, request, self.clock.now_ms()).await
        };
        watched(exchange, &meter, self.idle.max(request.patience)).await
    }

    async fn execute(&self, request: reqwest::Request) -> Result<Response, HostError> {
        #[cfg(feature = "simulator")]
        if let Some(network) = &self.network {
            return network.execute(request).await;
        }
        let Connected { client, ahead, .. } = &*self.connected;
        let url = request.url().clone();
        ahead.send(&url, client.execute(request)).await.map_err(|error| self.lost(error))
    }

    fn user_agent(&self) -> &str {
        self.user_agent.as_deref().unwrap_or(USER_AGENT)
    }

    fn lost(&self, error: reqwest::Error) -> HostError {
        lost(error, self.is_through_proxy)
    }

    /// Fetches what is at `url`, and hands it to `each` as it comes.
    pub async fn fetch(&self, url: &str, mut each: impl FnMut(&[u8])) -> Result<(), HostError> {
        let request = self.connected.client.get(url).header("user-agent", self.user_agent());
        let mut response = self.execute(request.build().map_err(|error| self.lost(error))?).await?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(HostError::new(Class::Transient, format!("the host answered {status}")).with_status(status));
        }
        while let Some(frame) =
            tokio::time::timeout(self.idle, response.chunk()).await.unwrap_or(Ok(None)).map_err(|error| self.lost(error))?
        {
            each(&frame);
        }
        Ok(())
    }
}

/// What of an address goes into the first line of a request, as it is written.
fn target(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn unusable_address() -> HostError {
    HostError::new(Class::Unreadable, "the host gave an invalid address")
}

fn same_host(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_says_the_same_otherwise_is_taken() {
        let leaves = |address: &str| target(address) == Url::parse(address).unwrap()[Position::BeforePath..];
        assert!(
            leaves("https://s.example:443/o?a=%2F&b=c+d") && leaves("http://DC7.example:80?sid=1") && leaves("https://s.example")
        );
        assert!(!leaves("https://s.example/a/../b") && !leaves("https://s.example/a b"));
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_says_so_to_whoever_asks_for_the_cause() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let transport = Transport::new(&System::default(), Duration::from_secs(5)).unwrap();
        let url = format!("http://127.0.0.1:{port}/?token=hush");
        let error = transport.send(Request::get(&url)).await.unwrap_err();
        let causes = || std::iter::successors(std::error::Error::source(&error), |cause| (*cause).source());
        let kinds = causes().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        assert!(kinds.into_iter().any(|kind| kind == std::io::ErrorKind::ConnectionRefused), "{error:?}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}
