//! A fake runtime, and a stage on which its processes use one pool.
//!
//! The runtime behaves as the BEAM does. A process that dies is first not alive; its watchers are
//! told later, once for each watch. In between it can still be watched, after that it cannot. No
//! process dies inside a call.
//!
//! State of the runtime that synchronizes threads uses the primitives of the model checker.
//! Counters for the tests use plain atomics, so that they hide no missing ordering of the pool.

#![allow(dead_code, unreachable_pub)] // Each of the test programs uses its part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as PlainU32, AtomicUsize as PlainUsize, Ordering};

use penstock_core::{
    Adoption, Answer, Cancelled, Changes, Cursor, Drain, HolderInfo, Host, Info, Kind, NotHeld, Offer, Parked, Pid,
    Pool, PoolHost, Refusal, Report, Restart, Settings, Status, Step, TransferError, WaiterId,
};

#[cfg(loom)]
mod sync {
    pub use loom::sync::atomic::AtomicBool;
    pub use loom::sync::{Condvar, Mutex};
}

#[cfg(shuttle)]
mod sync {
    pub use shuttle::sync::atomic::AtomicBool;
    pub use shuttle::sync::{Condvar, Mutex};
}

#[cfg(not(any(loom, shuttle)))]
mod sync {
    pub use std::sync::atomic::AtomicBool;
    pub use std::sync::{Condvar, Mutex};
}

use sync::{AtomicBool, Condvar, Mutex};

/// Identifies one wait of the whole test. It is not `Clone`, so that no wait is answered twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// The runtime; a clone is the same one.
#[derive(Clone)]
pub struct Fake(Arc<World>);

struct World {
    processes: Vec<Life>,
    clock_ms: PlainU32,
    tickets: PlainU32,
    answers: PlainUsize,
    deferrals: PlainUsize,
    worked: PlainUsize,
    found_dead: std::sync::Mutex<Vec<Pid>>,
}

/// One process.
struct Life {
    alive: AtomicBool,
    watchers: Mutex<Watchers>,
    mailbox: Mutex<Vec<(u32, Answer)>>,
    arrived: Condvar,
}

/// The addresses of the pools that must be told of a death, once for each watch.
struct Watchers {
    pools: Vec<usize>,
    gone: bool,
}

fn address(pool: &Pool<Fake>) -> usize {
    std::ptr::from_ref(pool).addr()
}

impl Fake {
    /// Creates a runtime of `processes` processes, numbered from 1.
    pub fn new(processes: usize) -> Self {
        let life = || Life {
            alive: AtomicBool::new(true),
            watchers: Mutex::new(Watchers { pools: Vec::new(), gone: false }),
            mailbox: Mutex::new(Vec::new()),
            arrived: Condvar::new(),
        };
        Self(Arc::new(World {
            processes: (0..processes).map(|_| life()).collect(),
            clock_ms: PlainU32::new(1_000),
            tickets: PlainU32::new(0),
            answers: PlainUsize::new(0),
            deferrals: PlainUsize::new(0),
            worked: PlainUsize::new(0),
            found_dead: std::sync::Mutex::new(Vec::new()),
        }))
    }

    fn life(&self, pid: Pid) -> &Life {
        &self.0.processes[pid.word() as usize - 1]
    }

