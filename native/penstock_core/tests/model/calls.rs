//! Makes each call in the pool and in the model. Asserts that both give the same answer.

use penstock_core::{
    Adoption, Answer, Cancelled, Drain, Expiry, Kind, NotHeld, Offer, Parked, Refusal, Restart, Settings, Status,
    TransferError, WaiterId,
};

use crate::pair::{Doing, MOST_REAPED, MOST_VISITED, Pair};
use crate::plain::{Model, Waiter};

impl Pair {
    pub(crate) fn take(&mut self, process: usize, n: u32, kind: Kind) {
        let (me, pid) = (&self.processes[process], self.pid(process));
        let admitted = self.stage.pool.take(&self.stage.host, me.pid, n, kind);
        assert_eq!(admitted, self.model.admits(u64::from(n)));
        if admitted {
            self.model.admit(pid, u64::from(n), kind);
            self.model.acquired += 1;
        }
    }

    pub(crate) fn try_acquire(&mut self, process: usize, n: u32, kind: Kind) -> bool {
        let (me, pid) = (&self.processes[process], self.pid(process));
        self.stage.host.take_worked();
        let result = self.stage.pool.try_acquire(&self.stage.host, me.pid, n, kind);
        let n = u64::from(n);
        let reaped = self.reap_as_the_scan_did();
        match result {
            Ok(()) => {
                assert!(self.model.admits(n), "admitted {n} of {} free", self.model.free());
                self.model.admit(pid, n, kind);
                self.model.acquired += 1;
            }
            Err(Refusal::Closed) => {
                assert!(self.model.status != Status::Open);
                self.model.refused.closed += 1;
            }
            Err(Refusal::Full) => {
                assert!(self.model.status == Status::Open && !self.model.admits(n), "{n} of {}", self.model.free());
                self.model.refused.full += 1;
                if !self.model.oversize(n) {
                    self.assert_no_dead_holder_among_few();
                }
            }
            // The work exceeds the bound of one call: the scan, or the answers to waiters. The
            // caller must ask again, and nothing is counted.
            Err(Refusal::Again) => {
                let worked = self.stage.host.take_worked();
                assert!(
                    reaped >= MOST_REAPED || worked >= MOST_VISITED || self.stage.host.has_deferrals(),
                    "{reaped} reaped, {worked} visited"
                );
            }
        }
        result.is_ok()
    }

    pub(crate) fn park(&mut self, process: usize, n: u32, kind: Kind) {
        let me = &self.processes[process];
        let (ticket, number) = (self.stage.host.ticket(), self.tickets);
        let parked = self.stage.pool.park(&self.stage.host, me.pid, n, kind, ticket);
        if let Some(id) = self.parked(process, n, (kind, true), None, parked) {
            self.doing[process] = Doing::Waiting { id, ticket: number };
        }
    }

    pub(crate) fn ask(&mut self, process: usize, n: u32, ms: Option<u32>) {
        let me = &self.processes[process];
        let (ticket, number) = (self.stage.host.ticket(), self.tickets);
        // The pool takes `until` in any unit. `until` is in ns here, and includes the number of
        // the ticket. So no two waits that end in the same ms have the same `until`.
        let until = ms.map(|ms| (self.clock + u64::from(ms)) * 1_000_000 + u64::from(number));
        let (parked, begins) = self.stage.pool.ask(&self.stage.host, me.pid, n, ticket, until, || true);
        let id = self.parked(process, n, (Kind::Manual, false), until, parked);
        assert_eq!(begins, id.is_some() && until.is_some() && !self.timed, "the host is told once");
        self.timed |= begins;
        self.asked[process].extend(id.map(|id| (id, number)));
    }

