//! What every engine does, verb by verb: each test runs on SQLite and on the engine in memory, through the same [`Store`].

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::backend::Backend;
use super::driver::{SharedBackend, Wake};
use super::memory::Memory;
use super::sqlite::Sqlite;
use super::*;
use crate::job::Proof;
use crate::job::absence::NO_DEVICE;
use crate::job::attempt::SessionFate;
use crate::job::digest::{Algorithm, Digest, MidState};
use crate::job::health::HostState;
use crate::job::plan::Plan;
use crate::job::steer::{Order, Selection, Steered};
use crate::job::upload::Class;
use crate::job::upload::Session;
use crate::job::upload::{Ack, Outcome, Shape};
use crate::job::verdict::RECHECK;
use crate::job::watch::{After, EventSource, Watch, Watches};
use crate::job::{DeliveryId, Event, HostReport, ReasonClass, WatchReport, WatchState};
use crate::job::{Fingerprint, Identity, Reason, SentHash, State};

/// Each of these functions is a test of either engine; one that is not named here is not used, and does not compile.
macro_rules! suite {
    ($($test:ident;)*) => {
        mod on_sqlite {
            $(#[test] fn $test() { super::$test(super::Queue::new(super::sqlite())); })*
        }
        mod in_memory {
            $(#[test] fn $test() { super::$test(super::Queue::new(Box::new(super::Memory::default()))); })*
        }
    };
}

suite! {
    the_after_action_comes_when_every_host_has_the_file_and_every_hook_has_heard_of_it;
    a_hook_that_cannot_be_told_of_a_held_job_does_not_hide_why_it_is_held;
    a_host_that_is_added_while_the_source_is_about_to_go_is_waited_for;
    a_host_that_will_never_take_the_file_leaves_it_where_it_is;
    a_source_stays_on_the_mere_word_of_a_host_until_a_start_that_trusts_it;
    what_is_uploaded_while_its_host_is_trusted_needs_no_start;
    to_take_a_host_out_of_a_watch_releases_no_source;
    a_hook_that_is_taken_out_releases_no_source_and_is_named;
    a_hook_that_replaces_another_hears_what_that_one_was_to_hear;
    jobs_that_are_wanted_no_more_rest_and_go_on_when_they_are;
    a_job_under_way_that_is_wanted_no_more_is_named_and_rests_once_it_is_returned;
    what_waits_or_is_held_is_due_when_a_person_may_have_mended_it_and_what_is_under_way_stays;
    the_session_of_a_job_that_rests_is_given_back_after_a_day;
    a_session_is_there_when_its_line_comes_back_within_a_day_and_forgotten_with_its_host;
    the_parts_and_the_time_of_an_upload_stay_when_it_is_done;
    a_start_does_not_set_off_an_after_action_before_every_hook_has_heard;
    an_added_host_that_no_scan_finds_the_file_for_is_not_waited_for;
    a_look_that_comes_too_late_takes_no_after_action_away;
    a_host_that_failed_is_not_hidden_by_one_that_was_added;
    a_changed_file_frees_what_waited_for_its_earlier_version;
    a_changed_file_frees_an_after_action_that_waits_for_a_time_to_come;
    that_a_writer_was_seen_to_close_a_version_is_told_with_its_after_action;
    a_close_that_is_seen_later_sets_off_the_after_action_that_waits_for_it_and_no_other;
    an_after_action_that_will_never_be_done_ends_every_job_of_its_version_with_the_reason;
    a_removed_hook_holds_nothing_up_and_is_named;
    a_delivery_that_fails_is_seen_in_its_job_and_tried_again;
    what_a_hook_gathers_is_told_together_and_keeps_nothing_waiting;
    a_gathering_hook_that_fails_is_told_everything_again_and_no_done_job_says_so;
    what_a_hook_gathers_outlives_starts_and_is_told_when_the_configuration_says;
    a_gathering_hook_that_is_taken_out_or_slowed_down_keeps_and_releases_no_source;
    links_that_expire_soon_after_one_another_are_told_of_together;
    a_dying_link_is_told_of_and_renewed_once;
    hooks_hear_once_that_a_person_must_act;
    the_same_arrival_makes_its_jobs_once_and_a_new_host_only_its_own;
    a_file_that_was_passed_over_is_not_sent_to_a_host_that_is_added_later;
    a_gone_file_is_forgotten_and_met_again;
    new_numbers_of_device_inode_and_birth_make_no_new_version;
    of_a_file_that_was_touched_the_fingerprint_tells_whether_it_is_another_version;
    a_version_is_found_elsewhere_by_its_inode_or_else_by_its_content;
    a_version_never_has_two_live_jobs_for_one_host;
    only_a_job_under_way_can_be_left_or_be_uploaded;
    higher_priority_goes_first_and_then_the_older;
    retries_go_by_their_priority_and_then_by_how_long_they_have_waited;
    retries_take_half_of_the_room_while_new_jobs_wait_and_all_of_it_when_none_do;
    retries_and_new_jobs_take_turns_in_a_single_slot;
    one_place_in_four_goes_to_the_smallest_file_of_the_first;
    a_host_that_may_be_well_again_is_tried_with_the_smallest_file_and_each_time_with_another;
    a_host_with_a_long_queue_leaves_an_idle_one_its_share;
    a_host_that_is_full_of_work_does_not_starve_one_that_takes_its_turn_after_it;
    a_delivery_that_fails_while_the_clock_is_set_back_is_put_off_by_an_hour_at_most;
    what_a_host_has_confirmed_is_there_at_the_next_claim;
    a_session_that_has_begun_takes_the_place_of_the_one_that_announced_it;
    a_host_that_is_asked_is_believed_over_the_acks;
    what_becomes_of_a_session_is_what_its_worker_says;
    a_lost_session_is_counted_and_a_new_one_begins_with_nothing;
    a_file_that_its_host_was_asked_to_make_twice_is_marked;
    a_file_whose_upload_may_have_been_finished_is_marked_when_it_begins_anew;
    a_version_that_a_host_may_have_and_that_was_gone_for_a_while_is_marked_when_it_is_back;
    a_row_of_failures_lasts_as_long_as_was_waited_for_the_host_and_no_longer;
    how_a_host_has_failed_is_kept_until_its_next_success;
    a_file_is_alone_at_its_host_when_no_other_is_to_be_tried;
    a_digest_is_kept_until_the_job_has_ended_and_only_as_it_was_cut;
    a_digest_is_forgotten_when_the_file_was_touched_since;
    the_bytes_that_a_host_has_already_are_those_of_the_version_that_was_looked_at;
    a_renamed_file_takes_its_jobs_with_it_and_what_was_under_its_new_name_may_have_another_one;
    without_a_time_of_birth_a_number_says_nothing_of_a_rename;
    many_files_of_a_folder_are_looked_up_in_their_order;
    what_fails_is_undone_and_what_comes_after_it_is_not;
    a_watch_has_been_seen_before_once_it_was_scanned_to_its_end;
    a_host_that_asked_for_rest_has_it_also_after_a_start;
    a_host_is_forgotten_with_its_configuration;
    what_was_held_because_of_its_host_is_due_when_the_host_takes_files_again;
    what_waits_for_a_time_is_due_after_a_start_and_after_the_clock_was_set_back;
    what_a_missing_network_has_put_off_is_due_when_the_network_has_changed;
    a_job_whose_time_is_a_year_ahead_is_worked_on;
    what_moves_is_shown_until_the_next_word_of_it;
    a_delivery_that_runs_is_not_given_out_again_and_the_next_one_has_its_time;
    whoever_looks_in_vain_for_an_added_host_looks_again_later;
    a_start_of_one_daemon_leaves_the_claims_of_another_alone;
    what_one_daemon_notes_of_hosts_and_watches_is_its_own;
    whoever_has_lost_a_claim_changes_nothing_any_more;
    deliveries_belong_to_the_daemon_that_made_them;
    a_host_that_one_daemon_adds_does_not_keep_another_from_its_after_action;
    a_delivery_of_another_daemon_is_neither_done_nor_sent_again;
    a_paused_job_is_claimed_by_nobody_and_goes_on_with_its_session_when_it_is_resumed;
    a_job_under_way_is_where_it_was_ordered_once_its_worker_leaves_it;
    a_file_that_the_host_has_is_uploaded_whatever_was_ordered_meanwhile;
    what_was_ordered_for_a_job_under_way_outlives_the_daemon;
    a_cancelled_job_has_its_session_given_back_once_and_stays_cancelled;
    a_session_that_could_not_be_given_back_is_given_back_later_though_its_job_is_over;
    a_person_who_tries_a_failed_file_again_has_it_begin_anew;
    the_session_of_a_cancelled_job_stays_where_the_host_may_have_made_a_file_of_it;
    a_paused_or_cancelled_version_stays_so_across_scans_renames_and_starts;
    a_done_file_is_uploaded_anew_by_a_further_job_and_its_link_stays;
    what_a_person_alone_lets_go_is_sent_anew_and_marked;
    what_is_tried_at_once_is_what_waits_is_held_or_has_failed;
    what_is_resumed_but_wanted_no_more_rests;
    a_cancelled_job_leaves_the_source_of_the_others_where_it_is;
    only_what_is_selected_is_steered;
    what_is_over_is_forgotten_and_its_file_is_known_all_the_same;
    nothing_is_forgotten_of_a_file_that_something_is_still_to_follow_for;
    what_a_host_may_have_by_accident_is_not_forgotten;
    a_source_stays_when_an_upload_of_it_was_forgotten;
    what_is_sent_by_name_goes_where_no_watch_sends_it;
    what_rests_goes_on_when_it_is_sent_by_name;
    what_was_passed_over_is_sent_by_name_and_not_wanted_for_that;
    two_jobs_send_no_two_contents_of_one_version;
    a_file_whose_place_another_has_taken_is_marked_when_it_is_back;
    where_changes_are_ignored_a_changed_file_goes_only_to_hosts_that_never_had_it;
    where_changes_are_ignored_so_is_that_of_a_file_that_was_passed_over_or_forgotten;
}

/// The instant at which every story begins.
const NOW_MS: i64 = 1_000_000_000_000;

struct Queue {
    backend: SharedBackend,
    now_ms: Arc<AtomicI64>,
    store: Store,
}

/// A queue in SQLite that refuses to move a job in a way that [`State`] does not allow.
fn sqlite() -> Box<dyn Backend> {
    let backend = Sqlite::in_memory().unwrap();
    let pairs = State::ALL.iter().flat_map(|from| State::ALL.iter().map(move |to| (*from, *to)));
    let legal = pairs.filter(|(from, to)| from.may_become(*to)).map(|(from, to)| format!("('{from}', '{to}')"));
    let trigger = format!(
        "CREATE TRIGGER legal_moves BEFORE UPDATE OF state ON jobs
         WHEN new.state <> old.state AND (old.state, new.state) NOT IN (VALUES {})
         BEGIN SELECT RAISE(ABORT, 'a job may not move like this'); END",
        legal.collect::<Vec<_>>().join(", ")
    );
    backend.connection().execute_batch(&trigger).unwrap();
    Box::new(backend)
}

impl Queue {
    fn new(backend: Box<dyn Backend>) -> Queue {
        let (backend, now_ms): (SharedBackend, _) = (Arc::new(Mutex::new(backend)), Arc::new(AtomicI64::new(NOW_MS)));
        let queue = Queue::of(backend, now_ms, DaemonId::LOCAL);
        let hosts = vec![("box".to_owned(), "cloudkp".to_owned()), ("mirror".to_owned(), "cloudkp".to_owned())];
        queue.store.configure(vec![PathBuf::from("/drop")], hosts).blocking().unwrap();
        queue
    }

    fn of(backend: SharedBackend, now_ms: Arc<AtomicI64>, daemon: DaemonId) -> Queue {
        let clock = now_ms.clone();
        let store = Store::inline(backend.clone(), daemon, Arc::new(move || clock.load(Ordering::Relaxed)));
        Queue { backend, now_ms, store }
    }

    /// The same queue, as another daemon has it.
    fn of_another_daemon(&self) -> Queue {
        Queue::of(self.backend.clone(), self.now_ms.clone(), DaemonId(2))
    }

    fn restart(&mut self) {
        *self = Queue::of(self.backend.clone(), self.now_ms.clone(), self.store.daemon);
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn pass(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn enqueue(&self, files: std::ops::Range<i64>) -> u64 {
        self.store.enqueue(files.map(arrival).collect()).blocking().unwrap()
    }

    /// Files `numbers` for one host.
    fn enqueue_for(&self, host: &str, numbers: std::ops::Range<i64>) {
        let hosts: Arc<[String]> = Arc::from([host.to_owned()]);
        let arrivals = numbers.map(|number| Arrival { hosts: hosts.clone(), priority: 0, ..arrival(number) }).collect();
        self.store.enqueue(arrivals).blocking().unwrap();
    }

    fn claim(&self, count: usize) -> Vec<Claimed> {
        self.claim_as(vec![Asking::new("box", count), Asking::new("mirror", count)], 2 * count, i64::MAX).jobs
    }

    fn claim_as(&self, asking: Vec<Asking>, uploads_max: usize, now_ms: i64) -> Claims {
        self.store.claim(asking, uploads_max, now_ms).blocking().unwrap()
    }

    fn claim_one(&self, host: &str) -> Claimed {
        self.claim_as(vec![Asking::new(host, 1)], 1, i64::MAX).jobs.remove(0)
    }

    fn claim_on(&self, host: &str) -> JobId {
        self.claim_one(host).id
    }

    /// Every job of a host has been tried, and its next try is at the millisecond of its place in the queue.
    fn put_off(&self, host: &str) {
        for (at, job) in (1..).zip(self.claim_as(vec![Asking::new(host, 1000)], 1000, i64::MAX).jobs) {
            let waiting = ReturnedJob { next_try_ms: Some(at), ..return_job(State::Waiting) };
            self.store.return_job(job.id, waiting).blocking().unwrap();
        }
    }

    /// The two jobs of one file, claimed.
    fn pair(&self) -> (JobId, JobId) {
        self.enqueue(0..1);
        let claimed = self.claim(1);
        let id = |host: &str| claimed.iter().find(|job| job.host == host).unwrap().id;
        (id("box"), id("mirror"))
    }

    fn jobs(&self) -> Vec<JobRow> {
        self.backend.lock().unwrap().every_job().unwrap()
    }

    fn job(&self, job: JobId) -> JobRow {
        self.jobs().into_iter().find(|row| row.id == job).unwrap()
    }

    fn state(&self, job: JobId) -> (State, Option<Reason>) {
        let row = self.job(job);
        (row.state, row.why)
    }

    /// What is known of this version, met at the path of `arrival`.
    fn look(&self, identity: &Identity, arrival: &Arrival) -> Seen {
        let Arrival { folder, name, hosts, .. } = arrival;
        self.store.look_up(folder, &[(name.as_os_str(), *identity)], hosts).unwrap().remove(0)
    }

    fn set_rules(&self, rules: Rules) -> Vec<(String, u64)> {
        self.store.set_rules(rules).blocking().unwrap()
    }

    fn record_outcome(&self, job: JobId, expires_ms: Option<i64>) -> State {
        self.uploaded_with(job, expires_ms, Proof::Size)
    }

    fn uploaded_with(&self, job: JobId, expires_ms: Option<i64>, proof: Proof) -> State {
        let (link, name) = (Some("http://x".into()), Some("other".into()));
        let outcome = Outcome { link, name, bytes: Some(7), expires_ms, proof, ..Outcome::default() };
        self.store.record_outcome(job, outcome).blocking().unwrap()
    }

    fn due_deliveries(&self, now_ms: i64) -> Due {
        let wanted = ["hook", AFTER, REFRESH].map(|hook| Wanted::new(hook, 10)).to_vec();
        self.store.due_deliveries(wanted, Vec::new(), now_ms).blocking().unwrap()
    }

    fn events(&self, now_ms: i64) -> Vec<(Event, JobId)> {
        self.due_deliveries(now_ms).deliveries.iter().map(|delivery| (delivery.event, delivery.job)).collect()
    }

    fn deliver(&self, event: Event) {
        for delivery in self.due_deliveries(i64::MAX).deliveries.into_iter().filter(|delivery| delivery.event == event) {
            self.store.record_delivery(vec![delivery.id]).blocking().unwrap();
        }
    }

    /// Two jobs of a file, the first uploaded, and a third host that was added since.
    fn with_an_added_host(&mut self) -> (JobId, JobId) {
        self.set_rules(rules(&[], true));
        let (first, second) = self.pair();
        self.record_outcome(first, None);
        let more = with_hosts(rules(&[], true), &["third", "box", "mirror"]);
        self.restart();
        self.set_rules(more);
        (first, second)
    }

    /// Claims the one job of `box` and leaves it held for `why`; whether hooks are told.
    fn hold(&self, why: &Reason) -> bool {
        let job = self.claim_on("box");
        let return_job = ReturnedJob { why: Some(why.clone()), ..return_job(State::Held) };
        self.store.return_job(job, return_job).blocking().unwrap();
        let told = self.events(i64::MAX) == [(Event::Held, job)];
        self.deliver(Event::Held);
        told
    }
}

pub(super) fn arrival(number: i64) -> Arrival {
    Arrival {
        folder: PathBuf::from(format!("/drop/{}", number % 3)),
        name: format!("f{number}").into(),
        identity: Identity { device: 1, inode: number, size: 10, mtime_ns: 1, ctime_ns: 1, born_ns: 1 },
        hosts: Arc::from(["box".to_owned(), "mirror".to_owned()]),
        make_jobs: true,
        one_off: false,
        first_version_only: false,
        priority: number % 2,
        close_seen: false,
        fingerprint: None,
        maybe_known: false,
    }
}

fn version(identity: Identity) -> Version {
    Version { identity, fingerprint: None }
}

fn earlier(before: &Arrival, same_inode: bool, fingerprint: Option<Fingerprint>) -> Earlier {
    Earlier { folder: before.folder.clone(), name: before.name.clone(), same_inode, fingerprint }
}

pub(super) fn return_job(state: State) -> ReturnedJob {
    ReturnedJob {
        state,
        why: Some(told("a reason")),
        next_try_ms: Some(5),
        failures: 1,
        failing: Some(("kind".into(), 1)),
        failing_for: Some(Duration::from_millis(1)),
        counts: false,
        session: SessionFate::Resume,
    }
}

fn hosts(names: &[&str]) -> Arc<[String]> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The same rules, where the files go to these hosts.
fn with_hosts(rules: Rules, names: &[&str]) -> Rules {
    let watches = rules.watches.iter().map(|watch| Watch { to: hosts(names), ..watch.clone() }).collect();
    Rules { watches, ..rules }
}

pub(super) fn told(text: &str) -> Reason {
    Reason::new(ReasonClass::Told).detail(text)
}

fn hook_failed() -> Reason {
    Reason::new(ReasonClass::HookFailed).about("command sh").detail("exit status: 3")
}

fn about(class: ReasonClass, host: &str) -> Option<Reason> {
    Some(Reason::new(class).about(host))
}

/// Rules with a hook for these events, an after-action for every file, and renewed links on `box`.
pub(super) fn rules(on: &[Event], acts: bool) -> Rules {
    let hook = HookRule { key: "hook".into(), on: on.to_vec(), before_ms: 1000, every_ms: None };
    let after = if acts { After::Delete } else { After::Keep };
    let watch = Watch { after, ..Watch::new(PathBuf::from("/drop"), hosts(&["box", "mirror"])) };
    Rules { hooks: vec![hook], watches: [watch].into_iter().collect(), refresh: vec!["box".into()], ..Rules::default() }
}

const MINUTE_MS: i64 = 60_000;

/// The same with a hook that is told at most once a minute.
fn gathering(on: &[Event], acts: bool) -> Rules {
    let mut rules = rules(on, acts);
    rules.hooks[0].every_ms = Some(MINUTE_MS);
    rules
}

/// What the gathering hook would be told now.
fn gathered(queue: &Queue) -> Due {
    let wanted = Wanted { ahead_ms: MINUTE_MS, ..Wanted::new("hook", 10) };
    queue.store.due_deliveries(vec![wanted], Vec::new(), queue.now_ms()).blocking().unwrap()
}

fn ids_of(due: &Due) -> Vec<DeliveryId> {
    due.deliveries.iter().map(|delivery| delivery.id).collect()
}

fn what_a_hook_gathers_is_told_together_and_keeps_nothing_waiting(queue: Queue) {
    queue.set_rules(gathering(&[Event::Done, Event::Held], true));
    let (first, second) = queue.pair();
    assert_eq!(queue.record_outcome(first, None), State::Uploaded, "its after-action is to come");
    assert_eq!(queue.state(first).1, about(ReasonClass::WaitsForHost, "mirror"));
    queue.pass(40_000);
    queue.record_outcome(second, None);
    let due = gathered(&queue);
    assert_eq!((due.deliveries.len(), due.next_due_ms), (0, Some(NOW_MS + MINUTE_MS)));
    assert_eq!(queue.events(queue.now_ms()), [(Event::After, second)], "the source waits for no notification");
    queue.deliver(Event::After);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Done, None)));
    queue.pass(20_000);
    let due = gathered(&queue);
    assert_eq!(
        due.deliveries.iter().map(|told| (told.event, told.job)).collect::<Vec<_>>(),
        [(Event::Done, first), (Event::Done, second)]
    );
    queue.store.record_delivery(ids_of(&due)).blocking().unwrap();
    assert_eq!((gathered(&queue).deliveries.len(), gathered(&queue).next_due_ms), (0, None));
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Done, None)));
    queue.enqueue_for("box", 1..2);
    let held = queue.claim_on("box");
    queue.store.return_job(held, return_job(State::Held)).blocking().unwrap();
    assert_eq!(gathered(&queue).next_due_ms, Some(queue.now_ms() + MINUTE_MS), "the next one begins anew");
}

