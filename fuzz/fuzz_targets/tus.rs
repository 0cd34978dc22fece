//! What a server of tus answers to everything it is asked for.
#![no_main]

use ferryd::internals::host::tus::{
    Location, abilities_reply, create_reply, delete_reply, head_reply, locate, patch_reply,
};
use ferryd_fuzz::{Input, assert_told};
use libfuzzer_sys::fuzz_target;

const CREATION: &str = "https://tus.example/files/";

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let reply = &input.reply;
    let (at, bytes) = (input.number("at").unwrap_or(0), input.number("bytes").unwrap_or(100));
    let mut failures = Vec::new();
    match abilities_reply(reply) {
        Ok(abilities) => assert!(abilities.are_known || abilities.extensions.is_empty(), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match create_reply(reply) {
        Ok(location) => match locate(&location, CREATION, &[]) {
            Ok(Location::Known(upload)) => assert!(upload.starts_with("https://tus.example/"), "{upload}"),
            Ok(Location::Elsewhere { here, .. }) => assert!(here.starts_with("https://tus.example/"), "{here}"),
            Err(error) => failures.push(error),
        },
        Err(error) => failures.push(error),
    }
    match patch_reply(reply, at, bytes) {
        Ok(held) => assert!((at..=at.saturating_add(bytes)).contains(&held), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match head_reply(reply, bytes) {
        Ok(held) => assert!(held <= bytes, "{reply:?}"),
        Err(error) => failures.push(error),
    }
    failures.extend(delete_reply(reply).err());
    failures.iter().for_each(assert_told);
});
