//! Signals as requests: drain, reload. A second request to stop ends the process at once; one that comes within a second of the first
//! is the same request, as `timeout` and some service managers send it twice.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Finish what is in flight and end.
    Drain,
    /// Read the configuration again.
    Reload,
}

/// Listens until dropped.
pub(crate) struct Listener {
    handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The exit code of a second SIGTERM or SIGINT: nothing is lost, but nobody waited for the parts in flight.
const EXIT_AT_ONCE: i32 = 1;
/// How long after the first a second one is still the same.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Calls `on_signal` for each signal, on a thread of its own.
pub(crate) fn listen(mut on_signal: impl FnMut(Signal) + Send + 'static) -> io::Result<Listener> {
    let again_ends_it = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, again_ends_it.clone())?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked_to_stop = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                on_signal(Signal::Reload);
            } else if !asked_to_stop {
                asked_to_stop = true;
                arm_later(again_ends_it.clone());
                on_signal(Signal::Drain);
            }
        }
    })?;
    Ok(Listener { handle, thread: Some(thread) })
}

/// Arms the shutdown when the second has passed, whatever this process is busy with by then.
fn arm_later(shutdown: Arc<AtomicBool>) {
    let arm = {
        let shutdown = shutdown.clone();
        move || {
            std::thread::sleep(SAME_REQUEST);
            shutdown.store(true, Ordering::Relaxed);
        }
    };
    if std::thread::Builder::new().name("second-signal".into()).spawn(arm).is_err() {
        shutdown.store(true, Ordering::Relaxed);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the signal thread panicked");
        }
    }
}