fn a_gathering_hook_that_fails_is_told_everything_again_and_no_done_job_says_so(queue: Queue) {
    queue.set_rules(gathering(&[Event::Done], false));
    let (first, second) = queue.pair();
    assert_eq!(queue.record_outcome(first, None), State::Done);
    queue.pass(MINUTE_MS);
    let due = gathered(&queue);
    queue.store.record_failed_delivery(ids_of(&due), hook_failed(), queue.now_ms() + 1000).blocking().unwrap();
    assert_eq!(queue.state(first), (State::Done, None));
    queue.record_outcome(second, None);
    assert_eq!(gathered(&queue).next_due_ms, Some(queue.now_ms() + 1000));
    queue.pass(1000);
    let due = gathered(&queue);
    let tries = due.deliveries.iter().map(|told| (told.job, told.tries)).collect::<Vec<_>>();
    assert_eq!(tries, [(first, 1), (second, 0)], "what came meanwhile goes with it");
    queue.store.record_delivery(ids_of(&due)).blocking().unwrap();
    assert_eq!(gathered(&queue).next_due_ms, None);
}

fn what_a_hook_gathers_outlives_starts_and_is_told_when_the_configuration_says(mut queue: Queue) {
    queue.set_rules(gathering(&[Event::Done], false));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.pass(30_000);
    queue.restart();
    queue.set_rules(gathering(&[Event::Done], false));
    assert_eq!(gathered(&queue).next_due_ms, Some(NOW_MS + MINUTE_MS), "a start neither hastens nor puts it off");
    let mut longer = gathering(&[Event::Done], false);
    longer.hooks[0].every_ms = Some(10 * MINUTE_MS);
    queue.set_rules(longer.clone());
    assert_eq!(gathered(&queue).next_due_ms, Some(NOW_MS + 10 * MINUTE_MS));
    // A clock that was wrong by a year, and is right again.
    queue.pass(YEAR_MS);
    queue.record_outcome(second, None);
    queue.pass(-YEAR_MS);
    queue.restart();
    queue.set_rules(longer);
    assert_eq!(gathered(&queue).next_due_ms, Some(NOW_MS + 10 * MINUTE_MS));
    queue.pass(30 * MINUTE_MS);
    assert_eq!(gathered(&queue).deliveries.len(), 2);
    queue.set_rules(rules(&[Event::Done], false));
    let due = queue.due_deliveries(queue.now_ms()).deliveries;
    assert_eq!(due.iter().map(|told| told.job).collect::<Vec<_>>(), [first, second], "without `every` they are told at once");
}

fn a_gathering_hook_that_is_taken_out_or_slowed_down_keeps_and_releases_no_source(mut queue: Queue) {
    // One that was called at once, and gathers from now on, is still waited for by what was uploaded before.
    queue.set_rules(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    queue.restart();
    queue.set_rules(gathering(&[Event::Done], true));
    assert!(queue.events(i64::MAX).iter().all(|(event, _)| *event == Event::Done), "a reload makes nothing due");
    let due = gathered(&queue);
    queue.store.record_delivery(ids_of(&due)).blocking().unwrap();
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
    queue.deliver(Event::After);
    // One that gathers is taken out.
    queue.enqueue(1..2);
    let next: Vec<JobId> = queue.claim(1).iter().map(|job| job.id).collect();
    queue.record_outcome(next[0], None);
    queue.restart();
    let dropped = queue.set_rules(Rules { hooks: Vec::new(), ..rules(&[], true) });
    assert_eq!(dropped, [("hook".to_owned(), 1)]);
    queue.record_outcome(next[1], None);
    assert_eq!(queue.events(i64::MAX), [(Event::After, next[1])], "the after-action had not waited for it");
}

fn links_that_expire_soon_after_one_another_are_told_of_together(queue: Queue) {
    queue.set_rules(Rules { refresh: Vec::new(), ..gathering(&[Event::Expiring], false) });
    let (first, second) = queue.pair();
    let day_ms = 24 * 60 * MINUTE_MS;
    queue.record_outcome(first, Some(NOW_MS + day_ms));
    queue.record_outcome(second, Some(NOW_MS + day_ms + 30_000));
    assert_eq!(gathered(&queue).next_due_ms, Some(NOW_MS + day_ms - 1000));
    queue.pass(day_ms - 1000);
    assert_eq!(gathered(&queue).deliveries.iter().map(|told| told.job).collect::<Vec<_>>(), [first, second]);
}

fn the_after_action_comes_when_every_host_has_the_file_and_every_hook_has_heard_of_it(queue: Queue) {
    queue.set_rules(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    assert_eq!(queue.record_outcome(first, None), State::Uploaded);
    queue.deliver(Event::Done);
    assert_eq!(queue.state(first), (State::Uploaded, about(ReasonClass::WaitsForHost, "mirror")));
    assert_eq!(queue.record_outcome(second, None), State::Uploaded);
    assert_eq!(queue.events(i64::MAX), [(Event::Done, second)], "the hook goes first");
    queue.deliver(Event::Done);
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)], "once for the file");
    queue.deliver(Event::After);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Done, None)));
}

fn a_host_that_is_added_while_the_source_is_about_to_go_is_waited_for(mut queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    let due = queue.due_deliveries(i64::MAX).deliveries.remove(0).id;
    // It was tried in vain, and so would be due at once after a restart.
    queue.store.record_failed_delivery(vec![due], told("the target is away"), 1).blocking().unwrap();
    let more = with_hosts(rules(&[], true), &["box", "mirror", "third"]);
    queue.restart();
    queue.set_rules(more);
    let looks = queue.due_deliveries(i64::MAX).deliveries;
    assert!(
        looks.iter().all(|look| look.why == about(ReasonClass::WaitsForHost, "third")),
        "the third host has not got it: {looks:?}"
    );
    assert_eq!(queue.state(second).1, about(ReasonClass::WaitsForHost, "third"));
    let three = Arrival { hosts: Arc::from(["box".to_owned(), "mirror".to_owned(), "third".to_owned()]), ..arrival(0) };
    assert_eq!(queue.store.enqueue(vec![three]).blocking().unwrap(), 1);
    for look in looks {
        queue.store.look_again_later(look.id, 1).blocking().unwrap();
    }
    assert_eq!(queue.events(i64::MAX), [], "who looked before the job was made sets nothing off");
    let third = queue.store.claim(vec![Asking::new("third", 1)], 1, i64::MAX).blocking().unwrap().jobs.remove(0).id;
    queue.record_outcome(third, None);
    assert_eq!(queue.events(i64::MAX).len(), 1, "once, when all three have it");
}

fn a_host_that_will_never_take_the_file_leaves_it_where_it_is(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.store.return_job(second, return_job(State::Failed)).blocking().unwrap();
    assert_eq!((queue.state(first).0, queue.events(i64::MAX).len()), (State::Done, 0));
}

fn a_source_stays_on_the_mere_word_of_a_host_until_a_start_that_trusts_it(mut queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.uploaded_with(first, None, Proof::Digest);
    assert_eq!(queue.uploaded_with(second, None, Proof::Word), State::Uploaded);
    assert_eq!(queue.events(i64::MAX), [], "nothing may happen to the source");
    for job in [first, second] {
        let (state, why) = queue.state(job);
        assert_eq!((state, why), (State::Uploaded, about(ReasonClass::UnprovenByHost, "mirror")));
    }
    queue.restart();
    queue.set_rules(rules(&[], true));
    assert_eq!(queue.events(i64::MAX), [], "a start alone changes nothing");
    queue.restart();
    let trusting = Rules { trusted: vec!["mirror".into()], ..rules(&[], true) };
    queue.set_rules(trusting.clone());
    assert_eq!(queue.events(i64::MAX), [], "a reload makes nothing due");
    assert_eq!(queue.state(second).1, about(ReasonClass::UnprovenByHost, "mirror"));
    queue.restart();
    queue.set_rules(Rules { trusted_before: trusting.trusted.clone(), ..trusting });
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
    assert_eq!(queue.state(first), (State::Uploaded, None));
    queue.deliver(Event::After);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Done, None)));
}

fn what_is_uploaded_while_its_host_is_trusted_needs_no_start(queue: Queue) {
    queue.set_rules(Rules { trusted: vec!["mirror".into()], ..rules(&[], true) });
    let (first, second) = queue.pair();
    queue.uploaded_with(first, None, Proof::Digest);
    queue.uploaded_with(second, None, Proof::Word);
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
}

fn to_take_a_host_out_of_a_watch_releases_no_source(mut queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.store.return_job(second, return_job(State::Waiting)).blocking().unwrap();
    for names in [&["box"][..], &["box", "mirror"]] {
        queue.restart();
        let rules = with_hosts(rules(&[], true), names);
        queue.store.follow_watches(rules.watches.clone()).blocking().unwrap();
        queue.set_rules(rules);
        assert_eq!(queue.events(i64::MAX), [], "{names:?}");
        assert_eq!(queue.state(first), (State::Uploaded, about(ReasonClass::WaitsForHost, "mirror")), "{names:?}");
    }
    assert_eq!(queue.claim_on("mirror"), second);
    queue.record_outcome(second, None);
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
}

