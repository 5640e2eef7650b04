//! Serves what is due in the wait queue.

use crate::holders::Kind;
use crate::host::{Answer, Host, Pid};
use crate::sync::lock;

use super::limit::LimitWord;
use super::wait_queue::{Queue, Waiter};
use super::{Guarded, Pool, PoolHost, Status};

/// The number of answers that are given under one hold of the lock, and sent after it.
const BATCH: usize = if cfg!(loom) { 4 } else { 32 };
/// The number of batches in one call: 64 messages are some 50 µs.
pub(super) const BATCHES: usize = 2;
/// The number of waiters that are looked at under one hold of the lock after the limit fell.
const SWEEP_STEPS: usize = 256;

/// The answer is `None` for a dead process, of which only the ticket is left to drop.
type Due<H> = (Pid, <H as Host>::Ticket, Option<Answer>);

pub(super) struct Batch<H: PoolHost> {
    due: [Option<Due<H>>; BATCH],
    len: usize,
}

impl<H: PoolHost> Batch<H> {
    pub(super) fn new() -> Self {
        Self { due: [const { None }; BATCH], len: 0 }
    }

    pub(super) fn has_room(&self) -> bool {
        self.len < BATCH
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, waiter: Waiter<H>, answer: Option<Answer>) {
        self.due[self.len] = Some((waiter.pid, waiter.ticket, answer));
        self.len += 1;
    }

    pub(super) fn send(self, host: &H) {
        for (pid, ticket, answer) in self.due.into_iter().flatten() {
            if let Some(answer) = answer {
                host.wake(pid, ticket, answer);
            }
        }
    }
}

/// What is left to do in the wait queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remaining {
    Nothing,
    /// Only to look for waiters whose requests became too large: no permit waits for that.
    Sweep,
    /// Answers, or grants, or waits of dead processes.
    More,
}

impl<H: PoolHost> Pool<H> {
    /// Gives every answer that is due. Returns `false` if grants may be among those that are left
    /// for the host's next call.
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
                    self.serve_closed(&mut guarded, &mut batch)
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
        self.dismiss_all(guarded, Queue::Drainers, batch, Answer::to_drainer(self.in_use()));
        self.drop_orphans(guarded, batch);
        if !guarded.queue.is_empty(Queue::Drainers) || guarded.queue.has_orphans() {
            return Remaining::More;
        }
        let word = self.front.limit.load();
        let limit = LimitWord::limit(word);
        while batch.has_room() {
            let Some(first) = guarded.queue.first() else {
                self.state.clear_waiters();
                return Remaining::Nothing;
            };
            let (pid, n, kind) = (first.pid, first.permits, first.kind);
            // The head is checked here, and not by the sweep alone: the waiters behind it wait
            // for no walk.
            let oversize = self.oversize(n);
            let taken = if oversize { None } else { self.state.take_for_waiter(n).ok() };
            if !oversize && taken.is_none() {
                break;
            }
            let Some(waiter) = guarded.queue.pop(Queue::Waiters) else { break };
            match taken {
                None => {
                    self.count_refusal(pid);
                    self.dismiss(batch, waiter, Some(Answer::Full));
                }
                Some(left) if self.grant(pid, n, kind, now) => {
                    guarded.granted += 1;
                    self.note_peak(word, left);
                    self.dismiss(batch, waiter, Some(Answer::Granted));
                }
                Some(_) => {
                    // The waiter has no entry, so it is dead: its permits go to the next waiter.
                    self.state.give(u64::from(n));
                    self.dismiss(batch, waiter, None);
                }
            }
        }
        if !batch.has_room() {
            return Remaining::More;
        }
        // The head gets no permits now, so the walk cannot remove a waiter that blocks an
        // eligible one.
        if limit == 0 {
            guarded.queue.end_sweep();
        } else {
            guarded.queue.remove_larger_than(limit, SWEEP_STEPS, |waiter| {
                self.count_refusal(waiter.pid);
                self.dismiss(batch, waiter, Some(Answer::Full));
                batch.has_room()
            });
        }
        if guarded.queue.is_sweeping() { Remaining::Sweep } else { Remaining::Nothing }
    }

    /// Ends a wait that was removed, with that answer or with none.
    pub(super) fn dismiss(&self, batch: &mut Batch<H>, waiter: Waiter<H>, answer: Option<Answer>) {
        self.repoint_entry(&waiter);
        batch.push(waiter, answer);
    }

    /// Drops waits of dead processes.
    fn drop_orphans(&self, guarded: &mut Guarded<H>, batch: &mut Batch<H>) {
        while batch.has_room()
            && let Some(waiter) = guarded.queue.pop_orphan()
        {
            batch.push(waiter, None);
        }
    }

    /// Credits permits that were taken to the entry of the waiter. Returns `false` if the waiter
    /// is dead.
    fn grant(&self, pid: Pid, n: u32, kind: Kind, now: u32) -> bool {
        let _locked = self.table.lock(pid);
        let Some(slot) = self.table.locate(pid) else { return false };
        let Some(entry) = self.table.entry(slot) else { return false };
        self.table.credit(entry, slot, kind, u64::from(n), now);
        true
    }

    fn serve_closed(&self, guarded: &mut Guarded<H>, batch: &mut Batch<H>) -> Remaining {
        self.drop_orphans(guarded, batch);
        while batch.has_room()
            && let Some(waiter) = guarded.queue.pop(Queue::Waiters)
        {
            self.count_refusal(waiter.pid);
            self.dismiss(batch, waiter, Some(Answer::Closed));
        }
        if !guarded.queue.is_empty(Queue::Waiters) || guarded.queue.has_orphans() {
            return Remaining::More;
        }
        self.state.clear_waiters();
        let in_use = self.in_use();
        if guarded.status == Status::Draining && in_use > 0 {
            return Remaining::Nothing;
        }
        self.dismiss_all(guarded, Queue::Drainers, batch, Answer::to_drainer(in_use));
        if guarded.queue.is_empty(Queue::Drainers) { Remaining::Nothing } else { Remaining::More }
    }

    /// Gives the same answer to every process of the queue, while the batch has room.
    fn dismiss_all(&self, guarded: &mut Guarded<H>, queue: Queue, batch: &mut Batch<H>, answer: Answer) {
        while batch.has_room()
            && let Some(waiter) = guarded.queue.pop(queue)
        {
            self.dismiss(batch, waiter, Some(answer));
        }
    }
}
