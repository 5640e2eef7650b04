//! Races of names of one bucket, of which the second gets the node of the first.

use std::sync::Arc;

use loom::thread;
use penstock_core::{
    Cancelled, Changes, Hit, Key, Kind, LimiterSettings, Limits, Parked, Pid, Rate, Registry, Started, Status,
};

use crate::explore::explore;
use crate::pids;
use crate::support::{Fake, limit};

const A: u64 = 0x40;

const B: u64 = 0xC0;

/// Creates a registry in which `A` is open with a limit of 1.
fn registry(host: &Fake, owner: Pid) -> Arc<Registry<Fake>> {
    let registry = Registry::new();
    assert_eq!(registry.start(host, A, owner, limit(1)), Started::Fresh);
    Arc::new(registry)
}

/// Runs an act by the name `A`, while its owner closes that and starts `B`.
fn late<T: 'static>(
    act: impl Fn(&Registry<Fake>, &Fake, Pid) -> T + Copy + Send + Sync + 'static,
    then: impl Fn(&Registry<Fake>, &Fake, Pid, T) + Copy + Send + Sync + 'static,
) {
    explore(move || {
        let host = Fake::new(3);
        let [owner, user, last] = pids();
        let registry = registry(&host, owner);
        let acting = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || act(&registry, &host, user))
        };
        assert!(registry.find(A).unwrap().close(&host, owner));
        assert_eq!(registry.start(&host, B, owner, limit(1)), Started::Fresh);
        let did = acting.join().unwrap();
        then(&registry, &host, user, did);
        // The pool of `B` is intact.
        let (pool, _) = registry.find(B).unwrap().pool().unwrap();
        let info = pool.info();
        assert_eq!((info.status, info.in_use, info.waiting, info.settings), (Status::Open, 0, 0, limit(1)));
        assert_eq!(pool.try_acquire(&host, last, 1, Kind::Manual), Ok(()));
    });
}

/// Acquires by name as a caller does: takes a permit, looks at the name again, and gives the
/// permit back if the pool is another name's.
fn acquire(registry: &Registry<Fake>, host: &Fake, user: Pid) -> Option<u64> {
    let named = registry.find(A)?;
    let (pool, id) = named.current()?;
    pool.try_acquire(host, user, 1, Kind::Bound).ok()?;
    if named.is_there() {
        return Some(named.instance_of(id));
    }
    assert_eq!(pool.release(host, user, 1, Kind::Bound), Ok(()));
    None
}

#[test]
fn an_acquire_by_name_against_a_close_and_the_next_name() {
    late(acquire, |registry, host, user, instance| {
        // A name in which the caller holds a permit has kept its node.
        let Some(instance) = instance else { return };
        let pool = registry.find(A).and_then(|named| named.instance(instance)).unwrap();
        assert_eq!(pool.info().in_use, 1);
        assert_eq!(pool.release(host, user, 1, Kind::Bound), Ok(()));
    });
}

#[test]
fn an_acquire_and_a_release_by_name_against_a_close_and_the_next_name() {
    late(
        |registry, host, user| {
            if let Some(instance) = acquire(registry, host, user) {
                let pool = registry.find(A).and_then(|named| named.instance(instance)).unwrap();
                assert_eq!(pool.release(host, user, 1, Kind::Bound), Ok(()));
            }
        },
        |_, _, _, ()| (),
    );
}

#[test]
fn a_park_by_name_against_a_close_and_the_next_name() {
    late(
        |registry, host, user| {
            let named = registry.find(A)?;
            let (pool, id) = named.current()?;
            match pool.park_while(host, user, 1, Kind::Manual, host.ticket(), || named.is_there()) {
                Parked::Granted => Some(named.instance_of(id)),
                Parked::Closed => None,
                other => panic!("{other:?}"),
            }
        },
        |registry, host, user, instance| {
            let Some(instance) = instance else { return };
            let pool = registry.find(A).and_then(|named| named.instance(instance)).unwrap();
            assert_eq!(pool.release(host, user, 1, Kind::Manual), Ok(()));
        },
    );
}

#[test]
fn an_update_by_name_against_a_close_and_the_next_name() {
    late(
        |registry, host, _| {
            let named = registry.find(A)?;
            let (pool, _) = named.current()?;
            let changes = Changes { limit: Some(9), ..Changes::default() };
            Some(pool.update_while(host, changes, || named.is_there()))
        },
        |_, _, _, _| (),
    );
}

