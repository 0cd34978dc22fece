//! `ferryd service` with a service manager that only notes what it is told.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::skip::skipped;

/// A home, with a configuration, and service managers that note what they are told.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        for folder in ["bin", "Drop", ".config/ferryd"] {
            std::fs::create_dir_all(home.at(folder)).unwrap();
        }
        for manager in ["systemctl", "launchctl"] {
            let script = format!("#!/bin/sh\necho {manager} \"$@\" >> {:?}\nexit $(cat {:?})\n", home.at("calls"), home.at("code"));
            std::fs::write(home.at("bin").join(manager), script).unwrap();
            std::fs::set_permissions(home.at("bin").join(manager), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        home.answer(0);
        home.configure("Sent");
        home
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// How the service managers end from here on.
    fn answer(&self, code: u8) {
        std::fs::write(self.at("code"), format!("{code}\n")).unwrap();
    }

    fn configure(&self, sent: &str) {
        let text = format!(
            "[[watch]]\npath = {:?}\nto = [\"box\"]\nafter = {{ move = {:?} }}\n[host.box]\nkind = \"cloudkp\"\ntrust_replies = true\n\
             [[hook]]\non = [\"done\"]\nlinks_file = {:?}\n",
            self.at("Drop"),
            self.at(sent),
            self.at("lists/links.tsv")
        );
        let file = self.at(".config/ferryd/config.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn say(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
        command
            .arg("service")
            .args(words)
            .env("HOME", self.dir.path())
            .env("PATH", format!("{}:/usr/bin:/bin", self.at("bin").display()));
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME").env_remove("FERRYD_CONFIG");
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// What the service managers were told since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.at("calls")).unwrap_or_default();
        std::fs::remove_file(self.at("calls")).ok();
        calls.lines().map(str::to_owned).collect()
    }
}

const SYSTEMD: [&str; 2] = ["--manager", "systemd"];

fn words<'w>(verb: &'w str, more: &[&'w str]) -> Vec<&'w str> {
    [&[verb][..], &SYSTEMD, more].concat()
}

#[test]
fn a_service_of_one_user_is_written_started_told_of_and_undone() {
    let home = Home::new();
    let unit = home.at(".config/systemd/user/ferryd.service");
    assert_eq!(home.say(&words("status", &["--user"])).0, Some(4), "there is none");
    let (code, said) = home.say(&words("install", &["--user", "--dry-run"]));
    assert!(code == Some(0) && said.contains("Type=notify") && !unit.exists() && home.calls().is_empty(), "{said}");
    let (code, said) = home.say(&words("install", &["--user"]));
    assert!(code == Some(0) && said.contains("enable-linger"), "{code:?} {said}");
    let all = ["daemon-reload", "enable ferryd.service", "restart ferryd.service"];
    assert_eq!(home.calls(), all.map(|call| format!("systemctl --user {call}")));
    let text = std::fs::read_to_string(&unit).unwrap();
    for (key, path) in [("ReadWritePaths=-", "Drop"), ("ReadWritePaths=-", "Sent"), ("ReadWritePaths=-", "lists")] {
        let line = format!("{key}{}", home.at(path).display());
        assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
    }
    let start =
        format!("ExecStart={} --config {} run", env!("CARGO_BIN_EXE_ferryd"), home.at(".config/ferryd/config.toml").display());
    assert!(text.contains(&start), "{text}");
    assert_eq!(home.say(&words("install", &["--user"])).0, Some(0), "again");
    assert_eq!(home.calls()[2], "systemctl --user start ferryd.service", "what is well runs on");
    let (code, said) = home.say(&words("status", &["--user"]));
    assert!(code == Some(0) && said.contains("It fits") && said.contains("Running."), "{said}");
    home.answer(3);
    assert_eq!(home.say(&words("status", &["--user"])).0, Some(4), "it does not run");
    home.answer(0);
    // Another folder in the configuration needs another unit.
    home.configure("Elsewhere");
    assert!(home.say(&words("status", &["--user"])).1.contains("writes it anew"));
    assert_eq!(home.say(&words("install", &["--user"])).0, Some(0));
    assert!(std::fs::read_to_string(&unit).unwrap().contains("Elsewhere"));
    home.calls();
    let (code, said) = home.say(&words("uninstall", &["--user"]));
    assert!(code == Some(0) && said.contains("still there") && !unit.exists(), "{said}");
    assert_eq!(home.calls(), ["disable --now ferryd.service", "daemon-reload"].map(|call| format!("systemctl --user {call}")));
    assert_eq!(home.say(&words("uninstall", &["--user"])).0, Some(0), "there is nothing to be done");
}

#[test]
fn what_somebody_has_changed_is_replaced_and_removed_by_force_alone() {
    let home = Home::new();
    let unit = home.at(".config/systemd/user/ferryd.service");
    assert_eq!(home.say(&words("install", &["--user"])).0, Some(0));
    let changed = std::fs::read_to_string(&unit).unwrap().replace("RestartSec=5", "RestartSec=50");
    std::fs::write(&unit, &changed).unwrap();
    home.calls();
    for verb in ["install", "uninstall"] {
        let (code, said) = home.say(&words(verb, &["--user"]));
        assert!(code == Some(2) && said.contains("--force") && said.contains("drop-in"), "{said}");
    }
    assert!(home.calls().is_empty() && std::fs::read_to_string(&unit).unwrap() == changed);
    assert!(home.say(&words("status", &["--user"])).1.contains("was changed"));
    assert_eq!(home.say(&words("install", &["--user", "--force"])).0, Some(0));
    assert!(std::fs::read_to_string(&unit).unwrap().contains("RestartSec=5\n"));
    std::fs::write(&unit, &changed).unwrap();
    assert_eq!(home.say(&words("uninstall", &["--user", "--force"])).0, Some(0));
    assert!(!unit.exists());
}

#[test]
fn a_manager_that_fails_or_is_not_there_and_a_wrong_configuration_are_said() {
    let home = Home::new();
    home.answer(1);
    let (code, said) = home.say(&words("install", &["--user"]));
    assert!(code == Some(1) && said.contains("`systemctl --user daemon-reload` has failed"), "{said}");
    std::fs::write(home.at(".config/ferryd/config.toml"), "[[watch]]\n").unwrap();
    let (code, said) = home.say(&words("install", &["--user"]));
    assert!(code == Some(3) && said.contains("path"), "{said}");
}

#[test]
fn a_service_of_the_machine_is_written_below_a_root_and_systemd_takes_both_units() {
    let home = Home::new();
    let config = home.at(".config/ferryd/config.toml");
    let root = home.at("image");
    let more = ["--root", root.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let (code, said) = home.say(&words("install", &more));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(home.calls(), [format!("systemctl --root {} enable ferryd.service", root.display())]);
    let unit = root.join("etc/systemd/system/ferryd.service");
    assert!(std::fs::read_to_string(&unit).unwrap().contains("User=ferryd"));
    assert_eq!(home.say(&words("install", &["--user"])).0, Some(0));
    for (manager, file) in [("--system", unit), ("--user", home.at(".config/systemd/user/ferryd.service"))] {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args([manager, "--man=no", "verify"]).arg(&file).env("XDG_RUNTIME_DIR", home.dir.path());
        match analyze.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let ours: Vec<&str> = said.lines().filter(|line| line.contains("ferryd.service")).collect();
                assert!(ours.is_empty(), "{ours:?}");
            }
            Err(error) => return skipped(&format!("`systemd-analyze` cannot be run: {error}")),
        }
    }
}

#[test]
fn a_launchd_agent_is_written_known_and_undone() {
    let home = Home::new();
    let agent = home.at("Library/LaunchAgents/io.ferryd.daemon.plist");
    let say = |verb: &str| home.say(&[verb, "--manager", "launchd", "--user"]);
    let (code, said) = say("install");
    assert_eq!(code, Some(0), "{said}");
    let domain = format!("gui/{}", rustix::process::getuid().as_raw());
    let calls =
        [format!("launchctl bootout {domain}/io.ferryd.daemon"), format!("launchctl bootstrap {domain} {}", agent.display())];
    assert_eq!(home.calls(), calls);
    let script = "import plistlib, sys; a = plistlib.load(open(sys.argv[1], 'rb')); print(' '.join(a['ProgramArguments']), a['StandardErrorPath'])";
    match Command::new("python3").args(["-c", script]).arg(&agent).output() {
        Ok(output) => {
            let config = home.at(".config/ferryd/config.toml");
            let log = home.at("Library/Logs/ferryd.log");
            let expected = format!("{} --config {} run {}", env!("CARGO_BIN_EXE_ferryd"), config.display(), log.display());
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
        }
        Err(error) => skipped(&format!("`python3` cannot be run: {error}")),
    }
    assert_eq!(say("status").0, Some(0));
    assert_eq!(say("uninstall").0, Some(0));
    assert!(!agent.exists());
}
