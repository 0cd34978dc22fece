//! What is read back from the queue: sessions, and the receipts of hosts that take a file in one request. The first word of the line is
//! the kind.
#![no_main]

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use ferryd::config::{self, Environment};
use ferryd::host::{Host, UploadSession, Tickets, Whole, fuzzing, registry};
use ferryd::job::plan::Plan;
use ferryd::job::upload::{Borders, Class, Held, Session};
use ferryd_fuzz::{assert_named, assert_told};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 5] = ["cloudkp", "uploadgig", "koodrive", "kie", "4shared"];
const HOSTS: &str = "[[watch]]\npath = \"/somewhere\"\nto = [\"kie\", \"uploadgig\"]\n[host.kie]\nkind = \"kie\"\napi_key = \"k\"\n\
                     [host.uploadgig]\nkind = \"uploadgig\"\nuser = \"u\"\npassword = \"p\"\n";

struct Nothing;

impl Environment for Nothing {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// The hosts that finish from a receipt alone.
static WHOLE: LazyLock<Vec<Arc<dyn Host>>> = LazyLock::new(|| {
    let config = config::parse(HOSTS, Path::new("config.toml"), &Nothing).expect("a sound configuration");
    config.hosts.iter().map(|host| registry::host(host, &Nothing, &ferryd::host::http::Clients::new(&ferryd::os::system::System::default())).expect("a host")).collect()
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    for kind in KINDS {
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
    let place = UploadSession { session: Session(String::new()), tickets: Tickets::default(), plan, borders: Arc::new(Borders::default()) };
    let mut held = Held::default();
    held.receipts.insert(0, receipt.to_owned());
    let finish = pin!(host.finish(&place, Whole { held: &held, digest: None }));
    let Poll::Ready(finished) = finish.poll(&mut Context::from_waker(Waker::noop())) else { panic!("a finish that waits") };
    match finished {
        Ok(outcome) => assert_named(&outcome),
        Err(error) => {
            assert_eq!(error.class, Class::SessionLost);
            assert_told(&error);
        }
    }
}
