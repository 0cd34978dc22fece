//! How bytes get the name of their file: names that are taken, and requests that nobody answered (page, 7). Nobody else's file is
//! ever taken for ours, nor replaced unless that is wanted.

use serde::{Deserialize, Serialize};

use crate::job::Proof;
use crate::job::upload::{Class, Outcome};

use super::super::UploadSession;
use super::super::error::{HostError, excerpt};
use super::super::http::Request;
use super::super::names::{last_name, numbered};
use super::claims::Claim;
use super::settings::OnExisting;
use super::{Facts, Moved, Open, PATIENCE, Receipt, Seen, WebDav, delete_reply, list_reply, move_reply, no_folder, place, replies};

const WRONG_DIGEST: &str =
    "the host has stored other bytes than it was sent; if it says so of every file, set `checksum = \"none\"`";
/// How many further names are tried.
const NAMES_TRIED: u32 = 100;

/// A name that is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Free {
    /// Its number, counted from 1.
    #[serde(rename = "n")]
    pub(super) number: u32,
    /// The file that has it and is to make room.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Facts>,
}

/// What has become of the bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// They wait for their name, as the server tells of them.
    Waits(Seen),
    /// They have it, or one with a number; with the size that the server tells.
    Named(String, Option<u64>),
    /// They are not there.
    Nowhere,
}

/// The name that a file gets when those before it are taken, counted from 1.
pub(super) fn further(open: &Open, number: u32) -> String {
    if number == 1 { open.path.clone() } else { numbered(&open.path, number) }
}

/// The numbers of the names that an upload tries.
fn numbers(open: &Open, receipt: Option<&Receipt>) -> std::ops::Range<u32> {
    let first = receipt.and_then(|receipt| receipt.free.as_ref()).map_or(open.number, |free| free.number);
    first..first.saturating_add(NAMES_TRIED)
}

/// What had the name before the upload asked for it.
fn before<'r>(open: &'r Open, receipt: Option<&'r Receipt>) -> Option<&'r Facts> {
    receipt.and_then(|receipt| receipt.free.as_ref()).map_or(open.before.as_ref(), |free| free.before.as_ref())
}

impl WebDav {
    /// A name for an upload that is free, as far as that can be known before it is asked for. With `skip`, what is there already.
    pub(super) async fn find_a_name(&self, open: &Open) -> Result<Result<Free, Outcome>, HostError> {
        for number in 1..=NAMES_TRIED {
            let path = further(open, number);
            let Some(there) = self.look(&open.base, &path).await? else { return Ok(Ok(Free { number, before: None })) };
            match open.on_existing {
                OnExisting::Overwrite if !there.is_folder => return Ok(Ok(Free { number, before: Some(Facts::from(&there)) })),
                OnExisting::Skip if !there.is_folder => return Ok(Err(self.left_there(open, &path))),
                OnExisting::Rename => {}
                OnExisting::Overwrite | OnExisting::Skip | OnExisting::Error => return Err(taken(&path, there.is_folder)),
            }
        }
        Err(taken(&open.path, false))
    }

