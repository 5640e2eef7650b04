//! The pool and the model side by side: which process can make which call, and the comparison of
//! the two after each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use penstock_core::{Answer, Cancelled, Changes, Host, Kind, Offer, Pid, Settings, Status, WaiterId};

use crate::op::Op;
use crate::plain::Model;
use crate::support::{Process, Stage};

/// The number of dead holders after which one call reaps no more.
pub(crate) const MOST_REAPED: usize = 128;
/// The number of entries after which one call visits no more.
pub(crate) const MOST_VISITED: usize = 1_024;
/// A refusal has scanned all holders if at most this number of them live.
pub(crate) const SCAN_LIMIT: usize = 8;

/// The state of a process, which decides what it can do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doing {
    Running,
    /// The process is parked, or drains.
    Waiting {
        id: WaiterId,
        ticket: u32,
    },
    /// The process has spawned a child and has not handed over yet.
    Spawning {
        offer: Offer,
        child: usize,
    },
    /// The child has not adopted yet.
    Newborn {
        offer: Offer,
        spawner: usize,
    },
    /// Dead; the pool is not told yet.
    Dying,
    /// Dead, and the pool was told; or not spawned yet.
    Gone,
}

/// Makes the calls, compares the pool with the model after each, and then lets all processes die.
pub(crate) fn run(processes: usize, settings: Settings, ops: &[Op]) {
    let mut pair = Pair::new(processes, settings);
    for op in ops {
        pair.apply(op);
        pair.stage.serve_deferred();
        pair.compare();
    }
    for process in 0..pair.processes.len() {
        pair.begin_exit(process);
        pair.finish_exit(process);
        pair.stage.serve_deferred();
    }
    pair.compare();
    pair.stage.at_rest(&[]);
}

/// The pool and the model, side by side.
pub(crate) struct Pair {
    pub(crate) stage: Arc<Stage>,
    pub(crate) model: Model,
    pub(crate) processes: Vec<Process>,
    /// The state of each process, by its index.
    pub(crate) doing: Vec<Doing>,
    /// The waits that each process asked for and has not left, with their tickets.
    pub(crate) asked: Vec<Vec<(WaiterId, u32)>>,
    /// The clock of the waits that the host ends, in ms.
    pub(crate) clock: u64,
    /// Whether the host must call `expire`. The pool tells the host when the first timed wait
    /// begins, and when no timed wait is left.
    pub(crate) timed: bool,
    /// The number of tickets so far.
    pub(crate) tickets: u32,
}

impl Pair {
    /// Begins with `running` processes, and half as many pids for processes that they spawn.
    pub(crate) fn new(running: usize, settings: Settings) -> Self {
        let count = running + running / 2;
        let stage = Stage::open_metered(count, settings);
        let mut doing = vec![Doing::Running; running];
        doing.resize(count, Doing::Gone);
        let processes: Vec<_> = (1..=count).map(|number| stage.process(number)).collect();
        for child in &processes[running..] {
            child.die();
        }
        let model = Model::new(settings, stage.host.now_ms());
        let asked = vec![Vec::new(); count];
        Self { stage, model, processes, doing, asked, clock: 0, timed: false, tickets: 0 }
    }

    pub(crate) fn pid(&self, process: usize) -> u64 {
        self.processes[process].pid.word()
    }

    pub(crate) fn index_of(&self, pid: u64) -> usize {
        pid as usize - 1
    }

    pub(crate) fn kind(bound: bool) -> Kind {
        if bound { Kind::Bound } else { Kind::Manual }
    }

