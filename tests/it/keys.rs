//! Every key of the configuration does what it says, from the text to the host: one test for each, and a list that lacks none.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use ferryd::internals::config::{self, Environment};
use ferryd::internals::host::kind::Kind;
use ferryd::internals::host::kinds::KINDS;
use ferryd::internals::job::State;
use ferryd::internals::job::watch::EventSource;
use ferryd::internals::store::{FILE_NAME, JobRow};
use ferryd_sandbox::cloudkp::EmptyFile;
use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::kie::ReplyShape;

use crate::bench_top::{Bench, bytes, one};
use crate::world::{at_once, folder_at_4shared, records, requests, uploads_at_once};

const MIB: usize = 1024 * 1024;

/// Each key by its table, with a test that fails when the key does nothing. `watch` is `[[watch]]`, `host` every host, and the
/// kinds are hosts of that kind alone.
const TESTED: [(&str, &str, &str); 142] = [
    ("the configuration", "daemon", "keys::no_more_files_go_together_than_the_daemon_and_the_host_allow"),
    ("the configuration", "host", "hosts::one_file_goes_to_every_kind_of_host"),
    ("the configuration", "hook", "hooks::every_kind_of_hook_hears_of_an_outcome"),
    ("the configuration", "watch", "keys::a_missing_folder_is_made_where_the_watch_says_so"),
    ("daemon", "bandwidth", "keys::bytes_flow_no_faster_than_the_host_and_the_daemon_allow"),
    ("daemon", "max_connections", "keys::no_more_requests_go_together_than_the_daemon_and_the_host_allow"),
    ("daemon", "max_uploads", "keys::no_more_files_go_together_than_the_daemon_and_the_host_allow"),
    ("daemon", "shutdown_grace", "keys::a_stop_waits_for_parts_in_flight_no_longer_than_the_grace"),
    ("daemon", "state_dir", "keys::a_missing_folder_is_made_where_the_watch_says_so"),
    ("watch", "after", "hooks::the_source_goes_only_when_both_hosts_have_it"),
    ("watch", "create", "keys::a_missing_folder_is_made_where_the_watch_says_so"),
    ("watch", "events", "stories::folders_that_are_polled_give_their_files_too"),
    ("watch", "exclude", "keys::only_names_and_sizes_that_count_are_sent"),
    ("watch", "existing", "stories::a_watch_that_takes_no_existing_files_takes_those_that_come_later"),
    ("watch", "follow_symlinks", "keys::links_are_followed_where_the_watch_says_so_and_never_in_a_circle"),
    ("watch", "include", "keys::only_names_and_sizes_that_count_are_sent"),
    ("watch", "max_size", "keys::only_names_and_sizes_that_count_are_sent"),
    ("watch", "min_size", "keys::only_names_and_sizes_that_count_are_sent"),
    ("watch", "on_change", "keys::a_changed_file_stays_on_the_host_as_it_was_where_changes_are_ignored"),
    ("watch", "path", "keys::a_missing_folder_is_made_where_the_watch_says_so"),
    ("watch", "priority", "keys::files_of_a_watch_with_a_higher_number_go_first"),
    ("watch", "prune_empty", "keys::a_file_with_a_marker_is_sent_when_that_is_there_and_both_go_with_the_folder_they_leave_empty"),
    ("watch", "ready_when", "keys::a_file_with_a_marker_is_sent_when_that_is_there_and_both_go_with_the_folder_they_leave_empty"),
    ("watch", "recursive", "keys::folders_below_count_only_where_the_watch_is_recursive"),
    ("watch", "remote_path", "keys::a_file_goes_to_the_folder_that_the_watch_and_the_host_name"),
    ("watch", "rescan", "keys::what_no_event_tells_of_is_found_by_the_next_scan"),
    ("watch", "settle", "stories::a_file_that_is_still_being_written_is_never_sent_early"),
    (
        "watch",
        "settle_unknown",
        "users::a_file_of_another_user_is_not_sent_while_its_writer_pauses_and_whole_when_that_has_closed_it",
    ),
    ("watch", "to", "keys::no_more_files_go_together_than_the_daemon_and_the_host_allow"),
    ("host", "bandwidth", "keys::bytes_flow_no_faster_than_the_host_and_the_daemon_allow"),
    ("host", "ca_file", "keys::a_host_with_a_certificate_of_a_private_authority_is_reached_with_its_file"),
    ("host", "give_up_after", "faults::with_a_shorter_patience_what_nobody_understands_is_shown_sooner"),
    ("host", "kind", "hosts::one_file_goes_to_every_kind_of_host"),
    ("host", "max_connections", "keys::no_more_requests_go_together_than_the_daemon_and_the_host_allow"),
    ("host", "max_uploads", "keys::no_more_files_go_together_than_the_daemon_and_the_host_allow"),
    ("host", "on_unknown", "hosts::with_probe_a_lost_answer_is_held_on_evidence_and_a_lost_body_is_sent_again"),
    ("host", "proxy", "keys::a_host_is_reached_through_its_proxy_and_told_who_asks"),
    ("host", "refresh", "hosts::a_link_that_dies_is_told_of_and_renewed_under_a_name_of_its_own"),
    ("host", "request_timeout", "faults::a_host_that_stops_in_the_middle_is_given_up_after_the_idle_time"),
    ("host", "trust_replies", "replies::a_source_waits_for_proof_until_its_host_is_trusted"),
    ("host", "user_agent", "keys::a_host_is_reached_through_its_proxy_and_told_who_asks"),
    ("host", "retries", "faults::with_a_limit_on_retries_the_job_is_held_for_a_person_but_not_within_minutes"),
    ("cloudkp", "base_url", "faults::an_unreachable_host_makes_the_job_wait_and_say_why"),
    ("cloudkp", "empty_file", "keys::a_file_without_bytes_ends_as_the_host_is_told_to_take_it"),
    ("cloudkp", "finish", "keys::the_chunks_of_cloudkp_become_a_file_as_told"),
    ("cloudkp", "link_base", "faults::every_documented_reply_gives_the_link"),
    ("cloudkp", "parallel_parts", "hosts::parts_of_cloudkp_go_together_as_told"),
    ("cloudkp", "session_max_age", "keys::a_session_is_trusted_until_its_age_and_no_longer"),
    ("uploadgig", "allow_private", "hosts::an_address_in_a_private_network_gets_no_byte_unless_it_is_allowed"),
    ("uploadgig", "base_url", "commands::a_host_that_does_not_answer_is_no_fault_of_the_configuration"),
    ("uploadgig", "password", "hosts::wrong_credentials_hold_the_host_and_say_what_to_check"),
    ("uploadgig", "slug", "hosts::a_name_that_uploadgig_does_not_decode_goes_as_it_is_from_the_next_file_on"),
    ("uploadgig", "user", "keys::a_secret_comes_from_where_the_configuration_says"),
    ("koodrive", "access_token", "koodrive::a_token_is_sent_as_the_space_takes_it_and_never_with_two_schemes"),
    ("koodrive", "allow_private", "hosts::an_address_in_a_private_network_gets_no_byte_unless_it_is_allowed"),
    ("koodrive", "app_id", "keys::a_secret_comes_from_where_the_configuration_says"),
    ("koodrive", "app_secret", "hosts::wrong_credentials_hold_the_host_and_say_what_to_check"),
    ("koodrive", "base_url", "hosts::one_file_goes_to_every_kind_of_host"),
    ("koodrive", "container_id", "koodrive::folders_of_koodrive_are_found_or_made"),
    ("koodrive", "empty_file", "keys::a_file_without_bytes_ends_as_the_host_is_told_to_take_it"),
    ("koodrive", "flash_upload", "hosts::without_flash_upload_the_digest_is_computed_while_parts_are_sent"),
    ("koodrive", "folder", "keys::two_spaces_of_koodrive_have_their_own_folder_parts_and_login"),
    ("koodrive", "parallel_parts", "hosts::parts_of_koodrive_go_together_as_told"),
    ("koodrive", "keep_alive", "sessions::a_host_without_jobs_hears_from_us_only_where_keep_alive_says_so"),
    ("koodrive", "part_size", "keys::two_spaces_of_koodrive_have_their_own_folder_parts_and_login"),
    ("koodrive", "proof_code", "koodrive::a_digest_goes_with_a_proof_as_far_as_the_space_knows_of_one"),
    (
        "koodrive",
        "refresh_token",
        "sessions::a_token_that_ends_in_the_middle_of_a_queue_is_replaced_and_every_file_arrives_without_a_command",
    ),
    (
        "koodrive",
        "session_id",
        "sessions::a_token_that_ends_in_the_middle_of_a_queue_is_replaced_and_every_file_arrives_without_a_command",
    ),
    ("koodrive", "share", "koodrive::with_share_the_outcome_has_a_link_that_lasts"),
    ("koodrive", "token_prefix", "keys::two_spaces_of_koodrive_have_their_own_folder_parts_and_login"),
    ("koodrive", "user_id", "keys::a_secret_comes_from_where_the_configuration_says"),
    ("kie", "api_key", "hosts::wrong_credentials_hold_the_host_and_say_what_to_check"),
    ("kie", "base_url", "hosts::check_online_proves_every_login_and_uploads_nothing"),
    ("kie", "kept_for", "keys::a_file_goes_to_the_folder_that_the_watch_and_the_host_name"),
    ("kie", "method", "hosts::base64_brings_the_same_bytes"),
    ("kie", "name", "keys::kie_is_given_plain_names_only_where_told_to_and_check_says_what_that_means"),
    ("kie", "remote_urls", "hosts::a_dropped_address_is_fetched_by_kie_itself"),
    ("kie", "upload_path", "keys::a_file_goes_to_the_folder_that_the_watch_and_the_host_name"),
    ("4shared", "allow_private", "hosts::an_address_in_a_private_network_gets_no_byte_unless_it_is_allowed"),
    ("4shared", "app", "keys::a_file_goes_to_the_folder_that_the_watch_and_the_host_name"),
    ("4shared", "base_url", "hosts::one_file_goes_to_every_kind_of_host"),
    ("4shared", "folder", "keys::a_file_goes_to_the_folder_that_the_watch_and_the_host_name"),
    ("4shared", "on_existing", "fourshared::a_name_that_is_taken_is_settled_as_told"),
    ("4shared", "parallel_parts", "hosts::parts_of_4shared_may_go_together"),
    ("4shared", "part_size", "hosts::parts_of_4shared_may_go_together"),
    ("4shared", "password", "hosts::wrong_credentials_hold_the_host_and_say_what_to_check"),
    ("4shared", "user", "keys::a_secret_comes_from_where_the_configuration_says"),
    ("s3", "access_key_id", "s3::requests_are_signed_with_what_is_configured"),
    ("s3", "acl", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "allow_http", "s3::a_bucket_is_reached_by_its_name_where_told_to_and_in_the_clear_only_where_allowed"),
    ("s3", "bucket", "s3::requests_are_signed_with_what_is_configured"),
    ("s3", "cache_control", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "checksum", "s3::every_checksum_proves_the_object_where_the_store_verifies_it"),
    ("s3", "content_disposition", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "content_type", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "endpoint", "s3::a_bucket_is_reached_by_its_name_where_told_to_and_in_the_clear_only_where_allowed"),
    ("s3", "key", "s3::a_key_and_its_links_are_made_as_told"),
    ("s3", "kms_key_id", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "link_base", "s3::a_key_and_its_links_are_made_as_told"),
    ("s3", "only_writer", "s3::an_upload_whose_id_was_never_heard_or_kept_is_given_up_and_nobody_elses_is"),
    ("s3", "on_existing", "s3::a_key_that_is_taken_is_settled_as_told"),
    ("s3", "parallel_parts", "s3::a_small_file_goes_in_one_request_and_a_large_one_in_parts_that_go_together"),
    ("s3", "part_size", "s3::a_small_file_goes_in_one_request_and_a_large_one_in_parts_that_go_together"),
    ("s3", "region", "s3::requests_are_signed_with_what_is_configured"),
    ("s3", "secret_access_key", "s3::requests_are_signed_with_what_is_configured"),
    ("s3", "server_side_encryption", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "session_token", "s3::requests_are_signed_with_what_is_configured"),
    ("s3", "share", "s3::a_key_and_its_links_are_made_as_told"),
    ("s3", "single_put_max", "s3::a_small_file_goes_in_one_request_and_a_large_one_in_parts_that_go_together"),
    ("s3", "storage_class", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("s3", "style", "s3::a_bucket_is_reached_by_its_name_where_told_to_and_in_the_clear_only_where_allowed"),
    ("s3", "tags", "s3::an_object_is_stored_with_what_the_settings_say"),
    ("webdav", "allow_http", "webdav::what_lets_us_in_is_as_configured_and_in_the_clear_only_where_allowed"),
    ("webdav", "base_url", "webdav::what_lets_us_in_is_as_configured_and_in_the_clear_only_where_allowed"),
    ("webdav", "checksum", "webdav::a_digest_proves_what_the_server_has"),
    ("webdav", "flavour", "webdav::a_large_file_goes_in_chunks_that_go_together"),
    ("webdav", "link_base", "webdav::a_file_goes_to_its_folder_and_has_its_links"),
    ("webdav", "on_existing", "webdav::a_name_that_is_taken_is_settled_as_told"),
    ("webdav", "parallel_parts", "webdav::a_large_file_goes_in_chunks_that_go_together"),
    ("webdav", "part_size", "webdav::a_large_file_goes_in_chunks_that_go_together"),
    ("webdav", "password", "webdav::wrong_credentials_hold_the_host_and_say_what_to_check"),
    ("webdav", "share", "webdav::a_link_is_good_for_as_long_and_as_secret_as_told"),
    ("webdav", "share_password", "webdav::a_link_is_good_for_as_long_and_as_secret_as_told"),
    ("webdav", "token", "webdav::what_lets_us_in_is_as_configured_and_in_the_clear_only_where_allowed"),
    ("webdav", "user", "webdav::wrong_credentials_hold_the_host_and_say_what_to_check"),
    ("tus", "allow_http", "tus::a_token_goes_over_a_network_in_the_clear_only_where_allowed"),
    ("tus", "auth_header", "tus::we_show_who_we_are_as_the_settings_say"),
    ("tus", "checksum", "tus::bytes_have_a_checksum_where_the_server_verifies_it"),
    ("tus", "chunk", "tus::a_file_goes_in_requests_of_the_size_that_is_told_and_an_empty_one_in_none"),
    ("tus", "chunk_multiple", "tus::requests_end_at_the_borders_that_the_server_wants"),
    ("tus", "endpoint", "tus::a_token_goes_over_a_network_in_the_clear_only_where_allowed"),
    ("tus", "headers", "tus::the_server_is_told_what_the_settings_say"),
    ("tus", "link_header", "tus::a_file_has_the_link_that_the_settings_or_the_server_make"),
    ("tus", "link_template", "tus::a_file_has_the_link_that_the_settings_or_the_server_make"),
    ("tus", "metadata", "tus::the_server_is_told_what_the_settings_say"),
    ("tus", "method_override", "tus::a_proxy_that_knows_only_post_is_spoken_to_by_post"),
    ("tus", "on_gone", "tus::an_upload_that_is_gone_after_its_last_bytes_is_what_the_settings_say"),
    ("tus", "password", "tus::we_show_who_we_are_as_the_settings_say"),
    ("tus", "token", "tus::we_show_who_we_are_as_the_settings_say"),
    ("tus", "upload_origins", "tus::another_origin_gets_bytes_and_credentials_only_where_the_settings_name_it"),
    ("tus", "user", "tus::we_show_who_we_are_as_the_settings_say"),
    ("tus", "verify_header", "tus::a_digest_that_the_application_tells_is_compared"),
];

/// The same for hooks.
const TESTED_OF_HOOKS: [(&str, &str); 9] = [
    ("before", "hosts::a_link_that_dies_is_told_of_and_renewed_under_a_name_of_its_own"),
    ("command", "hooks::every_kind_of_hook_hears_of_an_outcome"),
    ("every", "hooks::what_is_gathered_is_told_in_one_call_and_no_job_waits_for_it"),
    ("format", "hooks::a_links_file_has_lines_as_its_name_or_the_configuration_says"),
    ("links_file", "hooks::every_outcome_is_one_line_in_the_links_file"),
    ("on", "hooks::a_held_job_is_told_of_with_its_reason"),
    ("sidecar", "hooks::every_kind_of_hook_hears_of_an_outcome"),
    ("time_limit", "keys::a_command_and_a_webhook_may_take_so_long"),
    ("webhook", "hooks::every_kind_of_hook_hears_of_an_outcome"),
];

struct Nowhere;

impl Environment for Nowhere {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// The keys that the reader of the configuration knows in the table that ends `text`: it lists them where it meets one it does not
/// know.
fn known_in(text: &str) -> BTreeSet<String> {
    let error = config::parse(&format!("{text}\nq = 1\n"), Path::new("config.toml"), KINDS, &Nowhere).unwrap_err();
    let helps = error.problems.iter().filter(|problem| problem.message.starts_with("unknown key `q`"));
    let lists: Vec<&str> =
        helps.filter_map(|problem| problem.help.as_deref()?.split_once("known keys: ")).map(|(_, keys)| keys).collect();
    assert_eq!(lists.len(), 1, "{error}");
    lists[0].split(", ").map(str::to_owned).collect()
}

fn tested(table: &str) -> BTreeSet<String> {
    let mine = TESTED.iter().filter(|(of, ..)| *of == table);
    let hooks = TESTED_OF_HOOKS.iter().filter(|_| table == "hook");
    mine.map(|(_, key, _)| *key).chain(hooks.map(|(key, _)| *key)).map(str::to_owned).collect()
}

#[test]
fn every_key_has_a_test() {
    for (table, text) in [("the configuration", ""), ("daemon", "[daemon]"), ("watch", "[[watch]]"), ("hook", "[[hook]]")] {
        assert_eq!(known_in(text), tested(table), "[{table}]");
    }
    for kind in KINDS.iter().filter(|kind| kind.as_ref().is_documented()).map(Kind::word) {
        let known = known_in(&format!("[host.x]\nkind = \"{kind}\""));
        let tested: BTreeSet<String> = tested("host").union(&tested(kind)).cloned().collect();
        assert_eq!(known, tested, "[host.NAME] of the kind {kind}");
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for test in TESTED.iter().map(|(.., test)| *test).chain(TESTED_OF_HOOKS.iter().map(|(_, test)| *test)) {
        let (module, name) = test.split_once("::").unwrap();
        let source = std::fs::read_to_string(sources.join(module).with_extension("rs")).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "there is no test {test}");
    }
}

/// Adds lines to the table of a host that is not the first.
fn with_lines(bench: Bench, host: &str, lines: &str) -> Bench {
    let title = format!("[host.{host}]\n");
    bench.change(&title, &format!("{title}{lines}\n"))
}

fn with_daemon(bench: Bench, lines: &str) -> Bench {
    bench.change("[daemon]\n", &format!("[daemon]\n{lines}\n"))
}

/// The names of what the hosts hold.
fn names(bench: &Bench) -> Vec<String> {
    let mut names: Vec<String> = bench.sandbox.objects().into_iter().map(|object| object.name).collect();
    names.sort();
    names
}

/// Runs a daemon that finds the files by its scan. The youngest of them counts, and takes as long to settle as any other, so
/// nothing that counts is still to come when it is done.
fn scan_again(bench: &Bench, expected: usize) {
    bench.put("zz-last.bin", &[0; 100]);
    let daemon = bench.start();
    bench.wait_done(expected + 1);
    bench.stop(daemon);
}

#[test]
fn only_names_and_sizes_that_count_are_sent() {
    let lines = "settle = \"0s\"\ninclude = [\"*.bin\", \"docs/*.txt\"]\nexclude = [\"skip\", \"*.tmp.bin\"]\nmin_size = \"10 B\"\nmax_size = \"1000 B\"";
    let bench = Bench::new().watch(lines);
    let files = [
        ("a.bin", 100, true),
        ("sub/b.bin", 100, true),
        (".hidden.bin", 100, true),
        ("docs/c.txt", 100, true),
        ("d.txt", 100, false),
        ("docs/deep/e.txt", 100, false),
        ("skip/f.bin", 100, false),
        ("g.tmp.bin", 100, false),
        ("h.bin", 9, false),
        ("i.bin", 10, true),
        ("j.bin", 1000, true),
        ("k.bin", 1001, false),
    ];
    let put = |when: &str| {
        files.iter().for_each(|(name, size, _)| drop(bench.put(&format!("{name}/../{when}{}", name_of(name)), &bytes(7, *size))))
    };
    put("early-");
    let daemon = bench.start();
    bench.wait_watching();
    put("late-");
    let wanted = files.iter().filter(|(.., counts)| *counts).map(|(name, ..)| name_of(name));
    let mut expected: Vec<String> = wanted.flat_map(|name| [format!("early-{name}"), format!("late-{name}")]).collect();
    bench.wait_done(expected.len());
    bench.stop(daemon);
    scan_again(&bench, expected.len());
    expected.push("zz-last.bin".into());
    expected.sort();
    assert_eq!(names(&bench), expected);
}

#[test]
fn a_file_with_a_marker_is_sent_when_that_is_there_and_both_go_with_the_folder_they_leave_empty() {
    let lines = "settle = \"0s\"\nready_when = \"{name}.done\"\nafter = \"delete\"\nprune_empty = true";
    let bench = Bench::new().watch(lines).host("trust_replies = true");
    std::fs::create_dir_all(bench.drop_dir().join("day/hour")).unwrap();
    let waiting = bench.put("day/hour/waiting", b"not told yet");
    let daemon = bench.start();
    bench.wait_watching();
    let marked = bench.put("day/marked", b"whole");
    bench.put("day/marked.done", b"");
    bench.wait_done(1);
    bench.wait_for("the file and its marker to go", || {
        (!marked.exists() && !bench.drop_dir().join("day/marked.done").exists()).then_some(())
    });
    assert!(waiting.exists() && bench.jobs().len() == 1, "{:?}", bench.jobs());
    bench.put("day/hour/waiting.done", b"");
    bench.wait_done(2);
    bench.wait_for("the empty folders to go", || (!bench.drop_dir().join("day").exists()).then_some(()));
    assert!(bench.drop_dir().is_dir());
    bench.stop(daemon);
    assert_eq!(names(&bench), ["marked", "waiting"]);
}

#[test]
fn a_changed_file_stays_on_the_host_as_it_was_where_changes_are_ignored() {
    let bench = Bench::new().watch("settle = \"0s\"\non_change = \"ignore\"");
    bench.put("file", b"as it was");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.put("file", b"changed while the daemon looks");
    bench.put("next", b"next");
    bench.wait_done(2);
    bench.stop(daemon);
    bench.put("file", b"changed while no daemon runs");
    scan_again(&bench, 2);
    assert_eq!(bench.held("file"), [b"as it was"]);
    let why = bench.command(&["why", bench.drop_dir().join("file").to_str().unwrap()]).output().unwrap();
    let why = String::from_utf8(why.stdout).unwrap();
    assert!(why.contains("on_change = \"ignore\""), "{why}");
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

#[test]
fn folders_below_count_only_where_the_watch_is_recursive() {
    for (lines, below) in [("settle = \"0s\"\nrecursive = false", false), ("settle = \"0s\"", true)] {
        let bench = Bench::new().watch(lines);
        bench.put("top.bin", b"top");
        bench.put("sub/early.bin", b"early");
        let daemon = bench.start();
        bench.wait_watching();
        bench.put("sub/late.bin", b"late");
        bench.put("new/late.bin", b"late");
        bench.put("top-late.bin", b"late");
        let count = if below { 5 } else { 2 };
        bench.wait_done(count);
        bench.stop(daemon);
        scan_again(&bench, count);
        let expected: &[&str] = if below {
            &["early.bin", "late.bin", "late.bin", "top-late.bin", "top.bin", "zz-last.bin"]
        } else {
            &["top-late.bin", "top.bin", "zz-last.bin"]
        };
        assert_eq!(names(&bench), expected);
    }
}

/// A recursive watch with one in it that is not recursive; each takes no names that end in the other's.
fn with_an_inner_watch() -> Bench {
    let bench = Bench::new();
    let inner = bench.drop_dir().join("in");
    let lines = format!(
        "settle = \"0s\"\nexclude = [\"*.inner\"]\n\n[[watch]]\npath = {inner:?}\nto = [\"cloudkp\"]\nrecursive = false\ncreate = true\n\
         settle = \"0s\"\nexclude = [\"*.outer\"]"
    );
    bench.watch(&lines)
}

#[test]
fn below_an_inner_watch_that_is_not_recursive_every_file_is_the_outer_watchs() {
    let bench = with_an_inner_watch();
    let put = |when: &str| {
        for folder in ["", "in/", "in/sub/", &format!("in/{when}/"), &format!("in/{when}/deep/")] {
            for owner in ["outer", "inner"] {
                bench.put(&format!("{folder}{when}-{}.{owner}", folder.replace('/', "-")), when.as_bytes());
            }
        }
    };
    put("early");
    let daemon = bench.start();
    bench.wait_watching();
    put("late");
    bench.wait_done(10);
    bench.stop(daemon);
    scan_again(&bench, 10);
    let taken = |when| {
        [format!("{when}-.outer"), format!("{when}-in-.inner"), format!("{when}-in-sub-.outer")]
            .into_iter()
            .chain([format!("{when}-in-{when}-.outer"), format!("{when}-in-{when}-deep-.outer")])
    };
    let mut expected: Vec<String> = taken("early").chain(taken("late")).chain(["zz-last.bin".to_owned()]).collect();
    expected.sort();
    assert_eq!(names(&bench), expected);
}

/// A folder outside the watch with a file in it, and links from the watch: to it, to another file, to nowhere, to a folder that is
/// in the watch anyway, and back to the watch itself.
fn with_links(bench: &Bench) {
    let far = bench.dir.path().join("far");
    std::fs::create_dir(&far).unwrap();
    std::fs::write(far.join("inside.bin"), b"inside").unwrap();
    std::fs::write(bench.dir.path().join("target"), b"target").unwrap();
    let drop_dir = bench.drop_dir();
    symlink(&drop_dir, far.join("back")).unwrap();
    symlink(&far, drop_dir.join("folder")).unwrap();
    symlink(bench.dir.path().join("target"), drop_dir.join("linked.bin")).unwrap();
    symlink("nowhere", drop_dir.join("dead.bin")).unwrap();
    symlink(".", drop_dir.join("here")).unwrap();
    std::fs::create_dir(drop_dir.join("sub")).unwrap();
    symlink("..", drop_dir.join("sub/up")).unwrap();
    symlink("sub", drop_dir.join("twin")).unwrap();
    std::fs::write(drop_dir.join("plain.bin"), b"plain").unwrap();
    std::fs::write(drop_dir.join("sub/below.bin"), b"below").unwrap();
}

#[test]
fn links_are_followed_where_the_watch_says_so_and_never_in_a_circle() {
    for follow in [false, true] {
        let bench = Bench::new().watch(&format!("settle = \"0s\"\nfollow_symlinks = {follow}"));
        with_links(&bench);
        let daemon = bench.start();
        bench.wait_watching();
        for late in ["late-here", "sub/late-up"] {
            symlink(bench.drop_dir(), bench.drop_dir().join(late)).unwrap();
        }
        symlink("sub", bench.drop_dir().join("late-twin")).unwrap();
        let moved_in = bench.dir.path().join("moved-in");
        std::fs::create_dir(&moved_in).unwrap();
        symlink(bench.drop_dir(), moved_in.join("up")).unwrap();
        std::fs::write(moved_in.join("moved.bin"), b"moved").unwrap();
        std::fs::rename(moved_in, bench.drop_dir().join("moved-in")).unwrap();
        bench.put("late.bin", b"late");
        bench.put("sub/late-below.bin", b"late below");
        let count = if follow { 7 } else { 5 };
        bench.wait_done(count);
        bench.stop(daemon);
        scan_again(&bench, count);
        let followed: &[&str] = if follow { &["inside.bin", "linked.bin"] } else { &[] };
        let mut expected =
            [followed, &["below.bin", "late-below.bin", "late.bin", "moved.bin", "plain.bin", "zz-last.bin"]].concat();
        expected.sort();
        assert_eq!(names(&bench), expected, "each once");
        assert_eq!(bench.snapshot().unwrap().watches[0].report.why, None, "a circle is no trouble");
    }
}

#[test]
fn what_no_event_tells_of_is_found_by_the_next_scan() {
    // The folder of a link's target is not watched.
    let bench = Bench::new().watch("settle = \"0s\"\nfollow_symlinks = true\nevents = \"native\"\nrescan = \"1s\"");
    let target = bench.dir.path().join("target");
    std::fs::write(&target, b"one").unwrap();
    symlink(&target, bench.drop_dir().join("file")).unwrap();
    let daemon = bench.start();
    bench.wait_done(1);
    assert_eq!(bench.snapshot().unwrap().watches[0].report.events, EventSource::Native);
    std::fs::write(&target, b"another").unwrap();
    bench.wait_done(2);
    let mut held = bench.held("file");
    held.sort();
    assert_eq!(held, [b"another".to_vec(), b"one".to_vec()]);
    bench.stop(daemon);
}

#[test]
fn files_of_a_watch_with_a_higher_number_go_first() {
    let bench = Bench::new();
    let urgent = bench.dir.path().join("urgent");
    std::fs::create_dir(&urgent).unwrap();
    let lines =
        format!("settle = \"0s\"\npriority = -5\n[[watch]]\npath = {urgent:?}\nto = [\"cloudkp\"]\nsettle = \"0s\"\npriority = 7");
    let bench = with_daemon(bench.watch(&lines), "max_uploads = 1");
    // The first file stays on its way until all the others are in the queue.
    bench.faults(one(Endpoint::Chunk, When::Nth(1), Action::SlowReply { seconds: 600.0 }));
    bench.put("plug", b"plug");
    let daemon = bench.start();
    bench.wait_for("the plug", || (requests(&bench, Endpoint::Chunk).len() == 1).then_some(()));
    for number in 0..3 {
        bench.put(&format!("calm-{number}"), b"calm");
        std::fs::rename(bench.put(".aside", b"urgent"), urgent.join(format!("urgent-{number}"))).unwrap();
    }
    bench.wait_for("all the jobs", || (bench.jobs().len() == 7).then_some(()));
    daemon.kill();
    let daemon = bench.start();
    bench.wait_done(7);
    bench.stop(daemon);
    let order: Vec<String> = requests(&bench, Endpoint::Finish).into_iter().filter_map(|entry| entry.file).collect();
    let ranks: Vec<&str> = order.iter().map(|name| name.split('-').next().unwrap()).collect();
    assert_eq!(ranks, ["urgent", "urgent", "urgent", "plug", "calm", "calm", "calm"]);
}

/// Files that go to two hosts, where every answer takes its time so that all that may go together does.
fn to_two_slow_hosts(bench: Bench, files: u64, parts: usize) -> Bench {
    let bench = bench.to(&["cloudkp", "4shared"]).watch("settle = \"0s\"\nmin_size = \"1 B\"");
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 0.15 }));
    for number in 0..files {
        bench.put(&format!("f{number}"), &bytes(number, parts * 131_072));
    }
    bench
}

