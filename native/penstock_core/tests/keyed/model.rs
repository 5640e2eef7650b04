//! The pool against a plain model of it, by random sequences of calls on one thread. Each call
//! must return what the model returns. After each call, all figures that the pool reports must
//! equal those of the model.
//!
//! Of seven processes, each scan finds all dead ones. Of twenty, it may stop at many living ones.
//! They die in two steps, and other processes call the pool between these.

use std::collections::BTreeMap;
use std::sync::Arc;

use penstock_core::{
    AS_LIMIT, Adoption, Answer, Cancelled, KeyParked, KeyRefusal, KeyRefusals, KeyRestart, KeyedChanges, KeyedDrain,
    KeyedOffer, KeyedSettings, Kind, LeaseId, NotHeld, Reusable, Status, TransferError,
};
use proptest::prelude::*;

use crate::plain::{Model, Wait};
use crate::stage::{Process, Stage};
use crate::support::Times;

/// So few processes that a scan looks at all of them.
pub(crate) const FEW: usize = 7;
/// More processes than a scan looks at.
pub(crate) const MANY: usize = 20;
const KEYS: u64 = 5;
/// The largest limit, and the largest request.
const MOST: u32 = i32::MAX as u32;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Take {
        process: usize,
        key: u64,
        n: u32,
        bound: bool,
    },
    Try {
        process: usize,
        key: u64,
        n: u32,
        bound: bool,
    },
    Park {
        process: usize,
        key: u64,
        n: u32,
        bound: bool,
    },
    /// The process leaves the wait of the `nth` last id that a call returned.
    Leave {
        process: usize,
        nth: usize,
        timed_out: bool,
    },
    Release {
        process: usize,
        key: u64,
        n: u32,
    },
    /// The process releases by the `nth` last id that a call returned, its own or not.
    ReleaseOf {
        process: usize,
        nth: usize,
        n: u32,
        bound: bool,
    },
    EndWork {
        process: usize,
    },
    Offer {
        process: usize,
        nth: usize,
        n: u32,
    },
    /// Completes the `nth` last offer: pending or not.
    HandOver {
        to: usize,
        nth: usize,
    },
    Adopt {
        process: usize,
        nth: usize,
    },
    Retract {
        nth: usize,
    },
    Claim {
        process: usize,
        nth: usize,
        spawner: usize,
    },
    Entrust {
        process: usize,
        nth: usize,
        to: usize,
        n: u32,
    },
    Restart {
        process: usize,
        key: u64,
        n: u32,
    },
    BeginExit {
        process: usize,
    },
    FinishExit {
        process: usize,
    },
    ReportEnd {
        process: usize,
    },
    Reuse {
        process: usize,
    },
    Update {
        limit: u32,
    },
    UpdateWaiting {
        most: u32,
    },
    UpdateOverdraft {
        most: u64,
    },
    Drain {
        process: usize,
    },
    StopDraining {
        process: usize,
    },
    Reopen,
    Close,
    Open {
        settings: KeyedSettings,
    },
    Advance {
        ms: u32,
    },
    /// Each living process takes a permit of the key, so that it has many holders.
    EachTakes {
        key: u64,
    },
}

fn kind(bound: bool) -> Kind {
    if bound { Kind::Bound } else { Kind::Manual }
}

/// An id that a call returned.
#[derive(Clone, Copy)]
struct Known {
    id: LeaseId,
    serial: u64,
    key: u64,
    pid: u64,
}

/// An offer that a call returned.
#[derive(Clone, Copy)]
struct KnownOffer {
    offer: KeyedOffer,
    serial: u64,
    key: u64,
    pid: u64,
}

/// A pool and its model.
struct Pair {
    stage: Arc<Stage>,
    processes: Vec<Process>,
    model: Model,
    ids: Vec<Known>,
    offers: Vec<KnownOffer>,
    /// The number of the last drain of each process.
    drains: BTreeMap<u64, u64>,
    /// The processes whose watchers were told of the death.
    gone: Vec<bool>,
}

