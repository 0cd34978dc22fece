//! Reads `multipart/form-data` as the hosts receive it: text fields first, then one file.
//!
//! Where the bytes are kept, the multipart crate reads everything. Where they are only counted, it reads no further than the head
//! of the file part; the file itself is skimmed: its bytes are counted as they come off the connection, and the closing delimiter
//! is checked.

use bytes::Bytes;
use http_body_util::BodyDataStream;
use hyper::header::CONTENT_TYPE;
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::exchange::{Body, Exchange, Stop, full_disk};
use super::spool::{Spool, Spooled};

const FIELDS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 8 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A form, read step by step.
#[derive(Debug)]
pub(super) struct Form {
    /// The text fields read so far, in order.
    pub(super) texts: Vec<(String, String)>,
    body: Body,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Kept { parts: Multipart<'static>, file: Option<Field<'static>> },
    Skimmed { boundary: String, file: Option<(String, Bytes)> },
}

/// The file part of a form.
#[derive(Debug)]
pub(super) struct FilePart {
    /// The name of the form field, not of the file.
    pub(super) field: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// Its bytes, unless they are only counted.
    pub(super) data: Option<Bytes>,
}

/// What the head of a file part says.
#[derive(Debug, Clone)]
pub(super) struct FileHead {
    /// The name of the form field.
    pub(super) field: String,
    /// Its type; unknown when bytes are discarded.
    pub(super) content_type: Option<String>,
}

impl FileHead {
    fn of(field: &Field<'_>) -> FileHead {
        FileHead { field: field.name().unwrap_or_default().to_owned(), content_type: field.content_type().map(ToString::to_string) }
    }
}

impl Form {
    /// Begins to read the form that `exchange` carries.
    ///
    /// # Errors
    /// 415 when the body is no form.
    pub(super) fn open(exchange: &Exchange) -> Result<Form, Stop> {
        let kind = exchange.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(kind)
            .map_err(|_| Stop::Refused { status: 415, reason: "the body must be multipart/form-data with a boundary".into() })?;
        let body = exchange.body.clone();
        let source = if exchange.discards() {
            Source::Skimmed { boundary, file: None }
        } else {
            Source::Kept { parts: multipart(body.clone(), boundary), file: None }
        };
        Ok(Form { texts: Vec::new(), body, source })
    }

    /// Reads the text fields up to the file part. Whether there is a file part.
    pub(super) async fn head(&mut self) -> Result<bool, Stop> {
        match &mut self.source {
            Source::Kept { parts, file } => {
                *file = texts(parts, &mut self.texts).await.map_err(|error| error.stop(&self.body))?;
                Ok(file.is_some())
            }
            Source::Skimmed { boundary, file } => {
                let (head, rest) = skim_head(&mut self.body, boundary).await?;
                let mut parts = multipart_of(head, boundary);
                let field = texts(&mut parts, &mut self.texts).await.map_err(|error| error.stop(&self.body))?;
                *file = field.map(|field| (field.name().unwrap_or_default().to_owned(), rest));
                Ok(file.is_some())
            }
        }
    }

    /// Reads the file part, which [`Form::head`] found.
    pub(super) async fn file(&mut self) -> Result<FilePart, Stop> {
        match &mut self.source {
            Source::Kept { file, .. } => {
                let field = file.take().ok_or_else(|| malformed("there is no file"))?;
                let name = field.name().unwrap_or_default().to_owned();
                let data = field.bytes().await.map_err(|error| Trouble::from(error).stop(&self.body))?;
                Ok(FilePart { field: name, bytes: data.len() as u64, data: Some(data) })
            }
            Source::Skimmed { boundary, file } => {
                let (field, begun) = file.take().ok_or_else(|| malformed("there is no file"))?;
                let bytes = skim_file(&mut self.body, begun, boundary).await?;
                Ok(FilePart { field, bytes, data: None })
            }
        }
    }

    /// Takes the file part, which [`Form::head`] found, into a file beside the objects: its field, its type, its bytes.
    pub(super) async fn spool(&mut self, exchange: &Exchange) -> Result<(FileHead, Spooled), Stop> {
        match &mut self.source {
            Source::Kept { file, .. } => {
                let mut field = file.take().ok_or_else(|| malformed("there is no file"))?;
                let head = FileHead::of(&field);
                let mut spool = exchange.shared().store.aside().and_then(Spool::new).map_err(|error| full_disk(&error))?;
                while let Some(bytes) = field.chunk().await.map_err(|error| Trouble::from(error).stop(&self.body))? {
                    spool.take(&bytes).map_err(|error| full_disk(&error))?;
                }
                Ok((head, spool.end()))
            }
            Source::Skimmed { boundary, file } => {
                let (field, begun) = file.take().ok_or_else(|| malformed("there is no file"))?;
                let bytes = skim_file(&mut self.body, begun, boundary).await?;
                let head = FileHead { field, content_type: None };
                Ok((head, Spooled::discarded(bytes)))
            }
        }
    }

