//! What goes wrong, and when: the fault script.
//!
//! A script is a list of rules. A rule says which requests it is about, at which of them it acts, and what it does then. Every rule
//! counts the requests it matches, whether it acts or not; of the rules that act on a request the first in the list wins. The same
//! requests meet the same faults in every run: chance comes from a seed, and is drawn for each part on its own, so that parts sent
//! in parallel cannot disturb each other's fate.
//!
//! ```
//! use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
//!
//! let built = Script::of([Rule::new(Action::ResetAfterBody).host("cloudkp").at(Endpoint::Chunk).part(3).when(When::First(2))]);
//! let read = Script::parse(
//!     r#"
//!     [[rules]]
//!     host = "cloudkp"
//!     endpoint = "chunk"
//!     part = 3
//!     when = { first = 2 }
//!     action = "reset_after_body"
//!     "#,
//! );
//! assert_eq!(read.ok(), Some(built));
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use hyper::header::{HeaderName, HeaderValue};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::hold;

const RULES_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 1024 * 1024;
const SECONDS_MAX: f64 = 3_600.0;
/// Parts are told apart up to this number; beyond it they share their fates, so that the memory of a rule has a bound.
const PARTS_TOLD_APART: u64 = 65_536;

/// A list of rules; the first that acts on a request wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The rules, in order.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// What is wrong with a script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It is not JSON of the right shape.
    #[error("the fault script is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// It is not TOML of the right shape.
    #[error("the fault script is not valid: {}", without_types(&.0.to_string()))]
    Toml(Box<toml::de::Error>),
    /// It can be read, but a value is out of its range.
    #[error("rule {rule} of the fault script: {problem}")]
    Value {
        /// The number of the rule, counted from 1.
        rule: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// An error of the reader, in the words of the script: `Action::LoseReply` is a name of ours, `lose_reply = { … }` is what one
/// writes.
fn without_types(said: &str) -> String {
    const OURS: &str = "struct variant ";
    let Some((before, after)) = said.split_once(OURS) else { return said.to_owned() };
    let (path, rest) = after.split_at(after.find(|c: char| !c.is_alphanumeric() && c != ':').unwrap_or(after.len()));
    let name = path.rsplit("::").next().unwrap_or(path);
    let mut word = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            word.push('_');
        }
        word.extend(letter.to_lowercase());
    }
    format!("{before}a table of its settings: `{word} = {{ ... }}`{rest}")
}

impl Script {
    /// A script of these rules.
    pub fn of(rules: impl IntoIterator<Item = Rule>) -> Script {
        Script { rules: rules.into_iter().collect() }
    }

    /// Reads a script: JSON when its first character is `{`, else TOML.
    ///
    /// # Errors
    /// When it is neither, has a key nobody knows, or a value out of its range.
    pub fn parse(text: &str) -> Result<Script, ScriptError> {
        let script: Script = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(ScriptError::Json)?
        } else {
            toml::from_str(text).map_err(|error| ScriptError::Toml(Box::new(error)))?
        };
        script.check()?;
        Ok(script)
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    /// Names the first rule that is not, and why.
    pub fn check(&self) -> Result<(), ScriptError> {
        let wrong = |(at, rule): (usize, &Rule)| rule.problem().map(|problem| ScriptError::Value { rule: at + 1, problem });
        if self.rules.len() > RULES_MAX {
            return Err(ScriptError::Value {
                rule: RULES_MAX + 1,
                problem: format!("a script can have at most {RULES_MAX} rules"),
            });
        }
        self.rules.iter().enumerate().find_map(wrong).map_or(Ok(()), Err)
    }
}

/// Which requests, at which of them, and what then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The kind of the host; every host when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the request asks for.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// The number of the part, counted from 0; every part when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u64>,
    /// The name of the file, for requests that carry it (CloudKP: finish and link); every file when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// At which of the requests it acts.
    #[serde(default)]
    pub when: When,
    /// What it does then.
    pub action: Action,
}

