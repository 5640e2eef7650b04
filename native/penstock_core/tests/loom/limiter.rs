//! Races of hits, pauses, refunds and resets of one limiter. Also races of late callers: a late
//! caller still uses a limiter that was closed, and was then opened again for another name. Each
//! opening is a generation.

use std::sync::Arc;

use loom::thread;
use penstock_core::{Changed, Hit, Key, Limiter, Limits, Rate, Reserved};

use crate::explore::explore;

/// One ms: the times of these models are in ns.
pub(crate) const MS: u64 = 1_000_000;

/// Returns a rate of one hit in 100 ms, with the given burst.
pub(crate) fn limits(burst: u32) -> Limits {
    Limits { limit: 1, per_ms: 100, rate: Rate::new(1, 100, burst).unwrap() }
}

/// Opens a limiter. Returns it with its global key, to which it charges all hits without a key.
pub(crate) fn open(max_keys: u32, burst: u32) -> (Arc<Limiter>, Key) {
    let limiter = Arc::new(Limiter::new(max_keys).unwrap());
    let generation = limiter.open(limits(burst), false, 0);
    (limiter, Key::Global(generation))
}

// Keys of the first generation. The high bits of a tag select the first row of its key, so these
// three keys share that row.
pub(crate) const A: Key = Key::Tag(1, 1);
pub(crate) const B: Key = Key::Tag(1, 2);
pub(crate) const C: Key = Key::Tag(1, 3);

/// Explores a model of one key of a fresh limiter: once with the key `A`, whose state is in the
/// table, and once with the global key, whose state is not.
pub(crate) fn explore_kinds_of_key(
    max_keys: u32,
    burst: u32,
    model: impl Fn(&Arc<Limiter>, Key) + Copy + Send + Sync + 'static,
) {
    for global in [false, true] {
        explore(move || {
            let (limiter, all) = open(max_keys, burst);
            model(&limiter, if global { all } else { A });
        });
    }
}

/// Runs an act of another caller on a thread of its own.
pub(crate) fn spawn<T: 'static>(
    limiter: &Arc<Limiter>,
    act: impl FnOnce(&Limiter) -> T + 'static,
) -> thread::JoinHandle<T> {
    let limiter = Arc::clone(limiter);
    thread::spawn(move || act(&limiter))
}

/// Returns how many hits were allowed.
pub(crate) fn allowed(hits: &[Hit]) -> usize {
    hits.iter().filter(|hit| matches!(hit, Hit::Allow(_))).count()
}

/// Changes the rate of the first generation: calls `Limiter::update` until the change is in
/// force.
pub(crate) fn update(limiter: &Limiter, limits: Limits, now: u64) {
    let mut from = None;
    while let Changed::NotYet(progress) = limiter.update(1, |_| Some(limits), now, from) {
        from = Some(progress);
    }
}

/// A key has room for one more hit, and two callers hit it at once. Each hit is charged by a CAS
/// (`Limiter::decide`), so exactly one must be allowed.
#[test]
fn hit_against_hit() {
    explore_kinds_of_key(2, 2, |limiter, key| {
        assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(1));
        let other = spawn(limiter, move |limiter| limiter.hit(key, 0, 1));
        let hits = [limiter.hit(key, 0, 1), other.join().unwrap()];
        assert_eq!(allowed(&hits), 1);
    });
}

/// A hit that began before the pause may be allowed. Each hit that begins after `pause` has
/// returned must be denied.
#[test]
fn pause_against_hit() {
    explore_kinds_of_key(2, 2, |limiter, key| {
        let other = spawn(limiter, move |limiter| limiter.hit(key, 0, 1));
        assert!(limiter.pause(key, 0, 100 * MS));
        assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
        let hit = other.join().unwrap();
        assert!([Hit::Allow(1), Hit::Deny(100 * MS)].contains(&hit), "{hit:?}");
        assert_eq!(limiter.hit(key, 0, 1), Hit::Deny(100 * MS));
    });
}

/// Under loom a shard has room for the pause of one key. The second pause finds no room, so it
/// pauses all keys of the shard. A reset of `A` must not end the pause of `B`.
#[test]
fn pause_against_pause_and_reset() {
    explore(|| {
        let (limiter, _) = open(2, 2);
        let other = spawn(&limiter, |limiter| {
            assert!(limiter.pause(B, 0, 200 * MS));
            limiter.peek(B, 0, 1)
        });
        assert!(limiter.pause(A, 0, 100 * MS));
        assert!(matches!(limiter.peek(A, 0, 1), Hit::Deny(wait) if wait >= 100 * MS));
        assert!(limiter.reset(A));
        assert_eq!(other.join().unwrap(), Hit::Deny(200 * MS));
        assert_eq!(limiter.peek(B, 0, 1), Hit::Deny(200 * MS));
    });
}

/// A late pause of the previous generation must pause no key of the next: `Pauses::pause` checks
/// the generation under its lock.
#[test]
fn open_against_pause() {
    explore_kinds_of_key(2, 2, |limiter, key| {
        let other = spawn(limiter, move |limiter| limiter.pause(key, 0, 100 * MS));
        let new = limiter.open(limits(2), false, 0);
        other.join().unwrap();
        for key in [Key::Global(new), Key::Tag(new, 7)] {
            assert_eq!(limiter.peek(key, 0, 1), Hit::Allow(1));
        }
    });
}

