//! Which jobs a person reads together: those of one file, and files that stand still for the same reason.

use std::path::Path;

use crate::job::{JobRow, Reason, State};

/// Where a file is shown, by that of its jobs that matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// Nothing happens without a person.
    Person,
    /// It moves.
    Moving,
    /// It will move by itself, or when a person who has stopped it wants it to.
    Waiting,
    /// It is over.
    Finished,
}

impl Section {
    /// Every one, in the order in which people read them.
    pub(super) const ALL: [Section; 4] = [Section::Person, Section::Moving, Section::Waiting, Section::Finished];

    /// That of a job in this state.
    pub(super) fn of(state: State) -> Section {
        match state {
            State::Held | State::Failed => Section::Person,
            State::Uploading => Section::Moving,
            State::Queued | State::Waiting | State::Paused | State::Uploaded => Section::Waiting,
            State::Done | State::Gone | State::Cancelled => Section::Finished,
        }
    }

    /// What stands above it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Section::Person => "Needs your attention",
            Section::Moving => "Uploading",
            Section::Waiting => "Waiting",
            Section::Finished => "Finished",
        }
    }
}

/// A version of a file, with its jobs.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    /// Where it is shown.
    pub section: Section,
    /// Its jobs, those that matter most first.
    pub jobs: Vec<&'a JobRow>,
}

/// Groups that say the same of their jobs.
#[derive(Debug, Clone)]
pub(super) struct Bundle<'a> {
    /// One, or several of which only the names differ.
    pub groups: Vec<Group<'a>>,
}

/// Puts the jobs of each file together, in the order of `jobs`. What is `beside` them goes to a file of theirs.
pub(super) fn groups<'a>(jobs: &'a [JobRow], beside: &'a [JobRow]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut of_file: std::collections::HashMap<(&Path, u64), Vec<usize>> = std::collections::HashMap::new();
    for (job, is_asked) in jobs.iter().map(|job| (job, true)).chain(beside.iter().map(|job| (job, false))) {
        let indices = of_file.entry((&job.path, job.bytes)).or_default();
        // A second job for one host is about an earlier version.
        let found = indices.iter().find(|index| !groups[**index].jobs.iter().any(|other| other.host == job.host));
        match found {
            Some(index) => groups[*index].jobs.push(job),
            None if is_asked => {
                indices.push(groups.len());
                groups.push(Group { section: Section::of(job.state), jobs: vec![job] });
            }
            None => {}
        }
    }
    for group in &mut groups {
        group.jobs.sort_by(|one, other| (Section::of(one.state), &one.host).cmp(&(Section::of(other.state), &other.host)));
        group.section = Section::of(group.jobs[0].state);
    }
    groups.sort_by_key(|group| group.section);
    groups
}

/// Puts files together that stand still for the same reason, where the first of them is.
pub(super) fn bundles<'a>(groups: Vec<Group<'a>>) -> Vec<Bundle<'a>> {
    let mut bundles: Vec<Bundle<'a>> = Vec::new();
    let mut alike: std::collections::HashMap<Vec<Said<'a>>, usize> = std::collections::HashMap::new();
    for group in groups {
        if matches!(group.section, Section::Moving | Section::Finished) {
            bundles.push(Bundle { groups: vec![group] });
            continue;
        }
        match alike.entry(said(&group)) {
            std::collections::hash_map::Entry::Occupied(found) => bundles[*found.get()].groups.push(group),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(bundles.len());
                bundles.push(Bundle { groups: vec![group] });
            }
        }
    }
    bundles
}

/// What is said of a job, but for times and numbers of its own.
type Said<'a> = (&'a str, State, Option<String>);

fn said<'a>(group: &Group<'a>) -> Vec<Said<'a>> {
    let pending = group.jobs.iter().filter(|job| Section::of(job.state) != Section::Finished);
    pending.map(|job| (job.host.as_str(), job.state, job.why.as_ref().map(Reason::to_string))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::job;
    use super::*;
    use crate::job::JobId;

    fn at(id: i64, path: &str, host: &str, state: State, why: Option<&str>) -> JobRow {
        JobRow { id: JobId(id), path: path.into(), host: host.into(), ..job(state, why) }
    }

    fn shown(groups: &[Group<'_>]) -> Vec<(Section, Vec<i64>)> {
        groups.iter().map(|group| (group.section, group.jobs.iter().map(|job| job.id.0).collect())).collect()
    }

    #[test]
    fn a_file_with_several_hosts_is_one_group_where_its_worst_job_is() {
        let jobs = [
            at(1, "/a", "box", State::Held, Some("no")),
            at(2, "/b", "box", State::Uploading, None),
            at(3, "/a", "mirror", State::Uploading, None),
            at(4, "/b", "mirror", State::Queued, None),
            at(5, "/c", "box", State::Done, None),
        ];
        let beside = [at(6, "/a", "third", State::Done, None), at(7, "/z", "box", State::Done, None)];
        let expected = [(Section::Person, vec![1, 3, 6]), (Section::Moving, vec![2, 4]), (Section::Finished, vec![5])];
        assert_eq!(shown(&groups(&jobs, &beside)), expected);
    }

    #[test]
    fn an_earlier_version_is_a_group_of_its_own() {
        let jobs = [
            at(3, "/a", "box", State::Uploading, None),
            at(4, "/a", "mirror", State::Queued, None),
            at(1, "/a", "box", State::Done, None),
            at(2, "/a", "mirror", State::Done, None),
        ];
        assert_eq!(shown(&groups(&jobs, &[])), [(Section::Moving, vec![3, 4]), (Section::Finished, vec![1, 2])]);
    }

    #[test]
    fn a_reason_is_told_once_for_all_files_that_have_it() {
        let jobs = [
            at(1, "/a", "box", State::Waiting, Some("no reply")),
            at(2, "/b", "box", State::Waiting, Some("no reply")),
            at(3, "/c", "box", State::Waiting, Some("another")),
            at(4, "/d", "mirror", State::Waiting, Some("no reply")),
            at(5, "/e", "box", State::Waiting, Some("no reply")),
            at(6, "/e", "mirror", State::Done, None),
            at(7, "/f", "box", State::Uploading, None),
            at(8, "/g", "box", State::Uploading, None),
        ];
        let bundles = bundles(groups(&jobs, &[]));
        let sizes: Vec<usize> = bundles.iter().map(|bundle| bundle.groups.len()).collect();
        assert_eq!(sizes, [1, 1, 3, 1, 1], "what moves is told one by one");
    }
}
