//! Who may have a request in flight. Each host has some connections of its own, so that a host that hangs in all that it has leaves
//! the others theirs; the rest belongs to all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::job::flow::{Shown, Window};
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
}

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
        let flow = Mutex::new(Flow { window: Window::new(1), in_flight: 0 });
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

    /// The host is not configured any more: what it was sure of is for others.
    pub(super) fn give_up_share(&self) {
        self.0.own.resize(0);
    }
}

impl Permit<'_> {
    /// Gives the connection back with what its request has shown.
    pub(super) fn done(self, shown: Shown) {
        let of_host = self.of_host;
        of_host.with_flow(|flow| {
            flow.window = flow.window.after(shown, flow.in_flight.saturating_sub(1));
            of_host.limit.resize(flow.window.size());
        });
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

    #[test]
    fn a_host_that_hangs_in_all_it_has_leaves_the_others_theirs_and_no_more_than_all_are_in_flight() {
        let cases: [(usize, &[usize]); 6] =
            [(64, &[64, 64]), (64, &[64]), (64, &[64, 8, 1]), (16, &[16; 5]), (4, &[4; 4]), (64, &[100, 64])];
        for (most, limits) in cases {
            let hosts = connections(most, limits);
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
    fn a_host_that_has_too_much_to_do_is_asked_half_as_much_and_more_again_as_it_answers() {
        let hosts = connections(64, &[8]);
        let mut flying = all(&hosts[0]);
        assert_eq!(flying.len(), 8);
        flying.pop().unwrap().done(Shown::TooMuch);
        assert_eq!(all(&hosts[0]).len(), 0, "four may be in flight, and seven are");
        while let Some(permit) = flying.pop() {
            permit.done(Shown::TooMuch);
        }
        assert_eq!(all(&hosts[0]).len(), 4, "they were in flight together");
        for _ in 0..4 + 5 {
            ready(pin!(hosts[0].acquire())).unwrap().done(Shown::Fine);
        }
        assert_eq!(all(&hosts[0]).len(), 6);
        for _ in 0..100 {
            ready(pin!(hosts[0].acquire())).unwrap().done(Shown::Fine);
        }
        assert_eq!(all(&hosts[0]).len(), 8);
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
