//! The state of one key, in one word.
//!
//! ```text
//!   bit 63      62 .. 0
//!   parity      below END: the TAT; otherwise a placeholder, by its number
//! ```
//!
//! A *placeholder* claims a place for a key that has not been charged yet. No two placeholders
//! have the same number, ever, so a placeholder that is compared and exchanged is the one that
//! was loaded.
//!
//! The *parity* tells whether the TAT is from before the last change of the rate, or from after
//! it; see `Limiter::update`.

use std::cell::Cell;

use crate::sync::thread_number;
use crate::time::END;

const PARITY: u64 = 1 << 63;
/// Bits of a placeholder's number.
const PLACEHOLDERS: u64 = PARITY - END - 1;

/// The low bit of the version of the configuration that wrote a TAT: it tells the version in
/// force from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parity(pub(crate) bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellState(u64);

impl CellState {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(tat: u64, parity: Parity) -> Self {
        debug_assert!(tat < END, "an instant");
        Self(tat | if parity.0 { PARITY } else { 0 })
    }

    /// Returns a placeholder that never was before.
    pub(crate) fn placeholder() -> Self {
        Self(END + next_placeholder())
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Returns the TAT; `None` for a placeholder.
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

/// What cell states mean at one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) now: u64,
    pub(crate) parity: Parity,
    /// No TAT of the other parity is further ahead than this.
    pub(crate) cap: u64,
}

impl Context {
    /// Returns the TAT; `None` for a placeholder.
    #[inline]
    pub(crate) fn tat(self, state: CellState) -> Option<u64> {
        let tat = state.tat()?;
        Some(if state.parity() == self.parity { tat } else { self.cut(tat) })
    }

    /// Returns what is left of a TAT of the other parity.
    #[inline]
    pub(crate) fn cut(self, tat: u64) -> u64 {
        tat.min(self.cap)
    }
}

/// Returns one of 2^58 numbers: each of 2^26 threads has 2^32 before they recur, and no
/// placeholder lives through as many others.
fn next_placeholder() -> u64 {
    thread_local! {
        static MADE: Cell<u64> = const { Cell::new(0) };
    }
    let made = MADE.replace(MADE.get().wrapping_add(1));
    (thread_number() as u64) << 32 & PLACEHOLDERS | made & 0xFFFF_FFFF
}
