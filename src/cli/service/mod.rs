//! `ferryd service`: has systemd or launchd run the daemon, tells whether it does, and undoes that.

mod text;

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::config::{self, Config, Environment, HookAction, ProcessEnvironment};
use crate::host::kinds::KINDS;
use crate::job::watch::After;
use crate::os::files::{Base, Files};
use crate::os::{durable, threads, whole};

use super::exit::Exit;
use super::render::{self, CommandFailure};

use text::Facts;

/// How long folders are waited for, all together.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any unit.
const TEXT_BYTES_MAX: usize = 1 << 20;
const UNIT: &str = "ferryd.service";
const LABEL: &str = "io.ferryd.daemon";
/// Where the service of the machine has its state, which is also the home of its user.
pub(super) const MACHINE_STATE: &str = "/var/lib/ferryd";
pub(super) const MACHINE_CONFIG: &str = "/etc/ferryd/config.toml";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the service, start it, and have it started with the machine or with your session.
    ///
    /// It runs the program that you run now, with the configuration that is there now, and may write to the folders that are named in it:
    /// after a reload that names others, install it again.
    Install(Options),
    /// Stop the service and remove what `install` has written. The configuration and the queue stay.
    Uninstall(Options),
    /// Tell whether the service is installed, running, and fits the configuration.
    Status(Options),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// For your user alone, instead of the whole machine.
    #[arg(long)]
    user: bool,
    /// Print what would be written and done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Replace or remove the service though somebody has changed it since it was written.
    #[arg(long)]
    force: bool,
    /// Write below this folder, as for an image of another machine; nothing is started.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Which service manager [default: the one of this system]
    #[arg(long, value_name = "NAME", hide = true)]
    manager: Option<Manager>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Manager {
    Systemd,
    Launchd,
}

/// What the service sees of the environment: that of the machine is not that of whoever installs it.
struct OfService {
    for_user: bool,
}

impl Environment for OfService {
    fn get(&self, key: &str) -> Option<String> {
        match key {
            _ if self.for_user => ProcessEnvironment.get(key),
            "HOME" | "STATE_DIRECTORY" => Some(MACHINE_STATE.into()),
            _ if key.starts_with("XDG_") => None,
            _ => ProcessEnvironment.get(key),
        }
    }
}

/// One service, in one place.
struct Service {
    manager: Manager,
    options: Options,
    /// The configuration that was named.
    named: Option<PathBuf>,
    /// The file that its manager reads.
    file: PathBuf,
}

pub(super) fn run(config: Option<PathBuf>, arguments: Arguments) -> Result<Exit, CommandFailure> {
    let (Verb::Install(options) | Verb::Uninstall(options) | Verb::Status(options)) = &arguments.verb;
    let system = if cfg!(target_os = "macos") { Manager::Launchd } else { Manager::Systemd };
    let manager = options.manager.unwrap_or(system);
    let file = file_of(manager, options)?;
    let named = config.map(|path| std::path::absolute(&path).unwrap_or(path));
    match arguments.verb {
        Verb::Install(options) => Service { manager, options, named, file }.install(),
        Verb::Uninstall(options) => Service { manager, options, named, file }.uninstall(),
        Verb::Status(options) => Service { manager, options, named, file }.status(),
    }
}

fn home() -> Result<PathBuf, CommandFailure> {
    let home = ProcessEnvironment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.ok_or_else(|| CommandFailure::new(Exit::Usage, "$HOME is not set, so nobody can tell where your services are"))
}

