//! What people order for jobs while everything else happens: of the running daemon, or of the queue while none runs, as the command
//! line does.

use std::path::PathBuf;

use ferryd::internals::engine::Orders as Engine;
use ferryd::internals::job::State;
use ferryd::internals::job::steer::{Order, Selection, Steered};
use ferryd::internals::store::JobRow;

use crate::ledger::Standing;
use crate::places::DROP;
use crate::schedule::Aim;
use crate::world::World;

impl World {
    /// A person orders something.
    pub(crate) fn order(&self, order: Order, aim: Aim) {
        let Some(selection) = self.selection(aim) else { return };
        let called = match aim {
            Aim::Job(_) => format!("job {}", selection.jobs.iter().map(ToString::to_string).collect::<String>()),
            Aim::Host(_) => selection.hosts.concat(),
            Aim::Folder => format!("{DROP}/films"),
            Aim::All => "everything".to_owned(),
        };
        self.tell(&format!("a person orders: {order:?} {called}"));
        self.excuse(order, &selection);
        let number = {
            let state = &mut *self.state();
            state.orders.give(order, &selection, &state.jobs)
        };
        let engine = self.state().engine.clone();
        match engine {
            Some(engine) if self.life.is_alive() => self.ask_daemon(engine, number, order, selection),
            None if !self.life.is_alive() => self.ask_queue(number, order, &selection),
            _ => self.tell("(no daemon takes it)"),
        }
    }

    fn selection(&self, aim: Aim) -> Option<Selection> {
        let state = self.state();
        let one = |pick: u32, of: usize| (of > 0).then(|| pick as usize % of.max(1));
        Some(match aim {
            Aim::Job(pick) => {
                let job = one(pick, state.jobs.len()).map(|index| state.jobs[index].id)?;
                Selection { jobs: vec![job], ..Selection::default() }
            }
            Aim::Host(pick) => {
                let host = one(pick, self.setting.hosts.len()).map(|index| self.setting.hosts[index])?;
                Selection { hosts: vec![host.to_owned()], ..Selection::default() }
            }
            Aim::Folder => Selection { below: vec![PathBuf::from(DROP).join("films")], ..Selection::default() },
            Aim::All => Selection::default(),
        })
    }

    /// What nobody can expect any more once this was ordered.
    fn excuse(&self, order: Order, selection: &Selection) {
        let mut state = self.state();
        let state = &mut *state;
        let is_for = |job: &&JobRow| {
            (selection.jobs.is_empty() || selection.jobs.contains(&job.id))
                && (selection.hosts.is_empty() || selection.hosts.contains(&job.host))
        };
        let jobs: Vec<&JobRow> = state.jobs.iter().filter(is_for).collect();
        match order {
            Order::Pause | Order::Cancel if selection.jobs.is_empty() => {
                state.healthy.retain(|host| !selection.hosts.is_empty() && !selection.hosts.iter().any(|named| named == host));
            }
            Order::Pause | Order::Cancel => state.healthy.retain(|host| !jobs.iter().any(|job| job.host == **host)),
            // The daemon may have made jobs since the last look, so only what is named is sent anew (`Maker::order`).
            Order::Again => {
                state.orders.repeated.extend(jobs.iter().map(|job| (job.host.clone(), job.bytes)));
                let is_its = |standing: &&mut Standing| jobs.iter().any(|job| job.bytes == standing.bytes);
                state.ledger.standing.values_mut().filter(is_its).for_each(|standing| standing.spared = false);
            }
            Order::Resume | Order::Retry | Order::Forget => {}
        }
    }

    fn ask_daemon(&self, engine: Engine, number: u64, order: Order, selection: Selection) {
        let world = self.me.clone();
        drop(tokio::spawn(async move {
            let answer = engine.give(order, selection).await;
            let Some(world) = world.upgrade().filter(|world| world.life.is_alive()) else { return };
            match answer {
                Some(Ok(steered)) => world.answered(number, order, &steered),
                Some(Err(error)) => world.tell(&format!("(the daemon cannot: {error})")),
                None => world.tell("(the daemon does not take it)"),
            }
        }));
    }

    /// The command is a process of its own, which dies as the daemon does.
    fn ask_queue(&self, number: u64, order: Order, selection: &Selection) {
        self.life.begin();
        let done = self.open_queue().and_then(|store| {
            store.give_up_waiting();
            store.carry_out(order, selection).map_err(|error| error.to_string())
        });
        let is_told = self.life.is_alive();
        self.life.end();
        self.queue.kill_process();
        match done {
            Ok(steered) if is_told => self.answered(number, order, &steered),
            Ok(_) => {}
            Err(error) => self.tell(&format!("(the command fails: {error})")),
        }
    }

    fn answered(&self, number: u64, order: Order, steered: &Steered) {
        self.tell(&format!("({order:?} has changed {} jobs)", steered.changed));
        self.state().orders.answered(number, order, steered);
    }

    /// What was ordered and answered holds, whatever happens to the process and the disk since; and nobody else sets jobs aside.
    pub(crate) fn check_orders(&self, jobs: &[JobRow]) {
        for job in jobs {
            let told = format!("job {} of {} for {} is {}", job.id.0, job.path.display(), job.host, job.state.word());
            let (is_surprise, is_ruled_out, ordered) = {
                let orders = &self.state().orders;
                (orders.is_surprised_by(job), orders.is_ruled_out(job), orders.state_of(job.id))
            };
            if matches!(job.state, State::Paused | State::Cancelled) && is_surprise {
                self.violated("ordered", format!("{told}, and nobody has ordered it, or was told"));
            }
            if is_ruled_out {
                self.violated("ordered", format!("{told}, though it was paused or cancelled"));
            }
            // Its file may have changed, and then the job is over.
            if let Some(ordered) = ordered.filter(|ordered| ![*ordered, State::Gone].contains(&job.state)) {
                self.violated("ordered", format!("{told}, and was to be {}", ordered.word()));
            }
        }
    }
}
