//! Where one attempt leaves its job and its session, step by step.

use std::path::Path;
use std::sync::Arc;

use super::super::bandwidth::Limits;
use super::super::connections::connections;
use super::super::leaving::End;
use super::super::phase::{Phase, PhaseSwitch, phases};
use super::super::roots::KnownRoots;
use super::super::worker::Worker;
use super::world::{HOUR, PART_BYTES, SECOND, START, Trouble, World, paused, world};
use crate::job::attempt::OnUnknown;
use crate::job::digest::{Algorithm, DigestRequirement};
use crate::job::health::Feedback;
use crate::job::upload::{Class, Order, Repeat, Shape};
use crate::job::{ReasonClass, State};
use crate::store::{Arrival, Asking, Claimed};

const ONE_HOST: &str = r#"
    [daemon]
    state_dir = "/state"
    [[watch]]
    path = "/drop"
    to = ["box"]
    [host.box]
    kind = "kie"
    api_key = "k"
"#;

/// A worker of the host, and what stops it.
fn worker(world: &World) -> (Worker, PhaseSwitch) {
    let (switch, phases) = phases();
    let worker: Worker = Worker {
        system: world.system.clone(),
        store: world.store.clone(),
        host: Arc::new(world.hosts[0].clone()),
        on_unknown: OnUnknown::UploadAgain,
        retries: None,
        give_up_after: crate::job::verdict::GIVE_UP_AFTER,
        standing: Default::default(),
        epoch: 0,
        connections: connections(64, &[64]).remove(0),
        limits: Limits::new(Vec::new()),
        watches: world.config.watches.clone(),
        roots: KnownRoots::new(
            world.system.files.clone(),
            world.config.watches.clone(),
            Vec::new(),
            crate::watch::Handle::default(),
        ),
        phases,
        halt: Default::default(),
    };
    (worker, switch)
}

/// Queues the file of so many bytes.
async fn queued(world: &World, bytes: usize) {
    queued_as(world, "a", bytes).await;
}

async fn queued_as(world: &World, name: &str, bytes: usize) {
    world.write(name, bytes);
    let base = crate::os::files::Base::of(&world.system.files, Path::new("/drop"), false);
    let identity = base.look(&Path::new("/drop").join(name)).unwrap().numbers.into();
    let arrival = Arrival {
        folder: "/drop".into(),
        name: name.into(),
        identity,
        hosts: Arc::from(["box".to_owned()]),
        make_jobs: true,
        one_off: false,
        first_version_only: false,
        priority: 0,
        close_seen: true,
        fingerprint: None,
        maybe_known: false,
    };
    world.store.configure(vec!["/drop".into()], vec![("box".into(), "kie".into())]).await.unwrap();
    world.store.enqueue(vec![arrival]).await.unwrap();
}

async fn claim(world: &World) -> Claimed {
    world.store.claim(vec![Asking::new("box", 1)], 1, i64::MAX).await.unwrap().jobs.remove(0)
}

async fn attempt(world: &World) -> End {
    let (worker, _switch) = worker(world);
    worker.run(claim(world).await, Arc::default()).await.unwrap()
}

#[test]
fn a_file_that_is_removed_while_it_is_sent_ends_as_gone_and_says_nothing_of_its_host() {
    paused(async {
        let world = world(1, ONE_HOST, &[("box", &[])]);
        queued(&world, 10 * PART_BYTES as usize).await;
        let removed = async {
            tokio::time::sleep(8 * SECOND).await;
            world.disk.remove(Path::new("/drop/a")).unwrap();
        };
        let (end, ()) = tokio::join!(attempt(&world), removed);
        assert_eq!((end.state, end.feedback), (State::Gone, Feedback::Nothing));
        assert_eq!(world.files(0).len(), 0);
    });
}

#[test]
fn a_file_whose_folder_is_away_waits_for_it() {
    paused(async {
        let world = world(2, ONE_HOST, &[("box", &[])]);
        queued(&world, 1000).await;
        world.disk.rename(Path::new("/drop"), Path::new("/away")).unwrap();
        let end = attempt(&world).await;
        assert_eq!((end.state, end.why.unwrap().class), (State::Waiting, ReasonClass::FolderMissing));
        world.disk.rename(Path::new("/away"), Path::new("/drop")).unwrap();
        assert_eq!(attempt(&world).await.state, State::Done);
    });
}

