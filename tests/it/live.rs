//! What a person sees and types on a terminal: `status`, `status --watch` and `demo` behind a pseudo-terminal, with a real daemon.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ferryd::internals::job::State;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::bench_top::{Bench, Daemon, bytes};

/// Columns and rows.
type Size = (u16, u16);

/// The terminals that are promised.
const SIZES: [Size; 3] = [(60, 20), (80, 24), (200, 50)];

/// A terminal with a program in it.
struct Terminal {
    keys: File,
    /// Keeps it open until the program has ended.
    end: OwnedFd,
    reader: JoinHandle<()>,
    child: Program,
    seen: Arc<Mutex<Seen>>,
    before: Termios,
}

/// What has come, as it came and as it looks.
struct Seen {
    raw: Vec<u8>,
    screen: vt100::Parser,
}

fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn winsize((columns, rows): Size) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Runs a command as the first process of a terminal of its own.
    fn run(command: &Command, size: Size) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let end = rustix::fs::open(ptsname(&master, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&master, winsize(size)).unwrap();
        let before = tcgetattr(&end).unwrap();
        let side = || Stdio::from(end.try_clone().unwrap());
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm-256color");
        inside.env_remove("NO_COLOR").env_remove("RUST_BACKTRACE").stdin(side()).stdout(side()).stderr(side());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        let child = inside.spawn().unwrap();
        let keys = File::from(master);
        let mut output = keys.try_clone().unwrap();
        let seen = Arc::new(Mutex::new(Seen { raw: Vec::new(), screen: vt100::Parser::new(cells(size.1), cells(size.0), 0) }));
        let into = seen.clone();
        let reader = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut some) {
                let mut seen = into.lock().unwrap();
                seen.raw.extend(&some[..length]);
                seen.screen.process(&some[..length]);
            }
        });
        Terminal { keys, end, reader, child: Program(child), seen, before }
    }

    fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, size: Size) {
        self.seen.lock().unwrap().screen.screen_mut().set_size(cells(size.1), cells(size.0));
        tcsetwinsize(&self.keys, winsize(size)).unwrap();
    }

    fn text(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().raw).into_owned()
    }

    /// Waits until this stands on the screen, and answers all of it.
    fn wait_text(&self, bench: &Bench, text: &str) -> String {
        bench.wait_for(&format!("{text:?} on a screen"), || {
            let screen = self.text();
            screen.contains(text).then_some(screen)
        })
    }

    /// Waits for the end of the program, and that the terminal is as it was. Answers the exit code and the screen.
    fn ends_in_order(self, bench: &Bench) -> (Option<i32>, String) {
        let Terminal { keys: _keys, end, reader, mut child, seen, before } = self;
        let ended = bench.wait_for("the end of the program", || child.0.try_wait().unwrap());
        let after = tcgetattr(&end).unwrap();
        // What was written comes first, then the end of the terminal.
        drop(end);
        reader.join().unwrap();
        assert_eq!(
            (after.input_modes, after.output_modes, after.control_modes, after.local_modes),
            (before.input_modes, before.output_modes, before.control_modes, before.local_modes)
        );
        let seen = seen.lock().unwrap();
        let screen = seen.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{}", screen.contents());
        (ended.code(), screen.contents())
    }
}

/// A program that ends with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}

/// A daemon that sends a film so slowly that it is under way as long as a test takes.
fn slow_film() -> (Bench, Daemon) {
    let bench = Bench::new().host("bandwidth = \"200 KiB/s\"");
    bench.put("note.txt", b"note");
    bench.put("film.mov", &bytes(1, 40_000_000));
    let daemon = bench.start();
    bench.wait_for("the note to be there and the film under way", || {
        let jobs = bench.jobs();
        let is = |state| jobs.iter().any(|job| job.state == state);
        (is(State::Done) && is(State::Uploading)).then_some(())
    });
    (bench, daemon)
}

fn film(bench: &Bench) -> State {
    bench.jobs().into_iter().find(|job| job.path.ends_with("film.mov")).unwrap().state
}

#[test]
fn the_live_view_draws_on_every_terminal_and_gives_it_back() {
    let (bench, daemon) = slow_film();
    for size in SIZES {
        let mut terminal = Terminal::run(&bench.command(&["status", "--watch"]), size);
        terminal.wait_text(&bench, "film.mov");
        let screen = terminal.wait_text(&bench, "q quit");
        let at = |text: &str| screen.find(text).unwrap_or_else(|| panic!("{text:?} is not in\n{screen}"));
        let order =
            ["Daemon running", "Jobs: 1 uploading, 1 done", "Uploading", "film.mov", "Finished", "note.txt", "q quit"].map(at);
        assert!(order.is_sorted(), "{size:?}\n{screen}");
        assert!(screen.lines().count() <= usize::from(size.1), "{screen}");
        terminal.type_keys("q");
        let (code, screen) = terminal.ends_in_order(&bench);
        assert!(code == Some(0) && !screen.contains("film.mov"), "{size:?} {code:?}\n{screen}");
    }
    drop(daemon);
}

