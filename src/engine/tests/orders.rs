//! What people order while jobs are under way.

use std::time::Duration;

use super::world::{CONFIG, HOUR, MINUTE, PART_BYTES, SECOND, START, Trouble, World, paused, world};
use crate::job::State;
use crate::job::steer::{Order, Selection, Steered};

const ONE_HOST: &str = r#"
    [daemon]
    state_dir = "/state"
    [[watch]]
    path = "/drop"
    to = ["box"]
    settle = "0s"
    [host.box]
    kind = "kie"
    api_key = "k"
"#;

/// A file of ten parts, each of which takes the host more than three seconds.
const BYTES: usize = 10 * PART_BYTES as usize;

async fn order(world: &World, order: Order) -> Steered {
    let orders = world.orders.lock().unwrap().clone();
    orders.give(order, Selection::default()).await.unwrap().unwrap()
}

#[test]
fn a_paused_upload_keeps_what_the_host_has_confirmed_and_goes_on_there() {
    paused(async {
        let world = world(1, ONE_HOST, &[("box", &[])]);
        world.write("a", BYTES);
        world
            .run_and(HOUR, async {
                tokio::time::sleep(6 * SECOND).await;
                let steered = order(&world, Order::Pause).await;
                assert_eq!((steered.changed, steered.stopping.len()), (1, 1));
                tokio::time::sleep(10 * SECOND).await;
                let job = world.job("a", "box");
                assert_eq!((job.state, job.attempts, job.next_try_ms), (State::Paused, 1, None));
                assert!(job.parts_acked > 0 && job.parts_acked < 10, "{job:?}");
                let calls = world.log().len();
                tokio::time::sleep(10 * MINUTE).await;
                assert_eq!(world.log().len(), calls, "nothing moves");
                order(&world, Order::Resume).await;
            })
            .await;
        assert_eq!(world.state("a", "box").0, State::Done);
        assert_eq!((world.files(0).len(), world.calls(0, "open")), (1, 1));
        let far = world.hosts[0].far();
        assert_eq!(far.repeated, 0, "no part that was confirmed came again");
    });
}

#[test]
fn a_host_that_hangs_keeps_no_job_from_being_paused_and_that_counts_as_no_failure() {
    paused(async {
        let world = world(2, ONE_HOST, &[("box", &[(SECOND, HOUR, Trouble::Hangs)])]);
        world.write("a", BYTES);
        world
            .run_and(2 * HOUR, async {
                tokio::time::sleep(10 * SECOND).await;
                order(&world, Order::Pause).await;
                tokio::time::sleep(5 * SECOND).await;
                assert_eq!(world.state("a", "box"), (State::Paused, None));
                tokio::time::sleep(HOUR).await;
                order(&world, Order::Resume).await;
            })
            .await;
        assert_eq!((world.state("a", "box").0, world.files(0).len()), (State::Done, 1));
    });
}

#[test]
fn a_file_whose_last_step_is_under_way_is_uploaded_whatever_is_ordered() {
    for ordered in [Order::Pause, Order::Cancel] {
        paused(async {
            let world = world(3, ONE_HOST, &[("box", &[])]);
            world.write("a", 100);
            world
                .run_and(HOUR, async {
                    while world.calls(0, "send") == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    assert_eq!(order(&world, ordered).await.stopping.len(), 1);
                })
                .await;
            assert_eq!((world.state("a", "box").0, world.files(0).len()), (State::Done, 1), "{ordered:?}");
        });
    }
}

#[test]
fn a_cancelled_upload_ends_and_its_source_stays_though_the_other_host_has_it() {
    paused(async {
        let world = world(4, CONFIG, &[("box", &[]), ("mirror", &[(START, HOUR, Trouble::Down)])]);
        world.write("a", 1000);
        world
            .run_and(3 * HOUR, async {
                tokio::time::sleep(MINUTE).await;
                assert_eq!(order(&world, Order::Cancel).await.changed, 1, "the other host has it");
            })
            .await;
        assert_eq!((world.state("a", "box").0, world.state("a", "mirror").0), (State::Done, State::Cancelled));
        assert_eq!((world.files(0).len(), world.files(1).len()), (1, 0));
        assert!(world.disk.read(std::path::Path::new("/drop/a")).is_ok(), "nobody has proved that `mirror` has it");
    });
}

#[test]
fn a_host_that_is_on_hold_is_tried_at_once_when_a_person_says_so() {
    paused(async {
        let world = world(5, ONE_HOST, &[("box", &[(START, 2 * MINUTE, Trouble::Refuses)])]);
        world.write("a", 1000);
        world
            .run_and(10 * MINUTE, async {
                tokio::time::sleep(3 * MINUTE).await;
                assert_eq!(world.state("a", "box").0, State::Held);
                assert_eq!(order(&world, Order::Retry).await.changed, 1);
                tokio::time::sleep(10 * SECOND).await;
                assert_eq!(world.state("a", "box").0, State::Done, "and not in an hour");
            })
            .await;
    });
}

#[test]
fn whoever_orders_something_while_the_daemon_stops_hears_that_nobody_will_do_it() {
    paused(async {
        let world = world(6, ONE_HOST, &[("box", &[(SECOND, HOUR, Trouble::Hangs)])]);
        world.write("a", BYTES);
        world
            .run_and(10 * SECOND, async {
                tokio::time::sleep(11 * SECOND).await;
                let orders = world.orders.lock().unwrap().clone();
                assert!(orders.give(Order::Pause, Selection::default()).await.is_none());
            })
            .await;
        assert_eq!(world.state("a", "box").0, State::Uploading, "left to the next start");
    });
}
