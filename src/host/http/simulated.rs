//! Requests that travel without a socket and without a thread: on streams that a simulator makes. Everything but the connections is
//! that of the network: requests and replies are those of reqwest, and HTTP is hyper's.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, HOST, HeaderValue};
use hyper::{Uri, http};
use hyper_util::rt::TokioIo;
use reqwest::{Body, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::{Position, Url};

use super::super::error::HostError;
use super::connected::Connected;
use super::failure::{self, Stage};

/// A connection, as its user sees it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection on its way. An error says why there is none, as a socket would: `ConnectionRefused`, `HostUnreachable` and the
/// like.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = std::io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes connections in place of the machine's network. What the other end speaks is HTTP, also where the scheme is `https`.
pub trait Connector: Send + Sync {
    /// Connects. One that is not there within 15 seconds is given up.
    fn connect(&self, to: &Destination) -> Connecting<'_>;

    /// Whether a connection may carry a further request, for half a minute after the last one. Otherwise each carries one.
    fn keeps_connections(&self) -> bool {
        true
    }
}

/// Where a connection leads. Names are whoever's who makes the connection; none is looked up before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// Whether the address says `https`.
    pub is_secure: bool,
    /// A name or an address, as it is written.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Destination {
    fn of(url: &Url) -> Option<Destination> {
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Destination { is_secure, host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }
}

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
#[error("error sending request")]
struct Broken(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A network that a [`Connector`] makes up.
pub(super) struct Network {
    connector: Arc<dyn Connector>,
    idle: Arc<Mutex<Idle>>,
    /// How long a connection may take to be made.
    connect_timeout: Duration,
    /// How long a connection nobody uses is kept.
    keep_idle: Duration,
    /// Builds requests, and connects to nobody.
    pub(super) client: Arc<Connected>,
}

/// Connections nobody uses just now.
type Idle = BTreeMap<Destination, Vec<Kept>>;

/// A connection nobody uses just now.
struct Kept {
    sender: SendRequest<Body>,
    since: Instant,
    /// Whether it has carried no request yet: one that is not sent on it is not repeated by itself.
    is_fresh: bool,
}

impl Network {
    pub(super) fn new(connector: Arc<dyn Connector>, client: Connected, connect_timeout: Duration, keep_idle: Duration) -> Network {
        Network { connector, idle: Arc::default(), connect_timeout, keep_idle, client: Arc::new(client) }
    }

    /// Sends a request, and answers when the head of the reply is there.
    pub(super) async fn execute(&self, request: reqwest::Request) -> Result<Response, HostError> {
        let to = Destination::of(request.url()).ok_or_else(|| self.broken(None, Stage::Built, "not an address of HTTP"))?;
        let mut request = on_the_wire(request).map_err(|error| self.broken(Some(&to), Stage::Built, error))?;
        loop {
            let (mut sender, is_fresh) = match self.kept(&to) {
                Some(Kept { sender, is_fresh, .. }) => (sender, is_fresh),
                None => (self.connect(&to).await?, true),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(to, sender, false);
                    return Ok(Response::from(response.map(Body::wrap)));
                }
                Err(mut failed) => match failed.take_message() {
                    // The other end had closed the connection before anything of this request was on it.
                    Some(unsent) if !is_fresh => request = unsent,
                    _ => return Err(self.broken(Some(&to), Stage::Sent, failed.into_error())),
                },
            }
        }
    }

    /// Connects for `files` files to come, so that no more than `most` connections wait.
    pub(super) async fn connect_ahead(&self, url: &Url, files: usize, most: usize) -> Result<(), HostError> {
        let Some(to) = Destination::of(url).filter(|_| self.connector.keeps_connections()) else { return Ok(()) };
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            forget_old(&mut idle, self.keep_idle);
            idle.get(&to).map_or(0, Vec::len)
        };
        for _ in 0..files.min(most.saturating_sub(kept)) {
            let sender = self.connect(&to).await?;
            self.keep(to.clone(), sender, true);
        }
        Ok(())
    }

    async fn connect(&self, to: &Destination) -> Result<SendRequest<Body>, HostError> {
        let connecting = tokio::time::timeout(self.connect_timeout, self.connector.connect(to));
        let connected = connecting.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| self.broken(Some(to), Stage::Connected, error))?;
        let shaken = Builder::new().title_case_headers(true).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.broken(Some(to), Stage::Connected, error))?;
        // What ends the connection is told to whoever waits for a reply on it.
        tokio::spawn(connection);
        sender.ready().await.map_err(|error| self.broken(Some(to), Stage::Sent, error))?;
        Ok(sender)
    }

    fn kept(&self, to: &Destination) -> Option<Kept> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut idle, self.keep_idle);
        idle.get_mut(to)?.pop()
    }

    /// Keeps a connection for the next request, once the reply to the last one has been read.
    fn keep(&self, to: Destination, mut sender: SendRequest<Body>, is_fresh: bool) {
        if !self.connector.keeps_connections() {
            return;
        }
        let (all, keep_idle) = (Arc::downgrade(&self.idle), self.keep_idle);
        tokio::spawn(async move {
            if sender.ready().await.is_err() {
                return;
            }
            let Some(idle) = all.upgrade() else { return };
            idle.lock().unwrap_or_else(PoisonError::into_inner).entry(to).or_default().push(Kept {
                sender,
                since: Instant::now(),
                is_fresh,
            });
            drop(idle);
            tokio::time::sleep(keep_idle).await;
            if let Some(idle) = all.upgrade() {
                forget_old(&mut idle.lock().unwrap_or_else(PoisonError::into_inner), keep_idle);
            }
        });
    }

    fn broken(
        &self,
        to: Option<&Destination>,
        stage: Stage,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> HostError {
        let at = to.map(|to| (to.host.clone(), to.port));
        failure::failed(at, stage, Broken(error.into()), false)
    }
}

fn forget_old(idle: &mut Idle, keep_idle: Duration) {
    for senders in idle.values_mut() {
        senders.retain(|kept| kept.since.elapsed() < keep_idle && !kept.sender.is_closed());
    }
}

/// The request as it goes over a connection to its host.
fn on_the_wire(request: reqwest::Request) -> Result<http::Request<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let target: Uri = request.url()[Position::BeforePath..Position::AfterQuery].parse()?;
    // Without the name and password that an address may have.
    let host = HeaderValue::try_from(&request.url()[Position::BeforeHost..Position::AfterPort])?;
    let mut request = http::Request::<Body>::try_from(request)?;
    *request.uri_mut() = target;
    request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    request.headers_mut().entry(HOST).or_insert(host);
    Ok(request)
}

#[cfg(test)]
mod tests;
