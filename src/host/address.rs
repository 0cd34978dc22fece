//! Addresses that a host names in a reply: data from outside, looked at before any byte goes there (`docs/protocols/README.md`,
//! section 3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::job::shown::is_unsafe;
use crate::job::upload::Class;

use super::error::HostError;

/// The longest link that is believed, in bytes.
const LINK_BYTES_MAX: usize = 2048;

/// A link as a host names it, if it is one: an http or https address with a host, of at most 2 KiB and without control characters.
/// A host that answers everything with one word has named none.
pub(super) fn link(text: &str) -> Option<String> {
    let sound = text.len() <= LINK_BYTES_MAX && !text.chars().any(is_unsafe);
    let url = Url::parse(text).ok().filter(|url| sound && matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(|_| text.to_owned())
}

/// Whether `address` may be given a file's bytes: http or https, no credentials in it, and no private network unless
/// `allow_private`. Names are looked at once more when they are resolved (`http::Transport::for_strangers`).
///
/// # Errors
/// `HostRefused` for a private address, since only a setting can allow it; `Unreadable` for what is no address. The text does not
/// quote it: its query may be a secret.
pub fn check(address: &str, allow_private: bool) -> Result<(), HostError> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url.filter(|url| url.username().is_empty() && url.password().is_none()) else {
        let said = "the host gave no valid upload address";
        return Err(HostError::new(Class::Unreadable, said));
    };
    let is_private = match url.host() {
        Some(Host::Ipv4(ip)) => !is_public(ip.into()),
        Some(Host::Ipv6(ip)) => !is_public(ip.into()),
        // A name that is written to its end has a dot there.
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => true,
    };
    if is_private && !allow_private {
        let at = url.host_str().unwrap_or_default();
        let said = format!(
            "the host gave the upload address {at}, which is in a private network; set `allow_private = true` to allow that"
        );
        Err(HostError::new(Class::HostRefused, said))
    } else {
        Ok(())
    }
}

/// Whether an address is one of the Internet.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// RFC 6890 and its successors: everything set aside for special use is not public.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocols = (a, b, c) == (192, 0, 0);
    let benchmarks = a == 198 && (b == 18 || b == 19);
    let special = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation() || ip.is_multicast();
    !(a == 0 || a >= 240 || shared || protocols || benchmarks || special)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    // Only 2000::/3 is given out; of that, 2001:db8::/32 is for documents, and 2002::/16 and 64:ff9b::/96 carry an IPv4 address.
    let documentation = first == 0x2001 && ip.segments()[1] == 0x0db8;
    (first & 0xe000) == 0x2000 && !documentation && first != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "0.0.0.0",
            "100.64.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "192.0.1.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn only_a_web_address_is_a_link() {
        let long = format!("https://h.example/{}", "a".repeat(LINK_BYTES_MAX));
        for none in
            ["", "maintenance", "javascript:alert(1)", "ftp://h.example/a", "https://", "/file/1", "https://h.example/\u{7}", &long]
        {
            assert_eq!(link(none), None, "{none}");
        }
        for whole in ["https://h.example/f?id=1#x", "http://127.0.0.1:81/a b", "HTTPS://h.example"] {
            assert_eq!(link(whole).as_deref(), Some(whole));
        }
    }

    #[test]
    fn an_address_from_a_reply_is_looked_at_before_bytes_go_there() {
        let class = |address: &str, allowed| check(address, allowed).map_err(|error| error.class);
        assert_eq!(class("http://8.8.8.8:81/upload?identity=x", false), Ok(()));
        assert_eq!(class("http://127.0.0.1:81/upload?identity=x", false), Err(Class::HostRefused));
        assert_eq!(class("http://[::1]/", false), Err(Class::HostRefused));
        assert_eq!(class("http://0x7f.1/", false), Err(Class::HostRefused), "the same address, written another way");
        assert_eq!(class("http://localhost/", false), Err(Class::HostRefused));
        assert_eq!(class("http://localhost./", false), Err(Class::HostRefused));
        assert_eq!(class("http://box.localhost./", false), Err(Class::HostRefused));
        assert_eq!(class("http://127.0.0.1:81/upload", true), Ok(()));
        for none in ["ftp://8.8.8.8/", "file:///etc/passwd", "/upload", "", "http://u:p@8.8.8.8/", "null"] {
            assert_eq!(class(none, true), Err(Class::Unreadable), "{none}");
        }
        let said = check("http://10.0.0.1/up?identity=hush", false).unwrap_err().said;
        assert!(said.contains("10.0.0.1") && !said.contains("hush"), "{said}");
    }
}
