//! What a daemon costs that has nothing to do.

use std::collections::HashMap;
use std::time::Duration;

use crate::daemon::{Place, Process, Setup, silent_host};
use crate::machine::{cpu, number, own, resident, sleeps, tell};

/// How long nothing is done while it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// What the start has left is given so long to come to rest: threads that began to look are looked after once more, five seconds later.
const REST: Duration = Duration::from_secs(8);
const FOLDERS_IN_ONE: u64 = 100;

pub(crate) fn row() {
    let folders = number("FERRYD_BENCH_FOLDERS", 10_000);
    let (_silent, addr) = silent_host();
    let place = Place::new(&Setup::new("kie"), addr);
    for folder in 0..folders {
        let path = place.drop_dir().join(format!("{}/{}", folder / FOLDERS_IN_ONE, folder % FOLDERS_IN_ONE));
        std::fs::create_dir_all(path).unwrap();
    }
    let (daemon, took) = place.start();
    std::thread::sleep(REST);
    let (woken, used) = wakes(&daemon);
    let total: u64 = woken.iter().map(|(_, count)| count).sum();
    let ((now, peak), own) = (resident(daemon.id()), own(daemon.id()));
    let what = format!("idle with {folders} folders ({} events, in view after {:.2} s)", place.events(), took.as_secs_f64());
    let woken: Vec<String> = woken.iter().map(|(name, count)| format!("{name}: {count}")).collect();
    let woken = if woken.is_empty() { String::new() } else { format!(" ({})", woken.join(", ")) };
    let rate = total as f64 / LOOK.as_secs_f64();
    let row = format!(
        "{what}: {now:.1} MiB resident ({own:.1} without the program's file, peak {peak:.1}), {rate:.1} wake-ups/s{woken}, {used:.2} CPU s in {LOOK:?}"
    );
    tell(&row, "12 MiB, 0 wake-ups/s");
}

/// Which threads woke up, and how often, while nothing was done; and what that took of the processor.
fn wakes(daemon: &Process) -> (Vec<(String, u64)>, f64) {
    let (before, used): (HashMap<_, _>, _) = (sleeps(daemon.id()).into_iter().collect(), cpu(daemon.id()));
    std::thread::sleep(LOOK);
    let after = sleeps(daemon.id()).into_iter();
    let woken = after.map(|(name, count)| (before.get(&name).map_or(count, |before| count - before), name));
    (woken.filter(|(count, _)| *count > 0).map(|(count, name)| (name, count)).collect(), cpu(daemon.id()) - used)
}
