//! Whether it is this machine's network that is down, and no host. Pure.

use std::time::{Duration, Instant};

/// How long a host counts as reached.
const LATELY: Duration = Duration::from_secs(30);

/// When a host was reached last, and when a connection to it failed last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Contact {
    /// It has answered, whatever it said.
    pub reached: Option<Instant>,
    /// No connection was made.
    pub unreached: Option<Instant>,
}

/// Whether nothing can be reached, so that what fails before it has a connection says nothing of its host: connections have failed,
/// and no host has answered since or shortly before.
pub(crate) fn is_down(hosts: &[Contact], now: Instant) -> bool {
    let lately = |at: Instant| now.saturating_duration_since(at) < LATELY;
    let is_reached = |host: &Contact| host.reached.is_some_and(lately) && host.reached > host.unreached;
    hosts.iter().any(|host| host.unreached.is_some_and(lately)) && !hosts.iter().any(is_reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_down_when_no_host_is_reached() {
        let begun = Instant::now();
        let at = |second: Option<u64>| second.map(|second| begun + Duration::from_secs(second));
        let host = |reached, unreached| Contact { reached: at(reached), unreached: at(unreached) };
        let (now, idle) = (begun + Duration::from_secs(100), host(None, None));
        let cases = [
            (vec![], false),
            (vec![idle, idle], false),
            (vec![host(None, Some(100)), idle], true),
            (vec![host(None, Some(100)), host(None, Some(90))], true),
            (vec![host(None, Some(100)), host(Some(90), None)], false),
            (vec![host(None, Some(100)), host(Some(10), None)], true),
            (vec![host(Some(90), Some(100))], true),
            (vec![host(Some(90), Some(100)), host(Some(95), None)], false),
            (vec![host(Some(100), Some(90))], false),
            (vec![host(Some(60), Some(60))], false),
        ];
        for (hosts, expected) in cases {
            assert_eq!(is_down(&hosts, now), expected, "{hosts:?}");
        }
    }
}
