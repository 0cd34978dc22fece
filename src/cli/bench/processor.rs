//! How much of the processors this process has used, and waited for while others used them.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time of all its threads together, so far. What is waited for counts where the kernel tells it.
pub(super) fn wanted() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0));
    used + waited(Path::new("/proc/self/task"))
}

/// How long the threads that are there now were ready to run, and did not.
fn waited(threads: &Path) -> Duration {
    let entries = std::fs::read_dir(threads).into_iter().flatten().flatten();
    let of = |text: String| text.split_whitespace().nth(1).and_then(|waited| waited.parse().ok()).map(Duration::from_nanos);
    entries.filter_map(|entry| of(std::fs::read_to_string(entry.path().join("schedstat")).ok()?)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_thread_has_waited_for_is_added_up_and_where_nobody_tells_it_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for (thread, told) in [("1", "900 100 7\n"), ("2", "1 2000 3\n"), ("3", ""), ("4", "1 x 2")] {
            std::fs::create_dir(dir.path().join(thread)).unwrap();
            std::fs::write(dir.path().join(thread).join("schedstat"), told).unwrap();
        }
        std::fs::create_dir(dir.path().join("5")).unwrap();
        assert_eq!(waited(dir.path()), Duration::from_nanos(2100));
        assert_eq!(waited(&dir.path().join("none")), Duration::ZERO);
    }
}
