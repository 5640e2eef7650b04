//! Values of the central word.

/// One value of the central word: what a pool looked like at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

impl Seen {
    pub(super) const WAITERS: u64 = 1;
    pub(super) const CLOSED: u64 = 2;
    /// Shards may have credit, or credit is on its way between a shard and the central word.
    const SPREAD: u64 = 4;
    const SHIFT: u32 = 3;

    /// Closed, with no free permits.
    pub(super) const CLOSED_EMPTY: Self = Self(Self::CLOSED);

    #[inline]
    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// Returns what `n` permits add to a word.
    #[inline]
    pub(super) fn permits(n: u64) -> u64 {
        n << Self::SHIFT
    }

    /// Returns the number of free permits of the pool. A negative number is an overdraft.
    #[inline]
    pub fn free(self) -> i64 {
        // An arithmetic shift drops the flags and keeps the sign.
        (self.0 as i64) >> Self::SHIFT
    }

    /// Returns `true` if the pool admits no caller.
    #[inline]
    pub fn closed(self) -> bool {
        self.0 & Self::CLOSED != 0
    }

    /// Returns `true` if processes wait for permits.
    #[inline]
    pub fn has_waiters(self) -> bool {
        self.0 & Self::WAITERS != 0
    }

    /// Returns `true` if a call that gave permits back must serve waiters or drainers.
    #[inline]
    pub(super) fn flagged(self) -> bool {
        self.0 & (Self::CLOSED | Self::WAITERS) != 0
    }

    #[inline]
    pub(super) fn is_spread(self) -> bool {
        self.0 & Self::SPREAD != 0
    }

    /// Returns `true` if a caller that has not waited can take `n` permits from the central word.
    #[inline]
    pub(super) fn admits(self, n: u32) -> bool {
        !self.flagged() && self.free() >= i64::from(n)
    }

    /// Returns the word with `n` permits less.
    #[inline]
    pub(super) fn less(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(Self::permits(n.into())))
    }

    /// Returns the word with `delta` permits more.
    pub(super) fn plus(self, delta: i64) -> Self {
        Self(self.0.wrapping_add((delta << Self::SHIFT) as u64))
    }

    pub(super) fn with(self, flag: u64) -> Self {
        Self(self.0 | flag)
    }

    pub(super) fn without(self, flag: u64) -> Self {
        Self(self.0 & !flag)
    }

    /// Returns the word with SPREAD.
    pub(super) fn spread(self) -> Self {
        self.with(Self::SPREAD)
    }

    /// Returns the word with the credit of all shards, and so without SPREAD.
    pub(super) fn whole(self, credit: u64) -> Self {
        Self(self.0.wrapping_add(Self::permits(credit))).without(Self::SPREAD)
    }
}