    /// Gives the bytes the name of their file, or one with a number where others have it by now.
    ///
    /// Not every server heeds `Overwrite`, and one that replaces a folder removes all that is in it: so somebody has looked just
    /// before, unless the server is one that is known to refuse.
    pub(super) async fn give_name(
        &self,
        at: &UploadSession,
        open: &Open,
        receipt: &Receipt,
        digest: Option<&str>,
    ) -> Result<Outcome, HostError> {
        let replaces = |is_folder: bool| open.on_existing == OnExisting::Overwrite && !is_folder;
        let mut is_known = self.was_free_just_now(open) || receipt.digest.is_some();
        let mut number = numbers(open, Some(receipt)).start;
        for _ in 0..NAMES_TRIED {
            let path = further(open, number);
            // Chunks are announced for their name before, and whoever takes them refuses one that is taken.
            let is_shared = open.on_existing == OnExisting::Rename && !open.in_chunks;
            let address = place::below(&open.base, &path);
            let claimed = || self.claims.claim(self.transport.clock(), &address, &open.waiting);
            let mut claim = is_shared.then(claimed).flatten();
            let is_anothers = is_shared && claim.is_none();
            let there = if is_known || is_anothers { None } else { self.look(&open.base, &path).await? };
            let is_folder = there.as_ref().is_some_and(|there| there.is_folder);
            let makes_room = (is_known && receipt.free.as_ref().is_some_and(|free| free.before.is_some())) || there.is_some();
            let replaces = replaces(is_folder) && makes_room;
            let (moved, told) = if !is_anothers && (there.is_none() || replaces) {
                let asked = self.ask_for_name(at, open, &path, replaces, digest).await;
                give_back_unless_in_doubt(&mut claim, &asked);
                asked?
            } else {
                (Moved::Taken, None)
            };
            match moved {
                Moved::Yes => return self.named_as(at, open, &path, receipt, Digests { told, own: digest }).await,
                Moved::Missing => {
                    let outcome = self.after_missing(at, open, &path, receipt, digest).await;
                    give_back_unless_in_doubt(&mut claim, &outcome);
                    return outcome;
                }
                // Somebody has come in between.
                Moved::Taken if !is_anothers && there.is_none() && (is_known || open.on_existing == OnExisting::Overwrite) => {}
                Moved::Taken => match open.on_existing {
                    // A server may have begun to put chunks together under the name that they were announced for.
                    OnExisting::Rename if open.in_chunks => {
                        return Err(HostError { class: Class::SessionLost, ..taken(&path, is_folder) });
                    }
                    OnExisting::Rename => number = number.saturating_add(1),
                    OnExisting::Skip if !is_folder => {
                        self.remove_waiting(open).await?;
                        return Ok(self.left_there(open, &path));
                    }
                    OnExisting::Overwrite | OnExisting::Skip | OnExisting::Error => return Err(taken(&path, is_folder)),
                },
            }
            is_known = false;
        }
        Err(taken(&open.path, false))
    }

    /// Asks for a name. Answers what has become of that, and the digest that the server has computed of the file.
    async fn ask_for_name(
        &self,
        at: &UploadSession,
        open: &Open,
        path: &str,
        replaces: bool,
        digest: Option<&str>,
    ) -> Result<(Moved, Option<String>), HostError> {
        // Always said: servers differ in what they take its absence for.
        let overwrite = if replaces { "T" } else { "F" };
        if open.in_chunks {
            return self.ask_to_join(at, open, path, overwrite, digest).await;
        }
        let url = place::below(&open.base, &open.waiting);
        let request = Request::custom("MOVE", &url).header("destination", place::below(&open.base, path));
        let reply = self.ask(request.header("overwrite", overwrite).patience(PATIENCE)).await?;
        Ok((move_reply(&reply)?, None))
    }

    /// The outcome of a file that has just got its name. There are servers that misread names (page, 11), and of chunks nobody knows
    /// what has come of them: then the server is asked once more.
    async fn named_as(
        &self,
        at: &UploadSession,
        open: &Open,
        path: &str,
        receipt: &Receipt,
        digests: Digests<'_>,
    ) -> Result<Outcome, HostError> {
        let bytes = at.plan.file_bytes;
        if !open.in_chunks && self.read_well.has(path) {
            let told = if receipt.digest.is_some() { Some(bytes) } else { receipt.facts.bytes };
            return self.outcome(open, path, told, receipt.digest.is_some()).await;
        }
        let Some(seen) = self.look(&open.base, path).await.map_err(in_doubt)? else {
            let name = excerpt(last_name(path));
            let said = format!("the host has given the file another name than `{name}`; rename the file, or look for it there");
            return Err(HostError::new(Class::RequestRefused, said));
        };
        self.read_well.note(path);
        if let Some(other) = seen.bytes.filter(|told| *told != bytes) {
            let said = format!("the host has stored {other} bytes, but the file has {bytes}");
            return Err(HostError::new(Class::BadCopy, said));
        }
        let is_proven = receipt.digest.is_some() || (open.in_chunks && digests.are_equal(open, &seen)?);
        self.outcome(open, path, seen.bytes, is_proven).await
    }

