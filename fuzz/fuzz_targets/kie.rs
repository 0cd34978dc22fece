//! Kie.ai's answers to an upload.
#![no_main]

use std::time::Duration;

use ferryd::internals::host::kie::upload_reply;
use ferryd_fuzz::{Input, assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

const NOW_MS: i64 = 1_750_000_000_000;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let (reply, bytes) = (&input.reply, input.number("bytes"));
    let kept_for = Duration::from_secs(input.number("kept").unwrap_or(86_400));
    match upload_reply(reply, bytes, kept_for, NOW_MS) {
        Ok(outcome) => {
            assert!(reply.is_success(), "{reply:?}");
            let fields: serde_json::Value = serde_json::from_str(reply.text.trim()).expect("a success is JSON");
            assert!(
                fields["code"] == 200 || fields["code"].as_str().is_some_and(|code| code.trim().parse() == Ok(200)),
                "{reply:?}"
            );
            assert!(fields["success"] != false, "{reply:?}");
            let size = fields["data"]["fileSize"].as_u64();
            assert!(bytes.is_none() || size.is_none() || size == bytes, "{reply:?}");
            assert!(outcome.link.is_some() && outcome.expires_ms.is_some(), "{outcome:?}");
            assert_named(&outcome);
        }
        Err(error) => assert_told(&error),
    }
});
