//! A hint that lets a refusal skip the look at all holders: "there are more than [`SCAN_LIMIT`] of them".
//!
//! A pool of few holders must look at every one before it refuses, a pool of many must not. How many hold is counted
//! nowhere, since that would cost a shared write per acquire. So a look that found a crowd leaves this word behind, and
//! whoever stops holding wipes it: the next refusal looks again.
//!
//! The word says `NONE`, `PROPOSED` by the look of that number, or `PUBLISHED`. The look suspects first and then counts
//! again; only if nobody wiped the word meanwhile is it confirmed. Whoever goes from holding to not holding stores that
//! and then reads the word; the look writes the word and then reads what is held. One sees the other, so a
//! confirmed crowd has lost nobody since it was counted.

use crate::sync::{AtomicU64, Ordering, fence};

/// Up to this many holders, a refusal looks at each of them first.
pub(crate) const SCAN_LIMIT: usize = if cfg!(loom) { 1 } else { 8 };

const NONE: u64 = 0;
const PROPOSED: u64 = 1;
const PUBLISHED: u64 = 2;
const MASK: u64 = 3;

#[derive(Debug)]
pub(crate) struct ManyHolders(AtomicU64);

/// A proposal that can be confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposal(u64);

impl ManyHolders {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(NONE))
    }

    #[inline]
    pub(crate) fn is_published(&self) -> bool {
        self.0.load(Ordering::Relaxed) & MASK == PUBLISHED
    }

    /// To be followed by a count, and by [`ManyHolders::publish`] if that finds a crowd.
    pub(crate) fn propose(&self) -> Proposal {
        // A number of its own for each look, so that none confirms what another suspected.
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let mine = (seen & !MASK).wrapping_add(MASK + 1) | PROPOSED;
            match self.0.compare_exchange_weak(seen, mine, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // ORDERING: pairs with the fence before `someone_left`, see the top.
                    fence(Ordering::SeqCst);
                    return Proposal(mine);
                }
                Err(now) => seen = now,
            }
        }
    }

    /// False if somebody left, or another look began: what was counted may never have been there at one time.
    pub(crate) fn publish(&self, proposal: Proposal) -> bool {
        let crowded = proposal.0 & !MASK | PUBLISHED;
        self.0.compare_exchange(proposal.0, crowded, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether a holder that leaves has something to wipe. After a full fence that follows its leaving.
    #[inline]
    pub(crate) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed) & MASK != NONE
    }

    pub(crate) fn withdraw(&self) {
        self.0.fetch_and(!MASK, Ordering::Relaxed);
    }
}
