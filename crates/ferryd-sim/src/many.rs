//! Many worlds, each in a thread of several.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use ferryd::internals::job::reason::ReasonClass;

use crate::ledger::digest;
use crate::promises::because_of;
use crate::run::{Counts, Detail, Report, run};
use crate::schedule::Schedule;
use crate::violation::Violation;

/// The worlds that are known to break a promise today: a line each with the number, the promise and why. Others begin with `#`.
const KNOWN: &str = include_str!("../known.txt");

/// Worlds to be run.
#[derive(Debug, Clone)]
pub struct Many {
    /// The number of the first.
    pub from: u64,
    /// How many.
    pub worlds: u64,
    /// In so many threads.
    pub threads: usize,
    /// Whether everything is told, and its digest kept.
    pub with_digests: bool,
    /// Worlds that are known to break a promise, in the form of `known.txt`, in place of those that are listed there.
    pub known: Option<String>,
    /// Promises that do not count.
    pub ignored: Vec<String>,
    /// Whether no further world is begun when one has broken a promise that is not known to break.
    pub stops_at_first: bool,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Sum {
    /// How many were run.
    pub worlds: u64,
    /// The first promise that each broke.
    pub broken: BTreeMap<u64, Violation>,
    run: BTreeSet<u64>,
    counts: Vec<Counts>,
    met: BTreeMap<String, u64>,
    digests: BTreeMap<u64, String>,
    known: BTreeSet<(u64, String)>,
}

impl Many {
    /// Runs them all. `told` is handed each number that broke a promise, and is not known to.
    pub fn run(&self, mut told: impl FnMut(u64, &Violation)) -> Sum {
        let (next, is_over) = (AtomicU64::new(self.from), AtomicBool::new(false));
        let (send, reports) = mpsc::channel();
        let mut sum = Sum { known: known(self.known.as_deref().unwrap_or(KNOWN)), ..Sum::default() };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let (send, next, is_over) = (send.clone(), &next, &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.from + self.worlds || send.send((seed, self.one(seed))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            for (seed, mut report) in reports {
                report.violations.retain(|violation| !self.ignored.iter().any(|ignored| ignored == violation.promise));
                let broken = report.violations.first().cloned();
                sum.add(seed, report, self.with_digests);
                if let Some(violation) = broken.filter(|violation| !sum.is_known(seed, violation)) {
                    told(seed, &violation);
                    is_over.fetch_or(self.stops_at_first, Ordering::Relaxed);
                }
            }
        });
        sum
    }

    fn one(&self, seed: u64) -> Report {
        let detail = if self.with_digests { Detail::Everything } else { Detail::Story };
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&Schedule::of(seed), detail)));
        outcome.unwrap_or_else(|_| Report::panicked())
    }
}

fn known(text: &str) -> BTreeSet<(u64, String)> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

impl Sum {
    fn is_known(&self, seed: u64, violation: &Violation) -> bool {
        self.known.contains(&(seed, violation.promise.to_owned()))
    }

    /// The worlds that are known to break a promise, and kept every one of them.
    pub fn mended(&self) -> BTreeSet<u64> {
        let run = |seed: &u64| self.run.contains(seed);
        self.known.iter().map(|(seed, _)| *seed).filter(|seed| run(seed) && !self.broken.contains_key(seed)).collect()
    }

    fn add(&mut self, seed: u64, report: Report, with_digests: bool) {
        self.worlds += 1;
        self.run.insert(seed);
        self.counts.push(report.counts);
        for name in report.met {
            *self.met.entry(name).or_default() += 1;
        }
        if with_digests {
            self.digests.insert(seed, digest(report.story.join("\n").as_bytes()));
        }
        if let Some(violation) = report.violations.into_iter().next() {
            self.broken.insert(seed, violation);
        }
    }

    /// The worlds that broke a promise and are not known to.
    pub fn unknown(&self) -> BTreeSet<u64> {
        self.broken.iter().filter(|(seed, violation)| !self.is_known(**seed, violation)).map(|(seed, _)| *seed).collect()
    }

    /// A line for each world, with the digest of all that was told of it.
    pub fn digests(&self) -> String {
        self.digests.iter().map(|(seed, digest)| format!("{seed} {digest}\n")).collect()
    }

    fn median(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        let mut all: Vec<u64> = self.counts.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, worlds) in &self.met {
            writeln!(f, "{worlds:>8} worlds: {name}")?;
        }
        let unmet: Vec<String> = ReasonClass::all().map(because_of).filter(|reason| !self.met.contains_key(reason)).collect();
        writeln!(f, "not met: {}", if unmet.is_empty() { "nothing".to_owned() } else { unmet.join(", ") })?;
        write!(
            f,
            "median world: {} events, {} contents, {} hosts, {} faults, {} lives, {} objects",
            self.median(|counts| counts.events),
            self.median(|counts| counts.contents),
            self.median(|counts| counts.hosts),
            self.median(|counts| counts.faults),
            self.median(|counts| counts.lives),
            self.median(|counts| counts.objects),
        )
    }
}
