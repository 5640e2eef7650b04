//! One call of the pool and of the model, whose results must be equal.

use penstock_core::{
    Adoption, Answer, Cancelled, Drain, Expiry, Kind, NotHeld, Offer, Parked, Refusal, Restart, Settings, Status,
    TransferError, WaiterId,
};

use crate::pair::{Doing, Pair};
use crate::plain::{Model, Waiter};

impl Pair {
    pub(crate) fn take(&mut self, who: usize, n: u32, kind: Kind) {
        let (me, pid) = (&self.cast[who], self.pid(who));
        let admitted = self.stage.pool.take(&self.stage.host, me.pid, n, kind);
        assert_eq!(admitted, self.model.admits(u64::from(n)));
        if admitted {
            self.model.admit(pid, u64::from(n), kind);
            self.model.acquired += 1;
        }
    }

    pub(crate) fn try_acquire(&mut self, who: usize, n: u32, kind: Kind) -> bool {
        let (me, pid) = (&self.cast[who], self.pid(who));
        let result = self.stage.pool.try_acquire(&self.stage.host, me.pid, n, kind);
        let n = u64::from(n);
        self.learn_of_burials();
        match result {
            Ok(()) => {
                assert!(self.model.admits(n), "admitted {n} of {} free", self.model.free());
                self.model.admit(pid, n, kind);
                self.model.acquired += 1;
            }
            Err(Refusal::Closed) => {
                assert!(self.model.status != Status::Open);
                self.model.rejected += 1;
            }
            Err(Refusal::Full) => {
                assert!(self.model.status == Status::Open && !self.model.admits(n), "{n} of {}", self.model.free());
                self.model.rejected += 1;
                if !self.model.oversize(n) {
                    self.nobody_dead_holds_in_a_small_pool();
                }
            }
            // The scan exceeded one call, so the caller gets no answer and nothing is counted.
            Err(Refusal::Again) => assert!(self.doing.contains(&Doing::Dying)),
        }
        result.is_ok()
    }

    pub(crate) fn park(&mut self, who: usize, n: u32, kind: Kind) {
        let me = &self.cast[who];
        let (ticket, number) = (self.stage.host.ticket(), self.tickets);
        let parked = self.stage.pool.park(&self.stage.host, me.pid, n, kind, ticket);
        if let Some(id) = self.parked(who, n, (kind, false), None, parked) {
            self.doing[who] = Doing::Waiting { id, ticket: number };
        }
    }

    pub(crate) fn ask(&mut self, who: usize, n: u32, ms: Option<u32>) {
        let me = &self.cast[who];
        let (ticket, number) = (self.stage.host.ticket(), self.tickets);
        // A factor of a million leaves room for a distinct time per wait within each ms.
        let until = ms.map(|ms| (self.clock + u64::from(ms)) * 1_000_000 + u64::from(number));
        let (parked, begins) = self.stage.pool.ask(&self.stage.host, me.pid, n, ticket, until, || true);
        let id = self.parked(who, n, (Kind::Manual, true), until, parked);
        assert_eq!(begins, id.is_some() && until.is_some() && !self.timed, "told once");
        self.timed |= begins;
        self.asked[who].extend(id.map(|id| (id, number)));
    }

