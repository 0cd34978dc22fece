//! Arguments, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ferryd::main().into()
}
