//! When a source may be released: whether the after-action of a file's version may run, must wait, or will not come.
//!
//! Pure and total: from the jobs of the version, the hosts that its watch sends to, and the hosts that are taken at their word.

use super::{Proof, State};

/// A job of the version, as far as its after-action goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sibling {
    /// Its host.
    pub host: String,
    /// Its state.
    pub state: State,
    /// What its host has told about the file.
    pub proof: Proof,
    /// Whether its host was taken at its word when it told that, or a start has taken it at its word since.
    pub trusted: bool,
    /// Whether a hook for `done` has still to hear of it.
    pub hook_pending: bool,
    /// When the file that it sent was last changed or touched, in nanoseconds since the Unix epoch: nobody can set that.
    pub ctime_ns: i64,
}

impl Sibling {
    fn has_it(&self) -> bool {
        matches!(self.state, State::Uploaded | State::Done)
    }
}

/// What is to be done about the after-action of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release<'a> {
    /// No watch asks for one any more.
    Unwanted,
    /// It waits until this host has the file.
    WaitFor(&'a str),
    /// This host will not have the file, so nothing is done to it.
    RefusedBy(&'a str),
    /// It is not known any more what this host has.
    Forgotten(&'a str),
    /// This host was added since: its job is made by the next scan that finds the file, and somebody must look whether one will.
    LookFor(&'a str),
    /// This host has only said that it has the file, and is not taken at its word.
    UnprovenBy(&'a str),
    /// The file was touched between its uploads to two hosts, and may have been another one to each of them.
    Touched,
    /// It waits for the hooks that have to hear of the file before.
    HooksPending,
    /// It may run, on behalf of the job at this place; `None` where no job waits for it.
    Due(Option<usize>),
}

/// Decides about the version that `siblings` are the jobs of, in the order in which they were made. `hosts` are those of its watch,
/// if that has an after-action; for those in `taken_up` the version had jobs, and `trusted` are taken at their word.
///
/// What a host that was taken out of the watch has not got, or not proved, is owed all the same: a new configuration alone makes
/// nothing due.
pub(crate) fn release<'a>(
    siblings: &'a [Sibling],
    hosts: Option<&'a [String]>,
    taken_up: &[String],
    trusted: &[String],
) -> Release<'a> {
    let Some(hosts) = hosts else { return Release::Unwanted };
    let of = |host: &'a str| siblings.iter().filter(move |sibling| sibling.host == host);
    let on_its_way = siblings.iter().find(|s| !s.state.is_final() && !s.has_it());
    if let Some(sibling) = on_its_way {
        return Release::WaitFor(&sibling.host);
    }
    let without = || hosts.iter().map(String::as_str).filter(|host| !of(host).any(Sibling::has_it));
    if let Some(host) = without().find(|host| of(host).next().is_some()) {
        return Release::RefusedBy(host);
    }
    let taken_out = || siblings.iter().filter(|sibling| !hosts.contains(&sibling.host));
    if let Some(sibling) = taken_out().find(|taken_out| !of(&taken_out.host).any(Sibling::has_it)) {
        return Release::RefusedBy(&sibling.host);
    }
    if let Some(host) = without().next() {
        return if taken_up.iter().any(|taken_up| taken_up == host) { Release::Forgotten(host) } else { Release::LookFor(host) };
    }
    let on_behalf_of = siblings.iter().rposition(|sibling| sibling.state == State::Uploaded);
    let last = on_behalf_of.map(|at| &siblings[at]).or_else(|| siblings.iter().rfind(|sibling| sibling.has_it()));
    let is_that = |sibling: &&Sibling| sibling.has_it() && last.is_none_or(|last| last.ctime_ns == sibling.ctime_ns);
    if !hosts.iter().all(|host| of(host).any(|sibling| is_that(&sibling))) {
        return Release::Touched;
    }
    for host in hosts {
        let told = of(host).filter(is_that).max_by_key(|sibling| sibling.proof);
        if told.is_some_and(|told| !told.proof.suffices(told.trusted && trusted.contains(host))) {
            return Release::UnprovenBy(host);
        }
    }
    // One that is done waits for nothing.
    let waiting = |sibling: &&Sibling| sibling.state == State::Uploaded && !sibling.proof.suffices(sibling.trusted);
    if let Some(sibling) = taken_out().find(waiting) {
        return Release::UnprovenBy(&sibling.host);
    }
    if siblings.iter().any(|sibling| sibling.hook_pending) {
        return Release::HooksPending;
    }
    Release::Due(on_behalf_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(host: &str, state: State, proof: Proof) -> Sibling {
        Sibling { host: host.into(), state, proof, trusted: false, hook_pending: false, ctime_ns: 0 }
    }

    #[test]
    fn a_source_goes_only_when_every_host_of_its_watch_has_proved_that_it_has_the_file() {
        use Proof::{Digest, Size, Word};
        use Release::{Due, LookFor, RefusedBy, UnprovenBy, WaitFor};
        use State::{Done, Failed, Gone, Held, Queued, Uploaded, Uploading, Waiting};
        let a = |state, proof| sibling("a", state, proof);
        let b = |state, proof| sibling("b", state, proof);
        let stranger = |state| sibling("gone", state, Word);
        let cases = [
            (vec![a(Uploaded, Digest), b(Uploaded, Size)], Due(Some(1))),
            (vec![a(Uploaded, Digest), b(Done, Size)], Due(Some(0))),
            (vec![a(Done, Digest), b(Done, Size)], Due(None)),
            (vec![a(Uploaded, Digest)], LookFor("b")),
            (vec![], LookFor("a")),
            (vec![a(Uploaded, Digest), b(Queued, Word)], WaitFor("b")),
            (vec![a(Uploaded, Digest), b(Uploading, Word)], WaitFor("b")),
            (vec![a(Uploaded, Digest), b(Waiting, Word)], WaitFor("b")),
            (vec![a(Uploaded, Digest), b(Held, Word)], WaitFor("b")),
            (vec![a(Uploaded, Digest), b(Failed, Word)], RefusedBy("b")),
            (vec![a(Failed, Word)], RefusedBy("a")),
            (vec![a(Uploaded, Digest), b(Gone, Word), b(Done, Size)], Due(Some(0))),
            (vec![a(Uploaded, Digest), b(Gone, Word), b(Queued, Word)], WaitFor("b")),
            (vec![a(Uploaded, Digest), b(Uploaded, Word)], UnprovenBy("b")),
            (vec![a(Uploaded, Word), b(Uploaded, Word)], UnprovenBy("a")),
            (vec![a(Uploaded, Digest), b(Done, Word), b(Uploaded, Size)], Due(Some(2))),
            (vec![a(Done, Word), a(Gone, Digest), b(Done, Size)], UnprovenBy("a")),
            // To take a host out of the watch releases nothing that waited for it.
            (vec![a(Uploaded, Digest), b(Uploaded, Size), stranger(Failed)], RefusedBy("gone")),
            (vec![a(Uploaded, Digest), b(Uploaded, Size), stranger(Waiting)], WaitFor("gone")),
            (vec![a(Uploaded, Digest), b(Uploaded, Size), stranger(Queued)], WaitFor("gone")),
            (vec![a(Uploaded, Digest), b(Uploaded, Size), stranger(Uploaded)], UnprovenBy("gone")),
            (vec![a(Uploaded, Digest), b(Uploaded, Size), stranger(Failed), stranger(Done)], Due(Some(1))),
            // One that was through before has nothing to do with it.
            (vec![a(Uploaded, Digest), b(Uploaded, Size), stranger(Done)], Due(Some(1))),
        ];
        let hosts = ["a".to_owned(), "b".to_owned()];
        for (siblings, expected) in cases {
            assert_eq!(release(&siblings, Some(&hosts), &[], &[]), expected, "{siblings:#?}");
        }
    }

    #[test]
    fn a_host_whose_uploads_nobody_remembers_is_neither_waited_for_nor_believed_to_have_the_file() {
        let hosts = ["a".to_owned(), "b".to_owned()];
        let siblings = [sibling("a", State::Uploaded, Proof::Digest)];
        assert_eq!(release(&siblings, Some(&hosts), &hosts, &[]), Release::Forgotten("b"));
        assert_eq!(release(&siblings, Some(&hosts), &hosts[..1], &[]), Release::LookFor("b"));
        let refused = [sibling("a", State::Uploaded, Proof::Digest), sibling("b", State::Failed, Proof::Word)];
        assert_eq!(release(&refused, Some(&hosts), &hosts, &[]), Release::RefusedBy("b"));
    }

    #[test]
    fn a_host_is_taken_at_its_word_as_long_as_it_is_trusted_and_not_for_what_it_said_before() {
        let uploaded = |trusted| [Sibling { trusted, ..sibling("a", State::Uploaded, Proof::Word) }];
        let hosts = ["a".to_owned()];
        assert_eq!(release(&uploaded(true), Some(&hosts), &[], &["b".to_owned()]), Release::UnprovenBy("a"));
        assert_eq!(release(&uploaded(false), Some(&hosts), &[], &hosts), Release::UnprovenBy("a"));
        assert_eq!(release(&uploaded(true), Some(&hosts), &[], &hosts), Release::Due(Some(0)));
        // Its table may be gone with it.
        let taken_out = |trusted| {
            [sibling("b", State::Uploaded, Proof::Size), Sibling { trusted, ..sibling("a", State::Uploaded, Proof::Word) }]
        };
        let hosts = ["b".to_owned()];
        assert_eq!(release(&taken_out(false), Some(&hosts), &[], &[]), Release::UnprovenBy("a"));
        assert_eq!(release(&taken_out(true), Some(&hosts), &[], &[]), Release::Due(Some(1)));
    }

    #[test]
    fn a_file_that_was_touched_between_its_uploads_stays_since_each_host_may_have_another_one() {
        let job = |host, state, ctime_ns| Sibling { ctime_ns, ..sibling(host, state, Proof::Digest) };
        let cases = [
            (vec![job("a", State::Done, 1), job("b", State::Uploaded, 1)], Release::Due(Some(1))),
            (vec![job("a", State::Done, 1), job("b", State::Uploaded, 2)], Release::Touched),
            (vec![job("a", State::Uploaded, 2), job("b", State::Uploaded, 1)], Release::Touched),
            (vec![job("a", State::Done, 1), job("b", State::Done, 2)], Release::Touched),
            // What has been sent again since counts.
            (vec![job("a", State::Done, 1), job("b", State::Uploaded, 2), job("a", State::Uploaded, 2)], Release::Due(Some(2))),
            // Whoever is not in the watch any more has what it has.
            (vec![job("gone", State::Done, 1), job("a", State::Done, 2), job("b", State::Uploaded, 2)], Release::Due(Some(2))),
        ];
        let hosts = ["a".to_owned(), "b".to_owned()];
        for (siblings, expected) in cases {
            assert_eq!(release(&siblings, Some(&hosts), &[], &[]), expected, "{siblings:#?}");
        }
    }

    #[test]
    fn hooks_hear_of_the_file_before_anything_happens_to_it() {
        let hosts = ["a".to_owned()];
        let pending = [Sibling { hook_pending: true, ..sibling("a", State::Uploaded, Proof::Size) }];
        assert_eq!(release(&pending, Some(&hosts), &[], &[]), Release::HooksPending);
    }

    #[test]
    fn without_a_watch_that_asks_for_it_nothing_happens() {
        let siblings = [sibling("a", State::Uploaded, Proof::Digest)];
        assert_eq!(release(&siblings, None, &[], &[]), Release::Unwanted);
    }
}
