//! Parks callers, and ends their waits.
//!
//! Every wait ends once, under the queue lock: by a grant, by an answer, by its process, or by
//! the death of its process. The call that ends it removes it from the queue, so no other call
//! finds it. Messages are sent after the lock is released: a process that comes too late to end
//! its wait knows that its answer is on its way.
//!
//! No wake-up is lost. Permits come back by an addition to the state word, which shows whether
//! any process waits. A parker sets that flag in the same word before it checks for permits a
//! last time.
//!
//! A process that blocks has one wait, and ends it itself. A process that [asked](Pool::ask) may
//! have many, which the host ends when their time is over, and its death ends all of them. Its
//! entry names one, which is in a ring with the others.

use crate::holders::{Entry, Kind};
use crate::host::{Answer, Pid};
use crate::sync::{Ordering, lock};

use super::serve::{BATCHES, Batch};
use super::wait_queue::{Queue, Removed, Waiter, WaiterId};
use super::{Guarded, Pool, PoolHost, Status};

/// The result of a request to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// The permits were free.
    Granted,
    /// The request exceeds the limit.
    Full,
    /// The queue is full.
    QueueFull,
    /// The pool admits no process any more.
    Closed,
    /// The permits that the process holds and the request exceed the limit together: it would
    /// wait for itself.
    Deadlock,
    /// The answer will come.
    Waiting(WaiterId),
}

/// Whether waits are left that the host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// More are over than one call may end: the host calls again.
    More,
    /// None is over, but there are others: the host calls again later.
    Later,
    /// None. [`Pool::ask`] tells when there are any again.
    Nothing,
}

/// The result of a request to end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// No answer will come.
    Yes,
    /// An answer was given already and is on its way.
    TooLate,
}

/// A request of a parking process.
struct Request<'a, H: PoolHost> {
    pid: Pid,
    entry: &'a Entry,
    permits: u32,
    kind: Kind,
    ticket: Option<H::Ticket>,
    until: Option<u64>,
    /// The process goes on meanwhile, and may release what it waits for.
    goes_on: bool,
}

impl<H: PoolHost> Pool<H> {
    /// Parks the calling process until `n` permits are granted to it, unless they are free.
    pub fn park(&self, host: &H, me: Pid, n: u32, kind: Kind, ticket: H::Ticket) -> Parked {
        self.park_while(host, me, n, kind, ticket, || true)
    }

    /// Parks as [`Pool::park`] does, if `still` returns `true`, which is called inside the queue
    /// lock. Otherwise the pool is closed to the caller.
    pub fn park_while(
        &self,
        host: &H,
        me: Pid,
        n: u32,
        kind: Kind,
        ticket: H::Ticket,
        still: impl FnOnce() -> bool,
    ) -> Parked {
        self.park_as(host, me, n, (kind, None, false), ticket, still).0
    }

    /// Parks for free permits a caller that goes on, and may ask again before the answer comes.
    /// The host ends the wait when its clock says `until`. Returns `true` if the host must see to
    /// that, by [`Pool::expire`], and does not yet.
    pub fn ask(
        &self,
        host: &H,
        me: Pid,
        n: u32,
        ticket: H::Ticket,
        until: Option<u64>,
        still: impl FnOnce() -> bool,
    ) -> (Parked, bool) {
        self.park_as(host, me, n, (Kind::Manual, until, true), ticket, still)
    }

    fn park_as(
        &self,
        host: &H,
        me: Pid,
        n: u32,
        (kind, until, goes_on): (Kind, Option<u64>, bool),
        ticket: H::Ticket,
        still: impl FnOnce() -> bool,
    ) -> (Parked, bool) {
        // Dead holders first; the monitors of those that are not found now will wake the caller.
        if !self.state.load().closed() && !self.oversize(n) {
            self.reap_dead(host);
        }
        let Some(entry) = self.table.find(me).or_else(|| self.insert(host, me)) else { return (Parked::Closed, false) };
        // The ticket stays outside the lock, as it is dropped if it is not needed.
        let mut request = Request { pid: me, entry, permits: n, kind, ticket: Some(ticket), until, goes_on };
        let (parked, timed) = {
            let mut guarded = lock(&self.guarded);
            let parked = if still() { self.park_at(&mut guarded, &mut request) } else { Parked::Closed };
            let timed = matches!(parked, Parked::Waiting(_)) && until.is_some() && !guarded.timed;
            guarded.timed |= timed;
            (parked, timed)
        };
        match parked {
            Parked::Granted => self.record_unannounced(host, me, entry, n, kind),
            Parked::Waiting(_) | Parked::Deadlock => {}
            Parked::Full | Parked::QueueFull | Parked::Closed => self.count_refusal(me),
        }
        (parked, timed)
    }

