//! 4shared from the other side.

use std::net::SocketAddr;
use std::pin::Pin;

use super::Emulated;
use super::exchange::{Answer, Exchange, Stop};
use super::reply::Reply;

const KIND: &str = "4shared";

/// How the emulated 4shared reads and answers where its documentation leaves a choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {}

/// What `[host.4shared]` has to say to reach the emulation at `addr`.
pub(super) fn config(addr: SocketAddr) -> String {
    format!("[host.{KIND}]\nkind = \"{KIND}\"\nbase_url = \"http://{addr}/{KIND}\"\n")
}

/// The emulation.
#[derive(Debug)]
pub(super) struct FourShared {
    rules: Rules,
}

impl FourShared {
    pub(super) fn new(rules: Rules) -> FourShared {
        FourShared { rules }
    }

    async fn route(&self, _exchange: &mut Exchange) -> Result<Answer, Stop> {
        let _ = &self.rules;
        Err(Stop::Refused { status: 404, reason: "there is nothing at this path".into() })
    }
}

impl Emulated for FourShared {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn request_bytes_max(&self) -> u64 {
        u64::MAX
    }

    fn answer<'a>(&'a self, exchange: &'a mut Exchange) -> Pin<Box<dyn Future<Output = Result<Answer, Stop>> + Send + 'a>> {
        Box::pin(self.route(exchange))
    }

    fn refuse(&self, status: u16, reason: &str) -> Reply {
        Reply::text(status, reason)
    }

    fn full(&self) -> Reply {
        Reply::text(507, "full")
    }
}