/// A charge beyond the burst races a hit. After both, two refunds race each other. No charge and
/// no refund must be lost.
#[test]
fn charge_against_hit_and_refund_against_refund() {
    explore(|| {
        let (limiter, _) = open(2, 2);
        let other = spawn(&limiter, |limiter| limiter.charge_anyway(A, 0, 3));
        let hit = limiter.hit(A, 0, 1);
        other.join().unwrap();
        // The key owes the charge of 3, and also the hit if it was allowed.
        let owed = 3 + u64::from(matches!(hit, Hit::Allow(_)));
        assert_eq!(limiter.peek(A, 0, 1), Hit::Deny((owed - 1) * 100 * MS));
        let other = spawn(&limiter, |limiter| limiter.give_back(A, 0, 1));
        limiter.give_back(A, 0, 1);
        other.join().unwrap();
        assert_eq!(limiter.peek(A, 0, 1), if owed == 4 { Hit::Deny(100 * MS) } else { Hit::Allow(0) });
    });
}

/// The burst of a key is used up. A reset races one hit, and a second hit follows both. Exactly
/// one of the two hits must be allowed.
#[test]
fn reset_against_hit() {
    explore_kinds_of_key(2, 1, |limiter, key| {
        assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(0));
        let other = spawn(limiter, move |limiter| assert!(limiter.reset(key)));
        let hit = limiter.hit(key, 0, 1);
        other.join().unwrap();
        let then = limiter.hit(key, 0, 1);
        assert_eq!(allowed(&[hit, then]), 1, "{hit:?} {then:?}");
    });
}

/// A reset vacates the place of the key while two callers hit the key. The callers may claim two
/// places. Only one of the two must become the place of the key.
#[test]
fn reset_against_two_hits() {
    explore(|| {
        let (limiter, _) = open(2, 1);
        assert_eq!(limiter.hit(A, 0, 1), Hit::Allow(0));
        let reset = spawn(&limiter, |limiter| assert!(limiter.reset(A)));
        let other = spawn(&limiter, |limiter| limiter.hit(A, 0, 1));
        let mut hits = vec![limiter.hit(A, 0, 1), other.join().unwrap()];
        reset.join().unwrap();
        hits.push(limiter.hit(A, 0, 1));
        assert_eq!(allowed(&hits), 1, "{hits:?}");
        assert!(limiter.keys(0, 0).0 == 1);
    });
}

/// Two callers reserve turns at the same time. One turn must come at once, and the other one
/// interval later.
#[test]
fn reserve_against_reserve() {
    explore(|| {
        let (limiter, all) = open(1, 1);
        let other = spawn(&limiter, move |limiter| limiter.reserve(all, 0, 1, u64::MAX));
        let mut turns = [limiter.reserve(all, 0, 1, u64::MAX), other.join().unwrap()];
        turns.sort_by_key(|turn| if let Reserved::In(wait) = turn { *wait } else { u64::MAX });
        assert_eq!(turns, [Reserved::In(0), Reserved::In(100 * MS)]);
    });
}

/// A late hit without a key is charged to the previous generation before the limiter is opened
/// again, or gets `Gone`. The next generation must owe nothing for that hit.
#[test]
fn open_against_hit() {
    explore(|| {
        let (limiter, old) = open(1, 1);
        let other = spawn(&limiter, move |limiter| limiter.hit(old, 0, 1));
        let new = Key::Global(limiter.open(limits(1), false, 0));
        let hit = other.join().unwrap();
        assert!(matches!(hit, Hit::Allow(0) | Hit::Gone), "{hit:?}");
        assert_eq!(limiter.hit(new, 0, 1), Hit::Allow(0));
    });
}

/// A late hit of the previous generation may take the only place after `open` has cleared the
/// table. The late caller must then see that its generation is over, and vacate the place.
#[test]
fn open_against_hit_of_a_key() {
    for hit_before in [false, true] {
        explore(move || {
            let (limiter, _) = open(1, 1);
            if hit_before {
                limiter.hit(A, 0, 1);
            }
            let late = spawn(&limiter, move |limiter| limiter.hit(A, 0, 1));
            let now = limiter.open(limits(1), false, 0);
            // If the late hit has the only place now, this hit is denied.
            let mine = limiter.hit(Key::Tag(now, 9), 0, 1);
            let late = late.join().unwrap();
            assert!(
                late == Hit::Gone || late == if hit_before { Hit::Deny(100 * MS) } else { Hit::Allow(0) },
                "{late:?}"
            );
            assert_eq!(allowed(&[mine, limiter.hit(Key::Tag(now, 9), 0, 1)]), 1, "{mine:?}");
        });
    }
}

/// A key has room for one more hit, which races a reset. The hit must be allowed in either order.
/// If it came before the reset, the reset must clear its charge.
#[test]
fn reset_against_a_hit_that_is_allowed() {
    explore_kinds_of_key(2, 2, |limiter, key| {
        assert_eq!(limiter.hit(key, 0, 1), Hit::Allow(1));
        let other = spawn(limiter, move |limiter| assert!(limiter.reset(key)));
        let hit = limiter.hit(key, 0, 1);
        other.join().unwrap();
        let left = if hit == Hit::Allow(1) { 0 } else { 1 };
        assert_eq!((allowed(&[hit]), limiter.hit(key, 0, 1)), (1, Hit::Allow(left)));
    });
}

/// A late `advance` must not move the clock of the next generation: `advance` checks the
/// generation under the lock under which `open` begins the next one.
#[test]
fn open_against_advance() {
    explore(|| {
        let limiter = Arc::new(Limiter::new(1).unwrap());
        limiter.open(limits(1), true, 0);
        let other = spawn(&limiter, |limiter| limiter.advance(1, 5));
        limiter.open(limits(1), true, 0);
        other.join().unwrap();
        assert_eq!(limiter.now(|| 1), 0);
    });
}
