//! What a measurement has found: the document that `--json` prints, and the table that people read.

use std::time::Duration;

use serde::Serialize;

use crate::job::upload::{Order, Shape};

use super::super::render;
use super::brake::{Brake, Facts, Part, Share, brake};
use super::digest::DigestRate;
use super::disk::{Disk, From};
use super::observed::InUse;
use super::queue::Queue;
use super::upload::{Alone, Left, Uploaded};

/// What `--json` prints. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub version: u32,
    pub host: Measured,
    /// The folder in which it was measured.
    pub folder: String,
    /// Whether a daemon was running, which shares the disk, the link and the host.
    pub daemon_running: bool,
    pub disk: Disk,
    pub queue: Queue,
    pub digests: Vec<DigestRate>,
    /// Bytes a second of one TCP connection; null for a host that is not on this machine.
    pub loopback_per_second: Option<u64>,
    pub login_ms: f64,
    pub large: Uploaded,
    pub alone: Alone,
    /// Null where there are no more files than those that went alone.
    pub small: Option<Uploaded>,
    /// How many files are uploaded at once.
    pub uploads_at_once: usize,
    /// Bytes a second that the configuration allows; null is unlimited.
    pub bandwidth: Option<u64>,
    pub brakes: Vec<Found>,
    /// The files that the host has now.
    pub left: Vec<Left>,
}

/// The host.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub name: String,
    pub kind: &'static str,
    pub practice: bool,
}

/// What held some of the uploads up.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    /// Which of them: `large` or `small`.
    pub of: &'static str,
    #[serde(flatten)]
    pub brake: Brake,
    /// Why, in a sentence.
    pub why: String,
    /// How much of the time each part was at work.
    pub shares: Vec<Share>,
    /// What may bring more; null where nothing here does.
    pub advice: Option<String>,
}

impl Document {
    /// What held the uploads up, on a machine of so many processors and with a host of this shape.
    pub(super) fn find_brakes(&mut self, processors: usize, shape: &Shape) {
        let of_one = requests_of_a_file(shape, self.large.bytes);
        let large = self.found("large", &self.large, self.large_shares(processors), Some(of_one));
        let small = self.small.as_ref().map(|small| self.found("small", small, self.small_shares(small), None));
        self.brakes = std::iter::once(large).chain(small).collect();
    }

    fn large_shares(&self, processors: usize) -> Vec<Share> {
        let went = self.large.bytes_per_second as f64;
        let share = |rate: u64| went / rate.max(1) as f64;
        let digest = |digest: &DigestRate| {
            // Those of parts are computed at once, on as many processors as there are.
            let at_once = if digest.of_whole_file { 1.0 } else { processors.max(1) as f64 };
            Share::of(Part::Digest, share(digest.per_second) / at_once)
        };
        let disk = (self.disk.from != From::Memory).then(|| Share::of(Part::Disk, share(self.disk.per_second)));
        let bandwidth = self.bandwidth.map(|limit| Share::of(Part::Bandwidth, share(limit)));
        let of_all = bandwidth.into_iter().chain(disk).chain(self.digests.iter().map(digest));
        of_all.chain([Share::of(Part::Processor, self.large.processor)]).collect()
    }

    fn small_shares(&self, small: &Uploaded) -> Vec<Share> {
        let at_once = small.files_per_second / self.queue.together_per_second.max(1) as f64;
        // So many uploads wait on an average, each for the commit that puts it on record, of those that there may be.
        let waiting = small.files_per_second / self.queue.alone_per_second.max(1) as f64;
        let of_uploads = waiting / self.uploads_at_once.max(1) as f64;
        let bandwidth = self.bandwidth.map(|limit| Share::of(Part::Bandwidth, small.bytes_per_second as f64 / limit.max(1) as f64));
        let rest = [Share::of(Part::Queue, at_once.max(of_uploads).min(1.0)), Share::of(Part::Processor, small.processor)];
        bandwidth.into_iter().chain(rest).collect()
    }

    fn found(&self, of: &'static str, uploaded: &Uploaded, shares: Vec<Share>, most_of_files: Option<usize>) -> Found {
        let InUse { busy, mean, .. } = uploaded.requests;
        let facts = Facts { shares, busy, mean, window: uploaded.in_flight, most_of_files };
        let brake = brake(&facts);
        let (why, advice) = (self.why(brake, uploaded, &facts.shares), self.advice(brake));
        Found { of, brake, why, advice, shares: facts.shares }
    }

