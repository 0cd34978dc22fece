//! What is written becomes what is meant: defaults, units, cross-checks.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::job::attempt::OnUnknown;
use crate::job::marker::{Marker, NoMarker};
use crate::job::verdict::GIVE_UP_AFTER;
use crate::job::watch::{After, EventSource, OnChange, Watch, Watches};

use super::bandwidth::bandwidth;
use super::file::kind as kind_of;
use super::file::{Problems, Table, Value, Wrong, boolean, did_you_mean, integer, number_or_auto, text, texts, word as word_of};
use super::hook::hooks;
use super::kind::{Kinds, names_of_those_that_probe, words};
use super::network::network;
use super::remote::remote_path;
use super::units::{duration, path, size};
use super::{Config, Daemon, Environment, HostConfig, HostKind};

const EVENTS: &[(&str, EventSource)] = &[("auto", EventSource::Auto), ("native", EventSource::Native), ("poll", EventSource::Poll)];
const ON_UNKNOWN: &[(&str, OnUnknown)] =
    &[("upload-again", OnUnknown::UploadAgain), ("probe", OnUnknown::Probe), ("hold", OnUnknown::Hold)];
const ON_CHANGE: &[(&str, OnChange)] = &[("upload", OnChange::Upload), ("ignore", OnChange::Ignore)];
const SECOND: Duration = Duration::from_secs(1);

/// What the whole tree means; what is wrong goes to `problems`, and something stands in for it.
pub(super) fn config(
    root: &Spanned<DeTable<'_>>,
    file: &Path,
    kinds: &Kinds,
    environment: &dyn Environment,
    problems: &Problems,
) -> Config {
    let start = 0..0;
    let top = Table::new("the configuration", root.get_ref(), start.clone(), problems);
    let empty = DeTable::default();
    let daemon_table = top.find("daemon", |value| table(value, "daemon"));
    let (daemon_table, span) = daemon_table.map_or((&empty, start), |(table, span)| (table, span));
    let daemon = daemon(Table::new("[daemon]", daemon_table, span, problems), environment);
    let hosts = hosts(&top, kinds, environment, problems);
    let watches = watches(&top, &hosts.names, environment, problems);
    let hooks = hooks(&top, &watches, environment, problems);
    top.finish();
    nothing_to_do(root.get_ref(), kinds, problems);
    Config { file: file.to_owned(), daemon, watches, hosts: hosts.configs.into_iter().map(Arc::new).collect(), hooks }
}

fn nothing_to_do(root: &DeTable<'_>, kinds: &Kinds, problems: &Problems) {
    let minimal = format!(
        "a minimal configuration:\n\n[[watch]]\npath = \"~/Drop\"\ncreate = true\nto = [\"box\"]\n\n[host.box]\n{}\n\n\
                   config.example.toml shows every key; `ferryd demo` needs no configuration",
        line_of_kind(kinds)
    );
    if !root.contains_key("watch") && !root.contains_key("host") {
        problems.add(None, "the configuration has no [[watch]] and no [host.NAME], so there is nothing to do", Some(minimal));
    }
}

/// The line with the kind in a minimal configuration.
fn line_of_kind(kinds: &Kinds) -> String {
    format!("kind = \"{}\"", kinds.first().map_or("KIND", |kind| kind.word()))
}

fn daemon(table: Table<'_>, environment: &dyn Environment) -> Daemon {
    let daemon = Daemon {
        state_dir: table.find("state_dir", path(environment)).unwrap_or_else(|| default_state_dir(environment)),
        max_uploads: table.get("max_uploads", None, number_or_auto(1, 1024)),
        max_connections: count(&table, "max_connections", 4096).unwrap_or(64),
        bandwidth: bandwidth(&table),
        shutdown_grace: table.get("shutdown_grace", Duration::from_secs(20), duration(Duration::ZERO)),
    };
    table.finish();
    daemon
}

fn count(table: &Table<'_>, key: &'static str, most: i64) -> Option<usize> {
    table.find(key, integer(1, most)).and_then(|count| usize::try_from(count).ok())
}

/// The state folder of a configuration, whatever else is wrong with it.
pub(super) fn state_dir(root: &DeTable<'_>, environment: &dyn Environment) -> PathBuf {
    let daemon = match root.get("daemon").map(Spanned::get_ref) {
        Some(DeValue::Table(daemon)) => daemon.get("state_dir"),
        _ => None,
    };
    let given = daemon.and_then(|value| path(environment)(value).ok());
    given.unwrap_or_else(|| default_state_dir(environment))
}

