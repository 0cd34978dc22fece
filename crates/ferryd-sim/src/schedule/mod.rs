//! What happens in a world, and when: made from a number, and a plain list from then on, so that it can be cut down.

mod scenes;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::setting::{After, Setting};
use ferryd::internals::job::steer::Order;
use ferryd::internals::os::simulated_files::Fate;
use ferryd_sandbox::faults::{Action, Endpoint, ErrorBody, RetryAfter, Rule, When};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scenes::Scene;

/// In one of so many worlds, users change files and set their times back.
const SECRETIVE: u64 = 50;
/// The longest times between two events.
const SHORT: Duration = Duration::from_secs(10);
const MIDDLE: Duration = Duration::from_secs(120);
const LONG: Duration = Duration::from_secs(3600);
/// Shorter contents would not all be different.
const BYTES_MIN: u64 = 16;
/// The kinds that all numbers were drawn from at first ...
const FIRST_KINDS: usize = 5;
/// ... and how often one that came later takes the place of one of them.
const LATER_CHANCE: f64 = 0.25;
/// How often what is seldom configured is.
const SELDOM: f64 = 0.125;
/// How often files have markers.
const MARKERS_CHANCE: f64 = 0.1;
/// What makes of a number the one for what came later.
const LATER: u64 = 0x7361_6c74;
/// The parts of the kinds are no smaller, so larger files have several.
const PART_BYTES: u64 = 256 * 1024;

/// One world's fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The number that it was made from. It also decides everything that the daemon and the hosts leave to chance.
    pub seed: u64,
    /// How the daemon is configured.
    pub setting: Setting,
    /// What happens, in order.
    pub events: Vec<Event>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, after the beginning.
    pub at: Duration,
    /// Just before the daemon has done so many things more from then on; at that time where it is zero. It happens at the next
    /// event's time if the daemon does not do as much.
    pub steps: u32,
    /// What it is.
    pub what: Deed,
}

/// Which file a user takes: a number from which the choice among those that are there follows.
pub type Pick = u32;

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// A user does something.
    User(Act),
    /// The process is killed.
    Kill,
    /// The power goes.
    CutPower,
    /// The daemon is told to stop, and started again after so long.
    Stop(Duration),
    /// The daemon is told to read its configuration again, which now says this of sources.
    Reload(After),
    /// A host behaves in this way from now on.
    Fault(Rule),
    /// All hosts are well again.
    HostsRecover,
    /// Hosts lose their sessions, and say so.
    LoseSessions,
    /// The clock of the hosts is put forward, or back, by so many seconds.
    HostClock(i64),
    /// Nobody can be reached, or everybody again.
    Network(bool),
    /// The clock of the machine is put forward, or back, by so many seconds.
    Clock(i64),
    /// Events of files arrive in this way from now on.
    Events(Fate),
    /// Events arrive again, and the daemon is told that some were lost.
    Overflow,
    /// The disk of the folder that files are moved to is full, or has room again.
    SentFull(bool),
    /// A person orders something.
    Order(Order, Aim),
    /// The disk of the queue fails in this way for so long.
    QueueFails(Failing, Duration),
    /// A file cannot be read any more.
    Damage(Pick),
    /// Every file can be read again.
    Mend,
    /// The hosts are restarted: connections end, and uploads that have begun are forgotten if it says so.
    HostsRestart(bool),
}

/// What an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// One job.
    Job(Pick),
    /// All jobs of a host.
    Host(Pick),
    /// All jobs of files in one of the folders.
    Folder,
    /// All jobs.
    All,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// It is full: nothing grows.
    Full,
    /// Nothing can be written.
    Writes,
    /// Nothing is taken to it for good.
    Syncs,
}

/// What a user does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Writes a file of this name.
    Create(Name, u64),
    /// Begins to write a file of this name, and has written so much.
    Open(Name, u64),
    /// Writes so much more into the file that was begun last.
    Continue(u64),
    /// Closes the file that was begun last.
    Close,
    /// Adds so much to a file.
    Append(Pick, u64),
    /// Writes a file anew, with so many bytes.
    Overwrite(Pick, u64),
    /// Writes other bytes of the same number into a file.
    Edit(Pick),
    /// The same, and sets the time of the last change back to what it was.
    EditSecretly(Pick),
    /// The same in two places that no fingerprint covers: near the beginning and near the end.
    EditBetween(Pick),
    /// Writes a new file beside one and renames it over that.
    Replace(Pick, u64),
    /// Cuts a file down to half of its bytes.
    Truncate(Pick),
    /// Gives a file another name.
    Rename(Pick, Name),
    /// Gives a file a second name.
    Link(Pick, Name),
    /// Changes the mode of a file.
    Chmod(Pick),
    /// Removes a file.
    Remove(Pick),
    /// Moves a file out of the watch.
    MoveOut(Pick),
    /// Moves the file back that was moved out last.
    MoveBack,
    /// Moves a folder with a file in it into the watch.
    MoveIn(Name, u64),
    /// Takes the disk of the watched folder away.
    Unmount,
    /// Brings it back, under other numbers.
    Remount,
    /// Brings the watched folder back from a backup: everything the same but its numbers and times of the inode.
    Restore,
    /// Writes the marker of every file that stands there.
    Mark,
    /// Removes every marker.
    Unmark,
}