    /// Reads the text fields behind the file part. Whether there are any; a form that is skimmed cannot have them.
    pub(super) async fn tail(&mut self) -> Result<bool, Stop> {
        let Source::Kept { parts, .. } = &mut self.source else { return Ok(false) };
        let before = self.texts.len();
        match texts(parts, &mut self.texts).await.map_err(|error| error.stop(&self.body))? {
            Some(_) => Err(malformed("there is more than one file")),
            None => Ok(self.texts.len() > before),
        }
    }
}

fn malformed(reason: impl std::fmt::Display) -> Stop {
    Stop::Refused { status: 400, reason: format!("the form cannot be read: {reason}") }
}

/// Why a form cannot be read, before it is known whether the body itself has stopped.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Multipart(#[from] multer::Error),
    #[error("{0}")]
    Form(&'static str),
}

impl Trouble {
    fn stop(self, body: &Body) -> Stop {
        body.stopped().unwrap_or_else(|| malformed(self))
    }
}

fn multipart(body: Body, boundary: String) -> Multipart<'static> {
    Multipart::new(BodyDataStream::new(body), boundary)
}

fn multipart_of(head: Vec<u8>, boundary: &str) -> Multipart<'static> {
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(2 * HEAD_BYTES_MAX as u64));
    let body = http_body_util::Full::new(Bytes::from(head));
    Multipart::with_constraints(BodyDataStream::new(body), boundary, limits)
}

async fn texts(parts: &mut Multipart<'static>, texts: &mut Vec<(String, String)>) -> Result<Option<Field<'static>>, Trouble> {
    while let Some(field) = parts.next_field().await? {
        if field.file_name().is_some() {
            return Ok(Some(field));
        }
        if texts.len() >= FIELDS_MAX {
            return Err(Trouble::Form("there are too many fields"));
        }
        let name = field.name().ok_or(Trouble::Form("a field has no name"))?.to_owned();
        texts.push((name, text(field).await?));
    }
    Ok(None)
}

async fn text(mut field: Field<'static>) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await? {
        if bytes.len() + chunk.len() > TEXT_BYTES_MAX {
            return Err(Trouble::Form("a text field is too long"));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Trouble::Form("a text field is not UTF-8"))
}

/// Takes bytes off `body` until the head of the file part is whole. The form up to there, closed as if the file were empty, and the
/// first bytes of the file. The whole form when it has no file.
async fn skim_head(body: &mut Body, boundary: &str) -> Result<(Vec<u8>, Bytes), Stop> {
    let mut head = Bytes::new();
    while let Some(more) = body.next().await? {
        head = if head.is_empty() { more } else { [head, more].concat().into() };
        if let Some(end) = file_begins(&head[..head.len().min(HEAD_BYTES_MAX)], boundary) {
            let closed = [&head[..end], b"\r\n--", boundary.as_bytes(), b"--\r\n"].concat();
            return Ok((closed, head.slice(end..)));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(malformed("the fields before the file are too long"));
        }
    }
    Ok((head.to_vec(), Bytes::new()))
}

/// Where the bytes of the file begin in `head`, if its part has begun: behind the first block of headers that names a file.
fn file_begins(head: &[u8], boundary: &str) -> Option<usize> {
    let delimiter = format!("--{boundary}\r\n");
    let mut at = 0;
    loop {
        let begin = at + find(head.get(at..)?, delimiter.as_bytes())? + delimiter.len();
        let end = begin + find(head.get(begin..)?, b"\r\n\r\n")?;
        if find(&head[begin..end], b"filename").is_some() {
            return Some(end + 4);
        }
        at = end;
    }
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

/// Counts the bytes of the file, of which `begun` is already here, up to the closing delimiter at the end of the body.
async fn skim_file(body: &mut Body, begun: Bytes, boundary: &str) -> Result<u64, Stop> {
    let close = format!("\r\n--{boundary}--");
    let window = close.len() + 2;
    let mut bytes = begun.len() as u64;
    let mut tail = last(&begun, window).to_vec();
    while let Some(more) = body.next().await? {
        bytes += more.len() as u64;
        tail.extend_from_slice(last(&more, window));
        tail.drain(..tail.len().saturating_sub(window));
    }
    let closing = tail.strip_suffix(b"\r\n").unwrap_or(&tail);
    if !closing.ends_with(close.as_bytes()) {
        return Err(malformed("the file is not the last part, or is not closed"));
    }
    let ending = tail.len() - closing.len() + close.len();
    Ok(bytes - ending as u64)
}

fn last(bytes: &[u8], count: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(count)..]
}
