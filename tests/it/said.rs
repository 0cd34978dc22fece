//! What a test has to say when it has passed.

use std::io::Write;

/// Says it past the capture of the test runner: `eprintln!` would be captured, and shown only if the test failed.
pub(crate) fn said(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
