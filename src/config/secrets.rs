//! Where a password, key or token comes from: named in the configuration, read when its host is made, and again after
//! the host has refused it or it could not be read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use toml::de::DeValue;

use crate::os::command::{self, Bounds, Kept};
use crate::os::whole;
use crate::secret::Secret;

use super::Environment;
use super::file::{Problems, Table, Value, Wrong, kind, text, texts};
use super::units::path;

/// How long a command may take to print a secret.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// The longest secret that makes sense, in bytes.
const SECRET_BYTES_MAX: usize = 64 * 1024;
const BOUNDS: Bounds = Bounds { time: COMMAND_TIME, term_grace: Duration::ZERO, output: Kept::Beginning(SECRET_BYTES_MAX) };

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the configuration.
    Plain(Secret),
    /// A variable of the environment.
    Env(String),
    /// A file that holds nothing else; one newline at the end does not count.
    File(PathBuf),
    /// A credential that the service manager hands over (`$CREDENTIALS_DIRECTORY`).
    Credential(String),
    /// What a program prints on its standard output; one newline at the end does not count.
    Command(Vec<String>),
}

/// Why a secret cannot be had. Holds nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

impl SecretSource {
    /// A text that is another for another secret or place, and shows nothing of either that is secret.
    pub(crate) fn mark(&self) -> String {
        use std::hash::{BuildHasher, RandomState};
        use std::sync::LazyLock;
        // Nobody who reads it can try words against it.
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        match self {
            SecretSource::Plain(secret) => format!("{:x}", KEYS.hash_one(secret)),
            elsewhere => format!("{elsewhere:?}"),
        }
    }

    /// Reads the secret. May wait for a program, for at most half a minute.
    ///
    /// # Errors
    /// When the variable, file or credential is missing, the file can be read by others, or the program fails.
    pub fn read(&self, environment: &dyn Environment) -> Result<Secret, SecretError> {
        let secret = match self {
            SecretSource::Plain(secret) => return Ok(secret.clone()),
            SecretSource::Env(name) => {
                environment.get(name).ok_or_else(|| SecretError(format!("environment variable {name} is not set")))?
            }
            SecretSource::File(file) => read_file(file)?,
            SecretSource::Credential(name) => read_credential(name, environment)?,
            SecretSource::Command(words) => run(words)?,
        };
        let secret = secret.strip_suffix('\n').map_or(secret.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if secret.is_empty() { Err(SecretError(format!("{} is empty", self.told()))) } else { Ok(Secret::new(secret)) }
    }

    fn told(&self) -> String {
        match self {
            SecretSource::Plain(_) => "the value".into(),
            SecretSource::Env(name) => format!("environment variable {name}"),
            SecretSource::File(file) => format!("`{}`", file.display()),
            SecretSource::Credential(name) => format!("the credential \"{name}\""),
            SecretSource::Command(words) => format!("the output of `{}`", words.first().map_or("", String::as_str)),
        }
    }
}

fn read_file(file: &Path) -> Result<String, SecretError> {
    let failed = |error: std::io::Error| SecretError(format!("cannot read `{}`: {error}", file.display()));
    let metadata = std::fs::metadata(file).map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(SecretError(format!("other users can read `{0}`: chmod 600 '{0}'", file.display())));
    }
    text_of(whole::read(file, SECRET_BYTES_MAX).map_err(failed)?, &format!("`{}`", file.display()))
}

fn read_credential(name: &str, environment: &dyn Environment) -> Result<String, SecretError> {
    let folder = environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        SecretError(format!(
            "there is no credential \"{name}\": $CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit"
        ))
    })?;
    let file = Path::new(&folder).join(name);
    let failed = |error| SecretError(format!("cannot read the credential \"{name}\": {error}"));
    text_of(whole::read(&file, SECRET_BYTES_MAX).map_err(failed)?, &format!("the credential \"{name}\""))
}

fn bounded(bytes: Vec<u8>, what: &str) -> Result<String, SecretError> {
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(SecretError(format!("{what} is too long for a secret")));
    }
    text_of(bytes, what)
}

fn text_of(bytes: Vec<u8>, what: &str) -> Result<String, SecretError> {
    String::from_utf8(bytes).map_err(|_| SecretError(format!("{what} is not UTF-8 text")))
}

fn run(words: &[String]) -> Result<String, SecretError> {
    let Some((program, arguments)) = words.split_first() else { return Err(SecretError("the command is empty".into())) };
    let failed = |why: String| SecretError(format!("`{program}` {why}"));
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let ended = command::run_and_wait(command, BOUNDS).map_err(|error| failed(format!("cannot be run: {error}")))?;
    match ended.status {
        None => Err(failed(format!("was still running after {} s", COMMAND_TIME.as_secs()))),
        // It may have been ended because nobody read on.
        _ if ended.output.len() > SECRET_BYTES_MAX => bounded(ended.output, &format!("the output of `{program}`")),
        Some(Err(error)) => Err(failed(error.to_string())),
        Some(Ok(status)) if !status.success() => Err(failed(format!("failed: {status}"))),
        Some(Ok(_)) => bounded(ended.output, &format!("the output of `{program}`")),
    }
}

