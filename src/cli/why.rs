//! `ferryd why PATH`: all that is known of one path, also of one that never became a job.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::config::{self, ProcessEnvironment};
use crate::engine::exclusion::{Exclusion, exclusions};
use crate::host::kinds::KINDS;
use crate::job::marker::{Marker, Readiness, readiness};
use crate::job::watch::OnChange;
use crate::job::{Identity, JobRow, State, Watch, Watches};
use crate::os::lease::{self, Writers};
use crate::os::{clock, threads};
use crate::store::{Known, Query, Snapshot};

use super::exit::Exit;
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::status;

/// How long a folder that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Jobs of one file that are shown.
const JOBS_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file or folder, whether it is there or not.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Read the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// What `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    path: String,
    watch: Option<String>,
    hosts: &'a [String],
    jobs: &'a [JobRow],
    /// Sentences.
    reasons: &'a [String],
}

pub(super) fn run(file: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(file.clone(), arguments.state_dir.as_ref())?;
    let file = file.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
    // One that is broken has been told of.
    let watches = config::load(&file, KINDS, &ProcessEnvironment).map_or_else(|_| Watches::default(), |config| config.watches);
    let path: PathBuf = std::path::absolute(&arguments.path).unwrap_or_else(|_| arguments.path.clone()).components().collect();
    let failed = |error| CommandFailure::store(&place.dir, &error);
    let (mut snapshot, mut known) = (Snapshot::default(), None);
    if let Some(mut view) = place.open(&[])? {
        let query = Query { paths: vec![path.clone()], limit: JOBS_MAX, now_ms: clock::now_ms(), ..Query::default() };
        snapshot = view.snapshot(&query).map_err(failed)?;
        known = view.known(&path).map_err(failed)?;
    }
    let watch = watches.of_file(&path);
    let markers = watch.and_then(|watch| watch.ready_when.clone());
    let found =
        threads::each_within(vec![path.clone()], PATIENCE, move |path: &Path| Found::look(path, markers.as_ref())).remove(0);
    let mut lines = status::lines_of_jobs(&place, &mut snapshot);
    let is_on_its_way = snapshot.jobs.iter().any(|job| job.path == path && job.state != State::Gone);
    lines.extend(reasons(&path, watch, found.as_ref(), known, is_on_its_way));
    lines.extend(ignored_change(watch, found.as_ref(), &snapshot.jobs));
    lines.extend(about_watch(watch, &snapshot));
    if arguments.json {
        let document = Document {
            version: 1,
            path: path.to_string_lossy().into_owned(),
            watch: watch.map(|watch| watch.path.to_string_lossy().into_owned()),
            hosts: watch.map_or(&[], |watch| &watch.to),
            jobs: &snapshot.jobs,
            reasons: &lines,
        };
        let text = serde_json::to_string_pretty(&document).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
        render::out(&format!("{text}\n"))?;
    } else {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        render::out(&format!("{}\n{lines}", render::path(&path)))?;
    }
    Ok(Exit::Fine)
}

/// What is at a path.
enum Found {
    Nothing,
    Unreadable(String),
    Folder,
    Link,
    Other,
    File {
        about: Metadata,
        writers: Writers,
        /// What its marker says, where its watch wants one.
        readiness: Option<Readiness>,
    },
}

impl Found {
    fn look(path: &Path, markers: Option<&Marker>) -> Found {
        let about = match path.symlink_metadata() {
            Ok(about) => about,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Found::Nothing;
            }
            Err(error) => return Found::Unreadable(error.to_string()),
        };
        match about.file_type() {
            kind if kind.is_dir() => Found::Folder,
            kind if kind.is_symlink() => Found::Link,
            kind if !kind.is_file() => Found::Other,
            _ => match open(path) {
                Ok(file) => {
                    let readiness = markers.map(|markers| readiness_of(path, &about, markers));
                    Found::File { writers: lease::writers(&file), about, readiness }
                }
                Err(error) => Found::Unreadable(error.to_string()),
            },
        }
    }
}

fn readiness_of(path: &Path, about: &Metadata, markers: &Marker) -> Readiness {
    let marker = path.with_file_name(markers.of(path.file_name().unwrap_or_default()));
    let marker = marker.symlink_metadata().ok().filter(Metadata::is_file).map(|about| Identity::of(&about));
    readiness(&Identity::of(about), marker.as_ref())
}

