//! The control interface, outside the emulated paths: what a test in another process asks and sets.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /_sandbox/log?after=SEQ` | the request log after a mark, as a JSON array |
//! | `GET /_sandbox/objects` | the stored objects, as a JSON array |
//! | `GET /_sandbox/stats` | the counters |
//! | `PUT /_sandbox/faults` | puts the script in the body to work, in JSON or TOML |
//! | `POST /_sandbox/lose-sessions` | loses every session, and says so from then on; with `?silently` as if they had never been |
//! | `POST /_sandbox/clock?shift=SECONDS` | puts the clock of the hosts forward, or back |
//! | `POST /_sandbox/reset` | forgets objects, sessions, log, counters and faults |

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use serde::Serialize;

use super::Shared;
use super::faults::Script;
use super::reply::Reply;

/// Where it is.
pub(super) const PREFIX: &str = "/_sandbox/";
const SCRIPT_BYTES_MAX: usize = 1024 * 1024;

/// Does what a request asks.
pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let name = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    match (&head.method, name) {
        (&Method::GET, "log") => json(&shared.log.entries(after(&head))),
        (&Method::GET, "objects") => json(&shared.store.objects()),
        (&Method::GET, "stats") => json(&shared.stats.snapshot()),
        (&Method::PUT, "faults") => replace_faults(shared, body).await,
        (&Method::POST, "reset") => done(shared.reset()),
        (&Method::POST, "lose-sessions") if head.uri.query() == Some("silently") => done(shared.forget_sessions()),
        (&Method::POST, "lose-sessions") => done(shared.store.lose_sessions()),
        (&Method::POST, "clock") => shift_clock(shared, &head),
        (_, "log" | "objects" | "stats") => Reply::empty(405).header("allow", "GET"),
        (_, "faults") => Reply::empty(405).header("allow", "PUT"),
        (_, "reset" | "lose-sessions" | "clock") => Reply::empty(405).header("allow", "POST"),
        _ => Reply::text(404, "not found"),
    }
}

fn after(head: &Parts) -> u64 {
    let query = head.uri.query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix("after=")).and_then(|mark| mark.parse().ok()).unwrap_or(0)
}

fn shift_clock(shared: &Shared, head: &Parts) -> Reply {
    let query = head.uri.query().unwrap_or_default();
    match query.strip_prefix("shift=").and_then(|seconds| seconds.parse::<i64>().ok()) {
        Some(seconds) => {
            shared.clock.shift(seconds);
            Reply::empty(204)
        }
        None => Reply::text(400, "say by how many seconds: ?shift=3600"),
    }
}

async fn replace_faults(shared: &Shared, body: Incoming) -> Reply {
    let Ok(bytes) = Limited::new(body, SCRIPT_BYTES_MAX).collect().await else {
        return Reply::text(413, "the script is too long").header("connection", "close");
    };
    match Script::parse(&String::from_utf8_lossy(&bytes.to_bytes())) {
        Ok(script) => {
            shared.faults.replace(script);
            Reply::empty(204)
        }
        Err(error) => Reply::text(400, &told(&error)),
    }
}

/// An error with its causes, since the reader has nothing but this text.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(text) => Reply::json(200, text),
        Err(error) => Reply::text(500, &error.to_string()),
    }
}

fn done(result: std::io::Result<()>) -> Reply {
    match result {
        Ok(()) => Reply::empty(204),
        Err(error) => Reply::text(500, &error.to_string()),
    }
}
