//! Connections that fail.

use std::error::Error;

use reqwest::StatusCode;

use super::super::error::{HostError, excerpt};
use super::names::PrivateName;
use crate::job::upload::Class;

/// What the libraries put before a cause, and the cause says better.
const WRAPPERS: [&str; 8] = [
    "request or response body error",
    "client error (Connect)",
    "client error (SendRequest)",
    "connection error",
    "tcp connect error",
    "dns error",
    "error resolving DNS",
    "failed to lookup address information",
];

/// What helps where the environment names a proxy that speaks something else.
const OTHER_PROXY: &str = "; HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names a proxy of another kind than HTTP: \
    set `proxy` to the address of an HTTP proxy, or to \"none\"";
/// What helps where nobody knows who has signed a certificate.
const OWN_AUTHORITY: &str = "; if the certificate is signed by an authority of your own, set `ca_file`";

/// How far a request came that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It could not be put into words.
    Built,
    /// There was no connection for it.
    Connected,
    /// Nobody knows how much of it has arrived.
    Sent,
}

/// A connection that failed before a reply came. Where no connection was made, nothing was sent.
pub(super) fn lost(error: reqwest::Error, is_through_proxy: bool) -> HostError {
    let at = error.url().and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let stage = match (error.is_connect(), error.is_builder()) {
        (true, _) => Stage::Connected,
        (false, true) => Stage::Built,
        (false, false) => Stage::Sent,
    };
    failed(at, stage, error.without_url(), is_through_proxy)
}

/// The same for whatever failed `at` a host and port, at a stage.
pub(super) fn failed(
    at: Option<(String, u16)>,
    stage: Stage,
    error: impl Error + Send + Sync + 'static,
    is_through_proxy: bool,
) -> HostError {
    let is_connect = stage == Stage::Connected;
    let hint = match is_connect {
        true if is_through_proxy => "; the connection goes through `proxy`",
        true if proxy_unsupported(&error) => OTHER_PROXY,
        true if issuer_unknown(&error) => OWN_AUTHORITY,
        _ => "",
    };
    let said = format!("{}{hint}", sentence(at, is_connect, &error));
    let failed = if is_connect && (proxy_refused(&error) || proxy_unsupported(&error)) {
        HostError::new(Class::HostRefused, said)
    } else if is_connect && (certificate_refused(&error) || is_private(&error)) {
        // The network of a hotel or a train shows a certificate and an address of its own until somebody has signed in.
        HostError::new(Class::Unreadable, said).worsening_to(Class::HostRefused)
    } else if stage == Stage::Sent {
        HostError::unanswered(Class::Transient, said)
    } else {
        HostError { unconnected: is_connect, ..HostError::new(Class::Transient, said) }
    };
    failed.caused_by(error)
}

pub(super) fn cut_short(status: StatusCode, error: reqwest::Error) -> HostError {
    let said = format!("the reply ({}) was cut short: {}", status.as_u16(), chain(texts(&error)));
    HostError::unanswered(Class::Transient, said).with_status(status.as_u16()).caused_by(error.without_url())
}

/// What failed, with the host and port of the address and no more of it: the rest may hold what must not be shown.
fn sentence(at: Option<(String, u16)>, is_connect: bool, error: &dyn Error) -> String {
    match at {
        Some((host, port)) if !is_private(error) => told(&host, port, is_connect, texts(error)),
        _ => chain(texts(error)),
    }
}

fn told(host: &str, port: u16, is_connect: bool, texts: Vec<String>) -> String {
    let is_name = texts.iter().any(|text| text.starts_with("dns error"));
    let why = chain(texts);
    if is_name {
        format!("cannot find the address of `{host}`: {why}")
    } else if is_connect {
        format!("cannot connect to {host}:{port}: {why}")
    } else {
        format!("the connection to {host}:{port} failed: {why}")
    }
}

fn texts(error: &dyn Error) -> Vec<String> {
    causes(error).map(ToString::to_string).collect()
}

