//! What an event does to the world.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferryd::internals::engine::phase::Phase;
use ferryd::internals::job::steer::Order;
use ferryd::internals::os::simulated_files::Fate;
use ferryd_sandbox::faults::{Action, Rule, Script};

use crate::disk::Faults;
use crate::places::SENT;
use crate::schedule::{Aim, Deed, Event, Failing};
use crate::setting::After;
use crate::users;
use crate::world::World;

impl World {
    /// It happens.
    pub(crate) fn happen(&self, event: &Event) {
        self.look();
        {
            let mut state = self.state();
            state.happened += 1;
            state.troubles += u64::from(!matches!(event.what, Deed::User(_)));
        }
        match &event.what {
            Deed::User(act) => {
                let told = users::carry_out(self, act);
                if let Some(told) = told {
                    self.tell(&told);
                }
            }
            Deed::Kill => self.die("the process is killed"),
            Deed::CutPower => {
                self.die("the power goes");
                self.queue.lose_power();
                self.files.power_cut(&mut || self.fraction() < 0.5);
            }
            Deed::Stop(away) => self.ask_to_end(&format!("the daemon is told to stop, for {} s", away.as_secs()), *away),
            Deed::Reload(after) => {
                if self.state().after == After::Keep {
                    self.spare_what_is_done();
                }
                self.state().after = *after;
                self.ask_to_end(&format!("the daemon is told to read its configuration again: {after:?}"), Duration::ZERO);
            }
            other => self.trouble(other),
        }
        self.take_stock();
    }

    /// It happens before a step of the daemon.
    pub(crate) fn arm(&self, event: Event) {
        if let Some(unmet) = self.life.arm(event) {
            self.happen(&unmet);
        }
    }

    fn note(&self, what: &'static str, is_wrong: bool) {
        let mut state = self.state();
        if is_wrong {
            state.trouble.insert(what);
        } else {
            state.trouble.remove(what);
        }
    }

    fn trouble(&self, deed: &Deed) {
        match deed {
            Deed::Fault(rule) => {
                self.tell(&format!(
                    "{}: {:?} at {:?}, {:?}",
                    rule.host.as_deref().unwrap_or("?"),
                    rule.action,
                    rule.endpoint,
                    rule.when
                ));
                let mut state = self.state();
                state.healthy.retain(|kind| Some(*kind) != rule.host.as_deref());
                if matches!(rule.action, Action::DropPart | Action::CorruptPart) {
                    state.careless.extend(rule.host.clone());
                }
                state.faults.push(rule.clone());
                drop(state);
                self.script();
            }
            Deed::HostsRecover => {
                self.tell("all hosts are well");
                self.state().faults.clear();
                self.script();
            }
            Deed::LoseSessions => {
                self.tell("the hosts lose their sessions");
                self.state().healthy.clear();
                drop(self.sandbox.lose_sessions());
            }
            Deed::HostClock(seconds) => {
                self.tell(&format!("the clock of the hosts moves by {seconds} s"));
                self.state().healthy.clear();
                self.state().hosts_ahead += seconds;
                self.sandbox.shift_clock(*seconds);
            }
            Deed::Network(is_online) => {
                self.tell(if *is_online { "the network is back" } else { "the network is lost" });
                self.state().is_online = *is_online;
                self.note("network", !is_online);
            }
            Deed::Clock(seconds) => {
                self.tell(&format!("the machine's clock moves by {seconds} s"));
                // It signs the time, so its host rightly refuses it.
                self.state().healthy.retain(|kind| *kind != "koodrive");
                self.state().ahead += seconds;
                self.time.jump(seconds * 1_000_000_000);
            }
            Deed::Events(fate) => {
                self.tell(&format!("events of files: {fate:?}"));
                self.note("events", *fate != Fate::Deliver);
                let fate = *fate;
                self.state().was_untold |= fate == Fate::Deliver;
                self.files.before_events(Arc::new(move |_| fate));
                if fate == Fate::Deliver {
                    self.files.deliver_late_events();
                }
            }
            Deed::Overflow => {
                self.tell("events of files arrive, and the daemon is told that some were lost");
                self.note("events", false);
                self.files.before_events(Arc::new(|_| Fate::Deliver));
                self.files.lose_events();
            }
            Deed::SentFull(full) => {
                self.tell(if *full { "the disk of sent files is full" } else { "the disk of sent files has room" });
                drop(self.files.set_room(Path::new(SENT), full.then_some(0)));
            }
            Deed::Order(order, aim) => self.order(*order, *aim),
            Deed::QueueFails(failing, time) => {
                self.tell(&format!("the disk of the queue fails for {} s: {failing:?}", time.as_secs_f64()));
                self.state().has_excuse = true;
                self.state().queue_fails_until = Some(self.time.passed() + *time);
                self.note("queue", true);
                self.queue.set_faults(Faults {
                    full: *failing == Failing::Full,
                    sync_fails: *failing == Failing::Syncs,
                    write_fails: *failing == Failing::Writes,
                });
            }
            Deed::Damage(pick) => {
                let Some(path) = users::picked(self, *pick) else { return };
                self.tell(&format!("{} cannot be read", path.display()));
                self.note("damage", true);
                drop(self.files.damage(&path));
            }
            Deed::Mend => {
                self.tell("every file can be read");
                self.note("damage", false);
                self.files.mend_all();
            }
            Deed::HostsRestart(forget) => {
                self.tell(if *forget { "the hosts are restarted, and have forgotten uploads" } else { "the hosts are restarted" });
                self.state().healthy.clear();
                self.state().restarts += 1;
                if *forget {
                    drop(self.sandbox.forget_sessions());
                }
            }
            Deed::User(_) | Deed::Kill | Deed::CutPower | Deed::Stop(_) | Deed::Reload(_) => {}
        }
    }

