//! Races of names.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use penstock_core::{Generation, Hit, Key, LimiterSettings, Limits, Pid, Rate, Refusal, Registry, Started, Status};

use crate::explore::explore;
use crate::pids;
use crate::support::{Fake, limit};

const NAME: u64 = 0x40;

/// Creates a registry in which the name is known, so that only its pool is raced for.
fn registry(host: &Fake, first: Pid) -> Arc<Registry<Fake>> {
    let registry = Registry::new();
    assert_eq!(registry.start(host, NAME, first, limit(1)), Started::Fresh);
    Arc::new(registry)
}

/// Starts the same name by another owner, with a limit of 2.
fn start_elsewhere(registry: &Arc<Registry<Fake>>, host: &Fake, owner: Pid) -> JoinHandle<Started> {
    let (registry, host) = (Arc::clone(registry), host.clone());
    thread::spawn(move || registry.start(&host, NAME, owner, limit(2)))
}

/// Returns the owner whose start returned `so`, with its value. Asserts that the other start
/// names that owner.
fn winner<T>(so: Started, [(a, of_a, from_a), (b, of_b, from_b)]: [(Pid, Started, T); 2]) -> (Pid, T) {
    match (of_a, of_b) {
        (started, Started::AlreadyStarted(keeper)) if started == so && keeper == a => (a, from_a),
        (Started::AlreadyStarted(keeper), started) if started == so && keeper == b => (b, from_b),
        both => panic!("{both:?}"),
    }
}

#[test]
fn start_against_a_start_of_the_same_name() {
    explore(|| {
        let host = Fake::new(3);
        let [first, a, b] = pids();
        let registry = registry(&host, first);
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, first));
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start(&host, NAME, b, limit(3));
        let (winner, bound) = winner(Started::Fresh, [(a, other.join().unwrap(), 2), (b, mine, 3)]);
        assert_eq!(named.owner(), Some(winner));
        let (pool, id) = named.pool().unwrap();
        assert_eq!((pool.info().status, pool.info().settings.limit, id), (Status::Open, bound, 1));
    });
}

#[test]
fn start_against_a_start_when_the_owner_crashed() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, a, b] = pids();
        let registry = registry(&host, dead);
        let named = registry.find(NAME).unwrap();
        let (pool, id) = named.pool().unwrap();
        assert_eq!(pool.try_acquire(&host, a, 1, penstock_core::Kind::Manual), Ok(()));
        host.begin_exit(dead);
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start(&host, NAME, b, limit(3));
        let (winner, bound) = winner(Started::Adopted, [(a, other.join().unwrap(), 2), (b, mine, 3)]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!(named.pool().map(|(_, id)| id), Some(id), "the same pool");
        assert_eq!((pool.info().in_use, pool.info().settings.limit), (1, bound));
    });
}

fn limiter() -> LimiterSettings {
    LimiterSettings {
        limits: Limits { limit: 1, per_ms: 100, rate: Rate::new(1, 100, 1).unwrap() },
        max_keys: 1,
        manual: false,
    }
}

#[test]
fn start_against_a_start_of_a_limiter_of_the_same_name() {
    explore(|| {
        let host = Fake::new(3);
        let [first, a, b] = pids();
        let registry = registry(&host, first);
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, first));
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start_limiter(&host, NAME, b, limiter(), || 0).unwrap();
        let (winner, ()) = winner(Started::Fresh, [(a, other.join().unwrap(), ()), (b, mine, ())]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!((named.pool().is_some(), named.limiter().is_some()), (winner == a, winner == b));
    });
}

#[test]
fn start_of_a_limiter_against_another_when_the_owner_crashed() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, a, b] = pids();
        let registry = Arc::new(Registry::new());
        assert_eq!(registry.start_limiter(&host, NAME, dead, limiter(), || 0), Ok(Started::Fresh));
        let named = registry.find(NAME).unwrap();
        let hit = |key: Generation| named.limiter().unwrap().0.hit(Key::Global(key), 0, 1);
        assert_eq!(hit(1), Hit::Allow(0));
        host.begin_exit(dead);
        let other = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start_limiter(&host, NAME, a, limiter(), || 0).unwrap())
        };
        let mine = registry.start_limiter(&host, NAME, b, limiter(), || 0).unwrap();
        let (winner, ()) = winner(Started::Adopted, [(a, other.join().unwrap(), ()), (b, mine, ())]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!(hit(1), Hit::Deny(100_000_000));
    });
}

/// An owner is killed while its takeover is under way and goes on, and another owner takes over
/// with other settings. The settings of the last owner stay.
#[test]
fn adoption_against_an_adoption() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, killed, next] = pids();
        let registry = Arc::new(Registry::new());
        let limits = |limit: u32| LimiterSettings {
            limits: Limits { limit, per_ms: 100, rate: Rate::new(limit, 100, 1).unwrap() },
            ..limiter()
        };
        assert_eq!(registry.start_limiter(&host, NAME, dead, limits(1), || 0), Ok(Started::Fresh));
        host.begin_exit(dead);
        let late = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start_limiter(&host, NAME, killed, limits(10), || 0).unwrap())
        };
        host.begin_exit(killed);
        // If the killed process has just become the owner, the call says so, and the next call
        // takes over.
        let take_over = || registry.start_limiter(&host, NAME, next, limits(20), || 0).unwrap();
        if take_over() == Started::AlreadyStarted(killed) {
            assert_eq!(take_over(), Started::Adopted);
        }
        late.join().unwrap();
        let named = registry.find(NAME).unwrap();
        let (limiter, generation) = named.limiter().unwrap();
        let limit = limiter.info(generation).unwrap().limits.limit;
        assert_eq!(limit, if named.owner() == Some(next) { 20 } else { 10 });
    });
}

