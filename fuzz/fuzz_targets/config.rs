//! A configuration: either it means something that hangs together, or all its problems can be shown, and its secrets cannot.
#![no_main]

use std::path::Path;

use ferryd::internals::config::{self, Config, ConfigError, Environment};
use ferryd::internals::host::kinds::KINDS;
use libfuzzer_sys::fuzz_target;

/// What nobody may see who sees an error; the seeds have it in the places of secrets.
const SECRET: &str = "hush1234hush";

struct Home;

impl Environment for Home {
    fn get(&self, key: &str) -> Option<String> {
        (key == "HOME").then(|| "/home/u".to_owned())
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match config::parse(&text, Path::new("config.toml"), KINDS, &Home) {
        Ok(config) => assert_sound(&config),
        Err(error) => assert_shown(&error, &text),
    }
    secret_stays_hidden(&text);
});

fn assert_sound(config: &Config) {
    let known = |name: &String| config.hosts.iter().any(|host| host.name == *name);
    for watch in &config.watches {
        assert!(watch.path.is_absolute() && !watch.to.is_empty() && watch.to.iter().all(known), "{watch:?}");
        assert!(watch.max_size.is_none_or(|most| most >= watch.min_size), "{watch:?}");
    }
    assert!(config.daemon.max_uploads.is_none_or(|most| most > 0) && config.daemon.max_connections > 0);
    let rates = config.hosts.iter().map(|host| &host.bandwidth).chain([&config.daemon.bandwidth]);
    assert!(rates.flat_map(|bandwidth| bandwidth.hours()).all(|hours| hours.limit != Some(0)));
    assert!(config.daemon.state_dir.is_absolute());
}

fn assert_shown(error: &ConfigError, text: &str) {
    assert!(!error.problems.is_empty());
    assert_eq!(error.text.len(), text.len(), "masking moves what comes after");
    for problem in &error.problems {
        assert!(!problem.message.is_empty());
        let place = problem.span.as_ref();
        assert!(place.is_none_or(|place| error.text.get(place.clone()).is_some()), "{problem:?}");
        assert_eq!(error.position(problem).is_some(), place.is_some());
        assert!(error.problems.iter().filter(|other| *other == problem).count() == 1, "told twice: {problem:?}");
    }
    assert!(!error.render(false).is_empty() && !error.render(true).is_empty());
}

/// The value of a key that is a secret, and around it whatever the input says, as far as that stays the value.
fn secret_stays_hidden(text: &str) {
    if text.contains(SECRET) || text.contains("\"\"\"") || text.contains(['=', '\\', '#']) {
        return;
    }
    let text = format!(
        "[host.x]\nkind = \"kie\"\napi_key = \"\"\"{text}\n{SECRET}\"\"\"\nnone = 1\n[host.y]\nkind = \"kie\"\napi_key = [\"{SECRET}\",\n\"{SECRET}\"]\n"
    );
    if let Err(error) = config::parse(&text, Path::new("config.toml"), KINDS, &Home) {
        assert!(!error.render(false).contains(SECRET), "{}", error.render(false));
    }
}
