//! One part: a form with the id of the file, the first byte, and the bytes from there on.
//!
//! Parts may overlap. What arrived last counts, byte by byte: a part that begins where another does takes its place, and one that
//! lies over others is remembered to do so.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex};

use hyper::header::CONTENT_LENGTH;
use serde_json::json;

use super::super::Shared;
use super::super::exchange::{Answer, Exchange, Stop};
use super::super::faults::{Endpoint, Met};
use super::super::form::Form;
use super::super::log::Outcome;
use super::super::objects::{Piece, Refusal, Stage};
use super::super::reply::Reply;
use super::super::spool::Spooled;
use super::account::{Account, Key, Reservation};
use super::{KIND, PartReply, Rules, in_turn};

const FILE_TOO_LARGE: u8 = 1;
/// The code for an account without space.
pub(super) const NO_SPACE: u8 = 2;
const EMPTY_FILE: u8 = 3;
const WRONG_CENTER: u8 = 4;
const DELETED: u8 = 6;
const FIELDS: [&str; 2] = ["resumableFileId", "resumableFirstByte"];
const COMPARE_BYTES: usize = 64 * 1024;

/// Takes a part that was sent to the data centre of this number.
pub(super) async fn take(rules: Arc<Rules>, turn: Arc<Mutex<()>>, exchange: &mut Exchange, center: &str) -> Result<Answer, Stop> {
    if rules.strict && !exchange.headers.contains_key(CONTENT_LENGTH) {
        return Err(refused(411, "a part must say its length"));
    }
    let mut form = Form::open(exchange)?;
    let has_file = form.head().await?;
    exchange.met(what(&Account::new(exchange.shared()), &form.texts))?;
    if !has_file {
        return Err(refused(400, "FilePart is missing, or is no file"));
    }
    let (head, spooled) = form.spool(exchange).await?;
    let late = form.tail().await?;
    exchange.received().await?;
    let (center, query, times) = (center.to_owned(), exchange.query.clone(), exchange.times());
    let request = Request { rules, texts: form.texts, field: head.field, late, center, query };
    exchange.work(move |shared| request.answer(shared, &turn, spooled, times)).await
}

fn refused(status: u16, reason: &str) -> Stop {
    Stop::Refused { status, reason: reason.into() }
}

fn what(account: &Account<'_>, texts: &[(String, String)]) -> Met {
    let session = text(texts, FIELDS[0]).map(str::to_owned);
    let file = session.as_deref().and_then(|id| account.name_of(id.parse().ok()?));
    let part = text(texts, FIELDS[1]).and_then(|first| first.parse().ok());
    Met { host: KIND, endpoint: Endpoint::Chunk, session, part, file }
}

/// The last field of this name.
fn text<'t>(texts: &'t [(String, String)], name: &str) -> Option<&'t str> {
    texts.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

/// One form, all of it received.
#[derive(Debug)]
struct Request {
    rules: Arc<Rules>,
    texts: Vec<(String, String)>,
    field: String,
    late: bool,
    center: String,
    query: String,
}

/// Why a part is not taken.
#[derive(Debug)]
enum No {
    /// Plain HTTP says so.
    Status(u16, String),
    /// The upload server's own code, and what it means.
    Code(u8, String),
}

impl No {
    fn status(status: u16, reason: impl Into<String>) -> No {
        No::Status(status, reason.into())
    }

    fn code(code: u8, reason: impl Into<String>) -> No {
        No::Code(code, reason.into())
    }
}

impl From<std::io::Error> for No {
    fn from(error: std::io::Error) -> No {
        No::status(500, format!("the sandbox cannot keep its files: {error}"))
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        match refusal {
            Refusal::Io(error) => error.into(),
            other => No::code(DELETED, other.to_string()),
        }
    }
}

/// What a part lies over.
#[derive(Debug, Clone, Copy, Default)]
struct Overlap {
    again: bool,
    differed: bool,
    /// Whether it lies over parts that begin elsewhere.
    others: bool,
}

