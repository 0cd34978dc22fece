//! KooDrive's answers to a control call and to a part.
#![no_main]

use ferryd::internals::host::koodrive::{Call, PartReply, control_reply, part_reply};
use ferryd_fuzz::{Input, assert_told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let reply = &input.reply;
    let call = match input.word("call") {
        Some("links") => Call::Links,
        Some("complete") => Call::Complete,
        Some("detail") => Call::Detail,
        Some("download") => Call::Download,
        _ => Call::Create,
    };
    match control_reply(call, reply) {
        Ok(fields) => {
            assert!(reply.is_success(), "{reply:?}");
            let code = &fields["code"];
            assert!(*code == 0 || code.as_str().is_some_and(|code| code.trim().parse() == Ok(0)), "{reply:?}");
            assert!(
                fields.get("error_code").is_none_or(|code| code.as_str().is_none_or(|code| code.trim().is_empty())),
                "{reply:?}"
            );
        }
        Err(refused) => {
            assert!(refused.code != Some(0), "{refused:?}");
            assert_told(&refused.error);
        }
    }
    match part_reply(reply) {
        Ok(PartReply::Held) => assert_eq!(reply.status, 200),
        Ok(PartReply::LinkEnded(error)) => {
            assert_ne!(reply.status, 200);
            assert_told(&error);
        }
        Err(error) => assert_told(&error),
    }
});
