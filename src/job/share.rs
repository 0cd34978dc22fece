//! Who may have how many of the places to upload at once: among hosts, and within a host among retries and new jobs, large and small.
//! Pure.
//!
//! Every configured host is sure of a few places, whether it has work or not: a file that arrives for it later begins at once,
//! although other hosts hang in everything that they hold. The rest is lent to whoever has work, fairly. A place that is held is
//! never taken away.

/// A host, as far as its share of the places goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Places it holds.
    pub holds: usize,
    /// Places it may hold by a limit of its own.
    pub limit: usize,
    /// How many more it would take now: it has work for them, and its limit and its health allow them.
    pub wants: usize,
    /// When it was given a place last: a number that grows with time.
    pub served: u64,
}

/// How many of `places` a host is sure of, with so many hosts in all and with its own limit. The hosts together are sure of no more
/// than there are, and of none where there are fewer places than hosts.
pub(crate) fn sure(places: usize, hosts: usize, limit: usize) -> usize {
    if hosts > places { 0 } else { (places / (2 * hosts.max(1))).max(1).min(limit) }
}

/// How many of `places` each host is given now, in the order of `hosts`.
///
/// Those with the fewest come first, and of these the one that has waited longest. Where there are fewer places than hosts, nobody
/// can be sure of one; half of them are kept for hosts that hold none, and these take turns.
pub(crate) fn places(places: usize, hosts: &[Holder]) -> Vec<usize> {
    let few = hosts.len() > places;
    let sure = |host: &Holder| if few { 1.min(host.limit) } else { sure(places, hosts.len(), host.limit) };
    let mut given = vec![0; hosts.len()];
    let mut free = places.saturating_sub(hosts.iter().map(|host| host.holds).sum());
    let mut owed: usize = hosts.iter().map(|host| sure(host).saturating_sub(host.holds)).sum();
    while free > 0 {
        let kept = if few { owed.min(places / 2) } else { owed };
        let is_owed = |at: usize| hosts[at].holds + given[at] < sure(&hosts[at]);
        let may = |at: &usize| given[*at] < hosts[*at].wants && (is_owed(*at) || free > kept || planted!("share.no_place_kept"));
        let next = (0..hosts.len()).filter(may).min_by_key(|at| (hosts[*at].holds + given[*at], hosts[*at].served));
        let Some(next) = next else { break };
        owed -= usize::from(is_owed(next));
        given[next] += 1;
        free -= 1;
    }
    given
}

/// The jobs of one host that could be carried, and those that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Jobs that upload.
    pub running: usize,
    /// Of these, the retries.
    pub retrying: usize,
    /// Retries whose time has come.
    pub due: usize,
    /// Jobs that have not been tried yet.
    pub new: usize,
    /// Whether the job that was begun last was a retry.
    pub retried_last: bool,
}

/// Of `given` places, how many go to retries and how many to new jobs.
///
/// While new jobs wait, retries hold at most half of the host's places, those that upload already counted; a single place they
/// share by turns. What one of the two has no use for is lent to the other.
pub(crate) fn mix(given: usize, mix: Mix) -> (usize, usize) {
    let all = mix.running + given;
    let most = if all == 1 { usize::from(!mix.retried_last) } else { (all / 2).saturating_sub(mix.retrying) };
    let lent = if planted!("share.retries_first") { given } else { given.saturating_sub(mix.new) };
    let retries = most.max(lent).min(given).min(mix.due);
    (retries, (given - retries).min(mix.new))
}

/// Of the retries of a host that are due, so many are compared by their priority: those that have waited longest.
pub(crate) const RETRIES_COMPARED: usize = 256;

/// A file of fewer bytes is small.
pub(crate) const SMALL_BYTES: u64 = 1024 * 1024;

