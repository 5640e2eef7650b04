//! Real threads take and give back on their shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use penstock_core::{Credit, Spread};

/// Threads that together need no more permits than the limit are never refused, though the
/// permits are on other shards, on their way, or recalled by another thread.
#[test]
fn no_thread_is_refused_what_is_free() {
    const THREADS: usize = 4;
    const EACH: u32 = 6;
    const TURNS: u32 = 20_000;
    let limit = THREADS as i64 * i64::from(EACH);
    let credit = Arc::new(Credit::new(THREADS, Spread { part: 4, least: 1, most: 3, patience: 2 }));
    credit.shift(limit);
    credit.open();
    let over = Arc::new(AtomicBool::new(false));
    let looking = {
        let (credit, over) = (Arc::clone(&credit), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let free = credit.look().free();
                assert!((0..=limit).contains(&free), "{free}");
                thread::yield_now();
            }
        })
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let credit = Arc::clone(&credit);
            thread::spawn(move || {
                for turn in 0..TURNS {
                    let n = turn % EACH + 1;
                    // The thread runs on another shard in each turn, as a process may.
                    let shard = number + turn as usize;
                    assert_eq!(credit.take(shard % THREADS, n), Ok(()), "thread {number}, turn {turn}");
                    credit.give((shard + 1) % THREADS, n.into());
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    over.store(true, Ordering::Relaxed);
    looking.join().unwrap();
    assert_eq!(credit.look().free(), limit);
}
