//! What an engine that keeps the queue must be able to do: the verbs, in groups that are committed as one, and lookups.
//!
//! Everything that goes in and comes out is of our own types, and nothing asks what time it is: whoever calls says when, and for
//! which daemon. A verb may run more than once before its group is committed, each time against the state before it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::job::absence::RootFolder;
use crate::job::digest::Digest;
use crate::job::plan::Plan;
use crate::job::steer::Steered;
use crate::job::upload::{Ack, Outcome, Session, Shape};
use crate::job::{DeliveryId, HostReport, Identity, JobId, Reason, SentHash, State, WatchReport, Watches};

use super::error::StoreError;
use super::values::{
    Arrival, Asking, Caller, Claims, DaemonId, Due, Live, Recorded, Resting, ReturnedJob, Rules, Seen, Steer, Version, Wanted,
};

/// Answers for files that a scan has met.
pub(crate) trait Lookup: Send {
    /// What is known of these versions of files in `folder` for `hosts`, in their order, as it was at one moment. Nothing is held
    /// when it returns, and no more than [`super::LOOKUPS_MAX`] files may be asked about at once.
    fn look_up(&mut self, folder: &Path, files: &[(&OsStr, Identity)], hosts: &[String]) -> Result<Vec<Seen>, StoreError>;
}

/// Every verb, with the module of the SQL behind it. The list is handed to `$with`.
macro_rules! verbs {
    ($with:ident) => {
        $with! {
            jobs::recover() -> ();
            /// Answers how many jobs rest now that did not before, and how many go on.
            unwanted::follow_watches(watches: &Watches) -> (u64, u64);
            unwanted::unwanted_under_way(watches: &Watches) -> Vec<JobId>;
            jobs::look_again() -> ();
            jobs::configure(watches: &[PathBuf], hosts: &[(String, String)]) -> Vec<Option<i64>>;
            jobs::resting_hosts() -> Vec<Resting>;
            jobs::clock_was_set_back() -> ();
            jobs::network_changed(hosts: &[String]) -> ();
            jobs::claim(asking: &[Asking], uploads_max: usize) -> Claims;
            jobs::path(job: JobId) -> PathBuf;
            jobs::record_version(job: JobId, version: &Version) -> Recorded;
            jobs::record_wait(job: JobId, why: Option<&Reason>) -> ();
            /// Answers the state the job is in then, and whether a delivery may be due. A job that is claimed no more, or by
            /// another daemon, stays as it is.
            jobs::record_outcome(job: JobId, outcome: &Outcome, rules: &Rules) -> (State, bool);
            /// Answers whether a delivery may be due; nothing for a job that is claimed no more, or by another daemon, which stays
            /// as it is.
            jobs::return_job(job: JobId, returned: &ReturnedJob, rules: &Rules) -> Option<bool>;
            unwanted::record_given_back(job: JobId) -> ();
            jobs::record_host(host: &str, report: &HostReport) -> ();
            jobs::record_host_rest(host: &str, until_ms: i64) -> ();
            /// Answers, for each host that has failed since its last success, how.
            jobs::outages() -> Vec<(String, String)>;
            jobs::record_outage(host: &str, outage: Option<&str>) -> ();
            /// Answers whether there are other jobs to be done for this host.
            jobs::others_wait(host: &str, job: JobId) -> bool;
            jobs::requeue_held(host: &str) -> ();
            jobs::record_watch(path: &Path, report: &WatchReport) -> ();
            jobs::record_progress(live: &[Live]) -> ();
            jobs::known_roots() -> Vec<(PathBuf, RootFolder)>;
            jobs::record_root(watch: &Path, root: &RootFolder) -> ();

            // These and `sent_as` answer whether the job is this daemon's still. If not, they change nothing.
            uploads::record_session(job: JobId, session: &Session, shape: &Shape, plan: &Plan, version: &Version) -> Recorded;
            uploads::record_begun(job: JobId, session: &Session) -> bool;
            uploads::record_ack(job: JobId, ack: &Ack, plan: &Plan, hash: Option<SentHash>) -> bool;
            uploads::record_offset(job: JobId, held_bytes: u64, hash: Option<SentHash>, moved_to: Option<&Session>) -> bool;
            uploads::replace_acks(job: JobId, acks: &[Ack], held_bytes: u64, plan: &Plan, hash: Option<SentHash>) -> bool;
            uploads::record_commit_intent(job: JobId) -> bool;
            uploads::save_digest(job: JobId, part_bytes: u64, digest: &Digest) -> bool;
            uploads::saved_digest(job: JobId, part_bytes: u64) -> Option<Digest>;

            /// Answers how many jobs were made.
            files::enqueue(arrivals: &[Arrival]) -> u64;
            /// Answers whether the file was known there.
            files::record_rename(from: (&Path, &OsStr), to: (&Path, &OsStr), now: &Identity) -> bool;
            files::record_new_numbers(folder: &Path, name: &OsStr, now: &Identity) -> ();

            /// Answers whether an after-action that waited may run now.
            deliveries::record_close(folder: &Path, name: &OsStr, version: &Identity) -> bool;
            /// Answers which hooks are gone, each with the number of its rows.
            deliveries::set_rules(rules: &Rules) -> Vec<(String, u64)>;
            deliveries::due_deliveries(wanted: &[Wanted], running: &[DeliveryId]) -> Due;
            /// Answers whether an after-action is due now.
            deliveries::record_delivery(ids: &[DeliveryId], rules: &Rules) -> bool;
            /// Answers whether an after-action is due now.
            deliveries::record_missing_file(id: DeliveryId, rules: &Rules) -> bool;
            deliveries::keep_source(id: DeliveryId, note: &Reason) -> ();
            deliveries::record_failed_delivery(ids: &[DeliveryId], why: &Reason, next_try_ms: i64) -> ();
            deliveries::look_again_later(id: DeliveryId, next_try_ms: i64) -> ();
            /// Answers whether the job is queued.
            deliveries::requeue(id: DeliveryId) -> bool;

            /// Answers what became of the order, and whether a delivery may be due. Without rules, what follows from them is left to
            /// the next start.
            steering::steer(steer: &Steer, rules: Option<&Rules>) -> (Steered, bool);
        }
    };
}

