//! Carries out one delivery, and knows no queue: what to do and what is known of the job come in, success or a reason comes out.
//!
//! Everything here may be asked for again after a crash, so every module says what a repetition does.

pub(crate) mod after;
mod command;
mod facts;
mod links_file;
mod sidecar;
mod told;
mod webhook;

use std::path::Path;
use std::sync::Arc;

use crate::config::{Hook, HookAction};
use crate::host::HostError;
use crate::host::http::{Clients, Settings, Transport};
use crate::job::{Reason, ReasonClass};
use crate::os::answers::Answers;
use crate::os::crash::crash_point;
use crate::os::names::Names;
use crate::os::one_writer::OneWriter;
use crate::os::threads::Threads;

pub(crate) use facts::Facts;
use told::Told;

/// Lines that go to a links file with one sync. A crash before they are noted has all of them written again.
const LINES_AT_ONCE: usize = 100;
/// Events that a hook that gathers is told of in one call; what is more goes with a further one.
const GATHERED_AT_ONCE: usize = 500;

/// Why a hook or an after-action did not succeed: a reason without the hook's name, whose detail is short, on one line, and has no
/// secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.detail.as_deref().unwrap_or_default())]
pub(crate) struct HookError(pub Reason);

impl HookError {
    /// A failure in these words.
    pub(crate) fn new(why: impl Into<String>) -> HookError {
        HookError(Reason::new(ReasonClass::HookFailed).detail(why))
    }

    /// It did not end within its time, in these words.
    pub(crate) fn timed_out(why: impl Into<String>) -> HookError {
        HookError(Reason::new(ReasonClass::HookTimedOut).detail(why))
    }
}

impl From<HostError> for HookError {
    fn from(error: HostError) -> HookError {
        HookError(Reason { class: ReasonClass::HookFailed, ..Reason::from(error) })
    }
}

/// A hook, ready to be carried out. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HookRunner {
    hook: Arc<Hook>,
    /// For a webhook alone: a client has tables and connections of its own.
    transport: Option<Result<Transport, HookError>>,
    names: Arc<Names>,
    threads: Threads,
}

impl HookRunner {
    /// Makes ready what `hook` needs. What it writes for a moment beside a source gets one of these `names`. Where no request can be
    /// made on this machine, the hook fails each time, with the reason.
    pub(crate) fn new(hook: &Hook, names: Arc<Names>, clients: &Clients) -> HookRunner {
        let transport = match hook.action {
            HookAction::Webhook(_) => Some(clients.transport(&Settings::default(), hook.time_limit).map_err(HookError::from)),
            _ => None,
        };
        HookRunner { hook: Arc::new(hook.clone()), transport, names, threads: clients.system().threads }
    }

    /// Whether it does its work by writing one file, so that two of its deliveries must not be under way together.
    pub(crate) fn one_at_a_time(&self) -> bool {
        matches!(self.hook.action, HookAction::LinksFile { .. } | HookAction::Sidecar)
    }

    /// How many deliveries it carries together, for the price of one.
    pub(crate) fn at_once(&self) -> usize {
        match self.hook.action {
            HookAction::LinksFile { .. } => LINES_AT_ONCE,
            _ if self.hook.every.is_some() => GATHERED_AT_ONCE,
            _ => 1,
        }
    }

    /// Does what the hook says about the jobs that `facts` describe. Dropping the future ends a command with all its children, and
    /// a request.
    ///
    /// # Errors
    ///
    /// Says what failed. Nothing is known then of whether others have seen it: it is done again, whole.
    pub(crate) async fn run(&self, facts: &[Facts]) -> Result<(), HookError> {
        crash_point!("hook.before_run");
        if let HookAction::LinksFile { path, format } = &self.hook.action {
            let (path, format, facts) = (path.clone(), *format, facts.to_vec());
            let target = path.clone();
            writing(self.threads, &target, move || links_file::append(&path, format, &facts)).await?;
        } else if self.hook.every.is_some() {
            let mut events = facts.to_vec();
            events.sort_by_key(|facts| (facts.delivery.made_ms, facts.delivery.id));
            self.tell(Told::Together(&events)).await?;
        } else {
            for facts in facts {
                self.run_one(facts).await?;
            }
        }
        crash_point!("hook.after_run");
        Ok(())
    }

    async fn run_one(&self, facts: &Facts) -> Result<(), HookError> {
        if self.hook.action != HookAction::Sidecar {
            return self.tell(Told::One(facts)).await;
        }
        let (facts, names) = (facts.clone(), self.names.clone());
        let target = sidecar::path_of(&facts.delivery.path);
        writing(self.threads, &target, move || sidecar::write(&facts, &names)).await
    }

    /// One call of a command or a webhook.
    async fn tell(&self, told: Told<'_>) -> Result<(), HookError> {
        let limit = self.hook.time_limit;
        match (&self.hook.action, &self.transport) {
            (HookAction::LinksFile { .. } | HookAction::Sidecar, _) => Ok(()),
            (HookAction::Command(words), _) => command::run(words, told, limit).await,
            (HookAction::Webhook(_), Some(Err(error))) => Err(error.clone()),
            (HookAction::Webhook(address), Some(Ok(transport))) => webhook::post(address, told, transport, limit).await,
            (HookAction::Webhook(_), None) => Err(HookError::new("ferryd could not set up its HTTP client")),
        }
    }
}

/// Runs `work`, which writes the file at `path`, where it holds up nobody but those who write the same file or on the same file
/// system.
async fn writing<T: Send + 'static>(
    threads: Threads,
    path: &Path,
    work: impl FnOnce() -> Result<T, HookError> + Send + 'static,
) -> Result<T, HookError> {
    let failed = |why: &dyn std::fmt::Display| HookError::new(format!("cannot write `{}`: {why}", path.display()));
    let Some(turn) = OneWriter::of(threads, path).await else {
        return Err(failed(&"an earlier attempt still waits for its file system"));
    };
    let work = move || {
        let done = work();
        drop(turn);
        done
    };
    Answers::of(threads, path).long(work).await.unwrap_or_else(|no_answer| Err(failed(&no_answer)))
}
