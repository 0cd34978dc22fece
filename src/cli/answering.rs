//! The daemon's side of its socket: who asks is answered, whoever else hangs or says rubbish there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use crate::engine::{Control, OneOffs, SharedPaces};
use crate::job::steer::{Order, Selection};
use crate::os::lock::Lock;
use crate::os::signals::Signal;
use crate::os::{clock, control};

use super::pending::{PendingSignals, note_in, note_signal};
use super::protocol::{self, Reply, Request};
use super::vitals::turn_or_end;

/// Requests that are read at once; more wait until these were read, or have taken too long.
const READ_AT_ONCE: usize = 16;
/// How long an order waits for an engine that carries it out, as between two configurations.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks for one.
const LOOK: Duration = Duration::from_millis(20);

/// What is asked for.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) lock: Arc<Lock>,
    /// The engine that runs.
    pub(super) engine: Arc<Mutex<Option<Control>>>,
    pub(super) paces: SharedPaces,
    /// What takes up files for it.
    pub(super) one_offs: Arc<Mutex<Option<OneOffs>>>,
    pub(super) pending: Arc<Mutex<PendingSignals>>,
}

impl Answering {
    /// Answers who asks in `dir`, from a task of the runtime that is entered. Without the socket, which not every file system has, nobody
    /// can ask.
    pub(super) fn start(self, dir: &Path) {
        let listener = match control::listen(dir).and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => return tracing::info!("no command can reach this daemon: {error}"),
        };
        tokio::spawn(self.listen(listener));
    }

    async fn listen(self, listener: UnixListener) {
        let reading = Arc::new(Semaphore::new(READ_AT_ONCE));
        // It is never closed.
        while let Ok(permit) = reading.clone().acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(control::PATIENCE).await;
                continue;
            };
            let answering = self.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let request = timeout(control::PATIENCE, read(&mut stream)).await;
                drop(permit);
                let Ok(Some(request)) = request else { return };
                let reply = match protocol::read(&request) {
                    Ok(request) => answering.answer(request).await,
                    Err(why) => Some(Reply::Failed { why }),
                };
                if let Some(reply) = reply {
                    let mut line = protocol::written(reply);
                    line.push(b'\n');
                    drop(timeout(control::PATIENCE, stream.get_mut().write_all(&line)).await);
                }
            });
        }
    }

    async fn answer(&self, request: Request) -> Option<Reply> {
        match request {
            Request::Alive => self.alive().await,
            Request::Steer { order, selection } => Some(self.steer(order, selection).await),
            Request::Send { files, hosts } => Some(self.send(files, hosts.into()).await),
            Request::Reload => Some(self.reload().await),
            Request::Stop => {
                note_signal(&self.pending, Signal::Drain);
                let grace = locked(&self.pending).grace.unwrap_or_default();
                Some(Reply::Stopping { grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) })
            }
        }
    }

    /// Well is who has turned; while no engine runs, who answers.
    async fn alive(&self) -> Option<Reply> {
        let phases = locked(&self.engine).as_ref().map(|control| control.phases.clone());
        if let Some(phases) = phases {
            timeout(control::PATIENCE, turn_or_end(phases)).await.ok()?;
        }
        note_in(&self.lock, |note| note.beat_ms = Some(clock::now_ms()));
        Some(Reply::Alive { paces: locked(&self.paces).clone() })
    }

    async fn steer(&self, order: Order, selection: Selection) -> Reply {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if locked(&self.pending).drain {
                return Reply::Failed { why: "the daemon is stopping; try again once it has".into() };
            }
            let orders = locked(&self.engine).as_ref().map(|control| control.orders.clone());
            if let Some(orders) = orders {
                match orders.give(order, selection.clone()).await {
                    Some(Ok(steered)) => return Reply::Steered { steered },
                    Some(Err(error)) => return Reply::Failed { why: format!("the queue cannot be written: {error}") },
                    // That engine has ended, and another may follow it.
                    None => {}
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        Reply::Failed { why: "the daemon was not ready in time; nothing was changed".into() }
    }

    async fn send(&self, files: Vec<PathBuf>, hosts: Arc<[String]>) -> Reply {
        let until = Instant::now() + PATIENCE;
        let one_offs = loop {
            let one_offs = locked(&self.one_offs).clone();
            match one_offs {
                Some(one_offs) => break one_offs,
                None if Instant::now() < until => tokio::time::sleep(LOOK).await,
                None => return Reply::Failed { why: "the daemon was not ready in time; nothing was changed".into() },
            }
        };
        let mut refused = Vec::new();
        for file in files {
            match one_offs.take_up(file, hosts.clone()).await {
                Ok(taken_up) => refused.push(taken_up.err().map(|why| why.to_string())),
                Err(error) => return Reply::Failed { why: format!("the queue cannot be written: {error}") },
            }
        }
        Reply::TakenUp { refused }
    }

    async fn reload(&self) -> Reply {
        let (told, heard) = oneshot::channel();
        locked(&self.pending).reloads.push(told);
        note_signal(&self.pending, Signal::Reload);
        match heard.await {
            Ok(Ok(changes)) => Reply::Reloaded { changes },
            Ok(Err(why)) => Reply::ReloadRefused { why },
            Err(_) => Reply::Failed { why: "the daemon has stopped instead".into() },
        }
    }
}

/// What is behind a lock is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A whole line without its end.
async fn read(stream: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(control::LINE_BYTES_MAX).read_until(b'\n', &mut line).await.ok()?;
    (line.pop() == Some(b'\n')).then_some(line)
}
