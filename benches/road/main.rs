//! How fast the whole road is, from the folder to `done`, through the real daemon: every row of the table of goals, each next to
//! its goal and, in the same run, next to what the machine gives without any of it. `docs/SPEED.md` says what the rows mean and how
//! to set sizes.
//!
//! `cargo bench` takes all rows, `cargo bench -- idle scan` takes some. Reports figures and ratios; asserts nothing about time,
//! since machines differ and drift.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a measurement that cannot go on ends"
)]

mod counting;
mod daemon;
mod first_byte;
mod foreign;
mod idle;
mod kill;
mod large;
mod listener;
mod long_link;
mod machine;
mod queue;
mod scan;
mod slow_disk;
mod small;

/// The rows, by the word that asks for them.
const ROWS: [(&str, fn()); 12] = [
    ("large", large::rows),
    ("busy", large::busy),
    ("long-link", long_link::rows),
    ("small", small::rows),
    ("slow-disk", small::rows_on_a_slow_disk),
    ("first-byte", first_byte::rows),
    ("idle", idle::row),
    ("queue", queue::row),
    ("scan", scan::row),
    ("kill", kill::row),
    ("foreign", foreign::rows),
    ("s3", foreign::speed),
];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let known: Vec<&str> = ROWS.iter().map(|(word, _)| *word).collect();
    if let Some(word) = asked.iter().find(|word| !known.contains(&word.as_str())) {
        println!("there is no row `{word}`; there are: {}", known.join(", "));
        return;
    }
    println!("{}", machine::state());
    for (word, take) in ROWS {
        if asked.is_empty() || asked.iter().any(|asked| asked == word) {
            take();
        }
    }
    println!("{}", machine::state());
}
