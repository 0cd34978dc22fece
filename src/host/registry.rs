//! From a configured kind to the code that speaks it: one line per host.

use std::sync::Arc;

use crate::config::{Environment, HostConfig, HostKind, KooDriveLogin, SecretError, SecretSource};
use crate::job::Step;
use crate::job::upload::Class;
use crate::os::system::System;
use crate::secret::Secret;

use super::http::Transport;
use super::redact::Secrets;
use super::redacting::Redacting;
use super::{Host, HostError, cloudkp, fourshared, kie, koodrive, uploadgig};

/// Makes the host that `config` describes, with its secrets read.
///
/// # Errors
/// `HostRefused` when a secret cannot be had, or no HTTP client can be made.
pub fn host(config: &HostConfig, environment: &dyn Environment, system: &System) -> Result<Arc<dyn Host>, HostError> {
    let idle = config.request_timeout;
    let transport = Transport::new(system, idle)?;
    let strangers = |allow_private| Transport::for_strangers(system, idle, allow_private);
    let mut secrets = Secrets::default();
    let mut secret = |source: &SecretSource| read(source, environment).inspect(|secret| secrets.add(secret));
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

fn read(source: &SecretSource, environment: &dyn Environment) -> Result<Secret, HostError> {
    let failed = |error: SecretError| HostError::new(Class::HostRefused, error.to_string()).during(Step::Secret).caused_by(error);
    source.read(environment).map_err(failed)
}