/// Where the queue lives: what systemd gives, else what XDG says, else the home folder's usual place.
fn default_state_dir(environment: &dyn Environment) -> PathBuf {
    let given = |key| environment.get(key).filter(|value| !value.is_empty());
    if let Some(folders) = given("STATE_DIRECTORY") {
        return PathBuf::from(folders.split(':').next().unwrap_or_default());
    }
    if let Some(state) = given("XDG_STATE_HOME") {
        return Path::new(&state).join("ferryd");
    }
    Path::new(&given("HOME").unwrap_or_else(|| "/var/lib".into())).join(".local/state/ferryd")
}

struct Hosts {
    /// Every name that stands there, also of those that are wrong.
    names: Vec<String>,
    configs: Vec<HostConfig>,
}

fn hosts(top: &Table<'_>, kinds: &Kinds, environment: &dyn Environment, problems: &Problems) -> Hosts {
    let mut hosts = Hosts { names: Vec::new(), configs: Vec::new() };
    let Some((named, _)) = top.find("host", |value| table(value, "host.NAME")) else { return hosts };
    for (name, value) in named {
        let name = name.get_ref().to_string();
        hosts.names.push(name.clone());
        match table(value, &format!("host.{name}")) {
            Ok((fields, span)) => {
                let fields = Table::new(format!("[host.{name}]"), fields, span, problems);
                hosts.configs.extend(host(name, fields, kinds, environment));
            }
            Err(wrong) => problems.add(Some(value.span()), format!("`host.{name}` {}", wrong.message), wrong.help),
        }
    }
    hosts.configs.sort_by(|a, b| a.name.cmp(&b.name));
    hosts
}

fn host(name: String, table: Table<'_>, kinds: &Kinds, environment: &dyn Environment) -> Option<HostConfig> {
    let kind = table.need("kind", &format!("add `{}`", line_of_kind(kinds)), kind_of_host(kinds))?;
    let settings = (kind.read)(&table, environment);
    let bandwidth = bandwidth(&table);
    let max_uploads = table.get("max_uploads", kind.max_uploads(), number_or_auto(1, 1024));
    let max_connections = count(&table, "max_connections", 4096);
    let request_timeout = table.get("request_timeout", Duration::from_secs(60), duration(SECOND));
    let network = network(&table, environment);
    let retries = table.get("retries", None, retries);
    let give_up_after = table.get("give_up_after", GIVE_UP_AFTER, duration(SECOND));
    let on_unknown = table.get("on_unknown", OnUnknown::UploadAgain, word_of(ON_UNKNOWN));
    let trust_replies = table.get("trust_replies", false, boolean);
    let refresh = table.get("refresh", false, boolean);
    if on_unknown == OnUnknown::Probe && !kind.probes_if_told_to() {
        let help = "write \"upload-again\" or \"hold\"; hosts that can say whether they have a file are always asked";
        table.complain("on_unknown", format!("`on_unknown` is \"probe\", which {}", names_of_those_that_probe(kinds)), help);
    }
    table.finish();
    let config = |settings| HostConfig {
        name,
        kind,
        settings,
        bandwidth,
        max_uploads,
        max_connections,
        request_timeout,
        network,
        retries,
        give_up_after,
        on_unknown,
        trust_replies,
        trusts_earlier: true,
        refresh,
    };
    settings.map(config)
}

