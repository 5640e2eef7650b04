//! What the lock of a mailbox guards: the senders that wait, and the messages that are kept.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::MailHost;
use crate::host::Pid;

/// A sender that waits for room.
pub(super) struct Waiter<H: MailHost> {
    pub(super) pid: Pid,
    pub(super) ticket: H::Ticket,
    pub(super) parcel: H::Parcel,
}

pub(super) struct Inner<H: MailHost> {
    pub(super) max_waiting: u32,
    /// The waiters, by the numbers of their waits, which rise. So the first came first.
    pub(super) line: BTreeMap<u64, Waiter<H>>,
    /// The number of the last wait. No number is ever used twice in one place.
    pub(super) last: u64,
    /// The number of the wait up to which dead waiters were looked for.
    pub(super) looked_to: u64,
    /// The messages of [`Overflow::DropOldest`](super::Overflow::DropOldest), oldest first.
    pub(super) kept: VecDeque<H::Parcel>,
    pub(super) timed_out: u64,
    pub(super) dropped: u64,
    /// The refusals of the place before the mailbox was opened.
    pub(super) refused_before: u64,
}

impl<H: MailHost> Default for Inner<H> {
    fn default() -> Self {
        Self {
            max_waiting: 0,
            line: BTreeMap::new(),
            last: 0,
            looked_to: 0,
            kept: VecDeque::new(),
            timed_out: 0,
            dropped: 0,
            refused_before: 0,
        }
    }
}

impl<H: MailHost> Inner<H> {
    pub(super) fn reset(&mut self, refused_before: u64) {
        self.timed_out = 0;
        self.dropped = 0;
        self.refused_before = refused_before;
    }

    /// Takes all that a dead server left.
    pub(super) fn leave(&mut self) -> Discarded<H> {
        Discarded { line: std::mem::take(&mut self.line), kept: std::mem::take(&mut self.kept) }
    }

    /// Returns at most `most` waiters: all, or the next ones in line after those that were returned
    /// before.
    pub(super) fn some_waiters(&mut self, most: usize) -> Vec<(u64, Pid)> {
        let from = if self.line.len() <= most { 0 } else { self.looked_to };
        let mut some: Vec<_> = self.line.range(from + 1..).take(most).map(|(&at, waiter)| (at, waiter.pid)).collect();
        if some.is_empty() {
            some = self.line.iter().take(most).map(|(&at, waiter)| (at, waiter.pid)).collect();
        }
        self.looked_to = some.last().map_or(0, |&(at, _)| at);
        some
    }
}

/// The waits and messages that a dead server left. They take long to drop if they are many.
pub struct Discarded<H: MailHost> {
    line: BTreeMap<u64, Waiter<H>>,
    kept: VecDeque<H::Parcel>,
}

impl<H: MailHost> fmt::Debug for Discarded<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discarded").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<H: MailHost> Discarded<H> {
    /// Returns the number of waits and messages.
    pub fn len(&self) -> usize {
        self.line.len() + self.kept.len()
    }

    /// Returns `true` if there are neither waits nor messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops at most `most` waits and messages.
    pub fn drop_some(&mut self, most: usize) {
        for _ in 0..most {
            if self.line.pop_first().is_none() && self.kept.pop_front().is_none() {
                return;
            }
        }
    }
}
