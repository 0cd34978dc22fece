//! `ferryd status --watch`: the same report as `--json`, live, on the whole terminal. What is seen and done is looked for and carried out
//! on other threads, so that a daemon that hangs or a slow disk never keeps a key waiting. The terminal is what it was before when this
//! ends, whatever ends it.

mod model;
mod view;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;

use crate::job::JobId;
use crate::job::steer::{Order, Selection};
use crate::os::crash::panic_point;
use crate::os::signals;
use crate::store::Query;

use super::super::exit::Exit;
use super::super::queue::QueueFolder;
use super::super::render::{self, CommandFailure};
use super::super::steer;
use super::look::{Report, look};
use model::{Model, Wish};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a key is waited for before anything else is looked after.
const KEY: Duration = Duration::from_millis(50);

/// What the other threads say.
enum News {
    Seen(Box<Report>),
    Unseen(String),
    Done(String),
}

/// An order for jobs.
type Asked = (Order, Vec<JobId>);

/// Shows what is asked for until somebody leaves.
pub(super) fn run(place: QueueFolder, query: impl Fn() -> Query + Send + 'static) -> Result<Exit, CommandFailure> {
    let failed = |error: io::Error| CommandFailure::new(Exit::Fault, format!("cannot use this terminal: {error}"));
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = is_over.clone();
    let _signals = signals::listen(move |_| ends.store(true, Ordering::Relaxed)).map_err(failed)?;
    let (tell, news) = mpsc::channel();
    let (ask, asked) = mpsc::channel();
    let (wake, woken) = mpsc::channel();
    let dir = place.dir.clone();
    let told = tell.clone();
    let spawned = thread::Builder::new().name("look".into()).spawn(move || keep_looking(&place, query, &told, &woken));
    spawned.map_err(failed)?;
    let spawned = thread::Builder::new().name("orders".into()).spawn(move || carry_out(&dir, &asked, &tell, &wake));
    spawned.map_err(failed)?;
    let terminal = ratatui::try_init().map_err(failed)?;
    let shown = Screen { terminal, news, ask, is_over }.show();
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(failed)?;
    Ok(Exit::Fine)
}

/// Looks once a second, and whenever something was done.
fn keep_looking(place: &QueueFolder, query: impl Fn() -> Query, tell: &Sender<News>, woken: &Receiver<()>) {
    loop {
        let news = match look(place, &query()) {
            Ok(report) => News::Seen(Box::new(report)),
            Err(failure) => News::Unseen(failure.message),
        };
        if tell.send(news).is_err() || woken.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Has one order after the other carried out.
fn carry_out(dir: &Path, asked: &Receiver<Asked>, tell: &Sender<News>, wake: &Sender<()>) {
    while let Ok((order, jobs)) = asked.recv() {
        let selection = Selection { jobs, ..Selection::default() };
        let said = match steer::give(dir, order, &selection) {
            Ok((steered, running)) => steer::told(order, &steered, running),
            Err(failure) => failure.message,
        };
        if tell.send(News::Done(said)).is_err() || wake.send(()).is_err() {
            return;
        }
    }
}

/// The terminal, and who is behind it.
struct Screen {
    terminal: DefaultTerminal,
    news: Receiver<News>,
    ask: Sender<Asked>,
    is_over: Arc<AtomicBool>,
}

impl Screen {
    fn show(mut self) -> io::Result<()> {
        let colored = render::color(&io::stdout());
        let mut model = Model::default();
        let mut is_drawn = false;
        while !self.is_over.load(Ordering::Relaxed) {
            is_drawn &= !self.hear(&mut model)?;
            if !is_drawn {
                self.terminal.draw(|frame| view::draw(&mut model, colored, frame))?;
                panic_point!("watch.drawn");
                is_drawn = true;
            }
            if !event::poll(KEY)? {
                continue;
            }
            is_drawn = false;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match model.key(key) {
                    Some(Wish::Quit) => return Ok(()),
                    Some(Wish::Steer(order, jobs)) => {
                        model.notice("Asked for ...");
                        self.ask.send((order, jobs)).map_err(io::Error::other)?;
                    }
                    Some(Wish::Copy(text)) => copy(&text)?,
                    None => {}
                },
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what the other threads say; answers whether there was anything.
    fn hear(&self, model: &mut Model) -> io::Result<bool> {
        let mut heard = false;
        loop {
            match self.news.try_recv() {
                Ok(News::Seen(report)) => model.see(*report),
                Ok(News::Unseen(why)) => model.fail(render::line(&why)),
                Ok(News::Done(said)) => model.notice(&said),
                Err(TryRecvError::Empty) => return Ok(heard),
                Err(TryRecvError::Disconnected) => return Err(io::Error::other("a thread has ended")),
            }
            heard = true;
        }
    }
}

/// Has the terminal put a text into the clipboard (OSC 52), also over SSH.
fn copy(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "\x1b]52;c;{}\x07", STANDARD.encode(text))?;
    stdout.flush()
}
