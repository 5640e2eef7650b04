//! Reaps dead processes: takes back their permits, and removes their waits.
//!
//! The host watches each process that has a record, and calls [`KeyedPool::down`] after its death.
//! A caller may learn of the death before that. So before a request is refused, the caller looks
//! at the holders of the key. If at most [`SCAN_LIMIT`] of them live, it reaps the dead ones; if
//! more live, it leaves the dead ones to the host's monitors.
//!
//! Only one call gets the permits of a dead holder: it removes the lease under the shard lock.

use crate::host::Pid;
use crate::sync::{MutexGuard, lock};

use super::keys::KeyTag;
use super::lease::LeaseId;
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool};

/// The number of living holders up to which a refusal reaps the dead ones.
const SCAN_LIMIT: usize = 8;
/// The number of leases that a scan looks at.
const LOOKS: usize = 2 * SCAN_LIMIT;
/// The number of unused leases that a scan of a shard passes over.
const MOST_PASSED: u32 = 256;
/// The number of leases of one dead process that one call ends.
const MOST_ENDED: usize = if cfg!(loom) { 2 } else { 128 };

/// The holders that a scan looks at.
#[derive(Clone, Copy)]
pub(super) enum Candidates {
    OfKey,
    OfShard,
}

/// Whether a scan has reaped a holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaped {
    Some,
    None,
}

impl<H: KeyedHost> KeyedPool<H> {
    /// Reaps a dead process. The host can call this any number of times for one process: its
    /// permits come back once. The rest of a process that had many leases is reaped by
    /// [`KeyedPool::serve`].
    pub fn down(&self, host: &H, pid: Pid) {
        for _ in 0..MOST_ENDED {
            let Some(at) = self.people.lock(pid).first_or_remove(pid) else { return };
            let shard = lock(&self.shards[at.shard()]);
            // The lease may have been ended since, by a scan, and may serve another process.
            if shard.leases.get(at.number()).pid == Some(pid) {
                self.end_lease(host, shard, at.number());
            }
        }
        lock(&self.control).dying.push(pid);
        host.defer_keyed(self);
    }

    /// Reaps a process if it is dead; does nothing if it lives.
    pub fn ended(&self, host: &H, pid: Pid) {
        let mut known = false;
        self.people.lock(pid).each_lease(pid, |_| {
            known = true;
            false
        });
        if known && !host.alive(pid) {
            self.down(host, pid);
        }
    }

    /// Ends a lease of a dead process. Releases the shard lock.
    fn end_lease(&self, host: &H, mut shard: MutexGuard<'_, Shard<H>>, lease: u32) {
        // The ticket of the wait is dropped after the lock is released.
        let wait = shard.dequeue(lease);
        let permits = shard.lease(lease).clear();
        shard.totals.released_by_exit += u64::from(permits);
        if wait.is_some() {
            self.uncount_waiter();
        }
        self.finish_release(host, shard, lease, permits);
        drop(wait);
    }

    /// Looks at holders, and reaps the dead ones if few live.
    pub(super) fn reap_dead(&self, host: &H, tag: KeyTag, candidates: Candidates) -> Reaped {
        let mut found = [None; LOOKS];
        let mut count = 0;
        {
            let shard = self.lock_shard(tag);
            let mut note = |lease: u32| {
                let of = shard.leases.get(lease);
                if let Some(pid) = of.pid {
                    found[count] = Some((pid, of.id(shard.at(lease))));
                    count += 1;
                }
                count < LOOKS
            };
            match candidates {
                Candidates::OfKey => {
                    let mut at = shard.keys.find(tag).map_or(NIL, |place| shard.keys.get(place).leases);
                    while at != NIL && note(at) {
                        at = shard.leases.get(at).next;
                    }
                }
                Candidates::OfShard => {
                    let mut at = 0;
                    while at < shard.leases.made().min(MOST_PASSED) && note(at) {
                        at += 1;
                    }
                }
            }
        }
        let mut alive = 0;
        let mut reaped = Reaped::None;
        for (pid, id) in found.iter_mut().flatten().map(|&mut found| found) {
            if host.alive(pid) {
                alive += 1;
                if alive > SCAN_LIMIT {
                    return reaped;
                }
            } else if self.end_lease_of_dead(host, pid, id) {
                reaped = Reaped::Some;
            }
        }
        reaped
    }

    /// Ends a lease of a dead process, if it has not been ended.
    pub(super) fn end_lease_of_dead(&self, host: &H, pid: Pid, id: LeaseId) -> bool {
        let shard = lock(&self.shards[id.at().shard()]);
        match shard.lease_by(id, pid) {
            Some(lease) => {
                self.end_lease(host, shard, lease);
                true
            }
            None => false,
        }
    }
}
