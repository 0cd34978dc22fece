//! A file of links: a line for each outcome, with tabs or commas between its fields, or a JSON object. Lines are only ever appended,
//! those that are due together in one write, and are on the disk when it has succeeded. A crash leaves a line out, whole, or torn; a
//! torn one is taken back before it is written again, and anything else without an end is ended. Repeating adds the lines again; what a
//! full disk let through of them is taken back before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::{Field, LinksFormat};
use crate::job::shown::is_unsafe;
use crate::os::folders;

use super::{Facts, HookError};

const FIELDS: [Field; 7] = [Field::Event, Field::Host, Field::Path, Field::Link, Field::RemoteId, Field::Bytes, Field::Expires];
/// How far back a torn line is looked for: no line is longer.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Appends the lines of `facts` to the file at `path`, which is made with its header where there is none. A file that has lines goes
/// on as they are, whatever `format` says. One at a time for one file.
pub(super) fn append(path: &Path, format: LinksFormat, facts: &[Facts]) -> Result<(), HookError> {
    let failed = |error: io::Error| HookError::new(format!("cannot write `{}`: {error}", path.display()));
    let mut file = open(path).map_err(failed)?;
    let format = begun_as(&mut file).map_err(failed)?.unwrap_or(format);
    let lines: Vec<Vec<u8>> = facts.iter().map(|facts| line(format, facts)).collect();
    let mut text = end_torn_line(&mut file, format, &lines).map_err(failed)?;
    let before = file.metadata().map_err(failed)?.len();
    if before == 0 {
        text.extend(header(format));
    }
    text.extend(lines.concat());
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    if written.is_err() {
        take_back(&mut file, before, &text);
    }
    written.map_err(failed)
}

/// How the lines of a file are written, where that can be told.
fn begun_as(file: &mut File) -> io::Result<Option<LinksFormat>> {
    let mut beginning = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(5).read_to_end(&mut beginning)?;
    Ok(LinksFormat::begun(&beginning))
}

/// What a file begins with.
fn header(format: LinksFormat) -> Vec<u8> {
    let separator = match format {
        LinksFormat::Tsv => "\t",
        LinksFormat::Csv => ",",
        LinksFormat::JsonLines => return Vec::new(),
    };
    let names: Vec<&str> = std::iter::once("time").chain(FIELDS.map(Field::word)).collect();
    format!("{}\n", names.join(separator)).into_bytes()
}

/// Takes back what a crash has left of one of these lines, or of the header. What to write first, so that anything else without an end
/// has one.
fn end_torn_line(file: &mut File, format: LinksFormat, lines: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(LINE_BYTES_MAX)))?;
    file.read_to_end(&mut tail)?;
    let begins = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let torn = &tail[begins..];
    if torn.is_empty() {
        return Ok(Vec::new());
    }
    if header(format).starts_with(torn) || lines.iter().any(|line| line.starts_with(torn)) {
        file.set_len(bytes - torn.len() as u64)?;
        return Ok(Vec::new());
    }
    let is_quoted = format == LinksFormat::Csv && torn.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
    Ok(if is_quoted { b"\"\n".to_vec() } else { b"\n".to_vec() })
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

fn line(format: LinksFormat, facts: &Facts) -> Vec<u8> {
    if format == LinksFormat::JsonLines {
        return json_line(facts);
    }
    let (separator, quotes) = if format == LinksFormat::Csv { (b',', true) } else { (b'\t', false) };
    let mut line = facts.time().into_bytes();
    for field in FIELDS {
        line.push(separator);
        let mut escaped = Vec::new();
        escape(facts.value(field).as_bytes(), &mut escaped);
        if quotes && escaped.iter().any(|byte| matches!(byte, b',' | b'"')) {
            line.push(b'"');
            escaped.into_iter().for_each(|byte| line.extend(if byte == b'"' { &b"\"\""[..] } else { std::slice::from_ref(&byte) }));
            line.push(b'"');
        } else {
            line.extend(escaped);
        }
    }
    line.push(b'\n');
    line
}