impl Rule {
    /// A rule that does `action` to every request of every host.
    pub fn new(action: Action) -> Rule {
        Rule { host: None, endpoint: Endpoint::Any, part: None, file: None, when: When::Always, action }
    }

    /// Only requests to the host of this kind.
    #[must_use]
    pub fn host(mut self, kind: impl Into<String>) -> Rule {
        self.host = Some(kind.into());
        self
    }

    /// Only requests that ask for this.
    #[must_use]
    pub fn at(mut self, endpoint: Endpoint) -> Rule {
        self.endpoint = endpoint;
        self
    }

    /// Only requests about the part of this number, counted from 0.
    #[must_use]
    pub fn part(mut self, number: u64) -> Rule {
        self.part = Some(number);
        self
    }

    /// Only requests that carry this file name.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>) -> Rule {
        self.file = Some(name.into());
        self
    }

    /// Only at these of the requests it matches.
    #[must_use]
    pub fn when(mut self, when: When) -> Rule {
        self.when = when;
        self
    }

    fn matches(&self, met: &Met) -> bool {
        let host = self.host.as_deref().is_none_or(|host| host == met.host);
        let endpoint = self.endpoint == Endpoint::Any || self.endpoint == met.endpoint;
        let part = self.part.is_none() || self.part == met.part;
        let file = self.file.is_none() || self.file == met.file;
        host && endpoint && part && file
    }

    fn problem(&self) -> Option<String> {
        self.when.problem().or_else(|| self.action.problem())
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// What comes before the bytes: log in, reserve a place, create a file.
    Open,
    /// Get the address a part goes to.
    Address,
    /// Deliver a part, or a whole file.
    Chunk,
    /// Make the parts a file.
    Finish,
    /// Ask what is there.
    Probe,
    /// Fetch a stored file, or its address.
    Link,
    /// Give a place back.
    Abandon,
    /// All of these.
    #[default]
    Any,
}

/// At which of the requests that match a rule acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// At each.
    #[default]
    Always,
    /// At the one of this number, counted from 1.
    Nth(u64),
    /// At each whose number, counted from 1, is a multiple of this.
    Every(u64),
    /// At this many from the beginning.
    First(u64),
    /// At each for so many seconds from the first on, by the clock of the hosts (F19).
    Seconds(f64),
    /// At some, by a chance that is the same in every run.
    Probability {
        /// The chance, from 0 to 1.
        chance: f64,
        /// Where the chance begins.
        seed: u64,
    },
}

impl When {
    fn problem(&self) -> Option<String> {
        match self {
            When::Nth(0) | When::Every(0) => Some("`nth` and `every` count from 1".into()),
            When::Probability { chance, .. } if !(0.0..=1.0).contains(chance) => {
                Some(format!("`chance` is {chance}, but must be between 0 and 1"))
            }
            When::Seconds(seconds) => time_problem(*seconds),
            _ => None,
        }
    }
}

