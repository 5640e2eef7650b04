//! The model: a pool without concurrency. Each method changes the model as a call must change the
//! pool.

use std::collections::BTreeMap;

use crate::support::Times;

use penstock_core::{AS_LIMIT, Answer, Kind, Offer, Refusals, Settings, Status};

/// What one process holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) manual: u64,
    pub(crate) bound: u64,
    /// The permits of the pending handoff.
    pub(crate) offered: u64,
    pub(crate) offer: Option<Offer>,
    pub(crate) since_ms: u32,
}

impl Held {
    pub(crate) fn all(&self) -> u64 {
        self.manual + self.bound + self.offered
    }

    pub(crate) fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Manual => &mut self.manual,
            Kind::Bound => &mut self.bound,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) pid: u64,
    pub(crate) n: u64,
    pub(crate) kind: Kind,
    pub(crate) ticket: u32,
    /// The time, in ns, at which the host ends the wait; `None` if the host never ends it. No two
    /// waits have the same time.
    pub(crate) until: Option<u64>,
    pub(crate) began: u32,
}

pub(crate) struct Model {
    pub(crate) status: Status,
    pub(crate) settings: Settings,
    /// What each process holds, by pid.
    pub(crate) held: BTreeMap<u64, Held>,
    pub(crate) queue: Vec<Waiter>,
    /// The pid and the ticket of each drainer.
    pub(crate) drainers: Vec<(u64, u32)>,
    /// The answers to each process with their tickets, by pid.
    pub(crate) answers: BTreeMap<u64, Vec<(u32, Answer)>>,
    pub(crate) now_ms: u32,
    pub(crate) peak: u64,
    pub(crate) granted: u64,
    pub(crate) acquired: u64,
    pub(crate) refused: Refusals,
    pub(crate) overdrawn: u64,
    pub(crate) hold: Times,
    pub(crate) wait: Times,
    pub(crate) timed_out: u64,
    pub(crate) released_by_exit: u64,
    /// The number of permits that were in use when the limit last changed. A change of a pool
    /// that is overdrawn already never lowers this number.
    pub(crate) shrunk_from: u64,
}

impl Model {
    pub(crate) fn new(settings: Settings, now_ms: u32) -> Self {
        Self {
            status: Status::Open,
            settings,
            held: BTreeMap::new(),
            queue: Vec::new(),
            drainers: Vec::new(),
            answers: BTreeMap::new(),
            now_ms,
            peak: 0,
            granted: 0,
            acquired: 0,
            refused: Refusals::default(),
            overdrawn: 0,
            hold: Times::default(),
            wait: Times::default(),
            timed_out: 0,
            released_by_exit: 0,
            shrunk_from: 0,
        }
    }

    /// Returns `true` if the overdraft has room for a restart of `n` permits.
    pub(crate) fn overdraws(&self, n: u64) -> bool {
        let max_overdraft = match self.settings.max_overdraft {
            AS_LIMIT => self.settings.limit,
            given => given,
        };
        let most = self.settings.limit + max_overdraft;
        let most = if self.free() < 0 { most.max(self.shrunk_from) } else { most };
        self.in_use() + n <= most
    }

    pub(crate) fn in_use(&self) -> u64 {
        self.held.values().map(Held::all).sum()
    }

    pub(crate) fn free(&self) -> i64 {
        self.settings.limit as i64 - self.in_use() as i64
    }

    /// Returns `true` if a request exceeds the limit. A limit of 0 is a pause, in which a request
    /// of any size waits.
    pub(crate) fn oversize(&self, n: u64) -> bool {
        self.settings.limit > 0 && n > self.settings.limit
    }

    pub(crate) fn held(&self, pid: u64) -> Held {
        self.held.get(&pid).copied().unwrap_or_default()
    }

    pub(crate) fn admits(&self, n: u64) -> bool {
        self.status == Status::Open && self.queue.is_empty() && self.free() >= n as i64
    }

    /// Answers a waiter.
    pub(crate) fn answer_waiter(&mut self, waiter: Waiter, answer: Answer) {
        self.wait.note(self.now_ms - waiter.began);
        self.answer(waiter.pid, waiter.ticket, answer);
    }

    /// Notes the end of a hold, if a process that has lost permits has none left.
    pub(crate) fn note_end_of_hold(&mut self, pid: u64) {
        let held = self.held(pid);
        if held.all() == 0 {
            self.hold.note(self.now_ms - held.since_ms);
        }
    }

    pub(crate) fn answer(&mut self, pid: u64, ticket: u32, answer: Answer) {
        self.answers.entry(pid).or_default().push((ticket, answer));
    }

    /// Adds permits to what a process holds, without an admission.
    pub(crate) fn credit(&mut self, pid: u64, n: u64, kind: Kind) {
        let now_ms = self.now_ms;
        let held = self.held.entry(pid).or_default();
        if held.all() == 0 {
            held.since_ms = now_ms;
        }
        *held.of(kind) += n;
    }

    /// Admits a process, and notes the peak.
    pub(crate) fn admit(&mut self, pid: u64, n: u64, kind: Kind) {
        self.credit(pid, n, kind);
        self.peak = self.peak.max(self.in_use());
    }

    /// Takes permits from what a process holds. Returns `false` if it holds fewer of that kind.
    pub(crate) fn debit(&mut self, pid: u64, n: u64, kind: Kind) -> bool {
        let Some(held) = self.held.get_mut(&pid) else { return false };
        let enough = *held.of(kind) >= n;
        if enough {
            *held.of(kind) -= n;
        }
        enough
    }

    /// Gives every answer that is due to a waiter or a drainer.
    pub(crate) fn serve(&mut self) {
        if self.status == Status::Open {
            for (pid, ticket) in std::mem::take(&mut self.drainers) {
                self.answer(pid, ticket, Answer::Undrained(self.in_use()));
            }
            let queue = std::mem::take(&mut self.queue);
            let (oversize, mut queue): (Vec<_>, Vec<_>) = queue.into_iter().partition(|waiter| self.oversize(waiter.n));
            for waiter in oversize {
                self.refused.full += 1;
                self.answer_waiter(waiter, Answer::Full);
            }
            while let Some(&first) = queue.first()
                && self.free() >= first.n as i64
            {
                queue.remove(0);
                self.admit(first.pid, first.n, first.kind);
                self.granted += 1;
                self.answer_waiter(first, Answer::Granted);
            }
            self.queue = queue;
            return;
        }
        for waiter in std::mem::take(&mut self.queue) {
            self.refused.closed += 1;
            self.answer_waiter(waiter, Answer::Closed);
        }
        let answer = match self.status {
            Status::Draining if self.in_use() > 0 => return,
            Status::Draining => Answer::Drained,
            _ => Answer::Undrained(self.in_use()),
        };
        for (pid, ticket) in std::mem::take(&mut self.drainers) {
            self.answer(pid, ticket, answer);
        }
    }

    /// Takes back all that a dead process had, and ends its waits.
    pub(crate) fn reap(&mut self, pid: u64) {
        let held = self.held.remove(&pid).unwrap_or_default();
        if held.all() > 0 {
            self.hold.note(self.now_ms - held.since_ms);
        }
        self.released_by_exit += held.all();
        self.queue.retain(|waiter| waiter.pid != pid);
        self.drainers.retain(|(drainer, _)| *drainer != pid);
    }
}
