//! Tests that this machine cannot run. Nobody should believe that they have passed.

use crate::said::said;

/// The variable that names the tests, with spaces between them, that need not run where `CI` is `true`.
const MAY_SKIP: &str = "FERRYD_MAY_SKIP";

/// Says that the test it is called in shows nothing here, past the capture of the test runner. Where `CI` is `true` that is a
/// failure, unless `FERRYD_MAY_SKIP` names the test.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    assert!(may_skip(test, &set("CI"), &set(MAY_SKIP)), "{test} cannot run: {why}. CI runs everything but what {MAY_SKIP} names");
    said(&format!("SKIPPED {test}: {why}"));
}

fn may_skip(test: &str, ci: &str, named: &str) -> bool {
    ci != "true" || named.split_whitespace().any(|name| name == test)
}

#[test]
fn in_ci_a_test_is_skipped_only_by_its_name() {
    assert!(may_skip("a::b", "", "") && may_skip("a::b", "false", ""));
    assert!(may_skip("a::b", "true", "x::y a::b"));
    assert!(!may_skip("a::b", "true", "") && !may_skip("a::b", "true", "a:: a::bc b"));
}
