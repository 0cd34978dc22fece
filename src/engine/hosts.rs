//! The hosts: what each may have under way, what it has, and how it is doing. A host that is configured no more keeps its place, so that
//! what it has under way still finds it, and whoever configures it again meets what is known of it.

use std::sync::Arc;
use std::time::Instant as StdInstant;

use tokio::time::Instant;

use crate::config::{Config, HostConfig};
use crate::host::LazyHost;
use crate::job::bandwidth::Bandwidth;
use crate::job::flow::{self, MOST_UNASKED};
use crate::job::health::{Change, HostHealth, HostState};
use crate::job::{Reason, Watches};
use crate::os::system::System;
use crate::store::{Asking, Store};

use super::bandwidth::{Bucket, Limits};
use super::clocks;
use super::connections::AllConnections;
use super::halt::Halt;
use super::keeping::Rhythm;
use super::phase::Phases;
use super::roots::KnownRoots;
use super::standing::Network;
use super::worker::Worker;

/// What a configuration says of hosts and of what they share.
pub(crate) struct HostsSetting {
    /// Each with what speaks to it.
    pub(super) hosts: Vec<(Arc<HostConfig>, LazyHost)>,
    /// Jobs that may upload at once, where that is not found by measuring.
    pub(super) uploads_max: Option<usize>,
    connections_max: usize,
    bandwidth: Bandwidth,
    pub(super) watches: Watches,
    roots: KnownRoots,
}

impl HostsSetting {
    pub(super) fn of(config: &Config, host: impl Fn(&HostConfig) -> LazyHost, roots: KnownRoots) -> HostsSetting {
        let daemon = &config.daemon;
        HostsSetting {
            hosts: config.hosts.iter().map(|one| (one.clone(), host(one))).collect(),
            uploads_max: daemon.max_uploads,
            connections_max: daemon.max_connections,
            bandwidth: daemon.bandwidth.clone(),
            watches: config.watches.clone(),
            roots,
        }
    }

    fn connections_max(&self, host: &HostConfig) -> usize {
        host.max_connections.unwrap_or(self.connections_max.min(MOST_UNASKED))
    }
}

/// A host with its limits, what it has under way, and how it is doing.
pub(super) struct HostSlots {
    /// Its name in the configuration.
    pub(super) name: String,
    /// What a worker for it needs.
    pub(super) worker: Worker<LazyHost>,
    /// Jobs that upload to it.
    pub(super) uploads: usize,
    /// Those of them that had been tried before.
    pub(super) retries: usize,
    /// When it was given a job last, as a count of all jobs given.
    pub(super) served: u64,
    /// Whether that job had been tried before.
    pub(super) retried_last: bool,
    /// Its jobs that upload a small file.
    pub(super) small: usize,
    /// Whether the job that it was given last had one.
    pub(super) small_last: bool,
    /// Why it had no room for the last file that found none.
    pub(super) no_room: Option<Reason>,
    /// When it hears from us, should it want that.
    pub(super) rhythm: Option<Rhythm>,
    /// Jobs that may upload to it at once, where that is not found by measuring.
    uploads_max: Option<usize>,
    config: Arc<HostConfig>,
    is_configured: bool,
    bandwidth: Arc<Bucket>,
}

/// Every host that is or was configured, each for good in the place it has here.
pub(super) struct Hosts {
    slots: Vec<HostSlots>,
    connections: AllConnections,
    bandwidth: Arc<Bucket>,
    system: System,
    store: Store,
    phases: Phases,
    network: Network,
}

impl Hosts {
    /// No hosts.
    pub(super) fn new(system: System, store: Store, phases: Phases, network: Network) -> Hosts {
        let (connections, bandwidth) =
            (AllConnections::default(), Arc::new(Bucket::new(Bandwidth::unlimited(), system.clock.clone())));
        Hosts { slots: Vec::new(), connections, bandwidth, system, store, phases, network }
    }

