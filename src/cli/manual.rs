//! `ferryd completions` and `ferryd man`: what shells and `man` want to know of the commands, generated from the commands themselves.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::exit::Exit;
use super::render::{self, CommandFailure};

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// The shell that completes.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// The command that the page is about; without it, ferryd as a whole.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub(super) fn completions(arguments: &CompletionsArguments) -> Result<Exit, CommandFailure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "ferryd", &mut text);
    print(text)
}

pub(super) fn man(arguments: &ManArguments) -> Result<Exit, CommandFailure> {
    let mut whole = super::Arguments::command();
    whole.build();
    let page = match &arguments.command {
        None => whole,
        Some(name) => named(&whole, name)?,
    };
    let mut text = Vec::new();
    let written = clap_mangen::Man::new(page).render(&mut text);
    written.map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot write the page: {error}")))?;
    print(text)
}

fn named(whole: &Command, name: &str) -> Result<Command, CommandFailure> {
    let page = whole.find_subcommand(name).cloned();
    page.ok_or_else(|| {
        CommandFailure::new(Exit::Usage, format!("there is no command `{}`", render::line(name))).hint("`ferryd help` lists them")
    })
}

fn print(text: Vec<u8>) -> Result<Exit, CommandFailure> {
    render::out(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_the_whole_names_them_all() {
        let mut whole = super::super::Arguments::command();
        whole.build();
        let page = |command: Command| {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let text = page(whole.clone());
        for command in whole.get_subcommands() {
            let name = command.get_name();
            assert!(text.contains(&format!("ferryd\\-{name}")), "{name}");
            assert!(page(named(&whole, name).unwrap()).contains(".SH SYNOPSIS"), "{name}");
        }
        assert!(named(&whole, "nonsense").is_err());
    }
}
