//! 4shared's answers to a call, to a part and to a finish.
#![no_main]

use ferryd::internals::host::fourshared::{PartReply, SoapReply, finish_text, part_reply, soap_reply};
use ferryd_fuzz::{Input, assert_told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let reply = &input.reply;
    let operation = input.word("call").unwrap_or("login");
    match soap_reply(reply, operation, input.has("file")) {
        Ok(SoapReply::Response(response)) => {
            assert!(reply.is_success(), "{reply:?}");
            assert_eq!(response.name, format!("{operation}Response"));
            assert!(response.find("Fault").is_none(), "{response:?}");
            if let Err(error) = finish_text(response.text_of("return")) {
                assert_told(&error);
            }
        }
        Ok(SoapReply::Fault(error)) | Err(error) => assert_told(&error),
    }
    match part_reply(reply) {
        Ok(PartReply::Held) => assert!(reply.is_success(), "{reply:?}"),
        Ok(PartReply::KeyEnded(error) | PartReply::TooMuch(error)) => {
            assert!(!reply.is_success(), "{reply:?}");
            assert_told(&error);
        }
        Err(error) => assert_told(&error),
    }
    match finish_text(Some(&reply.text)) {
        Ok(()) => assert!(reply.text.trim().is_empty(), "{reply:?}"),
        Err(error) => assert_told(&error),
    }
});
