//! `ferryd check`: everything `run` would need, looked at before it is needed.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, Hook, HookAction, ProcessEnvironment, Template};
use crate::host::registry;
use crate::job::upload::Class;
use crate::job::watch::{After, EventSource, Watch};
use crate::os::lock::{self, Note};
use crate::os::system::System;
use crate::store::View;

use super::exit::Exit;
use super::render::{self, CommandFailure};

/// Folders counted below one watch; more are "at least" so many.
const FOLDERS_MAX: usize = 200_000;
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
    /// Also prove each host's credentials, by the cheapest call it has; nothing is uploaded.
    #[arg(long)]
    online: bool,
}

pub(super) fn run(path: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let config = super::load(path)?;
    let mut report = Report::default();
    report.ok(format!("configuration `{}`", render::path(&config.file)));
    check_state_dir(&config.daemon.state_dir, &mut report);
    let mut folders = 0;
    for watch in &config.watches {
        folders += check_watch(watch, &mut report);
    }
    check_limits(folders, &mut report);
    check_hosts(&config, arguments.online, &mut report)?;
    check_hooks(&config, &mut report);
    render::out(&format!("{}\n", report.lines.join("\n")))?;
    match report.problems.len() {
        0 => Ok(Exit::Fine),
        1 => Err(CommandFailure::new(report.exit(), "1 problem")),
        problems => Err(CommandFailure::new(report.exit(), format!("{problems} problems"))),
    }
}

fn check_state_dir(dir: &Path, report: &mut Report) {
    let name = render::path(dir);
    let existing = dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let text = format!("the state folder `{name}` cannot be written by this user");
        return report.problem_of(
            Exit::State,
            text,
            "set `state_dir` in [daemon] to a folder on a local disk that this user may write",
        );
    }
    let mode = std::fs::metadata(dir).map_or(0o700, |metadata| metadata.permissions().mode());
    if mode & 0o022 != 0 {
        let text = format!("the state folder `{name}` can be written by others");
        return report.problem_of(Exit::State, text, &format!("chmod 700 '{name}'"));
    }
    match rustix::fs::statvfs(existing) {
        Ok(fs) if fs.f_bavail.saturating_mul(fs.f_frsize) < ROOM_BYTES => {
            let text = format!("the disk of the state folder `{name}` has only {} left", render::size(fs.f_bavail * fs.f_frsize));
            report.problem_of(Exit::State, text, "make room; the queue waits when its disk is full");
        }
        Ok(fs) => report.ok(format!("state folder `{name}`: {} free", render::size(fs.f_bavail.saturating_mul(fs.f_frsize)))),
        Err(error) => {
            report.problem_of(Exit::State, format!("the disk of `{name}` cannot be looked at: {error}"), "use a local disk")
        }
    }
    check_queue(dir, report);
}

/// The queue as the next start would find it. It is read whole, which nothing else does.
fn check_queue(dir: &Path, report: &mut Report) {
    match lock::owner(dir) {
        Some(Note { pid, trouble: Some(trouble), .. }) => {
            let text = format!("the daemon (process {pid}) cannot go on: {trouble}");
            report.problem_of(Exit::State, text, "it goes on by itself when that is mended");
        }
        Some(Note { pid, .. }) => report.ok(format!("the daemon runs (process {pid})")),
        None => {}
    }
    match View::open(dir).and_then(|view| view.map(|view| view.check()).transpose()) {
        Ok(Some(())) => report.ok("the queue is whole".into()),
        Ok(None) => report.ok("there is no queue yet; `ferryd run` makes it".into()),
        Err(error) => {
            let CommandFailure { exit, message, hint } = CommandFailure::store(dir, &error);
            report.problem_of(exit, message, &hint.unwrap_or_default());
        }
    }
}

/// Answers how many folders would be watched.
fn check_watch(watch: &Watch, report: &mut Report) -> usize {
    let name = render::path(&watch.path);
    match std::fs::read_dir(&watch.path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && watch.create => {
            report.ok(format!("watch `{name}`: will be made"));
            return 1;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hint = format!("mkdir '{name}', or set `create = true`; until then ferryd looks for it every few seconds");
            report.problem(format!("the watch `{name}` is missing"), &hint);
            return 0;
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            report.problem(format!("the watch `{name}` is not a folder"), "name a folder in `path`");
            return 0;
        }
        Err(error) => {
            report.problem(format!("the watch `{name}` cannot be read: {error}"), "let the user that runs ferryd read it");
            return 0;
        }
    }
    let folders = count_folders(watch);
    let at_least = if folders >= FOLDERS_MAX { "at least " } else { "" };
    report.ok(format!(
        "watch `{name}`: {at_least}{folders} folder{}, to {}",
        if folders == 1 { "" } else { "s" },
        watch.to.join(", ")
    ));
    if watch.events == EventSource::Poll { 0 } else { folders }
}