/// A limiter is closed, and another name reuses its memory, while a caller hits it.
#[test]
fn hit_against_a_close_and_the_next_of_its_memory() {
    const OTHER: u64 = 0x80;
    // The hash of a key includes the generation.
    let keys =
        |generation: Generation| [Key::Global(generation), Key::Tag(generation, u64::from(generation) << 32 | 7)];
    for which in [0, 1] {
        explore(move || {
            let host = Fake::new(2);
            let [a, b] = pids();
            let registry = Arc::new(Registry::new());
            assert_eq!(registry.start_limiter(&host, NAME, a, limiter(), || 0), Ok(Started::Fresh));
            let hitter = {
                let registry = Arc::clone(&registry);
                thread::spawn(move || {
                    let (limiter, generation) = registry.find(NAME).unwrap().limiter()?;
                    Some(limiter.hit(keys(generation)[which], 0, 1))
                })
            };
            assert!(registry.find(NAME).unwrap().close(&host, a));
            assert_eq!(registry.start_limiter(&host, OTHER, b, limiter(), || 0), Ok(Started::Fresh));
            let (limiter, generation) = registry.find(OTHER).unwrap().limiter().unwrap();
            let [all, tag] = keys(generation);
            assert_eq!(limiter.hit(all, 0, 1), Hit::Allow(0));
            assert_eq!(limiter.hit(all, 0, 1), Hit::Deny(100_000_000));
            let hit = hitter.join().unwrap();
            // The late hit has left nothing in the only place.
            assert_eq!(limiter.hit(tag, 0, 1), Hit::Allow(0));
            assert!(matches!(hit, None | Some(Hit::Allow(0) | Hit::Gone)), "{hit:?}");
        });
    }
}

#[test]
fn close_against_a_start() {
    explore(|| {
        let host = Fake::new(2);
        let [a, b] = pids();
        let registry = registry(&host, a);
        let named = registry.find(NAME).unwrap();
        let starting = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start(&host, NAME, b, limit(2)))
        };
        assert!(named.close(&host, a));
        match starting.join().unwrap() {
            Started::AlreadyStarted(keeper) => {
                assert_eq!(keeper, a);
                assert!(named.pool().is_none());
                assert_eq!(named.owner(), None);
            }
            Started::Fresh => {
                assert_eq!(named.owner(), Some(b));
                let (pool, id) = named.pool().unwrap();
                assert_eq!((pool.info().status, pool.info().settings.limit), (Status::Open, 2));
                // A pool that was still closing is left alone, and a second one is made.
                assert!(id <= 2);
                assert_eq!(named.instance(3 - id).map(|pool| pool.info().status).unwrap_or(Status::Closed), {
                    Status::Closed
                });
            }
            Started::Adopted => panic!("the owner is alive"),
        }
    });
}

#[test]
fn close_for_a_crashed_owner_against_its_successor() {
    explore(|| {
        let host = Fake::new(2);
        let [dead, successor] = pids();
        let registry = registry(&host, dead);
        host.begin_exit(dead);
        let starting = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || registry.start(&host, NAME, successor, limit(2)))
        };
        let named = registry.find(NAME).unwrap();
        let closed = named.close(&host, dead);
        assert_eq!(starting.join().unwrap(), if closed { Started::Fresh } else { Started::Adopted });
        assert_eq!(named.owner(), Some(successor));
        let (pool, _) = named.pool().unwrap();
        assert_eq!((pool.info().status, pool.info().settings.limit), (Status::Open, 2));
    });
}

#[test]
fn close_against_an_acquire_by_name() {
    explore(|| {
        let host = Fake::new(2);
        let [owner, user] = pids();
        let registry = registry(&host, owner);
        let asking = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || {
                let (pool, id) = registry.find(NAME).unwrap().pool()?;
                Some((pool.try_acquire(&host, user, 1, penstock_core::Kind::Manual), id))
            })
        };
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
        let (pool, new) = named.pool().unwrap();
        match asking.join().unwrap() {
            // The name, or its pool, was closed first.
            None | Some((Err(Refusal::Closed), _)) => assert_eq!((pool.info().in_use, new), (0, 1)),
            Some((Ok(()), old)) => {
                let held: u64 = [1, 2].iter().filter_map(|&id| named.instance(id)).map(|pool| pool.info().in_use).sum();
                assert_eq!(held, 1);
                assert_eq!(named.instance(old).unwrap().info().in_use, 1, "held where it was acquired");
            }
            Some((Err(other), _)) => panic!("{other:?}"),
        }
    });
}
