//! Days, as the time zone of this machine has them.

/// The local day of a time in nanoseconds since the Unix epoch: `2026-01-02`.
pub(crate) fn local_day(at_ns: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(at_ns.into()).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_somewhere() {
        assert!(["1969-12-31", "1970-01-01"].contains(&local_day(0).as_str()));
        let noon = 1_767_312_000_000_000_000;
        assert!(["2026-01-01", "2026-01-02", "2026-01-03"].contains(&local_day(noon).as_str()), "{}", local_day(noon));
    }
}