    /// Checks that parking returned what the model returns, and returns the number of the wait,
    /// if there is one. A process that goes on is never in deadlock with itself.
    pub(crate) fn parked(
        &mut self,
        who: usize,
        n: u32,
        (kind, goes_on): (Kind, bool),
        until: Option<u64>,
        parked: Parked,
    ) -> Option<WaiterId> {
        let (pid, n, ticket) = (self.pid(who), u64::from(n), self.tickets);
        self.learn_of_burials();
        self.tickets += 1;
        let expected = if self.model.status != Status::Open {
            Parked::Closed
        } else if self.model.oversize(n) {
            Parked::Full
        } else if self.model.admits(n) {
            self.model.admit(pid, n, kind);
            self.model.acquired += 1;
            Parked::Granted
        } else if self.model.line.len() >= self.model.settings.max_waiting as usize {
            Parked::QueueFull
        } else if !goes_on && self.model.oversize(self.model.held(pid).all() + n) {
            Parked::Deadlock
        } else if let Parked::Waiting(_) = parked {
            self.model.line.push(Waiter { pid, n, kind, ticket, until });
            parked
        } else {
            panic!("{parked:?} instead of waiting");
        };
        assert_eq!(parked, expected);
        if matches!(parked, Parked::Full | Parked::QueueFull | Parked::Closed) {
            self.model.rejected += 1;
        }
        match parked {
            Parked::Waiting(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn recall(&mut self, who: usize, nth: usize) {
        if nth >= self.asked[who].len() {
            return;
        }
        let at = self.asked[who].len() - 1 - nth;
        let (id, ticket) = self.asked[who].remove(at);
        let there = self.model.line.iter().any(|waiter| waiter.ticket == ticket);
        self.model.line.retain(|waiter| waiter.ticket != ticket);
        let cancelled = self.cast[who].withdraw(id);
        assert_eq!(cancelled, if there { Cancelled::Yes } else { Cancelled::TooLate });
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
        let line = std::mem::take(&mut self.model.line);
        let (mut over, line): (Vec<_>, Vec<_>) =
            line.into_iter().partition(|waiter| waiter.until.is_some_and(|until| until <= now));
        over.sort_by_key(|waiter| waiter.until);
        self.model.line = line;
        for waiter in over {
            self.model.timed_out += 1;
            self.model.answer(waiter.pid, waiter.ticket, Answer::TimedOut);
        }
        self.timed = self.model.line.iter().any(|waiter| waiter.until.is_some());
        assert_eq!(rest == Expiry::Later, self.timed);
        self.model.serve();
        self.serve_deferred();
        if self.timed && self.model.line.iter().all(|waiter| waiter.until.is_none()) {
            // The waits that were left have just been granted, so one more call finds none.
            assert_eq!(self.stage.pool.expire(&self.stage.host, now), Expiry::Nothing);
            self.timed = false;
        }
    }

    pub(crate) fn wake(&mut self, who: usize) {
        let Doing::Waiting { id, ticket } = self.doing[who] else { return };
        let me = &self.cast[who];
        let cancelled = me.cancel(id);
        let places = self.model.line.len() + self.model.drainers.len();
        if self.model.line.iter().any(|waiter| waiter.ticket == ticket) {
            self.model.timed_out += 1;
        }
        self.model.line.retain(|waiter| waiter.ticket != ticket);
        self.model.drainers.retain(|(_, of)| *of != ticket);
        let left = self.model.line.len() + self.model.drainers.len() < places;
        assert_eq!(cancelled, if left { Cancelled::Yes } else { Cancelled::TooLate });
        let told = self.stage.host.mailbox(me.pid).iter().any(|(of, _)| *of == ticket);
        assert!(told != left, "an answer, or none");
        self.model.serve();
        self.doing[who] = Doing::Running;
    }

    pub(crate) fn release(&mut self, who: usize, n: u32, kind: Kind) {
        let result = self.stage.pool.release(&self.stage.host, self.cast[who].pid, n, kind);
        let expected = if self.model.debit(self.pid(who), u64::from(n), kind) { Ok(()) } else { Err(NotHeld) };
        assert_eq!(result, expected);
        self.model.serve();
    }

    pub(crate) fn transfer(&mut self, who: usize, to: usize, n: u32, kind: Kind) {
        let result = match kind {
            Kind::Manual => self.cast[who].transfer(&self.cast[to], n),
            Kind::Bound => self.cast[who].entrust(&self.cast[to], n),
        };
        // The pool asks only whether the receiver is alive, and reaps no process for that.
        self.stage.host.take_found_dead();
        let (pid, heir, n) = (self.pid(who), self.pid(to), u64::from(n));
        let expected = if !self.model.debit(pid, n, kind) {
            Err(TransferError::NotHeld)
        } else if who != to && matches!(self.doing[to], Doing::Dying | Doing::Gone) {
            Err(TransferError::Gone)
        } else {
            let since_ms = self.model.held(pid).since_ms;
            self.model.credit(heir, n, kind);
            if who == to {
                // The process held these permits all the time.
                self.model.held.get_mut(&pid).unwrap().since_ms = since_ms;
            }
            Ok(())
        };
        assert_eq!(result, expected);
        self.model.serve();
    }

    /// Returns `true` if another process may get the pid. A VM reuses a pid after hundreds of
    /// millions of others, so never while its spawner is about to hand over to it.
    pub(crate) fn is_free_for_reuse(&self, who: usize) -> bool {
        let expected = |doing: &Doing| matches!(doing, Doing::Spawning { child, .. } if *child == who);
        self.doing[who] == Doing::Gone && !self.doing.iter().any(expected)
    }

    pub(crate) fn spawn(&mut self, who: usize, n: u32) {
        let Some(child) = (0..self.cast.len()).find(|&who| self.is_free_for_reuse(who)) else { return };
        if !self.try_acquire(who, n, Kind::Bound) {
            return;
        }
        let offer = self.cast[who].offer(n).expect("it was just acquired");
        // A process has one open offer at a time, and a second one leaves its permits with it.
        assert_eq!(self.cast[who].offer(1), None);
        let held = self.model.held.get_mut(&self.pid(who)).unwrap();
        held.bound -= u64::from(n);
        (held.offered, held.offer) = (u64::from(n), Some(offer));
        self.stage.host.reuse(self.cast[child].pid);
        self.asked[child].clear();
        self.doing[who] = Doing::Spawning { offer, child };
        self.doing[child] = Doing::Newborn { offer, spawner: who };
    }

    /// Moves the offer of a spawner to the child. Returns `false` if the offer is not open.
    pub(crate) fn complete_handoff(&mut self, spawner: usize, child: usize, offer: Offer) -> bool {
        let pid = self.pid(spawner);
        // The pid of a spawner that died may be another process by now, with another offer.
        let Some(held) = self.model.held.get_mut(&pid).filter(|held| held.offer == Some(offer)) else { return false };
        let n = std::mem::take(&mut held.offered);
        held.offer = None;
        self.model.credit(self.pid(child), n, Kind::Bound);
        if self.doing[child] == Doing::Gone {
            self.model.bury(self.pid(child));
            self.model.serve();
        }
        true
    }

    pub(crate) fn proceed(&mut self, who: usize) {
        match self.doing[who] {
            Doing::Spawning { offer, child } => {
                self.cast[who].hand_over(offer, &self.cast[child]);
                self.complete_handoff(who, child, offer);
                self.doing[who] = Doing::Running;
            }
            Doing::Newborn { offer, spawner } => {
                let adoption = self.cast[who].adopt(offer);
                // The spawner may have handed over already.
                let expected = self.complete_handoff(spawner, who, offer) || self.model.held(self.pid(who)).bound > 0;
                assert_eq!(adoption, if expected { Adoption::Adopted } else { Adoption::Revoked });
                self.doing[who] = Doing::Running;
                if !expected {
                    // The child ends as if it had not been spawned.
                    self.cast[who].die();
                    self.model.bury(self.pid(who));
                    self.model.serve();
                    self.doing[who] = Doing::Gone;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn retract(&mut self, who: usize) {
        // The spawn failed, so no child ever existed.
        let Doing::Spawning { offer, child } = self.doing[who] else { return };
        if self.doing[child] != (Doing::Newborn { offer, spawner: who }) || self.model.held(self.pid(child)).all() > 0 {
            return;
        }
        self.cast[child].die();
        self.doing[child] = Doing::Gone;
        self.cast[who].retract(offer);
        let held = self.model.held.get_mut(&self.pid(who)).unwrap();
        (held.offered, held.offer) = (0, None);
        self.model.serve();
        self.doing[who] = Doing::Running;
    }

    pub(crate) fn claim(&mut self, who: usize, spawner: usize) {
        let Doing::Spawning { offer, .. } = self.doing[spawner] else { return };
        let claimed = self.cast[who].claim(&self.cast[spawner], offer);
        let pid = self.pid(spawner);
        let held = self.model.held.get_mut(&pid).filter(|held| held.offer == Some(offer));
        let expected = held.map(|held| {
            held.offer = None;
            std::mem::take(&mut held.offered)
        });
        assert_eq!(claimed, expected);
        if let Some(n) = expected {
            self.model.credit(self.pid(who), n, Kind::Bound);
        }
    }

    pub(crate) fn restart(&mut self, who: usize, n: u32) {
        let answer = self.cast[who].restart(n);
        let (pid, n) = (self.pid(who), u64::from(n));
        let there = self.stage.holdings();
        let mut found: Vec<u64> = Vec::new();
        for dead in self.stage.host.take_found_dead() {
            // A dead holder that an earlier restart found has no entry if its monitor was first.
            let gone = self.doing[self.who(dead.word())] == Doing::Gone;
            if !gone && !there.contains_key(&dead.word()) && !found.contains(&dead.word()) {
                found.push(dead.word());
            }
        }
        if self.model.status != Status::Open {
            assert_eq!(answer, Restart::Refused(Refusal::Closed));
            self.model.rejected += 1;
            return;
        }
        if self.model.admits(n) {
            assert_eq!((answer, found.len()), (Restart::Admitted, 0), "what is free comes first");
            self.model.admit(pid, n, Kind::Bound);
            self.model.acquired += 1;
            return;
        }
        // Dead holders that an earlier restart found, and that have too little, are reaped on the
        // way to one that has enough.
        let mut taken_over = false;
        for dead in found {
            assert!(!taken_over && self.doing[self.who(dead)] == Doing::Dying, "no other is touched");
            taken_over = self.model.held(dead).all() >= n;
            self.model.bury(dead);
            if taken_over {
                self.model.credit(pid, n, Kind::Bound);
            }
            self.model.serve();
        }
        let has_predecessor =
            self.model.held.iter().any(|(pid, held)| held.all() >= n && self.doing[self.who(*pid)] == Doing::Dying);
        let looks_at_all = self.cast.len() <= 100;
        if taken_over {
            assert_eq!(answer, Restart::Admitted);
        } else if self.model.overdraws(n) {
            assert_eq!(answer, Restart::Admitted);
            assert!(!(looks_at_all && has_predecessor), "the overdraft is the last resort");
            if self.model.free() >= 0 {
                self.model.shrunk_from = 0;
            }
            self.model.admit(pid, n, Kind::Bound);
        } else {
            assert_eq!(answer, Restart::Refused(Refusal::Full));
            assert!(!has_predecessor, "a refusal has looked at all of them");
        }
        match answer {
            Restart::Admitted => self.model.acquired += 1,
            _ => self.model.rejected += 1,
        }
    }

    pub(crate) fn begin_exit(&mut self, who: usize) {
        if !matches!(self.doing[who], Doing::Dying | Doing::Gone) {
            self.cast[who].begin_exit();
            self.doing[who] = Doing::Dying;
        }
    }

    pub(crate) fn finish_exit(&mut self, who: usize) {
        if self.doing[who] == Doing::Dying {
            self.cast[who].finish_exit();
            self.doing[who] = Doing::Gone;
            self.model.bury(self.pid(who));
            self.model.serve();
        }
    }

    pub(crate) fn drain(&mut self, who: usize) {
        let drain = self.cast[who].drain();
        if self.model.status == Status::Open {
            self.model.status = Status::Draining;
        }
        match drain {
            Drain::Done => assert_eq!(self.model.in_use(), 0),
            Drain::Waiting(id) => {
                assert!(self.model.in_use() > 0);
                self.model.drainers.push((self.pid(who), self.tickets));
                self.doing[who] = Doing::Waiting { id, ticket: self.tickets };
            }
        }
        self.tickets += 1;
        self.model.serve();
    }

    pub(crate) fn open(&mut self, settings: Settings) {
        let opened = self.stage.pool.open(settings);
        assert_eq!(opened, self.model.status == Status::Closed && self.model.in_use() == 0);
        if opened {
            let answers = std::mem::take(&mut self.model.answers);
            self.model = Model { answers, ..Model::new(settings, self.model.now_ms) };
        }
    }
}
