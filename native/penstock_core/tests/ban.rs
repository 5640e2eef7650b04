//! Compares failures and bans with a plain model. Also tests full tables and lists, escalation up
//! to its maximum, and reopening.
#![cfg(not(any(loom, shuttle)))]

use std::collections::BTreeMap;

use penstock_core::{Ban, BanSettings, Banned, FOREVER, Failure, Reusable};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

const SETTINGS: BanSettings = BanSettings {
    failures: 3,
    within_ms: 100,
    ban_ms: 50,
    escalate: 2,
    max_ban_ms: 300,
    forget_ms: 300,
    max_keys: 1_000,
    max_bans: 100,
    manual: false,
};

fn open(settings: BanSettings) -> Ban {
    let ban = Ban::make(settings).unwrap();
    ban.open(settings, 0);
    ban
}

/// Returns a tag that looks like the hash of `n`.
fn tag(n: u64) -> u64 {
    let mut word = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB).max(1)
}

fn bytes(n: u64) -> Box<[u8]> {
    n.to_be_bytes().into()
}

fn fail(ban: &Ban, n: u64, ms: u64) -> Failure {
    ban.record_failure(1, tag(n), ms * MS, || (bytes(n), bytes(0)))
}

/// Returns the key, the ms left and the level of each ban, read in pieces.
fn list(ban: &Ban, ms: u64) -> Vec<(u64, u64, u32)> {
    let (mut found, mut from) = (Vec::new(), Some(0));
    while let Some(tag) = from {
        let (some, next) = ban.list(tag, ms * MS, 7);
        found.extend(some.into_iter().map(|listed| {
            (u64::from_be_bytes(listed.key.as_ref().try_into().unwrap()), listed.left / MS, listed.level)
        }));
        from = next;
    }
    found.sort_unstable();
    found
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Fail(u64),
    /// A key, and the ms for which it is banned; 0 for a ban without an end.
    Ban(u64, u32),
    Unban(u64),
}

/// Generates an act, and the ms that pass before it.
pub(crate) fn act() -> impl Strategy<Value = (u64, Act)> {
    let act = prop_oneof![
        12 => (0..6_u64).prop_map(Act::Fail),
        1 => (0..6_u64, prop_oneof![4 => 1..400_u32, 1 => Just(0)]).prop_map(|(key, ms)| Act::Ban(key, ms)),
        1 => (0..6_u64).prop_map(Act::Unban),
    ];
    (prop_oneof![3 => 0..3_u64, 3 => 0..40_u64, 1 => 0..400_u64], act)
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    prop::collection::vec(act(), 1..200)
}

/// The state of a key: the times of its failures in ms, the end of its ban in ms (`u64::MAX` if
/// the ban never ends), and its level.
#[derive(Clone, Debug, Default)]
struct Known {
    failed: Vec<u64>,
    until: u64,
    level: u32,
}

impl Known {
    /// Returns the level, or 0 if the ban ended `forget` ms ago or earlier.
    fn remembered(&self, now: u64, forget: u32) -> u32 {
        if now < self.until.saturating_add(u64::from(forget)) { self.level } else { 0 }
    }

    /// Returns the time left of the ban, in ns.
    fn left(&self, now: u64) -> u64 {
        if self.until == u64::MAX { FOREVER } else { (self.until - now) * MS }
    }
}

/// Generates settings of at most nine failures.
pub(crate) fn settings() -> impl Strategy<Value = BanSettings> {
    let ban_ms = prop_oneof![4 => Just(50_u32), 1 => Just(0)];
    (1_u32..10, 1_u32..4, 1_u32..500, ban_ms).prop_map(|(failures, escalate, forget_ms, ban_ms)| BanSettings {
        failures,
        escalate,
        forget_ms,
        ban_ms,
        ..SETTINGS
    })
}

