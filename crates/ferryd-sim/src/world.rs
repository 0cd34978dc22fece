//! Everything outside the process: time, disks, hosts, the network and the users; and what was seen of it all.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use ferryd::internals::engine::Orders;
use ferryd::internals::engine::phase::PhaseSwitch;
use ferryd::internals::os::clock::{Clock, TimeSource};
use ferryd::internals::os::simulated_files::Disk as Files;
use ferryd::internals::os::simulated_time::Time;
use ferryd::internals::store::{JobRow, LOG_NAME, Store};
use ferryd_sandbox::faults::Rule;
use ferryd_sandbox::{Options, Sandbox, Stats};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::life::{Life, Step};
use crate::memory::Memory;
use crate::places::{ADDRESS, DROP, ELSEWHERE, SENT};
use crate::schedule::{Event, Schedule};
use crate::setting::{After, Setting};
use crate::vfs::mount;
use crate::violation::Violation;

/// 2027-01-15, a Friday, 08:00 UTC.
const MORNING_NS: i64 = 1_800_000_000_000_000_000;

/// A world with one machine in it.
pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) seed: u64,
    pub(crate) time: Time,
    pub(crate) files: Files,
    pub(crate) queue: Disk,
    pub(crate) sandbox: Sandbox,
    pub(crate) life: Life,
    happens: fn(&World, &Event),
    /// For what goes on beside whoever asks for it.
    pub(crate) me: Weak<World>,
    state: Mutex<State>,
}

/// What changes.
pub(crate) struct State {
    random: StdRng,
    pub(crate) users: Memory,
    pub(crate) ledger: Ledger,
    pub(crate) story: Vec<String>,
    /// The running daemon's switch.
    pub(crate) switch: Option<Arc<PhaseSwitch>>,
    /// What takes orders to the running daemon.
    pub(crate) engine: Option<Orders>,
    /// What people have ordered.
    pub(crate) orders: crate::ordered::Orders,
    /// What the configuration says of sources.
    pub(crate) after: After,
    pub(crate) faults: Vec<Rule>,
    pub(crate) is_online: bool,
    /// How long the daemon stays away when it has ended, where somebody has said so.
    pub(crate) away: Option<Duration>,
    /// What is wrong with the machine just now.
    pub(crate) trouble: BTreeSet<&'static str>,
    /// How often something went wrong besides requests.
    pub(crate) troubles: u64,
    pub(crate) violations: Vec<Violation>,
    /// The jobs as they were at the last look.
    pub(crate) jobs: Vec<JobRow>,
    /// The jobs as they were read last, after so many changes of the queue's disk.
    pub(crate) read_jobs: Option<(u64, Vec<JobRow>)>,
    /// Reasons that jobs have had, and moves that they have made, by name.
    pub(crate) met: BTreeSet<String>,
    /// Whether events were lost, or came late, and the daemon was not told.
    pub(crate) was_untold: bool,
    /// By how many seconds the clock of the hosts is wrong.
    pub(crate) hosts_ahead: i64,
    /// By how many seconds the clock of the machine is wrong.
    pub(crate) ahead: i64,
    /// Lives of the daemon so far.
    pub(crate) lives: usize,
    /// Kinds of hosts that nothing was ever wrong with.
    pub(crate) healthy: Vec<&'static str>,
    /// Kinds of hosts that have lost bytes, or changed them, after they had confirmed them.
    pub(crate) careless: BTreeSet<String>,
    /// When the disk of the queue will not fail any more.
    pub(crate) queue_fails_until: Option<Duration>,
    /// How often the hosts were restarted.
    pub(crate) restarts: usize,
    /// Whether the disk of the queue, or the whole machine, has given the daemon a reason to end.
    pub(crate) has_excuse: bool,
    /// Events that have happened.
    pub(crate) happened: usize,
    /// When the life of the daemon began, and what hosts had taken by then.
    pub(crate) born: (Duration, Stats),
}

impl World {
    /// Opens the queue as a process of the daemon does.
    pub(crate) fn open_queue(&self) -> Result<Store, String> {
        self.mend_queue();
        let (disk, clock) = (self.queue.clone(), self.time.clock());
        let sync = move || disk.sync(LOG_NAME).map_err(|error| io::Error::other(format!("{error:?}")));
        Store::on_vfs(&mount(&self.queue), sync, Arc::new(move || clock.now_ms())).map_err(|error| error.to_string())
    }

