//! Parking at the desk, and settling what is due there.
//!
//! Every wait ends once, under the desk lock: by a grant, an answer, its process' own leaving, or its process' death.
//! Whoever ends it takes it off the line, so the others do not find it. Messages are sent after the lock: a process
//! whose leaving came too late knows that its answer is on its way.
//!
//! No wake-up is lost: permits come back by an addition to the state word, which shows whether anybody waits; whoever
//! parks sets that flag in the same word before it looks for permits a last time.

use crate::host::{Answer, Host, Pid};
use crate::sync::{Ordering, lock};

use super::desk::{Waiter, WaiterId};
use super::holders::Kind;
use super::{Desk, LimitWord, Pool, Status};

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
    /// The answer will come.
    Waiting(WaiterId),
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

struct Batch<H: Host> {
    due: [Option<Due<H>>; BATCH],
    len: usize,
}

impl<H: Host> Batch<H> {
    fn new() -> Self {
        Self { due: [const { None }; BATCH], len: 0 }
    }

    fn has_room(&self) -> bool {
        self.len < BATCH
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

impl<H: Host> Pool<H> {
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
        // The dead among the holders first; those that are not found now will wake us by their monitors.
        if !self.state.load().closed() && !self.oversize(n) {
            self.look_for_dead(host);
        }
        let Some(entry) = self.table.find(me).or_else(|| self.enrol(host, me)) else { return Parked::Closed };
        // Outside the lock, where it is dropped if it is not needed.
        let mut ticket = Some(ticket);
        let parked = {
            let mut desk = lock(&self.desk);
            let parked = if still() { self.park_at(&mut desk, me, n, kind, &mut ticket) } else { Parked::Closed };
            if let Parked::Waiting(id) = parked {
                entry.set_waiter(id.to_bits());
            }
            parked
        };
        match parked {
            Parked::Granted => self.took(host, me, entry, n, kind),
            Parked::Waiting(_) => {}
            Parked::Full | Parked::QueueFull | Parked::Closed => self.count_refusal(me),
        }
        parked
    }

    fn park_at(&self, desk: &mut Desk<H>, me: Pid, n: u32, kind: Kind, ticket: &mut Option<H::Ticket>) -> Parked {
        if desk.status != Status::Open {
            return Parked::Closed;
        }
        if self.oversize(n) {
            return Parked::Full;
        }
        // From here on whoever gives back comes to this desk, and waits for our lock.
        self.state.set_waiters();
        if desk.waiters.is_empty() {
            let taken = self.state.take_for_waiter(n);
            if taken.is_ok() || desk.settings.max_waiting == 0 {
                self.state.clear_waiters();
            }
            if let Ok(left) = taken {
                self.note_peak(self.front.limit.load(), left);
                return Parked::Granted;
            }
        }
        if desk.waiters.len() >= desk.settings.max_waiting as usize {
            return Parked::QueueFull;
        }
        let ticket = ticket.take().expect("it is used once");
        Parked::Waiting(desk.waiters.push(Waiter { pid: me, permits: n, kind, ticket }))
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
        let (waiter, drainer) = {
            let mut desk = lock(&self.desk);
            let waiter = desk.waiters.leave(id, me);
            let drainer = if waiter.is_none() { desk.drainers.leave(id, me) } else { None };
            if desk.waiters.is_empty() {
                self.state.clear_waiters();
            }
            (waiter, drainer)
        };
        if waiter.is_some() {
            self.table.shard(me).timed_out.fetch_add(u64::from(timed_out), Ordering::Relaxed);
            // It may have been a large request that smaller ones waited behind.
            if self.state.load().flagged() {
                self.settle(host);
            }
        }
        if waiter.is_some() || drainer.is_some() { Cancelled::Yes } else { Cancelled::TooLate }
    }

    /// Gives every answer that is due at the desk; false if it has the host call again for the rest.
    #[cold]
    pub fn settle(&self, host: &H) -> bool {
        for _ in 0..BATCHES {
            let now = host.now_ms();
            let mut batch = Batch::new();
            let more = {
                let mut desk = lock(&self.desk);
                if desk.status == Status::Open {
                    self.settle_open(&mut desk, &mut batch, now)
                } else {
                    self.settle_closed(&mut desk, &mut batch)
                }
            };
            batch.send(host);
            if !more {
                return true;
            }
        }
        host.defer(self);
        false
    }

    /// True if there is more to do.
    fn settle_open(&self, desk: &mut Desk<H>, batch: &mut Batch<H>, now: u32) -> bool {
        if Self::dismiss(&mut desk.drainers, batch, Answer::to_drainer(self.in_use())) || !batch.has_room() {
            return true;
        }
        let word = self.front.limit.load();
        let limit = LimitWord::limit(word);
        if let Some(from) = desk.narrowed.take().filter(|_| limit > 0) {
            let rest = desk.waiters.leave_wider(limit, from, LOOKS, |waiter| {
                self.count_refusal(waiter.pid);
                batch.push(waiter, Some(Answer::Full));
                batch.has_room()
            });
            if rest.is_some() {
                desk.narrowed = Some(rest);
                return true;
            }
        }
        while batch.has_room() {
            let Some(first) = desk.waiters.first() else {
                self.state.clear_waiters();
                return false;
            };
            let (pid, n, kind) = (first.pid, first.permits, first.kind);
            let Ok(left) = self.state.take_for_waiter(n) else { return false };
            let Some(waiter) = desk.waiters.pop() else { return false };
            if self.grant(pid, n, kind, now) {
                desk.granted += 1;
                self.note_peak(word, left);
                batch.push(waiter, Some(Answer::Granted));
            } else {
                // It is dead, and its monitor about to take it off this line.
                self.state.give(u64::from(n));
                batch.push(waiter, None);
            }
        }
        true
    }

    /// Writes permits that are taken to the entry of who waited for them; false if it is gone.
    fn grant(&self, pid: Pid, n: u32, kind: Kind, now: u32) -> bool {
        let _locked = self.table.lock(pid);
        let Some(slot) = self.table.locate(pid) else { return false };
        let Some(entry) = self.table.entry(slot) else { return false };
        self.table.credit(entry, slot, kind, u64::from(n), now);
        true
    }

    /// True if there is more to do.
    fn settle_closed(&self, desk: &mut Desk<H>, batch: &mut Batch<H>) -> bool {
        while batch.has_room()
            && let Some(waiter) = desk.waiters.pop()
        {
            self.count_refusal(waiter.pid);
            batch.push(waiter, Some(Answer::Closed));
        }
        if !desk.waiters.is_empty() {
            return true;
        }
        self.state.clear_waiters();
        let in_use = self.in_use();
        if desk.status == Status::Draining && in_use > 0 {
            return false;
        }
        Self::dismiss(&mut desk.drainers, batch, Answer::to_drainer(in_use))
    }

    /// The same answer for everybody in the line; true if some are left.
    fn dismiss(line: &mut super::desk::Line<H>, batch: &mut Batch<H>, answer: Answer) -> bool {
        while batch.has_room()
            && let Some(waiter) = line.pop()
        {
            batch.push(waiter, Some(answer));
        }
        !line.is_empty()
    }
}