/// What a rule does.
///
/// The ids in brackets are those of the list of faults in the protocol notes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Takes the whole body and answers with this status (F1).
    Status {
        /// From 200 to 599.
        code: u16,
        /// What the reply carries.
        #[serde(default)]
        body: ErrorBody,
        /// Whether the request takes effect all the same.
        #[serde(default)]
        stored: bool,
    },
    /// Takes the whole body and answers 429 (F2). Nothing is stored.
    TooManyRequests {
        /// The `Retry-After` header.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// Ends the connection as soon as it is known what is asked for, without reading the file (F3).
    CloseBeforeReading {
        /// By RST when true, by FIN when false.
        #[serde(default = "yes")]
        reset: bool,
    },
    /// Resets the connection once this many bytes of the body are read, at the earliest when it is known what is asked for (F3).
    ResetAfterBytes {
        /// Counted over the whole body, with its form fields.
        bytes: u64,
    },
    /// Takes the whole body, stores nothing, resets the connection (F3).
    ResetAfterBody,
    /// Does what is asked, then ends the connection instead of answering (F4): the lost acknowledgement.
    LoseReply {
        /// By RST when true, by FIN when false.
        #[serde(default = "yes")]
        reset: bool,
    },
    /// Takes the body at this pace (F5). What fits into the buffers of the kernel leaves the client at once; the answer waits.
    SlowReading {
        /// At least 1.
        bytes_per_second: u64,
    },
    /// Stops reading for a while (F5).
    Stall {
        /// After this many bytes of the body.
        after_bytes: u64,
        /// For this long, at most an hour.
        seconds: f64,
    },
    /// Does what is asked and keeps the answer back for a while (F5).
    SlowReply {
        /// For this long, at most an hour.
        seconds: f64,
    },
    /// Does what is asked, sends the head of the reply and this many bytes of its body, then closes (F6). An empty body cannot be
    /// cut.
    CutReply {
        /// How many bytes of the body are sent.
        bytes: u64,
    },
    /// Does what is asked and answers with a wrong `Content-Length` (F6), then closes if it promised too much.
    WrongLength {
        /// Added to the true length; the result is never below 0.
        by: i64,
    },
    /// Takes the whole body and answers with a maintenance page in HTML (F7).
    Html {
        /// From 200 to 599.
        #[serde(default = "ok")]
        status: u16,
        /// Whether the request takes effect all the same.
        #[serde(default)]
        stored: bool,
    },
    /// Forgets the session before the request takes effect, and says so from then on (F8).
    LoseSession,
    /// Answers, in the words of the host, that there is no space left (F10). Nothing is stored.
    AccountFull,
    /// Answers, in the words of the host, that the link, the action, the key or the token has expired (F9). Nothing is stored.
    Expire,
    /// Answers, in the words of the host, that the credentials are wrong (F10). Nothing is stored.
    Deny,
    /// Answers, in the words of the host, that there were too many requests (F10). Nothing is stored.
    Limit,
    /// Does what is asked, and answers with a size or a digest that is not the file's (F11). Hosts whose replies have none answer
    /// as ever.
    WrongFacts,
    /// Stores the file under another name than the one it was sent with, and says so (F20). At hosts that give the name in a
    /// request of its own, it acts there; those that tell no name answer as ever.
    StoreOtherName,
    /// Takes the part, acknowledges it, and drops it (F12).
    DropPart,
    /// Takes the part, acknowledges it, and changes its first byte at rest (F12).
    CorruptPart,
    /// Does what is asked two times and gives the second answer (F13).
    Twice,
    /// Answers while the client still sends, without reading on, and closes (F14). Nothing is stored.
    EarlyReply {
        /// From 200 to 599.
        status: u16,
        /// What the reply carries.
        #[serde(default)]
        body: ErrorBody,
        /// Answers once this many bytes of the body are read, at the earliest when it is known what is asked for.
        #[serde(default)]
        after_bytes: u64,
        /// Keeps the connection half open this long after the answer, at most an hour.
        #[serde(default)]
        hold_seconds: f64,
    },
    /// In a JSON reply: numbers become strings, strings of digits numbers, null becomes "" (F15).
    SwapTypes,
    /// In a JSON reply: fields nobody asked for (F15).
    ExtraFields,
    /// In a JSON reply: the fields in the opposite order (F15).
    ReorderFields,
    /// Takes the whole body and sends the client elsewhere (F16). Nothing is stored.
    Redirect {
        /// From 300 to 399.
        #[serde(default = "temporary")]
        status: u16,
        /// The address; the request's own when left out.
        #[serde(default)]
        to: Option<String>,
    },
    /// Answers 404, as a host does that has moved away.
    Moved,
    /// Takes the whole body and answers with this: the general case.
    Reply {
        /// From 200 to 599.
        status: u16,
        /// Headers; `Content-Length` is ours.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The text of the reply.
        #[serde(default)]
        body: String,
        /// Whether the request takes effect all the same.
        #[serde(default)]
        stored: bool,
    },
}

