//! What several tables have in common: the columns of a file's identity and of its path, of a job that is claimed, and a reason in a column of text.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Row, ToSql};

use crate::job::believed::waited;
use crate::job::{Identity, JobId, Reason};

use super::values::Claimed;

/// Reads an identity from six columns in a row, in the order of the tables.
pub(super) fn identity_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Identity> {
    Ok(Identity {
        device: row.get(first)?,
        inode: row.get(first + 1)?,
        size: row.get::<_, i64>(first + 2)?.cast_unsigned(),
        mtime_ns: row.get(first + 3)?,
        ctime_ns: row.get(first + 4)?,
        born_ns: row.get(first + 5)?,
    })
}

/// Puts a path together from the bytes of a folder and a name.
pub(super) fn path_of(folder: Vec<u8>, name: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(folder)).join(OsString::from_vec(name))
}

/// A job with all that its worker must know, of one host: the first value.
pub(super) const CLAIMABLE: &str =
    "SELECT j.id, j.host, j.device, j.inode, j.size, j.mtime_ns, j.ctime_ns, j.born_ns, j.failures, j.sessions_lost,
        j.failing, j.alike, j.failing_ms, d.path, f.name, j.failed_at, j.next_try, j.renewals
    FROM jobs j JOIN files f ON f.id = j.file JOIN folders d ON d.id = f.folder WHERE j.host = ?1";

/// Reads what [`CLAIMABLE`] finds.
pub(super) fn claimed_of(row: &Row<'_>, now_ms: i64) -> rusqlite::Result<Claimed> {
    let failing_for: Option<u64> = row.get::<_, Option<i64>>(12)?.map(|ms| u64::try_from(ms).unwrap_or(0));
    let waited = waited(row.get(15)?, row.get(16)?, now_ms);
    Ok(Claimed {
        id: JobId(row.get(0)?),
        path: path_of(row.get(13)?, row.get(14)?),
        host: row.get(1)?,
        identity: identity_at(row, 2)?,
        failures: row.get(8)?,
        sessions_lost: row.get(9)?,
        failing: row.get::<_, Option<String>>(10)?.zip(row.get(11)?),
        failing_for: failing_for.map(|ms| Duration::from_millis(ms) + waited),
        renewals: row.get(17)?,
        retry: false,
        give_back: false,
        is_over: false,
        upload: None,
    })
}

impl ToSql for Reason {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.stored().into())
    }
}

/// Sentences of earlier versions are read, too.
impl FromSql for Reason {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Reason> {
        value.as_str().map(Reason::read)
    }
}