    fn why(&self, brake: Brake, uploaded: &Uploaded, shares: &[Share]) -> String {
        let went = render::rate(Some(uploaded.bytes_per_second));
        let busy = percent(uploaded.requests.busy);
        match brake {
            Brake::Bandwidth => format!("{went} went, and `bandwidth` allows {}", render::rate(self.bandwidth)),
            Brake::Disk => format!("{went} went, and it reads {}", render::rate(Some(self.disk.per_second))),
            Brake::Digest => {
                let slowest = self.digests.iter().min_by_key(|digest| digest.per_second);
                let digest = slowest.map_or(String::new(), |digest| {
                    format!("{} of {}", render::rate(Some(digest.per_second)), digest.algorithm.word())
                });
                format!("{went} went, and this processor computes {digest}, which `{}` wants", render::line(&self.host.name))
            }
            Brake::Queue => format!(
                "one commit takes {}, each file waits for one to be on record, and {} are uploaded at once",
                ms(1000.0 / self.queue.alone_per_second.max(1) as f64),
                render::count(self.uploads_at_once as u64, "file")
            ),
            Brake::Processor => {
                format!("it was at work, or waited for, {} of the time{}", percent(uploaded.processor), self.shared())
            }
            Brake::OneFile { most } => {
                let one = render::count(most as u64, "request");
                format!("it goes to this host with {one} in flight at most, and there was one for {busy} of the time")
            }
            Brake::MaxConnections { most } => {
                format!("{:.1} of the {most} requests that may be in flight were, on an average", uploaded.requests.mean)
            }
            Brake::LinkOrHost { enough: Some(enough) } => {
                format!("requests were in flight for {busy} of the time, and more than {enough} at once brought nothing more")
            }
            Brake::LinkOrHost { enough: None } => {
                format!("requests were in flight for {busy} of the time, and nothing else was near what it can do")
            }
            Brake::Host => "it answered that it has too much to do (429, 503), or dropped connections".into(),
            Brake::Nothing => format!("for {busy} of the time requests were in flight, {}", parts(shares)),
        }
    }

