//! What follows an upload: hooks of every kind, after-actions, and what a crash leaves of them.

use std::path::{Path, PathBuf};

use crate::bench_top::{Bench, bytes};

/// A hook for `done`, as lines behind the host.
fn hook(lines: &str) -> String {
    format!("\n[[hook]]\non = [\"done\"]\n{lines}")
}

fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn links(bench: &Bench) -> PathBuf {
    bench.dir.path().join("links.tsv")
}

#[test]
fn every_outcome_is_one_line_in_the_links_file() {
    let bench = Bench::new();
    let path = links(&bench);
    let bench = bench.host(&hook(&format!("links_file = {path:?}")));
    for number in 0..20 {
        bench.put(&format!("f{number}"), &bytes(number, 2000));
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(20);
    let found = lines(&path);
    assert_eq!(found.len(), 21, "{found:?}");
    assert_eq!(found[0], ["time", "event", "host", "path", "link", "remote_id", "bytes", "expires"]);
    for job in &jobs {
        let ours: Vec<_> = found.iter().filter(|line| Path::new(&line[3]) == job.path).collect();
        assert_eq!(ours.len(), 1, "{:?}", job.path);
        let line = ours[0];
        assert_eq!((line[1].as_str(), line[2].as_str(), line[6].as_str()), ("done", "cloudkp", "2000"));
        assert_eq!(Some(&line[4]), job.link.as_ref());
    }
    bench.stop(daemon);
}
