//! A runtime made of numbers, and a stage on which its processes use one pool.
//!
//! It does what the BEAM does: a process that dies is not alive at once, and what watches it is told later, once for
//! each watch; in between it can still be watched, after that it cannot. Nobody dies inside a call. What the runtime
//! itself needs to be told between threads goes through the primitives of the model checker; what is only
//! counted for the tests does not, so that it hides no missing ordering of the pool's own.

#![allow(dead_code, unreachable_pub)] // Each of the test programs uses its part.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as PlainU32, AtomicUsize as PlainUsize, Ordering};

use penstock_core::{
    Adoption, Answer, Cancelled, Census, Changes, Drain, Holding, Host, Info, Kind, NotHeld, Offer, Parked, Pid, Pool,
    PoolHost, Position, Refusal, Restart, Settings, Status, Step, TransferError, WaiterId,
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

/// Names one wait of the whole test. It cannot be copied, so that no answer can be given twice.
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

/// Which pools are to be told of a death, by their addresses; once for each watch.
struct Watchers {
    pools: Vec<usize>,
    gone: bool,
}

fn address(pool: &Pool<Fake>) -> usize {
    std::ptr::from_ref(pool).addr()
}

impl Fake {
    /// With that many processes, numbered from 1.
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

    /// Answers given so far, to whomever.
    pub fn answers(&self) -> usize {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// How often a pool asked to be settled again, since this was last asked.
    pub fn take_deferrals(&self) -> usize {
        self.0.deferrals.swap(0, Ordering::Relaxed)
    }

    /// Entries that calls looked at, since this was last asked.
    pub fn take_worked(&self) -> usize {
        self.0.worked.swap(0, Ordering::Relaxed)
    }

    /// Who was found dead by those who asked, since this was last asked.
    pub fn take_found_dead(&self) -> Vec<Pid> {
        std::mem::take(&mut self.0.found_dead.lock().unwrap())
    }

    pub fn advance(&self, ms: u32) {
        self.0.clock_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// The process is no longer alive; who watches it is not told yet.
    pub fn begin_exit(&self, pid: Pid) {
        // ORDERING: what the process did is seen by whoever sees it dead.
        assert!(self.life(pid).alive.swap(false, Ordering::AcqRel), "{pid:?} dies once");
    }

    /// Who watched the process is told, if it is one of these pools.
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

    /// Returns how many pools watch the process, each counted as often as it does.
    pub fn watches(&self, pid: Pid) -> usize {
        self.life(pid).watchers.lock().unwrap().pools.len()
    }

    /// Another process gets the pid of one that is gone.
    pub fn reuse(&self, pid: Pid) {
        let mut watchers = self.life(pid).watchers.lock().unwrap();
        assert!(watchers.gone && watchers.pools.is_empty(), "{pid:?} is in use");
        watchers.gone = false;
        // ORDERING: see `begin_exit`.
        self.life(pid).alive.store(true, Ordering::Release);
    }

    /// What a process was told, each with the number of the ticket it was told by.
    pub fn mailbox(&self, pid: Pid) -> Vec<(u32, Answer)> {
        self.life(pid).mailbox.lock().unwrap().clone()
    }

    /// Waits until the process has a message for that ticket, or `give_up` says so, which is asked at each message.
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

    /// Has whoever waits in `receive` look again.
    pub fn nudge(&self, pid: Pid) {
        let _mailbox = self.life(pid).mailbox.lock().unwrap();
        self.life(pid).arrived.notify_all();
    }
}

impl Host for Fake {
    type Ticket = Ticket;

    fn alive(&self, pid: Pid) -> bool {
        // ORDERING: see `begin_exit`.
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
    type Anchor = ();

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

/// What a pool of that limit is opened with, when nothing else matters.
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
    /// An open pool, and processes 1 to `processes`.
    pub fn open(processes: usize, settings: Settings) -> Arc<Self> {
        let stage = Self {
            pool: Pool::new(),
            host: Fake::new(processes + 1),
            // One more, of whom nobody knows but `at_rest`.
            stranger: Pid::new(processes as u64 + 1).unwrap(),
        };
        assert!(stage.pool.open(settings));
        Arc::new(stage)
    }

    /// An open pool and so many processes, each of another shard than the one before: no lock of a
    /// shard keeps neighbours apart.
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

    pub fn census(&self) -> Census {
        let (sums, rest) = self.pool.census(&self.host, Position::default(), usize::MAX);
        assert_eq!(rest, None);
        sums
    }

    pub fn holders(&self) -> Vec<Holding> {
        // In parts, so that going on is tried everywhere.
        let (mut all, mut next) = (Vec::new(), Some(Position::default()));
        while let Some(at) = next {
            let (some, rest) = self.pool.holders(at, 1_000);
            all.extend(some);
            next = rest;
        }
        all
    }

    /// Who holds how many.
    pub fn holdings(&self) -> BTreeMap<u64, u64> {
        self.holders().into_iter().map(|holding| (holding.pid.word(), holding.permits)).collect()
    }

    /// All calls have returned and all deaths were told of: these hold just that much, and
    /// nothing is lost, neither a permit nor a wake-up.
    #[track_caller]
    pub fn at_rest(&self, expected: &[(&Process, u64)]) {
        let expected: BTreeMap<u64, u64> =
            expected.iter().filter(|(_, n)| *n > 0).map(|(process, n)| (process.pid.word(), *n)).collect();
        assert_eq!(self.holdings(), expected, "who holds what");
        let info = self.info();
        assert_eq!(info.in_use, expected.values().sum::<u64>(), "in use is what is held");
        assert_eq!(self.census().holders, expected.len() as u64, "holders are counted");

        // A flag left behind, or lost, shows in whether a newcomer is let in.
        let free = info.settings.limit.saturating_sub(info.in_use).min(1 << 30) as u32;
        if info.status == Status::Open && free > 0 {
            let let_in = self.pool.take(&self.host, self.stranger, free, Kind::Free);
            assert_eq!(let_in, info.waiting == 0, "a newcomer is let in if nobody waits");
            if let_in {
                self.pool.release(&self.host, self.stranger, free, Kind::Free).unwrap();
            }
        }

        // A wake-up that was forgotten would be given now.
        let answers = self.host.answers();
        self.pool.settle(&self.host);
        assert_eq!(self.host.answers(), answers, "somebody waited for what was free");
    }
}

/// A process, by whose hand calls are made.
#[derive(Clone)]
pub struct Process {
    pub stage: Arc<Stage>,
    pub pid: Pid,
}

/// What came of `acquire`, which is what a caller that is willing to wait does.
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
        self.pool().take(self.host(), self.pid, n, Kind::Free)
    }

    pub fn try_acquire(&self, n: u32) -> Result<(), Refusal> {
        self.pool().try_acquire(self.host(), self.pid, n, Kind::Free)
    }

    pub fn try_bound(&self, n: u32) -> Result<(), Refusal> {
        self.pool().try_acquire(self.host(), self.pid, n, Kind::Bound)
    }

    /// Makes a request that cannot be refused here.
    #[track_caller]
    pub fn hold(&self, n: u32) -> &Self {
        assert_eq!(self.try_acquire(n), Ok(()));
        self
    }

    pub fn park(&self, n: u32) -> Parked {
        self.park_with_ticket(n, Kind::Free).0
    }

    /// Also the number of the ticket by which the answer comes.
    pub fn park_with_ticket(&self, n: u32, kind: Kind) -> (Parked, u32) {
        let ticket = self.host().ticket();
        let number = ticket.0;
        (self.pool().park(self.host(), self.pid, n, kind, ticket), number)
    }

    /// Waits in line, behind what is surely not free.
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
        self.pool().release(self.host(), self.pid, n, Kind::Free)
    }

    pub fn release_bound(&self, n: u32) -> Result<(), NotHeld> {
        self.pool().release(self.host(), self.pid, n, Kind::Bound)
    }

    pub fn end_work(&self) -> Result<(), NotHeld> {
        self.pool().end_work(self.host(), self.pid)
    }

    /// This process was told that `child` is dead.
    pub fn saw_the_end_of(&self, child: &Self) {
        self.pool().ended(self.host(), child.pid);
    }

    pub fn leave_line(&self, id: WaiterId) -> Cancelled {
        self.pool().leave_line(self.host(), self.pid, id)
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

    /// Asks for a restart, in as many calls as that takes.
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

    /// Also the number of the ticket by which the answer comes.
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

    /// The pool is told.
    pub fn finish_exit(&self) {
        self.host().finish_exit(self.pid, &[self.pool()]);
    }

    pub fn die(&self) {
        self.begin_exit();
        self.finish_exit();
    }

    /// All it was told.
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
