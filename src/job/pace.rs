//! How fast bytes go, and how long the rest takes at that: smoothed over minutes, so that one slow second, or one fast one, does not
//! change what a person is told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::JobId;
use super::flow::InFlight;

/// What lies further back than this counts ever less.
const MEMORY_SECONDS: f64 = 120.0;
/// A pace of less says nothing yet.
const FIRST_SECONDS: f64 = 10.0;
/// Once it is told, it at most doubles or halves in so long a time: nobody reads an hour now and a minute then.
const DOUBLING_SECONDS: f64 = 5.0;

/// How fast bytes go.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pace {
    /// Bytes a second, smoothed.
    mean: f64,
    /// What is told, which follows the mean no faster than it may.
    told: f64,
    /// For how long they have been going.
    seconds: f64,
}

/// What is told of the paces: bytes a second, once they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Paces {
    /// Of all uploads to a host together.
    pub hosts: BTreeMap<String, u64>,
    /// Of those under way.
    pub jobs: Vec<(JobId, u64)>,
    /// How many requests a host may have in flight.
    pub requests: BTreeMap<String, InFlight>,
}

impl Pace {
    /// The pace that was told last, of which no more is known: it goes on from there.
    pub(crate) fn going_on(told: Option<u64>) -> Pace {
        let going_on = |told| Pace { mean: told, told, seconds: FIRST_SECONDS };
        told.map_or(Pace::default(), |told| going_on(told as f64))
    }

    /// The pace after so many bytes more in so many seconds. The mean at first; later, what is long ago fades.
    pub(crate) fn after(self, moved: u64, seconds: f64) -> Pace {
        // Before the first byte it has not begun.
        if seconds <= 0.0 || (self.seconds == 0.0 && moved == 0) {
            return self;
        }
        let now = moved as f64 / seconds;
        let share = seconds / (self.seconds + seconds).min(MEMORY_SECONDS).max(seconds);
        let mean = self.mean + (now - self.mean) * share;
        let steepest = (seconds / DOUBLING_SECONDS).exp2();
        let told = match self.per_second() {
            Some(_) => mean.clamp(self.told / steepest, self.told * steepest),
            None => mean,
        };
        Pace { mean, told, seconds: self.seconds + seconds }
    }

    /// Bytes a second, once that says something.
    pub(crate) fn per_second(self) -> Option<u64> {
        (self.seconds >= FIRST_SECONDS && self.told >= 1.0).then_some(self.told as u64)
    }
}

impl Paces {
    /// How long it takes until every host has what is left for it. They go beside each other, so it is the last that counts; of one
    /// to which nothing goes, nobody knows.
    pub(crate) fn time_left(&self, left: &BTreeMap<String, u64>) -> Option<Duration> {
        left.iter().filter_map(|(host, bytes)| time_left(*bytes, self.hosts.get(host).copied())).max()
    }

    /// The pace of one job.
    pub(crate) fn of(&self, job: JobId) -> Option<u64> {
        self.jobs.iter().find(|(id, _)| *id == job).map(|(_, per_second)| *per_second)
    }
}

