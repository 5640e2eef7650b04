//! Races of calls by a name while that name loses its node. A *node* of the registry holds the
//! owner and the gate of one name. When another name of the same bucket is started, it may take
//! over the node of a closed name without holders (`Node::rename`).

use std::sync::Arc;

use penstock_core::{
    Cancelled, Changes, Hit, Key, Kind, LimiterSettings, Limits, Parked, Pid, Rate, Registry, Started, Status,
};

use crate::explore::explore;
use crate::pids;
use crate::registry::spawn;
use crate::support::{Fake, limit};

// Under loom the registry has two buckets. These three names are in the same bucket.
const A: u64 = 0x40;
const B: u64 = 0xC0;
const C: u64 = B | 1 << 10;

/// Returns a registry in which `A` is open with a limit of 1.
fn registry(host: &Fake, owner: Pid) -> Arc<Registry<Fake>> {
    let registry = Registry::new();
    assert_eq!(registry.start(host, A, owner, limit(1)), Started::Fresh);
    Arc::new(registry)
}

/// Asserts that each name is open, with this owner and limit.
fn assert_open(registry: &Registry<Fake>, names: [(u64, Pid, u64); 2]) {
    for (name, owner, limit) in names {
        let named = registry.find(name).unwrap();
        assert_eq!((named.owner(), named.pool().unwrap().0.info().settings.limit), (Some(owner), limit));
    }
}

/// Runs `act` by the name `A` while the owner of `A` closes `A` and starts `B`, which may take
/// over the node of `A`. Then `then` undoes what `act` did. After that the pool of `B` must show
/// no effect of `act`.
fn late<T: 'static>(
    act: impl Fn(&Registry<Fake>, &Fake, Pid) -> T + Copy + Send + Sync + 'static,
    then: impl Fn(&Registry<Fake>, &Fake, Pid, T) + Copy + Send + Sync + 'static,
) {
    explore(move || {
        let host = Fake::new(3);
        let [owner, user, last] = pids();
        let registry = registry(&host, owner);
        let acting = spawn(&registry, &host, move |registry, host| act(&registry, host, user));
        assert!(registry.find(A).unwrap().close(&host, owner));
        assert_eq!(registry.start(&host, B, owner, limit(1)), Started::Fresh);
        let done = acting.join().unwrap();
        then(&registry, &host, user, done);
        let (pool, _) = registry.find(B).unwrap().pool().unwrap();
        let info = pool.info();
        assert_eq!((info.status, info.in_use, info.waiting, info.settings), (Status::Open, 0, 0, limit(1)));
        assert_eq!(pool.try_acquire(&host, last, 1, Kind::Manual), Ok(()));
    });
}

/// Acquires by the name `A` as the NIF does. It takes a permit, and checks whether the node still
/// belongs to `A`. If not, it gives the permit back. Returns the instance of the pool in which
/// the caller holds the permit; `None` if it holds none.
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

/// The late caller acquires. Either it holds the permit in the pool of `A`, or it gives the
/// permit back in the pool of `B`.
#[test]
fn an_acquire_by_name_against_a_close_and_the_next_name() {
    late(acquire, |registry, host, user, instance| {
        // The caller holds a permit in the pool of `A`, so `A` has kept its node.
        let Some(instance) = instance else { return };
        let pool = registry.find(A).and_then(|named| named.instance(instance)).unwrap();
        assert_eq!(pool.info().in_use, 1);
        assert_eq!(pool.release(host, user, 1, Kind::Bound), Ok(()));
    });
}

/// The late caller acquires and releases.
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

/// The late caller parks. The pool checks inside the queue lock whether the node still belongs to
/// `A` (`Pool::park_while`).
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

/// The late caller changes the limit. The pool checks inside the queue lock whether the node
/// still belongs to `A` (`Pool::update_while`).
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

