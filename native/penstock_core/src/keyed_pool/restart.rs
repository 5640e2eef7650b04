//! Restarts: permits of a key for a child that replaces a dead one. The reasons are those of the
//! restarts of a pool: a refused restart may end its supervisor.
//!
//! A restart first takes free permits. Then it takes over those of a dead holder of the key, which
//! may be the predecessor. Then it exceeds the limit, by up to `max_overdraft`; if the limit of
//! the pool fell below the permits in use, up to the limit before. Then it pauses and tries again,
//! since the monitor of the predecessor may be about to run. Each step is one call, since the
//! supervisor must stay preemptible.

use crate::holders::Kind;
use crate::host::Pid;
use crate::pool::Status;
use crate::sync::lock;

use super::acquire::{Attempt, KeyRefusal};
use super::lease::LeaseId;
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool, PoolKey};

/// The number of holders of a key that one call looks at.
const LOOKS: usize = if cfg!(loom) { 4 } else { 256 };
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

impl<H: KeyedHost> KeyedPool<H> {
    /// Takes `n` bound permits of a key for a restart. The first step is 0.
    pub fn take_for_restart(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, step: u64) -> KeyRestart {
        let now = host.now_ms();
        let mut text = None;
        let refusal = loop {
            match self.overdraw(&mut self.lock_shard(key.tag), me, key, &mut text, n, now, false) {
                Attempt::Admitted { id, made } => return self.restarted(host, me, id, made),
                Attempt::NeedsText => text = Some(key.show.make()),
                Attempt::Refused(KeyRefusal::Closed) => return KeyRestart::Refused(KeyRefusal::Closed),
                Attempt::Refused(refusal) => break refusal,
            }
        };
        if let Some((id, made)) = self.take_over(host, me, key, n, now) {
            return self.restarted(host, me, id, made);
        }
        let again = self.overdraw(&mut self.lock_shard(key.tag), me, key, &mut text, n, now, true);
        if let Attempt::Admitted { id, made } = again {
            return self.restarted(host, me, id, made);
        }
        if step < PAUSES {
            KeyRestart::Pause(step + 1)
        } else if step < PAUSES + WAITS {
            KeyRestart::Wait(step + 1)
        } else {
            self.count_refusal(key);
            KeyRestart::Refused(refusal)
        }
    }

    fn restarted(&self, host: &H, me: Pid, id: LeaseId, made: bool) -> KeyRestart {
        if self.watched(host, me, made) { KeyRestart::Admitted(id) } else { KeyRestart::Refused(KeyRefusal::Closed) }
    }

    /// Takes permits even if other processes wait; above the limit only if `above`.
    #[allow(clippy::too_many_arguments)]
    fn overdraw(
        &self,
        shard: &mut Shard<H>,
        me: Pid,
        key: PoolKey<'_>,
        text: &mut Option<Box<[u8]>>,
        n: u32,
        now: u32,
        above: bool,
    ) -> Attempt {
        let place = match shard.keys.find(key.tag) {
            // A key without a place has all its permits free.
            None => return self.attempt(shard, me, key, text, n, Kind::Bound, now),
            Some(place) => place,
        };
        if shard.status != Status::Open || shard.generation != key.generation {
            return Attempt::Refused(KeyRefusal::Closed);
        }
        let in_use = u64::from(shard.keys.get(place).in_use);
        let limit = u64::from(shard.limit);
        let most = match (above, in_use > limit) {
            (false, _) => limit,
            (true, false) => shard.overdrawn_limit,
            (true, true) => shard.overdrawn_limit.max(shard.shrunk_limit),
        };
        if in_use + u64::from(n) > most {
            return Attempt::Refused(KeyRefusal::KeyFull);
        }
        self.admit(shard, place, me, n, Kind::Bound, now)
    }

    /// Takes over the permits of a dead holder of the key. They stay in use throughout, so no
    /// other caller can take them.
    fn take_over(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, now: u32) -> Option<(LeaseId, bool)> {
        let mut holders = Vec::with_capacity(LOOKS);
        {
            let shard = self.lock_shard(key.tag);
            let mut at = shard.keys.find(key.tag).map_or(NIL, |place| shard.keys.get(place).leases);
            while at != NIL && holders.len() < LOOKS {
                let lease = shard.leases.get(at);
                if let Some(pid) = lease.pid
                    && lease.total() >= n
                {
                    holders.push((pid, lease.id(shard.at(at))));
                }
                at = lease.next;
            }
        }
        for (pid, id) in holders {
            if !host.alive(pid)
                && let Some(taken) = self.take_over_lease(host, me, pid, id, n, now)
            {
                return Some(taken);
            }
        }
        None
    }

    /// Ends the lease of a dead process, and gives `n` of its permits to the caller, the others
    /// back. Returns `None` if the lease has ended, or had fewer.
    fn take_over_lease(&self, host: &H, me: Pid, dead: Pid, id: LeaseId, n: u32, now: u32) -> Option<(LeaseId, bool)> {
        let mut shard = lock(&self.shards[id.at().shard()]);
        let lease = shard.lease_by(id, dead).filter(|&lease| shard.leases.get(lease).total() >= n)?;
        // The ticket of a wait is dropped after the lock is released.
        let wait = shard.dequeue(lease);
        if wait.is_some() {
            self.uncount_waiter();
        }
        let total = shard.lease(lease).clear();
        let place = shard.leases.get(lease).place;
        shard.totals.released_by_exit += u64::from(total);
        shard.give_back(place, total);
        // The dead process keeps its lease until the caller has one: so the key keeps its place.
        let taken = match self.admit(&mut shard, place, me, n, Kind::Bound, now) {
            Attempt::Admitted { id, made } => Some((id, made)),
            Attempt::Refused(_) | Attempt::NeedsText => None,
        };
        self.finish_release(host, shard, lease, 0);
        drop(wait);
        taken
    }
}