/// The whole chain of causes, without what only wraps the next one.
fn chain(texts: Vec<String>) -> String {
    let mut said: Vec<&str> = Vec::new();
    for text in &texts {
        let text = unwrapped(text);
        if !text.is_empty() && !said.iter().any(|known| known.contains(text)) {
            said.push(text);
        }
    }
    if said.is_empty() { "the request cannot be sent".into() } else { excerpt(&said.join(": ")) }
}

fn unwrapped(text: &str) -> &str {
    let strip = |text: &str| WRAPPERS.iter().find_map(|wrapper| text.strip_prefix(wrapper)).map(str::len);
    let mut rest = text;
    while let Some(left) = strip(rest) {
        rest = rest[rest.len() - left..].trim_start_matches(": ");
    }
    rest
}

/// What an error came from, outermost first.
fn causes(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |error| (**error).source())
}

fn is_private(error: &dyn Error) -> bool {
    causes(error).any(|cause| cause.is::<PrivateName>())
}

/// Whether a proxy wants other credentials before it makes a connection.
fn proxy_refused(error: &dyn Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("proxy authorization required"))
}

/// Whether the environment names a proxy of a kind that the library has not learned, such as SOCKS.
fn proxy_unsupported(error: &dyn Error) -> bool {
    causes(error).any(|cause| cause.to_string().starts_with("unsupported scheme"))
}

fn certificate_refused(error: &dyn Error) -> bool {
    certificate_error(error).is_some()
}

fn issuer_unknown(error: &dyn Error) -> bool {
    matches!(certificate_error(error), Some(rustls::CertificateError::UnknownIssuer))
}

fn certificate_error(error: &dyn Error) -> Option<&rustls::CertificateError> {
    causes(error).find_map(|cause| match within(cause)?.downcast_ref()? {
        rustls::Error::InvalidCertificate(why) => Some(why),
        _ => None,
    })
}

/// What an error is under all the I/O errors around it, which do not count it as their cause.
fn within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let inner = |error: &&'e (dyn Error + 'static)| {
        let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
        Some(inner as &(dyn Error + 'static))
    };
    std::iter::successors(Some(error), inner).last()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Request, Transport};
    use super::*;
    use crate::os::system::System;

    #[test]
    fn a_failed_connection_says_where_to_and_why_once() {
        let refused = ["client error (Connect)", "tcp connect error", "Connection refused (os error 111)"];
        let unknown = ["dns error", "failed to lookup address information: Name or service not known"];
        let nested = ["dns error: error resolving DNS", "failed to lookup address information: Name or service not known"];
        let reset = ["client error (SendRequest)", "connection error", "Connection reset by peer (os error 104)"];
        let cases: [(bool, &[&str], &str); 5] = [
            (true, &refused, "cannot connect to kp.example:443: Connection refused (os error 111)"),
            (true, &unknown, "cannot find the address of `kp.example`: Name or service not known"),
            (true, &nested, "cannot find the address of `kp.example`: Name or service not known"),
            (false, &reset, "the connection to kp.example:443 failed: Connection reset by peer (os error 104)"),
            (false, &["client error (SendRequest)"], "the connection to kp.example:443 failed: the request cannot be sent"),
        ];
        for (is_connect, texts, expected) in cases {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(told("kp.example", 443, is_connect, texts), expected);
        }
    }

    #[tokio::test]
    async fn of_an_address_that_refuses_only_the_host_and_the_port_are_told() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let transport = Transport::new(&System::default(), Duration::from_secs(5)).unwrap();
        let error = transport.send(Request::post(&format!("http://{closed}/TICKET?key=TOKEN"))).await.unwrap_err();
        assert!(error.said.starts_with(&format!("cannot connect to {closed}: ")), "{}", error.said);
        assert!(!error.said.contains("TICKET") && !error.said.contains("TOKEN"), "{}", error.said);
        assert_eq!(error.said.matches("onnection refused").count(), 1, "{}", error.said);
    }
}
