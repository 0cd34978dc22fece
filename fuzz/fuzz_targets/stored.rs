//! What is read back from the queue: sessions, and the receipts of hosts that take a file in one request. Every
//! input is read as one of each kind.
#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use ferryd::internals::config::{self, Environment};
use ferryd::internals::host::http::Clients;
use ferryd::internals::host::kind::Kind;
use ferryd::internals::host::kinds::KINDS;
use ferryd::internals::host::{Completion, Host, KeptTokens, Tickets, UploadSession, fuzzing, registry};
use ferryd::internals::job::plan::Plan;
use ferryd::internals::job::upload::{Class, ConfirmedParts, Order, Session};
use ferryd_fuzz::{assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// The hosts that finish from a receipt alone.
static WHOLE: LazyLock<Vec<Arc<dyn Host>>> = LazyLock::new(|| {
    let hosts = ferryd_sandbox::config_for(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    let text = format!("[[watch]]\npath = \"/somewhere\"\nto = {:?}\n{hosts}", ferryd_sandbox::kinds());
    let config = config::parse(&text, Path::new("config.toml"), KINDS, &Nothing).expect("a sound configuration");
    let system = ferryd::internals::os::system::System::default();
    let (clients, tokens) = (Clients::new(&system), KeptTokens::read_only(&system, &config.daemon.state_dir));
    let hosts = config.hosts.iter().map(|host| registry::host(host, &Nothing, &clients, &tokens).expect("a host"));
    hosts.filter(|host| host.shape(7).order == Order::WholeFile).collect()
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    for kind in KINDS.iter().map(Kind::word) {
        match fuzzing::stored_again(kind, &Session(text.clone())).expect("a kind") {
            Ok(again) => assert_eq!(fuzzing::stored_again(kind, &again), Some(Ok(again.clone())), "{kind}"),
            Err(error) => {
                assert_eq!(error.class, Class::SessionLost, "{kind}");
                assert_told(&error);
            }
        }
    }
    WHOLE.iter().for_each(|host| finish(host.as_ref(), &text));
});

/// A finish from a receipt sends nothing, so it is ready at once.
fn finish(host: &dyn Host, receipt: &str) {
    let plan = Plan { file_bytes: 7, part_bytes: 7 };
    let session = UploadSession { session: Session(String::new()), tickets: Tickets::default(), plan, mid_states: Arc::default() };
    let mut confirmed = ConfirmedParts::default();
    confirmed.receipts.insert(0, receipt.to_owned());
    let finish = pin!(host.finish(&session, Completion { confirmed: &confirmed, digest: None, repeated: false, last: None }));
    let Poll::Ready(finished) = finish.poll(&mut Context::from_waker(Waker::noop())) else { panic!("a finish that waits") };
    match finished {
        Ok(outcome) => assert_named(&outcome),
        Err(error) => {
            assert_eq!(error.class, Class::SessionLost);
            assert_told(&error);
        }
    }
}
