//! Handoffs: permits on their way from a spawner to the process it spawns.
//!
//! ```text
//!  spawner:  is admitted -> offer -> spawn -> hand_over
//!  child:                                 `-> adopt -> its function
//! ```
//!
//! The permits stay in the `handoff` word of the spawner's entry until one of these calls
//! completes the handoff, by one CAS on that word. Each later call finds the handoff completed,
//! and moves no permit:
//!
//! | call                               | the permits go to        |
//! |------------------------------------|--------------------------|
//! | `hand_over`, by the spawner        | the child's entry        |
//! | `adopt`, by the child              | the child's entry        |
//! | `claim`, by a supervisor           | the supervisor's entry   |
//! | `retract`, when no child has it    | the pool                 |
//! | `down`, when the spawner is dead   | the pool                 |
//! | a restart that reaps the spawner   | the restart, or the pool |
//! | `clear`, when the pool was dropped | the pool                 |
//!
//! Both `hand_over` and `adopt` hold the child's shard lock over the CAS and the credit. So a
//! child that finds the handoff completed by its spawner also finds its permits, and never runs
//! without them. If a child finds no permits and no pending handoff, its spawner is dead or its
//! offer is made up. The child then ends as if it had not been spawned.
//!
//! A supervisor may start the child on behalf of a spawner. Then the supervisor first claims the
//! handoff, so that the supervisor itself holds the permits. It [entrusts](Pool::entrust) them to
//! the child once the child exists.

use crate::holders::{Entry, Kind, Slot};
use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::{Pool, PoolHost};

/// Names a handoff by the slot of the spawner's entry and the sequence number of the handoff in
/// that entry. It has 59 bits, so it is a small integer on the BEAM.
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
    /// Returns the offer as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the offer that a word stands for. Any word stands for an offer, but there may be
    /// no handoff of that offer.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Whether the child can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// The child holds the permits.
    Adopted,
    /// The spawner is dead, or there is no such offer: the child must not run.
    Revoked,
}

impl<H: PoolHost> Pool<H> {
    /// Begins a handoff of `n` bound permits from the calling process to the process that it is
    /// about to spawn.
    ///
    /// Returns `None`, and moves no permit, if the calling process holds fewer than `n`, or if
    /// its last handoff is still pending.
    pub fn offer(&self, me: Pid, n: u32) -> Option<Offer> {
        let slot = self.table.locate(me)?;
        let entry = self.table.entry(slot)?;
        if entry.own(Kind::Bound) < u64::from(n) && self.fold(me, entry, Kind::Bound) < u64::from(n) {
            return None;
        }
        Some(Offer::new(slot, entry.begin_handoff(n)?))
    }

    /// Completes the handoff and credits the child. The spawner calls this after the spawn.
    pub fn hand_over(&self, host: &H, offer: Offer, child: Pid) {
        let Some(entry) = self.table.entry(offer.slot()) else { return };
        self.complete(host, entry, offer, child);
    }

    /// Completes the handoff and credits the child, unless the spawner has done so. The child
    /// calls this before its function.
    pub fn adopt(&self, host: &H, me: Pid, offer: Offer) -> Adoption {
        // The usual case needs no lock: the spawner completed the handoff first.
        if self.table.find(me).is_some_and(Entry::has_bound) {
            return Adoption::Adopted;
        }
        match self.table.entry(offer.slot()) {
            Some(entry) => self.complete(host, entry, offer, me),
            None => Adoption::Revoked,
        }
    }

    /// Completes the handoff in the entry of the spawner and credits the child, unless another
    /// call has done so.
    fn complete(&self, host: &H, spawner: &Entry, offer: Offer, child: Pid) -> Adoption {
        // The exact clock is read, because the `:max_runtime` of the child counts from here.
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
        // ORDERING: pairs with the fence in `ManyHolders::propose`. A scan may have counted two
        // holders for the same permits: the spawner, which may hold nothing now, and the child.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(spawner);
        Adoption::Adopted
    }

    /// Completes the handoff of `spawner` and gives the permits to the calling process, a
    /// supervisor that is about to start the child on behalf of the spawner.
    ///
    /// Returns the number of permits. Returns `None` if the handoff was completed before, or is
    /// not a handoff of `spawner`.
    pub fn claim(&self, host: &H, me: Pid, spawner: Pid, offer: Offer) -> Option<u64> {
        // The caller's entry is inserted before the handoff is completed, because an insertion
        // can fail. Between the completion and the store in the caller's entry, the permits are
        // in no entry. They cannot be lost, because a process is not killed inside a call.
        let mine = self.table.find(me).or_else(|| self.insert(host, me))?;
        // An old offer may name a slot that another handoff uses by now. The sequence number of
        // the offer differs from those of the next 2^27 - 1 handoffs in the slot. When the number
        // recurs after these, the pid still tells the offer from a handoff of another process.
        let entry = self.table.entry(offer.slot()).filter(|_| self.table.occupant(offer.slot()) == Some(spawner))?;
        let permits = entry.complete_handoff(offer.seq())?;
        let before = mine.own(Kind::Bound);
        mine.set_own(Kind::Bound, before + permits);
        // ORDERING: pairs with the fence in `Table::deactivate_if_idle`. The permits are stored
        // in the entry before `hold` loads whether the entry is active.
        fence(Ordering::SeqCst);
        self.hold(host, me, mine, Kind::Bound, before);
        // ORDERING: pairs with the fence in `ManyHolders::propose`. A scan may have counted the
        // spawner, which may hold nothing now.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(entry);
        Some(permits)
    }

    /// Completes the handoff and frees the permits. The spawner calls this when no child has the
    /// offer: the spawn has failed, or no supervisor has claimed the offer.
    pub fn retract(&self, host: &H, offer: Offer) {
        let Some(entry) = self.table.entry(offer.slot()) else { return };
        let Some(permits) = entry.complete_handoff(offer.seq()) else { return };
        self.note_end_of_hold(host, entry, Kind::Bound);
        let was = self.state.give(permits);
        // ORDERING: pairs with the fence in `ManyHolders::propose`. A scan may have counted the
        // spawner, which may hold nothing now.
        fence(Ordering::SeqCst);
        self.clear_hint_if_empty(entry);
        if was.flagged() {
            self.serve(host);
        }
    }
}
