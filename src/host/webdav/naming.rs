//! How bytes get the name of their file: names that are taken, and requests that nobody answered (page, 7). Nobody else's file is
//! ever taken for ours, nor replaced unless that is wanted.

use crate::job::Proof;
use crate::job::upload::{Class, Outcome};

use super::super::UploadSession;
use super::super::error::{HostError, excerpt};
use super::super::http::Request;
use super::super::names::{last_name, numbered};
use super::settings::OnExisting;
use super::{Moved, Open, PATIENCE, Receipt, Seen, WebDav, delete_reply, list_reply, move_reply, no_folder, place};

/// How many further names are tried.
const NAMES_TRIED: u32 = 100;

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
fn numbers(open: &Open) -> std::ops::Range<u32> {
    open.number..open.number.saturating_add(NAMES_TRIED)
}

impl WebDav {
    /// Gives an upload a name that is free, as far as that can be known before it begins. With `skip`, what is there already.
    pub(super) async fn find_a_name(&self, open: &mut Open) -> Result<Option<Outcome>, HostError> {
        for number in 1..=NAMES_TRIED {
            let path = further(open, number);
            let Some(there) = self.look(&open.base, &path).await? else {
                open.number = number;
                return Ok(None);
            };
            match open.on_existing {
                OnExisting::Overwrite if !there.is_folder => {
                    open.before = Some(Receipt::from(&there));
                    return Ok(None);
                }
                OnExisting::Skip if !there.is_folder => return Ok(Some(self.left_there(open, &path))),
                OnExisting::Rename => {}
                OnExisting::Overwrite | OnExisting::Skip | OnExisting::Error => return Err(taken(&path, there.is_folder)),
            }
        }
        Err(taken(&open.path, false))
    }

    /// Gives the bytes the name of their file, or one with a number where others have it by now.
    pub(super) async fn give_name(&self, at: &UploadSession, open: &Open, receipt: &Receipt) -> Result<Outcome, HostError> {
        for number in numbers(open) {
            let path = further(open, number);
            // Not every server heeds `Overwrite`, and one that replaces a folder removes all that is in it.
            let there = self.look(&open.base, &path).await?;
            let is_folder = there.as_ref().is_some_and(|there| there.is_folder);
            let is_free = there.is_none() || (open.on_existing == OnExisting::Overwrite && !is_folder);
            match if is_free { self.ask_for_name(at, open, &path).await? } else { Moved::Taken } {
                Moved::Yes => return self.named_as(at, open, &path).await,
                Moved::Missing => return self.after_missing(at, open, &path, receipt).await,
                Moved::Taken => match open.on_existing {
                    // A server may have begun to put chunks together under the name that they were announced for.
                    OnExisting::Rename if open.in_chunks => {
                        return Err(HostError { class: Class::SessionLost, ..taken(&path, is_folder) });
                    }
                    OnExisting::Rename => {}
                    OnExisting::Skip if !is_folder => {
                        self.remove_waiting(open).await?;
                        return Ok(self.left_there(open, &path));
                    }
                    OnExisting::Overwrite | OnExisting::Skip | OnExisting::Error => return Err(taken(&path, is_folder)),
                },
            }
        }
        Err(taken(&open.path, false))
    }

    async fn ask_for_name(&self, at: &UploadSession, open: &Open, path: &str) -> Result<Moved, HostError> {
        if open.in_chunks {
            return self.ask_to_join(open, path, at.plan.file_bytes).await;
        }
        let url = place::below(&open.base, &open.waiting);
        let request = Request::custom("MOVE", &url).header("destination", place::below(&open.base, path));
        move_reply(&self.ask(request.header("overwrite", open.overwrites()).patience(PATIENCE)).await?)
    }

    /// The file that has just got its name, as the server tells of it: there are some that misread names (page, 11).
    async fn named_as(&self, at: &UploadSession, open: &Open, path: &str) -> Result<Outcome, HostError> {
        let Some(seen) = self.look(&open.base, path).await.map_err(in_doubt)? else {
            let name = excerpt(last_name(path));
            let said = format!("the host has given the file another name than `{name}`; rename the file, or look for it there");
            return Err(HostError::new(Class::RequestRefused, said));
        };
        match seen.bytes {
            Some(other) if other != at.plan.file_bytes => {
                let said = format!("the host has stored {other} bytes, but the file has {}", at.plan.file_bytes);
                Err(HostError::new(Class::BadCopy, said))
            }
            told => Ok(self.outcome(open, path, told)),
        }
    }

