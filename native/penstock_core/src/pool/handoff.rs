//! Permits on their way from a spawner to the process it spawns.
//!
//! ```text
//!  spawner:  admitted (bound) -> offer -> spawn ------> hand_over
//!  child:                                   adopt -> its function
//! ```
//!
//! The offer lies in the spawner's entry until it is settled, by one exchange on one word, once: by the spawner's
//! `hand_over` or the child's `adopt`, which place the permits in the child's entry; by `retract`, when the spawn failed; or by the
//! spawner's death, which gives them back. Whoever comes second does nothing. Both who place them do it under the
//! lock of the child's pid, so that a child whose spawner was first also finds its entry: it never runs without a permit.
//! A child that finds the offer withdrawn has no spawner any more, and ends as if it had not been spawned.
//!
//! A supervisor that creates the child for somebody claims the offer before it does: then the permits are the supervisor's, and
//! [entrusted](Pool::entrust) to the child when that is there.

use crate::holders::{Entry, Kind, Slot};
use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::{Pool, PoolHost};

/// Names an offer: the place of the spawner's entry, and which of its offers. 59 bits.
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
    /// As a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// From a word that may be anything.
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
    /// Puts `n` bound permits of the calling process on offer to the process it is about to
    /// spawn. `None` if it does not hold that many, or if its last offer is not settled: then the
    /// permits stay its own.
    pub fn offer(&self, me: Pid, n: u32) -> Option<Offer> {
        let slot = self.table.locate(me)?;
        let entry = self.table.entry(slot)?;
        if entry.own(Kind::Bound) < u64::from(n) && self.fold(me, entry, Kind::Bound) < u64::from(n) {
            return None;
        }
        Some(Offer::new(slot, entry.begin_handoff(n)?))
    }

    /// The spawner gives its child what it offered.
    pub fn hand_over(&self, host: &H, offer: Offer, child: Pid) {
        let Some(entry) = self.table.entry(offer.slot()) else { return };
        self.place(host, entry, offer, child);
    }

    /// The child takes what it was offered, as its first act.
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
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the spawner may hold nothing now, and the child not be one more.
        fence(Ordering::SeqCst);
        self.note_leaving(spawner);
        Adoption::Adopted
    }

    /// The calling process is to create the child that `spawner` made the offer for: what was offered becomes its own. How much
    /// that is; `None` if the offer was settled, or is not that process'.
    pub fn claim(&self, host: &H, me: Pid, spawner: Pid, offer: Offer) -> Option<u64> {
        // Before the offer is closed: from then on the permits are nobody's until they are in our entry, which is no
        // race, since a process is not killed inside a call.
        let mine = self.table.find(me).or_else(|| self.insert(host, me))?;
        // A claim is made of an offer that may be long settled. That its place holds the offer of another process by now is
        // told by the pid; that it holds another of the same process, by its number, up to 2^27 of them.
        let entry = self.table.entry(offer.slot()).filter(|_| self.table.occupant(offer.slot()) == Some(spawner))?;
        let permits = entry.complete_handoff(offer.seq())?;
        let before = mine.own(Kind::Bound);
        mine.set_own(Kind::Bound, before + permits);
        // ORDERING: pairs with the fence in `Table::deactivate_if_idle`.
        fence(Ordering::SeqCst);
        self.hold(host, me, mine, Kind::Bound, before);
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the spawner may hold nothing now.
        fence(Ordering::SeqCst);
        self.note_leaving(entry);
        Some(permits)
    }

    /// The spawner takes its offer back: there is no child.
    pub fn retract(&self, host: &H, offer: Offer) {
        let Some(entry) = self.table.entry(offer.slot()) else { return };
        let Some(permits) = entry.complete_handoff(offer.seq()) else { return };
        let was = self.state.give(permits);
        // ORDERING: pairs with the fence in `ManyHolders::propose`.
        fence(Ordering::SeqCst);
        self.note_leaving(entry);
        if was.flagged() {
            self.settle(host);
        }
    }
}
