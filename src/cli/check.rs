//! `ferryd check`: everything `run` would need, looked at before it is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, Hook, HookAction, LinksFormat, ProcessEnvironment, Template};
use crate::engine::foreseen::{Survey, survey};
use crate::host::http::Clients;
use crate::host::{HostError, KeptTokens, registry};
use crate::job::upload::Class;
use crate::job::watch::{After, EventSource, Watch, Watches};
use crate::os::filesystem::{self, Served};
use crate::os::lock::{self, LockNote};
use crate::os::system::System;
use crate::os::threads;
use crate::store::View;

use super::exit::Exit;
use super::folders;
use super::render::{self, CommandFailure};

/// Folders counted below one watch; more are "at least" so many.
const FOLDERS_MAX: usize = 200_000;
/// How long watched folders are waited for, all together.
const WATCH_PATIENCE: Duration = Duration::from_secs(60);
/// How long a folder is waited for that something is to be written to.
const FOLDER_PATIENCE: Duration = Duration::from_secs(10);
const SILENT_FOLDER: &str = "the folder has not answered for 10 s";
/// Less room than this for the queue is a problem.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;

/// What was found.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    /// How each problem alone would end the process.
    problems: Vec<Exit>,
}

impl Report {
    fn ok(&mut self, text: String) {
        self.lines.push(format!("ok       {text}"));
    }

    /// Something that may not be meant.
    fn remark(&mut self, text: String) {
        self.lines.push(format!("note     {text}"));
    }

    /// A configuration that is wrong or does not fit this machine.
    fn problem(&mut self, text: String, hint: &str) {
        self.problem_of(Exit::Configuration, text, hint);
    }

    fn problem_of(&mut self, exit: Exit, text: String, hint: &str) {
        self.lines.push(format!("problem  {text}\n         hint: {hint}"));
        self.problems.push(exit);
    }

    /// Of several problems the configuration's come first: the others may be for its sake.
    fn exit(&self) -> Exit {
        let found = |exit: &Exit| self.problems.contains(exit);
        [Exit::Configuration, Exit::State, Exit::Fault].into_iter().find(found).unwrap_or(Exit::Fine)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also test each host's credentials with its cheapest request; nothing is uploaded.
    #[arg(long)]
    online: bool,
}

pub(super) fn run(path: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let config = super::load(path)?;
    let mut report = Report::default();
    report.ok(format!("configuration `{}`", render::path(&config.file)));
    check_state_dir(&config.daemon.state_dir, &mut report);
    let folders = check_watches(&config, &mut report);
    check_limits(folders, &mut report);
    check_hosts(&config, arguments.online, &mut report)?;
    check_hooks(&config, &mut report);
    render::out(&format!("{}\n", report.lines.join("\n")))?;
    match report.problems.len() {
        0 => Ok(Exit::Fine),
        problems => Err(CommandFailure::new(report.exit(), format!("{} found", render::count(problems as u64, "problem")))),
    }
}

fn check_state_dir(dir: &Path, report: &mut Report) {
    let name = render::path(dir);
    if dir.exists() && !dir.is_dir() {
        let text = format!("the state folder `{name}` is not a folder");
        return report.problem_of(Exit::State, text, "set `state_dir` in [daemon] to a folder, or move the file away");
    }
    let existing = dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let text = format!("this user cannot write to the state folder `{name}`");
        return report.problem_of(
            Exit::State,
            text,
            "set `state_dir` in [daemon] to a folder on a local disk that this user can write to",
        );
    }
    let mode = std::fs::metadata(dir).map_or(0o700, |metadata| metadata.permissions().mode());
    if mode & 0o022 != 0 {
        let text = format!("other users can write to the state folder `{name}`");
        return report.problem_of(Exit::State, text, &format!("chmod 700 '{name}'"));
    }
    match rustix::fs::statvfs(existing) {
        Ok(fs) if fs.f_bavail.saturating_mul(fs.f_frsize) < ROOM_BYTES => {
            let text = format!("only {} free on the disk of the state folder `{name}`", render::size(fs.f_bavail * fs.f_frsize));
            report.problem_of(Exit::State, text, "free some space; uploads stop while the disk of the queue is full");
        }
        Ok(fs) => report.ok(format!("state folder `{name}`: {} free", render::size(fs.f_bavail.saturating_mul(fs.f_frsize)))),
        Err(error) => report.problem_of(
            Exit::State,
            format!("cannot examine the disk of the state folder `{name}`: {error}"),
            "use a local disk",
        ),
    }
    check_queue(dir, report);
}

