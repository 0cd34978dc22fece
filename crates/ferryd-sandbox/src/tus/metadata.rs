//! What an upload is told of its file: keys, each with a value in base64 (`docs/protocols/tus.md`, 3).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The values by their keys; nothing for a text that is not of the form. A value that is no UTF-8 is read as far as it is.
pub(super) fn read(text: &str) -> Option<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for pair in text.split(',') {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let value = String::from_utf8_lossy(&STANDARD.decode(value).ok()?).into_owned();
        if values.insert(key.to_owned(), value).is_some() {
            return None;
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_description_is_read() {
        let read = read("filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential").unwrap();
        let told = ["filename", "is_confidential"].map(|key| read[key].as_str());
        assert_eq!(told, ["world_domination_plan.pdf", ""]);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for wrong in ["", "a,,b", "a YQ==,a YQ==", " YQ==", "a YQ", "a Y_==", "a  YQ==", "ä YQ=="] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
