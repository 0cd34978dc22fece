//! What the service manager is told, and what it asks for: systemd by its notification socket; nothing where there is none.

use std::time::Duration;

/// Every watch is in place and scanned once, or a new configuration is in force.
pub(crate) fn ready() {
    tell(&[Notice::Ready]);
}

/// The configuration is read again; [`ready`] follows, whatever comes of it.
#[cfg(target_os = "linux")]
pub(crate) fn reloading() {
    match Notice::monotonic_usec_now() {
        Ok(now) => tell(&[Notice::Reloading, now]),
        Err(error) => tracing::warn!("cannot tell the service manager of the reload: {error}"),
    }
}

/// The daemon drains, as this line says.
pub(crate) fn stopping(line: &str) {
    tell(&[Notice::Stopping, Notice::Status(line)]);
}

/// A line for `systemctl status`.
pub(crate) fn status(line: &str) {
    tell(&[Notice::Status(line)]);
}

/// The daemon is well.
pub(crate) fn alive() {
    tell(&[Notice::Watchdog]);
}

/// Whether anybody hears what is told here.
pub(crate) fn is_heard() -> bool {
    cfg!(target_os = "linux") && std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long the daemon may say nothing of being well before it is ended; nothing where nobody minds.
pub(crate) fn watchdog_limit() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    #[cfg(not(target_os = "linux"))]
    let limit = None;
    limit
}

/// Whether stderr goes to the journal, by what systemd says of the journal's end: it may have been redirected since.
pub(crate) fn journal_has_stderr() -> bool {
    let said = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| said == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(target_os = "linux")]
use sd_notify::NotifyState as Notice;

#[cfg(target_os = "linux")]
fn tell(states: &[Notice<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reloading() {}

#[cfg(not(target_os = "linux"))]
enum Notice<'a> {
    Ready,
    Stopping,
    Status(&'a str),
    Watchdog,
}

#[cfg(not(target_os = "linux"))]
fn tell(states: &[Notice<'_>]) {
    for state in states {
        if let Notice::Status(line) = state {
            tracing::debug!("{line}");
        }
    }
}