fn of_host<'e>(log: &'e [ferryd_sandbox::log::Entry], kind: &str) -> Vec<&'e ferryd_sandbox::log::Entry> {
    log.iter().filter(|entry| entry.host.as_deref() == Some(kind)).collect()
}

#[test]
fn no_more_files_go_together_than_the_daemon_and_the_host_allow() {
    let bench = to_two_slow_hosts(Bench::new(), 6, 1);
    let bench = with_daemon(bench.host("max_uploads = 1"), "max_uploads = 3");
    let daemon = bench.start();
    bench.wait_done(12);
    bench.stop(daemon);
    let log = bench.sandbox.log();
    let parts = log.iter().filter(|entry| entry.session.is_some());
    assert_eq!((uploads_at_once(of_host(&log, "cloudkp")), uploads_at_once(parts)), (1, 3));
    // A host may have as many as the daemon where nothing is said of it.
    assert!(uploads_at_once(of_host(&log, "4shared")) >= 2);
}

#[test]
fn no_more_requests_go_together_than_the_daemon_and_the_host_allow() {
    let bench = to_two_slow_hosts(Bench::new(), 6, 4);
    let bench = with_daemon(bench.host("max_connections = 2\nmax_uploads = 6"), "max_uploads = 20\nmax_connections = 5");
    let daemon = bench.start();
    bench.wait_done(12);
    bench.stop(daemon);
    let log = bench.sandbox.log();
    assert_eq!((at_once(of_host(&log, "cloudkp")), at_once(&log)), (2, 5));
}