    fn shared(&self) -> &'static str {
        if self.host.practice { ", some of it for the practice host" } else { "" }
    }

    fn advice(&self, brake: Brake) -> Option<String> {
        let host = render::line(&self.host.name);
        Some(match brake {
            Brake::Bandwidth => format!("raise `bandwidth` in [daemon] or [host.{host}]"),
            Brake::Disk => "keep the files on a faster disk; more requests bring nothing".into(),
            Brake::Queue => "set `state_dir` in [daemon] to a folder on a faster disk".into(),
            Brake::MaxConnections { most } => {
                format!("`max_connections = {}` in [host.{host}] may bring more, if the host takes it", most.saturating_mul(4))
            }
            Brake::OneFile { .. } => "several files at once are faster together".into(),
            Brake::Host => format!("`max_connections` in [host.{host}] keeps ferryd below what the host puts up with"),
            Brake::Nothing => "a larger `--size`, more `--files` or a longer `--time` may tell more".into(),
            Brake::Digest | Brake::Processor | Brake::LinkOrHost { .. } => return None,
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![["MEASURED", "RESULT", "OF WHAT"].map(str::to_owned)];
        rows.push(self.disk_row());
        rows.extend(self.queue_rows());
        rows.extend(self.digest_rows());
        rows.extend(
            self.loopback_per_second
                .map(|rate| ["loopback".into(), render::rate(Some(rate)), "one TCP connection, without ferryd".into()]),
        );
        rows.push(["login".into(), ms(self.login_ms), "the quickest login test".into()]);
        rows.extend(self.upload_rows());
        let sentences: String = self.brakes.iter().map(|found| self.sentence(found)).collect();
        format!("From `{}` to {}:\n\n{}\n{sentences}", self.folder, self.host(), render::table(&rows))
    }

    fn sentence(&self, found: &Found) -> String {
        let of = if found.of == "large" { "Large files" } else { "Small files" };
        let advice = found.advice.as_ref().map_or(String::new(), |advice| format!(" {}.", capital(advice)));
        let words = match found.brake {
            Brake::LinkOrHost { .. } if self.host.practice => "the practice host, or what it leaves of this machine",
            brake => brake.words(),
        };
        format!("{of}: the brake is {words}. {}.{advice}\n", capital(&found.why))
    }

    fn host(&self) -> String {
        let name = render::line(&self.host.name);
        if self.host.practice { format!("the practice host `{name}`") } else { format!("`{name}` ({})", self.host.kind) }
    }

    fn disk_row(&self) -> [String; 3] {
        let from = match self.disk.from {
            From::Disk => "from the disk",
            From::Memory => "from memory, where this file system has it",
            From::Unknown => "perhaps from memory",
        };
        ["disk".into(), render::rate(Some(self.disk.per_second)), format!("{} read {from}", render::size(self.disk.bytes))]
    }

    fn queue_rows(&self) -> [[String; 3]; 2] {
        let Queue { alone_per_second, together_per_second, together } = self.queue;
        let commits = |rate: u64| format!("{}/s", render::count(rate, "commit"));
        [
            ["queue".into(), commits(alone_per_second), "each on the disk before the next begins".into()],
            [String::new(), commits(together_per_second), format!("{together} at once")],
        ]
    }

    fn digest_rows(&self) -> Vec<[String; 3]> {
        let row = |digest: &DigestRate| {
            let of = if digest.of_whole_file { "of the whole file" } else { "of each part" };
            [
                "digest".into(),
                render::rate(Some(digest.per_second)),
                format!("{}, which the host wants {of}", digest.algorithm.word()),
            ]
        };
        self.digests.iter().map(row).collect()
    }

    fn upload_rows(&self) -> Vec<[String; 3]> {
        let large = &self.large;
        let of_loopback = self.loopback_per_second.filter(|rate| *rate > 0);
        let share = |rate: u64| percent(large.bytes_per_second as f64 / rate as f64);
        let ratio = of_loopback.map_or(String::new(), |rate| format!(", {} of loopback", share(rate)));
        let mut rows = vec![[
            "large file".into(),
            render::rate(Some(large.bytes_per_second)),
            format!("{}{ratio}{}", render::size(large.sent), cut(large)),
        ]];
        rows.extend(self.small.as_ref().map(|small| {
            let of = format!(
                "{} of {} at once{}",
                render::count(small.done, "file"),
                render::size(small.bytes / small.files.max(1)),
                cut(small)
            );
            ["small files".into(), format!("{}/s", render::count(small.files_per_second.round() as u64, "file")), of]
        }));
        rows.extend(self.alone_rows());
        rows.extend(self.small.as_ref().unwrap_or(large).in_flight.map(|window| {
            let why = render::requests_why(window).unwrap_or(if window.now == window.most {
                "the maximum"
            } else {
                "too little to do to find more"
            });
            ["in flight".into(), render::count(window.now as u64, "request"), format!("of {} at most: {why}", window.most)]
        }));
        rows
    }

    fn alone_rows(&self) -> Vec<[String; 3]> {
        let Alone { files, first_byte, done } = &self.alone;
        let row = |name: &str, times: super::rate::Times, what: &str| {
            let of = format!("{what}; worst of {files}: {}", ms(times.worst_ms));
            [name.to_owned(), ms(times.median_ms), of]
        };
        let first = first_byte.map(|times| row("first byte", times, "from the close of a file"));
        let done = done.map(|times| row("done", times, "until it is on record"));
        first.into_iter().chain(done).collect()
    }
}

/// How many requests one file of so many bytes can have in flight.
fn requests_of_a_file(shape: &Shape, bytes: u64) -> usize {
    let parts = usize::try_from(bytes.div_ceil(shape.part_bytes.max(1))).unwrap_or(usize::MAX);
    if shape.order == Order::Any { shape.parallel.min(parts).max(1) } else { 1 }
}

/// Said of uploads that took longer than they might.
fn cut(uploaded: &Uploaded) -> String {
    if uploaded.done == uploaded.files {
        return String::new();
    }
    format!(", in {} (`--time`)", render::about(Duration::from_secs_f64(uploaded.seconds)))
}

/// How much of the time each part was at work, the busiest first: `for 46 % the disk …, for 33 % the digest at work`.
fn parts(shares: &[Share]) -> String {
    let mut shares = shares.to_vec();
    shares.sort_by(|one, other| other.share.total_cmp(&one.share));
    let words = shares.iter().map(|Share { part, share }| format!("for {} {}", percent(*share), part.words()));
    format!("{} at work", words.collect::<Vec<_>>().join(", "))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 { "less than 1 %".into() } else { format!("{:.0} %", share * 100.0) }
}

/// `0.62 ms`, `4.1 ms`, `310 ms`.
fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate::Times;
    use super::*;
    use crate::job::digest::Algorithm;
    use crate::job::flow::{InFlight, Learned};

    fn uploaded(files: u64, bytes: u64, seconds: f64) -> Uploaded {
        let requests = InUse { mean: 1.0, peak: 1, busy: 0.97 };
        let (bytes_per_second, files_per_second) = ((bytes as f64 / seconds) as u64, files as f64 / seconds);
        let in_flight = Some(InFlight { now: 8, most: 8, why: Learned::MoreBringsMore });
        let (done, sent, processor) = (files, bytes, 0.1);
        Uploaded { files, done, bytes, sent, seconds, bytes_per_second, files_per_second, requests, in_flight, processor }
    }

    fn document() -> Document {
        let times = |median_ms, worst_ms| Some(Times { median_ms, worst_ms });
        Document {
            version: 1,
            host: Measured { name: "box".into(), kind: "s3", practice: false },
            folder: "/state".into(),
            daemon_running: false,
            disk: Disk { bytes: 64 << 20, seconds: 0.5, per_second: 128 << 20, from: From::Disk },
            queue: Queue { alone_per_second: 200, together_per_second: 8_000, together: 64 },
            digests: vec![DigestRate { algorithm: Algorithm::Md5, per_second: 500 << 20, of_whole_file: false }],
            loopback_per_second: None,
            login_ms: 104.2,
            large: uploaded(1, 64 << 20, 16.0),
            alone: Alone { files: 10, first_byte: times(5.6, 9.1), done: times(230.0, 412.0) },
            small: Some(uploaded(90, 90 * 4096, 9.0)),
            uploads_at_once: 16,
            bandwidth: None,
            brakes: Vec::new(),
            left: Vec::new(),
        }
    }

    /// What held the large and the small uploads up.
    fn brakes(change: impl FnOnce(&mut Document)) -> [Brake; 2] {
        let mut document = document();
        change(&mut document);
        document.find_brakes(2, &Shape::whole());
        [document.brakes[0].brake, document.brakes[1].brake]
    }

    #[test]
    fn each_part_is_held_against_what_went_of_it() {
        let else_where = Brake::LinkOrHost { enough: None };
        assert_eq!(brakes(|_| ()), [Brake::OneFile { most: 1 }, else_where]);
        assert_eq!(brakes(|at| at.bandwidth = Some(5 << 20)), [Brake::Bandwidth, else_where]);
        assert_eq!(brakes(|at| at.disk.per_second = 5 << 20)[0], Brake::Disk);
        let in_memory = |at: &mut Document| at.disk = Disk { per_second: 5 << 20, from: From::Memory, ..at.disk };
        assert_eq!(brakes(in_memory)[0], Brake::OneFile { most: 1 });
        assert_eq!(brakes(|at| at.digests[0].per_second = 4 << 20)[0], Brake::OneFile { most: 1 }, "on two processors");
        let of_whole = |at: &mut Document| at.digests[0] = DigestRate { per_second: 5 << 20, of_whole_file: true, ..at.digests[0] };
        assert_eq!(brakes(of_whole)[0], Brake::Digest);
        assert_eq!(brakes(|at| at.queue.together_per_second = 12)[1], Brake::Queue);
        assert_eq!(
            brakes(|at| (at.queue.alone_per_second, at.uploads_at_once) = (1, 8))[1],
            Brake::Queue,
            "all uploads wait for it"
        );
        let all = InUse { mean: 7.9, peak: 8, busy: 1.0 };
        let at_bound = |at: &mut Document| at.small.iter_mut().for_each(|small| small.requests = all);
        assert_eq!(brakes(at_bound)[1], Brake::MaxConnections { most: 8 });
    }

    #[test]
    fn where_nothing_stands_out_all_that_was_at_work_is_told() {
        let mut document = document();
        document.large.requests.busy = 0.4;
        document.find_brakes(2, &Shape::whole());
        let expected = "for 40 % of the time requests were in flight, for 10 % the processor, for 3 % the disk that the files are on, for \
                        less than 1 % the digest at work";
        assert_eq!((document.brakes[0].brake, document.brakes[0].why.as_str()), (Brake::Nothing, expected));
    }

    #[test]
    fn the_table_says_what_was_measured_and_what_may_be_changed() {
        let mut document = document();
        document.bandwidth = Some(4 << 20);
        document.find_brakes(2, &Shape::whole());
        let expected = "\
From `/state` to `box` (s3):

MEASURED     RESULT           OF WHAT
disk         128.0 MiB/s      64.0 MiB read from the disk
queue        200 commits/s    each on the disk before the next begins
             8,000 commits/s  64 at once
digest       500.0 MiB/s      md5, which the host wants of each part
login        104 ms           the quickest login test
large file   4.0 MiB/s        64.0 MiB
small files  10 files/s       90 files of 4.0 KiB at once
first byte   5.6 ms           from the close of a file; worst of 10: 9.1 ms
done         230 ms           until it is on record; worst of 10: 412 ms
in flight    8 requests       of 8 at most: the maximum

Large files: the brake is `bandwidth`. 4.0 MiB/s went, and `bandwidth` allows 4.0 MiB/s. Raise `bandwidth` in [daemon] \
or [host.box].
Small files: the brake is the link or the host. Requests were in flight for 97 % of the time, and nothing else was near what it can do.
";
        assert_eq!(document.table(), expected);
    }
}
