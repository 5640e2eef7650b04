//! Fixed tables of keys, for limiters and bans: the memory of a table is bounded when it is made.
//!
//! A table stores no key, only its *tag*: 64 bits of a salted hash. The state of a key is [one
//! word](cell); a [table] stores it together with the tag of its key.

mod cell;
mod table;

pub(crate) use cell::{CellState, Context, Parity};
pub(crate) use table::{Found, Table};

/// Maps the high bits of a word to a number below `count`, without a division.
#[inline]
pub(crate) fn scale(word: u64, count: usize) -> usize {
    ((u128::from(word) * count as u128) >> 64) as usize
}
