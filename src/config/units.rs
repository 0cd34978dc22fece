//! Sizes, rates, durations, paths and web addresses as people write them.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use super::Environment;
use super::file::{Value, Wrong, kind, text};

/// The longest duration that makes sense anywhere in a configuration.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A size: "5 MiB". 1 KiB is 1024 bytes, 1 KB is 1000.
pub(super) fn size(value: &Value<'_>) -> Result<u64, Wrong> {
    let help = "write a size with its unit, such as \"5 MiB\" or \"100 B\"";
    let given = text(value).map_err(|_| Wrong::new(format!("must be a size, not {}", kind(value)), help))?;
    parse_size(&given).ok_or_else(|| Wrong::new(format!("is \"{given}\", which is not a size"), help))
}

/// A size must carry its unit: a bare number is too easily meant otherwise.
pub(super) fn parse_size(given: &str) -> Option<u64> {
    let given = given.trim();
    given.chars().next_back().filter(|last| last.is_ascii_alphabetic())?;
    ByteSize::from_str(given).ok().map(|size| size.as_u64())
}

/// A duration: "2s", "500ms", "1h 30m".
pub(crate) fn duration(least: Duration) -> impl Fn(&Value<'_>) -> Result<Duration, Wrong> {
    move |value| {
        let help = "write a duration with its unit, such as \"2s\", \"500ms\" or \"1h\"";
        let given = text(value).map_err(|_| Wrong::new(format!("must be a duration, not {}", kind(value)), help))?;
        let parsed = jiff::SignedDuration::from_str(&given).ok().and_then(|duration| Duration::try_from(duration).ok());
        match parsed {
            Some(duration) if duration < least => {
                Err(Wrong::new(format!("is \"{given}\", which is too short"), format!("the minimum is \"{least:?}\"")))
            }
            Some(duration) if duration > LONGEST => {
                Err(Wrong::new(format!("is \"{given}\", which is too long"), "the maximum is one year"))
            }
            Some(duration) => Ok(duration),
            None => Err(Wrong::new(format!("is \"{given}\", which is not a duration"), help)),
        }
    }
}

/// An absolute path; `~` is the home folder.
pub(super) fn path(environment: &dyn Environment) -> impl Fn(&Value<'_>) -> Result<PathBuf, Wrong> {
    move |value| {
        let given = text(value)?;
        let expanded = match given.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match environment.get("HOME") {
                Some(home) => Path::new(&home).join(rest.trim_start_matches('/')),
                None => return Err(Wrong::new("starts with `~`, but $HOME is not set", "write an absolute path")),
            },
            _ => PathBuf::from(&given),
        };
        if expanded.is_absolute() {
            // Also takes out `.`, doubled slashes and a slash at the end, so that one folder has one name.
            Ok(expanded.components().collect())
        } else {
            Err(Wrong::new(format!("is \"{given}\", which is not an absolute path"), "start it with `/` or `~/`"))
        }
    }
}

/// An address of only a scheme, a host and a path, without a slash at the end.
pub(crate) fn web_address(value: &Value<'_>) -> Result<String, Wrong> {
    let given = text(value)?;
    let url = url::Url::parse(&given).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let plain = url
        .filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none());
    match plain {
        Some(_) => Ok(given.trim_end_matches('/').to_owned()),
        None => {
            let message = "is not a plain web address";
            Err(Wrong::new(message, "write \"https://HOST\" or \"https://HOST/PATH\", without user, query or fragment"))
        }
    }
}

/// The address before `end`; the whole address of the documents is taken as well.
pub(crate) fn base_url(end: &'static str) -> impl Fn(&Value<'_>) -> Result<String, Wrong> {
    move |value| {
        let address = web_address(value)?;
        Ok(address.strip_suffix(end).map(str::to_owned).unwrap_or(address))
    }
}