fn nth_last<T: Copy>(all: &[T], nth: usize) -> Option<T> {
    all.len().checked_sub(1 + nth).map(|at| all[at])
}

impl Pair {
    fn new(count: usize, settings: KeyedSettings) -> Self {
        let stage = Stage::open(count, settings);
        let processes = stage.processes(1..=count as u64);
        let model = Model::new(settings, 1_000);
        let gone = vec![false; count];
        Self { stage, processes, model, ids: Vec::new(), offers: Vec::new(), drains: BTreeMap::new(), gone }
    }

    fn pid(&self, process: usize) -> u64 {
        self.processes[process].pid.word()
    }

    fn lives(&self, process: usize) -> bool {
        !self.model.dead.contains(&self.pid(process))
    }

    /// Notes an id that a call returned, for the lease of the process on the key.
    fn know(&mut self, key: u64, pid: u64, id: LeaseId) {
        let lease = self.model.leases.get_mut(&(key, pid)).expect("the model has the lease, too");
        assert!(lease.id.is_none_or(|before| before == id), "a lease has one id");
        lease.id = Some(id);
        self.ids.push(Known { id, serial: lease.serial, key, pid });
    }

    /// Returns `true` if the id names a lease of this process that has not ended.
    fn is_valid(&self, known: Known, pid: u64) -> bool {
        let lease = self.model.leases.get(&(known.key, known.pid));
        known.pid == pid && lease.is_some_and(|lease| lease.serial == known.serial)
    }

    /// Returns the permits of an offer that is pending.
    fn pending(&self, known: KnownOffer) -> Option<u32> {
        let lease = self.model.leases.get(&(known.key, known.pid))?;
        (lease.serial == known.serial && lease.offer == Some(known.offer)).then_some(lease.offered)
    }

    fn complete(&mut self, known: KnownOffer, to: u64, n: u32) {
        let lease = self.model.leases.get_mut(&(known.key, known.pid)).unwrap();
        (lease.offered, lease.offer) = (0, None);
        self.moved(known.key, known.pid, to, n);
    }

    /// Moves permits in the model. If `to` is dead, and was watched before, they come back at
    /// once.
    fn moved(&mut self, key: u64, from: u64, to: u64, n: u32) {
        self.model.move_permits(key, from, to, n);
        if self.gone[to as usize - 1] {
            self.model.down(to);
        }
    }

    fn acquired(&mut self, key: u64, pid: u64, real: Result<LeaseId, KeyRefusal>, expected: Result<(), KeyRefusal>) {
        assert_eq!(real.map(|_| ()), expected);
        if let Ok(id) = real {
            self.know(key, pid, id);
        }
    }

