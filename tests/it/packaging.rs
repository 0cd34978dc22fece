//! The files that service managers read: they start the program the way it wants to be started, and it talks to them as they
//! expect.

use std::path::Path;
use std::process::Command;

use crate::skip::skipped;

fn packaged(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)).unwrap()
}

/// `systemd-analyze verify` reads the units as systemd would; it wants the programs to exist, so it is given ones that do.
#[test]
fn the_units_are_some_that_systemd_takes() {
    for (name, manager) in [("systemd/user/ferryd.service", "--user"), ("systemd/system/ferryd.service", "--system")] {
        let unit = packaged(name);
        assert!(unit.contains("Type=notify") && unit.contains("ExecStart=/usr/local/bin/ferryd ") && unit.contains("LimitCORE=0"));
        assert!(
            unit.contains("\nWatchdogSec=")
                && unit.contains("\nRestartPreventExitStatus=2 3 4\n")
                && unit.contains("\nExecStartPre=-")
        );
        let unit = unit.replace("/usr/local/bin/ferryd", env!("CARGO_BIN_EXE_ferryd"));
        let wrong = unit.replace("Type=notify", "Typ=notify");
        match (complaints(manager, &unit), complaints(manager, &wrong)) {
            (Ok(ours), Ok(wrong)) => {
                assert_eq!(ours, "");
                assert!(wrong.contains("Unknown key"), "it reads what it is given: {wrong}");
            }
            (Err(error), _) | (_, Err(error)) => return skipped(&format!("`systemd-analyze` cannot be run: {error}")),
        }
    }
}

/// An exposure below 2.0, as `systemd-analyze security` counts it.
#[test]
fn the_unit_of_the_machine_exposes_little() {
    let is_below_two = |unit: &str| -> std::io::Result<bool> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("ferryd.service");
        std::fs::write(&file, unit)?;
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(&file);
        Ok(analyze.output()?.status.success())
    };
    let unit = packaged("systemd/system/ferryd.service");
    match (is_below_two(&unit), is_below_two(&unit.replace("SystemCallFilter", "X-SystemCallFilter"))) {
        (Ok(ours), Ok(other)) => assert!(ours && !other, "{ours} {other}"),
        (Err(error), _) | (_, Err(error)) => skipped(&format!("`systemd-analyze` cannot be run: {error}")),
    }
}

/// What systemd finds wrong with this unit.
fn complaints(manager: &str, unit: &str) -> std::io::Result<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ferryd.service");
    std::fs::write(&file, unit).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    // Without a folder of this name, as in a session without a login, it reads nothing.
    analyze.args([manager, "--man=no", "verify"]).arg(&file).env("XDG_RUNTIME_DIR", dir.path());
    let output = analyze.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("ferryd.service")).collect();
    assert!(output.status.success() || !ours.is_empty(), "{said}");
    Ok(ours.join("\n"))
}

#[test]
fn the_launchd_agent_is_well_formed_and_runs_the_daemon() {
    let plist = packaged("launchd/io.ferryd.daemon.plist");
    let opened = plist.matches("<dict>").count() + plist.matches("<array>").count();
    assert_eq!(opened, plist.matches("</dict>").count() + plist.matches("</array>").count());
    let script = "import plistlib, sys; agent = plistlib.load(open(sys.argv[1], 'rb')); print(' '.join(agent['ProgramArguments']))";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/launchd/io.ferryd.daemon.plist");
    match Command::new("python3").args(["-c", script]).arg(path).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "/usr/local/bin/ferryd run"),
        Err(error) => skipped(&format!("`python3` cannot be run: {error}")),
    }
}
