//! Serves the waiters: grants permits, and gives all other answers that are due.
//!
//! A grant takes the wait out of the queue and puts the permits into the waiter's lease, under the
//! one shard lock. If the waiter is killed before it reads the answer, the reap of its lease gives
//! the permits back, and serves the waiters behind it.

use crate::batch::Batch;
use crate::host::Answer;
use crate::pool::Status;
use crate::sync::{MutexGuard, lock};

use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool};

/// The largest number of batches of answers in one call.
const BATCHES: usize = 2;
/// The number of waiters that a sweep visits in one hold of the shard lock.
const SWEEP_STEPS: usize = 256;
/// The number of queues that one hold of the shard lock visits after a change of the limit.
const QUEUES: usize = 256;
/// The number of dead processes that one call goes on to reap.
const DYING: usize = 1;

impl<H: KeyedHost> KeyedPool<H> {
    /// Serves the waiters of a key, and releases the shard lock.
    #[cold]
    pub(super) fn serve_and_unlock(&self, host: &H, mut shard: MutexGuard<'_, Shard<H>>, place: u32) {
        let now = host.now_ms();
        let mut batch = Batch::new();
        let done = self.serve_key(&mut shard, place, &mut batch, now);
        if !done {
            // `serve` begins with the first queue of the shard.
            shard.due = 0;
        }
        self.unlock(host, shard);
        batch.send(host);
        if !done {
            host.defer_keyed(self);
        }
    }

    /// Serves the waiters of a key, as many as the batch has room for. Returns `false` if answers
    /// are left that are due.
    fn serve_key(&self, shard: &mut Shard<H>, place: u32, batch: &mut Batch<H>, now: u32) -> bool {
        loop {
            let queue = shard.keys.get(place).queue;
            if queue == NIL {
                return true;
            }
            if !batch.has_room() {
                return false;
            }
            let first = shard.queues.get(queue).first;
            let Some(wait) = &shard.leases.get(first).wait else { return true };
            let (n, kind) = (wait.permits, wait.kind);
            let answer = if shard.status != Status::Open {
                Answer::Closed
            } else if n > shard.limit {
                Answer::Full
            } else if shard.fits(shard.keys.get(place).in_use, n) {
                Answer::Granted
            } else {
                return self.sweep(shard, queue, batch);
            };
            self.end_wait(shard, first, batch, answer);
            if answer == Answer::Granted {
                shard.credit(first, kind, n, now);
                shard.totals.acquired += 1;
            } else {
                shard.totals.rejected += 1;
                if shard.end_if_idle(&self.people, first) {
                    self.uncount_key();
                    return true;
                }
            }
        }
    }

    /// Takes the wait of a lease out of the queue, and adds its answer to the batch.
    fn end_wait(&self, shard: &mut Shard<H>, lease: u32, batch: &mut Batch<H>, answer: Answer) {
        let pid = shard.leases.get(lease).pid;
        let (Some(wait), Some(pid)) = (shard.dequeue(lease), pid) else { return };
        self.uncount_waiter();
        batch.push(pid, wait.ticket, Some(answer));
    }

    /// Refuses the waiters behind the head whose requests exceed the limit, if the limit fell since
    /// they joined. Returns `false` if it has not visited all.
    fn sweep(&self, shard: &mut Shard<H>, queue: u32, batch: &mut Batch<H>) -> bool {
        let version = shard.limit_version;
        let of = shard.queues.get_mut(queue);
        if of.swept != version {
            (of.swept, of.sweep) = (version, of.first);
        }
        for _ in 0..SWEEP_STEPS {
            let at = shard.queues.get(queue).sweep;
            if at == NIL {
                return true;
            }
            if !batch.has_room() {
                return false;
            }
            let Some(wait) = &shard.leases.get(at).wait else { return true };
            let (n, next) = (wait.permits, wait.next);
            shard.queues.get_mut(queue).sweep = next;
            if n > shard.limit {
                self.end_wait(shard, at, batch, Answer::Full);
                shard.totals.rejected += 1;
                // The head waits for permits, so the key has another lease and keeps its place.
                shard.end_if_idle(&self.people, at);
            }
        }
        false
    }

    /// Does the work that earlier calls have left: answers to waiters, and the rest of dead
    /// processes. If work is left again, the host is asked to call again.
    #[cold]
    pub fn serve(&self, host: &H) {
        for _ in 0..DYING {
            let Some(pid) = lock(&self.control).dying.pop() else { break };
            self.down(host, pid);
        }
        let mut batches = 0;
        for shard in &self.shards {
            while batches < BATCHES {
                let now = host.now_ms();
                let mut batch = Batch::new();
                let mut shard = lock(shard);
                let done = self.serve_due(&mut shard, &mut batch, now);
                self.unlock(host, shard);
                batches += usize::from(!done || !batch.is_empty());
                batch.send(host);
                if done {
                    break;
                }
            }
        }
        host.worked(self.shards.len());
        if batches == BATCHES || !lock(&self.control).dying.is_empty() {
            host.defer_keyed(self);
        }
    }

    /// Serves the queues of a shard that are due. Returns `false` if some are left.
    fn serve_due(&self, shard: &mut Shard<H>, batch: &mut Batch<H>, now: u32) -> bool {
        for _ in 0..QUEUES {
            if shard.due >= shard.queues.made() {
                shard.due = NIL;
                return true;
            }
            let place = shard.queues.get(shard.due).place;
            if place != NIL && !self.serve_key(shard, place, batch, now) {
                return false;
            }
            shard.due += 1;
        }
        false
    }
}
