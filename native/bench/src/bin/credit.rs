//! Compares sharded credit, a prototype in the core, with the state word of the pools:
//!
//! ```sh
//! cargo run --release --locked --manifest-path native/bench/Cargo.toml --features credit --bin credit
//! ```
//!
//! Prints for each row the median times of one operation in ns, and the median and the quartiles
//! of the ratios. The samples of both sides are taken in turn, by threads that run at once. A row
//! without the operation's name in its second column has the last pair: a whole pool in the core,
//! where two threads share one pool or have one each. Their ratio is the most that any sharding
//! of the state could gain.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use penstock_core::{Answer, Credit, Host, Kind, OneWord, Pid, Pool, PoolHost, Settings, Spread};

#[path = "../two_threads.rs"]
mod two_threads;

use two_threads::two_threads;

/// The number of samples of each side.
const SAMPLES: usize = 301;
/// The operations of one thread in a sample. A sample is short, because virtual machines change
/// their speed every few ms.
const OPERATIONS: u64 = 6_000;
/// After this time for a row the machine counts as too busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of shards.
const SHARDS: usize = 2;
/// A limit of which most is free.
const WIDE: i64 = 1_000;
/// A limit too low for a refill: a quarter of it, by the shards, is less than the least batch.
const NARROW: i64 = 16;
/// A limit that threads reach all the time, and fall below.
const TIGHT: i64 = 64;

/// The calls that both sides have.
trait Side: Sync {
    fn open(limit: i64) -> Self;
    fn take(&self, shard: usize, n: u32) -> bool;
    fn give(&self, shard: usize, n: u64);
}

impl Side for OneWord {
    fn open(limit: i64) -> Self {
        OneWord::open(limit)
    }
    fn take(&self, _shard: usize, n: u32) -> bool {
        OneWord::take(self, n)
    }
    fn give(&self, _shard: usize, n: u64) {
        black_box(OneWord::give(self, n));
    }
}

impl Side for Credit {
    fn open(limit: i64) -> Self {
        let credit = Credit::new(SHARDS, Spread::over(SHARDS));
        credit.shift(limit);
        credit.open();
        credit
    }
    fn take(&self, shard: usize, n: u32) -> bool {
        Credit::take(self, shard, n).is_ok()
    }
    fn give(&self, shard: usize, n: u64) {
        black_box(Credit::give(self, shard, n));
    }
}

/// Takes a permit and gives it back.
fn pair<S: Side>(side: &S, shard: usize) {
    for _ in 0..OPERATIONS {
        assert!(side.take(shard, 1));
        side.give(shard, 1);
    }
}

/// Takes a permit on one shard and gives it back on the other, as a process that moves does.
fn moving<S: Side>(side: &S, shard: usize) {
    for _ in 0..OPERATIONS {
        assert!(side.take(shard, 1));
        side.give(1 - shard, 1);
    }
}

/// Is refused. The pool has no free permit.
fn refusal<S: Side>(side: &S, shard: usize) {
    for _ in 0..OPERATIONS {
        assert!(!black_box(side.take(shard, 1)));
    }
}

/// Asks for more than the limit after each 100 pairs. That recalls, and later pairs refill.
fn recall<S: Side>(side: &S, shard: usize) {
    for turn in 0..OPERATIONS {
        if turn % 100 == 99 {
            assert!(!black_box(side.take(shard, WIDE as u32 + 1)));
        }
        assert!(side.take(shard, 1));
        side.give(shard, 1);
    }
}

/// Takes permits until it is refused, and gives all back. So the pool is full and empty in turn.
fn fill_and_drain<S: Side>(side: &S, shard: usize) {
    let mut left = OPERATIONS;
    while left > 0 {
        let mut held = 0;
        while left > 0 && side.take(shard, 1) {
            held += 1;
            left -= 1;
        }
        left = left.saturating_sub(1);
        for _ in 0..held {
            side.give(shard, 1);
        }
    }
}

/// Takes or gives at random. Two threads would hold as many permits as the limit, on average.
fn random<S: Side>(side: &S, shard: usize) {
    let (mut held, mut random) = (0, 0x9E37_79B9_7F4A_7C15 ^ shard as u64);
    for _ in 0..OPERATIONS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if random % TIGHT as u64 >= held {
            held += u64::from(side.take(shard, 1));
        } else {
            side.give(shard, 1);
            held -= 1;
        }
    }
    if held > 0 {
        side.give(shard, held);
    }
}

/// A runtime whose processes live on and never wait.
struct Living;

impl Host for Living {
    type Ticket = ();

    fn alive(&self, _pid: Pid) -> bool {
        true
    }
    fn wake(&self, _pid: Pid, _ticket: (), _answer: Answer) {}
    fn now_ms(&self) -> u32 {
        0
    }
    fn worked(&self, _entries: usize) {}
}

impl PoolHost for Living {
    type PoolData = ();

    fn watch(&self, _pool: &Pool<Self>, _pid: Pid) -> bool {
        true
    }
    fn defer(&self, _pool: &Pool<Self>) {}
}

