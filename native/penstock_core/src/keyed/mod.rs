//! Fixed tables of keys, which limiters and bans share: memory is bounded when a table is made.
//!
//! A table stores no key, only its *tag*: 64 bits of a salted hash. The state of one key is a
//! [cell], one word; a [table] pairs each cell with the tag of its key.

mod cell;
mod table;

pub(crate) use cell::{CellState, Context, Parity};
pub(crate) use table::{Found, Table};

/// Maps a word to a number below `count`, by its high bits.
#[inline]
pub(crate) fn scale(word: u64, count: usize) -> usize {
    ((u128::from(word) * count as u128) >> 64) as usize
}
