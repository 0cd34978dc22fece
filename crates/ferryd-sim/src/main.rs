//! `ferryd-sim`: runs worlds, and shows one again.
#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ferryd_sim::schedule::Schedule;
use ferryd_sim::{Detail, Many, Report, run, shrink};

/// Runs the whole daemon in simulated worlds, each of which follows from one number.
#[derive(Debug, Parser)]
#[command(name = "ferryd-sim")]
struct Arguments {
    /// The world of this number: tells its story.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// With --seed: leaves out of the story whatever is not needed for the promise to break.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// With --seed: tells the daemon's log and every request, too.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// So many worlds.
    #[arg(long, default_value_t = 1000, value_name = "N", conflicts_with = "seed")]
    worlds: u64,
    /// The number of the first of them.
    #[arg(long, default_value_t = 0, value_name = "N", conflicts_with = "seed")]
    from: u64,
    /// Threads that run worlds.
    #[arg(long, default_value_t = 2, value_name = "N")]
    threads: usize,
    /// Writes a digest of everything that is told of each world into this file, a line each, to be compared with that of another
    /// build.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    digests: Option<PathBuf>,
    /// The worlds that are known to break a promise, in place of those that are known to.
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    known: Option<PathBuf>,
    /// A promise that does not count. May be given more than once.
    #[arg(long, value_name = "NAME", conflicts_with = "seed")]
    ignore: Vec<String>,
    /// Stops at the first world that breaks a promise.
    #[arg(long, conflicts_with = "seed")]
    first: bool,
    /// Plants this bug in the daemon.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "planted-bugs")]
    if let Some(bug) = &arguments.bug
        && let Err(error) = ferryd::internals::planted::plant(bug)
    {
        println!("{error}");
        return ExitCode::from(2);
    }
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let mut schedule = Schedule::of(seed);
    if arguments.shrink {
        let Some((shortest, _)) = shrink(&schedule) else {
            println!("World {seed} keeps every promise: there is nothing to shrink.");
            return ExitCode::SUCCESS;
        };
        schedule = shortest;
    }
    let detail = if arguments.trace { Detail::Everything } else { Detail::Story };
    let report = run(&schedule, detail);
    println!("World {seed}: {:?}", schedule.setting);
    report.story.iter().for_each(|line| println!("{line}"));
    ended(&report)
}

fn ended(report: &Report) -> ExitCode {
    for violation in &report.violations {
        println!("BROKEN ({}): {}", violation.promise, violation.what);
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(arguments: &Arguments) -> ExitCode {
    let known = arguments.known.as_ref().map(std::fs::read_to_string).transpose();
    let known = match known {
        Ok(known) => known,
        Err(error) => {
            println!("cannot read the worlds that are known: {error}");
            return ExitCode::from(2);
        }
    };
    let many = Many {
        known,
        ignored: arguments.ignore.clone(),
        from: arguments.from,
        worlds: arguments.worlds,
        threads: arguments.threads,
        with_digests: arguments.digests.is_some(),
        stops_at_first: arguments.first,
    };
    let begun = std::time::Instant::now();
    let sum = many.run(|seed, violation| println!("{seed}: BROKEN ({}): {}", violation.promise, violation.what));
    if let Some(path) = &arguments.digests
        && let Err(error) = std::fs::write(path, sum.digests())
    {
        println!("cannot write {}: {error}", path.display());
        return ExitCode::from(2);
    }
    let mut promises: BTreeMap<&str, u64> = BTreeMap::new();
    sum.broken.values().for_each(|violation| *promises.entry(violation.promise).or_default() += 1);
    println!("{sum}");
    if !sum.mended().is_empty() {
        println!("known to break a promise, and did not: {:?}", sum.mended());
    }
    println!("{} worlds in {:.0} s; {} broke a promise {promises:?}", sum.worlds, begun.elapsed().as_secs_f64(), sum.broken.len());
    if sum.unknown().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