    /// Reaps in the model the dead holders that a scan of the pool has reaped. The model cannot
    /// know their order, which depends on the table, so it uses the order that the host recorded.
    ///
    /// A scan that finds many living holders, or too many dead ones, reaps none. Any other scan
    /// reaps all dead holders, serves the waiters and walks again. So it also reaps a dead waiter
    /// that was granted some of the reaped permits. Returns the number of holders that it has
    /// reaped.
    pub(crate) fn reap_as_the_scan_did(&mut self) -> usize {
        let found = self.stage.host.take_found_dead();
        if found.is_empty() {
            return 0;
        }
        let holdings = self.stage.holdings();
        let (left, reaped): (Vec<Pid>, Vec<Pid>) =
            found.iter().copied().partition(|pid| holdings.contains_key(&pid.word()));
        assert!(reaped.is_empty() || self.living_holders() <= SCAN_LIMIT, "{reaped:?} reaped of many");
        let count = reaped.len();
        for pid in reaped {
            // If this process holds nothing in the model yet, it was a waiter. The pool granted
            // it permits of the holders that were reaped before it.
            if self.model.held(pid.word()).all() == 0 {
                self.model.serve();
            }
            assert!(self.model.held(pid.word()).all() > 0, "{pid:?} was reaped and held nothing");
            self.model.reap(pid.word());
        }
        self.model.serve();
        assert!(
            left.is_empty() || left.len() > MOST_REAPED || self.living_holders() > SCAN_LIMIT,
            "{left:?} left among few holders"
        );
        count
    }

    pub(crate) fn living_holders(&self) -> usize {
        let lives = |pid: &u64| !matches!(self.doing[self.index_of(*pid)], Doing::Dying | Doing::Gone);
        self.model.held.iter().filter(|(pid, held)| held.all() > 0 && lives(pid)).count()
    }

    /// Asserts, after a refusal, that no dead holder has permits in a pool of few holders: the
    /// refusal must have found all of them.
    pub(crate) fn assert_no_dead_holder_among_few(&self) {
        let holders: Vec<_> = self.model.held.iter().filter(|(_, held)| held.all() > 0).collect();
        if holders.len() <= SCAN_LIMIT {
            for (pid, held) in holders {
                assert!(self.doing[self.index_of(*pid)] != Doing::Dying, "{pid} is dead and has {held:?}");
            }
        }
    }