    fn apply(&mut self, op: &Op) {
        let stage = Arc::clone(&self.stage);
        match *op {
            Op::Take { process, key, n, bound } if self.lives(process) => {
                let (me, pid) = (self.processes[process].clone(), self.pid(process));
                let real = me.with(key, |pool, host, key| pool.take(host, me.pid, key, n, kind(bound)));
                let expected = self.model.take(key, pid, n, kind(bound));
                self.acquired(key, pid, real, expected);
            }
            Op::Try { process, key, n, bound } if self.lives(process) => {
                let real = self.processes[process].try_as(key, n, kind(bound));
                let pid = self.pid(process);
                let expected = self.model.take_or_reap(key, pid, n, kind(bound), false);
                if let Err(no) = expected {
                    self.model.refuse(no);
                }
                self.acquired(key, pid, real, expected);
            }
            Op::Park { process, key, n, bound } if self.lives(process) => self.park(process, key, n, kind(bound)),
            Op::Leave { process, nth, timed_out } if self.lives(process) => {
                let Some(known) = nth_last(&self.ids, nth) else { return };
                let (me, pid) = (&self.processes[process], self.pid(process));
                let real = if timed_out { me.cancel(known.id) } else { me.withdraw(known.id) };
                let waits = self.is_valid(known, pid) && self.model.leases[&(known.key, pid)].wait.is_some();
                assert_eq!(real, if waits { Cancelled::Yes } else { Cancelled::TooLate });
                if waits {
                    self.model.leave(known.key, pid, timed_out);
                }
            }
            Op::Release { process, key, n } if self.lives(process) => {
                let pid = self.pid(process);
                let expected = self.model.release(key, pid, n, Kind::Manual).then_some(()).ok_or(NotHeld);
                assert_eq!(self.processes[process].release(key, n), expected);
            }
            Op::ReleaseOf { process, nth, n, bound } if self.lives(process) => {
                let Some(known) = nth_last(&self.ids, nth) else { return };
                let pid = self.pid(process);
                let expected = self.is_valid(known, pid) && self.model.release(known.key, pid, n, kind(bound));
                let real = self.processes[process].release_of(known.id, n, kind(bound));
                assert_eq!(real, expected.then_some(()).ok_or(NotHeld));
            }
            Op::EndWork { process } if self.lives(process) => {
                let pid = self.pid(process);
                let mut expected = Err(NotHeld);
                // A wait of the process itself may be granted meanwhile.
                while let Some(&key) = self.model.bound_keys(pid).first() {
                    expected = Ok(());
                    let n = self.model.leases[&(key, pid)].held[Kind::Bound as usize];
                    assert!(self.model.release(key, pid, n, Kind::Bound));
                }
                assert_eq!(self.processes[process].end_work(), expected);
            }
            Op::Offer { process, nth, n } if self.lives(process) => {
                let Some(known) = nth_last(&self.ids, nth) else { return };
                let pid = self.pid(process);
                let real = self.processes[process].offer(known.id, n);
                let lease = self.model.leases.get(&(known.key, pid)).copied();
                let can = self.is_valid(known, pid)
                    && lease.is_some_and(|lease| lease.offered == 0 && lease.held[Kind::Bound as usize] >= n);
                assert_eq!(real.is_some(), can);
                if let Some(offer) = real {
                    let lease = self.model.leases.get_mut(&(known.key, pid)).unwrap();
                    lease.held[Kind::Bound as usize] -= n;
                    (lease.offered, lease.offer) = (n, Some(offer));
                    self.offers.push(KnownOffer { offer, serial: known.serial, key: known.key, pid });
                }
            }
            Op::HandOver { to, nth } => {
                let Some(known) = nth_last(&self.offers, nth) else { return };
                self.processes[to].hand_over(known.offer, &self.processes[to]);
                if let Some(n) = self.pending(known) {
                    self.complete(known, self.pid(to), n);
                }
            }
            Op::Adopt { process, nth } if self.lives(process) => {
                let Some(known) = nth_last(&self.offers, nth) else { return };
                let pid = self.pid(process);
                let real = self.processes[process].adopt(known.offer);
                if let Some(n) = self.pending(known) {
                    self.complete(known, pid, n);
                }
                let adopted = !self.model.bound_keys(pid).is_empty();
                assert_eq!(real, if adopted { Adoption::Adopted } else { Adoption::Revoked });
            }
            Op::Retract { nth } => {
                let Some(known) = nth_last(&self.offers, nth) else { return };
                self.processes[0].retract(known.offer);
                if self.pending(known).is_some() {
                    self.model.retract(known.key, known.pid);
                }
            }
            Op::Claim { process, nth, spawner } if self.lives(process) => {
                let Some(known) = nth_last(&self.offers, nth) else { return };
                let pid = self.pid(process);
                let real = self.processes[process].claim(&self.processes[spawner], known.offer);
                let pending = self.pending(known).filter(|_| self.pid(spawner) == known.pid);
                assert_eq!(real.is_some(), pending.is_some());
                if let (Some(id), Some(n)) = (real, pending) {
                    self.complete(known, pid, n);
                    self.know(known.key, pid, id);
                }
            }
            Op::Entrust { process, nth, to, n } if self.lives(process) => {
                let Some(known) = nth_last(&self.ids, nth) else { return };
                let (pid, to_pid) = (self.pid(process), self.pid(to));
                let real = self.processes[process].entrust(known.id, &self.processes[to], n);
                let bound = Kind::Bound as usize;
                if self.is_valid(known, pid) && self.model.leases[&(known.key, pid)].held[bound] >= n {
                    self.model.leases.get_mut(&(known.key, pid)).unwrap().held[bound] -= n;
                    self.moved(known.key, pid, to_pid, n);
                    assert_eq!(real, if self.gone[to] { Err(TransferError::Gone) } else { Ok(()) });
                } else {
                    assert_eq!(real, Err(TransferError::NotHeld));
                }
            }
            Op::Restart { process, key, n } if self.lives(process) => {
                let pid = self.pid(process);
                let real = self.processes[process].restart(key, n);
                match (real, self.model.restart(key, pid, n)) {
                    (KeyRestart::Admitted(id), Ok(())) => self.know(key, pid, id),
                    (real, expected) => assert_eq!(Err(real), expected),
                }
            }
            Op::BeginExit { process } if self.lives(process) => {
                self.processes[process].begin_exit();
                self.model.dead.insert(self.pid(process));
            }
            Op::FinishExit { process } if !self.lives(process) && !self.gone[process] => {
                self.processes[process].finish_exit();
                self.gone[process] = true;
                self.model.down(self.pid(process));
            }
            Op::ReportEnd { process } => {
                self.processes[0].report_end_of(&self.processes[process]);
                if !self.lives(process) {
                    self.model.down(self.pid(process));
                }
            }
            Op::Reuse { process } if self.gone[process] => {
                stage.host.reuse(self.processes[process].pid);
                self.gone[process] = false;
                self.model.dead.remove(&self.pid(process));
            }
            Op::Update { limit } => {
                let open = self.model.status != Status::Closed;
                assert_eq!(stage.update(limit), open);
                if open {
                    self.model.change_limit(limit);
                }
            }
            Op::UpdateWaiting { most } => {
                if stage.change(KeyedChanges { max_waiting: Some(most), ..KeyedChanges::default() }) {
                    self.model.settings.max_waiting = most;
                }
            }
            Op::UpdateOverdraft { most } => {
                if stage.change(KeyedChanges { max_overdraft: Some(most), ..KeyedChanges::default() }) {
                    self.model.settings.max_overdraft = most;
                }
            }
            Op::Drain { process } if self.lives(process) => self.drain(process),
            Op::StopDraining { process } if self.lives(process) => {
                let pid = self.pid(process);
                let Some(&number) = self.drains.get(&pid) else { return };
                let real = self.processes[process].stop_draining(number);
                // All drainers are answered at once, so the last drain of a process waits if any
                // does.
                let waits = self.model.drainers.iter().rposition(|&(of, _)| of == pid);
                assert_eq!(real, waits.map_or(Cancelled::TooLate, |_| Cancelled::Yes));
                if let Some(at) = waits {
                    self.drains.remove(&pid);
                    self.model.drainers.remove(at);
                }
            }
            Op::Reopen => {
                assert_eq!(stage.reopen(), self.model.status != Status::Closed);
                if self.model.status == Status::Draining {
                    self.model.status = Status::Open;
                }
            }
            Op::Close => {
                stage.close();
                self.model.status = Status::Closed;
                self.model.serve_all();
            }
            Op::Open { settings } if self.model.status == Status::Closed => {
                let settings = KeyedSettings { max_keys: self.model.settings.max_keys, ..settings };
                let idle = self.model.leases.is_empty() && self.model.drainers.is_empty();
                assert_eq!(Reusable::fits(&stage.pool, settings), idle, "whether the pool is idle");
                if idle {
                    stage.open_again(settings);
                    self.model.settings = settings;
                    self.model.status = Status::Open;
                    self.model.acquired = 0;
                    self.model.refused = KeyRefusals::default();
                    self.model.overdrawn = 0;
                    self.model.hold = Times::default();
                    self.model.wait = Times::default();
                    self.model.timed_out = 0;
                    self.model.released_by_exit = 0;
                }
            }
            Op::Advance { ms } => {
                stage.host.advance(ms);
                self.model.now_ms += ms;
            }
            Op::EachTakes { key } => {
                for process in 0..self.processes.len() {
                    self.apply(&Op::Take { process, key, n: 1, bound: process % 2 == 0 });
                }
                return;
            }
            _ => return,
        }
        stage.serve_deferred();
        self.model.answer_drainers();
        self.compare();
    }

