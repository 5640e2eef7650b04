//! Answers to waiters whose waits ended under a lock. They are sent after the lock is released.

use crate::host::{Answer, Host, Pid};

/// The largest number of waits that end under one hold of a lock.
const BATCH: usize = if cfg!(loom) { 4 } else { 32 };

/// An ended wait. The answer is `None` if the process is dead: then only its ticket is dropped.
type Ended<H> = (Pid, <H as Host>::Ticket, Option<Answer>);

/// Waits that ended under one hold of a lock. Their answers are sent, and their tickets dropped,
/// after the lock is released.
pub(crate) struct Batch<H: Host> {
    ended: [Option<Ended<H>>; BATCH],
    len: usize,
}

impl<H: Host> Batch<H> {
    pub(crate) fn new() -> Self {
        Self { ended: [const { None }; BATCH], len: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.len < BATCH
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an ended wait. The batch must have room.
    pub(crate) fn push(&mut self, pid: Pid, ticket: H::Ticket, answer: Option<Answer>) {
        self.ended[self.len] = Some((pid, ticket, answer));
        self.len += 1;
    }

    pub(crate) fn send(self, host: &H) {
        for (pid, ticket, answer) in self.ended.into_iter().flatten() {
            if let Some(answer) = answer {
                host.wake(pid, ticket, answer);
            }
        }
    }
}