    /// What follows where the server misses the bytes, or the folder of the file.
    async fn after_missing(
        &self,
        at: &UploadSession,
        open: &Open,
        path: &str,
        receipt: &Receipt,
        digest: Option<&str>,
    ) -> Result<Outcome, HostError> {
        if open.in_chunks {
            if let Some(outcome) = self.after_missing_chunks(at, open, path, digest).await.map_err(in_doubt_unless_lost)? {
                return Ok(outcome);
            }
        } else {
            match self.settle(open, at.plan.file_bytes, Some(receipt), true).await.map_err(in_doubt)? {
                Settled::Named(path, told) => return self.outcome(open, &path, told, receipt.digest.is_some()).await,
                Settled::Nowhere => return Err(HostError::new(Class::OffsetMismatch, "the host has lost what it was sent")),
                Settled::Waits(_) => self.make_folders_again(&open.base, path).await?,
            }
        }
        // Whoever has come in between is not replaced: the next try looks again.
        match self.ask_for_name(at, open, path, false, digest).await? {
            (Moved::Yes, told) => self.named_as(at, open, path, receipt, Digests { told, own: digest }).await,
            (Moved::Taken, _) => Err(HostError::new(Class::Transient, taken(path, false).said)),
            (Moved::Missing, _) => {
                let said = "the host says that what it was sent is missing, though it lists it";
                Err(HostError::unanswered(Class::Unreadable, said).worsening_to(Class::HostRefused))
            }
        }
    }

    /// What has become of the bytes, of which a request may have changed the name. With `asked` it is known to have been sent.
    pub(super) async fn settle(
        &self,
        open: &Open,
        bytes: u64,
        receipt: Option<&Receipt>,
        asked: bool,
    ) -> Result<Settled, HostError> {
        if let Some(seen) = self.look(&open.base, &open.waiting).await? {
            return Ok(Settled::Waits(seen));
        }
        let there = self.beside(open, receipt).await?;
        if let Some((_, seen)) = there.iter().find(|(path, _)| *path == open.waiting) {
            return Ok(Settled::Waits(seen.clone()));
        }
        let digest = receipt.and_then(|receipt| receipt.digest.as_deref());
        let named = named(open, Wanted { bytes, receipt, digest, asked }, &there);
        Ok(named.map_or(Settled::Nowhere, |(path, seen)| Settled::Named(path.clone(), seen.bytes)))
    }

    /// The file that has been made of chunks that are gone, with the size that the server tells.
    pub(super) async fn named(&self, open: &Open, bytes: u64, digest: Option<&str>) -> Result<Option<(String, Seen)>, HostError> {
        let there = self.beside(open, None).await?;
        Ok(named(open, Wanted { bytes, receipt: None, digest, asked: true }, &there).cloned())
    }

    /// The bytes of the upload, and the files that may have been made of them, as far as they are there. That something is not
    /// there is believed of a whole list: anybody on the way to the server may say so of one address.
    async fn beside(&self, open: &Open, receipt: Option<&Receipt>) -> Result<Vec<(String, Seen)>, HostError> {
        let waiting = (!open.in_chunks).then(|| open.waiting.clone());
        let names: Vec<String> = waiting.into_iter().chain(numbers(open, receipt).map(|number| further(open, number))).collect();
        let folder = place::folder_of(&open.path);
        let url = place::folder_below(&open.base, folder);
        let reply = self.propfind(&url, "1").await?;
        if reply.status == 207 && !reply.cut {
            let listed = list_reply(&reply, &url)?;
            let find = |path: &String| listed.iter().find(|(name, _)| name == last_name(path)).map(|(_, seen)| seen.clone());
            return Ok(names.into_iter().filter_map(|path| find(&path).map(|seen| (path, seen))).collect());
        }
        let is_base_there = self.look(&open.base, "").await?.is_some();
        if !is_base_there {
            return Err(no_folder(&reply, ""));
        }
        let mut there = Vec::new();
        for path in names {
            match self.look(&open.base, &path).await? {
                Some(seen) => there.push((path, seen)),
                None if path == open.waiting => {}
                None => break,
            }
        }
        Ok(there)
    }

    pub(super) async fn remove_waiting(&self, open: &Open) -> Result<(), HostError> {
        let url = if open.in_chunks { open.waiting.clone() } else { place::below(&open.base, &open.waiting) };
        self.claims.forget(&open.waiting);
        delete_reply(&self.ask(Request::delete(&url)).await?)
    }

    /// The file of somebody else counts as this one.
    fn left_there(&self, open: &Open, path: &str) -> Outcome {
        Outcome { proof: Proof::Word, ..self.outcome_of(open, path, None, false) }
    }
}

/// The digests of a file that was made of chunks.
#[derive(Debug)]
pub(super) struct Digests<'d> {
    /// What the server has computed while it put them together.
    pub(super) told: Option<String>,
    /// The file's own.
    pub(super) own: Option<&'d str>,
}

