//! A race of real threads that no model checker reaches. It needs more processes than loom can
//! explore, and an interleaving that random schedules of shuttle hardly ever contain.
#![cfg(not(any(loom, shuttle)))]

mod support;

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use penstock_core::Refusal;
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
