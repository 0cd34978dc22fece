//! How the daemon's log is written: as text for people, with a priority before each line where the journal reads it, or as one JSON
//! document a line.

use std::fmt;
use std::io::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{DefaultVisitor, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::os::service;

use super::exit::Exit;
use super::render::{self, CommandFailure};

#[derive(Debug, clap::Args)]
pub(super) struct LogArguments {
    /// What to log: error, warn, info, debug, or a filter such as `ferryd=debug`.
    #[arg(long, env = "FERRYD_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// How to log: text, or json, one document a line with the job, the host, the path and the link in fields of their own.
    #[arg(long, env = "FERRYD_LOG_FORMAT", default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// From here on what is logged goes to stderr.
pub(super) fn start(arguments: &LogArguments) -> Result<(), CommandFailure> {
    let filter = filter(&arguments.log)?;
    // A log that cannot be written, because its disk is full or nobody reads it, must cost no more than its lines: told of it on
    // stderr, the subscriber would panic.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lossy(io::stderr()))
        .log_internal_errors(false)
        .with_ansi(render::color(&io::stderr()));
    let started = match (arguments.log_format, service::journal_has_stderr()) {
        (Format::Text, false) => log.fmt_fields(FewFields).try_init(),
        // The journal has the time already.
        (Format::Text, true) => log.fmt_fields(FewFields).without_time().map_event_format(WithPriority).try_init(),
        (Format::Json, false) => log.json().flatten_event(true).try_init(),
        (Format::Json, true) => log.json().flatten_event(true).map_event_format(WithPriority).try_init(),
    };
    started.map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot start the log: {error}")))
}

/// A word alone is a level: the filter would take any other for the name of a module, and log nothing.
fn filter(given: &str) -> Result<EnvFilter, CommandFailure> {
    let invalid = |why: &str| {
        CommandFailure::new(Exit::Usage, format!("invalid log filter `{}`: {why}", render::line(given)))
            .hint("try `--log info` or `--log ferryd=debug`")
    };
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_ascii_lowercase().as_str());
    let is_module = |word: &str| word.contains(['=', '[', ':']) || word == "ferryd" || word.is_empty();
    match given.split(',').map(str::trim).find(|word| !is_level(word) && !is_module(word)) {
        Some(word) => Err(invalid(&format!("`{}` is no level", render::line(word)))),
        None => EnvFilter::try_new(given).map_err(|error| invalid(&error.to_string())),
    }
}

/// What cannot be written to it is lost, and counts as written.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(self.0.flush());
        Ok(())
    }
}

/// A format whose lines each begin with their priority, as `journalctl -p` and syslog know it.
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

/// The number that syslog has for it.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Fields of ours that are for programs. What they say, the message says to people.
const FOR_PROGRAMS: [&str; 6] = ["host", "path", "bytes", "seconds", "bytes_per_second", "link"];

/// Fields as in any text, without those.
struct FewFields;

impl<'w> FormatFields<'w> for FewFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = FewVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct FewVisitor<'w>(DefaultVisitor<'w>);

impl Visit for FewVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if is_shown(field) {
            self.0.record_debug(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if is_shown(field) {
            self.0.record_str(field, value);
        }
    }
}

fn is_shown(field: &Field) -> bool {
    !FOR_PROGRAMS.contains(&field.name())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused_as_a_filter_of_the_log() {
        for given in ["info", "DEBUG", "off", "ferryd=debug", "warn,ferryd::watch=trace", "ferryd", ""] {
            assert!(filter(given).is_ok(), "{given}");
        }
        for given in ["verbose", "quatsch", "info,loud", "2", "ferryd=loud"] {
            let failure = filter(given).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.message.contains(given), "{given}: {}", failure.message);
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_of_the_journal_has_its_priority_and_fields_for_programs_are_not_in_it() {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).fmt_fields(FewFields).without_time();
        tracing::subscriber::with_default(log.map_event_format(WithPriority).finish(), || {
            tracing::warn!(job.id = 7, host = "box", path = "/d/f", "one\ntwo");
            tracing::error!(connection = 3, "three \u{1b}[31m");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("<4> WARN ") && lines[0].ends_with("one"), "{text}");
        assert_eq!(lines[1], "<4>two job.id=7");
        assert!(lines[2].starts_with("<3>") && lines[2].ends_with("connection=3") && !text.contains('\u{1b}'), "{text}");
    }
}