impl Digests<'_> {
    /// Whether the server has computed the digest of the file, and it is right.
    pub(super) fn are_equal(&self, open: &Open, seen: &Seen) -> Result<bool, HostError> {
        let Some(own) = self.own.filter(|_| open.hashed) else { return Ok(false) };
        let computed = || seen.checksums.as_deref().and_then(replies::computed_digest);
        match self.told.clone().or_else(computed) {
            Some(told) if told == own => Ok(true),
            Some(_) => Err(HostError::new(Class::BadCopy, WRONG_DIGEST)),
            None => Ok(false),
        }
    }
}

/// The file that is looked for.
#[derive(Debug, Clone, Copy)]
struct Wanted<'w> {
    bytes: u64,
    receipt: Option<&'w Receipt>,
    /// Its SHA-1.
    digest: Option<&'w str>,
    /// Whether it is known that its name was asked for.
    asked: bool,
}

/// Of the files that may have been made of the bytes, the one that has: on most servers it has their ETag still, and Nextcloud and
/// ownCloud tell the digest that came with them. On others it is the last of those that were not there before, since the names before
/// it were taken when it got its own. Times tell too little: two files may come within a second.
fn named<'t>(open: &Open, wanted: Wanted<'_>, there: &'t [(String, Seen)]) -> Option<&'t (String, Seen)> {
    let Wanted { bytes, receipt, digest, asked } = wanted;
    let told = |seen: &Seen| seen.checksums.as_deref().and_then(replies::told_digest);
    let is_another = |seen: &Seen| digest.zip(told(seen)).is_some_and(|(own, told)| own != told);
    let fits = |(_, seen): &&(String, Seen)| {
        !seen.is_folder && seen.bytes.is_none_or(|told| told == bytes) && !(open.hashed && is_another(seen))
    };
    let equal = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    // Bytes that were there whole and are gone have got their name, also where the host has said that it gave them none.
    let was_whole = receipt.is_some_and(|receipt| receipt.digest.is_some());
    let has_digest = |seen: &Seen| open.hashed && (asked || was_whole) && digest.is_some() && told(seen).as_deref() == digest;
    let is_same =
        |(_, seen): &&(String, Seen)| receipt.is_some_and(|receipt| equal(&receipt.facts.etag, &seen.etag)) || has_digest(seen);
    let is_new = |(_, seen): &&(String, Seen)| asked && before(open, receipt) != Some(&Facts::from(seen));
    let fitting = || there.iter().filter(fits);
    fitting().find(is_same).or_else(|| fitting().rfind(is_new))
}

/// A name that was certainly not given is free for other uploads.
fn give_back_unless_in_doubt<T>(claim: &mut Option<Claim<'_>>, asked: &Result<T, HostError>) {
    if matches!(asked, Err(error) if !error.doubt)
        && let Some(claim) = claim.take()
    {
        claim.give_back();
    }
}

fn in_doubt(error: HostError) -> HostError {
    HostError { doubt: true, ..error }
}

fn in_doubt_unless_lost(error: HostError) -> HostError {
    if error.class == Class::SessionLost { error } else { in_doubt(error) }
}

