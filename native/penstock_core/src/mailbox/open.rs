//! One open mailbox: senders take room in it, and the server gives room back.

use std::fmt;

use super::{DROPS, GENERATION, MANUAL, MailHost, Mailbox, MailboxInfo, USED, WAIT};
use crate::host::Pid;
use crate::sync::Ordering;

/// An open mailbox, of one server and one generation. If the server dies meanwhile, its methods
/// change nothing.
pub struct Open<'a, H: MailHost> {
    pub(super) mailbox: &'a Mailbox<H>,
    pub(super) server: Pid,
    /// The state word as it was found.
    pub(super) state: u64,
}

/// The reason why a message gets no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// All room is taken, or senders wait for it.
    Full,
    /// The server is dead.
    Gone,
}

impl<H: MailHost> fmt::Debug for Open<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<'a, H: MailHost> Open<'a, H> {
    #[inline]
    pub(super) fn at(mailbox: &'a Mailbox<H>, server: Pid, state: u64) -> Self {
        Self { mailbox, server, state }
    }

    pub(super) fn is_generation(&self, state: u64) -> bool {
        (state ^ self.state) & GENERATION == 0
    }

    pub(super) fn limit(&self) -> u64 {
        u64::from(self.mailbox.limit.load(Ordering::Relaxed))
    }

    /// Returns `true` if messages are to be kept by [`Self::keep`].
    #[inline]
    pub fn drops_oldest(&self) -> bool {
        self.mailbox.mode.load(Ordering::Relaxed) & DROPS != 0
    }

    /// Returns `true` if there was no room for a newcomer.
    #[inline]
    pub fn was_full(&self) -> bool {
        self.state & WAIT != 0 || self.state & USED >= self.limit()
    }

    /// Takes room for one message, which the caller must send then.
    #[inline]
    pub fn admit(&self) -> Result<(), NoRoom> {
        self.raise(self.state, WAIT)
    }

    /// Raises the number of messages by one, unless there is no room, or one of the bits `not` is
    /// set.
    #[inline]
    pub(super) fn raise(&self, mut state: u64, not: u64) -> Result<(), NoRoom> {
        loop {
            if !self.is_generation(state) {
                return Err(NoRoom::Gone);
            }
            if state & not != 0 || state & USED >= self.limit() {
                return Err(NoRoom::Full);
            }
            // All of the decision is in the word, and the lock orders what waiters do. So no write
            // of the word has to order another.
            match self.mailbox.state.compare_exchange_weak(state, state + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// Counts a refusal.
    #[inline]
    pub fn count_rejected(&self) {
        self.mailbox.refusals.count();
    }

    /// Keeps a message for the server. Returns `true` if the caller must tell the server that there
    /// is one more to take by [`Self::next`], and then call [`Self::told`]. Returns `false` if the oldest one made way, which the
    /// server was told of before.
    ///
    /// All messages may be of callers that wait for a reply, which are never kept. Then the mailbox
    /// is full.
    pub fn keep(&self, parcel: H::Parcel) -> Result<bool, NoRoom> {
        // Dropped after the lock.
        let _oldest;
        let mut inner = self.mailbox.lock();
        // Raised inside the lock, as `next` lowers it there. So if kept messages have all the room, they are
        // found here.
        match self.raise(self.mailbox.state.load(Ordering::Relaxed), WAIT) {
            Ok(()) => {
                inner.kept.push_back(parcel);
                self.mailbox.to_tell.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(NoRoom::Gone) => Err(NoRoom::Gone),
            Err(NoRoom::Full) => {
                _oldest = inner.kept.pop_front().ok_or(NoRoom::Full)?;
                inner.kept.push_back(parcel);
                inner.dropped += 1;
                Ok(false)
            }
        }
    }

    /// The caller has told the server of a message that is kept.
    pub fn told(&self) {
        // ORDERING: Release pairs with the Acquire in `is_told`: the server was told before.
        self.mailbox.told.fetch_add(1, Ordering::Release);
    }

    /// Returns `true` if the server was told of all messages that are kept. If not, another sender is
    /// about to tell it, and a request must not be sent yet: it could come before an earlier message
    /// of its sender.
    pub fn is_told(&self) -> bool {
        // Read in this order, so that `told` is not behind. An earlier message of the caller raised
        // `to_tell`, or took, in the lock, the place of one that had raised it.
        let to_tell = self.mailbox.to_tell.load(Ordering::Acquire);
        self.mailbox.told.load(Ordering::Acquire) >= to_tell
    }

    /// Gives back the room of a message that could not be sent, since the server is dead. So no waiter
    /// can use it.
    pub fn withdraw(&self) {
        self.lower(1);
    }

    /// The server takes a message up, which was sent. `holds` tells whether it keeps the room of such a
    /// message if the mailbox is manual. Returns `true` if the caller must call [`Self::serve`].
    #[inline]
    pub fn taken(&self, holds: bool) -> bool {
        self.count_taken(holds)
    }

    /// The server takes the oldest message up that is kept. Also returns `true` if the caller must call
    /// [`Self::serve`].
    pub fn next(&self) -> Option<(H::Parcel, bool)> {
        let mut inner = self.mailbox.lock();
        if !self.is_generation(self.mailbox.state.load(Ordering::Relaxed)) {
            return None;
        }
        let parcel = inner.kept.pop_front()?;
        // Inside the lock: a sender in `keep` must not find the message gone, and its room not back.
        Some((parcel, self.count_taken(true)))
    }

    /// Counts a message as taken up, and gives its room back. Returns `true` if senders wait for it.
    #[inline]
    fn count_taken(&self, holds: bool) -> bool {
        let Mailbox { taken, held, mode, .. } = self.mailbox;
        // The server alone writes these words.
        taken.store(taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if holds && mode.load(Ordering::Relaxed) & MANUAL != 0 {
            held.store(held.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            false
        } else {
            self.lower(1) & WAIT != 0
        }
    }

    /// The server gives back the room of `n` messages that it has taken up. Returns `None`, and changes
    /// nothing, if it keeps room for fewer, and else `true` if the caller must call [`Self::serve`].
    pub fn release(&self, n: u32) -> Option<bool> {
        let held = self.mailbox.held.load(Ordering::Relaxed);
        self.mailbox.held.store(held.checked_sub(n)?, Ordering::Relaxed);
        Some(self.lower(n.into()) & WAIT != 0)
    }

    /// Lowers the number of messages. Returns the state.
    #[inline]
    pub(super) fn lower(&self, n: u64) -> u64 {
        let mut state = self.mailbox.state.load(Ordering::Relaxed);
        loop {
            if !self.is_generation(state) {
                return 0;
            }
            // A message that was never counted, which was made by hand, gives no room.
            let next = state - n.min(state & USED);
            match self.mailbox.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(now) => state = now,
            }
        }
    }

    /// Returns the settings and the counts.
    pub fn info(&self) -> MailboxInfo {
        let inner = self.mailbox.lock();
        let in_use = (self.mailbox.state.load(Ordering::Relaxed) & USED) as u32;
        let held = self.mailbox.held.load(Ordering::Relaxed);
        let taken = self.mailbox.taken.load(Ordering::Relaxed);
        MailboxInfo {
            settings: self.mailbox.settings(&inner),
            in_use,
            waiting: inner.line.len(),
            held,
            // Those that were taken up, dropped, or are still to be taken up.
            admitted: taken + inner.dropped + u64::from(in_use.saturating_sub(held)),
            rejected: self.mailbox.refusals.sum() - inner.refused_before,
            timed_out: inner.timed_out,
            dropped: inner.dropped,
        }
    }
}
