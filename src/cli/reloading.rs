//! The reload of a running daemon, from its request to whoever hears of it: the configuration takes effect whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::config::{self, Config, ProcessEnvironment};
use crate::engine::Control;
use crate::host::kinds::KINDS;
use crate::os::lock::Lock;
use crate::os::service as manager;

use super::changes;
use super::folders;
use super::pending::{PendingSignals, note_in};
use super::render;
use super::service;

/// What a reload needs besides an engine.
#[derive(Clone)]
pub(super) struct Reloading {
    /// The configuration file.
    pub(super) path: PathBuf,
    /// The configuration in force.
    pub(super) config: Arc<Mutex<Config>>,
    pub(super) lock: Arc<Lock>,
    pub(super) pending: Arc<Mutex<PendingSignals>>,
}

/// Who waits for a reload.
type Waiting = Vec<oneshot::Sender<Result<String, String>>>;

/// What is behind a lock is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reloading {
    /// Reloads whenever that is asked for, as long as the engine behind `control` works. What it did not take is for the next engine.
    pub(super) async fn run(self, control: Control) {
        let wanted = locked(&self.pending).reload_wanted.clone();
        loop {
            let asked = locked(&self.pending).take_reload();
            match asked {
                Some(waiting) => match self.carry_out(&control).await {
                    Some(told) => self.tell(&control, &told, waiting),
                    None => return locked(&self.pending).put_reload_back(waiting),
                },
                None => wanted.notified().await,
            }
        }
    }

    /// What has changed, or why the new configuration is refused; nothing where the engine ends.
    async fn carry_out(&self, control: &Control) -> Option<Result<String, String>> {
        let old = locked(&self.config).clone();
        let (path, before) = (self.path.clone(), old.clone());
        let read = tokio::task::spawn_blocking(move || new_config(&path, &before)).await;
        let new = match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(new) => trusting_no_earlier_words(new, &old),
            Err(refused) => return Some(Err(refused)),
        };
        let (grace, checked) = (new.daemon.shutdown_grace, new.clone());
        let beyond = tokio::task::spawn_blocking(move || beyond_the_sandbox(&checked)).await.unwrap_or_default();
        let taken = control.reloads.give(new.clone()).await?;
        Some(taken.map(|()| {
            let changes = changes::between(&old, &new) + &beyond;
            *locked(&self.config) = new;
            locked(&self.pending).grace = Some(grace);
            changes
        }))
    }

    fn tell(&self, control: &Control, told: &Result<String, String>, waiting: Waiting) {
        match told {
            Ok(changes) => tracing::info!("configuration reloaded: {changes}"),
            Err(refused) => tracing::error!("keeping the old configuration: the new one is refused: {refused}"),
        }
        note_in(&self.lock, |note| note.reload_refused = told.clone().err());
        control.phases.changed();
        manager::ready();
        // Whoever asked may have gone.
        waiting.into_iter().for_each(|waiting| drop(waiting.send(told.clone())));
    }
}

/// What is in the file now, or why that is refused.
fn new_config(path: &Path, old: &Config) -> Result<Config, String> {
    let new = config::load(path, KINDS, &ProcessEnvironment).map_err(|error| {
        tracing::error!("{}", error.render(false));
        error.first()
    })?;
    if new.daemon.state_dir != old.daemon.state_dir {
        return Err("it changes `state_dir`, which needs a restart".into());
    }
    folders::make(&new.watches);
    folders::refuse_met_twice(&new.watches).map_err(|failure| failure.message)?;
    Ok(new)
}

/// What there is to say of folders that the daemon may not write to.
fn beyond_the_sandbox(new: &Config) -> String {
    let folders: Vec<String> =
        service::beyond_the_sandbox(new).iter().map(|folder| format!("`{}`", render::path(folder))).collect();
    match folders.as_slice() {
        [] => String::new(),
        folders => format!(
            "; but it may not write to {}, which is read-only for this service: `ferryd service install` again lets it",
            folders.join(", ")
        ),
    }
}

/// A host that is trusted since this reload is so for what is uploaded from here on: a reload makes no delete or move due.
fn trusting_no_earlier_words(mut new: Config, old: &Config) -> Config {
    for host in &mut new.hosts {
        let before = old.hosts.iter().find(|before| before.name == host.name);
        Arc::make_mut(host).trusts_earlier = before.is_some_and(|before| before.trust_replies && before.trusts_earlier);
    }
    new
}
