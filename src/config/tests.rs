//! Configurations that are wrong, and what is said about them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use jiff::civil::Weekday;
use proptest::prelude::*;

use super::*;
use crate::host::cloudkp::CloudKpConfig;
use crate::host::kinds::KINDS;
use crate::job::bandwidth::{Days, Hours};
use crate::job::watch::DEFAULT_EXCLUDE;

struct Fixed(HashMap<&'static str, &'static str>);

impl Environment for Fixed {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|value| (*value).to_owned())
    }
}

fn home() -> Fixed {
    Fixed(HashMap::from([("HOME", "/home/u")]))
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("ferryd.toml"), KINDS, &home())
}

const HOST: &str = "\n[host.box]\nkind = \"cloudkp\"\n";

/// What is wrong with one more line in the watch.
fn with_line(line: &str) -> Vec<String> {
    described(&format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{line}\n{HOST}"))
}

fn described(text: &str) -> Vec<String> {
    let Err(error) = read(text) else { return Vec::new() };
    let describe = |problem: &Problem| {
        let (line, column) = error.position(problem).unwrap_or((0, 0));
        format!("{line}:{column} {} ({})", problem.message, problem.help.as_deref().unwrap_or("").replace('\n', " "))
    };
    error.problems.iter().map(describe).collect()
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = read(&format!("[[watch]]\npath = \"~/Drop//x/\"\nto = [\"box\"]\n{HOST}")).unwrap();
    let watch = &config.watches[0];
    assert_eq!(watch.path, Path::new("/home/u/Drop/x"));
    assert_eq!((watch.recursive, watch.create, watch.existing, watch.follow_symlinks), (true, false, true, false));
    assert_eq!((watch.settle, watch.rescan), (Duration::from_secs(2), Duration::from_secs(3600)));
    assert_eq!((watch.min_size, watch.max_size, watch.priority), (1, None, 0));
    assert_eq!(watch.exclude, DEFAULT_EXCLUDE);
    assert_eq!(
        (config.daemon.max_uploads, config.daemon.max_connections, &config.daemon.bandwidth),
        (None, 64, &Bandwidth::unlimited())
    );
    assert_eq!(config.daemon.state_dir, Path::new("/home/u/.local/state/ferryd"));
    let kind = config.hosts[0].settings_of::<CloudKpConfig>().unwrap();
    assert_eq!((kind.base_urls[0].as_str(), kind.link_base.as_str()), ("https://kpdl.cloudkp.com", "https://cloudkp.com?c="));
}

#[test]
fn brackets_left_open_are_told_once() {
    let said = described("x = [[[");
    assert!(!said.is_empty() && (1..said.len()).all(|at| !said[..at].contains(&said[at])), "{said:#?}");
}

#[test]
fn hosts_that_are_no_list_are_told_once() {
    let said = described(&format!("[[watch]]\npath = \"/drop\"\nto = \"box\"\n{HOST}"));
    assert_eq!(said, ["3:6 `to` in [[watch]] must be a list of strings, not a string (write [\"one\", \"two\"])"]);
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let text = "[daemon]\nmax_upload = 3\nbandwidth = \"fast\"\n\n[[watch]]\npath = \"Drop\"\nto = [\"bxo\"]\nsettle = 2\n\n[host.box]\nkind = \"cloudpk\"\n";
    let expected = [
        "2:1 unknown key `max_upload` in [daemon] (did you mean `max_uploads`?)",
        "3:13 `bandwidth` in [daemon] is \"fast\", which is not a rate (write \"20 MiB/s\" or \"unlimited\")",
        "6:8 `path` in [[watch]] is \"Drop\", which is not an absolute path (start it with `/` or `~/`)",
        "7:7 `to` lists the host \"bxo\", which is not configured (did you mean `box`?)",
        "8:10 `settle` in [[watch]] must be a duration, not the number 2 (write a duration with its unit, such as \"2s\", \"500ms\" or \"1h\")",
        "11:8 `kind` in [host.box] has an unknown value: \"cloudpk\" (did you mean `cloudkp`?)",
    ];
    assert_eq!(described(text), expected);
}

/// What is wrong with these lines in the host.
fn with_host_lines(lines: &str) -> Vec<String> {
    described(&format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{HOST}{lines}\n"))
}

#[test]
fn how_requests_travel_is_read_and_what_is_wrong_with_it_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let pem = file("ca.pem", "# mine\n-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n");
    let none = file("none.pem", "-----BEGIN PRIVATE KEY-----\n");
    let away = dir.path().join("away.pem").display().to_string();
    let sound = format!("ca_file = \"{pem}\"\nproxy = \"http://proxy.example:3128\"\nuser_agent = \"backup/1.0 (me)\"");
    let config = read(&format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{HOST}{sound}\n")).unwrap();
    let network = &config.hosts[0].network;
    assert_eq!((network.ca_file.as_deref(), network.user_agent.as_deref()), (Some(Path::new(&pem)), Some("backup/1.0 (me)")));
    assert!(matches!(&network.proxy, ProxySource::At(SecretSource::Plain(at)) if at.reveal() == "http://proxy.example:3128"));

    let all = with_host_lines(&format!("ca_file = \"{away}\"\nproxy = \"proxy:hunter2\"\nuser_agent = \"\u{e4}\""));
    let starts = [
        "7:11 `ca_file` in [host.box] cannot be read: `",
        "8:9 `proxy` in [host.box] is no address",
        "9:14 `user_agent` in [host.box] cannot be sent",
    ];
    assert_eq!(all.len(), starts.len(), "{all:#?}");
    for (said, start) in all.iter().zip(starts) {
        assert!(said.starts_with(start) && !said.contains("hunter2"), "{said}");
    }
    let cases = [
        (format!("ca_file = \"{none}\""), "has no certificate in it"),
        (format!("ca_file = \"{}\"", dir.path().display()), "cannot be read"),
        ("ca_file = \"ca.pem\"".into(), "which is not an absolute path"),
        ("proxy = 3128".into(), "must be the address of a proxy, not the number 3128"),
        ("proxy = \"socks5://proxy:1080\"".into(), "is no address of an HTTP proxy"),
        ("proxy = \"http://proxy/path\"".into(), "is no address of an HTTP proxy"),
        ("proxy = { evn = \"X\" }".into(), "did you mean `env`?"),
        ("user_agent = \"\"".into(), "cannot be sent"),
        ("user_agent = \"a\\nb\"".into(), "cannot be sent"),
    ];
    for (lines, expected) in cases {
        let said = with_host_lines(&lines);
        assert!(said.len() == 1 && said[0].contains(expected), "{lines}: {said:#?}");
    }
}

#[test]
fn a_proxy_is_none_or_a_secret_and_its_password_is_shown_nowhere() {
    let proxy = |line: &str| {
        let text = format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{HOST}{line}\n");
        read(&text).unwrap().hosts.remove(0).network.proxy.clone()
    };
    assert!(matches!(proxy("proxy = \"none\""), ProxySource::Direct));
    assert!(matches!(proxy("proxy = { env = \"P\" }"), ProxySource::At(SecretSource::Env(name)) if name == "P"));
    assert!(matches!(proxy(""), ProxySource::Environment));
    let with_password = proxy("proxy = \"http://me:hunter2@proxy:1\"");
    assert!(!format!("{with_password:?}").contains("hunter2"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("open.toml");
    let text = format!("{HOST}proxy = \"http://me:hunter2@proxy:1\"\n");
    std::fs::write(&file, &text).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let shown = load(&file, KINDS, &home()).unwrap_err().render(false);
    assert!(shown.contains("other users can read") && !shown.contains("hunter2"), "{shown}");
    let wrong = read(&format!("{HOST}proxy = \"me:hunter2@proxy:1\"\n")).unwrap_err().render(false);
    assert!(wrong.contains("is no address of an HTTP proxy") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn wrong_values_say_what_would_be_right() {
    let cases = [
        ("recursive = \"yes\"", "must be true or false, not a string"),
        ("min_size = 5", "must be a size, not the number 5"),
        ("min_size = \"5\"", "is \"5\", which is not a size"),
        ("min_size = \"5 MiB\"\nmax_size = \"1 MiB\"", "`max_size` is smaller than `min_size`"),
        ("include = \"*\"", "must be a list of strings, not a string"),
        ("exclude = [\"[\"]", "contains an invalid pattern `[`: unclosed"),
        ("events = \"pol\"", "has an unknown value: \"pol\" (did you mean `poll`?)"),
        ("rescan = \"0s\"", "is \"0s\", which is too short"),
        ("settle = \"99999h\"", "is \"99999h\", which is too long"),
        ("priority = 5000", "is 5000, which is out of range"),
        ("exlude = []", "unknown key `exlude` in [[watch]] (did you mean `exclude`?)"),
        (
            "after = \"burn\"",
            "`after` in [[watch]] has an unknown value: \"burn\" (write \"keep\", \"delete\" or { move = \"~/Sent\" })",
        ),
        ("after = { move = \"Sent\" }", "moves to a folder that is \"Sent\", which is not an absolute path"),
        ("after = { copy = \"/x\" }", "must have `move` and no other key"),
        ("after = { move = \"/drop/sent\" }", "moves files to `/drop/sent`, which is inside the watched folder `/drop`"),
        ("after = 3", "must be a string or a table, not the number 3"),
        ("remote_path = \"{dri}\"", "has an unknown placeholder: {dri} (did you mean `dir`?)"),
    ];
    for (line, expected) in cases {
        let found = with_line(line);
        assert!(found.len() == 1 && found[0].contains(expected), "{line}: {found:?}");
    }
    assert_eq!(with_line("after = \"keep\"\nremote_path = \"{dir}\"\nsettle = \"0s\"\npriority = -3"), [""; 0]);
}

#[test]
fn without_a_watch_there_is_still_what_is_sent_by_name() {
    assert_eq!(described(HOST), [""; 0]);
}

#[test]
fn what_belongs_together_is_checked_together() {
    let watch = "[[watch]]\npath = \"/a\"\nto = [\"box\"]\n";
    let cases = [
        (String::new(), "the configuration has no [[watch]] and no [host.NAME]"),
        (format!("{watch}{watch}{HOST}"), "the folder `/a` is watched twice"),
        (watch.to_owned(), "which is not configured (add [host.box] with its `kind`)"),
        (format!("[[watch]]\npath = \"/a\"\nto = [\"box\", \"box\"]\n{HOST}"), "lists the host \"box\" twice"),
        (format!("[[watch]]\npath = \"/a\"\nto = []\n{HOST}"), "`to` lists no host"),
        (format!("[[watch]]\nto = [\"box\"]\n{HOST}"), "[[watch]] has no `path`"),
        (format!("[watch]\npath = \"/a\"\n{HOST}"), "write [[watch]] with two brackets"),
        (format!("{watch}[host.box]\n"), "[host.box] has no `kind`"),
        (format!("{watch}[host.box]\nkind = \"kie\"\n"), "[host.box] has no `api_key`"),
        (format!("{watch}[host.box]\nkind = \"kie\"\napi_key = \"\"\n"), "`api_key` in [host.box] is empty"),
        (
            format!("{watch}[host.box]\nkind = \"kie\"\napi_key = 7\n"),
            "must be a secret or say where to read it from, not be the number 7",
        ),
        (format!("{watch}[host.box]\nkind = \"kie\"\napi_key = {{ evn = \"K\" }}\n"), "did you mean `env`?"),
        (
            format!("{watch}[host.box]\nkind = \"kie\"\napi_key = \"k\"\nbase_url = \"http://h\"\n"),
            "send the credentials unencrypted",
        ),
        (format!("{watch}[host.box]\nkind = \"kie\"\napi_key = \"k\"\nupload_path = \"/x\"\n"), "is not a valid folder"),
        (format!("{watch}[host.box]\nkind = \"koodrive\"\napp_id = \"a\"\napp_secret = \"b\"\n"), "has no `user_id`"),
        (format!("{watch}[host.box]\nkind = \"koodrive\"\naccess_token = \"t\"\n"), "has no `user_id`"),
        (
            format!(
                "{watch}[host.box]\nkind = \"koodrive\"\napp_id = \"a\"\napp_secret = \"b\"\nuser_id = \"c\"\nshare = \"400d\"\n"
            ),
            "no number of days from 1 to 365",
        ),
        (format!("{watch}[host.box]\nkind = \"uploadgig\"\npassword = \"b\"\n"), "has no `user`"),
        (format!("{watch}[host.box]\nkind = \"4shared\"\nuser = \"a\"\npassword = \"b\"\nparallel_parts = 4\n"), "from 1 to 3"),
        (
            format!("{watch}[host.box]\nkind = \"4shared\"\nuser = \"a\"\npassword = \"b\"\nfolder = \"a/../b\"\n"),
            "is not a valid folder",
        ),
        (format!("{watch}{HOST}on_unknown = \"probe\"\n"), "which only UploadGig supports"),
        (format!("{watch}{HOST}[[hook]]\non = [\"done\"]\nlinks_file = \"/a/links.tsv\"\n"), "inside the watched folder `/a`"),
        (format!("{watch}ready_when = \"done\"\n{HOST}"), "must contain {name} or {stem}"),
        (format!("{watch}ready_when = \"{{name}}\"\n{HOST}"), "names the file itself"),
        (format!("{watch}ready_when = \"../{{name}}\"\n{HOST}"), "must not contain `/`"),
        (format!("{watch}on_change = \"skip\"\n{HOST}"), "has an unknown value: \"skip\""),
        (format!("{watch}on_change = \"ignore\"\nafter = \"delete\"\n{HOST}"), "a new file would be ignored"),
        (format!("{watch}prune_empty = true\n{HOST}"), "`prune_empty` removes nothing"),
        (format!("{watch}{HOST}bandwidth = []\n"), "`bandwidth` in [host.box] is an empty list"),
        (format!("{watch}{HOST}bandwidth = [\"2 MiB/s\"]\n"), "must be a list of tables, but contains a string"),
        (format!("{watch}{HOST}bandwidth = [{{ days = \"mon\" }}]\n"), "`bandwidth` in [host.box] has no `limit`"),
        (
            format!("{watch}{HOST}bandwidth = [{{ limit = \"2 MiB\" }}]\n"),
            "`limit` in `bandwidth` in [host.box] is \"2 MiB\", which is not a rate",
        ),
        (format!("{watch}{HOST}bandwidth = [{{ limit = \"0 B/s\" }}]\n"), "is 0, so nothing would ever be sent"),
        (format!("{watch}{HOST}bandwidth = [{{ day = \"mon\", limit = \"unlimited\" }}]\n"), "unknown key `day`"),
        (format!("{watch}{HOST}bandwidth = [{{ days = \"mon-fry\", limit = \"unlimited\" }}]\n"), "has the unknown day \"fry\""),
        (
            format!("{watch}{HOST}bandwidth = [{{ days = 5, limit = \"unlimited\" }}]\n"),
            "must be days of the week, not the number 5",
        ),
        (
            format!("{watch}{HOST}bandwidth = [{{ from = \"8\", limit = \"unlimited\" }}]\n"),
            "`from` in `bandwidth` in [host.box] is \"8\", which is not a time of day",
        ),
        (format!("{watch}{HOST}bandwidth = [{{ to = 18:00:00, limit = \"unlimited\" }}]\n"), "must be a time of day, not a date"),
        (
            format!("{watch}{HOST}bandwidth = [{{ limit = \"1 B/s\" }}, {{ days = \"sat\", limit = \"2 B/s\" }}]\n"),
            "an entry of `bandwidth` in [host.box] never applies",
        ),
        (format!("{watch}{HOST}base_url = \"ftp://x\"\n"), "is not a plain web address"),
        (format!("{watch}{HOST}base_url = \"https://u:p@x/?q\"\n"), "is not a plain web address"),
    ];
    for (text, expected) in cases {
        let found = described(&text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

/// What is wrong with a hook of these lines.
fn with_hook(lines: &str) -> Vec<String> {
    described(&format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{HOST}\n[[hook]]\n{lines}\n"))
}

#[test]
fn a_wrong_hook_says_what_would_be_right() {
    let on = "on = [\"done\"]\n";
    let cases = [
        ("sidecar = true", "[[hook]] has no `on` (add `on = [\"done\"]`"),
        ("on = []\nsidecar = true", "is empty, so the hook would never run"),
        ("on = [\"don\"]\nsidecar = true", "has an unknown event: \"don\" (did you mean `done`?)"),
        ("on = [\"held\", \"held\"]\nsidecar = true", "lists \"held\" twice"),
        ("on = [\"done\"]", "[[hook]] has no action (add `links_file`"),
        ("on = [\"done\"]\nsidecar = true\nwebhook = \"http://x\"", "[[hook]] has both `webhook` and `sidecar`"),
        ("on = [\"done\"]\nsidecar = false", "is false, so the hook would do nothing"),
        ("on = [\"done\"]\nlinks_file = \"links.tsv\"", "is not an absolute path"),
        ("on = [\"done\"]\nwebhook = \"ftp://x/s3cret\"", "`webhook` in [[hook]] is not a web address"),
        ("on = [\"done\"]\ncommand = \"ls\"", "must be a list of strings, not a string"),
        ("on = [\"done\"]\ncommand = []", "has no program"),
        ("on = [\"done\"]\ncommand = [\"{name}\"]", "has a placeholder in the name of the program"),
        ("on = [\"done\"]\ncommand = [\"x\", \"{nam}\"]", "has an unknown placeholder: {nam} (did you mean `name`?)"),
        ("on = [\"done\"]\ncommand = [\"x\", \"a } b\"]", "has an unmatched `}`"),
        ("on = [\"done\"]\nsidecar = true\ntime_limit = \"9s\"", "`time_limit` applies only to `command` and `webhook`"),
        ("on = [\"done\"]\nsidecar = true\nbefore = \"9s\"", "`before` applies only to the event \"expiring\""),
        ("on = [\"done\"]\nsidecar = true\nevery = \"5m\"", "`every` applies only to `command` and `webhook`"),
        ("on = [\"done\"]\nwebhook = \"http://x\"\nevery = \"0s\"", "is \"0s\", which is too short"),
        (
            "on = [\"done\"]\nevery = \"5m\"\ncommand = [\"x\", \"{count}\", \"a {link}\"]",
            "`command` uses {link}, but with `every`",
        ),
        ("on = [\"done\"]\nsidecar = true\nformat = \"csv\"", "`format` applies only to `links_file`"),
        ("on = [\"done\"]\nlinks_file = \"/x\"\nformat = \"xls\"", "has an unknown value: \"xls\""),
        ("on = [\"done\"]\nwebhook = \"http://x\"\ntime_limit = \"0s\"", "is \"0s\", which is too short"),
        ("on = [\"done\"]\nsidecar = true\nlink_file = \"/x\"", "unknown key `link_file` in [[hook]] (did you mean `links_file`?)"),
    ];
    for (lines, expected) in cases {
        let found = with_hook(lines);
        assert!(found.len() == 1 && found[0].contains(expected), "{lines}: {found:?}");
    }
    let twice = with_hook(&format!("{on}sidecar = true\n[[hook]]\non = [\"held\"]\nsidecar = true"));
    assert!(twice.len() == 1 && twice[0].contains("this [[hook]] repeats an earlier one"), "{twice:?}");
    assert_eq!(with_hook(&format!("{on}command = [\"~/x\", \"{{{{\", \"{{link}}\"]\ntime_limit = \"1s\"")), [""; 0]);
    assert_eq!(with_hook(&format!("{on}every = \"5m\"\ncommand = [\"x\", \"{{summary}}\", \"{{count}}\"]")), [""; 0]);
    assert_eq!(with_hook("on = [\"expiring\", \"failed\"]\nbefore = \"1h\"\nwebhook = \"http://x/y?z\""), [""; 0]);
}

#[test]
fn a_links_file_is_written_as_its_name_or_the_configuration_says() {
    let format = |lines: &str| {
        let config =
            read(&format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{HOST}\n[[hook]]\non = [\"done\"]\n{lines}\n")).unwrap();
        match config.hooks[0].action {
            super::HookAction::LinksFile { format, .. } => format.word(),
            _ => "no links file",
        }
    };
    let cases = [
        ("links_file = \"/a/links.tsv\"", "tsv"),
        ("links_file = \"/a/links\"", "tsv"),
        ("links_file = \"/a/links.csv\"", "csv"),
        ("links_file = \"/a/links.jsonl\"", "jsonl"),
        ("links_file = \"/a/links.ndjson\"", "jsonl"),
        ("links_file = \"/a/links.txt\"\nformat = \"csv\"", "csv"),
        ("links_file = \"/a/links.csv\"\nformat = \"tsv\"", "tsv"),
    ];
    for (lines, expected) in cases {
        assert_eq!(format(lines), expected, "{lines}");
    }
}

#[test]
fn the_documented_address_is_taken_with_and_without_its_end() {
    for given in ["http://h/kp", "http://h/kp/", "http://h/kp/upload", "http://h/kp/upload/"] {
        let text = format!("[[watch]]\npath = \"/a\"\nto = [\"box\"]\n{HOST}base_url = \"{given}\"\n");
        let config = read(&text).unwrap();
        let kind = config.hosts[0].settings_of::<CloudKpConfig>().unwrap();
        assert_eq!(kind.base_urls, ["http://h/kp"]);
    }
    let read_list = |list: &str| read(&format!("[[watch]]\npath = \"/a\"\nto = [\"box\"]\n{HOST}base_url = {list}\n"));
    let two = read_list("[\"http://h/kp/upload\", \"https://i\"]").unwrap();
    assert_eq!(two.hosts[0].settings_of::<CloudKpConfig>().unwrap().base_urls, ["http://h/kp", "https://i"]);
    for wrong in ["[]", "[7]", "[\"http://h\", \"ftp://i\"]"] {
        assert!(read_list(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_password_that_others_can_read_is_refused_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ferryd.toml");
    let text = "[[watch]]\npath = \"/a\"\nto = [\"box\"]\n[host.box]\nkind = \"kie\"\napi_key = \"hunter2\"\n";
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = load(&file, KINDS, &home()).unwrap_err();
    let shown = format!("{} {error:?}", error.render(false));
    assert!(shown.contains("chmod 600") && !shown.contains("hunter2"), "{shown}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!format!("{:?}", load(&file, KINDS, &home()).unwrap()).contains("hunter2"));
}

#[test]
fn every_kind_has_its_defaults() {
    let secret = "password = { env = \"P\" }\nuser = \"me\"\n";
    let text = format!(
        "[[watch]]\npath = \"/a\"\nto = [\"gig\", \"koo\", \"kie\", \"four\"]\n[host.gig]\nkind = \"uploadgig\"\n{secret}\n[host.four]\nkind = \"4shared\"\n{secret}\n\
         [host.koo]\nkind = \"koodrive\"\naccess_token = {{ file = \"~/t\" }}\nuser_id = \"u\"\n[host.kie]\nkind = \"kie\"\napi_key = {{ command = [\"pass\", \"kie\"] }}\n"
    );
    let config = read(&text).unwrap_or_else(|error| panic!("{}", error.render(false)));
    let words: Vec<_> = config.hosts.iter().map(|host| (host.name.as_str(), host.kind.word(), host.kind.max_uploads())).collect();
    assert_eq!(
        words,
        [("four", "4shared", None), ("gig", "uploadgig", Some(1)), ("kie", "kie", Some(2)), ("koo", "koodrive", None)]
    );
    let sources: Vec<_> = config.hosts.iter().flat_map(|host| host.settings.secrets()).map(|(key, _)| key).collect();
    assert_eq!(sources, ["password", "password", "api_key", "access_token"]);
}

#[test]
fn broken_syntax_is_shown_where_it_is() {
    let error = read("[daemon\nmax_uploads = 3\n").unwrap_err();
    assert_eq!(error.position(&error.problems[0]).map(|(line, _)| line), Some(1));
    let shown = error.render(false);
    assert!(shown.contains("ferryd.toml:1:") && shown.contains("[daemon"), "{shown}");
}

#[test]
fn a_problem_is_drawn_under_its_line() {
    let shown = read(&format!("[[watch]]\npath = \"/drop\"\nto = [\"box\"]\nexlude = []\n{HOST}")).unwrap_err().render(false);
    let expected = "error: unknown key `exlude` in [[watch]]\n --> ferryd.toml:4:1\n  |\n4 | exlude = []\n  | ^^^^^^\n  |\n  = help: did you mean `exclude`?\n\n\
                    the configuration `ferryd.toml` has 1 problem";
    assert_eq!(shown, expected);
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = load(Path::new("/nowhere/ferryd.toml"), KINDS, &home()).unwrap_err();
    let shown = error.render(false);
    assert!(
        shown.contains("there is no configuration file at `/nowhere/ferryd.toml`") && shown.contains("config.example.toml"),
        "{shown}"
    );
}

#[test]
fn what_is_reached_through_links_may_be_neither_deleted_nor_moved() {
    for after in ["\"delete\"", "{ move = \"/sent\" }"] {
        let said = with_line(&format!("follow_symlinks = true\nafter = {after}"));
        assert!(said.len() == 1 && said[0].starts_with("5:9 with `follow_symlinks`"), "{said:?}");
    }
    assert_eq!(with_line("follow_symlinks = true\nafter = \"keep\""), Vec::<String>::new());
}

#[test]
fn a_file_of_another_format_is_wrong_once_and_of_very_many_problems_the_first_are_told() {
    let said = described("watch:\n  - path: ~/Drop\n    to: box\n");
    assert!(said.len() == 1 && said[0].contains("not in TOML"), "{said:?}");
    let many: String = (0..60_000).map(|number| format!("wach{number} = 1\n")).collect();
    let begun = std::time::Instant::now();
    let error = read(&format!("{many}[[watch]]\npath = \"/drop\"\nto = [\"box\"]\n{HOST}")).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((error.problems.len(), error.more), (50, 59_950));
    let shown = error.render(false);
    assert!(shown.contains("... and 59950 more") && shown.ends_with("has 60000 problems"), "{}", &shown[shown.len() - 200..]);
}

#[test]
fn the_state_folder_of_a_broken_configuration_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    for (text, expected) in [
        ("[[wach]]\n[daemon]\nstate_dir = \"/queue\"\n", "/queue"),
        ("[daemon]\nstate_dir = \"/queue\"\n[host.box\n", "/queue"),
        ("[daemon]\nstate_dir = 3\n", "/home/u/.local/state/ferryd"),
        ("\u{0}", "/home/u/.local/state/ferryd"),
    ] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(likely_state_dir(&file, &home()), Path::new(expected), "{text}");
    }
    assert_eq!(likely_state_dir(Path::new("/nowhere/x"), &home()), Path::new("/home/u/.local/state/ferryd"));
}

#[test]
fn the_state_folder_is_where_the_platform_wants_it() {
    let dir = |environment| {
        parse(&format!("[[watch]]\npath = \"/a\"\nto = [\"box\"]\n{HOST}"), Path::new("x"), KINDS, &Fixed(environment))
    };
    let cases = [
        (HashMap::from([("STATE_DIRECTORY", "/var/lib/ferryd:/other"), ("HOME", "/h")]), "/var/lib/ferryd"),
        (HashMap::from([("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), "/x/ferryd"),
        (HashMap::from([("HOME", "/h")]), "/h/.local/state/ferryd"),
    ];
    for (environment, expected) in cases {
        assert_eq!(dir(environment).unwrap().daemon.state_dir, Path::new(expected));
    }
}

#[test]
fn the_example_is_valid_and_names_every_key() {
    let text = include_str!("../../config.example.toml");
    let config = read(text).unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!((config.watches.len(), config.hosts.len(), config.hooks.len()), (1, 1, 1));
    // Uncommented, every key of the example is one we know, and its value is right.
    let uncommented: String =
        text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).flat_map(|line| [line, "\n"]).collect();
    let full = read(&uncommented).unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!(format!("{:?}", full.watches[0]), format!("{:?}", config.watches[0]), "the example shows the defaults");
    assert_eq!(format!("{:?}", full.hosts[0]), format!("{:?}", config.hosts[0]), "the example shows the defaults");
    assert_eq!(format!("{:?}", full.hooks), format!("{:?}", config.hooks), "the example shows the defaults");
    for host in &full.hosts[1..] {
        let least = least_of(&uncommented, &host.name);
        let config = read(&least).unwrap_or_else(|error| panic!("{}", error.render(false)));
        assert_eq!(format!("{host:?}"), format!("{:?}", config.hosts[0]), "the example shows the defaults");
    }
    let sections: HashSet<&str> = full.hosts.iter().map(|host| host.kind.word()).collect();
    let documented = KINDS.iter().filter(|kind| kind.as_ref().is_documented());
    assert_eq!(sections, documented.map(crate::host::kind::Kind::word).collect(), "every kind has its section");
    let unknown = read("[daemon]\nq = 1\n[[watch]]\npath = \"/a\"\nto = [\"box\"]\nq = 1\n[host.box]\nkind = \"cloudkp\"\nq = 1\n[[hook]]\non = [\"done\"]\nsidecar = true\nq = 1\n")
        .unwrap_err();
    assert_eq!(unknown.problems.len(), 4, "one for each sort of table");
    let of_kinds = full.hosts[1..].iter().map(|host| {
        let least = least_of(&uncommented, &host.name).replace("[host.", "[[watch]]\npath = \"/b\"\nto = []\n[host.");
        read(&format!("{least}q = 1\n")).unwrap_err().problems.pop().unwrap()
    });
    let of_kinds: Vec<Problem> = of_kinds.collect();
    for problem in unknown.problems.iter().chain(&of_kinds) {
        let known =
            problem.help.as_deref().and_then(|help| help.split_once("known keys: ")).map(|(_, keys)| keys).expect("a list of keys");
        for key in known.split(", ") {
            let shown = uncommented.contains(&format!("\n{key} = ")) || uncommented.contains(&format!("\n# {key} = "));
            assert!(shown, "config.example.toml does not show `{key}`");
        }
    }
}

/// The section of a host in the example with nothing in it but the keys that cannot be left out.
fn least_of(example: &str, name: &str) -> String {
    let section = example.split_once(&format!("[host.{name}]\n")).unwrap().1;
    let section = section.split("\n[").next().unwrap();
    let lines: Vec<&str> = section.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let with = |lines: &[&str]| format!("[[watch]]\npath = \"/a\"\nto = [\"{name}\"]\n[host.{name}]\n{}\n", lines.join("\n"));
    let without = |left_out: &str| with(&lines.iter().copied().filter(|line| *line != left_out).collect::<Vec<_>>());
    let needed: Vec<&str> = lines.iter().copied().filter(|line| read(&without(line)).is_err()).collect();
    with(&needed)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,300}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.problems.is_empty() && !error.render(false).is_empty());
        }
    }

    #[test]
    fn no_line_makes_the_reader_panic(key in "[a-z_]{1,12}", value in "[\"\\[{]?[a-z0-9 ]{0,8}[\"\\]}]?") {
        drop(with_line(&format!("{key} = {value}")));
    }
}

#[test]
fn bandwidth_is_a_rate_or_a_timetable() {
    let time = |hour, minute| jiff::civil::Time::constant(hour, minute, 0, 0);
    let days = |listed: &[Weekday]| listed.iter().fold(Days::NONE, |days, day| days.and(*day));
    let any = Hours::always(None);
    let workdays = days(&[Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday]);
    let saturday = days(&[Weekday::Saturday]);
    let cases = [
        ("\"2 MiB/s\"", vec![Hours::always(Some(2 << 20))]),
        ("\"unlimited\"", vec![any]),
        (
            "[{ days = \"mon-fri\", from = \"08:00\", to = \"18:30\", limit = \"2 MiB/s\" }, { limit = \"unlimited\" }]",
            vec![Hours { days: workdays, from: time(8, 0), to: time(18, 30), limit: Some(2 << 20) }, any],
        ),
        (
            "[{ days = [\"Sun-Mon\", \"fri\"], from = \"22:30\", to = \"6:00\", limit = \"500 B/s\" }]",
            vec![Hours {
                days: days(&[Weekday::Sunday, Weekday::Monday, Weekday::Friday]),
                from: time(22, 30),
                to: time(6, 0),
                limit: Some(500),
            }],
        ),
        (
            "[{ days = \"sat\", from = \"12:00\", limit = \"1 B/s\" }]",
            vec![Hours { days: saturday, from: time(12, 0), limit: Some(1), ..any }],
        ),
        ("[{ days = \"sat\", to = \"24:00\", limit = \"1 B/s\" }]", vec![Hours { days: saturday, limit: Some(1), ..any }]),
    ];
    for (given, expected) in cases {
        let text = format!("[daemon]\nbandwidth = {given}\n[[watch]]\npath = \"/a\"\nto = [\"box\"]\n{HOST}bandwidth = {given}\n");
        let config = read(&text).unwrap_or_else(|error| panic!("{given}: {error}"));
        for bandwidth in [&config.daemon.bandwidth, &config.hosts[0].bandwidth] {
            assert_eq!(bandwidth.hours(), expected, "{given}");
        }
    }
}
