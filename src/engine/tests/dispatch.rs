//! What is claimed when, as hosts fail and recover.

use super::world::{HOUR, MINUTE, SECOND, START, Trouble, paused, world};
use crate::job::upload::Class;
use crate::job::{ReasonClass, State};

const TWO_HOSTS: &str = r#"
    [daemon]
    state_dir = "/state"
    max_uploads = 4
    [[watch]]
    path = "/drop"
    to = ["box", "mirror"]
    [host.box]
    kind = "kie"
    api_key = "k"
    [host.mirror]
    kind = "kie"
    api_key = "k"
"#;

#[test]
fn a_host_that_never_answers_keeps_its_own_slots_and_no_others() {
    paused(async {
        let world = world(1, TWO_HOSTS, &[("box", &[(START, 24 * HOUR, Trouble::Hangs)]), ("mirror", &[])]);
        for number in 0..40 {
            world.write(&format!("{number}"), 1000);
        }
        world.run(HOUR).await;
        assert_eq!(world.files(1).len(), 40, "the other host has every file");
        assert!(world.calls(0, "hangs") <= 4, "{} requests hang", world.calls(0, "hangs"));
        assert_eq!(world.state("0", "mirror").0, State::Done);
    });
}

#[test]
fn a_host_that_is_down_is_asked_by_one_job_at_a_time_until_it_answers() {
    paused(async {
        let world = world(2, TWO_HOSTS, &[("box", &[(START, 5 * HOUR, Trouble::Down)]), ("mirror", &[])]);
        for number in 0..100 {
            world.write(&format!("{number}"), 1000);
        }
        world.run(5 * HOUR).await;
        let asked = world.calls(0, "open");
        assert!(
            asked < 40,
            "{asked} questions in five hours; a hundred files that are each tried every five minutes would ask 6000"
        );
        assert_eq!(world.files(1).len(), 100);
        world.run(HOUR).await;
        assert_eq!(world.files(0).len(), 100, "nothing was given up meanwhile");
    });
}

#[test]
fn without_a_network_everything_is_tried_twice_a_minute_and_no_host_is_at_fault() {
    paused(async {
        let offline = [(START, HOUR, Trouble::Offline)];
        let world = world(9, TWO_HOSTS, &[("box", &offline), ("mirror", &offline)]);
        for number in 0..20 {
            world.write(&format!("{number}"), 1000);
        }
        let meanwhile = async {
            tokio::time::sleep(HOUR - SECOND).await;
            let asked = world.calls(0, "open");
            assert!((100..400).contains(&asked), "{asked} questions in an hour");
        };
        world.run_and(HOUR + 45 * SECOND, meanwhile).await;
        assert_eq!((world.files(0).len(), world.files(1).len()), (20, 20));
    });
}

#[test]
fn when_the_network_has_changed_what_could_not_be_reached_is_tried_at_once() {
    paused(async {
        let offline = [(START, 10 * MINUTE, Trouble::Offline)];
        let world = world(9, TWO_HOSTS, &[("box", &offline), ("mirror", &[])]);
        world.write("file", 1000);
        let meanwhile = async {
            tokio::time::sleep(10 * MINUTE - SECOND).await;
            let before = world.calls(0, "open");
            for _ in 0..5 {
                world.system.network.has_changed();
                tokio::time::sleep(SECOND / 10).await;
            }
            assert_eq!(world.calls(0, "open"), before + 5);
        };
        world.run_and(10 * MINUTE, meanwhile).await;
    });
}

#[test]
fn a_host_that_cannot_be_reached_while_another_can_is_left_alone_longer_and_longer() {
    paused(async {
        let world = world(9, TWO_HOSTS, &[("box", &[(START, 5 * HOUR, Trouble::Offline)]), ("mirror", &[])]);
        for number in 0..20 {
            world.write(&format!("{number}"), 1000);
        }
        let arrivals = async {
            for number in 20..1000 {
                tokio::time::sleep(20 * SECOND).await;
                world.write(&format!("{number}"), 1000);
            }
        };
        world.run_and(5 * HOUR, async { drop(tokio::time::timeout(5 * HOUR, arrivals).await) }).await;
        let asked = world.calls(0, "open");
        assert!(asked < 60, "{asked} questions in five hours");
    });
}

#[test]
fn a_refused_password_holds_the_host_and_everything_goes_when_it_is_right() {
    paused(async {
        let world = world(3, TWO_HOSTS, &[("box", &[(START, 150 * MINUTE, Trouble::Refuses)]), ("mirror", &[])]);
        for number in 0..10 {
            world.write(&format!("{number}"), 1000);
        }
        world.run(HOUR).await;
        let held = world.store.jobs().into_iter().filter(|job| job.state == State::Held).collect::<Vec<_>>();
        let why = held[0].why.clone().unwrap();
        assert_eq!((why.class, why.status), (ReasonClass::Host(Class::HostRefused), Some(401)));
        let asked = world.calls(0, "open");
        assert!(asked <= 6, "{asked}: a wrong password is not tried over and over");
        world.run(3 * HOUR).await;
        assert_eq!(world.files(0).len(), 10);
    });
}

