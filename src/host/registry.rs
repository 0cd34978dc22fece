//! From a configured kind to the code that speaks it: one line per host.

use std::sync::Arc;

use crate::config::{Environment, HostConfig, HostKind, KooDriveLogin, SecretSource};

use super::http::Clients;
use super::redact::Secrets;
use super::redacting::Redacting;
use super::{Host, HostError, cloudkp, fourshared, kie, koodrive, network, uploadgig};

/// Makes the host that `config` describes, with its secrets read. May wait for a program that prints one.
///
/// # Errors
/// `HostRefused` when a secret cannot be had, or no HTTP client can be made.
pub fn host(config: &HostConfig, environment: &dyn Environment, clients: &Clients) -> Result<Arc<dyn Host>, HostError> {
    let idle = config.request_timeout;
    let mut secrets = Secrets::default();
    let settings = network::settings(&config.network, environment, &mut secrets)?;
    let transport = clients.transport(&settings, idle)?;
    let strangers = |allow_private| clients.for_strangers(&settings, idle, allow_private);
    let mut secret = |source: &SecretSource| network::read(source, environment).inspect(|secret| secrets.add(secret));
    let host: Arc<dyn Host> = match &config.kind {
        HostKind::CloudKp(settings) => Arc::new(cloudkp::CloudKp::new(settings.clone(), transport)),
        HostKind::UploadGig(settings) => {
            let password = secret(&settings.password)?;
            Arc::new(uploadgig::UploadGig::new(settings.clone(), password, transport, strangers(settings.allow_private)?))
        }
        HostKind::KooDrive(settings) => {
            let login = match &settings.login {
                KooDriveLogin::App { app_secret, .. } => secret(app_secret)?,
                KooDriveLogin::Token { access_token, .. } => secret(access_token)?,
            };
            Arc::new(koodrive::KooDrive::new(settings.clone(), login, transport, strangers(settings.allow_private)?))
        }
        HostKind::Kie(settings) => Arc::new(kie::Kie::new(settings.clone(), secret(&settings.api_key)?, transport)),
        HostKind::FourShared(settings) => {
            let password = secret(&settings.password)?;
            Arc::new(fourshared::FourShared::new(settings.clone(), password, transport, strangers(settings.allow_private)?))
        }
    };
    Ok(Redacting::around(host, secrets))
}
