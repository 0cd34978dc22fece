//! Worlds that must never break a promise again, and worlds that are known to. Each is what was left of a schedule when it was
//! shrunk, or a disaster that was first seen in a real folder.

use std::time::Duration;

use ferryd::internals::job::steer::Order;
use ferryd::internals::os::simulated_files::Fate;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, Rule, When};
use ferryd_sim::schedule::{Act, Aim, Deed, Event, Failing, Name, Schedule};
use ferryd_sim::{After, Detail, Report, Setting, run, shrink, shrink_while};

/// The file `a`, `b` and so on.
const A: Name = Name(0);
const B: Name = Name(1);
const C: Name = Name(2);

fn setting(hosts: &[&'static str], after: After) -> Setting {
    Setting {
        hosts: hosts.to_vec(),
        after,
        trusts: true,
        asks_first: true,
        max_connections: 64,
        max_uploads: 16,
        settle_seconds: 2,
        pace: None,
        moves_far: false,
        is_disk: false,
        keeps_connections: true,
        is_new: false,
        bandwidth: None,
        retries: None,
        has_markers: false,
    }
}

/// What happens so many seconds after the beginning.
fn at(seconds: f64, what: Deed) -> Event {
    Event { at: Duration::from_secs_f64(seconds), steps: 0, what }
}

fn user(seconds: f64, act: Act) -> Event {
    at(seconds, Deed::User(act))
}

fn world(setting: Setting, events: Vec<Event>) -> Report {
    run(&Schedule { seed: 7, setting, events }, Detail::Story)
}

#[track_caller]
fn keeps_every_promise(report: &Report) {
    assert!(report.violations.is_empty(), "{}", report.story.join("\n"));
}

fn has(report: &Report, part: &str) -> bool {
    report.story.iter().any(|line| line.contains(part))
}

#[test]
fn a_file_that_is_renamed_while_it_is_uploaded_goes_on_under_its_new_name() {
    let slow = Setting { pace: Some(10_000), ..setting(&["cloudkp", "uploadgig"], After::Keep) };
    let report = world(slow, vec![user(1.0, Act::Create(A, 300_000)), user(12.0, Act::Rename(0, B))]);
    keeps_every_promise(&report);
    assert!(has(&report, "of /drop/b for cloudkp is done") && report.counts.objects == 2, "{}", report.story.join("\n"));
}

#[test]
fn a_disk_that_comes_back_under_other_numbers_brings_no_second_job() {
    let disk = Setting { is_disk: true, ..setting(&["cloudkp", "4shared"], After::Keep) };
    let away_and_back = |seconds| [user(seconds, Act::Unmount), user(seconds + 60.0, Act::Remount)];
    let mut events = vec![user(1.0, Act::Create(A, 3_000))];
    events.extend(away_and_back(100.0));
    events.push(at(300.0, Deed::Kill));
    let report = world(disk, events);
    keeps_every_promise(&report);
    assert_eq!(report.counts.objects, 2, "{}", report.story.join("\n"));
}

#[test]
fn a_file_that_is_to_be_sent_again_and_has_gone_from_a_disk_that_has_other_numbers_since_is_not_waited_for() {
    let disk = Setting { is_disk: true, ..setting(&["uploadgig", "4shared"], After::Delete) };
    let mut events = vec![user(1.0, Act::Create(A, 3_000)), user(100.0, Act::Unmount), user(160.0, Act::Remount)];
    // A file that is met there tells that it is the same disk.
    events.extend([user(4000.0, Act::Create(B, 500)), at(4100.0, Deed::Order(Order::Again, Aim::Job(0)))]);
    let report = world(disk, events);
    keeps_every_promise(&report);
    assert!(has(&report, "of /drop/a for uploadgig is gone"), "{}", report.story.join("\n"));
}

#[test]
fn what_is_cancelled_stays_cancelled_through_deaths_and_a_loss_of_power_and_its_source_stays() {
    let mut cancelled = 0;
    for steps in 1..40 {
        let cancel = Event { at: Duration::from_secs(2), steps, what: Deed::Order(Order::Cancel, Aim::Host(1)) };
        let slow = Setting { pace: Some(10_000), ..setting(&["cloudkp", "uploadgig"], After::Delete) };
        let report = world(slow, vec![user(1.0, Act::Create(A, 40_000)), cancel, at(4.0, Deed::CutPower), at(30.0, Deed::Kill)]);
        keeps_every_promise(&report);
        // Before the job is there, nothing is cancelled.
        if has(&report, "(Cancel has changed 1 jobs)") {
            assert!(has(&report, "for uploadgig is cancelled"), "{}", report.story.join("\n"));
            assert!(!has(&report, "the daemon has taken"), "{}", report.story.join("\n"));
            cancelled += 1;
        }
    }
    assert!(cancelled > 10, "{cancelled}");
}

#[test]
fn an_order_is_carried_out_while_the_daemon_is_away_and_dies_as_it_does() {
    let events = |pause: Event| {
        let slow = Setting { pace: Some(1_000), ..setting(&["cloudkp", "uploadgig"], After::Keep) };
        (slow, vec![user(1.0, Act::Create(A, 40_000)), at(10.0, Deed::Stop(Duration::from_secs(60))), pause])
    };
    let (slow, while_away) = events(at(40.0, Deed::Order(Order::Pause, Aim::All)));
    let report = world(slow, while_away);
    keeps_every_promise(&report);
    assert!(has(&report, "(Pause has changed 2 jobs)"), "{}", report.story.join("\n"));
}

#[test]
fn a_disk_that_fails_for_a_while_loses_no_file_and_repeats_none() {
    for (failing, steps) in
        [Failing::Full, Failing::Writes, Failing::Syncs].into_iter().flat_map(|how| (1..30).map(move |at| (how, at)))
    {
        let what = Deed::QueueFails(failing, Duration::from_secs(20));
        let fails = Event { at: Duration::from_secs(1), steps, what };
        let report = world(setting(&["cloudkp", "koodrive"], After::Delete), vec![user(1.0, Act::Create(A, 3_000)), fails]);
        keeps_every_promise(&report);
        assert_eq!(report.counts.objects, 2, "{}", report.story.join("\n"));
    }
}

#[test]
fn a_file_that_is_edited_between_its_upload_and_its_removal_stays_until_the_new_version_is_there() {
    // Before each of the steps that follow the upload in turn, the removal among them.
    for steps in 1..60 {
        let edit = Event { at: Duration::from_millis(3_500), steps, what: Deed::User(Act::Edit(0)) };
        let events = vec![user(1.0, Act::Create(A, 3_000)), edit];
        keeps_every_promise(&world(setting(&["kie", "uploadgig"], After::Delete), events));
    }
}

#[test]
fn files_for_a_host_that_always_fails_keep_none_from_a_host_that_is_well() {
    let down = Rule::new(Action::CloseBeforeReading { reset: true }).host("cloudkp").when(When::Always);
    let few = Setting { max_uploads: 2, ..setting(&["cloudkp", "4shared"], After::Keep) };
    let mut events = vec![at(0.0, Deed::Fault(down))];
    events.extend((0..Name::COUNT).map(|name| user(f64::from(name) * 300.0, Act::Create(Name(name), 2_000))));
    keeps_every_promise(&world(few, events));
}

#[test]
fn a_clock_that_was_a_year_ahead_costs_no_year() {
    const YEAR: i64 = 365 * 86_400;
    let busy = Rule::new(Action::TooManyRequests { retry_after: Default::default() }).host("kie").at(Endpoint::Chunk);
    for kill in [false, true] {
        let mut events = vec![
            at(0.0, Deed::Clock(YEAR)),
            at(0.0, Deed::Fault(busy.clone())),
            user(1.0, Act::Create(A, 2_000)),
            at(60.0, Deed::Clock(-YEAR)),
            at(600.0, Deed::HostsRecover),
        ];
        if kill {
            events.insert(3, at(30.0, Deed::Kill));
        }
        keeps_every_promise(&world(setting(&["kie", "uploadgig"], After::Keep), events));
    }
}

#[test]
fn the_power_may_go_before_any_step_of_an_upload() {
    for steps in (1..120).step_by(3) {
        let cut = Event { at: Duration::from_millis(2_500), steps, what: Deed::CutPower };
        let events = vec![user(1.0, Act::Create(A, 300_000)), user(1.0, Act::Create(B, 20)), cut];
        let slow = Setting { pace: Some(50_000), moves_far: true, ..setting(&["koodrive", "cloudkp"], After::Move) };
        keeps_every_promise(&world(slow, events));
    }
}

#[test]
fn a_change_that_sets_the_time_back_is_seen() {
    let events = vec![user(1.0, Act::Create(A, 3_000)), user(60.0, Act::EditSecretly(0))];
    keeps_every_promise(&world(setting(&["kie", "uploadgig"], After::Keep), events));
}

#[test]
fn a_file_that_was_renamed_and_changed_with_its_time_set_back_is_sent() {
    let events = vec![user(1.0, Act::Create(A, 3_000)), user(60.0, Act::Rename(0, B)), user(60.0, Act::EditSecretly(0))];
    keeps_every_promise(&world(setting(&["koodrive", "uploadgig"], After::Keep), events));
}

#[test]
fn a_file_that_was_renamed_and_changed_with_its_time_set_back_and_cannot_be_read_is_sent_when_it_can() {
    let events = vec![
        user(1.0, Act::Create(A, 300)),
        user(100.0, Act::EditSecretly(0)),
        user(100.0, Act::Rename(0, B)),
        at(100.0, Deed::Damage(0)),
        at(400.0, Deed::Mend),
    ];
    keeps_every_promise(&world(setting(&["kie", "uploadgig"], After::Keep), events));
}

#[test]
fn a_file_that_could_not_be_read_when_its_disk_went_away_is_sent_when_it_is_back() {
    let events = vec![
        user(1.0, Act::Create(A, 300_000)),
        at(1.5, Deed::Damage(0)),
        user(10.0, Act::Unmount),
        at(300.0, Deed::Mend),
        user(400.0, Act::Remount),
    ];
    let disk = Setting { is_disk: true, ..setting(&["tus", "cloudkp"], After::Keep) };
    keeps_every_promise(&world(disk, events));
}

#[test]
fn a_source_stays_that_was_changed_between_its_uploads_with_its_time_set_back() {
    let slow = Setting { pace: Some(200_000), max_connections: 2, ..setting(&["kie", "cloudkp"], After::Delete) };
    for tenths in 31..36 {
        let events = vec![user(0.0, Act::Create(A, 493_571)), user(f64::from(tenths) / 10.0, Act::EditSecretly(0))];
        keeps_every_promise(&world(slow.clone(), events));
    }
}

#[test]
fn files_that_take_each_others_names_before_anybody_looks_are_not_uploaded_again() {
    let created = [user(1.0, Act::Create(A, 3_000)), user(1.0, Act::Create(B, 4_000))];
    let renamed = [user(60.0, Act::Rename(0, C)), user(60.0, Act::Rename(0, A))];
    let report = world(setting(&["koodrive", "uploadgig"], After::Keep), created.into_iter().chain(renamed).collect());
    keeps_every_promise(&report);
    assert_eq!(report.counts.objects, 4, "{}", report.story.join("\n"));
}

#[test]
fn a_file_that_is_renamed_while_its_disk_gets_other_numbers_is_not_uploaded_again_without_a_mark() {
    let disk = Setting { is_disk: true, ..setting(&["cloudkp", "kie"], After::Keep) };
    let events = vec![
        user(1.0, Act::Create(A, 3_000)),
        at(60.0, Deed::Kill),
        user(60.0, Act::Unmount),
        user(61.0, Act::Remount),
        user(62.0, Act::Rename(0, B)),
    ];
    keeps_every_promise(&world(disk, events));
}

#[test]
fn the_after_action_waits_for_a_file_whose_disk_is_away() {
    let slow = Setting { is_disk: true, pace: Some(10_000), ..setting(&["uploadgig", "kie"], After::Move) };
    let events = vec![user(1.0, Act::Create(A, 262_144)), user(15.0, Act::Unmount), user(600.0, Act::Remount)];
    keeps_every_promise(&world(slow, events));
}

#[test]
fn a_file_that_was_moved_out_while_its_after_action_came_may_be_moved_back() {
    let slow = Setting { pace: Some(10_000), ..setting(&["uploadgig", "kie"], After::Delete) };
    let events = vec![user(1.0, Act::Create(A, 262_144)), user(15.0, Act::MoveOut(0)), user(600.0, Act::MoveBack)];
    keeps_every_promise(&world(slow, events));
}

#[test]
fn what_was_forgotten_is_known_under_other_names_and_numbers_and_after_power_loss() {
    let disk = Setting { is_disk: true, ..setting(&["cloudkp", "kie"], After::Keep) };
    let events = vec![
        user(1.0, Act::Create(A, 3_000)),
        user(2.0, Act::Create(B, 4_000)),
        at(100.0, Deed::Order(Order::Forget, Aim::All)),
        at(101.0, Deed::CutPower),
        user(200.0, Act::Rename(0, C)),
        user(300.0, Act::Unmount),
        user(360.0, Act::Remount),
        at(500.0, Deed::Kill),
    ];
    let report = world(disk, events);
    keeps_every_promise(&report);
    assert!(has(&report, "(Forget has changed 4 jobs)") && report.counts.objects == 4, "{}", report.story.join("\n"));
}

#[test]
fn one_of_two_names_of_a_file_may_get_a_third() {
    let events = vec![user(1.0, Act::Create(A, 300)), user(60.0, Act::Link(0, B)), user(120.0, Act::Rename(1, C))];
    keeps_every_promise(&world(setting(&["koodrive", "kie"], After::Keep), events));
}

#[test]
fn a_file_that_is_renamed_before_it_is_sent_again_keeps_its_name_at_the_host() {
    let lost = Rule::new(Action::LoseReply { reset: false }).host("kie").at(Endpoint::Chunk).when(When::First(1));
    let events = vec![at(0.0, Deed::Fault(lost)), user(1.0, Act::Create(A, 3_000)), user(3.2, Act::Rename(0, B))];
    keeps_every_promise(&world(setting(&["kie", "uploadgig"], After::Keep), events));
}

#[test]
fn a_file_that_was_taken_up_right_before_a_power_cut_and_left_its_name_and_numbers_does_not_wait_for_ever() {
    let disk = Setting { is_disk: true, pace: Some(50_000), ..setting(&["uploadgig", "koodrive"], After::Delete) };
    for steps in 30..80 {
        let events = vec![
            user(0.0, Act::Create(A, 16)),
            Event { steps, ..at(0.0, Deed::CutPower) },
            user(4.0, Act::Rename(0, B)),
            user(4.3, Act::Unmount),
            user(5.3, Act::Remount),
        ];
        keeps_every_promise(&world(disk.clone(), events));
    }
}

#[test]
fn a_finish_that_was_refused_and_took_effect_shows_when_its_session_is_too_old() {
    let stored = Rule::new(Action::Html { status: 503, stored: true }).host("cloudkp").at(Endpoint::Finish).when(When::Always);
    let events = vec![
        at(0.0, Deed::Fault(stored)),
        at(0.0, Deed::Clock(-365 * 86_400)),
        user(1.0, Act::Create(A, 5_000)),
        // In the end the clock is right again.
        at(4.0, Deed::Kill),
    ];
    keeps_every_promise(&world(setting(&["cloudkp", "kie"], After::Keep), events));
}

#[test]
fn a_file_of_which_the_host_tells_another_size_is_marked_when_it_is_sent_again() {
    let lost = Rule::new(Action::LoseReply { reset: true }).host("4shared").at(Endpoint::Finish).when(When::First(1));
    let wrong = Rule::new(Action::WrongFacts).host("4shared").at(Endpoint::Probe).when(When::Always);
    let events = vec![
        at(0.0, Deed::Fault(lost)),
        at(0.0, Deed::Fault(wrong)),
        user(1.0, Act::Create(A, 300_000)),
        at(1000.0, Deed::HostsRecover),
    ];
    keeps_every_promise(&world(setting(&["4shared", "kie"], After::Keep), events));
}

#[test]
fn a_finish_that_was_refused_and_took_effect_shows_when_its_session_is_forgotten() {
    let stored = Rule::new(Action::Html { status: 503, stored: true }).host("cloudkp").at(Endpoint::Finish).when(When::Always);
    let events = vec![
        at(0.0, Deed::Fault(stored)),
        user(1.0, Act::Create(A, 16)),
        at(20.0, Deed::HostsRestart(true)),
        at(20.0, Deed::HostsRecover),
    ];
    keeps_every_promise(&world(setting(&["cloudkp", "kie"], After::Keep), events));
}

#[test]
fn a_host_that_hears_of_a_file_late_and_makes_it_of_bytes_that_it_knows_leaves_a_mark() {
    let late =
        Rule::new(Action::Stall { after_bytes: 31, seconds: 322.0 }).host("koodrive").at(Endpoint::Open).when(When::First(3));
    let events = vec![
        user(0.0, Act::Create(A, 1_403)),
        at(700.0, Deed::Fault(late)),
        user(701.0, Act::Overwrite(0, 1_544)),
        at(1_500.0, Deed::HostsRecover),
    ];
    let slow = Setting { pace: Some(200_000), ..setting(&["koodrive", "kie"], After::Keep) };
    let report = world(slow, events);
    keeps_every_promise(&report);
    assert!(report.counts.objects > 4, "{}", report.story.join("\n"));
}

#[test]
fn the_same_world_is_the_same_every_time() {
    for seed in 0..20 {
        let [once, again] = [0; 2].map(|_| run(&Schedule::of(seed), Detail::Everything));
        for (ours, theirs) in once.story.iter().zip(&again.story) {
            assert_eq!(ours, theirs, "world {seed}");
        }
        assert_eq!(once, again);
    }
    assert_ne!(run(&Schedule::of(1), Detail::Story).story, run(&Schedule::of(2), Detail::Story).story);
}

#[test]
fn a_story_is_cut_down_to_what_it_is_about() {
    let mut events: Vec<Event> = (1..9).map(|name| user(f64::from(name), Act::Create(Name(name), 500))).collect();
    events.push(user(20.0, Act::Create(A, 3_000)));
    events.push(at(30.0, Deed::Kill));
    // The first of those that are there, which is that file.
    events.push(user(60.0, Act::EditSecretly(0)));
    let schedule = Schedule { seed: 7, setting: setting(&["kie", "uploadgig"], After::Keep), events };
    let is_about = |report: &Report| has(report, "a user changes bytes of /drop/a and sets its mtime back");
    let (shortest, _) = shrink_while(&schedule, is_about).expect("it is told");
    let left: Vec<&Deed> = shortest.events.iter().map(|event| &event.what).collect();
    assert!(matches!(left[..], [Deed::User(Act::Create(..)), Deed::User(Act::EditSecretly(0))]), "{left:?}");
    assert!(shrink(&schedule).is_none(), "nothing is broken");
    assert!(shrink_while(&Schedule { events: Vec::new(), ..schedule }, is_about).is_none(), "nothing happens");
}

/// Nothing of it had been confirmed, so there was nothing to compare it with but the digest that the host had been told.
#[test]
fn a_file_that_changes_after_its_digest_was_computed_and_before_a_part_arrived_is_sent_as_it_is_now() {
    for host in ["koodrive", "4shared"] {
        let slow = Setting { pace: Some(20_000), ..setting(&[host], After::Delete) };
        let changed = user(2.001, Act::EditSecretly(0));
        for death in [Deed::Kill, Deed::CutPower] {
            let events = vec![user(0.0, Act::Create(A, 449_155)), changed.clone(), at(3.0, death)];
            keeps_every_promise(&world(slow.clone(), events));
        }
    }
}

/// Its digest was kept when the upload could not be opened; then the file changed, and the daemon died at any time after it had noticed.
#[test]
fn a_digest_of_what_a_file_held_before_is_never_told_of_what_it_holds_now() {
    let status = Action::Status { code: 503, body: ErrorBody::Json, stored: false };
    let fails = Rule::new(status).host("koodrive").at(Endpoint::Open).when(When::First(1));
    let slow = Setting { pace: Some(20_000), ..setting(&["koodrive"], After::Delete) };
    for steps in 1..60 {
        let events = vec![
            at(0.0, Deed::Fault(fails.clone())),
            user(0.0, Act::Create(A, 449_155)),
            user(2.1, Act::EditSecretly(0)),
            Event { at: Duration::from_secs_f64(2.2), steps, what: Deed::Kill },
            user(600.0, Act::Close),
        ];
        keeps_every_promise(&world(slow.clone(), events));
    }
}

/// The same where the digest is computed while parts go: it was kept for a finish by which the host had lost the upload.
#[test]
fn a_digest_for_a_finish_that_came_to_nothing_is_never_told_of_what_the_file_holds_now() {
    let rule = |at, when, action| Deed::Fault(Rule::new(action).host("4shared").at(at).when(when));
    let status = Action::Status { code: 503, body: ErrorBody::Json, stored: false };
    let slow = Setting { pace: Some(20_000), ..setting(&["4shared"], After::Delete) };
    let events = vec![
        at(0.0, rule(Endpoint::Finish, When::First(1), Action::LoseSession)),
        user(0.0, Act::Create(A, 449_155)),
        at(10.0, rule(Endpoint::Open, When::First(1), status)),
        user(24.8, Act::EditSecretly(0)),
        at(40.0, Deed::Kill),
    ];
    keeps_every_promise(&world(slow, events));
}

#[test]
fn a_marker_that_cannot_go_where_its_file_went_keeps_its_name() {
    let far = Setting { moves_far: true, has_markers: true, ..setting(&["cloudkp", "4shared"], After::Move) };
    let mut events = vec![user(1.0, Act::Create(A, 2_040)), user(2.0, Act::Mark), at(3.0, Deed::SentFull(true))];
    // The file is looked for where it was, and its marker is still there.
    events.extend([at(15.0, Deed::Events(Fate::Lose)), user(16.0, Act::Rename(0, B)), at(120.0, Deed::SentFull(false))]);
    let report = world(far, events);
    assert!(has(&report, "cannot move the file"), "{}", report.story.join("\n"));
    keeps_every_promise(&report);
}

/// A body that was of one version from its first byte to its last, but of another one than the queue had recorded: the other host was
/// given that content as a new version, and so was the first one, once more.
#[test]
fn a_file_that_changes_between_its_record_and_its_first_byte_is_sent_to_every_host_once() {
    let status = Action::Status { code: 400, body: ErrorBody::Plain, stored: false };
    let refused = Rule::new(status).host("tus").at(Endpoint::Open).when(When::First(4));
    let slow = Setting { pace: Some(50_000), max_connections: 2, ..setting(&["tus", "uploadgig"], After::Delete) };
    for bytes in [100_000, 285_986, 900_000] {
        for steps in 1..160 {
            let changes = Event { at: Duration::from_secs(2), steps, what: Deed::User(Act::EditSecretly(0)) };
            let events =
                vec![at(0.0, Deed::Fault(refused.clone())), user(0.0, Act::Create(A, bytes)), changes, user(600.0, Act::Close)];
            keeps_every_promise(&world(slow.clone(), events));
        }
    }
}

/// Both were looked up together, so the second one was taken for the file that the first one had just been found to be.
#[test]
fn two_names_of_a_file_that_are_both_changed_while_nobody_looks_are_followed_each() {
    for is_disk in [false, true] {
        let host = Setting { is_disk, ..setting(&["cloudkp"], After::Keep) };
        let events = vec![
            user(1.0, Act::Create(A, 3_000)),
            user(60.0, Act::Link(0, B)),
            at(120.0, Deed::Stop(Duration::from_secs(600))),
            user(200.0, Act::Rename(0, C)),
            user(210.0, Act::Rename(0, Name(5))),
        ];
        let report = world(host, events);
        keeps_every_promise(&report);
        assert!(has(&report, "renames /drop/a to") && has(&report, "renames /drop/b to"), "{}", report.story.join("\n"));
        assert_eq!(report.counts.objects, 2, "{}", report.story.join("\n"));
    }
}

/// The order ended the row of failures, and with it what was known of the finish.
#[test]
fn a_finish_that_was_refused_and_took_effect_shows_though_a_person_has_paused_the_job_since() {
    let stored = Rule::new(Action::Html { status: 503, stored: true }).host("cloudkp").at(Endpoint::Finish).when(When::First(3));
    let events = vec![
        at(0.0, Deed::Fault(stored)),
        user(1.0, Act::Create(A, 40_130)),
        at(4.5, Deed::LoseSessions),
        at(4.5, Deed::Order(Order::Pause, Aim::All)),
        at(4.6, Deed::Order(Order::Resume, Aim::All)),
    ];
    let report = world(setting(&["cloudkp", "kie"], After::Keep), events);
    keeps_every_promise(&report);
    assert!(has(&report, "(Resume has changed 1 jobs)") && report.counts.objects == 2, "{}", report.story.join("\n"));
}

/// The host had all of a body whose sender had gone, said so when it was asked, and had made no file of it. It had not told before
/// what checksums it knows, so the body had none, and what came of it was kept.
#[test]
fn a_body_that_has_arrived_before_its_sender_dies_is_a_file() {
    let strange = Rule::new(Action::Html { status: 200, stored: false }).host("tus").at(Endpoint::Probe).when(When::First(1));
    let slow = Setting { pace: Some(20_000), ..setting(&["tus", "koodrive"], After::Delete) };
    for ms in 0..400 {
        let cut = at(3.0 + f64::from(ms) / 1_000.0, Deed::CutPower);
        let events = vec![at(0.0, Deed::Fault(strange.clone())), user(1.0, Act::Create(A, 3_269)), cut];
        keeps_every_promise(&world(slow.clone(), events));
    }
}

/// What names the place at the host was not on the disk yet, so the file went to one place before and to another one after.
#[test]
fn a_file_that_was_sent_as_the_power_went_and_has_another_name_since_is_sent_once() {
    let on_disk = Setting { is_disk: true, ..setting(&["uploadgig", "kie"], After::Move) };
    for steps in 0..80 {
        let cut = Event { at: Duration::from_secs(2), steps, what: Deed::CutPower };
        let events = vec![user(0.0, Act::Create(A, 1_054)), cut, user(2.4, Act::Rename(0, B)), user(600.0, Act::Close)];
        keeps_every_promise(&world(on_disk.clone(), events));
    }
}

/// Nothing had been confirmed, so there was nothing to compare with; and what could not be read was taken for the same.
#[test]
fn a_file_that_was_changed_and_cannot_be_read_for_a_while_is_compared_when_it_can_be() {
    let slow =
        Setting { pace: Some(20_000), asks_first: false, settle_seconds: 10, ..setting(&["koodrive", "4shared"], After::Keep) };
    for tenths in [0, 5, 10] {
        let events = vec![
            user(0.0, Act::Create(A, 978_195)),
            user(42.0, Act::EditSecretly(0)),
            at(53.0, Deed::Kill),
            at(53.0 + f64::from(tenths) / 10.0, Deed::Damage(0)),
            at(170.0, Deed::Mend),
        ];
        keeps_every_promise(&world(slow.clone(), events));
    }
}

/// The first of them took the place by which the other one was known.
#[test]
fn two_files_that_move_up_by_one_name_while_nobody_looks_are_followed() {
    for [first, second] in [[A, B], [B, A]] {
        let events = vec![
            user(0.0, Act::Create(first, 3_566)),
            user(3.0, Act::Create(second, 1_981)),
            at(20.0, Deed::Stop(Duration::from_secs(60))),
            user(30.0, Act::Rename(0, C)),
            user(40.0, Act::Rename(0, A)),
        ];
        let report = world(setting(&["cloudkp", "4shared"], After::Keep), events);
        keeps_every_promise(&report);
        assert!(report.counts.objects == 4, "{}", report.story.join("\n"));
    }
}