fn file_of(manager: Manager, options: &Options) -> Result<PathBuf, CommandFailure> {
    let file = match (manager, options.user) {
        (Manager::Systemd, false) => Path::new("/etc/systemd/system").join(UNIT),
        (Manager::Systemd, true) => {
            let own = ProcessEnvironment.get("XDG_CONFIG_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
            own.map_or_else(|| home().map(|home| home.join(".config")), Ok)?.join("systemd/user").join(UNIT)
        }
        (Manager::Launchd, false) => PathBuf::from(format!("/Library/LaunchDaemons/{LABEL}.plist")),
        (Manager::Launchd, true) => home()?.join(format!("Library/LaunchAgents/{LABEL}.plist")),
    };
    Ok(match &options.root {
        Some(root) => root.join(file.strip_prefix("/").unwrap_or(&file)),
        None => file,
    })
}

/// Folders that the daemon writes to, or removes files from, besides its state folder where the service manager makes it.
fn written(config: &Config) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = config.watches.iter().map(|watch| watch.path.clone()).collect();
    let targets =
        config.watches.iter().filter_map(|watch| if let After::Move(target) = &watch.after { Some(target) } else { None });
    folders.extend(targets.cloned());
    let links = config
        .hooks
        .iter()
        .filter_map(|hook| if let HookAction::LinksFile { path, .. } = &hook.action { path.parent() } else { None });
    folders.extend(links.map(Path::to_owned));
    folders.push(config.daemon.state_dir.clone());
    folders.retain(|folder| folder != Path::new(MACHINE_STATE));
    folders.sort();
    folders.dedup();
    folders
}

/// Folders of the configuration that the sandbox of the service does not let it write to, as the kernel says.
pub(super) fn beyond_the_sandbox(config: &Config) -> Vec<PathBuf> {
    let is_read_only = |folder: &Path| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ROFS);
    let folders = written(config);
    let looked = threads::each_within(folders.clone(), PATIENCE, is_read_only);
    folders.into_iter().zip(looked).filter(|(_, is_read_only)| *is_read_only == Some(true)).map(|(folder, _)| folder).collect()
}

impl Service {
    /// What is to be in the file, by the configuration that is there now.
    fn text(&self) -> Result<String, CommandFailure> {
        let environment = OfService { for_user: self.options.user };
        let path = match &self.named {
            Some(named) => named.clone(),
            None if self.options.user => config::default_path(&ProcessEnvironment),
            None => PathBuf::from(MACHINE_CONFIG),
        };
        let config = config::load(&path, KINDS, &environment).map_err(|error| CommandFailure::configuration(&error))?;
        let program = std::env::current_exe()
            .map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot tell which program this is: {error}")))?;
        let written = written(&config);
        let facts = Facts { program: &program, config: &path, written: &written, for_user: self.options.user };
        Ok(match self.manager {
            Manager::Systemd => text::unit(&facts),
            Manager::Launchd => {
                let log = if self.options.user { home()?.join("Library/Logs/ferryd.log") } else { "/var/log/ferryd.log".into() };
                text::agent(&facts, &log)
            }
        })
    }

