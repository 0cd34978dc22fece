//! `ferryd show JOB`: all that the queue has of one job.

use std::path::PathBuf;

use serde::Serialize;

use crate::job::report::{JobDetails, timestamp};
use crate::job::{JobId, JobRow, Reason};
use crate::os::clock;
use crate::store::Snapshot;

use super::exit::Exit;
use super::queue::QueueFolder;
use super::render::{self, CommandFailure};
use super::status;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The job's number, as in `ferryd status`.
    #[arg(value_name = "JOB")]
    job: i64,
    /// Print one JSON document, for scripts.
    #[arg(long)]
    json: bool,
    /// Read the queue in this folder instead of the configured one.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// What `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    job: &'a JobRow,
    #[serde(flatten)]
    details: &'a JobDetails,
}

pub(super) fn run(config: Option<PathBuf>, arguments: &Arguments) -> Result<Exit, CommandFailure> {
    let place = QueueFolder::find(config, arguments.state_dir.as_ref())?;
    let failed = |error| CommandFailure::store(&place.dir, &error);
    let Some(mut view) = place.open(&[])? else { return Ok(Exit::Usage) };
    let Some((job, details)) = view.details(JobId(arguments.job), clock::now_ms()).map_err(failed)? else {
        let failure = CommandFailure::new(Exit::Usage, format!("there is no job {}", arguments.job));
        return Err(failure.hint("`ferryd status` lists the jobs"));
    };
    if arguments.json {
        let document = Document { version: 1, job: &job, details: &details };
        let text = serde_json::to_string_pretty(&document).map_err(|error| CommandFailure::new(Exit::Fault, error.to_string()))?;
        render::out(&format!("{text}\n"))?;
        return Ok(Exit::Fine);
    }
    let mut snapshot = Snapshot { jobs: vec![job.clone()], ..Snapshot::default() };
    let now = status::lines_of_jobs(&place, &mut snapshot).remove(0);
    render::out(&drawn(&job, &details, &now))?;
    Ok(Exit::Fine)
}

fn drawn(job: &JobRow, details: &JobDetails, now: &str) -> String {
    let time = |at_ms: Option<i64>| at_ms.and_then(timestamp).map(|at| at.to_string());
    let mut lines = vec![
        ("file", Some(render::path(&job.path))),
        ("now", Some(now.to_owned())),
        ("size", Some(render::size(job.bytes))),
        ("queued", time(Some(job.queued_at_ms))),
        ("attempts", Some(job.attempts.to_string())),
        ("failures", (details.failures > 0).then(|| format!("{} in a row", details.failures))),
        ("sessions", (details.sessions_lost > 0).then(|| format!("{} lost", details.sessions_lost))),
        ("parts", (job.parts > 0).then(|| format!("{} of {} confirmed by the host", job.parts_acked, job.parts))),
        ("session", details.opened_ms.and_then(timestamp).map(|at| format!("opened {at}"))),
        ("completion", details.committing.then(|| "asked for, and not answered yet".to_owned())),
        ("ordered", details.wanted.map(|wanted| format!("{wanted}, as soon as the upload under way has stopped"))),
        ("uploaded", time(job.done_at_ms)),
        ("link", job.link.as_deref().map(render::line)),
        ("host's id", job.remote_id.as_deref().map(render::line)),
        ("expires", time(job.expires_ms)),
        ("proof", details.proof.clone()),
        ("reason", job.why.as_ref().map(Reason::to_string).map(|why| render::line(&why))),
    ];
    let waits = details.deliveries.iter().map(|delivery| {
        let next = delivery.next_try_ms.map_or("waits".to_owned(), |at| format!("next try {}", render::next(at, clock::now_ms())));
        let what = if delivery.hook == delivery.event {
            delivery.event.clone()
        } else {
            format!("hook `{}` for {}", render::line(&delivery.hook), delivery.event)
        };
        ("to come", Some(format!("{what}, tried {}; {next}", render::count(delivery.tries, "time"))))
    });
    lines.extend(waits);
    let others = details.others.iter().map(|other| {
        let when = time(other.done_at_ms.or(Some(other.since_ms))).unwrap_or_default();
        ("also", Some(format!("job {} to {}: {} {when}", other.id, other.host, other.state)))
    });
    lines.extend(others);
    let shown = lines.into_iter().filter_map(|(title, text)| Some(format!("{title:<11} {}\n", text?)));
    format!("Job {} to {}\n{}", job.id, job.host, shown.collect::<String>())
}
