//! What is wrong with a configuration: everything at once, each with its place.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Where, as bytes of the text; nothing for the file as a whole.
    pub span: Option<Range<usize>>,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration `{}` has {} {}", file.display(), problems.len(), if problems.len() == 1 { "problem" } else { "problems" })]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Its text, as far as it could be read; what may be a password, key or token is masked.
    pub text: String,
    /// All that is wrong with it, in the order of the text; never empty.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn whole(message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { message: message.into(), help: Some(help.into()), span: None }
    }
}

impl ConfigError {
    pub(super) fn new(file: &Path, text: &str, mut problems: Vec<Problem>) -> ConfigError {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        // The reader of TOML says the same once for each bracket that is left open.
        let mut told = HashSet::new();
        problems.retain(|problem| told.insert(problem.clone()));
        ConfigError { file: file.to_owned(), text: masked(text), problems }
    }

    /// Line and column of a problem, counted from 1; the column counts characters.
    pub fn position(&self, problem: &Problem) -> Option<(usize, usize)> {
        let start = problem.span.as_ref()?.start;
        let before = self.text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// All problems as a person reads them, each under its line.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let file = self.file.display().to_string();
        let mut rendered: Vec<String> = self.problems.iter().map(|problem| self.render_one(&renderer, &file, problem)).collect();
        rendered.push(format!("{self}"));
        rendered.join("\n\n")
    }

    fn render_one(&self, renderer: &Renderer, file: &str, problem: &Problem) -> String {
        let title = Level::ERROR.primary_title(&problem.message);
        let mut group = match &problem.span {
            Some(span) => {
                let snippet = Snippet::source(&self.text).path(file).annotation(AnnotationKind::Primary.span(span.clone()));
                title.element(snippet)
            }
            None => Group::with_title(title),
        };
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group]).to_string()
    }
}

/// Words in the name of a key whose value is nobody's business, also where it is misspelt or at the wrong place.
const SECRET_WORDS: [&str; 5] = ["pass", "pwd", "secret", "key", "token"];

/// The text with the values of secret keys masked, byte for byte, so that places in it stay what they are.
fn masked(text: &str) -> String {
    let mut open = None;
    text.split_inclusive('\n').map(|line| masked_line(line, &mut open)).collect()
}

/// `open` is what ends a secret value that began on an earlier line.
fn masked_line(line: &str, open: &mut Option<&'static str>) -> String {
    if let Some(end) = *open {
        *open = open.filter(|_| !line.contains(end));
        return stars(line);
    }
    let line = &masked_login(line);
    let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
    let key_is_secret = SECRET_WORDS.iter().any(|word| key.to_ascii_lowercase().contains(word));
    if !key_is_secret {
        return line.to_owned();
    }
    *open = left_open(value.trim());
    format!("{key}={}", stars(value))
}

/// What ends a value that goes on below its line; nothing where it ends on it.
fn left_open(value: &str) -> Option<&'static str> {
    let pairs = [("\"\"\"", "\"\"\""), ("'''", "'''"), ("[", "]"), ("{", "}")];
    let (begin, end) = pairs.into_iter().find(|(begin, _)| value.starts_with(begin))?;
    (!value[begin.len()..].contains(end)).then_some(end)
}

/// Masks `user:password` in an address.
fn masked_login(line: &str) -> String {
    let login = line.split_once("://").and_then(|(before, rest)| Some((before, rest.split_once('@')?)));
    login.map_or_else(|| line.to_owned(), |(before, (login, after))| format!("{before}://{}@{after}", stars(login)))
}

fn stars(text: &str) -> String {
    let mask = |c: char| if c.is_alphanumeric() || c == '+' || c == '/' { "*".repeat(c.len_utf8()) } else { c.to_string() };
    text.chars().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_masked_where_it_stands() {
        let text = "user = \"me\"\npasswrod = \"hünter2\"\nkind = \"kie\"\n api_key = 'sk-1'\n";
        let shown = masked(text);
        assert_eq!(shown, "user = \"me\"\npasswrod = \"********\"\nkind = \"kie\"\n api_key = '**-*'\n");
        assert_eq!(shown.len(), text.len());
        for (begin, end) in [("\"\"\"", "\"\"\""), ("'''", "'''"), ("[", "]"), ("{ env =", "}")] {
            let text = format!("api_key = {begin}\n\"hush\"\n = hush {end}\nuser = \"me\"\n");
            let shown = masked(&text);
            assert!(!shown.contains("hush") && shown.ends_with("\nuser = \"me\"\n") && shown.len() == text.len(), "{shown}");
        }
        assert_eq!(masked("token = '''a'''\nuser = 1"), "token = '''*'''\nuser = 1");
        assert_eq!(masked("base_url = \"https://u:p@host/?q\""), "base_url = \"https://*:*@host/?q\"");
    }
}
