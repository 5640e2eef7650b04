//! The state of one key, in one word.
//!
//! ```text
//!   bit 63      62 .. 0
//!   parity      a number below END: the TAT; from END on: END + the number of a placeholder
//! ```
//!
//! A *placeholder* claims a place for a key that has not been charged yet. The numbers of
//! placeholders are unique (see `next_placeholder`). So a CAS that expects a placeholder succeeds
//! only on the very placeholder that its caller loaded.
//!
//! The *parity* tells whether the TAT was written before or after the last change of the rate;
//! see `Limiter::update`.

use std::cell::Cell;

use crate::sync::thread_number;
use crate::time::END;

const PARITY: u64 = 1 << 63;
/// The mask of a placeholder's number: 58 bits.
const PLACEHOLDER_MASK: u64 = PARITY - END - 1;

/// The low bit of the version of a limiter's configuration. A TAT has the parity of the version
/// under which it was written. That is the version in force or the version before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parity(pub(crate) bool);

/// The state of one key: a TAT with its parity, or a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellState(u64);

impl CellState {
    /// The state of a key that was never charged: TAT 0.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(tat: u64, parity: Parity) -> Self {
        debug_assert!(tat < END, "a TAT is below END");
        Self(tat | if parity.0 { PARITY } else { 0 })
    }

    /// Returns a placeholder with a new number.
    pub(crate) fn placeholder() -> Self {
        Self(END + next_placeholder())
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Returns the TAT as it was written; `None` for a placeholder.
    #[inline]
    pub(crate) fn tat(self) -> Option<u64> {
        let tat = self.0 & !PARITY;
        (tat < END).then_some(tat)
    }

    #[inline]
    pub(crate) fn parity(self) -> Parity {
        Parity(self.0 & PARITY != 0)
    }
}

/// The time, and the parts of the configuration in force, by which a caller reads a cell state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// The time in ns.
    pub(crate) now: u64,
    /// The parity of the version in force.
    pub(crate) parity: Parity,
    /// A TAT of the other parity that is later than this instant counts as this instant; see
    /// [`Context::cut`].
    pub(crate) cap: u64,
}

impl Context {
    /// Returns the TAT under the configuration in force; `None` for a placeholder.
    #[inline]
    pub(crate) fn tat(self, state: CellState) -> Option<u64> {
        let tat = state.tat()?;
        Some(if state.parity() == self.parity { tat } else { self.cut(tat) })
    }

    /// Returns a TAT that was written before the last change of the rate, cut to the cap. So
    /// after the change a key owes at most the new burst.
    #[inline]
    pub(crate) fn cut(self, tat: u64) -> u64 {
        tat.min(self.cap)
    }
}

/// Returns a number of 58 bits that no other placeholder in use has. The high 26 bits are the
/// number of the thread. The low 32 bits count the placeholders that the thread made. The count
/// wraps after 2^32 placeholders, and no placeholder is in use for that long.
fn next_placeholder() -> u64 {
    thread_local! {
        static MADE: Cell<u64> = const { Cell::new(0) };
    }
    let made = MADE.replace(MADE.get().wrapping_add(1));
    (thread_number() as u64) << 32 & PLACEHOLDER_MASK | made & 0xFFFF_FFFF
}
