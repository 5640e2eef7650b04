//! Parks callers, and ends their waits.
//!
//! A wait is in the lease of the waiter, and in the queue of the key. The call that removes it
//! from there, under the shard lock, ends it. That is a grant, a refusal, the waiter's own
//! cancel, or the reap of the dead waiter. The answer is sent after the lock is released.
//!
//! No wake-up is lost. A caller that finds the key full joins the queue before it releases the
//! shard lock, and a release serves the queue under that lock.

use crate::holders::Kind;
use crate::host::Pid;
use crate::pool::Cancelled;
use crate::sync::{Ordering, lock};

use super::acquire::{Attempt, KeyRefusal};
use super::lease::{LeaseId, Wait};
use super::reap::{Budget, Reaped};
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool, PoolKey};

/// The result of a request to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyParked {
    /// The permits were free, and the caller holds them in this lease.
    Granted(LeaseId),
    /// The request was refused. It is never [`KeyRefusal::Again`].
    Refused(KeyRefusal),
    /// As many processes wait as the pool allows, or the caller waits for the key already.
    QueueFull,
    /// The caller is in the queue. If it is granted the permits, it holds them in this lease.
    Waiting(LeaseId),
}

impl<H: KeyedHost> KeyedPool<H> {
    /// Acquires `n` permits of a key if they are free. Otherwise parks the calling process until
    /// they are granted to it.
    pub fn park(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, kind: Kind, ticket: H::Ticket) -> KeyParked {
        let mut budget = Budget::new();
        while !budget.is_spent() {
            match self.take(host, me, key, n, kind) {
                Ok(id) => return KeyParked::Granted(id),
                // If a scan misses a dead holder, the host's monitor reaps it soon, and grants
                // the permits to this caller.
                Err(refusal) if self.reap_for(host, key.tag, refusal, &mut budget) == Reaped::None => break,
                Err(_) => {}
            }
        }
        let now = host.now_ms();
        let wait = Box::new(Wait { permits: n, kind, ticket, began: now, next: NIL, prev: NIL });
        let mut text = None;
        let mut wait = Some(wait);
        loop {
            let mut shard = self.lock_shard(key.tag);
            let parked = match self.attempt(&mut shard, me, key, &mut text, n, kind, now) {
                Attempt::Admitted { id, made } => (KeyParked::Granted(id), made),
                Attempt::NeedsText => {
                    drop(shard);
                    text = Some(key.show.make());
                    continue;
                }
                Attempt::Refused(KeyRefusal::KeyFull) if n <= shard.limit => {
                    self.enqueue(&mut shard, me, key, &mut wait)
                }
                Attempt::Refused(refusal) => (KeyParked::Refused(refusal), false),
            };
            if shard.generation == key.generation {
                match parked.0 {
                    KeyParked::Refused(refusal) => shard.totals.refuse(refusal),
                    KeyParked::QueueFull => shard.totals.refused.queue_full += 1,
                    KeyParked::Granted(_) | KeyParked::Waiting(_) => {}
                }
            }
            drop(shard);
            let (parked, made) = parked;
            return if self.watched(host, me, made) { parked } else { KeyParked::Refused(KeyRefusal::Closed) };
        }
    }

    /// Puts the caller into the queue of the key. The key has a place, since it is full.
    fn enqueue(
        &self,
        shard: &mut Shard<H>,
        me: Pid,
        key: PoolKey<'_>,
        wait: &mut Option<Box<Wait<H>>>,
    ) -> (KeyParked, bool) {
        let Some(place) = shard.keys.find(key.tag) else { return (KeyParked::QueueFull, false) };
        if !self.count_waiter() {
            return (KeyParked::QueueFull, false);
        }
        let leased = shard.lease_of(&self.people, place, me);
        let Some((lease, made)) = leased.filter(|&(lease, _)| shard.leases.get(lease).wait.is_none()) else {
            self.uncount_waiter();
            return (KeyParked::QueueFull, false);
        };
        shard.lease(lease).wait = wait.take();
        shard.enqueue(lease);
        (KeyParked::Waiting(shard.leases.get(lease).id(shard.at(lease))), made)
    }

    /// Counts one more waiter. Returns `false`, and counts none, if there are as many as the pool
    /// allows.
    fn count_waiter(&self) -> bool {
        let most = self.max_waiting.load(Ordering::Relaxed);
        // Not an addition that is taken back: meanwhile it would refuse a waiter of another
        // shard.
        let one_more = |waiting| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    pub(super) fn uncount_waiter(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends a wait whose time is over, and counts it as timed out. The waiting process calls
    /// this.
    pub fn cancel(&self, host: &H, me: Pid, id: LeaseId) -> Cancelled {
        self.stop_waiting(host, me, id, true)
    }

    /// Ends a wait before its time is over, and does not count it as timed out. The waiting
    /// process calls this.
    pub fn withdraw(&self, host: &H, me: Pid, id: LeaseId) -> Cancelled {
        self.stop_waiting(host, me, id, false)
    }

    fn stop_waiting(&self, host: &H, me: Pid, id: LeaseId, timed_out: bool) -> Cancelled {
        let Some(shard) = self.shards.get(id.at().shard()) else { return Cancelled::TooLate };
        let now = host.now_ms();
        let mut shard = lock(shard);
        let Some(lease) = shard.lease_by(id, me) else { return Cancelled::TooLate };
        // The ticket is dropped after the lock is released.
        let Some(wait) = shard.dequeue(lease) else { return Cancelled::TooLate };
        self.uncount_waiter();
        if timed_out {
            shard.totals.timed_out += 1;
            shard.note_answer(&wait, now);
        }
        // The wait may have been a large request at the head, which blocked smaller ones.
        self.finish_release(host, shard, lease, 0, now);
        drop(wait);
        Cancelled::Yes
    }
}
