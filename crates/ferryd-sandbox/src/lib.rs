//! The hosts again, from the other side: faithful loopback servers with scripted faults.
//!
//! One listener serves every kind, each under its own path: CloudKP's endpoint is `http://ADDR/cloudkp/upload`, its links are
//! `http://ADDR/cloudkp?c=ID`. The hosts are strict unless told otherwise, keep everything they hold in a folder, and write down
//! what came in and what became of it. `/_sandbox/` is the control interface, for tests in other processes; [`Sandbox`] is the same
//! from within.
//!
//! The layout: `cloudkp` is a host's protocol and knows nothing of faults; `exchange` carries a request past the faults that act on
//! it; `wire` is the connection, where replies are cut and sockets reset; `objects` keeps what is stored, `records` what a host
//! remembers besides, `log` what happened; `form` reads forms, `spool` takes large bodies; `reply` makes answers; `faults` is the
//! script, and `effects` what it does to a request and its reply; `files` and `digest` are what several of them need. A further
//! host is one more file that implements `Emulated` and one more entry in `kinds`. Nothing here is shared with the code that
//! uploads: both are written from the same protocol notes, so that a misreading on one side shows.

mod chance;
mod clock;
pub mod cloudkp;
mod control;
mod digest;
mod effects;
#[cfg(feature = "example-kind")]
pub mod example;
mod exchange;
pub mod faults;
mod files;
mod form;
pub mod fourshared;
pub mod kie;
mod kinds;
pub mod koodrive;
pub mod log;
mod objects;
mod records;
mod reply;
pub mod s3;
mod spool;
mod stats;
#[cfg(test)]
mod tests;
pub mod tus;
pub mod uploadgig;
pub mod webdav;
mod wire;

use std::convert::Infallible;
use std::fmt::Debug;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub use self::chance::Chance;
use self::clock::Clock;
pub use self::clock::Time;
use self::exchange::{Answer, Ended, Exchange, Hangup, Stop};
use self::faults::{Faults, Script, ScriptError};
use self::files::Files;
use self::kinds::hosts;
pub use self::kinds::{Rules, config_for, config_of, kinds};
use self::log::{Entry, Log};
pub use self::objects::Object;
use self::objects::Store;
use self::records::Records;
use self::reply::Reply;
use self::stats::Counters;
pub use self::stats::Stats;
use self::wire::{Control, ReplyBody, Wire};

/// How many connections are open at once; more wait until one closes.
const CONNECTIONS_MAX: usize = 1024;

/// How a sandbox is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; a loopback address, port 0 for any.
    pub listen: SocketAddr,
    /// Where objects, sessions and the log are kept. Made if it is missing.
    pub dir: PathBuf,
    /// The faults at the start.
    pub faults: Script,
    /// What to forget of what an earlier run left in `dir`.
    pub lose: Lose,
    /// Counts bytes and checks lengths, but keeps no bytes, no digests and nothing in `dir`: for measurements.
    pub discard: bool,
    /// How each host is to be.
    pub rules: Rules,
    /// Where ids and keys come from.
    pub chance: Chance,
    /// Who tells the time.
    pub time: Time,
}

impl Options {
    /// Strict hosts without faults on any port of the IPv4 loopback address, with their state in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            dir: dir.into(),
            faults: Script::default(),
            lose: Lose::Nothing,
            discard: false,
            rules: Rules::default(),
            chance: Chance::default(),
            time: Time::default(),
        }
    }
}

/// What to forget of an earlier run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lose {
    /// All state is kept.
    #[default]
    Nothing,
    /// Sessions are forgotten as if they had never been; objects and the log stay.
    Sessions,
    /// Everything is forgotten.
    Everything,
}

/// Why a sandbox cannot start, or cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is not a loopback address; a host that takes anything from anybody must not be reachable from elsewhere.
    #[error("`{0}` is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened at.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The folder cannot be used.
    #[error("cannot keep the sandbox's state in `{}`", dir.display())]
    State {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The fault script is wrong.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// A running sandbox. Dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    dir: PathBuf,
    addr: SocketAddr,
    /// Nothing once it is being stopped.
    server: Option<Server>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<Infallible>,
}

