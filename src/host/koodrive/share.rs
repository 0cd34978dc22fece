//! Links that last.

use serde_json::json as object;

use crate::job::upload::{Class, Outcome};

use super::super::address;
use super::super::error::HostError;
use super::KooDrive;
use super::replies::{self, Call};

/// Who may use a link: whoever has it, and where the space does not allow that, everybody of the enterprise (page, 3.5).
const SCOPES: [u8; 2] = [1, 2];

impl KooDrive {
    /// The outcome of a file that the host has, with a link that lasts where one is wanted. A space that shares with nobody leaves
    /// it without one. What may pass is an error that leaves the file in doubt: it is asked for again then, and not sent.
    pub(super) async fn shared(&self, outcome: Outcome) -> Result<Outcome, HostError> {
        let (Some(days), Some(id)) = (self.settings.share_days, &outcome.remote_id) else { return Ok(outcome) };
        let Some((container, file)) = id.split_once('/') else { return Ok(outcome) };
        for scope in SCOPES {
            let body = object!({ "scope": scope, "fileIds": [file], "containerId": container, "validDays": days });
            match self.call(Call::Share, &self.settings.base_url, "share", &body).await {
                Ok(reply) => {
                    let link = replies::share_link(&reply).and_then(|link| address::link(&link));
                    let said = "the host has the file, but gave no web address as its share link";
                    let link = link.ok_or_else(|| HostError::unanswered(Class::Transient, said))?;
                    let now_ms = self.transport.clock().now_ms();
                    let expires_ms = Some(now_ms.saturating_add(i64::from(days) * 86_400_000));
                    return Ok(Outcome { link: Some(link), expires_ms, ..outcome });
                }
                Err(refused) if replies::may_pass(&refused) => {
                    let said = format!("the host has the file, but not yet a share link: {}", refused.error.said);
                    return Err(HostError { said, doubt: true, worsens: None, ..refused.error });
                }
                Err(_) => {}
            }
        }
        Ok(outcome)
    }
}
