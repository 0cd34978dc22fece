//! A file's size and a host's shape become parts: a pure computation, fixed at `open` and stored.

use super::upload::Shape;

/// How a file is cut into parts. A changed setting never renumbers a half-sent file, because the plan is stored with the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The file's size in bytes.
    pub file_bytes: u64,
    /// The size of every part but the last.
    pub part_bytes: u64,
}

/// Why a file cannot be cut into parts for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplannable {
    /// The host does not take empty files.
    #[error("the file is empty, and this host does not accept empty files")]
    Empty,
    /// The file is larger than the host takes.
    #[error("the file has {file_bytes} bytes, and this host accepts at most {max_bytes}")]
    TooLarge {
        /// The file's size.
        file_bytes: u64,
        /// The host's limit.
        max_bytes: u64,
    },
}

/// One part of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl Plan {
    /// Cuts a file of `file_bytes` for a host of this `shape`.
    pub fn new(file_bytes: u64, shape: &Shape) -> Result<Plan, Unplannable> {
        if file_bytes == 0 && !shape.takes_empty_files {
            return Err(Unplannable::Empty);
        }
        let part_bytes = shape.part_bytes.max(1);
        let by_count = part_bytes.saturating_mul(u64::from(shape.parts_max));
        let max_bytes = shape.file_bytes_max.unwrap_or(u64::MAX).min(by_count);
        if file_bytes > max_bytes {
            return Err(Unplannable::TooLarge { file_bytes, max_bytes });
        }
        Ok(Plan { file_bytes, part_bytes })
    }

    /// How many parts there are. A file of 0 bytes has one, of 0 bytes.
    pub fn parts(&self) -> u32 {
        let parts = self.file_bytes.div_ceil(self.part_bytes).max(1);
        u32::try_from(parts).unwrap_or(u32::MAX)
    }

    /// The bytes of part `number`, counted from 0.
    pub fn range(&self, number: u32) -> Range {
        let offset = u64::from(number).saturating_mul(self.part_bytes).min(self.file_bytes);
        Range { offset, bytes: self.part_bytes.min(self.file_bytes - offset) }
    }

    /// The part that begins at `offset`, as a host that takes bytes in order wants it: never longer than a part.
    pub fn range_at(&self, offset: u64) -> Range {
        let offset = offset.min(self.file_bytes);
        Range { offset, bytes: self.part_bytes.min(self.file_bytes - offset) }
    }

    /// The ranges that a host holds which takes bytes in order and has taken whole parts up to `held_bytes`.
    pub fn ranges_up_to(&self, held_bytes: u64) -> impl Iterator<Item = Range> + Clone + use<> {
        let plan = *self;
        let next = move |before: &Range| Some(plan.range_at(before.offset + before.bytes));
        std::iter::successors(Some(plan.range_at(0)), next).take_while(move |range| range.offset < held_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(part_bytes: u64) -> Shape {
        Shape { takes_empty_files: false, ..Shape::parts(part_bytes) }
    }

    #[test]
    fn an_empty_file_is_one_empty_part_or_refused() {
        assert_eq!(Plan::new(0, &shape(8)), Err(Unplannable::Empty));
        let plan = Plan::new(0, &Shape { takes_empty_files: true, ..shape(8) }).unwrap();
        assert_eq!((plan.parts(), plan.range(0)), (1, Range { offset: 0, bytes: 0 }));
    }

    #[test]
    fn a_file_beyond_the_host_is_refused_with_both_sizes() {
        let limited = Shape { parts_max: 2, ..shape(10) };
        assert_eq!(Plan::new(21, &limited), Err(Unplannable::TooLarge { file_bytes: 21, max_bytes: 20 }));
        assert!(Plan::new(20, &limited).is_ok());
    }

    proptest! {
        #[test]
        fn the_parts_cover_the_file_exactly_once(file_bytes in 1u64..100_000, part_bytes in 1u64..5_000) {
            let plan = Plan::new(file_bytes, &shape(part_bytes)).unwrap();
            let mut next = 0;
            for number in 0..plan.parts() {
                let range = plan.range(number);
                prop_assert_eq!(range.offset, next);
                prop_assert!(range.bytes > 0 && range.bytes <= part_bytes);
                prop_assert_eq!(range, plan.range_at(next));
                next += range.bytes;
            }
            prop_assert_eq!(next, file_bytes);
        }
    }
}
