//! One death among holders that come and go, and the refusals that must find it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use penstock_core::{Adoption, Refusal};
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread;

use crate::explore;
use crate::scenario::any;
use crate::support::{Process, Stage, limit};

/// A scan visits all holders of a pool if at most eight of them live. So in such a pool a caller
/// that saw a holder die must be admitted.
///
/// The pool has eight permits: one for the keeper, and one for each of seven holders. One holder
/// dies with its permit. Meanwhile other calls scan, propose the many-holders hint, and activate
/// entries.
#[test]
fn an_asker_that_saw_a_death_is_admitted() {
    const HOLDERS: usize = 7;
    explore("an_asker_that_saw_a_death_is_admitted", 70_000, || {
        let stage = Stage::open(HOLDERS + 4, limit(HOLDERS as u64 + 1));
        let [keeper, asker, scanner, child] = std::array::from_fn(|at| stage.process(HOLDERS + 1 + at));
        keeper.hold(1);
        // Set once the holder is dead, before the pool is told.
        let is_dead = Arc::new(AtomicBool::new(false));
        let dies = 1 + any(HOLDERS as u32) as usize;
        let holders: Vec<_> = (1..=HOLDERS)
            .map(|number| {
                let (holder, child, is_dead) = (stage.process(number), child.clone(), Arc::clone(&is_dead));
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
                    let dead = acquire_finally(holder, child);
                    dead.begin_exit();
                    is_dead.store(true, Ordering::SeqCst);
                    Some(dead)
                })
            })
            .collect();
        // The keeper holds a permit, so these requests for all permits are refused. Each of them
        // scans first.
        let scanning = thread::spawn(move || {
            for _ in 0..3 {
                assert!(scanner.try_acquire(HOLDERS as u32 + 1).is_err());
            }
        });
        let asking = {
            let asker = asker.clone();
            thread::spawn(move || {
                while !is_dead.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                let mut asked = Err(Refusal::Again);
                while asked == Err(Refusal::Again) {
                    asked = asker.try_acquire(1);
                }
                assert_eq!(asked, Ok(()), "the asker saw the death");
            })
        };
        let dead: Vec<_> = holders.into_iter().filter_map(|holder| holder.join().unwrap()).collect();
        scanning.join().unwrap();
        asking.join().unwrap();
        dead.iter().for_each(Process::finish_exit);
        stage.at_rest(&[(&keeper, 1), (&asker, 1)]);
    });
}

/// Acquires a permit and keeps it, offers it, or passes it on to the child, at random. Returns
/// the process that has the permit in the end.
fn acquire_finally(holder: Process, child: Process) -> Process {
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
            holder.acquire_and_offer(1);
        }
        _ => {
            let offer = holder.acquire_and_offer(1);
            assert_eq!(child.adopt(offer), Adoption::Adopted);
            holder.die();
            return child;
        }
    }
    holder
}
