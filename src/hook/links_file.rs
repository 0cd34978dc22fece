//! A file of links: a line for each outcome, with tabs between its fields. Lines are only ever appended, those that are due
//! together in one write, and are on the disk when it has succeeded. A crash leaves a line out, whole, or torn; a torn one is ended
//! before the next begins. Repeating adds the lines again; what a full disk let through of them is taken back before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::Field;
use crate::job::shown::is_unsafe;
use crate::os::folders;

use super::{Facts, HookError};

const HEADER: &str = "time\tevent\thost\tpath\tlink\tremote_id\tbytes\texpires\n";

/// Appends the lines of `facts` to the file at `path`, which is made with its header where there is none. One at a time for one
/// file.
pub(super) fn append(path: &Path, facts: &[Facts]) -> Result<(), HookError> {
    let failed = |error: io::Error| HookError::new(format!("cannot write `{}`: {error}", path.display()));
    let mut file = open(path).map_err(failed)?;
    let mut text = match ending(&mut file).map_err(failed)? {
        Ending::Nothing => HEADER.to_owned().into_bytes(),
        Ending::Newline => Vec::new(),
        Ending::Torn => b"\n".to_vec(),
    };
    text.extend(facts.iter().flat_map(line));
    let before = file.metadata().map_err(failed)?.len();
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    if written.is_err() {
        take_back(&mut file, before, &text);
    }
    written.map_err(failed)
}

/// Takes back what was written of `text` at `before`, unless somebody else has written behind it. Where that fails, too, a line is
/// torn or there twice, as after a crash.
fn take_back(file: &mut File, before: u64, text: &[u8]) {
    let mut behind = Vec::new();
    let read = file.seek(SeekFrom::Start(before)).and_then(|_| file.take(text.len() as u64 + 1).read_to_end(&mut behind));
    if read.is_ok() && text.starts_with(&behind) {
        file.set_len(before).ok();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            folders::make(path.parent().unwrap_or(Path::new("/")), true)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// How a file ends.
enum Ending {
    Nothing,
    Newline,
    Torn,
}

fn ending(file: &mut File) -> io::Result<Ending> {
    if file.metadata()?.len() == 0 {
        return Ok(Ending::Nothing);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(if last == *b"\n" { Ending::Newline } else { Ending::Torn })
}

fn line(facts: &Facts) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let fields = [Field::Event, Field::Host, Field::Path, Field::Link, Field::RemoteId, Field::Bytes, Field::Expires];
    let mut line = facts.time().into_bytes();
    for field in fields {
        line.push(b'\t');
        escape(facts.value(field).as_bytes(), &mut line);
    }
    line.push(b'\n');
    line
}

/// What would end a field or a line is written as `\t`, `\n` or `\r`, and a backslash as `\\`. Each byte of any other character that
/// a terminal would obey or not show is written as `\x` and two hexadecimal digits.
fn escape(text: &[u8], into: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            match c {
                '\t' => into.extend(b"\\t"),
                '\n' => into.extend(b"\\n"),
                '\r' => into.extend(b"\\r"),
                '\\' => into.extend(b"\\\\"),
                c if is_unsafe(c) => bytes.iter().for_each(|byte| escape_byte(*byte, into)),
                _ => into.extend(bytes),
            }
        }
        // Of what is no text, the bytes that some terminals take for control characters.
        for byte in chunk.invalid() {
            if (0x80..0xa0).contains(byte) { escape_byte(*byte, into) } else { into.push(*byte) }
        }
    }
}

fn escape_byte(byte: u8, into: &mut Vec<u8>) {
    into.extend(format!("\\x{byte:02x}").into_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::facts::sample;
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_the_name_and_a_torn_one_is_ended_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new folder/links.tsv");
        append(&path, &[sample()]).unwrap();
        let first = std::fs::read(&path).unwrap();
        let line = b"2026-01-02T03:04:05Z\tdone\tbox\t/home/u/Drop/caf\xe9\\t$(x).mov\thttps://cloudkp.com?c=1\t1\t9\t\n";
        assert_eq!(first, [HEADER.as_bytes(), line].concat());
        std::fs::write(&path, &first[..first.len() - 20]).unwrap();
        append(&path, &[sample(), sample().with(|told| told.path = "/a\nb\\c".into())]).unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[3].contains("\t/a\\nb\\\\c\t"), "{text}");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_stands_in_a_line() {
        let escaped = |text: &[u8]| {
            let mut into = Vec::new();
            escape(text, &mut into);
            String::from_utf8_lossy(&into).into_owned()
        };
        assert_eq!(escaped(b"a\x1b]0;owned\x07\x7f\x00"), r"a\x1b]0;owned\x07\x7f\x00");
        assert_eq!(escaped("\u{9b}2J \u{202e}gpj.exe\u{2066}".as_bytes()), r"\xc2\x9b2J \xe2\x80\xaegpj.exe\xe2\x81\xa6");
        assert_eq!(escaped("a\u{200b}b\u{2028}c\u{feff}".as_bytes()), r"a\xe2\x80\x8bb\xe2\x80\xa8c\xef\xbb\xbf");
        assert_eq!(escaped(b"\x9b2J\xe9"), "\\x9b2J\u{fffd}");
        assert_eq!(escaped("caf\u{e9} \u{1f3ac} \\".as_bytes()), "caf\u{e9} \u{1f3ac} \\\\", "text stays as it is");
    }

    #[test]
    fn what_a_full_disk_let_through_is_taken_back_and_nothing_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links.tsv");
        let left = |there: &str| {
            std::fs::write(&path, there).unwrap();
            take_back(&mut open(&path).unwrap(), 4, b"new\nnewer\n");
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(left("old\nnew\nne"), "old\n");
        assert_eq!(left("old\nnew\nanother"), "old\nnew\nanother");
        assert_eq!(left("old\nnew\nnewer\nanother"), "old\nnew\nnewer\nanother");
    }
}