    /// What is in the file; nothing where there is none.
    fn found(&self) -> Result<Option<String>, CommandFailure> {
        match whole::read(&self.file, TEXT_BYTES_MAX) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.cannot("read", &error)),
        }
    }

    fn cannot(&self, what: &str, error: &io::Error) -> CommandFailure {
        let failure = CommandFailure::new(Exit::Fault, format!("cannot {what} `{}`: {error}", render::path(&self.file)));
        if error.kind() == io::ErrorKind::PermissionDenied && !self.options.user {
            return failure.hint("run it as root, or install it for your user alone with `--user`");
        }
        failure
    }

    fn refuse_changed(&self, found: Option<&String>) -> Result<(), CommandFailure> {
        if found.is_some_and(|found| !text::is_as_written(found)) && !self.options.force {
            let message = format!("`{}` is not as `ferryd service install` writes it", render::path(&self.file));
            return Err(CommandFailure::new(Exit::Usage, message).hint(
                "put your changes into a drop-in (`systemctl edit ferryd`), then use `--force` to replace or remove the file",
            ));
        }
        Ok(())
    }

    fn install(&self) -> Result<Exit, CommandFailure> {
        let (wanted, found) = (self.text()?, self.found()?);
        let file = render::path(&self.file);
        let is_there = found.as_ref() == Some(&wanted);
        let calls = self.calls_to_install(is_there);
        if self.options.dry_run {
            let calls: String = calls.iter().map(|call| format!("{}\n", call.join(" "))).collect();
            return render::out(&format!("Would write `{file}`:\n\n{wanted}\nWould run:\n{calls}")).map(|()| Exit::Fine);
        }
        if !is_there {
            self.refuse_changed(found.as_ref())?;
            self.write(&wanted)?;
        }
        calls.iter().try_for_each(|words| call(words))?;
        let what = if is_there { "is there already" } else { "is written" };
        render::out(&format!("`{file}` {what}.\n{}", self.advice()))?;
        Ok(Exit::Fine)
    }

    /// It is there whole or not at all.
    fn write(&self, wanted: &str) -> Result<(), CommandFailure> {
        let (Some(folder), Some(name)) = (self.file.parent(), self.file.file_name()) else { return Ok(()) };
        let write = || -> io::Result<()> {
            if !folder.is_dir() {
                DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            }
            let open = Base::of(&Files::Real, folder, true).folder(folder)?;
            durable::replace(&open, name, OsStr::new(".ferryd.new"), wanted.as_bytes(), 0o644)
        };
        write().map_err(|error| self.cannot("write", &error))
    }

    fn calls_to_install(&self, is_there: bool) -> Vec<Vec<String>> {
        let Options { user, root, .. } = &self.options;
        match (self.manager, root) {
            (Manager::Systemd, Some(root)) => vec![systemctl(*user, &["--root", &root.display().to_string(), "enable", UNIT])],
            (Manager::Systemd, None) => {
                // One that runs by the older file is to run by this one.
                let begin = if is_there { "start" } else { "restart" };
                [&["daemon-reload"][..], &["enable", UNIT], &[begin, UNIT]].map(|words| systemctl(*user, words)).into()
            }
            (Manager::Launchd, Some(_)) => Vec::new(),
            (Manager::Launchd, None) => {
                let file = self.file.display().to_string();
                // It fails where none is known, which is as well.
                let again = words(&["-launchctl", "bootout", &format!("{}/{LABEL}", domain(*user))]);
                vec![again, words(&["launchctl", "bootstrap", &domain(*user), &file])]
            }
        }
    }

    fn calls_to_uninstall(&self) -> Vec<Vec<String>> {
        let Options { user, root, .. } = &self.options;
        match (self.manager, root) {
            (Manager::Systemd, Some(root)) => vec![systemctl(*user, &["--root", &root.display().to_string(), "disable", UNIT])],
            (Manager::Systemd, None) => vec![systemctl(*user, &["disable", "--now", UNIT])],
            (Manager::Launchd, Some(_)) => Vec::new(),
            (Manager::Launchd, None) => vec![words(&["-launchctl", "bootout", &format!("{}/{LABEL}", domain(*user))])],
        }
    }

    fn advice(&self) -> String {
        let Options { user, root, .. } = &self.options;
        match (self.manager, user, root) {
            (_, _, Some(_)) => "It is started with the machine that the folder is for.\n".into(),
            (Manager::Systemd, true, None) => "\
                It runs while you are logged in. To have it run from the start of the machine on:\n  loginctl enable-linger\n\
                What it does: `systemctl --user status ferryd`; its log: `journalctl --user -u ferryd`.\n"
                .into(),
            (Manager::Systemd, false, None) => "\
                It runs as user `ferryd`, who must be able to read the configuration and to write to the folders in it. If there is none:\n  \
                useradd --system --home-dir /var/lib/ferryd --shell /usr/sbin/nologin ferryd\n  systemctl restart ferryd\n\
                What it does: `systemctl status ferryd`; its log: `journalctl -u ferryd`.\n"
                .into(),
            (Manager::Launchd, ..) => format!("What it does: `launchctl print {}/{LABEL}`.\n", domain(*user)),
        }
    }

    fn uninstall(&self) -> Result<Exit, CommandFailure> {
        let file = render::path(&self.file);
        let Some(found) = self.found()? else {
            return render::out(&format!("There is no `{file}`; nothing to remove.\n")).map(|()| Exit::Fine);
        };
        self.refuse_changed(Some(&found))?;
        let calls = self.calls_to_uninstall();
        if self.options.dry_run {
            let calls: String = calls.iter().map(|call| format!("{}\n", call.join(" "))).collect();
            return render::out(&format!("Would run:\n{calls}Would remove `{file}`.\n")).map(|()| Exit::Fine);
        }
        calls.iter().try_for_each(|words| call(words))?;
        std::fs::remove_file(&self.file).map_err(|error| self.cannot("remove", &error))?;
        if self.manager == Manager::Systemd && self.options.root.is_none() {
            call(&systemctl(self.options.user, &["daemon-reload"]))?;
        }
        render::out(&format!("`{file}` is removed. The configuration and the queue are still there.\n"))?;
        Ok(Exit::Fine)
    }

    fn status(&self) -> Result<Exit, CommandFailure> {
        let file = render::path(&self.file);
        let flag = if self.options.user { " --user" } else { "" };
        let Some(found) = self.found()? else {
            render::out(&format!("Not installed: there is no `{file}`. `ferryd service install{flag}` writes it.\n"))?;
            return Ok(Exit::State);
        };
        let mut lines = vec![format!("Installed: `{file}`.")];
        match self.text() {
            _ if !text::is_as_written(&found) => lines.push("It was changed since `ferryd service install` wrote it.".into()),
            Ok(wanted) if wanted == found => lines.push("It fits this program and its configuration.".into()),
            Ok(_) => lines.push(format!(
                "It is for another program, or for other folders than the configuration names now; `ferryd service install{flag}` writes it anew."
            )),
            Err(failure) => lines.push(format!("Whether it fits cannot be told: {}", failure.message)),
        }
        let asked = match self.manager {
            Manager::Systemd => systemctl(self.options.user, &["is-active", "--quiet", UNIT]),
            Manager::Launchd => words(&["launchctl", "print", &format!("{}/{LABEL}", domain(self.options.user))]),
        };
        let runs = outcome(&asked, Stdio::null)?;
        lines.push(if runs { "Running." } else { "Not running." }.into());
        render::out(&format!("{}\n", lines.join("\n")))?;
        Ok(if runs { Exit::Fine } else { Exit::State })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn systemctl(for_user: bool, verb: &[&str]) -> Vec<String> {
    let manager: &[&str] = if for_user { &["systemctl", "--user"] } else { &["systemctl"] };
    words(&[manager, verb].concat())
}

/// Whose services launchd is asked for.
fn domain(for_user: bool) -> String {
    if for_user { format!("gui/{}", rustix::process::getuid().as_raw()) } else { "system".into() }
}

/// Runs a command of the service manager. One that begins with `-` may fail.
fn call(words: &[String]) -> Result<(), CommandFailure> {
    let may_fail = words[0].starts_with('-');
    if outcome(words, if may_fail { Stdio::null } else { Stdio::inherit })? || may_fail {
        return Ok(());
    }
    Err(CommandFailure::new(Exit::Fault, format!("`{}` has failed", words.join(" "))).hint("what it said is above; run it by hand"))
}

fn outcome(words: &[String], said: fn() -> Stdio) -> Result<bool, CommandFailure> {
    let program = words[0].trim_start_matches('-');
    let mut command = Command::new(program);
    let status = command.args(&words[1..]).stdin(Stdio::null()).stdout(said()).stderr(said()).status();
    let status = status.map_err(|error| {
        CommandFailure::new(Exit::Fault, format!("cannot run `{program}`: {error}"))
            .hint("this machine has no such service manager; `--dry-run` prints what would be written")
    })?;
    Ok(status.success())
}
