//! The pool and the model side by side, and their comparison after each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use penstock_core::{Answer, Cancelled, Changes, Host, Kind, Offer, Pid, Settings, Status, WaiterId};

use crate::op::Op;
use crate::plain::Model;
use crate::support::{Process, Stage};

/// The number of dead holders that one call reaps.
pub(crate) const MOST_BURIED: usize = 128;
/// Up to this number of holders, a refusal has scanned all of them.
pub(crate) const CROWD: usize = 8;

/// The state of a process, which decides what it can do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doing {
    Running,
    Waiting {
        id: WaiterId,
        ticket: u32,
    },
    /// A child exists. Its spawner does not know whether the offer is still open.
    Spawning {
        offer: Offer,
        child: usize,
    },
    /// The child has not run its first instruction.
    Newborn {
        offer: Offer,
        spawner: usize,
    },
    Dying,
    Gone,
}

/// The pool and the model, side by side.
pub(crate) struct Pair {
    pub(crate) stage: Arc<Stage>,
    pub(crate) model: Model,
    pub(crate) cast: Vec<Process>,
    pub(crate) doing: Vec<Doing>,
    /// The requests of each process that it has not taken back.
    pub(crate) asked: Vec<Vec<(WaiterId, u32)>>,
    /// The clock of the waits that the host ends.
    pub(crate) clock: u64,
    pub(crate) timed: bool,
    pub(crate) tickets: u32,
}

impl Pair {
    pub(crate) fn new(processes: usize, settings: Settings) -> Self {
        let everybody = processes + processes / 2;
        let stage = Stage::open(everybody, settings);
        let mut doing = vec![Doing::Running; processes];
        doing.resize(everybody, Doing::Gone);
        let cast: Vec<_> = (1..=everybody).map(|number| stage.process(number)).collect();
        for child in &cast[processes..] {
            child.die();
        }
        let model = Model::new(settings, stage.host.now_ms());
        let asked = vec![Vec::new(); everybody];
        Self { stage, model, cast, doing, asked, clock: 0, timed: false, tickets: 0 }
    }

    pub(crate) fn pid(&self, who: usize) -> u64 {
        self.cast[who].pid.word()
    }

    pub(crate) fn who(&self, pid: u64) -> usize {
        pid as usize - 1
    }

    pub(crate) fn kind(bound: bool) -> Kind {
        if bound { Kind::Bound } else { Kind::Manual }
    }

    /// Reaps in the model what a scan of the pool reaped: all dead holders that it found, unless
    /// it found many holders or too many dead. The table decides the order of the scan, so the
    /// host recorded it. Waiters get the permits of the dead once all of these are reaped. If
    /// such a waiter is dead as well, another round finds it.
    pub(crate) fn learn_of_burials(&mut self) {
        let found = self.stage.host.take_found_dead();
        if found.is_empty() {
            return;
        }
        let there = self.stage.holdings();
        let (left, buried): (Vec<Pid>, Vec<Pid>) =
            found.iter().copied().partition(|pid| there.contains_key(&pid.word()));
        assert!(buried.is_empty() || self.living_holders() <= CROWD, "{buried:?} buried, of a crowd");
        for pid in buried {
            if self.model.held(pid.word()).all() == 0 {
                self.model.serve();
            }
            assert!(self.model.held(pid.word()).all() > 0, "{pid:?} held nothing and was not to be looked at");
            self.model.bury(pid.word());
        }
        self.model.serve();
        assert!(
            left.is_empty() || left.len() > MOST_BURIED || self.living_holders() > CROWD,
            "{left:?} left, of no crowd"
        );
    }

    pub(crate) fn living_holders(&self) -> usize {
        let lives = |pid: &u64| !matches!(self.doing[self.who(*pid)], Doing::Dying | Doing::Gone);
        self.model.held.iter().filter(|(pid, held)| held.all() > 0 && lives(pid)).count()
    }

    /// Checks I2: a refusal by a pool of few holders has scanned all of them.
    pub(crate) fn nobody_dead_holds_in_a_small_pool(&self) {
        let holders: Vec<_> = self.model.held.iter().filter(|(_, held)| held.all() > 0).collect();
        if holders.len() <= CROWD {
            for (pid, held) in holders {
                assert!(self.doing[self.who(*pid)] != Doing::Dying, "{pid} is dead and was refused for, with {held:?}");
            }
        }
    }

