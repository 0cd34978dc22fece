//! Bytes on their way into an upload. Of a request that breaks off, what came is kept where the rules say so.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::super::Shared;
use super::super::exchange::{Exchange, Stop, full_disk};
use super::super::spool::{Spool, Spooled};
use super::{KIND, Rules, Upload, record};

/// What a request says of its bytes.
#[derive(Debug, Clone)]
pub(super) struct Announced {
    pub(super) bytes: u64,
    /// How their checksum is computed, and what it is, in base64.
    pub(super) checksum: Option<(Algorithm, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Md5,
    Sha256,
}

impl Algorithm {
    pub(super) fn of(word: &str) -> Option<Algorithm> {
        match word {
            "sha1" => Some(Algorithm::Sha1),
            "md5" => Some(Algorithm::Md5),
            "sha256" => Some(Algorithm::Sha256),
            _ => None,
        }
    }
}

/// Bytes being taken. Dropped before their end, they are those of a request that broke off.
pub(super) struct Incoming {
    shared: Arc<Shared>,
    id: String,
    offset: u64,
    spool: Option<Spool>,
    keeps: bool,
    rules: Rules,
    sha1: Sha1,
    md5: Md5,
    sha256: Sha256,
    digest: Option<Algorithm>,
}

impl Incoming {
    /// Begins. With `keeps`, what came by then is kept should the request break off.
    pub(super) fn begin(exchange: &Exchange, rules: &Rules, id: &str, offset: u64, keeps: bool) -> Result<Incoming, Stop> {
        let shared = Arc::clone(exchange.shared());
        let spool = shared.store.aside().and_then(Spool::new).map_err(|error| full_disk(&error))?;
        Ok(Incoming {
            shared,
            id: id.to_owned(),
            offset,
            spool: Some(spool),
            keeps,
            rules: rules.clone(),
            sha1: Sha1::new(),
            md5: Md5::new(),
            sha256: Sha256::new(),
            digest: None,
        })
    }

    pub(super) fn take(&mut self, bytes: &[u8], announced: &Announced) -> Result<(), Stop> {
        self.digest = announced.checksum.as_ref().map(|(algorithm, _)| *algorithm);
        match self.digest {
            Some(Algorithm::Sha1) => self.sha1.update(bytes),
            Some(Algorithm::Md5) => self.md5.update(bytes),
            Some(Algorithm::Sha256) => self.sha256.update(bytes),
            None => {}
        }
        self.spool.as_mut().map_or(Ok(()), |spool| spool.take(bytes)).map_err(|error| full_disk(&error))
    }

    /// All of them, with their checksum in base64 where one was announced.
    pub(super) fn end(mut self) -> (Spooled, Option<String>) {
        let spooled = self.spool.take().map_or_else(|| Spooled::discarded(0), Spool::end);
        let digest = self.digest.map(|algorithm| match algorithm {
            Algorithm::Sha1 => STANDARD.encode(std::mem::take(&mut self.sha1).finalize()),
            Algorithm::Md5 => STANDARD.encode(std::mem::take(&mut self.md5).finalize()),
            Algorithm::Sha256 => STANDARD.encode(std::mem::take(&mut self.sha256).finalize()),
        });
        (spooled, digest)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let Some(spooled) = self.spool.take().map(Spool::end) else { return };
        let records = &self.shared.records;
        if self.keeps && spooled.bytes > 0 && self.rules.keep(&self.shared, &self.id, self.offset, spooled).is_err() {
            tracing::debug!("an upload is gone whose request has broken off");
        }
        if self.rules.lock_seconds > 0 {
            let locked_ms = self.shared.clock.now_ms() + self.rules.lock_seconds * 1000;
            let lock = |upload: Option<Upload>| Ok(((), upload.map(|upload| Upload { locked_ms, ..upload })));
            records.update(KIND, &record(&self.id), lock).ok();
        }
    }
}
