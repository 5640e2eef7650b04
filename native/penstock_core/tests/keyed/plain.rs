//! The model: a keyed pool without concurrency. Its methods change it as the calls must change a
//! pool of one shard.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::Times;

use penstock_core::{
    AS_LIMIT, Answer, KeyRefusal, KeyRefusals, KeyRestart, KeyedOffer, KeyedSettings, Kind, LeaseId, Status,
};

/// The number of living processes up to which a scan reaps the dead ones.
const SCAN_LIMIT: usize = 8;
/// The number of processes that a scan looks at.
const LOOKS: usize = 16;
/// The number of leases that a scan of the table visits.
const MOST_PASSED: u32 = 256;
/// The looks that the scans of one call may spend.
const BUDGET: usize = 512;
/// The looks that the end of a lease, or an answer to a waiter, takes as long as.
const LOOKS_IN_END: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) n: u32,
    pub(crate) kind: Kind,
    pub(crate) ticket: u32,
    pub(crate) began: u32,
}

/// What one process holds of one key, and waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// The number by which a scan of the table visits the lease.
    number: u32,
    /// Tells this use of the lease from all others.
    pub(crate) serial: u64,
    pub(crate) id: Option<LeaseId>,
    pub(crate) held: [u32; 2],
    pub(crate) offered: u32,
    pub(crate) offer: Option<KeyedOffer>,
    pub(crate) since: u32,
    pub(crate) wait: Option<Wait>,
}

impl Lease {
    pub(crate) fn total(&self) -> u32 {
        self.held[0] + self.held[1] + self.offered
    }
}

#[derive(Debug, Default)]
pub(crate) struct Key {
    /// The processes that have leases, the newest lease first.
    leases: Vec<u64>,
    /// The processes that wait.
    pub(crate) queue: Vec<u64>,
    shrunk_from: u32,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) status: Status,
    pub(crate) settings: KeyedSettings,
    pub(crate) keys: BTreeMap<u64, Key>,
    /// By key and process.
    pub(crate) leases: BTreeMap<(u64, u64), Lease>,
    /// The keys of each process, in the order in which its death ends the leases.
    people: BTreeMap<u64, Vec<u64>>,
    /// The numbers of leases that are not in use; the last is used next.
    vacant: Vec<u32>,
    made: u32,
    serials: u64,
    pub(crate) dead: BTreeSet<u64>,
    /// The pid and the ticket of each drainer.
    pub(crate) drainers: Vec<(u64, u32)>,
    pub(crate) answers: BTreeMap<u64, Vec<(u32, Answer)>>,
    pub(crate) now_ms: u32,
    pub(crate) acquired: u64,
    pub(crate) refused: KeyRefusals,
    pub(crate) overdrawn: u64,
    pub(crate) hold: Times,
    pub(crate) wait: Times,
    pub(crate) timed_out: u64,
    pub(crate) released_by_exit: u64,
}

impl Model {
    pub(crate) fn new(settings: KeyedSettings, now_ms: u32) -> Self {
        Self {
            status: Status::Open,
            settings,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            people: BTreeMap::new(),
            vacant: Vec::new(),
            made: 0,
            serials: 0,
            dead: BTreeSet::new(),
            drainers: Vec::new(),
            answers: BTreeMap::new(),
            now_ms,
            acquired: 0,
            refused: KeyRefusals::default(),
            overdrawn: 0,
            hold: Times::default(),
            wait: Times::default(),
            timed_out: 0,
            released_by_exit: 0,
        }
    }

    pub(crate) fn refuse(&mut self, no: KeyRefusal) {
        match no {
            KeyRefusal::KeyFull => self.refused.key_full += 1,
            KeyRefusal::TableFull => self.refused.table_full += 1,
            KeyRefusal::Closed => self.refused.closed += 1,
            KeyRefusal::Again => {}
        }
    }

    pub(crate) fn in_use_of(&self, key: u64) -> u32 {
        self.leases.range((key, 0)..=(key, u64::MAX)).map(|(_, lease)| lease.total()).sum()
    }

    pub(crate) fn in_use(&self) -> u64 {
        self.leases.values().map(|lease| u64::from(lease.total())).sum()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.keys.values().map(|key| key.queue.len()).sum()
    }

    pub(crate) fn answer(&mut self, pid: u64, ticket: u32, answer: Answer) {
        self.answers.entry(pid).or_default().push((ticket, answer));
    }

