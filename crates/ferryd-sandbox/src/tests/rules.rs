//! What the emulated CloudKP takes and what it rejects.

use super::super::cloudkp::{ChunkReply, EmptyFile, FinishReply, Replay, Rules};
use super::*;

fn ruled(change: impl FnOnce(&mut Rules)) -> Bench {
    bench_with(|options| change(&mut options.rules.cloudkp))
}

fn tolerant() -> Bench {
    ruled(|rules| rules.strict = false)
}

const ONE: [(&str, &str); 4] = [("dzuuid", UUID), ("dzchunkindex", "0"), ("dztotalchunkcount", "1"), ("dztotalfilesize", "3")];
const ONE_DONE: [(&str, &str); 4] = [("dzuuid", UUID), ("complete", "yes"), ("file_name", "a.bin"), ("dztotalchunkcount", "1")];

#[tokio::test]
async fn a_file_comes_back_by_its_link_as_it_was_sent() {
    let bench = bench();
    let file = bytes(LADDER_BASE * 2 + 1);
    let id = bench.store(UUID, &file, "häuser \"1\".zip").await;
    let back = bench.get(&format!("/cloudkp?c={id}")).await.unwrap();
    assert_eq!((back.status, back.whole, back.body == file), (200, true, true));
    let disposition = back.header("content-disposition").unwrap();
    assert_eq!(disposition, "attachment; filename=\"h_user _1_.zip\"; filename*=UTF-8''h%C3%A4user%20%221%22.zip");
    let object = bench.sandbox.objects().pop().unwrap();
    assert_eq!((object.name.as_str(), object.bytes, object.stored), ("häuser \"1\".zip", file.len() as u64, 1));
    assert_eq!((object.session.as_str(), object.id), (UUID, id));
    assert_eq!(object.sha256, Some(super::super::digest::sha256(&file)));
}

#[tokio::test]
async fn a_head_request_for_a_link_gets_the_length_and_no_bytes() {
    let bench = bench();
    let id = bench.store(UUID, b"abc", "a").await;
    let head = bench.ask("HEAD", &format!("/cloudkp/?c={id}"), b"").await.unwrap();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("3"), 0));
    assert_eq!(bench.last().await.replied, Some(true));
}

