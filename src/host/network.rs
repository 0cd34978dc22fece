//! What a configuration says of secrets and of the way of requests, read when a host is made.

use crate::config::network::CA_BYTES_MAX;
use crate::config::{Environment, Network, ProxySource, SecretError, SecretSource};
use crate::job::Step;
use crate::job::upload::Class;
use crate::os::whole;
use crate::secret::Secret;

use super::HostError;
use super::http::{Proxy, Settings};
use super::redact::Secrets;

/// Reads a secret. May wait for a program, for at most half a minute.
pub(super) fn read(source: &SecretSource, environment: &dyn Environment) -> Result<Secret, HostError> {
    let failed = |error: SecretError| HostError::new(Class::HostRefused, error.to_string()).during(Step::Secret).caused_by(error);
    source.read(environment).map_err(failed)
}

/// How requests travel. The password of a proxy goes to `secrets`.
pub(super) fn settings(network: &Network, environment: &dyn Environment, secrets: &mut Secrets) -> Result<Settings, HostError> {
    let pem = network.ca_file.as_ref().map(|file| {
        let failed = |error: std::io::Error| {
            let said = format!("cannot read `{}` (`ca_file`): {error}", file.display());
            HostError::new(Class::HostRefused, said).during(Step::Secret).caused_by(error)
        };
        whole::read(file, CA_BYTES_MAX).map_err(failed)
    });
    let proxy = match &network.proxy {
        ProxySource::Environment => Proxy::Environment,
        ProxySource::Direct => Proxy::Direct,
        ProxySource::At(source) => {
            let address = read(source, environment)?;
            password_in(&address).iter().for_each(|password| secrets.add(password));
            Proxy::At(address)
        }
    };
    Ok(Settings { ca: pem.transpose()?.map(Into::into), proxy, user_agent: network.user_agent.clone() })
}

/// As it is written, and what that means.
fn password_in(address: &Secret) -> Vec<Secret> {
    let url = url::Url::parse(address.reveal()).ok();
    let written = url.as_ref().and_then(url::Url::password).unwrap_or_default();
    let means = percent_encoding::percent_decode_str(written).decode_utf8_lossy();
    vec![Secret::new(written), Secret::new(means)]
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Variable(&'static str);

    impl Environment for Variable {
        fn get(&self, key: &str) -> Option<String> {
            (key == "PROXY").then(|| self.0.to_owned())
        }
    }

    #[test]
    fn the_password_of_a_proxy_is_taken_out_of_whatever_is_said() {
        let network = Network { proxy: ProxySource::At(SecretSource::Env("PROXY".into())), ..Network::default() };
        let mut secrets = Secrets::default();
        let environment = Variable("http://me:hunter%402@proxy:3128");
        let settings = settings(&network, &environment, &mut secrets).unwrap();
        assert_eq!(settings.proxy, Proxy::At(Secret::new("http://me:hunter%402@proxy:3128")));
        assert_eq!(secrets.kept_out_of("no hunter@2 here".into()), crate::host::redact::WITHHELD);
        assert!(!format!("{settings:?}").contains("hunter"));
    }

    #[test]
    fn a_file_of_certificates_that_went_away_is_named() {
        let network = Network { ca_file: Some("/nowhere/ca.pem".into()), ..Network::default() };
        let error = settings(&network, &Variable(""), &mut Secrets::default()).unwrap_err();
        assert!(
            error.class == Class::HostRefused && error.said.starts_with("cannot read `/nowhere/ca.pem` (`ca_file`)"),
            "{error}"
        );
    }
}
