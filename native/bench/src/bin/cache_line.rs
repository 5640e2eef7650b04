//! Measures what it costs two cores to write one cache line in turn. Prints a line `name,ns` for
//! each cost. `bench/contention.exs` runs this and predicts from it how gates scale.
//!
//! - `moved_add`: by how much longer an addition takes if the other core wrote the line last.
//! - `moved_cas`: the same for a load and a compare-and-swap of 64 bits.
//! - `one_way`: half a round trip, from the store of one core to the load of the other.
//!
//! Between two writes each thread works on its own for [`WORK_NS`]. So the other thread nearly
//! always gets the line meanwhile, and the two rarely ask for it at one instant.

use std::hint::{black_box, spin_loop};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The work of a thread between two writes.
const WORK_NS: f64 = 60.0;
/// The number of writes of one thread in a sample. A sample is short, because virtual machines
/// change their speed every few ms.
const WRITES: u64 = 4_000;
/// The number of round trips in a sample.
const TRIPS: u64 = 1_000;
/// The number of samples of each cost.
const SAMPLES: usize = 101;
/// The part of a sample in which both threads must run. A busy machine runs them in turn.
const SHARED: f64 = 0.8;
/// After this time the machine counts as too busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A word in a pair of cache lines of its own. Some processors fetch lines in pairs.
#[repr(align(128))]
struct Line(AtomicU64);

fn main() -> ExitCode {
    match measure() {
        Some(costs) => {
            for (name, cost) in costs {
                println!("{name},{cost:.2}");
            }
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("two threads did not run at once for long enough: the machine is too busy");
            ExitCode::FAILURE
        }
    }
}

/// Returns each cost; `None` if the machine is too busy.
fn measure() -> Option<[(&'static str, f64); 3]> {
    let until = Instant::now() + PATIENCE;
    let steps = steps_of_work();
    let writes: [fn(&AtomicU64) -> u64; 2] = [add, cas];
    let (mut own, mut shared, mut one_way) = ([vec![], vec![]], [vec![], vec![]], vec![]);
    for _ in 0..SAMPLES {
        for (at, write) in writes.into_iter().enumerate() {
            // Both threads run in both samples, so that the speed of the cores is the same.
            own[at].push(apart(write, steps, until)?);
            shared[at].push(together(write, steps, until)?);
        }
        one_way.push(ping_pong(until)?);
    }
    let ([own_add, own_cas], [add, cas]) = (own.map(quartile), shared.map(quartile));
    Some([("moved_add", add - own_add), ("moved_cas", cas - own_cas), ("one_way", quartile(one_way))])
}

fn add(word: &AtomicU64) -> u64 {
    // ORDERING: AcqRel as in the core, whose calls this stands for. It pairs with itself.
    word.fetch_add(1, Ordering::AcqRel)
}

fn cas(word: &AtomicU64) -> u64 {
    let mut seen = word.load(Ordering::Relaxed);
    // ORDERING: AcqRel as in the core, whose calls this stands for. It pairs with itself.
    while let Err(now) = word.compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
        seen = now;
    }
    seen
}

/// Returns the ns for one write, of two threads that write a line each.
fn apart(write: impl Fn(&AtomicU64) -> u64 + Sync, steps: u64, until: Instant) -> Option<f64> {
    let lines = [Line(AtomicU64::new(0)), Line(AtomicU64::new(0))];
    two_threads(until, |thread| write_all(&lines[thread as usize], &write, steps)).map(|ns| ns / WRITES as f64)
}

/// Returns the ns for one write, of two threads that write the same line.
fn together(write: impl Fn(&AtomicU64) -> u64 + Sync, steps: u64, until: Instant) -> Option<f64> {
    let line = Line(AtomicU64::new(0));
    two_threads(until, |_| write_all(&line, &write, steps)).map(|ns| ns / WRITES as f64)
}

/// Writes and works in turn. The work begins with the result of the write, and the place of the
/// next write depends on the work. Otherwise the processor would fetch the line ahead of time, and
/// hide the cost.
fn write_all(line: &Line, write: impl Fn(&AtomicU64) -> u64, steps: u64) {
    let words = std::slice::from_ref(&line.0);
    let nothing = black_box(0);
    let mut at = 0;
    for _ in 0..WRITES {
        let done = work(steps, write(&words[at]));
        at = done as usize & nothing;
    }
}

/// Runs `body` in two threads at once. Returns the mean of their times in ns. Repeats that until
/// both ran at once for nearly all of the time. Returns `None` after `until`.
fn two_threads(until: Instant, body: impl Fn(u64) + Sync) -> Option<f64> {
    while Instant::now() < until {
        let ready = AtomicU64::new(0);
        let [(a, b), (c, d)] = thread::scope(|scope| {
            let threads = [0, 1].map(|n| {
                let (body, ready) = (&body, &ready);
                scope.spawn(move || {
                    // ORDERING: AcqRel pairs with the Acquire of the other thread, so both begin
                    // after both are here.
                    ready.fetch_add(1, Ordering::AcqRel);
                    while ready.load(Ordering::Acquire) < 2 {
                        spin_loop();
                    }
                    let begin = Instant::now();
                    body(n as u64);
                    (begin, Instant::now())
                })
            });
            threads.map(|thread| thread.join().expect("no thread panics"))
        });
        let shared = b.min(d).saturating_duration_since(a.max(c)).as_nanos() as f64;
        let mean = ((b - a) + (d - c)).as_nanos() as f64 / 2.0;
        if shared >= SHARED * mean {
            return Some(mean);
        }
    }
    None
}

/// Multiplies in a chain, so that no step overlaps another.
fn work(steps: u64, seed: u64) -> u64 {
    let mut x = black_box(seed);
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
    x
}

/// Returns the number of steps that take [`WORK_NS`].
fn steps_of_work() -> u64 {
    let steps = 1_000_000;
    let begin = Instant::now();
    black_box(work(steps, 1));
    let each = begin.elapsed().as_nanos() as f64 / steps as f64;
    (WORK_NS / each).ceil() as u64
}

/// Returns half the time of a round trip: two threads store to a line in turn.
fn ping_pong(until: Instant) -> Option<f64> {
    let line = Line(AtomicU64::new(0));
    let elapsed = two_threads(until, |thread| {
        // The second thread waits for an odd count. So each trial goes on from the count at which
        // the one before it ended, which is even.
        // ORDERING: Acquire pairs with the Release of the other thread's last turn.
        let first = line.0.load(Ordering::Acquire) & !1;
        for n in 0..TRIPS {
            let turn = first + 2 * n + thread;
            // ORDERING: Acquire pairs with the Release below, by which the other thread ends its turn.
            while line.0.load(Ordering::Acquire) != turn {
                spin_loop();
            }
            // ORDERING: Release pairs with the Acquire above.
            line.0.store(turn + 1, Ordering::Release);
        }
    });
    elapsed.map(|ns| ns / (2 * TRIPS) as f64)
}

/// Returns the lower quartile. Other work on the machine only lengthens samples.
fn quartile(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 4]
}
