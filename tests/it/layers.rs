//! Who may know whom. Reads the source, and fails on an arrow that `docs/ARCHITECTURE.md` does not draw.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ferryd::internals::host::kinds::KINDS;

/// Each part of the house, with the parts it may know.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("job", &[]),
    ("os", &[]),
    ("secret", &[]),
    // Its macro is in everybody's reach without a name.
    ("planted", &[]),
    ("watch", &["job", "os"]),
    ("store", &["job", "os"]),
    ("config", &["job", "os", "secret"]),
    ("host", &["config", "job", "os", "secret"]),
    ("hook", &["config", "host", "job", "os", "secret"]),
    ("engine", &["config", "hook", "host", "job", "os", "store", "watch"]),
    ("cli", &["config", "engine", "host", "job", "os", "secret", "store"]),
    ("internals", &["config", "engine", "host", "job", "os", "planted", "store"]),
    ("main", &["cli"]),
];

/// Every crate from outside, with the parts that may know it.
const MAY_KNOW: [(&str, &[&str]); 51] = [
    ("annotate_snippets", &["config"]),
    ("base64", &["cli", "host", "job"]),
    ("bytes", &["engine", "host"]),
    ("bytesize", &["cli", "config", "engine", "host"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("crc_fast", &["engine", "host"]),
    ("crossterm", &["cli"]),
    ("ferryd_sandbox", &["cli"]),
    ("globset", &["config", "watch"]),
    ("hmac", &["host"]),
    ("http_body", &["engine", "host"]),
    ("http_body_util", &["host"]),
    ("httpdate", &["host"]),
    ("hyper", &["host"]),
    ("hyper_util", &["host"]),
    ("jiff", &["cli", "config", "host", "job", "os"]),
    ("libc", &["engine", "hook", "os", "watch"]),
    ("md5", &["engine", "host"]),
    ("notify", &["watch"]),
    ("percent_encoding", &["host"]),
    ("plist", &["host"]),
    ("quick_xml", &["host"]),
    ("rand", &["cli", "os"]),
    ("ratatui", &["cli"]),
    ("reqwest", &["host"]),
    ("rusqlite", &["store"]),
    ("rustix", &["cli", "os", "watch"]),
    ("rustls", &["host"]),
    ("sd_notify", &["os"]),
    ("serde", &["cli", "host", "job", "os"]),
    ("serde_json", &["cli", "hook", "host", "job", "os", "store"]),
    ("sha1", &["engine"]),
    ("sha2", &["cli", "config", "engine", "host", "os"]),
    ("signal_hook", &["os"]),
    ("strsim", &["config"]),
    ("tempfile", &["cli", "os"]),
    ("thiserror", &["config", "engine", "hook", "host", "job", "os", "planted", "store", "watch"]),
    ("tokio", &["cli", "engine", "hook", "host", "os", "store"]),
    ("toml", &["config"]),
    ("tower_layer", &["host"]),
    ("tower_service", &["host"]),
    ("tracing", &["cli", "config", "engine", "hook", "os", "store", "watch"]),
    ("tracing_subscriber", &["cli"]),
    ("twox_hash", &["job"]),
    ("unicode_width", &["cli"]),
    ("url", &["config", "host"]),
    ("ferryd", &["main"]),
];

/// The emulated hosts, which share no code with the daemon: each side is written from the documents, so that one's mistake shows at
/// the other.
const SANDBOX: &str = "crates/ferryd-sandbox/src";
/// The simulator.
const SIMULATOR: &str = "crates/ferryd-sim/src";

/// Parts that are pure, and what of the standard library would make them otherwise.
const PURE: [&str; 2] = ["job", "secret"];
const IMPURE: [&str; 11] = [
    "std::fs::read",
    "std::fs::write",
    "std::fs::File",
    "std::fs::OpenOptions",
    "std::fs::metadata",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "std::time::SystemTime",
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The part a file belongs to, and its code without comments and tests.
pub(crate) fn code() -> Vec<(String, PathBuf, String)> {
    code_in("src")
}

/// The same for the sources in the folder `below` the root of the repository.
fn code_in(below: &str) -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let mut files = Vec::new();
    sources(&root, &mut files);
    let only_tests: BTreeSet<PathBuf> = files.iter().flat_map(|path| modules_of_tests(path)).collect();
    files.retain(|path| !path.ancestors().any(|above| only_tests.contains(&above.with_extension(""))));
    let read = |path: PathBuf| {
        let below = path.strip_prefix(&root).unwrap();
        let part = below.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        (part, below.to_owned(), lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).filter(|(part, ..)| part != "lib").collect()
}

/// The modules beside a file, or below it, that it has for tests alone: their paths without the end.
fn modules_of_tests(path: &Path) -> Vec<PathBuf> {
    let is_folder = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    let beside = if is_folder { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    let text = std::fs::read_to_string(path).unwrap();
    let named = |behind: &str| behind.split_once(';').map(|(name, _)| name.to_owned());
    let names = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(named);
    names.filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_')).map(|name| beside.join(name)).collect()
}

/// The paths that a text names behind `prefix`: `a::b` for `prefix::a::b`, and each one of a group on its own.
fn paths_behind<'c>(code: &'c str, prefix: &'c str) -> impl Iterator<Item = String> + 'c {
    let is_whole = move |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
    code.match_indices(prefix).filter(move |(at, _)| is_whole(*at)).flat_map(|(at, _)| paths(&code[at + prefix.len()..]))
}

/// The paths that stand at the beginning of a text, where a group has several.
fn paths(code: &str) -> Vec<String> {
    let code = code.trim_start();
    let Some(group) = code.strip_prefix('{') else {
        let end = code.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '*'))).unwrap_or(code.len());
        let (path, rest) = code.split_at(end);
        return match path.strip_suffix("::").filter(|_| rest.starts_with('{')) {
            Some(path) => paths(rest).into_iter().map(|below| format!("{path}::{below}")).collect(),
            None => vec![path.to_owned()],
        };
    };
    let (mut depth, mut begin, mut found) = (0, 0, Vec::new());
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                found.extend(paths(&group[begin..at]).into_iter().filter(|path| !path.is_empty()));
                begin = at + 1;
                if sign == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// The parts of ours that the code of a file names: from the root of the crate, from outside, or up the modules that it is in.
fn parts_named(file: &Path, code: &str) -> BTreeSet<String> {
    let inner = file.file_name().is_some_and(|name| name == "mod.rs");
    let above = file.components().count() - usize::from(inner);
    let up = "super::".repeat(above);
    let from_the_root = paths_behind(code, "crate::").chain(paths_behind(code, "$crate::"));
    let all = from_the_root.chain(paths_behind(code, "ferryd::")).chain(paths_behind(code, &up));
    all.map(|path| path.split("::").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn nobody_knows_more_than_the_house_allows() {
    let known: Vec<&str> = MAY_USE.iter().map(|(part, _)| *part).collect();
    let mut wrong = Vec::new();
    for (part, path, code) in code() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == part) else {
            panic!("{path:?} belongs to no part of the house");
        };
        for name in parts_named(&path, &code) {
            if (name == "*" && part != "internals")
                || (known.contains(&name.as_str()) && name != part && !allowed.contains(&name.as_str()))
            {
                wrong.push(format!("{path:?}: {part} must not know {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A module, or something in it, by its steps from the root of the crate.
type FromRoot = Vec<String>;

fn steps(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split("::").filter(|step| !step.is_empty()).map(str::to_owned)
}

/// The module that a file is.
fn module(file: &Path) -> FromRoot {
    let file = if file.ends_with("mod.rs") { file.parent().unwrap().to_owned() } else { file.with_extension("") };
    file.iter().map(|step| step.to_string_lossy().into_owned()).collect()
}

/// Everything of ours that the code of a file names.
fn things_named(file: &Path, code: &str) -> Vec<FromRoot> {
    let from_the_root = paths_behind(code, "crate::").chain(paths_behind(code, "$crate::")).map(|path| steps(&path).collect());
    let above = paths_behind(code, "super::").map(|path| {
        let mut thing = module(file);
        thing.pop();
        for step in steps(&path) {
            if step == "super" { drop(thing.pop()) } else { thing.push(step) }
        }
        thing
    });
    from_the_root.chain(above).collect()
}

/// What a `mod.rs` hands on under its own name, and where that is: `job::State` is `job::state::State`.
fn handed_on(files: &[(PathBuf, String)]) -> Vec<(FromRoot, FromRoot)> {
    let faces = files.iter().filter(|(file, _)| file.ends_with("mod.rs"));
    let hands_on = faces.flat_map(|(file, code)| {
        let public = ["pub use ", "pub(crate) use ", "pub(super) use "].into_iter().flat_map(|how| paths_behind(code, how));
        public.map(|path| (module(file), steps(path.trim_start_matches("self::")).collect::<Vec<_>>())).collect::<Vec<_>>()
    });
    let own = hands_on.filter(|(_, path)| path.len() > 1 && !["crate", "super"].contains(&path[0].as_str()));
    own.map(|(face, path)| ([face.as_slice(), &path[path.len() - 1..]].concat(), [face, path].concat())).collect()
}

/// Each folder, with the files and folders in it, and with those beside it that each of them imports. Its `mod.rs` is the folder
/// itself.
fn folders(files: &[(PathBuf, String)]) -> BTreeMap<FromRoot, BTreeMap<String, BTreeSet<String>>> {
    let handed_on = handed_on(files);
    let place = |mut thing: FromRoot| {
        while let Some((name, place)) = handed_on.iter().find(|(name, _)| thing.starts_with(name)) {
            thing = [place, &thing[name.len()..]].concat();
        }
        thing
    };
    let mut folders: BTreeMap<FromRoot, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (file, code) in files {
        let (module, things) = (module(file), things_named(file, code).into_iter().map(place).collect::<Vec<_>>());
        for depth in 0..module.len() {
            let (folder, name) = (&module[..depth], &module[depth]);
            let beside = things.iter().filter(|thing| thing.starts_with(folder)).filter_map(|thing| thing.get(depth));
            let imports = folders.entry(folder.to_vec()).or_default().entry(name.clone()).or_default();
            imports.extend(beside.filter(|other| *other != name).cloned());
        }
    }
    folders
}

/// What is left when those that import none of the rest, or that none of the rest imports, are taken away, again and again.
fn circles(mut left: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let before = left.clone();
        left.retain(|name, imports| {
            let is_imported = before.values().any(|imports| imports.contains(name));
            is_imported && imports.iter().any(|other| before.contains_key(other))
        });
        if left.len() == before.len() {
            return left.into_keys().collect();
        }
    }
}

#[test]
fn files_and_folders_beside_each_other_import_each_other_in_no_circle() {
    for sources in ["src", SANDBOX, SIMULATOR] {
        let files: Vec<_> = code_in(sources).into_iter().map(|(_, file, code)| (file, code)).collect();
        has_no_circle(sources, &files);
    }
}

fn has_no_circle(sources: &str, files: &[(PathBuf, String)]) {
    let everything = |(file, code): &(PathBuf, String)| things_named(file, code).iter().any(|thing| thing.ends_with(&["*".into()]));
    // Nobody imports what is handed out, so it is in no circle.
    let is_inside = |(file, _): &&(PathBuf, String)| !file.ends_with("internals.rs");
    let hidden: Vec<&PathBuf> = files.iter().filter(is_inside).filter(|file| everything(file)).map(|(file, _)| file).collect();
    assert!(hidden.is_empty(), "{hidden:?} import everything there is, so that nobody sees what");
    for (folder, imports) in folders(files) {
        assert_eq!(circles(imports), [""; 0], "in {sources}/{}", folder.join("/"));
    }
}

#[test]
fn the_check_itself_sees_a_circle() {
    let circles_of = |files: &[(&str, &str)]| -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(file, code)| (PathBuf::from(file), (*code).to_owned())).collect();
        folders(&files)
            .into_iter()
            .flat_map(|(folder, imports)| circles(imports).into_iter().map(move |name| [folder.join("/"), name].join("/")))
            .collect()
    };
    let (a, b) = (("a/x.rs", "use super::y::Y;"), ("a/y.rs", "fn y() { crate::a::x::z() }"));
    assert_eq!(circles_of(&[a, b, ("a/w.rs", "use super::x::X;"), ("a/v.rs", ""), ("a/mod.rs", "mod x;")]), ["a/x", "a/y"]);
    assert_eq!(circles_of(&[a, ("a/y.rs", "")]), [""; 0]);
    let face = ("a/mod.rs", "pub use self::x::{Other, X};");
    assert_eq!(circles_of(&[a, face, ("a/y.rs", "use super::{X, v};")]), ["a/x", "a/y"], "through what the folder hands on");
    assert_eq!(circles_of(&[a, face, ("a/y.rs", "use super::Third;")]), [""; 0]);
    let below = [("a/y/mod.rs", "mod deep;"), ("a/y/deep.rs", "use super::super::x::X;")];
    assert_eq!(circles_of(&[a, below[0], below[1]]), ["a/x", "a/y"], "from a folder below");
    assert_eq!(circles_of(&[("a/x.rs", "use crate::b::B;"), ("b/mod.rs", "use super::a::x::X;")]), ["/a", "/b"], "between parts");
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let is_path = after.starts_with("::") || ["use ", "use ::", "extern crate "].iter().any(|words| before.ends_with(words));
        let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        // The last step of a longer path is something else of the same name.
        is_path && whole && (!before.ends_with("::") || before.ends_with("use ::"))
    })
}

#[test]
fn each_outside_crate_stays_in_its_rooms() {
    let mut wrong = Vec::new();
    for (part, path, code) in code() {
        let strangers = MAY_KNOW.iter().filter(|(name, rooms)| !rooms.contains(&part.as_str()) && names_crate(&code, name));
        wrong.extend(strangers.map(|(name, rooms)| format!("{path:?}: only {rooms:?} may know {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_emulated_hosts_know_nothing_of_the_daemon() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("crates/ferryd-sandbox/Cargo.toml")).unwrap().parse().unwrap();
    let crates = ["dependencies", "dev-dependencies"].map(|table| manifest[table].as_table().unwrap());
    assert!(!crates.iter().any(|table| table.contains_key("ferryd")));
    let files = code_in(SANDBOX);
    assert!(files.len() > 10, "{files:?}");
    let from_outside = files.iter().find(|(_, _, code)| code.contains("#[path") || code.contains("include!("));
    assert!(from_outside.is_none(), "{from_outside:?}");
}

/// The files of the store that hold SQL; what is around them would do with another engine.
const HOLD_SQL: [&str; 11] = [
    "deliveries.rs",
    "files.rs",
    "jobs.rs",
    "rescue.rs",
    "rows.rs",
    "schema.rs",
    "sqlite.rs",
    "steering.rs",
    "unwanted.rs",
    "uploads.rs",
    "view.rs",
];

#[test]
fn only_what_holds_sql_knows_sqlite() {
    let store = || code().into_iter().filter(|(part, ..)| part == "store");
    let wrong: Vec<PathBuf> = store()
        .filter(|(_, path, code)| !HOLD_SQL.iter().any(|name| path.ends_with(name)) && code.contains("rusqlite"))
        .map(|(_, path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} must not know rusqlite");
    for name in HOLD_SQL {
        let holds = store().any(|(_, path, code)| path.ends_with(name) && names_crate(&code, "rusqlite"));
        assert!(holds, "{name} holds no SQL any more");
    }
}

#[test]
fn every_outside_crate_has_its_rooms() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let linux = &manifest["target"]["cfg(target_os = \"linux\")"];
    let tables = [&manifest["dependencies"], &linux["dependencies"]].map(|table| table.as_table().unwrap());
    let listed = tables.into_iter().flat_map(toml::Table::keys).map(|name| match name.as_str() {
        "md-5" => "md5".to_owned(),
        name => name.replace('-', "_"),
    });
    let listed: BTreeSet<String> = listed.chain(["ferryd".to_owned()]).collect();
    let known = MAY_KNOW.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, known);
}

#[test]
fn what_is_pure_asks_no_clock_disk_or_network() {
    let mut wrong = Vec::new();
    for (part, path, code) in code().into_iter().filter(|(part, ..)| PURE.contains(&part.as_str())) {
        let named = paths_behind(&code, "std::").map(|path| format!("std::{path}"));
        let impure = named.filter(|name| IMPURE.iter().any(|impure| name.starts_with(impure)));
        wrong.extend(impure.map(|name| format!("{path:?}: {part} is pure, and must not know {name}")));
        // An instant may be handed in; what it is now may not be asked.
        let asks = ["Instant::now", ".elapsed("].into_iter().filter(|asks| code.contains(asks));
        wrong.extend(asks.map(|asks| format!("{path:?}: {part} is pure, and must not ask `{asks}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_order_is_left_to_chance_that_no_seed_decides() {
    const SIMULATED: [&str; 5] = ["engine", "hook", "host", "store", "watch"];
    let mut wrong = Vec::new();
    for (_, path, code) in code().into_iter().filter(|(part, ..)| SIMULATED.contains(&part.as_str())) {
        let unordered = code.split("select! {").skip(1).filter(|branches| !branches.trim_start().starts_with("biased;"));
        wrong.extend(
            unordered.map(|_| format!("{path:?}: `select!` looks at its branches in any order; let it begin with `biased;`")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where `code` asks what a sentence says that is meant for a person.
fn reads_sentences(code: &str) -> Vec<&str> {
    const SENTENCES: [&str; 8] =
        ["said", "why", "reason", "detail", "sentence()", "fragment()", "error.to_string()", "reason.to_string()"];
    const QUESTIONS: [&str; 4] = [".contains(", ".starts_with(", ".ends_with(", ".find("];
    let asks = |line: &&str| {
        let line = line.replace(".as_deref()", "").replace(".unwrap_or_default()", "");
        SENTENCES.iter().any(|sentence| QUESTIONS.iter().any(|question| line.contains(&format!("{sentence}{question}"))))
    };
    code.lines().filter(asks).collect()
}

#[test]
fn no_decision_hangs_on_the_words_of_a_sentence() {
    assert_eq!(reads_sentences("if error.said.starts_with(FAULT) {").len(), 1);
    assert_eq!(reads_sentences("job.why.as_deref().unwrap_or_default().contains(\"413\")").len(), 1);
    assert_eq!(reads_sentences("let text = reply.text.contains('<');"), [""; 0]);
    let wrong: Vec<String> = code()
        .into_iter()
        .flat_map(|(_, path, code)| reads_sentences(&code).into_iter().map(|line| format!("{path:?}: {line}")).collect::<Vec<_>>())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words in `code` that name one of these kinds, as the configuration or as Rust has them.
fn kinds_named(code: &str, kinds: &[&str]) -> BTreeSet<String> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_lowercase);
    // A short name is also a part of other words.
    words.filter(|word| kinds.iter().any(|kind| word == kind || (kind.len() > 4 && word.contains(kind)))).collect()
}

#[test]
fn a_kind_of_host_is_named_in_its_folder_and_in_the_lists_alone() {
    let kinds: Vec<&str> = KINDS.iter().flat_map(|kind| [kind.word(), kind.module()]).collect();
    assert_eq!(kinds_named("kind == \"4shared\" || CloudKpConfig::cookie(kie)", &kinds).len(), 3);
    let is_list = |path: &Path| ["host/mod.rs", "host/kinds.rs"].iter().any(|list| path == Path::new(list));
    let is_of_a_kind = |path: &Path| kinds.iter().any(|kind| path.starts_with(Path::new("host").join(kind)));
    for (_, path, code) in code().into_iter().filter(|(_, path, _)| !is_list(path) && !is_of_a_kind(path)) {
        // What only tests have stands at the end.
        let code = code.split("\n#[cfg(test)]\npub").next().unwrap_or_default();
        // A file that has the name of a kind, and nothing to do with it.
        let code = code.replace("config.example.toml", "");
        assert_eq!(kinds_named(&code, &kinds), BTreeSet::new(), "{path:?}");
    }
}

#[test]
fn the_check_itself_sees_a_forbidden_arrow() {
    let named = |file: &str, code: &str| parts_named(Path::new(file), code).into_iter().collect::<Vec<_>>();
    assert_eq!(named("job/plan.rs", "use crate::store::Store;\nfn x() { crate::host::y() }"), ["host", "store"]);
    assert_eq!(named("job/plan.rs", "use crate::{\n    store, host::{self, http::{A, B}},\n    os,\n};"), ["host", "os", "store"]);
    assert_eq!(named("job/plan.rs", "use super::super::{store, watch::Root};"), ["store", "watch"]);
    assert_eq!(named("job/plan.rs", "use super::state::State;"), [""; 0]);
    assert_eq!(named("job/mod.rs", "use super::store;"), ["store"]);
    assert_eq!(named("job/plan.rs", "use crate::*;"), ["*"]);
    assert_eq!(named("main.rs", "fn main() { ferryd::cli::main() }"), ["cli"]);
    for code in ["use tokio::sync;", "use tokio;", "use ::tokio::{fs, net};", "#[tokio::test]", "x(tokio::spawn(y))"] {
        assert!(names_crate(code, "tokio"), "{code}");
    }
    for code in ["use mytokio::sync;", "let tokio = 1;", "self::tokio::x", "tokio_util::x"] {
        assert!(!names_crate(code, "tokio"), "{code}");
    }
    assert_eq!(
        paths_behind("use std::{fmt, time::{Duration, Instant}};", "std::").collect::<Vec<_>>(),
        ["fmt", "time::Duration", "time::Instant"]
    );
}
