//! The one list of the kinds of hosts. Whatever concerns every kind goes through it: the configuration, the making of hosts, `check`, fuzzing
//! and the tests. A kind is a folder beside this file, its `mod` in `mod.rs`, and a line here.

use super::kind::Kind;
use super::{cloudkp, fourshared, kie, koodrive, uploadgig};

/// Every kind there is. The first one is what a minimal configuration is shown with, so it must need no key but `kind`.
pub static KINDS: &[Kind] = &[
    Kind::of::<cloudkp::CloudKp>(),
    Kind::of::<uploadgig::UploadGig>(),
    Kind::of::<koodrive::KooDrive>(),
    Kind::of::<kie::Kie>(),
    Kind::of::<fourshared::FourShared>(),
];

/// The kind with this word.
pub fn of(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.word() == word)
}
