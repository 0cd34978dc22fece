//! Signals as requests: drain, reload. A second request to stop ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

/// Calls `on_signal` for each signal, on a thread of its own.
pub(crate) fn listen(mut on_signal: impl FnMut(Signal) + Send + 'static) -> io::Result<Listener> {
    let asked_to_stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The order matters: the shutdown is armed only by the registration below it, so the first signal passes it by.
        flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, asked_to_stop.clone())?;
        flag::register(signal, asked_to_stop.clone())?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            on_signal(if signal == SIGHUP { Signal::Reload } else { Signal::Drain });
        }
    })?;
    Ok(Listener { handle, thread: Some(thread) })
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
