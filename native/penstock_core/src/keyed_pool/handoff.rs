//! Handoffs: permits of a key on their way from a spawner to the process it spawns. The calls,
//! and which of them completes a handoff, are those of the [handoffs of a
//! pool](crate::Pool::offer).
//!
//! A handoff is a count in the spawner's lease. It is completed under the lock of the key's
//! shard, where the permits also reach the child's lease. So a child that finds the handoff
//! completed finds its permits too, and never runs without them.

use crate::holders::Kind;
use crate::host::Pid;
use crate::pool::{Adoption, TransferError};
use crate::sync::{MutexGuard, lock};

use super::lease::{KeyedOffer, LeaseId};
use super::shard::Shard;
use super::{KeyedHost, KeyedPool};

impl<H: KeyedHost> KeyedPool<H> {
    /// Begins a handoff of `n` bound permits that the calling process holds in the lease of this
    /// id. Returns `None`, and moves no permit, if the process holds fewer there, or if its last
    /// handoff of the key is still pending.
    pub fn offer(&self, me: Pid, id: LeaseId, n: u32) -> Option<KeyedOffer> {
        let mut shard = lock(self.shards.get(id.at().shard())?);
        let lease = shard.lease_by(id, me)?;
        let seq = shard.lease(lease).offer(n)?;
        Some(KeyedOffer::new(id.at(), seq))
    }

    fn lock_offer(&self, offer: KeyedOffer) -> Option<MutexGuard<'_, Shard<H>>> {
        let shard = lock(self.shards.get(offer.at().shard())?);
        shard.leases.try_get(offer.at().number())?;
        Some(shard)
    }

    /// Completes the handoff and credits the child. The spawner calls this after the spawn.
    pub fn hand_over(&self, host: &H, offer: KeyedOffer, child: Pid) {
        let _moved = self.complete(host, offer, child, None);
    }

    /// Completes the handoff and credits the child, unless the spawner has done so. The child
    /// calls this before its function.
    pub fn adopt(&self, host: &H, me: Pid, offer: KeyedOffer) -> Adoption {
        if self.complete(host, offer, me, None).is_some() || self.bound_lease(me).is_some() {
            Adoption::Adopted
        } else {
            Adoption::Revoked
        }
    }

    /// Completes the handoff of `spawner` and gives the permits to the calling process. That is a
    /// supervisor, which is about to start the child on behalf of the spawner. Returns the lease
    /// that holds the permits; `None` if the handoff was completed before, or is another one.
    pub fn claim(&self, host: &H, me: Pid, spawner: Pid, offer: KeyedOffer) -> Option<LeaseId> {
        self.complete(host, offer, me, Some(spawner))
    }

    /// Completes a handoff, if it is pending and is one of `spawner`, and credits `to`.
    fn complete(&self, host: &H, offer: KeyedOffer, to: Pid, spawner: Option<Pid>) -> Option<LeaseId> {
        // The `:max_runtime` of the child counts from here, so the exact clock is read.
        let now = host.exact_ms();
        let (id, made) = {
            let mut shard = self.lock_offer(offer)?;
            let from = offer.at().number();
            if spawner.is_some() && shard.leases.get(from).pid != spawner {
                return None;
            }
            let n = shard.lease(from).complete(offer.seq())?;
            let Some(moved) = self.move_permits(&mut shard, from, to, n, now) else {
                shard.note_end_of_hold(from, now);
                self.finish_release(host, shard, from, n, now);
                return None;
            };
            moved
        };
        self.watched(host, to, made);
        Some(id)
    }

    /// Credits `n` permits to `to`, which the lease `from` has lost. They stay in use throughout.
    /// Returns `None`, and credits none, if the shard can have no further lease.
    fn move_permits(&self, shard: &mut Shard<H>, from: u32, to: Pid, n: u32, now: u32) -> Option<(LeaseId, bool)> {
        let place = shard.leases.get(from).place;
        let (lease, made) = shard.lease_of(&self.people, place, to)?;
        shard.lease(lease).credit(Kind::Bound, n, now);
        self.end_if_idle(shard, from);
        Some((shard.leases.get(lease).id(shard.at(lease)), made))
    }

    /// Completes the handoff and frees the permits, since no child exists. The spawner calls this
    /// when the spawn has failed.
    pub fn retract(&self, host: &H, offer: KeyedOffer) {
        let now = host.now_ms();
        let Some(mut shard) = self.lock_offer(offer) else { return };
        let from = offer.at().number();
        let Some(n) = shard.lease(from).complete(offer.seq()) else { return };
        shard.note_end_of_hold(from, now);
        self.finish_release(host, shard, from, n, now);
    }

    /// Transfers `n` bound permits of the calling process to `to`, a process that it has started
    /// to do the work.
    pub fn entrust(&self, host: &H, me: Pid, id: LeaseId, to: Pid, n: u32) -> Result<(), TransferError> {
        let now = host.exact_ms();
        let made = {
            let mut shard = lock(self.shards.get(id.at().shard()).ok_or(TransferError::NotHeld)?);
            let from = shard.lease_by(id, me).ok_or(TransferError::NotHeld)?;
            if !shard.lease(from).debit(Kind::Bound, n) {
                return Err(TransferError::NotHeld);
            }
            let Some((_, made)) = self.move_permits(&mut shard, from, to, n, now) else {
                shard.note_end_of_hold(from, now);
                self.finish_release(host, shard, from, n, now);
                return Err(TransferError::Gone);
            };
            made
        };
        if self.watched(host, to, made) { Ok(()) } else { Err(TransferError::Gone) }
    }

    /// Returns a lease of the process with bound permits.
    pub(super) fn bound_lease(&self, pid: Pid) -> Option<LeaseId> {
        /// The number of leases that are looked at. A process that was spawned behind a gate has
        /// one lease before its function runs, and this lease stays the first of its list.
        const LOOKS: usize = 16;
        let mut leases = [None; LOOKS];
        let mut count = 0;
        self.people.lock(pid).each_lease(pid, |at| {
            leases[count] = Some(at);
            count += 1;
            count < LOOKS
        });
        leases.into_iter().flatten().find_map(|at| {
            let shard = lock(&self.shards[at.shard()]);
            let lease = shard.leases.get(at.number());
            (lease.pid == Some(pid) && lease.held_as(Kind::Bound) > 0).then(|| lease.id(at))
        })
    }
}
