//! What is remembered of a key, in one word.
//!
//! ```text
//!   bit 63      62 .. 0
//!   parity         below END: the TAT; otherwise a claim, by its number
//! ```
//!
//! A *claim* is a place that was taken for a key which has not been charged yet. No two claims have the same number, ever,
//! so a claim that is compared and exchanged is the one that was looked at.
//!
//! The *parity* says whether the TAT is from before the last change of the rate, or from after it; see `Limiter::update`.

use std::cell::Cell;

use crate::sync::thread_number;
use crate::time::END;

const PARITY: u64 = 1 << 63;
/// Bits of a claim's number.
const PLACEHOLDERS: u64 = PARITY - END - 1;

/// Eras are told apart by one bit: that of the rate in force, and the one before.
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

    /// One that never was before.
    pub(crate) fn placeholder() -> Self {
        Self(END + next_placeholder())
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// The TAT; `None` of a claim.
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

/// What stamps mean now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) now: u64,
    pub(crate) parity: Parity,
    /// No TAT of the parity before is further ahead than this.
    pub(crate) cap: u64,
}

impl Context {
    /// The TAT; `None` of a claim.
    #[inline]
    pub(crate) fn tat(self, state: CellState) -> Option<u64> {
        let tat = state.tat()?;
        Some(if state.parity() == self.parity { tat } else { self.cut(tat) })
    }

    /// What is left of a TAT of the parity before.
    #[inline]
    pub(crate) fn cut(self, tat: u64) -> u64 {
        tat.min(self.cap)
    }
}

/// 2^58 of them: each of 2^26 threads has 2^32 before numbers recur, and no claim lives through as many others.
fn next_placeholder() -> u64 {
    thread_local! {
        static MADE: Cell<u64> = const { Cell::new(0) };
    }
    let made = MADE.replace(MADE.get().wrapping_add(1));
    (thread_number() as u64) << 32 & PLACEHOLDERS | made & 0xFFFF_FFFF
}
