//! Names that are taken: the service refuses a second file of a name in a folder, and an upload that broke off keeps its name
//! (page, 5.1).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::upload::Class;

use super::super::FileFacts;
use super::super::error::{HostError, excerpt};
use super::FourShared;
use super::folders::Item;
use super::replies::{SoapReply, number, truth};
use super::settings::OnExisting;

/// How long a name is left alone that is refused and not listed: the first time, and the second.
const UNLISTED: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(3600)];
/// How many further names are tried.
const NAMES_TRIED: u32 = 8;
/// How many names, and how many reservations, are kept in memory; with more, all are forgotten.
const KNOWN_MAX: usize = 4096;

/// What is known of names and reservations since the host was made.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The version of the file that a reservation of this process is for.
    reserved: Mutex<BTreeMap<i64, String>>,
    /// How often a name was refused without being listed, and how many reservations there had been.
    unlisted: Mutex<BTreeMap<(i64, String), (usize, u64)>>,
    /// Reservations so far.
    count: std::sync::atomic::AtomicU64,
}

fn hold<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// Notes that a reservation is in use, for this version of a file.
    pub(super) fn is_used(&self, file_id: i64, version: &str) {
        let mut reserved = hold(&self.reserved);
        if reserved.len() >= KNOWN_MAX {
            reserved.clear();
        }
        reserved.insert(file_id, version.to_owned());
    }

    pub(super) fn is_gone(&self, file_id: i64) {
        hold(&self.reserved).remove(&file_id);
    }

    fn is_anothers(&self, file_id: i64, version: &str) -> bool {
        hold(&self.reserved).get(&file_id).is_some_and(|known| known != version)
    }

    fn reservations(&self) -> u64 {
        self.count.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn took_one(&self) {
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// How long a name that is refused and not listed is left alone; nothing where it counts as taken by then, since the host has
    /// taken other files meanwhile.
    fn rest(&self, folder: i64, name: &str) -> Option<Duration> {
        let mut unlisted = hold(&self.unlisted);
        if unlisted.len() >= KNOWN_MAX {
            unlisted.clear();
        }
        let (times, before) = unlisted.entry((folder, name.to_owned())).or_insert((0, self.reservations()));
        *times += 1;
        match UNLISTED.get(*times - 1) {
            Some(rest) => Some(*rest),
            None if self.reservations() > *before => None,
            None => UNLISTED.last().copied(),
        }
    }
}

/// The name with a number before its end: `report (2).pdf`.
fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, end)) => format!("{stem} ({number}).{end}"),
        None => format!("{name} ({number})"),
    }
}

/// A place for a file.
pub(super) struct Place {
    pub(super) file_id: i64,
    pub(super) name: String,
}

impl FourShared {
    /// Reserves a place for a file under its name, or as `on_existing` says where that is taken.
    pub(super) async fn reserve(&self, folder: i64, file: &FileFacts) -> Result<Place, HostError> {
        let said = match self.start(folder, &file.name, file.bytes).await? {
            Ok(place) => return Ok(place),
            Err(said) => said,
        };
        let refused = self.refused(&said).await;
        if refused.class == Class::RateLimited {
            return Err(refused);
        }
        let family = |item: &Item| item.name == file.name || (2..).take(NAMES_MAX).any(|n| item.name == numbered(&file.name, n));
        let listed = self.items(folder, false, family).await?;
        let Some(item) = listed.iter().find(|item| item.name == file.name) else {
            return match self.names.rest(folder, &file.name) {
                Some(rest) => Err(HostError { wait: Some(rest), ..refused }),
                None => self.another_name(folder, file, &listed, refused).await,
            };
        };
        if !item.is_folder && self.is_unfinished(item.id).await? && !self.names.is_anothers(item.id, &file.version) {
            // An upload of ours that broke off: nobody goes on with it.
            self.file_call("uploadCancelFile", item.id, &[]).await?;
            self.names.is_gone(item.id);
            return self.start(folder, &file.name, file.bytes).await?.map_err(|_| refused);
        }
        match self.settings.on_existing {
            OnExisting::Overwrite if !item.is_folder => self.update(item.id, file).await,
            OnExisting::Error => {
                let said = format!(
                    "the folder has another file named `{}`; rename one of them, or set `on_existing`",
                    excerpt(&file.name)
                );
                Err(HostError::new(Class::RequestRefused, said))
            }
            OnExisting::Rename | OnExisting::Overwrite => self.another_name(folder, file, &listed, refused).await,
        }
    }

