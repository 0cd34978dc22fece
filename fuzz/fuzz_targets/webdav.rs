//! What a WebDAV server answers to everything it is asked for.
#![no_main]

use ferryd::internals::host::webdav::{
    Asked, delete_reply, digest_reply, folder_reply, head_reply, link_reply, links_reply, list_reply, look_reply, move_reply,
    product_reply, put_reply, refusal, sharing_reply,
};
use ferryd_fuzz::{Input, assert_told};
use libfuzzer_sys::fuzz_target;

const URL: &str = "https://h.example/dav/a%20b";

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    let reply = &input.reply;
    let mut failures = Vec::new();
    match look_reply(reply, URL) {
        Ok(seen) => assert!(seen.is_none() || reply.status == 207 || seen.is_some_and(|seen| seen.is_folder), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match list_reply(reply, "https://h.example/dav/") {
        Ok(listed) => assert!(reply.status == 207 && listed.iter().all(|(name, _)| !name.is_empty()), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    match move_reply(reply) {
        Ok(_) => {}
        Err(error) => {
            assert!(error.doubt || !reply.is_success(), "a success that is not understood leaves a doubt: {reply:?}");
            failures.push(error);
        }
    }
    match link_reply(reply) {
        Ok(link) => assert!(link.address.to_ascii_lowercase().starts_with("http"), "{reply:?}"),
        Err(error) => failures.push(error),
    }
    assert!(digest_reply(reply).is_none_or(|digest| digest.len() == 40));
    assert!(product_reply(reply).is_none_or(|product| !product.name.is_empty()));
    failures.extend(links_reply(reply).err());
    failures.extend(sharing_reply(reply).err());
    failures.extend(head_reply(reply, URL).err());
    failures.extend(folder_reply(reply).err());
    failures.extend(put_reply(reply).err());
    failures.extend(delete_reply(reply).err());
    failures.extend([Asked::Call, Asked::Store].map(|asked| refusal(reply, asked)));
    failures.iter().for_each(assert_told);
});
