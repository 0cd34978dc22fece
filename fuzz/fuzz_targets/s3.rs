//! What a store that speaks S3 answers to everything it is asked for.
#![no_main]

use ferryd::internals::host::s3::{
    Checksum, abort_reply, bucket_reply, complete_reply, create_reply, head_reply, list_reply, put_reply, uploads_reply,
};
use ferryd_fuzz::{Input, assert_told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let reply = &input.reply;
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let mut failures = Vec::new();
    match create_reply(reply) {
        Ok(created) => assert!(is_word(&created.id), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match put_reply(reply, Checksum::Crc32c, Some("4waSgw==")) {
        Ok(stored) => {
            assert!(stored.etag.as_deref().is_some_and(is_word), "{reply:?}");
            assert!(stored.checksum.is_none_or(|told| told == "4waSgw=="), "{reply:?}");
        }
        Err(error) => failures.push(error),
    }
    let marker = input.number("marker").and_then(|marker| marker.try_into().ok()).unwrap_or(0);
    match list_reply(reply, marker) {
        Ok(listing) => {
            assert!(listing.parts.iter().all(|part| part.number > 0), "{reply:?}");
            assert!(listing.next.is_none_or(|next| next > marker), "a list without end: {reply:?}");
        }
        Err(error) => failures.push(error),
    }
    match uploads_reply(reply) {
        Ok(uploads) => {
            assert!(uploads.open.iter().all(|(key, id)| !key.is_empty() && is_word(id)), "{reply:?}");
            assert!(uploads.next.is_none_or(|(key, _)| !key.is_empty()), "a list that begins again: {reply:?}");
        }
        Err(error) => failures.push(error),
    }
    match complete_reply(reply, Checksum::Crc64Nvme) {
        Ok(_) => assert!(reply.text.contains("CompleteMultipartUploadResult"), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match head_reply(reply, Checksum::Crc32c) {
        Ok(stored) => assert_eq!(stored.is_some(), reply.status == 200, "{reply:?}"),
        Err(error) => failures.push(error),
    }
    failures.extend(abort_reply(reply).err());
    failures.extend(bucket_reply(reply).err());
    failures.iter().for_each(assert_told);
});