/// The queue as the next start would find it. It is read whole, which nothing else does.
fn check_queue(dir: &Path, report: &mut Report) {
    match lock::owner(dir) {
        Some(LockNote { pid, trouble: Some(trouble), .. }) => {
            let text = format!("the daemon (PID {pid}) cannot continue: {trouble}");
            report.problem_of(Exit::State, text, "it continues by itself once this is fixed");
        }
        Some(LockNote { pid, .. }) => report.ok(format!("daemon: running (PID {pid})")),
        None => {}
    }
    match View::open(dir).and_then(|view| view.map(|view| view.check()).transpose()) {
        Ok(Some(())) => report.ok("queue: no damage found".into()),
        Ok(None) => report.ok("queue: none yet; `ferryd run` creates it".into()),
        Err(error) => {
            let CommandFailure { exit, message, hint } = CommandFailure::store(dir, &error);
            report.problem_of(exit, message, &hint.unwrap_or_default());
        }
    }
}

/// What is to be known to look at a watch.
#[derive(Clone)]
struct Looking {
    watches: Watches,
    /// The configuration.
    file: PathBuf,
    state_dir: PathBuf,
}

/// Looks at every watch, as far as its folder answers. Answers how many folders would be watched.
fn check_watches(config: &Config, report: &mut Report) -> usize {
    let watches = &config.watches;
    let looking = Looking { watches: watches.clone(), file: config.file.clone(), state_dir: config.daemon.state_dir.clone() };
    let look = move |path: &Path| {
        let mut report = Report::default();
        let index = looking.watches.iter().position(|watch| watch.path == path);
        let survey = index.map_or_else(Survey::default, |index| looking.check_watch(index, &mut report));
        (report, survey)
    };
    let looked = threads::each_within(watches.iter().map(|watch| watch.path.clone()).collect(), WATCH_PATIENCE, look);
    let (mut count, mut to_send) = (0, ToSend::default());
    for (watch, looked) in watches.iter().zip(looked) {
        match looked {
            Some((found, survey)) => {
                report.lines.extend(found.lines);
                report.problems.extend(found.problems);
                if survey.folders > 0 {
                    to_send.add(watch, &survey);
                }
                count += if watch.events == EventSource::Poll { 0 } else { survey.folders };
            }
            None => report.problem(
                format!("the watched folder `{}` has not answered for {} s", render::path(&watch.path), WATCH_PATIENCE.as_secs()),
                "look after the server or the disk that it is on; the daemon goes on with the other folders meanwhile",
            ),
        }
    }
    if watches.is_empty() {
        report.remark("there is no [[watch]]: only what `ferryd send` is given is uploaded".into());
    }
    report.lines.extend(to_send.line());
    for (later, earlier) in folders::met_twice(watches) {
        let text = format!("the watches `{}` and `{}` are the same folder", render::path(&earlier), render::path(&later));
        report.problem(text, "remove one of the two [[watch]] sections");
    }
    count
}

/// What a start would send to each host.
#[derive(Default)]
struct ToSend {
    /// Files and bytes by the host's name.
    hosts: BTreeMap<String, (u64, u64)>,
    is_cut: bool,
}

impl ToSend {
    fn add(&mut self, watch: &Watch, survey: &Survey) {
        self.is_cut |= survey.is_cut;
        for host in watch.to.iter() {
            let (files, bytes) = self.hosts.entry(host.clone()).or_default();
            *files += survey.files;
            *bytes += survey.bytes;
        }
    }

