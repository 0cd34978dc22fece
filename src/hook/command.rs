//! A command of the user's: no shell, an environment of its own, a process group that ends with it. Exit code 0 is success.
//! Repeating runs it again.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::config::{Field, Template, TemplatePiece};
use crate::job::shown::is_unsafe;
use crate::os::command::{self, Bounds, Kept};

use super::told::Told;
use super::{Facts, HookError};

/// How much of its output is kept: the end.
const OUTPUT_BYTES: usize = 4096;
/// How long it has to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// Variables that are passed on: what programs need to find their way, and nothing that may be a secret of ours.
const PASSED_ON: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Runs the command that `words` make of what is `told`.
pub(super) async fn run(words: &[Template], told: Told<'_>, limit: Duration) -> Result<(), HookError> {
    let arguments = arguments(words, told)?;
    let Some((program, rest)) = arguments.split_first() else { return Err(HookError::new("no program is given")) };
    let bounds = Bounds { time: limit, term_grace: TERM_GRACE, output: Kept::End(OUTPUT_BYTES) };
    let ended = command::run_with_input(command(program, rest, told), told.input(), bounds).await;
    let ended = ended.map_err(|error| HookError::new(format!("cannot start `{}`: {error}", program.display())))?;
    judge(ended.status, &one_line(&ended.output), limit)
}

/// The words with their placeholders filled. A name that begins with a dash must not become an option of the program: it is given as
/// `./-name`, unless a word `--` has ended the options. Other values have no such spelling, so the program is not run.
fn arguments(words: &[Template], told: Told<'_>) -> Result<Vec<OsString>, HookError> {
    let mut options_end = false;
    let filled = words.iter().enumerate().map(|(at, word)| {
        let filled = told.fill(word);
        options_end |= filled == "--";
        match word.0.first() {
            Some(TemplatePiece::Field(field)) if at > 0 && !options_end && filled.as_bytes().starts_with(b"-") => match field {
                Field::Name | Field::Dir => Ok([OsStr::new("./"), &filled].into_iter().collect()),
                _ => Err(HookError::new(format!(
                    "an argument begins with a dash (`{}`), which the program may take for an option: put \"--\" before it in `command`",
                    one_line(filled.as_bytes())
                ))),
            },
            _ => Ok(filled),
        }
    });
    filled.collect()
}

fn command(program: &OsStr, arguments: &[OsString], told: Told<'_>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    let locale = std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("LC_"));
    command.envs(PASSED_ON.iter().filter_map(|key| Some((*key, std::env::var_os(key)?)))).envs(locale);
    command.envs(told.fields().map(|field| (Facts::variable(field), told.value(field))));
    command
}

fn judge(ended: Option<std::io::Result<ExitStatus>>, said: &str, limit: Duration) -> Result<(), HookError> {
    let code = ended.as_ref().and_then(|ended| ended.as_ref().ok()?.code()).map(|code| code.to_string());
    let how = match ended {
        Some(Ok(status)) if status.success() => {
            if !said.is_empty() {
                tracing::info!("output of the hook: {said}");
            }
            return Ok(());
        }
        Some(Ok(status)) => format!("it ended with {status}"),
        Some(Err(error)) => format!("cannot wait for it: {error}"),
        None => {
            let how = format!("it was still running after {} s and was stopped", limit.as_secs());
            return Err(HookError::timed_out(if said.is_empty() { how } else { format!("{how}: {said}") }));
        }
    };
    let HookError(reason) = HookError::new(if said.is_empty() { how } else { format!("{how}: {said}") });
    Err(HookError(reason.code(code)))
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::facts::sample;
    use super::*;
    use crate::job::ReasonClass;

    fn shell(script: &str) -> Vec<Template> {
        ["sh", "-c", script].map(|word| Template(vec![TemplatePiece::Text(word.into())])).to_vec()
    }

    async fn ran(script: &str, limit: Duration) -> Result<(), String> {
        run(&shell(script), Told::One(&sample()), limit).await.map_err(|error| error.to_string())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_exit_code_and_the_last_words_make_the_reason() {
        assert_eq!(ran("exit 0", LONG).await, Ok(()));
        let error = run(&shell("exit 3"), Told::One(&sample()), LONG).await.unwrap_err();
        assert_eq!((error.0.class, error.0.code.as_deref()), (ReasonClass::HookFailed, Some("3")));
        let why = ran("echo out; echo err >&2; exit 3", LONG).await.unwrap_err();
        assert!(why.starts_with("it ended with exit status: 3: ") && why.contains("out") && why.contains("err"), "{why}");
        let why = ran("head -c 100000 /dev/zero | tr '\\0' x; echo end; exit 1", LONG).await.unwrap_err();
        assert!(why.len() < OUTPUT_BYTES + 100 && why.ends_with("end"), "{}", why.len());
        let missing = [Template(vec![TemplatePiece::Text("/nowhere/x".into())])];
        assert!(
            run(&missing, Told::One(&sample()), LONG).await.unwrap_err().to_string().starts_with("cannot start `/nowhere/x`: ")
        );
    }

    #[tokio::test]
    async fn a_name_that_begins_with_a_dash_is_no_option_of_the_program() {
        let text = |text: &str| Template(vec![TemplatePiece::Text(text.into())]);
        let field = |field| Template(vec![TemplatePiece::Field(field)]);
        let named = |name: &str| sample().with(|delivery| delivery.path = format!("/drop/{name}").into());
        let id = sample().with(|delivery| delivery.remote_id = Some("-rf".into()));
        let given = |words: &[Template], facts: &Facts| {
            arguments(words, Told::One(facts))
                .map(|words| words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>())
        };
        let words = [text("rm"), field(Field::Name)];
        assert_eq!(given(&words, &named("-rf")).unwrap(), ["rm", "./-rf"]);
        assert_eq!(given(&words, &named("a-b")).unwrap(), ["rm", "a-b"]);
        let ended = [text("rm"), text("--"), field(Field::Name)];
        assert_eq!(given(&ended, &named("-rf")).unwrap(), ["rm", "--", "-rf"]);
        let said = given(&[text("rm"), field(Field::RemoteId)], &id).unwrap_err().to_string();
        assert!(said.contains("put \"--\" before it"), "{said}");
        assert_eq!(given(&[text("rm"), text("--"), field(Field::RemoteId)], &id).unwrap(), ["rm", "--", "-rf"]);
    }

    #[tokio::test]
    async fn it_hears_of_the_job_and_of_nothing_that_is_ours() {
        let script = "test \"$FERRYD_LINK\" = 'https://cloudkp.com?c=1' && test \"$FERRYD_EVENT\" = done && test -n \"$PATH\" && test -z \"$CARGO_PKG_NAME\"";
        assert_eq!(ran(script, LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let why = ran(&format!("sleep 600 & echo $! > '{}'; wait", pid.display()), Duration::from_millis(300)).await.unwrap_err();
        assert!(why.starts_with("it was still running after"), "{why}");
        let child: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        // It is a child of nobody we can wait for: it is gone, or about to be taken away.
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let begun = std::time::Instant::now();
        while !state().is_empty() && !state().contains(") Z") {
            assert!(begun.elapsed() < LONG, "it lives on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