#[test]
fn bytes_flow_no_faster_than_the_host_and_the_daemon_allow() {
    // Each of two hosts gets 1.5 MiB.
    let cases = [("bandwidth = \"2 MiB/s\"", "", 1500), ("", "bandwidth = \"1 MiB/s\"", 1500)];
    for (daemon_lines, host_lines, least_ms) in cases {
        let bench = Bench::new().to(&["cloudkp", "4shared"]).watch("settle = \"0s\"").host(host_lines);
        let bench = with_daemon(bench, daemon_lines);
        bench.put("file", &bytes(1, 3 * MIB / 2));
        let begun = Instant::now();
        let daemon = bench.start();
        bench.wait_done(2);
        let took = begun.elapsed();
        bench.stop(daemon);
        // A little may go ahead of the rate, and the last bytes of each limit do.
        assert!(took > Duration::from_millis(least_ms - 200), "{daemon_lines}{host_lines}: {took:?}");
    }
}

#[test]
fn a_stop_waits_for_parts_in_flight_no_longer_than_the_grace() {
    let bench = with_daemon(Bench::new(), "shutdown_grace = \"0s\"");
    bench.faults(one(Endpoint::Chunk, When::Always, Action::SlowReply { seconds: 600.0 }));
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_watching();
    bench.wait_for("a part in flight", || (requests(&bench, Endpoint::Chunk).len() == 1).then_some(()));
    let asked = Instant::now();
    bench.stop(daemon);
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(bench.log_text().contains("`shutdown_grace` of 0 s is over"));
    bench.faults(Script::default());
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
}

