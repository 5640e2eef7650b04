//! Tables of keys, for limiters and bans. A table gets all its memory when it is made.
//!
//! A table stores no key, only its *tag*: 64 bits of a salted hash. The state of a key is [one
//! word](cell); a [table] stores it together with the tag of its key.

mod cell;
mod table;

pub(crate) use cell::{CellState, Context, Parity};
pub(crate) use table::{Found, Table};

/// Returns a number below `count`, in proportion to `word`: the high bits decide. This takes a
/// multiplication, which is quicker than a division.
#[inline]
pub(crate) fn scale(word: u64, count: usize) -> usize {
    ((u128::from(word) * count as u128) >> 64) as usize
}