    pub fn ticket(&self) -> Ticket {
        Ticket(self.0.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the number of answers given so far, to all processes.
    pub fn answers(&self) -> usize {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// Returns how often a pool deferred work to the host since the last call of this function.
    pub fn take_deferrals(&self) -> usize {
        self.0.deferrals.swap(0, Ordering::Relaxed)
    }

    /// Returns how many entries the pools visited since the last call of this function.
    pub fn take_worked(&self) -> usize {
        self.0.worked.swap(0, Ordering::Relaxed)
    }

    /// Returns the processes that the pools found dead since the last call of this function.
    pub fn take_found_dead(&self) -> Vec<Pid> {
        std::mem::take(&mut self.0.found_dead.lock().unwrap())
    }

    pub fn advance(&self, ms: u32) {
        self.0.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Ends the life of the process; its watchers are not told yet.
    pub fn begin_exit(&self, pid: Pid) {
        // ORDERING: pairs with the load in `alive`; a pool that sees the process dead sees all
        // that the process did.
        assert!(self.life(pid).alive.swap(false, Ordering::AcqRel), "{pid:?} dies once");
    }

    /// Tells the pools that watch the process of its death; each must be one of `pools`.
    pub fn finish_exit(&self, pid: Pid, pools: &[&Pool<Self>]) {
        let watchers = {
            let mut watchers = self.life(pid).watchers.lock().unwrap();
            watchers.gone = true;
            std::mem::take(&mut watchers.pools)
        };
        for watcher in watchers {
            let pool = pools.iter().find(|pool| address(pool) == watcher).expect("a watch of a known pool");
            pool.down(self, pid);
        }
    }

    /// Returns the number of watches of the process; a pool with two watches counts twice.
    pub fn watches(&self, pid: Pid) -> usize {
        self.life(pid).watchers.lock().unwrap().pools.len()
    }

    /// Gives the pid of a dead process to another one.
    pub fn reuse(&self, pid: Pid) {
        let mut watchers = self.life(pid).watchers.lock().unwrap();
        assert!(watchers.gone && watchers.pools.is_empty(), "{pid:?} is in use");
        watchers.gone = false;
        // ORDERING: pairs with the load in `alive`; publishes the new watch state of the pid.
        self.life(pid).alive.store(true, Ordering::Release);
    }

    /// Returns the answers that a process got, each with the number of its ticket.
    pub fn mailbox(&self, pid: Pid) -> Vec<(u32, Answer)> {
        self.life(pid).mailbox.lock().unwrap().clone()
    }

    /// Waits until the process has an answer for the ticket. Returns `None` if `give_up` returns
    /// `true`, which is called at each message.
    pub fn receive(&self, pid: Pid, ticket: u32, give_up: impl Fn() -> bool) -> Option<Answer> {
        let life = self.life(pid);
        let mut mailbox = life.mailbox.lock().unwrap();
        loop {
            if let Some(&(_, answer)) = mailbox.iter().find(|(of, _)| *of == ticket) {
                return Some(answer);
            }
            if give_up() {
                return None;
            }
            mailbox = life.arrived.wait(mailbox).unwrap();
        }
    }

    /// Wakes the threads that wait in `receive`, so that they call `give_up`.
    pub fn nudge(&self, pid: Pid) {
        let _mailbox = self.life(pid).mailbox.lock().unwrap();
        self.life(pid).arrived.notify_all();
    }
}

impl Host for Fake {
    type Ticket = Ticket;

    fn alive(&self, pid: Pid) -> bool {
        // ORDERING: pairs with the swap in `begin_exit` and the store in `reuse`.
        let alive = self.life(pid).alive.load(Ordering::Acquire);
        if !alive {
            self.0.found_dead.lock().unwrap().push(pid);
        }
        alive
    }

    fn wake(&self, pid: Pid, ticket: Ticket, answer: Answer) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        self.life(pid).mailbox.lock().unwrap().push((ticket.0, answer));
        self.life(pid).arrived.notify_all();
    }

    fn now_ms(&self) -> u32 {
        self.0.clock_ms.load(Ordering::Relaxed)
    }

    fn worked(&self, entries: usize) {
        self.0.worked.fetch_add(entries, Ordering::Relaxed);
    }
}

impl PoolHost for Fake {
    type PoolData = ();

    fn watch(&self, pool: &Pool<Self>, pid: Pid) -> bool {
        let mut watchers = self.life(pid).watchers.lock().unwrap();
        if !watchers.gone {
            watchers.pools.push(address(pool));
        }
        !watchers.gone
    }

    fn defer(&self, _pool: &Pool<Self>) {
        self.0.deferrals.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns default settings with the given limit and an unbounded queue.
pub fn limit(limit: u64) -> Settings {
    Settings { limit, max_waiting: 1_000_000, ..Settings::default() }
}

/// One pool and its processes.
pub struct Stage {
    pub pool: Pool<Fake>,
    pub host: Fake,
    stranger: Pid,
}

impl Stage {
    /// Opens a pool for the processes 1 to `processes`.
    pub fn open(processes: usize, settings: Settings) -> Arc<Self> {
        let stage = Self {
            pool: Pool::new(),
            host: Fake::new(processes + 1),
            // One process more, which only `at_rest` uses.
            stranger: Pid::new(processes as u64 + 1).unwrap(),
        };
        assert!(stage.pool.open(settings));
        Arc::new(stage)
    }

    /// Opens a pool, and returns `N` processes, each of another shard than the one before: no
    /// lock of a shard orders neighbours.
    pub fn cast<const N: usize>(settings: Settings) -> (Arc<Self>, [Process; N]) {
        let stage = Self::open(3 * N, settings);
        let mut number = 0;
        let cast = std::array::from_fn(|at| {
            loop {
                number += 1;
                let process = stage.process(number);
                if Pool::<Fake>::shard_of(process.pid) % 2 == at % 2 {
                    return process;
                }
            }
        });
        (stage, cast)
    }

    pub fn process(self: &Arc<Self>, number: usize) -> Process {
        Process { stage: Arc::clone(self), pid: Pid::new(number as u64).expect("numbered from 1") }
    }

    pub fn update(&self, limit: u64) {
        self.pool.update(&self.host, Changes { limit: Some(limit), ..Changes::default() });
    }

    pub fn info(&self) -> Info {
        self.pool.info()
    }

    pub fn in_use(&self) -> u64 {
        self.pool.info().in_use
    }

    pub fn report(&self) -> Report {
        let (sums, rest) = self.pool.report(&self.host, Cursor::default(), usize::MAX);
        assert_eq!(rest, None);
        sums
    }

    pub fn holders(&self) -> Vec<HolderInfo> {
        // The pages are small, so that the walk is resumed at many places.
        let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(at) = next {
            let (some, rest) = self.pool.holders(at, 1_000);
            all.extend(some);
            next = rest;
        }
        all
    }

    /// Returns the number of permits that each holder has.
    pub fn holdings(&self) -> BTreeMap<u64, u64> {
        self.holders().into_iter().map(|holding| (holding.pid.word(), holding.permits)).collect()
    }

    /// Asserts that exactly `expected` is held and that nothing is lost, neither a permit nor a
    /// wake-up. All calls must have returned, and all deaths must have been told.
    #[track_caller]
    pub fn at_rest(&self, expected: &[(&Process, u64)]) {
        let expected: BTreeMap<u64, u64> =
            expected.iter().filter(|(_, n)| *n > 0).map(|(process, n)| (process.pid.word(), *n)).collect();
        assert_eq!(self.holdings(), expected, "permits by holder");
        let info = self.info();
        assert_eq!(info.in_use, expected.values().sum::<u64>(), "in use is what is held");
        assert_eq!(self.report().holders, expected.len() as u64, "holders are counted");

        // A state flag that was left behind, or lost, decides whether a newcomer is admitted.
        let free = info.settings.limit.saturating_sub(info.in_use).min(1 << 30) as u32;
        if info.status == Status::Open && free > 0 {
            let let_in = self.pool.take(&self.host, self.stranger, free, Kind::Manual);
            assert_eq!(let_in, info.waiting == 0, "a newcomer is let in if nobody waits");
            if let_in {
                self.pool.release(&self.host, self.stranger, free, Kind::Manual).unwrap();
            }
        }

        // This call would give an answer that was forgotten.
        let answers = self.host.answers();
        self.pool.serve(&self.host);
        assert_eq!(self.host.answers(), answers, "a waiter waited for permits that were free");
    }
}

/// A process, through which tests make calls.
#[derive(Clone)]
pub struct Process {
    pub stage: Arc<Stage>,
    pub pid: Pid,
}

/// The result of `acquire`, which asks as a caller that is willing to wait does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    Yes,
    No(Parked),
    Waiting(WaiterId),
}

impl Process {
    fn pool(&self) -> &Pool<Fake> {
        &self.stage.pool
    }

    fn host(&self) -> &Fake {
        &self.stage.host
    }

    pub fn take(&self, n: u32) -> bool {
        self.pool().take(self.host(), self.pid, n, Kind::Manual)
    }

    pub fn try_acquire(&self, n: u32) -> Result<(), Refusal> {
        self.pool().try_acquire(self.host(), self.pid, n, Kind::Manual)
    }

    pub fn try_bound(&self, n: u32) -> Result<(), Refusal> {
        self.pool().try_acquire(self.host(), self.pid, n, Kind::Bound)
    }

    /// Acquires `n` permits that must be free.
    #[track_caller]
    pub fn hold(&self, n: u32) -> &Self {
        assert_eq!(self.try_acquire(n), Ok(()));
        self
    }

    pub fn park(&self, n: u32) -> Parked {
        self.park_with_ticket(n, Kind::Manual).0
    }

    /// Parks, and returns the number of the ticket as well, by which the answer comes.
    pub fn park_with_ticket(&self, n: u32, kind: Kind) -> (Parked, u32) {
        let ticket = self.host().ticket();
        let number = ticket.0;
        (self.pool().park(self.host(), self.pid, n, kind, ticket), number)
    }

    /// Parks behind a request that cannot be served yet.
    #[track_caller]
    pub fn wait(&self, n: u32) -> WaiterId {
        match self.park(n) {
            Parked::Waiting(id) => id,
            other => panic!("not parked but {other:?}"),
        }
    }

    pub fn acquire(&self, n: u32) -> Acquired {
        if self.take(n) {
            return Acquired::Yes;
        }
        match self.park(n) {
            Parked::Granted => Acquired::Yes,
            Parked::Waiting(id) => Acquired::Waiting(id),
            no => Acquired::No(no),
        }
    }

    pub fn cancel(&self, id: WaiterId) -> Cancelled {
        self.pool().cancel(self.host(), self.pid, id)
    }

    pub fn release(&self, n: u32) -> Result<(), NotHeld> {
        self.pool().release(self.host(), self.pid, n, Kind::Manual)
    }

    pub fn release_bound(&self, n: u32) -> Result<(), NotHeld> {
        self.pool().release(self.host(), self.pid, n, Kind::Bound)
    }

    pub fn end_work(&self) -> Result<(), NotHeld> {
        self.pool().end_work(self.host(), self.pid)
    }

    /// Reports the death of `child`, as a spawner does that saw it.
    pub fn saw_the_end_of(&self, child: &Self) {
        self.pool().ended(self.host(), child.pid);
    }

    pub fn withdraw(&self, id: WaiterId) -> Cancelled {
        self.pool().withdraw(self.host(), self.pid, id)
    }

    pub fn transfer(&self, to: &Self, n: u32) -> Result<(), TransferError> {
        self.pool().transfer(self.host(), self.pid, to.pid, n)
    }

    pub fn entrust(&self, to: &Self, n: u32) -> Result<(), TransferError> {
        self.pool().entrust(self.host(), self.pid, to.pid, n)
    }

    pub fn claim(&self, spawner: &Self, offer: Offer) -> Option<u64> {
        self.pool().claim(self.host(), self.pid, spawner.pid, offer)
    }

    /// Asks for a restart, with all the calls that it takes.
    pub fn restart(&self, n: u32) -> Restart {
        let mut step = Step::default();
        loop {
            match self.pool().take_for_restart(self.host(), self.pid, n, step) {
                Restart::More(next) | Restart::Pause(next) | Restart::Wait(next) => step = next,
                answer => return answer,
            }
        }
    }

    pub fn offer(&self, n: u32) -> Option<Offer> {
        self.pool().offer(self.pid, n)
    }

    pub fn hand_over(&self, offer: Offer, child: &Self) {
        self.pool().hand_over(self.host(), offer, child.pid);
    }

    pub fn adopt(&self, offer: Offer) -> Adoption {
        self.pool().adopt(self.host(), self.pid, offer)
    }

    pub fn retract(&self, offer: Offer) {
        self.pool().retract(self.host(), offer);
    }

    pub fn drain(&self) -> Drain {
        self.drain_with_ticket().0
    }

    /// Drains, and returns the number of the ticket as well, by which the answer comes.
    pub fn drain_with_ticket(&self) -> (Drain, u32) {
        let ticket = self.host().ticket();
        let number = ticket.0;
        (self.pool().drain(self.host(), self.pid, ticket), number)
    }

    pub fn alive(&self) -> bool {
        self.host().alive(self.pid)
    }

    /// Dies; the pool is not told yet.
    pub fn begin_exit(&self) {
        self.host().begin_exit(self.pid);
    }

    /// Tells the pool that this process is dead.
    pub fn finish_exit(&self) {
        self.host().finish_exit(self.pid, &[self.pool()]);
    }

    pub fn die(&self) {
        self.begin_exit();
        self.finish_exit();
    }

    /// Returns all answers that the process got.
    pub fn answers(&self) -> Vec<Answer> {
        self.host().mailbox(self.pid).into_iter().map(|(_, answer)| answer).collect()
    }

    pub fn was_granted(&self) -> bool {
        match self.answers().as_slice() {
            [] => false,
            [Answer::Granted] => true,
            other => panic!("told {other:?}"),
        }
    }
}
