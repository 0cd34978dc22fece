//! Arguments, logging, runtime, exit code; nothing else.

fn main() {}
