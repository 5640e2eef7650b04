//! Races of real threads that no model checker reaches. One needs more processes than loom can
//! explore, and an interleaving that random schedules of shuttle hardly ever contain. The other
//! depends on the numbers of threads, which a model does not tell apart.
#![cfg(not(any(loom, shuttle)))]

mod support;

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use penstock_core::{Histogram, Refusal};
use support::{Process, Stage, limit};

/// Seven of 60 processes hold a permit. The holders change all the time: one process releases,
/// and another takes. A scan may count such a permit twice, in two entries. From that it must not
/// conclude that the pool has many holders.
///
/// An eighth holder dies again and again. A caller that saw the death must be admitted.
#[test]
fn an_asker_that_saw_a_death_is_admitted_while_a_permit_moves() {
    const PROCESSES: usize = 60;
    const HOLDERS: usize = 7;
    const DURATION: Duration = Duration::from_secs(3);
    let stage = Stage::open(PROCESSES + 2, limit(HOLDERS as u64 + 1));
    // These processes get their entries first, so they fill level 0 of the table. The dying
    // process gets an entry in a deeper level, so a scan comes to it late.
    let processes: Vec<Process> = (1..=PROCESSES).map(|number| stage.process(number)).collect();
    for process in &processes {
        assert_eq!(process.hold(1).release(1), Ok(()));
    }
    let (dying, asker) = (stage.process(PROCESSES + 1), stage.process(PROCESSES + 2));
    for process in &processes[..HOLDERS] {
        process.hold(1);
    }
    let over = Arc::new(AtomicBool::new(false));
    let moving = {
        let (processes, over) = (processes.clone(), Arc::clone(&over));
        thread::spawn(move || {
            let mut first = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(processes[first % PROCESSES].release(1), Ok(()));
                while !processes[(first + HOLDERS) % PROCESSES].take(1) {
                    hint::spin_loop();
                }
                first += 1;
            }
            first
        })
    };
    let (start, mut asks) = (Instant::now(), 0);
    while start.elapsed() < DURATION {
        while !dying.take(1) {
            hint::spin_loop();
        }
        dying.begin_exit();
        asks += 1;
        let mut answer = Err(Refusal::Again);
        while answer == Err(Refusal::Again) {
            answer = asker.try_acquire(1);
        }
        assert_eq!(answer, Ok(()), "the asker saw the death, at ask {asks}");
        dying.finish_exit();
        stage.host.reuse(dying.pid);
        assert_eq!(asker.release(1), Ok(()));
    }
    over.store(true, Ordering::Relaxed);
    let first = moving.join().unwrap();
    let holders: Vec<_> = (first..first + HOLDERS).map(|at| (&processes[at % PROCESSES], 1)).collect();
    stage.at_rest(&holders);
    eprintln!("{asks} asks, {first} moves");
}

/// More threads than have slots of their own count their holds, each alone or in the shared slot. A
/// slot that two threads took for their own would lose counts. The pool is opened again between the
/// rounds, so a slot also must not keep counts of the last round.
#[test]
fn no_hold_is_lost_among_many_threads_nor_kept_over_an_opening() {
    const THREADS: usize = 100;
    const HOLDS: u64 = 2_000;
    let stage = Stage::open_metered(THREADS, limit(THREADS as u64));
    for _ in 0..2 {
        let threads: Vec<_> = (1..=THREADS)
            .map(|number| {
                let process = stage.process(number);
                thread::spawn(move || {
                    for _ in 0..HOLDS {
                        assert_eq!(process.hold(1).release(1), Ok(()));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let hold = stage.pool.meters(&stage.host).hold;
        assert_eq!((hold.counts[0], hold.counts[1..].iter().sum::<u64>()), (THREADS as u64 * HOLDS, 0));
        stage.pool.close(&stage.host);
        assert!(stage.pool.open(limit(THREADS as u64)));
        assert_eq!(stage.pool.meters(&stage.host).hold, Histogram::default());
    }
}
