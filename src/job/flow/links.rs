//! Windows on links that are simulated: what comes through, how soon, and how two hosts share one. `docs/SPEED.md` has the results.
//!
//! Requests that are being sent share a link equally; an answer takes a round trip, and up to a third more by chance.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;

/// A link: how long an answer takes, and how many bytes a second go through.
#[derive(Debug, Clone, Copy)]
struct Link {
    round_trip: f64,
    bytes: f64,
}

/// How many requests a host is sent at once.
#[derive(Debug, Clone, Copy)]
enum Size {
    Fixed(usize),
    Found(Window),
}

/// A host at the end of it, which is sent requests of this many bytes from this second on.
struct Sent {
    size: Size,
    bytes: f64,
    from: f64,
    in_flight: usize,
    /// When bytes arrived, and how many.
    arrived: Vec<(f64, f64)>,
}

/// A request: bytes that are still to be sent, and then the time at which its answer comes.
struct Request {
    host: usize,
    sent: f64,
    left: f64,
    answered: Option<f64>,
}

impl Sent {
    fn new(size: Size, bytes: f64, from: f64) -> Sent {
        Sent { size, bytes, from, in_flight: 0, arrived: Vec::new() }
    }

    fn size(&self) -> usize {
        match self.size {
            Size::Fixed(size) => size,
            Size::Found(window) => window.size(),
        }
    }

    /// Bytes a second that arrived between two seconds.
    fn rate(&self, from: f64, until: f64) -> f64 {
        let within = self.arrived.iter().filter(|(at, _)| (from..until).contains(at));
        within.map(|(_, bytes)| bytes).sum::<f64>() / (until - from)
    }
}

/// Sends to all hosts for so many seconds. Requests that are being sent share the link equally.
fn run(link: Link, hosts: &mut [Sent], seconds: f64) {
    let mut requests: Vec<Request> = Vec::new();
    let mut chance: u32 = 1;
    let mut now = 0.0;
    while now < seconds {
        for (at, host) in hosts.iter_mut().enumerate().filter(|(_, host)| host.from <= now) {
            while host.in_flight < host.size() {
                host.in_flight += 1;
                requests.push(Request { host: at, sent: now, left: host.bytes, answered: None });
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "some dozens")]
        let sharing = requests.iter().filter(|request| request.answered.is_none()).count() as f64;
        let share = link.bytes / sharing.max(1.0);
        let ends = |request: &Request| request.answered.unwrap_or(now + request.left / share);
        let begins = hosts.iter().map(|host| host.from).filter(|from| *from > now);
        let next = requests.iter().map(ends).chain(begins).fold(seconds, f64::min);
        for request in requests.iter_mut().filter(|request| request.answered.is_none()) {
            request.left -= share * (next - now);
            if request.left < 1e-2 {
                chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                request.answered = Some(next + link.round_trip * (1.0 + f64::from(chance >> 8) / f64::from(3 << 24)));
            }
        }
        now = next;
        let answered: Vec<Request> = requests.extract_if(.., |request| request.answered.is_some_and(|at| at <= now)).collect();
        for request in answered {
            let host = &mut hosts[request.host];
            host.in_flight -= 1;
            host.arrived.push((now, host.bytes));
            let [sent, at] = [request.sent, now].map(Duration::from_secs_f64);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
            let bytes = host.bytes as u64;
            if let Size::Found(window) = &mut host.size {
                *window = window.after(Answer { shown: Shown::Fine, bytes, sent, at, others: host.in_flight });
            }
        }
    }
}

/// What the best fixed number of requests brings through, of those that are allowed.
fn possible(link: Link, most: usize, bytes: f64) -> f64 {
    let fixed = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64].into_iter().filter(|size| *size <= most);
    let rate = |size| {
        let mut hosts = [Sent::new(Size::Fixed(size), bytes, 0.0)];
        run(link, &mut hosts, SECONDS);
        hosts[0].rate(10.0, SECONDS)
    };
    fixed.map(rate).fold(0.0, f64::max)
}

/// What became of one host on one link.
struct Case {
    what: String,
    /// Percent of what is possible, from the tenth second on.
    percent: f64,
    /// Percent of the link.
    of_link: f64,
    /// Seconds until nine tenths of what is possible come through.
    soon: f64,
    size: usize,
    curve: Vec<f64>,
}

const SECONDS: f64 = 120.0;
const KIB: f64 = 1024.0;

