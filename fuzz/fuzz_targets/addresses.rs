//! The addresses in a shortcut file of each kind, and the `Retry-After` header.
#![no_main]

use ferryd::internals::host::fuzzing;
use ferryd_fuzz::assert_told;
use libfuzzer_sys::fuzz_target;
use url::Url;

fuzz_target!(|data: &[u8]| {
    for name in ["x.url", "x.webloc", "x.uri-list"] {
        match fuzzing::addresses(name, data) {
            Ok(found) => {
                assert!((1..=100).contains(&found.len()));
                found.iter().for_each(|address| assert_address(address));
            }
            Err(said) => assert!(!said.is_empty() && !said.contains(char::is_control), "{said:?}"),
        }
    }
    let text = String::from_utf8_lossy(data);
    for allow_private in [false, true] {
        if let Err(error) = fuzzing::address(&text, allow_private) {
            assert_told(&error);
        }
    }
    if let Some(rest) = fuzzing::retry_after(&text, 1_750_000_000_000) {
        assert!(text.contains(|c: char| c.is_ascii_digit()), "{rest:?}");
    }
});

fn assert_address(address: &str) {
    let url = Url::parse(address).expect("an address");
    assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{address}");
    assert_eq!(url.as_str(), address, "an address that is not in its normal form");
    assert!(!address.contains(|c: char| c.is_control() || c == ' '), "{address:?}");
}
