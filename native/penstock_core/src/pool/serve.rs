//! Serves the wait queue: grants permits to waiters, and gives all other answers that are due.
//!
//! Any process can serve, such as one that released permits, one that reaped a dead holder, or a
//! waiter that left the queue. A grant takes the permits from the [state word](super::state),
//! removes the wait, and credits the permits to the waiter's entry, all under the queue lock. The
//! process that serves sends the message to the waiter after it has released the lock.
//!
//! # A waiter that is killed
//!
//! When a waiter is killed, the host calls [`Pool::down`] for it. That call
//!
//! 1. ends its waits, under the queue lock: removes a single wait, and makes several orphans;
//! 2. removes its entry and gives back all permits in it, under the shard lock;
//! 3. serves the queue, and removes orphans before any grant.
//!
//! So no permit is lost with the waiter:
//!
//! - If `down` ends the wait first, no grant finds the wait.
//! - If the grant comes first, the permits are in the entry of the waiter, even if the waiter is
//!   dead already or never reads the message. `down` finds the permits and gives them back.
//!
//! In both cases the next waiter can get the permits, unless an overdraft must be paid back
//! first. A restart of a supervised child may reap the killed waiter before the host calls. The
//! restart may then keep the permits for that child.

use crate::batch::Batch;
use crate::holders::{Kind, elapsed_ms};
use crate::host::{Answer, Host, Pid};
use crate::meters::Histogram;
use crate::sync::lock;

use super::acquire::Refusal;
use super::limit::LimitWord;
use super::wait_queue::{Queue, Waiter};
use super::{Guarded, Pool, PoolHost, Status};

/// The largest number of batches in one call. The 64 messages of two batches take some 50 µs.
pub(super) const BATCHES: usize = 2;
/// The largest number of waiters that a sweep visits under one hold of the queue lock. After the
/// limit fell, a sweep removes the waiters whose requests exceed it.
const SWEEP_STEPS: usize = 256;

/// The work that is left in the wait queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remaining {
    Nothing,
    /// Only a sweep, which removes requests that exceed the limit. A sweep delays no grant.
    Sweep,
    /// Answers or orphans are left. An answer may be a grant. An orphan is a wait of a dead
    /// process.
    More,
}

impl<H: PoolHost> Pool<H> {
    /// Gives the answers that are due, as many as one call can. If work is left, asks the host to
    /// call again. Returns `false` if the work that is left may include grants.
    #[cold]
    pub fn serve(&self, host: &H) -> bool {
        let mut remaining = Remaining::More;
        for _ in 0..BATCHES {
            let now = host.now_ms();
            let mut batch = Batch::new();
            remaining = {
                let mut guarded = lock(&self.guarded);
                if guarded.status == Status::Open {
                    self.serve_open(&mut guarded, &mut batch, now)
                } else {
                    self.serve_closed(&mut guarded, &mut batch, now)
                }
            };
            batch.send(host);
            if remaining == Remaining::Nothing {
                return true;
            }
        }
        host.defer(self);
        remaining == Remaining::Sweep
    }

