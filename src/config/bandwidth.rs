//! Limits of bandwidth: one rate, or a timetable of several.

use jiff::civil::{Time, Weekday};
use toml::de::DeValue;

use crate::job::bandwidth::{Bandwidth, Days, Hours, WEEKDAYS};

use super::file::{Table, Value, Wrong, did_you_mean, kind, one_or_more, text};
use super::units::parse_size;

const HELP: &str = "write \"20 MiB/s\", \"unlimited\", or a timetable such as \
                    [{ days = \"mon-fri\", from = \"08:00\", to = \"18:00\", limit = \"2 MiB/s\" }, { limit = \"unlimited\" }]";
const RATE_HELP: &str = "write \"20 MiB/s\" or \"unlimited\"";
const TIME_HELP: &str = "write hours and minutes, such as \"08:00\"";
const DAYS_HELP: &str = "write days such as \"mon-fri\", \"sat\" or [\"sat\", \"sun\"]";

/// What `bandwidth` in this table allows; without that key anything.
pub(super) fn bandwidth(table: &Table<'_>) -> Bandwidth {
    let given = table.find("bandwidth", |value| match value.get_ref() {
        DeValue::Array(entries) if entries.is_empty() => Err(Wrong::new("is an empty list", HELP)),
        DeValue::Array(entries) => Ok(timetable(table, entries)),
        _ => rate(value).map(Bandwidth::constant),
    });
    given.unwrap_or_else(Bandwidth::unlimited)
}

fn timetable(table: &Table<'_>, entries: &[Value<'_>]) -> Bandwidth {
    let title = format!("`bandwidth` in {}", table.title);
    let mut hours: Vec<Hours> = Vec::new();
    for entry in entries {
        let DeValue::Table(fields) = entry.get_ref() else {
            table.complain_at(entry.span(), format!("{title} must be a list of tables, but contains {}", kind(entry)), HELP);
            continue;
        };
        let entry = table.within(&title, fields, entry.span());
        if hours.iter().any(|earlier| earlier.are_always()) {
            let message = format!("an entry of {title} never applies: the one before it holds at any time");
            table.complain_at(entry.span.clone(), message, "put the entry without hours last: the first that applies counts");
        }
        hours.extend(hours_of(entry));
    }
    Bandwidth::new(hours)
}

fn hours_of(entry: Table<'_>) -> Option<Hours> {
    let any = Hours::always(None);
    let days = entry.get("days", any.days, |value| {
        let listed = one_or_more(days)(value)?;
        Ok(listed.into_iter().fold(Days::NONE, Days::or))
    });
    let from = entry.get("from", any.from, time);
    let to = entry.get("to", any.to, time);
    let limit = entry.need("limit", "add `limit = \"2 MiB/s\"`, or \"unlimited\"", rate);
    entry.finish();
    limit.map(|limit| Hours { days, from, to, limit })
}

/// A rate: "20 MiB/s", or "unlimited".
fn rate(value: &Value<'_>) -> Result<Option<u64>, Wrong> {
    let given = text(value).map_err(|_| Wrong::new(format!("must be a rate, not {}", kind(value)), RATE_HELP))?;
    if given == "unlimited" {
        return Ok(None);
    }
    let size = given.trim().strip_suffix("/s").and_then(parse_size);
    match size {
        Some(0) => Err(Wrong::new("is 0, so nothing would ever be sent", RATE_HELP)),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Wrong::new(format!("is \"{given}\", which is not a rate"), RATE_HELP)),
    }
}

/// A time of day: "08:00". "24:00" is the end of the day.
fn time(value: &Value<'_>) -> Result<Time, Wrong> {
    let given = text(value).map_err(|_| Wrong::new(format!("must be a time of day, not {}", kind(value)), TIME_HELP))?;
    if given == "24:00" {
        return Ok(Time::midnight());
    }
    Time::strptime("%H:%M", &given).map_err(|_| Wrong::new(format!("is \"{given}\", which is not a time of day"), TIME_HELP))
}

/// One day, or those from one to another: "sat", "mon-fri", "fri-mon".
fn days(value: &Value<'_>) -> Result<Days, Wrong> {
    let given = text(value).map_err(|_| Wrong::new(format!("must be days of the week, not {}", kind(value)), DAYS_HELP))?;
    let (first, last) = given.split_once('-').unwrap_or((&given, &given));
    let (first, last) = (weekday(first)?, weekday(last)?);
    let mut days = Days::NONE.and(first);
    let mut day = first;
    while day != last {
        day = day.next();
        days = days.and(day);
    }
    Ok(days)
}

fn weekday(word: &str) -> Result<Weekday, Wrong> {
    let word = word.trim().to_ascii_lowercase();
    let known = || WEEKDAYS.iter().map(|(word, _)| *word);
    let found = WEEKDAYS.iter().find(|(known, _)| *known == word).map(|(_, day)| *day);
    found.ok_or_else(|| {
        let help = did_you_mean(&word, known()).unwrap_or_else(|| DAYS_HELP.to_owned());
        Wrong::new(format!("has the unknown day \"{word}\""), help)
    })
}
