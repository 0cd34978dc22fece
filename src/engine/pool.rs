//! One loop for everything that is claimed from the queue and carried by tasks: it begins what is due as far as there is room,
//! takes back what has ended, and sleeps until something arrives, is due or ends, or the phase changes. At rest nothing wakes it.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::os::clock::Clock;
use crate::store::StoreError;

use super::clocks::{self, Clocks};
use super::phase::{Phase, Phases};

/// What is claimed, and how it is carried.
pub(super) trait Workload {
    /// What must be known of a task while it runs.
    type Load;
    /// What a task answers.
    type End: Send + 'static;
    /// Whether this is the main loop, whose turns are the daemon's pulse.
    const IS_MAIN: bool = false;

    /// Begins what is due, as far as there is room. Answers when to look again, should nothing else happen.
    async fn begin(&mut self, tasks: &mut Tasks<Self::Load, Self::End>) -> Result<Option<Instant>, StoreError>;

    /// Takes back a task that has ended, or panicked.
    async fn end(&mut self, load: Self::Load, end: Result<Self::End, JoinError>) -> Result<(), StoreError>;

    /// Resolves when there may be something to begin.
    async fn arrivals(&self);

    /// The grace of what is under way is over. Answers whether the tasks are to be dropped; else they are waited for.
    fn stop(&mut self) -> AtStop;
}

/// How long tasks that are waited for may take when their grace is over: what they wait for may never answer.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// What becomes of tasks whose grace is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtStop {
    /// They are dropped where they stand.
    Drop,
    /// They end by themselves; what hangs is dropped in the end.
    Wait,
}

/// The tasks under way.
pub(super) struct Tasks<L, E> {
    set: JoinSet<E>,
    loads: HashMap<Id, L>,
    /// The clocks, as they were at the last look.
    pub(super) clocks: Clocks,
}

impl<L, E: Send + 'static> Tasks<L, E> {
    fn new(clock: &Clock) -> Tasks<L, E> {
        Tasks { set: JoinSet::new(), loads: HashMap::new(), clocks: Clocks::of(clock) }
    }

    /// Begins a task.
    pub(super) fn start(&mut self, load: L, task: impl Future<Output = E> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.loads.insert(handle.id(), load);
    }

    /// What is known of the tasks under way.
    pub(super) fn loads(&self) -> impl Iterator<Item = &L> {
        self.loads.values()
    }

    /// How many are under way.
    pub(super) fn count(&self) -> usize {
        self.loads.len()
    }

    /// The time of day `at_ms`, in milliseconds since the Unix epoch, by the clock that nobody sets; nothing where `full`, since
    /// then the end of a task comes first.
    pub(super) fn wake_at(&self, at_ms: Option<i64>, full: bool) -> Option<Instant> {
        at_ms.filter(|_| !full).map(|at_ms| self.clocks.instant_of(at_ms))
    }

    fn ended(&mut self, ended: Result<(Id, E), JoinError>) -> Option<(L, Result<E, JoinError>)> {
        let (id, end) = match ended {
            Ok((id, end)) => (id, Ok(end)),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.loads.remove(&id)?, end))
    }
}

