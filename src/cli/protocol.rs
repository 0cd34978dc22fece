//! What commands and the daemon say to each other over the socket in the state folder: a line of JSON each way, with a version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::Paces;
use crate::job::steer::{Order, Selection, Steered, read_paths, write_paths};
use crate::os::control::{self, Answer};

use super::exit::Exit;
use super::render::CommandFailure;

/// Another version is not understood.
const VERSION: u32 = 1;

/// A line with its version.
#[derive(Debug, Serialize, Deserialize)]
struct Line<T> {
    version: u32,
    #[serde(flatten)]
    said: T,
}

/// What a daemon is asked for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(super) enum Request {
    /// Whether its main loop turns.
    Alive,
    /// To carry out an order.
    Steer {
        /// What is to happen.
        order: Order,
        /// With which jobs.
        selection: Selection,
    },
    /// To upload these files to these hosts, wherever they are.
    Send {
        /// Absolute paths.
        #[serde(serialize_with = "write_paths", deserialize_with = "read_paths")]
        files: Vec<PathBuf>,
        /// Names of configured hosts.
        hosts: Vec<String>,
    },
    /// To read its configuration again.
    Reload,
    /// To stop.
    Stop,
}

/// What it says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    /// It is well.
    Alive {
        /// How fast bytes go. An older daemon does not say.
        #[serde(default)]
        paces: Paces,
    },
    /// What became of the order. It is on the disk.
    Steered {
        /// In numbers.
        steered: Steered,
    },
    /// The files are in the queue, but for some.
    TakenUp {
        /// Why not, in the order of the files; nothing for one that is.
        refused: Vec<Option<String>>,
    },
    /// It goes on with the new configuration.
    Reloaded {
        /// What is other there.
        changes: String,
    },
    /// It goes on with the old configuration.
    ReloadRefused {
        /// What is wrong with the new one.
        why: String,
    },
    /// It stops, and waits so long for parts in flight.
    Stopping {
        /// In milliseconds.
        grace_ms: u64,
    },
    /// It does not do what it was asked for.
    Failed {
        /// Why.
        why: String,
    },
}

/// A line as it is sent, without its end.
pub(super) fn written<T: Serialize>(said: T) -> Vec<u8> {
    serde_json::to_vec(&Line { version: VERSION, said }).unwrap_or_default()
}

/// What a line says, or why nobody can tell.
pub(super) fn read<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T, String> {
    let version: Result<Line<serde::de::IgnoredAny>, _> = serde_json::from_slice(line);
    if let Ok(Line { version, .. }) = version
        && version != VERSION
    {
        return Err(format!(
            "this command speaks version {version} of the protocol, and the daemon version {VERSION}; restart the daemon"
        ));
    }
    serde_json::from_slice::<Line<T>>(line).map(|line| line.said).map_err(|error| format!("that is no request: {error}"))
}

/// Whether the daemon in `dir` answers in time, and how fast bytes go there; nothing where it cannot be asked.
pub(super) fn is_alive(dir: &Path) -> Option<(bool, Paces)> {
    match control::ask(dir, &written(Request::Alive), control::PATIENCE) {
        Answer::Nobody => None,
        Answer::Silence => Some((false, Paces::default())),
        Answer::Line(line) => Some(match read(&line) {
            Ok(Reply::Alive { paces }) => (true, paces),
            _ => (true, Paces::default()),
        }),
    }
}

/// Asks the daemon in `dir`, which may take so long; nothing where nobody listens.
pub(super) fn ask(dir: &Path, request: Request, patience: Duration) -> Result<Option<Reply>, CommandFailure> {
    let failed = |why: String| CommandFailure::new(Exit::State, why);
    match control::ask(dir, &written(request), patience) {
        Answer::Nobody => Ok(None),
        Answer::Silence => Err(failed("the daemon is running but does not answer; what was asked for may still happen".into())
            .hint("`ferryd status` shows what it is doing")),
        Answer::Line(line) => match read(&line).map_err(failed)? {
            Reply::Failed { why } => Err(failed(why)),
            reply => Ok(Some(reply)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::flow::{InFlight, Learned};
    use crate::job::{JobId, State};

    #[test]
    fn what_is_said_is_understood_and_another_version_is_named() {
        let selection = Selection { jobs: vec![JobId(4)], states: vec![State::Held], ..Selection::default() };
        let send = Request::Send { files: vec!["/a\nb".into()], hosts: vec!["box".into()] };
        for request in [send, Request::Alive, Request::Steer { order: Order::Pause, selection }, Request::Reload, Request::Stop] {
            let line = written(&request);
            assert_eq!(read::<Request>(&line).unwrap(), request);
            assert!(!line.contains(&b'\n'));
        }
        let mut steered = Steered { changed: 2, jobs: vec![JobId(1)], ..Steered::default() };
        steered.unchanged.insert(State::Done, 3);
        let requests = [("box".into(), InFlight { now: 6, most: 8, why: Learned::MoreBringsNothing })].into();
        let paces = Paces { hosts: [("box".into(), 9)].into(), jobs: vec![(JobId(4), 7)], requests };
        for reply in [Reply::Alive { paces }, Reply::Steered { steered }, Reply::Failed { why: "no\nroom".into() }] {
            let line = written(&reply);
            assert_eq!(read::<Reply>(&line).unwrap(), reply);
            assert!(!line.contains(&b'\n'));
        }
        assert_eq!(read::<Reply>(b"{\"version\":1,\"reply\":\"alive\"}").unwrap(), Reply::Alive { paces: Paces::default() });
        let newer = b"{\"version\":2,\"ask\":\"alive\"}";
        assert!(read::<Request>(newer).unwrap_err().contains("version 2"));
        for rubbish in [&b""[..], b"{}", b"{\"version\":1}", b"{\"version\":1,\"ask\":\"x\"}", b"\xff", b"[1]"] {
            assert!(read::<Request>(rubbish).unwrap_err().contains("no request"), "{rubbish:?}");
        }
    }
}