fn kind_of_host(kinds: &Kinds) -> impl Fn(&Value<'_>) -> Result<&'static HostKind, Wrong> {
    move |value| {
        let given = text(value)?;
        let unknown = || {
            let words = words(kinds);
            let help =
                did_you_mean(&given, words.iter().copied()).unwrap_or_else(|| format!("expected one of: {}", words.join(", ")));
            Wrong::new(format!("has an unknown value: \"{given}\""), help)
        };
        kinds.iter().copied().find(|kind| kind.word() == given).ok_or_else(unknown)
    }
}

fn retries(value: &Value<'_>) -> Result<Option<u32>, Wrong> {
    if text(value).is_ok_and(|word| word == "unlimited") {
        return Ok(None);
    }
    let help = "write a whole number from 0 to 1000000, or \"unlimited\"";
    let number = integer(0, 1_000_000)(value).map_err(|wrong| Wrong { help: Some(help.into()), ..wrong })?;
    Ok(u32::try_from(number).ok())
}

fn watches(top: &Table<'_>, hosts: &[String], environment: &dyn Environment, problems: &Problems) -> Watches {
    let listed = top.find("watch", |value| match value.get_ref() {
        DeValue::Array(items) => Ok(items.iter().map(|item| (item.get_ref(), item.span())).collect::<Vec<_>>()),
        _ => Err(Wrong::new("must be a list of tables", "write [[watch]] with two brackets")),
    });
    let mut watches = Vec::new();
    let mut seen = HashSet::new();
    let mut places = Vec::new();
    for (item, span) in listed.into_iter().flatten() {
        let DeValue::Table(fields) = item else {
            problems.add(Some(span), "`watch` must be a list of tables", Some("write [[watch]]".into()));
            continue;
        };
        let table = Table::new("[[watch]]", fields, span, problems);
        places.push(table.span_of("after"));
        match watch(table, hosts, environment, problems, &mut seen) {
            Some(watch) => watches.push(watch),
            None => drop(places.pop()),
        }
    }
    check_moves(&watches, &places, problems);
    watches.into_iter().collect()
}

/// A file that is moved into a watched folder would be met there as a new one.
fn check_moves(watches: &[Watch], places: &[std::ops::Range<usize>], problems: &Problems) {
    for (watch, place) in watches.iter().zip(places) {
        let After::Move(target) = &watch.after else { continue };
        if let Some(around) = watches.iter().find(|other| target.starts_with(&other.path)) {
            let message = format!(
                "`after` moves files to `{}`, which is inside the watched folder `{}`",
                target.display(),
                around.path.display()
            );
            problems.add(Some(place.clone()), message, Some("choose a folder outside every [[watch]]".into()));
        }
    }
}

/// "keep", "delete", or a table that says where to.
fn after(environment: &dyn Environment) -> impl Fn(&Value<'_>) -> Result<After, Wrong> {
    move |value| {
        let help = "write \"keep\", \"delete\" or { move = \"~/Sent\" }";
        match value.get_ref() {
            DeValue::String(given) if given.as_ref() == "keep" => Ok(After::Keep),
            DeValue::String(given) if given.as_ref() == "delete" => Ok(After::Delete),
            DeValue::String(given) => Err(Wrong::new(format!("has an unknown value: \"{given}\""), help)),
            DeValue::Table(fields) => match fields.get("move") {
                Some(target) if fields.len() == 1 => {
                    let wrong = |wrong: Wrong| Wrong {
                        message: format!("moves to a folder that {}", wrong.message),
                        span: Some(target.span()),
                        ..wrong
                    };
                    path(environment)(target).map(After::Move).map_err(wrong)
                }
                _ => Err(Wrong::new("must have `move` and no other key", help)),
            },
            _ => Err(Wrong::new(format!("must be a string or a table, not {}", kind_of(value)), help)),
        }
    }
}

fn watch(
    table: Table<'_>,
    hosts: &[String],
    environment: &dyn Environment,
    problems: &Problems,
    seen: &mut HashSet<PathBuf>,
) -> Option<Watch> {
    let folder = table.need("path", "add `path = \"~/Drop\"`, the folder to watch", path(environment));
    if let Some(folder) = &folder
        && !seen.insert(folder.clone())
    {
        let help = "to upload to several hosts, list them in the `to` of one [[watch]]".to_owned();
        problems.add(Some(table.span_of("path")), format!("the folder `{}` is watched twice", folder.display()), Some(help));
    }
    let to = table.need("to", "add `to = [\"NAME\"]`, the hosts to upload to", texts);
    if to.as_ref().is_some_and(Vec::is_empty) {
        problems.add(
            Some(table.span_of("to")),
            "`to` lists no host, so nothing would be uploaded",
            Some("list at least one host".into()),
        );
    }
    let to = to.unwrap_or_default();
    check_hosts(&to, hosts, problems);
    let default = Watch::new(folder.clone().unwrap_or_default(), to.into_iter().map(Spanned::into_inner).collect());
    let watch = options(&table, default, environment);
    if watch.max_size.is_some_and(|max| max < watch.min_size) {
        let help = "make `max_size` larger, or `min_size` smaller".to_owned();
        problems.add(Some(table.span_of("max_size")), "`max_size` is smaller than `min_size`, so no file would match", Some(help));
    }
    if watch.follow_symlinks && watch.after != After::Keep {
        let help = "leave out `follow_symlinks`, or write `after = \"keep\"`".to_owned();
        let message = "with `follow_symlinks`, ferryd reads files outside the watched folder, which `after` may not delete or move";
        problems.add(Some(table.span_of("after")), message, Some(help));
    }
    if watch.prune_empty && watch.after == After::Keep {
        let help = "leave out `prune_empty`, or write `after = \"delete\"` or { move = \"~/Sent\" }".to_owned();
        problems.add(
            Some(table.span_of("prune_empty")),
            "`prune_empty` removes nothing as long as `after` keeps the files",
            Some(help),
        );
    }
    if watch.on_change == OnChange::Ignore && watch.after != After::Keep {
        let help = "leave out `on_change`, or write `after = \"keep\"`".to_owned();
        let message =
            "with `on_change = \"ignore\"`, a new file would be ignored that has the name of one which `after` has taken away";
        problems.add(Some(table.span_of("on_change")), message, Some(help));
    }
    table.finish();
    folder.map(|_| watch)
}

/// The keys of a watch that have a default.
fn options(table: &Table<'_>, default: Watch, environment: &dyn Environment) -> Watch {
    Watch {
        recursive: table.get("recursive", default.recursive, boolean),
        create: table.get("create", default.create, boolean),
        include: table.get("include", default.include, globs),
        exclude: table.get("exclude", default.exclude, globs),
        min_size: table.get("min_size", default.min_size, size),
        max_size: table.get("max_size", default.max_size, |value| size(value).map(Some)),
        existing: table.get("existing", default.existing, boolean),
        settle: table.get("settle", default.settle, duration(Duration::ZERO)),
        settle_unknown: table.get("settle_unknown", default.settle_unknown, duration(Duration::ZERO)),
        ready_when: table.get("ready_when", default.ready_when, |value| marker(value).map(Some)),
        on_change: table.get("on_change", default.on_change, word_of(ON_CHANGE)),
        events: table.get("events", default.events, word_of(EVENTS)),
        rescan: table.get("rescan", default.rescan, duration(SECOND)),
        follow_symlinks: table.get("follow_symlinks", default.follow_symlinks, boolean),
        remote_path: table.get("remote_path", default.remote_path, remote_path),
        priority: table.get("priority", default.priority, integer(-1000, 1000)),
        after: table.get("after", default.after, after(environment)),
        prune_empty: table.get("prune_empty", default.prune_empty, boolean),
        path: default.path,
        to: default.to,
    }
}

fn check_hosts(to: &[Spanned<String>], hosts: &[String], problems: &Problems) {
    for (index, name) in to.iter().enumerate() {
        let known = name.get_ref();
        if !hosts.contains(known) {
            let help = did_you_mean(known, hosts.iter().map(String::as_str)).unwrap_or_else(|| {
                if hosts.is_empty() {
                    format!("add [host.{known}] with its `kind`")
                } else {
                    format!("the configured hosts are: {}", hosts.join(", "))
                }
            });
            problems.add(Some(name.span()), format!("`to` lists the host \"{known}\", which is not configured"), Some(help));
        } else if to[..index].iter().any(|earlier| earlier.get_ref() == known) {
            problems.add(Some(name.span()), format!("`to` lists the host \"{known}\" twice"), Some("list it once".into()));
        }
    }
}

/// How markers are named: "{name}.done".
fn marker(value: &Value<'_>) -> Result<Marker, Wrong> {
    let help = "write a name with {name} or {stem} in it, such as \"{name}.done\"";
    let given = text(value)?;
    Marker::parse(&given).map_err(|no_marker| {
        let why = match no_marker {
            NoMarker::NotOfOneFile => "must contain {name} or {stem}, once, so that each file has a marker of its own",
            NoMarker::TheFileItself => "names the file itself",
            NoMarker::OtherFolder => "must not contain `/`: a marker is beside its file",
        };
        Wrong::new(why, help)
    })
}

fn globs(value: &Value<'_>) -> Result<Vec<String>, Wrong> {
    let globs = texts(value)?;
    for glob in &globs {
        if let Err(error) = globset::Glob::new(glob.get_ref()) {
            let message = format!("contains an invalid pattern `{}`: {}", glob.get_ref(), error.kind());
            let help = "`*` matches any characters, `?` matches one, `[ab]` one of these, `{a,b}` one of these words";
            return Err(Wrong { span: Some(glob.span()), ..Wrong::new(message, help) });
        }
    }
    Ok(globs.into_iter().map(Spanned::into_inner).collect())
}

fn table<'t, 'v>(value: &'v Value<'t>, header: &str) -> Result<(&'v DeTable<'t>, std::ops::Range<usize>), Wrong> {
    match value.get_ref() {
        DeValue::Table(table) => Ok((table, value.span())),
        _ => Err(Wrong::new("must be a table", format!("write [{header}] on a line of its own"))),
    }
}
