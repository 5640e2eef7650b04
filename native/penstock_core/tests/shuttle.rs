//! Random schedules of many processes that make all calls of a pool, and are killed at any
//! instant between two calls.
//!
//!     RUSTFLAGS="--cfg shuttle" \
//!       cargo test -p penstock_core --release --test shuttle -- --nocapture
//!
//! Each test prints its seed. `SHUTTLE_SEED` repeats a run. A failure prints the seed of its own
//! iteration, which is replayed alone with `PENSTOCK_SHUTTLE_ITERATIONS=1`.
//!
//! | scenario                                        | what it rules out                      |
//! |-------------------------------------------------|----------------------------------------|
//! | every wait is answered, every permit comes back | a lost wake-up, seen as a deadlock     |
//! | some processes live on and hold permits         | a lost or doubled permit               |
//! | work goes on while the limit changes            | more work than the highest limit       |
//! | waits and drains are cancelled at random        | an answer to a cancelled wait          |
//! | scans, hints and transfers race with one death  | a refusal to a caller that saw it (I2) |
#![cfg(shuttle)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex as PlainMutex;
use std::sync::atomic::{AtomicU64 as PlainU64, AtomicUsize as PlainUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use penstock_core::{Adoption, Answer, Cancelled, Drain, Kind, Parked, Refusal, Settings, Status};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, Runner};

use support::{Process, Stage, limit};

/// Runs a scenario in `iterations` random schedules, or in the number that
/// `PENSTOCK_SHUTTLE_ITERATIONS` gives.
fn explore(name: &str, iterations: usize, scenario: impl Fn() + Copy + Send + Sync + 'static) {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seed = given("SHUTTLE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64);
    let iterations = given("PENSTOCK_SHUTTLE_ITERATIONS").map_or(iterations, |given| given as usize);
    let mut config = Config::new();
    // Shuttle assumes sequential consistency; the loom models cover weaker orderings.
    config.silence_warnings = true;
    config.stack_size = 0x20000;
    let start = Instant::now();
    eprintln!("{name}: SHUTTLE_SEED={seed}, {iterations} schedules");
    // The first runner picks each thread with equal probability. The second changes threads at
    // few random points, with long runs between them.
    let pct = iterations / 3;
    Runner::new(RandomScheduler::new_from_seed(seed, iterations - pct), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, 5, pct), config).run(scenario);
    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f32());
}

fn any(below: u32) -> u32 {
    thread_rng().gen_range(0..below)
}

/// The state that all processes of a scenario share.
struct Town {
    stage: Arc<Stage>,
    /// Processes that were killed and have not noticed it yet, by pid.
    killed: Vec<AtomicBool>,
    /// The number of permits by which work goes on, counted by holders that know of them.
    working: PlainU64,
    /// The highest limit of the scenario.
    most: u64,
    /// By pid: the permits acquired minus those given away, entered once that is certain.
    ledger: PlainMutex<BTreeMap<u64, i64>>,
    /// Waits that were cancelled in time.
    cancelled: PlainMutex<Vec<(Process, u32)>>,
    born: PlainUsize,
    children: PlainMutex<Vec<JoinHandle<()>>>,
}

/// A process of the town, with the permits that it knows to be its own.
struct Citizen {
    town: Arc<Town>,
    me: Process,
    manual: u32,
    bound: u32,
}

