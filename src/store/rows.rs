//! What several tables have in common: the columns of a file's identity and of its path, and a reason in a column of text.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Row, ToSql};

use crate::job::{Identity, Reason};

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
