//! What a command or a webhook is told in one call: one event, or those that a hook has gathered.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde_json::{Value, json};

use crate::config::{Field, Template, TemplatePiece, digest};

use super::Facts;
use super::facts::summary;

/// What one call is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told<'a> {
    /// One event.
    One(&'a Facts),
    /// Events that are told of together, the oldest first; also where there is but one.
    Together(&'a [Facts]),
}

impl Told<'_> {
    /// What stands for `field`; empty where nothing is known, or several events would each have something else.
    pub(super) fn value(self, field: Field) -> OsString {
        match (self, field) {
            (Told::One(facts), _) => facts.value(field),
            (Told::Together(events), Field::Count) => events.len().to_string().into(),
            (Told::Together(events), Field::Summary) => summary(events).into(),
            (Told::Together(_), _) => OsString::new(),
        }
    }

    /// The fields that stand for something.
    pub(super) fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| matches!(self, Told::One(_)) || !field.is_of_one_event())
    }

    /// The text of `template`, as one argument: nothing in a value is ever read as anything but itself.
    pub(super) fn fill(self, template: &Template) -> OsString {
        let mut filled = Vec::new();
        for piece in &template.0 {
            match piece {
                TemplatePiece::Text(text) => filled.extend_from_slice(text.as_bytes()),
                TemplatePiece::Field(field) => filled.extend_from_slice(self.value(*field).as_bytes()),
            }
        }
        OsString::from_vec(filled)
    }

    /// All of it as a JSON object.
    pub(super) fn json(self) -> Value {
        match self {
            Told::One(facts) => facts.json(),
            Told::Together(events) => {
                let all: Vec<Value> = events.iter().map(Facts::json).collect();
                json!({ "count": events.len(), "summary": summary(events), "events": all })
            }
        }
    }

    /// What a program reads from its standard input; nothing where its arguments and variables say all.
    pub(super) fn input(self) -> Vec<u8> {
        match self {
            Told::One(_) => Vec::new(),
            Told::Together(_) => format!("{}\n", self.json()).into_bytes(),
        }
    }

    /// What stays the same when the same is told again.
    pub(super) fn key(self) -> String {
        match self {
            Told::One(facts) => facts.id(),
            Told::Together(events) => {
                let ids = events.iter().map(Facts::id).collect::<Vec<_>>().join(" ");
                format!("{}-{}", events.len(), digest(&ids))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::sample;
    use super::*;
    use crate::job::{Event, JobId};

    #[test]
    fn an_argument_is_filled_with_the_bytes_of_the_name() {
        let template = Template(vec![
            TemplatePiece::Text("n=".into()),
            TemplatePiece::Field(Field::Name),
            TemplatePiece::Field(Field::Expires),
        ]);
        assert_eq!(Told::One(&sample()).fill(&template).as_bytes(), b"n=caf\xe9\t$(x).mov");
    }

    #[test]
    fn events_that_go_together_are_counted_summed_up_and_listed() {
        let held = sample().with(|told| (told.event, told.job, told.path) = (Event::Held, JobId(9), "/home/u/Drop/b".into()));
        let events = [sample(), held];
        let told = Told::Together(&events);
        assert_eq!((told.value(Field::Count), told.value(Field::Summary)), ("2".into(), "1 file is up, 1 needs you".into()));
        assert_eq!(told.value(Field::Name), "", "each has a name of its own");
        assert_eq!(told.fields().collect::<Vec<_>>(), [Field::Count, Field::Summary]);
        let json = told.json();
        assert_eq!((json["count"].as_u64(), json["summary"].as_str()), (Some(2), Some("1 file is up, 1 needs you")));
        assert_eq!((json["events"][0]["id"].as_str(), json["events"][1]["id"].as_str()), (Some("8-done-1"), Some("9-held-1")));
        assert_eq!(told.key(), Told::Together(&events.clone()).key());
        assert_ne!(told.key(), Told::Together(&events[..1]).key());
        let one = Told::One(&events[0]);
        assert_eq!((one.value(Field::Count), one.value(Field::Summary)), ("1".into(), "1 file is up".into()));
        assert_eq!((one.key().as_str(), one.input()), ("8-done-1", Vec::new()));
    }
}
