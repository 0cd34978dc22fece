use super::exit::Exit;
use super::render::Failure;
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) fn run(_a: &Arguments) -> Result<Exit, Failure> { Ok(Exit::Fine) }
