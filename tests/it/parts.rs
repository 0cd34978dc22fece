//! How every kind cuts files, from the configuration on: the parts cover the file exactly once, within the limits of its page.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use ferryd::internals::config::{self, Environment};
use ferryd::internals::host::http::Clients;
use ferryd::internals::host::kinds::KINDS;
use ferryd::internals::host::{Host, KeptTokens, registry};
use ferryd::internals::job::plan::{Plan, Range, Unplannable};
use ferryd::internals::os::system::System;
use proptest::prelude::*;
use proptest::strategy::Union;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// What KooDrive takes at most: 200 GB.
const KOODRIVE_MAX: u64 = 200_000_000_000;
/// So many parts are looked at one by one; of more, the ends and some between.
const LOOKED_AT: u32 = 20_000;

struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// A configured host, and what its kind promises.
#[derive(Debug, Clone)]
struct Kind {
    word: &'static str,
    lines: String,
    takes_empty_files: bool,
    /// The size of the parts; nothing where the page leaves it to the size of the file.
    part_bytes: Option<u64>,
    file_max: u64,
}

impl Kind {
    fn host(&self) -> Arc<dyn Host> {
        let text = format!("[[watch]]\npath = \"/somewhere\"\nto = [\"x\"]\n[host.x]\nkind = \"{}\"\n{}", self.word, self.lines);
        let parsed = config::parse(&text, Path::new("config.toml"), KINDS, &Nothing);
        let config = parsed.unwrap_or_else(|error| panic!("{}", error.render(false)));
        let tokens = KeptTokens::read_only(&System::default(), &config.daemon.state_dir);
        registry::host(&config.hosts[0], &Nothing, &Clients::new(&System::default()), &tokens).unwrap()
    }
}

fn cloudkp(empty_file: &str) -> Kind {
    let file_max = 524_288 * u64::from(u32::MAX);
    let lines = format!("empty_file = {empty_file:?}");
    Kind { word: "cloudkp", lines, takes_empty_files: empty_file != "reject", part_bytes: None, file_max }
}

fn koodrive(part_size: u64, empty_file: &str) -> Kind {
    let lines =
        format!("app_id = \"a\"\napp_secret = \"b\"\nuser_id = \"c\"\npart_size = \"{part_size} B\"\nempty_file = {empty_file:?}");
    Kind { word: "koodrive", lines, takes_empty_files: empty_file != "reject", part_bytes: None, file_max: KOODRIVE_MAX }
}

fn fourshared(part_size: u64) -> Kind {
    let lines = format!("user = \"a\"\npassword = \"b\"\npart_size = \"{part_size} B\"");
    let file_max = part_size.saturating_mul(u64::from(u32::MAX));
    Kind { word: "4shared", lines, takes_empty_files: false, part_bytes: Some(part_size), file_max }
}

fn s3(part_size: u64, single_put_max: u64) -> Kind {
    let lines = format!(
        "bucket = \"a\"\naccess_key_id = \"b\"\nsecret_access_key = \"c\"\npart_size = \"{part_size} B\"\n\
         single_put_max = \"{single_put_max} B\""
    );
    Kind { word: "s3", lines, takes_empty_files: true, part_bytes: None, file_max: u64::MAX }
}

fn webdav(part_size: u64) -> Kind {
    let lines = format!("base_url = \"https://h.example/remote.php/dav/files/a\"\npart_size = \"{part_size} B\"");
    Kind { word: "webdav", lines, takes_empty_files: true, part_bytes: None, file_max: u64::MAX }
}

fn single(word: &'static str, lines: &str) -> Kind {
    Kind { word, lines: lines.to_owned(), takes_empty_files: true, part_bytes: Some(u64::MAX), file_max: u64::MAX }
}

