//! The state that the processes of a scenario share, and the calls that a process makes. A ledger
//! records the permits of each process. In the end the pool is compared with the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as PlainMutex;
use std::sync::atomic::{AtomicU64 as PlainU64, AtomicUsize as PlainUsize, Ordering};

use penstock_core::{Adoption, Answer, Cancelled, Drain, Kind, Parked, Settings, Status, WaiterId};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread::{self, JoinHandle};

use crate::support::{Process, Stage};

/// Returns a random number below `below`.
pub(crate) fn any(below: u32) -> u32 {
    thread_rng().gen_range(0..below)
}

/// The state that all processes of a scenario share.
///
/// The first processes exist from the beginning. The others are children that they spawn.
pub(crate) struct Scenario {
    pub(crate) stage: Arc<Stage>,
    /// The number of the first processes.
    pub(crate) first: u32,
    /// By pid: whether the process was killed. A process checks this before each act, while it
    /// waits, and before a handoff.
    killed: Vec<AtomicBool>,
    /// The number of permits by which processes work. If a process gets a permit by a transfer,
    /// it does not learn of that, so it does no work by that permit.
    working: PlainU64,
    /// The highest limit that the pool ever has.
    highest_limit: u64,
    /// By pid: the permits that the process acquired, or got by a transfer, minus those that it
    /// gave away.
    ledger: PlainMutex<BTreeMap<u64, i64>>,
    /// The waits that were cancelled in time: the process, and the number of the ticket.
    cancelled: PlainMutex<Vec<(Process, u32)>>,
    /// The number of the last process that was spawned, or that a caller tried to spawn.
    created: PlainUsize,
    children: PlainMutex<Vec<JoinHandle<()>>>,
}

/// A process of the scenario, with the permits that it knows to be its own.
pub(crate) struct Actor {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) me: Process,
    manual: u32,
    bound: u32,
}

impl Scenario {
    /// Opens a pool for `first` processes, and for at most `children` processes that they spawn.
    pub(crate) fn new(first: usize, children: usize, settings: Settings, highest_limit: u64) -> Arc<Self> {
        let processes = first + children;
        let killed = (0..=processes).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self {
            stage: Stage::open(processes, settings),
            first: first as u32,
            killed,
            working: PlainU64::new(0),
            highest_limit,
            ledger: PlainMutex::default(),
            cancelled: PlainMutex::default(),
            created: PlainUsize::new(first),
            children: PlainMutex::default(),
        })
    }

    pub(crate) fn actor(self: &Arc<Self>, number: usize) -> Actor {
        Actor { scenario: Arc::clone(self), me: self.stage.process(number), manual: 0, bound: 0 }
    }

    /// Adds `permits` to those of the process in the ledger. The number is negative if the
    /// process gave permits away.
    pub(crate) fn record(&self, process: &Process, permits: i64) {
        *self.ledger.lock().unwrap().entry(process.pid.word()).or_default() += permits;
    }

    pub(crate) fn kill(&self, process: &Process) {
        self.killed[process.pid.word() as usize].store(true, Ordering::SeqCst);
        // A process that waits for an answer must notice that it was killed.
        self.stage.host.nudge(process.pid);
    }

    /// Waits until all children have ended. Checks that no cancelled wait was answered, and that
    /// the pool counts exactly what the living processes hold.
    pub(crate) fn check_end(&self) {
        loop {
            let children = std::mem::take(&mut *self.children.lock().unwrap());
            if children.is_empty() {
                break;
            }
            children.into_iter().for_each(|child| child.join().unwrap());
        }
        if self.stage.info().status == Status::Draining {
            assert!(self.stage.pool.reopen(&self.stage.host));
        }
        for (process, ticket) in &*self.cancelled.lock().unwrap() {
            assert!(
                self.stage.host.mailbox(process.pid).iter().all(|(of, _)| of != ticket),
                "a cancelled wait was answered"
            );
        }
        assert_eq!(self.stage.host.take_deferrals(), 0, "the waiters are few enough for one call");
        let survivors: Vec<_> = self
            .ledger
            .lock()
            .unwrap()
            .iter()
            .map(|(pid, permits)| (self.stage.process(*pid as usize), *permits))
            .filter(|(process, _)| process.alive())
            .collect();
        let expected: Vec<_> = survivors.iter().map(|(process, permits)| (process, *permits as u64)).collect();
        self.stage.at_rest(&expected);
    }
}

impl Actor {
    pub(crate) fn killed(&self) -> bool {
        self.scenario.killed[self.me.pid.word() as usize].load(Ordering::SeqCst)
    }

    /// Returns one of the first processes at random, but not this one.
    pub(crate) fn another(&self) -> Process {
        let first = self.scenario.first;
        let number = 1 + (self.me.pid.word() as u32 + any(first - 1)) % first;
        self.scenario.stage.process(number as usize)
    }

    pub(crate) fn begin_work(&self, n: u32) {
        let working = self.scenario.working.fetch_add(u64::from(n), Ordering::Relaxed) + u64::from(n);
        let most = self.scenario.highest_limit;
        assert!(working <= most, "work by {working} permits, of at most {most}");
    }

    pub(crate) fn end_work(&self, n: u32) {
        self.scenario.working.fetch_sub(u64::from(n), Ordering::Relaxed);
    }

    /// Records permits that the process acquired, and begins to work by them.
    pub(crate) fn got(&mut self, n: u32, kind: Kind) {
        self.begin_work(n);
        self.scenario.record(&self.me, i64::from(n));
        match kind {
            Kind::Manual => self.manual += n,
            Kind::Bound => self.bound += n,
        }
    }