/// What a reply to a failed request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// A JSON object with an `error`.
    #[default]
    Json,
    /// A line of plain text.
    Plain,
    /// Nothing.
    Empty,
}

/// The `Retry-After` header of a 429.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RetryAfter {
    /// None is sent.
    #[default]
    Absent,
    /// A number of seconds.
    Seconds(u32),
    /// The HTTP date that many seconds from now.
    DateInSeconds(u32),
}

fn yes() -> bool {
    true
}

fn ok() -> u16 {
    200
}

fn temporary() -> u16 {
    307
}

impl Action {
    /// The name it has in a script and in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Status { .. } => "status",
            Action::TooManyRequests { .. } => "too_many_requests",
            Action::CloseBeforeReading { .. } => "close_before_reading",
            Action::ResetAfterBytes { .. } => "reset_after_bytes",
            Action::ResetAfterBody => "reset_after_body",
            Action::LoseReply { .. } => "lose_reply",
            Action::SlowReading { .. } => "slow_reading",
            Action::Stall { .. } => "stall",
            Action::SlowReply { .. } => "slow_reply",
            Action::CutReply { .. } => "cut_reply",
            Action::WrongLength { .. } => "wrong_length",
            Action::Html { .. } => "html",
            Action::LoseSession => "lose_session",
            Action::AccountFull => "account_full",
            Action::Expire => "expire",
            Action::Deny => "deny",
            Action::Limit => "limit",
            Action::WrongFacts => "wrong_facts",
            Action::StoreOtherName => "store_other_name",
            Action::DropPart => "drop_part",
            Action::CorruptPart => "corrupt_part",
            Action::Twice => "twice",
            Action::EarlyReply { .. } => "early_reply",
            Action::SwapTypes => "swap_types",
            Action::ExtraFields => "extra_fields",
            Action::ReorderFields => "reorder_fields",
            Action::Redirect { .. } => "redirect",
            Action::Moved => "moved",
            Action::Reply { .. } => "reply",
        }
    }

    fn problem(&self) -> Option<String> {
        let code = |code: u16, from: u16, to: u16| {
            (!(from..=to).contains(&code)).then(|| format!("the status is {code}, but must be between {from} and {to}"))
        };
        match self {
            Action::Status { code: status, .. } | Action::Html { status, .. } => code(*status, 200, 599),
            Action::EarlyReply { status, hold_seconds, .. } => code(*status, 200, 599).or_else(|| time_problem(*hold_seconds)),
            Action::Redirect { status, to } => {
                code(*status, 300, 399).or_else(|| to.as_ref().and_then(|to| header_problem("location", to)))
            }
            Action::Stall { seconds, .. } | Action::SlowReply { seconds } => time_problem(*seconds),
            Action::SlowReading { bytes_per_second: 0 } => Some("`bytes_per_second` must be at least 1".into()),
            Action::Reply { status, headers, body, .. } => code(*status, 200, 599)
                .or_else(|| headers.iter().find_map(|(name, value)| header_problem(name, value)))
                .or_else(|| (body.len() > BODY_BYTES_MAX).then(|| format!("a reply can have at most {BODY_BYTES_MAX} bytes"))),
            _ => None,
        }
    }
}

fn time_problem(seconds: f64) -> Option<String> {
    (!(0.0..=SECONDS_MAX).contains(&seconds)).then(|| format!("`seconds` is {seconds}, but must be between 0 and {SECONDS_MAX}"))
}

fn header_problem(name: &str, value: &str) -> Option<String> {
    let sound = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
    (!sound).then(|| format!("`{name}: {value}` is not a valid header"))
}