    /// Asks for a place; the words of a refusal that may be about the name.
    async fn start(&self, folder: i64, name: &str, bytes: u64) -> Result<Result<Place, String>, HostError> {
        let rest = [folder.to_string(), name.to_owned(), bytes.to_string()];
        self.place("uploadStartFile", &rest, name).await
    }

    async fn place(&self, operation: &str, rest: &[String], name: &str) -> Result<Result<Place, String>, HostError> {
        match self.ask(operation, &self.arguments(rest), false).await? {
            SoapReply::Response(response) => match number(&response)? {
                file_id @ 1.. => {
                    self.names.took_one();
                    Ok(Ok(Place { file_id, name: name.to_owned() }))
                }
                none => Ok(Err(format!("the host did not reserve space for the file: {none}"))),
            },
            SoapReply::Fault(fault) if fault.class == Class::Unreadable && fault.said.to_lowercase().contains("exist") => {
                Ok(Err(fault.said))
            }
            SoapReply::Fault(fault) => Err(fault),
        }
    }

    async fn another_name(&self, folder: i64, file: &FileFacts, listed: &[Item], refused: HostError) -> Result<Place, HostError> {
        let is_free = |name: &String| !listed.iter().any(|item| item.name == *name);
        let names = (2..).take(NAMES_MAX).map(|n| numbered(&file.name, n)).filter(is_free);
        for name in names.take(NAMES_TRIED as usize) {
            if let Ok(place) = self.start(folder, &name, file.bytes).await? {
                return Ok(place);
            }
        }
        Err(refused)
    }

    /// New content for a file that is there: its link stays.
    async fn update(&self, file_id: i64, file: &FileFacts) -> Result<Place, HostError> {
        let rest = [file_id.to_string(), file.name.clone(), file.bytes.to_string()];
        let place = self.place("uploadStartFileUpdate", &rest, &file.name).await?;
        place.map_err(|said| HostError::new(Class::Unreadable, said))
    }

    /// Whether the host says that this is a reservation, and no file yet.
    async fn is_unfinished(&self, file_id: i64) -> Result<bool, HostError> {
        let arguments = self.arguments(&[file_id.to_string()]);
        match self.ask("uploadStartedFileExists", &arguments, true).await? {
            SoapReply::Response(response) => Ok(truth(&response) == Some(true)),
            SoapReply::Fault(fault) if matches!(fault.class, Class::SessionLost | Class::Unreadable) => Ok(false),
            SoapReply::Fault(fault) => Err(fault),
        }
    }
}

/// How many numbers a name may get.
const NAMES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_before_the_end_of_a_name() {
        let names = ["report.pdf", "a.tar.gz", "none", ".hidden", "ü."].map(|name| numbered(name, 2));
        assert_eq!(names, ["report (2).pdf", "a.tar (2).gz", "none (2)", ".hidden (2)", "ü (2)."]);
    }

    #[test]
    fn a_name_that_is_refused_and_not_listed_is_left_alone_for_a_while_and_then_given_up() {
        let names = Names::default();
        let rest = || names.rest(-1, "a");
        assert_eq!([rest(), rest(), rest()], [Some(UNLISTED[0]), Some(UNLISTED[1]), Some(UNLISTED[1])], "perhaps it takes nothing");
        names.took_one();
        assert_eq!((rest(), names.rest(-1, "b"), names.rest(7, "a")), (None, Some(UNLISTED[0]), Some(UNLISTED[0])));
    }

    #[test]
    fn a_reservation_is_anothers_only_while_that_one_uses_it() {
        let names = Names::default();
        names.is_used(7, "v1");
        assert_eq!([names.is_anothers(7, "v1"), names.is_anothers(7, "v2"), names.is_anothers(8, "v2")], [false, true, false]);
        names.is_gone(7);
        assert!(!names.is_anothers(7, "v2"));
    }
}
