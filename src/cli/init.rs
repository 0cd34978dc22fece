//! `ferryd init`: writes a first configuration, from flags or by asking, with every key explained that it sets.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::{self, ProcessEnvironment};
use crate::host::kind::Kind;
use crate::host::kinds::KINDS;

use super::exit::Exit;
use super::render::{self, CommandFailure};
use super::service;

/// Every key of every kind, with what it means.
const REFERENCE: &str = include_str!("../../config.example.toml");

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of host to upload to.
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    kind: Option<String>,
    /// What to call the host [default: box]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// The folder to watch; it is created when it is missing [default: ~/Drop]
    #[arg(long, value_name = "PATH")]
    watch: Option<String>,
    /// A key of the host, such as `user=me@example.org` or `password=env:GIG_PASSWORD`; can be given more than once. A secret is
    /// `env:NAME`, `file:PATH`, `credential:NAME`, or itself.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Print the configuration instead of writing it.
    #[arg(long)]
    print: bool,
}

fn kinds() -> clap::builder::PossibleValuesParser {
    documented().collect::<Vec<_>>().into()
}

fn documented() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter(|kind| kind.as_ref().is_documented()).map(Kind::word)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn run(path: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let path = path.unwrap_or_else(|| config::default_path(&ProcessEnvironment));
    if !arguments.print && path.symlink_metadata().is_ok() {
        let message = format!("there is a configuration already: `{}`", render::path(&path));
        return Err(CommandFailure::new(Exit::Usage, message)
            .hint("edit it, or name another file with --config; `ferryd check` looks at it"));
    }
    let choice = choose(arguments)?;
    let text = choice.text() + &of_the_machine(&path);
    if arguments.print {
        render::out(&text)?;
        return Ok(Exit::Fine);
    }
    write(&path, &text)
        .map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot write `{}`: {error}", render::path(&path))))?;
    let named = if path == config::default_path(&ProcessEnvironment) {
        String::new()
    } else {
        format!(" --config {}", render::path(&path))
    };
    render::out(&format!(
        "Wrote {}.\nNext: `ferryd{named} check --online` looks at it, `ferryd{named} run` starts the daemon.\n",
        render::path(&path)
    ))?;
    Ok(Exit::Fine)
}

/// What the configuration of the machine says besides: where its service has the queue, so that commands find it, too.
fn of_the_machine(path: &Path) -> String {
    if path != Path::new(service::MACHINE_CONFIG) {
        return String::new();
    }
    let told = "# Where the service of the machine has its queue: `sudo -u ferryd ferryd status` looks there, too.";
    format!("\n{told}\n[daemon]\nstate_dir = {}\n", quoted(service::MACHINE_STATE))
}

/// What the configuration will say.
struct Choice {
    kind: String,
    host: String,
    watch: String,
    keys: BTreeMap<String, String>,
}

fn choose(arguments: &Arguments) -> Result<Choice, CommandFailure> {
    let mut asking = Asking { asks: io::stdin().is_terminal() && !arguments.print };
    let watch = asking.answer("Folder to watch", arguments.watch.as_deref(), Some("~/Drop"))?;
    let first = documented().next();
    let kinds = documented().collect::<Vec<_>>().join(", ");
    let kind = asking.answer(&format!("Kind of host ({kinds})"), arguments.kind.as_deref(), first)?;
    if !documented().any(|word| word == kind) {
        let names = did_you_mean(&kind);
        return Err(CommandFailure::new(Exit::Usage, format!("there is no kind `{}`", render::line(&kind))).hint(names));
    }
    let host = asking.answer("What to call it", arguments.host.as_deref(), Some("box"))?;
    let mut keys: BTreeMap<String, String> = arguments.set.iter().cloned().collect();
    for (key, shown) in needed_keys(&kind) {
        if !keys.contains_key(key) {
            let value = asking
                .answer(&format!("{key}, such as {shown}"), None, None)
                .map_err(|failure| failure.hint(format!("`--set {key}=…`; config.example.toml explains the keys of `{kind}`")))?;
            keys.insert(key.to_owned(), value);
        }
    }
    Ok(Choice { kind, host, watch, keys })
}

fn did_you_mean(kind: &str) -> String {
    config::did_you_mean(kind, documented()).unwrap_or_else(|| documented().collect::<Vec<_>>().join(", "))
}

/// Somebody to ask, if there is.
struct Asking {
    asks: bool,
}

impl Asking {
    /// What was given, else what is answered, else what is usual.
    fn answer(&mut self, question: &str, given: Option<&str>, usual: Option<&str>) -> Result<String, CommandFailure> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        if !self.asks {
            return usual.map(str::to_owned).ok_or_else(|| CommandFailure::new(Exit::Usage, format!("missing: {question}")));
        }
        let failed = |error: io::Error| CommandFailure::new(Exit::Fault, format!("cannot ask: {error}"));
        loop {
            let usual_told = usual.map_or(String::new(), |usual| format!(" [{usual}]"));
            let mut out = io::stderr();
            write!(out, "{question}{usual_told}: ").and_then(|()| out.flush()).map_err(failed)?;
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line).map_err(failed)? == 0 {
                return Err(CommandFailure::new(Exit::Usage, "nothing was written: the answers ended"));
            }
            match (line.trim(), usual) {
                ("", Some(usual)) => return Ok(usual.to_owned()),
                ("", None) => {}
                (answer, _) => return Ok(answer.to_owned()),
            }
        }
    }
}