/// What a request turned out to be.
#[derive(Debug, Clone)]
pub(super) struct Met {
    pub(super) host: &'static str,
    pub(super) endpoint: Endpoint,
    pub(super) session: Option<String>,
    pub(super) part: Option<u64>,
    pub(super) file: Option<String>,
}

/// A script at work.
#[derive(Debug)]
pub(super) struct Faults {
    armed: Mutex<Vec<Armed>>,
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    matched: u64,
    /// When the first request was met.
    since_ms: Option<i64>,
    tries: HashMap<u64, u64>,
}

impl Faults {
    pub(super) fn new(script: Script) -> Faults {
        let faults = Faults { armed: Mutex::default() };
        faults.replace(script);
        faults
    }

    /// Puts another script to work; all counting begins anew.
    pub(super) fn replace(&self, script: Script) {
        *hold(&self.armed) =
            script.rules.into_iter().map(|rule| Armed { rule, matched: 0, since_ms: None, tries: HashMap::new() }).collect();
    }

    /// Counts the request with every rule it matches, and gives the action of the first rule that acts on it.
    pub(super) fn choose(&self, met: &Met, now_ms: i64) -> Option<Action> {
        let mut armed = hold(&self.armed);
        let mut chosen = None;
        for rule in armed.iter_mut().filter(|armed| armed.rule.matches(met)) {
            let acts = rule.count(met.part, now_ms);
            if acts && chosen.is_none() {
                chosen = Some(rule.rule.action.clone());
            }
        }
        chosen
    }
}

impl Armed {
    fn count(&mut self, part: Option<u64>, now_ms: i64) -> bool {
        self.matched += 1;
        let passed_ms = now_ms.saturating_sub(*self.since_ms.get_or_insert(now_ms));
        match self.rule.when {
            When::Always => true,
            When::Nth(number) => self.matched == number,
            When::Every(number) => self.matched.is_multiple_of(number.max(1)),
            When::First(number) => self.matched <= number,
            When::Seconds(seconds) => (passed_ms as f64) < seconds * 1000.0,
            When::Probability { chance, seed } => self.draw(part, chance, seed),
        }
    }

    fn draw(&mut self, part: Option<u64>, chance: f64, seed: u64) -> bool {
        let lane = part.map_or(0, |part| 1 + part % PARTS_TOLD_APART);
        let tries = self.tries.entry(lane).or_default();
        *tries += 1;
        let place = (lane << 40).wrapping_add(*tries);
        StdRng::seed_from_u64(seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15)).random::<f64>() < chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(endpoint: Endpoint, part: Option<u64>) -> Met {
        Met { host: "cloudkp", endpoint, session: None, part, file: None }
    }

    fn acts(faults: &Faults, met: &Met, times: usize) -> Vec<bool> {
        (0..times).map(|_| faults.choose(met, 0).is_some()).collect()
    }

    fn when(when: When) -> Faults {
        Faults::new(Script::of([Rule::new(Action::Twice).when(when)]))
    }

    #[test]
    fn a_rule_acts_at_the_requests_it_names() {
        let any = met(Endpoint::Chunk, Some(0));
        assert_eq!(acts(&when(When::Always), &any, 3), [true, true, true]);
        assert_eq!(acts(&when(When::Nth(2)), &any, 4), [false, true, false, false]);
        assert_eq!(acts(&when(When::Every(2)), &any, 5), [false, true, false, true, false]);
        assert_eq!(acts(&when(When::First(2)), &any, 4), [true, true, false, false]);
    }

    #[test]
    fn a_rule_acts_for_a_while_from_the_first_request_on() {
        let faults = when(When::Seconds(2.0));
        let at = |now_ms| faults.choose(&met(Endpoint::Chunk, None), now_ms).is_some();
        assert_eq!([9_000, 10_999, 11_000, 12_000].map(at), [true, true, false, false]);
        assert!(Script::of([Rule::new(Action::Twice).when(When::Seconds(-1.0))]).check().is_err());
    }

