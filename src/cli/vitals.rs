//! What a service manager hears while the daemon works: a line that says what is up and what waits, and that the main loop turns.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::engine::Control;
use crate::engine::phase::{Phase, Phases};
use crate::job::State;
use crate::os::lock::Lock;
use crate::os::{clock, service};
use crate::store::{Query, View};

/// How long a line stands at least.
const LINE_PAUSE: Duration = Duration::from_secs(2);
const REFUSED: &str = "the new configuration is refused";
/// How often it is asked, while the main loop does not turn, whether it is known why.
const LOOK: Duration = Duration::from_secs(1);

/// Tells the service manager what is up and what waits, as that changes, until the engine of `phases` drains.
pub(super) async fn tell_line(dir: PathBuf, lock: Arc<Lock>, phases: Phases) {
    let mut told = String::new();
    let mut changes = phases.changes();
    while !phases.is_draining() {
        let dir = dir.clone();
        let note = lock.note();
        let line = match note.trouble {
            Some(trouble) => Some(trouble),
            None => tokio::task::spawn_blocking(move || line(&dir)).await.ok().flatten(),
        };
        let line = line.map(|line| if note.reload_refused.is_some() { format!("{line}; {REFUSED}") } else { line });
        // Who drains has another line.
        if let Some(line) = line.filter(|line| *line != told && !phases.is_draining()) {
            service::status(&line);
            told = line;
        }
        sleep(LINE_PAUSE).await;
        changes.next().await;
    }
}

/// What is up, what moves, what waits; nothing where the queue cannot be read.
fn line(dir: &Path) -> Option<String> {
    let query = Query { now_ms: clock::now_ms(), ..Query::default() };
    let snapshot = View::open(dir).ok()??.snapshot(&query).ok()?;
    Some(words(&snapshot.totals))
}

fn words(totals: &[(State, u64)]) -> String {
    let count = |of: &[State]| totals.iter().filter(|(state, _)| of.contains(state)).map(|(_, jobs)| jobs).sum::<u64>();
    let parts = [
        (count(&[State::Uploading]), "uploading"),
        (count(&[State::Queued, State::Waiting]), "waiting"),
        (count(&[State::Paused]), "paused"),
        (count(&[State::Held, State::Failed]), "need attention"),
    ];
    let up = format!("{} up", count(&[State::Uploaded, State::Done]));
    let others = parts.iter().filter(|(jobs, _)| *jobs > 0).map(|(jobs, what)| format!("{jobs} {what}"));
    std::iter::once(up).chain(others).collect::<Vec<_>>().join(", ")
}

/// Tells the service manager that the daemon is well, three times within `limit`, for as long as it is.
pub(super) async fn feed_watchdog(limit: Duration, engine: Arc<Mutex<Option<Control>>>, lock: Arc<Lock>) {
    let phases = || engine.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|control| control.phases.clone());
    feed(limit / 3, || is_well(phases, || lock.note().trouble.is_some()), service::alive).await;
}

async fn feed<W: Future<Output = ()>>(pause: Duration, is_well: impl Fn() -> W, tell: impl Fn()) {
    loop {
        is_well().await;
        tell();
        sleep(pause).await;
    }
}

/// Resolves when the main loop has turned, or nobody needs it to: none runs, it ends, or what it waits for is known and told. A
/// daemon that waits for room on its disk is not mended by being started again.
async fn is_well(phases: impl Fn() -> Option<Phases>, is_in_trouble: impl Fn() -> bool) {
    while let Some(phases) = phases() {
        if is_in_trouble() || timeout(LOOK, turn_or_end(phases)).await.is_ok() {
            return;
        }
    }
}

/// Resolves when the main loop has turned, or is about to end: what is under way then has a limit of its own.
pub(super) async fn turn_or_end(phases: Phases) {
    let mut end = phases.clone();
    tokio::select! {
        () = phases.turn() => {}
        () = end.reached(Phase::Draining) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::engine::phase::phases;

    #[test]
    fn the_line_says_what_is_up_and_what_waits_and_nothing_of_what_there_is_none() {
        let cases: [(&[(State, u64)], &str); 4] = [
            (&[], "0 up"),
            (&[(State::Done, 12), (State::Queued, 1), (State::Waiting, 2), (State::Gone, 9)], "12 up, 3 waiting"),
            (&[(State::Done, 1), (State::Uploaded, 1), (State::Uploading, 4)], "2 up, 4 uploading"),
            (
                &[(State::Held, 1), (State::Failed, 1), (State::Paused, 5), (State::Cancelled, 2)],
                "0 up, 5 paused, 2 need attention",
            ),
        ];
        for (totals, line) in cases {
            assert_eq!(words(totals), line);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_nothing_of_a_main_loop_that_does_not_turn_unless_it_is_known_why() {
        let (switch, watched) = phases();
        let (fed, trouble) = (Cell::new(0), Cell::new(false));
        let feeding =
            feed(Duration::from_secs(10), || is_well(|| Some(watched.clone()), || trouble.get()), || fed.set(fed.get() + 1));
        let story = async {
            sleep(Duration::from_secs(100)).await;
            assert_eq!(fed.get(), 0, "it does not turn");
            trouble.set(true);
            sleep(Duration::from_secs(95)).await;
            assert_eq!(fed.get(), 10, "its disk is full");
            trouble.set(false);
            let turning = async {
                loop {
                    watched.turn_wanted().await;
                    watched.turned();
                }
            };
            drop(timeout(Duration::from_secs(100), turning).await);
            assert_eq!(fed.get(), 20, "it turns");
            sleep(Duration::from_secs(100)).await;
            assert_eq!(fed.get(), 20, "it hangs");
            switch.advance(Phase::Draining);
            sleep(Duration::from_secs(5)).await;
            assert_eq!(fed.get(), 21, "it ends, which has a limit of its own");
        };
        tokio::select! {
            () = feeding => {}
            () = story => {}
        }
    }
}
