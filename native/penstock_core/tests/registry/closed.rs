//! Tests of closed names. A *node* of the registry holds the owner and the gate of one name. A
//! closed name leaves its node to another name of its bucket. A name that has lost its node is
//! *forgotten*. When it is started again, it begins a new life.

use penstock_core::{Changes, Drain, Kind, NotHeld, Parked, Registry, Started, Status};

use crate::support::{Fake, limit};
use crate::{BANS, limiter, names, pids};

/// Returns a name of bucket 1.
fn of_a_bucket(at: u64) -> u64 {
    at << 18 | 0x40
}

/// Returns the number of nodes of the registry, used or not.
fn nodes(registry: &Registry<Fake>) -> usize {
    let piece = registry.names(0, usize::MAX / 16);
    assert_eq!(piece.next, None);
    // A walk counts one for each node that it visits, and one for each 8 of the 4,096 buckets.
    piece.visited - 4096 / 8
}

#[test]
fn closed_names_leave_their_memory_to_others() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    for at in 1..=50_000 {
        assert_eq!(registry.start(&host, at << 6 | 0xB, owner, limit(1)), Started::Fresh);
        assert!(registry.find(at << 6 | 0xB).unwrap().close(&host, owner));
    }
    assert_eq!(nodes(&registry), 4096);
    assert!((1..=50_000).all(|at| registry.was_started(at << 6 | 0xB)));
    assert!(!registry.was_started(50_001 << 6 | 0xB));
    assert!(registry.was_forgotten(1 << 6 | 0xB) && !registry.was_forgotten(50_000 << 6 | 0xB));
    assert_eq!(names(&registry), []);
}

/// A name keeps its node while its gate is open, and while a process holds permits of its pools
/// or waits in them.
#[test]
fn a_name_in_use_is_not_forgotten() {
    let (host, registry) = (Fake::new(3), Registry::new());
    let [owner, holder, drainer] = pids();
    let name = of_a_bucket;
    let close = |name| assert!(registry.find(name).unwrap().close(&host, owner));
    let start = |at| assert_eq!(registry.start(&host, name(at), owner, limit(1)), Started::Fresh);
    let forgotten = |at| registry.find(name(at)).is_none() && registry.was_forgotten(name(at));
    start(1);
    // Name 1 is open, so name 2 gets a node of its own.
    start(2);
    close(name(2));
    assert_eq!(registry.find(name(1)).unwrap().pool().unwrap().1, 1);
    // A permit is held in the pool of name 1 when it closes. So name 1 keeps its node, and name 3
    // gets that of name 2.
    let (pool, instance) = registry.find(name(1)).unwrap().pool().unwrap();
    pool.try_acquire(&host, holder, 1, Kind::Manual).unwrap();
    close(name(1));
    start(3);
    assert!(forgotten(2) && !forgotten(1));
    assert!(std::ptr::eq(registry.find(name(1)).unwrap().instance(instance).unwrap(), pool));
    // The permit is released, so name 4 gets the node of name 1.
    pool.release(&host, holder, 1, Kind::Manual).unwrap();
    start(4);
    assert!(forgotten(1));
    // Name 4 is closed while a permit is held and a drainer waits, so it keeps its node.
    let (pool, _) = registry.find(name(4)).unwrap().pool().unwrap();
    pool.try_acquire(&host, holder, 1, Kind::Manual).unwrap();
    assert!(matches!(pool.drain(&host, drainer, host.ticket()), Drain::Waiting(_)));
    close(name(4));
    start(5);
    assert!(!forgotten(4));
    assert_eq!(nodes(&registry), 3);
    // The name of a limiter or a ban keeps its node only while that gate is open.
    assert_eq!(registry.start_limiter(&host, name(6), owner, limiter(1, 1), || 0), Ok(Started::Fresh));
    start(7);
    assert!(registry.find(name(6)).unwrap().limiter().is_some());
    close(name(6));
    assert_eq!(registry.start_bans(&host, name(8), owner, BANS, || 0), Ok(Started::Fresh));
    assert!(forgotten(6));
}

/// A caller gets an instance number, and then the name is forgotten. By that number the caller
/// must find no pool of the next life of the name.
#[test]
fn a_forgotten_name_begins_a_new_life() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    let [a, b] = [1, 2].map(of_a_bucket);
    let mut seen = Vec::new();
    for _ in 0..100 {
        for name in [a, b] {
            assert_eq!(registry.start(&host, name, owner, limit(1)), Started::Fresh);
            let named = registry.find(name).unwrap();
            let (pool, instance) = named.pool().unwrap();
            assert!(named.is_there());
            assert!(std::ptr::eq(named.instance(instance).unwrap(), pool));
            assert!(!seen.contains(&(name, instance)));
            assert!(seen.iter().all(|&(of, before)| of != name || named.instance(before).is_none()));
            seen.push((name, instance));
            assert!(named.close(&host, owner));
        }
    }
    assert_eq!(nodes(&registry), 1);
    assert_eq!((seen[0], seen[1]), ((a, 1), (b, 1)), "the first life of each name begins with instance 1");
}

/// A caller finds a name, and acts when the node belongs to another name. Either the act must be
/// refused, or the caller must be able to tell afterwards that it acted on the other name.
#[test]
fn a_late_caller_touches_no_other_name() {
    let (host, registry) = (Fake::new(3), Registry::new());
    let [owner, user, late] = pids();
    let [a, b] = [1, 2].map(of_a_bucket);
    registry.start(&host, a, owner, limit(1));
    let named = registry.find(a).unwrap();
    let (pool, _) = named.pool().unwrap();
    assert!(named.close(&host, owner));
    let settings = limit(1);
    registry.start(&host, b, owner, settings);
    let of_b = registry.find(b).unwrap().pool().unwrap().0;
    assert!(std::ptr::eq(pool, of_b), "the node has one pool");
    let still = || named.is_there();

    // The caller takes a permit, finds that the node is that of `b`, and gives it back.
    assert!(pool.take(&host, late, 1, Kind::Manual) && !still());
    pool.release(&host, late, 1, Kind::Manual).unwrap();
    of_b.try_acquire(&host, user, 1, Kind::Manual).unwrap();
    assert_eq!(pool.park_while(&host, late, 1, Kind::Manual, host.ticket(), still), Parked::Closed);
    assert!(pool.drain_while(&host, late, host.ticket(), still).is_none());
    assert!(!pool.reopen_while(&host, still));
    assert!(!pool.update_while(&host, Changes { limit: Some(9), ..Changes::default() }, still));
    assert_eq!(pool.release(&host, late, 1, Kind::Manual), Err(NotHeld));
    assert!(named.pool().is_none() && named.limiter().is_none() && named.bans().is_none());
    assert!(named.pools().next().is_none());
    assert!(!named.close(&host, owner) && named.owner().is_none());
    let info = of_b.info();
    assert_eq!((info.status, info.settings, info.in_use, info.waiting), (Status::Open, settings, 1, 0));
}