    fn park_at(&self, guarded: &mut Guarded<H>, request: &mut Request<'_, H>) -> Parked {
        let &mut Request { pid, entry, permits, kind, until, goes_on, .. } = request;
        if guarded.status != Status::Open {
            return Parked::Closed;
        }
        if self.oversize(permits) {
            return Parked::Full;
        }
        let has_room = guarded.queue.len(Queue::Waiters) < guarded.settings.max_waiting as usize;
        // The permits are not free, then, and only a process that blocks waits for itself. The
        // limit does not change under this lock; permits that other processes transfer meanwhile
        // may be missed.
        if !goes_on && self.waits_for_itself(entry, permits) {
            return if has_room { Parked::Deadlock } else { Parked::QueueFull };
        }
        // From here on, a release finds the flag and waits for the queue lock.
        self.state.set_waiters();
        if guarded.queue.is_empty(Queue::Waiters) {
            let taken = self.state.take_for_waiter(permits);
            if taken.is_ok() || guarded.settings.max_waiting == 0 {
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

    /// Puts a waiter of the calling process into its queue, and has its entry name it.
    pub(super) fn join(&self, guarded: &mut Guarded<H>, entry: &Entry, waiter: Waiter<H>) -> WaiterId {
        let id = guarded.queue.push(waiter, WaiterId::from_bits(entry.waiter()));
        entry.set_waiter(id.to_bits());
        id
    }

    /// Has the entry of the process name another wait of it, if it named the one that was
    /// removed. Under the queue lock.
    ///
    /// A process with two waits has its entry: before that is removed, the ring is ended under
    /// this lock.
    pub(super) fn repoint_entry(&self, out: &Waiter<H>) {
        if let Some((from, to)) = out.repoint
            && let Some(entry) = self.table.find(out.pid)
        {
            entry.replace_waiter(from.to_bits(), to.to_bits());
        }
    }

    /// Removes the waits of a dead process, or makes them orphans. Returns `true` if that may let
    /// other waiters go on.
    pub(super) fn remove_waits_of(&self, pid: Pid) -> bool {
        // The word is 0 if the process has never waited. While it has waits, the word names one
        // of them: a call that ends that one sets the word to another.
        if self.table.find(pid).is_none_or(|entry| entry.waiter() == 0) {
            return false;
        }
        let _out = {
            let mut guarded = lock(&self.guarded);
            // Another call may have done all this meanwhile, and another process may have the
            // entry by now.
            let Some(entry) = self.table.find(pid) else { return false };
            let id = WaiterId::from_bits(entry.waiter());
            entry.set_waiter(0);
            let left = guarded.queue.remove_ring_of(id, pid);
            if guarded.queue.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            match left {
                Removed::Nothing => return false,
                // Its ticket is dropped after the lock is released.
                Removed::One(waiter) => Some(waiter),
                Removed::Orphans => None,
            }
        };
        true
    }

    /// Ends a wait whose time is over. By the waiting process.
    pub fn cancel(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, true)
    }

    /// Ends a wait before its time is over, which counts as no time-out. By the waiting process.
    pub fn withdraw(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, false)
    }

    fn stop_waiting(&self, host: &H, me: Pid, id: WaiterId, timed_out: bool) -> Cancelled {
        let out = {
            let mut guarded = lock(&self.guarded);
            let out = guarded.queue.remove(id, me);
            if let Some(out) = &out {
                self.repoint_entry(out);
            }
            if guarded.queue.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            out
        };
        let Some(out) = out else { return Cancelled::TooLate };
        if out.queue == Queue::Waiters {
            self.table.shard(me).timed_out.fetch_add(u64::from(timed_out), Ordering::Relaxed);
            // It may have been a large request that blocked smaller ones.
            if self.state.load().flagged() {
                self.serve(host);
            }
        }
        Cancelled::Yes
    }

    /// Ends the waits whose time is over by `now`, in ms of the clock that [`Pool::ask`] was
    /// given times of.
    pub fn expire(&self, host: &H, now: u64) -> Expiry {
        let (mut expiry, mut any) = (Expiry::More, false);
        for _ in 0..BATCHES {
            let mut batch = Batch::new();
            {
                let mut guarded = lock(&self.guarded);
                while batch.has_room()
                    && let Some(waiter) = guarded.queue.pop_due(now)
                {
                    self.table.shard(waiter.pid).timed_out.fetch_add(1, Ordering::Relaxed);
                    self.dismiss(&mut batch, waiter, Some(Answer::TimedOut));
                }
                if guarded.queue.is_empty(Queue::Waiters) {
                    self.state.clear_waiters();
                }
                if batch.has_room() {
                    expiry = if guarded.queue.has_due() { Expiry::Later } else { Expiry::Nothing };
                    guarded.timed = expiry == Expiry::Later;
                }
            }
            any |= !batch.is_empty();
            batch.send(host);
            if expiry != Expiry::More {
                break;
            }
        }
        if any && self.state.load().flagged() {
            self.serve(host);
        }
        expiry
    }
}