#[test]
fn two_versions_never_meet_on_a_host() {
    paused(async {
        let world = world(3, ONE_HOST, &[("box", &[])]);
        queued(&world, 10 * PART_BYTES as usize).await;
        let changed = async {
            tokio::time::sleep(8 * SECOND).await;
            world.disk.write(Path::new("/drop/a"), &vec![b'y'; 10 * PART_BYTES as usize]).unwrap();
        };
        let (end, ()) = tokio::join!(attempt(&world), changed);
        assert_eq!((end.state, end.why.unwrap().class), (State::Gone, ReasonClass::FileChanged));
        assert_eq!(world.files(0).len(), 0, "and nothing is made of the half that was sent");
    });
}

#[test]
fn what_was_confirmed_before_a_failure_is_not_sent_again() {
    paused(async {
        let world = world(4, ONE_HOST, &[("box", &[(10 * SECOND, HOUR, Trouble::Down)])]);
        queued(&world, 10 * PART_BYTES as usize).await;
        let end = attempt(&world).await;
        let why = end.why.unwrap();
        assert_eq!((end.state, why.class), (State::Waiting, ReasonClass::Host(Class::Transient)));
        let held = world.job("a", "box").parts_acked;
        assert!((1..10).contains(&held), "{held}");
        tokio::time::sleep(HOUR).await;
        assert_eq!(attempt(&world).await.state, State::Done);
        assert_eq!((world.files(0).len(), world.hosts[0].far().repeated), (1, 0));
    });
}

#[test]
fn a_finish_that_is_not_answered_is_asked_about_and_not_repeated() {
    paused(async {
        // The third call is the finish: its answer is lost.
        let world = world(5, ONE_HOST, &[("box", &[(START, 10 * SECOND, Trouble::LosesReplies)])]);
        queued(&world, 1000).await;
        let end = attempt(&world).await;
        assert_eq!((end.state, world.files(0).len()), (State::Waiting, 1), "the host has the file, and we do not know");
        tokio::time::sleep(HOUR).await;
        assert_eq!(attempt(&world).await.state, State::Done);
        assert_eq!((world.calls(0, "finish"), world.calls(0, "probe"), world.files(0).len()), (1, 1, 1));
        assert!(!world.job("a", "box").maybe_duplicate);
    });
}

#[test]
fn an_attempt_that_is_told_to_drain_leaves_a_queued_job_with_its_session() {
    paused(async {
        let world = world(6, ONE_HOST, &[("box", &[])]);
        queued(&world, 10 * PART_BYTES as usize).await;
        let (worker, switch) = worker(&world);
        let job = claim(&world).await;
        let drain = async {
            tokio::time::sleep(8 * SECOND).await;
            switch.advance(Phase::Draining);
        };
        let (end, ()) = tokio::join!(worker.run(job, Arc::default()), drain);
        assert_eq!((end.unwrap().state, world.state("a", "box")), (State::Queued, (State::Queued, None)));
        assert_eq!(attempt(&world).await.state, State::Done);
        assert_eq!((world.calls(0, "open"), world.hosts[0].far().repeated), (1, 0));
    });
}

/// Leaves a file of ten parts half sent, and answers how many parts the host has confirmed.
async fn half_sent(world: &World) -> u64 {
    queued(world, 10 * PART_BYTES as usize).await;
    let (worker, switch) = worker(world);
    let job = claim(world).await;
    let drain = async {
        tokio::time::sleep(8 * SECOND).await;
        switch.advance(Phase::Draining);
    };
    let (end, ()) = tokio::join!(worker.run(job, Arc::default()), drain);
    assert_eq!(end.unwrap().state, State::Queued);
    let confirmed = world.job("a", "box").parts_acked;
    assert!((1..10).contains(&confirmed), "{confirmed}");
    confirmed
}

#[test]
fn a_half_sent_file_is_not_completed_with_the_bytes_of_another_version() {
    paused(async {
        let world = world(14, ONE_HOST, &[("box", &[])]);
        half_sent(&world).await;
        world.disk.write(Path::new("/drop/a"), &vec![b'y'; 10 * PART_BYTES as usize]).unwrap();
        let end = attempt(&world).await;
        assert_eq!((end.state, end.why.unwrap().class), (State::Gone, ReasonClass::FileChanged));
        assert_eq!(world.files(0).len(), 0);
    });
}