fn a_hook_that_is_taken_out_releases_no_source_and_is_named(mut queue: Queue) {
    queue.set_rules(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    queue.restart();
    queue.set_rules(Rules { hooks: Vec::new(), ..rules(&[], true) });
    assert_eq!(queue.events(i64::MAX), []);
    for job in [first, second] {
        let (state, why) = queue.state(job);
        let why = why.unwrap();
        assert_eq!((state, why.class, why.subject.as_deref()), (State::Done, ReasonClass::HookRemoved, Some("hook")));
        assert!(why.to_string().ends_with("leaving the file where it is"), "{why}");
    }
}

fn a_hook_that_replaces_another_hears_what_that_one_was_to_hear(mut queue: Queue) {
    queue.set_rules(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    let ids = queue.due_deliveries(i64::MAX).deliveries.iter().map(|delivery| delivery.id).collect();
    queue.store.record_failed_delivery(ids, hook_failed(), queue.now_ms()).blocking().unwrap();
    queue.restart();
    let mended = HookRule { key: "mended".into(), ..rules(&[Event::Done], true).hooks.remove(0) };
    assert_eq!(queue.set_rules(Rules { hooks: vec![mended], ..rules(&[], true) }), []);
    let due = queue.store.due_deliveries(vec![Wanted::new("mended", 9)], Vec::new(), i64::MAX).blocking().unwrap().deliveries;
    assert_eq!(due.iter().map(|delivery| (delivery.job, delivery.tries)).collect::<Vec<_>>(), [(first, 0), (second, 0)]);
    let (state, why) = queue.state(first);
    assert_eq!((state, why.is_some_and(|why| why.class == ReasonClass::HookFailed)), (State::Uploaded, false));
    queue.store.record_delivery(due.iter().map(|delivery| delivery.id).collect()).blocking().unwrap();
    assert_eq!(queue.events(i64::MAX), [(Event::After, second)]);
}

/// The queue as a daemon finds it whose only watch sends to these hosts.
fn follow(queue: &mut Queue, names: &[&str]) -> (u64, u64) {
    queue.restart();
    queue.store.recover().blocking().unwrap();
    queue.store.follow_watches(with_hosts(rules(&[], false), names).watches).blocking().unwrap()
}

const DAY_MS: i64 = 24 * 3600 * 1000;

fn jobs_that_are_wanted_no_more_rest_and_go_on_when_they_are(mut queue: Queue) {
    queue.enqueue(0..3);
    let jobs = queue.claim(3);
    let of = |host: &str| jobs.iter().filter(|job| job.host == host).map(|job| job.id).collect::<Vec<_>>();
    let (mut wanted, taken_out) = (of("box"), of("mirror"));
    wanted.sort();
    queue.store.return_job(taken_out[0], return_job(State::Waiting)).blocking().unwrap();
    queue.store.return_job(taken_out[1], return_job(State::Held)).blocking().unwrap();
    assert_eq!(follow(&mut queue, &["box"]), (3, 0));
    assert_eq!(follow(&mut queue, &["box"]), (0, 0));
    for job in &taken_out {
        let row = queue.job(*job);
        assert_eq!((row.state, row.next_try_ms, row.why), (State::Waiting, None, about(ReasonClass::NotSentTo, "mirror")));
    }
    let mut claimed: Vec<JobId> = queue.claim(9).into_iter().map(|job| job.id).collect();
    claimed.sort();
    assert_eq!(claimed, wanted, "nothing is sent to the host that was taken out");
    assert_eq!(follow(&mut queue, &["mirror", "box"]), (0, 3));
    assert_eq!(queue.claim(9).len(), 6);
    let nowhere = Watches::from_iter([Watch::new(PathBuf::from("/elsewhere"), hosts(&["box"]))]);
    queue.restart();
    queue.store.recover().blocking().unwrap();
    assert_eq!(queue.store.follow_watches(nowhere).blocking().unwrap(), (6, 0));
    assert_eq!(queue.state(wanted[0]), (State::Waiting, Some(Reason::new(ReasonClass::NotWatched))));
}

fn a_job_under_way_that_is_wanted_no_more_is_named_and_rests_once_it_is_returned(queue: Queue) {
    queue.enqueue_for("box", 0..2);
    let (first, second) = (queue.claim_on("box"), queue.claim_on("box"));
    let watches = with_hosts(rules(&[], false), &["mirror"]).watches;
    assert_eq!(queue.store.unwanted_under_way(with_hosts(rules(&[], false), &["box"]).watches).blocking().unwrap(), []);
    for (job, rests) in [(first, 1), (second, 1)] {
        assert_eq!(queue.store.follow_watches(watches.clone()).blocking().unwrap(), (0, 0));
        assert!(queue.store.unwanted_under_way(watches.clone()).blocking().unwrap().contains(&job));
        queue.store.return_job(job, return_job(State::Queued)).blocking().unwrap();
        assert_eq!(queue.store.follow_watches(watches.clone()).blocking().unwrap(), (rests, 0));
        assert_eq!(queue.state(job), (State::Waiting, about(ReasonClass::NotSentTo, "box")));
    }
    assert_eq!(queue.store.unwanted_under_way(watches.clone()).blocking().unwrap(), []);
    assert_eq!(queue.store.follow_watches(watches).blocking().unwrap(), (0, 0));
}

fn what_waits_or_is_held_is_due_when_a_person_may_have_mended_it_and_what_is_under_way_stays(queue: Queue) {
    queue.enqueue_for("box", 0..3);
    let [held, waits, sent] = [(); 3].map(|()| queue.claim_on("box"));
    let later = queue.now_ms() + DAY_MS / 24;
    for (job, state) in [(held, State::Held), (waits, State::Waiting)] {
        let returned = ReturnedJob { next_try_ms: Some(later), ..return_job(state) };
        queue.store.return_job(job, returned).blocking().unwrap();
    }
    queue.store.look_again().blocking().unwrap();
    assert_eq!([held, waits].map(|job| queue.job(job).next_try_ms), [Some(queue.now_ms()); 2]);
    assert_eq!([held, waits, sent].map(|job| queue.job(job).state), [State::Held, State::Waiting, State::Uploading]);
}

fn the_session_of_a_job_that_rests_is_given_back_after_a_day(mut queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    with_session(&queue, job);
    assert_eq!(follow(&mut queue, &["mirror"]), (1, 0));
    let ask = |queue: &Queue| queue.claim_as(vec![Asking::new("box", 1)], 1, queue.now_ms());
    let claims = ask(&queue);
    assert_eq!((claims.jobs.len(), claims.next_due_ms), (0, Some(NOW_MS + DAY_MS)));
    queue.pass(DAY_MS);
    let claimed = ask(&queue).jobs.remove(0);
    assert!(claimed.give_back && claimed.upload.is_some());
    // The daemon dies before the host has been told.
    assert_eq!(follow(&mut queue, &["mirror"]), (0, 0));
    assert_eq!(queue.state(job), (State::Waiting, about(ReasonClass::NotSentTo, "box")));
    assert!(ask(&queue).jobs.remove(0).give_back);
    let rest = ReturnedJob { next_try_ms: None, session: SessionFate::Drop, ..return_job(State::Waiting) };
    queue.store.return_job(job, rest).blocking().unwrap();
    assert_eq!(ask(&queue).jobs.len(), 0, "once");
    assert_eq!(follow(&mut queue, &["box"]), (0, 1));
    let claimed = ask(&queue).jobs.remove(0);
    assert!(!claimed.give_back && claimed.upload.is_none());
}

fn a_session_is_there_when_its_line_comes_back_within_a_day_and_forgotten_with_its_host(mut queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    with_session(&queue, job);
    follow(&mut queue, &["mirror"]);
    queue.pass(DAY_MS / 2);
    assert_eq!(follow(&mut queue, &["box"]), (0, 1));
    let claimed = queue.claim_one("box");
    assert!(!claimed.give_back && claimed.upload.is_some());
    follow(&mut queue, &["mirror"]);
    queue.store.configure(vec![PathBuf::from("/drop")], vec![("mirror".into(), "kie".into())]).blocking().unwrap();
    queue.pass(DAY_MS);
    follow(&mut queue, &["mirror"]);
    assert_eq!(queue.job(job).parts, 0, "nobody could give it back");
}

fn the_parts_and_the_time_of_an_upload_stay_when_it_is_done(queue: Queue) {
    queue.set_rules(rules(&[Event::Done], false));
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    with_session(&queue, job);
    queue.record_outcome(job, None);
    let seen = |queue: &Queue| {
        let row = queue.job(job);
        (row.parts, row.parts_acked, row.done_at_ms)
    };
    assert_eq!(seen(&queue), (3, 3, Some(NOW_MS)));
    queue.pass(DAY_MS);
    queue.deliver(Event::Done);
    assert_eq!((queue.state(job).0, seen(&queue)), (State::Done, (3, 3, Some(NOW_MS))));
}

fn a_start_does_not_set_off_an_after_action_before_every_hook_has_heard(mut queue: Queue) {
    queue.set_rules(rules(&[Event::Done], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    queue.deliver(Event::Done);
    let due = queue.due_deliveries(i64::MAX).deliveries.remove(0).id;
    queue.store.record_failed_delivery(vec![due], told("the target is away"), 1).blocking().unwrap();
    let more = with_hosts(rules(&[Event::Done], true), &["box", "mirror", "third"]);
    queue.restart();
    queue.set_rules(more.clone());
    let three = Arrival { hosts: more.watches[0].to.clone(), ..arrival(0) };
    queue.store.enqueue(vec![three]).blocking().unwrap();
    let third = queue.claim_on("third");
    queue.record_outcome(third, None);
    queue.restart();
    queue.set_rules(more);
    assert_eq!(queue.events(i64::MAX), [(Event::Done, third)]);
}

fn an_added_host_that_no_scan_finds_the_file_for_is_not_waited_for(mut queue: Queue) {
    let (first, second) = queue.with_an_added_host();
    assert_eq!(queue.events(i64::MAX), [], "`mirror` has a job, which is waited for");
    queue.record_outcome(second, None);
    assert_eq!(queue.events(i64::MAX).len(), 2, "somebody is to look for the file");
    queue.deliver(Event::After);
    let note = about(ReasonClass::NotFoundForHost, "third");
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, note.clone()), (State::Done, note)));
}

fn a_look_that_comes_too_late_takes_no_after_action_away(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    let due = queue.due_deliveries(i64::MAX).deliveries.remove(0).id;
    let before = queue.events(i64::MAX);
    queue.store.record_missing_file(due).blocking().unwrap();
    assert!(!before.is_empty() && queue.events(i64::MAX) == before);
}

fn a_host_that_failed_is_not_hidden_by_one_that_was_added(mut queue: Queue) {
    let (first, second) = queue.with_an_added_host();
    queue.store.return_job(second, return_job(State::Failed)).blocking().unwrap();
    assert_eq!(queue.state(first), (State::Done, about(ReasonClass::RefusedByHost, "mirror")));
}

fn a_changed_file_frees_what_waited_for_its_earlier_version(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, _) = queue.pair();
    queue.record_outcome(first, None);
    assert_eq!(queue.state(first).0, State::Uploaded);
    let changed = Arrival { identity: Identity { mtime_ns: 2, ..arrival(0).identity }, ..arrival(0) };
    queue.store.enqueue(vec![changed]).blocking().unwrap();
    assert_eq!(queue.state(first).0, State::Done);
}

fn a_changed_file_frees_an_after_action_that_waits_for_a_time_to_come(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    let due = queue.due_deliveries(i64::MAX).deliveries.remove(0).id;
    let tomorrow = queue.now_ms() + 86_400_000;
    queue.store.record_failed_delivery(vec![due], told("it may be written"), tomorrow).blocking().unwrap();
    let changed = Arrival { identity: Identity { mtime_ns: 2, ..arrival(0).identity }, ..arrival(0) };
    queue.store.enqueue(vec![changed]).blocking().unwrap();
    assert_eq!((queue.state(first).0, queue.state(second).0), (State::Done, State::Done));
}

fn that_a_writer_was_seen_to_close_a_version_is_told_with_its_after_action(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let closed = Arrival { hosts: Arc::from(["box".to_owned()]), close_seen: true, ..arrival(0) };
    queue.store.enqueue(vec![closed]).blocking().unwrap();
    let first = queue.claim_on("box");
    queue.record_outcome(first, None);
    // The job for a host that is added later, by a scan, which sees nobody close anything.
    queue.store.enqueue(vec![arrival(0)]).blocking().unwrap();
    let second = queue.claim_on("mirror");
    queue.record_outcome(second, None);
    let due = queue.due_deliveries(i64::MAX).deliveries;
    assert_eq!(due.iter().map(|delivery| (delivery.job, delivery.close_seen)).collect::<Vec<_>>(), [(second, true)]);
}

fn a_close_that_is_seen_later_sets_off_the_after_action_that_waits_for_it_and_no_other(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    let due = queue.due_deliveries(i64::MAX).deliveries.remove(0);
    assert!(!due.close_seen);
    let tomorrow = queue.now_ms() + 86_400_000;
    queue.store.record_failed_delivery(vec![due.id], told("it may be written"), tomorrow).blocking().unwrap();
    let close = |identity: Identity| {
        let Arrival { folder, name, .. } = arrival(0);
        queue.store.record_close(folder, name, identity).blocking().unwrap();
        queue.due_deliveries(queue.now_ms()).deliveries.iter().map(|delivery| delivery.close_seen).collect::<Vec<_>>()
    };
    let version = arrival(0).identity;
    assert!(close(Identity { ctime_ns: 2, ..version }).is_empty(), "another version was closed");
    assert_eq!(close(version), vec![true]);
}

fn an_after_action_that_will_never_be_done_ends_every_job_of_its_version_with_the_reason(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.record_outcome(second, None);
    let due = queue.due_deliveries(i64::MAX).deliveries.remove(0).id;
    queue.store.keep_source(due, told("it stays")).blocking().unwrap();
    let note = Some(told("it stays"));
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, note.clone()), (State::Done, note)));
    assert_eq!(queue.events(i64::MAX), []);
}

fn a_removed_hook_holds_nothing_up_and_is_named(mut queue: Queue) {
    queue.set_rules(rules(&[Event::Done, Event::Held], false));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.store.return_job(second, return_job(State::Held)).blocking().unwrap();
    assert_eq!(queue.events(i64::MAX), [(Event::Done, first), (Event::Held, second)]);
    queue.restart();
    let dropped = queue.set_rules(Rules::default());
    assert!(dropped.iter().all(|(hook, _)| hook == "hook"), "{dropped:?}");
    assert_eq!(dropped.iter().map(|(_, rows)| rows).sum::<u64>(), 2);
    assert_eq!((queue.state(first).0, queue.state(second).0), (State::Done, State::Held));
}

fn a_delivery_that_fails_is_seen_in_its_job_and_tried_again(queue: Queue) {
    queue.set_rules(rules(&[Event::Done, Event::Held], false));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.store.return_job(second, return_job(State::Held)).blocking().unwrap();
    let later = queue.now_ms() + 60_000;
    for delivery in queue.due_deliveries(later - 1).deliveries {
        queue.store.record_failed_delivery(vec![delivery.id], hook_failed(), later).blocking().unwrap();
    }
    assert_eq!(queue.due_deliveries(later - 1).next_due_ms, Some(later));
    assert_eq!(queue.state(first), (State::Uploaded, Some(hook_failed())));
    assert_eq!(queue.state(second), (State::Held, Some(told("a reason").and_also(Some(hook_failed())))));
    assert_eq!(queue.due_deliveries(i64::MAX).deliveries[0].tries, 1);
    queue.deliver(Event::Done);
    queue.deliver(Event::Held);
    assert_eq!((queue.state(first), queue.state(second)), ((State::Done, None), (State::Held, Some(told("a reason")))));
}

fn a_dying_link_is_told_of_and_renewed_once(queue: Queue) {
    queue.set_rules(rules(&[Event::Expiring], false));
    let (first, second) = queue.pair();
    let expires_ms = queue.now_ms() + 100_000_000;
    assert_eq!((queue.record_outcome(first, Some(expires_ms)), queue.record_outcome(second, None)), (State::Done, State::Done));
    assert_eq!(queue.events(queue.now_ms()), []);
    assert_eq!(queue.events(expires_ms - 1000), [(Event::Expiring, first), (Event::Refresh, first)]);
    let refresh = queue.due_deliveries(expires_ms).deliveries.remove(1);
    assert!(queue.store.requeue(refresh.id).blocking().unwrap());
    assert_eq!(queue.state(first).0, State::Queued);
    let claimed = queue.claim(1).remove(0);
    assert_eq!((claimed.id, claimed.renewals), (first, 1), "counted before it is sent");
    queue.record_outcome(first, Some(expires_ms + 100_000_000));
    let row = queue.job(first);
    assert_eq!((row.stored_name.as_deref(), row.stored_bytes), (Some("other"), Some(7)));
    assert_eq!(queue.events(expires_ms), [], "the old link's end is nobody's business any more");
}

fn hooks_hear_once_that_a_person_must_act(queue: Queue) {
    queue.set_rules(rules(&[Event::Held], false));
    queue.enqueue(0..1);
    let full = |said: &str| Reason::new(ReasonClass::Host(Class::HostFull)).detail(said);
    let wrong = Reason::new(ReasonClass::Host(Class::HostRefused)).detail("the password is wrong");
    assert!(queue.hold(&full("12 bytes left")));
    assert!(!queue.hold(&full("12 bytes left")), "the hourly try is no news");
    assert!(!queue.hold(&full("there is no room")), "nor are other words for it");
    assert!(queue.hold(&wrong), "another reason is");
    let job = queue.claim_on("box");
    let (plan, ack) = (Plan { file_bytes: 10, part_bytes: 5 }, Ack { number: 0, held_to: 5, receipt: None, moved_to: None });
    let session = Session("s".into());
    let opened = session.clone();
    queue.store.record_session(job, opened, Shape::parts(5), plan, version(arrival(0).identity)).blocking().unwrap();
    let found = vec![ack.clone()];
    queue.store.replace_acks(job, found, 0, plan, None).blocking().unwrap();
    queue.store.return_job(job, return_job(State::Waiting)).blocking().unwrap();
    assert!(!queue.hold(&wrong), "what the host had already is no progress, and waiting neither");
    let job = queue.claim_on("box");
    queue.store.record_ack(job, ack, plan, None).blocking().unwrap();
    queue.store.return_job(job, return_job(State::Waiting)).blocking().unwrap();
    assert!(queue.hold(&wrong), "after progress it is news");
    queue.store.recover().blocking().unwrap();
    assert!(queue.hold(&wrong), "and after a start, which lets it go");
}