#[test]
fn a_password_that_is_corrected_at_its_source_is_read_at_the_next_try_and_no_earlier() {
    paused(async {
        let world = world(3, TWO_HOSTS, &[("box", &[(START, 30 * MINUTE, Trouble::WrongPassword)]), ("mirror", &[])]);
        for number in 0..10 {
            world.write(&format!("{number}"), 1000);
        }
        let meanwhile = async {
            tokio::time::sleep(50 * MINUTE).await;
            assert_eq!((world.files(0).len(), world.calls(0, "made")), (0, 1), "nothing is read before the host is tried again");
        };
        world.run_and(5 * HOUR, meanwhile).await;
        assert_eq!((world.files(0).len(), world.calls(0, "made"), world.calls(1, "made")), (10, 2, 1));
    });
}

#[test]
fn a_host_that_asks_for_rest_has_it() {
    paused(async {
        let world = world(4, TWO_HOSTS, &[("box", &[(START, 10 * MINUTE, Trouble::Busy)]), ("mirror", &[])]);
        for number in 0..20 {
            world.write(&format!("{number}"), 1000);
        }
        world.run(10 * MINUTE).await;
        let asked = world.calls(0, "open");
        assert!(asked <= 20, "{asked} questions in ten minutes, where it asked for a minute of rest each time");
        world.run(HOUR).await;
        assert_eq!(world.files(0).len(), 20);
    });
}

#[test]
fn a_host_that_rests_keeps_no_other_from_its_files() {
    paused(async {
        let world = world(4, TWO_HOSTS, &[("box", &[(START, HOUR, Trouble::Busy)]), ("mirror", &[])]);
        for number in 0..20 {
            world.write(&format!("{number}"), 1000);
        }
        world.run(30 * SECOND).await;
        assert_eq!((world.files(0).len(), world.files(1).len()), (0, 20));
    });
}

#[test]
fn a_host_without_room_is_not_asked_for_larger_files_and_takes_smaller_ones() {
    paused(async {
        let world = world(5, TWO_HOSTS, &[("box", &[(START, 10 * MINUTE, Trouble::Full)]), ("mirror", &[])]);
        for number in 0..30 {
            world.write(&format!("{number}"), 100_000);
        }
        world.run(10 * MINUTE).await;
        let asked = world.calls(0, "open");
        assert!(asked <= 6, "{asked} of 30 files were tried");
        assert!(world.store.jobs().iter().any(|job| job.state == State::Held && job.attempts > 0));
        world.write("small", 10);
        world.run(MINUTE).await;
        assert_eq!(world.state("small", "box").0, State::Done);
        world.run(3 * HOUR).await;
        assert_eq!(world.files(0).len(), 31);
    });
}

#[test]
fn a_panic_ends_its_own_attempt_and_the_file_is_tried_again() {
    paused(async {
        let world = world(6, TWO_HOSTS, &[("box", &[(START, MINUTE, Trouble::Panics)]), ("mirror", &[])]);
        world.write("a", 1000);
        world.run(MINUTE).await;
        let (state, why) = world.state("a", "box");
        assert_eq!((state, why.unwrap().class), (State::Waiting, ReasonClass::Panic));
        assert_eq!(world.files(1).len(), 1, "the other host knows nothing of it");
        world.run(2 * HOUR).await;
        assert_eq!(world.state("a", "box").0, State::Done);
    });
}

#[test]
fn what_waits_for_a_time_goes_on_when_the_clock_is_set_back() {
    paused(async {
        let world = world(7, TWO_HOSTS, &[("box", &[(START, MINUTE, Trouble::Refuses)]), ("mirror", &[])]);
        world.write("a", 1000);
        let set_back = async {
            tokio::time::sleep(30 * SECOND).await;
            world.time.jump(-365 * 86_400 * 1_000_000_000);
        };
        // The held job would be tried again in an hour, which is a year and an hour by the clock as it is now.
        world.run_and(3 * HOUR, set_back).await;
        assert_eq!(world.state("a", "box").0, State::Done);
    });
}

#[test]
fn a_daemon_that_drains_lets_parts_in_flight_arrive_and_begins_no_others() {
    paused(async {
        let world = world(8, TWO_HOSTS, &[("box", &[]), ("mirror", &[])]);
        world.write("large", 1_000_000);
        world.run(10 * SECOND).await;
        assert_eq!(world.state("large", "box").0, State::Queued);
        let before = world.calls(0, "send");
        assert!(before > 0 && world.files(0).is_empty());
        world.run(10 * MINUTE).await;
        let (files, sent) = (world.files(0), world.calls(0, "send"));
        assert_eq!((files.len(), files[0].1.len(), world.hosts[0].far().repeated), (1, 1_000_000, 0));
        assert_eq!(sent as u64, 1_000_000_u64.div_ceil(super::world::PART_BYTES), "no part was sent twice");
    });
}
