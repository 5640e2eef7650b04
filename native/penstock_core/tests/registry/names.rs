//! Tests of names that are started, adopted and closed, and of their pools.

use penstock_core::{Answer, Changes, Kind, Pid, Registry, Settings, Started, Status};

use crate::support::{Fake, limit};
use crate::{NAME, names, pids, take};

#[test]
fn a_name_that_was_never_started_is_unknown() {
    let registry = Registry::<Fake>::new();
    assert!(registry.find(NAME).is_none());
    assert_eq!(names(&registry), []);
}

#[test]
fn a_name_is_started_once() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [owner, other] = pids();
    assert_eq!(registry.start(&host, NAME, owner, limit(3)), Started::Fresh);
    assert_eq!(registry.start(&host, NAME, other, limit(9)), Started::AlreadyStarted(owner));
    let named = registry.find(NAME).unwrap();
    let (pool, id) = named.pool().unwrap();
    assert_eq!((pool.info().settings, id), (limit(3), 1), "the first settings stay");
    assert_eq!(named.owner(), Some(owner));
    assert_eq!(names(&registry), [NAME]);
}

#[test]
fn names_that_share_a_bucket_are_told_apart() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    // The registry has 4096 buckets, chosen by the bits above the lowest six.
    let names: Vec<u64> = (1..=20).map(|at| (at << 18) | (at % 3) << 6 | 0xB).collect();
    for (at, &name) in names.iter().enumerate() {
        assert_eq!(registry.start(&host, name, owner, limit(at as u64)), Started::Fresh);
    }
    for (at, &name) in names.iter().enumerate() {
        assert_eq!(registry.find(name).unwrap().pool().unwrap().0.info().settings, limit(at as u64));
    }
    assert_eq!(self::names(&registry), names);
    assert!(registry.find(1 << 30).is_none());
}

/// Each piece visits a bounded number of names. Together the pieces leave no name out.
#[test]
fn names_are_listed_in_pieces() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    let all: Vec<u64> = (1..=50_000).map(|at| at << 6 | 0xB).collect();
    for &name in &all {
        assert_eq!(registry.start(&host, name, owner, limit(1)), Started::Fresh);
    }
    assert_eq!(names(&registry), all);
    for &name in all.iter().filter(|&&name| (name >> 6) % 2 == 0) {
        assert!(registry.find(name).unwrap().close(&host, owner));
    }
    assert_eq!(names(&registry).len(), 25_000);
    assert_eq!(registry.names(usize::MAX, 64).next, None);
}

#[test]
fn only_its_owner_closes_a_pool() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [owner, other] = pids();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    assert!(!named.close(&host, other));
    let (pool, _) = named.pool().unwrap();
    assert!(named.close(&host, owner));
    assert_eq!(pool.info().status, Status::Closed);
    assert!(named.pool().is_none());
    assert_eq!((named.owner(), names(&registry)), (None, vec![]));
    assert!(!named.close(&host, owner), "a name is closed once");
}

#[test]
fn a_crashed_owner_leaves_its_pool_to_the_next() {
    let (host, registry) = (Fake::new(4), Registry::new());
    let [crashed, next, holder, last] = pids();
    registry.start(&host, NAME, crashed, Settings { max_overdraft: 7, ..limit(5) });
    let named = registry.find(NAME).unwrap();
    let (pool, id) = named.pool().unwrap();
    assert_eq!(take(&host, named, holder), Ok(()));
    pool.update(&host, Changes { limit: Some(2), ..Changes::default() });
    host.begin_exit(crashed);

    // If both owners start with the same value of a setting, the setting keeps the value of an
    // update in between: here the limit of 2.
    assert_eq!(registry.start(&host, NAME, next, Settings { max_overdraft: 7, ..limit(5) }), Started::Adopted);
    assert_eq!(named.pool().map(|(_, id)| id), Some(id));
    let info = pool.info();
    assert_eq!((info.in_use, info.settings.limit, info.settings.max_overdraft), (1, 2, 7));
    assert!(!named.close(&host, crashed), "the name has another owner");

    // A setting comes into force if the owner before started with another value.
    host.begin_exit(next);
    let changed = Settings { limit: 6, max_waiting: 3, max_overdraft: 1, held_longer_than: 9 };
    assert_eq!(registry.start(&host, NAME, last, changed), Started::Adopted);
    assert_eq!((pool.info().in_use, pool.info().settings), (1, changed));
}

