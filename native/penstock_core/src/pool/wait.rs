//! Parking at the desk, and settling what is due there.
//!
//! Every wait ends once, under the desk lock: by a grant, an answer, its process' own leaving, or its process' death.
//! Whoever ends it takes it off the line, so the others do not find it. Messages are sent after the lock: a process
//! whose leaving came too late knows that its answer is on its way.
//!
//! No wake-up is lost: permits come back by an addition to the state word, which shows whether anybody waits; whoever
//! parks sets that flag in the same word before it looks for permits a last time.
//!
//! A process that waits blocked has one wait, and ends it itself. One that [asked](Pool::ask) may
//! have many, which the host ends when their time is over, and its death all of them: its entry
//! names one, which is in a ring with the others.

use crate::holders::{Entry, Kind};
use crate::host::{Answer, Host, Pid};
use crate::sync::{Ordering, lock};

use super::desk::{Left, Queue, Waiter, WaiterId};
use super::{Desk, LimitWord, Pool, PoolHost, Status};

/// What came of the wish to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// No need: the permits were free.
    Granted,
    /// More are asked than there are.
    Full,
    /// No place to wait is left.
    QueueFull,
    /// Nobody is admitted any more.
    Closed,
    /// What the process holds of the pool and what it asks exceed the limit together: it would
    /// wait for itself.
    Deadlock,
    /// The answer will come.
    Waiting(WaiterId),
}

/// What is left of the waits that the host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// More are over than one call may end: ask again.
    More,
    /// None is over, but there are others: ask again later.
    Later,
    /// None. [`Pool::ask`] says when there are any again.
    Nothing,
}

/// What came of the wish to wait no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// No answer will come.
    Yes,
    /// One was given already and is on its way.
    TooLate,
}

/// Answers that are given under one hold of the lock, and sent after it.
const BATCH: usize = if cfg!(loom) { 4 } else { 32 };
/// Batches in one call: 64 messages are some 50 µs.
const BATCHES: usize = 2;
/// Waiters looked at under one hold of the lock after the limit fell.
const LOOKS: usize = 256;

/// `None` as an answer: the process is dead, only its ticket is left to drop.
type Due<H> = (Pid, <H as Host>::Ticket, Option<Answer>);

struct Batch<H: PoolHost> {
    due: [Option<Due<H>>; BATCH],
    len: usize,
}

impl<H: PoolHost> Batch<H> {
    fn new() -> Self {
        Self { due: [const { None }; BATCH], len: 0 }
    }

    fn has_room(&self) -> bool {
        self.len < BATCH
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, waiter: Waiter<H>, answer: Option<Answer>) {
        self.due[self.len] = Some((waiter.pid, waiter.ticket, answer));
        self.len += 1;
    }

    fn send(self, host: &H) {
        for (pid, ticket, answer) in self.due.into_iter().flatten() {
            if let Some(answer) = answer {
                host.wake(pid, ticket, answer);
            }
        }
    }
}

/// What is left to do at the desk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// Only to look for waiters that ask for too much: no permit waits for that.
    Sweep,
    /// Answers, or grants, or what the dead left behind.
    More,
}

/// Who parks, and for what.
struct Request<'a, H: PoolHost> {
    pid: Pid,
    entry: &'a Entry,
    permits: u32,
    kind: Kind,
    ticket: Option<H::Ticket>,
    until: Option<u64>,
    /// The process goes on meanwhile, and may release what it would wait for.
    goes_on: bool,
}

impl<H: PoolHost> Pool<H> {
    /// Parks the calling process until `n` permits are handed to it, unless they are free.
    pub fn park(&self, host: &H, me: Pid, n: u32, kind: Kind, ticket: H::Ticket) -> Parked {
        self.park_while(host, me, n, kind, ticket, || true)
    }

    /// Parks as [`Pool::park`] does, if `still`, which is asked inside the lock of the desk. If
    /// not, the pool is closed to the caller.
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