fn open_pool() -> Pool<Living> {
    let pool = Pool::new();
    assert!(pool.open(Settings { limit: WIDE as u64, ..Settings::default() }));
    pool
}

/// Acquires a permit of a pool and releases it.
fn whole_pair(pool: &Pool<Living>, thread: usize) {
    let me = Pid::new(thread as u64 + 1).expect("above 0");
    for _ in 0..OPERATIONS {
        assert!(pool.try_acquire(&Living, me, 1, Kind::Manual).is_ok());
        assert!(pool.release(&Living, me, 1, Kind::Manual).is_ok());
    }
}

fn main() -> ExitCode {
    println!("load {}", load().unwrap_or_else(|| "unknown".into()));
    println!("{:64} {:>9} {:>9} {:>6}  quartiles", "", "one word", "credit", "ratio");
    let rows: &[fn() -> Option<()>] = &[
        || row("a permit taken and given back, one thread", 1, WIDE, 0, pair, pair),
        || row("the same, two threads at once", 2, WIDE, 0, pair, pair),
        || row("given back on the other shard, two threads", 2, WIDE, 0, moving, moving),
        || row("too few free for a refill, one thread", 1, NARROW, 0, pair, pair),
        || row("the same, two threads at once", 2, NARROW, 0, pair, pair),
        || row("a refusal of a full pool, one thread", 1, WIDE, WIDE as u32, refusal, refusal),
        || row("the same, two threads at once", 2, WIDE, WIDE as u32, refusal, refusal),
        || row("each 100th request recalls, one thread", 1, WIDE, 0, recall, recall),
        || row("the same, two threads at once", 2, WIDE, 0, recall, recall),
        || row("filled until a refusal, and emptied, one thread", 1, TIGHT, 0, fill_and_drain, fill_and_drain),
        || row("the same, two threads at once", 2, TIGHT, 0, fill_and_drain, fill_and_drain),
        || row("taken and given back at random near the limit, two threads", 2, TIGHT, 0, random, random),
        whole,
    ];
    for row in rows {
        if row().is_none() {
            eprintln!("two threads did not run at once for long enough: the machine is too busy");
            return ExitCode::FAILURE;
        }
    }
    println!("load {}", load().unwrap_or_else(|| "unknown".into()));
    ExitCode::SUCCESS
}

/// Measures one operation on both sides, after `held` permits were taken.
fn row(
    name: &str,
    threads: usize,
    limit: i64,
    held: u32,
    one_word: fn(&OneWord, usize),
    credit: fn(&Credit, usize),
) -> Option<()> {
    let sides = (<OneWord as Side>::open(limit), <Credit as Side>::open(limit));
    assert!(held == 0 || Side::take(&sides.0, 0, held) && Side::take(&sides.1, 0, held));
    compare(name, |until| {
        let one = sample(threads, until, |thread| one_word(&sides.0, thread))?;
        Some((one, sample(threads, until, |thread| credit(&sides.1, thread))?))
    })
}

/// Compares two threads on one pool with two that have a pool each.
fn whole() -> Option<()> {
    let pools = [open_pool(), open_pool()];
    println!("{:64} {:>9} {:>9} {:>6}  quartiles", "", "one pool", "two pools", "ratio");
    compare("acquired and released in the core, two threads at once", |until| {
        let one = sample(2, until, |thread| whole_pair(&pools[0], thread))?;
        Some((one, sample(2, until, |thread| whole_pair(&pools[thread], thread))?))
    })?;
    compare("one thread, and two with a pool each", |until| {
        let one = sample(1, until, |thread| whole_pair(&pools[0], thread))?;
        Some((one, sample(2, until, |thread| whole_pair(&pools[thread], thread))?))
    })
}

/// Takes samples of two sides in turn, and prints their times for an operation.
fn compare(name: &str, sample: impl Fn(Instant) -> Option<(f64, f64)>) -> Option<()> {
    let until = Instant::now() + PATIENCE;
    let samples: Vec<(f64, f64)> = (0..SAMPLES).map(|_| sample(until)).collect::<Option<_>>()?;
    let one = quartiles(samples.iter().map(|(one, _)| *one));
    let two = quartiles(samples.iter().map(|(_, two)| *two));
    let [low, ratio, high] = quartiles(samples.iter().map(|(one, two)| two / one));
    println!("{name:64} {:9.1} {:9.1} {ratio:6.2}  {low:.2} {high:.2}", one[1], two[1]);
    Some(())
}

/// Returns the ns for an operation of each of one or two threads.
fn sample(threads: usize, until: Instant, body: impl Fn(usize) + Sync) -> Option<f64> {
    let ns = if threads == 1 {
        let begin = Instant::now();
        body(0);
        begin.elapsed().as_nanos() as f64
    } else {
        two_threads(until, |thread| body(thread as usize))?
    };
    Some(ns / OPERATIONS as f64)
}

/// Returns the lower quartile, the median and the upper quartile.
fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|part| values[values.len() * part / 4])
}

/// Returns the load of the machine over the last minute.
fn load() -> Option<String> {
    Some(std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.to_owned())
}