    fn line(&self) -> Option<String> {
        if self.hosts.is_empty() {
            return None;
        }
        if self.hosts.values().all(|(files, _)| *files == 0) {
            return Some("ok       no new files: a start would upload nothing yet".into());
        }
        let at_least = if self.is_cut { "at least " } else { "" };
        let host = |(host, (files, bytes)): (&String, &(u64, u64))| match files {
            0 => format!("nothing to `{}`", render::line(host)),
            _ => format!("{at_least}{} ({}) to `{}`", render::count(*files, "new file"), render::size(*bytes), render::line(host)),
        };
        let hosts: Vec<String> = self.hosts.iter().map(host).collect();
        Some(format!("ok       a start would upload {}", hosts.join(", ")))
    }
}

impl Looking {
    fn check_watch(&self, index: usize, report: &mut Report) -> Survey {
        let watch = &self.watches[index];
        match folder_problem(watch, report) {
            Folder::WillBeMade => Survey { folders: 1, ..Survey::default() },
            Folder::IsMissing => Survey::default(),
            Folder::IsThere => {
                check_risks(watch, &self.file, report);
                let survey = survey(&self.watches, index, &self.state_dir, FOLDERS_MAX);
                tell_watch(watch, &survey, report);
                survey
            }
        }
    }
}

enum Folder {
    IsThere,
    WillBeMade,
    IsMissing,
}

fn folder_problem(watch: &Watch, report: &mut Report) -> Folder {
    let name = render::path(&watch.path);
    match std::fs::read_dir(&watch.path) {
        Ok(_) => return Folder::IsThere,
        Err(error) if error.kind() == io::ErrorKind::NotFound && watch.create => {
            report.ok(format!("watch `{name}`: will be created"));
            return Folder::WillBeMade;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hint = format!("mkdir '{name}', or set `create = true`; ferryd looks for the folder every few seconds");
            report.problem(format!("the watched folder `{name}` is missing"), &hint);
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            report.problem(format!("the watched path `{name}` is not a folder"), "set `path` to a folder");
        }
        Err(error) => {
            report.problem(
                format!("cannot read the watched folder `{name}`: {error}"),
                "give the user that runs ferryd permission to read it",
            );
        }
    }
    Folder::IsMissing
}

fn tell_watch(watch: &Watch, survey: &Survey, report: &mut Report) {
    let name = render::path(&watch.path);
    let at_least = if survey.is_cut { "at least " } else { "" };
    let counted = render::count(survey.folders as u64, "folder");
    if hides_writers(&watch.path) {
        report.lines.push(format!(
            "note     watch `{name}`: the kernel does not tell who writes the files of others, on network or FUSE file systems or of \
             other users; one whose writer is not seen to close it is taken after {} without a change, or up to 10 min",
            render::duration(watch.settle_unknown)
        ));
    }
    report.ok(format!("watch `{name}`: {at_least}{counted}, uploaded to {}", watch.to.join(", ")));
}

/// Whether the kernel will not tell who has files in this folder open for writing, as far as the folder shows.
fn hides_writers(folder: &Path) -> bool {
    let user = rustix::process::geteuid();
    let is_anothers = |top: std::fs::Metadata| !user.is_root() && top.uid() != user.as_raw();
    filesystem::at(folder) != Served::Here || std::fs::metadata(folder).is_ok_and(is_anothers)
}