    /// The same for free permits and a caller that goes on, and may ask again before the answer
    /// comes. The host ends the wait when its clock says `until`. True if the host must see to
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
        self.park_as(host, me, n, (Kind::Free, until, true), ticket, still)
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
        // The dead among the holders first; those that are not found now will wake us by their monitors.
        if !self.state.load().closed() && !self.oversize(n) {
            self.look_for_dead(host);
        }
        let Some(entry) = self.table.find(me).or_else(|| self.enrol(host, me)) else { return (Parked::Closed, false) };
        // The ticket is outside the lock, where it is dropped if it is not needed.
        let mut request = Request { pid: me, entry, permits: n, kind, ticket: Some(ticket), until, goes_on };
        let (parked, timed) = {
            let mut desk = lock(&self.desk);
            let parked = if still() { self.park_at(&mut desk, &mut request) } else { Parked::Closed };
            let timed = matches!(parked, Parked::Waiting(_)) && until.is_some() && !desk.timed;
            desk.timed |= timed;
            (parked, timed)
        };
        match parked {
            Parked::Granted => self.took(host, me, entry, n, kind),
            Parked::Waiting(_) | Parked::Deadlock => {}
            Parked::Full | Parked::QueueFull | Parked::Closed => self.count_refusal(me),
        }
        (parked, timed)
    }

    fn park_at(&self, desk: &mut Desk<H>, request: &mut Request<'_, H>) -> Parked {
        let &mut Request { pid, entry, permits, kind, until, goes_on, .. } = request;
        if desk.status != Status::Open {
            return Parked::Closed;
        }
        if self.oversize(permits) {
            return Parked::Full;
        }
        let has_room = desk.line.len(Queue::Waiters) < desk.settings.max_waiting as usize;
        // Not free, then, and only one that may wait would wait for itself. The limit does not
        // change under this lock; what others give the process meanwhile may be missed.
        if !goes_on && self.waits_for_itself(entry, permits) {
            return if has_room { Parked::Deadlock } else { Parked::QueueFull };
        }
        // From here on whoever gives back comes to this desk, and waits for our lock.
        self.state.set_waiters();
        if desk.line.is_empty(Queue::Waiters) {
            let taken = self.state.take_for_waiter(permits);
            if taken.is_ok() || desk.settings.max_waiting == 0 {
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
        let waiter = Waiter { pid, permits, kind, ticket, queue: Queue::Waiters, until, heir: None };
        Parked::Waiting(self.join(desk, entry, waiter))
    }

    /// Puts a waiter of the calling process in line, and has its entry name it.
    pub(super) fn join(&self, desk: &mut Desk<H>, entry: &Entry, waiter: Waiter<H>) -> WaiterId {
        let id = desk.line.push(waiter, WaiterId::from_bits(entry.waiter()));
        entry.set_waiter(id.to_bits());
        id
    }

    /// Has the entry of the process name another wait of it, if it named the one that was taken
    /// out. Under the desk lock.
    ///
    /// A process with two waits has its entry, whose removal is preceded, under this lock, by the
    /// end of the ring.
    pub(super) fn pass_on(&self, out: &Waiter<H>) {
        if let Some((from, to)) = out.heir
            && let Some(entry) = self.table.find(out.pid)
        {
            entry.replace_waiter(from.to_bits(), to.to_bits());
        }
    }

    /// Takes a dead process out of every line, or makes its waits orphans; true if that may let
    /// other waiters go on.
    pub(super) fn leave_all(&self, pid: Pid) -> bool {
        // The word is 0 if the process has never waited. While it has waits the word names one,
        // whoever ends the others.
        if self.table.find(pid).is_none_or(|entry| entry.waiter() == 0) {
            return false;
        }
        let _out = {
            let mut desk = lock(&self.desk);
            // Another may have done all this meanwhile, and a third process have the entry by
            // now.
            let Some(entry) = self.table.find(pid) else { return false };
            let id = WaiterId::from_bits(entry.waiter());
            entry.set_waiter(0);
            let left = desk.line.leave_all(id, pid);
            if desk.line.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            match left {
                Left::Nothing => return false,
                // Its ticket is dropped after the lock.
                Left::One(waiter) => Some(waiter),
                Left::Orphans => None,
            }
        };
        true
    }

    fn count_refusal(&self, pid: Pid) {
        self.table.shard(pid).rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// The calling process has waited for as long as it would.
    pub fn cancel(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, true)
    }

    /// The calling process stops to wait before its time is over, which is no time-out to be counted.
    pub fn leave_line(&self, host: &H, me: Pid, id: WaiterId) -> Cancelled {
        self.stop_waiting(host, me, id, false)
    }

    fn stop_waiting(&self, host: &H, me: Pid, id: WaiterId, timed_out: bool) -> Cancelled {
        let out = {
            let mut desk = lock(&self.desk);
            let out = desk.line.leave(id, me);
            if let Some(out) = &out {
                self.pass_on(out);
            }
            if desk.line.is_empty(Queue::Waiters) {
                self.state.clear_waiters();
            }
            out
        };
        let Some(out) = out else { return Cancelled::TooLate };
        if out.queue == Queue::Waiters {
            self.table.shard(me).timed_out.fetch_add(u64::from(timed_out), Ordering::Relaxed);
            // It may have been a large request that smaller ones waited behind.
            if self.state.load().flagged() {
                self.settle(host);
            }
        }
        Cancelled::Yes
    }

    /// Ends the waits whose time is over by `now`, in ms by the clock that [`Pool::ask`] was
    /// given times of.
    pub fn expire(&self, host: &H, now: u64) -> Expiry {
        let (mut expiry, mut any) = (Expiry::More, false);
        for _ in 0..BATCHES {
            let mut batch = Batch::new();
            {
                let mut desk = lock(&self.desk);
                while batch.has_room()
                    && let Some(waiter) = desk.line.pop_due(now)
                {
                    self.table.shard(waiter.pid).timed_out.fetch_add(1, Ordering::Relaxed);
                    self.dismiss(&mut batch, waiter, Some(Answer::TimedOut));
                }
                if desk.line.is_empty(Queue::Waiters) {
                    self.state.clear_waiters();
                }
                if batch.has_room() {
                    expiry = if desk.line.has_due() { Expiry::Later } else { Expiry::Nothing };
                    desk.timed = expiry == Expiry::Later;
                }
            }
            any |= !batch.is_empty();
            batch.send(host);
            if expiry != Expiry::More {
                break;
            }
        }
        if any && self.state.load().flagged() {
            self.settle(host);
        }
        expiry
    }

    /// Gives every answer that is due at the desk; false if grants may be among those that are
    /// left for the host's next call.
    #[cold]
    pub fn settle(&self, host: &H) -> bool {
        let mut rest = Rest::More;
        for _ in 0..BATCHES {
            let now = host.now_ms();
            let mut batch = Batch::new();
            rest = {
                let mut desk = lock(&self.desk);
                if desk.status == Status::Open {
                    self.settle_open(&mut desk, &mut batch, now)
                } else {
                    self.settle_closed(&mut desk, &mut batch)
                }
            };
            batch.send(host);
            if rest == Rest::Nothing {
                return true;
            }
        }
        host.defer(self);
        rest == Rest::Sweep
    }

    fn settle_open(&self, desk: &mut Desk<H>, batch: &mut Batch<H>, now: u32) -> Rest {
        self.dismiss_all(desk, Queue::Drainers, batch, Answer::to_drainer(self.in_use()));
        self.bury_orphans(desk, batch);
        if !desk.line.is_empty(Queue::Drainers) || desk.line.has_orphans() {
            return Rest::More;
        }
        let word = self.front.limit.load();
        let limit = LimitWord::limit(word);
        while batch.has_room() {
            let Some(first) = desk.line.first() else {
                self.state.clear_waiters();
                return Rest::Nothing;
            };
            let (pid, n, kind) = (first.pid, first.permits, first.kind);
            // The head is looked at here, and not by the sweep alone: waiters behind it wait for
            // no walk.
            let oversize = self.oversize(n);
            let taken = if oversize { None } else { self.state.take_for_waiter(n).ok() };
            if !oversize && taken.is_none() {
                break;
            }
            let Some(waiter) = desk.line.pop(Queue::Waiters) else { break };
            match taken {
                None => {
                    self.count_refusal(pid);
                    self.dismiss(batch, waiter, Some(Answer::Full));
                }
                Some(left) if self.grant(pid, n, kind, now) => {
                    desk.granted += 1;
                    self.note_peak(word, left);
                    self.dismiss(batch, waiter, Some(Answer::Granted));
                }
                Some(_) => {
                    // It is dead, and its monitor about to take it off this line.
                    self.state.give(u64::from(n));
                    self.dismiss(batch, waiter, None);
                }
            }
        }
        if !batch.has_room() {
            return Rest::More;
        }
        // The head gets no permits now, so the walk cannot take out a waiter that stands before
        // an eligible one.
        if limit == 0 {
            desk.line.end_sweep();
        } else {
            desk.line.sweep(limit, LOOKS, |waiter| {
                self.count_refusal(waiter.pid);
                self.dismiss(batch, waiter, Some(Answer::Full));
                batch.has_room()
            });
        }
        if desk.line.is_sweeping() { Rest::Sweep } else { Rest::Nothing }
    }

    /// A wait that was taken out ends with that answer, or with none.
    fn dismiss(&self, batch: &mut Batch<H>, waiter: Waiter<H>, answer: Option<Answer>) {
        self.pass_on(&waiter);
        batch.push(waiter, answer);
    }

    /// Ends waits of the dead.
    fn bury_orphans(&self, desk: &mut Desk<H>, batch: &mut Batch<H>) {
        while batch.has_room()
            && let Some(waiter) = desk.line.pop_orphan()
        {
            batch.push(waiter, None);
        }
    }

    /// Writes permits that are taken to the entry of who waited for them; false if it is gone.
    fn grant(&self, pid: Pid, n: u32, kind: Kind, now: u32) -> bool {
        let _locked = self.table.lock(pid);
        let Some(slot) = self.table.locate(pid) else { return false };
        let Some(entry) = self.table.entry(slot) else { return false };
        self.table.credit(entry, slot, kind, u64::from(n), now);
        true
    }

    fn settle_closed(&self, desk: &mut Desk<H>, batch: &mut Batch<H>) -> Rest {
        self.bury_orphans(desk, batch);
        while batch.has_room()
            && let Some(waiter) = desk.line.pop(Queue::Waiters)
        {
            self.count_refusal(waiter.pid);
            self.dismiss(batch, waiter, Some(Answer::Closed));
        }
        if !desk.line.is_empty(Queue::Waiters) || desk.line.has_orphans() {
            return Rest::More;
        }
        self.state.clear_waiters();
        let in_use = self.in_use();
        if desk.status == Status::Draining && in_use > 0 {
            return Rest::Nothing;
        }
        self.dismiss_all(desk, Queue::Drainers, batch, Answer::to_drainer(in_use));
        if desk.line.is_empty(Queue::Drainers) { Rest::Nothing } else { Rest::More }
    }

    /// The same answer for every process of the queue, for as long as there is room.
    fn dismiss_all(&self, desk: &mut Desk<H>, queue: Queue, batch: &mut Batch<H>, answer: Answer) {
        while batch.has_room()
            && let Some(waiter) = desk.line.pop(queue)
        {
            self.dismiss(batch, waiter, Some(answer));
        }
    }
}
