//! What happens to the machine that the daemon runs on: it sleeps, its clock is set, its network changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::clock::Clock;

/// What the boot-time clock is ahead of the steady one may vary by the time between two looks.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

/// Tells `clock` of each sleep of the machine, and that somebody has set the time of day, until dropped. Should the system not tell,
/// nothing worse happens than that waits last longer by what the machine sleeps.
pub(crate) async fn follow_clock(clock: Clock) {
    let mut sleeps = SleepMeter::new(boot_time());
    let mut alarm = platform::ClockAlarm::new();
    loop {
        alarm.rings().await;
        match sleeps.slept(boot_time(), Instant::now()) {
            Some(slept) => {
                tracing::info!("the machine has slept for {} s", slept.as_secs());
                clock.has_slept(slept);
            }
            None => clock.has_changed(),
        }
    }
}

/// Tells of changes of the machine's network. Clones tell of the same.
#[derive(Debug, Clone, Default)]
pub struct NetworkChanges(Arc<watch::Sender<()>>);

impl NetworkChanges {
    /// A link, an address or a route has changed.
    pub(crate) fn has_changed(&self) {
        self.0.send_replace(());
    }

    /// Tells of each time that it changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// Tells `network` whenever a link, an address or a route of the machine has changed, until dropped. Where the system does not tell,
/// it never does.
pub(crate) async fn follow_network(network: NetworkChanges) {
    match platform::NetworkEvents::new() {
        Ok(events) => loop {
            events.next().await;
            network.has_changed();
        },
        Err(error) => tracing::debug!("nobody tells when the network changes: {error}"),
    }
}

/// How long the machine has been up, with the time for which it slept.
fn boot_time() -> Duration {
    #[cfg(target_os = "linux")]
    const BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // It runs on during sleep there, where the clock of `Instant` does not.
    #[cfg(not(target_os = "linux"))]
    const BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(BOOT);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Finds out for how long the machine has slept, from a clock that ran on and one that stood still.
struct SleepMeter {
    boot: Duration,
    awake: Instant,
}

impl SleepMeter {
    fn new(boot: Duration) -> SleepMeter {
        SleepMeter { boot, awake: Instant::now() }
    }

    /// How long it slept since the last time that it had.
    fn slept(&mut self, boot: Duration, awake: Instant) -> Option<Duration> {
        let passed = boot.saturating_sub(self.boot);
        let slept = passed.saturating_sub(awake.saturating_duration_since(self.awake));
        (slept >= SHORTEST_SLEEP).then(|| {
            *self = SleepMeter { boot, awake };
            slept
        })
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
    use tokio::io::unix::AsyncFd;

    #[expect(deprecated, reason = "what takes its place is unsafe, for types that do not own what they give out, as this one does")]
    fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::new(descriptor)
    }

    /// A timer of the time of day that never goes off, but is cancelled when that time is set, or the machine wakes up:
    /// `TFD_TIMER_CANCEL_ON_SET` in timerfd_create(2).
    pub(super) struct ClockAlarm(io::Result<AsyncFd<OwnedFd>>);

    /// Two centuries ahead, in seconds since the Unix epoch.
    const NEVER: i64 = 1 << 33;

    impl ClockAlarm {
        pub(super) fn new() -> ClockAlarm {
            let made = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
            let alarm = ClockAlarm(made.map_err(io::Error::from).and_then(watched));
            alarm.arm();
            alarm
        }

        fn arm(&self) {
            let Ok(timer) = &self.0 else { return };
            let never = Timespec { tv_sec: NEVER, tv_nsec: 0 };
            let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: never };
            let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
            if let Err(error) = timerfd_settime(timer, flags, &spec) {
                tracing::debug!("nobody tells when the clock is set: {error}");
            }
        }

        pub(super) async fn rings(&mut self) {
            let Ok(timer) = &self.0 else { return std::future::pending().await };
            let Ok(mut ready) = timer.readable().await else { return std::future::pending().await };
            // Read, it says that it was cancelled, and is armed still.
            let _cancelled = rustix::io::read(timer, &mut [0; 8]);
            ready.clear_ready();
        }
    }

    /// A socket of rtnetlink(7).
    pub(super) struct NetworkEvents(AsyncFd<OwnedFd>);

    /// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE`.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// Changes come many at a time, and the last of them is the one that matters.
    const QUIET: Duration = Duration::from_millis(500);

    impl NetworkEvents {
        pub(super) fn new() -> io::Result<NetworkEvents> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(NetworkEvents(watched(socket)?))
        }

        pub(super) async fn next(&self) {
            self.readable().await;
            tokio::time::sleep(QUIET).await;
            self.take_all();
        }

        async fn readable(&self) {
            match self.0.readable().await {
                Ok(mut ready) => {
                    self.take_all();
                    ready.clear_ready();
                }
                Err(_) => std::future::pending().await,
            }
        }

        /// Nobody is interested in what they say. Those that found no room are reported as an error once.
        fn take_all(&self) {
            let mut buffer = [0; 4096];
            while !matches!(recv(&self.0, &mut buffer, RecvFlags::empty()), Err(error) if error != Errno::NOBUFS) {}
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::io;
    use std::time::Duration;

    /// Looks by itself, since nobody tells.
    pub(super) struct ClockAlarm;

    impl ClockAlarm {
        pub(super) fn new() -> ClockAlarm {
            ClockAlarm
        }

        pub(super) async fn rings(&mut self) {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }

    /// Not told here.
    pub(super) struct NetworkEvents;

    impl NetworkEvents {
        pub(super) fn new() -> io::Result<NetworkEvents> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn next(&self) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_slept_for_what_the_boot_time_clock_is_ahead() {
        let (boot, begun, seconds) = (boot_time(), Instant::now(), Duration::from_secs);
        let mut meter = SleepMeter { boot, awake: begun };
        let looks = [
            ((10, 10), None),
            ((10, 20), None),
            ((3620, 20), Some(3600)),
            ((3620, 20), None),
            ((3621, 20), Some(1)),
            ((3640, 40), None),
        ];
        for ((since_boot, since_begun), slept) in looks {
            let said = meter.slept(boot + seconds(since_boot), begun + seconds(since_begun));
            assert_eq!(said, slept.map(seconds), "{since_boot} {since_begun}");
        }
    }

    #[tokio::test]
    async fn on_a_machine_that_does_not_sleep_nobody_is_told_that_it_has() {
        let clock = Clock::default();
        let mut changes = clock.changes();
        let following = tokio::spawn(follow_clock(clock.clone()));
        tokio::time::timeout(Duration::from_millis(50), changes.changed()).await.unwrap_err();
        assert_eq!(clock.slept(), Duration::ZERO);
        following.abort();
    }
}