    fn serve_open(&self, guarded: &mut Guarded<H>, batch: &mut Batch<H>, now: u32) -> Remaining {
        // An open pool has drainers only if it was reopened before the drain was complete. The
        // drainers get their answer now.
        self.dismiss_all(guarded, Queue::Drainers, batch, Answer::to_drainer(self.in_use()));
        self.drop_orphans(guarded, batch);
        if !guarded.queue.is_empty(Queue::Drainers) || guarded.queue.has_orphans() {
            return Remaining::More;
        }
        let limit_word = self.front.limit.load();
        let limit = LimitWord::limit_in(limit_word);
        while batch.has_room() {
            let Some(first) = guarded.queue.first() else {
                self.state.clear_waiters();
                return Remaining::Nothing;
            };
            let (pid, n, kind) = (first.pid, first.permits, first.kind);
            // A head that exceeds the limit is refused here, before the sweep reaches it.
            // Otherwise it would block the waiters behind it until then.
            let oversize = self.oversize(n);
            let taken = if oversize { None } else { self.state.take_for_waiter(n).ok() };
            if !oversize && taken.is_none() {
                break;
            }
            let Some(waiter) = guarded.queue.pop(Queue::Waiters) else { break };
            match taken {
                None => {
                    self.count_refusal(pid, Refusal::Full);
                    note_answer(&mut guarded.waits, &waiter, now);
                    self.dismiss(batch, waiter, Some(Answer::Full));
                }
                Some(left) if self.grant(pid, n, kind, now) => {
                    guarded.granted += 1;
                    note_answer(&mut guarded.waits, &waiter, now);
                    self.note_peak(limit_word, left);
                    self.dismiss(batch, waiter, Some(Answer::Granted));
                }
                Some(_) => {
                    // Not expected: a reap ends the waits of a process before it removes the
                    // entry. The waiter has no entry, so its permits go to the next waiter.
                    self.state.give(u64::from(n));
                    self.dismiss(batch, waiter, None);
                }
            }
        }
        if !batch.has_room() {
            return Remaining::More;
        }
        // Too few permits are free for the head, which fits the limit and stays. The sweep
        // removes only waiters behind the head, so it makes no further grant possible.
        if limit == 0 {
            // No request exceeds a limit of 0, which pauses the pool.
            guarded.queue.end_sweep();
        } else {
            let Guarded { queue, waits, .. } = guarded;
            queue.continue_sweep(limit, SWEEP_STEPS, |waiter| {
                self.count_refusal(waiter.pid, Refusal::Full);
                note_answer(waits, &waiter, now);
                self.dismiss(batch, waiter, Some(Answer::Full));
                batch.has_room()
            });
        }
        if guarded.queue.is_sweeping() { Remaining::Sweep } else { Remaining::Nothing }
    }

    /// Adds a removed wait to the batch, with its answer. If the process has other waits, its
    /// entry names one of those afterwards.
    pub(super) fn dismiss(&self, batch: &mut Batch<H>, waiter: Waiter<H>, answer: Option<Answer>) {
        self.repoint_entry(&waiter);
        batch.push(waiter.pid, waiter.ticket, answer);
    }

    /// Removes orphans: waits of dead processes, which get no answer.
    fn drop_orphans(&self, guarded: &mut Guarded<H>, batch: &mut Batch<H>) {
        while batch.has_room()
            && let Some(waiter) = guarded.queue.pop_orphan()
        {
            batch.push(waiter.pid, waiter.ticket, None);
        }
    }

    /// Credits permits to the entry of a waiter. Returns `false` if the waiter was reaped, and so
    /// has no entry.
    fn grant(&self, pid: Pid, n: u32, kind: Kind, now: u32) -> bool {
        let _locked = self.table.lock(pid);
        let Some(slot) = self.table.locate(pid) else { return false };
        let Some(entry) = self.table.entry(slot) else { return false };
        self.table.credit(entry, slot, kind, u64::from(n), now);
        true
    }

    fn serve_closed(&self, guarded: &mut Guarded<H>, batch: &mut Batch<H>, now: u32) -> Remaining {
        self.drop_orphans(guarded, batch);
        while batch.has_room()
            && let Some(waiter) = guarded.queue.pop(Queue::Waiters)
        {
            self.count_refusal(waiter.pid, Refusal::Closed);
            note_answer(&mut guarded.waits, &waiter, now);
            self.dismiss(batch, waiter, Some(Answer::Closed));
        }
        if !guarded.queue.is_empty(Queue::Waiters) || guarded.queue.has_orphans() {
            return Remaining::More;
        }
        self.state.clear_waiters();
        let in_use = self.in_use();
        if guarded.status == Status::Draining && in_use > 0 {
            // The drainers go on waiting. Each release of permits finds CLOSED in the state word,
            // and so serves again.
            return Remaining::Nothing;
        }
        self.dismiss_all(guarded, Queue::Drainers, batch, Answer::to_drainer(in_use));
        if guarded.queue.is_empty(Queue::Drainers) { Remaining::Nothing } else { Remaining::More }
    }

    /// Removes the waits of a queue, and gives all of them one answer, while the batch has room.
    fn dismiss_all(&self, guarded: &mut Guarded<H>, queue: Queue, batch: &mut Batch<H>, answer: Answer) {
        while batch.has_room()
            && let Some(waiter) = guarded.queue.pop(queue)
        {
            self.dismiss(batch, waiter, Some(answer));
        }
    }
}

/// Counts a wait for permits that gets an answer.
pub(super) fn note_answer<H: Host>(waits: &mut Option<Box<Histogram>>, waiter: &Waiter<H>, now: u32) {
    if let Some(waits) = waits
        && waiter.queue == Queue::Waiters
    {
        waits.observe(elapsed_ms(waiter.began, now));
    }
}
