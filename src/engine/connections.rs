//! Who may have a request in flight. Each host has some connections of its own, so that a host that hangs in all that it has leaves
//! the others theirs; the rest belongs to all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::job::flow::{Answer, Shown, Window};
use crate::job::share;

/// What one host may have in flight.
#[derive(Debug, Clone)]
pub struct Connections(Arc<OfHost>);

#[derive(Debug)]
struct OfHost {
    /// What the host may have in flight now.
    limit: Places,
    flow: Mutex<Flow>,
    /// What this host is sure of.
    own: Places,
    /// What all hosts have together.
    shared: Arc<Places>,
    /// One of this host's requests at a time stands in the queue for what is shared, so that the hosts have their turns whatever
    /// the number of their requests.
    turn: Semaphore,
}

/// How much a host may have in flight, and has.
#[derive(Debug)]
struct Flow {
    window: Window,
    in_flight: usize,
    /// Uploads that share it.
    uploads: usize,
    /// When the first request was sent.
    begun: Option<Instant>,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// What its answer shows.
    pub shown: Shown,
    /// Bytes of the file that it carried.
    pub bytes: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered.
    pub at: Instant,
}

/// An upload that has a share of what its host may have in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Sharing<'a>(&'a OfHost);

/// One connection, given back when dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    of_host: &'a OfHost,
    _limit: Option<Place<'a>>,
    _connection: Option<Place<'a>>,
}

/// What all hosts have together. Who is made of it has nothing until it is divided.
#[derive(Debug, Default)]
pub(super) struct AllConnections(Arc<Places>);

impl AllConnections {
    /// One more host.
    pub(super) fn host(&self) -> Connections {
        let flow = Mutex::new(Flow { window: Window::new(1), in_flight: 0, uploads: 0, begun: None });
        let (limit, own) = (Places::default(), Places::default());
        Connections(Arc::new(OfHost { limit, flow, own, shared: self.0.clone(), turn: Semaphore::new(1) }))
    }

    /// Divides `most` among hosts, each with a limit of its own. What is in flight stays so: a host that has more than it may have
    /// now gets nothing new until it has given some back.
    pub(super) fn divide(&self, most: usize, hosts: &[(&Connections, usize)]) {
        let sure = |limit: usize| share::sure(most, hosts.len(), limit);
        for (host, limit) in hosts {
            host.0.own.resize(sure(*limit));
            host.0.set_limit(*limit);
        }
        self.0.resize(most.saturating_sub(hosts.iter().map(|(_, limit)| sure(*limit)).sum()));
    }
}

/// The connections of each host, in the order of the hosts' own limits; never more than `most` in flight over all of them.
pub fn connections(most: usize, limits: &[usize]) -> Vec<Connections> {
    let all = AllConnections::default();
    let hosts: Vec<Connections> = limits.iter().map(|_| all.host()).collect();
    all.divide(most, &hosts.iter().zip(limits.iter().copied()).collect::<Vec<_>>());
    hosts
}

impl Connections {
    /// Waits for a connection.
    pub async fn acquire(&self) -> Permit<'_> {
        let of_host = &*self.0;
        let limit = of_host.limit.take().await;
        let connection = tokio::select! {
            biased;
            own = of_host.own.take() => own,
            shared = of_host.shared() => shared,
        };
        of_host.with_flow(|flow| flow.in_flight += 1);
        Permit { of_host, _limit: limit, _connection: connection }
    }

    /// One more upload to this host.
    pub(super) fn upload(&self) -> Sharing<'_> {
        self.0.with_flow(|flow| flow.uploads += 1);
        Sharing(&self.0)
    }

    /// How many requests one upload should have in flight, so that all together fill what the host may have.
    pub(super) fn share_of_an_upload(&self) -> usize {
        self.0.with_flow(|flow| flow.window.size().div_ceil(flow.uploads.max(1)))
    }

    /// What the host may have in flight.
    pub(super) fn window(&self) -> Window {
        self.0.with_flow(|flow| flow.window)
    }

    /// The host is not configured any more: what it was sure of is for others.
    pub(super) fn give_up_share(&self) {
        self.0.own.resize(0);
    }
}