    #[test]
    fn a_rule_is_about_the_host_endpoint_part_and_file_it_names() {
        let full = Rule::new(Action::Twice).host("cloudkp").at(Endpoint::Finish).part(3).file("a");
        let right = Met { host: "cloudkp", endpoint: Endpoint::Finish, session: None, part: Some(3), file: Some("a".into()) };
        assert!(full.matches(&right));
        let wrong = [
            Met { host: "other", ..right.clone() },
            Met { endpoint: Endpoint::Chunk, ..right.clone() },
            Met { part: Some(4), ..right.clone() },
            Met { part: None, ..right.clone() },
            Met { file: Some("b".into()), ..right.clone() },
        ];
        assert!(wrong.iter().all(|met| !full.matches(met)));
        assert!(Rule::new(Action::Twice).matches(&wrong[0]));
    }

    #[test]
    fn the_first_rule_that_acts_wins_and_all_count() {
        let faults = Faults::new(Script::of([
            Rule::new(Action::Moved).when(When::Nth(2)),
            Rule::new(Action::Twice).when(When::Nth(2)),
            Rule::new(Action::LoseSession).when(When::Nth(3)),
        ]));
        let any = met(Endpoint::Chunk, None);
        let names: Vec<_> = (0..3).map(|_| faults.choose(&any, 0).map(|action| action.name())).collect();
        assert_eq!(names, [None, Some("moved"), Some("lose_session")]);
    }

    #[test]
    fn chance_repeats_itself_whatever_the_order_of_parts() {
        let chance = When::Probability { chance: 0.5, seed: 7 };
        let (forwards, backwards) = (when(chance), when(chance));
        let fate = |faults: &Faults, part| faults.choose(&met(Endpoint::Chunk, Some(part)), 0).is_some();
        let first: Vec<_> = (0..200).map(|part| fate(&forwards, part)).collect();
        let mut second: Vec<_> = (0..200).rev().map(|part| fate(&backwards, part)).collect();
        second.reverse();
        assert_eq!(first, second);
        assert!((60..140).contains(&first.iter().filter(|acted| **acted).count()));
        let other: Vec<_> = (0..200).map(|part| fate(&when(When::Probability { chance: 0.5, seed: 8 }), part)).collect();
        assert_ne!(first, other);
    }

    #[test]
    fn chance_0_never_acts_and_chance_1_always_does() {
        let any = met(Endpoint::Chunk, Some(1));
        assert_eq!(acts(&when(When::Probability { chance: 0.0, seed: 1 }), &any, 50), [false; 50]);
        assert_eq!(acts(&when(When::Probability { chance: 1.0, seed: 1 }), &any, 50), [true; 50]);
    }

    #[test]
    fn every_action_reads_back_as_written_in_both_languages() {
        for action in actions() {
            let script = Script::of([Rule::new(action).host("cloudkp").part(1).when(When::Probability { chance: 0.25, seed: 1 })]);
            let json = serde_json::to_string(&script).unwrap();
            assert_eq!(Script::parse(&json).unwrap(), script);
            assert!(json.contains(script.rules[0].action.name()), "{json}");
        }
        let toml = r#"
            [[rules]]
            endpoint = "finish"
            file = "a.mov"
            when = { nth = 2 }
            action = { too_many_requests = { retry_after = { date_in_seconds = 5 } } }
            [[rules]]
            action = { stall = { after_bytes = 10, seconds = 1 } }
            [[rules]]
            when = "always"
            action = { close_before_reading = {} }
        "#;
        let script = Script::parse(toml).unwrap();
        assert_eq!(script.rules[0].action, Action::TooManyRequests { retry_after: RetryAfter::DateInSeconds(5) });
        assert_eq!(script.rules[1].action, Action::Stall { after_bytes: 10, seconds: 1.0 });
        assert_eq!(script.rules[2].action, Action::CloseBeforeReading { reset: true });
    }