/// Somebody may put something else there just now, which must not be waited for.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc_flags()).open(path)
}

fn libc_flags() -> i32 {
    (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed()
}

/// Why there is no job for it, or will be none; nothing where the jobs say all.
fn reasons(path: &Path, watch: Option<&Watch>, found: Option<&Found>, known: Option<Known>, is_on_its_way: bool) -> Vec<String> {
    let Some(watch) = watch else { return vec!["It is in no watched folder.".into()] };
    let about = match found {
        None => return vec![format!("Its disk has not answered for {}.", render::duration(PATIENCE))],
        Some(Found::Nothing) if is_on_its_way => return Vec::new(),
        Some(Found::Nothing) => return vec!["There is no such file.".into()],
        Some(Found::Unreadable(why)) => return vec![format!("It cannot be read: {}.", render::line(why))],
        Some(Found::Folder) => return vec![folder(path, watch)],
        Some(Found::Link) if !watch.follow_symlinks => {
            return vec!["It is a symbolic link, and the watch has not `follow_symlinks = true`.".into()];
        }
        Some(Found::Link | Found::Other) => return vec!["It is no regular file.".into()],
        Some(Found::File { about, .. }) => about,
    };
    let relative = path.strip_prefix(&watch.path).unwrap_or(path);
    let excluded: Vec<String> =
        exclusions(watch, relative, about.len()).iter().map(|exclusion| told(exclusion, about.len())).collect();
    if !excluded.is_empty() || is_on_its_way {
        return excluded;
    }
    match known {
        Some(Known { is_forgotten: true, has_jobs: false }) => {
            vec!["Its uploads were removed from the history with `ferryd forget`. It is uploaded again when it changes.".into()]
        }
        Some(Known { is_forgotten: false, has_jobs: false }) => {
            vec!["It was there before its watch was first seen, and the watch has `existing = false`. `touch` it to have it uploaded.".into()]
        }
        _ => not_settled(watch, found, about),
    }
}

/// That it has changed since its uploads, where that is ignored.
fn ignored_change(watch: Option<&Watch>, found: Option<&Found>, jobs: &[JobRow]) -> Option<String> {
    let Some(Found::File { about, .. }) = found else { return None };
    let ignores = watch.is_some_and(|watch| watch.on_change == OnChange::Ignore);
    let changed_ms = Identity::of(about).mtime_ns / 1_000_000;
    let is_up = |job: &JobRow| matches!(job.state, State::Uploaded | State::Done);
    let is_newer = !jobs.is_empty() && jobs.iter().all(|job| is_up(job) && job.queued_at_ms < changed_ms);
    (ignores && is_newer).then(|| {
        "It was changed after it was uploaded, and the watch has `on_change = \"ignore\"`. `ferryd send` uploads it as it is now.".into()
    })
}

fn folder(path: &Path, watch: &Watch) -> String {
    if path != watch.path && !watch.recursive {
        return "It is a folder below a watch that has `recursive = false`.".into();
    }
    "It is a folder; only the files in it are uploaded.".into()
}

fn told(exclusion: &Exclusion, bytes: u64) -> String {
    match exclusion {
        Exclusion::Ours => "ferryd writes files of this name itself, and uploads none.".into(),
        Exclusion::Marker => "It is the marker of another file (`ready_when`), and such are not uploaded.".into(),
        Exclusion::Excluded(glob) => format!("`{}` in the watch's `exclude` leaves it out.", render::line(glob)),
        Exclusion::NotIncluded => "Nothing in the watch's `include` is about it.".into(),
        Exclusion::TooSmall(_) if bytes == 0 => "It is empty (`min_size = \"0 B\"` takes empty files, too).".into(),
        Exclusion::TooSmall(min) => format!("It has {}, and the watch has `min_size` {}.", render::size(bytes), render::size(*min)),
        Exclusion::TooLarge(max) => format!("It has {}, and the watch has `max_size` {}.", render::size(bytes), render::size(*max)),
    }
}

/// What it still waits for.
fn not_settled(watch: &Watch, found: Option<&Found>, about: &Metadata) -> Vec<String> {
    let writers = if let Some(Found::File { writers, .. }) = found { *writers } else { Writers::Unknown };
    let changed_ms = about.mtime().saturating_mul(1000);
    let quiet = Duration::from_millis(u64::try_from(clock::now_ms().saturating_sub(changed_ms)).unwrap_or(0));
    let ago = render::duration(quiet);
    if let (Some(markers), Some(Found::File { readiness: Some(readiness), .. })) = (&watch.ready_when, found) {
        match readiness {
            Readiness::Missing => return vec![format!("It waits for its marker, `{markers}`, which is not there.")],
            Readiness::Older => {
                return vec![format!("It waits for its marker, `{markers}`: the one that is there is older than it is.")];
            }
            Readiness::Ready => {}
        }
    }
    match writers {
        Writers::Somebody => vec!["A program has it open for writing; it is uploaded once that has closed it.".into()],
        Writers::Unknown if quiet < watch.settle_unknown => vec![format!(
            "Nobody can tell whether a program is still writing it. It changed {ago} ago, and is uploaded once it was seen to be closed, \
             or has not changed for {} or longer.",
            render::duration(watch.settle_unknown)
        )],
        _ if quiet < watch.settle => {
            vec![format!("It changed {ago} ago, and is uploaded once it has not changed for {}.", render::duration(watch.settle))]
        }
        _ => vec!["Nothing keeps it from being uploaded; the next look at its folder queues it.".into()],
    }
}

/// Where it belongs, and whether anybody looks there.
fn about_watch(watch: Option<&Watch>, snapshot: &Snapshot) -> Vec<String> {
    let Some(watch) = watch else { return Vec::new() };
    let belongs = format!("It belongs to the watch `{}`, uploaded to {}.", render::path(&watch.path), watch.to.join(", "));
    let row = snapshot.watches.iter().find(|row| row.path == watch.path);
    let why = row.and_then(|row| {
        row.report.why.as_ref().map(|why| format!("The watch is {}: {}.", row.report.state.word(), render::line(why)))
    });
    std::iter::once(belongs).chain(why).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_path_without_a_job_has_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let watch = Watch { settle: Duration::from_secs(3600), ..Watch::new(dir.path().to_owned(), Arc::from(["box".to_owned()])) };
        for name in ["a.part", "a.mov", "empty", "open.mov"] {
            std::fs::write(path(name), if name == "empty" { "" } else { "x" }).unwrap();
        }
        std::os::unix::fs::symlink("a.mov", path("link")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        let _writer = OpenOptions::new().append(true).open(path("open.mov")).unwrap();
        let why = |name: &str| {
            reasons(&path(name), Some(&watch), Some(&Found::look(&path(name), watch.ready_when.as_ref())), None, false).join(" ")
        };
        let cases = [
            ("a.part", "`*.part` in the watch's `exclude`"),
            ("empty", "It is empty"),
            ("link", "symbolic link"),
            ("folder", "It is a folder"),
            ("none", "no such file"),
            ("a.mov/b", "no such file"),
        ];
        for (name, expected) in cases {
            assert!(why(name).contains(expected), "{name}: {}", why(name));
        }
        // Where nobody tells who writes, both are the same.
        if lease::writers(&open(&path("a.mov")).unwrap()) == Writers::Nobody {
            assert!(why("open.mov").contains("open for writing"), "{}", why("open.mov"));
            assert!(why("a.mov").contains("has not changed for 1 h"), "{}", why("a.mov"));
        }
        let watch = Watch { ready_when: Marker::parse("{name}.done").ok(), ..watch };
        let why =
            || reasons(&path("a.mov"), Some(&watch), Some(&Found::look(&path("a.mov"), watch.ready_when.as_ref())), None, false);
        assert_eq!(why(), ["It waits for its marker, `{name}.done`, which is not there."]);
        std::fs::write(path("a.mov.done"), "").unwrap();
        assert!(!why()[0].contains("marker"), "{:?}", why());
        let stranger = reasons(Path::new("/x"), None, None, None, false);
        assert_eq!(stranger, ["It is in no watched folder."]);
        let passed_over = reasons(
            &path("a.mov"),
            Some(&watch),
            Some(&Found::look(&path("a.mov"), None)),
            Some(Known { has_jobs: false, is_forgotten: false }),
            false,
        );
        assert!(passed_over[0].contains("existing = false"), "{passed_over:?}");
    }
}