impl Sandbox {
    /// Starts the hosts. They run as tasks of the tokio runtime this is called in.
    ///
    /// # Errors
    /// When the script is wrong, the address is taken or not a loopback address, or the folder cannot be used.
    pub fn start(options: Options) -> Result<Sandbox, SandboxError> {
        let listen = options.listen;
        options.faults.check()?;
        if !listen.ip().is_loopback() {
            return Err(SandboxError::NotLoopback(listen));
        }
        let (server, mut sandbox) = assembled(options, None)?;
        let (listener, addr) = bind(listen).map_err(|source| SandboxError::Listen { addr: listen, source })?;
        tokio::spawn(server.accept(listener));
        sandbox.addr = addr;
        Ok(sandbox)
    }

    /// The hosts without a listener, a disk and a thread: whoever has this brings them the connections ([`Sandbox::serve`]), and
    /// they do all their work as tasks of the runtime that those are polled in. What they hold is in memory alone. With a chance
    /// and a time in `options`, they do the same whenever they are asked the same.
    ///
    /// They believe that they are at `options.listen`; `options.dir` and `options.lose` mean nothing.
    ///
    /// # Errors
    /// When the script is wrong.
    pub fn detached(options: Options) -> Result<Sandbox, SandboxError> {
        options.faults.check()?;
        Ok(assembled(options, Some(Files::in_memory()))?.1)
    }

