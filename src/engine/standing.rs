//! What is known of a host by all who work for it: how it is doing, and whether it is reached at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::host::HostError;
use crate::job::health::{Attempted, Change, Feedback, HostHealth, HostState, Moment};
use crate::job::network::{self, Contact};
use crate::job::{Reason, ReasonClass, Step};

/// What has changed at a host, to be stored and told.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// The change.
    pub(super) change: Change,
    /// Why.
    pub(super) why: Option<Reason>,
}

/// What is known of one host. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Standing {
    of_host: Arc<Mutex<OfHost>>,
    network: Network,
    /// Its place among the contacts.
    place: usize,
}

#[derive(Debug)]
struct OfHost {
    health: HostHealth,
    news: Vec<News>,
    past_has_changed: bool,
}

/// When each host was reached last, and what wakes whoever stores news.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    contacts: Arc<Mutex<Vec<Contact>>>,
    news: Arc<Notify>,
    has_changed: Arc<AtomicBool>,
}

/// A host about which nothing is known, alone on its network.
impl Default for Standing {
    fn default() -> Standing {
        Network::default().host(HostHealth::ready())
    }
}

impl Network {
    /// A further host on it.
    pub(crate) fn host(&self, health: HostHealth) -> Standing {
        let mut contacts = lock(&self.contacts);
        contacts.push(Contact::default());
        let place = contacts.len() - 1;
        drop(contacts);
        let of_host = OfHost { health, news: Vec::new(), past_has_changed: false };
        Standing { of_host: Arc::new(Mutex::new(of_host)), network: self.clone(), place }
    }

    /// A link or a route of this machine's has changed: what could not be reached before may be reached now.
    pub(super) fn changed(&self) {
        self.has_changed.store(true, Ordering::Release);
        self.news.notify_one();
    }

    /// Whether it has changed since the last time this was asked.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed.swap(false, Ordering::AcqRel)
    }

    /// Resolves when a request has brought news of some host, or the network has changed.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

impl Standing {
    /// How the host is doing.
    pub(super) fn health(&self) -> HostHealth {
        lock(&self.of_host).health.clone()
    }

    /// Whether it takes no jobs, or none but one that tries it.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.of_host).health.is_open()
    }

    /// Whether nothing can be reached.
    pub(super) fn network_is_down(&self, now: Instant) -> bool {
        network::is_down(&lock(&self.network.contacts), now)
    }

    /// Whether the last connection to it was not made.
    pub(super) fn is_unreached(&self) -> bool {
        let contact = lock(&self.network.contacts)[self.place];
        contact.unreached > contact.reached
    }

    /// Takes in the answer to a request of an attempt that began in this epoch of the host.
    pub(super) fn heard<T>(&self, step: Step, epoch: u32, answer: &Result<T, HostError>, now: Instant) {
        self.contact(answer, now);
        if answer.is_err() || !matches!(step, Step::SendPart | Step::Finish) {
            return;
        }
        let mut of_host = lock(&self.of_host);
        let had_failed = !of_host.health.outage().is_over();
        let change = of_host.health.answered(epoch);
        if had_failed || change.is_some() {
            of_host.past_has_changed |= had_failed;
            of_host.news.extend(change.map(|change| News { change, why: None }));
            drop(of_host);
            self.network.news.notify_one();
        }
    }

    fn contact<T>(&self, answer: &Result<T, HostError>, now: Instant) {
        let mut contacts = lock(&self.network.contacts);
        match answer {
            Err(error) if error.unconnected => contacts[self.place].unreached = Some(now),
            Err(error) if error.status.is_none() => {}
            _ => contacts[self.place].reached = Some(now),
        }
    }

    /// Takes in what an ended attempt says. Answers whether it turns out that the host needs a person; then `why` says so, too.
    pub(super) fn apply(&self, feedback: Feedback, attempted: &Attempted, at: Moment, why: Option<&mut Reason>) -> bool {
        let (mut of_host, mut why) = (lock(&self.of_host), why);
        let before = of_host.health.clone();
        let changes = of_host.health.apply(feedback, attempted, at);
        of_host.past_has_changed |= of_host.health.remembers_else(&before);
        let is_held = changes.iter().any(|change| change.shown == HostState::Held);
        if let (true, Feedback::Failed(evidence), Some(why)) = (is_held, feedback, &mut why) {
            // The same observation as before, but now it is the last word.
            why.class = evidence.worsens.map_or(why.class, ReasonClass::Host);
        }
        let why = why.as_deref();
        of_host.news.extend(changes.into_iter().map(|change| News { change, why: why.cloned() }));
        is_held
    }

    /// One that rests, is held or is full may be tried now. Answers whether it was one.
    pub(super) fn try_now(&self, now: Instant) -> bool {
        lock(&self.of_host).health.try_now(now)
    }

    /// What is to be stored and told.
    pub(super) fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut lock(&self.of_host).news)
    }

    /// A job begins.
    pub(super) fn begins(&self, now: Instant) {
        let mut of_host = lock(&self.of_host);
        of_host.past_has_changed |= of_host.health.begins(now);
    }

    /// What is to outlive the daemon, where what is stored of it is not true any more.
    pub(super) fn take_past(&self, now: Instant) -> Option<Option<String>> {
        let mut of_host = lock(&self.of_host);
        let past = of_host.health.past(now);
        std::mem::take(&mut of_host.past_has_changed).then_some(past)
    }
}

/// What is behind a lock is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
