//! Reaps dead processes: takes back their permits, and removes their waits.
//!
//! The host watches each process that has a record, and calls [`KeyedPool::down`] after its
//! death. A caller may learn of the death before that. So before a request is refused, the caller
//! looks at the holders of the key. If each place is in use, it looks at the processes that have
//! leases in the shard. If at most [`SCAN_LIMIT`] of them live, it reaps the dead ones. If more
//! live, it leaves the dead ones to the host's monitors.
//!
//! Only one call gets the permits of a dead holder: it removes the lease under the shard lock.
//!
//! # What a scan can miss
//!
//! In these cases the refusal stands, and the monitor of the dead process brings its permits and
//! places back soon.
//!
//! - More than [`SCAN_LIMIT`] of the processes that the scan looks at live.
//! - Each place is in use, and all leases of the dead process are in other shards, or behind the
//!   first [`MOST_PASSED`] of the shard.
//!
//! # Pids
//!
//! [`KeyedPool::down`] may leave work to [`KeyedPool::serve`]. The host gives the pid of a dead
//! process to another only after this work is done. On the BEAM, millions of processes are
//! created before a pid is used again.

use crate::host::Pid;
use crate::sync::{MutexGuard, lock};

use super::keys::KeyTag;
use super::lease::LeaseId;
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool};

/// The number of living holders up to which a refusal reaps the dead ones.
const SCAN_LIMIT: usize = 8;
/// The number of processes that a scan looks at.
const LOOKS: usize = 2 * SCAN_LIMIT;
/// The number of leases that a scan of a shard visits.
const MOST_PASSED: u32 = 256;
/// The number of leases of one dead process that one call ends. An answer to a waiter counts as a
/// lease.
const MOST_ENDED: usize = if cfg!(loom) { 2 } else { 128 };

/// The work that one call may spend on scans, in looks at a process. It may exceed that by the
/// work of the lease that it ends last.
pub(super) struct Budget(usize);

impl Budget {
    /// The looks that the end of a lease, or an answer to a waiter, takes as long as.
    const LOOKS_IN_END: usize = 4;

    pub(super) fn new() -> Self {
        Self(4 * MOST_ENDED)
    }
    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }
    fn spend(&mut self, looks: usize) {
        self.0 = self.0.saturating_sub(looks);
    }
}

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
        let now = host.now_ms();
        let mut ended = 0;
        while ended < MOST_ENDED {
            let Some(at) = self.people.lock(pid).first_or_remove(pid) else { return };
            let shard = lock(&self.shards[at.shard()]);
            // The lease may have been ended since, by a scan, and may serve another process.
            if shard.leases.get(at.number()).pid == Some(pid) {
                ended += self.end_lease(host, shard, at.number(), now);
            }
            ended += 1;
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

    /// Ends a lease of a dead process. Releases the shard lock. Returns the number of answers
    /// that it gave to waiters.
    fn end_lease(&self, host: &H, mut shard: MutexGuard<'_, Shard<H>>, lease: u32, now: u32) -> usize {
        // The ticket of the wait is dropped after the lock is released.
        let wait = shard.dequeue(lease);
        let permits = shard.lease(lease).clear();
        shard.totals.released_by_exit += u64::from(permits);
        if permits > 0 {
            shard.note_end_of_hold(lease, now);
        }
        if wait.is_some() {
            self.uncount_waiter();
        }
        let answers = self.finish_release(host, shard, lease, permits, now);
        drop(wait);
        answers
    }

    /// Looks at processes, and ends a lease of each dead one if few live. If they are the holders
    /// of a key, it is the lease of this key.
    pub(super) fn reap_dead(&self, host: &H, tag: KeyTag, candidates: Candidates, budget: &mut Budget) -> Reaped {
        let mut found: [Option<(Pid, LeaseId)>; LOOKS] = [None; LOOKS];
        let mut count = 0;
        let mut visited = 0;
        {
            let shard = self.lock_shard(tag);
            let mut note = |lease: u32| {
                visited += 1;
                let of = shard.leases.get(lease);
                // A process that is found has one lease of a key, and may have many of a shard.
                if let Some(pid) = of.pid
                    && found[..count].iter().flatten().all(|&(other, _)| other != pid)
                {
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
        host.worked(visited / 4);
        budget.spend(visited / 4);
        let now = host.now_ms();
        let mut alive = 0;
        let mut reaped = Reaped::None;
        for &(pid, id) in found.iter().flatten() {
            budget.spend(1);
            if host.alive(pid) {
                alive += 1;
                if alive > SCAN_LIMIT {
                    return reaped;
                }
            } else if let Some(answers) = self.end_lease_of_dead(host, pid, id, now) {
                budget.spend(Budget::LOOKS_IN_END * (1 + answers));
                reaped = Reaped::Some;
                if budget.is_spent() {
                    return reaped;
                }
            }
        }
        reaped
    }

    /// Ends a lease of a dead process. Returns the number of answers that this gave to waiters;
    /// `None` if the lease had ended.
    fn end_lease_of_dead(&self, host: &H, pid: Pid, id: LeaseId, now: u32) -> Option<usize> {
        let shard = lock(&self.shards[id.at().shard()]);
        let lease = shard.lease_by(id, pid)?;
        Some(self.end_lease(host, shard, lease, now))
    }
}