/// A host that cuts files otherwise, or takes them in another way, after its settings were changed.
#[test]
fn a_half_sent_file_goes_on_as_it_was_begun_whatever_the_settings_say_since() {
    let digest = DigestRequirement { algorithm: Algorithm::Md5, before_open: true, mid_states: false };
    let since = [
        Shape::whole(),
        Shape { repeat: Repeat::Harmless, ..Shape::whole() },
        Shape::parts(PART_BYTES / 2),
        Shape { order: Order::Sequential, ..Shape::parts(PART_BYTES) },
        Shape { digest: Some(digest), ..Shape::parts(PART_BYTES) },
    ];
    for (seed, shape) in (8..).zip(since) {
        paused(async {
            let mut world = world(seed, ONE_HOST, &[("box", &[])]);
            half_sent(&world).await;
            world.hosts[0].shape = shape.clone();
            assert_eq!(attempt(&world).await.state, State::Done, "{shape:?}");
            assert_eq!(world.files(0), [("/a".to_owned(), vec![b'x'; 10 * PART_BYTES as usize])], "{shape:?}");
            let sessions = world.hosts[0].far().sessions.clone();
            assert_eq!(sessions.len(), 1, "{shape:?}: it was resumed");
            assert_eq!(sessions[&1].1.len(), 10, "{shape:?}: every part is one of the plan");
            let far = world.hosts[0].far();
            assert_eq!((far.repeated, &far.digests), (0, &vec![None]), "{shape:?}");
        });
    }
}

#[test]
fn a_host_that_wants_it_has_the_digest_of_each_part_with_the_part() {
    for (seed, order) in (30..).zip([Order::Any, Order::WholeFile]) {
        paused(async {
            let mut world = world(seed, ONE_HOST, &[("box", &[])]);
            world.hosts[0].shape = Shape { order, part_digest: Some(Algorithm::Sha256), ..Shape::parts(PART_BYTES) };
            queued(&world, 2 * PART_BYTES as usize + 5).await;
            let end = attempt(&world).await;
            assert_eq!((end.state, end.why), (State::Done, None), "{order:?}");
            assert_eq!(world.files(0), [("/a".to_owned(), vec![b'x'; 2 * PART_BYTES as usize + 5])], "{order:?}");
        });
    }
}

#[test]
fn a_host_is_told_the_type_and_the_time_of_a_file() {
    paused(async {
        let world = world(33, ONE_HOST, &[("box", &[])]);
        queued_as(&world, "report.PDF", 1000).await;
        let job = claim(&world).await;
        let mtime_ns = job.identity.mtime_ns;
        let (worker, _switch) = worker(&world);
        worker.run(job, Arc::default()).await.unwrap();
        let facts = world.hosts[0].far().sessions[&1].0.clone();
        assert_eq!((facts.content_type, facts.mtime_ns), ("application/pdf", mtime_ns));
        assert!(mtime_ns > 0);
    });
}

#[test]
fn a_session_that_is_given_up_leaves_its_shape_behind() {
    paused(async {
        let mut world = world(20, ONE_HOST, &[("box", &[])]);
        let confirmed = half_sent(&world).await;
        world.hosts[0].shape = Shape { session_life: Some(SECOND), ..Shape::whole() };
        tokio::time::sleep(HOUR).await;
        assert_eq!(attempt(&world).await.state, State::Done);
        let sessions = world.hosts[0].far().sessions.clone();
        let parts: Vec<usize> = sessions.values().map(|(_, parts)| parts.len()).collect();
        assert_eq!(parts, [confirmed as usize, 1], "the new session takes the file in one request");
        assert_eq!(world.files(0), [("/a".to_owned(), vec![b'x'; 10 * PART_BYTES as usize])]);
    });
}

#[test]
fn a_half_sent_file_that_an_older_version_left_goes_on_by_its_plan_and_the_settings_of_today() {
    paused(async {
        let mut world = world(21, ONE_HOST, &[("box", &[])]);
        half_sent(&world).await;
        world.hosts[0].shape = Shape { parallel: 1, ..Shape::parts(PART_BYTES / 2) };
        let (worker, _switch) = worker(&world);
        let mut job = claim(&world).await;
        let upload = job.upload.as_mut().unwrap();
        assert_eq!(upload.shape.take(), Some(Shape { parallel: 3, parts_max: 10_000, ..Shape::parts(PART_BYTES) }));
        assert_eq!(worker.run(job, Arc::default()).await.unwrap().state, State::Done);
        assert_eq!(world.files(0), [("/a".to_owned(), vec![b'x'; 10 * PART_BYTES as usize])]);
        assert_eq!(world.hosts[0].far().repeated, 0);
    });
}

#[test]
fn a_job_that_somebody_has_moved_on_is_left_where_it_is() {
    paused(async {
        let world = world(7, ONE_HOST, &[("box", &[])]);
        queued(&world, 1000).await;
        let (worker, _switch) = worker(&world);
        let job = claim(&world).await;
        // As a start of the daemon would.
        world.store.recover().await.unwrap();
        let end = worker.run(job, Arc::default()).await.unwrap();
        assert_eq!((end.state, world.state("a", "box").0), (State::Queued, State::Queued));
    });
}