    /// Returns `true` if the process can make a call now.
    pub(crate) fn runs(&self, who: usize) -> bool {
        self.doing[who] == Doing::Running
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let stage = Arc::clone(&self.stage);
        match *op {
            Op::Take { who, n, bound } if self.runs(who) => self.take(who, n, Self::kind(bound)),
            Op::Try { who, n, bound } if self.runs(who) => {
                self.try_acquire(who, n, Self::kind(bound));
            }
            Op::Park { who, n, bound } if self.runs(who) => self.park(who, n, Self::kind(bound)),
            Op::Ask { who, n, ms } if self.runs(who) => self.ask(who, n, ms),
            Op::Recall { who, nth } if self.runs(who) => self.recall(who, nth),
            Op::Expire { ms } => self.expire(ms),
            Op::EveryoneAsks { n } => {
                for _ in 0..n {
                    self.everyone(|pair, who| pair.ask(who, n, Some(n)));
                }
            }
            Op::Wake { who } => self.wake(who),
            Op::CancelForeign { who, whose } if self.runs(who) => {
                if let Doing::Waiting { id, .. } = self.doing[whose] {
                    assert_eq!(self.cast[who].cancel(id), Cancelled::TooLate, "it is not its own");
                }
            }
            Op::Release { who, n, bound } if self.runs(who) => self.release(who, n, Self::kind(bound)),
            Op::Transfer { who, to, n } if self.runs(who) => self.transfer(who, to, n, Kind::Manual),
            // No process knows a child before its spawner has handed over to it.
            Op::Entrust { who, to, n } if self.runs(who) && !matches!(self.doing[to], Doing::Newborn { .. }) => {
                self.transfer(who, to, n, Kind::Bound);
            }
            Op::Claim { who, spawner } if self.runs(who) => self.claim(who, spawner),
            Op::Restart { who, n } if self.runs(who) => self.restart(who, n),
            Op::Spawn { who, n } if self.runs(who) => self.spawn(who, n),
            Op::Proceed { who } => self.proceed(who),
            Op::Retract { who } => self.retract(who),
            Op::BeginExit { who } => self.begin_exit(who),
            Op::FinishExit { who } => self.finish_exit(who),
            Op::DownAgain { who } if self.doing[who] == Doing::Gone => stage.pool.down(&stage.host, self.cast[who].pid),
            Op::Reuse { who } if self.is_free_for_reuse(who) => {
                stage.host.reuse(self.cast[who].pid);
                self.asked[who].clear();
                self.doing[who] = Doing::Running;
            }
            Op::Update { limit } => {
                stage.update(limit);
                let in_use = self.model.in_use();
                let before = if self.model.free() < 0 { self.model.shrunk_from } else { 0 };
                self.model.shrunk_from = before.max(in_use);
                self.model.settings.limit = limit;
                self.model.serve();
            }
            Op::UpdateWaiting { most } => {
                stage.pool.update(&stage.host, Changes { max_waiting: Some(most), ..Changes::default() });
                self.model.settings.max_waiting = most;
            }
            Op::Drain { who } if self.runs(who) => self.drain(who),
            Op::Reopen => {
                assert_eq!(stage.pool.reopen(&stage.host), self.model.status != Status::Closed);
                if self.model.status == Status::Draining {
                    self.model.status = Status::Open;
                    self.model.serve();
                }
            }
            Op::Close => {
                stage.pool.close(&stage.host);
                self.model.status = Status::Closed;
                self.model.serve();
            }
            Op::Open { settings } => self.open(settings),
            Op::Advance { ms } => {
                stage.host.advance(ms);
                self.model.now_ms += ms;
            }
            Op::EveryoneTakes => self.everyone(|pair, who| pair.take(who, 1, Kind::Manual)),
            Op::EveryoneParks { n } => self.everyone(|pair, who| pair.park(who, n, Kind::Bound)),
            Op::EveryoneDies => self.everyone(|pair, who| pair.begin_exit(who)),
            _ => {}
        }
    }

    pub(crate) fn everyone(&mut self, act: impl Fn(&mut Self, usize)) {
        for who in 0..self.cast.len() {
            if self.runs(who) {
                act(self, who);
                self.serve_deferred();
            }
        }
    }

    pub(crate) fn serve_deferred(&self) {
        while self.stage.host.take_deferrals() > 0 {
            self.stage.pool.serve(&self.stage.host);
        }
    }

    /// Compares all figures that the pool reports with the model.
    pub(crate) fn compare(&self) {
        let (stage, model) = (&self.stage, &self.model);
        let info = stage.info();
        assert_eq!(info.status, model.status);
        assert_eq!(info.settings, model.settings);
        assert_eq!(info.in_use, model.in_use(), "in use");
        assert_eq!(info.waiting, model.line.len(), "waiting");
        assert_eq!(info.peak, model.peak, "peak");
        assert_eq!(info.granted, model.granted, "granted");

        let report = stage.report();
        assert_eq!(report.acquired, model.acquired, "acquired");
        assert_eq!(report.rejected, model.rejected, "rejected");
        assert_eq!(report.timed_out, model.timed_out, "timed out");
        assert_eq!(report.released_by_exit, model.released_by_exit, "released by exit");

        let there: BTreeMap<_, _> =
            stage.holders().iter().map(|holding| (holding.pid.word(), (holding.permits, holding.since_ms))).collect();
        let expected: BTreeMap<_, _> = model
            .held
            .iter()
            .filter(|(_, held)| held.all() > 0)
            .map(|(pid, held)| (*pid, (held.all(), held.since_ms)))
            .collect();
        assert_eq!(there, expected, "permits and ages by holder");
        for holding in stage.holders() {
            let age = stage.host.now_ms().wrapping_sub(holding.since_ms);
            let bound = model.held[&holding.pid.word()].bound > 0;
            assert_eq!(stage.pool.work_ms(&stage.host, holding.pid), bound.then_some(age));
        }
        assert_eq!(report.holders, expected.len() as u64, "holders");
        let long = model.settings.held_longer_than;
        let held_longer = expected.values().filter(|(_, since)| long > 0 && model.now_ms - since > long).count();
        assert_eq!(report.held_longer, held_longer as u64, "held for long");

        for process in &self.cast {
            let told = stage.host.mailbox(process.pid);
            let expected = model.answers.get(&process.pid.word()).cloned().unwrap_or_default();
            let granted = |answers: &[(u32, Answer)]| -> Vec<u32> {
                answers.iter().filter(|(_, answer)| *answer == Answer::Granted).map(|(wait, _)| *wait).collect()
            };
            // Grants come in the order of the queue. Refusals of other waits of the process may
            // come in between.
            assert_eq!(granted(&told), granted(&expected), "grants");
            let sorted = |mut answers: Vec<(u32, Answer)>| {
                answers.sort_by_key(|(wait, _)| *wait);
                answers
            };
            assert_eq!(sorted(told), sorted(expected), "answers");
        }
    }
}