impl Town {
    fn new(grown: usize, children: usize, settings: Settings, most: u64) -> Arc<Self> {
        let everybody = grown + children;
        let killed = (0..=everybody).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self {
            stage: Stage::open(everybody, settings),
            killed,
            working: PlainU64::new(0),
            most,
            ledger: PlainMutex::default(),
            cancelled: PlainMutex::default(),
            born: PlainUsize::new(grown),
            children: PlainMutex::default(),
        })
    }

    fn citizen(self: &Arc<Self>, number: usize) -> Citizen {
        Citizen { town: Arc::clone(self), me: self.stage.process(number), manual: 0, bound: 0 }
    }

    fn book(&self, process: &Process, permits: i64) {
        *self.ledger.lock().unwrap().entry(process.pid.word()).or_default() += permits;
    }

    fn kill(&self, process: &Process) {
        self.killed[process.pid.word() as usize].store(true, Ordering::SeqCst);
        // The process may be waiting for an answer.
        self.stage.host.nudge(process.pid);
    }

    /// Waits until all children have ended, and checks that the pool counts exactly what the
    /// living hold.
    fn settle_accounts(&self) {
        loop {
            // A child may have children.
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
            assert!(self.stage.host.mailbox(process.pid).iter().all(|(of, _)| of != ticket), "told after it left");
        }
        assert_eq!(self.stage.host.take_deferrals(), 0, "one call answers this number of waiters");
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

impl Citizen {
    fn killed(&self) -> bool {
        self.town.killed[self.me.pid.word() as usize].load(Ordering::SeqCst)
    }

    fn someone_else(&self, grown: u32) -> Process {
        let number = 1 + (self.me.pid.word() as u32 + any(grown - 1)) % grown;
        self.town.stage.process(number as usize)
    }

    fn begin_work(&self, n: u32) {
        let working = self.town.working.fetch_add(u64::from(n), Ordering::Relaxed) + u64::from(n);
        assert!(working <= self.town.most, "{working} permits' work of at most {}", self.town.most);
    }

    fn end_work(&self, n: u32) {
        self.town.working.fetch_sub(u64::from(n), Ordering::Relaxed);
    }

    fn got(&mut self, n: u32, kind: Kind) {
        self.begin_work(n);
        self.town.book(&self.me, i64::from(n));
        match kind {
            Kind::Manual => self.manual += n,
            Kind::Bound => self.bound += n,
        }
    }

    fn try_acquire(&mut self, n: u32, kind: Kind) -> bool {
        let pool = &self.town.stage.pool;
        let admitted = pool.try_acquire(&self.town.stage.host, self.me.pid, n, kind);
        if admitted.is_ok() {
            self.got(n, kind);
        }
        admitted.is_ok()
    }

    /// Acquires, and waits for `patience` steps of other processes, or without a bound if it is
    /// `None`. Returns `Some(true)` if it was admitted, `None` if it was killed meanwhile.
    fn acquire(&mut self, n: u32, kind: Kind, patience: Option<u32>) -> Option<bool> {
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
                    if self.me.cancel(id) == Cancelled::Yes {
                        self.town.cancelled.lock().unwrap().push((self.me.clone(), ticket));
                        return Some(false);
                    }
                }
                match self.receive(ticket)? {
                    Answer::Granted => true,
                    Answer::Full | Answer::Closed => false,
                    other => panic!("a waiter was told {other:?}"),
                }
            }
        };
        if granted {
            self.got(n, kind);
        }
        Some(granted)
    }

    fn receive(&self, ticket: u32) -> Option<Answer> {
        self.me.stage.host.receive(self.me.pid, ticket, || self.killed())
    }

    fn release(&mut self, n: u32) {
        let n = n.min(self.manual);
        if n == 0 {
            return;
        }
        self.manual -= n;
        self.town.book(&self.me, -i64::from(n));
        self.end_work(n);
        assert_eq!(self.me.release(n), Ok(()), "it holds them");
    }

    fn release_bound(&mut self, n: u32) {
        self.bound -= n;
        self.town.book(&self.me, -i64::from(n));
        self.end_work(n);
        assert_eq!(self.me.release_bound(n), Ok(()), "it holds them");
    }

    fn transfer(&mut self, to: &Process, n: u32) {
        let n = n.min(self.manual);
        if n == 0 || to.pid == self.me.pid {
            return;
        }
        // The receiver does not know of the permits, and so begins no work.
        self.end_work(n);
        self.manual -= n;
        self.town.book(&self.me, -i64::from(n));
        if self.me.transfer(to, n).is_ok() {
            self.town.book(to, i64::from(n));
        }
    }

    /// Spawns a child that works by permits just acquired. Returns `false` if the spawner was
    /// killed meanwhile.
    fn spawn(&mut self, n: u32) -> bool {
        let number = 1 + self.town.born.fetch_add(1, Ordering::Relaxed);
        if number >= self.town.killed.len() {
            self.release_bound(n);
            return true;
        }
        self.end_work(n);
        self.bound -= n;
        self.town.book(&self.me, -i64::from(n));
        let offer = self.me.offer(n).expect("it holds them");
        if any(8) == 0 {
            // The VM had no room for another process.
            self.me.retract(offer);
            return true;
        }
        let mut child = self.town.citizen(number);
        if any(4) == 0 {
            self.town.kill(&child.me);
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
        self.town.children.lock().unwrap().push(running);
        if self.killed() {
            return false;
        }
        self.me.hand_over(offer, &process);
        true
    }

    /// Drains the pool and reopens it. Returns `None` if the process was killed meanwhile.
    fn drain_and_reopen(&mut self) -> Option<()> {
        let (drain, ticket) = self.me.drain_with_ticket();
        match drain {
            Drain::Done => {}
            Drain::Waiting(id) if any(2) == 0 => {
                if self.me.cancel(id) == Cancelled::Yes {
                    self.town.cancelled.lock().unwrap().push((self.me.clone(), ticket));
                } else {
                    let _ = self.receive(ticket)?;
                }
            }
            Drain::Waiting(_) => assert!(matches!(self.receive(ticket)?, Answer::Drained | Answer::Undrained(1..))),
        }
        assert!(self.me.stage.pool.reopen(&self.me.stage.host));
        Some(())
    }

    fn die(self) {
        self.end_work(self.manual + self.bound);
        self.me.begin_exit();
        thread::yield_now();
        self.me.finish_exit();
    }
}