/// A waiter that is told `closed` cancels its wait at the same time, by the number of the wait.
#[test]
fn a_wait_that_ends_by_a_close_against_the_next_name() {
    explore(|| {
        let host = Fake::new(3);
        let [owner, holder, waiter] = pids();
        let registry = registry(&host, owner);
        let (pool, instance) = registry.find(A).unwrap().pool().unwrap();
        assert_eq!(pool.try_acquire(&host, holder, 1, Kind::Manual), Ok(()));
        let Parked::Waiting(id) = pool.park(&host, waiter, 1, Kind::Manual, host.ticket()) else { panic!("no place") };
        let giving_up = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || {
                registry.find(A).and_then(|named| named.instance(instance)).map(|pool| pool.cancel(&host, waiter, id))
            })
        };
        assert!(registry.find(A).unwrap().close(&host, owner));
        let pool = registry.find(A).and_then(|named| named.instance(instance)).expect("it is held");
        assert_eq!(pool.release(&host, holder, 1, Kind::Manual), Ok(()));
        assert_eq!(registry.start(&host, B, owner, limit(1)), Started::Fresh);
        let answers = host.mailbox(waiter).len();
        match giving_up.join().unwrap() {
            Some(Cancelled::Yes) => assert_eq!(answers, 0),
            // The name may have lost its node by now. It lost the node only after all waits had
            // ended, so the answer was given in that case too.
            Some(Cancelled::TooLate) | None => assert_eq!(answers, 1),
        }
    });
}

/// Two names without a node are started at the same time, and one node is free.
#[test]
fn a_start_against_a_start_of_another_name() {
    explore(|| {
        let host = Fake::new(3);
        let [owner, a, b] = pids();
        let registry = registry(&host, owner);
        assert!(registry.find(A).unwrap().close(&host, owner));
        let other = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start(&host, B, a, limit(2)))
        };
        assert_eq!(registry.start(&host, B | 1 << 10, b, limit(3)), Started::Fresh);
        assert_eq!(other.join().unwrap(), Started::Fresh);
        for (name, owner, bound) in [(B, a, 2), (B | 1 << 10, b, 3)] {
            let named = registry.find(name).unwrap();
            assert_eq!((named.owner(), named.pool().unwrap().0.info().settings.limit), (Some(owner), bound));
        }
        assert!(registry.find(A).is_none() && registry.was_started(A));
    });
}

/// The name is started again while another name takes its node.
#[test]
fn a_start_against_the_loss_of_its_node() {
    explore(|| {
        let host = Fake::new(3);
        let [owner, a, b] = pids();
        let registry = registry(&host, owner);
        assert!(registry.find(A).unwrap().close(&host, owner));
        let other = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start(&host, A, a, limit(2)))
        };
        assert_eq!(registry.start(&host, B, b, limit(3)), Started::Fresh);
        assert_eq!(other.join().unwrap(), Started::Fresh);
        for (name, owner, bound) in [(A, a, 2), (B, b, 3)] {
            let named = registry.find(name).unwrap();
            assert_eq!((named.owner(), named.pool().unwrap().0.info().settings.limit), (Some(owner), bound));
        }
    });
}

/// A caller hits the limiter of a name that is closed, and whose node gets the limiter of another
/// name.
#[test]
fn a_hit_by_name_against_a_close_and_the_next_name() {
    let settings = LimiterSettings {
        limits: Limits { limit: 1, per_ms: 100, rate: Rate::new(1, 100, 1).unwrap() },
        max_keys: 1,
        manual: false,
    };
    explore(move || {
        let host = Fake::new(2);
        let [a, b] = pids();
        let registry = Arc::new(Registry::new());
        assert_eq!(registry.start_limiter(&host, A, a, settings, || 0), Ok(Started::Fresh));
        let hitter = {
            let registry = Arc::clone(&registry);
            thread::spawn(move || {
                let (limiter, generation) = registry.find(A)?.limiter()?;
                Some(limiter.hit(Key::Global(generation), 0, 1))
            })
        };
        assert!(registry.find(A).unwrap().close(&host, a));
        assert_eq!(registry.start_limiter(&host, B, b, settings, || 0), Ok(Started::Fresh));
        let (limiter, generation) = registry.find(B).unwrap().limiter().unwrap();
        assert_eq!(limiter.hit(Key::Global(generation), 0, 1), Hit::Allow(0));
        let hit = hitter.join().unwrap();
        assert!(matches!(hit, None | Some(Hit::Allow(0) | Hit::Gone)), "{hit:?}");
    });
}