/// What is allowed and may not be meant: everything in these folders would be uploaded.
fn check_risks(watch: &Watch, file: &Path, report: &mut Report) {
    let name = render::path(&watch.path);
    let real = watch.path.canonicalize().unwrap_or_else(|_| watch.path.clone());
    let is = |other: &Path| other.canonicalize().is_ok_and(|other| other == real);
    let holds = |other: &Path| other.canonicalize().is_ok_and(|other| other.starts_with(&real));
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    if real == Path::new("/") {
        report.remark(format!("watch `{name}`: this is the whole machine, with every password file on it"));
    } else if home.as_ref().is_some_and(|home| is(Path::new(home)))
        || real.parent().is_some_and(|above| above == Path::new("/home"))
    {
        report.remark(format!("watch `{name}`: this is a home folder, with keys and passwords in it"));
    } else if watch.recursive && holds(file) {
        report.remark(format!("watch `{name}`: the configuration is in it, and would be uploaded like any other file"));
    }
    let mode = std::fs::metadata(&watch.path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o022 != 0 {
        report.remark(format!("watch `{name}`: other users can put files here, which ferryd would upload in your name"));
    }
}

/// Linux lets a user watch only so many folders.
fn check_limits(folders: usize, report: &mut Report) {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok();
    let Some(limit) = limit.and_then(|text| text.trim().parse::<usize>().ok()) else { return };
    if folders > limit {
        let (wanted, limit) = (render::count(folders as u64, "folder"), render::thousands(limit as u64));
        let text = format!("{wanted} to watch, but the inotify limit is {limit}");
        report.problem(text, &format!("raise it: sysctl fs.inotify.max_user_watches={}", (folders * 2).next_power_of_two()));
    } else {
        report.ok(format!("inotify limit: {}", render::count(limit as u64, "folder")));
    }
}

fn check_hosts(config: &Config, online: bool, report: &mut Report) -> Result<(), CommandFailure> {
    let runtime = super::runtime()?;
    let clients = Clients::new(&System::default());
    let tokens = KeptTokens::read_only(&System::default(), &config.daemon.state_dir);
    for host in &config.hosts {
        let (name, kind) = (&host.name, host.kind.word());
        let is_used = config.watches.iter().any(|watch| watch.to.contains(name));
        let unused = if is_used { "" } else { "; no watch uses it" };
        for risk in host.settings.risks() {
            report.remark(format!("host `{name}` ({kind}): {risk}"));
        }
        match registry::host(host, &ProcessEnvironment, &clients, &tokens) {
            Ok(speaks) if online => match runtime.block_on(speaks.check()) {
                Ok(said) => report.ok(format!("host `{name}` ({kind}): {said}{unused}")),
                Err(error) => {
                    let exit = if is_ours_to_mend(&error) { Exit::Configuration } else { Exit::Fault };
                    report.problem_of(exit, format!("host `{name}` ({kind}): {error}{unused}"), advice(&error));
                }
            },
            Ok(_) if host.settings.secrets().is_empty() => report.ok(format!("host `{name}` ({kind}){unused}")),
            Ok(_) => {
                report.ok(format!("host `{name}` ({kind}){unused}; `ferryd check --online` tests its credentials"));
            }
            Err(error) => {
                let hint = format!("fix it, or change where [host.{name}] gets its secrets from");
                report.problem(format!("host `{name}` ({kind}): {error}{unused}"), &hint);
            }
        }
    }
    Ok(())
}

/// Whether the failure is one of our own settings, if it lasts.
pub(super) fn is_ours_to_mend(error: &HostError) -> bool {
    error.class == Class::HostRefused || error.worsens == Some(Class::HostRefused)
}

fn advice(error: &HostError) -> &'static str {
    match error.class {
        _ if is_ours_to_mend(error) => "fix the credentials or the address; until then the daemon keeps its jobs on hold",
        Class::RateLimited => "wait before checking again; the daemon pauses this host for the same time",
        _ => "check the network, or try again later; the daemon retries by itself",
    }
}

/// What a hook or an after-action needs: a folder that may be written, a program that is there.
fn check_hooks(config: &Config, report: &mut Report) {
    for hook in &config.hooks {
        let key = hook.key();
        let name = Hook::name_of(&key);
        let lacks = match &hook.action {
            HookAction::LinksFile { path, format } => match can_write_below(path) {
                Some(true) => {
                    note_other_lines(path, *format, report);
                    None
                }
                Some(false) => Some(("cannot write to its folder", "choose a file in a folder that this user can write to")),
                None => Some((SILENT_FOLDER, "look after the server or the disk that it is on; what is to be written there waits")),
            },
            HookAction::Command(words) => lacking_program(&words.first().map(Template::plain).unwrap_or_default()),
            HookAction::Webhook(_) | HookAction::Sidecar => None,
        };
        match lacks {
            Some((what, hint)) => report.problem(format!("hook `{}`: {what}", render::line(name)), hint),
            None => report.ok(format!("hook `{}`", render::line(name))),
        }
    }
    check_proof(config, report);
    for watch in &config.watches {
        let After::Move(target) = &watch.after else { continue };
        let name = render::path(target);
        match can_write_below(&target.join("x")) {
            Some(true) => {}
            Some(false) => {
                let text = format!("cannot write to `{name}`, where `after` moves files");
                report.problem(text, "choose a folder that this user can write to");
            }
            None => {
                let text = format!("`{name}`, where `after` moves files: {SILENT_FOLDER}");
                report.problem(text, "look after the server or the disk that it is on; the files stay where they are meanwhile");
            }
        }
    }
}

