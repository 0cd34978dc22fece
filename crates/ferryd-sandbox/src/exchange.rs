//! One request on its way through the server: its body, the fault that acts on it, and how it ends.
//!
//! A host's protocol reads the request as far as it must to know what is asked for, says so with [`Exchange::met`], takes the rest
//! of the body, says so with [`Exchange::received`], and does its work. The faults act at these two steps and after the work, so
//! that a protocol knows nothing of them but [`Exchange::times`].

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::header::DATE;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::clock::Clock;
use super::effects::{InBody, Instead, duration};
use super::faults::{Action, Met};
use super::log::{Conclusion, Delivery, Outcome, Ticket};
use super::reply::Reply;
use super::spool::{Spool, Spooled};
use super::wire::{Control, ReplyBody};
use super::{Emulated, Shared, hold};

/// What a protocol answers, and what it did.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) outcome: Outcome,
    /// SHA-256 of the file part, in hexadecimal.
    pub(super) file_sha256: Option<String>,
    /// Whether what is stored has changed.
    pub(super) held: bool,
    /// Whether the part was held before.
    pub(super) again: bool,
    /// Whether it was held with other bytes.
    pub(super) differed: bool,
}

impl Answer {
    /// An answer that changed nothing.
    pub(super) fn plain(reply: Reply, outcome: Outcome) -> Answer {
        Answer { reply, outcome, file_sha256: None, held: false, again: false, differed: false }
    }
}

/// Why a request ends without an answer of the protocol's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// The client has gone.
    #[error("the client went away")]
    Gone,
    /// The body is longer than this host takes.
    #[error("the body is too large")]
    TooLarge,
    /// The fault that acts on this request has its turn.
    #[error("a fault acts")]
    Faulted,
    /// The request cannot be understood.
    #[error("{reason}")]
    Refused {
        /// The status to answer with.
        status: u16,
        /// What cannot be understood.
        reason: String,
    },
}

/// The body of a request. Clones read the same bytes.
#[derive(Debug, Clone)]
pub(super) struct Body {
    state: Arc<Mutex<BodyState>>,
}

#[derive(Debug)]
struct BodyState {
    incoming: Incoming,
    received: u64,
    bytes_max: u64,
    ended: bool,
    stopped: Option<Stop>,
    obstacle: Option<InBody>,
    since: Instant,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Body {
    fn new(incoming: Incoming, bytes_max: u64) -> Body {
        let since = Instant::now();
        let state = BodyState { incoming, received: 0, bytes_max, ended: false, stopped: None, obstacle: None, since, rest: None };
        Body { state: Arc::new(Mutex::new(state)) }
    }

    /// The next bytes; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Stop> {
        poll_fn(|cx| hold(&self.state).poll_next(cx)).await
    }

    /// Why reading has stopped, if it has.
    pub(super) fn stopped(&self) -> Option<Stop> {
        hold(&self.state).stopped.clone()
    }

    fn received(&self) -> u64 {
        hold(&self.state).received
    }

    async fn drain(&mut self) -> Result<(), Stop> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Puts `obstacle` in the way of what is still to be read.
    fn obstruct(&self, obstacle: InBody) -> Result<(), Stop> {
        let mut state = hold(&self.state);
        (state.obstacle, state.since) = (Some(obstacle), Instant::now());
        state.check_end()
    }
}

impl BodyState {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Stop>> {
        if let Some(stop) = &self.stopped {
            return Poll::Ready(Err(stop.clone()));
        }
        self.check_end()?;
        ready!(self.poll_obstacle(cx));
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(self.take(frame))
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Result<Option<Bytes>, Stop> {
        match frame {
            None => {
                self.ended = true;
                Ok(None)
            }
            Some(Err(_)) => Err(self.stop(Stop::Gone)),
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                self.received += bytes.len() as u64;
                if self.received > self.bytes_max {
                    return Err(self.stop(Stop::TooLarge));
                }
                Ok(Some(bytes))
            }
        }
    }

    fn stop(&mut self, stop: Stop) -> Stop {
        self.stopped = Some(stop.clone());
        stop
    }

    fn check_end(&mut self) -> Result<(), Stop> {
        match self.obstacle {
            Some(InBody::EndAfter(bytes)) if self.received >= bytes => Err(self.stop(Stop::Faulted)),
            _ => Ok(()),
        }
    }