impl Permit<'_> {
    /// Gives the connection back with what its request has shown.
    pub(super) fn done(self, request: Request) {
        let Request { shown, bytes, sent, at } = request;
        let of_host = self.of_host;
        of_host.with_flow(|flow| {
            let begun = *flow.begun.get_or_insert(sent);
            let [sent, at]: [Duration; 2] = [sent, at].map(|moment| moment.saturating_duration_since(begun));
            flow.window = flow.window.after(Answer { shown, bytes, sent, at, others: flow.in_flight.saturating_sub(1) });
            of_host.limit.resize(flow.window.size());
        });
    }
}

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        self.0.with_flow(|flow| flow.uploads = flow.uploads.saturating_sub(1));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.of_host.with_flow(|flow| flow.in_flight = flow.in_flight.saturating_sub(1));
    }
}

impl OfHost {
    fn with_flow<T>(&self, act: impl FnOnce(&mut Flow) -> T) -> T {
        act(&mut self.flow.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_limit(&self, limit: usize) {
        self.with_flow(|flow| {
            flow.window = flow.window.with_most(limit.min(Semaphore::MAX_PERMITS));
            self.limit.resize(flow.window.size());
        });
    }

    async fn shared(&self) -> Option<Place<'_>> {
        let _turn = self.turn.acquire().await.ok()?;
        self.shared.take().await
    }
}

/// Places of which there may be more or fewer at any time. Fewer does not take back one that is in use: it is not given again.
#[derive(Debug)]
struct Places {
    free: Semaphore,
    count: Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    size: usize,
    /// Places that are in use and not to be given again.
    owed: usize,
}

/// One of them, given back when dropped.
#[derive(Debug)]
struct Place<'a> {
    of: &'a Places,
    permit: Option<SemaphorePermit<'a>>,
}

/// None.
impl Default for Places {
    fn default() -> Places {
        Places { free: Semaphore::new(0), count: Mutex::default() }
    }
}