    fn park(&mut self, process: usize, key: u64, n: u32, kind: Kind) {
        let pid = self.pid(process);
        let (real, ticket) = self.processes[process].park_as(key, n, kind);
        let expected = self.model.take_or_reap(key, pid, n, kind, true);
        let waits = self.model.leases.get(&(key, pid)).is_some_and(|lease| lease.wait.is_some());
        match expected {
            Ok(()) => {
                let KeyParked::Granted(id) = real else { panic!("{real:?}") };
                self.know(key, pid, id);
            }
            Err(KeyRefusal::KeyFull) if n <= self.model.settings.limit => {
                if waits || self.model.waiting() >= self.model.settings.max_waiting as usize {
                    assert_eq!(real, KeyParked::QueueFull);
                    self.model.refused.queue_full += 1;
                } else {
                    let KeyParked::Waiting(id) = real else { panic!("{real:?}") };
                    self.model.enqueue(key, pid, Wait { n, kind, ticket, began: self.model.now_ms });
                    self.know(key, pid, id);
                }
            }
            Err(no) => {
                assert_eq!(real, KeyParked::Refused(no));
                self.model.refuse(no);
            }
        }
    }

    fn drain(&mut self, process: usize) {
        let stage = Arc::clone(&self.stage);
        let ticket = stage.host.ticket();
        let (number, pid) = (ticket.0, self.pid(process));
        let real = stage.pool.drain(&stage.host, stage.generation(), self.processes[process].pid, ticket);
        let dead = &self.model.dead;
        self.model.drainers.retain(|(pid, _)| !dead.contains(pid));
        if self.model.status == Status::Closed {
            assert_eq!(real, None);
            return;
        }
        self.model.status = Status::Draining;
        self.model.serve_all();
        match real {
            Some(KeyedDrain::Done) => assert_eq!(self.model.in_use(), 0),
            Some(KeyedDrain::Waiting(wait)) => {
                assert!(self.model.in_use() > 0);
                self.model.drainers.push((pid, number));
                self.drains.insert(pid, wait);
            }
            None => panic!("the opening lasts"),
        }
    }

