//! Parks callers, and ends their waits.
//!
//! A wait ends once: the call that ends it removes it from the queue, under the queue lock, so no
//! other call finds it. These calls end a wait:
//!
//! | call                                      | the waiter gets                              |
//! |-------------------------------------------|----------------------------------------------|
//! | [`Pool::serve`], by any process           | permits, or a refusal                        |
//! | [`Pool::expire`], by the host             | the answer that its time is over             |
//! | `cancel` or `withdraw`, by the waiter     | [`Cancelled::Yes`], and no further answer    |
//! | [`Pool::down`], after the waiter's death  | nothing                                      |
//!
//! Answers are sent after the lock is released. So a process that finds its wait ended by another
//! call gets [`Cancelled::TooLate`], and its answer is on its way.
//!
//! No wake-up is lost. A parking process sets WAITERS in the state word and then tries to take
//! permits from that word. A release adds permits to the same word, and serves the waiters if it
//! finds WAITERS set. One of the two comes later in the word's modification order.
//!
//! A process that [parks](Pool::park) blocks: it has one wait, and cancels it itself. A process
//! that [asks](Pool::ask) goes on: it may have many waits, which the host expires. The waits of a
//! process form a ring. Its entry names one of them, so that its death ends all.

use crate::holders::{Entry, Kind};
use crate::host::{Answer, Pid};
use crate::sync::{Ordering, lock};

use super::serve::{BATCHES, Batch};
use super::wait_queue::{Queue, Removed, Waiter, WaiterId};
use super::{Guarded, Pool, PoolHost, Status};

/// The result of a request to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// The permits were free, and the caller holds them.
    Granted,
    /// The request exceeds the limit.
    Full,
    /// The queue has no room for another waiter.
    QueueFull,
    /// The pool admits no process any more.
    Closed,
    /// The permits that the caller holds and the request exceed the limit together: the caller
    /// would wait for its own release.
    Deadlock,
    /// The caller is in the queue, and the host will wake it with an answer.
    Waiting(WaiterId),
}

/// Whether waits are left that the host must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// One call could not end all waits whose time is over: the host must call again.
    More,
    /// Waits are left whose time is not over: the host must call again later.
    Later,
    /// No wait is left that ends by time. [`Pool::ask`] tells the host to begin again.
    Nothing,
}

/// The result of a request to end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// No answer will come.
    Yes,
    /// Another call ended the wait before: its answer is on its way.
    TooLate,
}

/// How a process waits, and how it will hold the permits.
#[derive(Clone, Copy)]
struct Manner {
    kind: Kind,
    /// When the host ends the wait; `None` if the process does.
    until: Option<u64>,
    /// The process blocks, so it releases no permit before the answer.
    blocks: bool,
}

/// A request of a parking process.
struct Request<'a, H: PoolHost> {
    pid: Pid,
    entry: &'a Entry,
    permits: u32,
    ticket: Option<H::Ticket>,
    manner: Manner,
}

impl<H: PoolHost> Pool<H> {
    /// Parks the calling process until `n` permits are granted to it, unless they are free.
    pub fn park(&self, host: &H, me: Pid, n: u32, kind: Kind, ticket: H::Ticket) -> Parked {
        self.park_while(host, me, n, kind, ticket, || true)
    }

    /// Parks as [`Pool::park`] does if `still`, called inside the queue lock, returns `true`.
    /// Otherwise returns [`Parked::Closed`].
    pub fn park_while(
        &self,
        host: &H,
        me: Pid,
        n: u32,
        kind: Kind,
        ticket: H::Ticket,
        still: impl FnOnce() -> bool,
    ) -> Parked {
        self.park_as(host, me, n, Manner { kind, until: None, blocks: true }, ticket, still).0
    }