/// Each process waits until it is answered, holds nothing meanwhile, and gives back in the end
/// what it got. So a lost wake-up leaves a waiter without end, which the scheduler reports as a
/// deadlock.
#[test]
fn no_waiter_waits_forever() {
    const GROWN: usize = 7;
    explore("no_waiter_waits_forever", 70_000, || {
        let town = Town::new(GROWN, 8, limit(2), 3);
        let shared = Arc::clone(&town);
        let lives: Vec<_> = (1..=GROWN)
            .map(|number| {
                let mut citizen = shared.citizen(number);
                thread::spawn(move || {
                    for _ in 0..3 {
                        if citizen.killed() || a_patient_act(&mut citizen, GROWN as u32).is_none() {
                            break;
                        }
                    }
                    citizen.die();
                })
            })
            .collect();
        lives.into_iter().for_each(|life| life.join().unwrap());
        town.settle_accounts();
        assert_eq!(town.stage.in_use(), 0);
    });
}

/// Acts, and holds nothing afterwards. Returns `None` if the process was killed meanwhile.
fn a_patient_act(citizen: &mut Citizen, grown: u32) -> Option<()> {
    let stage = Arc::clone(&citizen.me.stage);
    match any(16) {
        0..=5 => {
            let n = 1 + any(2);
            if citizen.acquire(n, Kind::Manual, None)? {
                thread::yield_now();
                // The permits come back in one or two pieces, and a waiter may need both.
                citizen.release(1);
                citizen.release(n);
            }
        }
        6..=7 => {
            if citizen.acquire(1, Kind::Manual, Some(any(6)))? {
                citizen.release(1);
            }
        }
        8..=11 => {
            let n = 1 + any(2);
            if citizen.acquire(n, Kind::Bound, None)? && !citizen.spawn(n) {
                return None;
            }
        }
        12 => citizen.town.kill(&citizen.someone_else(grown)),
        13 => {
            // In the end the limit is at least what each waiter asks for.
            stage.update(u64::from(any(4)));
            thread::yield_now();
            stage.update(3);
        }
        14 => citizen.drain_and_reopen()?,
        _ => {
            if citizen.try_acquire(1, Kind::Manual) {
                citizen.release(1);
            }
        }
    }
    Some(())
}

/// Each process makes all calls, and some live on: the pool counts exactly what they know to
/// hold.
#[test]
fn what_the_living_hold_is_what_is_in_use() {
    const GROWN: usize = 8;
    explore("what_the_living_hold_is_what_is_in_use", 70_000, || {
        let town = Town::new(GROWN, 8, Settings { max_waiting: 3, ..limit(4) }, 5);
        let shared = Arc::clone(&town);
        let lives: Vec<_> = (1..=GROWN)
            .map(|number| {
                let mut citizen = shared.citizen(number);
                thread::spawn(move || {
                    for _ in 0..5 {
                        if citizen.killed() || an_impatient_act(&mut citizen, GROWN as u32).is_none() {
                            citizen.die();
                            return;
                        }
                    }
                })
            })
            .collect();
        lives.into_iter().for_each(|life| life.join().unwrap());
        town.settle_accounts();
    });
}

