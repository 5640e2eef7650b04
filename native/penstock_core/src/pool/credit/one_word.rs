//! The state word of the pools, behind the calls of [`Credit`](super::Credit) that a bench or a
//! test compares.

use crossbeam_utils::CachePadded;

use crate::pool::state::State;

/// The state of a pool in one word.
#[derive(Debug)]
pub struct OneWord(CachePadded<State>);

impl OneWord {
    /// Returns the state of an open pool without holders.
    pub fn open(limit: i64) -> Self {
        let state = State::new();
        state.shift(limit);
        state.open();
        Self(CachePadded::new(state))
    }

    /// Takes `n` permits for a caller that has not waited. Returns `false` if it refuses.
    #[inline]
    pub fn take(&self, n: u32) -> bool {
        // As in `Pool::take`, a refusal is a load only.
        self.0.load().admits(n) && self.0.take(n).is_ok()
    }

    /// Gives `n` permits back. Returns `true` if the caller must serve waiters or drainers.
    #[inline]
    pub fn give(&self, n: u64) -> bool {
        self.0.give(n).flagged()
    }

    /// Returns the number of free permits.
    pub fn free(&self) -> i64 {
        self.0.load().free()
    }
}