    fn die(&self, how: &str) {
        if self.life.is_alive() {
            self.tell(how);
        }
        self.life.end();
        self.queue.kill_process();
        self.files.freeze();
    }

    fn ask_to_end(&self, told: &str, away: Duration) {
        self.tell(told);
        let mut state = self.state();
        if let Some(switch) = &state.switch {
            switch.advance(Phase::Draining);
            state.away = Some(away);
        }
    }

    /// A disk that failed for a while works again, when somebody uses it after that.
    pub(crate) fn mend_queue(&self) {
        let passed = self.time.passed();
        let is_over = self.state().queue_fails_until.take_if(|until| *until <= passed).is_some();
        if is_over {
            self.tell("the disk of the queue works");
            self.note("queue", false);
            self.queue.set_faults(Faults::default());
        }
    }

    /// Puts the faults to work that hosts have now; where there is none, they take bytes at their pace.
    pub(crate) fn script(&self) {
        let pace = self.setting.pace.map(|bytes_per_second| Rule::new(Action::SlowReading { bytes_per_second }));
        let rules: Vec<Rule> = self.state().faults.iter().cloned().chain(pace).collect();
        if let Err(error) = self.sandbox.set_faults(Script::of(rules)) {
            unreachable!("a fault out of range: {error}");
        }
    }

    /// Every fault ends, every disk is there.
    pub(crate) fn recover(&self) {
        self.tell("everything is well from now on");
        let ahead = self.state().hosts_ahead;
        if ahead != 0 {
            self.trouble(&Deed::HostClock(-ahead));
        }
        let ahead = self.state().ahead;
        if ahead != 0 {
            self.trouble(&Deed::Clock(-ahead));
        }
        // What was done to a file through another of its names is found by the next scan alone.
        self.state().was_untold = true;
        for what in [Deed::HostsRecover, Deed::Network(true), Deed::SentFull(false)] {
            self.trouble(&what);
        }
        if let Some(until) = &mut self.state().queue_fails_until {
            *until = Duration::ZERO;
        }
        self.mend_queue();
        if self.state().trouble.contains("events") {
            self.trouble(&Deed::Events(Fate::Deliver));
        }
        users::go_home(self);
        self.trouble(&Deed::Mend);
        self.order(Order::Resume, Aim::All);
        self.take_stock();
    }
}
