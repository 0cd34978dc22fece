//! CloudKP's answers to a chunk and to a finish.
#![no_main]

use ferryd::host::cloudkp::{chunk_reply, finish_reply};
use ferryd_fuzz::{Input, assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

const BASE: &str = "https://cloudkp.com?c=";

fuzz_target!(|data: &[u8]| {
    let reply = Input::read(data).reply;
    let fields: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(reply.text.trim()).ok();
    let told = fields.as_ref().and_then(|fields| fields.get("error")?.as_str()).is_some_and(|error| !error.trim().is_empty());
    match chunk_reply(&reply) {
        Ok(()) => assert!(reply.is_success() && !reply.html && !told, "{reply:?}"),
        Err(error) => assert_told(&error),
    }
    match finish_reply(&reply, BASE) {
        Ok(outcome) => {
            assert!(reply.is_success() && !reply.html && !told, "{reply:?}");
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
