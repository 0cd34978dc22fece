//! The largest file that a host has taken: what it calls too large is a verdict on the file only where it has taken a smaller one,
//! and none as large (`docs/protocols/README.md`, section 2).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::job::upload::Class;

use super::error::HostError;

/// The status, or the code in a body, that says "too large".
const TOO_LARGE: u16 = 413;

/// The size of the largest file that was taken since the host was made, with 1 added; 0 for none.
#[derive(Debug, Default)]
pub(super) struct Largest(AtomicU64);

impl Largest {
    /// A file of so many bytes was taken.
    pub(super) fn took(&self, bytes: u64) {
        self.0.fetch_max(bytes.saturating_add(1), Ordering::Relaxed);
    }

    /// What the failure of an upload of a whole file of so many bytes means.
    pub(super) fn judge(&self, error: HostError, bytes: u64) -> HostError {
        let is_too_large = error.status == Some(TOO_LARGE) || error.code.as_deref() == Some("413");
        let taken = self.0.load(Ordering::Relaxed);
        if error.class != Class::RequestRefused || !is_too_large || taken == 0 || bytes < taken {
            return error;
        }
        let said = format!("{}; it has taken files of up to {} bytes, and this one has {bytes}", error.said, taken - 1);
        HostError { class: Class::FileRejected, worsens: None, said, ..error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_the_file_only_where_smaller_ones_were_taken_and_none_as_large() {
        let largest = Largest::default();
        let refused = || HostError::new(Class::RequestRefused, "the host answered 413").with_status(413);
        let class = |error: HostError, bytes| largest.judge(error, bytes).class;
        assert_eq!(class(refused(), 100), Class::RequestRefused, "perhaps it takes none");
        largest.took(99);
        largest.took(0);
        assert_eq!(
            [class(refused(), 99), class(refused(), 98), class(refused(), 100)],
            [Class::RequestRefused, Class::RequestRefused, Class::FileRejected]
        );
        let in_body = HostError { status: Some(200), ..refused() }.with_code(413);
        assert_eq!(class(in_body, 100), Class::FileRejected);
        assert_eq!(class(HostError { status: Some(400), ..refused() }, 100), Class::RequestRefused);
        assert_eq!(class(HostError { class: Class::Transient, ..refused() }, 100), Class::Transient);
    }
}
