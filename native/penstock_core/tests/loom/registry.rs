//! Races of starts, adoptions and closes of one name. The registry keeps the owner and the gate
//! of a name in a *node*. The lock of the node's ownership orders these calls. Callers load the
//! word that names the gate without that lock.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use penstock_core::{
    Generation, Hit, Key, Kind, LimiterSettings, Limits, Pid, Rate, Refusal, Registry, Started, Status,
};

use crate::explore::explore;
use crate::limiter::MS;
use crate::pids;
use crate::support::{Fake, limit};

const NAME: u64 = 0x40;

/// The answer to a second hit at 0 ms, as the rate is one hit in 100 ms.
const DENIED: Hit = Hit::Deny(100 * MS);

/// Runs an act of another process on a thread of its own.
pub(crate) fn spawn<T: 'static>(
    registry: &Arc<Registry<Fake>>,
    host: &Fake,
    act: impl FnOnce(&Registry<Fake>, &Fake) -> T + 'static,
) -> JoinHandle<T> {
    let (registry, host) = (Arc::clone(registry), host.clone());
    thread::spawn(move || act(&registry, &host))
}

/// Returns a registry in which `first` has started the name. So the name has a node, and the
/// races of a model are only those for the gate of the name.
fn registry(host: &Fake, first: Pid) -> Arc<Registry<Fake>> {
    let registry = Registry::new();
    assert_eq!(registry.start(host, NAME, first, limit(1)), Started::Fresh);
    Arc::new(registry)
}

/// Has `owner` start the name with a limit of 2, on a thread of its own.
fn start_elsewhere(registry: &Arc<Registry<Fake>>, host: &Fake, owner: Pid) -> JoinHandle<Started> {
    spawn(registry, host, move |registry, host| registry.start(host, NAME, owner, limit(2)))
}

/// Each argument is a process, the result of its start, and a value. Returns the process whose
/// start returned `expected`, and its value. Asserts that the other start returned that process
/// as the owner.
fn winner<T>(expected: Started, [(a, by_a, value_a), (b, by_b, value_b)]: [(Pid, Started, T); 2]) -> (Pid, T) {
    match (by_a, by_b) {
        (started, Started::AlreadyStarted(owner)) if started == expected && owner == a => (a, value_a),
        (Started::AlreadyStarted(owner), started) if started == expected && owner == b => (b, value_b),
        both => panic!("{both:?}"),
    }
}

/// Two processes start a name without an owner. One of them must open the pool. The other must be
/// told that the first one is the owner.
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
        let (winner, limit) = winner(Started::Fresh, [(a, other.join().unwrap(), 2), (b, mine, 3)]);
        assert_eq!(named.owner(), Some(winner));
        let (pool, id) = named.pool().unwrap();
        assert_eq!((pool.info().status, pool.info().settings.limit, id), (Status::Open, limit, 1));
    });
}

/// Two processes start a name whose owner crashed. One of them must adopt the pool, which keeps
/// its holder and gets the settings of the adopter. The other must be told that the adopter is
/// the owner.
#[test]
fn start_against_a_start_when_the_owner_crashed() {
    explore(|| {
        let host = Fake::new(3);
        let [dead, a, b] = pids();
        let registry = registry(&host, dead);
        let named = registry.find(NAME).unwrap();
        let (pool, id) = named.pool().unwrap();
        assert_eq!(pool.try_acquire(&host, a, 1, Kind::Manual), Ok(()));
        host.begin_exit(dead);
        let other = start_elsewhere(&registry, &host, a);
        let mine = registry.start(&host, NAME, b, limit(3));
        let (winner, limit) = winner(Started::Adopted, [(a, other.join().unwrap(), 2), (b, mine, 3)]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!(named.pool().map(|(_, id)| id), Some(id), "the same pool");
        assert_eq!((pool.info().in_use, pool.info().settings.limit), (1, limit));
    });
}

/// Returns settings of one hit in 100 ms.
fn limiter() -> LimiterSettings {
    LimiterSettings {
        limits: Limits { limit: 1, per_ms: 100, rate: Rate::new(1, 100, 1).unwrap() },
        max_keys: 1,
        manual: false,
    }
}

/// One process starts a pool and another a limiter of the same name. Only one start succeeds. The
/// name must stand for the gate of that start.
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

/// Two processes start a limiter whose owner crashed. One of them must adopt the limiter. The hit
/// from before the crash must still be charged in it.
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
        let other = spawn(&registry, &host, move |registry, host| {
            registry.start_limiter(host, NAME, a, limiter(), || 0).unwrap()
        });
        let mine = registry.start_limiter(&host, NAME, b, limiter(), || 0).unwrap();
        let (winner, ()) = winner(Started::Adopted, [(a, other.join().unwrap(), ()), (b, mine, ())]);
        assert_eq!(named.owner(), Some(winner));
        assert_eq!(hit(1), DENIED);
    });
}

/// An owner is killed while it adopts a limiter. Its last call goes on to the end. Meanwhile
/// another owner adopts the limiter with other settings. The settings of the last owner must
/// stay.
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
        let late = spawn(&registry, &host, move |registry, host| {
            registry.start_limiter(host, NAME, killed, limits(10), || 0).unwrap()
        });
        host.begin_exit(killed);
        // If the killed process becomes the owner during this call, the next call adopts from it.
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