fn the_same_arrival_makes_its_jobs_once_and_a_new_host_only_its_own(queue: Queue) {
    assert_eq!((queue.enqueue(0..5), queue.enqueue(0..5), queue.enqueue(3..6)), (10, 0, 2));
    let more = Arrival { hosts: Arc::from(["box".to_owned(), "mirror".to_owned(), "third".to_owned()]), ..arrival(0) };
    assert_eq!(queue.store.enqueue(vec![more]).blocking().unwrap(), 1);
}

fn a_file_that_was_passed_over_is_not_sent_to_a_host_that_is_added_later(queue: Queue) {
    let pass_over = |number| Arrival { make_jobs: false, ..arrival(number) };
    assert_eq!(queue.store.enqueue(vec![pass_over(0)]).blocking().unwrap(), 0);
    let more = |version: i64| {
        let identity = Identity { mtime_ns: version, ..arrival(0).identity };
        Arrival { hosts: Arc::from(["box".to_owned(), "mirror".to_owned(), "third".to_owned()]), identity, ..arrival(0) }
    };
    assert_eq!(queue.store.enqueue(vec![more(1)]).blocking().unwrap(), 0);
    assert_eq!(queue.store.enqueue(vec![more(2)]).blocking().unwrap(), 3, "a new version is wanted");
}

fn a_gone_file_is_forgotten_and_met_again(queue: Queue) {
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    queue.store.return_job(job, ReturnedJob { session: SessionFate::Drop, ..return_job(State::Gone) }).blocking().unwrap();
    assert_eq!(queue.enqueue(0..1), 1, "the other host keeps its job");
}

fn new_numbers_of_device_inode_and_birth_make_no_new_version(mut queue: Queue) {
    assert_eq!(queue.enqueue(1..2), 2);
    let before = arrival(1);
    let look = |queue: &Queue, identity: &Identity| queue.look(identity, &before);
    let mut identity = before.identity;
    for now in [
        Identity { device: 2, ..identity },
        Identity { device: 2, inode: 77, ..identity },
        Identity { device: 2, inode: 77, born_ns: 5, ctime_ns: 9, ..identity },
        Identity { device: 2, inode: 77, born_ns: 5, ctime_ns: 10, ..identity },
    ] {
        assert_eq!(look(&queue, &now), Seen::Renumbered, "{now:?}");
        let Arrival { folder, name, .. } = before.clone();
        queue.store.record_new_numbers(folder, name, now).blocking().unwrap();
        assert_eq!(look(&queue, &now), Seen::Known);
        let again = vec![Arrival { identity: Identity { device: 3, ..now }, ..arrival(1) }];
        assert_eq!(queue.store.enqueue(again).blocking().unwrap(), 0, "a settled file that was met before");
        identity = now;
    }
    queue.restart();
    for job in queue.claim(2) {
        assert!(job.identity.same_numbers(&identity), "the jobs go by the new numbers");
        assert_eq!(job.identity.ctime_ns, before.identity.ctime_ns, "and still mean the bytes that were settled");
    }
    let changed = Identity { size: 11, ..identity };
    assert_eq!(look(&queue, &changed), Seen::Unknown);
}

fn of_a_file_that_was_touched_the_fingerprint_tells_whether_it_is_another_version(queue: Queue) {
    queue.enqueue_for("box", 1..2);
    let (job, before) = (queue.claim_on("box"), arrival(1));
    let fingerprint = Some(Fingerprint(-5));
    let sent = Version { identity: before.identity, fingerprint };
    queue
        .store
        .record_session(job, Session("s".into()), opened_shape(), Plan { file_bytes: 10, part_bytes: 4 }, sent)
        .blocking()
        .unwrap();
    queue.record_outcome(job, None);
    let hosts = ["box".to_owned()];
    let look_for = |now, hosts: &[String]| queue.store.look_up(&before.folder, &[(&before.name, now)], hosts).unwrap().remove(0);
    let look = |now: Identity| look_for(now, &hosts);
    let to_compare = |fingerprint| Seen::Touched { fingerprint: Fingerprint(fingerprint), is_taken_up: true };
    let enqueue = |identity, fingerprint| {
        let again = Arrival { hosts: Arc::from(hosts.clone()), identity, fingerprint, ..arrival(1) };
        queue.store.enqueue(vec![again]).blocking().unwrap()
    };
    let touched = Identity { ctime_ns: 7, ..before.identity };
    let coarser = Identity { mtime_ns: 0, ctime_ns: 7, ..before.identity };
    for now in [touched, coarser] {
        assert_eq!(look(now), to_compare(-5), "{now:?}");
        let of_another = Seen::Touched { fingerprint: Fingerprint(-5), is_taken_up: false };
        assert_eq!(look_for(now, &["box".into(), "mirror".into()]), of_another, "and before it goes to a further host");
        assert_eq!(enqueue(now, fingerprint), 0, "the same content, {now:?}");
    }
    assert_eq!(
        (enqueue(touched, None), enqueue(before.identity, Some(Fingerprint(6)))),
        (0, 0),
        "nobody has found another content"
    );
    assert_eq!(enqueue(touched, Some(Fingerprint(6))), 1, "another content under the same size and time");
    assert_eq!(look(touched), Seen::Known);
    assert_eq!(look(Identity { ctime_ns: 8, ..touched }), to_compare(6));
    assert_eq!(queue.job(job).state, State::Done, "the version before has been sent");
    assert_eq!(enqueue(coarser, None), 1, "a coarser time is another version where no content has been compared");
}

fn a_version_is_found_elsewhere_by_its_inode_or_else_by_its_content(queue: Queue) {
    queue.enqueue_for("box", 1..2);
    let (job, before) = (queue.claim_on("box"), arrival(1));
    let elsewhere = |now: Identity| queue.look(&now, &arrival(2));
    let renumbered = Identity { device: 9, inode: 9, ctime_ns: 9, born_ns: 9, ..before.identity };
    assert_eq!(elsewhere(renumbered), Seen::Unknown, "nothing was read of it yet");
    let sent = Version { identity: before.identity, fingerprint: Some(Fingerprint(1)) };
    queue.store.record_version(job, sent).blocking().unwrap();
    assert_eq!(elsewhere(renumbered), Seen::Elsewhere(vec![earlier(&before, false, Some(Fingerprint(1)))]));
    assert_eq!(elsewhere(Identity { mtime_ns: 0, ..renumbered }), Seen::Unknown);
    let other = Arrival { hosts: Arc::from(["box".to_owned()]), identity: renumbered, ..arrival(4) };
    queue.store.enqueue(vec![other.clone()]).blocking().unwrap();
    let both = vec![earlier(&other, true, None), earlier(&before, false, Some(Fingerprint(1)))];
    assert_eq!(elsewhere(renumbered), Seen::Elsewhere(both), "those of the same inode come first");
    let (from, to) = ((before.folder, before.name), (arrival(2).folder, arrival(2).name));
    assert!(queue.store.record_rename(from, to, renumbered).blocking().unwrap());
    assert_eq!(queue.look(&renumbered, &Arrival { hosts: other.hosts, ..arrival(2) }), Seen::Known, "under its new numbers");
}

fn a_version_never_has_two_live_jobs_for_one_host(queue: Queue) {
    assert_eq!(queue.enqueue(1..2), 2);
    let job = queue.claim(1).into_iter().find(|job| job.host == "box").unwrap();
    let changed = || vec![Arrival { identity: Identity { mtime_ns: 2, ..arrival(1).identity }, ..arrival(1) }];
    let enqueue = |arrivals| queue.store.enqueue(arrivals).blocking().unwrap();
    // The file becomes another version and the first one again while its job is under way.
    assert_eq!(enqueue(changed()), 2);
    assert_eq!(enqueue(vec![arrival(1)]), 0, "the first one is on its way to both hosts");
    let live = || {
        let moves = |row: &&JobRow| matches!(row.state, State::Queued | State::Uploading);
        queue.jobs().iter().filter(moves).filter(|row| row.host == "box").count()
    };
    assert_eq!(live(), 1, "of the changed version, none has begun");
    queue.store.return_job(job.id, return_job(State::Gone)).blocking().unwrap();
    assert_eq!((enqueue(vec![arrival(1)]), live()), (1, 1), "met again once its job is over");
}

fn only_a_job_under_way_can_be_left_or_be_uploaded(queue: Queue) {
    queue.enqueue(0..1);
    let job = queue.claim(1).remove(0).id;
    queue.store.return_job(job, return_job(State::Gone)).blocking().unwrap();
    // An attempt that ends twice, or after somebody else has ended its job, changes nothing.
    queue.store.return_job(job, return_job(State::Queued)).blocking().unwrap();
    assert_eq!(queue.record_outcome(job, None), State::Gone);
    assert_eq!(queue.state(job).0, State::Gone);
}

