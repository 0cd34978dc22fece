//! One suite for every kind of host: the same promises in the same words, through the real daemon and the sandbox host of that kind.

use std::collections::HashMap;

use ferryd::job::State;
use ferryd::sandbox::Options;

use crate::bench_top::{Bench, bytes};

/// A kind, with what a test must know of it.
#[derive(Debug, Clone, Copy)]
struct Kind {
    word: &'static str,
    /// Whether a file of 0 bytes arrives.
    takes_empty_files: bool,
    /// Lines in its table that make parts as small as it allows.
    small_parts: &'static str,
    /// The size of those parts; nothing where the file travels in one request.
    part_bytes: Option<usize>,
    /// Whether a commit that went unanswered may leave a second file.
    may_duplicate: bool,
    /// The start of the file's name on the host: Kie.ai's has a digest before it.
    renames: bool,
}

const CLOUDKP: Kind = Kind {
    word: "cloudkp",
    takes_empty_files: false,
    small_parts: "",
    part_bytes: Some(131_072),
    may_duplicate: false,
    renames: false,
};
const UPLOADGIG: Kind =
    Kind { word: "uploadgig", takes_empty_files: true, small_parts: "", part_bytes: None, may_duplicate: true, renames: false };
const KOODRIVE: Kind = Kind {
    word: "koodrive",
    takes_empty_files: true,
    small_parts: "part_size = \"5 MiB\"",
    part_bytes: Some(5 * 1024 * 1024),
    may_duplicate: false,
    renames: false,
};
const KIE: Kind =
    Kind { word: "kie", takes_empty_files: true, small_parts: "", part_bytes: None, may_duplicate: false, renames: true };
const FOURSHARED: Kind = Kind {
    word: "4shared",
    takes_empty_files: false,
    small_parts: "part_size = \"256 KiB\"",
    part_bytes: Some(256 * 1024),
    may_duplicate: false,
    renames: false,
};
const KINDS: [Kind; 5] = [CLOUDKP, UPLOADGIG, KOODRIVE, KIE, FOURSHARED];

impl Kind {
    fn bench(self) -> Bench {
        self.bench_with(|_| {})
    }

    fn bench_with(self, change: impl FnOnce(&mut Options)) -> Bench {
        Bench::with(change).to(&[self.word]).host(self.small_parts).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []")
    }

    /// What the host holds under the name of a file.
    fn held(self, bench: &Bench, name: &str) -> Vec<Vec<u8>> {
        let is_it = |held: &str| held == name || (self.renames && held.split_once('-').is_some_and(|(_, rest)| rest == name));
        let objects = bench.sandbox.objects().into_iter().filter(|object| is_it(&object.name));
        objects.map(|object| bench.sandbox.read(&object).unwrap()).collect()
    }
}

#[test]
fn files_of_every_size_arrive_once_and_equal() {
    for kind in KINDS {
        let edge = kind.part_bytes.unwrap_or(524_288);
        let mut sizes = vec![1, 65_536, edge - 1, edge, edge + 1, 2 * edge, 2 * edge + 1000];
        if kind.takes_empty_files {
            sizes.push(0);
        }
        let bench = kind.bench();
        let contents: HashMap<String, Vec<u8>> =
            sizes.iter().map(|size| (format!("f{size}.bin"), bytes(*size as u64, *size))).collect();
        for (name, content) in &contents {
            bench.put(name, content);
        }
        let daemon = bench.start();
        let jobs = bench.wait_done(sizes.len());
        for (name, content) in &contents {
            assert!(kind.held(&bench, name) == [content.clone()], "{}: {name}", kind.word);
        }
        assert!(jobs.iter().all(|job| job.state == State::Done && !job.maybe_duplicate), "{}: {jobs:#?}", kind.word);
        assert!(jobs.iter().all(|job| job.link.is_some() || job.remote_id.is_some()), "{}: {jobs:#?}", kind.word);
        bench.stop(daemon);
    }
}

#[test]
fn an_empty_file_ends_as_the_page_of_the_host_says() {
    for kind in KINDS.into_iter().filter(|kind| !kind.takes_empty_files) {
        let bench = kind.bench();
        bench.put("empty", b"");
        let daemon = bench.start();
        let job = bench.wait_state(State::Failed);
        assert!(job.why.unwrap().contains("the file is empty"), "{}", kind.word);
        bench.stop(daemon);
    }
}

#[test]
fn odd_names_arrive() {
    let names = [
        "a b.txt",
        "ünï—кот 猫.bin",
        "quo\"te'.x",
        "100% [a]{b}.zip",
        "-dash",
        "no-extension",
        ".hidden",
        "semi;colon=&+.t",
        "tail .",
    ];
    for kind in KINDS {
        let bench = kind.bench();
        for name in names {
            bench.put(name, name.as_bytes());
        }
        let daemon = bench.start();
        bench.wait_done(names.len());
        let mut held: Vec<Vec<u8>> = bench.sandbox.objects().iter().map(|object| bench.sandbox.read(object).unwrap()).collect();
        held.sort();
        let mut wanted: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        wanted.sort();
        assert!(held == wanted, "{}", kind.word);
        bench.stop(daemon);
    }
}