fn links() -> [(&'static str, Link); 6] {
    let link = |milliseconds: f64, megabits: f64| Link { round_trip: milliseconds / 1000.0, bytes: megabits * 1e6 / 8.0 };
    [
        ("1 ms, 1 Gbit/s", link(1.0, 1000.0)),
        ("10 ms, 100 Mbit/s", link(10.0, 100.0)),
        ("20 ms, 1 Gbit/s", link(20.0, 1000.0)),
        ("100 ms, 200 Mbit/s", link(100.0, 200.0)),
        ("300 ms, 50 Mbit/s", link(300.0, 50.0)),
        ("300 ms, 5 Mbit/s", link(300.0, 5.0)),
    ]
}

fn case(name: &str, link: Link, most: usize, bytes: f64) -> Case {
    let mut hosts = [Sent::new(Size::Found(Window::new(most)), bytes, 0.0)];
    run(link, &mut hosts, SECONDS);
    let possible = possible(link, most, bytes);
    let rate = hosts[0].rate(10.0, SECONDS);
    let curve: Vec<f64> = (0..120).map(|second| hosts[0].rate(f64::from(second), f64::from(second + 1)) / possible).collect();
    let soon =
        curve.iter().position(|part| *part >= 0.9).map_or(f64::INFINITY, |second| f64::from(u32::try_from(second).unwrap() + 1));
    let what = format!("{name}, {} KiB", bytes / KIB);
    Case { what, percent: 100.0 * rate / possible, of_link: 100.0 * rate / link.bytes, soon, size: hosts[0].size(), curve }
}

fn cases(most: usize) -> Vec<Case> {
    let sizes = [512.0 * KIB, 64.0 * KIB];
    sizes.iter().flat_map(|bytes| links().map(|(name, link)| case(name, link, most, *bytes))).collect()
}

#[test]
fn each_link_is_filled_as_far_as_the_requests_that_are_allowed_can_fill_it() {
    for most in [MOST_UNASKED, 64] {
        for Case { what, percent, size, soon, .. } in cases(most) {
            assert!(percent >= 88.0, "{what}, {most} at most: {percent:.0} % of what is possible");
            assert!(soon <= 12.0, "{what}, {most} at most: after {soon} s");
            assert!(size <= most);
        }
    }
    let slow = case("", links()[5].1, 64, 512.0 * KIB);
    assert!(slow.size <= 16, "a link that two requests fill gets {} of them", slow.size);
}

/// What the first of two hosts has of what both have, where the second one begins later.
fn share(link: Link, bytes: f64, second_from: f64) -> f64 {
    let host = |from| Sent::new(Size::Found(Window::new(MOST_UNASKED)), bytes, from);
    let mut hosts = [host(0.0), host(second_from)];
    let until = second_from + 500.0;
    run(link, &mut hosts, until);
    let [one, other] = [0, 1].map(|at: usize| hosts[at].rate(second_from + 20.0, until));
    100.0 * one / (one + other)
}

#[test]
fn two_hosts_on_one_link_have_about_half_of_it_each_whoever_came_first() {
    for (name, link) in links() {
        for second_from in [0.0, 45.0] {
            let share = share(link, 512.0 * KIB, second_from);
            assert!((40.0..=60.0).contains(&share), "{name}, the second from {second_from} s: {share:.0} %");
        }
    }
}

/// The table for `docs/SPEED.md`.
fn table() -> String {
    let mut text = String::from(
        "| link, bytes of a request | at most 8 in flight: of what is possible | of the link | at most 64: of what is possible | of the link | in flight in the end |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (few, many) in cases(MOST_UNASKED).into_iter().zip(cases(64)) {
        let Case { what, percent, of_link, size, .. } = few;
        writeln!(
            text,
            "| {what} | {percent:.0} % | {of_link:.0} % | {:.0} % | {:.0} % | {size} and {} |",
            many.percent, many.of_link, many.size
        )
        .unwrap();
    }
    text
}

/// What comes through on each link, second by second, as a picture.
fn picture() -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 330\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"760\" height=\"330\" fill=\"white\"/>\n",
    );
    for (at, (name, link)) in (0u32..).zip(links()) {
        let (left, top) = (f64::from(at % 3).mul_add(250.0, 20.0), f64::from(at / 3).mul_add(160.0, 30.0));
        let Case { curve, .. } = case(name, link, 64, 512.0 * KIB);
        writeln!(svg, "<text x=\"{left}\" y=\"{:.0}\">{name}</text>", top - 8.0).unwrap();
        writeln!(svg, "<rect x=\"{left}\" y=\"{top}\" width=\"220\" height=\"110\" fill=\"none\" stroke=\"#bbb\"/>").unwrap();
        let points = (0u32..).zip(&curve).map(|(second, part)| {
            format!("{:.1},{:.1}", left + 220.0 * f64::from(second) / 120.0, top + 110.0 * (1.0 - part.min(1.05)))
        });
        let points: Vec<String> = points.collect();
        writeln!(svg, "<polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"1.5\" points=\"{}\"/>", points.join(" ")).unwrap();
        writeln!(svg, "<text x=\"{left}\" y=\"{:.0}\" fill=\"#777\">0 to 120 s; the frame is what is possible</text>", top + 125.0)
            .unwrap();
    }
    svg + "</svg>\n"
}

const BEGIN: &str = "<!-- simulated links: begin -->\n";
const END: &str = "<!-- simulated links: end -->";

#[test]
fn the_results_are_in_the_documentation() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = std::fs::read_to_string(docs.join("SPEED.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let files: [(PathBuf, String); 2] =
        [(docs.join("SPEED.md"), format!("{before}{BEGIN}{}{END}{after}", table())), (docs.join("simulated-links.svg"), picture())];
    for (path, text) in files {
        if std::env::var_os("FERRYD_WRITE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).is_ok_and(|now| now == text),
            "{path:?} is out of date: FERRYD_WRITE_DOCS=1 cargo test --lib flow::links"
        );
    }
}
