//! How long what is well has to wait because of what is not.

use std::time::Duration;

use super::world::{HOUR, MINUTE, START, Trouble, TroubleTime, World, paused, world};

const FILES: usize = 500;
const HOSTS: [&str; 2] = ["box", "mirror"];

fn config(to: &[&str]) -> String {
    let host = |name: &&str| format!("[host.{name}]\nkind = \"cloudkp\"\nbase_url = \"https://{name}.example\"\n");
    let hosts: String = HOSTS.iter().filter(|name| to.contains(name)).map(host).collect();
    format!("[daemon]\nstate_dir = \"/state\"\n[[watch]]\npath = \"/drop\"\nto = {to:?}\n{hosts}")
}

/// When the host made its last file, after the start, and how many it has by then.
fn last_of(world: &World, host: usize) -> (usize, Duration) {
    let files = world.files(host).len();
    let made = world.hosts[host].far().log.iter().filter(|line| line.contains(" finish ")).map(|line| millis(line)).max();
    (files, made.unwrap_or_default())
}

/// When a line was logged.
fn millis(line: &str) -> Duration {
    Duration::from_millis(line.split_whitespace().next().unwrap().parse().unwrap())
}

/// How long the second host takes for its files beside the first, which has this trouble.
fn beside(trouble: Trouble) -> Duration {
    paused(async {
        let troubles: &[TroubleTime] = &[(START, 24 * HOUR, trouble)];
        let world = world(1, &config(&HOSTS), &[("box", troubles), ("mirror", &[])]);
        fill(&world);
        world.run(2 * HOUR).await;
        let (files, last) = last_of(&world, 1);
        assert_eq!(files, FILES, "{trouble:?}");
        last
    })
}

fn alone() -> Duration {
    paused(async {
        let world = world(1, &config(&["mirror"]), &[("mirror", &[])]);
        fill(&world);
        world.run(2 * HOUR).await;
        let (files, last) = last_of(&world, 0);
        assert_eq!(files, FILES);
        last
    })
}

fn fill(world: &World) {
    for number in 0..FILES {
        world.write(&format!("{number}"), 1000);
    }
}

#[test]
fn beside_a_host_that_fails_in_any_way_a_healthy_one_needs_at_most_half_as_long_again() {
    let alone = alone();
    for trouble in [Trouble::Hangs, Trouble::Drips, Trouble::Down, Trouble::Busy, Trouble::Refuses, Trouble::LosesReplies] {
        let beside = beside(trouble);
        assert!(beside <= alone.mul_f64(1.5), "{trouble:?}: {beside:?}, and {alone:?} alone");
    }
}

#[test]
fn a_good_file_among_a_thousand_poisonous_ones_arrives_within_a_minute() {
    paused(async {
        let world = world(2, &config(&["mirror"]), &[("mirror", &[(START, 24 * HOUR, Trouble::Poisoned)])]);
        for number in 0..1000 {
            world.write(&format!("poison{number}"), 2000);
        }
        world.write("zgood", 1000);
        world.run(HOUR).await;
        let (files, last) = last_of(&world, 0);
        assert_eq!(files, 1);
        assert!(last <= MINUTE, "{last:?}");
    });
}

#[test]
fn a_note_does_not_wait_for_the_films_that_were_there_before_it() {
    paused(async {
        let one_at_a_time = config(&["mirror"]).replace("[host.mirror]\n", "[host.mirror]\nmax_uploads = 1\n");
        for (config, films) in [(config(&["mirror"]), 40), (one_at_a_time, 8)] {
            let world = world(3, &config, &[("mirror", &[])]);
            for number in 0..films {
                world.write(&format!("film{number}"), 2 << 20);
            }
            world
                .run_and(2 * HOUR, async {
                    tokio::time::sleep(MINUTE).await;
                    world.write("note", 3);
                })
                .await;
            let files = world.files(0);
            let place = files.iter().position(|(path, _)| path.ends_with("note"));
            assert_eq!(files.len(), films + 1);
            assert!(place.is_some_and(|place| place < films / 2), "{place:?} of {films}");
        }
    });
}
