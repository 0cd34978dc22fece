//! Pages that say what the program says: the reference is generated from the commands' own help and from `config.example.toml`, which
//! names every key; troubleshooting has every sentence that a job may be met with, and no sentence that the program does not have.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use ferryd::internals::job::{Reason, ReasonClass};

/// What writes the page anew.
const WRITE: &str = "FERRYD_WRITE_DOCS=1 cargo test --test it reference::";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferryd"));
    command.args(words).arg("--help").env("COLUMNS", "100");
    for name in ["FERRYD_LOG", "FERRYD_LOG_FORMAT", "FERRYD_CONFIG"] {
        command.env_remove(name);
    }
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let list = list.lines().take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn commands(words: &[&str], page: &mut String) {
    let text = help(words);
    let name: String = words.iter().map(|word| format!(" {word}")).collect();
    write!(page, "### `ferryd{name}`\n\n```text\n{}\n```\n\n", text.trim_end()).unwrap();
    for command in listed(&text) {
        commands(&[words, &[command.as_str()]].concat(), page);
    }
}

/// A line of the example.
enum Line<'a> {
    Blank,
    Table(&'a str),
    Key(String),
    Comment(&'a str),
}

fn line(text: &str) -> Line<'_> {
    let shown = text.strip_prefix("#: ");
    let plain = shown.unwrap_or(text);
    if plain.starts_with('[') {
        return Line::Table(plain);
    }
    let is_key =
        |text: &str| text.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()));
    match text.strip_prefix('#') {
        _ if text.is_empty() || text == "#" => Line::Blank,
        _ if shown.is_some() => Line::Key(format!("{plain}  # the default")),
        None => Line::Key(text.to_owned()),
        Some(comment) if is_key(comment.trim_start()) => Line::Key(format!("{}  # an example", comment.trim_start())),
        Some(comment) => Line::Comment(comment.strip_prefix(' ').unwrap_or(comment)),
    }
}

/// Comments, and the keys that they are about.
#[derive(Default)]
struct Entry<'a> {
    comment: Vec<&'a str>,
    keys: Vec<String>,
}

impl Entry<'_> {
    /// Ends the entry, if it has begun.
    fn end(&mut self, page: &mut String) {
        let Entry { comment, keys } = std::mem::take(self);
        if !keys.is_empty() {
            write!(page, "```toml\n{}\n```\n\n", keys.join("\n")).unwrap();
        }
        let is_listed = |line: &&str| line.starts_with("  ") || line.starts_with('"');
        for lines in comment.chunk_by(|one, next| is_listed(one) == is_listed(next)) {
            if is_listed(&lines[0]) {
                write!(page, "```text\n{}\n```\n\n", lines.join("\n")).unwrap();
            } else {
                write!(page, "{}\n\n", lines.join(" ")).unwrap();
            }
        }
    }
}

/// The keys as the example has them, table by table.
fn keys(example: &str, page: &mut String) {
    let mut entry = Entry::default();
    for text in example.lines() {
        match line(text) {
            Line::Blank => entry.end(page),
            Line::Table(title) => {
                write!(page, "### `{title}`\n\n").unwrap();
                entry.end(page);
            }
            Line::Comment(comment) => {
                if !entry.keys.is_empty() {
                    entry.end(page);
                }
                entry.comment.push(comment);
            }
            Line::Key(key) => entry.keys.push(key),
        }
    }
    entry.end(page);
}

fn reference() -> String {
    let mut page = format!(
        "# Reference\n\nEvery command with its options, and every key of the configuration. This page is generated from the program and from\n\
         [`config.example.toml`](../config.example.toml): `{WRITE}` writes it anew.\n\n## Commands\n\n"
    );
    commands(&[], &mut page);
    page.push_str("## Configuration\n\n");
    let example = read("config.example.toml");
    let (_, tables) = example.split_once("\n\n").unwrap();
    keys(tables, &mut page);
    format!("{}\n", page.trim_end())
}

#[test]
fn the_reference_is_what_the_program_and_the_example_say() {
    let (path, now) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/REFERENCE.md"), reference());
    if std::env::var_os("FERRYD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(now.lines()).find(|(written, now)| written != now);
    assert!(written == now, "docs/REFERENCE.md is not what the program says; `{WRITE}` writes it anew. First: {differs:?}");
}

#[test]
fn every_kind_has_a_page_and_a_line_of_what_it_proves() {
    let index = read("docs/hosts/README.md");
    for kind in ferryd::internals::host::kinds::KINDS.iter().filter(|kind| kind.word() != "example") {
        let word = kind.word();
        let page = read(&format!("docs/hosts/{word}.md"));
        assert!(page.starts_with(&format!("# {} (`kind = \"{word}\"`)\n", page_name(kind.name()))), "{word}");
        assert!(index.contains(&format!("]({word}.md), `kind = \"{word}\"` |")), "{word} is not in the list of pages");
        assert!(index.contains(&format!("\n| `{word}` | ")), "{word} is not in the table of proof");
    }
}

/// The name of a service where its page has a longer one.
fn page_name(name: &str) -> &str {
    if name == "KooDrive" { "Huawei KooDrive" } else { name }
}

const TROUBLESHOOTING: &str = "docs/TROUBLESHOOTING.md";

#[test]
fn troubleshooting_has_every_reason_that_a_job_may_have() {
    let page = read(TROUBLESHOOTING);
    // These are what somebody else has said.
    let is_ours = |class: &ReasonClass| !matches!(class, ReasonClass::Host(_) | ReasonClass::Told | ReasonClass::AfterFailed);
    let sentences = ReasonClass::all().filter(is_ours).flat_map(|class| {
        let reason = Reason::new(class).about("NAME");
        [reason.fragment(), reason.detail("…").fragment()]
    });
    let missing: Vec<String> = sentences
        .filter(|text| text.len() > 5 && !text.ends_with(": ") && !text.contains(": ;") && !page.contains(text.trim()))
        .collect();
    assert!(missing.is_empty(), "{TROUBLESHOOTING} lacks:\n{}", missing.join("\n"));
}

/// What the program says, without the breaks that only its source has.
fn source() -> String {
    let mut folders: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let broken = all.split("\\\n").enumerate().map(|(at, piece)| if at == 0 { piece } else { piece.trim_start() });
    broken.collect::<String>()
}

#[test]
fn troubleshooting_has_no_sentence_that_the_program_does_not_say() {
    let (page, source) = (read(TROUBLESHOOTING), source());
    let sentences = page.lines().filter_map(|line| line.strip_prefix("**")?.split_once("**")).map(|(sentence, _)| sentence);
    let mut count = 0;
    for sentence in sentences {
        count += 1;
        let fixed = sentence.split(['`', '…']).flat_map(|piece| piece.split("NAME")).map(str::trim);
        let strange: Vec<&str> = fixed.filter(|piece| piece.len() > 3 && !source.contains(piece)).collect();
        assert!(strange.is_empty(), "no message of the program has {strange:?}, of `{sentence}`");
    }
    assert!(count > 40, "{count} sentences");
}
