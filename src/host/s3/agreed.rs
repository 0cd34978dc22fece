//! Which checksum goes with what is sent, where that is not configured (page, 6).
//!
//! Every service verifies an MD5, which takes longer to compute than anything else about a part. Whether it verifies a CRC-64, too, it
//! says when an upload in parts is opened with one: it names the algorithm again. Who does not is sent the MD5.

use std::sync::{Mutex, PoisonError};

use crate::job::upload::Class;

use super::super::error::HostError;
use super::checksum::Checksum;
use super::replies::{Created, Stored, create_reply};
use super::requests::Call;
use super::{Open, S3};

/// Whether a service verifies a CRC-64, as far as it has said so since the host was made.
#[derive(Debug, Default)]
pub(super) struct Agreed(Mutex<Option<bool>>);

impl Agreed {
    fn known(&self) -> Option<bool> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, verifies: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(verifies);
    }

    /// A service that verifies the checksum of a part says it back.
    pub(super) fn note_part(&self, sent: Checksum, stored: &Stored) {
        if sent == Checksum::Crc64Nvme && stored.checksum.is_none() {
            self.note(false);
        }
    }
}

impl S3 {
    /// What goes with what is sent from now on, unless an upload in parts agrees on something else.
    pub(super) fn checksum(&self) -> Checksum {
        let agreed = if self.agreed.known() == Some(true) { Checksum::Crc64Nvme } else { Checksum::Md5 };
        self.settings.checksum.unwrap_or(agreed)
    }

    /// Opens an upload in parts, and notes its id and its checksum.
    pub(super) async fn create(&self, open: &mut Open) -> Result<(), HostError> {
        let is_open = self.settings.checksum.is_none() && self.agreed.known() != Some(false);
        if is_open && self.agree(open).await? {
            return Ok(());
        }
        if is_open {
            open.checksum = Checksum::Md5;
        }
        open.upload = Some(self.create_with(open, open.checksum).await?.id);
        if is_open {
            self.agreed.note(false);
        }
        Ok(())
    }

    /// Opens it with a CRC-64, and takes what the service makes of that. Answers false where it is not opened so.
    async fn agree(&self, open: &mut Open) -> Result<bool, HostError> {
        let created = match self.create_with(open, Checksum::Crc64Nvme).await {
            Err(error) if is_refused(&error) => return Ok(false),
            created => created?,
        };
        let verifies = created.names(Checksum::Crc64Nvme);
        self.agreed.note(verifies);
        open.checksum = if verifies { Checksum::Crc64Nvme } else { Checksum::Md5 };
        open.upload = Some(created.id);
        Ok(true)
    }

    async fn create_with(&self, open: &Open, checksum: Checksum) -> Result<Created, HostError> {
        let call = Call::of_object("POST", &open.key, &[("uploads", "")]).headers(self.object_headers(open));
        let call = match checksum.announced() {
            Some((algorithm, kind)) => call.header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind),
            None => call,
        };
        create_reply(&self.ask(open, call).await?)
    }
}

/// Whether it may be the checksum that the service does not like.
fn is_refused(error: &HostError) -> bool {
    matches!(error.status, Some(400 | 501)) && !matches!(error.class, Class::HostRefused | Class::Transient)
}
