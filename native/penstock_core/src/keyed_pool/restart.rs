//! Restarts: permits of a key for a child that replaces a dead one. The reasons are those of the
//! restarts of a pool: a refused restart may end its supervisor.
//!
//! A restart first takes free permits. Then it takes over those of a dead holder of the key,
//! which may be the predecessor. Then it exceeds the limit, by up to `max_overdraft`. If the key
//! is above its limit because the limit fell, restarts can bring as many permits into use as were
//! in use then. Then it pauses and tries again, since the monitor of the predecessor may be about
//! to run. Each step is one call, since the supervisor must stay preemptible.

use crate::holders::Kind;
use crate::host::Pid;
use crate::sync::lock;

use super::acquire::{Attempt, KeyRefusal};
use super::lease::LeaseId;
use super::reap::Budget;
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool, PoolKey};

/// The number of holders of a key that one call looks at.
const LOOKS: usize = 256;
/// The number of leases of a key that one call visits to find these holders. The others are those
/// of waiters, or of holders of fewer permits.
const VISITS: usize = 2_000;
/// The number of pauses, in which the supervisor lets other processes run.
const PAUSES: u64 = 3;
/// The number of waits of 1 ms after the pauses.
const WAITS: u64 = 3;

/// The result of one step of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRestart {
    /// The supervisor holds the permits in this lease.
    Admitted(LeaseId),
    /// The restart is refused.
    Refused(KeyRefusal),
    /// The supervisor must let other processes run, and then take this step.
    Pause(u64),
    /// The supervisor must let 1 ms pass, and then take this step.
    Wait(u64),
}

/// Up to which number a restart can bring permits of a key into use.
#[derive(Clone, Copy)]
enum Bound {
    Limit,
    Overdraft,
}

impl<H: KeyedHost> KeyedPool<H> {
    /// Takes `n` bound permits of a key for a restart. The first step is 0.
    pub fn take_for_restart(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, step: u64) -> KeyRestart {
        let refusal = match self.take_within(host, me, key, n, Bound::Limit) {
            Ok(id) => return KeyRestart::Admitted(id),
            Err(KeyRefusal::Closed) => return KeyRestart::Refused(KeyRefusal::Closed),
            Err(refusal) => refusal,
        };
        let taken_over = match refusal {
            // Dead processes may have places.
            KeyRefusal::TableFull => {
                self.reap_for(host, key.tag, refusal, &mut Budget::new());
                None
            }
            _ => self.take_over(host, me, key, n),
        };
        if let Some(id) = taken_over {
            return KeyRestart::Admitted(id);
        }
        if let Ok(id) = self.take_within(host, me, key, n, Bound::Overdraft) {
            return KeyRestart::Admitted(id);
        }
        if step < PAUSES {
            KeyRestart::Pause(step + 1)
        } else if step < PAUSES + WAITS {
            KeyRestart::Wait(step + 1)
        } else {
            self.count_refusal(key, refusal);
            KeyRestart::Refused(refusal)
        }
    }

    /// Takes permits even if other processes wait.
    fn take_within(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, bound: Bound) -> Result<LeaseId, KeyRefusal> {
        let now = host.now_ms();
        let mut text = None;
        loop {
            let attempt = self.attempt_within(&mut self.lock_shard(key.tag), me, key, &mut text, n, bound, now);
            match attempt {
                Attempt::Admitted { id, made } => {
                    return self.watched(host, me, made).then_some(id).ok_or(KeyRefusal::Closed);
                }
                Attempt::Refused(no) => return Err(no),
                Attempt::NeedsText => text = Some(key.show.make()),
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn attempt_within(
        &self,
        shard: &mut Shard<H>,
        me: Pid,
        key: PoolKey<'_>,
        text: &mut Option<Box<[u8]>>,
        n: u32,
        bound: Bound,
        now: u32,
    ) -> Attempt {
        if !shard.is_open(key.generation) {
            return Attempt::Refused(KeyRefusal::Closed);
        }
        let place = shard.keys.find(key.tag);
        let in_use = place.map_or(0, |place| shard.keys.get(place).in_use);
        let most = match (bound, place) {
            (Bound::Limit, _) => u64::from(shard.limit),
            (Bound::Overdraft, Some(place)) => shard.most_with_overdraft(place),
            (Bound::Overdraft, None) => shard.overdrawn_limit,
        };
        if u64::from(in_use) + u64::from(n) > most {
            return Attempt::Refused(KeyRefusal::KeyFull);
        }
        let place = match place.map_or_else(|| self.new_place(shard, key, text), Ok) {
            Ok(place) => place,
            Err(no) => return no,
        };
        let attempt = self.admit(shard, place, me, n, Kind::Bound, now);
        if matches!(attempt, Attempt::Admitted { .. }) && !shard.fits(in_use, n) {
            shard.totals.overdrawn += 1;
        }
        attempt
    }

    /// Takes over the permits of a dead holder of the key. They stay in use throughout, so no
    /// other caller can take them.
    fn take_over(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32) -> Option<LeaseId> {
        let mut holders = Vec::with_capacity(LOOKS);
        let mut visited = 0;
        {
            let shard = self.lock_shard(key.tag);
            let mut at = shard.keys.find(key.tag).map_or(NIL, |place| shard.keys.get(place).leases);
            while at != NIL && holders.len() < LOOKS && visited < VISITS {
                let lease = shard.leases.get(at);
                if let Some(pid) = lease.pid
                    && lease.total() >= n
                {
                    holders.push((pid, lease.id(shard.at(at))));
                }
                at = lease.next;
                visited += 1;
            }
        }
        host.worked(visited);
        let mut dead = holders.into_iter().filter(|&(pid, _)| !host.alive(pid));
        dead.find_map(|(pid, id)| self.take_over_lease(host, me, key, pid, id, n))
    }

    /// Ends the lease of a dead process, and gives `n` of its permits to the caller, the others
    /// back. Returns `None`, and changes nothing, if the lease has ended or has fewer, or if the
    /// pool is not open any more.
    fn take_over_lease(&self, host: &H, me: Pid, key: PoolKey<'_>, dead: Pid, id: LeaseId, n: u32) -> Option<LeaseId> {
        let now = host.now_ms();
        let mut shard = lock(&self.shards[id.at().shard()]);
        if !shard.is_open(key.generation) {
            return None;
        }
        let lease = shard.lease_by(id, dead).filter(|&lease| shard.leases.get(lease).total() >= n)?;
        let place = shard.leases.get(lease).place;
        let (taker, made) = shard.lease_of(&self.people, place, me)?;
        let wait = shard.dequeue(lease);
        if wait.is_some() {
            self.uncount_waiter();
        }
        let total = shard.lease(lease).clear();
        shard.note_end_of_hold(lease, now);
        shard.lease(taker).credit(Kind::Bound, n, now);
        shard.totals.acquired += 1;
        shard.totals.released_by_exit += u64::from(total);
        let taken = shard.leases.get(taker).id(shard.at(taker));
        self.finish_release(host, shard, lease, total - n, now);
        // The ticket is dropped after the lock is released.
        drop(wait);
        self.watched(host, me, made).then_some(taken)
    }
}
