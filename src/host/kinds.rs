//! The one list of the kinds of hosts. Whatever concerns every kind goes through it: the configuration, the making of hosts,
//! `check`, fuzzing and the tests. A kind is a folder beside this file, its `mod` in `mod.rs`, and a line here.

use super::kind::Kind;
use super::{cloudkp, fourshared, kie, koodrive, s3, tus, uploadgig, webdav};

/// Every kind there is. The first one is what a minimal configuration is shown with, so it must need no key but `kind`.
pub static KINDS: &[Kind] = &[
    Kind::of::<cloudkp::CloudKp>(),
    Kind::of::<uploadgig::UploadGig>(),
    Kind::of::<koodrive::KooDrive>(),
    Kind::of::<kie::Kie>(),
    Kind::of::<fourshared::FourShared>(),
    Kind::of::<s3::S3>(),
    Kind::of::<webdav::WebDav>(),
    Kind::of::<tus::Tus>(),
    #[cfg(feature = "example-kind")]
    Kind::of::<super::example::Example>(),
];

/// The kind with this word.
pub fn of(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.word() == word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use super::super::http::Clients;
    use super::super::supplies::Supplies;
    use super::*;
    use crate::config::{self, Config, Environment, SecretSource};
    use crate::host::{KeptTokens, registry};
    use crate::job::upload::{Class, Session};
    use crate::os::system::System;

    struct Nothing;

    impl Environment for Nothing {
        fn get(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn clients() -> Clients {
        Clients::new(&System::default())
    }

    /// Of a state folder that nobody has.
    fn tokens() -> KeptTokens {
        KeptTokens::read_only(&System::default(), Path::new("/nowhere/at/all"))
    }

    /// A configuration with these tables.
    fn configured(tables: &str) -> Config {
        let text = format!("[daemon]\nstate_dir = \"/state\"\n[[watch]]\npath = \"/a\"\nto = [\"x\"]\n{tables}");
        let read = config::parse(&text, Path::new("config.toml"), KINDS, &Nothing);
        read.unwrap_or_else(|error| panic!("{}", error.render(false)))
    }

    /// One host of every kind, as its emulation is configured, and the first once more as `x`.
    fn one_of_each() -> Config {
        let emulated = ferryd_sandbox::config_for(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        configured(&format!("{emulated}\n[host.x]\nkind = \"{}\"\n", KINDS[0].word()))
    }

    #[test]
    fn two_kinds_are_never_one_another() {
        let different = |of: fn(&Kind) -> &'static str| KINDS.iter().map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(
            (different(Kind::word), different(Kind::module), different(Kind::name)),
            (KINDS.len(), KINDS.len(), KINDS.len())
        );
        for kind in KINDS {
            assert_eq!(super::of(kind.word()).unwrap().module(), kind.module());
        }
        assert!(super::of("clodkp").is_none() && super::of("").is_none());
    }

    #[test]
    fn the_minimal_configuration_that_is_shown_is_valid() {
        let error = config::parse("", Path::new("config.toml"), KINDS, &Nothing).unwrap_err();
        let help = error.problems[0].help.clone().unwrap();
        let shown = help.split("config.example.toml").next().unwrap().split_once('\n').unwrap().1.replace("~/Drop", "/drop");
        let read = config::parse(&format!("[daemon]\nstate_dir = \"/state\"\n{shown}"), Path::new("config.toml"), KINDS, &Nothing);
        assert_eq!(read.unwrap_or_else(|error| panic!("{}", error.render(false))).hosts.len(), 1);
    }

    #[test]
    fn a_host_with_the_settings_of_another_kind_is_refused_and_not_taken_for_that() {
        let hosts = one_of_each().hosts;
        for (host, other) in hosts.iter().zip(hosts.iter().rev()).filter(|(host, other)| host.kind.word() != other.kind.word()) {
            let mixed = config::HostConfig { settings: other.settings.clone(), ..config::HostConfig::clone(host) };
            let error = registry::host(&mixed, &Nothing, &clients(), &tokens()).err().unwrap();
            assert_eq!(error.class, Class::HostRefused);
            assert!(registry::host(host, &Nothing, &clients(), &tokens()).is_ok());
        }
    }

    #[test]
    fn every_configured_secret_is_kept_out_of_what_its_host_says() {
        let hosts = one_of_each().hosts;
        for host in &hosts {
            let (environment, clients, tokens) = (Nothing, clients(), tokens());
            let mut supplies = Supplies::new(host, &environment, &clients, &tokens).unwrap();
            assert!(of(host.kind.word()).unwrap().make(host, &mut supplies).is_ok());
            let read = supplies.secrets().now();
            for (key, source) in host.settings.secrets() {
                let SecretSource::Plain(secret) = source else { panic!("{key}") };
                assert!(read.is_shown_in(secret.reveal()), "`{key}` of {:?} is not read when the host is made", host.kind);
            }
            assert_eq!(read.is_empty(), host.settings.secrets().is_empty(), "`check` is told of every secret of {:?}", host.kind);
        }
        assert!(hosts.iter().any(|host| !host.settings.secrets().is_empty()));
    }

    #[test]
    fn a_session_that_no_kind_can_read_is_lost_and_the_file_begun_anew() {
        for kind in KINDS {
            for text in ["", "{}", "{\"v\":1}", "[1]"] {
                let error = kind.stored_again(&Session(text.into())).unwrap_err();
                assert_eq!(error.class, Class::SessionLost, "{} {text}", kind.word());
            }
        }
    }
}
