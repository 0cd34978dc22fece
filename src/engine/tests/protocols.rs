//! What the protocol of a kind asks for over minutes and hours, on simulated time.

use ferryd_sandbox::faults::{Action, Endpoint, Rule, Script, When};
use ferryd_sandbox::log::{Entry, Outcome};

use super::real_hosts::{Bench, bench_ruled};
use super::world::{HOUR, MINUTE, paused};
use crate::job::State;

fn at(bench: &Bench, endpoint: Endpoint) -> Vec<Entry> {
    bench.log().into_iter().filter(|entry| entry.endpoint == Some(endpoint)).collect()
}

fn is_rejected(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Rejected(_))
}

#[test]
fn an_account_that_had_too_many_logins_gets_them_one_by_one_also_after_a_restart() {
    paused(async {
        let bench = bench_ruled("uploadgig", "", |options| {
            let rules = &mut options.rules.uploadgig;
            (rules.logins_max, rules.login_window_seconds) = (2, 60);
        });
        let names: Vec<String> = (0..9).map(|number| format!("file{number}")).collect();
        for name in &names {
            bench.put(name, 100);
        }
        bench.run(7 * MINUTE).await;
        bench.run(HOUR).await;
        for name in &names {
            assert_eq!(bench.world.state(name, "uploadgig").0, State::Done);
        }
        let logins = at(&bench, Endpoint::Open);
        assert_eq!(logins.iter().filter(|login| is_rejected(login)).count(), 1, "{logins:#?}");
        let first = logins.iter().position(is_rejected).unwrap();
        let gaps: Vec<i64> = logins[first..].windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
        assert!(gaps.len() > 5 && gaps.iter().all(|gap| *gap >= 29_000), "{gaps:?}");
    });
}

#[test]
fn a_second_bad_copy_is_the_last() {
    paused(async {
        let bench = bench_ruled("uploadgig", "", |options| {
            options.faults = Script::of([Rule::new(Action::WrongFacts).at(Endpoint::Chunk).when(When::Always)]);
        });
        bench.put("file", 1000);
        bench.run(24 * HOUR).await;
        let sent = at(&bench, Endpoint::Chunk);
        assert_eq!(sent.len(), 2, "{sent:#?}");
        assert!(sent[1].at_ms - sent[0].at_ms >= 300_000);
        assert_eq!(bench.world.state("file", "uploadgig").0, State::Held);
    });
}
