//! Serves the waiters: grants permits, and gives all other answers that are due.
//!
//! A grant takes the wait out of the queue and puts the permits into the waiter's lease, under
//! the one shard lock. If the waiter is killed before it reads the answer, the reap of its lease
//! gives the permits back, and serves the waiters behind it.

use crate::batch::Batch;
use crate::host::Answer;
use crate::pool::Status;
use crate::sync::{MutexGuard, lock};

use super::acquire::KeyRefusal;
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool};

/// The largest number of batches of answers in one call.
const BATCHES: usize = 2;
/// The number of queues and of waiters that one call of `serve` visits, apart from those that it
/// answers. A sweep visits waiters.
const STEPS: usize = 1024;
/// The same for a call that releases permits of a key.
const STEPS_OF_KEY: usize = 256;
/// The number of dead processes that one call goes on to reap.
const DYING: usize = 1;

impl<H: KeyedHost> KeyedPool<H> {
    /// Serves the waiters of a key, and releases the shard lock. Returns the number of answers.
    #[cold]
    pub(super) fn serve_and_unlock(
        &self,
        host: &H,
        mut shard: MutexGuard<'_, Shard<H>>,
        place: u32,
        now: u32,
    ) -> usize {
        let mut batch = Batch::new();
        let mut steps = STEPS_OF_KEY;
        let done = self.serve_key(&mut shard, place, &mut batch, now, &mut steps);
        if !done {
            // `serve` begins with the first queue of the shard.
            shard.due = 0;
        }
        self.unlock(host, shard);
        let answers = batch.len();
        batch.send(host);
        if !done {
            host.defer_keyed(self);
        }
        answers
    }

    /// Serves the waiters of a key, as many as the batch has room for. Returns `false` if answers
    /// are left that are due.
    fn serve_key(&self, shard: &mut Shard<H>, place: u32, batch: &mut Batch<H>, now: u32, steps: &mut usize) -> bool {
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
                return self.sweep(shard, queue, batch, now, steps);
            };
            self.end_wait(shard, first, batch, answer, now);
            if answer == Answer::Granted {
                shard.credit(first, kind, n, now);
                shard.totals.acquired += 1;
            } else {
                shard.totals.refuse(if answer == Answer::Closed { KeyRefusal::Closed } else { KeyRefusal::KeyFull });
                // If the key loses its place with this lease, it has no further waiter.
                self.end_if_idle(shard, first);
            }
        }
    }

    /// Takes the wait of a lease out of the queue, and adds its answer to the batch.
    fn end_wait(&self, shard: &mut Shard<H>, lease: u32, batch: &mut Batch<H>, answer: Answer, now: u32) {
        let pid = shard.leases.get(lease).pid;
        let (Some(wait), Some(pid)) = (shard.dequeue(lease), pid) else { return };
        self.uncount_waiter();
        shard.note_answer(&wait, now);
        batch.push(pid, wait.ticket, Some(answer));
    }

    /// Refuses the waiters behind the head whose requests exceed the limit, if the limit fell
    /// since they joined. Returns `false` if it has not visited all.
    fn sweep(&self, shard: &mut Shard<H>, queue: u32, batch: &mut Batch<H>, now: u32, steps: &mut usize) -> bool {
        let version = shard.limit_version;
        let of = shard.queues.get_mut(queue);
        if of.swept != version {
            (of.swept, of.sweep) = (version, of.first);
        }
        loop {
            let at = shard.queues.get(queue).sweep;
            if at == NIL {
                return true;
            }
            if *steps == 0 || !batch.has_room() {
                return false;
            }
            *steps -= 1;
            let Some(wait) = &shard.leases.get(at).wait else { return true };
            let (n, next) = (wait.permits, wait.next);
            shard.queues.get_mut(queue).sweep = next;
            if n > shard.limit {
                self.end_wait(shard, at, batch, Answer::Full, now);
                shard.totals.refuse(KeyRefusal::KeyFull);
                // The head waits for permits, so the key has another lease and keeps its place.
                self.end_if_idle(shard, at);
            }
        }
    }

    /// Does the work that earlier calls have left: answers to waiters and drainers, and the rest
    /// of dead processes. If work is left again, the host is asked to call again.
    #[cold]
    pub fn serve(&self, host: &H) {
        for _ in 0..DYING {
            let Some(pid) = lock(&self.control).dying.pop() else { break };
            self.down(host, pid);
        }
        let mut batches = if self.answer_drainers(host) { 0 } else { BATCHES };
        let mut steps = STEPS;
        for shard in &self.shards {
            while batches < BATCHES && steps > 0 {
                let now = host.now_ms();
                let mut batch = Batch::new();
                let mut shard = lock(shard);
                let done = self.serve_due(&mut shard, &mut batch, now, &mut steps);
                self.unlock(host, shard);
                batches += usize::from(!done || !batch.is_empty());
                batch.send(host);
                if done {
                    break;
                }
            }
        }
        host.worked(self.shards.len() + STEPS - steps);
        if batches >= BATCHES || steps == 0 || !lock(&self.control).dying.is_empty() {
            host.defer_keyed(self);
        }
    }

    /// Serves the queues of a shard that are due. Returns `false` if some are left.
    fn serve_due(&self, shard: &mut Shard<H>, batch: &mut Batch<H>, now: u32, steps: &mut usize) -> bool {
        while shard.due < shard.queues.made() {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            let place = shard.queues.get(shard.due).place;
            if place != NIL && !self.serve_key(shard, place, batch, now, steps) {
                return false;
            }
            shard.due += 1;
        }
        shard.due = NIL;
        true
    }
}
