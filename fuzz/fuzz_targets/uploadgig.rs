//! UploadGig's answers to a login and to an upload. They are read whatever the status, as the service's own samples do.
#![no_main]

use ferryd::internals::host::fuzzing;
use ferryd::internals::host::uploadgig::{login_reply, upload_reply};
use ferryd_fuzz::{Input, assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let (reply, bytes) = (&input.reply, input.number("bytes").unwrap_or(7));
    let is_json = serde_json::from_str::<serde_json::Value>(reply.text.trim()).is_ok();
    match login_reply(reply) {
        Ok(action) => {
            assert!(is_json && !action.address.reveal().is_empty(), "{reply:?}");
            let allowed = fuzzing::address(action.address.reveal(), false);
            if let Err(error) = &allowed {
                assert_told(error);
            }
            assert!(allowed.is_err() || fuzzing::address(action.address.reveal(), true).is_ok(), "{action:?}");
        }
        Err(error) => assert_told(&error),
    }
    match upload_reply(reply, bytes) {
        Ok(outcome) => {
            assert!(is_json && reply.text.contains(&bytes.to_string()), "{reply:?}");
            assert!(outcome.link.is_some(), "{outcome:?}");
            assert_named(&outcome);
        }
        Err(error) => assert_told(&error),
    }
});
