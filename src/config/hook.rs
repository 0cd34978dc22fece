//! The `[[hook]]` tables: what the user wants to happen when a job's state says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::DeValue;

use crate::job::delivery::hook_name;
use crate::job::{Event, Watches};
use crate::secret::Secret;

use super::Environment;
use super::file::{Problems, Table, Value, Wrong, boolean, did_you_mean, kind, text, texts, word};
use super::units::{duration, path};

const SECOND: Duration = Duration::from_secs(1);
/// How long a command or a webhook may take when nothing is configured.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How long before its end a link is called expiring when nothing is configured.
const BEFORE: Duration = Duration::from_secs(2 * 3600);
const ACTIONS: [&str; 4] = ["links_file", "command", "webhook", "sidecar"];

/// One `[[hook]]`.
#[derive(Debug, Clone)]
pub struct Hook {
    /// What it waits for; one of [`Event::OF_HOOKS`] each, never empty, none stands twice.
    pub on: Vec<Event>,
    /// What it does.
    pub action: HookAction,
    /// How long a command or a webhook may take.
    pub time_limit: Duration,
    /// How long before its end a link is called expiring.
    pub before: Duration,
    /// How long events are kept, to be told of together; `None` where each is told of at once.
    pub every: Option<Duration>,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// Appends a line to a file.
    LinksFile {
        /// The file. Absolute.
        path: PathBuf,
        /// How the lines of a new file are written.
        format: LinksFormat,
    },
    /// Runs a program; the first word is the program, and holds no placeholder.
    Command(Vec<Template>),
    /// Posts JSON to this address, which may hold a secret.
    Webhook(Secret),
    /// Writes a file beside the source.
    Sidecar,
}

/// How the lines of a links file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinksFormat {
    /// With tabs between the fields.
    Tsv,
    /// With commas between the fields.
    Csv,
    /// A JSON object each.
    JsonLines,
}

impl LinksFormat {
    /// Each with the word for it.
    pub(crate) const WORDS: [(&'static str, LinksFormat); 3] =
        [("tsv", LinksFormat::Tsv), ("csv", LinksFormat::Csv), ("jsonl", LinksFormat::JsonLines)];

    /// The word for it.
    pub fn word(self) -> &'static str {
        LinksFormat::WORDS.iter().find(|(_, format)| *format == self).map_or("", |(word, _)| word)
    }

    /// How the lines of a file are written that begins like this, where that can be told.
    pub(crate) fn begun(beginning: &[u8]) -> Option<LinksFormat> {
        match beginning {
            [b't', b'i', b'm', b'e', b'\t', ..] => Some(LinksFormat::Tsv),
            [b't', b'i', b'm', b'e', b',', ..] => Some(LinksFormat::Csv),
            [b'{', ..] => Some(LinksFormat::JsonLines),
            _ => None,
        }
    }

    /// What the name of a file says.
    fn of_name(path: &Path) -> LinksFormat {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => LinksFormat::Csv,
            Some("jsonl" | "ndjson") => LinksFormat::JsonLines,
            _ => LinksFormat::Tsv,
        }
    }
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePiece>);

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePiece {
    /// Itself.
    Text(String),
    /// What stands in its place.
    Field(Field),
}

/// What a placeholder may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The source's whole path.
    Path,
    Name,
    /// The folder it is in.
    Dir,
    /// The host's name in the configuration.
    Host,
    /// The host's kind.
    Kind,
    /// Where the file can be fetched; empty where there is no link.
    Link,
    /// The host's own name for it; empty where there is none.
    RemoteId,
    /// Its size.
    Bytes,
    /// The job's state.
    State,
    /// Why the job is not moving; empty where there is no reason.
    Why,
    /// What the hook waited for.
    Event,
    /// The job's number.
    Job,
    /// When the link dies, as RFC 3339 in UTC; empty where nobody knows.
    Expires,
    /// How many events it is told of.
    Count,
    /// What has happened, in a few words.
    Summary,
}

impl Field {
    /// Every field, in the order of the manual.
    pub const ALL: [Field; 15] = [
        Field::Path,
        Field::Name,
        Field::Dir,
        Field::Host,
        Field::Kind,
        Field::Link,
        Field::RemoteId,
        Field::Bytes,
        Field::State,
        Field::Why,
        Field::Event,
        Field::Job,
        Field::Expires,
        Field::Count,
        Field::Summary,
    ];