/// Works until the daemon stops and every task has ended. An error is the queue's own.
pub(super) async fn run<W: Workload>(mut work: W, clock: &Clock, phases: Phases) -> Result<(), StoreError> {
    let mut tasks = Tasks::new(clock);
    let (mut coming, mut stopped, mut set) = (phases.clone(), None, clock.changes());
    loop {
        let draining = phases.is_draining();
        let due = if draining { None } else { work.begin(&mut tasks).await? };
        if W::IS_MAIN {
            phases.turned();
        }
        phases.changed();
        if draining && tasks.set.is_empty() {
            return Ok(());
        }
        let next = if draining { Phase::Stopping } else { Phase::Draining };
        tokio::select! {
            biased;
            () = coming.reached(next), if stopped.is_none() => if next == Phase::Stopping {
                stopped = Some(Instant::now() + LAST_PATIENCE);
                if work.stop() == AtStop::Drop {
                    tasks.set.shutdown().await;
                    return Ok(());
                }
            },
            Some(ended) = tasks.set.join_next_with_id() => take_back(&mut work, &mut tasks, ended).await?,
            () = tokio::time::sleep_until(stopped.unwrap_or_else(Instant::now)), if stopped.is_some() => {
                tracing::warn!("not waiting any longer for what hangs; it is done again at the next start");
                tasks.set.shutdown().await;
                return Ok(());
            }
            () = work.arrivals(), if !draining => {}
            () = phases.turn_wanted(), if W::IS_MAIN => {}
            // The clock outlives what it tells.
            Ok(()) = set.changed() => {}
            () = clocks::sleep_until(clock, due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

/// Takes back what ended, and everything else that has ended meanwhile. Tasks end together, since one commit serves many; those
/// that have their answer may take their last step first, so that one claim fills all their slots.
async fn take_back<W: Workload>(
    work: &mut W,
    tasks: &mut Tasks<W::Load, W::End>,
    ended: Result<(Id, W::End), JoinError>,
) -> Result<(), StoreError> {
    tokio::task::yield_now().await;
    let mut ended = Some(ended);
    while let Some(one) = ended {
        if let Some((load, end)) = tasks.ended(one) {
            work.end(load, end).await?;
        }
        ended = tasks.set.try_join_next_with_id();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::sync::{Notify, oneshot};

    use super::super::phase::phases;
    use super::*;

    /// What is to be carried, each number with what tells its task to end.
    type Queue = Rc<RefCell<Vec<(u32, oneshot::Receiver<()>)>>>;

    /// Numbers to be carried, each by a task that ends when it is told to.
    struct Numbers {
        queue: Queue,
        room: usize,
        arrived: Rc<Notify>,
        ended: Rc<RefCell<Vec<(u32, bool)>>>,
        at_stop: AtStop,
        looks: Rc<RefCell<u32>>,
        next_ms: Option<i64>,
    }

    impl Workload for Numbers {
        type Load = u32;
        type End = u32;

        async fn begin(&mut self, tasks: &mut Tasks<u32, u32>) -> Result<Option<Instant>, StoreError> {
            *self.looks.borrow_mut() += 1;
            while tasks.count() < self.room {
                let Some((number, told)) = self.queue.borrow_mut().pop() else { break };
                tasks.start(number, async move {
                    if told.await.is_err() {
                        panic!("nobody tells {number} to end");
                    }
                    number
                });
            }
            Ok(tasks.wake_at(self.next_ms.take(), tasks.count() >= self.room))
        }

        async fn end(&mut self, load: u32, end: Result<u32, JoinError>) -> Result<(), StoreError> {
            self.ended.borrow_mut().push((load, end.is_ok()));
            Ok(())
        }

        async fn arrivals(&self) {
            self.arrived.notified().await;
        }

        fn stop(&mut self) -> AtStop {
            self.at_stop
        }
    }

    fn numbers(room: usize, at_stop: AtStop) -> Numbers {
        let (queue, arrived, ended, looks) = Default::default();
        Numbers { queue, room, arrived, ended, at_stop, looks, next_ms: None }
    }

    /// Adds a number to the queue; what is answered tells its task to end.
    fn add(numbers: &Queue, number: u32) -> oneshot::Sender<()> {
        let (tell, told) = oneshot::channel();
        numbers.borrow_mut().insert(0, (number, told));
        tell
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_there_is_room_for_are_under_way_and_the_next_begins_when_one_ends() {
        let work = numbers(2, AtStop::Wait);
        let (queue, ended, arrived) = (work.queue.clone(), work.ended.clone(), work.arrived.clone());
        let (switch, watched) = phases();
        let tell: Vec<_> = (1..=3).map(|number| add(&queue, number)).collect();
        let clock = Clock::default();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let running = tokio::task::spawn_local(async move { run(work, &clock, watched).await });
                settle().await;
                assert_eq!(queue.borrow().len(), 1, "two are under way");
                let mut tell = tell.into_iter();
                tell.next().unwrap().send(()).unwrap();
                settle().await;
                assert_eq!((queue.borrow().len(), ended.borrow().clone()), (0, vec![(1, true)]));
                // One that panics is given back with what was known of it.
                drop(tell.next());
                settle().await;
                assert_eq!(*ended.borrow(), [(1, true), (2, false)]);
                let fourth = add(&queue, 4);
                settle().await;
                assert_eq!(queue.borrow().len(), 1, "nobody has said that it has arrived");
                arrived.notify_one();
                settle().await;
                assert_eq!(queue.borrow().len(), 0);
                switch.advance(Phase::Draining);
                settle().await;
                assert!(!running.is_finished(), "what is under way may end");
                tell.next().unwrap().send(()).unwrap();
                fourth.send(()).unwrap();
                running.await.unwrap().unwrap();
                assert_eq!(ended.borrow().len(), 4);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_grace_is_over_tasks_are_dropped_or_waited_for() {
        for at_stop in [AtStop::Drop, AtStop::Wait] {
            let work = numbers(1, at_stop);
            let (queue, ended) = (work.queue.clone(), work.ended.clone());
            let (switch, watched) = phases();
            let tell = add(&queue, 1);
            let clock = Clock::default();
            let local = tokio::task::LocalSet::new();
            local
                .run_until(async {
                    let running = tokio::task::spawn_local(async move { run(work, &clock, watched).await });
                    settle().await;
                    switch.advance(Phase::Stopping);
                    settle().await;
                    assert_eq!(running.is_finished(), at_stop == AtStop::Drop);
                    if at_stop == AtStop::Wait {
                        tell.send(()).unwrap();
                    }
                    running.await.unwrap().unwrap();
                    assert_eq!(ended.borrow().len(), usize::from(at_stop == AtStop::Wait));
                })
                .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_later_wakes_the_loop_once_and_at_rest_nothing_does() {
        let mut work = numbers(1, AtStop::Drop);
        let clock = Clock::default();
        work.next_ms = Some(clock.now_ms() + 60_000);
        let looks = work.looks.clone();
        let (switch, watched) = phases();
        let begun = Instant::now();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let running = tokio::task::spawn_local(async move { run(work, &clock, watched).await });
                tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
                assert_eq!(*looks.borrow(), 2, "at the start, and when the time had come");
                assert!(begun.elapsed() >= Duration::from_secs(24 * 3600));
                switch.advance(Phase::Draining);
                running.await.unwrap().unwrap();
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_while_the_machine_sleeps_is_begun_when_it_wakes_up() {
        let mut work = numbers(1, AtStop::Drop);
        let clock = Clock::default();
        work.next_ms = Some(clock.now_ms() + 3_600_000);
        let looks = work.looks.clone();
        let (switch, watched) = phases();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let sleeper = clock.clone();
                let running = tokio::task::spawn_local(async move { run(work, &sleeper, watched).await });
                settle().await;
                clock.has_slept(Duration::from_secs(1800));
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(*looks.borrow(), 2, "at the start, and when it woke up");
                switch.advance(Phase::Draining);
                running.await.unwrap().unwrap();
            })
            .await;
    }
}
