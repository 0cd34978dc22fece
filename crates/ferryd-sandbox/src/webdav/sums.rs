//! Digests of files: what is said of them, wanted to be known, and told (page, 12).

use std::io::Read;
use std::path::PathBuf;

use md5::Md5;
use sha1::{Digest, Sha1};

use super::super::Shared;
use super::super::digest::hex;
use super::super::reply::Reply;
use super::{Digests, Fault};

/// How much of a file is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Of the bytes of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// The SHA-1 that they are said to have.
    pub(super) said: Option<String>,
    /// Whether their SHA-1 is to be answered.
    pub(super) is_wanted: bool,
    /// The SHA-1 that they have; nothing where nobody has counted.
    pub(super) own: Option<String>,
    /// Whether the answer is to be wrong.
    pub(super) lies: bool,
}

impl Sums {
    /// What the headers say.
    pub(super) fn of(checksum: Option<String>, hash: Option<String>) -> Result<Sums, Fault> {
        let said = match checksum {
            None => None,
            Some(checksum) => {
                let digest = checksum.strip_prefix("SHA1:").filter(|digest| digest.len() == 40);
                Some(digest.ok_or_else(|| Fault::bad("`OC-Checksum` is not understood"))?.to_owned())
            }
        };
        let is_wanted = match hash.as_deref() {
            None => false,
            Some("sha1" | "all") => true,
            Some(_) => return Err(Fault::bad("`X-Hash` is not understood")),
        };
        Ok(Sums { said, is_wanted, ..Sums::default() })
    }

    /// Of files one after the other, with their MD5.
    pub(super) fn of_parts(&self, shared: &Shared, parts: impl Iterator<Item = PathBuf>) -> Result<(Sums, Option<String>), Fault> {
        let (mut sha1, mut md5, mut counted) = (Sha1::new(), Md5::new(), false);
        let mut piece = vec![0; PIECE_BYTES];
        for path in parts {
            let mut file = shared.store.open_file(&path)?;
            counted = true;
            loop {
                let read = file.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                sha1.update(&piece[..read]);
                md5.update(&piece[..read]);
            }
        }
        let own = counted.then(|| hex(&sha1.finalize()));
        Ok((Sums { own, ..self.clone() }, counted.then(|| hex(&md5.finalize()))))
    }

    /// Refuses bytes that are not those that were meant.
    pub(super) fn compare(&self, digests: Digests) -> Result<(), Fault> {
        let differs = self.said.as_ref().zip(self.own.as_ref()).is_some_and(|(said, own)| said != own);
        if digests == Digests::Compared && (differs || self.lies) {
            return Err(Fault::bad("The computed checksum does not match the one received from the client."));
        }
        Ok(())
    }

    /// What is kept of a file with them.
    pub(super) fn kept(&self, digests: Digests, md5: Option<&str>) -> Option<String> {
        match digests {
            Digests::Answered => self.said.as_ref().map(|said| format!("SHA1:{said}")),
            Digests::Compared => self.own.as_ref().zip(md5).map(|(own, md5)| format!("SHA1:{own} MD5:{md5}")),
            Digests::Unknown => None,
        }
    }

    /// A reply that tells what was wanted.
    pub(super) fn told(&self, digests: Digests, reply: Reply) -> Reply {
        match self.own.as_ref().filter(|_| self.is_wanted && digests == Digests::Answered) {
            Some(_) if self.lies => reply.header("x-hash-sha1", &"0".repeat(40)),
            Some(own) => reply.header("x-hash-sha1", own),
            None => reply,
        }
    }
}