#[test]
fn a_session_is_trusted_until_its_age_and_no_longer() {
    let sessions =
        |bench: &Bench| requests(bench, Endpoint::Chunk).into_iter().filter_map(|entry| entry.session).collect::<BTreeSet<_>>();
    let part_three = |bench: &Bench| requests(bench, Endpoint::Chunk).iter().filter(|entry| entry.part == Some(3)).count();
    let bench = Bench::new().host("session_max_age = \"3h\"");
    bench.faults(Script::of([Rule::new(Action::SlowReply { seconds: 600.0 }).at(Endpoint::Chunk).part(3)]));
    let content = bytes(1, 5 * 131_072);
    bench.put("file", &content);
    let daemon = bench.start();
    bench.wait_for("all parts but one", || bench.jobs().first().filter(|job| job.parts_acked == 4).map(drop));
    daemon.kill();
    let queue = rusqlite::Connection::open(bench.state_dir().join(FILE_NAME)).unwrap();
    assert_eq!(queue.execute("UPDATE uploads SET opened_at = opened_at - 2 * 3600000", []).unwrap(), 1);
    drop(queue);
    let daemon = bench.start();
    bench.wait_for("the part to be sent again", || (part_three(&bench) == 2).then_some(()));
    daemon.kill();
    assert_eq!(sessions(&bench).len(), 1, "two hours are no age where three are allowed");
    bench.faults(Script::default());
    let bench = bench.host("session_max_age = \"1h\"");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(sessions(&bench).len(), 2, "what is too old begins again");
    assert!(bench.held("file") == [content]);
}