/// A kind whose page leaves nothing to choose here: what its emulation is configured with, and what it promises itself.
fn by_its_own_word(word: &'static str) -> Kind {
    let table = ferryd_sandbox::config_of(word, SocketAddr::from((Ipv4Addr::LOCALHOST, 9))).unwrap();
    let lines = table.split_once(&format!("kind = \"{word}\"\n")).unwrap().1.to_owned();
    let mut kind = Kind { word, lines, takes_empty_files: true, part_bytes: None, file_max: u64::MAX };
    let shape = kind.host().shape(1);
    (kind.takes_empty_files, kind.part_bytes) = (shape.takes_empty_files, Some(shape.part_bytes));
    let most = shape.part_bytes.saturating_mul(shape.parts_max.into());
    kind.file_max = shape.file_bytes_max.map_or(most, |max| max.min(most));
    kind
}

/// A kind with settings that change how it cuts files.
fn of(word: &'static str) -> BoxedStrategy<Kind> {
    match word {
        "cloudkp" => prop_oneof![Just("reject"), Just("one-empty-chunk")].prop_map(cloudkp).boxed(),
        "uploadgig" => Just(single("uploadgig", "user = \"a\"\npassword = \"b\"")).boxed(),
        "koodrive" => prop_oneof![
            (5 * MIB..=5 * GIB, prop_oneof![Just("reject"), Just("one-empty-part")])
                .prop_map(|(size, empty)| koodrive(size, empty)),
            prop_oneof![Just(5 * MIB), Just(5 * GIB), Just(5 * MIB + 1)].prop_map(|size| koodrive(size, "reject")),
        ]
        .boxed(),
        "kie" => prop_oneof![Just("stream"), Just("base64")]
            .prop_map(|method| single("kie", &format!("api_key = \"a\"\nmethod = {method:?}")))
            .boxed(),
        "s3" => (prop_oneof![Just(5 * MIB), 5 * MIB..=5 * GIB], prop_oneof![Just(0), 0..=5 * GIB])
            .prop_map(|(size, single)| s3(size, single))
            .boxed(),
        "webdav" => prop_oneof![
            Just(single("webdav", "base_url = \"https://h.example/dav\"")),
            prop_oneof![Just(5 * MIB), 5 * MIB..=5 * GIB].prop_map(webdav),
        ]
        .boxed(),
        "4shared" => prop_oneof![Just(256 * 1024), 256 * 1024..=5 * GIB].prop_map(fourshared).boxed(),
        _ => Just(by_its_own_word(word)).boxed(),
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    Union::new(KINDS.iter().map(|kind| of(kind.word())))
}

fn any_size() -> impl Strategy<Value = u64> {
    let edges = [0, 131_072, 104_857_600, 786_432_000, 5 * MIB, KOODRIVE_MAX, 524_288 * u64::from(u32::MAX)];
    prop_oneof![
        Just(0),
        (proptest::sample::select(edges.to_vec()), 0..5u64).prop_map(|(edge, more)| (edge + more).saturating_sub(2)),
        0..2 * GIB,
        0..2 * KOODRIVE_MAX,
        any::<u64>(),
    ]
}

/// CloudKP's ladder, written down once more.
fn ladder(size: u64) -> u64 {
    let steps = u32::from(size >= 104_857_600) + u32::from(size >= 786_432_000);
    131_072 << steps
}

/// The numbers of the parts that are looked at: all, or both ends and some between.
fn looked_at(parts: u32, between: u32) -> Vec<u32> {
    if parts <= LOOKED_AT {
        return (0..parts).collect();
    }
    let middle = between % parts;
    [0..100, middle.saturating_sub(50)..middle.saturating_add(50).min(parts), parts - 100..parts].into_iter().flatten().collect()
}

/// Every part begins where the one before it ends, the first at 0, and the last ends with the file.
fn assert_covered(plan: &Plan, size: u64, between: u32) {
    let ends = |range: Range| range.offset + range.bytes;
    let last = plan.parts() - 1;
    for number in looked_at(plan.parts(), between) {
        let range = plan.range(number);
        let begins = if number == 0 { 0 } else { ends(plan.range(number - 1)) };
        assert_eq!(range.offset, begins, "part {number} of {plan:?}");
        assert_eq!(range, plan.range_at(begins), "part {number} of {plan:?}");
        assert!(range.bytes <= plan.part_bytes && (range.bytes > 0 || size == 0), "part {number} of {plan:?}");
        assert!(number == last || range.bytes == plan.part_bytes, "part {number} of {plan:?}");
    }
    assert_eq!(ends(plan.range(last)), size, "{plan:?}");
    assert_eq!(plan.range(last + 1).bytes, 0, "{plan:?}");
}

/// What the pages say of the parts of each kind.
fn assert_as_documented(kind: &Kind, plan: &Plan, size: u64) {
    match kind.word {
        "cloudkp" => assert_eq!(plan.part_bytes, ladder(size), "{size}"),
        "koodrive" => {
            assert!((5 * MIB..=5 * GIB).contains(&plan.part_bytes), "{plan:?}");
            assert!(plan.part_bytes.is_multiple_of(64) && plan.parts() <= 10_000, "{plan:?}");
        }
        // In one request, or in parts of at least 5 MiB, of which there are no more than 10,000.
        "s3" | "webdav" => assert!(plan.parts() == 1 || (plan.part_bytes >= 5 * MIB && plan.parts() <= 10_000), "{plan:?}"),
        _ => assert_eq!(Some(plan.part_bytes), kind.part_bytes, "{plan:?}"),
    }
    if kind.part_bytes == Some(u64::MAX) {
        assert_eq!(plan.parts(), 1, "{plan:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_parts_of_every_kind_cover_the_file_exactly_once(kind in any_kind(), size in any_size(), between in any::<u32>()) {
        let shape = kind.host().shape(size);
        match Plan::new(size, &shape) {
            Ok(plan) => {
                prop_assert!(size <= kind.file_max && (size > 0 || kind.takes_empty_files));
                prop_assert_eq!((plan.file_bytes, plan.part_bytes), (size, shape.part_bytes));
                prop_assert!(plan.parts() >= 1 && plan.parts() <= shape.parts_max);
                assert_covered(&plan, size, between);
                assert_as_documented(&kind, &plan, size);
            }
            Err(Unplannable::Empty) => prop_assert!(size == 0 && !kind.takes_empty_files),
            Err(Unplannable::TooLarge { file_bytes, max_bytes }) => {
                prop_assert!(size > kind.file_max);
                prop_assert_eq!((file_bytes, max_bytes), (size, kind.file_max));
            }
        }
    }
}

#[test]
fn what_a_kind_says_of_its_parts_is_what_its_page_says() {
    let said = |word| {
        let kind = by_its_own_word(word);
        (kind.part_bytes, kind.takes_empty_files, kind.file_max)
    };
    assert_eq!((said("uploadgig"), said("kie")), ((Some(u64::MAX), true, u64::MAX), (Some(u64::MAX), true, u64::MAX)));
    assert_eq!(said("4shared"), (Some(8 * MIB), false, 8 * MIB * u64::from(u32::MAX)));
}

#[test]
fn the_largest_file_of_each_kind_has_a_plan_and_one_byte_more_has_none() {
    for kind in [cloudkp("reject"), koodrive(5 * MIB, "reject"), koodrive(5 * GIB, "reject"), fourshared(256 * 1024)] {
        let host = kind.host();
        let plan = |size| Plan::new(size, &host.shape(size));
        assert_covered(&plan(kind.file_max).unwrap(), kind.file_max, 1_000_000);
        let beyond = Unplannable::TooLarge { file_bytes: kind.file_max + 1, max_bytes: kind.file_max };
        assert_eq!(plan(kind.file_max + 1), Err(beyond), "{}", kind.word);
    }
    for kind in [single("uploadgig", "user = \"a\"\npassword = \"b\""), single("kie", "api_key = \"a\"")] {
        let plan = Plan::new(u64::MAX, &kind.host().shape(u64::MAX)).unwrap();
        assert_eq!((plan.parts(), plan.range(0)), (1, Range { offset: 0, bytes: u64::MAX }), "{}", kind.word);
    }
}
