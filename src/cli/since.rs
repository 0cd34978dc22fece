//! How a person says since when, in their own time zone.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil};

use crate::os::clock;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since(pub i64);

/// Reads a moment from the command line.
pub(super) fn parse_since(text: &str) -> Result<Since, String> {
    moment(text, clock::now_ms(), TimeZone::system()).map(Since).ok_or_else(|| {
        "expected a date such as 2026-01-31, a time such as 2026-01-31T08:00, `today`, `yesterday`, or how long ago, such as 2h or 7d"
            .into()
    })
}

/// What a person means by `text` at `now_ms`, in their own time zone.
fn moment(text: &str, now_ms: i64, zone: TimeZone) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return Some(at.to_zoned(zone).ok()?.timestamp().as_millisecond());
    }
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone);
    let days_ago = |days: i64| now.checked_sub(Span::new().try_days(days).ok()?).ok();
    match text {
        "today" => return Some(now.start_of_day().ok()?.timestamp().as_millisecond()),
        "yesterday" => return Some(days_ago(1)?.start_of_day().ok()?.timestamp().as_millisecond()),
        _ => {}
    }
    // A bare number is one of days.
    if let Ok(days) = text.parse::<u16>() {
        return Some(days_ago(days.into())?.timestamp().as_millisecond());
    }
    let ago = text.parse::<Span>().ok()?.abs();
    Some(now.checked_sub(ago).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_a_date_or_so_long_ago() {
        let now = 1_767_323_045_000;
        let day = 86_400_000;
        let cases = [
            ("2026-01-02T03:04:05Z", Some(now)),
            ("2026-01-02T03:04:05", Some(now)),
            ("2026-01-02", Some(now - now % day)),
            ("2h", Some(now - 2 * 3_600_000)),
            ("7d", Some(now - 7 * day)),
            ("today", Some(now - now % day)),
            ("yesterday", Some(now - now % day - day)),
            ("7", Some(now - 7 * day)),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(moment(text, now, TimeZone::UTC), expected, "{text}");
        }
    }
}
