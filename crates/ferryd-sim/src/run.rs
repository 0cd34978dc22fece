//! One world from its first event to its rest: one life of the daemon after the other, each in a runtime of its own, so that
//! whatever is left of a life when it ends is dropped with it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ferryd::internals::config;
use ferryd::internals::engine::phase::{Phase, phases};
use ferryd::internals::engine::{self, EngineError};
use ferryd::internals::host::KeptTokens;
use ferryd::internals::host::http::Clients;
use ferryd::internals::os::Files;
use ferryd::internals::os::chance::Chance;
use ferryd::internals::os::system::System;
use ferryd::internals::os::threads::Threads;
use ferryd::internals::store::Store;

use crate::log::with_log;
use crate::network::Network;
use crate::schedule::{Event, Schedule};
use crate::setting::NoEnvironment;
use crate::violation::Violation;
use crate::world::World;

/// How long whoever starts the daemon waits before it is started again.
const RESTART: Duration = Duration::from_secs(5);
/// How often the daemon may have to be started in a world.
const LIVES_MAX: u64 = 200;
/// How long a world may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(40 * 3600);
/// After so long the kernel has written everything to the disks by itself.
const WRITTEN_BACK: Duration = Duration::from_secs(40);
/// How often it is asked whether it is at rest.
const ASK: Duration = Duration::from_secs(600);
/// Everything is scanned once in this time, events or not.
const RESCAN: Duration = Duration::from_secs(3700);

/// How a world ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
    /// What happened, a line each.
    pub story: Vec<String>,
    /// How much it was.
    pub counts: Counts,
    /// What became of jobs: each move from state to state, and each reason, by name.
    pub met: BTreeSet<String>,
}

impl Report {
    /// A world whose own code, or the daemon's, panicked.
    pub(crate) fn panicked() -> Report {
        let what = "something panicked; the message is on standard error".to_owned();
        Report {
            violations: vec![Violation { promise: "panic", what }],
            story: Vec::new(),
            counts: Counts::default(),
            met: BTreeSet::new(),
        }
    }
}

/// How much happened in a world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events of the schedule, requests to hosts and steps of the daemon on its disks.
    pub events: u64,
    /// Hosts that each file goes to.
    pub hosts: u64,
    /// Contents that stood in the watch.
    pub contents: u64,
    /// Objects that hosts have.
    pub objects: u64,
    /// Requests on which a fault acted, deaths, and other troubles.
    pub faults: u64,
    /// Lives of the daemon.
    pub lives: u64,
}

/// How a life of the daemon ended.
enum Ended {
    /// It died.
    Died,
    /// It ended by itself.
    Itself(Result<(), String>),
    /// Nothing is left to happen, and it has stopped.
    Over,
}

/// How much is told of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What happened and what became of jobs.
    Story,
    /// Also the daemon's log, where it was written, and at the end every request.
    Everything,
}

/// Runs a world.
pub fn run(schedule: &Schedule, detail: Detail) -> Report {
    let world = World::new(schedule, World::happen);
    world.script();
    if detail == Detail::Story {
        return run_in(&world, schedule);
    }
    let mut report = with_log(&world, || run_in(&world, schedule));
    report.story.extend(world.sandbox.log().into_iter().map(|mut entry| {
        // In which order the requests end that are under way when a life ends is the runtime's business.
        entry.ended = None;
        format!("{entry:?}")
    }));
    report
}

fn run_in(world: &Arc<World>, schedule: &Schedule) -> Report {
    let mut course = Course { world: world.clone(), events: schedule.events.clone().into_iter().collect(), lives: 0 };
    loop {
        let ended = course.live();
        let away = world.state().away.take();
        match ended {
            Ended::Over => break,
            Ended::Died => {}
            Ended::Itself(Ok(())) if away.is_some() => {}
            Ended::Itself(Ok(())) => world.violated("ended", "the daemon has ended and nobody asked".into()),
            Ended::Itself(Err(error)) => {
                world.tell(&format!("the daemon ends: {error}"));
                if !world.state().has_excuse {
                    world.violated("ended", format!("the daemon has ended: {error}"));
                }
            }
        }
        if course.lives > LIVES_MAX {
            world.violated("bounded", format!("the daemon was started {LIVES_MAX} times"));
        }
        if !world.state().violations.is_empty() {
            break;
        }
        course.wait(away.unwrap_or(RESTART));
    }
    world.check_secrets(&schedule.setting.secrets());
    course.report()
}

/// The course that a world takes.
struct Course {
    world: Arc<World>,
    events: VecDeque<Event>,
    lives: u64,
}

impl Course {
    /// Time passes without a daemon.
    fn wait(&mut self, time: Duration) {
        let until = self.world.time.passed() + time;
        while let Some(event) = self.events.pop_front_if(|event| event.at <= until) {
            self.world.time.pass(event.at.saturating_sub(self.world.time.passed()));
            self.world.happen(&event);
        }
        self.world.time.pass(until.saturating_sub(self.world.time.passed()));
    }