/// Compares each answer with that of a list of all failures.
pub(crate) fn compare(settings: BanSettings, acts: Vec<(u64, Act)>) {
    let BanSettings { failures, escalate, forget_ms, ban_ms, .. } = settings;
    let ban = open(settings);
    let mut model: BTreeMap<u64, Known> = BTreeMap::new();
    let mut now = 1_000;
    for (gap, act) in acts {
        now += gap;
        match act {
            Act::Fail(n) => {
                let known = model.entry(n).or_default();
                // The answer, and the level if this failure bans the key.
                let expected = if known.until > now {
                    (Failure::Banned(known.left(now)), None)
                } else {
                    known.failed.retain(|&at| now - at < 100);
                    known.failed.push(now);
                    let count = known.failed.len() as u32;
                    if count < failures {
                        (Failure::Left(failures - count), None)
                    } else {
                        known.level = known.remembered(now, forget_ms) + 1;
                        let ms = (50 * u64::from(escalate).pow(known.level.min(10) - 1)).min(300);
                        known.until = if ban_ms == 0 { u64::MAX } else { now + ms };
                        known.failed.clear();
                        (Failure::Banned(known.left(now)), Some(known.level))
                    }
                };
                assert_eq!(ban.record(1, tag(n), now * MS, || (bytes(n), bytes(0))), expected);
            }
            Act::Ban(n, ms) => {
                ban.ban(1, tag(n), now * MS, ms, bytes(n), bytes(0));
                let known = model.entry(n).or_default();
                let until = if ms == 0 { u64::MAX } else { now + u64::from(ms) };
                (known.level, known.until) = (known.remembered(now, forget_ms), until);
            }
            Act::Unban(n) => {
                ban.unban(tag(n));
                model.remove(&n);
            }
        }
        for (&n, known) in &model {
            let expected = if known.until > now { Banned::For(known.left(now)) } else { Banned::No };
            assert_eq!(ban.check(tag(n), now * MS), expected);
        }
        let expected: Vec<_> = model
            .iter()
            .filter(|(_, known)| known.until > now)
            .map(|(&n, known)| (n, known.left(now) / MS, known.level))
            .collect();
        assert_eq!(list(&ban, now), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    // If at most nine failures ban a key, each failure counts for exactly the time `within_ms`.
    #[test]
    fn each_answer_is_that_of_a_list_of_all_failures(settings in settings(), acts in acts()) {
        compare(settings, acts);
    }

    // If a ban takes more than nine failures, their times are merged. No failure is forgotten
    // early, so no ban is late. A failure may count for up to a seventh of `within_ms` too long,
    // so a ban may be a little early.
    #[test]
    fn many_failures_ban_no_later_and_little_earlier(
        failures in 10_u32..40, within in 7_u32..200, gaps in prop::collection::vec(0_u64..30, 1..300),
    ) {
        let ban = open(BanSettings { failures, within_ms: within, ..SETTINGS });
        let (mut now, mut failed) = (1_000, Vec::new());
        for gap in gaps {
            now += gap;
            failed.push(now);
            let within_last = |ms: u32| failed.iter().filter(|&&at| now - at < u64::from(ms)).count() as u32;
            let (least, most) = (within_last(within), within_last(within + within.div_ceil(7) - 1));
            match fail(&ban, 1, now) {
                Failure::Left(left) => prop_assert!((least..=most).contains(&(failures - left)), "{left} left of {failures}"),
                Failure::Banned(_) => {
                    prop_assert!(most >= failures);
                    failed.clear();
                    ban.unban(tag(1));
                }
            }
        }
    }
}

#[test]
fn many_failures_at_one_time_ban() {
    let ban = open(BanSettings { failures: 1_000, ..SETTINGS });
    for n in 1..1_000 {
        assert_eq!(fail(&ban, 1, 5), Failure::Left(1_000 - n));
    }
    assert_eq!(fail(&ban, 1, 5), Failure::Banned(50 * MS));
    assert_eq!(fail(&ban, 2, 5), Failure::Left(999));
    assert_eq!(ban.check(tag(2), 5 * MS), Banned::No);
}

#[test]
fn each_ban_is_longer_up_to_the_maximum_until_its_level_is_forgotten() {
    let ban = open(BanSettings { failures: 1, ..SETTINGS });
    let mut now = 0;
    for ms in [50, 100, 200, 300, 300] {
        assert_eq!(fail(&ban, 1, now), Failure::Banned(ms * MS));
        // During a ban, failures do not count.
        assert_eq!(fail(&ban, 1, now + ms - 1), Failure::Banned(MS));
        assert_eq!(ban.check(tag(1), (now + ms) * MS), Banned::No);
        // This is the last ms in which the level is remembered: 299 ms after the end of the ban.
        now += ms + 299;
    }
    // Now the fifth ban ended 300 ms ago, so its level is forgotten.
    now += 1;
    for ms in [50, 100] {
        assert_eq!(fail(&ban, 1, now), Failure::Banned(ms * MS));
        now += ms + 299;
    }
    now += 1;
    assert_eq!(fail(&ban, 1, now), Failure::Banned(50 * MS));
}

#[test]
fn the_count_of_bans_is_that_of_the_list() {
    let ban = open(SETTINGS);
    for n in 0..50 {
        ban.ban(1, tag(n), 0, 10 + n as u32, bytes(n), bytes(0));
    }
    let count = |ms: u64| {
        let (mut sum, mut from) = (0, Some(0));
        while let Some(tag) = from {
            let (some, next) = ban.count(tag, ms * MS, 7);
            (sum, from) = (sum + some, next);
        }
        sum
    };
    for (ms, left) in [(0, 50), (9, 50), (10, 49), (30, 29), (58, 1), (59, 0)] {
        assert_eq!((count(ms), list(&ban, ms).len() as u64), (left, left), "at {ms} ms");
    }
}

#[test]
fn escalation_does_not_overflow() {
    let most = i32::MAX as u32;
    let settings = BanSettings {
        failures: 1,
        within_ms: most,
        ban_ms: most,
        escalate: most,
        max_ban_ms: most,
        forget_ms: most,
        ..SETTINGS
    };
    let ban = open(settings);
    for n in 0..100_u64 {
        let now = n * u64::from(most);
        assert_eq!(fail(&ban, 1, now), Failure::Banned(u64::from(most) * MS));
    }
}

#[test]
fn a_full_list_drops_the_ban_that_ends_first() {
    let ban = open(SETTINGS);
    for n in 0..100 {
        ban.ban(1, tag(n), 0, 1_000 + n as u32, bytes(n), bytes(0));
    }
    ban.ban(1, tag(200), 0, 10, bytes(200), bytes(0));
    assert_eq!((ban.check(tag(0), 0), ban.info().dropped), (Banned::No, 1));
    assert_eq!(list(&ban, 0).len(), 100);
    // A ban that is over makes room before any that is in force.
    ban.ban(1, tag(201), 20 * MS, 10, bytes(201), bytes(0));
    assert_eq!(ban.info().dropped, 1);
    assert_eq!(list(&ban, 20).len(), 100);
    assert!((1..100).all(|n| matches!(ban.check(tag(n), 20 * MS), Banned::For(_))));
    // A key that is banned again keeps its own place.
    ban.ban(1, tag(1), 20 * MS, 10, bytes(1), bytes(0));
    assert_eq!(ban.info().dropped, 1);
}

#[test]
fn a_new_key_takes_the_place_with_the_fewest_and_oldest_failures() {
    // The table has one row of 16 places.
    let ban = open(BanSettings { max_keys: 1, failures: 100, ..SETTINGS });
    for n in 0..16 {
        for at in 0..=n {
            fail(&ban, n, at);
        }
    }
    // The first key has one failure, so it loses its place.
    assert_eq!(fail(&ban, 99, 16), Failure::Left(99));
    assert_eq!(fail(&ban, 1, 16), Failure::Left(97));
    assert_eq!(fail(&ban, 0, 16), Failure::Left(99));
    // At 200 ms the failures of the other keys no longer count, so their places can be taken.
    assert_eq!(fail(&ban, 100, 200), Failure::Left(99));
    assert!(ban.info().memory < 10_000);
}

#[test]
fn a_list_that_is_opened_again_knows_no_ban_and_no_failure() {
    let ban = open(BanSettings { failures: 1, ..SETTINGS });
    fail(&ban, 1, 0);
    ban.open(SETTINGS, 0);
    assert_eq!((ban.check(tag(1), 0), list(&ban, 0)), (Banned::No, vec![]));
    assert_eq!(fail(&ban, 1, 0), Failure::Left(2));
}

#[test]
fn a_list_that_resumes_keeps_its_failures_under_new_settings() {
    let ban = open(SETTINGS);
    fail(&ban, 1, 0);
    let new = BanSettings { failures: 2, ban_ms: 70, ..SETTINGS };
    assert!(Ban::is_compatible(SETTINGS, new));
    ban.resume(1, SETTINGS, new, || 0, &|| true);
    assert_eq!(fail(&ban, 1, 0), Failure::Banned(70 * MS));
    for other in [BanSettings { max_keys: 7, ..SETTINGS }, BanSettings { max_bans: 7, ..SETTINGS }] {
        assert!(!Ban::is_compatible(SETTINGS, other));
    }
}

#[test]
fn bans_that_are_over_do_not_accumulate() {
    let ban = open(BanSettings { max_bans: 1_000_000, ..SETTINGS });
    for n in 0..1_000 {
        ban.ban(1, tag(n), 0, 10, bytes(n), bytes(0));
    }
    assert_eq!(ban.kept(), 1_000);
    for n in 0..1_100 {
        ban.ban(1, tag(10_000 + n), (10 + n) * MS, 10, bytes(n), bytes(0));
    }
    // The ten bans of the last 10 ms are in force. The list keeps at most one expired ban for
    // each of them.
    assert_eq!(list(&ban, 1_109).len(), 10);
    assert!(ban.kept() <= 20, "{}", ban.kept());
    assert_eq!(ban.info().dropped, 0);
}
