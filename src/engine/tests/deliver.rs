//! What follows an upload: sources that go, stay and come back, and links that are renewed.

use std::path::{Path, PathBuf};

use super::world::{CONFIG, HOUR, MINUTE, SECOND, START, Trouble, paused, world};
use crate::job::{ReasonClass, State};

const MOVED: &str = r#"
    [daemon]
    state_dir = "/state"
    [[watch]]
    path = "/drop"
    to = ["box"]
    after = { move = "/sent" }
    [host.box]
    kind = "kie"
    api_key = "k"
"#;

#[test]
fn a_source_goes_when_the_last_host_has_it_and_not_before() {
    paused(async {
        let world = world(1, CONFIG, &[("box", &[]), ("mirror", &[(START, HOUR, Trouble::Down)])]);
        world.write("a", 1000);
        world.run(HOUR).await;
        let (state, why) = world.state("a", "box");
        let why = why.unwrap();
        assert_eq!((state, why.class, why.subject.as_deref()), (State::Uploaded, ReasonClass::WaitsForHost, Some("mirror")));
        assert_eq!(world.disk.files_below(Path::new("/drop")), [PathBuf::from("a")]);
        world.run(HOUR).await;
        assert_eq!(world.disk.files_below(Path::new("/drop")), [] as [PathBuf; 0]);
        assert_eq!((world.state("a", "box").0, world.state("a", "mirror").0), (State::Done, State::Done));
    });
}

#[test]
fn a_source_that_changes_after_its_upload_stays_and_its_new_version_goes_up() {
    paused(async {
        let world = world(2, CONFIG, &[("box", &[]), ("mirror", &[(START, HOUR, Trouble::Down)])]);
        world.write("a", 1000);
        let change = async {
            tokio::time::sleep(30 * MINUTE).await;
            world.write("a", 2000);
        };
        world.run_and(HOUR, change).await;
        assert_eq!(world.disk.files_below(Path::new("/drop")), [PathBuf::from("a")]);
        world.run(2 * HOUR).await;
        let sizes: Vec<usize> = world.files(0).iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(sizes, [1000, 2000]);
        assert!(world.files(1).iter().any(|(_, bytes)| bytes.len() == 2000));
        assert_eq!(world.disk.files_below(Path::new("/drop")), [] as [PathBuf; 0]);
    });
}

#[test]
fn a_source_that_somebody_writes_again_is_left_until_they_are_through() {
    paused(async {
        let world = world(3, MOVED, &[("box", &[])]);
        world.write("a", 1000);
        // Opened for writing, and nothing written: the version stays the one that was sent.
        let open = async {
            tokio::time::sleep(SECOND).await;
            let file = world.disk.append(Path::new("/drop/a")).unwrap();
            tokio::time::sleep(HOUR).await;
            drop(file);
        };
        world.run_and(3 * HOUR, open).await;
        assert_eq!(world.disk.files_below(Path::new("/sent")), [PathBuf::from("a")]);
        assert_eq!(world.state("a", "box"), (State::Done, None));
    });
}

#[test]
fn a_move_keeps_the_way_below_the_watch_and_overwrites_nothing() {
    paused(async {
        let world = world(4, MOVED, &[("box", &[])]);
        world.disk.make_folders(Path::new("/sent/trip")).unwrap();
        world.disk.write(Path::new("/sent/trip/a.mov"), b"another one").unwrap();
        world.disk.make_folders(Path::new("/drop/trip")).unwrap();
        world.write("trip/a.mov", 1000);
        world.run(MINUTE).await;
        let sent = world.disk.files_below(Path::new("/sent"));
        assert_eq!(sent, [PathBuf::from("trip/a (1).mov"), PathBuf::from("trip/a.mov")]);
        assert_eq!(world.disk.read(Path::new("/sent/trip/a.mov")).unwrap(), b"another one");
    });
}

#[test]
fn a_folder_that_is_away_has_not_lost_its_files() {
    paused(async {
        let world = world(5, CONFIG, &[("box", &[]), ("mirror", &[(START, 30 * MINUTE, Trouble::Down)])]);
        world.write("a", 1000);
        let away = async {
            tokio::time::sleep(10 * MINUTE).await;
            world.disk.rename(Path::new("/drop"), Path::new("/away")).unwrap();
            tokio::time::sleep(6 * HOUR).await;
            world.disk.rename(Path::new("/away"), Path::new("/drop")).unwrap();
        };
        world.run_and(5 * HOUR, away).await;
        assert!(matches!(world.state("a", "mirror").0, State::Waiting | State::Uploaded), "{:?}", world.state("a", "mirror"));
        world.run(5 * HOUR).await;
        assert_eq!((world.state("a", "box").0, world.state("a", "mirror").0), (State::Done, State::Done));
        assert_eq!(world.disk.files_below(Path::new("/drop")), [] as [PathBuf; 0]);
    });
}
