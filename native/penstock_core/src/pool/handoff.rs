//! Handoffs: permits on their way from a spawner to the process it spawns.
//!
//! ```text
//!  spawner:  admitted (bound) -> offer -> spawn ------> hand_over
//!  child:                                   adopt -> its function
//! ```
//!
//! The permits lie in the spawner's entry until the handoff is completed, once, by one CAS on one
//! word. The spawner's `hand_over` or the child's `adopt` completes it and credits the child's
//! entry; `retract` completes it when the spawn failed. The spawner's death completes it and
//! gives the permits back. Each later one of these calls does nothing.
//!
//! Both `hand_over` and `adopt` hold the lock of the child's pid, so a child whose spawner was
//! first also finds its entry. It never runs without a permit. A child that finds the handoff
//! completed and no permits has no spawner any more, and ends as if it had not been spawned.
//!
//! A supervisor that creates the child on behalf of another process claims the handoff before.
//! Then the permits are the supervisor's, and [entrusted](Pool::entrust) to the child once that
//! exists.

use crate::holders::{Entry, Kind, Slot};
use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::{Pool, PoolHost};

/// Names a handoff: the place of the spawner's entry, and the number of the handoff there. 59
/// bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer(u64);

impl Offer {
    const SEQ_BITS: u32 = 27;

    fn new(slot: Slot, seq: u32) -> Self {
        Self(u64::from(slot.to_bits()) << Self::SEQ_BITS | u64::from(seq))
    }
    fn slot(self) -> Slot {
        Slot::from_bits((self.0 >> Self::SEQ_BITS) as u32)
    }
    fn seq(self) -> u32 {
        (self.0 & ((1 << Self::SEQ_BITS) - 1)) as u32
    }
    /// Returns it as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the handoff of any word.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Whether the child may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// It holds the permits.
    Adopted,
    /// The spawner is gone, and the permits with it.
    Revoked,
}

impl<H: PoolHost> Pool<H> {
    /// Begins a handoff of `n` bound permits of the calling process to the process it is about to
    /// spawn. Returns `None` if it holds fewer, or if its last handoff is pending: then the
    /// permits stay its own.
    pub fn offer(&self, me: Pid, n: u32) -> Option<Offer> {
        let slot = self.table.locate(me)?;
        let entry = self.table.entry(slot)?;
        if entry.own(Kind::Bound) < u64::from(n) && self.fold(me, entry, Kind::Bound) < u64::from(n) {
            return None;
        }
        Some(Offer::new(slot, entry.begin_handoff(n)?))
    }

    /// Gives the child its permits. By the spawner, once it has spawned the child.
    pub fn hand_over(&self, host: &H, offer: Offer, child: Pid) {
        let Some(entry) = self.table.entry(offer.slot()) else { return };
        self.place(host, entry, offer, child);
    }

    /// Takes the permits of the handoff. By the child, as its first act.
    pub fn adopt(&self, host: &H, me: Pid, offer: Offer) -> Adoption {
        // The spawner was first, and all is done: the usual case, without a lock.
        if self.table.find(me).is_some_and(Entry::has_bound) {
            return Adoption::Adopted;
        }
        match self.table.entry(offer.slot()) {
            Some(entry) => self.place(host, entry, offer, me),
            None => Adoption::Revoked,
        }
    }

    fn place(&self, host: &H, spawner: &Entry, offer: Offer, child: Pid) -> Adoption {
        // Exact, since work may be limited in how long it runs.
        let now = host.exact_ms();
        let made = {
            let _locked = self.table.lock(child);
            if let Some(permits) = spawner.complete_handoff(offer.seq()) {
                let (entry, slot, made) = self.table.get_or_insert(child);
                self.table.credit(entry, slot, Kind::Bound, permits, now);
                made
            } else if self.table.find(child).is_some_and(Entry::has_bound) {
                return Adoption::Adopted;
            } else {
                return Adoption::Revoked;
            }
        };
        if made && !host.watch(self, child) {
            self.down(host, child);
        }
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the spawner may hold nothing
        // now, while the number of holders has not grown.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(spawner);
        Adoption::Adopted
    }

    /// Makes the permits of the handoff those of the calling process, which is about to create
    /// the child on behalf of `spawner`. Returns how many; `None` if the handoff is completed, or
    /// is not that process'.
    pub fn claim(&self, host: &H, me: Pid, spawner: Pid, offer: Offer) -> Option<u64> {
        // Before the handoff is completed. From then on the permits are in no entry until they
        // are in the caller's, which is no race: a process is not killed inside a call.
        let mine = self.table.find(me).or_else(|| self.insert(host, me))?;
        // The handoff may be long completed, and its place in use again. The number tells for 2^27
        // handoffs at this place, by any process; the pid tells for another process after that.
        let entry = self.table.entry(offer.slot()).filter(|_| self.table.occupant(offer.slot()) == Some(spawner))?;
        let permits = entry.complete_handoff(offer.seq())?;
        let before = mine.own(Kind::Bound);
        mine.set_own(Kind::Bound, before + permits);
        // ORDERING: pairs with the fence in `Table::deactivate_if_idle`: announced, then `hold`
        // loads `active`.
        fence(Ordering::SeqCst);
        self.hold(host, me, mine, Kind::Bound, before);
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the spawner may hold nothing
        // now.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(entry);
        Some(permits)
    }

    /// Takes the handoff back, as there is no child. By the spawner.
    pub fn retract(&self, host: &H, offer: Offer) {
        let Some(entry) = self.table.entry(offer.slot()) else { return };
        let Some(permits) = entry.complete_handoff(offer.seq()) else { return };
        let was = self.state.give(permits);
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the spawner may hold nothing
        // now.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(entry);
        if was.flagged() {
            self.serve(host);
        }
    }
}