    /// One life of the daemon.
    fn live(&mut self) -> Ended {
        self.lives += 1;
        let world = self.world.clone();
        world.state().lives += 1;
        world.state().born = (world.time.passed(), world.sandbox.stats());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return Ended::Itself(Err(format!("no runtime: {error}"))),
        };
        let ended = runtime.block_on(async {
            world.time.follow_runtime();
            world.life.begin();
            world.files.thaw();
            world.tell(&format!("the daemon starts ({}. life)", self.lives));
            let ended = self.live_in_runtime().await;
            world.life.end();
            world.queue.kill_process();
            world.files.freeze();
            world.time.leave_runtime();
            ended
        });
        drop(runtime);
        world.set_control(None, None);
        if let Some(unmet) = world.life.disarm() {
            world.happen(&unmet);
        }
        ended
    }

    async fn live_in_runtime(&mut self) -> Ended {
        let world = self.world.clone();
        let store = match world.open_queue() {
            Ok(store) => store,
            Err(_) if !world.life.is_alive() => return Ended::Died,
            Err(error) => return Ended::Itself(Err(error)),
        };
        let config = world.setting.config(world.state().after);
        let files = Files::Simulated(world.files.clone());
        let chance = Chance::seeded(world.seed.wrapping_add(self.lives));
        let system = System { clock: world.time.clock(), chance, files, threads: Threads::Caller, ..System::default() };
        let clients = match Clients::simulated(&system, Arc::new(Network(Arc::downgrade(&world)))) {
            Ok(clients) => clients,
            Err(error) => return Ended::Itself(Err(error.to_string())),
        };
        let tokens = KeptTokens::new(&system, &config.daemon.state_dir);
        let (switch, phases) = phases();
        let switch = Arc::new(switch);
        let orders = engine::Orders::default();
        world.set_control(Some(switch.clone()), Some(orders.clone()));
        let host = |host: &config::HostConfig| engine::host_of(host, &clients, &tokens, NoEnvironment);
        let reloads = engine::Reloads::default();
        let control = engine::Control { switch: switch.clone(), phases, orders, reloads, paces: Arc::default() };
        let daemon = engine::run(&config, &system, host, store.clone(), control, || {});
        let driving = async {
            self.drive(&store).await;
            switch.advance(Phase::Draining);
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            biased;
            () = world.life.ended() => return Ended::Died,
            ended = daemon => ended.map_err(|error: EngineError| error.to_string()),
            () = driving => return Ended::Died,
        };
        if !world.life.is_alive() {
            return Ended::Died;
        }
        let is_over = self.events.is_empty() && world.state().away.is_none() && ended.is_ok();
        if is_over {
            world.check_end(&store);
            return Ended::Over;
        }
        Ended::Itself(ended)
    }

    /// Has everything happen that is to happen, and waits until the world is at rest.
    async fn drive(&mut self, store: &Store) {
        let world = self.world.clone();
        while let Some(event) = self.events.front().cloned() {
            self.pass(store, event.at).await;
            self.events.pop_front();
            if event.steps > 0 {
                world.arm(event);
            } else {
                world.happen(&event);
            }
        }
        if let Some(unmet) = world.life.disarm() {
            world.happen(&unmet);
        }
        world.recover();
        let begun = world.time.passed();
        while world.time.passed() < begun + PATIENCE {
            self.pass(store, world.time.passed() + ASK).await;
            let is_long_enough = world.time.passed() > begun + RESCAN;
            if is_long_enough && world.is_at_rest(&world.jobs(store)) {
                return;
            }
        }
    }

    /// Lets the daemon work until then, and checks what must hold.
    async fn pass(&self, store: &Store, until: Duration) {
        let world = &self.world;
        let time = until.saturating_sub(world.time.passed());
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        if !world.life.is_alive() {
            return std::future::pending().await;
        }
        if world.is_calm() {
            world.was_calm(time);
        }
        if time > WRITTEN_BACK {
            world.files.sync();
        }
        world.check(store);
        if world.life.runs_wild() {
            world.violated("bounded", "the daemon does more than anything could ask of it".into());
        }
        if !world.state().violations.is_empty() {
            world.life.end();
            std::future::pending().await
        }
    }

    fn report(self) -> Report {
        let stats = self.world.sandbox.stats();
        let state = self.world.state();
        let counts = Counts {
            events: state.happened as u64 + stats.requests + self.world.life.steps(),
            hosts: self.world.setting.hosts.len() as u64,
            contents: state.ledger.closed.len() as u64,
            objects: stats.objects_stored,
            faults: stats.faults + state.troubles,
            lives: self.lives,
        };
        Report { violations: state.violations.clone(), story: state.story.clone(), counts, met: state.met.clone() }
    }
}
