//! Races of unnamed pools. When no process refers to a pool any more, the host closes and clears
//! it. Its memory then serves the next unnamed pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::AtomicUsize;
use loom::thread;
use penstock_core::{Cursor, Kind, NotHeld, Pid, Pool, Refusal, Registry};

use crate::explore::explore;
use crate::support::{Fake, Stage, limit};
use crate::{pids, spawn};

/// Closes a pool that no caller can reach any more. Then clears it, in calls of one entry each.
fn clear(host: &Fake, pool: &Pool<Fake>) {
    pool.close(host);
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        next = pool.clear(host, from, 1);
    }
}

/// A holder dies while its pool is cleared. `Pool::clear` and the monitor both try to empty the
/// entry of the holder. Its permits must come back once.
#[test]
fn clearing_against_the_death_of_a_holder() {
    explore(|| {
        let (stage, [a, b]) = Stage::with_processes(limit(3));
        a.hold(2);
        b.hold(1);
        let death = spawn(&a, |a| a.die());
        clear(&stage.host, &stage.pool);
        death.join().unwrap();
        stage.at_rest(&[]);
        assert!(stage.pool.open(limit(2)), "all permits came back");
        b.hold(2);
        stage.at_rest(&[(&b, 2)]);
    });
}

/// A spawner with a pending offer dies while its pool is cleared. The offered permits must come
/// back once.
#[test]
fn clearing_against_the_death_of_a_spawner() {
    explore(|| {
        let (stage, [a]) = Stage::with_processes(limit(3));
        assert_eq!(a.try_bound(2), Ok(()));
        a.offer(1);
        let death = spawn(&a, |a| a.die());
        clear(&stage.host, &stage.pool);
        death.join().unwrap();
        assert!(stage.pool.open(limit(2)), "all permits came back");
        stage.at_rest(&[]);
    });
}

/// Two processes, `a` and `b`, drop their references to a pool. The process that drops the last
/// one clears the pool, in which `a` still holds permits.
///
/// A third process opens this pool again or makes another one. It must find no permit held there.
/// `a` may still have an entry in that pool. It must hold nothing, and must be able to acquire.
#[test]
fn clearing_against_the_next_use() {
    explore(|| {
        let host = Fake::new(3);
        let [a, b, next] = pids();
        let registry = Arc::new(Registry::new());
        let (id, pool) = registry.make_unnamed(limit(3));
        // The number of processes that refer to the pool. In production the VM counts them.
        let references = Arc::new(AtomicUsize::new(2));
        assert!(pool.take(&host, a, 1, Kind::Manual));
        let drop_handle = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            move |pid: Pid| {
                let pool = registry.unnamed_pool(id).unwrap();
                assert!(pool.take(&host, pid, 1, Kind::Bound));
                if pid == b {
                    assert_eq!(pool.release(&host, pid, 1, Kind::Bound), Ok(()));
                }
                // ORDERING: the decrements pair with each other, as in the VM: the process that
                // drops the last reference sees all that the other process did.
                if references.fetch_sub(1, Ordering::AcqRel) == 1 {
                    clear(&host, pool);
                    registry.give_back_unnamed(id);
                }
            }
        };
        let other = {
            let drop_handle = drop_handle.clone();
            thread::spawn(move || drop_handle(b))
        };
        let third = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || {
                let (id, pool) = registry.reuse_unnamed(limit(1)).unwrap_or_else(|| registry.make_unnamed(limit(1)));
                assert_eq!(pool.try_acquire(&host, next, 1, Kind::Manual), Ok(()));
                assert_eq!(pool.try_acquire(&host, next, 1, Kind::Manual), Err(Refusal::Full));
                id
            })
        };
        drop_handle(a);
        other.join().unwrap();
        let id = third.join().unwrap();
        let pool = registry.unnamed_pool(id).unwrap();
        assert_eq!(pool.release(&host, a, 1, Kind::Manual), Err(NotHeld));
        assert_eq!(pool.release(&host, next, 1, Kind::Manual), Ok(()));
        assert_eq!(pool.try_acquire(&host, a, 1, Kind::Manual), Ok(()));
        assert_eq!(pool.info().in_use, 1);
    });
}
