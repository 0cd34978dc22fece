//! Bugs that are built in on purpose, so that a simulator can show that it finds them.
//!
//! Each stands where a person could have made it, as `planted!("name")`: whether that one is switched on. Without the feature
//! `planted-bugs` the macro is the constant `false`, and nothing of this is compiled in; with it, none is switched on until
//! somebody calls `plant`.

/// Whether the bug of this name is switched on.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($name:literal) => {{
        const _: () = assert!($crate::planted::is_listed($name), "this bug is not in the list");
        $crate::planted::is_planted($name)
    }};
}
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

#[cfg(feature = "planted-bugs")]
pub use bugs::{BUGS, Bug, Promise, UnknownBug, clear, plant};
#[cfg(feature = "planted-bugs")]
pub(crate) use bugs::{is_listed, is_planted};

#[cfg(feature = "planted-bugs")]
mod bugs {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What is promised to users, and a bug may break.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Promise {
        /// Every settled file becomes a job, and every job ends as `done` or visibly otherwise.
        Lost,
        /// A file that is still being written is not sent.
        Early,
        /// The bytes of two versions never meet in one file.
        Mixed,
        /// What a host has acknowledged is not sent to it again.
        Repeated,
        /// A version is uploaded to a host once, or marked as perhaps being there twice.
        Once,
        /// A source goes only when every host of its watch has proved that it has the file, and only as the version that was sent.
        Source,
        /// Every wait ends, and whatever is taken is given back.
        Bounded,
        /// What fails or hangs leaves the rest its share.
        Fair,
        /// A job that does not move says why.
        Reason,
        /// A secret stands in nothing that is stored, shown or logged.
        Secret,
        /// A host that asks for rest has it.
        Rest,
        /// An order is carried out, and its answer says what it has changed.
        Ordered,
    }

    /// A bug that can be switched on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Bug {
        /// Its name: where it is and what it does, in lower case.
        pub name: &'static str,
        /// What it does wrong, in one sentence.
        pub does: &'static str,
        /// The promise that it breaks.
        pub breaks: Promise,
    }

    /// There is no bug of this name.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("there is no planted bug `{0}`")]
    pub struct UnknownBug(pub String);

    const fn bug(name: &'static str, breaks: Promise, does: &'static str) -> Bug {
        Bug { name, does, breaks }
    }

    /// Every bug that can be switched on, in the order in which a file meets them.
    pub const BUGS: &[Bug] = &[
        bug("events.lost_unheeded", Promise::Lost, "after the platform has lost events, the folders are not scanned"),
        bug("settle.writer_ignored", Promise::Early, "a file that is quiet is settled, whoever has it open for writing"),
        bug("settle.change_unseen", Promise::Early, "the quiet time goes on although the file has changed"),
        bug("marker.older_suffices", Promise::Early, "a marker that is older than its file says that it is complete"),
        bug("rename.is_new", Promise::Once, "a file under a new name is taken for another file"),
        bug("renumbered.is_new", Promise::Once, "a file with another device or inode number is taken for a new version"),
        bug("claim.not_recovered", Promise::Lost, "what a killed daemon was uploading is never claimed again"),
        bug(
            "rest.believed_without_end",
            Promise::Bounded,
            "at a start, a host's stored rest is believed however far ahead it ends",
        ),
        bug("rest.ignored", Promise::Rest, "a host that asked for rest is given jobs all the same"),
        bug("rest.stops_everyone", Promise::Fair, "while one host rests or is held, no host is given a job"),
        bug("share.no_place_kept", Promise::Fair, "a host that hangs in all it has may hold every place there is"),
        bug("share.retries_first", Promise::Fair, "new jobs wait until no retry is due"),
        bug("connection.not_given_back", Promise::Bounded, "a request that fails keeps its connection"),
        bug("source.numbers_only", Promise::Mixed, "a file that changes while it is sent is known by its inode alone"),
        bug("bandwidth.unheeded", Promise::Bounded, "bytes go as fast as the host takes them, whatever the limit"),
        bug("resume.any_version", Promise::Mixed, "a half-sent file is completed with whatever version is there now"),
        bug("ack.before_send", Promise::Repeated, "a part is recorded as held before the host was sent it"),
        bug("commit.intent_not_kept", Promise::Once, "that a finish is about to be sent is not put on record"),
        bug("commit.not_synced", Promise::Lost, "what must outlive the loss of power is answered before the disk has it"),
        bug(
            "finish.doubt_forgotten",
            Promise::Once,
            "a repeated finish that is refused counts as if the first had never been sent",
        ),
        bug("finish.repeated_is_lost", Promise::Once, "an upload that the host has finished unheard counts as a lost session"),
        bug("duplicate.unmarked", Promise::Once, "a file that may be on the host twice is not marked so"),
        bug("folder_missing.is_gone", Promise::Repeated, "a file whose folder is away for a while counts as changed"),
        bug("gone.remembered", Promise::Lost, "a version whose job is gone is not met again when it comes back"),
        bug("transient.fails_the_file", Promise::Lost, "the third passing failure in a row fails the job for good"),
        bug("held.without_reason", Promise::Reason, "a job that is held does not say why"),
        bug("order.forgotten", Promise::Ordered, "what was ordered of a job under way is forgotten when its attempt ends"),
        bug("order.untold", Promise::Ordered, "an order is carried out, but its answer names no job"),
        bug("secret.not_sought", Promise::Secret, "secrets are not looked for in what a host says"),
        bug("after.first_host", Promise::Source, "the after-action waits only for the first host of the watch"),
        bug("after.word_suffices", Promise::Source, "a host's word is proof enough for the after-action"),
        bug("after.any_version", Promise::Source, "the after-action takes whatever version is there now"),
    ];

    /// The place of the bug that is switched on, counted from 1.
    static PLANTED: AtomicUsize = AtomicUsize::new(0);

    /// Switches one bug on for the whole process, and any other off.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn plant(name: &str) -> Result<(), UnknownBug> {
        let place = BUGS.iter().position(|bug| bug.name == name).ok_or_else(|| UnknownBug(name.to_owned()))?;
        PLANTED.store(place + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Switches every bug off.
    pub fn clear() {
        PLANTED.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_planted(name: &str) -> bool {
        let place = PLANTED.load(Ordering::Relaxed);
        place > 0 && BUGS[place - 1].name == name
    }

    /// Whether there is a bug of this name.
    pub(crate) const fn is_listed(name: &str) -> bool {
        let mut place = 0;
        while place < BUGS.len() {
            if same(BUGS[place].name.as_bytes(), name.as_bytes()) {
                return true;
            }
            place += 1;
        }
        false
    }

    const fn same(one: &[u8], other: &[u8]) -> bool {
        let mut at = 0;
        while at < one.len() && at < other.len() && one[at] == other[at] {
            at += 1;
        }
        at == one.len() && at == other.len()
    }
}