/// The owner closes the name `A` while a waiter of `A` cancels its wait. Then `B` takes over the
/// node of `A`. Either the waiter cancels in time, or the close gives it one answer.
#[test]
fn a_wait_that_ends_by_a_close_against_the_next_name() {
    explore(|| {
        let host = Fake::new(3);
        let [owner, holder, waiter] = pids();
        let registry = registry(&host, owner);
        let (pool, instance) = registry.find(A).unwrap().pool().unwrap();
        assert_eq!(pool.try_acquire(&host, holder, 1, Kind::Manual), Ok(()));
        let Parked::Waiting(id) = pool.park(&host, waiter, 1, Kind::Manual, host.ticket()) else {
            panic!("the permit is held")
        };
        let giving_up = spawn(&registry, &host, move |registry, host| {
            registry.find(A).and_then(|named| named.instance(instance)).map(|pool| pool.cancel(host, waiter, id))
        });
        assert!(registry.find(A).unwrap().close(&host, owner));
        let pool = registry.find(A).and_then(|named| named.instance(instance)).expect("a permit is held in it");
        assert_eq!(pool.release(&host, holder, 1, Kind::Manual), Ok(()));
        assert_eq!(registry.start(&host, B, owner, limit(1)), Started::Fresh);
        let answers = host.mailbox(waiter).len();
        match giving_up.join().unwrap() {
            Some(Cancelled::Yes) => assert_eq!(answers, 0),
            // `None`: the name has lost its node. That happens only after all waits have ended,
            // so the waiter has its answer.
            Some(Cancelled::TooLate) | None => assert_eq!(answers, 1),
        }
    });
}

/// Two processes start `B` and `C`, which have no node. Both names can take over the node of `A`,
/// which is closed. In the end each of the two must have a node of its own.
#[test]
fn a_start_against_a_start_of_another_name() {
    explore(|| {
        let host = Fake::new(3);
        let [owner, a, b] = pids();
        let registry = registry(&host, owner);
        assert!(registry.find(A).unwrap().close(&host, owner));
        let other = spawn(&registry, &host, move |registry, host| registry.start(host, B, a, limit(2)));
        assert_eq!(registry.start(&host, C, b, limit(3)), Started::Fresh);
        assert_eq!(other.join().unwrap(), Started::Fresh);
        assert_open(&registry, [(B, a, 2), (C, b, 3)]);
        assert!(registry.find(A).is_none() && registry.was_started(A));
    });
}

/// The closed name `A` is started again while `B` takes over the node of `A`. In the end each of
/// the two names must have a node of its own.
#[test]
fn a_start_against_the_loss_of_its_node() {
    explore(|| {
        let host = Fake::new(3);
        let [owner, a, b] = pids();
        let registry = registry(&host, owner);
        assert!(registry.find(A).unwrap().close(&host, owner));
        let other = spawn(&registry, &host, move |registry, host| registry.start(host, A, a, limit(2)));
        assert_eq!(registry.start(&host, B, b, limit(3)), Started::Fresh);
        assert_eq!(other.join().unwrap(), Started::Fresh);
        assert_open(&registry, [(A, a, 2), (B, b, 3)]);
    });
}

/// A caller hits the limiter of `A` while the owner closes `A`. The node and the limiter of `A`
/// then serve `B`. The late hit must not be charged to the limiter of `B`.
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
        let hitter = spawn(&registry, &host, move |registry, _| {
            let (limiter, generation) = registry.find(A)?.limiter()?;
            Some(limiter.hit(Key::Global(generation), 0, 1))
        });
        assert!(registry.find(A).unwrap().close(&host, a));
        assert_eq!(registry.start_limiter(&host, B, b, settings, || 0), Ok(Started::Fresh));
        let (limiter, generation) = registry.find(B).unwrap().limiter().unwrap();
        assert_eq!(limiter.hit(Key::Global(generation), 0, 1), Hit::Allow(0));
        let hit = hitter.join().unwrap();
        assert!(matches!(hit, None | Some(Hit::Allow(0) | Hit::Gone)), "{hit:?}");
    });
}