/// Of the places that a host's new jobs are `given`, how many are for small files before all others.
///
/// A note of three bytes is not to wait for films that were there before it: of a host's `all` places, these included, one in four prefers
/// small files, those that upload (`holds`) already counted. With fewer places than four, small files have every second turn.
pub(crate) fn small(given: usize, all: usize, holds: usize, small_last: bool) -> usize {
    let most = if all < 4 { usize::from(!small_last) } else { (all / 4).saturating_sub(holds) };
    most.min(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A host without a limit of its own.
    fn host(holds: usize, wants: usize) -> Holder {
        Holder { holds, limit: 1000, wants, served: 0 }
    }

    #[test]
    fn a_host_is_sure_of_half_of_an_equal_share_and_of_one_place_at_least() {
        let cases = [
            // (places, hosts, limit) -> sure
            ((16, 1, 1000), 8),
            ((16, 2, 1000), 4),
            ((16, 5, 1000), 1),
            ((16, 2, 1), 1),
            ((16, 16, 1000), 1),
            ((16, 17, 1000), 0),
            ((64, 2, 1000), 16),
            ((1, 1, 1000), 1),
            ((0, 0, 1000), 1),
        ];
        for ((places, hosts, limit), expected) in cases {
            assert_eq!(sure(places, hosts, limit), expected, "{places} places, {hosts} hosts, limit {limit}");
        }
    }

    #[test]
    fn places_are_shared_out_as_the_table_says() {
        let cases: [(&str, usize, Vec<Holder>, Vec<usize>); 14] = [
            ("one host has everything", 16, vec![host(0, 100)], vec![16]),
            ("one host that holds some gets the rest", 16, vec![host(10, 100)], vec![6]),
            ("an idle host keeps what it is sure of", 16, vec![host(0, 100), host(0, 0)], vec![12, 0]),
            ("a host that came late finds its places free", 16, vec![host(12, 100), host(0, 100)], vec![0, 4]),
            ("two that have work share equally", 16, vec![host(0, 100), host(0, 100)], vec![8, 8]),
            ("what is freed goes to the one with fewer", 16, vec![host(11, 100), host(4, 100)], vec![0, 1]),
            ("what one does not want is lent", 16, vec![host(0, 100), host(0, 2)], vec![12, 2]),
            ("a limit of its own is kept", 16, vec![host(0, 100), Holder { limit: 1, ..host(0, 1) }], vec![15, 1]),
            ("all are sure of one", 4, vec![host(0, 9), host(0, 0), host(0, 0), host(0, 9)], vec![1, 0, 0, 1]),
            (
                "and a place is kept for each that is idle",
                4,
                vec![host(0, 9), host(0, 0), host(0, 0), host(0, 0)],
                vec![1, 0, 0, 0],
            ),
            ("with fewer places than hosts, half stays for those without", 4, vec![host(0, 9); 5], vec![1, 1, 1, 1, 0]),
            (
                "and a single busy host has the other half",
                4,
                [vec![host(0, 9)], vec![host(0, 0); 9]].concat(),
                [vec![2], vec![0; 9]].concat(),
            ),
            ("more than there is cannot be given", 4, vec![host(7, 9), host(0, 9)], vec![0, 0]),
            ("without hosts there is nothing to give", 4, vec![], vec![]),
        ];
        for (what, slots, hosts, expected) in cases {
            assert_eq!(places(slots, &hosts), expected, "{what}");
        }
    }

    #[test]
    fn with_one_place_and_three_hosts_each_has_its_turn() {
        let mut hosts = [host(0, 9), host(0, 9), host(0, 9)];
        let mut turns = Vec::new();
        for turn in 1..=6 {
            let given = places(1, &hosts);
            let at = given.iter().position(|given| *given == 1).unwrap();
            hosts[at].served = turn;
            turns.push(at);
        }
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn retries_and_new_jobs_are_mixed_as_the_table_says() {
        let cases = [
            // given, (running, retrying, due, new, retried_last) -> (retries, new)
            ("half each", 4, (0, 0, 9, 9, false), (2, 2)),
            ("of an odd number the new ones have more", 3, (0, 0, 9, 9, false), (1, 2)),
            ("no new ones: all to the retries", 4, (0, 0, 9, 0, true), (4, 0)),
            ("no retries: all to the new ones", 4, (0, 0, 0, 9, false), (0, 4)),
            ("few new ones: the rest is lent", 4, (0, 0, 9, 1, false), (3, 1)),
            ("few retries: the rest is lent", 4, (0, 0, 1, 9, false), (1, 3)),
            ("retries that run are counted", 1, (3, 3, 9, 9, false), (0, 1)),
            ("until they hold half", 1, (3, 2, 9, 9, false), (0, 1)),
            ("and one less than half makes room for one", 1, (3, 1, 9, 9, true), (1, 0)),
            ("one place is the new ones' after a retry", 1, (0, 0, 9, 9, true), (0, 1)),
            ("and a retry's after a new one", 1, (0, 0, 9, 9, false), (1, 0)),
            ("one place and nothing new", 1, (0, 0, 9, 0, true), (1, 0)),
            ("nothing given", 0, (2, 1, 9, 9, false), (0, 0)),
            ("nothing there", 4, (0, 0, 0, 0, false), (0, 0)),
        ];
        for (what, given, (running, retrying, due, new, retried_last), expected) in cases {
            assert_eq!(mix(given, Mix { running, retrying, due, new, retried_last }), expected, "{what}");
        }
    }

    fn any_hosts() -> impl Strategy<Value = Vec<Holder>> {
        let holder = (0usize..5, 1usize..8, 0usize..8, 0u64..4).prop_map(|(holds, limit, wants, served)| {
            let holds = holds.min(limit);
            Holder { holds, limit, wants: wants.min(limit - holds), served }
        });
        prop::collection::vec(holder, 0..7)
    }

    #[test]
    fn one_place_in_four_is_for_small_files() {
        // Given, all, held by small ones, whether the last one was small: how many.
        let table = [
            ((8, 8, 0, false), 2),
            ((1, 8, 0, false), 1),
            ((1, 8, 1, true), 1),
            ((1, 8, 2, true), 0),
            ((1, 8, 5, true), 0),
            ((4, 4, 0, true), 1),
            ((0, 4, 0, false), 0),
            ((1, 1, 0, false), 1),
            ((1, 1, 0, true), 0),
            ((1, 3, 2, false), 1),
            ((2, 3, 0, true), 0),
        ];
        for ((given, all, holds, small_last), expected) in table {
            assert_eq!(small(given, all, holds, small_last), expected, "{given} {all} {holds} {small_last}");
        }
    }

    proptest! {
        #[test]
        fn no_more_is_given_than_is_free_or_wanted(slots in 0usize..20, hosts in any_hosts()) {
            let given = places(slots, &hosts);
            let held: usize = hosts.iter().map(|host| host.holds).sum();
            prop_assert!(given.iter().sum::<usize>() <= slots.saturating_sub(held));
            for (given, host) in given.iter().zip(&hosts) {
                prop_assert!(*given <= host.wants);
            }
        }

        #[test]
        fn whoever_comes_later_finds_the_places_it_is_sure_of(slots in 0usize..20, mut hosts in any_hosts(), late in 0usize..7) {
            prop_assume!(late < hosts.len() && hosts.len() <= slots);
            // From an empty start, everybody but one takes what it can get, and keeps it.
            for host in &mut hosts {
                host.holds = 0;
                host.wants = host.limit;
            }
            hosts[late].wants = 0;
            let given = places(slots, &hosts);
            for (host, given) in hosts.iter_mut().zip(given) {
                host.holds = given;
                host.wants -= given;
            }
            hosts[late].wants = hosts[late].limit;
            let given = places(slots, &hosts)[late];
            prop_assert!(given >= sure(slots, hosts.len(), hosts[late].limit));
        }

        #[test]
        fn nothing_stays_free_that_a_host_without_any_would_take(slots in 1usize..20, hosts in any_hosts()) {
            let given = places(slots, &hosts);
            let held: usize = hosts.iter().map(|host| host.holds).sum();
            let free = slots.saturating_sub(held + given.iter().sum::<usize>());
            let wants = hosts.iter().zip(&given).any(|(host, given)| host.holds + given == 0 && host.wants > 0);
            prop_assert!(free == 0 || !wants);
        }

        #[test]
        fn no_place_is_wasted_on_a_mix(given in 0usize..9, running in 0usize..9, retrying in 0usize..9, due in 0usize..9, new in 0usize..9) {
            let mixed = mix(given, Mix { running, retrying: retrying.min(running), due, new, retried_last: false });
            prop_assert_eq!(mixed.0 + mixed.1, given.min(due + new));
            prop_assert!(mixed.0 <= due && mixed.1 <= new);
        }
    }
}
