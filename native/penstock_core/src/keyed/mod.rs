//! Tables of keys, for limiters and bans. A table gets all its memory when it is made.
//!
//! A [table] stores no key. It stores the *tag* of a key, 64 bits of a salted hash, together with
//! the state of the key, which is [one word](cell).

mod cell;
mod table;

pub(crate) use cell::{CellState, Context, Parity};
pub(crate) use table::{Found, Table};

/// Scales `word` to a number below `count`: the high bits of `word` decide. This multiplies,
/// which is quicker than a division.
#[inline]
pub(crate) fn scale(word: u64, count: usize) -> usize {
    ((u128::from(word) * count as u128) >> 64) as usize
}