    fn poll_obstacle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.obstacle {
            Some(InBody::Pace(bytes_per_second)) => {
                let owed = Duration::from_secs_f64(self.received as f64 / bytes_per_second.max(1) as f64);
                self.rest = Some(Box::pin(tokio::time::sleep_until(self.since + owed)));
            }
            Some(InBody::Rest { after_bytes, time }) if self.received >= after_bytes => {
                self.obstacle = None;
                self.rest = Some(Box::pin(tokio::time::sleep(time)));
            }
            _ => {}
        }
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        Poll::Ready(())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Stop;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Stop>>> {
        hold(&self.state).poll_next(cx).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)).transpose())
    }
}

/// One request and all that is known about it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    /// The path below the host's prefix: empty, or beginning with `/`.
    pub(super) path: String,
    /// The query, as sent.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    url: String,
    shared: Arc<Shared>,
    alive: mpsc::Sender<Infallible>,
    ticket: Ticket,
    action: Option<Action>,
    met: Option<Met>,
}

impl Exchange {
    /// Takes a request in. `kind` is the host it is for, whose prefix is cut off the path.
    pub(super) fn new(
        shared: Arc<Shared>,
        alive: mpsc::Sender<Infallible>,
        host: &dyn Emulated,
        head: Parts,
        body: Incoming,
    ) -> Exchange {
        let url = head.uri.path_and_query().map_or("/", |url| url.as_str()).to_owned();
        let ticket = shared.log.begin(head.method.as_str(), &url, shared.clock.now_ms());
        ticket.describe(|entry| entry.host = Some(host.kind().to_owned()));
        Exchange {
            path: head.uri.path().get(1 + host.kind().len()..).unwrap_or_default().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            method: head.method,
            headers: head.headers,
            body: Body::new(body, host.request_bytes_max()),
            url,
            shared,
            alive,
            ticket,
            action: None,
            met: None,
        }
    }

    /// Whether bytes are counted instead of kept.
    pub(super) fn discards(&self) -> bool {
        self.shared.store.discards()
    }

    /// Says what the request turned out to be. From here on the fault script acts on it.
    pub(super) fn met(&mut self, met: Met) -> Result<(), Stop> {
        self.ticket.describe(|entry| {
            entry.endpoint = Some(met.endpoint);
            entry.session.clone_from(&met.session);
            entry.part = met.part;
            entry.file.clone_from(&met.file);
        });
        self.action = self.shared.faults.choose(&met, self.shared.clock.now_ms());
        self.met = Some(met);
        self.action.as_ref().and_then(Action::in_body).map_or(Ok(()), |obstacle| self.body.obstruct(obstacle))
    }

    /// Takes what is left of the body. After this the protocol does its work, unless a fault does something else in its place.
    pub(super) async fn received(&mut self) -> Result<(), Stop> {
        self.body.drain().await?;
        let Some(action) = &self.action else { return Ok(()) };
        if action.instead(&self.url, &self.shared.clock).is_some() {
            return Err(Stop::Faulted);
        }
        if *action == Action::LoseSession
            && let Some((host, session)) = self.met.as_ref().and_then(|met| Some((met.host, met.session.as_deref()?)))
        {
            self.shared.store.lose_session(host, session);
        }
        Ok(())
    }

    /// How many times the protocol has to do its work.
    pub(super) fn times(&self) -> usize {
        if self.action == Some(Action::Twice) { 2 } else { 1 }
    }

    /// Whether the answer has to name a size or a digest that is not the file's.
    pub(super) fn lies(&self) -> bool {
        self.action == Some(Action::WrongFacts)
    }

    /// The name under which a file is stored that was sent with this one.
    pub(super) fn stored_name(&self, name: &str) -> String {
        if self.renames() { other_name(name) } else { name.to_owned() }
    }

    /// Whether a fault has the file stored under another name.
    pub(super) fn renames(&self) -> bool {
        self.action == Some(Action::StoreOtherName)
    }

