//! `ferryd-sim`: runs worlds, and shows one again.

use std::process::ExitCode;

use clap::Parser;
use ferryd_sim::run;
use ferryd_sim::schedule::Schedule;

/// Runs the whole daemon in simulated worlds, each of which follows from one number.
#[derive(Debug, Parser)]
#[command(name = "ferryd-sim")]
struct Arguments {
    /// The world of this number, or the first of them.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// So many worlds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Tell the story, also where every promise was kept.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = 0;
    let begun = std::time::Instant::now();
    let mut all = ferryd_sim::Counts::default();
    for seed in arguments.seed..arguments.seed + arguments.count {
        let report = run(&Schedule::of(seed));
        all.events += report.counts.events;
        all.lives += report.counts.lives;
        all.objects += report.counts.objects;
        if arguments.trace {
            println!("{}", report.story.join("\n"));
        }
        if !report.violations.is_empty() {
            failed += 1;
            println!("{seed}: {:?}", report.violations[0]);
        }
    }
    println!("{failed} of {} failed, {:?}, {all:?}", arguments.count, begun.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
