//! What goes wrong, when, and how often: a script, so that a disaster can be played again.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// The most rules a script may have.
const RULES_MAX: usize = 1000;

/// A list of faults; the first rule that matches a request is played.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One fault, and the requests it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only requests of this host.
    #[serde(default)]
    pub host: Option<String>,
    /// Only requests of this sort.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Only this part.
    #[serde(default)]
    pub part: Option<u32>,
    /// Only files of this name; known to a finish.
    #[serde(default)]
    pub file: Option<String>,
    /// Which of the requests that match.
    #[serde(default)]
    pub when: When,
    /// What happens.
    pub action: Action,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// It brings a part.
    Chunk,
    /// It makes the parts a file.
    Finish,
    /// It fetches a stored file.
    Link,
}

/// Which of the matching requests are struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// All of them.
    #[default]
    Always,
    /// Only the Nth, counted from 1.
    Nth(u64),
    /// The first N.
    First(u64),
    /// Every Nth.
    Every(u64),
    /// Each with this probability, the same ones in every run with the same seed.
    Chance {
        /// From 0 to 1.
        share: f64,
        /// Where the random numbers begin.
        seed: u64,
    },
}

/// What happens to a request that is struck. F-numbers are those of `protocols/README.md`, section 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// This answer, and nothing is stored (F1, F7, F10, F15 and whatever else can be said).
    Reply {
        /// The HTTP status.
        status: u16,
        /// More headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// The request takes effect, and this is the answer (F11, F15).
    ReplyAfterwards {
        /// The HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// Too many requests (F2).
    RateLimit {
        /// The rest that is asked for, in seconds.
        #[serde(default)]
        seconds: Option<u64>,
        /// As a date rather than a number.
        #[serde(default)]
        as_date: bool,
    },
    /// Reset before the part's bytes are read (F3).
    ResetBeforeReading,
    /// Reset after so many bytes of the part (F3).
    ResetAfter {
        /// How many.
        bytes: u64,
    },
    /// Reset after all of it, and nothing is stored (F3).
    ResetUnstored,
    /// It takes effect, and the answer is lost (F4).
    ResetStored,
    /// Bytes are taken slowly (F5).
    SlowRead {
        /// How slowly.
        bytes_per_second: u64,
    },
    /// The answer comes late (F5).
    SlowReply {
        /// How late.
        milliseconds: u64,
    },
    /// The answer is cut after so many bytes (F6).
    CutReply {
        /// How many.
        bytes: usize,
    },
    /// The answer says that it is longer than it is (F6).
    WrongLength,
    /// A web page where an answer is expected (F7).
    Html {
        /// The HTTP status.
        status: u16,
    },
    /// The session is forgotten before the request is looked at (F8).
    LoseSession,
    /// The part is acknowledged and forgotten (F12).
    DropChunk,
    /// One byte of the part is stored wrong (F12).
    CorruptChunk,
    /// The request is processed twice (F13).
    Twice,
    /// An answer before the bytes are read, while the client still sends (F14).
    EarlyReply {
        /// The HTTP status.
        status: u16,
    },
    /// The host has moved (F16).
    Redirect {
        /// The HTTP status.
        status: u16,
        /// Where to.
        to: String,
    },
}

impl Script {
    /// Reads a script from JSON.
    pub fn parse(text: &str) -> Result<Script, String> {
        let script: Script = serde_json::from_str(text).map_err(|error| format!("the fault script cannot be read: {error}"))?;
        match script.rules.len() <= RULES_MAX {
            true => Ok(script),
            false => Err(format!("the fault script has {} rules; the most is {RULES_MAX}", script.rules.len())),
        }
    }

    /// A script of one rule for requests of `endpoint`.
    pub fn one(endpoint: Endpoint, when: When, action: Action) -> Script {
        Script::default().and(endpoint, when, action)
    }

    /// The script with one more rule.
    pub fn and(mut self, endpoint: Endpoint, when: When, action: Action) -> Script {
        self.rules.push(Rule { host: None, endpoint: Some(endpoint), part: None, file: None, when, action });
        self
    }
}

/// What a rule is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub host: &'a str,
    pub endpoint: Endpoint,
    pub part: Option<u32>,
    pub file: Option<&'a str>,
}

/// A script being played.
pub(crate) struct Faults(Mutex<Vec<Playing>>);

struct Playing {
    rule: Rule,
    matched: u64,
    random: StdRng,
}

impl Faults {
    pub(crate) fn new(script: Script) -> Faults {
        let faults = Faults(Mutex::default());
        faults.replace(script);
        faults
    }

    pub(crate) fn replace(&self, script: Script) {
        let playing = script.rules.into_iter().map(|rule| {
            let seed = if let When::Chance { seed, .. } = rule.when { seed } else { 0 };
            Playing { rule, matched: 0, random: StdRng::seed_from_u64(seed) }
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = playing.collect();
    }

    /// What happens to this request, if anything.
    pub(crate) fn strike(&self, asked: Asked<'_>) -> Option<Action> {
        let mut playing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        playing.iter_mut().filter(|one| one.rule.is_about(asked)).find_map(Playing::play)
    }
}

impl Rule {
    fn is_about(&self, asked: Asked<'_>) -> bool {
        self.host.as_deref().is_none_or(|host| host == asked.host)
            && self.endpoint.is_none_or(|endpoint| endpoint == asked.endpoint)
            && self.part.is_none_or(|part| Some(part) == asked.part)
            && self.file.as_deref().is_none_or(|file| Some(file) == asked.file)
    }
}

impl Playing {
    fn play(&mut self) -> Option<Action> {
        self.matched += 1;
        let strikes = match self.rule.when {
            When::Always => true,
            When::Nth(nth) => self.matched == nth,
            When::First(count) => self.matched <= count,
            When::Every(every) => self.matched.is_multiple_of(every.max(1)),
            When::Chance { share, .. } => self.random.random::<f64>() < share,
        };
        strikes.then(|| self.rule.action.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Asked<'_> = Asked { host: "cloudkp", endpoint: Endpoint::Chunk, part: Some(3), file: None };

    fn struck(when: When) -> Vec<u32> {
        let faults = Faults::new(Script::one(Endpoint::Chunk, when, Action::DropChunk));
        (1..=10).filter(|_| faults.strike(CHUNK).is_some()).collect()
    }

    #[test]
    fn a_rule_strikes_when_it_says() {
        assert_eq!(struck(When::Nth(3)), [3]);
        assert_eq!(struck(When::First(2)), [1, 2]);
        assert_eq!(struck(When::Every(4)), [4, 8]);
        let chance = When::Chance { share: 0.5, seed: 7 };
        assert_eq!(struck(chance), struck(chance), "the same seed strikes the same requests");
    }

    #[test]
    fn a_rule_is_only_about_what_it_names() {
        let script = r#"{"rules":[{"endpoint":"chunk","part":3,"when":{"nth":1},"action":{"reset-after":{"bytes":10}}}]}"#;
        let faults = Faults::new(Script::parse(script).unwrap());
        assert_eq!(faults.strike(Asked { part: Some(2), ..CHUNK }), None);
        assert_eq!(faults.strike(Asked { endpoint: Endpoint::Finish, ..CHUNK }), None);
        assert_eq!(faults.strike(CHUNK), Some(Action::ResetAfter { bytes: 10 }));
        assert_eq!(faults.strike(CHUNK), None);
    }

    #[test]
    fn a_misspelt_script_is_refused() {
        let error = Script::parse(r#"{"rules":[{"endpont":"chunk","action":"twice"}]}"#).unwrap_err();
        assert!(error.contains("endpont"), "{error}");
    }
}