    /// What the hosts share: the store, the records, the clock.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes the whole body into a file beside the objects, or counts it where bytes are discarded.
    pub(super) async fn spool(&mut self) -> Result<Spooled, Stop> {
        let mut spool = self.shared.store.aside().and_then(Spool::new).map_err(|error| full_disk(&error))?;
        while let Some(bytes) = self.body.next().await? {
            spool.take(&bytes).map_err(|error| full_disk(&error))?;
        }
        Ok(spool.end())
    }

    /// Runs `job`, which may wait for the disk, where that holds up nobody: on a thread of its own, unless there is no disk. It
    /// runs to its end even when the client goes away.
    pub(super) async fn work<T: Send + 'static>(&self, job: impl FnOnce(&Shared) -> T + Send + 'static) -> Result<T, Stop> {
        if self.discards() || self.shared.is_detached {
            return Ok(job(&self.shared));
        }
        let (shared, alive) = (Arc::clone(&self.shared), self.alive.clone());
        let task = tokio::task::spawn_blocking(move || {
            let done = job(&shared);
            drop(alive);
            done
        });
        task.await.map_err(|_| Stop::Gone)
    }

    /// Ends the request: what the protocol answered, as the fault bends it, goes into the log and towards the connection.
    pub(super) async fn end(mut self, host: &dyn Emulated, answered: Result<Answer, Stop>) -> Ended {
        match answered {
            Ok(answer) => self.answer(answer).await,
            Err(Stop::Gone) => self.conclude(Outcome::Gone, How::End { reset: false }),
            Err(Stop::TooLarge) => {
                let reply = host.refuse(413, "the request is too large").header("connection", "close");
                self.conclude(Outcome::Rejected(Stop::TooLarge.to_string()), How::whole(reply))
            }
            Err(Stop::Refused { status, reason }) => {
                // What is left of the body is taken, so that the client reads this reply and not a reset.
                self.body.drain().await.ok();
                let reply = host.refuse(status, &reason);
                self.conclude(Outcome::Rejected(reason), How::whole(reply))
            }
            Err(Stop::Faulted) => self.fault(host),
        }
    }

    async fn answer(self, answer: Answer) -> Ended {
        let Answer { reply, outcome, file_sha256, held, again, differed } = answer;
        let mut conclusion = Conclusion { file_sha256, held, again, differed, ..Conclusion::bare(outcome) };
        let Some(action) = self.action.clone() else { return self.close(conclusion, How::whole(reply)) };
        if let Action::SlowReply { seconds } = action {
            tokio::time::sleep(duration(seconds)).await;
        }
        if held && self.spoil(&action) {
            conclusion.held = action != Action::DropPart;
        }
        if let Action::LoseReply { reset } = action {
            conclusion.outcome = Outcome::Faulted;
            return self.close(conclusion, How::End { reset });
        }
        if let Some(reply) = action.over() {
            conclusion.outcome = Outcome::Faulted;
            return self.close(conclusion, How::whole(reply));
        }
        let shape = match action {
            Action::CutReply { bytes } => Shape::Cut(bytes),
            Action::WrongLength { by } => Shape::Claiming(by),
            _ => Shape::Whole,
        };
        self.close(conclusion, How::Reply { reply: action.bend(reply), shape, half_open: None })
    }

    /// Does to the part at rest what the fault wants; whether it did.
    fn spoil(&self, action: &Action) -> bool {
        let Some((host, session, part)) = self.met.as_ref().and_then(|met| Some((met.host, met.session.as_deref()?, met.part?)))
        else {
            return false;
        };
        match action {
            Action::DropPart => self.shared.store.drop_part(host, session, part),
            Action::CorruptPart => self.shared.store.corrupt_part(host, session, part),
            _ => false,
        }
    }

    fn fault(self, host: &dyn Emulated) -> Ended {
        let how = match self.action.as_ref().and_then(|action| action.instead(&self.url, &self.shared.clock)) {
            None => How::End { reset: true },
            Some(Instead::End { reset }) => How::End { reset },
            Some(Instead::Full) => How::whole(host.full()),
            Some(Instead::Expired) => How::whole(host.expired()),
            Some(Instead::Denied) => How::whole(host.denied()),
            Some(Instead::Limited) => How::whole(host.limited()),
            Some(Instead::Reply(reply)) => match self.action {
                Some(Action::EarlyReply { hold_seconds, .. }) => {
                    let reply = reply.header("connection", "close");
                    How::Reply { reply, shape: Shape::Whole, half_open: Some(duration(hold_seconds)) }
                }
                _ => How::whole(reply),
            },
        };
        self.conclude(Outcome::Faulted, how)
    }

    fn conclude(self, outcome: Outcome, how: How) -> Ended {
        self.close(Conclusion::bare(outcome), how)
    }

    fn close(self, mut conclusion: Conclusion, how: How) -> Ended {
        conclusion.body_bytes = self.body.received();
        conclusion.fault = self.action.as_ref().map(Action::name);
        conclusion.status = how.status();
        self.shared.stats.count(&conclusion);
        Ended { how, delivery: Some(self.ticket.conclude(conclusion)) }
    }
}

