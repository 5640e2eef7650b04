//! Races between real threads that the model checkers do not reach: they need more processes than
//! loom can take and more coincidence than a random schedule offers.
#![cfg(not(any(loom, shuttle)))]

mod support;

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use penstock_core::Refusal;
use support::{Process, Stage, limit};

/// Seven living processes hold permits and pass one of them on all the time, so that a scan may
/// count it twice. The pool must not take them for many holders: an asker that saw the eighth die
/// is admitted.
#[test]
fn an_asker_that_saw_a_death_is_admitted_while_a_permit_moves() {
    const CITIZENS: usize = 60;
    const HOLDERS: usize = 7;
    const FOR: Duration = Duration::from_secs(3);
    let stage = Stage::open(CITIZENS + 2, limit(HOLDERS as u64 + 1));
    // Processes are entered in the order of their numbers, so the dying one is behind the others
    // in the table.
    let citizens: Vec<Process> = (1..=CITIZENS).map(|number| stage.process(number)).collect();
    for citizen in &citizens {
        assert_eq!(citizen.hold(1).release(1), Ok(()));
    }
    let (dying, asker) = (stage.process(CITIZENS + 1), stage.process(CITIZENS + 2));
    for citizen in &citizens[..HOLDERS] {
        citizen.hold(1);
    }
    let over = Arc::new(AtomicBool::new(false));
    let moving = {
        let (citizens, over) = (citizens.clone(), Arc::clone(&over));
        thread::spawn(move || {
            let mut first = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(citizens[first % CITIZENS].release(1), Ok(()));
                while !citizens[(first + HOLDERS) % CITIZENS].take(1) {
                    hint::spin_loop();
                }
                first += 1;
            }
            first
        })
    };
    let (started, mut asks) = (Instant::now(), 0);
    while started.elapsed() < FOR {
        while !dying.take(1) {
            hint::spin_loop();
        }
        dying.begin_exit();
        asks += 1;
        let mut answer = Err(Refusal::Again);
        while answer == Err(Refusal::Again) {
            answer = asker.try_acquire(1);
        }
        assert_eq!(answer, Ok(()), "it saw the death, at ask {asks}");
        dying.finish_exit();
        stage.host.reuse(dying.pid);
        assert_eq!(asker.release(1), Ok(()));
    }
    over.store(true, Ordering::Relaxed);
    let first = moving.join().unwrap();
    let holders: Vec<_> = (first..first + HOLDERS).map(|at| (&citizens[at % CITIZENS], 1)).collect();
    stage.at_rest(&holders);
    eprintln!("{asks} asks, {first} moves");
}