#[test]
fn an_owner_that_starts_again_adopts_from_itself() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    registry.start(&host, NAME, owner, limit(5));
    assert_eq!(registry.start(&host, NAME, owner, limit(6)), Started::Adopted);
    assert_eq!(registry.find(NAME).unwrap().pool().unwrap().0.info().settings, limit(6));
}

#[test]
fn an_adoption_grants_by_a_larger_limit_and_refuses_by_a_smaller_one() {
    let (host, registry) = (Fake::new(6), Registry::new());
    let [first, second, third, holder, small, large] = pids();
    registry.start(&host, NAME, first, limit(3));
    let named = registry.find(NAME).unwrap();
    let (pool, _) = named.pool().unwrap();
    pool.try_acquire(&host, holder, 3, Kind::Manual).unwrap();
    pool.park(&host, small, 1, Kind::Manual, host.ticket());
    pool.park(&host, large, 3, Kind::Manual, host.ticket());
    host.begin_exit(first);
    registry.start(&host, NAME, second, limit(4));
    assert_eq!(host.mailbox(small), [(0, Answer::Granted)]);
    host.begin_exit(second);
    registry.start(&host, NAME, third, limit(2));
    assert_eq!(host.mailbox(large), [(1, Answer::Full)]);
    assert_eq!(pool.info().in_use, 4);
}

#[test]
fn a_start_reopens_a_pool_without_holders() {
    let (host, registry) = (Fake::new(3), Registry::new());
    let [owner, a, b] = pids();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    let restart = |bound| {
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(bound)), Started::Fresh);
        named.pool().unwrap().1
    };
    // While no permit is held, each restart gets the same pool.
    assert!((2..100).all(|bound| restart(bound) == 1));
    // While a permit is held, a restart gets another pool. The permit stays counted in the first
    // pool.
    assert_eq!(take(&host, named, a), Ok(()));
    assert_eq!(restart(1), 2);
    assert_eq!(named.pool().unwrap().0.info().in_use, 0);
    assert_eq!(named.instance(1).unwrap().info().in_use, 1);
    assert_eq!(take(&host, named, b), Ok(()));
    assert_eq!(restart(1), 3);
    assert!((0..100).all(|_| restart(1) == 3));
    // The permit of `a` is released in the pool that admitted `a`. So the next restart reopens
    // that pool.
    assert_eq!(named.instance(1).unwrap().release(&host, a, 1, Kind::Manual), Ok(()));
    assert_eq!(restart(1), 1);
    assert_eq!(take(&host, named, a), Ok(()));
    assert_eq!(restart(1), 3);
    host.begin_exit(b);
    host.finish_exit(b, &[named.instance(2).unwrap()]);
    assert_eq!(restart(1), 2);
    assert!(named.instance(0).is_none() && named.instance(4).is_none());
}

#[test]
fn a_name_has_one_idle_pool_and_those_that_are_held() {
    const MANY: u64 = 500;
    let (host, registry) = (Fake::new(MANY as usize + 1), Registry::new());
    let owner = Pid::new(1).unwrap();
    let holder = |n: u64| Pid::new(n + 1).unwrap();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    let restart = || {
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
        named.pool().unwrap().1
    };
    for n in 1..=MANY {
        assert_eq!(take(&host, named, holder(n)), Ok(()));
        assert_eq!(restart(), n + 1);
    }
    // One start tries at most 64 pools, so it takes several starts until one of them reopens pool
    // 300, in which no permit is held.
    let idle = named.instance(300).unwrap();
    assert_eq!(idle.release(&host, holder(300), 1, Kind::Manual), Ok(()));
    let mut last = restart();
    let found = (1..=MANY / 64 + 1).any(|_| {
        assert_eq!(take(&host, named, owner), Ok(()));
        last = restart();
        last == 300
    });
    assert!(found, "the last was {last}");
    let held = (1..=last.max(501) + 20).filter_map(|id| named.instance(id)).filter(|pool| pool.info().in_use > 0);
    assert!(held.count() as u64 >= MANY - 1);
}