/// The name of a file: one of a few, so that users come upon the same ones again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(pub u8);

impl Name {
    /// How many there are.
    pub const COUNT: u8 = 12;
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = ["", "", "", "films/", "films/new/"][usize::from(self.0) % 5];
        write!(f, "{folder}{}", char::from(b'a' + self.0))
    }
}

impl Schedule {
    /// The schedule of this number.
    pub fn of(seed: u64) -> Schedule {
        let later = StdRng::seed_from_u64(seed ^ LATER);
        let mut maker = Maker { random: StdRng::seed_from_u64(seed), later, has_secrets: seed % SECRETIVE == SECRETIVE - 1 };
        let mut setting = maker.setting();
        let (mut events, begin) = Scene::of(seed).map(|scene| maker.scene(scene, &mut setting)).unwrap_or_default();
        events.extend(maker.events(&setting, begin));
        Schedule { seed, setting, events }
    }
}

/// Throws the dice.
struct Maker {
    random: StdRng,
    /// For kinds of hosts and settings that came later, so that a number that is not drawn for one means the same world as before.
    later: StdRng,
    /// Whether there are users who change files and set their times back, or bring them back from a backup.
    has_secrets: bool,
}

impl Maker {
    fn chance(&mut self, chance: f64) -> bool {
        self.random.random::<f64>() < chance
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.random_range(0..end)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())].clone()
    }

    /// What is seldom configured, of what came later.
    fn seldom<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let index = self.later.random_range(0..of.len());
        self.later.random_bool(SELDOM).then(|| of[index])
    }

    /// Mostly short times, sometimes long ones.
    fn pause(&mut self, longest: Duration) -> Duration {
        let fraction = self.random.random::<f64>();
        longest.mul_f64(fraction.powi(4))
    }

    /// The time to the next event: most come while the daemon still works on the last one.
    fn gap(&mut self) -> Duration {
        let longest = self.one(&[Duration::ZERO, SHORT, SHORT, SHORT, MIDDLE, MIDDLE, LONG]);
        self.pause(longest)
    }

    fn setting(&mut self) -> Setting {
        let mut kinds = ferryd_sandbox::kinds();
        kinds.retain(|kind| *kind != "example");
        let later = kinds.split_off(FIRST_KINDS.min(kinds.len()));
        let count = self.one(&[2, 2, 2, 3]);
        let mut hosts = Vec::new();
        for _ in 0..count {
            let index = self.random.random_range(0..kinds.len());
            hosts.push(kinds.swap_remove(index));
        }
        if !later.is_empty() && self.later.random_bool(LATER_CHANCE) {
            hosts[0] = later[self.later.random_range(0..later.len())];
        }
        Setting {
            hosts,
            after: self.after(),
            trusts: self.chance(0.8),
            asks_first: self.chance(0.7),
            max_connections: self.one(&[2, 4, 64, 64]),
            max_uploads: self.one(&[2, 3, 16, 16]),
            settle_seconds: self.one(&[0, 2, 2, 10]),
            pace: self.one(&[None, Some(10_000), Some(50_000), Some(200_000)]),
            moves_far: self.chance(0.5),
            is_disk: self.chance(0.5),
            keeps_connections: self.chance(0.7),
            is_new: self.chance(0.05),
            bandwidth: self.seldom(&[60_000, 200_000]),
            retries: self.seldom(&[1, 3]),
            has_markers: self.later.random_bool(MARKERS_CHANCE),
        }
    }

    fn after(&mut self) -> After {
        self.one(&[After::Keep, After::Delete, After::Delete, After::Move])
    }

    /// What happens from then on.
    fn events(&mut self, setting: &Setting, begin: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let mut at = begin;
        // The first files are there before the daemon is, or come while it starts.
        for _ in 0..1 + self.below(3) {
            let create = Act::Create(self.name(), self.bytes());
            events.push(Event { at, steps: 0, what: Deed::User(create) });
        }
        let count = 6 + self.below(13);
        for _ in 0..count {
            at += self.gap();
            // In the middle of something that the daemon does, rather than when it waits.
            let steps = if self.chance(0.4) { 1 + self.below(60) as u32 } else { 0 };
            let what = match self.below(20) {
                0..11 => Deed::User(self.act()),
                11 | 12 => self.order(),
                _ => self.trouble(setting),
            };
            let ends = self.end_of(&what);
            events.push(Event { at, steps, what: what.clone() });
            if let Some(end) = ends {
                let later = at + Duration::from_secs(1) + self.pause(LONG);
                events.push(Event { at: later, steps: 0, what: end });
            }
        }
        if setting.has_markers {
            let marks = self.marks(&events);
            events.extend(marks);
        }
        events.sort_by_key(|event| event.at);
        events
    }

    /// Users mark files as complete some time after they have done something to them, and sometimes take that back.
    fn marks(&mut self, events: &[Event]) -> Vec<Event> {
        let acts = events.iter().filter(|event| matches!(event.what, Deed::User(_)));
        acts.filter_map(|event| {
            let act = if self.later.random_bool(0.8) { Act::Mark } else { Act::Unmark };
            let after = SHORT.mul_f64(self.later.random::<f64>());
            self.later.random_bool(0.7).then(|| Event { at: event.at + after, steps: 0, what: Deed::User(act) })
        })
        .collect()
    }

    /// What ends something that must not last for ever.
    fn end_of(&mut self, what: &Deed) -> Option<Deed> {
        match what {
            Deed::Network(false) => Some(Deed::Network(true)),
            Deed::SentFull(true) => Some(Deed::SentFull(false)),
            Deed::Damage(_) => Some(Deed::Mend),
            Deed::Order(Order::Pause, aim) if self.chance(0.5) => Some(Deed::Order(Order::Resume, *aim)),
            Deed::Order(Order::Cancel, aim @ Aim::Job(_)) if self.chance(0.3) => Some(Deed::Order(Order::Again, *aim)),
            Deed::Events(Fate::Lose) if self.chance(0.7) => Some(Deed::Overflow),
            Deed::Events(fate) if *fate != Fate::Deliver => Some(Deed::Events(Fate::Deliver)),
            Deed::Fault(_) if self.chance(0.6) => Some(Deed::HostsRecover),
            Deed::User(Act::MoveOut(_)) => Some(Deed::User(Act::MoveBack)),
            Deed::User(Act::Unmount) => Some(Deed::User(Act::Remount)),
            Deed::User(Act::Open(..)) => Some(Deed::User(Act::Close)),
            _ => None,
        }
    }

    fn name(&mut self) -> Name {
        Name(self.below(Name::COUNT.into()) as u8)
    }

    fn bytes(&mut self) -> u64 {
        match self.below(10) {
            0 => BYTES_MIN,
            1..6 => BYTES_MIN + self.below(4000),
            6 | 7 => 1000 + self.below(120_000),
            8 => PART_BYTES,
            _ => PART_BYTES + self.below(2 * PART_BYTES),
        }
    }

    fn act(&mut self) -> Act {
        let (pick, name, bytes) = (self.random.random(), self.name(), self.bytes());
        match self.below(25) {
            0..5 => Act::Create(name, bytes),
            5 => Act::Open(name, bytes),
            6 => Act::Continue(bytes),
            7 => Act::Close,
            8 => Act::Append(pick, bytes),
            9 => Act::Overwrite(pick, bytes),
            10 | 11 => Act::Edit(pick),
            12 if self.has_secrets => Act::EditSecretly(pick),
            12 => Act::Edit(pick),
            13 | 14 => Act::Replace(pick, bytes),
            15 => Act::Truncate(pick),
            16 | 17 => Act::Rename(pick, name),
            18 => Act::Link(pick, name),
            19 => Act::Chmod(pick),
            20 => Act::Remove(pick),
            21 => Act::MoveIn(name, bytes),
            22 => Act::MoveOut(pick),
            23 if self.has_secrets => Act::Restore,
            _ => Act::Unmount,
        }
    }

    fn order(&mut self) -> Deed {
        let pick = self.random.random();
        let aim = self.one(&[Aim::Job(pick), Aim::Job(pick), Aim::Job(pick), Aim::Host(pick), Aim::Folder, Aim::All]);
        let order =
            self.one(&[Order::Pause, Order::Pause, Order::Cancel, Order::Cancel, Order::Again, Order::Retry, Order::Resume]);
        // Who sends a whole folder anew has all of it twice, and no promise would be left of it.
        Deed::Order(order, if order == Order::Again { Aim::Job(pick) } else { aim })
    }

    fn trouble(&mut self, setting: &Setting) -> Deed {
        match self.below(23) {
            0..4 => Deed::Kill,
            4 | 5 => Deed::CutPower,
            6 => Deed::Stop(self.pause(Duration::from_secs(1800))),
            7 => Deed::Reload(self.after()),
            8..14 => {
                let host = self.one(&setting.hosts);
                Deed::Fault(self.fault(host, setting))
            }
            14 => Deed::HostsRecover,
            15 => self.one(&[Deed::LoseSessions, Deed::HostClock(1200), Deed::HostClock(-1200), Deed::HostClock(3)]),
            16 => Deed::Network(false),
            17 => self.one(&[Deed::Clock(-7200), Deed::Clock(7200), Deed::Clock(-365 * 86_400), Deed::Clock(365 * 86_400)]),
            18 => Deed::QueueFails(Failing::Full, self.pause(MIDDLE)),
            20 => Deed::HostsRestart(self.chance(0.5)),
            21 => Deed::Damage(self.random.random()),
            22 => Deed::QueueFails(self.one(&[Failing::Writes, Failing::Syncs]), self.pause(MIDDLE)),
            _ => self.one(&[
                Deed::Events(Fate::Lose),
                Deed::Events(Fate::Twice),
                Deed::Events(Fate::Later),
                Deed::Overflow,
                Deed::SentFull(true),
            ]),
        }
    }

    fn fault(&mut self, host: &'static str, setting: &Setting) -> Rule {
        let action = if self.chance(0.1) { self.indiscretion(host, setting) } else { self.action() };
        let endpoint = self.one(&[Endpoint::Any, Endpoint::Chunk, Endpoint::Finish, Endpoint::Open, Endpoint::Probe]);
        let when = match self.below(4) {
            0 => When::Always,
            1 => When::First(1 + self.below(3)),
            2 => When::Nth(1 + self.below(6)),
            _ => When::Probability { chance: 0.2 + 0.6 * self.random.random::<f64>(), seed: self.random.random() },
        };
        Rule::new(action).host(host).at(endpoint).when(when)
    }

    /// An error that says the secrets of the host.
    fn indiscretion(&mut self, host: &'static str, setting: &Setting) -> Action {
        let body = format!("refused for {}", setting.secrets_of(host).join(" and "));
        Action::Reply { status: self.one(&[400, 403, 500]), headers: BTreeMap::new(), body, stored: false }
    }

    fn action(&mut self) -> Action {
        let (seconds, bytes) = (f64::from(self.random.random_range(1..900u32)), self.below(3000));
        let reset = self.chance(0.5);
        match self.below(22) {
            0..3 => {
                let body = self.one(&[ErrorBody::Json, ErrorBody::Plain, ErrorBody::Empty]);
                Action::Status { code: self.one(&[500, 502, 503, 504]), body, stored: self.chance(0.3) }
            }
            3 => Action::TooManyRequests {
                retry_after: self.one(&[RetryAfter::Absent, RetryAfter::Seconds(30), RetryAfter::DateInSeconds(600)]),
            },
            4 => Action::CloseBeforeReading { reset },
            5 => Action::ResetAfterBytes { bytes },
            6 => Action::ResetAfterBody,
            7..10 => Action::LoseReply { reset },
            10 => Action::SlowReading { bytes_per_second: 100 + bytes },
            11 => Action::Stall { after_bytes: bytes, seconds },
            12 => Action::SlowReply { seconds },
            13 => Action::CutReply { bytes: bytes % 60 },
            14 => Action::Html { status: self.one(&[200, 503]), stored: reset },
            15 => Action::LoseSession,
            16 => self.one(&[Action::Limit, Action::AccountFull, Action::Deny, Action::Expire]),
            17 => Action::EarlyReply { status: 503, body: ErrorBody::Json, after_bytes: bytes, hold_seconds: 5.0 },
            18 => self.one(&[Action::SwapTypes, Action::ExtraFields, Action::ReorderFields, Action::WrongLength { by: 5 }]),
            19 => self.one(&[Action::Moved, Action::Redirect { status: 307, to: None }, Action::WrongFacts]),
            20 => Action::Twice,
            _ => self.one(&[Action::StoreOtherName, Action::StoreOtherName, Action::DropPart, Action::CorruptPart]),
        }
    }
}
