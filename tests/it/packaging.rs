//! The files that service managers read: they start the program the way it wants to be started, and it talks to them as they
//! expect.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench_top::Bench;
use crate::skip::skipped;

fn packaged(name: &str) -> String {
    std::fs::read_to_string(tree().join("packaging").join(name)).unwrap()
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

/// Where the descriptions of packages look for what `packaging/stage` has gathered.
const STAGED: &str = "target/package";

/// A folder with what `packaging/stage` gathers.
fn staged() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let stage = Command::new(tree().join("packaging/stage")).arg(env!("CARGO_BIN_EXE_ferryd")).arg(dir.path()).output().unwrap();
    assert!(stage.status.success(), "{}", String::from_utf8_lossy(&stage.stderr));
    dir
}

/// Every file below a folder, as a path within it.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// The files that a description of a package takes, as it names them.
fn sources(package: &toml::Value) -> Vec<&str> {
    let named = |asset| toml::Value::get(asset, "source").or_else(|| asset.get(0)).and_then(toml::Value::as_str).unwrap();
    let mut sources: Vec<&str> = package["assets"].as_array().unwrap().iter().map(named).collect();
    if let Some(units) = package.get("systemd-units") {
        assert_eq!(units["unit-scripts"].as_str(), Some("target/package/systemd/system"));
        sources.push("target/package/systemd/system/*");
    }
    sources
}

#[test]
fn packages_have_everything_that_is_staged_and_nothing_that_is_not_there() {
    let staged = staged();
    let found = files_below(staged.path());
    assert!(found.contains(Path::new("man/ferryd-status.1.gz")) && found.contains(Path::new("completions/_ferryd")), "{found:?}");
    let manifest: toml::Value = toml::from_str(&std::fs::read_to_string(tree().join("Cargo.toml")).unwrap()).unwrap();
    for format in ["deb", "generate-rpm"] {
        let package = &manifest["package"]["metadata"][format];
        let mut missing = found.clone();
        for source in sources(package) {
            let Some(pattern) = Path::new(source).strip_prefix(STAGED).ok() else {
                assert!(tree().join(source).is_file(), "{format}: there is no {source}");
                continue;
            };
            let takes = |file: &PathBuf| if pattern.ends_with("*") { file.parent() == pattern.parent() } else { file == pattern };
            assert!(found.iter().any(takes), "{format}: nothing is staged as {source}");
            missing.retain(|file| !takes(file));
        }
        assert_eq!(missing, BTreeSet::new(), "{format}: staged, but in no package");
    }
}

#[test]
fn the_units_of_packages_differ_from_those_for_installing_by_hand_in_the_path_alone() {
    let staged = staged();
    for manager in ["system", "user"] {
        let ours = packaged(&format!("systemd/{manager}/ferryd.service"));
        let theirs = std::fs::read_to_string(staged.path().join("systemd").join(manager).join("ferryd.service")).unwrap();
        let (how_to, unit) = ours.split_once("\n\n").unwrap();
        assert!(how_to.lines().all(|line| line.starts_with('#')), "{how_to}");
        assert_eq!(theirs.replace("/usr/bin/ferryd", "/usr/local/bin/ferryd"), unit);
        assert_eq!(theirs.matches("=/usr/bin/ferryd ").count() + theirs.matches("=-/usr/bin/ferryd ").count(), 3, "{theirs}");
    }
}

/// Runs a maintainer script of the Debian package for the machine below `root`.
#[cfg(target_os = "linux")]
fn maintainer_script(name: &str, what: &str, root: &Path) {
    let mut script = Command::new("sh");
    script.arg(tree().join("packaging/debian").join(name)).arg(what).env("DPKG_ROOT", root);
    let output = script.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The folder of the queue is the home of its user: a watched folder may be in it.
#[cfg(target_os = "linux")]
#[test]
fn removing_the_debian_package_keeps_the_queue_and_purging_it_keeps_the_files_of_people_alone() {
    let bench = Bench::new();
    std::fs::create_dir(bench.state_dir()).unwrap();
    for name in ["queue.db", "queue.db-wal"] {
        std::fs::copy(tree().join("tests/fixtures/queue-v1/killed").join(name), bench.state_dir().join(name)).unwrap();
    }
    let daemon = bench.start();
    bench.stop(daemon);
    std::fs::write(bench.state_dir().join("queue.db"), "damaged").unwrap();
    let daemon = bench.start();
    bench.wait_watching();
    daemon.kill();
    for name in ["tokens.json", "names.salt", "queue.rescue", "queue.unfinished.db", "queue.complete.db", "queue.version-4.db-wal"]
    {
        std::fs::write(bench.state_dir().join(name), "there for a while, or where it is needed").unwrap();
    }

    let root = bench.dir.path().join("root");
    let state = root.join("var/lib/ferryd");
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    std::fs::rename(bench.state_dir(), &state).unwrap();
    let film = Path::new("var/lib/ferryd/Drop/queue.db");
    std::fs::create_dir(state.join("Drop")).unwrap();
    std::fs::write(root.join(film), "somebody's own").unwrap();
    std::fs::create_dir_all(state.join(".local/state/ferryd")).unwrap();
    std::fs::copy(state.join("queue.db"), state.join(".local/state/ferryd/queue.db")).unwrap();
    std::fs::create_dir_all(root.join("etc/ferryd")).unwrap();
    std::fs::write(root.join("etc/ferryd/config.toml"), "").unwrap();

    let before = files_below(&root);
    for name in ["queue.db", "queue.version-1.db", "queue.made", "ferryd.lock", "names.salt", "tokens.json"] {
        assert!(before.contains(&Path::new("var/lib/ferryd").join(name)), "{name}: {before:?}");
    }
    assert!(before.iter().any(|path| path.to_string_lossy().contains("queue.damaged-")), "{before:?}");
    maintainer_script("postrm", "remove", &root);
    assert_eq!(files_below(&root), before);
    maintainer_script("postrm", "purge", &root);
    assert_eq!(files_below(&root), BTreeSet::from([film.to_owned()]));
    assert!(!root.join("etc/ferryd").exists());
    std::fs::remove_dir_all(state.join("Drop")).unwrap();
    maintainer_script("postrm", "purge", &root);
    assert!(!state.exists(), "an empty home goes");
}
