//! Waiters behind many takers, in random schedules. A queue stands in for that of a pool: its
//! head waits until a call that gives permits back, or the waiter's own call, serves it.
//!
//! A lost wake-up ends as a deadlock, which shuttle reports. Permits that are lost end so, too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64 as PlainI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use penstock_core::{Credit, Spread};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::{Config, Runner, thread};

const THREADS: usize = 4;
const SHARDS: usize = 3;
const TURNS: usize = 5;
const LIMIT: i64 = 6;
/// No request is larger.
const LARGEST: u32 = 3;
/// The limit falls by this number, and rises again.
const DELTA: i64 = 2;

struct Pool {
    credit: Credit,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
    /// The permits with which threads work.
    work: PlainI64,
}

struct Waiter {
    n: u32,
    granted: Mutex<bool>,
    told: Condvar,
}

impl Pool {
    fn new() -> Self {
        let credit = Credit::new(SHARDS, Spread { part: 2, least: 1, most: 2, patience: 1 });
        credit.shift(LIMIT);
        credit.open();
        Self { credit, queue: Mutex::default(), work: PlainI64::new(0) }
    }

    /// Takes `n` permits, or waits for them.
    fn acquire(&self, shard: usize, n: u32) {
        if let Err(seen) = self.credit.take(shard, n) {
            assert!(seen.has_waiters() || seen.free() < i64::from(n), "refused by {seen:?}");
            self.wait(n);
        }
        let before = self.work.fetch_add(n.into(), Ordering::Relaxed);
        assert!(before + i64::from(n) <= LIMIT, "more work than the limit");
    }

    fn release(&self, shard: usize, n: u32) {
        self.work.fetch_sub(n.into(), Ordering::Relaxed);
        if self.credit.give(shard, n.into()) {
            self.serve();
        }
    }

    fn wait(&self, n: u32) {
        let mut queue = self.queue.lock().unwrap();
        self.credit.set_waiters();
        if queue.is_empty() && self.credit.take_for_waiter(n).is_ok() {
            self.credit.clear_waiters();
            return;
        }
        let waiter = Arc::new(Waiter { n, granted: Mutex::new(false), told: Condvar::new() });
        queue.push_back(Arc::clone(&waiter));
        drop(queue);
        let mut granted = waiter.granted.lock().unwrap();
        while !*granted {
            granted = waiter.told.wait(granted).unwrap();
        }
    }

    fn serve(&self) {
        let mut queue = self.queue.lock().unwrap();
        loop {
            let Some(head) = queue.front() else {
                self.credit.clear_waiters();
                return;
            };
            if self.credit.take_for_waiter(head.n).is_err() {
                return;
            }
            *head.granted.lock().unwrap() = true;
            head.told.notify_one();
            queue.pop_front();
        }
    }

    /// Lowers the limit and raises it again, or looks.
    fn disturb(&self) {
        if thread_rng().gen_bool(0.5) {
            assert!(self.credit.look().free() <= LIMIT);
            return;
        }
        // The limit and the flags change under the queue lock, as in a pool.
        let queue = self.queue.lock().unwrap();
        self.credit.shift(-DELTA);
        drop(queue);
        let queue = self.queue.lock().unwrap();
        self.credit.shift(DELTA);
        drop(queue);
        self.serve();
    }
}

fn scenario() {
    let pool = Arc::new(Pool::new());
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for turn in 0..TURNS {
                    let n = thread_rng().gen_range(1..=LARGEST);
                    pool.acquire((number + turn) % SHARDS, n);
                    if thread_rng().gen_bool(0.2) {
                        pool.disturb();
                    }
                    // The permits come back on another scheduler, and in two parts.
                    let first = thread_rng().gen_range(0..n);
                    if first > 0 {
                        pool.release((number + turn + 1) % SHARDS, first);
                    }
                    pool.release((number + turn) % SHARDS, n - first);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(pool.credit.look().free(), LIMIT);
    assert_eq!(pool.work.load(Ordering::Relaxed), 0);
}

/// Each request is for fewer permits than the lowest limit, so each wait ends.
#[test]
fn no_waiter_sleeps_while_enough_permits_are_free() {
    explore("no_waiter_sleeps", 30_000, scenario);
}

/// Each thread holds at most a part of the limit, so no thread is ever refused.
#[test]
fn no_thread_is_refused_what_is_free() {
    explore("no_thread_is_refused", 30_000, || {
        let pool = Arc::new(Pool::new());
        let threads: Vec<_> = (0..LIMIT as usize / 2)
            .map(|number| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    for turn in 0..2 * TURNS {
                        let n = thread_rng().gen_range(1..=2);
                        assert_eq!(pool.credit.take((number + turn) % SHARDS, n), Ok(()));
                        if thread_rng().gen_bool(0.1) {
                            assert!(pool.credit.look().free() <= LIMIT - i64::from(n));
                        }
                        assert!(!pool.credit.give((number + 2 * turn) % SHARDS, n.into()));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.credit.look().free(), LIMIT);
    });
}

/// Runs a scenario in random schedules. `SHUTTLE_SEED` and `PENSTOCK_SHUTTLE_ITERATIONS` do what
/// they do in `tests/shuttle`.
fn explore(name: &str, iterations: usize, scenario: impl Fn() + Copy + Send + Sync + 'static) {
    let given = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seed = given("SHUTTLE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64);
    let iterations = given("PENSTOCK_SHUTTLE_ITERATIONS").map_or(iterations, |given| given as usize);
    let mut config = Config::new();
    // The models of loom cover the orderings, all of which shuttle treats as `SeqCst`.
    config.silence_warnings = true;
    eprintln!("{name}: SHUTTLE_SEED={seed}, {iterations} schedules");
    let pct = iterations / 3;
    Runner::new(RandomScheduler::new_from_seed(seed, iterations - pct), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, 5, pct), config).run(scenario);
}
