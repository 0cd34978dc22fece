//! What is wrong with a configuration: everything at once, each with its place.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mask::Masked;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// The most problems that are told: nobody reads more at once, and each is looked for in the text.
const PROBLEMS_MAX: usize = 50;

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
#[error("the configuration `{}` has {} {}", file.display(), problems.len() + more, if problems.len() + more == 1 { "problem" } else { "problems" })]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Its text, as far as it could be read; what may be a password, key or token is masked.
    pub text: String,
    /// What is wrong with it, in the order of the text; never empty.
    pub problems: Vec<Problem>,
    /// How many more problems there are.
    pub more: usize,
}

impl Problem {
    /// A problem of the file as a whole.
    pub fn whole(message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { message: message.into(), help: Some(help.into()), span: None }
    }
}

impl ConfigError {
    /// `shown` is the text with its secrets masked, and the problems are at places of the text as it was written.
    pub(super) fn new(file: &Path, shown: Masked, mut problems: Vec<Problem>) -> ConfigError {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        // The reader of TOML says the same once for each bracket that is left open.
        let mut told = HashSet::new();
        problems.retain(|problem| told.insert(problem.clone()));
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        for problem in &mut problems {
            problem.span = problem.span.as_ref().map(|span| shown.span(span));
        }
        ConfigError { file: file.to_owned(), text: shown.text, problems, more }
    }

    /// The first problem in a sentence, and how many there are.
    pub(crate) fn first(&self) -> String {
        let Some(problem) = self.problems.first() else { return self.to_string() };
        let place = self.position(problem).map_or(String::new(), |(line, column)| format!("line {line}, column {column}: "));
        let more = match self.problems.len() - 1 + self.more {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{place}{}{more}", problem.message)
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
        if self.more > 0 {
            rendered.push(format!("... and {} more", self.more));
        }
        // Where the file itself is the one problem, that has been said.
        if !matches!(self.problems.as_slice(), [Problem { message, span: None, .. }] if message.contains(&file)) {
            rendered.push(format!("{self}"));
        }
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