    #[test]
    fn a_misspelt_key_is_an_error_at_every_depth() {
        let wrong = [
            r#"{"rule":[]}"#,
            r#"{"rules":[{"action":"twice","hots":"cloudkp"}]}"#,
            r#"{"rules":[{"action":"thrice"}]}"#,
            r#"{"rules":[{"action":{"status":{"code":500,"bdoy":"json"}}}]}"#,
            r#"{"rules":[{"action":"twice","when":{"probability":{"chance":0.5,"sede":1}}}]}"#,
            "[[rules]]\naction = \"twice\"\nparts = 3",
            "[[rules]]\naction = { status = { code = 500, stord = true } }",
        ];
        for text in wrong {
            assert!(Script::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_out_of_range_are_errors_that_name_the_rule() {
        let wrong = [
            Rule::new(Action::Status { code: 101, body: ErrorBody::Empty, stored: false }),
            Rule::new(Action::Html { status: 600, stored: false }),
            Rule::new(Action::Redirect { status: 200, to: None }),
            Rule::new(Action::Redirect { status: 301, to: Some("a\nb".into()) }),
            Rule::new(Action::Stall { after_bytes: 0, seconds: -1.0 }),
            Rule::new(Action::SlowReply { seconds: f64::NAN }),
            Rule::new(Action::SlowReading { bytes_per_second: 0 }),
            Rule::new(Action::EarlyReply { status: 413, body: ErrorBody::Json, after_bytes: 0, hold_seconds: 1e9 }),
            Rule::new(Action::Reply { status: 99, headers: BTreeMap::new(), body: String::new(), stored: false }),
            Rule::new(Action::Reply {
                status: 200,
                headers: BTreeMap::from([("bad name".into(), String::new())]),
                body: String::new(),
                stored: false,
            }),
            Rule::new(Action::Twice).when(When::Nth(0)),
            Rule::new(Action::Twice).when(When::Every(0)),
            Rule::new(Action::Twice).when(When::Probability { chance: 1.5, seed: 0 }),
        ];
        for rule in wrong {
            let error = Script::of([Rule::new(Action::Twice), rule.clone()]).check().unwrap_err();
            assert!(error.to_string().contains("rule 2 "), "{rule:?}: {error}");
        }
        assert!(Script::of(vec![Rule::new(Action::Twice); RULES_MAX + 1]).check().is_err());
    }

    fn actions() -> Vec<Action> {
        let headers = BTreeMap::from([("x-a".to_owned(), "b".to_owned())]);
        vec![
            Action::Status { code: 503, body: ErrorBody::Plain, stored: true },
            Action::TooManyRequests { retry_after: RetryAfter::Seconds(3) },
            Action::CloseBeforeReading { reset: false },
            Action::ResetAfterBytes { bytes: 9 },
            Action::ResetAfterBody,
            Action::LoseReply { reset: true },
            Action::SlowReading { bytes_per_second: 5 },
            Action::Stall { after_bytes: 1, seconds: 0.5 },
            Action::SlowReply { seconds: 0.5 },
            Action::CutReply { bytes: 2 },
            Action::WrongLength { by: -3 },
            Action::Html { status: 503, stored: false },
            Action::LoseSession,
            Action::AccountFull,
            Action::Expire,
            Action::Deny,
            Action::Limit,
            Action::WrongFacts,
            Action::StoreOtherName,
            Action::DropPart,
            Action::CorruptPart,
            Action::Twice,
            Action::EarlyReply { status: 413, body: ErrorBody::Empty, after_bytes: 4, hold_seconds: 0.5 },
            Action::SwapTypes,
            Action::ExtraFields,
            Action::ReorderFields,
            Action::Redirect { status: 301, to: Some("/elsewhere".into()) },
            Action::Moved,
            Action::Reply { status: 418, headers, body: "short".into(), stored: true },
        ]
    }
}