#[test]
fn a_file_goes_to_the_folder_that_the_watch_and_the_host_name() {
    let bench = Bench::with(|options| {
        options.rules.kie.shape = ReplyShape::UrlOnly;
        // Taken with the name of the program before it, and in no other way.
        options.rules.fourshared.password = "!!!tester!!:s3cret".into();
    });
    let bench = bench.to(&["kie", "4shared"]).watch("settle = \"0s\"\nremote_path = \"photos/{dir}/{ext}\"");
    let bench = bench.host("upload_path = \"box/in\"\nkept_for = \"2h\"");
    let bench = with_lines(bench, "4shared", "folder = \"backups/2026\"\napp = \"tester\"");
    bench.put("a/b/one.txt", b"one");
    let daemon = bench.start();
    let jobs = bench.wait_done(2);
    bench.stop(daemon);
    let at_kie = bench.sandbox.objects().into_iter().find(|object| object.host == "kie").unwrap();
    assert_eq!(at_kie.session, "box/in/photos/a/b/txt");
    assert_eq!(folder_at_4shared(&bench, "one.txt"), "backups/2026/photos/a/b/txt");
    let job = jobs.iter().find(|job| job.host == "kie").unwrap();
    let kept = job.expires_ms.unwrap() - job.done_at_ms.unwrap();
    assert!((7_140_000..=7_200_000).contains(&kept), "two hours, and not the default: {kept}");
}

