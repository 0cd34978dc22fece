//! What a reload has changed, in one line: what was added or removed, and of what is another way, each key with what it was.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::config::{Config, Hook, HostConfig};
use crate::job::Watch;

use super::render;

/// What is in `new` and was not in `old`, or was another way. Secrets that have changed in their own places are not seen.
pub(super) fn between(old: &Config, new: &Config) -> String {
    let mut changes = named(&daemon(old), &daemon(new));
    changes.extend(named(&watches(old), &watches(new)));
    changes.extend(named(&hosts(old), &hosts(new)));
    changes.extend(named(&hooks(old), &hooks(new)));
    if changes.is_empty() { "nothing has changed".into() } else { changes.join(", ") }
}

/// Things by their names, each with its keys and what is configured there.
type Things = BTreeMap<String, Vec<Setting>>;

/// A key with its value, as it is shown and as it is compared: a secret is never shown.
struct Setting {
    key: &'static str,
    shown: Option<String>,
    compared: String,
}

fn shown(key: &'static str, value: impl Into<String>) -> Setting {
    let value = value.into();
    Setting { key, shown: Some(value.clone()), compared: value }
}

/// One that is too long to be shown.
fn compared(key: &'static str, value: &impl Debug) -> Setting {
    Setting { key, shown: None, compared: format!("{value:?}") }
}

fn number(limit: Option<usize>) -> String {
    limit.map_or_else(|| "default".into(), |limit| limit.to_string())
}

fn found(limit: Option<usize>) -> String {
    limit.map_or_else(|| "auto".into(), |limit| limit.to_string())
}

fn daemon(config: &Config) -> Things {
    let daemon = &config.daemon;
    let settings = vec![
        shown("max_uploads", found(daemon.max_uploads)),
        shown("max_connections", daemon.max_connections.to_string()),
        shown("bandwidth", render::bandwidth(&daemon.bandwidth)),
        shown("shutdown_grace", render::duration(daemon.shutdown_grace)),
        compared("others", daemon),
    ];
    Things::from([("[daemon]".to_owned(), settings)])
}

fn watches(config: &Config) -> Things {
    let settings = |watch: &Watch| {
        vec![
            shown("to", watch.to.join(" ")),
            shown("after", format!("{:?}", watch.after)),
            shown("settle", render::duration(watch.settle)),
            shown("recursive", watch.recursive.to_string()),
            shown("on_change", watch.on_change.word()),
            shown("priority", watch.priority.to_string()),
            compared("others", watch),
        ]
    };
    config.watches.iter().map(|watch| (format!("watch {:?}", watch.path), settings(watch))).collect()
}

fn hosts(config: &Config) -> Things {
    let settings = |host: &HostConfig| {
        // No text of a secret is kept: what was plain and is another is seen by its hash.
        let secrets: Vec<_> = host.settings.secrets().into_iter().map(|(key, secret)| (key, secret.mark())).collect();
        vec![
            shown("kind", host.kind.word()),
            shown("bandwidth", render::bandwidth(&host.bandwidth)),
            shown("max_uploads", found(host.max_uploads)),
            shown("max_connections", number(host.max_connections)),
            shown("trust_replies", host.trust_replies.to_string()),
            compared("secrets", &secrets),
            // Whom it trusts since when is no setting.
            compared("others", &HostConfig { trusts_earlier: true, ..host.clone() }),
        ]
    };
    config.hosts.iter().map(|host| (format!("host {}", host.name), settings(host))).collect()
}

fn hooks(config: &Config) -> Things {
    let name = |hook: &Hook| format!("hook `{}`", Hook::name_of(&hook.key()));
    config.hooks.iter().map(|hook| (name(hook), vec![compared("others", &(hook.key(), hook))])).collect()
}

fn named(old: &Things, new: &Things) -> Vec<String> {
    let taken_out = old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} removed"));
    let is_there = new.iter().filter_map(|(name, now)| match old.get(name) {
        None => Some(format!("{name} added")),
        Some(before) => {
            let different: Vec<_> = before.iter().zip(now).filter(|(before, now)| before.compared != now.compared).collect();
            let told: Vec<String> = different.iter().filter_map(|(before, now)| told(before, now)).collect();
            let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) };
            (!different.is_empty()).then(|| format!("{name} changed{told}"))
        }
    });
    taken_out.chain(is_there).collect()
}

fn told(before: &Setting, now: &Setting) -> Option<String> {
    match (&before.shown, &now.shown) {
        (Some(before), Some(after)) => Some(format!("{} {after}, was {before}", now.key)),
        _ if now.key == "others" => None,
        _ => Some(now.key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_removed_or_changed_is_named_with_what_it_was_and_nothing_else() {
        let things = |of: &[(&str, &str, u8)]| {
            let settings = |rate: &str, rest: u8| vec![shown("bandwidth", rate), compared("others", &rest)];
            of.iter().map(|(name, rate, rest)| ((*name).to_owned(), settings(rate, *rest))).collect()
        };
        let old = things(&[("host a", "1", 1), ("host b", "1", 1), ("host c", "1", 1), ("host e", "1", 1)]);
        let new = things(&[("host b", "2", 1), ("host c", "1", 1), ("host d", "1", 1), ("host e", "1", 2)]);
        assert_eq!(named(&old, &new), ["host a removed", "host b changed (bandwidth 2, was 1)", "host d added", "host e changed"]);
    }
}