    /// Takes in what is configured now. `past` is what is known of a host that has no place here yet. Answers the places of those that
    /// have gone, or are another account of their service, so that nothing may go on there.
    pub(super) fn renew(&mut self, setting: &HostsSetting, past: impl Fn(&str) -> HostHealth) -> Vec<usize> {
        let now = clocks::now(&self.system.clock);
        self.bandwidth.set(setting.bandwidth.clone());
        let mut left = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_configured) {
            let configured = setting.hosts.iter().find(|(host, _)| host.name == slot.name);
            if configured.is_none_or(|(host, _)| is_another_account(&slot.config, host)) {
                left.push(place);
            }
            if configured.is_none() {
                slot.is_configured = false;
                slot.worker.connections.give_up_share();
            }
        }
        for (host, speaker) in &setting.hosts {
            match self.slots.iter().position(|slot| slot.name == host.name) {
                Some(place) => self.slots[place].renew(host, speaker, setting, now),
                None => {
                    let slot = self.slot(host, speaker, setting, past(&host.name), now);
                    self.slots.push(slot);
                }
            }
        }
        let limits: Vec<_> =
            self.configured().map(|slot| (&slot.worker.connections, setting.connections_max(&slot.config))).collect();
        self.connections.divide(setting.connections_max, &limits);
        left
    }

    fn slot(
        &self,
        host: &Arc<HostConfig>,
        speaker: &LazyHost,
        setting: &HostsSetting,
        past: HostHealth,
        now: Instant,
    ) -> HostSlots {
        let bandwidth = Arc::new(Bucket::new(host.bandwidth.clone(), self.system.clock.clone()));
        let worker = Worker {
            system: self.system.clone(),
            store: self.store.clone(),
            host: speaker.clone(),
            on_unknown: host.on_unknown,
            retries: host.retries,
            give_up_after: host.give_up_after,
            standing: self.network.host(past),
            epoch: 0,
            connections: self.connections.host(),
            limits: Limits::new(vec![bandwidth.clone(), self.bandwidth.clone()]),
            watches: setting.watches.clone(),
            roots: setting.roots.clone(),
            phases: self.phases.clone(),
            halt: Halt::default(),
        };
        HostSlots {
            name: host.name.clone(),
            worker,
            uploads: 0,
            retries: 0,
            served: 0,
            retried_last: false,
            small: 0,
            small_last: false,
            no_room: None,
            rhythm: host.settings.keep_alive().map(|asked| Rhythm::new(asked, now)),
            uploads_max: host.max_uploads,
            config: host.clone(),
            is_configured: true,
            bandwidth,
        }
    }

    /// Jobs that may upload at once now, over all hosts, where no number is set.
    pub(super) fn uploads_found(&self) -> usize {
        flow::uploads(self.configured().map(|slot| slot.worker.connections.window().size()).sum())
    }

    /// Those that are configured now.
    pub(super) fn configured(&self) -> impl Iterator<Item = &HostSlots> {
        self.slots.iter().filter(|slot| slot.is_configured)
    }

    /// The same, to be changed.
    pub(super) fn configured_mut(&mut self) -> impl Iterator<Item = &mut HostSlots> {
        self.slots.iter_mut().filter(|slot| slot.is_configured)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[HostSlots] {
        &self.slots
    }

    /// The place of the host with this name.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }

    /// The host in this place.
    pub(super) fn at(&mut self, place: usize) -> &mut HostSlots {
        &mut self.slots[place]
    }
}

/// Whether `new` leads elsewhere than `old`: files half-sent to the one mean nothing to the other.
fn is_another_account(old: &HostConfig, new: &HostConfig) -> bool {
    old.kind.word() != new.kind.word() || old.settings.account() != new.settings.account()
}

impl HostSlots {
    /// It is configured like this now. What waits for a person may be tried at once; a rest that it asked for it has.
    fn renew(&mut self, host: &Arc<HostConfig>, speaker: &LazyHost, setting: &HostsSetting, now: Instant) {
        let worker = &mut self.worker;
        worker.host = speaker.clone();
        (worker.on_unknown, worker.retries, worker.give_up_after) = (host.on_unknown, host.retries, host.give_up_after);
        (worker.watches, worker.roots) = (setting.watches.clone(), setting.roots.clone());
        self.bandwidth.set(host.bandwidth.clone());
        self.uploads_max = host.max_uploads;
        self.no_room = None;
        let asked = host.settings.keep_alive();
        if asked != self.config.settings.keep_alive() {
            self.rhythm = asked.map(|asked| Rhythm::new(asked, now));
        }
        self.config = host.clone();
        self.is_configured = true;
    }

    /// Jobs that may upload to it at once now.
    fn uploads_max(&self) -> usize {
        self.uploads_max.unwrap_or_else(|| flow::uploads(self.worker.connections.window().size()))
    }

    /// Whether it is kept from its jobs by what a person may have mended.
    pub(super) fn waits_for_a_person(&self, now: StdInstant) -> bool {
        let health = self.health();
        health.is_held() || (!health.is_open() && health.shown_until(now).is_some())
    }

    pub(super) fn health(&self) -> HostHealth {
        self.worker.standing.health()
    }

    /// What was refused is made anew, with its secrets read again, for the next attempt. Attempts that began together share one
    /// making, and the next begins when the host is tried again, so nobody reads a secret more often than that.
    pub(super) fn make_anew(&mut self, refused: &LazyHost) {
        if self.worker.host.is(refused) {
            self.worker.host = refused.anew();
        }
    }

    pub(super) fn asks(&self, now: Instant) -> Asking {
        let health = self.health();
        let uploads_max = self.uploads_max();
        let room = health.capacity(uploads_max, now.into_std()).saturating_sub(self.uploads);
        Asking {
            host: self.name.clone(),
            uploads: self.uploads,
            retries: self.retries,
            uploads_max,
            room: room.min(health.logins_now(now.into_std())),
            served: self.served,
            retried_last: self.retried_last,
            small: self.small,
            small_last: self.small_last,
            is_trial: health.is_open(),
        }
    }

    pub(super) fn tell(&self, change: &Change, why: Option<&Reason>) {
        let seconds = change.pause.map_or(0, |pause| pause.as_secs_f64().ceil() as u64);
        let why = why.map(Reason::to_string).unwrap_or_default();
        match change.shown {
            HostState::Ready => tracing::info!(host = self.name, "host {} is available again", self.name),
            HostState::Resting => tracing::info!(host = self.name, "host {} is paused for {seconds} s: {why}", self.name),
            HostState::Held => tracing::warn!(host = self.name, "host {} is on hold and needs your attention: {why}", self.name),
            HostState::Full => tracing::warn!(host = self.name, "host {} is out of space: {why}", self.name),
        }
    }
}
