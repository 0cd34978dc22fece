//! The example's answers to everything it is asked for.
#![no_main]

use ferryd::internals::host::example::{
    Listing, account_reply, finish_reply, gone_reply, listing_reply, open_reply, part_reply, token_reply,
};
use ferryd::internals::job::upload::Class;
use ferryd_fuzz::{Input, assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let (reply, bytes) = (&input.reply, input.number("bytes").unwrap_or(7));
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut failures = Vec::new();
    match token_reply(reply) {
        Ok(granted) => assert!(is_word(granted.secret.reveal()) && granted.life.is_some(), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match open_reply(reply) {
        Ok(id) => assert!(id.len() == 32 && is_word(&id), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match part_reply(reply) {
        Ok(etag) => assert!(is_word(&etag) && etag.len() > 2, "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match listing_reply(reply, bytes) {
        Ok(Listing::Stored(outcome)) => assert_named(&outcome),
        Ok(Listing::Parts(parts)) => assert!(parts.iter().all(|part| is_word(&part.etag)), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match finish_reply(reply, bytes) {
        Ok(outcome) => assert_named(&outcome),
        // A success that nobody understands may have made a file.
        Err(error) => {
            assert!(!reply.is_success() || (error.doubt && error.class == Class::Transient), "{error:?}");
            failures.push(error);
        }
    }
    failures.extend(account_reply(reply).err());
    failures.extend(gone_reply(reply).err());
    failures.iter().for_each(assert_told);
    assert!(reply.is_success() || failures.len() == 7, "an error status is no success: {reply:?}");
});
