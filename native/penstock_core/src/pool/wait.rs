//! Parks callers, and ends their waits.
//!
//! A wait ends once. The call that ends a wait takes it out of reach of all other calls, under
//! the queue lock. These calls end a wait:
//!
//! | call                                      | the waiter gets                              |
//! |-------------------------------------------|----------------------------------------------|
//! | [`Pool::serve`], by any process           | permits, or a refusal                        |
//! | [`Pool::expire`], by the host             | the answer that its time is over             |
//! | `cancel` or `withdraw`, by the waiter     | [`Cancelled::Yes`], and no further answer    |
//! | [`Pool::down`], after the waiter's death  | nothing                                      |
//!
//! A call sends the answers after it has released the queue lock. So a process may find its wait
//! ended by another call before the answer arrives. It gets [`Cancelled::TooLate`], and must take
//! the answer, which is on its way.
//!
//! No wake-up is lost. A parking process sets the flag WAITERS in the [state word](super::state),
//! and then tries to take permits from that word. A release adds permits to the same word, and
//! serves the waiters if it finds WAITERS set. One of these two writes comes later in the word's
//! modification order. The process of the later write finds the earlier one.
//!
//! A process that [parks](Pool::park) blocks: it has one wait, and cancels that wait itself. A
//! process that [asks](Pool::ask) goes on: it can have many waits, and the host ends those whose
//! time is over. The waits of a process form a ring. The process's [entry](Entry) names one wait
//! of the ring, so the call that reaps the process finds all waits.

use crate::batch::Batch;
use crate::holders::{Entry, Kind, Reason};
use crate::host::{Answer, Pid};
use crate::sync::{Ordering, lock};

use super::acquire::Refusal;
use super::serve::{BATCHES, note_answer};
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
    /// The pool is closed or draining, or the pool's name stands for another pool now.
    Closed,
    /// The permits that the caller holds, plus the requested ones, exceed the limit: the caller
    /// would wait for its own release.
    Deadlock,
    /// The caller is in the queue, and the host will wake it with an answer.
    Waiting(WaiterId),
}

/// Whether waits are left that the host must end when their time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// One call could not end all waits whose time is over: the host must call again.
    More,
    /// Waits are left whose time is not over: the host must call again later.
    Later,
    /// No wait is left that the host must end. A later [`Pool::ask`] tells the host to begin
    /// again.
    Nothing,
}

/// The result of a request to end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// This call ended the wait, so no answer will come.
    Yes,
    /// Another call ended the wait before, and the answer of that call is on its way.
    TooLate,
}

/// How a process waits, and how it will hold the permits.
#[derive(Clone, Copy)]
struct Manner {
    kind: Kind,
    /// When the host ends the wait, in ms of a clock of the host; `None` if the process ends it.
    until: Option<u64>,
    /// `true` if the process blocks: it then releases no permit before the answer.
    blocks: bool,
}

/// A request of a process that parks or asks.
struct Request<'a, H: PoolHost> {
    pid: Pid,
    entry: &'a Entry,
    permits: u32,
    ticket: Option<H::Ticket>,
    manner: Manner,
    /// The present time of the host's coarse clock.
    now: u32,
}

impl<H: PoolHost> Pool<H> {
    /// Acquires `n` permits if they are free. Otherwise puts the calling process into the queue.
    /// The process must then block until the host wakes it, or until it cancels the wait.
    pub fn park(&self, host: &H, me: Pid, n: u32, kind: Kind, ticket: H::Ticket) -> Parked {
        self.park_while(host, me, n, kind, ticket, || true)
    }

    /// Parks as [`Pool::park`] does if `still` returns `true`. Otherwise returns
    /// [`Parked::Closed`]. `still` runs inside the queue lock. It tells whether the caller still
    /// means this pool: the pool's name may stand for another pool by now.
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

    /// Acquires `n` manual permits if they are free. Otherwise puts the calling process into the
    /// queue. The process does not block, and can ask again before the answer.
    ///
    /// `until` is when the host ends the wait, in ms of a clock of the host; with `None`, the
    /// process ends it. Also returns `true` if the host must begin to call [`Pool::expire`].
    /// `still` is as in [`Pool::park_while`].
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
        // If this scan misses a dead holder, the host's monitor reaps that holder soon after. The
        // reap then grants the permits to the parked caller.
        if !self.state.load().closed() && !self.oversize(n) {
            self.reap_dead(host);
        }
        let Some(entry) = self.table.find(me).or_else(|| self.insert(host, me)) else { return (Parked::Closed, false) };
        // A ticket that is not needed is dropped with the request, outside the queue lock.
        let mut request = Request { pid: me, entry, permits: n, ticket: Some(ticket), manner, now: host.now_ms() };
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
            Parked::Full => self.count_refusal(me, Refusal::Full),
            Parked::QueueFull => self.table.shard(me).count_refusal(Reason::QueueFull),
            Parked::Closed => self.count_refusal(me, Refusal::Closed),
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
        // A caller that blocks releases nothing. If its request and its own permits together
        // exceed the limit, no grant can come while the limit stays. The limit cannot change
        // during this check, because this call has the queue lock. The check may miss permits
        // that another process transfers to the caller at this instant. The caller then waits
        // until its time is over.
        if blocks && self.waits_for_itself(entry, permits) {
            return if has_room { Parked::Deadlock } else { Parked::QueueFull };
        }
        // From here on, a release finds WAITERS, and waits for the queue lock to serve the queue.
        self.state.set_waiters();
        if guarded.queue.is_empty(Queue::Waiters) {
            let taken = self.state.take_for_waiter(permits);
            // The queue stays empty if the caller took its permits, or if the queue has no room.
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
        let (queue, began) = (Queue::Waiters, request.now);
        let waiter = Waiter { pid, permits, kind, ticket, queue, until, began, repoint: None };
        Parked::Waiting(self.join(guarded, entry, waiter))
    }