    /// Serves one connection, until it ends or the sandbox stops. A reset is the end of the stream, as nothing else can be done to
    /// it.
    pub fn serve<S>(&self, stream: S) -> impl Future<Output = ()> + Send + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.server.clone();
        async move {
            let Some(server) = server else { return };
            let mut stopped = server.stopped.clone();
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => {}
                () = server.connection(stream, |_| Ok(())) => {}
            }
        }
    }

    /// The address it listens at, or believes to be at.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The `[host.…]` tables of a configuration that uses these hosts.
    pub fn config(&self) -> String {
        config_for(self.addr)
    }

    /// Stops listening, ends every connection, and waits until nothing touches the state any more. The state stays.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.server = None;
        self.ended.recv().await;
    }

    /// The request log, oldest first.
    pub fn log(&self) -> Vec<Entry> {
        self.log_after(0)
    }

    /// The request log after mark `seq`.
    pub fn log_after(&self, seq: u64) -> Vec<Entry> {
        self.shared.log.entries(seq)
    }

    /// Waits until every request that has arrived is decided, and its reply has left or failed.
    pub async fn calm(&self) {
        self.shared.log.calm().await;
    }

    /// The stored objects, by host and id.
    pub fn objects(&self) -> Vec<Object> {
        self.shared.store.objects()
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// When there is no such object, or bytes are discarded, or the file cannot be read.
    pub fn read(&self, object: &Object) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let opened = self.shared.store.open_object(&object.host, &object.id);
        opened.ok_or(std::io::ErrorKind::Unsupported)??.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.shared.stats.snapshot()
    }

    /// Puts another script to work; all its counting begins anew.
    ///
    /// # Errors
    /// When a value is out of its range; the old script then stays.
    pub fn set_faults(&self, script: Script) -> Result<(), SandboxError> {
        script.check()?;
        self.shared.faults.replace(script);
        Ok(())
    }

    /// Loses every session, finished or not; the hosts say so from then on. Objects stay.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn lose_sessions(&self) -> Result<(), SandboxError> {
        self.kept(self.shared.store.lose_sessions())
    }

    /// Forgets every session as if it had never been, so that a later part begins it anew. Objects stay.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn forget_sessions(&self) -> Result<(), SandboxError> {
        self.kept(self.shared.forget_sessions())
    }

    /// Puts the clock of the hosts forward by so many seconds, or back.
    pub fn shift_clock(&self, seconds: i64) {
        self.shared.clock.shift(seconds);
    }

    /// Forgets objects, sessions, records, log, counters and faults, and sets the clock right.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn reset(&self) -> Result<(), SandboxError> {
        self.kept(self.shared.reset())
    }

    fn kept(&self, result: std::io::Result<()>) -> Result<(), SandboxError> {
        result.map_err(|source| SandboxError::State { dir: self.dir.clone(), source })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// One emulated host: its protocol, and nothing else.
trait Emulated: Debug + Send + Sync {
    /// Its kind, which is also the first segment of its paths.
    fn kind(&self) -> &'static str;
    /// The longest body it takes, in bytes.
    fn request_bytes_max(&self) -> u64 {
        u64::MAX
    }
    /// Reads a request and does what it asks.
    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>>;
    /// Its way to say that a request cannot be understood.
    fn refuse(&self, status: u16, reason: &str) -> Reply;
    /// Its way to say that there is no space left.
    fn full(&self) -> Reply;
    /// Its way to say that a link, an action, a key or a token has expired.
    fn expired(&self) -> Reply {
        self.refuse(403, "expired")
    }
    /// Its way to say that the credentials are wrong.
    fn denied(&self) -> Reply {
        self.refuse(401, "wrong credentials")
    }
    /// Its way to say that there were too many requests.
    fn limited(&self) -> Reply {
        self.refuse(429, "too many requests")
    }
}

/// The hosts of a sandbox, with what `options.dir` holds of an earlier run, or what they hold in memory.
fn assembled(options: Options, memory: Option<Files>) -> Result<(Server, Sandbox), SandboxError> {
    let Options { listen: addr, dir, faults, lose, discard, rules, chance, time } = options;
    let is_detached = memory.is_some();
    let kept = match memory {
        Some(files) => in_memory((!discard).then_some(files), &chance),
        None => remembered((!discard).then_some(dir.as_path()), lose, &chance),
    };
    let (store, records, log) = kept.map_err(|source| SandboxError::State { dir: dir.clone(), source })?;
    let (faults, stats) = (Faults::new(faults), Counters::default());
    let shared = Shared { store, records, clock: Clock::new(time), chance, log, faults, stats, hosts: hosts(rules), is_detached };
    let shared = Arc::new(shared);
    let (stop, stopped) = watch::channel(false);
    // Nothing is ever sent: the channel closes when the last task that holds its other end is gone.
    let (alive, ended) = mpsc::channel(1);
    let server = Server { shared: Arc::clone(&shared), stopped, alive };
    let sandbox = Sandbox { shared, dir, addr, server: Some(server.clone()), stop, ended };
    Ok((server, sandbox))
}

fn in_memory(files: Option<Files>, chance: &Chance) -> std::io::Result<(Store, Records, Log)> {
    let root = files.is_some().then_some(Path::new("/"));
    Ok((Store::open(files.unwrap_or_default(), chance.clone(), root)?, Records::open(None)?, Log::open(None)?))
}

fn remembered(dir: Option<&Path>, lose: Lose, chance: &Chance) -> std::io::Result<(Store, Records, Log)> {
    let store = Store::open(Files::default(), chance.clone(), dir)?;
    let records = Records::open(dir)?;
    let log = Log::open(dir)?;
    match lose {
        Lose::Nothing => {}
        Lose::Sessions => {
            store.forget_sessions()?;
            records.clear(SESSION_RECORDS)?;
        }
        Lose::Everything => {
            store.clear()?;
            records.clear("")?;
            log.clear()?;
        }
    }
    Ok((store, records, log))
}

fn bind(listen: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, addr))
}

/// How the names of those records begin that are about a half-sent upload, and are forgotten with the sessions.
const SESSION_RECORDS: &str = "session-";

/// What all connections share.
#[derive(Debug)]
struct Shared {
    store: Store,
    records: Records,
    clock: Clock,
    chance: Chance,
    log: Log,
    faults: Faults,
    stats: Counters,
    hosts: Vec<Box<dyn Emulated>>,
    /// Whether all work is done where it is asked for, without a thread or a socket.
    is_detached: bool,
}