/// The keys that a host of this kind must have, with the values that are shown there: those that stand behind the kind, up to the first
/// that is explained, or to an address that has a default.
fn needed_keys(kind: &str) -> Vec<(&'static str, &'static str)> {
    let section = section_of(kind);
    let lines = section.iter().take_while(|line| !line.starts_with("# "));
    let pairs = lines.filter_map(|line| line.strip_prefix("#: ").unwrap_or(line).split_once(" = ")).skip(1);
    let is_needed = |(at, (key, _)): &(usize, (&str, &str))| *at == 0 || !["base_url", "endpoint"].contains(key);
    pairs.enumerate().take_while(is_needed).map(|(_, pair)| pair).collect()
}

/// The lines about this kind, from the one that names it on.
fn section_of(kind: &str) -> Vec<&'static str> {
    let is_its = |line: &str| line.strip_prefix("#: ").unwrap_or(line) == format!("kind = \"{kind}\"");
    let lines: Vec<&str> = REFERENCE.lines().collect();
    let at = lines.iter().position(|line| is_its(line)).unwrap_or(lines.len());
    let end = lines[at..].iter().position(|line| line.is_empty()).map_or(lines.len(), |length| at + length);
    lines[at..end].to_vec()
}

impl Choice {
    fn text(&self) -> String {
        let Choice { kind, host, watch, keys } = self;
        let mut text = format!(
            "# The configuration of ferryd. `ferryd check` lists everything that is wrong with it; config.example.toml explains every key.\n\
             \n\
             # A folder, and what to do with the files in it. Repeat the whole section for each folder.\n\
             [[watch]]\n\
             path = {watch}\n\
             # Create the folder if it is missing.\n\
             create = true\n\
             # The hosts to upload to: names of the [host.NAME] sections below.\n\
             to = [{host}]\n\
             # Also upload files that are there already when the folder is first watched.\n\
             existing = true\n\
             # What happens to a file once every host has it: \"keep\", \"delete\", or {{ move = \"~/Sent\" }}.\n\
             after = \"keep\"\n\
             \n\
             # A host: a place to upload to.\n\
             [host.{name}]\n\
             kind = {kind}\n",
            watch = quoted(watch),
            host = quoted(host),
            name = toml_key(host),
            kind = quoted(kind),
        );
        for (key, value) in keys {
            text.push_str(&format!("{} = {}\n", toml_key(key), value_of(value)));
        }
        text.push_str(
            "\n# Something to do when a file is up: here, a line with its link in a file. A command or a webhook is possible, too.\n\
             # [[hook]]\n# on = [\"done\"]\n# links_file = \"~/links.tsv\"\n",
        );
        text
    }
}

/// A secret may be elsewhere; a number and the like stand as they are.
fn value_of(value: &str) -> String {
    for place in ["env", "file", "credential"] {
        if let Some(name) = value.strip_prefix(place).and_then(|rest| rest.strip_prefix(':')) {
            return format!("{{ {place} = {} }}", quoted(name));
        }
    }
    let is_plain = value.parse::<i64>().is_ok() || ["true", "false"].contains(&value);
    if is_plain { value.to_owned() } else { quoted(value) }
}

pub(super) fn quoted(text: &str) -> String {
    // What JSON escapes, TOML reads.
    serde_json::Value::from(text).to_string()
}

fn toml_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// It may hold a secret: only its owner reads it. Nothing is overwritten.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_for_every_kind_is_a_configuration() {
        for kind in documented() {
            let keys = needed_keys(kind).into_iter().map(|(key, _)| (key.to_owned(), "env:FERRYD_TEST".to_owned()));
            let is_secret = |key: &str| ["password", "api_key", "app_secret"].contains(&key);
            let plain =
                |key: &str| if ["base_url", "endpoint"].contains(&key) { "https://h.example/x" } else { "7001x" }.to_owned();
            let keys = keys.map(|(key, value)| if is_secret(&key) { (key, value) } else { (key.clone(), plain(&key)) });
            let choice = Choice { kind: kind.into(), host: "my box".into(), watch: "/tmp/ä \"b\"".into(), keys: keys.collect() };
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("new").join("config.toml");
            write(&path, &choice.text()).unwrap();
            let config = config::load(&path, KINDS, &ProcessEnvironment);
            let config = config.unwrap_or_else(|error| panic!("{kind}: {}\n{}", error.render(false), choice.text()));
            assert_eq!((config.hosts[0].name.as_str(), config.hosts[0].kind.word()), ("my box", kind));
            assert!(write(&path, "").is_err(), "nothing is overwritten");
        }
    }

    #[test]
    fn the_configuration_of_the_machine_says_where_its_service_has_the_queue() {
        let choice = Choice { kind: "cloudkp".into(), host: "box".into(), watch: "/srv/drop".into(), keys: BTreeMap::new() };
        for (path, state_dir) in [(service::MACHINE_CONFIG, Some(service::MACHINE_STATE)), ("/home/u/config.toml", None)] {
            let text = choice.text() + &of_the_machine(Path::new(path));
            let table: toml::Table = toml::from_str(&text).unwrap();
            assert_eq!(table.get("daemon").and_then(|daemon| daemon["state_dir"].as_str()), state_dir, "{text}");
        }
    }

    #[test]
    fn a_secret_may_be_elsewhere_and_a_number_is_one() {
        let written = ["env:A_B", "file:/etc/x y", "credential:c", "7", "true", "a\"b"].map(value_of);
        let expected = ["{ env = \"A_B\" }", "{ file = \"/etc/x y\" }", "{ credential = \"c\" }", "7", "true"];
        assert_eq!(written[..5], expected);
        assert_eq!(toml::from_str::<toml::Table>(&format!("x = {}", written[5])).unwrap()["x"].as_str(), Some("a\"b"));
    }
}
