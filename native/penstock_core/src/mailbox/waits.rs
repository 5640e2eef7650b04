//! Senders that wait for room.

use super::line::Waiter;
use super::open::Open;
use super::{MailHost, USED, WAIT};
use crate::host::{Answer, Pid};
use crate::pool::Cancelled;
use crate::sync::Ordering;

/// The number of a wait in its mailbox.
pub type Token = u64;

/// The result of [`Open::park`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailParked {
    /// There was room, and the message is sent.
    Sent,
    /// The caller waits. It gets [`Answer::Granted`] once its message is sent.
    Waiting(Token),
    /// As many senders wait as may.
    Full,
    /// The server is dead.
    Gone,
}

/// The result of one try to park, which gives a waiter back that is not in line.
enum Tried<H: MailHost> {
    Waiting(Token),
    /// There was room, which is taken.
    Room(Waiter<H>),
    Full(Waiter<H>),
    Gone,
}

/// The number of waiters that one turn serves.
const TURN: usize = if cfg!(loom) { 1 } else { 32 };
/// The number of turns of a call. The caller then calls again.
const TURNS: usize = if cfg!(loom) { 2 } else { 4 };
/// The number of waiters that a sender looks at, before it is refused since too many wait.
const LOOKED_AT: usize = 64;

impl<H: MailHost> Open<'_, H> {
    /// Returns `true` if a sender may park: there is room, or a place in line. Removes some dead
    /// waiters of a full line. The sender asks before it makes a copy of its message.
    pub fn may_park(&self, host: &H) -> bool {
        self.has_place() || (self.reap(host) && self.has_place())
    }

    fn has_place(&self) -> bool {
        let inner = self.mailbox.lock();
        let state = self.mailbox.state.load(Ordering::Relaxed);
        let room = state & WAIT == 0 && state & USED < self.limit();
        !self.is_generation(state) || room || inner.line.len() < inner.max_waiting as usize
    }

    /// Sends a message if there is room. Otherwise lets the caller wait, first come, first served.
    pub fn park(&self, host: &H, waiter: Pid, ticket: H::Ticket, parcel: H::Parcel) -> MailParked {
        match self.try_park(Waiter { pid: waiter, ticket, parcel }) {
            Tried::Waiting(token) => MailParked::Waiting(token),
            Tried::Room(waiter) => {
                host.post(self.server, waiter.parcel);
                MailParked::Sent
            }
            Tried::Full(_waiter) => MailParked::Full,
            Tried::Gone => MailParked::Gone,
        }
    }

    /// Takes room for a message, or puts the waiter in line.
    fn try_park(&self, waiter: Waiter<H>) -> Tried<H> {
        let mut inner = self.mailbox.lock();
        let mut state = self.mailbox.state.load(Ordering::Relaxed);
        loop {
            if !self.is_generation(state) {
                return Tried::Gone;
            }
            let room = state & WAIT == 0 && state & USED < self.limit();
            if !room && inner.line.len() >= inner.max_waiting as usize {
                return Tried::Full(waiter);
            }
            // Only the bit keeps the server from passing the line by. The CAS fails if room came
            // back meanwhile.
            let next = if room { state + 1 } else { state | WAIT };
            match self.mailbox.state.compare_exchange(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) if room => return Tried::Room(waiter),
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        inner.last += 1;
        let token = inner.last;
        inner.line.insert(token, waiter);
        Tried::Waiting(token)
    }

    /// Removes some dead waiters of a full line. Returns `true` if there were any.
    fn reap(&self, host: &H) -> bool {
        let some = self.mailbox.lock().some_waiters(LOOKED_AT);
        let dead: Vec<_> = some.into_iter().filter(|&(_, pid)| !host.alive(pid)).collect();
        let removed: Vec<_> = {
            let mut inner = self.mailbox.lock();
            // If the place serves another server by now, none of the numbers is in its line.
            let removed: Vec<_> = dead.into_iter().filter_map(|(at, _)| inner.line.remove(&at)).collect();
            if !removed.is_empty() {
                self.end_waits_if_none(inner.line.is_empty());
            }
            removed
        };
        !removed.is_empty()
    }

    /// Ends a wait whose time is over.
    pub fn cancel(&self, waiter: Pid, token: Token) -> Cancelled {
        let _removed;
        let mut inner = self.mailbox.lock();
        if inner.line.get(&token).is_none_or(|there| there.pid != waiter) {
            return Cancelled::TooLate;
        }
        _removed = inner.line.remove(&token);
        inner.timed_out += 1;
        self.end_waits_if_none(inner.line.is_empty());
        Cancelled::Yes
    }

    /// Clears the mark that senders wait, inside the lock.
    fn end_waits_if_none(&self, none: bool) {
        let mut state = self.mailbox.state.load(Ordering::Relaxed);
        while none && self.is_generation(state) && state & WAIT != 0 {
            match self.mailbox.state.compare_exchange(state, state & !WAIT, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// Sends the messages of waiters for which there is room. Returns `true` if the caller must call
    /// this again, since it would be too much for one call.
    ///
    /// Only the server calls this, so that an answer to a waiter comes before the news of the server's
    /// death. A waiter that has heard of the death gets no answer any more.
    pub fn serve(&self, host: &H) -> bool {
        for _ in 0..TURNS {
            let (served, more) = self.pop_some();
            if served.is_empty() {
                return false;
            }
            host.worked(served.len());
            let mut dead = 0;
            for Waiter { pid, ticket, parcel } in served {
                if host.alive(pid) {
                    host.post(self.server, parcel);
                    host.wake(pid, ticket, Answer::Granted);
                } else {
                    dead += 1;
                }
            }
            // The room of dead waiters goes to the next ones.
            let more = if dead > 0 { self.lower(dead) & WAIT != 0 } else { more };
            if !more {
                return false;
            }
        }
        true
    }

    /// Takes room for the first waiters, and takes them out of the line. Also returns `true` if
    /// there is room for more of them.
    fn pop_some(&self) -> (Vec<Waiter<H>>, bool) {
        let mut inner = self.mailbox.lock();
        let mut served = Vec::new();
        let mut state = self.mailbox.state.load(Ordering::Relaxed);
        while served.len() < TURN && !inner.line.is_empty() && self.raise(state, 0).is_ok() {
            served.extend(inner.line.pop_first().map(|(_, waiter)| waiter));
            state = self.mailbox.state.load(Ordering::Relaxed);
        }
        self.end_waits_if_none(inner.line.is_empty());
        let more = self.is_generation(state) && !inner.line.is_empty() && state & USED < self.limit();
        (served, more)
    }
}
