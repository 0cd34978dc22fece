//! One suite for every kind of host: the same promises in the same words, through the real daemon and the sandbox host of that
//! kind.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use ferryd::internals::job::State;
use ferryd::internals::job::health::HostState;
use ferryd::internals::store::JobRow;
use ferryd_sandbox::Options;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, RetryAfter, Rule, Script, When};

use ferryd::internals::os::crash::POINTS;
use rand::{RngExt, SeedableRng};

use crate::bench_top::{Bench, Daemon, bytes};
use crate::crash::Kill;
use crate::skip::skipped;

/// A kind, with what a test must know of it: facts of the host's documents and of its emulation, none of them read from the code
/// under test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub word: &'static str,
    /// Whether a file of 0 bytes arrives.
    takes_empty_files: bool,
    /// Lines in its table that make parts as small as it allows.
    small_parts: &'static str,
    /// The size of those parts; nothing where the file travels in one request.
    pub part_bytes: Option<usize>,
    /// Whether a file that travels in one request becomes one by a further request.
    named_apart: bool,
    /// Whether a commit that went unanswered may leave a second file.
    may_duplicate: bool,
    /// The start of the file's name on the host: Kie.ai's has a digest before it.
    renames: bool,
    /// Whether the address or key that parts go to may end. Where nothing expires, and for calls that carry credentials of their
    /// own, there is nothing to show.
    expires: bool,
    /// Whether it would notice that the bytes it received are not those of the file.
    notices_corruption: bool,
    /// The requests of one upload, each of which meets every fault.
    endpoints: &'static [Endpoint],
    /// The credentials of its emulation.
    secrets: &'static [&'static str],
    /// The names of the secrets in its addresses.
    passing_secrets: &'static [&'static str],
    /// Words that `check --online` says of it where all is well.
    pub fine: &'static str,
    /// What of its table makes a wrong login when replaced by the other.
    pub login: Option<(&'static str, &'static str)>,
}

