//! The fields of a request in JSON, asked for one by one.

use serde_json::{Map, Value};

use super::Reject;

/// The fields of one JSON object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'v>(pub &'v Map<String, Value>);

impl<'v> Fields<'v> {
    /// The fields of a value that must be an object.
    pub(super) fn of(value: &'v Value, what: &str) -> Result<Fields<'v>, Reject> {
        value.as_object().map(Fields).ok_or_else(|| Reject::parameter(format!("{what} must be a JSON object")))
    }

    /// Rejects fields of other names.
    pub(super) fn only(self, names: &[&str]) -> Result<(), Reject> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(Reject::parameter(format!("the field `{name}` is not for requests"))),
            None => Ok(()),
        }
    }

    /// A text.
    pub(super) fn text(self, name: &str) -> Result<Option<&'v str>, Reject> {
        self.read(name, "a string", Value::as_str)
    }

    /// A text that must be there.
    pub(super) fn needed_text(self, name: &str) -> Result<&'v str, Reject> {
        needed(name, self.text(name)?)
    }

    /// A whole number from 0.
    pub(super) fn number(self, name: &str) -> Result<Option<u64>, Reject> {
        self.read(name, "a whole number from 0", Value::as_u64)
    }

    /// A number that must be there.
    pub(super) fn needed_number(self, name: &str) -> Result<u64, Reject> {
        needed(name, self.number(name)?)
    }

    /// A list.
    pub(super) fn list(self, name: &str) -> Result<Option<&'v [Value]>, Reject> {
        self.read(name, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    /// A list that must be there.
    pub(super) fn needed_list(self, name: &str) -> Result<&'v [Value], Reject> {
        needed(name, self.list(name)?)
    }

    /// A list of texts that must be there, with at least one.
    pub(super) fn needed_texts(self, name: &str) -> Result<Vec<&'v str>, Reject> {
        let texts: Option<Vec<_>> = self.needed_list(name)?.iter().map(Value::as_str).collect();
        texts.filter(|texts| !texts.is_empty()).ok_or_else(|| Reject::parameter(format!("`{name}` must hold strings")))
    }

    /// The digest of something: 64 hexadecimal digits, given in small letters.
    pub(super) fn digest(self, name: &str) -> Result<Option<String>, Reject> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Some(text.to_ascii_lowercase()));
        }
        Err(Reject::parameter(format!("`{name}` must be 64 hexadecimal digits")))
    }

    fn read<T>(self, name: &str, what: &str, read: impl FnOnce(&'v Value) -> Option<T>) -> Result<Option<T>, Reject> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Reject::parameter(format!("`{name}` must be {what}")))
    }
}

fn needed<T>(name: &str, value: Option<T>) -> Result<T, Reject> {
    value.ok_or_else(|| Reject::parameter(format!("`{name}` is missing")))
}
