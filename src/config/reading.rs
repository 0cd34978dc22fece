//! What a kind of host reads its settings with.

pub(crate) use super::file::{Table, Value, Wrong, boolean, integer, kind, number_or_auto, one_or_more, text, word};
pub(crate) use super::hosts::{allow_private, filled_text, in_the_clear, needed_secret, part_size};
pub(crate) use super::secrets::secret;
pub(crate) use super::units::{base_url, duration, web_address};
