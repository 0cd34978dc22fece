//! CloudKP's answers to a chunk and to a finish.
#![no_main]

use std::collections::BTreeMap;

use ferryd::internals::host::cloudkp::{chunk_reply, finish_reply};
use ferryd_fuzz::{Input, assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

const BASE: &str = "https://cloudkp.com?c=";

fuzz_target!(|data: &[u8]| {
    let reply = Input::read(data).reply;
    let fields: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(reply.text.trim()).ok();
    let none = |error: &str| matches!(error.trim().to_ascii_lowercase().as_str(), "" | "null" | "none");
    let told = fields.as_ref().and_then(|fields| fields.get("error")?.as_str()).is_some_and(|error| !none(error));
    match chunk_reply(&reply) {
        Ok(receipt) => {
            assert!(reply.is_success() && !reply.is_markup() && !told, "{reply:?}");
            let acks: BTreeMap<u32, String> = receipt.map(|receipt| (0, receipt)).into_iter().collect();
            assert!(finish_reply(&reply, BASE, &acks, |_| false).is_err(), "a chunk was answered so: {reply:?}");
        }
        Err(error) => assert_told(&error),
    }
    match finish_reply(&reply, BASE, &BTreeMap::new(), |_| false) {
        Ok(outcome) => {
            assert!(reply.is_success() && !reply.is_markup() && !told, "{reply:?}");
            assert_named(&outcome);
            let id = outcome.link.as_deref().and_then(|link| link.strip_prefix(BASE)).unwrap_or_default();
            assert!(
                !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte)),
                "{outcome:?}"
            );
        }
        Err(error) => assert_told(&error),
    }
});