#[test]
fn keys_pause_resume_find_copy_and_cancel_and_the_view_follows_its_terminal() {
    let (bench, daemon) = slow_film();
    let mut terminal = Terminal::run(&bench.command(&["status", "--watch"]), (80, 24));
    terminal.wait_text(&bench, "film.mov");
    terminal.type_keys("p");
    bench.wait_for("the pause", || (film(&bench) == State::Paused).then_some(()));
    terminal.wait_text(&bench, "Paused 1 job.");
    terminal.wait_text(&bench, "1 paused");
    for size in [(60, 20), (200, 50), (80, 24)] {
        terminal.resize(size);
        // The line above the details is as wide as the terminal.
        let rule = "-".repeat(size.0.into());
        bench.wait_for("a screen of another size", || {
            let screen = terminal.text();
            (screen.lines().any(|line| line == rule) && screen.lines().count() == usize::from(size.1)).then_some(())
        });
    }
    terminal.type_keys("u");
    bench.wait_for("it to go on", || (film(&bench) == State::Uploading).then_some(()));
    terminal.wait_text(&bench, "Resumed 1 job.");
    terminal.type_keys("/note\r");
    bench.wait_for("the film to be left out", || (!terminal.text().contains("film.mov")).then_some(()));
    terminal.type_keys("c");
    let link = bench.jobs().into_iter().find_map(|job| job.link).unwrap();
    let copied = format!("\x1b]52;c;{}\x07", STANDARD.encode(&link));
    bench.wait_for("the link in the clipboard", || terminal.raw().contains(&copied).then_some(()));
    assert!(terminal.wait_text(&bench, "Copied").contains(&link), "a link is whole");
    terminal.type_keys("/\u{1b}");
    terminal.wait_text(&bench, "film.mov");
    // A lone escape is told from the beginning of a sequence by what follows.
    terminal.type_keys("g");
    terminal.type_keys("x");
    terminal.wait_text(&bench, "Cancel this upload?");
    terminal.type_keys("n");
    terminal.wait_text(&bench, "Nothing was cancelled.");
    assert_eq!(film(&bench), State::Uploading);
    terminal.type_keys("xy");
    bench.wait_for("its end", || (film(&bench) == State::Cancelled).then_some(()));
    terminal.type_keys("q");
    assert_eq!(terminal.ends_in_order(&bench).0, Some(0));
    bench.stop(daemon);
}

