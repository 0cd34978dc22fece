//! Connections that are made before a request needs them, so that it waits for no name, no handshake and no certificate.
//!
//! The client keeps connections that have carried a request. One that is made ahead has carried none, so it waits here until the
//! client asks for a connection to the same place. It is made by a second client of the same settings, none of whose requests is
//! ever sent: where it would get its connection, it gets an error, and the connection is kept.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

/// How old a connection may be to be used. Servers close those that ask nothing, some after 10 seconds; a request on one that is being
/// closed has no answer, and is not repeated by itself.
const KEPT: Duration = Duration::from_secs(10);
/// Where a request was answered within this time, its connection waits in the client.
const HEARD: Duration = Duration::from_secs(15);

/// With so many places, those that are of no use are forgotten: hosts name addresses of others.
const PLACES_MAX: usize = 64;

tokio::task_local! {
    /// Where the connection is to lead that is asked for.
    static TO: Arc<str>;
}

/// Connections that were made ahead, by where they lead, and when each place was heard from last. Clones share.
#[derive(Clone, Default)]
pub(super) struct Ahead(Arc<Mutex<BTreeMap<Arc<str>, Place>>>);

/// What is known of a place.
#[derive(Default)]
struct Place {
    connections: Vec<(Box<dyn Any + Send>, Instant)>,
    /// How many more are being made.
    making: usize,
    heard: Option<Instant>,
}

impl Place {
    fn is_of_use(&self) -> bool {
        !self.connections.is_empty() || self.making > 0 || self.heard.is_some_and(|heard| heard.elapsed() < HEARD)
    }
}

/// A connection that is to be made ahead.
pub(super) struct Making {
    ahead: Ahead,
    to: Arc<str>,
    is_counted: bool,
}

/// In place of a connection that was kept.
#[derive(Debug, thiserror::Error)]
#[error("the connection is kept for a request to come")]
struct Kept;

impl Ahead {
    fn places(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a request whose connection may have been made ahead.
    pub(super) async fn send<T, E>(&self, url: &Url, request: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let to = origin(url);
        let answer = TO.scope(to.clone(), request).await;
        if answer.is_ok() {
            let mut places = self.places();
            if places.len() >= PLACES_MAX && !places.contains_key(&to) {
                places.retain(|_, place| place.is_of_use());
            }
            places.entry(to).or_default().heard = Some(Instant::now());
        }
        answer
    }

    /// Begins connections for `files` files to come, so that no more than `most` wait. None is begun where a request was answered a short
    /// while ago.
    pub(super) fn begin(&self, url: &Url, files: usize, most: usize) -> Vec<Making> {
        let to = origin(url);
        let mut places = self.places();
        let place = places.entry(to.clone()).or_default();
        if place.heard.is_some_and(|heard| heard.elapsed() < HEARD) {
            return Vec::new();
        }
        place.connections.retain(|(_, since)| since.elapsed() < KEPT);
        let count = files.min(most.saturating_sub(place.connections.len() + place.making));
        place.making += count;
        (0..count).map(|_| Making { ahead: self.clone(), to: to.clone(), is_counted: true }).collect()
    }

    fn keep(&self, to: Arc<str>, connection: impl Any + Send) {
        {
            let mut places = self.places();
            let place = places.entry(to.clone()).or_default();
            place.making = place.making.saturating_sub(1);
            place.connections.push((Box::new(connection), Instant::now()));
        }
        let all = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            let Some(all) = all.upgrade() else { return };
            if let Some(place) = Ahead(all).places().get_mut(&to) {
                place.connections.retain(|(_, since)| since.elapsed() < KEPT);
            }
        });
    }

    fn take<C: Read + Unpin + 'static>(&self, to: &str) -> Option<C> {
        loop {
            let (connection, since) = self.places().get_mut(to)?.connections.pop()?;
            let mut connection = *connection.downcast::<C>().ok()?;
            if since.elapsed() < KEPT && is_open(&mut connection) {
                return Some(connection);
            }
        }
    }
}

impl Making {
    /// Has a request that is never sent make it.
    pub(super) async fn by<T, E: Error + 'static>(mut self, request: impl Future<Output = Result<T, E>>) -> Result<(), E> {
        let answer = TO.scope(self.to.clone(), request).await;
        self.is_counted = !answer.as_ref().is_err_and(|error| is_kept(error));
        answer.map(drop).or_else(|error| if self.is_counted { Err(error) } else { Ok(()) })
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.is_counted {
            self.ahead.places().entry(self.to.clone()).and_modify(|place| place.making = place.making.saturating_sub(1));
        }
    }
}

/// Whether the other end has neither closed it nor said anything on it.
fn is_open<C: Read + Unpin>(connection: &mut C) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let mut buffer = ReadBuf::uninit(&mut byte);
    let read = Pin::new(connection).poll_read(&mut Context::from_waker(Waker::noop()), buffer.unfilled());
    read.is_pending()
}

fn is_kept(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| error.is::<Kept>())
}

/// What two addresses have in common whose requests may share a connection.
fn origin(url: &Url) -> Arc<str> {
    url[..url::Position::BeforePath].into()
}

/// What a client does with connections: the one of the requests takes those that were made ahead, and the other one makes them.
#[derive(Clone)]
pub(super) enum Role {
    Takes(Ahead),
    Makes(Ahead),
}

impl<S> Layer<S> for Role {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        Connect { inner, role: self.clone() }
    }
}

/// Makes the connections of a client.
#[derive(Clone)]
pub(super) struct Connect<S> {
    inner: S,
    role: Role,
}

impl<S, R> Service<R> for Connect<S>
where
    S: Service<R, Error = Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    S::Response: Read + Unpin + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let to = TO.try_with(Clone::clone).ok();
        match self.role.clone() {
            Role::Takes(ahead) => match to.and_then(|to| ahead.take(&to)) {
                Some(connection) => Box::pin(std::future::ready(Ok(connection))),
                None => Box::pin(self.inner.call(request)),
            },
            Role::Makes(ahead) => {
                let connecting = self.inner.call(request);
                Box::pin(async move {
                    let connection = connecting.await?;
                    if let Some(to) = to {
                        ahead.keep(to, connection);
                    }
                    Err(Kept.into())
                })
            }
        }
    }
}