impl Places {
    async fn take(&self) -> Option<Place<'_>> {
        // It is never closed.
        let permit = self.free.acquire().await.ok()?;
        Some(Place { of: self, permit: Some(permit) })
    }

    fn resize(&self, size: usize) {
        let size = size.min(Semaphore::MAX_PERMITS);
        let mut count = self.count();
        let (more, fewer) = (size.saturating_sub(count.size), count.size.saturating_sub(size));
        let forgiven = more.min(count.owed);
        count.owed -= forgiven;
        self.free.add_permits(more - forgiven);
        count.owed += fewer - self.free.forget_permits(fewer);
        count.size = size;
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut count = self.of.count();
        if count.owed > 0
            && let Some(permit) = self.permit.take()
        {
            count.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn ready<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// As many connections as there are now.
    fn all(of: &Connections) -> Vec<Permit<'_>> {
        std::iter::from_fn(|| ready(pin!(of.acquire()))).collect()
    }

    /// The same as [`connections`], where all hosts have what they may have at most.
    fn grown(most: usize, limits: &[usize]) -> Vec<Connections> {
        let hosts = connections(most, limits);
        for (host, limit) in hosts.iter().zip(limits) {
            host.0.with_flow(|flow| flow.window = Window::grown(*limit));
            host.0.limit.resize(*limit);
        }
        hosts
    }

    /// The connection of a request that took this long, with what its answer shows.
    fn answered(permit: Permit<'_>, shown: Shown, took: Duration) {
        let at = Instant::now() + Duration::from_secs(3600);
        permit.done(Request { shown, bytes: 1_000_000, sent: at.checked_sub(took).unwrap(), at });
    }

    #[test]
    fn a_host_that_hangs_in_all_it_has_leaves_the_others_theirs_and_no_more_than_all_are_in_flight() {
        let cases: [(usize, &[usize]); 6] =
            [(64, &[64, 64]), (64, &[64]), (64, &[64, 8, 1]), (16, &[16; 5]), (4, &[4; 4]), (64, &[100, 64])];
        for (most, limits) in cases {
            let hosts = grown(most, limits);
            let hanging = all(&hosts[0]);
            assert!(hanging.len() <= limits[0]);
            let others: Vec<Vec<Permit<'_>>> = hosts[1..].iter().map(all).collect();
            for (other, limit) in others.iter().zip(&limits[1..]) {
                assert_eq!(other.len(), share::sure(most, limits.len(), *limit), "{most} {limits:?}");
                assert!(!other.is_empty());
            }
            let flying = hanging.len() + others.iter().map(Vec::len).sum::<usize>();
            assert_eq!(flying, most, "{most} {limits:?}: all are lent, and no more");
        }
    }

    #[test]
    fn a_limit_of_its_own_holds_whatever_is_free() {
        let hosts = connections(64, &[3, 64]);
        let some = all(&hosts[0]);
        assert_eq!(some.len(), 3);
        drop(some);
        assert_eq!(all(&hosts[0]).len(), 3, "what is dropped is given back");
    }

    #[test]
    fn a_host_that_has_too_much_to_do_is_asked_half_as_much() {
        let hosts = grown(64, &[8]);
        let mut flying = all(&hosts[0]);
        assert_eq!(flying.len(), 8);
        answered(flying.pop().unwrap(), Shown::TooMuch, Duration::ZERO);
        assert_eq!(all(&hosts[0]).len(), 0, "four may be in flight, and seven are");
        while let Some(permit) = flying.pop() {
            answered(permit, Shown::TooMuch, Duration::ZERO);
        }
        assert_eq!(all(&hosts[0]).len(), 4, "they were in flight together");
    }

    #[test]
    fn a_host_is_given_more_while_more_brings_more() {
        let hosts = connections(64, &[8]);
        assert_eq!(all(&hosts[0]).len(), 4);
        let mut at = Instant::now();
        for _ in 0..20 {
            let sent = at;
            at += Duration::from_millis(100);
            let answered = |permit: Permit<'_>| permit.done(Request { shown: Shown::Fine, bytes: 1_000_000, sent, at });
            all(&hosts[0]).into_iter().for_each(answered);
        }
        assert_eq!(all(&hosts[0]).len(), 8);
    }

    #[test]
    fn uploads_share_what_their_host_may_have_in_flight() {
        let hosts = grown(64, &[8]);
        let shares = |count: usize| {
            let uploads: Vec<Sharing<'_>> = (0..count).map(|_| hosts[0].upload()).collect();
            let share = hosts[0].share_of_an_upload();
            drop(uploads);
            share
        };
        assert_eq!([0, 1, 2, 3, 8, 100].map(shares), [8, 8, 4, 3, 1, 1]);
    }

    #[test]
    fn hosts_that_share_one_connection_have_their_turns() {
        let hosts = connections(1, &[1000, 1000]);
        // The limits allow more, and there is one.
        let first = ready(pin!(hosts[0].acquire())).unwrap();
        let (mut second, mut third, mut other) = (pin!(hosts[0].acquire()), pin!(hosts[0].acquire()), pin!(hosts[1].acquire()));
        assert!(ready(second.as_mut()).is_none() && ready(third.as_mut()).is_none() && ready(other.as_mut()).is_none());
        drop(first);
        let second = ready(second.as_mut()).unwrap();
        assert!(ready(third.as_mut()).is_none(), "it has a turn to wait for");
        drop(second);
        assert!(ready(third.as_mut()).is_none());
        let turn = ready(other.as_mut()).expect("the other host comes before the third request of the first");
        drop(turn);
        assert!(ready(third.as_mut()).is_some());
    }

    #[test]
    fn a_request_that_is_given_up_in_the_queue_holds_nothing() {
        let hosts = connections(1, &[1000, 1000]);
        let first = ready(pin!(hosts[0].acquire())).unwrap();
        {
            let mut gone = Box::pin(hosts[0].acquire());
            assert!(ready(gone.as_mut()).is_none());
        }
        drop(first);
        assert!(ready(pin!(hosts[1].acquire())).is_some());
        assert!(ready(pin!(hosts[0].acquire())).is_some());
    }

    #[test]
    fn another_division_holds_for_what_begins_and_takes_nothing_from_what_is_in_flight() {
        let all_of_them = AllConnections::default();
        let hosts: Vec<Connections> = (0..3).map(|_| all_of_them.host()).collect();
        let divide = |most: usize, limits: &[usize]| {
            all_of_them.divide(most, &hosts.iter().zip(limits.iter().copied()).collect::<Vec<_>>());
        };
        for host in &hosts {
            host.0.with_flow(|flow| flow.window = Window::grown(8));
        }
        divide(8, &[8]);
        let mut flying = all(&hosts[0]);
        assert_eq!((flying.len(), all(&hosts[1]).len()), (8, 0));
        divide(4, &[8, 8]);
        assert_eq!(all(&hosts[0]).len() + all(&hosts[1]).len(), 1, "the second host is sure of one at once, and there is no more");
        flying.truncate(2);
        // It is sure of one, and two of its own are in flight.
        let count = |host: usize| all(&hosts[host]).len();
        assert_eq!(count(0), 2);
        assert_eq!(count(1), 3);
        drop(flying);
        assert_eq!(count(0), 3);
        hosts[1].give_up_share();
        divide(6, &[2]);
        assert_eq!(count(0), 2);
        assert_eq!(count(1), 4, "what is left of a host that has gone may still use what is shared");
    }
}
