//! A day of the whole daemon in one thread: engine, queue, watching and files in memory, on a clock that jumps from one event to
//! the next, with users who write, rename, change and remove files, and hosts that are slow, down, busy and lose replies. One
//! number decides it all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::world::{CONFIG, HOUR, MINUTE, Trouble, World, paused, world};
use crate::os::chance::Chance;
use crate::os::files::simulated::Disk;

/// What users do to the files in the watched folder, and what they mean to have on the hosts.
struct Users {
    disk: Disk,
    chance: Chance,
    /// Files made so far.
    made: u32,
    /// Every content that a file had when its writer closed it.
    closed: BTreeSet<Vec<u8>>,
    /// The last content of each file that its users left alone after that.
    left: BTreeMap<PathBuf, Vec<u8>>,
}

impl Users {
    fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        let index = (self.chance.fraction() * from.len() as f64) as usize;
        from.get(index).cloned()
    }

    fn content(&mut self, bytes: usize) -> Vec<u8> {
        self.made += 1;
        let mut content = format!("file {} ", self.made).into_bytes();
        content.resize(bytes.max(content.len()), b'a' + (self.made % 26) as u8);
        content
    }

    /// A file that is still in the watched folder.
    fn some_file(&self) -> Option<PathBuf> {
        let there: Vec<PathBuf> =
            self.disk.files_below(Path::new("/drop")).iter().map(|path| Path::new("/drop").join(path)).collect();
        self.pick(&there)
    }

    fn close(&mut self, path: &Path, content: Vec<u8>) {
        self.closed.insert(content.clone());
        self.left.insert(path.to_owned(), content);
    }

    async fn act(&mut self) {
        match (self.chance.fraction() * 10.0) as u32 {
            0..=4 => self.write_at_once(),
            5 => self.write_slowly().await,
            6 => self.rename(),
            7 => self.change(),
            8 => self.remove(),
            _ => self.move_a_folder_in(),
        }
    }

    fn write_at_once(&mut self) {
        let bytes = (self.chance.fraction() * 200_000.0) as usize;
        let content = self.content(bytes);
        let path = PathBuf::from(format!("/drop/{}.txt", self.made));
        self.disk.write(&path, &content).unwrap();
        self.close(&path, content);
    }

    /// In ten steps, with pauses that are longer than a file must be quiet.
    async fn write_slowly(&mut self) {
        use std::io::Write;
        let content = self.content(150_000);
        let path = PathBuf::from(format!("/drop/{}.film", self.made));
        let mut file = self.disk.create(&path).unwrap();
        for step in content.chunks(content.len().div_ceil(10)) {
            file.write_all(step).unwrap();
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        drop(file);
        self.close(&path, content);
    }

    fn rename(&mut self) {
        let Some(path) = self.some_file() else { return };
        self.made += 1;
        let renamed = path.with_file_name(format!("{}.renamed", self.made));
        self.disk.rename(&path, &renamed).unwrap();
        if let Some(content) = self.left.remove(&path) {
            self.left.insert(renamed, content);
        }
    }

    fn change(&mut self) {
        let Some(path) = self.some_file() else { return };
        let content = self.content(90_000);
        self.disk.write(&path, &content).unwrap();
        self.close(&path, content);
    }

    fn remove(&mut self) {
        let Some(path) = self.some_file() else { return };
        self.disk.remove(&path).unwrap();
        self.left.remove(&path);
    }

    fn move_a_folder_in(&mut self) {
        let content = self.content(5_000);
        let folder = PathBuf::from(format!("/elsewhere/{}", self.made));
        self.disk.make_folders(&folder).unwrap();
        self.disk.write(&folder.join("in a folder"), &content).unwrap();
        let to = PathBuf::from(format!("/drop/{}", self.made));
        self.disk.rename(&folder, &to).unwrap();
        self.close(&to.join("in a folder"), content);
    }
}

/// A day of users and a daemon that is restarted at noon; then a quiet night, so that everything may end.
async fn a_day(seed: u64) -> (World, Users) {
    let down = [(2 * HOUR, 5 * HOUR, Trouble::Down), (9 * HOUR, 11 * HOUR, Trouble::LosesReplies)];
    let busy = [(4 * HOUR, 4 * HOUR + 10 * MINUTE, Trouble::Busy), (13 * HOUR, 14 * HOUR, Trouble::LosesReplies)];
    let world = world(seed, CONFIG, &[("box", &down), ("mirror", &busy)]);
    let (closed, left) = Default::default();
    let mut users = Users { disk: world.disk.clone(), chance: Chance::seeded(seed + 1), made: 0, closed, left };
    let working = async {
        let begun = Instant::now();
        while begun.elapsed() < 16 * HOUR {
            users.act().await;
            tokio::time::sleep(Duration::from_secs_f64(600.0 * users.chance.fraction())).await;
            if begun.elapsed() > 6 * HOUR && begun.elapsed() < 6 * HOUR + 10 * MINUTE {
                // Somebody sets the clock back by two days.
                world.time.jump(-2 * 86_400 * 1_000_000_000);
            }
        }
    };
    let running = async {
        world.run(4 * HOUR + 17 * MINUTE).await;
        world.run(20 * HOUR - 17 * MINUTE).await;
    };
    tokio::join!(working, running);
    (world, users)
}

#[test]
fn a_day_of_users_and_failing_hosts_ends_with_every_file_there_once() {
    for seed in [1, 2] {
        let (world, users) = paused(a_day(seed));
        assert!(users.made > 120, "the users have done something: {} files", users.made);
        for host in [0, 1] {
            let files = world.files(host);
            let mut count = BTreeMap::new();
            for (path, bytes) in &files {
                assert!(users.closed.contains(bytes), "seed {seed}: {path} is a file that nobody has written like this");
                *count.entry(bytes).or_insert(0) += 1;
            }
            for (path, content) in &users.left {
                assert_eq!(count.get(content), Some(&1), "seed {seed}, host {host}: {path:?}");
            }
            let far = world.hosts[host].far();
            assert!(far.lost > 5, "answers were lost: {}", far.lost);
            assert!(far.repeated <= far.lost, "only parts whose answers were lost came again: {} of {}", far.repeated, far.lost);
        }
        assert_eq!(world.disk.files_below(Path::new("/drop")), [] as [PathBuf; 0], "seed {seed}: every source is removed");
    }
}

#[test]
fn the_same_number_gives_the_same_day_call_for_call() {
    let log = |seed| paused(a_day(seed)).0.log();
    let (first, again, other) = (log(3), log(3), log(4));
    let differs = first.iter().zip(&again).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(first.len(), again.len());
    assert_ne!(first, other);
}