    /// Makes the lease of a process on a key if there is none. The key must have a place, or a
    /// place must be free.
    fn lease(&mut self, key: u64, pid: u64) -> &mut Lease {
        if !self.leases.contains_key(&(key, pid)) {
            if self.vacant.is_empty() {
                self.vacant.extend((self.made..self.made + 32).rev());
                self.made += 32;
            }
            let number = self.vacant.pop().unwrap();
            self.serials += 1;
            let (serial, since) = (self.serials, self.now_ms);
            let new = Lease { number, serial, id: None, held: [0; 2], offered: 0, offer: None, since, wait: None };
            self.leases.insert((key, pid), new);
            self.keys.entry(key).or_default().leases.insert(0, pid);
            let keys = self.people.entry(pid).or_default();
            keys.insert(keys.len().min(1), key);
        }
        self.leases.get_mut(&(key, pid)).unwrap()
    }

    fn end_if_idle(&mut self, key: u64, pid: u64) {
        let lease = self.leases[&(key, pid)];
        if lease.total() > 0 || lease.wait.is_some() {
            return;
        }
        self.leases.remove(&(key, pid));
        self.vacant.push(lease.number);
        self.people.get_mut(&pid).unwrap().retain(|&of| of != key);
        let of = self.keys.get_mut(&key).unwrap();
        of.leases.retain(|&of| of != pid);
        if of.leases.is_empty() {
            self.keys.remove(&key);
        }
    }

    /// Notes that a key is within its limit. Called before each change of its permits in use.
    fn note_limit(&mut self, key: u64) {
        let within = self.in_use_of(key) <= self.settings.limit;
        if let Some(of) = self.keys.get_mut(&key).filter(|_| within) {
            of.shrunk_from = 0;
        }
    }

    pub(crate) fn change_limit(&mut self, limit: u32) {
        let fell = limit < self.settings.limit;
        self.settings.limit = limit;
        for key in self.keys.keys().copied().collect::<Vec<_>>() {
            let in_use = self.in_use_of(key);
            if fell && in_use > limit {
                let of = self.keys.get_mut(&key).unwrap();
                of.shrunk_from = of.shrunk_from.max(in_use);
            }
            self.serve(key);
        }
    }

    /// Credits permits that are in use throughout.
    fn credit(&mut self, key: u64, pid: u64, n: u32, kind: Kind) -> &mut Lease {
        let now_ms = self.now_ms;
        let lease = self.lease(key, pid);
        if lease.total() == 0 {
            lease.since = now_ms;
        }
        lease.held[kind as usize] += n;
        lease
    }

    fn admit(&mut self, key: u64, pid: u64, n: u32, kind: Kind) {
        self.acquired += 1;
        self.note_limit(key);
        self.credit(key, pid, n, kind);
    }

    /// Notes the end of a hold, if a process that has lost permits of a key has none left.
    fn note_end_of_hold(&mut self, key: u64, pid: u64) {
        let lease = &self.leases[&(key, pid)];
        if lease.total() == 0 {
            self.hold.note(self.now_ms - lease.since);
        }
    }

    fn fits(&self, key: u64, n: u32) -> bool {
        u64::from(self.in_use_of(key)) + u64::from(n) <= u64::from(self.settings.limit)
    }

    /// Takes permits. Neither reaps dead processes nor counts a refusal.
    pub(crate) fn take(&mut self, key: u64, pid: u64, n: u32, kind: Kind) -> Result<(), KeyRefusal> {
        if self.status != Status::Open {
            return Err(KeyRefusal::Closed);
        }
        if n > self.settings.limit || self.keys.get(&key).is_some_and(|of| !of.queue.is_empty()) || !self.fits(key, n) {
            return Err(KeyRefusal::KeyFull);
        }
        self.has_place(key)?;
        self.admit(key, pid, n, kind);
        Ok(())
    }

    fn has_place(&self, key: u64) -> Result<(), KeyRefusal> {
        let there = self.keys.contains_key(&key) || self.keys.len() < self.settings.max_keys as usize;
        there.then_some(()).ok_or(KeyRefusal::TableFull)
    }

    /// Takes permits, and reaps dead processes before a refusal. A caller that `parks` is not
    /// asked to call again. Does not count a refusal.
    pub(crate) fn take_or_reap(
        &mut self,
        key: u64,
        pid: u64,
        n: u32,
        kind: Kind,
        parks: bool,
    ) -> Result<(), KeyRefusal> {
        let mut budget = BUDGET;
        loop {
            match self.take(key, pid, n, kind) {
                Err(no) if self.reap_dead(key, no, &mut budget) => {
                    if budget == 0 {
                        return if parks { self.take(key, pid, n, kind) } else { Err(KeyRefusal::Again) };
                    }
                }
                result => return result,
            }
        }
    }