fn taken(path: &str, is_folder: bool) -> HostError {
    let what = if is_folder { "a folder" } else { "another file" };
    let said = format!("the host has {what} `{}`; rename one of them, or set `on_existing`", excerpt(last_name(path)));
    HostError::new(Class::RequestRefused, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    const THEIRS: &str = "7c211433f02071597741e6ff5a8ea34789abbf43";

    fn open(on_existing: OnExisting, before: Option<Facts>) -> Open {
        Open {
            base: String::new(),
            path: "a".into(),
            number: 1,
            waiting: ".a.part".into(),
            in_chunks: false,
            on_existing,
            before,
            mtime: 0,
            hashed: true,
        }
    }

    fn receipt(seen: &Seen) -> Receipt {
        Receipt { facts: Facts::from(seen), ..Receipt::default() }
    }

    fn seen(bytes: u64, etag: &str, modified: &str) -> Seen {
        let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Seen { bytes: Some(bytes), etag: told(etag), modified: told(modified), ..Seen::default() }
    }

    #[test]
    fn the_file_that_was_made_is_known_by_what_was_told_of_its_bytes() {
        type Case<'c> = (&'c str, Vec<Seen>, bool, Option<Facts>, Option<&'c str>);
        let receipt = receipt(&seen(7, "x", "monday"));
        let before = Some(Facts::from(&seen(7, "old", "sunday")));
        let with = |checksums: &str| Seen { checksums: Some(checksums.to_owned()), ..seen(7, "y", "tuesday") };
        let (ours, theirs) = (format!("SHA1:{OURS}"), format!("SHA1:{THEIRS}"));
        let cases: [Case<'_>; 12] = [
            ("with its digest", vec![with(&ours), seen(7, "z", "")], true, None, Some("a")),
            ("with another digest", vec![with(&theirs)], true, None, None),
            ("of its content, though never asked for", vec![with(&ours)], false, None, None),
            ("nothing", vec![], true, None, None),
            ("the same", vec![seen(7, "x", "")], false, None, Some("a")),
            ("of the size, though never asked for", vec![seen(7, "y", "monday")], false, None, None),
            ("of the size", vec![seen(7, "y", "tuesday")], true, None, Some("a")),
            ("of another size", vec![seen(8, "x", "monday")], true, None, None),
            ("what was there before", vec![seen(7, "old", "sunday")], true, before.clone(), None),
            ("what is there instead", vec![seen(7, "new", "sunday")], true, before, Some("a")),
            ("the same among others", vec![seen(7, "y", "monday"), seen(7, "x", ""), seen(7, "z", "")], true, None, Some("a (2)")),
            ("the last one", vec![seen(7, "y", "monday"), seen(7, "z", "")], true, None, Some("a (2)")),
        ];
        for (told, there, asked, before, expected) in cases {
            let open = open(OnExisting::Rename, before);
            let there: Vec<(String, Seen)> = (1..).map(|number| further(&open, number)).zip(there).collect();
            let wanted = Wanted { bytes: 7, receipt: Some(&receipt), digest: Some(OURS), asked };
            let found = named(&open, wanted, &there);
            assert_eq!(found.map(|(path, _)| path.as_str()), expected, "{told}");
        }
        // Its bytes were there whole, and are gone: a host that refused to give them the name has given it all the same.
        let whole = Receipt { digest: Some(OURS.into()), ..Receipt::default() };
        for (seen, is_ours) in [(with(&ours), true), (with(&theirs), false), (seen(7, "y", "monday"), false)] {
            let wanted = Wanted { bytes: 7, receipt: Some(&whole), digest: Some(OURS), asked: false };
            assert_eq!(named(&open(OnExisting::Rename, None), wanted, &[("a".to_owned(), seen)]).is_some(), is_ours);
        }
        let folder = [("a".to_owned(), Seen { is_folder: true, ..Seen::default() })];
        let wanted = Wanted { bytes: 7, receipt: Some(&receipt), digest: None, asked: true };
        assert_eq!(named(&open(OnExisting::Rename, None), wanted, &folder), None);
    }

    #[test]
    fn what_was_seen_last_of_the_names_counts() {
        let free = Free { number: 3, before: Some(Facts::from(&seen(7, "old", ""))) };
        let receipt = Receipt { free: Some(free), ..Receipt::default() };
        let open = open(OnExisting::Rename, None);
        assert_eq!((numbers(&open, None).start, numbers(&open, Some(&receipt)).start), (1, 3));
        assert_eq!((before(&open, None), before(&open, Some(&receipt)).is_some()), (None, true));
    }

    #[test]
    fn only_a_digest_that_the_server_has_computed_proves_a_file() {
        let open = open(OnExisting::Rename, None);
        let seen = |checksums: String| Seen { checksums: Some(checksums), ..Seen::default() };
        let told = |told: Option<&str>, checksums: String| {
            Digests { told: told.map(str::to_owned), own: Some(OURS) }
                .are_equal(&open, &seen(checksums))
                .map_err(|error| error.class)
        };
        assert_eq!(told(Some(OURS), String::new()), Ok(true));
        assert_eq!(told(Some(THEIRS), String::new()), Err(Class::BadCopy));
        assert_eq!(told(None, format!("SHA1:{OURS}")), Ok(false), "it says what it was told");
        assert_eq!(told(None, format!("SHA1:{OURS} MD5:x")), Ok(true));
        assert_eq!(told(None, format!("SHA1:{THEIRS} MD5:x")), Err(Class::BadCopy));
        let before = Open { hashed: false, ..open.clone() };
        assert_eq!(Digests { told: Some(THEIRS.into()), own: None }.are_equal(&before, &seen(String::new())), Ok(false));
    }
}