/// Reads a secret's place. `table` knows whether others may read the configuration.
pub(crate) fn secret<'v>(
    table: &Table<'_>,
    environment: &'v dyn Environment,
) -> impl Fn(&Value<'_>) -> Result<SecretSource, Wrong> + 'v {
    let open_to_others = table.open_to_others();
    move |value| match value.get_ref() {
        DeValue::String(given) => match &open_to_others {
            Some(file) => Err(Wrong::new(
                format!("is in a file that other users can read: `{}`", file.display()),
                format!(
                    "chmod 600 '{}', or write {{ env = \"NAME\" }}, {{ file = \"PATH\" }} or {{ command = [\"…\"] }}",
                    file.display()
                ),
            )),
            None if given.is_empty() => Err(Wrong::new("is empty", "write the secret, or where to read it from")),
            None => Ok(SecretSource::Plain(Secret::new(given.to_string()))),
        },
        DeValue::Table(_) => place(value, environment),
        _ => Err(wrong_form(value)),
    }
}

fn wrong_form(value: &Value<'_>) -> Wrong {
    let help = "write \"…\", { env = \"NAME\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }";
    Wrong::new(format!("must be a secret or say where to read it from, not be {}", kind(value)), help)
}

fn place(value: &Value<'_>, environment: &dyn Environment) -> Result<SecretSource, Wrong> {
    let DeValue::Table(fields) = value.get_ref() else { return Err(wrong_form(value)) };
    let problems = Problems::default();
    let table = Table::new("the secret", fields, value.span(), &problems);
    let places = [
        table.find("env", text).map(SecretSource::Env),
        table.find("file", path(environment)).map(SecretSource::File),
        table.find("credential", text).map(SecretSource::Credential),
        table.find("command", texts).map(|words| SecretSource::Command(words.into_iter().map(toml::Spanned::into_inner).collect())),
    ];
    table.finish();
    if let Some(problem) = problems.into_list().into_iter().next() {
        return Err(Wrong { message: format!("is invalid: {}", problem.message), help: problem.help, span: problem.span });
    }
    let mut places: Vec<SecretSource> = places.into_iter().flatten().collect();
    match places.pop() {
        Some(SecretSource::Command(words)) if words.is_empty() => {
            Err(Wrong::new("has no program", "write [\"PROGRAM\", \"ARGUMENT\"]"))
        }
        Some(place) if places.is_empty() => Ok(place),
        _ => Err(wrong_form(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<(&'static str, String)>);

    impl Environment for Fixed {
        fn get(&self, key: &str) -> Option<String> {
            self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
        }
    }

    fn revealed(source: &SecretSource, environment: &Fixed) -> Result<String, String> {
        source.read(environment).map(|secret| secret.reveal().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_comes_from_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gig");
        std::fs::write(&file, "s3cret\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let environment = Fixed(vec![("GIG", "s3cret".into()), ("CREDENTIALS_DIRECTORY", dir.path().display().to_string())]);
        let words = |words: &[&str]| SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let sources = [
            SecretSource::Plain(Secret::new("s3cret")),
            SecretSource::Env("GIG".into()),
            SecretSource::File(file.clone()),
            SecretSource::Credential("gig".into()),
            words(&["printf", "s3cret"]),
            words(&["echo", "s3cret"]),
            words(&["sh", "-c", "sleep 3 & echo s3cret"]),
        ];
        for source in &sources {
            assert_eq!(revealed(source, &environment), Ok("s3cret".into()), "{source:?}");
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = revealed(&SecretSource::File(file), &environment).unwrap_err();
        assert!(said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_of_a_secret_is_told() {
        let environment = Fixed(vec![("EMPTY", String::new())]);
        let cases = [
            (SecretSource::Env("GIG".into()), "environment variable GIG is not set"),
            (SecretSource::Env("EMPTY".into()), "environment variable EMPTY is empty"),
            (SecretSource::File("/nowhere/gig".into()), "cannot read `/nowhere/gig`"),
            (SecretSource::Credential("gig".into()), "LoadCredential="),
            (SecretSource::Command(vec!["sh".into(), "-c".into(), "echo s3cret; exit 3".into()]), "`sh` failed: exit status: 3"),
            (SecretSource::Command(vec!["/nowhere/pass".into()]), "cannot be run"),
        ];
        for (source, expected) in cases {
            let said = revealed(&source, &environment).unwrap_err();
            assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
        }
    }
}