    /// Compares all figures that the pool reports with the model.
    fn compare(&self) {
        let (stage, model) = (&self.stage, &self.model);
        let sums = stage.sums();
        assert_eq!((sums.status, sums.settings), (model.status, model.settings));
        assert_eq!(sums.keys, model.keys.len() as u64, "keys");
        assert_eq!(sums.in_use, model.in_use(), "in use");
        assert_eq!(sums.waiting as usize, model.waiting(), "waiting");
        assert_eq!(sums.acquired, model.acquired, "acquired");
        let meters = stage.pool.meters(&stage.host);
        let KeyRefusals { key_full, table_full, queue_full, closed } = model.refused;
        assert_eq!(meters.refused, model.refused, "refused");
        assert_eq!(sums.rejected, key_full + table_full + queue_full + closed, "rejected");
        assert_eq!(meters.overdrawn, model.overdrawn, "overdrawn");
        assert_eq!(meters.hold, model.hold.histogram(), "holds");
        assert_eq!(meters.wait, model.wait.histogram(), "waits");
        assert_eq!(sums.timed_out, model.timed_out, "timed out");
        assert_eq!(sums.released_by_exit, model.released_by_exit, "released by exit");

        let mut top = Vec::new();
        for key in 0..KEYS {
            let info = stage.info(key);
            let waiting = model.keys.get(&key).map_or(0, |of| of.queue.len());
            assert_eq!((info.in_use, info.waiting as usize), (model.in_use_of(key), waiting), "key {key}");
            assert_eq!(info.limit, model.settings.limit);
            if model.keys.contains_key(&key) {
                top.push((info.in_use, info.waiting, key));
            }
            let (holders, _) = stage.pool.holders(&stage.host, crate::stage::tag(key), 0, 1_000);
            let holders: BTreeMap<_, _> =
                holders.iter().map(|holder| (holder.pid.word(), (holder.permits as u32, holder.since_ms))).collect();
            let of_key = model.leases.range((key, 0)..=(key, u64::MAX)).filter(|(_, lease)| lease.total() > 0);
            let expected: BTreeMap<_, _> =
                of_key.map(|(&(_, pid), lease)| (pid, (lease.total(), lease.since))).collect();
            assert_eq!(holders, expected, "holders of key {key}");
        }
        let (shown, _) = stage.pool.top(&stage.host, 0, 10);
        let mut shown: Vec<_> = shown
            .iter()
            .map(|top| (top.permits, top.waiting, u64::from_le_bytes((*top.shown).try_into().unwrap())))
            .collect();
        shown.sort_unstable();
        top.sort_unstable();
        assert_eq!(shown, top, "the keys that have places");

        for process in &self.processes {
            let sorted = |mut answers: Vec<(u32, Answer)>| {
                answers.sort_by_key(|(ticket, _)| *ticket);
                answers
            };
            let expected = model.answers.get(&process.pid.word()).cloned().unwrap_or_default();
            assert_eq!(sorted(stage.host.mailbox(process.pid)), sorted(expected), "answers");
        }
    }
}

