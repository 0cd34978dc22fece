//! The one thread that writes: it gathers what callers ask for into one transaction, commits, and only then answers.
//!
//! A call is answered after its COMMIT, so whoever has an answer may rely on it. Calls that change a state ask for [`Durability::Power`]:
//! the commit is on the disk when the answer comes. Acks, sessions and claims ask for [`Durability::Process`]: a killed process keeps
//! them, and losing them with the power does no harm. One call of the first sort makes its whole group durable.
//!
//! On a full disk the group waits and is tried again until there is room: nothing is answered meanwhile, so nothing relies on what is
//! not written, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::StoreError;

/// Calls waiting for the thread; a caller that finds it full waits its turn.
const QUEUE_CALLS: usize = 1024;
/// Calls in one commit.
const GROUP_CALLS: usize = 512;
/// How long a full disk is left alone before the group is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What a commit must outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The death of this process.
    Process,
    /// The loss of power.
    Power,
}

/// What the writer says of itself while it cannot go on; `None` while it can.
pub type Trouble = Option<StoreError>;

/// The way to the writing thread.
#[derive(Clone)]
pub struct Writer {
    calls: mpsc::Sender<Box<dyn Call>>,
    trouble: watch::Receiver<Trouble>,
    closing: Arc<AtomicBool>,
}

/// The thread itself, to be waited for.
pub struct WriterThread(std::thread::JoinHandle<()>);

impl WriterThread {
    /// Waits until every call has been answered and the database is closed. Every `Writer` must be gone.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the queue's thread panicked; the database itself is as the last commit left it");
        }
    }
}

/// Starts the thread over `connection`, which becomes its own.
pub fn start(connection: Connection) -> std::io::Result<(Writer, WriterThread)> {
    let (calls, inbox) = mpsc::channel(QUEUE_CALLS);
    let (tell, trouble) = watch::channel(None);
    let closing = Arc::new(AtomicBool::new(false));
    let worker = Loop { connection, inbox, tell, closing: closing.clone(), durability: Durability::Power };
    let thread = std::thread::Builder::new().name("store".into()).spawn(move || worker.run())?;
    Ok((Writer { calls, trouble, closing }, WriterThread(thread)))
}

impl Writer {
    /// Runs `work` inside the next group and answers when it is committed. `work` may run more than once, and each time against the
    /// state before it.
    pub async fn call<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Typed { durability, work, result: None, reply };
        self.calls.send(Box::new(call)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Tells when the writer gets into trouble or out of it.
    pub fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.clone()
    }

    /// A full disk is waited out no longer: what cannot be committed is answered with the error.
    pub fn give_up_waiting(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

trait Call: Send {
    fn durability(&self) -> Durability;
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Typed<T, F> {
    durability: Durability,
    work: F,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call for Typed<T, F>
where
    T: Send + 'static,
    F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let result = (self.work)(transaction);
        let failed = result.as_ref().err().cloned();
        self.result = Some(result);
        failed.map_or(Ok(()), Err)
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match committed {
            Ok(()) => self.result.unwrap_or(Err(StoreError::Closed)),
            Err(error) => Err(error),
        };
        // A caller that has stopped waiting has stopped caring.
        drop(self.reply.send(result));
    }
}

struct Loop {
    connection: Connection,
    inbox: mpsc::Receiver<Box<dyn Call>>,
    tell: watch::Sender<Trouble>,
    closing: Arc<AtomicBool>,
    durability: Durability,
}

impl Loop {
    fn run(mut self) {
        while let Some(first) = self.inbox.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_CALLS
                && let Ok(next) = self.inbox.try_recv()
            {
                group.push(next);
            }
            let committed = self.commit_when_there_is_room(&mut group);
            for call in group {
                call.answer(committed.clone());
            }
        }
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!("cannot fold the write-ahead log into the database: {error}");
        }
    }

    fn commit_when_there_is_room(&mut self, group: &mut Vec<Box<dyn Call>>) -> Result<(), StoreError> {
        loop {
            let committed = self.commit(group);
            let full = matches!(committed, Err(StoreError::Full));
            self.say(&committed);
            if !full || self.closing.load(Ordering::Relaxed) {
                return committed;
            }
            // The write-ahead log holds many versions of one page; folding it in may give room back.
            if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                tracing::debug!("the write-ahead log cannot be folded in either: {error}");
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// A call that fails by its own fault is answered and leaves the group, and the rest begins again without it: calls may run more
    /// than once, and a failure is rare enough not to pay for a savepoint a call. An error that concerns everybody is passed up.
    fn commit(&mut self, group: &mut Vec<Box<dyn Call>>) -> Result<(), StoreError> {
        loop {
            let needed = group.iter().map(|call| call.durability()).max().unwrap_or(Durability::Power);
            self.set_durability(needed)?;
            let transaction = self.connection.transaction()?;
            let failed = group.iter_mut().enumerate().find_map(|(index, call)| Some((index, call.run(&transaction).err()?)));
            match failed {
                None => return Ok(transaction.commit()?),
                Some((_, error @ (StoreError::Full | StoreError::Damaged(_)))) => return Err(error),
                Some((index, _)) => {
                    transaction.rollback()?;
                    group.remove(index).answer(Ok(()));
                }
            }
        }
    }

    fn set_durability(&mut self, needed: Durability) -> Result<(), StoreError> {
        if self.durability != needed {
            self.connection.execute_batch(match needed {
                Durability::Process => "PRAGMA synchronous = NORMAL",
                Durability::Power => "PRAGMA synchronous = FULL",
            })?;
            self.durability = needed;
        }
        Ok(())
    }

    fn say(&self, committed: &Result<(), StoreError>) {
        let trouble = committed.as_ref().err();
        let changed = match (&*self.tell.borrow(), trouble) {
            (None, None) => false,
            (Some(before), Some(now)) => std::mem::discriminant(before) != std::mem::discriminant(now),
            _ => true,
        };
        if changed {
            match trouble {
                Some(error) => tracing::error!("cannot write the queue: {error}; everything waits until it can be written"),
                None => tracing::info!("the queue can be written again"),
            }
            self.tell.send_replace(trouble.cloned());
        }
    }
}
