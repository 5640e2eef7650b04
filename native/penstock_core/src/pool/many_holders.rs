//! The many-holders hint: while it is published, refusals assume that more than [`SCAN_LIMIT`]
//! processes hold permits.
//!
//! Before a refusal, a scan looks for dead holders whose permits have not come back. In a pool of
//! few holders, the scan visits all of them. In a pool of many holders, that would cost too much.
//! The pool does not count its holders, because that would cost a shared write per acquire.
//! Instead, a scan that finds many holders publishes this hint, and later refusals skip the scan.
//! A holder that stops holding clears the hint, and the next refusal scans again.
//!
//! The two low bits of the word are `NONE`, `PROPOSED` or `PUBLISHED`. The bits above are the
//! number of the last proposal. A scan that found many holders proposes the hint and counts the
//! holders again. It publishes the hint if it finds many again and the word still has its
//! proposal.
//!
//! A scan and a holder that stops holding race by store buffering, with SeqCst fences on both
//! sides:
//!
//! - The holder stores the number of its permits, and then loads this word.
//! - The scan stores its proposal, and then loads the numbers of permits.
//!
//! At least one observes the other: the holder clears the proposal, or the scan does not count
//! the holder. So there was one instant at which all entries that a published hint counted held
//! permits, or had announced permits that were refused afterwards.

use crate::sync::{AtomicU64, Ordering, fence};

/// The largest number of living holders with which a scan goes on. A scan that finds one more
/// stops.
pub(crate) const SCAN_LIMIT: usize = if cfg!(loom) { 1 } else { 8 };

const NONE: u64 = 0;
const PROPOSED: u64 = 1;
const PUBLISHED: u64 = 2;
const MASK: u64 = 3;

#[derive(Debug)]
pub(crate) struct ManyHolders(AtomicU64);

/// The word as one scan proposed it.
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

    /// Proposes the hint. The caller then counts the holders again, and calls
    /// [`ManyHolders::publish`] if it finds many.
    pub(crate) fn propose(&self) -> Proposal {
        // Each proposal has another number, so no scan can publish the proposal of another scan.
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let mine = (seen & !MASK).wrapping_add(MASK + 1) | PROPOSED;
            match self.0.compare_exchange_weak(seen, mine, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // ORDERING: pairs with the fence before `is_set`, as argued at the top of
                    // this file.
                    fence(Ordering::SeqCst);
                    return Proposal(mine);
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Publishes the hint. Returns `false`, and publishes nothing, if a holder cleared the
    /// proposal or another scan made one. Then there may be no instant at which all counted
    /// holders held permits.
    pub(crate) fn publish(&self, proposal: Proposal) -> bool {
        let published = proposal.0 & !MASK | PUBLISHED;
        self.0.compare_exchange(proposal.0, published, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Returns `true` if the hint is proposed or published: then a holder that stops holding must
    /// clear it. The caller has stored the holder's permits, and then executed a full fence.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) & MASK != NONE
    }

    /// Clears the hint, so that the next refusal scans.
    pub(crate) fn clear(&self) {
        self.0.fetch_and(!MASK, Ordering::Relaxed);
    }
}