    /// Puts the calling process into the queue for `n` manual permits, unless they are free. The
    /// process does not block, and may ask again before the answer.
    ///
    /// `until` is when the host ends the wait, in ms of a clock of the host. Returns `true` if
    /// the host must begin to call [`Pool::expire`]. `still` is as in [`Pool::park_while`].
    pub fn ask(
        &self,
        host: &H,
        me: Pid,
        n: u32,
        ticket: H::Ticket,
        until: Option<u64>,
        still: impl FnOnce() -> bool,
    ) -> (Parked, bool) {
        self.park_as(host, me, n, Manner { kind: Kind::Manual, until, blocks: false }, ticket, still)
    }

    fn park_as(
        &self,
        host: &H,
        me: Pid,
        n: u32,
        manner: Manner,
        ticket: H::Ticket,
        still: impl FnOnce() -> bool,
    ) -> (Parked, bool) {
        // A dead holder that this scan misses wakes the caller when its monitor runs.
        if !self.state.load().closed() && !self.oversize(n) {
            self.reap_dead(host);
        }
        let Some(entry) = self.table.find(me).or_else(|| self.insert(host, me)) else { return (Parked::Closed, false) };
        // A ticket that is not needed is dropped with the request, outside the queue lock.
        let mut request = Request { pid: me, entry, permits: n, ticket: Some(ticket), manner };
        let (parked, timed) = {
            let mut guarded = lock(&self.guarded);
            let parked = if still() { self.park_at(&mut guarded, &mut request) } else { Parked::Closed };
            let timed = matches!(parked, Parked::Waiting(_)) && manner.until.is_some() && !guarded.timed;
            guarded.timed |= timed;
            (parked, timed)
        };
        match parked {
            Parked::Granted => self.record_unannounced(host, me, entry, n, manner.kind),
            Parked::Waiting(_) | Parked::Deadlock => {}
            Parked::Full | Parked::QueueFull | Parked::Closed => self.count_refusal(me),
        }
        (parked, timed)
    }

    fn park_at(&self, guarded: &mut Guarded<H>, request: &mut Request<'_, H>) -> Parked {
        let &mut Request { pid, entry, permits, manner: Manner { kind, until, blocks }, .. } = request;
        if guarded.status != Status::Open {
            return Parked::Closed;
        }
        if self.oversize(permits) {
            return Parked::Full;
        }
        let has_room = guarded.queue.len(Queue::Waiters) < guarded.settings.max_waiting as usize;
        // A caller that blocks releases nothing, so a request that needs its own permits is never
        // granted under this limit, which no other call changes while this one has the lock.
        // Permits that another process transfers to the caller at this instant may be missed:
        // the caller then waits until its time is over.
        if blocks && self.waits_for_itself(entry, permits) {
            return if has_room { Parked::Deadlock } else { Parked::QueueFull };
        }
        // From here on, a release finds the flag, and waits for the queue lock to serve.
        self.state.set_waiters();
        if guarded.queue.is_empty(Queue::Waiters) {
            let taken = self.state.take_for_waiter(permits);
            // The queue stays empty if the caller took its permits, or if no process may wait.
            if taken.is_ok() || !has_room {
                self.state.clear_waiters();
            }
            if let Ok(left) = taken {
                self.note_peak(self.front.limit.load(), left);
                return Parked::Granted;
            }
        }
        if !has_room {
            return Parked::QueueFull;
        }
        let ticket = request.ticket.take().expect("it is used once");
        let waiter = Waiter { pid, permits, kind, ticket, queue: Queue::Waiters, until, repoint: None };
        Parked::Waiting(self.join(guarded, entry, waiter))
    }

    /// Appends a waiter of the calling process to its queue. The entry of the process then names
    /// this wait, and the ring links it to the earlier ones.
    pub(super) fn join(&self, guarded: &mut Guarded<H>, entry: &Entry, waiter: Waiter<H>) -> WaiterId {
        let id = guarded.queue.push(waiter, WaiterId::from_bits(entry.waiter()));
        entry.set_waiter(id.to_bits());
        id
    }