/// What a terminal would obey or not show stands in strings alone, where it may be written by its number.
fn json_line(facts: &Facts) -> Vec<u8> {
    let mut line = String::new();
    for c in facts.json().to_string().chars() {
        if is_unsafe(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    line.into_bytes()
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

    const TSV: LinksFormat = LinksFormat::Tsv;

    #[test]
    fn a_line_is_one_line_whatever_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new folder/links.tsv");
        append(&path, TSV, &[sample()]).unwrap();
        let line = b"2026-01-02T03:04:05Z\tdone\tbox\t/home/u/Drop/caf\xe9\\t$(x).mov\thttps://cloudkp.com?c=1\t1\t9\t\n";
        let header = b"time\tevent\thost\tpath\tlink\tremote_id\tbytes\texpires\n";
        assert_eq!(std::fs::read(&path).unwrap(), [&header[..], line].concat());
        append(&path, TSV, &[sample().with(|told| told.path = "/a\nb\\c".into())]).unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(text.lines().count() == 3 && text.lines().nth(2).unwrap().contains("\t/a\\nb\\\\c\t"), "{text}");
    }

    #[test]
    fn a_torn_line_is_taken_back_before_it_is_written_again_and_one_of_others_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let named = |name: &str| sample().with(|told| told.path = format!("/a, \"b\"/{name}").into());
        for format in LinksFormat::WORDS.map(|(_, format)| format) {
            let path = dir.path().join(format.word());
            append(&path, format, &[named("first"), named("torn")]).unwrap();
            let whole = std::fs::read(&path).unwrap();
            for cut in 0..whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                append(&path, format, &[named("torn")]).unwrap();
                let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
                let last = String::from_utf8(line(format, &named("torn"))).unwrap();
                assert!(text.ends_with(&last), "{format:?} {cut}: {text}");
                let lines = text.strip_suffix(&last).unwrap();
                assert!(lines.is_empty() || lines.ends_with('\n'), "{format:?} {cut}: {text}");
                assert!(lines.lines().all(|line| line.matches('"').count() % 2 == 0 || format != LinksFormat::Csv), "{text}");
                if cut > whole.len() - last.len() {
                    assert_eq!(text.as_bytes(), whole, "{format:?} {cut}: nothing torn is left");
                }
            }
        }
    }

    #[test]
    fn commas_and_quotes_of_a_name_stay_within_its_field_and_a_line_of_json_is_an_object() {
        let facts = sample().with(|told| told.path = "/a/b, \"c\"\n=1".into());
        let csv = String::from_utf8(line(LinksFormat::Csv, &facts)).unwrap();
        assert_eq!(csv, "2026-01-02T03:04:05Z,done,box,\"/a/b, \"\"c\"\"\\n=1\",https://cloudkp.com?c=1,1,9,\n");
        assert_eq!(header(LinksFormat::Csv), b"time,event,host,path,link,remote_id,bytes,expires\n");
        let facts = sample().with(|told| told.path = "/a/\u{202e}gpj\u{7f}\n.exe".into());
        let text = String::from_utf8(line(LinksFormat::JsonLines, &facts)).unwrap();
        assert!(text.contains(r"/a/\u202egpj\u007f\n.exe") && text.lines().count() == 1, "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((read["path"].as_str(), read["bytes"].as_u64()), (Some("/a/\u{202e}gpj\u{7f}\n.exe"), Some(9)));
    }

    #[test]
    fn a_file_that_has_lines_goes_on_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        for format in LinksFormat::WORDS.map(|(_, format)| format) {
            std::fs::remove_file(&path).ok();
            append(&path, format, &[sample()]).unwrap();
            for other in LinksFormat::WORDS.map(|(_, format)| format) {
                append(&path, other, &[sample()]).unwrap();
            }
            let text = std::fs::read(&path).unwrap();
            assert_eq!(text, [header(format), line(format, &sample()).repeat(4)].concat());
        }
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
