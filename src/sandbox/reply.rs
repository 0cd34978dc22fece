//! What the client is told: status, headers, bytes, and the ways a JSON text can be bent without ceasing to be JSON.

use std::fs::File;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value};

use super::faults::Action;
use super::wire::{Payload, ReplyBody};

/// A reply before it meets the connection.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) payload: Payload,
    headers: HeaderMap,
}

impl Reply {
    /// Bytes without a type.
    pub(super) fn bytes(status: u16, bytes: impl Into<Bytes>) -> Reply {
        Reply { status, payload: Payload::Bytes(bytes.into()), headers: HeaderMap::new() }
    }

    /// Nothing but a status.
    pub(super) fn empty(status: u16) -> Reply {
        Reply::bytes(status, Bytes::new())
    }

    /// Plain text.
    pub(super) fn text(status: u16, text: &str) -> Reply {
        Reply::bytes(status, text.to_owned()).header("content-type", "text/plain; charset=utf-8")
    }

    /// A page for people.
    pub(super) fn html(status: u16, text: &str) -> Reply {
        Reply::bytes(status, text.to_owned()).header("content-type", "text/html; charset=utf-8")
    }

    /// JSON, already written down.
    pub(super) fn json(status: u16, text: impl Into<String>) -> Reply {
        Reply::bytes(status, text.into()).header("content-type", "application/json")
    }

    /// The first `bytes` of an open file.
    pub(super) fn file(file: File, bytes: u64) -> Reply {
        Reply { payload: Payload::File { file, bytes }, ..Reply::empty(200) }.header("content-type", "application/octet-stream")
    }

    /// The reply with one more header; what cannot be a header is left out.
    pub(super) fn header(mut self, name: &str, value: &str) -> Reply {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The reply as `action` bends it: another order, other types, more fields. Replies that are not JSON objects stay as they are.
    pub(super) fn bent(self, action: &Action) -> Reply {
        let Payload::Bytes(bytes) = &self.payload else { return self };
        let is_json = self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return self };
        let text = match action {
            _ if !is_json => return self,
            Action::SwapTypes => Value::from_iter(fields.into_iter().map(|(name, value)| (name, swapped(value)))).to_string(),
            Action::ExtraFields => with_extras(fields).to_string(),
            Action::ReorderFields => backwards(fields),
            _ => return self,
        };
        Reply { payload: Payload::Bytes(text.into()), ..self }
    }

    /// The response for the HTTP server, which announces `length` bytes.
    pub(super) fn response(self, length: u64, body: impl FnOnce(Payload) -> ReplyBody) -> Response<ReplyBody> {
        let Reply { status, payload, mut headers } = self;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let mut response = Response::new(body(payload));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bent(action: &Action, text: &str) -> String {
        match Reply::json(200, text).bent(action).payload {
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
