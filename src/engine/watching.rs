//! Where the watching runs: on a thread of its own, since it waits for file systems, or in turns with everything else in a
//! simulator.

use tokio::sync::oneshot;

use crate::os::system::System;
use crate::os::threads::Threads;
use crate::store::StoreError;
use crate::watch::{self, Handle, Root};

use super::EngineError;
use super::intake::Intake;
use super::phase::{Phase, Phases};

/// Why the watching has ended: the queue's failure, if that was the reason.
pub(super) type Ended = oneshot::Receiver<Option<StoreError>>;

/// Begins to watch `roots`. `ready` is called once each has been scanned.
pub(super) fn start(
    roots: Vec<Root>,
    system: &System,
    mut intake: Intake,
    hints: Handle,
    ready: impl FnOnce() + Send + 'static,
) -> Result<Ended, EngineError> {
    let (ended, end) = oneshot::channel();
    let system = system.clone();
    match system.threads {
        Threads::Pool => {
            let work = move || {
                watch::run(roots, &system, &mut intake, &hints, ready);
                // Nobody listens only when the engine is gone already.
                drop(ended.send(intake.into_failure()));
            };
            let started = std::thread::Builder::new().name("watch".into()).spawn(work);
            started.map_err(|error| EngineError::Setup(error.to_string()))?;
        }
        #[cfg(feature = "simulator")]
        Threads::Caller => {
            let work = async move {
                in_turns(roots, &system, &mut intake, &hints, ready).await;
                drop(ended.send(intake.into_failure()));
            };
            drop(tokio::spawn(work));
        }
    }
    Ok(end)
}

/// Watches in a task, which has its turn when a hint comes or something is due.
#[cfg(feature = "simulator")]
async fn in_turns(roots: Vec<Root>, system: &System, intake: &mut Intake, hints: &Handle, ready: impl FnOnce()) {
    let hinted = std::sync::Arc::new(tokio::sync::Notify::new());
    let wake = hinted.clone();
    hints.on_hint(move || wake.notify_one());
    let mut watcher = watch::Watcher::new(roots, system, intake, hints);
    if watcher.begin().is_err() {
        return;
    }
    ready();
    while watcher.turn(hints.take_now()).is_ok() {
        let due = watcher.next_due().map(tokio::time::Instant::from_std);
        tokio::select! {
            biased;
            () = hinted.notified() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {}
        }
    }
}

/// Waits until the watching has ended by itself, or ends it when the daemon drains.
pub(super) async fn end(mut ended: Ended, hints: Handle, mut phases: Phases) -> Result<(), EngineError> {
    let end = tokio::select! {
        biased;
        end = &mut ended => end,
        () = phases.reached(Phase::Draining) => {
            hints.stop();
            ended.await
        }
    };
    match end {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error.into()),
        Err(_) => Err(EngineError::Setup("the watching panicked; this is a bug in ferryd".into())),
    }
}
