//! The pool against a plain model of it, by random sequences of calls.
//!
//! The model is a pool without concurrency and without any need for speed: a map of what each
//! process holds, and a list of the waiters. Each call must return what the model returns. After
//! each call, all figures of the pool must equal those of the model.
//!
//! | scenario | what it rules out |
//! |---|---|
//! | calls of 5 or 14 processes, some dying at any point | a permit lost by any order of calls |
//! | a scan finds dead holders among few | a refusal that missed one of them (I2) |
//! | a scan finds dead holders among many | a reaping that only monitors may do |
//! | children adopt, their spawner hands over, or neither | permits with two holders, or none |
//! | a process has several waits, and the host ends some | two answers to a wait, or none |
//! | restarts find dead holders, or pass the limit | an overdraft while a dead holder is left |
//! | calls of 60 or 700 processes | errors of scans and tables beyond one level |
#![cfg(not(any(loom, shuttle)))]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use penstock_core::{
    AS_LIMIT, Adoption, Answer, Cancelled, Changes, Drain, Expiry, Host, Kind, NotHeld, Offer, Parked, Pid, Refusal,
    Restart, Settings, Status, TransferError, UNLIMITED, WaiterId,
};
use proptest::prelude::*;

use support::{Process, Stage};

/// The number of dead holders that one call reaps.
const MOST_BURIED: usize = 128;
/// Up to this number of holders, a refusal has scanned all of them.
const CROWD: usize = 8;

// The model.

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    free: u64,
    bound: u64,
    offered: u64,
    offer: Option<Offer>,
    since_ms: u32,
}

impl Held {
    fn all(&self) -> u64 {
        self.free + self.bound + self.offered
    }
    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Free => &mut self.free,
            Kind::Bound => &mut self.bound,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    pid: u64,
    n: u64,
    kind: Kind,
    ticket: u32,
    /// The time at which the host ends the wait. No two waits have the same time.
    until: Option<u64>,
}

struct Model {
    status: Status,
    settings: Settings,
    held: BTreeMap<u64, Held>,
    line: Vec<Waiter>,
    drainers: Vec<(u64, u32)>,
    answers: BTreeMap<u64, Vec<(u32, Answer)>>,
    now_ms: u32,
    peak: u64,
    granted: u64,
    acquired: u64,
    rejected: u64,
    timed_out: u64,
    released_by_exit: u64,
    shrunk_from: u64,
}

impl Model {
    fn new(settings: Settings, now_ms: u32) -> Self {
        Self {
            status: Status::Open,
            settings,
            held: BTreeMap::new(),
            line: Vec::new(),
            drainers: Vec::new(),
            answers: BTreeMap::new(),
            now_ms,
            peak: 0,
            granted: 0,
            acquired: 0,
            rejected: 0,
            timed_out: 0,
            released_by_exit: 0,
            shrunk_from: 0,
        }
    }

    /// Returns `true` if a restart of `n` permits stays within the overdraft.
    fn overdraws(&self, n: u64) -> bool {
        let max_overdraft = match self.settings.max_overdraft {
            AS_LIMIT => self.settings.limit,
            given => given,
        };
        let most = self.settings.limit + max_overdraft;
        let most = if self.free() < 0 { most.max(self.shrunk_from) } else { most };
        self.in_use() + n <= most
    }

    fn in_use(&self) -> u64 {
        self.held.values().map(Held::all).sum()
    }

    fn free(&self) -> i64 {
        self.settings.limit as i64 - self.in_use() as i64
    }

    fn oversize(&self, n: u64) -> bool {
        self.settings.limit > 0 && n > self.settings.limit
    }

    fn held(&self, pid: u64) -> Held {
        self.held.get(&pid).copied().unwrap_or_default()
    }

    fn admits(&self, n: u64) -> bool {
        self.status == Status::Open && self.line.is_empty() && self.free() >= n as i64
    }

    fn answer(&mut self, pid: u64, ticket: u32, answer: Answer) {
        self.answers.entry(pid).or_default().push((ticket, answer));
    }