fn an_impatient_act(citizen: &mut Citizen, grown: u32) -> Option<()> {
    let stage = Arc::clone(&citizen.me.stage);
    match any(20) {
        0..=3 => {
            let kind = if any(3) == 0 { Kind::Bound } else { Kind::Manual };
            citizen.acquire(1 + any(3), kind, Some(any(12)))?;
        }
        4..=6 => {
            citizen.try_acquire(1 + any(2), Kind::Manual);
        }
        7..=9 => citizen.release(1 + any(2)),
        10..=12 => citizen.transfer(&citizen.someone_else(grown), 1 + any(2)),
        13..=15 => {
            if citizen.acquire(1, Kind::Bound, Some(any(6)))? && !citizen.spawn(1) {
                return None;
            }
        }
        16..=17 => citizen.town.kill(&citizen.someone_else(grown)),
        18 => stage.update(u64::from(any(6))),
        _ => {
            // The drainer does not wait either: other processes may keep what they hold.
            let (drain, ticket) = citizen.me.drain_with_ticket();
            if let Drain::Waiting(id) = drain {
                if citizen.me.cancel(id) == Cancelled::Yes {
                    citizen.town.cancelled.lock().unwrap().push((citizen.me.clone(), ticket));
                } else {
                    let _ = citizen.receive(ticket)?;
                }
            }
            assert!(stage.pool.reopen(&stage.host));
        }
    }
    Some(())
}

/// On a pool of at most eight holders, an asker that saw one of them dead is admitted, while
/// scans, hints and activations are under way. There are as many permits as holders, and one
/// holder has died.
#[test]
fn an_asker_that_saw_a_death_is_admitted() {
    const HOLDERS: usize = 7;
    explore("an_asker_that_saw_a_death_is_admitted", 70_000, || {
        let stage = Stage::open(HOLDERS + 4, limit(HOLDERS as u64 + 1));
        let [keeper, asker, noise, child] = std::array::from_fn(|at| stage.process(HOLDERS + 1 + at));
        keeper.hold(1);
        // The asker sees this death before the pool is told.
        let seen = Arc::new(AtomicBool::new(false));
        let dies = 1 + any(HOLDERS as u32) as usize;
        let holders: Vec<_> = (1..=HOLDERS)
            .map(|number| {
                let (holder, child, seen) = (stage.process(number), child.clone(), Arc::clone(&seen));
                thread::spawn(move || {
                    for _ in 0..any(4) {
                        holder.hold(1);
                        assert_eq!(holder.release(1), Ok(()));
                    }
                    if number != dies {
                        if any(2) == 0 {
                            holder.hold(1).release(1).unwrap();
                        }
                        return None;
                    }
                    let dead = last_act(holder, child);
                    dead.begin_exit();
                    seen.store(true, Ordering::SeqCst);
                    Some(dead)
                })
            })
            .collect();
        // The request exceeds what can be free, so it keeps scanning.
        let looking = thread::spawn(move || {
            for _ in 0..3 {
                assert!(noise.try_acquire(HOLDERS as u32 + 1).is_err());
            }
        });
        let asking = {
            let asker = asker.clone();
            thread::spawn(move || {
                while !seen.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                let mut asked = Err(Refusal::Again);
                while asked == Err(Refusal::Again) {
                    asked = asker.try_acquire(1);
                }
                assert_eq!(asked, Ok(()), "it saw the death");
            })
        };
        let dead: Vec<_> = holders.into_iter().filter_map(|holder| holder.join().unwrap()).collect();
        looking.join().unwrap();
        asking.join().unwrap();
        dead.iter().for_each(Process::finish_exit);
        stage.at_rest(&[(&keeper, 1), (&asker, 1)]);
    });
}

/// Acquires a permit in a random way. Returns the process that has it in the end, and must die
/// with it.
fn last_act(holder: Process, child: Process) -> Process {
    match any(4) {
        0 => {
            holder.hold(1);
        }
        1 => {
            holder.hold(1);
            assert_eq!(holder.transfer(&child, 1), Ok(()));
            return child;
        }
        2 => {
            assert_eq!(holder.try_bound(1), Ok(()));
            assert!(holder.offer(1).is_some());
        }
        _ => {
            assert_eq!(holder.try_bound(1), Ok(()));
            let offer = holder.offer(1).unwrap();
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            holder.die();
            return child;
        }
    }
    holder
}