    /// Appends a wait of the calling process to the queue that the wait names. The entry of the
    /// process then names this wait. A ring links the wait to the earlier ones of the process.
    pub(super) fn join(&self, guarded: &mut Guarded<H>, entry: &Entry, waiter: Waiter<H>) -> WaiterId {
        let id = guarded.queue.push(waiter, WaiterId::from_bits(entry.waiter()));
        entry.set_waiter(id.to_bits());
        id
    }

    /// Makes the entry of a process name another wait of the process, if the entry named the wait
    /// that was removed. Called under the queue lock.
    ///
    /// The entry stays while the process has waits: before a reap removes the entry,
    /// [`Pool::remove_waits_of`] takes all waits from the process, under the queue lock.
    pub(super) fn repoint_entry(&self, removed: &Waiter<H>) {
        if let Some((from, to)) = removed.repoint
            && let Some(entry) = self.table.find(removed.pid)
        {
            entry.replace_waiter(from.to_bits(), to.to_bits());
        }
    }

    /// Removes the wait of a dead process. If the process has several waits, makes them orphans,
    /// which [`Pool::serve`] removes. Returns `true` if the process had a wait. Then the queue
    /// must be served, because a waiter behind that wait may be at the head now.
    pub(super) fn remove_waits_of(&self, pid: Pid) -> bool {
        // The entry names a wait as long as the process has one; 0 means that it has none.
        if self.table.find(pid).is_none_or(|entry| entry.waiter() == 0) {
            return false;
        }
        let _removed = {
            let mut guarded = lock(&self.guarded);
            // The entry is looked up again inside the lock. Another call may have reaped the
            // process since the first look-up, and another process may use that entry now.
            let Some(entry) = self.table.find(pid) else { return false };
            let id = WaiterId::from_bits(entry.waiter());
            // Two calls may reap one process. The first joins the ring of its waits to the ring
            // of orphans. The second must not find that ring in the entry: to join a ring to
            // itself would split it.
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

    /// Ends a wait whose time is over, and counts it as timed out. The waiting process calls
    /// this.
    pub fn cancel(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, true)
    }

    /// Ends a wait before its time is over, and does not count it as timed out. The waiting
    /// process calls this.
    pub fn withdraw(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, false)
    }

    fn stop_waiting(&self, host: &H, me: Pid, id: WaiterId, timed_out: bool) -> Cancelled {
        let now = host.now_ms();
        let removed = {
            let mut guarded = lock(&self.guarded);
            let removed = guarded.queue.remove(id, me);
            if let Some(waiter) = &removed {
                self.repoint_entry(waiter);
                if timed_out {
                    note_answer(&mut guarded.waits, waiter, now);
                }
            }
            if guarded.queue.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            removed
        };
        let Some(waiter) = removed else { return Cancelled::TooLate };
        if waiter.queue == Queue::Waiters {
            self.table.shard(me).timed_out.fetch_add(u64::from(timed_out), Ordering::Relaxed);
            // A wait that ended may have been a large request at the head, which blocked smaller
            // ones.
            if self.state.load().flagged() {
                self.serve(host);
            }
        }
        Cancelled::Yes
    }

    /// Ends waits whose time is over at `now`, as many as one call can, and counts them as timed
    /// out. `now` is in ms of the clock that `until` of [`Pool::ask`] uses. The host calls this.
    pub fn expire(&self, host: &H, now: u64) -> Expiry {
        let (mut expiry, mut ended) = (Expiry::More, false);
        for _ in 0..BATCHES {
            let mut batch = Batch::new();
            let now_ms = host.now_ms();
            {
                let mut guarded = lock(&self.guarded);
                while batch.has_room()
                    && let Some(waiter) = guarded.queue.pop_expired(now)
                {
                    note_answer(&mut guarded.waits, &waiter, now_ms);
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
        // A wait that ended may have been a large request at the head, which blocked smaller
        // ones.
        if ended && self.state.load().flagged() {
            self.serve(host);
        }
        expiry
    }
}