impl Request {
    fn answer(&self, shared: &Shared, turn: &Mutex<()>, spooled: Spooled, times: usize) -> Answer {
        let sha256 = spooled.sha256.clone();
        let answer = match self.put(&Account::new(shared), turn, spooled) {
            Ok((id, Overlap { again, differed, .. })) => {
                let reply = self.taken(id);
                // A part that is delivered two times in one breath meets itself, with the same bytes.
                Answer { held: true, again: again || times > 1, differed, ..Answer::plain(reply, Outcome::Acked) }
            }
            Err(No::Status(status, reason)) => Answer::plain(Reply::text(status, &reason), Outcome::Rejected(reason)),
            Err(No::Code(code, reason)) => Answer::plain(self.error(code, &reason), Outcome::Rejected(reason)),
        };
        Answer { file_sha256: sha256, ..answer }
    }

    fn put(&self, account: &Account<'_>, turn: &Mutex<()>, spooled: Spooled) -> Result<(i64, Overlap), No> {
        let (center, key) = self.address(account)?;
        self.check_fields()?;
        let (id, first) = (self.number(FIELDS[0])?, self.number(FIELDS[1])?);
        let deleted = || No::code(DELETED, "there is no such unfinished file");
        let id = i64::try_from(id).map_err(|_| deleted())?;
        in_turn(turn, || {
            let (reservation, stage) = account.reservation(id).ok_or_else(deleted)?;
            if stage != Stage::Open {
                return Err(deleted());
            }
            self.check(account, &key, &reservation, first, spooled.bytes)?;
            Ok((id, self.store(account, id, reservation, center, first, spooled)?))
        })
    }

    /// The data centre and the key of the address, when they belong together.
    fn address(&self, account: &Account<'_>) -> Result<(i32, Key), No> {
        let known = self.center.parse().ok().filter(|center| self.rules.data_centers.contains(center));
        let center: i32 = known.ok_or_else(|| No::status(404, "there is no such data centre"))?;
        let sid = self.query.split('&').find_map(|pair| pair.strip_prefix("sid=")).unwrap_or_default();
        if self.rules.strict && self.query != format!("sid={sid}") {
            return Err(No::status(400, "the query is not the one that was given"));
        }
        let key = account.key(sid, self.rules.key_lifetime_seconds);
        let key = key.ok_or_else(|| No::status(403, "the session key is unknown or has expired"))?;
        if !key.centers.contains(&center) {
            return Err(No::code(WRONG_CENTER, "this key was not given for this data centre"));
        }
        Ok((center, key))
    }

    fn check_fields(&self) -> Result<(), No> {
        if self.field != "FilePart" {
            return Err(No::status(400, "the file must be in the field `FilePart`"));
        }
        if !self.rules.strict {
            return Ok(());
        }
        if let Some((unknown, _)) = self.texts.iter().find(|(name, _)| !FIELDS.contains(&name.as_str())) {
            return Err(No::status(400, format!("the field `{unknown}` is unknown")));
        }
        let repeated = |name: &&str| self.texts.iter().filter(|(field, _)| field == name).count() > 1;
        if let Some(name) = FIELDS.iter().find(|name| repeated(name)) {
            return Err(No::status(400, format!("the field `{name}` is repeated")));
        }
        if self.late {
            return Err(No::status(400, "the file must be the last field"));
        }
        Ok(())
    }

    fn number(&self, name: &str) -> Result<u64, No> {
        let text = text(&self.texts, name).ok_or_else(|| No::status(400, format!("{name} is missing")))?;
        let number = text.parse::<u64>().ok().filter(|number| !self.rules.strict || number.to_string() == text);
        number.ok_or_else(|| No::status(400, format!("{name} is not a decimal number")))
    }

