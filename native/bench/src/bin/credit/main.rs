//! Compares sharded credit, a prototype in the core, with the state word of the pools.
//! `script/credit` runs this.
//!
//! With a number as argument, takes that row only, counted from 0.
//!
//! Prints for each row the median times of one operation in ns, the median of the ratios, and
//! their quartiles. The samples of both sides are taken in turn. Two threads run at once, on two
//! cores.
//!
//! The last rows have a whole pool in the core, of which two threads share one or have one each.
//! The first ratio is the most that any sharding of the state could gain for a whole call.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use penstock_core::{Answer, Credit, Host, Kind, OneWord, Pid, Pool, PoolHost, Settings, Spread};

mod pair;

use pair::{Pair, Work};

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

/// Takes permits until it is refused or has enough, and gives all back.
fn fill_and_drain<S: Side>(side: &S, shard: usize, enough: u64) {
    let mut left = OPERATIONS;
    while left > 0 {
        let mut held = 0;
        while left > 0 && held < enough && side.take(shard, 1) {
            held += 1;
            left -= 1;
        }
        left = left.saturating_sub(1);
        for _ in 0..held {
            side.give(shard, 1);
        }
    }
}

/// Fills the pool alone, and is refused.
fn fill<S: Side>(side: &S, shard: usize) {
    fill_and_drain(side, shard, u64::MAX);
}

/// Two threads together want more than the limit, and neither wants all.
fn crowd<S: Side>(side: &S, shard: usize) {
    fill_and_drain(side, shard, TIGHT as u64 * 5 / 8);
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
    let only = std::env::args().nth(1).map(|row| row.parse::<usize>().expect("the number of a row, from 0"));
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
        || row("filled until a refusal, and emptied, one thread", 1, TIGHT, 0, fill, fill),
        || row("five eighths of the limit taken, and given back, two threads", 2, TIGHT, 0, crowd, crowd),
        || row("taken and given back at random near the limit, two threads", 2, TIGHT, 0, random, random),
        whole,
    ];
    for (at, row) in rows.iter().enumerate() {
        if only.is_none_or(|only| only == at) && row().is_none() {
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
    let (old, new) = (<OneWord as Side>::open(limit), <Credit as Side>::open(limit));
    assert!(held == 0 || Side::take(&old, 0, held) && Side::take(&new, 0, held));
    compare(name, [threads; 2], [&|thread| one_word(&old, thread), &|thread| credit(&new, thread)])
}

/// Compares two threads on one pool with two that have a pool each, and these with one thread.
fn whole() -> Option<()> {
    let pools = [open_pool(), open_pool()];
    let (one, two): (Work<'_>, Work<'_>) =
        (&|thread| whole_pair(&pools[0], thread), &|thread| whole_pair(&pools[thread], thread));
    println!("{:64} {:>9} {:>9} {:>6}  quartiles", "", "one pool", "two pools", "ratio");
    compare("a pool in the core, acquired and released, two threads", [2; 2], [one, two])?;
    compare("the same, one thread on one pool, two threads on two", [1, 2], [one, two])
}

/// Takes samples of two works in turn, each by one thread or two. Prints the ns for an operation.
fn compare(name: &str, threads: [usize; 2], works: [Work<'_>; 2]) -> Option<()> {
    let until = Instant::now() + PATIENCE;
    let each = |ns: f64| ns / OPERATIONS as f64;
    let samples: Vec<[f64; 2]> = Pair::run(works, |pair| {
        let sample = |work: usize| match threads[work] {
            1 => Some(each(pair.sample_alone(work))),
            _ => pair.sample(work, until).map(each),
        };
        (0..SAMPLES).map(|_| Some([sample(0)?, sample(1)?])).collect::<Option<_>>()
    })?;
    let [one, two] = [0, 1].map(|work| quartiles(samples.iter().map(|sample| sample[work])));
    let [low, ratio, high] = quartiles(samples.iter().map(|[one, two]| two / one));
    println!("{name:64} {:9.1} {:9.1} {ratio:6.2}  {low:.2} {high:.2}", one[1], two[1]);
    Some(())
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