    /// What follows where the server misses the bytes, or the folder of the file.
    async fn after_missing(&self, at: &UploadSession, open: &Open, path: &str, receipt: &Receipt) -> Result<Outcome, HostError> {
        if open.in_chunks {
            if let Some(outcome) = self.after_missing_chunks(at, open, path).await.map_err(in_doubt_unless_lost)? {
                return Ok(outcome);
            }
        } else {
            match self.settle(open, at.plan.file_bytes, Some(receipt), true).await.map_err(in_doubt)? {
                Settled::Named(path, told) => return Ok(self.outcome(open, &path, told)),
                Settled::Nowhere => return Err(HostError::new(Class::OffsetMismatch, "the host has lost what it was sent")),
                Settled::Waits(_) => self.make_folders_again(&open.base, path).await?,
            }
        }
        match self.ask_for_name(at, open, path).await? {
            Moved::Yes => self.named_as(at, open, path).await,
            Moved::Taken => Err(taken(path, false)),
            Moved::Missing => {
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
        let there = self.beside(open).await?;
        if let Some((_, seen)) = there.iter().find(|(path, _)| *path == open.waiting) {
            return Ok(Settled::Waits(seen.clone()));
        }
        let named = named(open, bytes, receipt, asked, &there);
        Ok(named.map_or(Settled::Nowhere, |(path, seen)| Settled::Named(path.clone(), seen.bytes)))
    }

    /// The file that has been made of chunks that are gone, with the size that the server tells.
    pub(super) async fn named(&self, open: &Open, bytes: u64) -> Result<Option<(String, Option<u64>)>, HostError> {
        let there = self.beside(open).await?;
        Ok(named(open, bytes, None, true, &there).map(|(path, seen)| (path.clone(), seen.bytes)))
    }

    /// The bytes of the upload, and the files that may have been made of them, as far as they are there. That something is not
    /// there is believed of a whole list: anybody on the way to the server may say so of one address.
    async fn beside(&self, open: &Open) -> Result<Vec<(String, Seen)>, HostError> {
        let waiting = (!open.in_chunks).then(|| open.waiting.clone());
        let names: Vec<String> = waiting.into_iter().chain(numbers(open).map(|number| further(open, number))).collect();
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
        delete_reply(&self.ask(Request::delete(&url)).await?)
    }

    /// The file of somebody else counts as this one.
    fn left_there(&self, open: &Open, path: &str) -> Outcome {
        Outcome { proof: Proof::Word, ..self.outcome(open, path, None) }
    }
}

/// Of the files that may have been made of the bytes, the one that has: on most servers it has their ETag still. On others it is the
/// last of those that were not there before, since the names before it were taken when it got its own. Times tell too little: two
/// files may come within a second.
fn named<'t>(
    open: &Open,
    bytes: u64,
    receipt: Option<&Receipt>,
    asked: bool,
    there: &'t [(String, Seen)],
) -> Option<&'t (String, Seen)> {
    let fits = |(_, seen): &&(String, Seen)| !seen.is_folder && seen.bytes.is_none_or(|told| told == bytes);
    let equal = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    let is_same = |(_, seen): &&(String, Seen)| receipt.is_some_and(|receipt| equal(&receipt.etag, &seen.etag));
    let is_new = |(_, seen): &&(String, Seen)| asked && open.before.as_ref() != Some(&Receipt::from(seen));
    let fitting = || there.iter().filter(fits);
    fitting().find(is_same).or_else(|| fitting().rfind(is_new))
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

    fn open(on_existing: OnExisting, before: Option<Receipt>) -> Open {
        Open {
            base: String::new(),
            path: "a".into(),
            number: 1,
            waiting: ".a.part".into(),
            in_chunks: false,
            on_existing,
            before,
            mtime: 0,
        }
    }

    fn seen(bytes: u64, etag: &str, modified: &str) -> Seen {
        let told = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Seen { bytes: Some(bytes), etag: told(etag), modified: told(modified), ..Seen::default() }
    }

    #[test]
    fn the_file_that_was_made_is_known_by_what_was_told_of_its_bytes() {
        type Case<'c> = (&'c str, Vec<Seen>, bool, Option<Receipt>, Option<&'c str>);
        let receipt = Receipt::from(&seen(7, "x", "monday"));
        let before = Some(Receipt::from(&seen(7, "old", "sunday")));
        let cases: [Case<'_>; 9] = [
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
            let found = named(&open, 7, Some(&receipt), asked, &there);
            assert_eq!(found.map(|(path, _)| path.as_str()), expected, "{told}");
        }
        let folder = [("a".to_owned(), Seen { is_folder: true, ..Seen::default() })];
        assert_eq!(named(&open(OnExisting::Rename, None), 7, Some(&receipt), true, &folder), None);
    }
}