    /// The word between the braces.
    pub fn word(self) -> &'static str {
        match self {
            Field::Path => "path",
            Field::Name => "name",
            Field::Dir => "dir",
            Field::Host => "host",
            Field::Kind => "kind",
            Field::Link => "link",
            Field::RemoteId => "remote_id",
            Field::Bytes => "bytes",
            Field::State => "state",
            Field::Why => "why",
            Field::Event => "event",
            Field::Job => "job",
            Field::Expires => "expires",
            Field::Count => "count",
            Field::Summary => "summary",
        }
    }

    /// Whether it is about one event, so that nothing stands for it where several are told of together.
    pub fn is_of_one_event(self) -> bool {
        !matches!(self, Field::Count | Field::Summary)
    }
}

impl Hook {
    /// What stays the same for as long as the hook does the same thing, over restarts and changes elsewhere in the configuration.
    /// Where the target may hold a secret (an address, an argument), only its digest is in the key, since keys are stored and
    /// shown.
    pub fn key(&self) -> String {
        match &self.action {
            HookAction::LinksFile { path, .. } => format!("links_file {}", path.display()),
            HookAction::Command(words) => {
                let program = words.first().map(Template::plain).unwrap_or_default();
                format!("command {program} #{}", digest(&format!("{words:?}")))
            }
            HookAction::Webhook(address) => {
                let address = address.reveal();
                let host = url::Url::parse(address).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
                format!("webhook {host} #{}", digest(address))
            }
            HookAction::Sidecar => "sidecar".into(),
        }
    }

    /// The hook for people: its key without the digest.
    pub fn name_of(key: &str) -> &str {
        hook_name(key)
    }
}