fn count_folders(watch: &Watch) -> usize {
    let mut left = vec![watch.path.clone()];
    let mut count = 0;
    while let Some(folder) = left.pop() {
        count += 1;
        if !watch.recursive || count >= FOLDERS_MAX {
            continue;
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        left.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
    count
}

/// Linux lets a user watch only so many folders.
fn check_limits(folders: usize, report: &mut Report) {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok();
    let Some(limit) = limit.and_then(|text| text.trim().parse::<usize>().ok()) else { return };
    if folders > limit {
        let text = format!("{folders} folders are to be watched, and the kernel lets a user watch {limit}");
        report.problem(text, &format!("sysctl fs.inotify.max_user_watches={}", (folders * 2).next_power_of_two()));
    } else {
        report.ok(format!("the kernel lets a user watch {limit} folders"));
    }
}

fn check_hosts(config: &Config, online: bool, report: &mut Report) -> Result<(), CommandFailure> {
    let runtime = super::runtime()?;
    for host in &config.hosts {
        let (name, kind) = (&host.name, host.kind.word());
        match registry::host(host, &ProcessEnvironment, &System::default()) {
            Ok(speaks) if online => match runtime.block_on(speaks.check()) {
                Ok(said) => report.ok(format!("host `{name}` ({kind}): {said}")),
                Err(error) => {
                    let exit = if error.class == Class::HostRefused { Exit::Configuration } else { Exit::Fault };
                    let text = format!("the host `{name}` ({kind}) refuses or does not answer: {error}");
                    report.problem_of(exit, text, advice(error.class));
                }
            },
            Ok(_) if host.kind.secrets().is_empty() => report.ok(format!("host `{name}`: {kind}")),
            Ok(_) => report.ok(format!("host `{name}`: {kind}; `ferryd check --online` proves its credentials")),
            Err(error) => {
                report.problem(format!("the host `{name}` cannot be used: {error}"), "see its secrets in the configuration")
            }
        }
        if !config.watches.iter().any(|watch| watch.to.contains(&host.name)) {
            report.ok(format!("host `{name}` is not used by any watch"));
        }
    }
    Ok(())
}

fn advice(class: Class) -> &'static str {
    match class {
        Class::HostRefused => "mend its credentials or its address; the daemon would hold its jobs until then",
        Class::RateLimited => "wait before you ask again; the daemon leaves it alone for so long, too",
        _ => "try again later; the daemon would go on trying",
    }
}

/// What a hook or an after-action needs: a folder that may be written, a program that is there.
fn check_hooks(config: &Config, report: &mut Report) {
    for hook in &config.hooks {
        let key = hook.key();
        let name = Hook::name_of(&key);
        let lacks = match &hook.action {
            HookAction::LinksFile(path) => (!can_write_below(path)).then_some("name a file in a folder that this user may write"),
            HookAction::Command(words) => {
                let program = words.first().map(Template::plain).unwrap_or_default();
                (!is_program(&program)).then_some("name a program that is in $PATH and may be run by this user, or its whole path")
            }
            HookAction::Webhook(_) | HookAction::Sidecar => None,
        };
        match lacks {
            Some(hint) => report.problem(format!("the hook `{}` cannot do its work", render::line(name)), hint),
            None => report.ok(format!("hook `{}`", render::line(name))),
        }
    }
    check_proof(config, report);
    for watch in &config.watches {
        if let After::Move(target) = &watch.after
            && !can_write_below(&target.join("x"))
        {
            let text = format!("files cannot be moved to `{}`", render::path(target));
            report.problem(text, "name a folder that this user may write in `after`");
        }
    }
}

/// A source is removed or moved only on proof, so with a host that gives none it would stay for ever.
fn check_proof(config: &Config, report: &mut Report) {
    for watch in config.watches.iter().filter(|watch| watch.after != After::Keep) {
        let deed = if watch.after == After::Delete { "deleted" } else { "moved" };
        let owed = config.hosts.iter().filter(|host| watch.to.contains(&host.name));
        for host in owed.filter(|host| host.kind.gives_only_its_word() && !host.trust_replies) {
            let (path, name, kind) = (render::path(&watch.path), &host.name, host.kind.word());
            let text = format!(
                "files in `{path}` are to be {deed} when `{name}` has them, and {kind} tells neither the size nor a digest of what it \
                 stored; they would stay"
            );
            let hint = format!(
                "set `trust_replies = true` in [host.{name}] if its mere word is enough for you, `after = \"keep\"` in the watch if not"
            );
            report.problem(text, &hint);
        }
    }
}

/// Whether the folder of `path`, or the nearest above it that is there, may be written.
fn can_write_below(path: &Path) -> bool {
    let folder = path.ancestors().skip(1).find(|folder| folder.exists());
    folder.is_some_and(|folder| folder.is_dir() && rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok())
}

fn is_program(name: &str) -> bool {
    let may_run = |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    match name.contains('/') {
        true => may_run(Path::new(name)),
        false => {
            std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| may_run(&folder.join(name))))
        }
    }
}
