//! Every exit code.

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// Our fault, or something nobody foresaw.
    Fault = 1,
    /// The command line is wrong; clap ends with it by itself.
    Usage = 2,
    /// The configuration is wrong, or does not fit this machine.
    Configuration = 3,
    /// The queue is locked, newer, damaged, or cannot be read or written.
    State = 4,
    /// Jobs need a person.
    Person = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}