/// A caller hits a limiter while the owner closes it. Then the limiter is opened for another
/// name, as its next generation. The late hit must not be charged to that generation.
#[test]
fn hit_against_a_close_and_the_next_use_of_its_limiter() {
    const OTHER: u64 = 0x80;
    // The global key, and a key whose tag includes the generation, like the tags that the NIF
    // makes.
    let keys =
        |generation: Generation| [Key::Global(generation), Key::Tag(generation, u64::from(generation) << 32 | 7)];
    for kind in [0, 1] {
        explore(move || {
            let host = Fake::new(2);
            let [a, b] = pids();
            let registry = Arc::new(Registry::new());
            assert_eq!(registry.start_limiter(&host, NAME, a, limiter(), || 0), Ok(Started::Fresh));
            let hitter = spawn(&registry, &host, move |registry, _| {
                let (limiter, generation) = registry.find(NAME).unwrap().limiter()?;
                Some(limiter.hit(keys(generation)[kind], 0, 1))
            });
            assert!(registry.find(NAME).unwrap().close(&host, a));
            assert_eq!(registry.start_limiter(&host, OTHER, b, limiter(), || 0), Ok(Started::Fresh));
            let (limiter, generation) = registry.find(OTHER).unwrap().limiter().unwrap();
            let [all, tag] = keys(generation);
            assert_eq!(limiter.hit(all, 0, 1), Hit::Allow(0));
            assert_eq!(limiter.hit(all, 0, 1), DENIED);
            let hit = hitter.join().unwrap();
            // The late hit has left nothing in the only place of the table.
            assert_eq!(limiter.hit(tag, 0, 1), Hit::Allow(0));
            assert!(matches!(hit, None | Some(Hit::Allow(0) | Hit::Gone)), "{hit:?}");
        });
    }
}

/// The owner closes a name while another process starts it. The start must be refused, or must
/// open a pool that the close does not touch.
#[test]
fn close_against_a_start() {
    explore(|| {
        let host = Fake::new(2);
        let [a, b] = pids();
        let registry = registry(&host, a);
        let named = registry.find(NAME).unwrap();
        let starting = spawn(&registry, &host, move |registry, host| registry.start(host, NAME, b, limit(2)));
        assert!(named.close(&host, a));
        match starting.join().unwrap() {
            Started::AlreadyStarted(owner) => {
                assert_eq!(owner, a);
                assert!(named.pool().is_none());
                assert_eq!(named.owner(), None);
            }
            Started::Fresh => {
                assert_eq!(named.owner(), Some(b));
                let (pool, id) = named.pool().unwrap();
                assert_eq!((pool.info().status, pool.info().settings.limit), (Status::Open, 2));
                // If the close had not reached the first pool yet, the start made a second one.
                assert!(id <= 2);
                let other = named.instance(3 - id).map_or(Status::Closed, |pool| pool.info().status);
                assert_eq!(other, Status::Closed);
            }
            Started::Adopted => panic!("the owner is alive"),
        }
    });
}

/// The janitor closes the name of a crashed owner while a successor starts the name. The
/// successor adopts the pool, or opens it after the close. The close must not end the pool of the
/// successor.
#[test]
fn close_for_a_crashed_owner_against_its_successor() {
    explore(|| {
        let host = Fake::new(2);
        let [dead, successor] = pids();
        let registry = registry(&host, dead);
        host.begin_exit(dead);
        let starting = spawn(&registry, &host, move |registry, host| registry.start(host, NAME, successor, limit(2)));
        let named = registry.find(NAME).unwrap();
        let closed = named.close(&host, dead);
        assert_eq!(starting.join().unwrap(), if closed { Started::Fresh } else { Started::Adopted });
        assert_eq!(named.owner(), Some(successor));
        let (pool, _) = named.pool().unwrap();
        assert_eq!((pool.info().status, pool.info().settings.limit), (Status::Open, 2));
    });
}

/// A caller acquires by name while the owner closes the name and starts it again. If the caller
/// is admitted, the permit must stay in the pool that admitted it, open or not.
#[test]
fn close_against_an_acquire_by_name() {
    explore(|| {
        let host = Fake::new(2);
        let [owner, user] = pids();
        let registry = registry(&host, owner);
        let asking = spawn(&registry, &host, move |registry, host| {
            let (pool, id) = registry.find(NAME).unwrap().pool()?;
            Some((pool.try_acquire(host, user, 1, Kind::Manual), id))
        });
        let named = registry.find(NAME).unwrap();
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
        let (pool, new) = named.pool().unwrap();
        match asking.join().unwrap() {
            // The close of the name, or of its pool, came first.
            None | Some((Err(Refusal::Closed), _)) => assert_eq!((pool.info().in_use, new), (0, 1)),
            Some((Ok(()), old)) => {
                let held: u64 = [1, 2].iter().filter_map(|&id| named.instance(id)).map(|pool| pool.info().in_use).sum();
                assert_eq!(held, 1);
                assert_eq!(
                    named.instance(old).unwrap().info().in_use,
                    1,
                    "the permit is held in the pool that admitted it"
                );
            }
            Some((Err(other), _)) => panic!("{other:?}"),
        }
    });
}