/// The sandbox cannot keep what it was sent.
pub(super) fn full_disk(error: &std::io::Error) -> Stop {
    Stop::Refused { status: 500, reason: format!("the sandbox cannot keep its files: {error}") }
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Ended {
    how: How,
    delivery: Option<Delivery>,
}

#[derive(Debug)]
enum How {
    Reply { reply: Reply, shape: Shape, half_open: Option<Duration> },
    End { reset: bool },
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Whole,
    /// Only so many bytes of the body.
    Cut(u64),
    /// A length that is off by so much.
    Claiming(i64),
}

/// The connection ends without a reply.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox ends this connection")]
pub(super) struct Hangup;

impl How {
    fn whole(reply: Reply) -> How {
        How::Reply { reply, shape: Shape::Whole, half_open: None }
    }

    fn status(&self) -> Option<u16> {
        match self {
            How::Reply { reply, .. } => Some(reply.status),
            How::End { .. } => None,
        }
    }
}

impl Ended {
    /// A reply that is not in the log: of the control interface.
    pub(super) fn unlogged(reply: Reply) -> Ended {
        Ended { how: How::whole(reply), delivery: None }
    }

    /// The end of a request to a path of no host.
    pub(super) fn nothing_there(ticket: Ticket) -> Ended {
        let outcome = Outcome::Rejected("there is no host at this path".into());
        let delivery = ticket.conclude(Conclusion { status: Some(404), ..Conclusion::bare(outcome) });
        Ended { how: How::whole(Reply::text(404, "not found")), delivery: Some(delivery) }
    }

    /// The end of a request whose server stops.
    pub(super) fn stopped() -> Ended {
        Ended { how: How::End { reset: false }, delivery: None }
    }

    /// What the HTTP server sends.
    ///
    /// # Errors
    /// When nothing is to be sent and the connection must end.
    pub(super) fn response(self, control: &Arc<Control>, clock: &Clock) -> Result<Response<ReplyBody>, Hangup> {
        let Ended { how, delivery } = self;
        let (reply, shape, half_open) = match how {
            How::Reply { reply, shape, half_open } => (reply, shape, half_open),
            How::End { reset } => {
                if reset {
                    control.reset_at_end();
                }
                return Err(Hangup);
            }
        };
        if let Some(time) = half_open {
            control.half_open_for(time);
        }
        // Of the hosts' own clock, where the HTTP server would take the machine's.
        let reply = if reply.headers.contains_key(DATE) { reply } else { reply.header("date", &clock.believed_date()) };
        let length = reply.payload.len();
        Ok(match shape {
            Shape::Cut(bytes) if bytes < length => reply.response(length, |payload| ReplyBody::cut(payload, bytes, control)),
            Shape::Claiming(by) if by > 0 => {
                reply.response(length.saturating_add_signed(by), |payload| ReplyBody::cut(payload, length, control))
            }
            Shape::Claiming(by) => {
                reply.response(length.saturating_add_signed(by), |payload| ReplyBody::whole(payload, control, delivery))
            }
            _ => reply.response(length, |payload| ReplyBody::whole(payload, control, delivery)),
        })
    }
}

/// A name such as a host may make of one it will not have: `report (2).pdf`.
fn other_name(name: &str) -> String {
    match name.rfind('.') {
        Some(at) if at > 0 => format!("{} (2){}", &name[..at], &name[at..]),
        _ => format!("{name} (2)"),
    }
}