    pub(crate) fn try_acquire(&mut self, n: u32, kind: Kind) -> bool {
        let pool = &self.scenario.stage.pool;
        let admitted = pool.try_acquire(&self.scenario.stage.host, self.me.pid, n, kind);
        if admitted.is_ok() {
            self.got(n, kind);
        }
        admitted.is_ok()
    }

    /// Acquires `n` permits. If the process must wait, cancels the wait after it has yielded
    /// `patience` times; never if `patience` is `None`. Returns whether the process was admitted;
    /// `None` if it was killed while it waited.
    pub(crate) fn acquire(&mut self, n: u32, kind: Kind, patience: Option<u32>) -> Option<bool> {
        if self.me.stage.pool.take(&self.me.stage.host, self.me.pid, n, kind) {
            self.got(n, kind);
            return Some(true);
        }
        let (parked, ticket) = self.me.park_with_ticket(n, kind);
        let granted = match parked {
            Parked::Granted => true,
            Parked::Full | Parked::QueueFull | Parked::Closed | Parked::Deadlock => false,
            Parked::Waiting(id) => {
                if let Some(patience) = patience {
                    (0..patience).for_each(|_| thread::yield_now());
                    if self.cancel(id, ticket) {
                        return Some(false);
                    }
                }
                match self.receive(ticket)? {
                    Answer::Granted => true,
                    Answer::Full | Answer::Closed => false,
                    other => panic!("a waiter was answered {other:?}"),
                }
            }
        };
        if granted {
            self.got(n, kind);
        }
        Some(granted)
    }

    /// Cancels a wait. Returns `false` if the wait has ended and its answer is on its way.
    pub(crate) fn cancel(&self, id: WaiterId, ticket: u32) -> bool {
        let cancelled = self.me.cancel(id) == Cancelled::Yes;
        if cancelled {
            self.scenario.cancelled.lock().unwrap().push((self.me.clone(), ticket));
        }
        cancelled
    }

    /// Waits for an answer. Returns `None` if the process was killed meanwhile.
    pub(crate) fn receive(&self, ticket: u32) -> Option<Answer> {
        self.me.stage.host.receive(self.me.pid, ticket, || self.killed())
    }

    /// Releases `n` manual permits, or all that the process has if they are fewer.
    pub(crate) fn release(&mut self, n: u32) {
        let n = n.min(self.manual);
        if n == 0 {
            return;
        }
        self.manual -= n;
        self.scenario.record(&self.me, -i64::from(n));
        self.end_work(n);
        assert_eq!(self.me.release(n), Ok(()), "the process holds them");
    }

    pub(crate) fn release_bound(&mut self, n: u32) {
        self.bound -= n;
        self.scenario.record(&self.me, -i64::from(n));
        self.end_work(n);
        assert_eq!(self.me.release_bound(n), Ok(()), "the process holds them");
    }

    /// Transfers `n` manual permits, or all that the process has if they are fewer.
    pub(crate) fn transfer(&mut self, to: &Process, n: u32) {
        let n = n.min(self.manual);
        if n == 0 || to.pid == self.me.pid {
            return;
        }
        // The receiver does not know of the permits, and so begins no work.
        self.end_work(n);
        self.manual -= n;
        self.scenario.record(&self.me, -i64::from(n));
        if self.me.transfer(to, n).is_ok() {
            self.scenario.record(to, i64::from(n));
        }
    }

    /// Spawns a child that works by `n` bound permits of the caller. If all children of the
    /// scenario were spawned before, releases the permits instead. Returns `false` if the caller
    /// was killed before it handed over.
    pub(crate) fn spawn(&mut self, n: u32) -> bool {
        let number = 1 + self.scenario.created.fetch_add(1, Ordering::Relaxed);
        if number >= self.scenario.killed.len() {
            self.release_bound(n);
            return true;
        }
        self.end_work(n);
        self.bound -= n;
        self.scenario.record(&self.me, -i64::from(n));
        let offer = self.me.offer(n).expect("the process holds them");
        if any(8) == 0 {
            // The spawn fails.
            self.me.retract(offer);
            return true;
        }
        let mut child = self.scenario.actor(number);
        if any(4) == 0 {
            self.scenario.kill(&child.me);
        }
        let process = child.me.clone();
        let running = thread::spawn(move || {
            if !child.killed() && child.me.adopt(offer) == Adoption::Adopted {
                child.got(n, Kind::Bound);
                match any(3) {
                    0 => child.release_bound(n),
                    1 => {
                        child.try_acquire(1, Kind::Manual);
                    }
                    _ => {}
                }
            }
            child.die();
        });
        self.scenario.children.lock().unwrap().push(running);
        if self.killed() {
            return false;
        }
        self.me.hand_over(offer, &process);
        true
    }

    /// Drains the pool and reopens it. Returns `None` if the process was killed while it waited.
    /// A patient process waits for the answer or cancels, at random; an impatient one always
    /// cancels.
    pub(crate) fn drain_and_reopen(&mut self, is_patient: bool) -> Option<()> {
        let (drain, ticket) = self.me.drain_with_ticket();
        match drain {
            Drain::Done => {}
            Drain::Waiting(id) if !is_patient || any(2) == 0 => {
                if !self.cancel(id, ticket) {
                    let _ = self.receive(ticket)?;
                }
            }
            Drain::Waiting(_) => assert!(matches!(self.receive(ticket)?, Answer::Drained | Answer::Undrained(1..))),
        }
        assert!(self.me.stage.pool.reopen(&self.me.stage.host));
        Some(())
    }

    /// Ends the process, and lets other processes run before the pool is told.
    pub(crate) fn die(self) {
        self.end_work(self.manual + self.bound);
        self.me.begin_exit();
        thread::yield_now();
        self.me.finish_exit();
    }
}
