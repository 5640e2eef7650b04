//! Two threads that run at once.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// The part of a sample in which both threads must run. A busy machine runs them in turn.
const SHARED: f64 = 0.8;

/// Runs `body` in two threads at once. Returns the mean of their times in ns. Repeats that until
/// both ran at once for nearly all of the time. Returns `None` after `until`.
pub fn two_threads(until: Instant, body: impl Fn(u64) + Sync) -> Option<f64> {
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