impl Shared {
    fn forget_sessions(&self) -> std::io::Result<()> {
        self.records.clear(SESSION_RECORDS)?;
        self.store.forget_sessions()
    }

    fn reset(&self) -> std::io::Result<()> {
        self.faults.replace(Script::default());
        self.stats.clear();
        self.clock.reset();
        self.records.clear("")?;
        self.store.clear()?;
        self.log.clear()
    }

    /// Which host a path belongs to, by its place in `hosts`.
    fn host_of(&self, path: &str) -> Option<usize> {
        let first = path.strip_prefix('/')?.split('/').next()?;
        self.hosts.iter().position(|host| host.kind() == first)
    }
}

/// The server, as its tasks see it.
#[derive(Debug, Clone)]
struct Server {
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    alive: mpsc::Sender<Infallible>,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        let stop = stopped.wait_for(|stopped| *stopped);
        tokio::pin!(stop);
        loop {
            while connections.try_join_next().is_some() {}
            let slot = tokio::select! {
                _ = &mut stop => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let stream = tokio::select! {
                _ = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match stream {
                Ok((stream, _)) => drop(connections.spawn(self.clone().tcp_connection(stream, slot.ok()))),
                Err(error) => tracing::warn!(%error, "the sandbox cannot accept a connection"),
            }
        }
        connections.shutdown().await;
    }

    async fn tcp_connection(self, stream: TcpStream, _slot: Option<tokio::sync::OwnedSemaphorePermit>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection of the sandbox is gone at once");
        }
        self.connection(stream, TcpStream::set_zero_linger).await;
    }

    /// Serves one connection; `reset` sees to it that its end is a reset.
    async fn connection<S>(self, stream: S, reset: fn(&S) -> std::io::Result<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let control = Arc::new(Control::default());
        let wire = TokioIo::new(Wire::new(stream, reset, Arc::clone(&control)));
        let service = service_fn(|request| self.clone().reply(request, Arc::clone(&control)));
        // An error here is a client that went away or a fault that wanted it so; the log has both.
        http1::Builder::new().serve_connection(wire, service).await.ok();
    }

    /// Answers one request. The work is a task of its own, because the HTTP server drops what it waits for when the client goes
    /// away, and a host goes on with what it has received.
    async fn reply(self, request: Request<Incoming>, control: Arc<Control>) -> Result<Response<ReplyBody>, Hangup> {
        let shared = Arc::clone(&self.shared);
        let ended = match shared.host_of(request.uri().path()) {
            Some(host) => tokio::spawn(self.serve(host, request)).await.unwrap_or_else(|_| Ended::stopped()),
            None if request.uri().path().starts_with(control::PREFIX) => Ended::unlogged(control::answer(&shared, request).await),
            None => self.unknown(&request),
        };
        ended.response(&control, &shared.clock)
    }

    async fn serve(mut self, host: usize, request: Request<Incoming>) -> Ended {
        let Some(host) = self.shared.hosts.get(host) else { return Ended::stopped() };
        let (head, body) = request.into_parts();
        let mut exchange = Exchange::new(Arc::clone(&self.shared), self.alive.clone(), host.as_ref(), head, body);
        let served = async {
            let answered = host.answer(&mut exchange).await;
            exchange.end(host.as_ref(), answered).await
        };
        tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => Ended::stopped(),
            ended = served => ended,
        }
    }

    fn unknown(&self, request: &Request<Incoming>) -> Ended {
        let url = request.uri().path_and_query().map_or("/", |url| url.as_str());
        let ticket = self.shared.log.begin(request.method().as_str(), url, self.shared.clock.now_ms());
        Ended::nothing_there(ticket)
    }
}

/// Takes a lock. A panic elsewhere while it was held does not make what it guards worthless to a test bench.
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first `bytes_max` bytes of a text, at a border between characters.
fn excerpt(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