    fn check(&self, account: &Account<'_>, key: &Key, reservation: &Reservation, first: u64, bytes: u64) -> Result<(), No> {
        if key.folder != reservation.folder {
            return Err(No::status(403, "the session key is for another folder"));
        }
        if bytes == 0 {
            return Err(No::code(EMPTY_FILE, "the part is empty"));
        }
        let size = reservation.bytes.unsigned_abs();
        if first.checked_add(bytes).is_none_or(|end| end > size) {
            return Err(No::code(FILE_TOO_LARGE, format!("the part goes beyond the {size} bytes of the file")));
        }
        if reservation.bytes > self.rules.max_file_bytes {
            return Err(No::code(FILE_TOO_LARGE, "the file is too large"));
        }
        if reservation.bytes > self.rules.free_bytes.saturating_sub(account.used()) {
            return Err(No::code(NO_SPACE, "there is not enough space"));
        }
        Ok(())
    }

    fn store(
        &self,
        account: &Account<'_>,
        id: i64,
        mut reservation: Reservation,
        center: i32,
        first: u64,
        spooled: Spooled,
    ) -> Result<Overlap, No> {
        let (store, session) = (&account.shared.store, id.to_string());
        let moved = reservation.center.is_some_and(|before| before != center);
        if moved && self.rules.parts_lost_on_change {
            for part in store.parts(KIND, &session).keys() {
                store.drop_part(KIND, &session, *part);
            }
            reservation.over.clear();
        }
        let overlap = overlap(account.shared, &session, first, &spooled)?;
        let was_over = reservation.over.contains(&first);
        if reservation.center != Some(center) || overlap.others || was_over {
            reservation.center = Some(center);
            reservation.over.retain(|part| *part != first);
            reservation.over.extend(overlap.others.then_some(first));
            account.set_reservation(id, &reservation)?;
        }
        store.put_spooled(KIND, &session, first, spooled)?;
        Ok(overlap)
    }

    fn taken(&self, id: i64) -> Reply {
        match self.rules.part_reply {
            PartReply::Empty => Reply::empty(200),
            PartReply::Json => Reply::json(200, json!({ "status": "OK" }).to_string()),
            PartReply::Html => page(&[("uploadedFileId", &id.to_string())]),
        }
    }

    fn error(&self, code: u8, reason: &str) -> Reply {
        match self.rules.part_reply {
            PartReply::Html => page(&[("alert", reason), ("errorCode", &code.to_string())]),
            PartReply::Empty | PartReply::Json => error_json(code),
        }
    }
}

/// The upload server's way to say what is wrong.
pub(super) fn error_json(code: u8) -> Reply {
    Reply::json(200, json!({ "status": "error", "errorCode": code }).to_string())
}

fn page(inputs: &[(&str, &str)]) -> Reply {
    let input = |(name, value): &(&str, &str)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", quick_xml::escape::escape(*value))
    };
    let inputs: String = inputs.iter().map(input).collect();
    Reply::html(200, &format!("<!DOCTYPE html><html><body><form>{inputs}</form></body></html>\n"))
}

/// What a part that begins at `first` lies over, and whether the bytes are the same there.
fn overlap(shared: &Shared, session: &str, first: u64, spooled: &Spooled) -> std::io::Result<Overlap> {
    let end = first + spooled.bytes;
    let mut found = Overlap::default();
    for (part, bytes) in shared.store.parts(KIND, session).range(..end).filter(|(part, bytes)| *part + *bytes > first) {
        (found.again, found.others) = (true, found.others || *part != first);
        let (from, to) = (first.max(*part), end.min(part + bytes));
        if let (Some(held), Some(fresh)) = (shared.store.part_path(KIND, session, *part), &spooled.path) {
            found.differed |= !same_bytes(shared, (&held, from - part), (fresh, from - first), to - from)?;
        }
    }
    Ok(found)
}