#[test]
fn two_spaces_of_koodrive_have_their_own_folder_parts_and_login() {
    let bench = Bench::with(|options| {
        let rules = &mut options.rules.koodrive;
        (rules.folders, rules.flash) = (vec!["folder-7".into()], false);
        (rules.bearer, rules.bearer_plus) = (true, false);
    });
    let addr = bench.sandbox.addr();
    let other = format!(
        "folder = \"folder-7\"\npart_size = \"5 MiB\"\n[host.token]\nkind = \"koodrive\"\nbase_url = \"http://{addr}/koodrive\"\n\
         allow_private = true\npart_size = \"6 MiB\"\naccess_token = \"test-token\"\n\
         token_prefix = \"Bearer \"\nuser_id = \"1000000000000000001\""
    );
    let bench = bench.to(&["koodrive"]).also_to("token").host(&other);
    bench.put("file", &bytes(1, 11 * MIB));
    let daemon = bench.start();
    let jobs = bench.wait_done(2);
    bench.stop(daemon);
    let files = records(&bench, "koodrive", "file-");
    let id_of = |host: &str| {
        let job = jobs.iter().find(|job| job.host == host).unwrap();
        job.remote_id.as_deref().unwrap().rsplit('/').next().unwrap().to_owned()
    };
    let parts = |id: &str| requests(&bench, Endpoint::Chunk).iter().filter(|entry| entry.session.as_deref() == Some(id)).count();
    let (own, token) = (id_of("koodrive"), id_of("token"));
    assert_eq!(files[&own]["folder"], "folder-7");
    assert_ne!(files[&token]["folder"], "folder-7");
    assert_eq!((parts(&own), parts(&token)), (3, 2), "11 MiB in parts of 5 and of 6 MiB");
}

