//! Tests of the names of limiters and bans, and of the reuse of their memory for other names.

use penstock_core::{
    Ban, Banned, Generation, Hit, Key, Limiter, LimiterSettings, Named, Registry, Reserved, Started, Status,
};

use crate::support::{Fake, limit};
use crate::{BANS, NAME, limiter, names, pids, take};

/// Hits the limiter of a name, without a key.
fn hit(named: Named<'_, Fake>) -> Hit {
    let (limiter, generation) = named.limiter().unwrap();
    limiter.hit(Key::Global(generation), 0, 1)
}

/// The answer to a second hit at 0 ms, as the rate is one hit in 100 ms.
const DENIED: Hit = Hit::Deny(100_000_000);

#[test]
fn the_next_owner_adopts_a_limiter_with_what_is_owed() {
    let (host, registry) = (Fake::new(4), Registry::new());
    let [crashed, next, third, other] = pids();
    assert_eq!(registry.start_limiter(&host, NAME, crashed, limiter(1, 1), || 0), Ok(Started::Fresh));
    assert_eq!(names(&registry), [NAME]);
    let named = registry.find(NAME).unwrap();
    assert_eq!(hit(named), Hit::Allow(0));
    assert_eq!(registry.start_limiter(&host, NAME, next, limiter(1, 1), || 0), Ok(Started::AlreadyStarted(crashed)));
    assert_eq!(registry.start(&host, NAME, next, limit(1)), Started::AlreadyStarted(crashed));
    host.begin_exit(crashed);
    assert_eq!(registry.start_limiter(&host, NAME, next, limiter(1, 1), || 0), Ok(Started::Adopted));
    assert_eq!(hit(named), DENIED);
    host.begin_exit(next);
    // The rate of the new owner comes into force: two hits in 100 ms, with a burst of 1. The
    // change cuts what is owed to the new burst, which is worth 50 ms.
    assert_eq!(registry.start_limiter(&host, NAME, third, limiter(2, 1), || 0), Ok(Started::Adopted));
    assert_eq!(hit(named), Hit::Deny(50_000_000));
    assert!(!named.close(&host, other));
    assert!(named.close(&host, third));
    assert!(named.limiter().is_none());
    assert_eq!(names(&registry), []);
}

#[test]
fn a_limiter_of_another_size_or_clock_is_not_adopted() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    let named = || registry.find(NAME).unwrap();
    let manual = LimiterSettings { manual: true, ..limiter(1, 2) };
    for settings in [limiter(1, 1), limiter(1, 2), manual] {
        assert_eq!(registry.start_limiter(&host, NAME, owner, settings, || 0), Ok(Started::Fresh));
        assert_eq!((hit(named()), hit(named())), (Hit::Allow(0), DENIED));
        assert_eq!(named().limiter().map(|(limiter, id)| limiter.info(id).unwrap().max_keys), Some(settings.max_keys));
    }
}

#[test]
fn a_name_may_stand_for_a_pool_then_a_limiter_then_a_pool() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [owner, holder] = pids();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    let (pool, _) = named.pool().unwrap();
    assert_eq!(take(&host, named, holder), Ok(()));
    assert_eq!(registry.start_limiter(&host, NAME, owner, limiter(1, 1), || 0), Ok(Started::Fresh));
    assert!(named.pool().is_none());
    assert_eq!(pool.info().status, Status::Closed);
    assert_eq!(hit(named), Hit::Allow(0));
    assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
    assert!(named.limiter().is_none());
    assert_eq!(take(&host, named, holder), Ok(()));
}

#[test]
fn the_memory_of_a_closed_limiter_serves_the_next_of_its_size() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    let mut seen: Vec<*const Limiter> = Vec::new();
    for n in 1..=100 {
        let name = n << 6;
        let max_keys = 100 + (n % 2) as u32;
        assert_eq!(registry.start_limiter(&host, name, owner, limiter(1, max_keys), || 0), Ok(Started::Fresh));
        let named = registry.find(name).unwrap();
        let (limiter, generation) = named.limiter().unwrap();
        assert_eq!(limiter.hit(Key::Tag(generation, 7), 0, 1), Hit::Allow(0));
        assert_eq!((limiter.info(generation).unwrap().allowed, hit(named)), (1, Hit::Allow(0)));
        seen.push(limiter);
        assert!(named.close(&host, owner));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2);
}

/// A caller finds a limiter. Then the limiter is closed and serves another name, which has a key
/// in the only place of the table. The late caller must get `Gone`, and change nothing.
#[test]
fn a_late_caller_learns_nothing_of_the_next_limiter() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [a, b] = pids();
    let settings = limiter(1, 1);
    assert_eq!(registry.start_limiter(&host, NAME, a, settings, || 0), Ok(Started::Fresh));
    let (late, before) = registry.find(NAME).unwrap().limiter().unwrap();
    assert!(registry.find(NAME).unwrap().close(&host, a));
    assert_eq!(registry.start_limiter(&host, NAME << 1, b, settings, || 0), Ok(Started::Fresh));
    let (limiter, now) = registry.find(NAME << 1).unwrap().limiter().unwrap();
    assert!(std::ptr::eq(late, limiter));
    assert_eq!(limiter.hit(Key::Tag(now, 5), 0, 1), Hit::Allow(0));
    for key in [Key::Tag(before, 7), Key::Global(before)] {
        assert_eq!((late.hit(key, 0, 1), late.hit(key, 0, 9), late.peek(key, 0, 1)), (Hit::Gone, Hit::Gone, Hit::Gone));
        assert_eq!(late.reserve(key, 0, 1, 0), Reserved::Gone);
        assert!(!late.reset(key));
    }
    let info = limiter.info(now).unwrap();
    assert_eq!((info.allowed, info.denied), (1, 0));
}

/// Returns the ban list of a name, and its generation.
fn bans(registry: &Registry<Fake>, name: u64) -> (&Ban, Generation) {
    registry.find(name).unwrap().bans().unwrap()
}

#[test]
fn a_late_caller_bans_no_key_in_the_next_list() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [a, b] = pids();
    assert_eq!(registry.start_bans(&host, NAME, a, BANS, || 0), Ok(Started::Fresh));
    let (late, before) = bans(&registry, NAME);
    assert!(registry.find(NAME).unwrap().close(&host, a));
    assert_eq!(registry.start_bans(&host, NAME << 1, b, BANS, || 0), Ok(Started::Fresh));
    let (ban, now) = bans(&registry, NAME << 1);
    assert!(std::ptr::eq(late, ban));
    ban.ban(now, 5, 0, 10, Box::new([5]), Box::new([]));
    // The list has room for one ban, so a second ban would drop the ban of key 5.
    late.ban(before, 6, 0, 100, Box::new([6]), Box::new([]));
    late.record_failure(before, 7, 0, || (Box::new([7]), Box::new([])));
    assert!(!late.advance(before, 1));
    assert_eq!([5, 6, 7].map(|tag| ban.check(tag, 0)), [Banned::For(10_000_000), Banned::No, Banned::No]);
    assert_eq!(ban.info().dropped, 0);
}