/// How long so many bytes take at a pace; nothing at none, and for none.
pub(crate) fn time_left(bytes: u64, per_second: Option<u64>) -> Option<Duration> {
    let per_second = per_second.filter(|per_second| *per_second > 0)?;
    (bytes > 0).then(|| Duration::from_secs(bytes.div_ceil(per_second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pace after each second in which so many bytes moved.
    fn paces(moved: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
        let paces = moved.into_iter().scan(Pace::default(), |pace, moved| {
            *pace = pace.after(moved, 1.0);
            Some(pace.per_second())
        });
        paces.collect()
    }

    /// By how much the time left of a fixed rest changes at most from one second to the next.
    fn steepest(moved: impl IntoIterator<Item = u64>) -> f64 {
        let told: Vec<u64> = paces(moved).into_iter().flatten().collect();
        let steps = told.windows(2).map(|pair| pair[0].max(pair[1]) as f64 / pair[0].min(pair[1]) as f64);
        steps.fold(1.0, f64::max)
    }

    #[test]
    fn it_is_the_mean_at_first_and_what_is_long_ago_fades() {
        assert_eq!(paces([100; 11])[8..], [None, Some(100), Some(100)]);
        assert_eq!(
            paces([vec![0, 0, 50, 150], vec![100; 8]].concat())[11],
            Some(100),
            "what is before the first byte does not count"
        );
        let slower = paces([vec![1_000; 600], vec![100; 600]].concat());
        assert_eq!(slower[599], Some(1_000));
        assert!((500..700).contains(&slower[660].unwrap()), "{:?}", slower[660]);
        assert!((100..110).contains(&slower[1_199].unwrap()), "{:?}", slower[1_199]);
    }

    #[test]
    fn seconds_that_differ_by_a_hundred_change_what_is_told_by_less_than_an_eighth() {
        let bursts = (0..600).map(|second| if second % 10 == 0 { 10_000_000 } else { 100_000 });
        let told: Vec<u64> = paces(bursts).into_iter().flatten().skip(120).collect();
        let (least, most) = (told.iter().min().unwrap(), told.iter().max().unwrap());
        assert!(*most as f64 / (*least as f64) < 1.125, "{least} to {most}");
    }

    #[test]
    fn it_never_jumps_whatever_happens() {
        let mega = 1_000_000;
        let cases: [(&str, Vec<u64>); 6] = [
            ("a link that awakes", [vec![1_000; 60], vec![100 * mega; 60]].concat()),
            ("a link that dies", [vec![100 * mega; 60], vec![0; 600]].concat()),
            ("one burst in ten minutes", [vec![1_000; 300], vec![u64::MAX >> 12], vec![1_000; 300]].concat()),
            ("a slow start", [vec![1_000; 10], vec![50 * mega; 30]].concat()),
            ("every other second", (0..300).map(|second| if second % 2 == 0 { 0 } else { 9 * mega }).collect()),
            ("small files, then a large one", [vec![4_096; 30], vec![20 * mega; 300]].concat()),
        ];
        for (what, moved) in cases {
            assert!(steepest(moved.clone()) < 1.2, "{what}: {}", steepest(moved));
        }
        // Twenty seconds are enough to follow a link that is a hundred times as fast, within its double.
        let awake = paces([vec![mega; 60], vec![100 * mega; 60]].concat());
        assert!(awake[119].unwrap() > 20 * mega, "{:?}", awake[119]);
    }

    #[test]
    fn a_tick_that_comes_late_counts_as_what_it_is() {
        let late = Pace::default().after(1_000, 10.0);
        assert_eq!(late.per_second(), Some(100));
        assert_eq!(late.after(0, 0.0), late);
        assert_eq!(late.after(100_000, 1_000.0).per_second(), Some(100));
        assert_eq!((Pace::going_on(None), Pace::going_on(Some(7)).per_second()), (Pace::default(), Some(7)));
    }

    #[test]
    fn the_time_left_is_what_the_rest_takes_at_that_pace() {
        let cases = [
            (1_000, Some(10), Some(100)),
            (1, Some(10), Some(1)),
            (0, Some(10), None),
            (1_000, Some(0), None),
            (1_000, None, None),
            (u64::MAX, Some(1), Some(u64::MAX)),
        ];
        for (bytes, per_second, seconds) in cases {
            assert_eq!(time_left(bytes, per_second), seconds.map(Duration::from_secs), "{bytes} at {per_second:?}");
        }
    }

    #[test]
    fn the_slowest_host_says_when_all_is_sent() {
        let paces =
            Paces { hosts: [("box".into(), 10), ("fast".into(), 1_000)].into(), jobs: vec![(JobId(4), 7)], ..Paces::default() };
        let cases = [((100, 100, 0), Some(10)), ((0, 5_000, 0), Some(5)), ((0, 5_000, 1_000_000), Some(5)), ((0, 0, 1), None)];
        for ((to_box, fast, rests), seconds) in cases {
            let left = [("box".into(), to_box), ("fast".into(), fast), ("rests".into(), rests)].into();
            assert_eq!(paces.time_left(&left), seconds.map(Duration::from_secs), "{left:?}");
        }
        assert_eq!((paces.of(JobId(4)), paces.of(JobId(5))), (Some(7), None));
    }
}
