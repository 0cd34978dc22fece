//! The hosts again, from the other side: faithful loopback servers, with scripted faults, to try settings and disasters without an account.
//!
//! One listener serves every kind below a path of its own (`/cloudkp/…`); `/_sandbox/…` is the control interface. Written from the
//! documents alone: it shares no protocol code with `host`, since a shared mistake would pass every test. A new kind is one module with
//! a `Kind`, and one line in `kinds`.

mod cloudkp;
pub mod faults;
pub mod log;
pub mod objects;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use cloudkp::{ChunkReply, EmptyFiles, FinishReply, Replay, Settings as CloudKpSettings, Stats};
use faults::{Faults, Script};
use log::Log;
use objects::Objects;
use wire::{Connection, Reply};

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 is any free port.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub dir: PathBuf,
    /// What goes wrong.
    pub faults: Script,
    /// Count bytes and check sizes, but keep nothing: for measurements.
    pub discard: bool,
    /// How the CloudKP host answers.
    pub cloudkp: CloudKpSettings,
}

impl Options {
    /// Any free port of this machine's loopback, no faults.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir: dir.into(),
            faults: Script::default(),
            discard: false,
            cloudkp: CloudKpSettings::default(),
        }
    }
}

/// A running sandbox; it stops when dropped.
pub struct Sandbox {
    addr: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// What every kind shares.
pub(crate) struct State {
    pub log: Log,
    pub objects: Objects,
    pub faults: Faults,
    cloudkp: cloudkp::CloudKp,
}

/// An answer, or the order to break the connection.
pub(crate) type Answer = Result<Reply, wire::Abort>;

/// One host kind: everything below its path.
trait Kind: Send + Sync {
    fn answer<'a>(
        &'a self,
        state: &'a State,
        request: Request<Incoming>,
        connection: &'a Connection,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;
}

/// The kinds by the first folder of their path.
fn kinds(state: &State) -> [(&'static str, &dyn Kind); 1] {
    [("cloudkp", &state.cloudkp)]
}

impl Sandbox {
    /// Starts a sandbox on the current runtime. What an earlier one left in the folder is there again.
    pub async fn start(options: Options) -> io::Result<Sandbox> {
        std::fs::create_dir_all(&options.dir)?;
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            log: Log::open(&options.dir, options.discard)?,
            objects: Objects::open(&options.dir, options.discard)?,
            faults: Faults::new(options.faults),
            cloudkp: cloudkp::CloudKp::open(&options.dir, options.discard, options.cloudkp)?,
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, state.clone(), stopped));
        Ok(Sandbox { addr, state, stop, task: Some(task) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The requests so far, oldest first.
    pub fn log(&self) -> Vec<log::Entry> {
        self.state.log.entries()
    }

    /// What is stored.
    pub fn objects(&self) -> Vec<objects::Object> {
        self.state.objects.list()
    }

    /// The bytes of what is stored under `id`.
    pub fn read(&self, id: &str) -> io::Result<Vec<u8>> {
        self.state.objects.read(id)
    }

    /// What the CloudKP host has counted.
    pub fn stats(&self) -> Stats {
        self.state.cloudkp.stats()
    }

    /// Replaces the fault script, and begins its counting anew.
    pub fn set_faults(&self, script: Script) {
        self.state.faults.replace(script);
    }

    /// Forgets every half-sent upload.
    pub fn lose_sessions(&self) -> io::Result<()> {
        self.state.cloudkp.lose_sessions()
    }

    /// Stops listening, and breaks every connection.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::warn!("the sandbox did not stop cleanly: {error}");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A configuration for every kind that is served at `addr`.
pub fn config_for(addr: SocketAddr) -> String {
    format!("[host.cloudkp]\nkind = \"cloudkp\"\nbase_url = \"http://{addr}/cloudkp\"\nlink_base = \"http://{addr}/cloudkp?c=\"\n")
}

async fn accept(listener: TcpListener, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, state.clone())); }
                Err(error) => tracing::warn!("cannot accept a connection: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let Ok((stream, connection)) = Connection::new(stream) else { return };
    let broken = connection.broken();
    let service = service_fn(|request| {
        let (state, connection) = (state.clone(), connection.clone());
        async move {
            match answer(&state, request, &connection).await {
                Ok(reply) => Ok::<_, std::convert::Infallible>(reply.into_response()),
                Err(wire::Abort) => {
                    connection.break_off();
                    std::future::pending().await
                }
            }
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.keep_alive(true).half_close(true);
    tokio::select! {
        // A client that goes away in the middle is not an error here.
        _ = http.serve_connection(TokioIo::new(stream), service) => {}
        () = broken => {}
    }
}

async fn answer(state: &State, request: Request<Incoming>, connection: &Connection) -> Answer {
    let path = request.uri().path().to_owned();
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if first == "_sandbox" {
        return Ok(control(state, request, path.trim_start_matches("/_sandbox/")).await);
    }
    match kinds(state).into_iter().find(|(name, _)| *name == first) {
        Some((_, kind)) => kind.answer(state, request, connection).await,
        None => Ok(Reply::text(StatusCode::NOT_FOUND, "no such host here")),
    }
}

async fn control(state: &State, request: Request<Incoming>, verb: &str) -> Reply {
    match (request.method(), verb) {
        (&Method::GET, "log") => json(&state.log.entries()),
        (&Method::GET, "objects") => json(&state.objects.list()),
        (&Method::GET, "stats") => json(&state.cloudkp.stats()),
        (&Method::POST, "lose-sessions") => done(state.cloudkp.lose_sessions()),
        (&Method::POST, "reset") => {
            done(state.cloudkp.lose_sessions().and_then(|()| state.objects.clear()).and_then(|()| state.log.clear()))
        }
        (&Method::PUT, "faults") => match wire::read_small(request.into_body()).await {
            Ok(text) => match Script::parse(&text) {
                Ok(script) => {
                    state.faults.replace(script);
                    Reply::text(StatusCode::OK, "")
                }
                Err(error) => Reply::text(StatusCode::BAD_REQUEST, &error),
            },
            Err(error) => Reply::text(StatusCode::BAD_REQUEST, &error),
        },
        _ => Reply::text(StatusCode::NOT_FOUND, "GET log, objects, stats; PUT faults; POST reset, lose-sessions"),
    }
}

fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(text) => Reply::json(StatusCode::OK, text),
        Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn done(result: io::Result<()>) -> Reply {
    match result {
        Ok(()) => Reply::text(StatusCode::OK, ""),
        Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