fn same_bytes(shared: &Shared, one: (&Path, u64), other: (&Path, u64), mut bytes: u64) -> std::io::Result<bool> {
    let open = |(path, from): (&Path, u64)| {
        let mut file = shared.store.open_file(path)?;
        file.seek(SeekFrom::Start(from)).map(|_| file)
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut ours, mut theirs) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    while bytes > 0 {
        let count = usize::try_from(bytes).unwrap_or(COMPARE_BYTES).min(COMPARE_BYTES);
        one.read_exact(&mut ours[..count])?;
        other.read_exact(&mut theirs[..count])?;
        if ours[..count] != theirs[..count] {
            return Ok(false);
        }
        bytes -= count as u64;
    }
    Ok(true)
}

/// Which bytes of the held parts make a file of `size` bytes. The parts in `over` lie over all others, each over those before it.
///
/// # Errors
/// The first byte that is missing.
pub(super) fn plan(held: &BTreeMap<u64, u64>, over: &[u64], size: u64) -> Result<Vec<Piece>, Refusal> {
    let mut laid = BTreeMap::new();
    let under = held.keys().filter(|part| !over.contains(part));
    for part in under.chain(over) {
        if let Some(bytes) = held.get(part) {
            lay(&mut laid, *part, part + bytes);
        }
    }
    let mut pieces = Vec::with_capacity(laid.len());
    let mut at = 0;
    for (begin, (end, part)) in laid {
        if begin != at {
            return Err(Refusal::Gap(at));
        }
        pieces.push(Piece { part, from: begin - part, bytes: end - begin });
        at = end;
    }
    if at == size { Ok(pieces) } else { Err(Refusal::Gap(at)) }
}

/// Lays a part over what is there already: pieces by their first byte, each with its end and the part it is of. No two overlap.
fn lay(laid: &mut BTreeMap<u64, (u64, u64)>, part: u64, end: u64) {
    let below = laid.range(..end).rev().take_while(|(_, (old_end, _))| *old_end > part);
    let below: Vec<_> = below.map(|(begin, old)| (*begin, *old)).collect();
    for (begin, (old_end, old)) in below {
        laid.remove(&begin);
        if begin < part {
            laid.insert(begin, (part, old));
        }
        if old_end > end {
            laid.insert(end, (old_end, old));
        }
    }
    laid.insert(part, (end, part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[(u64, u64)], over: &[u64], size: u64) -> Result<Vec<(u64, u64, u64)>, String> {
        let held = parts.iter().copied().collect();
        let pieces = plan(&held, over, size).map_err(|refusal| refusal.to_string())?;
        Ok(pieces.into_iter().map(|piece| (piece.part, piece.from, piece.bytes)).collect())
    }

    #[test]
    fn parts_that_touch_make_a_file() {
        assert_eq!(pieces(&[(0, 4), (4, 4), (8, 1)], &[], 9), Ok(vec![(0, 0, 4), (4, 0, 4), (8, 0, 1)]));
    }

    #[test]
    fn gaps_are_named_wherever_they_are() {
        for (parts, gap) in [(&[(1, 8)][..], 0), (&[(0, 4), (5, 4)], 4), (&[(0, 8)], 8), (&[], 0)] {
            assert_eq!(pieces(parts, &[], 9), Err(format!("bytes from {gap} on are missing")));
        }
    }

    #[test]
    fn the_last_of_overlapping_parts_counts() {
        assert_eq!(pieces(&[(0, 6), (4, 6)], &[4], 10), Ok(vec![(0, 0, 4), (4, 0, 6)]));
        assert_eq!(pieces(&[(0, 6), (4, 6)], &[4, 0], 10), Ok(vec![(0, 0, 6), (4, 2, 4)]));
        assert_eq!(pieces(&[(0, 10), (3, 2)], &[3], 10), Ok(vec![(0, 0, 3), (3, 0, 2), (0, 5, 5)]));
        assert_eq!(pieces(&[(0, 10), (3, 2)], &[0], 10), Ok(vec![(0, 0, 10)]));
    }
}