/// Long enough that two hooks of one configuration do not meet.
pub(crate) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl Template {
    /// The text where there are no placeholders; empty where there are.
    pub fn plain(&self) -> String {
        match self.0.as_slice() {
            [TemplatePiece::Text(text)] => text.clone(),
            _ => String::new(),
        }
    }

    /// Reads a text with placeholders. The error says what is wrong, and what would be right.
    fn parse(given: &str) -> Result<Template, (String, String)> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = given;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let end = after.find('}').filter(|_| brace == "{");
            let Some(end) = end else {
                return Err((format!("has an unmatched `{brace}`"), "write {{ or }} for the brace itself".into()));
            };
            if !plain.is_empty() {
                pieces.push(TemplatePiece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(TemplatePiece::Field(field(&after[..end])?));
            rest = &after[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(TemplatePiece::Text(plain));
        }
        Ok(Template(pieces))
    }
}

fn field(word: &str) -> Result<Field, (String, String)> {
    Field::ALL.into_iter().find(|field| field.word() == word).ok_or_else(|| {
        let words = || Field::ALL.map(|field| format!("{{{}}}", field.word())).join(" ");
        let help = did_you_mean(word, Field::ALL.into_iter().map(Field::word))
            .unwrap_or_else(|| format!("write {{{{ and }}}} for the braces themselves; the placeholders are {}", words()));
        (format!("has an unknown placeholder: {{{word}}}"), help)
    })
}

/// Every hook; what is wrong goes to `problems`.
pub(super) fn hooks(top: &Table<'_>, watches: &Watches, environment: &dyn Environment, problems: &Problems) -> Vec<Hook> {
    let listed = top.find("hook", |value| match value.get_ref() {
        DeValue::Array(items) => Ok(items.iter().map(|item| (item.get_ref(), item.span())).collect::<Vec<_>>()),
        _ => Err(Wrong::new("must be a list of tables", "write [[hook]] with two brackets")),
    });
    let mut hooks: Vec<Hook> = Vec::new();
    for (item, span) in listed.into_iter().flatten() {
        let DeValue::Table(fields) = item else {
            problems.add(Some(span), "`hook` must be a list of tables", Some("write [[hook]]".into()));
            continue;
        };
        let Some(hook) = hook(Table::new("[[hook]]", fields, span.clone(), problems), environment, problems) else { continue };
        check_links_file(&hook, watches, &span, problems);
        if hooks.iter().any(|other| other.key() == hook.key()) {
            problems.add(Some(span), "this [[hook]] repeats an earlier one", Some("list all its events in one `on`".into()))
        } else {
            hooks.push(hook)
        }
    }
    hooks
}

/// A links file in a watched folder would be uploaded for every line it gets, and get a line for every upload.
fn check_links_file(hook: &Hook, watches: &Watches, span: &std::ops::Range<usize>, problems: &Problems) {
    let HookAction::LinksFile { path, .. } = &hook.action else { return };
    if let Some(around) = watches.of_file(path) {
        let message =
            format!("`links_file` is inside the watched folder `{}`, so every line would be uploaded", around.path.display());
        problems.add(Some(span.clone()), message, Some("choose a file outside every [[watch]]".into()));
    }
}

fn hook(table: Table<'_>, environment: &dyn Environment, problems: &Problems) -> Option<Hook> {
    let on = table.need("on", "add `on = [\"done\"]`, the events that trigger it", events);
    let format = table.find("format", word(&LinksFormat::WORDS));
    let links_file = table.find("links_file", path(environment)).map(|path| {
        let format = format.unwrap_or_else(|| LinksFormat::of_name(&path));
        HookAction::LinksFile { path, format }
    });
    let command = table.find("command", command(environment)).map(HookAction::Command);
    let webhook = table.find("webhook", address).map(HookAction::Webhook);
    let sidecar = table.find("sidecar", sidecar);
    let time_limit = table.find("time_limit", duration(SECOND));
    let before = table.find("before", duration(SECOND));
    let every = table.find("every", duration(SECOND));
    let given: Vec<&str> = ACTIONS.into_iter().filter(|key| table.has(key)).collect();
    match given.as_slice() {
        [] => {
            let help = "add `links_file`, `command`, `webhook` or `sidecar`".to_owned();
            problems.add(Some(table.span.clone()), "[[hook]] has no action", Some(help));
        }
        [_] => {}
        [_, second, ..] => {
            let message = format!("[[hook]] has both `{}` and `{second}`", given[0]);
            problems.add(Some(table.span_of(second)), message, Some("write a separate [[hook]] for each".into()));
        }
    }
    if table.has("time_limit") && !table.has("command") && !table.has("webhook") {
        let help = "remove it".to_owned();
        problems.add(Some(table.span_of("time_limit")), "`time_limit` applies only to `command` and `webhook`", Some(help));
    }
    if table.has("format") && !table.has("links_file") {
        problems.add(Some(table.span_of("format")), "`format` applies only to `links_file`", Some("remove it".into()));
    }
    if table.has("before") && on.as_ref().is_some_and(|on| !on.contains(&Event::Expiring)) {
        let help = "add \"expiring\" to `on`, or remove `before`".to_owned();
        problems.add(Some(table.span_of("before")), "`before` applies only to the event \"expiring\"", Some(help));
    }
    if table.has("every") {
        check_gathering(&table, command.as_ref(), problems);
    }
    table.finish();
    let action = links_file.or(command).or(webhook).or(sidecar)?;
    Some(Hook { on: on?, action, time_limit: time_limit.unwrap_or(TIME_LIMIT), before: before.unwrap_or(BEFORE), every })
}

/// What is told of several files together can name none of them.
fn check_gathering(table: &Table<'_>, command: Option<&HookAction>, problems: &Problems) {
    if !table.has("command") && !table.has("webhook") {
        let message = "`every` applies only to `command` and `webhook`";
        problems.add(Some(table.span_of("every")), message, Some("remove it".into()));
    }
    let Some(HookAction::Command(words)) = command else { return };
    let pieces = words.iter().flat_map(|word| &word.0);
    let mut fields = pieces.filter_map(|piece| if let TemplatePiece::Field(field) = piece { Some(*field) } else { None });
    if let Some(field) = fields.find(|field| field.is_of_one_event()) {
        let message = format!("`command` uses {{{}}}, but with `every` it is called for several files at once", field.word());
        let help = "use {count} and {summary}; each event is in the JSON on standard input".to_owned();
        problems.add(Some(table.span_of("command")), message, Some(help));
    }
}

fn events(value: &Value<'_>) -> Result<Vec<Event>, Wrong> {
    let known = Event::OF_HOOKS.map(|event| format!("\"{}\"", event.word())).join(", ");
    let mut events = Vec::new();
    for word in texts(value)? {
        let found = Event::OF_HOOKS.into_iter().find(|event| event.word() == word.get_ref());
        let wrong = |message: String, help: String| Wrong { span: Some(word.span()), ..Wrong::new(message, help) };
        match found {
            Some(event) if events.contains(&event) => {
                return Err(wrong(format!("lists \"{}\" twice", word.get_ref()), "list it once".into()));
            }
            Some(event) => events.push(event),
            None => {
                let help = did_you_mean(word.get_ref(), Event::OF_HOOKS.into_iter().map(Event::word))
                    .unwrap_or_else(|| format!("expected one of: {known}"));
                return Err(wrong(format!("has an unknown event: \"{}\"", word.get_ref()), help));
            }
        }
    }
    if events.is_empty() {
        Err(Wrong::new("is empty, so the hook would never run", format!("list at least one of {known}")))
    } else {
        Ok(events)
    }
}

fn command(environment: &dyn Environment) -> impl Fn(&Value<'_>) -> Result<Vec<Template>, Wrong> {
    move |value| {
        let help = "write the program and its arguments: [\"notify-send\", \"{name}\", \"{link}\"]; no shell is involved";
        if !matches!(value.get_ref(), DeValue::Array(_)) {
            return Err(Wrong::new(format!("must be a list of strings, not {}", kind(value)), help));
        }
        let words = texts(value)?;
        let Some(program) = words.first().filter(|word| !word.get_ref().is_empty()) else {
            return Err(Wrong::new("has no program", help));
        };
        let read = |word: &Spanned<String>| {
            let wrong = |(message, help): (String, String)| Wrong { span: Some(word.span()), ..Wrong::new(message, help) };
            Template::parse(word.get_ref()).map_err(wrong)
        };
        let mut templates = words.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if templates[0].plain().is_empty() {
            let message = "has a placeholder in the name of the program";
            return Err(Wrong { span: Some(program.span()), ..Wrong::new(message, "use placeholders only in the arguments") });
        }
        if let (Some(rest), Some(home)) = (program.get_ref().strip_prefix("~/"), environment.get("HOME")) {
            templates[0] = Template(vec![TemplatePiece::Text(format!("{home}/{rest}"))]);
        }
        Ok(templates)
    }
}

fn address(value: &Value<'_>) -> Result<Secret, Wrong> {
    let given = text(value)?;
    let url = url::Url::parse(&given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        Some(_) => Ok(Secret::new(given)),
        // The text is not repeated: an address may hold a secret.
        None => Err(Wrong::new("is not a web address", "write it as \"https://HOST/PATH\"")),
    }
}

fn sidecar(value: &Value<'_>) -> Result<HookAction, Wrong> {
    if boolean(value)? {
        Ok(HookAction::Sidecar)
    } else {
        Err(Wrong::new("is false, so the hook would do nothing", "write `sidecar = true`, or remove the hook"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_in_pieces() {
        let text = |text: &str| TemplatePiece::Text(text.into());
        let cases = [
            ("plain", vec![text("plain")]),
            ("", vec![text("")]),
            ("{path}", vec![TemplatePiece::Field(Field::Path)]),
            ("{{{remote_id}}}", vec![text("{"), TemplatePiece::Field(Field::RemoteId), text("}")]),
            ("a {name} b", vec![text("a "), TemplatePiece::Field(Field::Name), text(" b")]),
        ];
        for (given, expected) in cases {
            assert_eq!(Template::parse(given), Ok(Template(expected)), "{given}");
        }
        for given in ["{", "}", "a{b", "{nme}", "{}"] {
            assert!(Template::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn a_key_holds_no_secret_and_tells_targets_apart() {
        let hook = |action| Hook { on: vec![Event::Done], action, time_limit: TIME_LIMIT, before: BEFORE, every: None };
        let one = hook(HookAction::Webhook(Secret::new("https://u:pw@h.example/T0KEN"))).key();
        let other = hook(HookAction::Webhook(Secret::new("https://u:pw@h.example/T0KEN2"))).key();
        assert_ne!(one, other);
        assert!(!one.contains("T0KEN") && !one.contains("pw"), "{one}");
        assert_eq!(Hook::name_of(&one), "webhook h.example");
    }
}
