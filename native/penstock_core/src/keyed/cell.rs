//! What is remembered of a key, in one word.
//!
//! ```text
//!   bit 63      62 .. 0
//!   era         below END: the TAT; otherwise a claim, by its number
//! ```
//!
//! A *claim* is a place that was taken for a key which has not been charged yet. No two claims have the same number, ever,
//! so a claim that is compared and exchanged is the one that was looked at.
//!
//! The *era* says whether the TAT is from before the last change of the rate, or from after it; see `Limiter::update`.

use std::cell::Cell;

use crate::sync::thread_number;
use crate::time::END;

const ERA: u64 = 1 << 63;
/// Bits of a claim's number.
const CLAIMS: u64 = ERA - END - 1;

/// Eras are told apart by one bit: that of the rate in force, and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Era(pub(crate) bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(tat: u64, era: Era) -> Self {
        debug_assert!(tat < END, "an instant");
        Self(tat | if era.0 { ERA } else { 0 })
    }

    /// One that never was before.
    pub(crate) fn claim() -> Self {
        Self(END + next_claim())
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
        let tat = self.0 & !ERA;
        (tat < END).then_some(tat)
    }

    #[inline]
    pub(crate) fn era(self) -> Era {
        Era(self.0 & ERA != 0)
    }
}

/// What stamps mean now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) now: u64,
    pub(crate) era: Era,
    /// No TAT of the era before is further ahead than this.
    pub(crate) cap: u64,
}

impl View {
    /// The TAT; `None` of a claim.
    #[inline]
    pub(crate) fn tat(self, stamp: Stamp) -> Option<u64> {
        let tat = stamp.tat()?;
        Some(if stamp.era() == self.era { tat } else { self.cut(tat) })
    }

    /// What is left of a TAT of the era before.
    #[inline]
    pub(crate) fn cut(self, tat: u64) -> u64 {
        tat.min(self.cap)
    }
}

/// 2^58 of them: each of 2^26 threads has 2^32 before numbers recur, and no claim lives through as many others.
fn next_claim() -> u64 {
    thread_local! {
        static MADE: Cell<u64> = const { Cell::new(0) };
    }
    let made = MADE.replace(MADE.get().wrapping_add(1));
    (thread_number() as u64) << 32 & CLAIMS | made & 0xFFFF_FFFF
}