    /// Compares the result of a call that parks with that of the model. Returns the wait, if the
    /// process waits.
    ///
    /// If `blocks` is `false`, the process does not block. The pool never tells such a process of
    /// a deadlock, because the process can still release what it holds.
    pub(crate) fn parked(
        &mut self,
        process: usize,
        n: u32,
        (kind, blocks): (Kind, bool),
        until: Option<u64>,
        parked: Parked,
    ) -> Option<WaiterId> {
        let (pid, n, ticket) = (self.pid(process), u64::from(n), self.tickets);
        self.reap_as_the_scan_did();
        self.tickets += 1;
        let expected = if self.model.status != Status::Open {
            Parked::Closed
        } else if self.model.oversize(n) {
            Parked::Full
        } else if self.model.admits(n) {
            self.model.admit(pid, n, kind);
            self.model.acquired += 1;
            Parked::Granted
        } else if self.model.queue.len() >= self.model.settings.max_waiting as usize {
            Parked::QueueFull
        } else if blocks && self.model.oversize(self.model.held(pid).all() + n) {
            Parked::Deadlock
        } else if let Parked::Waiting(_) = parked {
            self.model.queue.push(Waiter { pid, n, kind, ticket, until, began: self.model.now_ms });
            parked
        } else {
            panic!("{parked:?} instead of a wait");
        };
        assert_eq!(parked, expected);
        let refused = &mut self.model.refused;
        match parked {
            Parked::Full => refused.full += 1,
            Parked::QueueFull => refused.queue_full += 1,
            Parked::Closed => refused.closed += 1,
            Parked::Granted | Parked::Deadlock | Parked::Waiting(_) => {}
        }
        match parked {
            Parked::Waiting(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn leave(&mut self, process: usize, nth: usize) {
        if nth >= self.asked[process].len() {
            return;
        }
        let at = self.asked[process].len() - 1 - nth;
        let (id, ticket) = self.asked[process].remove(at);
        let waits = self.model.queue.iter().any(|waiter| waiter.ticket == ticket);
        self.model.queue.retain(|waiter| waiter.ticket != ticket);
        let cancelled = self.processes[process].withdraw(id);
        assert_eq!(cancelled, if waits { Cancelled::Yes } else { Cancelled::TooLate });
        self.model.serve();
    }

    pub(crate) fn expire(&mut self, ms: u32) {
        self.clock += u64::from(ms);
        let now = self.clock * 1_000_000 + 999_999;
        let rest = loop {
            match self.stage.pool.expire(&self.stage.host, now) {
                Expiry::More => {}
                rest => break rest,
            }
        };
        let queue = std::mem::take(&mut self.model.queue);
        let (mut over, queue): (Vec<_>, Vec<_>) =
            queue.into_iter().partition(|waiter| waiter.until.is_some_and(|until| until <= now));
        over.sort_by_key(|waiter| waiter.until);
        self.model.queue = queue;
        for waiter in over {
            self.model.timed_out += 1;
            self.model.answer_waiter(waiter, Answer::TimedOut);
        }
        self.timed = self.model.queue.iter().any(|waiter| waiter.until.is_some());
        assert_eq!(rest == Expiry::Later, self.timed);
        self.model.serve();
        self.stage.serve_deferred();
        if self.timed && self.model.queue.iter().all(|waiter| waiter.until.is_none()) {
            // The pool has just granted or refused the last timed waits, and does not tell the
            // host. So the host calls once more, and learns that none is left.
            assert_eq!(self.stage.pool.expire(&self.stage.host, now), Expiry::Nothing);
            self.timed = false;
        }
    }

    pub(crate) fn wake(&mut self, process: usize) {
        let Doing::Waiting { id, ticket } = self.doing[process] else { return };
        let me = &self.processes[process];
        let cancelled = me.cancel(id);
        let places = self.model.queue.len() + self.model.drainers.len();
        if let Some(waiter) = self.model.queue.iter().find(|waiter| waiter.ticket == ticket) {
            self.model.timed_out += 1;
            self.model.wait.note(self.model.now_ms - waiter.began);
        }
        self.model.queue.retain(|waiter| waiter.ticket != ticket);
        self.model.drainers.retain(|(_, of)| *of != ticket);
        let left = self.model.queue.len() + self.model.drainers.len() < places;
        assert_eq!(cancelled, if left { Cancelled::Yes } else { Cancelled::TooLate });
        let answered = self.stage.host.mailbox(me.pid).iter().any(|(of, _)| *of == ticket);
        assert!(answered != left, "either an answer has come, or this call has ended the wait");
        self.model.serve();
        self.doing[process] = Doing::Running;
    }

    pub(crate) fn release(&mut self, process: usize, n: u32, kind: Kind) {
        let result = self.stage.pool.release(&self.stage.host, self.processes[process].pid, n, kind);
        let released = self.model.debit(self.pid(process), u64::from(n), kind);
        assert_eq!(result, if released { Ok(()) } else { Err(NotHeld) });
        if released {
            self.model.note_end_of_hold(self.pid(process));
        }
        self.model.serve();
    }

    pub(crate) fn transfer(&mut self, process: usize, to: usize, n: u32, kind: Kind) {
        let result = match kind {
            Kind::Manual => self.processes[process].transfer(&self.processes[to], n),
            Kind::Bound => self.processes[process].entrust(&self.processes[to], n),
        };
        // The pool asked whether the receiver is alive, and reaped no process. So the record of
        // dead processes is cleared.
        self.stage.host.take_found_dead();
        let (pid, receiver, n) = (self.pid(process), self.pid(to), u64::from(n));
        let debited = self.model.debit(pid, n, kind);
        if debited && process != to && kind == Kind::Manual {
            self.model.note_end_of_hold(pid);
        }
        let expected = if !debited {
            Err(TransferError::NotHeld)
        } else if kind == Kind::Manual && process != to && matches!(self.doing[to], Doing::Dying | Doing::Gone) {
            Err(TransferError::Gone)
        } else if self.doing[to] == Doing::Gone {
            // The child holds entrusted permits until its reap, which follows at once.
            self.model.credit(receiver, n, kind);
            self.model.reap(receiver);
            Err(TransferError::Gone)
        } else {
            let since_ms = self.model.held(pid).since_ms;
            self.model.credit(receiver, n, kind);
            if process == to {
                // The process has held these permits all the time, so their age stays.
                self.model.held.get_mut(&pid).unwrap().since_ms = since_ms;
            }
            Ok(())
        };
        assert_eq!(result, expected);
        self.model.serve();
    }

    /// Returns `true` if a new process can get the pid. A VM reuses a pid only after hundreds of
    /// millions of others. So no new process gets the pid of a dead child while the spawner of
    /// that child is about to hand over.
    pub(crate) fn is_free_for_reuse(&self, process: usize) -> bool {
        let expected = |doing: &Doing| matches!(doing, Doing::Spawning { child, .. } if *child == process);
        self.doing[process] == Doing::Gone && !self.doing.iter().any(expected)
    }

    pub(crate) fn spawn(&mut self, process: usize, n: u32) {
        let Some(child) = (0..self.processes.len()).find(|&process| self.is_free_for_reuse(process)) else { return };
        if !self.try_acquire(process, n, Kind::Bound) {
            return;
        }
        let offer = self.processes[process].offer(n).expect("the process has just acquired them");
        // A process has one pending offer at a time.
        assert_eq!(self.processes[process].offer(1), None);
        let held = self.model.held.get_mut(&self.pid(process)).unwrap();
        held.bound -= u64::from(n);
        (held.offered, held.offer) = (u64::from(n), Some(offer));
        self.stage.host.reuse(self.processes[child].pid);
        self.asked[child].clear();
        self.doing[process] = Doing::Spawning { offer, child };
        self.doing[child] = Doing::Newborn { offer, spawner: process };
    }

    /// Gives the offered permits to the child in the model. Returns `false` if the offer is not
    /// pending.
    pub(crate) fn complete_handoff(&mut self, spawner: usize, child: usize, offer: Offer) -> bool {
        let pid = self.pid(spawner);
        // The spawner may be dead, and its pid may belong to a new process with another offer.
        let Some(held) = self.model.held.get_mut(&pid).filter(|held| held.offer == Some(offer)) else { return false };
        let n = std::mem::take(&mut held.offered);
        held.offer = None;
        self.model.credit(self.pid(child), n, Kind::Bound);
        if self.doing[child] == Doing::Gone {
            self.model.reap(self.pid(child));
            self.model.serve();
        }
        true
    }

    pub(crate) fn proceed(&mut self, process: usize) {
        match self.doing[process] {
            Doing::Spawning { offer, child } => {
                self.processes[process].hand_over(offer, &self.processes[child]);
                self.complete_handoff(process, child, offer);
                self.doing[process] = Doing::Running;
            }
            Doing::Newborn { offer, spawner } => {
                let adoption = self.processes[process].adopt(offer);
                // The spawner may have handed over already.
                let expected =
                    self.complete_handoff(spawner, process, offer) || self.model.held(self.pid(process)).bound > 0;
                assert_eq!(adoption, if expected { Adoption::Adopted } else { Adoption::Revoked });
                self.doing[process] = Doing::Running;
                if !expected {
                    // A child whose offer was revoked ends without its work.
                    self.processes[process].die();
                    self.model.reap(self.pid(process));
                    self.model.serve();
                    self.doing[process] = Doing::Gone;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn retract(&mut self, process: usize) {
        // A spawner retracts only if the spawn failed. Then no child ran, and no process gave
        // permits to a child.
        let Doing::Spawning { offer, child } = self.doing[process] else { return };
        if self.doing[child] != (Doing::Newborn { offer, spawner: process })
            || self.model.held(self.pid(child)).all() > 0
        {
            return;
        }
        self.processes[child].die();
        self.doing[child] = Doing::Gone;
        self.processes[process].retract(offer);
        let held = self.model.held.get_mut(&self.pid(process)).unwrap();
        // A supervisor may have claimed the offer, so that nothing is left to retract.
        let pending = held.offer.is_some();
        (held.offered, held.offer) = (0, None);
        if pending {
            self.model.note_end_of_hold(self.pid(process));
        }
        self.model.serve();
        self.doing[process] = Doing::Running;
    }

    pub(crate) fn claim(&mut self, process: usize, spawner: usize) {
        let Doing::Spawning { offer, .. } = self.doing[spawner] else { return };
        let claimed = self.processes[process].claim(&self.processes[spawner], offer);
        let pid = self.pid(spawner);
        let held = self.model.held.get_mut(&pid).filter(|held| held.offer == Some(offer));
        let expected = held.map(|held| {
            held.offer = None;
            std::mem::take(&mut held.offered)
        });
        assert_eq!(claimed, expected);
        if let Some(n) = expected {
            self.model.credit(self.pid(process), n, Kind::Bound);
        }
    }

    pub(crate) fn restart(&mut self, process: usize, n: u32) {
        let answer = self.processes[process].restart(n);
        let (pid, n) = (self.pid(process), u64::from(n));
        let holdings = self.stage.holdings();
        let mut found: Vec<u64> = Vec::new();
        for dead in self.stage.host.take_found_dead() {
            // The pool may remember a dead process that its monitor has reaped since. Such a
            // process has no entry, so the restart took nothing from it.
            let gone = self.doing[self.index_of(dead.word())] == Doing::Gone;
            if !gone && !holdings.contains_key(&dead.word()) && !found.contains(&dead.word()) {
                found.push(dead.word());
            }
        }
        if self.model.status != Status::Open {
            assert_eq!(answer, Restart::Refused(Refusal::Closed));
            self.model.refused.closed += 1;
            return;
        }
        if self.model.admits(n) {
            assert_eq!((answer, found.len()), (Restart::Admitted, 0), "a restart takes free permits first");
            self.model.admit(pid, n, Kind::Bound);
            self.model.acquired += 1;
            return;
        }
        // The restart reaps remembered dead holders that have too few permits, until it comes to
        // one that has enough.
        let mut taken_over = false;
        for dead in found {
            assert!(
                !taken_over && self.doing[self.index_of(dead)] == Doing::Dying,
                "a restart reaps no living holder, and no holder after its takeover"
            );
            taken_over = self.model.held(dead).all() >= n;
            self.model.reap(dead);
            if taken_over {
                self.model.credit(pid, n, Kind::Bound);
            }
            self.model.serve();
        }
        let has_predecessor = self
            .model
            .held
            .iter()
            .any(|(pid, held)| held.all() >= n && self.doing[self.index_of(*pid)] == Doing::Dying);
        // With more processes, a restart visits only a part of the holders before it takes an
        // overdraft. So it may miss a dead holder.
        let looks_at_all = self.processes.len() <= 100;
        if taken_over {
            assert_eq!(answer, Restart::Admitted);
        } else if self.model.overdraws(n) {
            assert_eq!(answer, Restart::Admitted);
            assert!(!(looks_at_all && has_predecessor), "a dead holder comes before the overdraft");
            if self.model.free() >= 0 {
                self.model.shrunk_from = 0;
            }
            self.model.admit(pid, n, Kind::Bound);
            self.model.overdrawn += u64::from(self.model.free() < 0);
        } else {
            assert_eq!(answer, Restart::Refused(Refusal::Full));
            assert!(!has_predecessor, "a refused restart has looked at all holders");
        }
        match answer {
            Restart::Admitted => self.model.acquired += 1,
            _ => self.model.refused.full += 1,
        }
    }

    pub(crate) fn begin_exit(&mut self, process: usize) {
        if !matches!(self.doing[process], Doing::Dying | Doing::Gone) {
            self.processes[process].begin_exit();
            self.doing[process] = Doing::Dying;
        }
    }

    pub(crate) fn finish_exit(&mut self, process: usize) {
        if self.doing[process] == Doing::Dying {
            self.processes[process].finish_exit();
            self.doing[process] = Doing::Gone;
            self.model.reap(self.pid(process));
            self.model.serve();
        }
    }

    pub(crate) fn drain(&mut self, process: usize) {
        let drain = self.processes[process].drain();
        if self.model.status == Status::Open {
            self.model.status = Status::Draining;
        }
        match drain {
            Drain::Done => assert_eq!(self.model.in_use(), 0),
            Drain::Waiting(id) => {
                assert!(self.model.in_use() > 0);
                self.model.drainers.push((self.pid(process), self.tickets));
                self.doing[process] = Doing::Waiting { id, ticket: self.tickets };
            }
        }
        self.tickets += 1;
        self.model.serve();
    }

    pub(crate) fn open(&mut self, settings: Settings) {
        let opened = self.stage.pool.open_metered(settings);
        assert_eq!(opened, self.model.status == Status::Closed && self.model.in_use() == 0);
        if opened {
            let answers = std::mem::take(&mut self.model.answers);
            self.model = Model { answers, ..Model::new(settings, self.model.now_ms) };
        }
    }
}