    fn credit(&mut self, pid: u64, n: u64, kind: Kind) {
        let now_ms = self.now_ms;
        let held = self.held.entry(pid).or_default();
        if held.all() == 0 {
            held.since_ms = now_ms;
        }
        *held.of(kind) += n;
    }

    fn admit(&mut self, pid: u64, n: u64, kind: Kind) {
        self.credit(pid, n, kind);
        self.peak = self.peak.max(self.in_use());
    }

    fn debit(&mut self, pid: u64, n: u64, kind: Kind) -> bool {
        let Some(held) = self.held.get_mut(&pid) else { return false };
        let enough = *held.of(kind) >= n;
        if enough {
            *held.of(kind) -= n;
        }
        enough
    }

    /// Answers each waiter and each drainer whose wait is over.
    fn settle(&mut self) {
        if self.status == Status::Open {
            for (pid, ticket) in std::mem::take(&mut self.drainers) {
                self.answer(pid, ticket, Answer::Undrained(self.in_use()));
            }
            let line = std::mem::take(&mut self.line);
            let (wide, mut line): (Vec<_>, Vec<_>) = line.into_iter().partition(|waiter| self.oversize(waiter.n));
            for waiter in wide {
                self.rejected += 1;
                self.answer(waiter.pid, waiter.ticket, Answer::Full);
            }
            while let Some(&first) = line.first()
                && self.free() >= first.n as i64
            {
                line.remove(0);
                self.admit(first.pid, first.n, first.kind);
                self.granted += 1;
                self.answer(first.pid, first.ticket, Answer::Granted);
            }
            self.line = line;
            return;
        }
        for waiter in std::mem::take(&mut self.line) {
            self.rejected += 1;
            self.answer(waiter.pid, waiter.ticket, Answer::Closed);
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

    fn bury(&mut self, pid: u64) {
        self.released_by_exit += self.held.remove(&pid).unwrap_or_default().all();
        self.line.retain(|waiter| waiter.pid != pid);
        self.drainers.retain(|(drainer, _)| *drainer != pid);
    }
}

// Sequences of calls.

#[derive(Clone, Debug)]
enum Op {
    Take {
        who: usize,
        n: u32,
        bound: bool,
    },
    Try {
        who: usize,
        n: u32,
        bound: bool,
    },
    Park {
        who: usize,
        n: u32,
        bound: bool,
    },
    /// The process ends its wait, or finds its answer.
    Wake {
        who: usize,
    },
    /// The process queues a request as in `Park`, but goes on, and may ask again.
    Ask {
        who: usize,
        n: u32,
        ms: Option<u32>,
    },
    /// The process takes back one of its requests: the last one, or the `nth` before that.
    Recall {
        who: usize,
        nth: usize,
    },
    /// The host ends waits.
    Expire {
        ms: u32,
    },
    EveryoneAsks {
        n: u32,
    },
    /// Another process uses the number of the wait.
    CancelForeign {
        who: usize,
        whose: usize,
    },
    Release {
        who: usize,
        n: u32,
        bound: bool,
    },
    Transfer {
        who: usize,
        to: usize,
        n: u32,
    },
    Spawn {
        who: usize,
        n: u32,
    },
    /// The spawner hands over; the child adopts.
    Proceed {
        who: usize,
    },
    Retract {
        who: usize,
    },
    /// A supervisor takes over what a spawner offers.
    Claim {
        who: usize,
        spawner: usize,
    },
    Entrust {
        who: usize,
        to: usize,
        n: u32,
    },
    Restart {
        who: usize,
        n: u32,
    },
    BeginExit {
        who: usize,
    },
    FinishExit {
        who: usize,
    },
    DownAgain {
        who: usize,
    },
    Reuse {
        who: usize,
    },
    Update {
        limit: u64,
    },
    UpdateWaiting {
        most: u32,
    },
    Drain {
        who: usize,
    },
    Reopen,
    Close,
    Open {
        settings: Settings,
    },
    Advance {
        ms: u32,
    },
    /// Each process makes one call, so that there are many holders or waiters.
    EveryoneTakes,
    EveryoneParks {
        n: u32,
    },
    EveryoneDies,
}

fn limits(processes: usize) -> impl Strategy<Value = u64> {
    let many = processes as u64;
    prop_oneof![3 => 0..=6_u64, 3 => 0..=many + 2, 1 => many..=4 * many, 1 => Just(UNLIMITED)]
}

fn settings(processes: usize) -> impl Strategy<Value = Settings> {
    let waiting = prop_oneof![Just(0), 1..=4_u32, Just(10_000)];
    let long = prop_oneof![Just(0), 1..=60_u32];
    let overdraft = prop_oneof![3 => limits(processes), 1 => Just(AS_LIMIT)];
    (limits(processes), waiting, overdraft, long).prop_map(|(limit, max_waiting, max_overdraft, held_longer_than)| {
        Settings { limit, max_waiting, max_overdraft, held_longer_than }
    })
}

fn op(processes: usize) -> impl Strategy<Value = Op> {
    // Some are children, which do not exist before they are spawned.
    let who = 0..processes + processes / 2;
    let n = prop_oneof![6 => Just(1_u32), 3 => 2..=4_u32, 1 => 5..=20_u32];
    let act = (who.clone(), n.clone(), proptest::bool::weighted(0.3));
    let everyone = if processes > 20 { 4 } else { 1 };
    prop_oneof![
        6 => act.clone().prop_map(|(who, n, bound)| Op::Take { who, n, bound }),
        12 => act.clone().prop_map(|(who, n, bound)| Op::Try { who, n, bound }),
        12 => act.clone().prop_map(|(who, n, bound)| Op::Park { who, n, bound }),
        8 => (who.clone(), n.clone(), proptest::option::of(0..50_u32))
            .prop_map(|(who, n, ms)| Op::Ask { who, n, ms }),
        3 => (who.clone(), 0..4_usize).prop_map(|(who, nth)| Op::Recall { who, nth }),
        2 => (0..20_u32).prop_map(|ms| Op::Expire { ms }),
        everyone => (1..3_u32).prop_map(|n| Op::EveryoneAsks { n }),
        6 => who.clone().prop_map(|who| Op::Wake { who }),
        1 => (who.clone(), who.clone()).prop_map(|(who, whose)| Op::CancelForeign { who, whose }),
        20 => act.clone().prop_map(|(who, n, bound)| Op::Release { who, n, bound }),
        6 => (who.clone(), who.clone(), n.clone()).prop_map(|(who, to, n)| Op::Transfer { who, to, n }),
        8 => (who.clone(), n.clone()).prop_map(|(who, n)| Op::Spawn { who, n }),
        16 => who.clone().prop_map(|who| Op::Proceed { who }),
        3 => who.clone().prop_map(|who| Op::Retract { who }),
        4 => (who.clone(), who.clone()).prop_map(|(who, spawner)| Op::Claim { who, spawner }),
        4 => (who.clone(), who.clone(), n.clone()).prop_map(|(who, to, n)| Op::Entrust { who, to, n }),
        4 => (who.clone(), n.clone()).prop_map(|(who, n)| Op::Restart { who, n }),
        5 => who.clone().prop_map(|who| Op::BeginExit { who }),
        5 => who.clone().prop_map(|who| Op::FinishExit { who }),
        1 => who.clone().prop_map(|who| Op::DownAgain { who }),
        4 => who.clone().prop_map(|who| Op::Reuse { who }),
        4 => limits(processes).prop_map(|limit| Op::Update { limit }),
        1 => (0..4_u32).prop_map(|most| Op::UpdateWaiting { most }),
        2 => who.clone().prop_map(|who| Op::Drain { who }),
        3 => Just(Op::Reopen),
        1 => Just(Op::Close),
        2 => settings(processes).prop_map(|settings| Op::Open { settings }),
        1 => (1..50_u32).prop_map(|ms| Op::Advance { ms }),
        everyone => Just(Op::EveryoneTakes),
        everyone => (1..3_u32).prop_map(|n| Op::EveryoneParks { n }),
        1 => Just(Op::EveryoneDies),
    ]
}

/// The state of a process, which decides what it can do next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
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
struct Pair {
    stage: Arc<Stage>,
    model: Model,
    cast: Vec<Process>,
    doing: Vec<Doing>,
    /// The requests of each process that it has not taken back.
    asked: Vec<Vec<(WaiterId, u32)>>,
    /// The clock of the waits that the host ends.
    clock: u64,
    timed: bool,
    tickets: u32,
}

impl Pair {
    fn new(processes: usize, settings: Settings) -> Self {
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

    fn pid(&self, who: usize) -> u64 {
        self.cast[who].pid.word()
    }

    fn who(&self, pid: u64) -> usize {
        pid as usize - 1
    }

    fn kind(bound: bool) -> Kind {
        if bound { Kind::Bound } else { Kind::Free }
    }

    /// Reaps in the model what a scan of the pool reaped: all dead holders that it found, unless
    /// it found many holders or too many dead. The table decides the order of the scan, so the
    /// host recorded it. Waiters get the permits of the dead once all of these are reaped. If
    /// such a waiter is dead as well, another round finds it.
    fn learn_of_burials(&mut self) {
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
                self.model.settle();
            }
            assert!(self.model.held(pid.word()).all() > 0, "{pid:?} held nothing and was not to be looked at");
            self.model.bury(pid.word());
        }
        self.model.settle();
        assert!(
            left.is_empty() || left.len() > MOST_BURIED || self.living_holders() > CROWD,
            "{left:?} left, of no crowd"
        );
    }

    fn living_holders(&self) -> usize {
        let lives = |pid: &u64| !matches!(self.doing[self.who(*pid)], Doing::Dying | Doing::Gone);
        self.model.held.iter().filter(|(pid, held)| held.all() > 0 && lives(pid)).count()
    }

    /// Checks I2: a refusal by a pool of few holders has scanned all of them.
    fn nobody_dead_holds_in_a_small_pool(&self) {
        let holders: Vec<_> = self.model.held.iter().filter(|(_, held)| held.all() > 0).collect();
        if holders.len() <= CROWD {
            for (pid, held) in holders {
                assert!(self.doing[self.who(*pid)] != Doing::Dying, "{pid} is dead and was refused for, with {held:?}");
            }
        }
    }

    fn take(&mut self, who: usize, n: u32, kind: Kind) {
        let (me, pid) = (&self.cast[who], self.pid(who));
        let admitted = self.stage.pool.take(&self.stage.host, me.pid, n, kind);
        assert_eq!(admitted, self.model.admits(u64::from(n)));
        if admitted {
            self.model.admit(pid, u64::from(n), kind);
            self.model.acquired += 1;
        }
    }

    fn try_acquire(&mut self, who: usize, n: u32, kind: Kind) -> bool {
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

    fn park(&mut self, who: usize, n: u32, kind: Kind) {
        let me = &self.cast[who];
        let (ticket, number) = (self.stage.host.ticket(), self.tickets);
        let parked = self.stage.pool.park(&self.stage.host, me.pid, n, kind, ticket);
        if let Some(id) = self.parked(who, n, (kind, false), None, parked) {
            self.doing[who] = Doing::Waiting { id, ticket: number };
        }
    }

    fn ask(&mut self, who: usize, n: u32, ms: Option<u32>) {
        let me = &self.cast[who];
        let (ticket, number) = (self.stage.host.ticket(), self.tickets);
        // A factor of a million leaves room for a distinct time per wait within each ms.
        let until = ms.map(|ms| (self.clock + u64::from(ms)) * 1_000_000 + u64::from(number));
        let (parked, begins) = self.stage.pool.ask(&self.stage.host, me.pid, n, ticket, until, || true);
        let id = self.parked(who, n, (Kind::Free, true), until, parked);
        assert_eq!(begins, id.is_some() && until.is_some() && !self.timed, "told once");
        self.timed |= begins;
        self.asked[who].extend(id.map(|id| (id, number)));
    }

    /// Checks that parking returned what the model returns, and returns the number of the wait,
    /// if there is one. A process that goes on is never in deadlock with itself.
    fn parked(
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

    fn recall(&mut self, who: usize, nth: usize) {
        if nth >= self.asked[who].len() {
            return;
        }
        let at = self.asked[who].len() - 1 - nth;
        let (id, ticket) = self.asked[who].remove(at);
        let there = self.model.line.iter().any(|waiter| waiter.ticket == ticket);
        self.model.line.retain(|waiter| waiter.ticket != ticket);
        let cancelled = self.cast[who].leave_line(id);
        assert_eq!(cancelled, if there { Cancelled::Yes } else { Cancelled::TooLate });
        self.model.settle();
    }

    fn expire(&mut self, ms: u32) {
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
        self.model.settle();
        self.settle_what_was_deferred();
        if self.timed && self.model.line.iter().all(|waiter| waiter.until.is_none()) {
            // The waits that were left have just been granted, so one more call finds none.
            assert_eq!(self.stage.pool.expire(&self.stage.host, now), Expiry::Nothing);
            self.timed = false;
        }
    }

    fn wake(&mut self, who: usize) {
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
        self.model.settle();
        self.doing[who] = Doing::Running;
    }

    fn release(&mut self, who: usize, n: u32, kind: Kind) {
        let result = self.stage.pool.release(&self.stage.host, self.cast[who].pid, n, kind);
        let expected = if self.model.debit(self.pid(who), u64::from(n), kind) { Ok(()) } else { Err(NotHeld) };
        assert_eq!(result, expected);
        self.model.settle();
    }

    fn transfer(&mut self, who: usize, to: usize, n: u32, kind: Kind) {
        let result = match kind {
            Kind::Free => self.cast[who].transfer(&self.cast[to], n),
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
        self.model.settle();
    }

    /// Returns `true` if another process may get the pid. A VM reuses a pid after hundreds of
    /// millions of others, so never while its spawner is about to hand over to it.
    fn is_free_for_reuse(&self, who: usize) -> bool {
        let expected = |doing: &Doing| matches!(doing, Doing::Spawning { child, .. } if *child == who);
        self.doing[who] == Doing::Gone && !self.doing.iter().any(expected)
    }

    fn spawn(&mut self, who: usize, n: u32) {
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
    fn settle_offer(&mut self, spawner: usize, child: usize, offer: Offer) -> bool {
        let pid = self.pid(spawner);
        // The pid of a spawner that died may be another process by now, with another offer.
        let Some(held) = self.model.held.get_mut(&pid).filter(|held| held.offer == Some(offer)) else { return false };
        let n = std::mem::take(&mut held.offered);
        held.offer = None;
        self.model.credit(self.pid(child), n, Kind::Bound);
        if self.doing[child] == Doing::Gone {
            self.model.bury(self.pid(child));
            self.model.settle();
        }
        true
    }

    fn proceed(&mut self, who: usize) {
        match self.doing[who] {
            Doing::Spawning { offer, child } => {
                self.cast[who].hand_over(offer, &self.cast[child]);
                self.settle_offer(who, child, offer);
                self.doing[who] = Doing::Running;
            }
            Doing::Newborn { offer, spawner } => {
                let adoption = self.cast[who].adopt(offer);
                // The spawner may have handed over already.
                let expected = self.settle_offer(spawner, who, offer) || self.model.held(self.pid(who)).bound > 0;
                assert_eq!(adoption, if expected { Adoption::Adopted } else { Adoption::Revoked });
                self.doing[who] = Doing::Running;
                if !expected {
                    // The child ends as if it had not been spawned.
                    self.cast[who].die();
                    self.model.bury(self.pid(who));
                    self.model.settle();
                    self.doing[who] = Doing::Gone;
                }
            }
            _ => {}
        }
    }

    fn retract(&mut self, who: usize) {
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
        self.model.settle();
        self.doing[who] = Doing::Running;
    }

    fn claim(&mut self, who: usize, spawner: usize) {
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

    fn restart(&mut self, who: usize, n: u32) {
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
            self.model.settle();
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

    fn begin_exit(&mut self, who: usize) {
        if !matches!(self.doing[who], Doing::Dying | Doing::Gone) {
            self.cast[who].begin_exit();
            self.doing[who] = Doing::Dying;
        }
    }

    fn finish_exit(&mut self, who: usize) {
        if self.doing[who] == Doing::Dying {
            self.cast[who].finish_exit();
            self.doing[who] = Doing::Gone;
            self.model.bury(self.pid(who));
            self.model.settle();
        }
    }

    fn drain(&mut self, who: usize) {
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
        self.model.settle();
    }

    fn open(&mut self, settings: Settings) {
        let opened = self.stage.pool.open(settings);
        assert_eq!(opened, self.model.status == Status::Closed && self.model.in_use() == 0);
        if opened {
            let answers = std::mem::take(&mut self.model.answers);
            self.model = Model { answers, ..Model::new(settings, self.model.now_ms) };
        }
    }

    /// Returns `true` if the process can make a call now.
    fn runs(&self, who: usize) -> bool {
        self.doing[who] == Doing::Running
    }

    fn apply(&mut self, op: &Op) {
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
            Op::Transfer { who, to, n } if self.runs(who) => self.transfer(who, to, n, Kind::Free),
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
                self.model.settle();
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
                    self.model.settle();
                }
            }
            Op::Close => {
                stage.pool.close(&stage.host);
                self.model.status = Status::Closed;
                self.model.settle();
            }
            Op::Open { settings } => self.open(settings),
            Op::Advance { ms } => {
                stage.host.advance(ms);
                self.model.now_ms += ms;
            }
            Op::EveryoneTakes => self.everyone(|pair, who| pair.take(who, 1, Kind::Free)),
            Op::EveryoneParks { n } => self.everyone(|pair, who| pair.park(who, n, Kind::Bound)),
            Op::EveryoneDies => self.everyone(|pair, who| pair.begin_exit(who)),
            _ => {}
        }
    }

    fn everyone(&mut self, act: impl Fn(&mut Self, usize)) {
        for who in 0..self.cast.len() {
            if self.runs(who) {
                act(self, who);
                self.settle_what_was_deferred();
            }
        }
    }

    fn settle_what_was_deferred(&self) {
        while self.stage.host.take_deferrals() > 0 {
            self.stage.pool.settle(&self.stage.host);
        }
    }

    /// Compares all figures that the pool reports with the model.
    fn compare(&self) {
        let (stage, model) = (&self.stage, &self.model);
        let info = stage.info();
        assert_eq!(info.status, model.status);
        assert_eq!(info.settings, model.settings);
        assert_eq!(info.in_use, model.in_use(), "in use");
        assert_eq!(info.waiting, model.line.len(), "waiting");
        assert_eq!(info.peak, model.peak, "peak");
        assert_eq!(info.granted, model.granted, "granted");

        let census = stage.census();
        assert_eq!(census.acquired, model.acquired, "acquired");
        assert_eq!(census.rejected, model.rejected, "rejected");
        assert_eq!(census.timed_out, model.timed_out, "timed out");
        assert_eq!(census.released_by_exit, model.released_by_exit, "released by exit");

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
        assert_eq!(census.holders, expected.len() as u64, "holders");
        let long = model.settings.held_longer_than;
        let held_longer = expected.values().filter(|(_, since)| long > 0 && model.now_ms - since > long).count();
        assert_eq!(census.held_longer, held_longer as u64, "held for long");

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

fn run(processes: usize, settings: Settings, ops: &[Op]) {
    let mut pair = Pair::new(processes, settings);
    for op in ops {
        pair.apply(op);
        pair.settle_what_was_deferred();
        pair.compare();
    }
    // At the end all processes die, and nothing is left.
    for who in 0..pair.cast.len() {
        pair.begin_exit(who);
        pair.finish_exit(who);
        pair.settle_what_was_deferred();
    }
    pair.compare();
    pair.stage.at_rest(&[]);
}

fn sequence(processes: usize, calls: usize) -> impl Strategy<Value = (Settings, Vec<Op>)> {
    (settings(processes), proptest::collection::vec(op(processes), 1..calls))
}

fn cases(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_pool_of_few_processes((settings, ops) in sequence(5, 150)) {
        run(5, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_pool_of_some_processes((settings, ops) in sequence(14, 300)) {
        run(14, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    // The table exceeds its first level, and a scan exceeds one call.
    #[test]
    fn a_pool_of_many_processes((settings, ops) in sequence(60, 200)) {
        run(60, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    // The table exceeds its second level.
    #[test]
    fn a_pool_of_very_many_processes((settings, ops) in sequence(700, 80)) {
        run(700, settings, &ops);
    }
}