/// A file with lines of another format gets more of them, so that whoever reads it can.
fn note_other_lines(path: &Path, format: LinksFormat, report: &mut Report) {
    let found = threads::each_within(vec![path.to_owned()], FOLDER_PATIENCE, begun_as).pop();
    if let Some(found) = found.flatten().flatten().filter(|found| *found != format) {
        let (path, found, format) = (render::path(path), found.word(), format.word());
        report.remark(format!("`{path}` has {found} lines and gets more of them; move it away to begin one with {format} lines"));
    }
}

/// How the lines of the file at `path` are written, where that can be told.
fn begun_as(path: &Path) -> Option<LinksFormat> {
    path.symlink_metadata().ok().filter(|about| about.is_file())?;
    let mut beginning = Vec::new();
    File::open(path).ok()?.take(5).read_to_end(&mut beginning).ok()?;
    LinksFormat::begun(&beginning)
}

/// A source is removed or moved only on proof, so with a host that gives none it would stay for ever.
fn check_proof(config: &Config, report: &mut Report) {
    for watch in config.watches.iter().filter(|watch| watch.after != After::Keep) {
        let deed = if watch.after == After::Delete { "delete" } else { "move" };
        let owed = config.hosts.iter().filter(|host| watch.to.contains(&host.name));
        for host in owed.filter(|host| host.kind.gives_only_its_word() && !host.trust_replies) {
            let (path, name, kind) = (render::path(&watch.path), &host.name, host.kind.word());
            let text = format!(
                "`after` would never {deed} files in `{path}`: `{name}` ({kind}) reports neither the size nor a digest of what it \
                 stored, so nothing proves that the upload is complete"
            );
            let hint = format!(
                "set `trust_replies = true` in [host.{name}] to accept its reply as proof, or `after = \"keep\"` in the watch"
            );
            report.problem(text, &hint);
        }
    }
}

/// Whether the folder of `path`, or the nearest above it that is there, may be written; nothing where it does not answer.
fn can_write_below(path: &Path) -> Option<bool> {
    let look = |path: &Path| {
        let folder = path.ancestors().skip(1).find(|folder| folder.exists());
        folder.is_some_and(|folder| folder.is_dir() && rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok())
    };
    threads::each_within(vec![path.to_owned()], FOLDER_PATIENCE, look).pop().flatten()
}

/// Why a hook cannot run this program, and what to do about it; nothing if it can.
fn lacking_program(name: &str) -> Option<(&'static str, &'static str)> {
    let may_run = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.contains('/') {
        let lacks = ("not an executable file", "install the program, or correct its path");
        return (!may_run(Path::new(name))).then_some(lacks);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&path).any(|folder| may_run(&folder.join(name)));
    (!is_found).then_some(("program not found in $PATH", "install the program, or give its absolute path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_holds_more_than_may_be_meant_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, shared) = (dir.path().join("inside"), dir.path().join("shared"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o777)).unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "").unwrap();
        let remarks = |path: &Path| {
            let mut report = Report::default();
            check_risks(&Watch::new(path.into(), std::sync::Arc::from([])), &file, &mut report);
            assert!(report.problems.is_empty());
            report.lines.join("\n")
        };
        assert!(remarks(Path::new("/")).contains("the whole machine"));
        assert!(remarks(&inside.join("../inside/..")).contains("the configuration is in it"));
        assert!(remarks(&shared).contains("other users can put files here"));
        assert_eq!(remarks(&inside), "");
    }
}