/// Generates limits, some of which fit a permit for each process.
fn limits(processes: usize) -> impl Strategy<Value = u32> {
    prop_oneof![20 => 1..=5_u32, 10 => 1..=processes as u32, 1 => MOST - 2..=MOST]
}

pub(crate) fn settings(processes: usize) -> impl Strategy<Value = KeyedSettings> {
    let waiting = prop_oneof![1 => Just(0), 1 => 1..=3_u32, 3 => Just(100_u32)];
    let overdraft = prop_oneof![3 => 0..=3_u64, 1 => Just(AS_LIMIT)];
    (limits(processes), 1..=6_u32, waiting, overdraft).prop_map(|(limit, max_keys, max_waiting, max_overdraft)| {
        KeyedSettings { limit, max_keys, max_waiting, max_overdraft }
    })
}

pub(crate) fn op(processes: usize) -> impl Strategy<Value = Op> {
    let process = 0..processes;
    // Most calls meet on one key.
    let key = prop_oneof![3 => Just(0_u64), 2 => 0..KEYS];
    let n = prop_oneof![24 => Just(1_u32), 12 => 2..=3_u32, 4 => 4..=6_u32, 1 => MOST - 2..=MOST];
    let nth = prop_oneof![4 => Just(0_usize), 4 => 0..4_usize, 1 => 0..20_usize];
    let act = (process.clone(), key.clone(), n.clone(), proptest::bool::weighted(0.4));
    let some = proptest::bool::ANY;
    let each_takes = if processes > FEW { 6 } else { 1 };
    prop_oneof![
        6 => act.clone().prop_map(|(process, key, n, bound)| Op::Take { process, key, n, bound }),
        12 => act.clone().prop_map(|(process, key, n, bound)| Op::Try { process, key, n, bound }),
        16 => act.clone().prop_map(|(process, key, n, bound)| Op::Park { process, key, n, bound }),
        5 => (process.clone(), nth.clone(), some).prop_map(|(process, nth, timed_out)| Op::Leave { process, nth, timed_out }),
        12 => (process.clone(), key.clone(), n.clone()).prop_map(|(process, key, n)| Op::Release { process, key, n }),
        10 => (process.clone(), nth.clone(), n.clone(), some)
            .prop_map(|(process, nth, n, bound)| Op::ReleaseOf { process, nth, n, bound }),
        3 => process.clone().prop_map(|process| Op::EndWork { process }),
        12 => (process.clone(), nth.clone(), n.clone()).prop_map(|(process, nth, n)| Op::Offer { process, nth, n }),
        4 => (process.clone(), nth.clone()).prop_map(|(to, nth)| Op::HandOver { to, nth }),
        4 => (process.clone(), nth.clone()).prop_map(|(process, nth)| Op::Adopt { process, nth }),
        2 => nth.clone().prop_map(|nth| Op::Retract { nth }),
        4 => (process.clone(), nth.clone(), process.clone())
            .prop_map(|(process, nth, spawner)| Op::Claim { process, nth, spawner }),
        4 => (process.clone(), nth.clone(), process.clone(), n.clone())
            .prop_map(|(process, nth, to, n)| Op::Entrust { process, nth, to, n }),
        8 => (process.clone(), key.clone(), n.clone()).prop_map(|(process, key, n)| Op::Restart { process, key, n }),
        6 => process.clone().prop_map(|process| Op::BeginExit { process }),
        5 => process.clone().prop_map(|process| Op::FinishExit { process }),
        1 => process.clone().prop_map(|process| Op::ReportEnd { process }),
        6 => process.clone().prop_map(|process| Op::Reuse { process }),
        4 => limits(processes).prop_map(|limit| Op::Update { limit }),
        1 => (0..4_u32).prop_map(|most| Op::UpdateWaiting { most }),
        1 => (0..4_u64).prop_map(|most| Op::UpdateOverdraft { most }),
        2 => process.clone().prop_map(|process| Op::Drain { process }),
        1 => process.clone().prop_map(|process| Op::StopDraining { process }),
        5 => Just(Op::Reopen),
        1 => Just(Op::Close),
        4 => settings(processes).prop_map(|settings| Op::Open { settings }),
        3 => prop_oneof![2 => 1..50_u32, 1 => 1..500_000_u32].prop_map(|ms| Op::Advance { ms }),
        each_takes => key.prop_map(|key| Op::EachTakes { key }),
    ]
}

/// Makes the calls, compares the pool with the model after each, and then lets all processes die.
pub(crate) fn run(processes: usize, settings: KeyedSettings, ops: &[Op]) {
    let mut pair = Pair::new(processes, settings);
    for op in ops {
        pair.apply(op);
    }
    for process in 0..processes {
        pair.apply(&Op::BeginExit { process });
        pair.apply(&Op::FinishExit { process });
    }
    pair.stage.nothing_is_left();
}

/// Returns a configuration of `cases` cases, or of the number that `PROPTEST_CASES` gives.
fn cases(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Generates settings, and a sequence of calls.
fn sequence(processes: usize) -> impl Strategy<Value = (KeyedSettings, Vec<Op>)> {
    (settings(processes), proptest::collection::vec(op(processes), 1..300))
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_keyed_pool_of_few_processes_does_what_its_model_does((settings, ops) in sequence(FEW)) {
        run(FEW, settings, &ops);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_keyed_pool_of_many_processes_does_what_its_model_does((settings, ops) in sequence(MANY)) {
        run(MANY, settings, &ops);
    }
}
