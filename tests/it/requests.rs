//! How many requests a file takes at each kind of host: counted at the practice hosts, and told in `docs/SPEED.md`.

use std::fmt::Write as _;
use std::path::Path;

use ferryd_sandbox::faults::Endpoint;

use crate::bench_top::{Bench, bytes};
use crate::kinds::{self, Kind};

const BEGIN: &str = "<!-- requests: begin -->\n";
const END: &str = "<!-- requests: end -->";
const SMALL_BYTES: usize = 4096;

/// The requests that the host has got since the last question, without those that `earlier` had.
fn counted(bench: &Bench, earlier: usize) -> (usize, String) {
    const NAMES: &[(Endpoint, &str)] = &[
        (Endpoint::Open, "open"),
        (Endpoint::Address, "address"),
        (Endpoint::Chunk, "part"),
        (Endpoint::Finish, "finish"),
        (Endpoint::Probe, "look"),
        (Endpoint::Link, "link"),
    ];
    let log = bench.sandbox.log();
    let requests = &log[earlier..];
    let mut told: Vec<String> = Vec::new();
    for (endpoint, name) in NAMES {
        match requests.iter().filter(|entry| entry.endpoint == Some(*endpoint)).count() {
            0 => {}
            1 => told.push((*name).to_owned()),
            count => told.push(format!("{count} {name}")),
        }
    }
    (requests.len(), told.join(", "))
}

/// What a first file, a further one, and one of three parts take.
fn row(kind: &Kind, name: &str) -> String {
    let mut row = format!("| `{name}` |");
    let bench = kind.bench_as_it_comes();
    let daemon = bench.start();
    for (done, name) in [(1, "first"), (2, "second")] {
        let earlier = bench.sandbox.log().len();
        bench.put(name, &bytes(done as u64, SMALL_BYTES));
        bench.wait_done(done);
        let (count, told) = counted(&bench, earlier);
        write!(row, " {count}: {told} |").unwrap();
    }
    bench.stop(daemon);
    let Some(part_bytes) = kind.part_bytes else { return row + " |" };
    let bench = kind.bench();
    let daemon = bench.start();
    bench.put("parts", &bytes(3, 3 * part_bytes));
    bench.wait_done(1);
    let (_, told) = counted(&bench, 0);
    bench.stop(daemon);
    // How many addresses come at once depends on how far the digest is.
    let told = told.split(", ").map(|request| if request.ends_with("address") { "address" } else { request });
    row + &format!(" {} |", told.collect::<Vec<_>>().join(", "))
}

fn table() -> String {
    let rows: Vec<String> = kinds::all()
        .iter()
        .filter(|kind| kind.word != "example")
        .map(|kind| row(kind, kind.word))
        .chain([row(&kinds::NEXTCLOUD, "webdav (Nextcloud)")])
        .collect();
    format!(
        "| kind | the first file | a further one | a first one of three parts |\n| --- | --- | --- | --- |\n{}\n",
        rows.join("\n")
    )
}

#[test]
fn the_requests_of_a_file_are_those_that_the_documentation_tells() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SPEED.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let text = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("FERRYD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let now = std::fs::read_to_string(&path).unwrap();
    let differs = now.lines().zip(text.lines()).find(|(written, now)| written != now);
    assert!(now == text, "docs/SPEED.md is out of date: FERRYD_WRITE_DOCS=1 cargo test --test it requests:: ({differs:?})");
}