    /// Returns the leases that a scan looks at, the first of each process, and how many it
    /// visits.
    fn scanned(&self, key: u64, refusal: KeyRefusal) -> (Vec<(u64, u64)>, usize) {
        match refusal {
            KeyRefusal::KeyFull => {
                let leases = self.keys.get(&key).into_iter().flat_map(|of| &of.leases);
                let found: Vec<_> = leases.map(|&pid| (key, pid)).take(LOOKS).collect();
                let visited = found.len();
                (found, visited)
            }
            KeyRefusal::TableFull => {
                let mut by_number: Vec<_> = self.leases.iter().map(|(&at, lease)| (lease.number, at)).collect();
                by_number.sort_unstable();
                let mut seen = BTreeSet::new();
                by_number.retain(|&(number, (_, pid))| number < MOST_PASSED && seen.insert(pid));
                by_number.truncate(LOOKS);
                let visited = match by_number.get(LOOKS - 1) {
                    Some((number, _)) => number + 1,
                    None => self.made.min(MOST_PASSED),
                };
                (by_number.into_iter().map(|(_, at)| at).collect(), visited as usize)
            }
            _ => (Vec::new(), 0),
        }
    }

    /// Reaps the leases of dead processes that a scan finds, unless many processes live. Returns
    /// `false` if it reaps none.
    fn reap_dead(&mut self, key: u64, refusal: KeyRefusal, budget: &mut usize) -> bool {
        let (found, visited) = self.scanned(key, refusal);
        let mut spend = |looks: usize| {
            *budget = budget.saturating_sub(looks);
            *budget == 0
        };
        spend(visited / 4);
        let (mut alive, mut reaped) = (0, false);
        for (key, pid) in found {
            spend(1);
            if !self.dead.contains(&pid) {
                alive += 1;
                if alive > SCAN_LIMIT {
                    break;
                }
            } else {
                reaped = true;
                if spend(LOOKS_IN_END * (1 + self.end_lease(key, pid))) {
                    break;
                }
            }
        }
        reaped
    }

    /// Ends a lease of a dead process. Returns the number of answers to waiters.
    fn end_lease(&mut self, key: u64, pid: u64) -> usize {
        self.note_limit(key);
        let lease = self.leases.get_mut(&(key, pid)).unwrap();
        let total = lease.total();
        (lease.held, lease.offered, lease.offer) = ([0; 2], 0, None);
        self.released_by_exit += u64::from(total);
        if total > 0 {
            self.note_end_of_hold(key, pid);
        }
        self.dequeue(key, pid);
        self.end_if_idle(key, pid);
        self.serve(key)
    }

    /// Reaps all leases of a dead process.
    pub(crate) fn down(&mut self, pid: u64) {
        while let Some(&key) = self.people.get(&pid).and_then(|keys| keys.first()) {
            self.end_lease(key, pid);
        }
    }

    pub(crate) fn enqueue(&mut self, key: u64, pid: u64, wait: Wait) {
        self.lease(key, pid).wait = Some(wait);
        self.keys.get_mut(&key).unwrap().queue.push(pid);
    }

    fn dequeue(&mut self, key: u64, pid: u64) -> Option<Wait> {
        let wait = self.leases.get_mut(&(key, pid))?.wait.take()?;
        self.keys.get_mut(&key).unwrap().queue.retain(|&of| of != pid);
        Some(wait)
    }

    /// Ends a wait by the waiter itself.
    pub(crate) fn leave(&mut self, key: u64, pid: u64, timed_out: bool) {
        self.note_limit(key);
        if let Some(wait) = self.dequeue(key, pid).filter(|_| timed_out) {
            self.timed_out += 1;
            self.wait.note(self.now_ms - wait.began);
        }
        self.end_if_idle(key, pid);
        self.serve(key);
    }

    /// Gives every answer that is due to the waiters of a key.
    /// Returns their number.
    pub(crate) fn serve(&mut self, key: u64) -> usize {
        let mut is_head = true;
        let mut answers = 0;
        let mut at = 0;
        while let Some(&pid) = self.keys.get(&key).and_then(|of| of.queue.get(at)) {
            let wait = self.leases[&(key, pid)].wait.unwrap();
            let answer = if self.status != Status::Open {
                Answer::Closed
            } else if wait.n > self.settings.limit {
                Answer::Full
            } else if is_head && self.fits(key, wait.n) {
                Answer::Granted
            } else {
                is_head = false;
                at += 1;
                continue;
            };
            self.dequeue(key, pid);
            answers += 1;
            self.answer(pid, wait.ticket, answer);
            self.wait.note(self.now_ms - wait.began);
            if answer == Answer::Granted {
                self.admit(key, pid, wait.n, wait.kind);
            } else {
                self.refuse(if answer == Answer::Closed { KeyRefusal::Closed } else { KeyRefusal::KeyFull });
                self.end_if_idle(key, pid);
            }
        }
        answers
    }

