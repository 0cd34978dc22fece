//! Where an upload is: addresses that the server names, looked at before anything goes there (page, 2).

use url::{Origin, Url};

use crate::job::upload::Class;

use super::super::error::HostError;

/// The longest address of an upload that is believed, in bytes.
const ADDRESS_BYTES_MAX: usize = 4096;

/// What an address that the server names is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// At the origin where the upload was created, or at one that the settings name.
    Known(String),
    /// Elsewhere. Behind a proxy that ends TLS, servers name an address of their own: what is the same one at the origin where the
    /// upload was created, and the origin that was named.
    Elsewhere {
        /// The same path and query, at the origin of the creation.
        here: String,
        /// The origin that the server has named.
        named: String,
    },
}

/// Reads what a server names in `Location`, in answer to a request to `creation`.
pub fn locate(location: &str, creation: &str, allowed: &[String]) -> Result<Location, HostError> {
    let no_address = || HostError::new(Class::Unreadable, "the host gave an upload address that cannot be used");
    let creation = Url::parse(creation).map_err(|_| no_address())?;
    let url = creation.join(location.trim()).map_err(|_| no_address())?;
    let sound = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.as_str().len() <= ADDRESS_BYTES_MAX
        && !location.trim().is_empty();
    if !sound || url == creation {
        return Err(no_address());
    }
    if url.origin() == creation.origin() || is_allowed(&url.origin(), allowed) {
        return Ok(Location::Known(url.into()));
    }
    let named = url.origin().ascii_serialization();
    let mut here = creation;
    here.set_path(url.path());
    here.set_query(url.query());
    here.set_fragment(None);
    Ok(Location::Elsewhere { here: here.into(), named })
}

/// Whether our credentials may go to this address: the origin of the settings, or one that they name.
pub(super) fn is_trusted(address: &str, endpoint: &str, allowed: &[String]) -> bool {
    let origin = |address: &str| Url::parse(address).map(|url| url.origin());
    let Ok(asked) = origin(address) else { return false };
    origin(endpoint).is_ok_and(|endpoint| endpoint == asked) || is_allowed(&asked, allowed)
}

fn is_allowed(origin: &Origin, allowed: &[String]) -> bool {
    allowed.iter().any(|known| Url::parse(known).is_ok_and(|known| known.origin() == *origin))
}

/// The last segment of an address: what servers know an upload by.
pub(super) fn last_segment(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let last = url.path_segments()?.rfind(|segment| !segment.is_empty())?;
    Some(last.to_owned())
}

/// What is said of an upload that is elsewhere.
pub(super) fn refused(named: &str) -> HostError {
    let said = format!(
        "the host wants the bytes at {named}, which is not where the upload was created; if that is right, add it to `upload_origins`"
    );
    HostError::new(Class::HostRefused, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATION: &str = "https://tus.example:8443/files/";

    fn at(location: &str) -> Location {
        locate(location, CREATION, &["https://up.example".to_owned()]).unwrap()
    }

    #[test]
    fn an_upload_is_found_wherever_the_server_says_it_is() {
        let known = [
            ("/files/24e5", "https://tus.example:8443/files/24e5"),
            ("24e5", "https://tus.example:8443/files/24e5"),
            ("//tus.example:8443/f/1", "https://tus.example:8443/f/1"),
            ("https://tus.example:8443/files/24e5?sig=1", "https://tus.example:8443/files/24e5?sig=1"),
            ("https://up.example/x", "https://up.example/x"),
        ];
        for (location, expected) in known {
            assert_eq!(at(location), Location::Known(expected.to_owned()), "{location}");
        }
    }

    #[test]
    fn an_address_elsewhere_is_used_only_where_the_settings_name_it() {
        for (location, named) in [
            ("http://tus.example:8443/files/1?a=b", "http://tus.example:8443"),
            ("https://tus.example/files/1?a=b", "https://tus.example"),
            ("http://inner:1080/files/1?a=b", "http://inner:1080"),
            ("http://up.example/files/1?a=b", "http://up.example"),
        ] {
            let here = "https://tus.example:8443/files/1?a=b".to_owned();
            assert_eq!(at(location), Location::Elsewhere { here, named: named.to_owned() }, "{location}");
        }
        assert!(refused("http://inner").said.contains("upload_origins"));
    }

    #[test]
    fn what_is_no_address_of_an_upload_is_refused() {
        let long = "x".repeat(5000);
        for wrong in ["", " ", "https://u:p@tus.example:8443/1", "ftp://tus.example/1", CREATION, "https://", &long] {
            assert!(locate(wrong, CREATION, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_go_to_the_origin_of_the_settings_and_to_those_that_they_name() {
        let allowed = ["https://up.example".to_owned()];
        for (address, expected) in [
            ("https://tus.example:8443/anything", true),
            ("https://up.example/x", true),
            ("https://up.example.evil/x", false),
            ("http://tus.example:8443/files/", false),
            ("https://tus.example/files/", false),
            ("no address", false),
        ] {
            assert_eq!(is_trusted(address, CREATION, &allowed), expected, "{address}");
        }
    }

    #[test]
    fn an_upload_is_known_by_its_last_segment() {
        let ids = ["https://h/files/24e5?a", "https://h/24e5/", "https://h/"].map(last_segment);
        assert_eq!(ids, [Some("24e5".to_owned()), Some("24e5".to_owned()), None]);
    }
}
