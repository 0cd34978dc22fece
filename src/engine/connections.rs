//! Who may have a request in flight. Each host has some connections of its own, so that a host that hangs in all that it has leaves
//! the others theirs; the rest belongs to all.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::job::flow::{Shown, Window};
use crate::job::share;

/// What one host may have in flight.
#[derive(Debug, Clone)]
pub struct Connections(Arc<OfHost>);

#[derive(Debug)]
struct OfHost {
    /// What the host may have in flight now.
    limit: Semaphore,
    flow: Mutex<Flow>,
    /// What this host is sure of.
    own: Semaphore,
    /// What all hosts have together.
    shared: Arc<Semaphore>,
    /// One of this host's requests at a time stands in the queue for what is shared, so that the hosts have their turns whatever
    /// the number of their requests.
    turn: Semaphore,
}

/// How much that is.
#[derive(Debug)]
struct Flow {
    window: Window,
    in_flight: usize,
    /// Permits that are in use and not to be given back, since there may be fewer in flight now.
    owed: usize,
}

/// One connection, given back when dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    of_host: &'a OfHost,
    limit: Option<SemaphorePermit<'a>>,
    _connection: Option<SemaphorePermit<'a>>,
}

/// The connections of each host, in the order of the hosts' own limits; never more than `most` in flight over all of them.
pub fn connections(most: usize, limits: &[usize]) -> Vec<Connections> {
    let sure = |limit: usize| share::sure(most, limits.len(), limit);
    let shared = Arc::new(Semaphore::new(most.saturating_sub(limits.iter().map(|limit| sure(*limit)).sum())));
    let of_host = |limit: &usize| OfHost {
        limit: Semaphore::new((*limit).min(Semaphore::MAX_PERMITS)),
        flow: Mutex::new(Flow { window: Window::new((*limit).min(Semaphore::MAX_PERMITS)), in_flight: 0, owed: 0 }),
        own: Semaphore::new(sure(*limit)),
        shared: shared.clone(),
        turn: Semaphore::new(1),
    };
    limits.iter().map(|limit| Connections(Arc::new(of_host(limit)))).collect()
}

impl Connections {
    /// Waits for a connection.
    pub async fn acquire(&self) -> Permit<'_> {
        let of_host = &*self.0;
        // None of these is ever closed.
        let limit = of_host.limit.acquire().await.ok();
        let connection = tokio::select! {
            biased;
            own = of_host.own.acquire() => own,
            shared = of_host.shared() => shared,
        };
        of_host.with_flow(|flow| flow.in_flight += 1);
        Permit { of_host, limit, _connection: connection.ok() }
    }
}

impl Permit<'_> {
    /// Gives the connection back with what its request has shown.
    pub(super) fn done(self, shown: Shown) {
        let of_host = self.of_host;
        of_host.with_flow(|flow| {
            let before = flow.window.size();
            flow.window = flow.window.after(shown, flow.in_flight.saturating_sub(1));
            let now = flow.window.size();
            let taken = of_host.limit.forget_permits(before.saturating_sub(now));
            flow.owed += before.saturating_sub(now) - taken;
            let more = now.saturating_sub(before);
            let forgiven = more.min(flow.owed);
            flow.owed -= forgiven;
            of_host.limit.add_permits(more - forgiven);
        });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let is_owed = self.of_host.with_flow(|flow| {
            flow.in_flight = flow.in_flight.saturating_sub(1);
            let is_owed = flow.owed > 0;
            flow.owed -= usize::from(is_owed);
            is_owed
        });
        if let Some(limit) = self.limit.take().filter(|_| is_owed) {
            limit.forget();
        }
    }
}

impl OfHost {
    fn with_flow<T>(&self, act: impl FnOnce(&mut Flow) -> T) -> T {
        act(&mut self.flow.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn shared(&self) -> Result<SemaphorePermit<'_>, tokio::sync::AcquireError> {
        let _turn = self.turn.acquire().await?;
        self.shared.acquire().await
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
}
