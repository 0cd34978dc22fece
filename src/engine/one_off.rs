//! Files that a person sends by name, whatever the watches say: taken up at once, without waiting until they have settled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::job::Identity;
use crate::os::answers::{Answers, NoAnswer};
use crate::os::crash::crash_point;
use crate::os::files::{Base, FileKind};
use crate::os::lease::Writers;
use crate::os::system::System;
use crate::store::{Arrival, Store, StoreError};
use crate::watch::{Knowledge, News};

use super::intake::Recognition;

/// Takes up what is sent by name. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OneOffs {
    recognition: Recognition,
    system: System,
}

/// Why a file is not taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTakenUp {
    /// There is no such file, or it cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is a folder, a symbolic link or something else that is no regular file.
    #[error("it is no regular file")]
    NoFile,
    /// It would be sent as it is now.
    #[error("another program has it open for writing; try again when that is done")]
    BeingWritten,
    /// Nothing is known of it.
    #[error("its disk does not answer")]
    NoAnswer,
}

impl OneOffs {
    /// For the queue in `store`, as long as nobody ends it.
    pub(crate) fn new(system: System, store: Store) -> OneOffs {
        OneOffs { recognition: Recognition::new(system.clone(), store), system }
    }

    /// The queue is not needed any more.
    pub(crate) fn end(&self) {
        self.recognition.lent().take_back();
    }

    /// Takes up the file at `path` for `hosts`, as it is now. What is on its way there already, or has been there, gets no second job. On
    /// the disk when it answers.
    pub(crate) async fn take_up(&self, path: PathBuf, hosts: Arc<[String]>) -> Result<Result<(), NotTakenUp>, StoreError> {
        let (one_offs, answers) = (self.clone(), Answers::of(self.system.threads, &path));
        match answers.get(move || one_offs.take_up_now(&path, hosts)).await {
            Ok(done) => done,
            Err(NoAnswer::Panicked(why)) => Err(StoreError::Refused(format!("internal error: {why}"))),
            Err(NoAnswer::Silent | NoAnswer::Busy) => Ok(Err(NotTakenUp::NoAnswer)),
        }
    }

    /// The same, on a thread that may wait for the disk.
    pub(crate) fn take_up_now(&self, path: &Path, hosts: Arc<[String]>) -> Result<Result<(), NotTakenUp>, StoreError> {
        let identity = match self.look(path) {
            Ok(identity) => identity,
            Err(why) => return Ok(Err(why)),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Err(NotTakenUp::NoFile)) };
        let known = self.recognition.recognize(&hosts, folder, &[(name, identity)])?;
        // What is known may rest, because no watch sends it there any more.
        let News { fingerprint, maybe_known } = match known.into_iter().next() {
            Some(Knowledge::New(news)) => news,
            _ => News::default(),
        };
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let arrival = Arrival {
            folder,
            name,
            identity,
            hosts,
            make_jobs: true,
            one_off: true,
            first_version_only: false,
            priority: 0,
            close_seen: false,
            fingerprint,
            maybe_known,
        };
        crash_point!("enqueue.before_commit");
        self.recognition.lent().store()?.enqueue(vec![arrival]).blocking()?;
        crash_point!("enqueue.after_commit");
        Ok(Ok(()))
    }

    fn look(&self, path: &Path) -> Result<Identity, NotTakenUp> {
        let unreadable = |error: std::io::Error| NotTakenUp::Unreadable(error.to_string());
        let base = Base::around(&self.system.files, path);
        if base.look(path).map_err(unreadable)?.kind != FileKind::File {
            return Err(NotTakenUp::NoFile);
        }
        let file = base.open(path).map_err(unreadable)?;
        match file.writers() {
            Writers::Somebody => Err(NotTakenUp::BeingWritten),
            Writers::Nobody | Writers::Unknown => Ok(Identity::from(file.stat().map_err(unreadable)?.numbers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::State;
    use crate::store::{Query, View};

    fn hosts(names: &[&str]) -> Arc<[String]> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_file_is_taken_up_once_for_each_host_and_what_is_no_file_or_is_being_written_is_not() {
        let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().canonicalize().unwrap().join("film.mov");
        std::fs::write(&path, "film").unwrap();
        let (store, thread) = Store::open(state.path()).unwrap();
        let one_offs = OneOffs::new(System::default(), store.clone());
        let send = |path: &Path, names| one_offs.take_up_now(path, hosts(names)).unwrap();
        assert_eq!(send(&path, &["box"]), Ok(()));
        assert_eq!(send(&path, &["box", "mirror"]), Ok(()));
        assert_eq!(send(path.parent().unwrap(), &["box"]), Err(NotTakenUp::NoFile));
        assert!(matches!(send(&path.with_file_name("none"), &["box"]), Err(NotTakenUp::Unreadable(_))));
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(send(&link, &["box"]), Err(NotTakenUp::NoFile));
        let written = path.with_file_name("written");
        let writer = std::fs::File::create(&written).unwrap();
        // Not every platform can tell.
        if cfg!(target_os = "linux") {
            assert_eq!(send(&written, &["box"]), Err(NotTakenUp::BeingWritten));
        }
        drop(writer);
        let jobs = View::open(state.path()).unwrap().unwrap().snapshot(&Query { limit: 9, ..Query::default() }).unwrap().jobs;
        let mut told: Vec<(&str, State)> = jobs.iter().map(|job| (job.host.as_str(), job.state)).collect();
        told.sort_unstable_by_key(|(host, _)| *host);
        assert_eq!(told, [("box", State::Queued), ("mirror", State::Queued)]);
        one_offs.end();
        drop((one_offs, store));
        thread.join();
    }
}
