//! What the service manager is told: systemd by its notification socket; nothing where there is none.

/// Every watch is in place and scanned once.
pub(crate) fn ready() {
    tell(&[Notice::Ready]);
}

/// The daemon drains.
pub(crate) fn stopping() {
    tell(&[Notice::Stopping]);
}

/// A line for `systemctl status`.
pub(crate) fn status(line: &str) {
    tell(&[Notice::Status(line)]);
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
enum Notice<'a> {
    Ready,
    Stopping,
    Status(&'a str),
}

#[cfg(not(target_os = "linux"))]
fn tell(states: &[Notice<'_>]) {
    for state in states {
        if let Notice::Status(line) = state {
            tracing::debug!("{line}");
        }
    }
}
