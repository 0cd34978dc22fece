//! Carries a new configuration into an engine that works.
//!
//! What the configuration says is replaced as a whole: of the folders, then in the queue, then of the hosts and their limits, then of what
//! follows. Whatever begins after that goes by it. What is under way goes on by what it began with, unless it is wanted no more or its
//! account is another one; only the limits, which are shared, hold for it at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, HostConfig};
use crate::host::LazyHost;
use crate::os::system::System;
use crate::store::Store;
use crate::watch::Root;

use super::deliver::{self, DeliverSetting, Means};
use super::dispatch::Renewal;
use super::handed::Handed;
use super::hosts::HostsSetting;
use super::phase::{Phase, Phases};
use super::roots::KnownRoots;
use super::watching::{WatchOrder, Watched};
use super::{EngineError, configure, make_all};

/// What takes configurations to one engine. Clones are of the same.
#[derive(Clone, Default)]
pub struct Reloads(Arc<State>);

#[derive(Default)]
struct State {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    given: Option<Given>,
    is_over: bool,
}

/// A configuration, and who waits for it to be in force.
type Given = (Config, oneshot::Sender<Result<(), String>>);

impl Reloads {
    /// Has the engine go by another configuration. Answers once it does, or why it cannot; nothing where the engine ends, or another
    /// configuration was given meanwhile.
    pub async fn give(&self, config: Config) -> Option<Result<(), String>> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.is_over {
                return None;
            }
            waiting.given = Some((config, reply));
        }
        self.0.news.notify_one();
        answer.await.ok()
    }

    /// Nobody takes configurations any more.
    pub fn end(&self) {
        *self.waiting() = Waiting { given: None, is_over: true };
    }

    async fn next(&self) -> Given {
        loop {
            let given = self.waiting().given.take();
            match given {
                Some(given) => return given,
                None => self.0.news.notified().await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes configurations, and hands to each loop what concerns it.
pub(super) struct Reloader<H> {
    pub(super) reloads: Reloads,
    pub(super) system: System,
    pub(super) store: Store,
    /// What speaks to a configured host.
    pub(super) host: H,
    pub(super) known_roots: KnownRoots,
    pub(super) means: Means,
    /// How long parts in flight have at the end.
    pub(super) grace: watch::Sender<Duration>,
    pub(super) to: Loops,
    /// The configuration in force.
    pub(super) config: Config,
    pub(super) making: Option<JoinHandle<()>>,
}

/// The loops that a configuration concerns.
#[derive(Clone, Default)]
pub(super) struct Loops {
    pub(super) dispatch: Handed<Renewal>,
    pub(super) deliver: Handed<DeliverSetting>,
    pub(super) watching: Handed<WatchOrder>,
}

/// Whoever waits for a configuration to be in force hears that it will not be.
impl<H> Drop for Reloader<H> {
    fn drop(&mut self) {
        self.reloads.end();
        if let Some(making) = &self.making {
            making.abort();
        }
    }
}

impl<H: Fn(&HostConfig) -> LazyHost> Reloader<H> {
    /// Takes one configuration after the other until the daemon drains.
    pub(super) async fn run(mut self, mut phases: Phases) -> Result<(), EngineError> {
        let reloads = self.reloads.clone();
        loop {
            let (config, reply) = tokio::select! {
                biased;
                () = phases.reached(Phase::Draining) => return Ok(()),
                given = reloads.next() => given,
            };
            let done = tokio::select! {
                biased;
                // The next start does the rest.
                () = phases.reached(Phase::Draining) => return Ok(()),
                done = self.carry_in(config) => done,
            };
            // Whoever asked may have gone.
            drop(match done {
                Ok(()) => reply.send(Ok(())),
                Err(EngineError::Setup(why)) => reply.send(Err(why)),
                Err(error) => return Err(error),
            });
        }
    }

    /// Nothing is changed where it answers that something cannot be made.
    async fn carry_in(&mut self, config: Config) -> Result<(), EngineError> {
        let known_roots = self.known_roots.of_watches(config.watches.clone());
        let deliver = DeliverSetting::of(&config, &self.system, known_roots.clone(), &self.means)?;
        Root::all(&self.system.files, &config.watches, &config.daemon.state_dir, &[])?;
        let is_watched_anew = format!("{:?}", config.watches) != format!("{:?}", self.config.watches);
        if is_watched_anew {
            // What would be taken up meanwhile by the old ones may not be wanted.
            self.watch(WatchOrder::Rest).await;
        }
        let new_since = configure(&config, &self.store).await?;
        deliver::follow(&config, &self.store).await?;
        self.store.look_again().await?;
        let unwanted = self.store.unwanted_under_way(config.watches.clone()).await?;
        let hosts = HostsSetting::of(&config, &self.host, known_roots.clone());
        let making = tokio::spawn(make_all(hosts.hosts.iter().map(|(_, host)| host.clone()).collect()));
        if let Some(before) = self.making.replace(making) {
            before.abort();
        }
        let (taken, is_taken) = oneshot::channel();
        self.to.dispatch.give(Renewal { hosts, unwanted, taken });
        self.to.deliver.give(deliver);
        if is_watched_anew {
            let roots = Root::all(&self.system.files, &config.watches, &config.daemon.state_dir, &new_since)?;
            self.watch(|told| WatchOrder::Watch(Watched { roots, watches: config.watches.clone(), known_roots }, told)).await;
        } else {
            self.watch(WatchOrder::ReportAgain).await;
        }
        self.grace.send_replace(config.daemon.shutdown_grace);
        self.config = config;
        drop(is_taken.await);
        Ok(())
    }

    async fn watch(&self, order: impl FnOnce(oneshot::Sender<()>) -> WatchOrder) {
        let (told, is_done) = oneshot::channel();
        self.to.watching.give(order(told));
        drop(is_done.await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::job::bandwidth::Bandwidth;

    #[tokio::test]
    async fn whoever_gives_a_configuration_hears_when_nobody_will_take_it() {
        let config = || crate::config::Config {
            file: "/c".into(),
            daemon: crate::config::Daemon {
                state_dir: "/s".into(),
                max_uploads: Some(1),
                max_connections: 1,
                bandwidth: Bandwidth::unlimited(),
                shutdown_grace: Duration::ZERO,
            },
            watches: Vec::new().into_iter().collect(),
            hosts: Vec::new(),
            hooks: Vec::new(),
        };
        let reloads = Reloads::default();
        let given = reloads.clone();
        let giving = tokio::spawn(async move { given.give(config()).await });
        reloads.0.news.notified().await;
        reloads.end();
        assert!(giving.await.unwrap().is_none());
        assert!(reloads.give(config()).await.is_none());
    }
}
