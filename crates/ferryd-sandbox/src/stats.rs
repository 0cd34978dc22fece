//! Counters since the start or the last reset.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::hold;
use super::log::{Conclusion, Outcome};

/// What has come in since the start or the last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests to emulated hosts whose outcome is decided.
    pub requests: u64,
    /// Bytes of their bodies that were taken off the connections.
    pub body_bytes: u64,
    /// Parts that were acknowledged, repeats included.
    pub parts_acked: u64,
    /// Parts that were held when they arrived.
    pub parts_again: u64,
    /// Of these, parts that arrived with other bytes.
    pub parts_differed: u64,
    /// Objects that were stored.
    pub objects_stored: u64,
    /// Requests that broke a rule.
    pub rejected: u64,
    /// Requests on which a fault acted.
    pub faults: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(super) struct Counters {
    stats: Mutex<Stats>,
}

impl Counters {
    /// Counts one request.
    pub(super) fn count(&self, request: &Conclusion) {
        let mut stats = hold(&self.stats);
        stats.requests += 1;
        stats.body_bytes += request.body_bytes;
        stats.parts_acked += u64::from(request.outcome == Outcome::Acked);
        stats.parts_again += u64::from(request.again);
        stats.parts_differed += u64::from(request.differed);
        stats.objects_stored += u64::from(request.outcome == Outcome::Stored && request.held);
        stats.rejected += u64::from(matches!(request.outcome, Outcome::Rejected(_)));
        stats.faults += u64::from(request.fault.is_some());
    }

    /// The counters as they are now.
    pub(super) fn snapshot(&self) -> Stats {
        *hold(&self.stats)
    }

    /// Begins anew at zero.
    pub(super) fn clear(&self) {
        *hold(&self.stats) = Stats::default();
    }
}