macro_rules! declare {
    ($($(#[$doc:meta])* $sql:ident::$verb:ident($($value:ident: $type:ty),*) -> $answer:ty;)*) => {
        /// An engine that keeps the queue. What the verbs mean is told at those of [`super::Store`].
        pub(crate) trait Backend: Lookup {
            /// Begins a group of verbs.
            fn begin(&mut self) -> Result<(), StoreError>;
            /// Commits the group in the name of `daemon`: all of it, or nothing. Another process may rely on it then, after a loss
            /// of power nobody may yet.
            fn commit(&mut self, daemon: DaemonId) -> Result<(), StoreError>;
            /// Undoes the group; nothing where none has begun.
            fn rollback(&mut self) -> Result<(), StoreError>;
            /// Gives back room that is not needed, after a group has found none.
            fn make_room(&mut self) {}
            /// Whether what is written to is still what the next start will find. If not, everything that is known is kept beside it
            /// for the rescue, as far as it can be read, and the answer is [`StoreError::Damaged`]. Asked between groups.
            fn still_in_place(&mut self) -> Result<(), StoreError> {
                Ok(())
            }
            /// Leaves everything in order for the next start. Where what was written may not be on the disk as it was written,
            /// `intact` is false, and the next start has to see for itself.
            fn close(&mut self, _intact: bool) {}
            /// Every job, for tests and simulators to see.
            #[cfg(any(test, feature = "simulator"))]
            fn every_job(&mut self) -> Result<Vec<super::JobRow>, StoreError>;
            $($(#[$doc])* fn $verb(&mut self, by: Caller $(, $value: $type)*) -> Result<$answer, StoreError>;)*
        }
    };
}

verbs!(declare);
pub(super) use verbs;