    /// A world before its first event. `happens` has one happen that waited for a step of the daemon.
    pub(crate) fn new(schedule: &Schedule, happens: fn(&World, &Event)) -> Arc<World> {
        let (setting, seed) = (schedule.setting.clone(), schedule.seed);
        let time = Time::by_hand(MORNING_NS);
        let (files, sandbox) = (users_files(&setting, &time), hosts(seed, &time));
        let state = Mutex::new(State::new(seed, &setting));
        Arc::new_cyclic(|world: &Weak<World>| {
            let (of_queue, of_files) = (world.clone(), world.clone());
            let queue = Disk::with_files(seed, if setting.is_new { &[] } else { new_queue() });
            queue.before_steps(Arc::new(move || of_queue.upgrade().is_some_and(|world| world.step("queue"))));
            files.before_steps(Arc::new(move |what| of_files.upgrade().is_some_and(|world| world.step(what))));
            World { setting, seed, time, files, queue, sandbox, life: Life::default(), happens, me: world.clone(), state }
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number from 0 up to 1.
    pub(crate) fn fraction(&self) -> f64 {
        self.state().random.random()
    }

    pub(crate) fn is_online(&self) -> bool {
        self.state().is_online && self.life.is_alive()
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&self, line: &str) {
        let at = self.time.passed();
        self.state().story.push(format!("{:>11.3} s  {line}", at.as_secs_f64()));
    }

    pub(crate) fn violated(&self, promise: &'static str, what: String) {
        self.tell(&format!("VIOLATED ({promise}): {what}"));
        self.state().violations.push(Violation { promise, what });
    }

    /// The daemon is about to do something outside of its memory. Whether it may: the dead do nothing.
    pub(crate) fn step(&self, what: &str) -> bool {
        self.mend_queue();
        match self.life.step() {
            Step::Taken => true,
            Step::Dead => false,
            Step::After(event) => {
                self.tell(&format!("just before the daemon's step `{what}`:"));
                (self.happens)(self, &event);
                self.life.is_alive()
            }
        }
    }

    /// By what the running daemon is told to end, and what takes orders to it.
    pub(crate) fn set_control(&self, switch: Option<Arc<PhaseSwitch>>, engine: Option<Orders>) {
        let mut state = self.state();
        (state.switch, state.engine) = (switch, engine);
    }

    /// Whether nothing is wrong with the machine.
    pub(crate) fn is_calm(&self) -> bool {
        self.state().trouble.is_empty()
    }
}

impl State {
    fn new(seed: u64, setting: &Setting) -> State {
        State {
            random: StdRng::seed_from_u64(seed ^ 0x5EED),
            users: Memory::default(),
            ledger: Ledger::default(),
            story: Vec::new(),
            switch: None,
            engine: None,
            orders: crate::ordered::Orders::default(),
            after: setting.after,
            faults: Vec::new(),
            is_online: true,
            away: None,
            trouble: BTreeSet::new(),
            troubles: 0,
            violations: Vec::new(),
            jobs: Vec::new(),
            read_jobs: None,
            met: BTreeSet::new(),
            was_untold: false,
            hosts_ahead: 0,
            ahead: 0,
            lives: 0,
            healthy: setting.hosts.clone(),
            careless: BTreeSet::new(),
            queue_fails_until: None,
            restarts: 0,
            has_excuse: false,
            happened: 0,
            born: Default::default(),
        }
    }
}

fn users_files(setting: &Setting, time: &Time) -> Files {
    let files = Files::new(Clock::of(Arc::new(FileTimes { clock: time.clock(), last: Mutex::new((0, 0)) })));
    // An empty file system has room for all of this.
    for folder in [DROP, SENT, ELSEWHERE, "/state"] {
        drop(files.make_folders(Path::new(folder)));
    }
    for (is_disk, folder) in [(setting.is_disk, DROP), (setting.moves_far, SENT)] {
        if is_disk {
            drop(files.mount(Path::new(folder)));
        }
    }
    files
}

/// Every kind of host, with a clock that is right whatever the machine's says.
fn hosts(seed: u64, time: &Time) -> Sandbox {
    let time = time.clone();
    let options = Options {
        listen: ADDRESS,
        chance: ferryd_sandbox::Chance::seeded(seed),
        time: ferryd_sandbox::Time::of(move || (MORNING_NS / 1_000_000) + millis(time.passed())),
        ..Options::new("/nowhere")
    };
    match Sandbox::detached(options) {
        Ok(sandbox) => sandbox,
        Err(error) => unreachable!("hosts without a fault in their script: {error}"),
    }
}

/// The times that the file system gives: no two changes have the same one, as nothing else in the world takes time.
struct FileTimes {
    clock: Clock,
    /// The last time of day that was asked for, and how often since.
    last: Mutex<(i64, i64)>,
}

impl TimeSource for FileTimes {
    fn now_ns(&self) -> i64 {
        let now = self.clock.now_ns();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if last.0 == now { (now, last.1 + 1) } else { (now, 0) };
        now + last.1
    }

    fn awake(&self) -> Instant {
        self.clock.awake()
    }
}

/// The files of a queue that nothing was put into yet. Making them takes as long as a third of a life does.
fn new_queue() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = Disk::new(0);
        let made = Store::on_vfs(&mount(&disk), || Ok(()), Arc::new(|| 0));
        drop(made);
        disk.files()
    })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
