//! Connections that fail.

use reqwest::StatusCode;

use super::super::error::{HostError, excerpt};
use super::names::PrivateName;
use crate::job::upload::Class;

/// A connection that failed before a reply came. Where no connection was made, nothing was sent.
pub(super) fn lost(error: reqwest::Error) -> HostError {
    let said = chain(&error);
    let failed = if error.is_connect() && (certificate_refused(&error) || is_private(&error)) {
        HostError::new(Class::HostRefused, said)
    } else if error.is_connect() || error.is_builder() {
        HostError::new(Class::Transient, said)
    } else {
        HostError::unanswered(Class::Transient, said)
    };
    failed.caused_by(error.without_url())
}

pub(super) fn cut_short(status: StatusCode, error: reqwest::Error) -> HostError {
    let said = format!("the reply ({}) was cut short: {}", status.as_u16(), chain(&error));
    HostError::unanswered(Class::Transient, said).with_status(status.as_u16()).caused_by(error.without_url())
}

/// The whole chain of causes, without the address: it may hold what must not be shown.
fn chain(error: &reqwest::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // "client error (Connect)" says nothing that its cause does not say better.
        if !text.starts_with("client error (") && !said.iter().any(|known| known.contains(&text)) {
            said.push(text);
        }
    }
    match said.is_empty() {
        true => "the request cannot be made".into(),
        false => excerpt(&said.join(": ")),
    }
}

/// What an error came from, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}

fn is_private(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<PrivateName>())
}

fn certificate_refused(error: &reqwest::Error) -> bool {
    let refused = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    causes(error).any(|cause| {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause.downcast_ref().or(inner.and_then(|inner| inner.downcast_ref())).is_some_and(refused)
    })
}
