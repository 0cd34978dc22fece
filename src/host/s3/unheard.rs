//! Uploads that were opened and whose ids nobody has heard: the answer was lost, or the daemon died before it was on record.
//!
//! A list of open uploads tells keys, ids and times, and nothing of what an upload was opened with: no token shows there. So an upload
//! is known for ours by its key alone, and only keys are looked at that nobody else uses (`S3Config::is_only_writer`). Even of those, an
//! upload that has a part is left alone: what nobody has heard of has none, so nothing that was sent is lost.

use super::super::error::HostError;
use super::replies::{Uploads, abort_reply, uploads_reply};
use super::requests::Call;
use super::{Open, S3};
use crate::job::upload::Class;

/// How many uploads are asked for at once, and how many pages of them at most. The uploads of one key come first of those whose keys
/// begin like it.
const LISTED_AT_ONCE: &str = "1000";
const PAGES_MAX: usize = 10;

impl S3 {
    /// Gives up what may have been opened for an upload that is only announced.
    pub(super) async fn give_up_unheard(&self, open: &Open) -> Result<(), HostError> {
        for upload in self.of_its_key(open).await? {
            match self.listed(open, &upload).await {
                Ok(parts) if parts.is_empty() => {
                    abort_reply(&self.ask(open, Call::of_object("DELETE", &open.key, &[("uploadId", &upload)])).await?)?;
                }
                Err(error) if passes(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The ids of the uploads of its key; none where the service has no such list, or does not show it: nothing can be done then, and
    /// no file is kept waiting for that.
    async fn of_its_key(&self, open: &Open) -> Result<Vec<String>, HostError> {
        let (mut ids, mut behind) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let Uploads { open: listed, next } = match self.opened(open, behind.as_ref()).await {
                Err(error) if passes(&error) => return Err(error),
                Err(_) => break,
                Ok(page) => page,
            };
            ids.extend(listed.into_iter().filter(|(key, _)| *key == open.key).map(|(_, id)| id));
            if next.is_none() {
                break;
            }
            behind = next;
        }
        Ok(ids)
    }

    /// A page of the uploads that are open and whose keys begin like this one's.
    async fn opened(&self, open: &Open, behind: Option<&(String, String)>) -> Result<Uploads, HostError> {
        let mut query = vec![("max-uploads", LISTED_AT_ONCE), ("prefix", open.key.as_str()), ("uploads", "")];
        if let Some((key, id)) = behind {
            query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
        }
        uploads_reply(&self.ask(open, Call::of_bucket("GET", &query)).await?)
    }
}

/// Whether asking again may help.
fn passes(error: &HostError) -> bool {
    matches!(error.class, Class::Transient | Class::RateLimited)
}