    /// Makes the entry of a process name another of its waits, if it named the one that was
    /// removed. Under the queue lock.
    ///
    /// A process with waits in its ring has its entry: before the entry is removed,
    /// [`Pool::remove_waits_of`] empties the ring under the queue lock.
    pub(super) fn repoint_entry(&self, removed: &Waiter<H>) {
        if let Some((from, to)) = removed.repoint
            && let Some(entry) = self.table.find(removed.pid)
        {
            entry.replace_waiter(from.to_bits(), to.to_bits());
        }
    }

    /// Removes the wait of a dead process, or makes its several waits orphans. Returns `true` if
    /// the queue must be served: a waiter behind them may be at the head now.
    pub(super) fn remove_waits_of(&self, pid: Pid) -> bool {
        // The entry names a wait as long as the process has one; 0 means that it has none.
        if self.table.find(pid).is_none_or(|entry| entry.waiter() == 0) {
            return false;
        }
        let _removed = {
            let mut guarded = lock(&self.guarded);
            // Another call may have reaped the process meanwhile, and its entry may be in use by
            // another process.
            let Some(entry) = self.table.find(pid) else { return false };
            let id = WaiterId::from_bits(entry.waiter());
            // Two calls may reap one process. The second must not find its ring, which the first
            // joined to the ring of orphans: to join a ring to itself would split it.
            entry.set_waiter(0);
            let removed = guarded.queue.remove_ring_of(id, pid);
            if guarded.queue.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            match removed {
                Removed::Nothing => return false,
                // The ticket is dropped after the lock is released.
                Removed::One(waiter) => Some(waiter),
                Removed::Orphans => None,
            }
        };
        true
    }

    /// Ends a wait whose time is over, and counts it as timed out. By the waiting process.
    pub fn cancel(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, true)
    }

    /// Ends a wait before its time is over. It does not count as timed out. By the waiting
    /// process.
    pub fn withdraw(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, false)
    }

    fn stop_waiting(&self, host: &H, me: Pid, id: WaiterId, timed_out: bool) -> Cancelled {
        let removed = {
            let mut guarded = lock(&self.guarded);
            let removed = guarded.queue.remove(id, me);
            if let Some(waiter) = &removed {
                self.repoint_entry(waiter);
            }
            if guarded.queue.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            removed
        };
        let Some(waiter) = removed else { return Cancelled::TooLate };
        if waiter.queue == Queue::Waiters {
            self.table.shard(me).timed_out.fetch_add(u64::from(timed_out), Ordering::Relaxed);
            // A large request at the head may have blocked smaller ones behind it.
            if self.state.load().flagged() {
                self.serve(host);
            }
        }
        Cancelled::Yes
    }

    /// Ends waits whose time is over at `now`, in ms of the clock of [`Pool::ask`]. By the host.
    pub fn expire(&self, host: &H, now: u64) -> Expiry {
        let (mut expiry, mut ended) = (Expiry::More, false);
        for _ in 0..BATCHES {
            let mut batch = Batch::new();
            {
                let mut guarded = lock(&self.guarded);
                while batch.has_room()
                    && let Some(waiter) = guarded.queue.pop_expired(now)
                {
                    self.table.shard(waiter.pid).timed_out.fetch_add(1, Ordering::Relaxed);
                    self.dismiss(&mut batch, waiter, Some(Answer::TimedOut));
                }
                if guarded.queue.is_empty(Queue::Waiters) {
                    self.state.clear_waiters();
                }
                if batch.has_room() {
                    expiry = if guarded.queue.has_timed() { Expiry::Later } else { Expiry::Nothing };
                    guarded.timed = expiry == Expiry::Later;
                }
            }
            ended |= !batch.is_empty();
            batch.send(host);
            if expiry != Expiry::More {
                break;
            }
        }
        // A large request at the head may have blocked smaller ones behind it.
        if ended && self.state.load().flagged() {
            self.serve(host);
        }
        expiry
    }
}