fn higher_priority_goes_first_and_then_the_older(queue: Queue) {
    queue.enqueue(0..4);
    let names = |jobs: Vec<Claimed>| {
        let mut names: Vec<String> = jobs.iter().map(|job| job.path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(names(queue.claim(1)), ["f1"]);
    assert_eq!(names(queue.claim(1)), ["f3"]);
    assert_eq!(names(queue.claim(2)), ["f0", "f2"]);
}

fn retries_go_by_their_priority_and_then_by_how_long_they_have_waited(queue: Queue) {
    let hosts: Arc<[String]> = Arc::from(["box".to_owned()]);
    let arrivals =
        [0, 5, 0, 5].into_iter().zip(0..).map(|(priority, number)| Arrival { hosts: hosts.clone(), priority, ..arrival(number) });
    queue.store.enqueue(arrivals.collect()).blocking().unwrap();
    let mut jobs: Vec<JobId> = (0..4).map(|_| queue.claim_on("box")).collect();
    jobs.sort();
    for (job, next_try_ms) in jobs.iter().zip([1, 2, 3, 4]) {
        queue
            .store
            .return_job(*job, ReturnedJob { next_try_ms: Some(next_try_ms), ..return_job(State::Waiting) })
            .blocking()
            .unwrap();
    }
    let claimed: Vec<JobId> = (0..4).map(|_| queue.claim_as(vec![Asking::new("box", 1)], 1, 100).jobs[0].id).collect();
    assert_eq!(claimed, [1, 3, 0, 2].map(|at: usize| jobs[at]));
}

fn retries_take_half_of_the_room_while_new_jobs_wait_and_all_of_it_when_none_do(queue: Queue) {
    queue.enqueue_for("box", 0..20);
    queue.put_off("box");
    queue.enqueue_for("box", 20..25);
    let asking = |uploads, retries, room| vec![Asking { uploads, retries, uploads_max: 4, ..Asking::new("box", room) }];
    assert_eq!(mixed(&queue.claim_as(asking(0, 0, 4), 4, 100)), (2, 2));
    assert_eq!(mixed(&queue.claim_as(asking(3, 3, 1), 4, 100)), (0, 1), "those that upload are counted, however slow they are");
    assert_eq!(mixed(&queue.claim_as(asking(3, 1, 1), 4, 100)), (1, 0));
    let claims = queue.claim_as(asking(0, 0, 4), 4, 100);
    assert_eq!((mixed(&claims), claims.next_due_ms), ((2, 2), None), "what is due has no time to wait for, only a slot");
    assert_eq!(mixed(&queue.claim_as(asking(0, 0, 4), 4, 100)), (4, 0), "no new job is left");
}

fn retries_and_new_jobs_take_turns_in_a_single_slot(queue: Queue) {
    queue.enqueue_for("box", 0..10);
    queue.put_off("box");
    queue.enqueue_for("box", 10..20);
    let mut retried_last = false;
    let turns: Vec<bool> = std::iter::repeat_with(|| {
        let job = queue.claim_as(vec![Asking { retried_last, ..Asking::new("box", 1) }], 1, 100).jobs.remove(0);
        retried_last = job.retry;
        job.retry
    })
    .take(6)
    .collect();
    assert_eq!(turns, [true, false, true, false, true, false]);
}

/// A new file for `box` of so many bytes.
fn of_bytes(number: i64, size: u64, priority: i64) -> Arrival {
    let identity = Identity { size, ..arrival(number).identity };
    Arrival { hosts: Arc::from(["box".to_owned()]), identity, priority, ..arrival(number) }
}

fn sizes(claims: &Claims) -> Vec<u64> {
    claims.jobs.iter().map(|job| job.identity.size).collect()
}

fn one_place_in_four_goes_to_the_smallest_file_of_the_first(queue: Queue) {
    const FILM: u64 = 30 << 20;
    // The first size that is not small any more, and the last that is.
    const LARGE: u64 = 1_048_576;
    const SMALL: u64 = 1_048_575;
    let films = [FILM, FILM + 1, FILM + 2, FILM + 3, FILM + 4, LARGE].map(|size| (size, 0));
    let files = [films.as_slice(), &[(SMALL, 0), (3, 0), (1, -1)]].concat();
    let arrivals = files.iter().zip(0..).map(|((size, priority), number)| of_bytes(number, *size, *priority)).collect();
    queue.store.enqueue(arrivals).blocking().unwrap();
    let claims = queue.claim_as(vec![Asking::new("box", 4)], 4, 100);
    assert_eq!(sizes(&claims), [3, FILM, FILM + 1, FILM + 2]);
    let asking = |small, room| vec![Asking { uploads: 3, small, uploads_max: 4, ..Asking::new("box", room) }];
    assert_eq!(sizes(&queue.claim_as(asking(1, 1), 4, 100)), [FILM + 3], "it has its place in four");
    assert_eq!(sizes(&queue.claim_as(asking(0, 1), 4, 100)), [SMALL]);
    assert_eq!(sizes(&queue.claim_as(asking(0, 1), 4, 100)), [FILM + 4], "a small one that counts less does not pass others by");
    let single = |small_last| vec![Asking { small_last, ..Asking::new("box", 1) }];
    queue.store.enqueue(vec![of_bytes(20, 7, 0), of_bytes(21, 8, 0)]).blocking().unwrap();
    assert_eq!(sizes(&queue.claim_as(single(false), 1, 100)), [7], "in a single place they take turns");
    assert_eq!(sizes(&queue.claim_as(single(true), 1, 100)), [LARGE]);
    assert_eq!(sizes(&queue.claim_as(single(true), 1, 100)), [8]);
    assert_eq!(sizes(&queue.claim_as(single(false), 1, 100)), [1]);
}

fn a_host_that_may_be_well_again_is_tried_with_the_smallest_file_and_each_time_with_another(queue: Queue) {
    let arrivals = [9, 4 << 20, 2 << 20].into_iter().zip(0..).map(|(size, number)| of_bytes(number, size, 0)).collect();
    queue.store.enqueue(arrivals).blocking().unwrap();
    let trial = || vec![Asking { is_trial: true, ..Asking::new("box", 1) }];
    let mut tried = Vec::new();
    for _ in 0..3 {
        let claims = queue.claim_as(trial(), 1, 100);
        tried.extend(sizes(&claims));
        let waiting = ReturnedJob { next_try_ms: Some(1), ..return_job(State::Waiting) };
        queue.store.return_job(claims.jobs[0].id, waiting).blocking().unwrap();
    }
    assert_eq!(tried, [9, 2 << 20, 4 << 20]);
    assert_eq!(queue.claim_as(trial(), 1, 100).jobs.len(), 1, "those that have failed take their turns again");
}

fn a_host_with_a_long_queue_leaves_an_idle_one_its_share(queue: Queue) {
    queue.enqueue_for("box", 0..100);
    let asking = |first, second| {
        let asking = |host: &str, uploads| Asking { uploads, uploads_max: 16, ..Asking::new(host, 16 - uploads) };
        vec![asking("box", first), asking("mirror", second)]
    };
    let first = queue.claim_as(asking(0, 0), 16, 1).jobs.len();
    assert_eq!((first, queue.claim_as(asking(first, 0), 16, 1).jobs.len()), (12, 0));
    queue.enqueue_for("mirror", 100..200);
    let late = queue.claim_as(asking(first, 0), 16, 1).jobs;
    assert!(late.len() == 4 && late.iter().all(|job| job.host == "mirror"), "{late:#?}");
}

fn a_host_that_is_full_of_work_does_not_starve_one_that_takes_its_turn_after_it(queue: Queue) {
    queue.enqueue_for("box", 0..3);
    queue.enqueue_for("mirror", 3..6);
    let mut served = [0, 0];
    let turns: Vec<String> = (1..=6)
        .map(|turn| {
            let asking = |host: &str, served| Asking { served, ..Asking::new(host, 1) };
            let job = queue.claim_as(vec![asking("box", served[0]), asking("mirror", served[1])], 1, 1).jobs.remove(0);
            served[usize::from(job.host == "mirror")] = turn;
            job.host
        })
        .collect();
    assert_eq!(turns, ["box", "mirror", "box", "mirror", "box", "mirror"]);
}

fn a_delivery_that_fails_while_the_clock_is_set_back_is_put_off_by_an_hour_at_most(queue: Queue) {
    queue.set_rules(rules(&[Event::Done], false));
    let (first, _) = queue.pair();
    queue.record_outcome(first, None);
    let failed = queue.due_deliveries(queue.now_ms()).deliveries.remove(0).id;
    let far = queue.now_ms() + YEAR_MS;
    queue.store.record_failed_delivery(vec![failed], told("it failed"), far).blocking().unwrap();
    assert_eq!(queue.events(queue.now_ms() + 3_600_000), [(Event::Done, first)]);
}

/// How many of the claimed jobs are retries, and how many are new.
fn mixed(claims: &Claims) -> (usize, usize) {
    let retries = claims.jobs.iter().filter(|job| job.retry).count();
    (retries, claims.jobs.len() - retries)
}

pub(super) const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;

fn opened_shape() -> Shape {
    Shape { parallel: 3, takes_empty_files: false, file_bytes_max: Some(99), ..Shape::parts(4) }
}

fn with_session(queue: &Queue, job: JobId) -> Plan {
    let (shape, plan) = (opened_shape(), Plan { file_bytes: 10, part_bytes: 4 });
    let version = version(arrival(0).identity);
    let recorded = queue.store.record_session(job, Session("first".into()), shape, plan, version).blocking().unwrap();
    assert_eq!(recorded, Recorded::Yes);
    plan
}

fn ack(number: u32, receipt: Option<&str>, moved_to: Option<&str>) -> Ack {
    let moved_to = moved_to.map(|session| Session(session.into()));
    Ack { number, held_to: 0, receipt: receipt.map(str::to_owned), moved_to }
}

/// Leaves a job of `box` as `fate` says, and answers its upload at the next claim.
fn claimed_after(queue: &Queue, job: JobId, fate: SessionFate) -> Option<Upload> {
    let waiting = ReturnedJob { session: fate, ..return_job(State::Waiting) };
    queue.store.return_job(job, waiting).blocking().unwrap();
    let claimed = queue.claim_one("box");
    assert_eq!(claimed.id, job);
    claimed.upload
}

fn what_a_host_has_confirmed_is_there_at_the_next_claim(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let plan = with_session(&queue, job);
    for (ack, hash) in [(ack(2, Some("two"), None), i64::MIN), (ack(0, None, Some("second")), 5), (ack(2, Some("two"), None), 77)] {
        queue.store.record_ack(job, ack, plan, Some(SentHash(hash))).blocking().unwrap();
    }
    let row = queue.job(job);
    assert_eq!((row.parts, row.parts_acked, row.sent), (3, 2, 6), "a part that is told of twice counts once");
    let upload = claimed_after(&queue, job, SessionFate::Resume).unwrap();
    assert_eq!((upload.session, upload.plan, upload.held_bytes), (Session("second".into()), plan, 6));
    assert_eq!(upload.sent_hash, Some(SentHash(i64::MIN).and(SentHash(5))), "each part counts once");
    assert_eq!(upload.shape, Some(opened_shape()));
    assert_eq!([0, 1, 2].map(|number| upload.confirmed.contains(number)), [true, false, true]);
    assert_eq!(upload.confirmed.receipts.into_iter().collect::<Vec<_>>(), [(2, "two".to_owned())]);
    assert_eq!((upload.opened_ms, upload.committing, upload.commits, upload.resent), (NOW_MS, false, 0, false));
}

fn a_session_that_has_begun_takes_the_place_of_the_one_that_announced_it(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    with_session(&queue, job);
    let before = claimed_after(&queue, job, SessionFate::Resume).unwrap();
    assert!(queue.store.record_begun(job, Session("begun".into())).blocking().unwrap());
    queue.store.on_the_disk().blocking().unwrap();
    let upload = claimed_after(&queue, job, SessionFate::Resume).unwrap();
    assert_eq!(upload.session, Session("begun".into()));
    assert_eq!((upload.plan, upload.shape, upload.opened_ms), (before.plan, before.shape, before.opened_ms));
}

fn a_host_that_is_asked_is_believed_over_the_acks(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let plan = with_session(&queue, job);
    queue.store.record_ack(job, ack(0, None, None), plan, Some(SentHash(1))).blocking().unwrap();
    queue.store.record_ack(job, ack(1, None, None), plan, None).blocking().unwrap();
    assert_eq!(claimed_after(&queue, job, SessionFate::Resume).unwrap().sent_hash, None, "of one of them nothing is known");
    queue.store.replace_acks(job, vec![ack(2, None, None)], 0, plan, Some(SentHash(3))).blocking().unwrap();
    let upload = claimed_after(&queue, job, SessionFate::Resume).unwrap();
    assert_eq!(([0, 1, 2].map(|number| upload.confirmed.contains(number)), upload.held_bytes), ([false, false, true], 2));
    assert_eq!(upload.sent_hash, Some(SentHash(3)));
    queue.store.replace_acks(job, Vec::new(), 3, plan, None).blocking().unwrap();
    let upload = claimed_after(&queue, job, SessionFate::Resume).unwrap();
    assert_eq!((upload.confirmed.count(), upload.held_bytes), (0, 3), "one that takes bytes in order says how many");
    queue.store.record_offset(job, 7, Some(SentHash(9)), Some(Session("moved".into()))).blocking().unwrap();
    let upload = claimed_after(&queue, job, SessionFate::Resume).unwrap();
    assert_eq!((upload.session, upload.held_bytes, upload.sent_hash), (Session("moved".into()), 7, Some(SentHash(9))));
}

fn what_becomes_of_a_session_is_what_its_worker_says(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let plan = with_session(&queue, job);
    queue.store.record_ack(job, ack(0, None, None), plan, None).blocking().unwrap();
    queue.store.record_commit_intent(job).blocking().unwrap();
    let facts = |upload: Upload| (upload.committing, upload.commits, upload.confirmed.count(), upload.resent);
    let after = |fate| claimed_after(&queue, job, fate).map(facts);
    assert_eq!(after(SessionFate::Resume), Some((true, 0, 1, false)));
    assert_eq!(after(SessionFate::ResumeUncommitted), Some((false, 0, 1, false)));
    assert_eq!(after(SessionFate::ResumeUnanswered), Some((true, 1, 1, false)));
    assert_eq!(after(SessionFate::ResendParts), Some((false, 1, 0, true)));
    assert_eq!(after(SessionFate::DropLostMaybeDuplicate), None);
    assert!(queue.job(job).maybe_duplicate);
}

fn a_lost_session_is_counted_and_a_new_one_begins_with_nothing(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let plan = with_session(&queue, job);
    queue.store.record_ack(job, ack(0, None, None), plan, None).blocking().unwrap();
    assert!(claimed_after(&queue, job, SessionFate::DropLost).is_none());
    with_session(&queue, job);
    let waiting = ReturnedJob { failures: 3, failing_for: Some(Duration::from_millis(5)), ..return_job(State::Waiting) };
    queue.store.return_job(job, waiting).blocking().unwrap();
    let claimed = queue.claim_one("box");
    let (lost, upload) = (claimed.sessions_lost, claimed.upload.unwrap());
    assert_eq!((lost, upload.confirmed.count(), upload.held_bytes), (1, 0, 0));
    assert_eq!(
        (claimed.failures, claimed.failing, claimed.failing_for),
        (3, Some(("kind".into(), 1)), Some(Duration::from_millis(5)))
    );
    queue.store.record_ack(job, ack(0, None, None), plan, None).blocking().unwrap();
    queue.store.return_job(job, ReturnedJob { failures: 0, failing: None, ..return_job(State::Queued) }).blocking().unwrap();
    assert_eq!(queue.claim_one("box").failing_for, Some(Duration::from_millis(1)));
}

fn a_file_that_its_host_was_asked_to_make_twice_is_marked(queue: Queue) {
    queue.enqueue_for("box", 0..2);
    for maybe_duplicate in [true, false] {
        let job = queue.claim_on("box");
        let outcome = Outcome { maybe_duplicate, ..Outcome::default() };
        queue.store.record_outcome(job, outcome).blocking().unwrap();
        assert_eq!(queue.job(job).maybe_duplicate, maybe_duplicate);
    }
}

fn a_file_whose_upload_may_have_been_finished_is_marked_when_it_begins_anew(queue: Queue) {
    queue.enqueue_for("box", 0..4);
    let marked = [0, 1, 3].map(|parts| {
        let job = queue.claim_on("box");
        let plan = with_session(&queue, job);
        for number in 0..parts {
            queue.store.record_ack(job, ack(number, None, None), plan, None).blocking().unwrap();
        }
        with_session(&queue, job);
        queue.job(job).maybe_duplicate
    });
    assert_eq!(marked, [false, false, true]);
    let job = queue.claim_on("box");
    with_session(&queue, job);
    queue.store.record_commit_intent(job).blocking().unwrap();
    with_session(&queue, job);
    assert!(queue.job(job).maybe_duplicate, "whoever was asked to finish may have done so");
}

fn a_version_that_a_host_may_have_and_that_was_gone_for_a_while_is_marked_when_it_is_back(queue: Queue) {
    let files = || (0..3).map(|number| Arrival { hosts: Arc::from(["box".to_owned()]), ..arrival(number) }).collect::<Vec<_>>();
    queue.store.enqueue(files()).blocking().unwrap();
    let gone = [(SessionFate::DropLostMaybeDuplicate, false), (SessionFate::Drop, false), (SessionFate::Drop, true)];
    for (fate, is_unanswered) in gone {
        let job = queue.claim_on("box");
        with_session(&queue, job);
        if is_unanswered {
            queue.store.record_commit_intent(job).blocking().unwrap();
        }
        queue.store.return_job(job, ReturnedJob { session: fate, ..return_job(State::Gone) }).blocking().unwrap();
    }
    queue.store.enqueue(files()).blocking().unwrap();
    let marked = gone.map(|_| queue.job(queue.claim_on("box")).maybe_duplicate);
    assert_eq!(marked, [true, false, true]);
}

fn a_row_of_failures_lasts_as_long_as_was_waited_for_the_host_and_no_longer(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let now_ms = queue.now_ms();
    let seconds = Duration::from_secs;
    let failed = |lasts, counts, next_try_ms| {
        let left = ReturnedJob { failing_for: Some(lasts), counts, next_try_ms: Some(next_try_ms), ..return_job(State::Waiting) };
        queue.store.return_job(job, left).blocking().unwrap();
    };
    let claim_at =
        |now_ms| queue.store.claim(vec![Asking::new("box", 1)], 1, now_ms).blocking().unwrap().jobs.remove(0).failing_for;
    failed(seconds(100), true, now_ms + 5000);
    assert_eq!(claim_at(now_ms + 90_000_000), Some(seconds(105)), "the host was not to be asked for a day");
    failed(seconds(105), false, now_ms + 5000);
    assert_eq!(claim_at(now_ms + 5000), Some(seconds(105)), "it was the host's fault");
    failed(seconds(105), true, now_ms + 3_000_000);
    queue.store.recover().blocking().unwrap();
    assert_eq!(claim_at(now_ms + 90_000_000), Some(seconds(105)), "the daemon did not run");
    failed(seconds(105), true, now_ms + 3_000_000);
    queue.store.clock_was_set_back().blocking().unwrap();
    assert_eq!(claim_at(now_ms + 90_000_000), Some(seconds(105)), "nobody knows how long it was");
}

fn how_a_host_has_failed_is_kept_until_its_next_success(queue: Queue) {
    let hosts = ["box", "mirror"].map(|name| (name.to_owned(), "kie".to_owned()));
    queue.store.configure(Vec::new(), hosts.to_vec()).blocking().unwrap();
    assert_eq!(queue.store.outages().blocking().unwrap(), []);
    queue.store.record_outage("box".into(), Some("{}".into())).blocking().unwrap();
    queue.store.recover().blocking().unwrap();
    assert_eq!(queue.store.outages().blocking().unwrap(), [("box".to_owned(), "{}".to_owned())]);
    queue.store.record_outage("box".into(), None).blocking().unwrap();
    assert_eq!(queue.store.outages().blocking().unwrap(), []);
}

fn a_file_is_alone_at_its_host_when_no_other_is_to_be_tried(queue: Queue) {
    queue.enqueue_for("box", 0..3);
    let job = queue.claim_on("box");
    let others_wait = || queue.store.others_wait("box".into(), job).blocking().unwrap();
    assert!(others_wait(), "two are queued");
    let [second, third] = [(); 2].map(|()| queue.claim_on("box"));
    queue.record_outcome(second, None);
    queue.store.return_job(third, return_job(State::Held)).blocking().unwrap();
    assert!(others_wait(), "one is tried again");
    let third = queue.claim_on("box");
    queue.store.return_job(third, ReturnedJob { next_try_ms: None, ..return_job(State::Held) }).blocking().unwrap();
    assert!(!others_wait(), "it is not tried again");
}

fn a_digest_is_kept_until_the_job_has_ended_and_only_as_it_was_cut(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let state = |words: std::ops::Range<u32>| MidState(words.collect());
    let digest = |algorithm, mid_states| Digest { algorithm, hex: "ab".into(), mid_states };
    let md5 = digest(Algorithm::Md5, vec![state(1..5), state(5..9), state(9..13)]);
    queue.store.save_digest(job, 4, md5.clone()).blocking().unwrap();
    assert_eq!(queue.store.saved_digest(job, 4).blocking().unwrap(), Some(md5));
    let digest = digest(Algorithm::Sha256, vec![state(1..9), state(9..17)]);
    queue.store.save_digest(job, 4, digest.clone()).blocking().unwrap();
    let kept = |part_bytes| queue.store.saved_digest(job, part_bytes).blocking().unwrap();
    assert!(claimed_after(&queue, job, SessionFate::DropLost).is_none());
    assert_eq!((kept(4).as_ref(), kept(5)), (Some(&digest), None));
    queue.record_outcome(job, None);
    assert_eq!(kept(4), None);
}

fn a_digest_is_forgotten_when_the_file_was_touched_since(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let digest = Digest { algorithm: Algorithm::Md5, hex: "ab".into(), mid_states: Vec::new() };
    let touched = |ctime_ns| version(Identity { ctime_ns, ..arrival(0).identity });
    let kept_after = |version| {
        queue.store.save_digest(job, 4, digest.clone()).blocking().unwrap();
        assert_eq!(queue.store.record_version(job, version).blocking().unwrap(), Recorded::Yes);
        queue.store.saved_digest(job, 4).blocking().unwrap()
    };
    assert_eq!(kept_after(touched(9)), None);
    assert_eq!(kept_after(touched(9)), Some(digest.clone()), "the same version once more");
    let plan = Plan { file_bytes: arrival(0).identity.size, part_bytes: 4 };
    let opened = queue.store.record_session(job, Session("s".into()), Shape::parts(4), plan, touched(10)).blocking().unwrap();
    assert_eq!((opened, queue.store.saved_digest(job, 4).blocking().unwrap()), (Recorded::Yes, None));
}

fn the_bytes_that_a_host_has_already_are_those_of_the_version_that_was_looked_at(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let looked_at = Identity { ctime_ns: 9, ..arrival(0).identity };
    assert_eq!(queue.store.record_version(job, version(looked_at)).blocking().unwrap(), Recorded::Yes);
    queue.store.return_job(job, return_job(State::Waiting)).blocking().unwrap();
    assert_eq!(queue.claim_one("box").identity, looked_at);
}

fn a_renamed_file_takes_its_jobs_with_it_and_what_was_under_its_new_name_may_have_another_one(queue: Queue) {
    let path = |arrival: &Arrival| (arrival.folder.clone(), arrival.name.clone());
    let (old, taken) = (arrival(1), Arrival { identity: Identity { size: 11, ..arrival(2).identity }, ..arrival(2) });
    queue.store.enqueue(vec![old.clone(), taken.clone()]).blocking().unwrap();
    let now = Identity { ctime_ns: 9, ..old.identity };
    assert_eq!(queue.look(&now, &taken), Seen::Elsewhere(vec![earlier(&old, true, None)]));
    let job = queue.jobs().into_iter().find(|job| job.path.ends_with("f1")).unwrap().id;
    assert!(queue.store.record_rename(path(&old), path(&taken), now).blocking().unwrap());
    assert_eq!(queue.store.path_of(job).blocking().unwrap(), taken.folder.join(&taken.name));
    assert_eq!(queue.look(&now, &taken), Seen::Known);
    assert!(!queue.store.record_rename(path(&old), path(&arrival(7)), now).blocking().unwrap(), "it is not there any more");
    let newcomer = Arrival { identity: Identity { inode: 99, size: 12, ..old.identity }, ..old.clone() };
    queue.store.enqueue(vec![newcomer.clone()]).blocking().unwrap();
    assert!(
        !queue.store.record_rename(path(&old), path(&arrival(7)), now).blocking().unwrap(),
        "what is there now is another file"
    );
    assert_eq!(queue.look(&newcomer.identity, &newcomer), Seen::Known);
    // The file that had the name may have another one now.
    let Seen::Elsewhere(places) = queue.look(&taken.identity, &arrival(7)) else { panic!("it is forgotten") };
    let [Earlier { folder, name, same_inode: true, .. }] = &places[..] else { panic!("{places:?}") };
    assert!(queue.store.record_rename((folder.clone(), name.clone()), path(&arrival(7)), taken.identity).blocking().unwrap());
    assert_eq!(queue.look(&taken.identity, &Arrival { identity: taken.identity, ..arrival(7) }), Seen::Known);
}

fn without_a_time_of_birth_a_number_says_nothing_of_a_rename(queue: Queue) {
    let unborn = Arrival { identity: Identity { born_ns: 0, ..arrival(1).identity }, ..arrival(1) };
    queue.store.enqueue(vec![unborn.clone()]).blocking().unwrap();
    assert_eq!(queue.look(&unborn.identity, &arrival(2)), Seen::Unknown);
}

fn many_files_of_a_folder_are_looked_up_in_their_order(queue: Queue) {
    queue.enqueue_for("box", 0..7);
    let folder = arrival(0).folder;
    let files: Vec<(Arrival, Identity)> = [0, 3, 6, 9].map(|number| (arrival(number), arrival(number).identity)).into();
    let asked: Vec<(&OsStr, Identity)> = files.iter().map(|(file, identity)| (file.name.as_os_str(), *identity)).collect();
    let look = |hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        queue.store.look_up(&folder, &asked, &hosts).unwrap()
    };
    assert_eq!(look(&["box"]), [Seen::Known, Seen::Known, Seen::Known, Seen::Unknown]);
    assert_eq!(look(&["box", "mirror"]), vec![Seen::Unknown; 4], "not for all its hosts");
}

fn what_fails_is_undone_and_what_comes_after_it_is_not(queue: Queue) {
    let work = |queue: &mut dyn Backend, by| {
        queue.enqueue(by, &[arrival(0)])?;
        Err::<((), Wake), _>(StoreError::Refused("its own fault".into()))
    };
    StoreCall::new(&queue.store, Durability::Power, Box::new(work)).blocking().unwrap_err();
    assert_eq!((queue.jobs().len(), queue.look(&arrival(0).identity, &arrival(0))), (0, Seen::Unknown));
    assert_eq!((queue.enqueue(0..1), queue.jobs().len()), (2, 2));
}

fn a_watch_has_been_seen_before_once_it_was_scanned_to_its_end(queue: Queue) {
    let seen = |watches: &[&str]| {
        let watches = watches.iter().map(PathBuf::from).collect();
        queue.store.configure(watches, vec![("box".into(), "kie".into())]).blocking().unwrap()
    };
    let status = |last_scan_ms| WatchReport {
        state: WatchState::Watching,
        events: EventSource::Native,
        last_scan_ms,
        ..WatchReport::default()
    };
    queue.store.record_watch("/drop".into(), status(None)).blocking().unwrap();
    let begun = Some(queue.now_ms());
    queue.pass(5000);
    assert_eq!(seen(&["/other", "/drop"]), [Some(queue.now_ms()), begun], "a first scan that was cut short is a first scan still");
    queue.pass(5000);
    queue.store.record_watch("/drop".into(), status(Some(1))).blocking().unwrap();
    queue.store.record_watch("/drop".into(), status(None)).blocking().unwrap();
    let later = begun.map(|begun| begun + 5000);
    assert_eq!(seen(&["/other"]), [later]);
    assert_eq!(seen(&["/other", "/drop"]), [later, None], "also after a while without it");
}

fn rests(queue: &Queue) -> Vec<(String, u64, u32)> {
    let rests = queue.store.resting_hosts().blocking().unwrap();
    rests.into_iter().map(|rest| (rest.host, rest.left.as_secs(), rest.rests)).collect()
}

fn rest(queue: &Queue, host: &str, seconds: i64) {
    let until_ms = Some(queue.now_ms() + 1000 * seconds);
    let status = HostReport { state: HostState::Resting, until_ms, why: Some(told("it asked for it")), rests: 2 };
    queue.store.record_host(host.into(), status).blocking().unwrap();
}

fn a_host_that_asked_for_rest_has_it_also_after_a_start(queue: Queue) {
    rest(&queue, "box", 30);
    let held = HostReport { state: HostState::Held, until_ms: Some(i64::MAX), why: None, rests: 0 };
    queue.store.record_host("mirror".into(), held).blocking().unwrap();
    queue.pass(10_000);
    queue.store.recover().blocking().unwrap();
    assert_eq!(rests(&queue), [("box".to_owned(), 20, 2)]);
    queue.store.record_host_rest("box".into(), queue.now_ms() + 5_000).blocking().unwrap();
    queue.store.record_host_rest("mirror".into(), queue.now_ms() + 5_000).blocking().unwrap();
    assert_eq!(rests(&queue), [("box".to_owned(), 5, 2)], "who does not rest is not made to");
    queue.pass(5_000);
    assert_eq!(rests(&queue), []);
}

fn a_host_is_forgotten_with_its_configuration(queue: Queue) {
    rest(&queue, "box", 30);
    rest(&queue, "mirror", 30);
    queue.store.configure(Vec::new(), vec![("mirror".into(), "kie".into())]).blocking().unwrap();
    assert_eq!(rests(&queue), [("mirror".to_owned(), 30, 2)]);
}

/// A job of `box` that is left in `state` for an hour.
fn left_for_an_hour(queue: &Queue, state: State) -> JobId {
    let job = queue.claim_as(vec![Asking::new("box", 1)], 1, queue.now_ms()).jobs.remove(0).id;
    let next_try_ms = Some(queue.now_ms() + 3_600_000);
    queue.store.return_job(job, ReturnedJob { next_try_ms, ..return_job(state) }).blocking().unwrap();
    job
}

fn due_now(queue: &Queue) -> Vec<JobId> {
    let now_ms = queue.now_ms();
    queue.claim_as(vec![Asking::new("box", 9)], 9, now_ms).jobs.into_iter().map(|job| job.id).collect()
}

fn what_was_held_because_of_its_host_is_due_when_the_host_takes_files_again(queue: Queue) {
    queue.enqueue_for("box", 0..2);
    let (held, _) = (left_for_an_hour(&queue, State::Held), left_for_an_hour(&queue, State::Waiting));
    queue.store.requeue_held("mirror".into()).blocking().unwrap();
    assert_eq!(due_now(&queue), []);
    queue.store.requeue_held("box".into()).blocking().unwrap();
    assert_eq!(due_now(&queue), [held]);
}

fn what_waits_for_a_time_is_due_after_a_start_and_after_the_clock_was_set_back(queue: Queue) {
    queue.enqueue_for("box", 0..2);
    let jobs = [left_for_an_hour(&queue, State::Waiting), left_for_an_hour(&queue, State::Held)];
    assert_eq!(due_now(&queue), []);
    queue.store.clock_was_set_back().blocking().unwrap();
    assert_eq!(due_now(&queue), jobs);
    queue.store.recover().blocking().unwrap();
    assert!(queue.jobs().iter().all(|job| job.state == State::Queued), "what was claimed can be claimed again");
    let jobs = [left_for_an_hour(&queue, State::Held), left_for_an_hour(&queue, State::Waiting)];
    queue.store.recover().blocking().unwrap();
    assert_eq!(due_now(&queue), jobs);
}

fn what_a_missing_network_has_put_off_is_due_when_the_network_has_changed(queue: Queue) {
    queue.enqueue_for("box", 0..3);
    queue.enqueue_for("mirror", 0..1);
    let claimed = ["box", "box", "box", "mirror"].map(|host| queue.claim_on(host));
    let left = [(State::Waiting, 30), (State::Waiting, 31), (State::Held, 30), (State::Waiting, 30)];
    for (job, (state, seconds)) in claimed.into_iter().zip(left) {
        let left = ReturnedJob { next_try_ms: Some(queue.now_ms() + seconds * 1000), ..return_job(state) };
        queue.store.return_job(job, left).blocking().unwrap();
    }
    assert_eq!(due_now(&queue), []);
    queue.store.network_changed(vec!["box".into()]).blocking().unwrap();
    assert_eq!(due_now(&queue), [claimed[0]]);
    assert!(queue.claim_as(vec![Asking::new("mirror", 9)], 9, queue.now_ms()).jobs.is_empty(), "another host was reached");
}

fn a_job_whose_time_is_a_year_ahead_is_worked_on(queue: Queue) {
    queue.enqueue_for("box", 0..2);
    left_for_an_hour(&queue, State::Waiting);
    let job = queue.claim_as(vec![Asking::new("box", 1)], 1, queue.now_ms()).jobs.remove(0).id;
    let far = ReturnedJob { next_try_ms: Some(queue.now_ms() + YEAR_MS), ..return_job(State::Waiting) };
    queue.store.return_job(job, far).blocking().unwrap();
    let claims = queue.claim_as(vec![Asking::new("box", 9)], 9, queue.now_ms());
    assert_eq!(claims.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [job]);
    assert_eq!(claims.next_due_ms, Some(queue.now_ms() + 3_600_000), "an hour is a time that a host may have asked for");
}

fn what_moves_is_shown_until_the_next_word_of_it(queue: Queue) {
    let (first, second) = queue.pair();
    let live = |job| Live { job, sent: 7, per_second: 3 };
    let shown = || [first, second].map(|job| (queue.job(job).sent, queue.job(job).per_second));
    queue.store.record_progress(vec![live(first)]).blocking().unwrap();
    assert_eq!(shown(), [(7, 3), (0, 0)]);
    queue.store.record_progress(vec![live(second)]).blocking().unwrap();
    assert_eq!(shown(), [(0, 0), (7, 3)]);
}

fn a_delivery_that_runs_is_not_given_out_again_and_the_next_one_has_its_time(queue: Queue) {
    queue.set_rules(rules(&[Event::Done], false));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    queue.pass(1);
    queue.record_outcome(second, None);
    let one = |running: Vec<DeliveryId>| {
        queue.store.due_deliveries(vec![Wanted::new("hook", 1)], running, queue.now_ms()).blocking().unwrap()
    };
    let running = one(Vec::new()).deliveries.remove(0);
    assert_eq!((running.job, running.made_ms, running.number, running.kind.as_str()), (first, NOW_MS, 1, "cloudkp"));
    let next = one(vec![running.id]).deliveries.remove(0);
    assert_eq!(next.job, second);
    queue.store.record_failed_delivery(vec![running.id], told("it failed"), NOW_MS + 60_000).blocking().unwrap();
    queue.store.record_delivery(vec![next.id]).blocking().unwrap();
    let due = one(Vec::new());
    assert_eq!((due.deliveries.len(), due.next_due_ms), (0, Some(NOW_MS + 60_000)));
}

fn whoever_looks_in_vain_for_an_added_host_looks_again_later(mut queue: Queue) {
    let (_, second) = queue.with_an_added_host();
    queue.record_outcome(second, None);
    let look = queue.due_deliveries(i64::MAX).deliveries.remove(0);
    assert_eq!(look.why, about(ReasonClass::WaitsForHost, "third"));
    let other = queue.of_another_daemon();
    other.store.look_again_later(look.id, queue.now_ms() + 60_000).blocking().unwrap();
    assert!(
        queue.due_deliveries(queue.now_ms()).deliveries.iter().any(|delivery| delivery.id == look.id),
        "it is not the other's to put off"
    );
    queue.store.look_again_later(look.id, queue.now_ms() + 60_000).blocking().unwrap();
    let later = queue.due_deliveries(queue.now_ms());
    assert!(later.deliveries.iter().all(|delivery| delivery.id != look.id));
    assert_eq!(later.next_due_ms, Some(queue.now_ms() + 60_000));
    queue.store.record_missing_file(look.id).blocking().unwrap();
    assert_eq!(queue.jobs().iter().map(|job| job.state).collect::<Vec<_>>(), [State::Done, State::Done]);
}

fn a_start_of_one_daemon_leaves_the_claims_of_another_alone(queue: Queue) {
    queue.enqueue_for("box", 0..4);
    let other = queue.of_another_daemon();
    let (ours, theirs) = (queue.claim_on("box"), other.claim_on("box"));
    let (our_hold, their_hold) = (left_for_an_hour(&queue, State::Held), left_for_an_hour(&other, State::Held));
    let live = |queue: &Queue, job| queue.store.record_progress(vec![Live { job, sent: 7, per_second: 3 }]).blocking().unwrap();
    live(&other, theirs);
    live(&queue, ours);
    queue.store.recover().blocking().unwrap();
    let shown = |job| (queue.job(job).state, queue.job(job).per_second);
    assert_eq!((shown(ours), shown(theirs)), ((State::Queued, 0), (State::Uploading, 3)));
    let next_try = |job| queue.job(job).next_try_ms.unwrap() - NOW_MS;
    assert_eq!((next_try(our_hold), next_try(their_hold)), (0, 3_600_000));
    queue.store.requeue_held("box".into()).blocking().unwrap();
    queue.store.clock_was_set_back().blocking().unwrap();
    assert_eq!(next_try(their_hold), 3_600_000);
}

fn what_one_daemon_notes_of_hosts_and_watches_is_its_own(queue: Queue) {
    let other = queue.of_another_daemon();
    let (watches, hosts) = (vec![PathBuf::from("/drop")], vec![("box".to_owned(), "kie".to_owned())]);
    other.store.configure(watches.clone(), hosts.clone()).blocking().unwrap();
    rest(&queue, "box", 30);
    rest(&other, "box", 60);
    queue.store.record_host_rest("box".into(), NOW_MS + 40_000).blocking().unwrap();
    let scanned =
        WatchReport { state: WatchState::Watching, events: EventSource::Native, last_scan_ms: Some(1), ..WatchReport::default() };
    queue.store.record_watch("/drop".into(), scanned).blocking().unwrap();
    assert_eq!((rests(&queue), rests(&other)), (vec![("box".into(), 40, 2)], vec![("box".into(), 60, 2)]));
    let seen = |queue: &Queue| queue.store.configure(watches.clone(), hosts.clone()).blocking().unwrap();
    assert_eq!((seen(&queue), seen(&other)), (vec![None], vec![Some(NOW_MS)]));
    queue.store.configure(Vec::new(), Vec::new()).blocking().unwrap();
    queue.store.recover().blocking().unwrap();
    assert_eq!((rests(&queue), rests(&other)), (vec![], vec![("box".into(), 60, 2)]), "one that has no hosts takes nobody's away");
}

fn whoever_has_lost_a_claim_changes_nothing_any_more(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let other = queue.of_another_daemon();
    let job = queue.claim_on("box");
    let plan = with_session(&queue, job);
    // Somebody has given it back in the name of the daemon that is lost, and another one claims it.
    queue.store.return_job(job, return_job(State::Queued)).blocking().unwrap();
    assert_eq!(other.claim_on("box"), job);
    other.store.record_ack(job, ack(0, None, None), plan, None).blocking().unwrap();
    let before = format!("{:?}", queue.job(job));

    let digest = Digest { algorithm: Algorithm::Md5, hex: "ab".into(), mid_states: Vec::new() };
    let told = [
        queue.store.record_session(job, Session("lost".into()), Shape::whole(), plan, version(arrival(0).identity)),
        queue.store.record_version(job, version(Identity { ctime_ns: 9, ..arrival(0).identity })),
    ];
    assert_eq!(told.map(|call| call.blocking().unwrap()), [Recorded::NotOurs; 2]);
    let told = [
        queue.store.record_begun(job, Session("lost".into())),
        queue.store.record_ack(job, ack(1, None, None), plan, None),
        queue.store.record_offset(job, 9, None, None),
        queue.store.replace_acks(job, Vec::new(), 9, plan, None),
        queue.store.save_digest(job, 4, digest),
    ];
    assert_eq!(told.map(|call| call.blocking().unwrap()), [false; 5]);
    assert!(matches!(queue.store.record_commit_intent(job).blocking(), Err(StoreError::NotOurs { .. })));
    assert_eq!(queue.record_outcome(job, None), State::Uploading, "it is told how the job stands");
    queue.store.return_job(job, return_job(State::Failed)).blocking().unwrap();

    assert_eq!(format!("{:?}", queue.job(job)), before);
    assert_eq!(other.store.saved_digest(job, 4).blocking().unwrap(), None);
    other.store.record_commit_intent(job).blocking().unwrap();
    let upload = claimed_after(&other, job, SessionFate::Resume).unwrap();
    assert_eq!((upload.session, upload.confirmed.count(), upload.committing), (Session("first".into()), 1, true));
    other.store.return_job(job, return_job(State::Queued)).blocking().unwrap();
    assert_eq!(queue.claim_one("box").identity, arrival(0).identity);
}

fn deliveries_belong_to_the_daemon_that_made_them(queue: Queue) {
    let other = queue.of_another_daemon();
    queue.set_rules(rules(&[Event::Done], true));
    other.set_rules(rules(&[Event::Done], true));
    queue.enqueue(0..1);
    let (first, second) = (queue.claim_on("box"), other.claim_on("mirror"));
    queue.record_outcome(first, None);
    other.record_outcome(second, None);
    assert_eq!((queue.events(i64::MAX), other.events(i64::MAX)), (vec![(Event::Done, first)], vec![(Event::Done, second)]));
    let theirs = other.due_deliveries(i64::MAX).deliveries.remove(0).id;
    queue.store.record_failed_delivery(vec![theirs], told("not ours"), NOW_MS + 60_000).blocking().unwrap();
    queue.store.record_delivery(vec![theirs]).blocking().unwrap();
    assert_eq!(other.due_deliveries(NOW_MS).deliveries.iter().map(|due| (due.id, due.tries)).collect::<Vec<_>>(), [(theirs, 0)]);

    // The first one is configured anew, without hooks and after-actions.
    let restarted = Queue::of(queue.backend.clone(), queue.now_ms.clone(), DaemonId::LOCAL);
    assert_eq!(restarted.set_rules(Rules::default()).len(), 1);
    assert_eq!((queue.state(first).0, other.state(second).0), (State::Done, State::Uploaded));
    other.deliver(Event::Done);
    assert_eq!(other.events(i64::MAX), [(Event::After, second)]);
}

fn a_host_that_one_daemon_adds_does_not_keep_another_from_its_after_action(queue: Queue) {
    let other = queue.of_another_daemon();
    queue.set_rules(rules(&[], true));
    other.set_rules(rules(&[], true));
    queue.enqueue(0..1);
    let (first, second) = (other.claim_on("box"), queue.claim_on("mirror"));
    other.record_outcome(first, None);
    queue.record_outcome(second, None);
    let more = with_hosts(rules(&[], true), &["box", "mirror", "third"]);
    queue.of_another_daemon().set_rules(more);
    let due = |queue: &Queue| queue.due_deliveries(NOW_MS).deliveries.into_iter().map(|due| (due.job, due.why)).collect::<Vec<_>>();
    assert_eq!((due(&queue), due(&other)), (vec![(second, None)], vec![(first, about(ReasonClass::WaitsForHost, "third"))]));
}

fn a_delivery_of_another_daemon_is_neither_done_nor_sent_again(queue: Queue) {
    let other = queue.of_another_daemon();
    other.set_rules(rules(&[], true));
    queue.set_rules(rules(&[], true));
    queue.enqueue(0..1);
    let (first, second) = (other.claim_on("box"), other.claim_on("mirror"));
    other.record_outcome(first, Some(NOW_MS + 100_000_000));
    other.record_outcome(second, None);
    let due = other.due_deliveries(i64::MAX).deliveries;
    for delivery in &due {
        queue.store.keep_source(delivery.id, told("not ours")).blocking().unwrap();
        queue.store.record_missing_file(delivery.id).blocking().unwrap();
        queue.store.look_again_later(delivery.id, 1).blocking().unwrap();
        assert!(!queue.store.requeue(delivery.id).blocking().unwrap());
    }
    let ids = |due: &[crate::job::Delivery]| due.iter().map(|delivery| (delivery.id, delivery.event)).collect::<Vec<_>>();
    assert_eq!((due.len(), ids(&other.due_deliveries(i64::MAX).deliveries)), (2, ids(&due)));
}

fn a_hook_that_cannot_be_told_of_a_held_job_does_not_hide_why_it_is_held(queue: Queue) {
    queue.set_rules(rules(&[Event::Held], false));
    queue.enqueue(0..1);
    let job = queue.claim_on("box");
    let full = Reason::new(ReasonClass::Host(Class::HostFull)).detail("12 bytes left");
    let held = ReturnedJob { why: Some(full.clone()), ..return_job(State::Held) };
    queue.store.return_job(job, held).blocking().unwrap();
    let delivery = queue.due_deliveries(i64::MAX).deliveries.remove(0);
    assert_eq!(delivery.why.as_ref(), Some(&full));
    queue.store.record_failed_delivery(vec![delivery.id], hook_failed(), 1).blocking().unwrap();
    let both = full.clone().and_also(Some(hook_failed()));
    assert_eq!(queue.state(job), (State::Held, Some(both.clone())));
    assert_eq!(both.to_string(), "12 bytes left; hook `command sh` failed: exit status: 3");
    assert_eq!(
        queue.due_deliveries(i64::MAX).deliveries.remove(0).why.as_ref(),
        Some(&full),
        "the hook hears of the job, not of itself"
    );
    queue.deliver(Event::Held);
    assert_eq!(queue.state(job), (State::Held, Some(full)));
}

/// Orders this for everything, with somebody who works on what is under way.
fn order(queue: &Queue, order: Order) -> Steered {
    order_for(queue, order, Selection::default())
}

fn order_for(queue: &Queue, order: Order, selection: Selection) -> Steered {
    queue.store.steer(Steer { order, selection, after: JobId(0), under_way: true }).blocking().unwrap()
}

/// One claimed job of `box` that has a session and the ack of its first part.
fn under_way(queue: &Queue) -> JobId {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    let plan = with_session(queue, job);
    queue.store.record_ack(job, ack(0, None, None), plan, None).blocking().unwrap();
    job
}

fn leave(queue: &Queue, job: JobId, state: State) -> State {
    queue.store.return_job(job, return_job(state)).blocking().unwrap();
    queue.state(job).0
}

fn a_paused_job_is_claimed_by_nobody_and_goes_on_with_its_session_when_it_is_resumed(queue: Queue) {
    let job = under_way(&queue);
    assert_eq!(leave(&queue, job, State::Waiting), State::Waiting);
    assert_eq!(order(&queue, Order::Pause).jobs, [job]);
    assert_eq!((queue.state(job), queue.job(job).next_try_ms), ((State::Paused, None), None));
    assert_eq!(queue.claim(9).len(), 0);
    let again = order_for(&queue, Order::Pause, Selection { jobs: vec![job], ..Selection::default() });
    assert_eq!((again.changed, again.unchanged.get(&State::Paused)), (0, Some(&1)));
    assert_eq!(order(&queue, Order::Resume).changed, 1);
    let claimed = queue.claim_one("box");
    assert_eq!((claimed.id, claimed.upload.map(|upload| upload.confirmed.count())), (job, Some(1)));
    assert_eq!((claimed.failures, claimed.failing), (0, None), "what failed before is forgotten");
}

fn a_job_under_way_is_where_it_was_ordered_once_its_worker_leaves_it(queue: Queue) {
    let job = under_way(&queue);
    let steered = order(&queue, Order::Pause);
    assert_eq!((steered.changed, steered.stopping, queue.state(job).0), (1, vec![job], State::Uploading));
    let plan = Plan { file_bytes: 10, part_bytes: 4 };
    assert!(queue.store.record_ack(job, ack(1, None, None), plan, None).blocking().unwrap(), "what is in flight still counts");
    assert_eq!(leave(&queue, job, State::Waiting), State::Paused);
    assert_eq!((queue.state(job), queue.job(job).next_try_ms), ((State::Paused, None), None));
    order(&queue, Order::Resume);
    assert_eq!(queue.claim_one("box").upload.map(|upload| upload.confirmed.count()), Some(2));
    // Whoever thinks better of it in time has it go on.
    order(&queue, Order::Pause);
    assert_eq!(order(&queue, Order::Resume).changed, 1);
    assert_eq!(leave(&queue, job, State::Queued), State::Queued);
    for state in [State::Failed, State::Gone] {
        order(&queue, Order::Again);
        let job = queue.claim(1).first().map(|job| job.id).unwrap();
        order(&queue, Order::Cancel);
        assert_eq!(leave(&queue, job, state), state, "it is over anyway");
    }
}

fn a_file_that_the_host_has_is_uploaded_whatever_was_ordered_meanwhile(queue: Queue) {
    for ordered in [Order::Pause, Order::Cancel] {
        queue.enqueue_for("box", 0..1);
        order(&queue, Order::Again);
        let job = queue.claim_on("box");
        order(&queue, ordered);
        assert_eq!(queue.record_outcome(job, None), State::Done);
        assert_eq!(queue.state(job), (State::Done, None));
    }
}

fn what_was_ordered_for_a_job_under_way_outlives_the_daemon(mut queue: Queue) {
    for (ordered, state) in [(Order::Pause, State::Paused), (Order::Cancel, State::Cancelled)] {
        order(&queue, Order::Again);
        let job = if ordered == Order::Pause { under_way(&queue) } else { queue.claim_on("box") };
        order(&queue, ordered);
        queue.restart();
        queue.store.recover().blocking().unwrap();
        assert_eq!(queue.state(job), (state, None));
        order(&queue, Order::Resume);
    }
    assert!(queue.claim_one("box").give_back, "the session of what was cancelled");
    assert_eq!(queue.claim(9).len(), 0);
    // Without a daemon nobody works on what the last one has left.
    let job = {
        queue.enqueue_for("mirror", 3..4);
        queue.claim_on("mirror")
    };
    let left = Steer { order: Order::Pause, selection: Selection::default(), after: JobId(0), under_way: false };
    let steered = queue.store.steer(left).blocking().unwrap();
    assert_eq!((steered.stopping, queue.state(job).0), (Vec::new(), State::Paused));
}

fn a_cancelled_job_has_its_session_given_back_once_and_stays_cancelled(mut queue: Queue) {
    let job = under_way(&queue);
    order(&queue, Order::Cancel);
    assert_eq!(leave(&queue, job, State::Queued), State::Cancelled);
    let claims = |queue: &Queue| queue.claim_as(vec![Asking::new("box", 1)], 1, queue.now_ms()).jobs;
    let claimed = claims(&queue).remove(0);
    assert!(claimed.id == job && claimed.give_back && claimed.is_over && claimed.upload.is_some());
    assert_eq!(queue.state(job).0, State::Cancelled);
    assert_eq!(claims(&queue).len(), 0, "not while somebody is about it");
    queue.restart();
    queue.store.recover().blocking().unwrap();
    assert!(claims(&queue).remove(0).is_over, "nobody has said that it was given back");
    queue.store.record_given_back(job).blocking().unwrap();
    queue.restart();
    queue.store.recover().blocking().unwrap();
    assert_eq!((queue.claim(9).len(), queue.job(job).parts), (0, 0), "once, and it is forgotten");
    assert_eq!(order(&queue, Order::Cancel).changed, 0);
    // One that had no session has none to give back, and a person may think better of it.
    order(&queue, Order::Again);
    order(&queue, Order::Cancel);
    assert_eq!((queue.state(job).0, queue.claim(9).len()), (State::Cancelled, 0));
    assert_eq!(order(&queue, Order::Again).changed, 1);
    assert!(!queue.claim_one("box").give_back);
}

fn a_session_that_could_not_be_given_back_is_given_back_later_though_its_job_is_over(mut queue: Queue) {
    for state in [State::Gone, State::Failed] {
        let job = under_way(&queue);
        let owed = ReturnedJob { session: SessionFate::Owed, ..return_job(state) };
        queue.store.return_job(job, owed).blocking().unwrap();
        let claims = |queue: &Queue| queue.claim_as(vec![Asking::new("box", 1)], 1, queue.now_ms());
        assert!(claims(&queue).jobs.is_empty(), "not at once");
        queue.pass(RECHECK.as_millis() as i64);
        let claimed = claims(&queue).jobs.remove(0);
        assert!(claimed.id == job && claimed.give_back && claimed.is_over && claimed.upload.is_some());
        assert_eq!((queue.state(job).0, claims(&queue).jobs.len()), (state, 0));
        queue.restart();
        queue.store.recover().blocking().unwrap();
        assert!(claims(&queue).jobs.remove(0).is_over, "nobody has said that it was given back");
        queue.store.record_given_back(job).blocking().unwrap();
        queue.pass(RECHECK.as_millis() as i64);
        assert_eq!((claims(&queue).jobs.len(), queue.state(job).0), (0, state));
    }
}

fn a_person_who_tries_a_failed_file_again_has_it_begin_anew(queue: Queue) {
    let job = under_way(&queue);
    queue.store.return_job(job, ReturnedJob { session: SessionFate::Owed, ..return_job(State::Failed) }).blocking().unwrap();
    order(&queue, Order::Retry);
    let claimed = queue.claim_one("box");
    assert!(!claimed.give_back && claimed.upload.is_none());
}

fn the_session_of_a_cancelled_job_stays_where_the_host_may_have_made_a_file_of_it(queue: Queue) {
    let job = under_way(&queue);
    queue.store.record_commit_intent(job).blocking().unwrap();
    order(&queue, Order::Cancel);
    assert_eq!(leave(&queue, job, State::Waiting), State::Cancelled);
    assert_eq!(queue.claim(9).len(), 0);
    order(&queue, Order::Again);
    assert!(queue.claim_one("box").upload.is_some_and(|upload| upload.committing), "the host is asked first");
}

fn a_paused_or_cancelled_version_stays_so_across_scans_renames_and_starts(mut queue: Queue) {
    for (ordered, state) in [(Order::Pause, State::Paused), (Order::Cancel, State::Cancelled)] {
        queue.enqueue_for("box", 1..2);
        order(&queue, ordered);
        let (old, new) = (arrival(1), arrival(2));
        let path = |arrival: &Arrival| (arrival.folder.clone(), arrival.name.clone());
        queue.enqueue_for("box", 1..2);
        assert!(queue.store.record_rename(path(&old), path(&new), old.identity).blocking().unwrap());
        let renamed = Arrival { identity: old.identity, hosts: hosts(&["box"]), ..new.clone() };
        assert_eq!(queue.look(&old.identity, &renamed), Seen::Known);
        queue.store.enqueue(vec![renamed]).blocking().unwrap();
        assert_eq!(follow(&mut queue, &["box"]), (0, 0));
        queue.store.clock_was_set_back().blocking().unwrap();
        let states: Vec<State> = queue.jobs().into_iter().map(|job| job.state).collect();
        assert_eq!((states, queue.claim(9).len()), (vec![state], 0));
        assert!(queue.store.record_rename(path(&new), path(&old), old.identity).blocking().unwrap());
        order(&queue, Order::Resume);
    }
}

fn a_done_file_is_uploaded_anew_by_a_further_job_and_its_link_stays(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let first = queue.claim_on("box");
    queue.record_outcome(first, None);
    assert_eq!(order(&queue, Order::Again).changed, 1);
    assert_eq!(order(&queue, Order::Again).changed, 0, "it is on its way");
    let claimed = queue.claim_one("box");
    let second = claimed.id;
    assert_eq!(claimed.renewals, 1, "it overwrites nothing that has a link");
    assert_eq!(claimed.identity, Identity { device: NO_DEVICE, ..arrival(0).identity }, "its disk may have got another number");
    assert!(second != first && queue.state(first).0 == State::Done && queue.job(first).link.is_some());
    assert_eq!(queue.record_outcome(second, None), State::Done);
    assert_eq!(queue.look(&arrival(0).identity, &Arrival { hosts: hosts(&["box"]), ..arrival(0) }), Seen::Known);
    // An earlier version of the file is history.
    let changed = Arrival { identity: Identity { size: 11, ..arrival(0).identity }, hosts: hosts(&["box"]), ..arrival(0) };
    queue.store.enqueue(vec![changed]).blocking().unwrap();
    let third = queue.claim_on("box");
    queue.record_outcome(third, None);
    let steered = order(&queue, Order::Again);
    assert_eq!((steered.jobs, steered.unchanged.get(&State::Done)), (vec![third], Some(&2)));
}

fn what_a_person_alone_lets_go_is_sent_anew_and_marked(queue: Queue) {
    let job = under_way(&queue);
    queue.store.record_commit_intent(job).blocking().unwrap();
    queue.store.return_job(job, ReturnedJob { next_try_ms: None, ..return_job(State::Held) }).blocking().unwrap();
    assert_eq!(order(&queue, Order::Again).changed, 1);
    let claimed = queue.claim_one("box");
    assert!(claimed.upload.is_none() && queue.job(job).maybe_duplicate);
    // What is held until a time keeps what the host has confirmed.
    with_session(&queue, job);
    leave(&queue, job, State::Held);
    assert_eq!(order(&queue, Order::Again).changed, 0);
}

fn what_is_tried_at_once_is_what_waits_is_held_or_has_failed(queue: Queue) {
    queue.enqueue_for("box", 0..4);
    let states = [State::Waiting, State::Held, State::Failed, State::Gone];
    let jobs: Vec<JobId> = queue.claim(4).iter().map(|job| job.id).collect();
    for (job, state) in jobs.iter().zip(states) {
        let later = ReturnedJob { next_try_ms: Some(NOW_MS + DAY_MS / 24), ..return_job(state) };
        queue.store.return_job(*job, later).blocking().unwrap();
    }
    let claim = || queue.claim_as(vec![Asking::new("box", 9)], 9, NOW_MS).jobs.len();
    assert_eq!(claim(), 0);
    let steered = order(&queue, Order::Retry);
    assert_eq!((steered.changed, steered.hosts.into_iter().collect::<Vec<_>>()), (3, vec!["box".to_owned()]));
    assert_eq!(claim(), 3);
    assert_eq!(queue.state(jobs[3]).0, State::Gone);
}

fn what_is_resumed_but_wanted_no_more_rests(mut queue: Queue) {
    queue.enqueue_for("box", 0..1);
    order(&queue, Order::Pause);
    assert_eq!(follow(&mut queue, &["mirror"]), (0, 0));
    queue.set_rules(with_hosts(rules(&[], false), &["mirror"]));
    order(&queue, Order::Resume);
    let rests = about(ReasonClass::NotSentTo, "box");
    assert_eq!(queue.jobs().remove(0).why, rests);
    assert_eq!(queue.claim(9).len(), 0);
    // Where nobody knew the watches, the next start does.
    order(&queue, Order::Pause);
    queue.restart();
    order(&queue, Order::Resume);
    assert_eq!(follow(&mut queue, &["mirror"]), (1, 0));
    assert_eq!(queue.jobs().remove(0).why, rests);
}

fn a_cancelled_job_leaves_the_source_of_the_others_where_it_is(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    leave(&queue, second, State::Waiting);
    order(&queue, Order::Pause);
    assert_eq!(queue.events(i64::MAX), [], "what is paused is waited for");
    order(&queue, Order::Cancel);
    assert_eq!(queue.events(i64::MAX), []);
    assert_eq!(queue.state(first), (State::Done, about(ReasonClass::RefusedByHost, "mirror")));
}

fn what_is_over_is_forgotten_and_its_file_is_known_all_the_same(queue: Queue) {
    queue.enqueue_for("box", 0..2);
    let first = queue.claim_on("box");
    queue.record_outcome(first, None);
    let not_before = Selection { before_ms: Some(NOW_MS), ..Selection::default() };
    assert_eq!(order_for(&queue, Order::Forget, not_before).changed, 0);
    let before = Selection { before_ms: Some(NOW_MS + 1), ..Selection::default() };
    assert_eq!(order_for(&queue, Order::Forget, before).jobs, [first]);
    let left: Vec<State> = queue.jobs().iter().map(|job| job.state).collect();
    assert_eq!(left, [State::Queued]);
    let known = Arrival { hosts: hosts(&["box"]), ..arrival(0) };
    assert_eq!(queue.look(&known.identity, &known), Seen::Known);
    assert_eq!(queue.store.enqueue(vec![known]).blocking().unwrap(), 0);
    // It was wanted: a host that is added gets it.
    assert_eq!(queue.store.enqueue(vec![arrival(0)]).blocking().unwrap(), 1);
}

fn nothing_is_forgotten_of_a_file_that_something_is_still_to_follow_for(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    leave(&queue, second, State::Failed);
    let of = |job: JobId| Selection { jobs: vec![job], ..Selection::default() };
    assert_eq!(order_for(&queue, Order::Retry, of(second)).changed, 1);
    let kept = order_for(&queue, Order::Forget, of(first));
    assert_eq!((kept.changed, kept.unchanged.get(&State::Done)), (0, Some(&1)), "the other host has not got it yet");
    assert_eq!(queue.claim_on("mirror"), second);
    leave(&queue, second, State::Failed);
    assert_eq!(order(&queue, Order::Forget).changed, 2);
    assert!(queue.jobs().is_empty());
    // A session that is to be given back is not forgotten.
    queue.enqueue_for("box", 1..2);
    let third = queue.claim_on("box");
    with_session(&queue, third);
    leave(&queue, third, State::Waiting);
    order(&queue, Order::Cancel);
    assert_eq!(order(&queue, Order::Forget).changed, 0);
}

fn what_a_host_may_have_by_accident_is_not_forgotten(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let job = queue.claim_on("box");
    with_session(&queue, job);
    queue.store.record_commit_intent(job).blocking().unwrap();
    queue.store.return_job(job, ReturnedJob { next_try_ms: None, ..return_job(State::Held) }).blocking().unwrap();
    order(&queue, Order::Again);
    assert_eq!(queue.claim_on("box"), job);
    assert_eq!(leave(&queue, job, State::Gone), State::Gone);
    assert!(queue.job(job).maybe_duplicate);
    assert_eq!(order(&queue, Order::Forget).changed, 0);
}

fn a_source_stays_when_an_upload_of_it_was_forgotten(queue: Queue) {
    queue.set_rules(rules(&[], true));
    let (first, second) = queue.pair();
    queue.record_outcome(first, None);
    leave(&queue, second, State::Failed);
    let of = |job: JobId| Selection { jobs: vec![job], ..Selection::default() };
    assert_eq!(order_for(&queue, Order::Forget, of(second)).changed, 1);
    assert_eq!(order_for(&queue, Order::Again, of(first)).changed, 1);
    let again = queue.claim_on("box");
    queue.record_outcome(again, None);
    assert_eq!(queue.events(i64::MAX), []);
    assert_eq!(queue.state(again), (State::Done, about(ReasonClass::UploadForgotten, "mirror")));
}

fn by_name(number: i64, names: &[&str]) -> Vec<Arrival> {
    vec![Arrival { one_off: true, hosts: hosts(names), ..arrival(number) }]
}

fn what_is_sent_by_name_goes_where_no_watch_sends_it(mut queue: Queue) {
    assert_eq!(queue.store.enqueue(by_name(0, &["box"])).blocking().unwrap(), 1);
    assert_eq!(queue.store.enqueue(by_name(0, &["box"])).blocking().unwrap(), 0, "it is on its way");
    assert_eq!(follow(&mut queue, &["mirror"]), (0, 0));
    queue.set_rules(with_hosts(rules(&[], false), &["mirror"]));
    order(&queue, Order::Pause);
    order(&queue, Order::Resume);
    let job = queue.claim_on("box");
    assert_eq!(queue.record_outcome(job, None), State::Done);
    assert_eq!(queue.store.enqueue(by_name(0, &["box"])).blocking().unwrap(), 0, "it is there");
    assert_eq!(order(&queue, Order::Again).changed, 1);
    assert!(queue.claim_on("box") != job);
}

fn what_rests_goes_on_when_it_is_sent_by_name(mut queue: Queue) {
    queue.enqueue_for("box", 0..1);
    assert_eq!(follow(&mut queue, &["mirror"]), (1, 0));
    assert_eq!(queue.claim(9).len(), 0);
    assert_eq!(queue.store.enqueue(by_name(0, &["box"])).blocking().unwrap(), 0);
    queue.claim_on("box");
    assert_eq!(queue.jobs().len(), 1);
}

fn what_was_passed_over_is_sent_by_name_and_not_wanted_for_that(queue: Queue) {
    let passed_over = Arrival { make_jobs: false, hosts: hosts(&["box"]), ..arrival(0) };
    assert_eq!(queue.store.enqueue(vec![passed_over]).blocking().unwrap(), 0);
    assert_eq!(queue.store.enqueue(by_name(0, &["box"])).blocking().unwrap(), 1);
    assert_eq!(queue.store.enqueue(vec![arrival(0)]).blocking().unwrap(), 0, "a host that is added does not make it wanted");
}

fn two_jobs_send_no_two_contents_of_one_version(queue: Queue) {
    let (first, second) = queue.pair();
    let (plan, identity) = (Plan { file_bytes: 10, part_bytes: 4 }, arrival(0).identity);
    let session = |job: JobId, identity: Identity, fingerprint: i64| {
        let version = Version { identity, fingerprint: Some(Fingerprint(fingerprint)) };
        queue.store.record_session(job, Session("s".into()), opened_shape(), plan, version).blocking().unwrap()
    };
    assert_eq!(session(first, identity, 1), Recorded::Yes);
    assert_eq!(session(first, identity, 2), Recorded::Yes, "of what it sent before nothing is left");
    let changed = Identity { ctime_ns: 9, ..identity };
    assert_eq!(session(second, changed, 3), Recorded::OtherVersion);
    leave(&queue, second, State::Gone);
    // The scan compares it with what was sent, whatever its numbers are.
    let both = Arrival { hosts: hosts(&["box", "mirror"]), ..arrival(0) };
    let seen = Seen::Touched { fingerprint: Fingerprint(2), is_taken_up: false };
    assert_eq!((queue.look(&changed, &both), queue.look(&identity, &both)), (seen.clone(), seen));
    let taken_up = Arrival { identity: changed, fingerprint: Some(Fingerprint(3)), ..both };
    assert_eq!(queue.store.enqueue(vec![taken_up]).blocking().unwrap(), 2, "each host gets the new one");
    // The one that began before the scan saw it sends the later version no second time.
    let version = Version { identity: changed, fingerprint: Some(Fingerprint(3)) };
    assert_eq!(queue.store.record_version(first, version).blocking().unwrap(), Recorded::OtherVersion);
}

fn a_file_whose_place_another_has_taken_is_marked_when_it_is_back(queue: Queue) {
    queue.enqueue_for("box", 0..1);
    let before = arrival(0);
    let numbers = Identity { inode: 77, size: 12, mtime_ns: 5, ..before.identity };
    let other = Arrival { identity: numbers, hosts: hosts(&["box"]), ..before.clone() };
    queue.store.enqueue(vec![other]).blocking().unwrap();
    let Seen::Elsewhere(earlier) = queue.look(&before.identity, &Arrival { hosts: hosts(&["box"]), ..arrival(7) }) else {
        panic!("it is known");
    };
    assert!(earlier.len() == 1 && earlier[0].is_replaced() && earlier[0].own_name() == before.name);
    // Of one place the last is remembered.
    for inode in [78, 79] {
        let numbers = Identity { inode, mtime_ns: inode, ..numbers };
        let next = Arrival { identity: numbers, hosts: hosts(&["box"]), ..before.clone() };
        queue.store.enqueue(vec![next]).blocking().unwrap();
    }
    assert_eq!(queue.look(&before.identity, &Arrival { hosts: hosts(&["box"]), ..arrival(7) }), Seen::Unknown);
}

fn only_what_is_selected_is_steered(queue: Queue) {
    queue.enqueue(0..6);
    let jobs = queue.jobs();
    let of = |chosen: &dyn Fn(&JobRow) -> bool| jobs.iter().filter(|job| chosen(job)).map(|job| job.id).collect::<Vec<_>>();
    let all = Selection::default();
    let cases = [
        (Selection { jobs: vec![jobs[2].id], ..all.clone() }, of(&|job| job.id == jobs[2].id)),
        (Selection { files: vec!["/drop/1/f1".into()], ..all.clone() }, of(&|job| job.path.ends_with("f1"))),
        (Selection { files: vec!["/drop/1".into()], ..all.clone() }, Vec::new()),
        (Selection { below: vec!["/drop/1".into()], ..all.clone() }, of(&|job| job.path.starts_with("/drop/1"))),
        (Selection { below: vec!["/dro".into()], ..all.clone() }, Vec::new()),
        (Selection { hosts: hosts(&["mirror"]).to_vec(), ..all.clone() }, of(&|job| job.host == "mirror")),
        (Selection { states: vec![State::Held], ..all.clone() }, Vec::new()),
        (
            Selection { files: vec!["/drop/1/f1".into()], hosts: hosts(&["box"]).to_vec(), ..all.clone() },
            of(&|job| job.path.ends_with("f1") && job.host == "box"),
        ),
        (all.clone(), of(&|_| true)),
    ];
    for (selection, expected) in cases {
        assert_eq!(order_for(&queue, Order::Pause, selection.clone()).jobs, expected, "{selection:?}");
        order(&queue, Order::Resume);
    }
    let later = Steer { order: Order::Pause, selection: all, after: jobs[9].id, under_way: true };
    assert_eq!(queue.store.steer(later).blocking().unwrap().jobs, of(&|job| job.id > jobs[9].id));
}

/// File `number` as it is after so many changes, where changes are ignored.
fn after_changes(number: i64, changes: i64) -> Arrival {
    let first = arrival(number);
    Arrival { identity: Identity { mtime_ns: 1 + changes, ..first.identity }, first_version_only: true, ..first }
}

fn where_changes_are_ignored_a_changed_file_goes_only_to_hosts_that_never_had_it(queue: Queue) {
    let changed = |changes| queue.store.enqueue(vec![after_changes(0, changes)]).blocking().unwrap();
    assert_eq!(changed(0), 2);
    let first = queue.claim_on("box");
    queue.record_outcome(first, None);
    assert_eq!(changed(1), 1, "the other host has had no version");
    assert_eq!(queue.look(&after_changes(0, 1).identity, &arrival(0)), Seen::Known);
    let second = queue.claim_one("mirror");
    assert_eq!(second.identity.mtime_ns, 2);
    queue.record_outcome(second.id, None);
    assert_eq!((changed(2), changed(3)), (0, 0));
    assert_eq!(queue.look(&after_changes(0, 3).identity, &arrival(0)), Seen::Known);
    assert_eq!(queue.state(first).0, State::Done);
    let sent_by_name = Arrival { one_off: true, first_version_only: false, ..after_changes(0, 4) };
    assert_eq!(queue.store.enqueue(vec![sent_by_name]).blocking().unwrap(), 2);
}

fn where_changes_are_ignored_so_is_that_of_a_file_that_was_passed_over_or_forgotten(queue: Queue) {
    let passed_over = Arrival { make_jobs: false, ..after_changes(0, 0) };
    queue.store.enqueue(vec![passed_over]).blocking().unwrap();
    assert_eq!(queue.store.enqueue(vec![after_changes(0, 1)]).blocking().unwrap(), 0);
    assert_eq!(queue.look(&after_changes(0, 1).identity, &arrival(0)), Seen::Known);
    queue.store.enqueue(vec![after_changes(1, 0)]).blocking().unwrap();
    for host in ["box", "mirror"] {
        queue.record_outcome(queue.claim_on(host), None);
    }
    assert_eq!(order(&queue, Order::Forget).changed, 2);
    assert_eq!(queue.store.enqueue(vec![after_changes(1, 1)]).blocking().unwrap(), 0);
}
