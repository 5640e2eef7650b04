//! A hint that lets a refusal skip the scan: "more than [`SCAN_LIMIT`] processes hold permits".
//!
//! A refusal by a pool of few holders must scan all of them first, by a pool of many it must not.
//! Holders are counted nowhere, as that would cost a shared write per acquire. So a scan that
//! finds many leaves this word behind, and a holder that stops holding clears it: the next
//! refusal scans again.
//!
//! The word is `NONE`, `PROPOSED` by the scan of that number, or `PUBLISHED`. A scan proposes
//! first and then counts again; it publishes only if no holder cleared the word meanwhile. A
//! releasing holder stores its count and then loads this word. The scan stores this word and then
//! loads the counts. This is store buffering, with SeqCst fences on both sides. At least one
//! observes the other, so a published count cannot have shrunk since it was taken.

use crate::sync::{AtomicU64, Ordering, fence};

/// Up to this many holders, a refusal scans all of them first.
pub(crate) const SCAN_LIMIT: usize = if cfg!(loom) { 1 } else { 8 };

const NONE: u64 = 0;
const PROPOSED: u64 = 1;
const PUBLISHED: u64 = 2;
const MASK: u64 = 3;

#[derive(Debug)]
pub(crate) struct ManyHolders(AtomicU64);

/// A proposal that can be published.
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

    /// Proposes the hint. The caller then counts again, and calls [`ManyHolders::publish`] if it
    /// finds many.
    pub(crate) fn propose(&self) -> Proposal {
        // Each scan has a number, so that none publishes what another proposed.
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let mine = (seen & !MASK).wrapping_add(MASK + 1) | PROPOSED;
            match self.0.compare_exchange_weak(seen, mine, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // ORDERING: pairs with the fence before `withdraw`, as argued at the top of
                    // this file.
                    fence(Ordering::SeqCst);
                    return Proposal(mine);
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Publishes the hint. Returns `false` if a holder left, or another scan began: the holders
    /// that were counted may not have held at one instant.
    pub(crate) fn publish(&self, proposal: Proposal) -> bool {
        let published = proposal.0 & !MASK | PUBLISHED;
        self.0.compare_exchange(proposal.0, published, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns `true` if a holder that leaves must withdraw the hint. After a full fence that
    /// follows the store of its count.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) & MASK != NONE
    }

    pub(crate) fn clear(&self) {
        self.0.fetch_and(!MASK, Ordering::Relaxed);
    }
}
