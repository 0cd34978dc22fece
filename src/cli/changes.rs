//! What a reload has changed, in one line of the log.

use std::collections::BTreeMap;

use crate::config::{Config, Hook};

/// What is in `new` and was not in `old`, or was another way. Secrets that have changed in their own places are not seen.
pub(super) fn between(old: &Config, new: &Config) -> String {
    let mut changes = Vec::new();
    if format!("{:?}", old.daemon) != format!("{:?}", new.daemon) {
        changes.push("[daemon] changed".to_owned());
    }
    changes.extend(named(watches(old), watches(new)));
    changes.extend(named(hosts(old), hosts(new)));
    changes.extend(named(hooks(old), hooks(new)));
    if changes.is_empty() { "nothing has changed".into() } else { changes.join(", ") }
}

/// Things by their names, each with all that is configured of it.
type Things = BTreeMap<String, String>;

fn watches(config: &Config) -> Things {
    config.watches.iter().map(|watch| (format!("watch {:?}", watch.path), format!("{watch:?}"))).collect()
}

fn hosts(config: &Config) -> Things {
    config.hosts.iter().map(|host| (format!("host {}", host.name), format!("{host:?}"))).collect()
}

fn hooks(config: &Config) -> Things {
    let name = |hook: &Hook| format!("hook `{}`", Hook::name_of(&hook.key()));
    config.hooks.iter().map(|hook| (name(hook), format!("{} {hook:?}", hook.key()))).collect()
}

fn named(old: Things, new: Things) -> Vec<String> {
    let taken_out = old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} removed"));
    let is_there = new.iter().filter_map(|(name, now)| match old.get(name) {
        None => Some(format!("{name} added")),
        Some(before) if before != now => Some(format!("{name} changed")),
        Some(_) => None,
    });
    taken_out.chain(is_there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_removed_or_changed_is_named_and_nothing_else() {
        let things = |of: &[(&str, &str)]| of.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let old = things(&[("host a", "1"), ("host b", "1"), ("host c", "1")]);
        let new = things(&[("host b", "2"), ("host c", "1"), ("host d", "1")]);
        assert_eq!(named(old, new), ["host a removed", "host b changed", "host d added"]);
    }
}
