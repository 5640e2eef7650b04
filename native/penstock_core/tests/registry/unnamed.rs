//! Tests of unnamed pools. When no process refers to a pool any more, the pool is closed and
//! cleared. Then it is *spare*: the next unnamed pool reuses it.

use penstock_core::{
    Answer, Cursor, Info, Kind, NotHeld, Parked, Pid, Pool, Refusal, Registry, Report, Settings, Status, UnnamedId,
};

use crate::pids;
use crate::support::{Fake, limit};

/// Closes a pool, clears it in pieces of one entry, and makes it spare. The host does the same
/// when the last user drops the pool. Returns the number of pieces.
fn drop_unnamed(host: &Fake, registry: &Registry<Fake>, id: UnnamedId, pool: &Pool<Fake>) -> usize {
    pool.close(host);
    let (mut next, mut pieces) = (Some(Cursor::default()), 0);
    while let Some(from) = next {
        pieces += 1;
        next = pool.clear(host, from, 1);
    }
    registry.give_back_unnamed(id);
    pieces
}

#[test]
fn the_next_unnamed_pool_is_a_dropped_one() {
    const HOLDERS: usize = 1_000;
    let (host, registry) = (Fake::new(HOLDERS), Registry::new());
    let holders: Vec<Pid> = (1..=HOLDERS as u64).map(|n| Pid::new(n).unwrap()).collect();
    assert!(registry.reuse_unnamed(limit(1)).is_none());
    let (id, pool) = registry.make_unnamed(limit(5_000));
    for (n, &holder) in holders.iter().enumerate() {
        // Each holder but the last gets permits of all kinds: one transferred by the next holder,
        // one bound and one offered.
        pool.try_acquire(&host, holder, 1, Kind::Manual).unwrap();
        pool.try_acquire(&host, holder, 2, Kind::Bound).unwrap();
        pool.offer(holder, 1).unwrap();
        if n > 0 {
            pool.transfer(&host, holder, holders[n - 1], 1).unwrap();
        }
    }
    assert_eq!(pool.info().in_use, 3 * HOLDERS as u64);
    // This refusal publishes the many-holders hint, by which later refusals skip their scan.
    assert_eq!(pool.try_acquire(&host, holders[0], 4_000, Kind::Manual), Err(Refusal::Full));
    assert!(drop_unnamed(&host, &registry, id, pool) > HOLDERS / 33);
    assert_eq!((pool.info().in_use, pool.info().waiting), (0, 0));
    assert_eq!(registry.count_unnamed(), (1, 1));

    let (again, reused) = registry.reuse_unnamed(Settings { max_waiting: 7, ..limit(3) }).unwrap();
    assert_eq!((again, std::ptr::eq(pool, reused)), (id, true));
    assert_eq!(registry.count_unnamed(), (1, 0));
    assert_eq!(
        reused.info(),
        Info {
            status: Status::Open,
            settings: Settings { max_waiting: 7, ..limit(3) },
            in_use: 0,
            waiting: 0,
            peak: 0,
            granted: 0
        }
    );
    let report = reused.report(&host, Cursor::default(), usize::MAX).0;
    assert_eq!(Report { visited: 0, ..report }, Report::default());
    assert_eq!(reused.holders(Cursor::default(), 10_000), (vec![], None));
    // The holders of the dropped pool hold nothing in this one. The hint is gone, so a call scans
    // for dead holders again before it refuses.
    assert_eq!(reused.release(&host, holders[5], 1, Kind::Manual), Err(NotHeld));
    assert_eq!(reused.offer(holders[5], 1), None);
    reused.try_acquire(&host, holders[5], 3, Kind::Bound).unwrap();
    host.begin_exit(holders[5]);
    reused.try_acquire(&host, holders[6], 3, Kind::Manual).unwrap();
    host.finish_exit(holders[5], &[reused]);
    assert_eq!(reused.info().in_use, 3);
}

/// A process makes, uses and drops one unnamed pool after the other. That must need one pool and
/// one watch.
#[test]
fn a_loop_of_unnamed_pools_needs_one_pool() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [caller] = pids();
    let (id, first) = registry.make_unnamed(limit(1));
    first.try_acquire(&host, caller, 1, Kind::Manual).unwrap();
    drop_unnamed(&host, &registry, id, first);
    for _ in 0..100_000 {
        let (id, pool) = registry.reuse_unnamed(limit(2)).unwrap();
        pool.try_acquire(&host, caller, 2, Kind::Manual).unwrap();
        drop_unnamed(&host, &registry, id, pool);
    }
    assert_eq!(registry.count_unnamed(), (1, 1));
    assert_eq!(host.watches(caller), 1);
    host.begin_exit(caller);
    host.finish_exit(caller, &[first]);
    assert_eq!(registry.reuse_unnamed(limit(2)).unwrap().1.info().in_use, 0);
}

/// A dropped pool has more waiters than one call answers. All waiters must be answered before the
/// pool is spare.
#[test]
fn waiters_of_a_dropped_pool_are_told_that_it_is_closed() {
    const WAITERS: u64 = 500;
    let (host, registry) = (Fake::new(WAITERS as usize + 1), Registry::new());
    let holder = Pid::new(WAITERS + 1).unwrap();
    let (id, pool) = registry.make_unnamed(limit(1));
    pool.try_acquire(&host, holder, 1, Kind::Manual).unwrap();
    for n in 1..=WAITERS {
        let parked = pool.park(&host, Pid::new(n).unwrap(), 1, Kind::Manual, host.ticket());
        assert!(matches!(parked, Parked::Waiting(_)));
    }
    drop_unnamed(&host, &registry, id, pool);
    for n in 1..=WAITERS {
        assert_eq!(host.mailbox(Pid::new(n).unwrap()), [(n as u32 - 1, Answer::Closed)]);
    }
    assert!(registry.reuse_unnamed(limit(1)).is_some());
}

/// A process is admitted, and is killed past its deadline. The kill must count in the opening of
/// the pool that admitted the process, and in no later opening.
#[test]
fn a_process_of_an_earlier_opening_is_not_counted_as_killed() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [pid] = pids();
    let (id, pool) = registry.make_unnamed(limit(1));
    let killed = || pool.report(&host, Cursor::default(), usize::MAX).0.killed;
    let before = pool.opening();
    pool.count_killed(before, pid);
    assert_eq!(killed(), 1);
    drop_unnamed(&host, &registry, id, pool);
    registry.reuse_unnamed(limit(1)).unwrap();
    pool.count_killed(before, pid);
    assert_eq!(killed(), 0);
    pool.count_killed(pool.opening(), pid);
    assert_eq!(killed(), 1);
}