    pub(crate) fn serve_all(&mut self) {
        for key in self.keys.keys().copied().collect::<Vec<_>>() {
            self.serve(key);
        }
    }

    /// Answers the drainers whose wait is over.
    pub(crate) fn answer_drainers(&mut self) {
        let in_use = self.in_use();
        if self.status == Status::Draining && in_use > 0 {
            return;
        }
        for (pid, ticket) in std::mem::take(&mut self.drainers) {
            let answer = if in_use == 0 { Answer::Drained } else { Answer::Undrained(in_use) };
            self.answer(pid, ticket, answer);
        }
    }

    /// Releases permits. Returns `false` if the process holds fewer.
    pub(crate) fn release(&mut self, key: u64, pid: u64, n: u32, kind: Kind) -> bool {
        if self.leases.get(&(key, pid)).is_none_or(|lease| lease.held[kind as usize] < n) {
            return false;
        }
        self.note_limit(key);
        self.leases.get_mut(&(key, pid)).unwrap().held[kind as usize] -= n;
        self.note_end_of_hold(key, pid);
        self.end_if_idle(key, pid);
        self.serve(key);
        true
    }

    pub(crate) fn bound_keys(&self, pid: u64) -> Vec<u64> {
        let keys = self.people.get(&pid).into_iter().flatten();
        keys.copied().filter(|&key| self.leases[&(key, pid)].held[1] > 0).collect()
    }

    /// Moves `n` bound permits of `from` to `to`.
    pub(crate) fn move_permits(&mut self, key: u64, from: u64, to: u64, n: u32) {
        self.credit(key, to, n, Kind::Bound);
        self.end_if_idle(key, from);
    }

    /// Completes a handoff, and frees its permits.
    pub(crate) fn retract(&mut self, key: u64, spawner: u64) {
        self.note_limit(key);
        let lease = self.leases.get_mut(&(key, spawner)).unwrap();
        (lease.offered, lease.offer) = (0, None);
        self.note_end_of_hold(key, spawner);
        self.end_if_idle(key, spawner);
        self.serve(key);
    }

    /// Takes one step of a restart.
    fn restart_step(&mut self, key: u64, pid: u64, n: u32) -> Result<(), KeyRefusal> {
        if self.status != Status::Open {
            return Err(KeyRefusal::Closed);
        }
        let refusal = if !self.fits(key, n) {
            KeyRefusal::KeyFull
        } else if let Err(no) = self.has_place(key) {
            no
        } else {
            self.admit(key, pid, n, Kind::Bound);
            return Ok(());
        };
        if refusal == KeyRefusal::TableFull {
            self.reap_dead(key, refusal, &mut { BUDGET });
        } else if let Some(dead) = self.keys.get(&key).and_then(|of| {
            of.leases.iter().copied().find(|of| self.dead.contains(of) && self.leases[&(key, *of)].total() >= n)
        }) {
            let total = self.leases[&(key, dead)].total();
            self.dequeue(key, dead);
            let lease = self.leases.get_mut(&(key, dead)).unwrap();
            (lease.held, lease.offered, lease.offer) = ([0; 2], 0, None);
            self.note_end_of_hold(key, dead);
            self.credit(key, pid, n, Kind::Bound);
            self.acquired += 1;
            self.released_by_exit += u64::from(total);
            // The permits of the caller were in use before.
            if self.in_use_of(key) + (total - n) <= self.settings.limit {
                self.keys.get_mut(&key).unwrap().shrunk_from = 0;
            }
            self.end_if_idle(key, dead);
            self.serve(key);
            return Ok(());
        }
        let limit = u64::from(self.settings.limit);
        let overdraft = if self.settings.max_overdraft == AS_LIMIT { limit } else { self.settings.max_overdraft };
        self.note_limit(key);
        let shrunk_from = self.keys.get(&key).map_or(0, |of| u64::from(of.shrunk_from));
        let in_use = u64::from(self.in_use_of(key));
        if in_use + u64::from(n) <= (limit + overdraft).max(shrunk_from) && self.has_place(key).is_ok() {
            self.overdrawn += u64::from(!self.fits(key, n));
            self.admit(key, pid, n, Kind::Bound);
            return Ok(());
        }
        Err(refusal)
    }

    /// Takes all steps of a restart.
    pub(crate) fn restart(&mut self, key: u64, pid: u64, n: u32) -> Result<(), KeyRestart> {
        let mut last = KeyRefusal::KeyFull;
        for _ in 0..7 {
            match self.restart_step(key, pid, n) {
                Ok(()) => return Ok(()),
                Err(KeyRefusal::Closed) => return Err(KeyRestart::Refused(KeyRefusal::Closed)),
                Err(no) => last = no,
            }
        }
        self.refuse(last);
        Err(KeyRestart::Refused(last))
    }
}