#[tokio::test]
async fn a_link_to_nothing_is_404() {
    let bench = bench();
    for path in ["/cloudkp?c=nothing", "/cloudkp", "/cloudkp?d=1", "/cloudkp?c=..%2F..%2Flog"] {
        assert_eq!(bench.get(path).await.unwrap().status, 404, "{path}");
    }
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let bench = bench();
    for path in ["/", "/upload", "/cloudkp/uploads", "/cloudkp/upload/", "/cloudkpx/upload", "/other/upload"] {
        let request = [head(path, 0).as_bytes()].concat();
        assert_eq!(bench.send(&request).await.unwrap().status, 404, "{path}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let said = bench.ask(method, "/cloudkp/upload", b"").await.unwrap();
        assert_eq!((said.status, said.header("allow")), (405, Some("POST")), "{method}");
    }
    assert_eq!(bench.ask("POST", "/cloudkp", b"").await.unwrap().status, 405);
}

#[tokio::test]
async fn only_forms_are_taken() {
    let bench = bench();
    for kind in ["application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=BOUND", "multipart/form-data"]
    {
        let request = String::from_utf8(post(b"dzuuid=1")).unwrap().replace("multipart/form-data; boundary=BOUND", kind);
        assert_eq!(bench.send(request.as_bytes()).await.unwrap().status, 415, "{kind}");
    }
    assert_eq!(bench.ask("POST", "/cloudkp/upload", b"x").await.unwrap().status, 415);
}

#[tokio::test]
async fn a_broken_form_is_400_and_stores_nothing() {
    for discard in [false, true] {
        let bench = bench_with(|options| options.discard = discard);
        let sound = form(&ONE, Some(b"abc"));
        let unclosed = &sound[..sound.len() - "--BOUND--\r\n".len()];
        let not_utf8 = [&b"--BOUND\r\nContent-Disposition: form-data; name=\"dzuuid\"\r\n\r\n\xff\r\n"[..], &sound].concat();
        let nameless = [&b"--BOUND\r\nContent-Disposition: form-data\r\n\r\nx\r\n"[..], &sound].concat();
        let long = form(&[("dzuuid", &"1".repeat(9000))], Some(b"abc"));
        let many = form(&[("dzuuid", "1"); 40], Some(b"abc"));
        for body in [b"", &b"nonsense"[..], unclosed, &not_utf8, &nameless, &long, &many] {
            assert_eq!(bench.send(&post(body)).await.unwrap().status, 400, "{}", String::from_utf8_lossy(body));
        }
        bench.finish(UUID, 1, "a").await.unwrap().refused("session not found");
    }
}

#[tokio::test]
async fn a_refused_body_is_taken_all_the_same_so_that_the_refusal_arrives() {
    let bench = bench();
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    let long = head("/cloudkp/upload", 4 << 20).replace("Connection: close\r\n", "").replace("form-data", "mixed");
    stream.write_all(&[long.as_bytes(), &vec![0; 4 << 20]].concat()).await.unwrap();
    stream.write_all(&post(&form(&ONE, Some(b"abc")))).await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    let statuses: Vec<_> = replies.match_indices("HTTP/1.1 ").map(|(at, _)| &replies[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["415", "200"]);
}

#[tokio::test]
async fn a_second_file_in_a_form_is_400() {
    let bench = bench();
    let mut body = form(&ONE, Some(b"abc"));
    body.truncate(body.len() - "--BOUND--\r\n".len());
    body.extend(form(&[], Some(b"def")));
    assert_eq!(bench.send(&post(&body)).await.unwrap().status, 400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let bench = bench();
    let announced = head("/cloudkp/upload", 17 << 20);
    let begun = form(&ONE, Some(&vec![0; 16 << 20]));
    let said = bench.send(&[announced.as_bytes(), &begun].concat()).await.unwrap();
    assert_eq!(said.status, 413);
    assert_eq!(bench.last().await.outcome, Outcome::Rejected("the body is too large".into()));
}

#[tokio::test]
async fn each_field_of_a_chunk_is_needed() {
    let bench = bench();
    for (name, _) in ONE {
        bench.upload(&without(ONE, name), Some(b"abc")).await.unwrap().refused(&format!("{name} is missing"));
    }
    let unnamed = String::from_utf8(form(&ONE, Some(b"abc"))).unwrap().replace("name=\"file\"; ", "name=\"data\"; ");
    bench.send(&post(unnamed.as_bytes())).await.unwrap().refused("`file`");
    bench.upload(&ONE, None).await.unwrap().refused("neither a file nor");
}

#[tokio::test]
async fn a_session_id_that_is_not_20_digits_is_rejected() {
    let bench = bench();
    for id in
        ["", "1234567890123456789", "123456789012345678901", "1234567890123456789a", "-1234567890123456789", "1234567890123456789٣"]
    {
        bench.upload(&but(ONE, "dzuuid", id), Some(b"abc")).await.unwrap().refused("20 digits");
        bench.upload(&but(ONE_DONE, "dzuuid", id), None).await.unwrap().refused("20 digits");
    }
    bench.upload(&but(ONE, "dzuuid", "00000000000000000000"), Some(b"abc")).await.unwrap().fine();
}

#[tokio::test]
async fn without_strict_uuid_any_short_text_names_a_session_and_none_leaves_the_folder() {
    let bench = ruled(|rules| rules.strict_uuid = false);
    for id in ["7f3a-b", "../../../escape", "..", "ü/\\"] {
        bench.upload(&but(ONE, "dzuuid", id), Some(b"abc")).await.unwrap().fine();
        bench.upload(&but(ONE_DONE, "dzuuid", id), None).await.unwrap().fine();
    }
    let sessions = std::fs::read_dir(bench.dir.path().join("cloudkp/sessions")).unwrap().count();
    assert_eq!((sessions, bench.sandbox.objects().len()), (4, 4));
    for id in ["", &"x".repeat(65)] {
        bench.upload(&but(ONE, "dzuuid", id), Some(b"abc")).await.unwrap().refused("1 to 64 bytes");
    }
}

#[tokio::test]
async fn numbers_that_are_not_plain_decimals_are_rejected() {
    let bench = bench();
    for name in ["dzchunkindex", "dztotalchunkcount", "dztotalfilesize"] {
        for value in ["", "x", "-1", "+3", " 3", "3.0", "0x3", "003", "99999999999999999999999"] {
            bench.upload(&but(ONE, name, value), Some(b"abc")).await.unwrap().refused(name);
        }
    }
}

#[tokio::test]
async fn the_count_must_follow_from_the_size_at_every_step_of_the_ladder() {
    // The check values of the protocol notes: size, chunks, length of the last one and of the others.
    let steps = [
        (1, 1, 1, 131_072),
        (131_072, 1, 131_072, 131_072),
        (131_073, 2, 1, 131_072),
        (104_857_599, 800, 131_071, 131_072),
        (104_857_600, 400, 262_144, 262_144),
        (786_431_999, 3000, 262_143, 262_144),
        (786_432_000, 1500, 524_288, 524_288),
        (1_073_741_824, 2048, 524_288, 524_288),
    ];
    let bench = bench_with(|options| options.discard = true);
    for (number, (size, count, last, nominal)) in steps.into_iter().enumerate() {
        let session = format!("{number:020}");
        let [size, index, right] = [size, count - 1, count].map(|value: u64| value.to_string());
        for wrong in [count - 1, count + 1].map(|count| count.to_string()) {
            let fields = chunk_fields(&session, "0", &wrong, &size);
            let word = if wrong == "0" { "not below" } else { "chunks, not" };
            bench.upload(&fields, Some(&vec![0; nominal])).await.unwrap().refused(word);
        }
        for (length, taken) in [(last, true), (last - 1, false), (last + 1, false)] {
            let said = bench.upload(&chunk_fields(&session, &index, &right, &size), Some(&vec![0; length])).await.unwrap();
            assert_eq!(said.error().is_none(), taken, "{size} {length}: {}", said.text());
        }
    }
}

#[tokio::test]
async fn an_index_at_or_over_the_count_is_rejected() {
    let bench = bench();
    for index in ["1", "2", "18446744073709551615"] {
        bench.upload(&but(ONE, "dzchunkindex", index), Some(b"abc")).await.unwrap().refused("not below");
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_the_last_must_have_the_full_length() {
    let bench = bench();
    for length in [0, LADDER_BASE - 1, LADDER_BASE + 1] {
        let fields = chunk_fields(UUID, "0", "2", "131073");
        bench.upload(&fields, Some(&vec![1; length])).await.unwrap().refused("instead of 131072");
    }
    assert_eq!(bench.sandbox.stats().parts_acked, 0);
}

#[tokio::test]
async fn the_first_chunk_fixes_the_totals() {
    let bench = bench();
    bench.upload(&chunk_fields(UUID, "0", "2", "131074"), Some(&bytes(LADDER_BASE))).await.unwrap().fine();
    bench.upload(&chunk_fields(UUID, "1", "2", "131073"), Some(b"x")).await.unwrap().refused("differs");
    bench.finish(UUID, 3, "a").await.unwrap().refused("differs");
    bench.upload(&chunk_fields(UUID, "1", "2", "131074"), Some(b"xy")).await.unwrap().fine();
    bench.finish(UUID, 2, "a").await.unwrap().fine();
}

#[tokio::test]
async fn the_fields_of_the_browser_library_are_checked_when_present() {
    let bench = bench();
    let sent = |size: &'static str, offset: &'static str| {
        [&chunk_fields(UUID, "1", "2", "131073")[..], &[("dzchunksize", size), ("dzchunkbyteoffset", offset)]].concat()
    };
    bench.upload(&sent("131072", "131072"), Some(b"x")).await.unwrap().fine();
    bench.upload(&sent("1", "131072"), Some(b"x")).await.unwrap().refused("dzchunksize");
    bench.upload(&sent("131072", "131073"), Some(b"x")).await.unwrap().refused("dzchunkbyteoffset");
}

#[tokio::test]
async fn unknown_repeated_and_late_fields_are_rejected() {
    let bench = bench();
    bench.upload(&[&ONE[..], &[("colour", "red")]].concat(), Some(b"abc")).await.unwrap().refused("`colour` is unknown");
    bench.upload(&[&ONE[..], &[("dzuuid", UUID)]].concat(), Some(b"abc")).await.unwrap().refused("`dzuuid` is repeated");
    bench.send(&post(&late_form())).await.unwrap().refused("last field");
}

/// A form whose file comes before its last field.
fn late_form() -> Vec<u8> {
    let mut body = form(&ONE[..3], Some(b"abc"));
    body.truncate(body.len() - "--BOUND--\r\n".len());
    body.extend(form(&ONE[3..], None));
    body
}

#[tokio::test]
async fn a_tolerant_host_takes_what_a_strict_one_rejects() {
    let bench = tolerant();
    bench.upload(&[&ONE[..], &[("colour", "red"), ("dzuuid", UUID)]].concat(), Some(b"abc")).await.unwrap().fine();
    bench.send(&post(&late_form())).await.unwrap().fine();
    bench.upload(&but(ONE, "dztotalfilesize", "003"), Some(b"abcdef")).await.unwrap().fine();
    let fields = but(finish_fields(UUID, "1", "dir/a\u{7}"), "complete", "true");
    bench.upload(&fields, None).await.unwrap().fine();
    assert_eq!(bench.only_object(), b"abcdef");
    assert_eq!(bench.sandbox.objects()[0].name, "dir_a_");
    bench.upload(&ONE, Some(b"abc")).await.unwrap().fine();
    assert_eq!(bench.only_object(), b"abcdef");
}

#[tokio::test]
async fn chunks_in_any_order_make_the_file() {
    let bench = bench();
    let file = bytes(LADDER_BASE * 3 + 5);
    for index in [3, 1, 0, 2] {
        bench.chunk(UUID, index, &file).await.unwrap().fine();
    }
    bench.finish(UUID, 4, "a").await.unwrap().fine();
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn chunks_in_parallel_make_the_file() {
    let bench = bench();
    let file = bytes(LADDER_BASE * 11 + 5);
    let sent: Vec<_> = (0..12).map(|index| bench.chunk(UUID, index, &file)).collect();
    let mut sent: Vec<_> = sent.into_iter().map(Box::pin).collect();
    let all = std::future::poll_fn(|cx| {
        sent.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(said) => {
                said.unwrap().fine();
                false
            }
            std::task::Poll::Pending => true,
        });
        if sent.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    soon(all).await;
    bench.finish(UUID, 12, "a").await.unwrap().fine();
    assert_eq!(bench.only_object(), file);
    assert_eq!(bench.sandbox.stats().parts_acked, 12);
}

#[tokio::test]
async fn a_repeated_chunk_replaces_the_earlier_one_and_is_counted() {
    let bench = bench();
    for (data, again, differed) in [(b"abc", false, false), (b"abc", true, false), (b"xyz", true, true)] {
        bench.upload(&ONE, Some(data)).await.unwrap().fine();
        let entry = bench.last().await;
        assert_eq!((entry.again, entry.differed, entry.held), (again, differed, true));
    }
    bench.upload(&ONE_DONE, None).await.unwrap().fine();
    assert_eq!(bench.only_object(), b"xyz");
    let stats = bench.sandbox.stats();
    assert_eq!((stats.parts_acked, stats.parts_again, stats.parts_differed, stats.objects_stored), (3, 2, 1, 1));
}

#[tokio::test]
async fn a_finish_names_the_first_chunk_that_is_missing() {
    let bench = bench();
    let file = bytes(LADDER_BASE * 4);
    bench.finish(UUID, 4, "a").await.unwrap().refused("session not found");
    for (index, missing) in [(1, "chunk 0 missing"), (0, "chunk 2 missing"), (2, "chunk 3 missing")] {
        bench.chunk(UUID, index, &file).await.unwrap().fine();
        bench.finish(UUID, 4, "a").await.unwrap().refused(missing);
    }
    assert_eq!(bench.sandbox.objects().len(), 0);
    bench.chunk(UUID, 3, &file).await.unwrap().fine();
    bench.finish(UUID, 4, "a").await.unwrap().fine();
}

#[tokio::test]
async fn each_field_of_a_finish_is_needed_and_complete_must_be_yes() {
    let bench = bench();
    bench.upload(&ONE, Some(b"abc")).await.unwrap().fine();
    for (name, word) in [
        ("dzuuid", "dzuuid is missing"),
        ("complete", "`complete`"),
        ("file_name", "file_name is missing"),
        ("dztotalchunkcount", "dztotalchunkcount is missing"),
    ] {
        bench.upload(&without(ONE_DONE, name), None).await.unwrap().refused(word);
    }
    for word in ["Yes", "no", "1", ""] {
        bench.upload(&but(ONE_DONE, "complete", word), None).await.unwrap().refused("must be `yes`");
    }
    assert_eq!(bench.sandbox.objects().len(), 0);
}

#[tokio::test]
async fn a_finish_may_repeat_size_and_index_but_not_get_them_wrong() {
    let bench = bench();
    bench.upload(&ONE, Some(b"abc")).await.unwrap().fine();
    let with =
        |size: &'static str, index: &'static str| [&ONE_DONE[..], &[("dztotalfilesize", size), ("dzchunkindex", index)]].concat();
    bench.upload(&with("4", "0"), None).await.unwrap().refused("differs");
    bench.upload(&with("3", "1"), None).await.unwrap().refused("dzchunkindex");
    bench.upload(&with("3", "0"), None).await.unwrap().fine();
}

#[tokio::test]
async fn names_that_could_leave_a_folder_are_rejected() {
    let bench = bench();
    bench.upload(&ONE, Some(b"abc")).await.unwrap().fine();
    for name in ["", "a/b", "..\\b", "a\0b", "a\nb", "a\u{7f}", "a\u{85}b", &"n".repeat(4097)] {
        bench.upload(&but(ONE_DONE, "file_name", name), None).await.unwrap().refused("file_name");
    }
    bench.upload(&but(ONE_DONE, "file_name", "名前 .zip"), None).await.unwrap().fine();
    assert_eq!(bench.sandbox.objects()[0].name, "名前 .zip");
}

#[tokio::test]
async fn complete_on_a_chunk_finishes_only_when_all_chunks_are_there() {
    let bench = bench();
    let file = bytes(LADDER_BASE + 1);
    let done = [("complete", "yes"), ("file_name", "a")];
    let last = [&chunk_fields(UUID, "1", "2", "131073")[..], &done].concat();
    bench.upload(&last, Some(&file[LADDER_BASE..])).await.unwrap().refused("chunk 0 missing");
    let first = [&chunk_fields(UUID, "0", "2", "131073")[..], &done].concat();
    let finished = bench.upload(&first, Some(&file[..LADDER_BASE])).await.unwrap();
    finished.fine();
    assert_eq!(finished.id(), bench.sandbox.objects()[0].id);
    assert_eq!(bench.only_object(), file);
}

#[tokio::test]
async fn a_chunk_for_a_finished_session_is_rejected() {
    let bench = bench();
    bench.store(UUID, b"abc", "a").await;
    bench.upload(&ONE, Some(b"xyz")).await.unwrap().refused("already complete");
    assert_eq!(bench.only_object(), b"abc");
}

#[tokio::test]
async fn the_answer_to_a_chunk_can_be_empty_or_ok_or_json() {
    for (style, text) in [(ChunkReply::Empty, ""), (ChunkReply::Ok, "ok"), (ChunkReply::Json, r#"{"error":null,"file_id":null}"#)] {
        let bench = ruled(|rules| rules.chunk_reply = style);
        let said = bench.upload(&ONE, Some(b"abc")).await.unwrap();
        assert_eq!((said.status, said.text(), said.whole), (200, text, true));
        assert_eq!(bench.last().await.outcome, Outcome::Acked);
    }
}

#[tokio::test]
async fn the_answer_to_a_finish_can_be_json_or_bare_or_a_json_string() {
    for style in [FinishReply::Json, FinishReply::JsonNullText, FinishReply::Bare, FinishReply::JsonString] {
        let bench = ruled(|rules| rules.finish_reply = style);
        bench.upload(&ONE, Some(b"abc")).await.unwrap().fine();
        let said = bench.upload(&ONE_DONE, None).await.unwrap();
        let id = &bench.sandbox.objects()[0].id;
        let expected = match style {
            FinishReply::Json => format!(r#"{{"error":null,"file_id":"{id}"}}"#),
            FinishReply::JsonNullText => format!(r#"{{"error":"null","file_id":"{id}"}}"#),
            FinishReply::Bare => id.clone(),
            FinishReply::JsonString => format!("\"{id}\""),
        };
        assert_eq!((said.status, said.text()), (200, expected.as_str()));
        assert!(!said.head.contains("text/html"));
    }
}

#[tokio::test]
async fn a_finish_sent_again_gets_the_same_id_or_an_error_or_a_new_id() {
    for (replay, objects) in [(Replay::SameId, 1), (Replay::Error, 1), (Replay::NewId, 2)] {
        let bench = ruled(|rules| rules.replay = replay);
        let id = bench.store(UUID, b"abc", "a").await;
        let said = bench.finish(UUID, 1, "a").await.unwrap();
        match replay {
            Replay::SameId => assert_eq!(said.id(), id),
            Replay::Error => said.refused("session not found"),
            Replay::NewId => assert_ne!(said.id(), id),
        }
        let held = bench.sandbox.objects();
        assert_eq!(held.len(), objects);
        assert!(held.iter().all(|object| object.stored == objects as u64 && bench.sandbox.read(object).unwrap() == b"abc"));
    }
}

#[tokio::test]
async fn an_empty_file_is_rejected_or_made_by_a_finish_or_takes_one_empty_chunk() {
    let chunk = chunk_fields(UUID, "0", "1", "0");
    let none = chunk_fields(OTHER, "0", "0", "0");

    let bench = bench();
    bench.upload(&chunk, Some(b"")).await.unwrap().refused("empty");
    bench.finish(UUID, 0, "a").await.unwrap().refused("empty");

    let bench = ruled(|rules| rules.empty_file = EmptyFile::FinishOnly);
    bench.upload(&chunk, Some(b"")).await.unwrap().refused("empty");
    let id = bench.finish(UUID, 0, "a").await.unwrap().id();
    assert_eq!(bench.finish(UUID, 0, "a").await.unwrap().id(), id);
    assert_eq!(bench.only_object(), b"");

    let bench = ruled(|rules| rules.empty_file = EmptyFile::OneEmptyChunk);
    bench.finish(OTHER, 0, "a").await.unwrap().refused("empty");
    bench.upload(&none, Some(b"")).await.unwrap().refused("not below");
    bench.upload(&chunk, Some(b"x")).await.unwrap().refused("instead of 0");
    bench.upload(&chunk, Some(b"")).await.unwrap().fine();
    bench.finish(UUID, 1, "a").await.unwrap().fine();
    assert_eq!(bench.only_object(), b"");
}

#[tokio::test]
async fn a_discarding_host_checks_lengths_and_keeps_nothing() {
    let bench = bench_with(|options| {
        options.discard = true;
        options.dir = options.dir.join("never made");
    });
    // A file that looks like the end of its own form.
    let file: Vec<u8> = b"\r\n--BOUND--\r\n".iter().copied().cycle().take(LADDER_BASE + 20).collect();
    bench.upload(&chunk_fields(UUID, "1", "2", "131092"), Some(&file[..19])).await.unwrap().refused("19 bytes instead of 20");
    let id = bench.store(UUID, &file, "a").await;
    let object = bench.sandbox.objects().pop().unwrap();
    assert_eq!((object.bytes, object.sha256, &object.id), (file.len() as u64, None, &id));
    assert_eq!(bench.get(&format!("/cloudkp?c={id}")).await.unwrap().status, 404);
    assert!(!bench.dir.path().join("never made").exists());
    let acked = bench.log().await.into_iter().find(|entry| entry.part == Some(1) && entry.outcome == Outcome::Acked).unwrap();
    assert_eq!((acked.file_sha256, acked.held), (None, true));
}

#[tokio::test]
async fn a_discarding_host_reads_a_form_that_arrives_byte_by_byte() {
    let bench = bench_with(|options| options.discard = true);
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in post(&form(&ONE, Some(b"a\r\n"))) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    parse(&reply).unwrap().fine();
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let bench = bench();
    let file = bytes(LADDER_BASE * 2 + 5);
    let mut stream = TcpStream::connect(bench.sandbox.addr()).await.unwrap();
    for (index, part) in file.chunks(LADDER_BASE).enumerate() {
        let body = form(&chunk_fields(UUID, &index.to_string(), "3", &file.len().to_string()), Some(part));
        let request = head("/cloudkp/upload", body.len()).replace("Connection: close\r\n", "");
        stream.write_all(&[request.as_bytes(), &body].concat()).await.unwrap();
        let mut reply = vec![0; 4096];
        let length = stream.read(&mut reply).await.unwrap();
        parse(&reply[..length]).unwrap().fine();
    }
    bench.finish(UUID, 3, "a").await.unwrap().fine();
    assert_eq!(bench.only_object(), file);
}