/// The list of the kinds, with the tests that every one of them has under a name of its own: further tests are further lines.
macro_rules! kinds {
    ($($(#[cfg($cfg:meta)])? $name:ident: $kind:expr, { $($(#[cfg($test_cfg:meta)])? $test:ident: $run:ident,)* })+) => {
        $($(#[cfg($cfg)])? pub(crate) const $name: Kind = $kind;)+
        const KINDS: &[Kind] = &[$($(#[cfg($cfg)])? $name,)+];
        $($(
            $(#[cfg($test_cfg)])?
            #[test]
            fn $test() {
                $run($name);
            }
        )*)+
    };
}

kinds! {
    CLOUDKP: Kind {
        word: "cloudkp",
        takes_empty_files: true,
        small_parts: "",
        part_bytes: Some(131_072),
        named_apart: false,
        may_duplicate: true,
        renames: false,
        expires: false,
        // It checks nothing (`docs/protocols/cloudkp.md`, 3.2), and nobody could notice.
        notices_corruption: false,
        endpoints: &[Endpoint::Chunk, Endpoint::Finish],
        secrets: &[],
        passing_secrets: &[],
        fine: "(no login needed)",
        login: None,
    }, {
        every_fault_of_cloudkp_ends_with_the_file_there_or_a_reason: every_fault,
    }
    UPLOADGIG: Kind {
        word: "uploadgig",
        takes_empty_files: true,
        small_parts: "",
        part_bytes: None,
        named_apart: false,
        may_duplicate: true,
        renames: false,
        expires: true,
        notices_corruption: true,
        endpoints: &[Endpoint::Open, Endpoint::Chunk],
        secrets: &["s3cret-gig"],
        passing_secrets: &["identity"],
        fine: "10240 MiB free",
        login: Some(("s3cret-gig", "hunter2")),
    }, {
        every_fault_of_uploadgig_ends_with_the_file_there_or_a_reason: every_fault,
        uploadgig_has_every_file_and_says_which_may_be_there_twice_whenever_the_daemon_is_killed: kill_at_random,
    }
    KOODRIVE: Kind {
        word: "koodrive",
        takes_empty_files: true,
        small_parts: "part_size = \"5 MiB\"",
        part_bytes: Some(5 * 1024 * 1024),
        named_apart: false,
        may_duplicate: false,
        renames: false,
        expires: true,
        notices_corruption: true,
        endpoints: &[Endpoint::Open, Endpoint::Address, Endpoint::Chunk, Endpoint::Finish],
        secrets: &["test-app-secret", "test-token", "test-session", "test-refresh"],
        passing_secrets: &["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Iteration-Hash-Ctx"],
        fine: "(koodrive): credentials accepted",
        login: Some(("test-app-secret", "hunter2")),
    }, {
        every_fault_of_koodrive_ends_with_the_file_there_or_a_reason: every_fault,
        koodrive_has_every_file_once_whenever_the_daemon_is_killed: kill_at_random,
    }
    KIE: Kind {
        word: "kie",
        takes_empty_files: true,
        small_parts: "",
        part_bytes: None,
        named_apart: false,
        may_duplicate: false,
        renames: true,
        expires: false,
        notices_corruption: true,
        endpoints: &[Endpoint::Chunk],
        secrets: &["sk-test"],
        passing_secrets: &[],
        fine: "API key accepted",
        login: Some(("sk-test", "hunter2")),
    }, {
        every_fault_of_kie_ends_with_the_file_there_or_a_reason: every_fault,
        kie_has_every_file_once_by_overwriting_whenever_the_daemon_is_killed: kill_at_random,
    }
    FOURSHARED: Kind {
        word: "4shared",
        takes_empty_files: false,
        small_parts: "part_size = \"256 KiB\"",
        part_bytes: Some(256 * 1024),
        named_apart: false,
        may_duplicate: false,
        renames: false,
        expires: true,
        notices_corruption: true,
        endpoints: &[Endpoint::Open, Endpoint::Address, Endpoint::Chunk, Endpoint::Finish, Endpoint::Link],
        secrets: &["s3cret"],
        passing_secrets: &["sid"],
        fine: "(4shared): logged in",
        login: Some(("\"s3cret\"", "\"hunter2\"")),
    }, {
        every_fault_of_4shared_ends_with_the_file_there_or_a_reason: every_fault,
        fourshared_has_every_file_once_whenever_the_daemon_is_killed: kill_at_random,
    }
    S3: Kind {
        word: "s3",
        takes_empty_files: true,
        small_parts: "part_size = \"5 MiB\"\nsingle_put_max = \"0 B\"",
        part_bytes: Some(5 * 1024 * 1024),
        named_apart: false,
        may_duplicate: false,
        renames: false,
        expires: false,
        notices_corruption: true,
        endpoints: &[Endpoint::Open, Endpoint::Chunk, Endpoint::Finish],
        secrets: &["s3cret-object-store-key"],
        passing_secrets: &["X-Amz-Signature"],
        fine: "(s3): credentials accepted",
        login: Some(("s3cret-object-store-key", "hunter2")),
    }, {
        every_fault_of_s3_ends_with_the_file_there_or_a_reason: every_fault,
        s3_has_every_file_once_whenever_the_daemon_is_killed: kill_at_random,
    }
    WEBDAV: Kind {
        word: "webdav",
        takes_empty_files: true,
        small_parts: "flavour = \"plain\"",
        part_bytes: None,
        named_apart: true,
        may_duplicate: false,
        renames: false,
        expires: false,
        // It has no digests (`docs/protocols/webdav.md`, 4), and nobody could notice.
        notices_corruption: false,
        endpoints: &[Endpoint::Probe, Endpoint::Chunk, Endpoint::Finish],
        secrets: &["s3cret-dav-password"],
        passing_secrets: &[],
        fine: "(webdav): credentials accepted",
        login: Some(("s3cret-dav-password", "hunter2")),
    }, {
        every_fault_of_webdav_ends_with_the_file_there_or_a_reason: every_fault,
        webdav_has_every_file_once_whenever_the_daemon_is_killed: kill_at_random,
    }
    TUS: Kind {
        word: "tus",
        takes_empty_files: true,
        small_parts: "chunk = \"64 KiB\"",
        part_bytes: Some(64 * 1024),
        named_apart: false,
        may_duplicate: false,
        renames: false,
        expires: true,
        // What is changed at rest shows nowhere: the bytes of each request are all that is checked.
        notices_corruption: false,
        endpoints: &[Endpoint::Open, Endpoint::Chunk],
        secrets: &["tus-practice-token-7"],
        passing_secrets: &[],
        fine: "(tus): credentials accepted",
        login: Some(("tus-practice-token-7", "hunter2")),
    }, {
        every_fault_of_tus_ends_with_the_file_there_or_a_reason: every_fault,
        tus_has_every_file_once_whenever_the_daemon_is_killed: kill_at_random,
    }
    EXAMPLE: Kind {
        word: "example",
        takes_empty_files: true,
        small_parts: "part_size = \"64 KiB\"",
        part_bytes: Some(64 * 1024),
        named_apart: false,
        may_duplicate: false,
        renames: false,
        expires: true,
        notices_corruption: true,
        endpoints: &[Endpoint::Open, Endpoint::Chunk, Endpoint::Finish],
        secrets: &["s3cret-example"],
        passing_secrets: &[],
        fine: "(example): logged in",
        login: Some(("s3cret-example", "hunter2")),
    }, {
        every_fault_of_example_ends_with_the_file_there_or_a_reason: every_fault,
        example_has_every_file_once_whenever_the_daemon_is_killed: kill_at_random,
    }
}

/// WebDAV with chunks, as Nextcloud takes them.
pub(crate) const NEXTCLOUD: Kind = Kind {
    small_parts: "part_size = \"5 MiB\"",
    part_bytes: Some(5 * 1024 * 1024),
    named_apart: false,
    endpoints: &[Endpoint::Open, Endpoint::Chunk, Endpoint::Finish],
    ..WEBDAV
};

#[test]
fn every_fault_of_nextcloud_ends_with_the_file_there_or_a_reason() {
    every_fault(NEXTCLOUD);
}

#[test]
fn nextcloud_has_every_file_once_whenever_the_daemon_is_killed() {
    kill_at_random(NEXTCLOUD);
}

/// Every kind, whichever is asked for.
pub(crate) fn all() -> &'static [Kind] {
    KINDS
}

/// The folders of `src/host` that hold the settings of a kind.
fn folders_of_kinds() -> BTreeSet<String> {
    let beside = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host")).unwrap();
    let of_kinds = beside.map(|entry| entry.unwrap().path()).filter(|path| path.join("settings.rs").exists());
    of_kinds.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_kind_is_in_every_list_or_in_none() {
    let words: Vec<&str> = ferryd::internals::host::kinds::KINDS.iter().map(ferryd::internals::host::kind::Kind::word).collect();
    assert_eq!(ferryd_sandbox::kinds(), words, "src/host/kinds.rs and crates/ferryd-sandbox/src/kinds.rs");
    assert_eq!(KINDS.iter().map(|kind| kind.word).collect::<Vec<_>>(), words, "src/host/kinds.rs and tests/it/kinds.rs");
    let modules: BTreeSet<String> = ferryd::internals::host::kinds::KINDS.iter().map(|kind| kind.module().to_owned()).collect();
    assert_eq!(modules, folders_of_kinds(), "src/host/kinds.rs and the folders of src/host");
    let targets = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    let lacks = |module: &&String| !targets.contains(&format!("path = \"fuzz_targets/{module}.rs\""));
    assert_eq!(modules.iter().filter(lacks).collect::<Vec<_>>(), [""; 0], "src/host/kinds.rs and the targets of fuzz/Cargo.toml");
}

/// The kinds that are asked for: all of them, or the one that `FERRYD_KIND` names.
pub(crate) fn kinds() -> Vec<Kind> {
    let Ok(word) = std::env::var("FERRYD_KIND") else { return KINDS.to_vec() };
    let kind = KINDS.iter().find(|kind| kind.word == word);
    vec![*kind.unwrap_or_else(|| panic!("FERRYD_KIND is {word:?}; known are {:?}", ferryd_sandbox::kinds()))]
}

/// Whether this kind is asked for. If not, the test says that it shows nothing.
fn is_asked_for(kind: Kind) -> bool {
    let asked_for = kinds().iter().any(|asked| asked.word == kind.word);
    if !asked_for {
        skipped("FERRYD_KIND names another kind");
    }
    asked_for
}

impl Kind {
    pub(crate) fn part_bytes(self) -> Option<usize> {
        self.part_bytes
    }

    pub(crate) fn small_parts(self) -> &'static str {
        self.small_parts
    }

    /// With parts as large as they are where nothing is set.
    pub(crate) fn bench_as_it_comes(self) -> Bench {
        let flavour = self.small_parts.lines().find(|line| line.starts_with("flavour")).unwrap_or("");
        Bench::new().to(&[self.word]).host(flavour).watch("settle = \"0s\"")
    }

    pub(crate) fn bench(self) -> Bench {
        self.bench_with(|_| {})
    }

    pub(crate) fn bench_with(self, change: impl FnOnce(&mut Options)) -> Bench {
        Bench::with(change).to(&[self.word]).host(self.small_parts).watch("settle = \"0s\"\nmin_size = \"0 B\"\nexclude = []")
    }

    /// Whether a file on its way to this kind passes the crash point. The answer to a file that travels whole is its outcome; the
    /// intent to send it is written down only where a second file would show.
    fn passes(self, point: &str) -> bool {
        match point {
            "ack.after_commit" => self.part_bytes.is_some() || self.named_apart,
            "finish.before_commit" | "finish.before_send" => self.part_bytes.is_some() || self.named_apart || self.may_duplicate,
            _ => true,
        }
    }

    /// What the host holds under the name of a file.
    pub(crate) fn held(self, bench: &Bench, name: &str) -> Vec<Vec<u8>> {
        let is_it = |held: &str| held == name || (self.renames && held.split_once('-').is_some_and(|(_, rest)| rest == name));
        let objects = bench.sandbox.objects().into_iter().filter(|object| is_it(&object.name));
        objects.map(|object| bench.sandbox.read(&object).unwrap()).collect()
    }
}

#[test]
fn files_of_every_size_arrive_once_and_equal() {
    for kind in kinds() {
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
        let jobs = bench.wait_done(contents.len());
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
    let refusing: Vec<Kind> = kinds().into_iter().filter(|kind| !kind.takes_empty_files).collect();
    if refusing.is_empty() {
        skipped("FERRYD_KIND names a kind that takes empty files");
    }
    for kind in refusing {
        let bench = kind.bench();
        bench.put("empty", b"");
        let daemon = bench.start();
        let job = bench.wait_state(State::Failed);
        assert!(job.why.unwrap().to_string().contains("the file is empty"), "{}", kind.word);
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
    for kind in kinds() {
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

/// Everything a fault script can do to one request of this kind's host, F1 to F16 of the list in the protocol notes.
fn actions() -> Vec<Action> {
    let status = |code, body, stored| Action::Status { code, body, stored };
    vec![
        status(500, ErrorBody::Json, false),
        status(500, ErrorBody::Empty, true),
        status(502, ErrorBody::Empty, false),
        status(503, ErrorBody::Plain, false),
        status(504, ErrorBody::Plain, true),
        Action::TooManyRequests { retry_after: RetryAfter::Seconds(1) },
        Action::TooManyRequests { retry_after: RetryAfter::DateInSeconds(1) },
        Action::TooManyRequests { retry_after: RetryAfter::Absent },
        Action::CloseBeforeReading { reset: true },
        Action::CloseBeforeReading { reset: false },
        Action::ResetAfterBytes { bytes: 500 },
        Action::ResetAfterBody,
        Action::LoseReply { reset: true },
        Action::LoseReply { reset: false },
        Action::SlowReading { bytes_per_second: 40_000_000 },
        Action::SlowReply { seconds: 0.05 },
        Action::Stall { after_bytes: 100, seconds: 0.05 },
        Action::CutReply { bytes: 3 },
        Action::WrongLength { by: 10 },
        Action::Html { status: 200, stored: false },
        Action::Html { status: 200, stored: true },
        Action::Html { status: 503, stored: false },
        Action::LoseSession,
        Action::Expire,
        Action::Deny,
        Action::Limit,
        Action::AccountFull,
        Action::WrongFacts,
        Action::StoreOtherName,
        Action::DropPart,
        Action::CorruptPart,
        Action::Twice,
        Action::EarlyReply { status: 503, body: ErrorBody::Json, after_bytes: 0, hold_seconds: 0.0 },
        Action::EarlyReply { status: 401, body: ErrorBody::Empty, after_bytes: 100, hold_seconds: 0.0 },
        Action::SwapTypes,
        Action::ExtraFields,
        Action::ReorderFields,
        Action::Redirect { status: 307, to: None },
        Action::Redirect { status: 302, to: Some("http://127.0.0.1:9/".into()) },
        Action::Moved,
    ]
}

/// Whether this fault, met once, may end otherwise than with the file on the host: it says that a person has to act.
fn may_park(kind: Kind, action: &Action) -> bool {
    // A bad copy stays on the host, so the next one is not made at once.
    if matches!(kind.word, "uploadgig" | "webdav") && *action == Action::WrongFacts {
        return true;
    }
    matches!(action, Action::Deny | Action::Limit | Action::AccountFull | Action::Redirect { .. } | Action::Moved)
        || matches!(action, Action::EarlyReply { status: 401, .. })
}

/// Whether this kind of host can meet this fault there.
fn applies(kind: Kind, endpoint: Endpoint, action: &Action) -> bool {
    match action {
        Action::Expire => endpoint == Endpoint::Chunk && kind.expires,
        Action::CorruptPart => endpoint == Endpoint::Chunk && kind.notices_corruption,
        _ => true,
    }
}

/// A job that has ended, or is left alone for a long time, with its reason.
pub(crate) fn is_parked(job: &JobRow) -> bool {
    let later = ferryd::internals::os::clock::now_ms() + 20_000;
    job.state.is_final() || job.state == State::Held || job.next_try_ms.is_some_and(|at| at > later)
}

/// A host and a daemon, for one file after the other until something is left over that the next file would feel.
struct Life {
    bench: Bench,
    daemon: Daemon,
    files: u64,
}

impl Life {
    fn begin(kind: Kind) -> Life {
        let bench = kind.bench();
        let daemon = bench.start();
        Life { bench, daemon, files: 0 }
    }

    /// Whether nobody would know of the last file's fault any more.
    fn is_as_new(&self, last: &JobRow) -> bool {
        last.state == State::Done
            && self.bench.snapshot().is_some_and(|snapshot| snapshot.hosts[0].report.state == HostState::Ready)
    }

    fn end(self, told: &str) {
        self.bench.stop(self.daemon);
        no_secret_is_told(&self.bench, told);
    }
}

/// One file of two parts through one fault, to its end.
fn through(life: &mut Life, kind: Kind, endpoint: Endpoint, action: &Action) -> JobRow {
    let told = format!("{} {endpoint:?} {action:?}", kind.word);
    let bench = &life.bench;
    let before = bench.sandbox.stats().faults;
    bench.faults(Script::of([Rule::new(action.clone()).at(endpoint).when(When::Nth(1))]));
    let (name, content) = (format!("file{}", life.files), bytes(life.files, kind.part_bytes.unwrap_or(200_000) + 1000));
    life.files += 1;
    bench.put(&name, &content);
    let ours = |job: &JobRow| job.path.ends_with(&name) && is_parked(job);
    let job = bench.wait_for(&told, || bench.jobs().into_iter().find(ours));
    assert_eq!(bench.sandbox.stats().faults, before + 1, "{told}: the fault was met");
    let renamed = job.stored_name.as_ref().filter(|_| *action == Action::StoreOtherName && job.renamed_to().is_some());
    let held = renamed.map_or_else(|| kind.held(bench, &name), |renamed| bench.held(renamed));
    assert!(held.iter().all(|held| *held == content), "{told}: what the host holds is not the file");
    if job.state == State::Done {
        let twice_by_itself = *action == Action::Twice && kind.part_bytes.is_none();
        let once = held.len() == 1 || (held.len() > 1 && (job.maybe_duplicate || twice_by_itself));
        assert!(once, "{told}: {} files, {job:#?}", held.len());
        assert!(!job.maybe_duplicate || kind.may_duplicate, "{told}: {job:#?}");
        assert!(job.link.is_some() || job.remote_id.is_some(), "{told}: {job:#?}");
    } else {
        assert!(may_park(kind, action), "{told}: {job:#?}\n{}", bench.log_text());
        assert!(job.why.as_ref().is_some_and(|why| why.to_string().len() > 10), "{told}: {job:#?}");
    }
    job
}

/// Nothing of a password, key, signature, pre-signed query or `identity` is in the log, the rows, or what `status` prints.
pub(crate) fn no_secret_is_told(bench: &Bench, told: &str) {
    let mut places = vec![("the log", bench.log_text().into_bytes())];
    for name in ["queue.db", "queue.db-wal"] {
        places.push(("the queue", std::fs::read(bench.state_dir().join(name)).unwrap_or_default()));
    }
    for words in [&["status", "--json"][..], &["status"]] {
        places.push(("status", bench.command(words).output().unwrap().stdout));
    }
    for secret in secrets(bench) {
        for (place, content) in &places {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{told}: {place} holds the secret `{secret}`");
        }
    }
}

/// The credentials of the sandbox, and every passing secret that its log of addresses shows.
fn secrets(bench: &Bench) -> Vec<String> {
    let fixed = KINDS.iter().flat_map(|kind| kind.secrets).map(|secret| (*secret).to_owned());
    let log = bench.sandbox.log();
    let queries = log.iter().filter_map(|entry| entry.path.split_once('?')).flat_map(|(_, query)| query.split('&'));
    let is_secret = |name: &str| KINDS.iter().any(|kind| kind.passing_secrets.contains(&name));
    let passing = queries.filter_map(|pair| pair.split_once('=')).filter(|(name, _)| is_secret(name));
    let passing = passing.map(|(_, value)| value.to_owned()).filter(|value| value.len() >= 6);
    fixed.chain(passing).chain(kept_tokens(bench)).collect()
}

/// What is kept of what the hosts have given out, without what stands before a token.
fn kept_tokens(bench: &Bench) -> Vec<String> {
    let text = std::fs::read(bench.state_dir().join(ferryd::internals::host::TOKENS_FILE)).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let hosts = document["hosts"].as_object().into_iter().flat_map(|hosts| hosts.values());
    let tokens = hosts.flat_map(|host| ["access_token", "refresh_token"].map(|key| host[key].as_str())).flatten();
    tokens.map(|token| token.rsplit(['+', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// All faults at all its endpoints, several at a time: most of their time is waiting.
fn every_fault(kind: Kind) {
    if !is_asked_for(kind) {
        return;
    }
    let all: Vec<(Endpoint, Action)> =
        kind.endpoints.iter().flat_map(|endpoint| actions().into_iter().map(|action| (*endpoint, action))).collect();
    let all: Vec<_> = all.into_iter().filter(|(endpoint, action)| applies(kind, *endpoint, action)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut life: Option<Life> = None;
                while let Some((endpoint, action)) = all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    if kind.word == "4shared" && *endpoint == Endpoint::Address {
                        // For a minute the answers to an earlier file serve the next ones.
                        life.take().into_iter().for_each(|life| life.end(kind.word));
                    }
                    let mut now = life.take().unwrap_or_else(|| Life::begin(kind));
                    let job = through(&mut now, kind, *endpoint, action);
                    if now.is_as_new(&job) { life = Some(now) } else { now.end(kind.word) }
                }
                life.into_iter().for_each(|life| life.end(kind.word));
            });
        }
    });
}

#[test]
fn death_at_every_point_of_the_road_leaves_one_equal_file_on_every_kind_of_host() {
    for kind in kinds().into_iter().chain(Some(NEXTCLOUD).filter(|kind| is_asked_for(*kind))) {
        for point in POINTS.iter().copied().filter(|point| kind.passes(point)) {
            let told = format!("{} {point}", kind.word);
            let bench = kind.bench();
            let content = bytes(7, kind.part_bytes.unwrap_or(200_000) + 1000);
            let mut daemon = bench.start_with(&[("FERRYD_CRASH_AT", point)]);
            bench.put("file", &content);
            bench.wait_for(&told, || daemon.ended());
            let daemon = bench.start();
            let jobs = bench.wait_done(1);
            bench.stop(daemon);
            let held = kind.held(&bench, "file");
            assert!(!held.is_empty() && held.iter().all(|held| *held == content), "{told}: {}", held.len());
            assert!(held.len() == 1 || (kind.may_duplicate && jobs[0].maybe_duplicate), "{told}: {} files", held.len());
            let in_doubt = ["finish.before_send", "ack.before_commit", "uploaded.before_commit"].contains(&point);
            // The ack of a part leaves none.
            let in_doubt = in_doubt && kind.may_duplicate && (point != "ack.before_commit" || kind.part_bytes.is_none());
            // A row is claimed as soon as it is committed, so this death may come anywhere in the upload.
            let is_anywhere = point == "enqueue.after_commit" && kind.may_duplicate;
            let is_told = jobs[0].maybe_duplicate;
            assert!(is_told == in_doubt || is_anywhere, "{told}: only what may have made a file leaves a doubt: {is_told}");
        }
    }
}

/// Some files, and a daemon that is killed a few times. Long runs are in `kills`.
fn kill_at_random(kind: Kind) {
    if !is_asked_for(kind) {
        return;
    }
    let kills = 4;
    let edge = kind.part_bytes.unwrap_or(1_000_000);
    let mut random = rand::rngs::StdRng::seed_from_u64(31);
    let mut sizes = vec![1, edge - 1, edge, edge + 1, 3 * edge, 11 * edge + 7];
    sizes.extend((0..kills / 3).map(|_| random.random_range(1..3 * edge)));
    let bench = kind.bench().host(&format!("{}\nbandwidth = \"{} B/s\"", kind.small_parts, 25 * edge));
    let contents: HashMap<String, Vec<u8>> =
        sizes.iter().enumerate().map(|(index, size)| (format!("f{index}"), bytes(index as u64, *size))).collect();
    for (name, content) in &contents {
        bench.put(name, content);
    }
    let mut killed = Vec::new();
    for _ in 0..kills {
        let daemon = bench.start();
        std::thread::sleep(std::time::Duration::from_millis(random.random_range(20..500)));
        daemon.kill();
        killed.push(Kill::now(bench.sandbox.log()));
    }
    let daemon = bench.start();
    let jobs = bench.wait_done(sizes.len());
    bench.stop(daemon);
    assert_eq!(jobs.len(), sizes.len(), "{}: one job for each file", kind.word);
    for (name, content) in &contents {
        let job = jobs.iter().find(|job| job.path.ends_with(name)).unwrap();
        let held = kind.held(&bench, name);
        assert!(!held.is_empty() && held.iter().all(|held| held == content), "{}: {name}: {}", kind.word, held.len());
        assert!(held.len() == 1 || (kind.may_duplicate && job.maybe_duplicate), "{}: {name}: {} files", kind.word, held.len());
    }
    if kind.part_bytes.is_some() {
        let log = bench.sandbox.log();
        killed.iter().for_each(|kill| kill.only_parts_in_flight_came_again(&log));
    }
}
