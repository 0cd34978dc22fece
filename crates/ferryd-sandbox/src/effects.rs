//! What the actions of a script do to a request and to its reply, and the ways a JSON text can be bent without ceasing to be JSON.

use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::clock::Clock;
use super::faults::{Action, ErrorBody, RetryAfter};
use super::reply::Reply;
use super::wire::Payload;

/// What is in the way of the body while it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum InBody {
    /// Reading ends after this many bytes.
    EndAfter(u64),
    /// Reading goes at this many bytes per second.
    Pace(u64),
    /// Reading rests once.
    Rest { after_bytes: u64, time: Duration },
}

/// What happens in place of the host's own work.
#[derive(Debug)]
pub(super) enum Instead {
    /// The connection ends.
    End { reset: bool },
    /// The client gets this.
    Reply(Reply),
    /// The client gets the host's own words for "no space".
    Full,
    /// The client gets the host's own words for "expired".
    Expired,
    /// The client gets the host's own words for "wrong credentials".
    Denied,
    /// The client gets the host's own words for "too often".
    Limited,
}

impl Action {
    /// What stands in the way of the body.
    pub(super) fn in_body(&self) -> Option<InBody> {
        match *self {
            Action::CloseBeforeReading { .. } => Some(InBody::EndAfter(0)),
            Action::ResetAfterBytes { bytes } | Action::EarlyReply { after_bytes: bytes, .. } => Some(InBody::EndAfter(bytes)),
            Action::SlowReading { bytes_per_second } => Some(InBody::Pace(bytes_per_second)),
            Action::Stall { after_bytes, seconds } => Some(InBody::Rest { after_bytes, time: duration(seconds) }),
            _ => None,
        }
    }

    /// What happens in place of the host's own work; nothing when the host does its work. `url` is the path and query asked for.
    pub(super) fn instead(&self, url: &str, clock: &Clock) -> Option<Instead> {
        match self {
            Action::CloseBeforeReading { reset } => Some(Instead::End { reset: *reset }),
            Action::ResetAfterBytes { .. } | Action::ResetAfterBody => Some(Instead::End { reset: true }),
            Action::AccountFull => Some(Instead::Full),
            Action::Expire => Some(Instead::Expired),
            Action::Deny => Some(Instead::Denied),
            Action::Limit => Some(Instead::Limited),
            Action::TooManyRequests { retry_after } => Some(Instead::Reply(retry_after.reply(clock))),
            Action::EarlyReply { status, body, .. } => Some(Instead::Reply(body.reply(*status))),
            Action::Moved => Some(Instead::Reply(Reply::text(404, "not found"))),
            Action::Redirect { status, to } => {
                Some(Instead::Reply(Reply::empty(*status).header("location", to.as_deref().unwrap_or(url))))
            }
            Action::Status { stored: false, .. } | Action::Html { stored: false, .. } | Action::Reply { stored: false, .. } => {
                self.said().map(Instead::Reply)
            }
            _ => None,
        }
    }

    /// The reply that takes the place of the host's own after its work is done.
    pub(super) fn over(&self) -> Option<Reply> {
        match self {
            Action::Status { stored: true, .. } | Action::Html { stored: true, .. } | Action::Reply { stored: true, .. } => {
                self.said()
            }
            _ => None,
        }
    }

    fn said(&self) -> Option<Reply> {
        match self {
            Action::Status { code, body, .. } => Some(body.reply(*code)),
            Action::Html { status, .. } => {
                Some(Reply::html(*status, "<!DOCTYPE html><html><body><h1>Maintenance</h1></body></html>\n"))
            }
            Action::Reply { status, headers, body, .. } => {
                let reply = Reply::bytes(*status, body.clone().into_bytes());
                Some(headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value)))
            }
            _ => None,
        }
    }

    /// The reply as this action bends it: another order, other types, more fields. Replies that are not JSON objects stay as they
    /// are.
    pub(super) fn bend(&self, reply: Reply) -> Reply {
        let Payload::Bytes(bytes) = &reply.payload else { return reply };
        let is_json = reply.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return reply };
        let text = match self {
            _ if !is_json => return reply,
            Action::SwapTypes => Value::from_iter(fields.into_iter().map(|(name, value)| (name, swapped(value)))).to_string(),
            Action::ExtraFields => with_extras(fields).to_string(),
            Action::ReorderFields => backwards(fields),
            _ => return reply,
        };
        Reply { payload: Payload::Bytes(text.into()), ..reply }
    }
}

impl ErrorBody {
    fn reply(self, status: u16) -> Reply {
        match self {
            ErrorBody::Json => Reply::json(status, r#"{"error":"a fault on purpose"}"#),
            ErrorBody::Plain => Reply::text(status, "a fault on purpose"),
            ErrorBody::Empty => Reply::empty(status),
        }
    }
}

impl RetryAfter {
    fn reply(self, clock: &Clock) -> Reply {
        let reply = ErrorBody::Json.reply(429);
        match self {
            RetryAfter::Absent => reply,
            RetryAfter::Seconds(seconds) => reply.header("retry-after", &seconds.to_string()),
            RetryAfter::DateInSeconds(seconds) => reply.header("retry-after", &clock.http_date(seconds)),
        }
    }
}

fn swapped(value: Value) -> Value {
    match value {
        Value::Null => Value::String(String::new()),
        Value::Number(number) => Value::String(number.to_string()),
        Value::String(text) => text.parse::<u64>().map_or(Value::String(text), Value::from),
        Value::Array(items) => items.into_iter().map(swapped).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, swapped(value))).collect(),
        other => other,
    }
}

fn with_extras(mut fields: Map<String, Value>) -> Value {
    fields.insert("aa_unknown".into(), serde_json::json!({ "nested": [1, "two", null] }));
    fields.insert("zz_unknown".into(), Value::Bool(true));
    Value::Object(fields)
}

/// Written by hand, because the map of the JSON crate has an order of its own.
fn backwards(fields: Map<String, Value>) -> String {
    let fields: Vec<_> = fields.iter().rev().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", fields.join(","))
}

/// The time a checked script means.
pub(super) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bent(action: &Action, text: &str) -> String {
        match action.bend(Reply::json(200, text)).payload {
            Payload::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Payload::File { .. } => panic!("a text became a file"),
        }
    }

    #[test]
    fn json_is_bent_and_stays_json() {
        let text = r#"{"a":null,"b":"42","c":7,"d":"x"}"#;
        assert_eq!(bent(&Action::SwapTypes, text), r#"{"a":"","b":42,"c":"7","d":"x"}"#);
        assert_eq!(bent(&Action::ReorderFields, text), r#"{"d":"x","c":7,"b":"42","a":null}"#);
        let more: Value = serde_json::from_str(&bent(&Action::ExtraFields, text)).unwrap();
        assert_eq!((more["b"].as_str(), more["zz_unknown"].as_bool()), (Some("42"), Some(true)));
    }

    #[test]
    fn what_is_not_a_json_object_stays_as_it_is() {
        assert_eq!(bent(&Action::SwapTypes, "[1]"), "[1]");
        assert_eq!(bent(&Action::ReorderFields, "q7Zk2"), "q7Zk2");
        assert_eq!(bent(&Action::Twice, r#"{"a":1}"#), r#"{"a":1}"#);
    }
}