#[test]
fn a_file_without_bytes_ends_as_the_host_is_told_to_take_it() {
    let modes = [
        ("reject", EmptyFile::OneEmptyChunk, "one-empty-part"),
        ("one-empty-chunk", EmptyFile::OneEmptyChunk, "reject"),
        ("finish-only", EmptyFile::FinishOnly, "reject"),
    ];
    for (cloudkp, taken, koodrive) in modes {
        let bench = Bench::with(|options| options.rules.cloudkp.empty_file = taken);
        let bench = bench.to(&["cloudkp", "koodrive"]).watch("settle = \"0s\"\nmin_size = \"0 B\"");
        let bench = with_lines(bench.host(&format!("empty_file = {cloudkp:?}")), "koodrive", &format!("empty_file = {koodrive:?}"));
        bench.put("empty", b"");
        let daemon = bench.start();
        let jobs = bench.wait_for("both jobs", || {
            Some(bench.jobs()).filter(|jobs| jobs.iter().filter(|job| job.state.is_final()).count() == 2)
        });
        bench.stop(daemon);
        let of = |host: &str| jobs.iter().find(|job| job.host == host).unwrap();
        for (host, said) in [("cloudkp", cloudkp), ("koodrive", koodrive)] {
            match said {
                "reject" => assert!(is_refused_as_empty(of(host)), "{jobs:#?}"),
                _ => assert_eq!(of(host).state, State::Done, "{jobs:#?}"),
            }
        }
        assert_eq!(bench.held("empty"), [b""]);
    }
}

fn is_refused_as_empty(job: &JobRow) -> bool {
    job.state == State::Failed && job.why.as_ref().is_some_and(|why| why.to_string().contains("the file is empty"))
}

#[test]
fn a_secret_comes_from_where_the_configuration_says() {
    let bench = Bench::with(|options| {
        let rules = &mut options.rules;
        (rules.uploadgig.user, rules.uploadgig.password) = ("gig-user".into(), "from-a-file".into());
        let koodrive = &mut rules.koodrive;
        (koodrive.app_id, koodrive.app_secret, koodrive.user_id) = ("app-7".into(), "from-a-credential".into(), "77".into());
        rules.kie.api_key = "from-the-environment".into();
        (rules.fourshared.login, rules.fourshared.password) = ("four-user".into(), "from-a-command".into());
    });
    let folder = bench.dir.path().join("secrets");
    std::fs::create_dir(&folder).unwrap();
    for (name, secret) in [("gig", "from-a-file\n"), ("koo", "from-a-credential\n")] {
        std::fs::write(folder.join(name), secret).unwrap();
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let bench = bench
        .to(&["uploadgig", "koodrive", "kie", "4shared"])
        .change(
            "user = \"me@example.test\"\npassword = \"s3cret-gig\"",
            &format!("user = \"gig-user\"\npassword = {{ file = {:?} }}", folder.join("gig")),
        )
        .change("app_id = \"app1\"", "app_id = \"app-7\"")
        .change("app_secret = \"test-app-secret\"", "app_secret = { credential = \"koo\" }")
        .change("user_id = \"1000000000000000001\"", "user_id = \"77\"")
        .change("api_key = \"sk-test\"", "api_key = { env = \"FERRYD_TEST_KEY\" }")
        .change(
            "user = \"me@example.test\"\npassword = \"s3cret\"",
            "user = \"four-user\"\npassword = { command = [\"echo\", \"from-a-command\"] }",
        );
    bench.put("file", b"content");
    let folder = folder.to_str().unwrap();
    let daemon = bench.start_with(&[("CREDENTIALS_DIRECTORY", folder), ("FERRYD_TEST_KEY", "from-the-environment")]);
    bench.wait_done(4);
    bench.stop(daemon);
    assert!(!bench.log_text().contains("from-"), "no secret is told");
}

#[test]
fn a_command_and_a_webhook_may_take_so_long() {
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = |lines: String| format!("\n[[hook]]\non = [\"done\"]\ntime_limit = \"1s\"\n{lines}\n");
    let hooks =
        [hook("command = [\"sleep\", \"600\"]".into()), hook(format!("webhook = \"http://{}\"", silent.local_addr().unwrap()))];
    let bench = Bench::new().host(&hooks.concat());
    bench.put("file", b"content");
    let daemon = bench.start();
    let said = |words: &str| bench.log_text().lines().any(|line| line.contains(words));
    bench.wait_for("both to be given up", || {
        let webhook = said("no answer within 1 s") || said("no data was transferred for 1 s");
        (said("it was still running after 1 s and was stopped") && webhook).then_some(())
    });
    assert_eq!(bench.jobs()[0].state, State::Uploaded);
    bench.stop(daemon);
}

/// The beginning of a message, up to its empty line; nothing at the end of the connection.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Takes one request from `client`, has it answered by the server at `to`, and tells how it began.
fn pass_on(client: &mut (impl Read + Write), to: SocketAddr) -> Option<String> {
    let head = head(client)?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).ok()?;
    let mut server = TcpStream::connect(to).ok()?;
    let last = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(&[last.as_bytes(), &body].concat()).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).and_then(|()| client.flush()).ok()?;
    Some(head)
}

