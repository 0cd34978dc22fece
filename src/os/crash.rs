//! Named points in the handling of a file at which a test can let the process die, as if by `kill -9`.
//!
//! Without the feature `crash-points` nothing of this is compiled in. With it, `FERRYD_CRASH_AT=NAME` or `NAME:N` ends the process
//! the first or the Nth time the point is reached.

/// Dies here when the environment asks for it.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::os::crash::reached($name)
    };
}
pub(crate) use crash_point;

/// Panics here when the environment asks for it: `FERRYD_PANIC_AT=NAME`.
macro_rules! panic_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::os::crash::panic_where_asked($name)
    };
}
pub(crate) use panic_point;

/// Every point on the way to the host, in the order in which a file passes them.
#[cfg(feature = "crash-points")]
pub const POINTS: &[&str] = &[
    "enqueue.before_commit",
    "enqueue.after_commit",
    "claim.after_commit",
    "open.before_call",
    "open.before_commit",
    "open.after_commit",
    "part.before_send",
    "ack.before_commit",
    "ack.after_commit",
    "finish.before_commit",
    "finish.before_send",
    "uploaded.before_commit",
    "uploaded.after_commit",
];

/// The point between what a host opens that was announced, and its commit; no kind passes it whose sessions are open from the first.
#[cfg(feature = "crash-points")]
pub const POINTS_OF_BEGINNING: &[&str] = &["begin.before_commit"];

/// The point between what is given back to a host and its commit.
#[cfg(feature = "crash-points")]
pub const POINTS_OF_GIVING_UP: &[&str] = &["abandon.before_commit"];

/// The points that a file passes afterwards, where a hook and an after-action are configured.
#[cfg(feature = "crash-points")]
pub const POINTS_AFTERWARDS: &[&str] = &["hook.before_run", "hook.after_run", "after.before_move", "after.after_move"];

/// The points that a file passes when it is removed.
#[cfg(feature = "crash-points")]
pub const POINTS_OF_REMOVAL: &[&str] = &["after.before_move", "after.aside", "after.after_move"];

/// The points that an order of a person's passes.
#[cfg(feature = "crash-points")]
pub const POINTS_OF_ORDERS: &[&str] = &["order.before_commit", "order.after_commit"];

/// The points between a host's new token and its use.
#[cfg(feature = "crash-points")]
pub const POINTS_OF_TOKENS: &[&str] = &["token.before_write", "token.after_write"];

/// Panics when the environment names this point.
#[cfg(feature = "crash-points")]
pub(crate) fn panic_where_asked(name: &str) {
    assert!(std::env::var("FERRYD_PANIC_AT").as_deref() != Ok(name), "asked to panic at {name}");
}

/// Counts one passing of the point `name`, and dies when it is the one asked for.
#[cfg(feature = "crash-points")]
pub(crate) fn reached(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ASKED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let asked = std::env::var("FERRYD_CRASH_AT").ok()?;
        let (name, nth) = asked.split_once(':').unwrap_or((&asked, "1"));
        Some((name.to_owned(), nth.parse().unwrap_or(1)))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let known = [
        POINTS,
        POINTS_OF_BEGINNING,
        POINTS_OF_GIVING_UP,
        POINTS_AFTERWARDS,
        POINTS_OF_ORDERS,
        POINTS_OF_REMOVAL,
        POINTS_OF_TOKENS,
    ];
    debug_assert!(known.iter().any(|points| points.contains(&name)), "the crash point `{name}` is not in a list");
    if let Some((wanted, nth)) = &*ASKED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
        && rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).is_ok()
    {
        // The signal is on its way; nothing may happen after it.
        std::thread::park();
    }
}