    /// Returns `true` if the process can make a call now.
    pub(crate) fn runs(&self, process: usize) -> bool {
        self.doing[process] == Doing::Running
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let stage = Arc::clone(&self.stage);
        match *op {
            Op::Take { process, n, bound } if self.runs(process) => self.take(process, n, Self::kind(bound)),
            Op::Try { process, n, bound } if self.runs(process) => {
                self.try_acquire(process, n, Self::kind(bound));
            }
            Op::Park { process, n, bound } if self.runs(process) => self.park(process, n, Self::kind(bound)),
            Op::Ask { process, n, ms } if self.runs(process) => self.ask(process, n, ms),
            Op::Leave { process, nth } if self.runs(process) => self.leave(process, nth),
            Op::Expire { ms } => self.expire(ms),
            Op::EachAsks { n } => {
                for _ in 0..n {
                    self.each_running(|pair, process| pair.ask(process, n, Some(n)));
                }
            }
            Op::Wake { process } => self.wake(process),
            Op::CancelForeign { process, waiter } if self.runs(process) => {
                if let Doing::Waiting { id, .. } = self.doing[waiter] {
                    assert_eq!(self.processes[process].cancel(id), Cancelled::TooLate, "the wait is another process'");
                }
            }
            Op::Release { process, n, bound } if self.runs(process) => self.release(process, n, Self::kind(bound)),
            Op::Transfer { process, to, n } if self.runs(process) => self.transfer(process, to, n, Kind::Manual),
            // No process knows the pid of a child that has not adopted yet. So none can entrust
            // permits to that child.
            Op::Entrust { process, to, n }
                if self.runs(process) && !matches!(self.doing[to], Doing::Newborn { .. }) =>
            {
                self.transfer(process, to, n, Kind::Bound);
            }
            Op::Claim { process, spawner } if self.runs(process) => self.claim(process, spawner),
            Op::Restart { process, n } if self.runs(process) => self.restart(process, n),
            Op::Spawn { process, n } if self.runs(process) => self.spawn(process, n),
            Op::Proceed { process } => self.proceed(process),
            Op::Retract { process } => self.retract(process),
            Op::BeginExit { process } => self.begin_exit(process),
            Op::FinishExit { process } => self.finish_exit(process),
            Op::DownAgain { process } if self.doing[process] == Doing::Gone => {
                stage.pool.down(&stage.host, self.processes[process].pid)
            }
            Op::Reuse { process } if self.is_free_for_reuse(process) => {
                stage.host.reuse(self.processes[process].pid);
                self.asked[process].clear();
                self.doing[process] = Doing::Running;
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
            Op::Drain { process } if self.runs(process) => self.drain(process),
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
            Op::EachTakes => self.each_running(|pair, process| pair.take(process, 1, Kind::Manual)),
            Op::EachParks { n } => self.each_running(|pair, process| pair.park(process, n, Kind::Bound)),
            Op::EachDies => self.each_running(|pair, process| pair.begin_exit(process)),
            _ => {}
        }
    }

    /// Runs an act of each process that can make a call.
    pub(crate) fn each_running(&mut self, act: impl Fn(&mut Self, usize)) {
        for process in 0..self.processes.len() {
            if self.runs(process) {
                act(self, process);
                self.stage.serve_deferred();
            }
        }
    }

    /// Compares all figures that the pool reports with the model.
    pub(crate) fn compare(&self) {
        let (stage, model) = (&self.stage, &self.model);
        let info = stage.info();
        assert_eq!(info.status, model.status);
        assert_eq!(info.settings, model.settings);
        assert_eq!(info.in_use, model.in_use(), "in use");
        assert_eq!(info.waiting, model.queue.len(), "waiting");
        assert_eq!(info.peak, model.peak, "peak");
        assert_eq!(info.granted, model.granted, "granted");

        let report = stage.report();
        assert_eq!(report.acquired, model.acquired, "acquired");
        let meters = stage.pool.meters(&stage.host);
        assert_eq!(meters.refused, model.refused, "refused");
        assert_eq!(report.rejected, model.refused.full + model.refused.queue_full + model.refused.closed, "rejected");
        assert_eq!(meters.overdrawn, model.overdrawn, "overdrawn");
        assert_eq!(meters.hold, model.hold.histogram(), "holds");
        assert_eq!(meters.wait, model.wait.histogram(), "waits");
        assert_eq!(report.timed_out, model.timed_out, "timed out");
        assert_eq!(report.released_by_exit, model.released_by_exit, "released by exit");

        let holders: BTreeMap<_, _> =
            stage.holders().iter().map(|holder| (holder.pid.word(), (holder.permits, holder.since_ms))).collect();
        let expected: BTreeMap<_, _> = model
            .held
            .iter()
            .filter(|(_, held)| held.all() > 0)
            .map(|(pid, held)| (*pid, (held.all(), held.since_ms)))
            .collect();
        assert_eq!(holders, expected, "permits and ages by holder");
        for holder in stage.holders() {
            let age = stage.host.now_ms().wrapping_sub(holder.since_ms);
            let bound = model.held[&holder.pid.word()].bound > 0;
            assert_eq!(stage.pool.work_ms(&stage.host, holder.pid), bound.then_some(age), "time of work");
        }
        assert_eq!(report.holders, expected.len() as u64, "holders");
        let ms = model.settings.held_longer_than;
        let held_longer = expected.values().filter(|(_, since)| ms > 0 && model.now_ms - since > ms).count();
        assert_eq!(report.held_longer, held_longer as u64, "held for long");

        for process in &self.processes {
            let answers = stage.host.mailbox(process.pid);
            let expected = model.answers.get(&process.pid.word()).cloned().unwrap_or_default();
            let granted = |answers: &[(u32, Answer)]| -> Vec<u32> {
                answers.iter().filter(|(_, answer)| *answer == Answer::Granted).map(|(wait, _)| *wait).collect()
            };
            // Grants come in the order of the queue, so their order is compared. Other answers to
            // the process may come between grants, so only their set is compared.
            assert_eq!(granted(&answers), granted(&expected), "grants");
            let sorted = |mut answers: Vec<(u32, Answer)>| {
                answers.sort_by_key(|(wait, _)| *wait);
                answers
            };
            assert_eq!(sorted(answers), sorted(expected), "answers");
        }
    }
}