#[test]
fn a_host_is_reached_through_its_proxy_and_told_who_asks() {
    let bench = Bench::new();
    let host = bench.sandbox.addr();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let tell = tell.clone();
            std::thread::spawn(move || pass_on(&mut client.unwrap(), host).map(|head| tell.send(head).ok()));
        }
    });
    let lines = format!("proxy = \"http://me:hunter2@{proxy}\"\nuser_agent = \"backup/1.0\"");
    // Only the proxy could know where that is.
    let bench = bench.host(&lines).change(&format!("http://{host}/cloudkp"), "http://box.invalid/cloudkp");
    bench.put("file", b"content");
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(bench.held("file"), [b"content"]);
    let asked: Vec<String> = asked.try_iter().map(|head| head.to_ascii_lowercase()).collect();
    assert!(!asked.is_empty());
    for head in asked {
        assert!(head.starts_with("post http://box.invalid/cloudkp/upload"), "{head}");
        assert!(
            head.contains("proxy-authorization: basic bwu6ahvudgvymg==\r\n") && head.contains("user-agent: backup/1.0\r\n"),
            "{head}"
        );
    }
    assert!(!bench.log_text().contains("hunter2"));
}

#[test]
fn a_host_with_a_certificate_of_a_private_authority_is_reached_with_its_file() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let config = std::sync::Arc::new(config);

    let bench = Bench::new();
    let host = bench.sandbox.addr();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let private = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let config = config.clone();
            std::thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, client.unwrap());
                drop(pass_on(&mut stream, host));
                stream.conn.send_close_notify();
                stream.flush().ok();
            });
        }
    });
    let bench = bench.change(&format!("http://{host}/cloudkp"), &format!("https://{private}/cloudkp"));
    bench.put("file", b"content");
    let daemon = bench.start();
    let job = bench.wait_state(State::Waiting);
    let why = job.why.unwrap().to_string();
    assert!(why.contains("certificate") && why.contains("set `ca_file`"), "{why}");
    bench.stop(daemon);
    let file = bench.dir.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let bench = bench.host(&format!("ca_file = {file:?}"));
    let daemon = bench.start();
    bench.wait_done(1);
    bench.stop(daemon);
    assert_eq!(bench.held("file"), [b"content"]);
}

#[test]
fn a_missing_folder_is_made_where_the_watch_says_so() {
    for create in [true, false] {
        let bench = Bench::new().watch(&format!("settle = \"0s\"\ncreate = {create}"));
        let other = bench.dir.path().join("state").join("deeper");
        let bench = bench.change("/drop\"", "/made/drop\"").change("/state\"", "/state/deeper\"");
        let made = bench.dir.path().join("made/drop");
        let daemon = bench.start();
        bench.wait_watching();
        assert_eq!(made.is_dir(), create);
        assert!(other.join(FILE_NAME).is_file(), "the queue is where it is configured to be");
        if create {
            std::fs::write(made.join("file"), b"content").unwrap();
            bench.wait_for("the file", || (bench.held("file") == [b"content"]).then_some(()));
        }
        bench.stop(daemon);
    }
}

#[test]
fn kie_is_given_plain_names_only_where_told_to_and_check_says_what_that_means() {
    for (name, is_plain) in [("plain", true), ("versioned", false)] {
        let bench = Bench::new().to(&["kie"]);
        let bench = with_lines(bench, "kie", &format!("name = {name:?}"));
        let said = String::from_utf8(bench.command(&["check"]).output().unwrap().stdout).unwrap();
        assert_eq!(said.contains("overwrites another of its name"), is_plain, "{said}");
        bench.put("report.pdf", b"first");
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        assert_eq!(names(&bench) == ["report.pdf"], is_plain, "{:?}", names(&bench));
    }
}

#[test]
fn the_chunks_of_cloudkp_become_a_file_as_told() {
    for (finish, requests_made) in [("separate", 5), ("last_chunk", 4)] {
        let bench = Bench::new().host(&format!("finish = {finish:?}"));
        let content = bytes(5, 400_000);
        bench.put("file", &content);
        let daemon = bench.start();
        bench.wait_done(1);
        bench.stop(daemon);
        let made = requests(&bench, Endpoint::Chunk).len() + requests(&bench, Endpoint::Finish).len();
        assert_eq!((made, bench.held("file")), (requests_made, vec![content]), "{finish}");
    }
}

#[test]
fn a_host_that_makes_files_of_the_other_form_of_a_finish_is_asked_in_that_one_and_no_file_waits() {
    use ferryd_sandbox::cloudkp::Finish;
    // Of the first of two files with four chunks: the finish that is refused, and the chunk that goes a second time. Of the second: what
    // is sent once more, or apart, because of the form.
    for (configured, taken, requests_made) in [("separate", Finish::WithChunk, [6, 11]), ("last_chunk", Finish::Alone, [6, 11])] {
        let bench = Bench::with(|options| options.rules.cloudkp.finish = taken).host(&format!("finish = {configured:?}"));
        let daemon = bench.start();
        for (number, expected) in (1..=2).zip(requests_made) {
            let content = bytes(number, 400_000);
            bench.put(&format!("file-{number}"), &content);
            let jobs = bench.wait_done(usize::try_from(number).unwrap());
            assert!(jobs.iter().all(|job| job.attempts == 1 && !job.maybe_duplicate), "{configured}: {jobs:#?}");
            assert_eq!(bench.held(&format!("file-{number}")), [content], "{configured}");
            let made = requests(&bench, Endpoint::Chunk).len() + requests(&bench, Endpoint::Finish).len();
            assert_eq!(made, expected, "{configured}: {:#?}", bench.sandbox.log());
        }
        bench.stop(daemon);
    }
}

#[test]
fn after_a_finish_that_went_unanswered_no_other_form_is_tried() {
    use ferryd_sandbox::cloudkp::Replay;
    // The first answer is lost; by then a file may be there, and the last chunk alone would make another.
    let bench = Bench::with(|options| options.rules.cloudkp.replay = Replay::Error).host("on_unknown = \"hold\"");
    bench.faults(Script::of([
        Rule::new(Action::LoseReply { reset: true }).at(Endpoint::Finish).when(When::Nth(1)),
        Rule::new(Action::Reply {
            status: 200,
            headers: Default::default(),
            body: "{\"error\":\"the field `file` is missing\",\"file_id\":null}".into(),
            stored: false,
        })
        .at(Endpoint::Finish),
    ]));
    bench.put("file", &bytes(5, 100_000));
    let daemon = bench.start();
    let job = bench.wait_state(State::Held);
    assert!(job.why.as_ref().is_some_and(|why| why.to_string().contains("the other form of `finish`")), "{job:#?}");
    bench.stop(daemon);
    assert_eq!((requests(&bench, Endpoint::Chunk).len(), bench.held("file").len()), (1, 1));
    assert_eq!(bench.sandbox.objects().len(), 1);
}
