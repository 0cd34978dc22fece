//! Connections that are made while a file settles, so that its first request waits for none.
//!
//! Nothing rests on them: one that cannot be made, or is not used, costs what it costs to make. A host that rests, or that needs a
//! person, is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::host::LazyHost;
use crate::job::flow::FIRST;

/// The hosts that will have files soon, each with how many. Clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, usize>>,
    news: Notify,
}

impl Expected {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file settles that goes to these hosts.
    pub(super) fn expect(&self, hosts: &[String]) {
        let mut files = self.files();
        let is_news = files.is_empty();
        for host in hosts {
            *files.entry(host.clone()).or_default() += 1;
        }
        drop(files);
        if is_news {
            self.0.news.notify_one();
        }
    }

    /// Resolves when files were expected since they were taken.
    pub(super) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// What was expected since it was taken last.
    pub(super) fn take(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.files())
    }
}

/// Connections on their way. Dropped, they are given up.
#[derive(Debug, Default)]
pub(super) struct Opening(Mutex<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    tasks: JoinSet<()>,
    /// Hosts that are waited for, since they are still being made.
    awaited: BTreeSet<String>,
}

impl Opening {
    /// Makes connections to a host that has `files` files to come, so that no more than `most` wait for them. A host may be long in the
    /// making, if its secret comes from a program, so no more than one attempt waits for that.
    pub(super) fn begin(&self, name: &str, host: LazyHost, files: usize, most: usize) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while attempts.tasks.try_join_next().is_some() {}
        if host.is_made() {
            attempts.awaited.remove(name);
        } else if !attempts.awaited.insert(name.to_owned()) {
            return;
        }
        let (name, most) = (name.to_owned(), most.min(FIRST));
        attempts.tasks.spawn(async move {
            if let Err(error) = host.get().await.open_ahead(files, most).await {
                tracing::debug!("no connection to host {name} was made ahead: {error}");
            }
        });
    }
}