#[test]
fn whatever_ends_the_live_view_the_terminal_is_as_it_was() {
    let (bench, daemon) = slow_film();
    let live = || Terminal::run(&bench.command(&["status", "--watch"]), (80, 24));
    let mut by_key = live();
    by_key.wait_text(&bench, "q quit");
    by_key.type_keys("\x03");
    assert_eq!(by_key.ends_in_order(&bench).0, Some(0));
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = live();
        terminal.wait_text(&bench, "q quit");
        let pid = rustix::process::Pid::from_raw(i32::try_from(terminal.child.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(terminal.ends_in_order(&bench).0, Some(0), "{signal:?}");
    }
    let mut panics = bench.command(&["status", "--watch"]);
    panics.env("FERRYD_PANIC_AT", "watch.drawn");
    let (code, screen) = Terminal::run(&panics, (80, 24)).ends_in_order(&bench);
    assert!(code == Some(101) && screen.contains("asked to panic"), "{code:?}\n{screen}");
    drop(daemon);
}

#[test]
fn a_daemon_that_hangs_keeps_no_key_waiting() {
    let (bench, daemon) = slow_film();
    let mut terminal = Terminal::run(&bench.command(&["status", "--watch"]), (80, 24));
    terminal.wait_text(&bench, "Daemon running");
    daemon.signal(Signal::STOP);
    terminal.wait_text(&bench, "does not answer");
    terminal.type_keys("p");
    terminal.wait_text(&bench, "Asked for");
    terminal.type_keys("q");
    assert_eq!(terminal.ends_in_order(&bench).0, Some(0));
    daemon.kill();
    let mut terminal = Terminal::run(&bench.command(&["status", "--watch"]), (80, 24));
    terminal.wait_text(&bench, "Daemon not running");
    terminal.type_keys("q");
    assert_eq!(terminal.ends_in_order(&bench).0, Some(0));
}

#[test]
fn a_page_on_a_terminal_keeps_its_head_in_view_and_its_links_whole() {
    let bench = Bench::new();
    let names: Vec<String> = (0..40).map(|number| format!("a photo with a longer name {number}.jpg")).collect();
    names.iter().for_each(|name| drop(bench.put(name, name.as_bytes())));
    let daemon = bench.start();
    let links: Vec<String> = bench.wait_done(40).into_iter().filter_map(|job| job.link).collect();
    bench.wait_watching();
    for size in SIZES {
        let terminal = Terminal::run(&bench.command(&["status"]), size);
        let (code, screen) = terminal.ends_in_order(&bench);
        assert_eq!(code, Some(0));
        assert!(screen.starts_with("Daemon running"), "{size:?}\n{screen}");
        assert!(links.iter().any(|link| screen.replace('\n', "").contains(link.as_str())), "{size:?}\n{screen}");
        assert!(size.1 == 50 || (screen.contains("more jobs") && screen.contains("ferryd status --watch")), "{size:?}\n{screen}");
    }
    let colored = Terminal::run(&bench.command(&["status"]), (80, 24));
    colored.wait_text(&bench, "status --watch");
    assert!(colored.raw().contains("\x1b[32m"), "{}", colored.raw());
    let mut plain = bench.command(&["status"]);
    plain.env("NO_COLOR", "1");
    let terminal = Terminal::run(&plain, (80, 24));
    terminal.wait_text(&bench, "status --watch");
    let raw = terminal.raw();
    assert!(!raw.contains('\x1b'), "{raw:?}");
    bench.stop(daemon);
}

#[test]
fn nothing_but_text_goes_into_a_pipe() {
    let (bench, daemon) = slow_film();
    for words in [&["status"][..], &["status", "--watch"], &["status", "--state", "done"], &["links"]] {
        let output = bench.command(words).env("TERM", "xterm-256color").output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && !all.is_empty() && !all.contains(&0x1b), "{words:?}: {}", String::from_utf8_lossy(&all));
    }
    let output = bench.command(&["status", "--since", "1h", "--json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["jobs"].as_array().unwrap().len(), 2);
    let output = bench.command(&["status", "--since", "2999-01-01"]).output().unwrap();
    assert!(!String::from_utf8(output.stdout).unwrap().contains("note.txt"));
    bench.stop(daemon);
}

/// The folders of demos that are there.
fn demos(temporary: &Path) -> usize {
    std::fs::read_dir(temporary).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

fn demo(bench: &Bench, files: &[&Path]) -> Command {
    let temporary = bench.dir.path().join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = bench.command(&["demo"]);
    command.args(files).env("TMPDIR", temporary);
    command
}

#[test]
fn the_demo_shows_how_it_gets_on_and_says_what_to_do_next() {
    let bench = Bench::new();
    let terminal = Terminal::run(&demo(&bench, &[]), (120, 40));
    let (code, screen) = terminal.ends_in_order(&bench);
    assert_eq!(code, Some(0), "{screen}");
    for expected in
        ["practice hosts are running", "#################### 100 %  1 of 1 file", "equal", "ferryd init", "ferryd status --watch"]
    {
        assert!(screen.contains(expected), "{expected:?} is not in\n{screen}");
    }
    let output = demo(&bench, &[]).output().unwrap();
    let (out, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.starts_with("FILE") && out.matches("equal").count() >= 5, "{out}");
    assert!(said.contains("holiday video.mov is on ") && !format!("{out}{said}").contains('\x1b'), "{said}");
    assert_eq!(demos(&bench.dir.path().join("tmp")), 0);
}

#[test]
fn a_measurement_shows_how_it_gets_on_and_ends_with_a_table() {
    let bench = Bench::new().host("bandwidth = \"4 MiB/s\"");
    let terminal = Terminal::run(&bench.command(&["bench", "--to", "cloudkp", "--size", "8MiB", "--files", "20"]), (140, 40));
    terminal.wait_text(&bench, "Uploading a large file  ####");
    let (code, screen) = terminal.ends_in_order(&bench);
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("MEASURED") && screen.contains("the brake is") && !screen.contains("Uploading"), "{screen}");
}

#[test]
fn a_demo_may_show_some_kinds_alone() {
    let bench = Bench::new();
    let of = |words: &[&str]| {
        let output = demo(&bench, &[]).args(words).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, out, said) = of(&["--to", "tus", "--to", "webdav", "--to", "tus"]);
    assert_eq!(
        (code, out.matches("equal").count(), said.contains("2 practice hosts are running")),
        (Some(0), 2, true),
        "{out}{said}"
    );
    assert!(out.find("webdav").unwrap() < out.find("tus").unwrap() && !out.contains("cloudkp"), "{out}");
    let (code, out, said) = of(&["--to", "tus"]);
    assert_eq!(
        (code, out.matches("equal").count(), said.contains("1 practice host is running")),
        (Some(0), 1, true),
        "{out}{said}"
    );
    let (code, out, said) = of(&["--to", "tsu"]);
    assert!(code == Some(2) && out.is_empty() && said.contains("webdav"), "{said}");
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind_whatever_it_is_doing() {
    let bench = Bench::new();
    let film = bench.dir.path().join("film.mov");
    File::create(&film).unwrap().set_len(1 << 30).unwrap();
    // While it copies the file, and while it uploads it.
    for doing in ["Copying film.mov", " of 1 file"] {
        let mut terminal = Terminal::run(&demo(&bench, &[&film]), (120, 40));
        terminal.wait_text(&bench, doing);
        terminal.type_keys("\x03");
        let (code, screen) = terminal.ends_in_order(&bench);
        assert!(code == Some(1) && screen.contains("interrupted"), "{doing}: {code:?}\n{screen}");
        assert_eq!(demos(&bench.dir.path().join("tmp")), 0, "{doing}");
    }
}
