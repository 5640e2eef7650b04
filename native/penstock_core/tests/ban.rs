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
    /// Each key fails, this number of ms after the one before it. So a row gets full at once.
    EachFails(u64),
}

/// Generates an act, and the ms that pass before it.
pub(crate) fn act() -> impl Strategy<Value = (u64, Act)> {
    // More keys than a row has places; most acts meet on few.
    let key = prop_oneof![3 => 0..3_u64, 2 => 0..6_u64, 2 => 0..KEYS];
    let ms = prop_oneof![8 => 1..400_u32, 2 => Just(0), 1 => 1..=MOST];
    let act = prop_oneof![
        12 => key.clone().prop_map(Act::Fail),
        1 => (key.clone(), ms).prop_map(|(key, ms)| Act::Ban(key, ms)),
        1 => key.prop_map(Act::Unban),
        1 => (0..3_u64).prop_map(Act::EachFails),
    ];
    let gap = prop_oneof![30 => 0..3_u64, 30 => 0..40_u64, 10 => 0..400_u64, 1 => 0..u64::from(MOST)];
    (gap, act)
}

/// The largest number of each setting.
const MOST: u32 = i32::MAX as u32;
/// The number of keys: more than a row has places.
const KEYS: u64 = 20;
/// The number of places in a row of the table of failures.
const ROW: usize = 16;
/// A table of at most this many keys has one row.
const ONE_ROW: u32 = 8;

/// The failures of a key, in a place of the table.
#[derive(Clone, Debug, Default)]
struct Place {
    key: Option<u64>,
    /// The times in ms that counted when the key failed last.
    failed: Vec<u64>,
    /// The time of the last failure.
    newest: u64,
}

/// A ban, in force or over: its end in ms (`u64::MAX` if it never ends), and the level of its
/// key.
#[derive(Clone, Copy, Debug)]
struct Known {
    until: u64,
    level: u32,
}

impl Known {
    /// Returns the time left of the ban, in ns.
    fn left(&self, now: u64) -> u64 {
        if self.until == u64::MAX { FOREVER } else { (self.until - now) * MS }
    }
}

/// The model: lists that each act searches from end to end.
struct Model {
    settings: BanSettings,
    now: u64,
    places: Vec<Place>,
    bans: BTreeMap<u64, Known>,
    put: u64,
    dropped: u64,
}

impl Model {
    fn new(settings: BanSettings) -> Self {
        // In a table of more rows, no row is full of so few keys.
        let places = if settings.max_keys <= ONE_ROW { ROW } else { KEYS as usize };
        Self { settings, now: 1_000, places: vec![Place::default(); places], bans: BTreeMap::new(), put: 0, dropped: 0 }
    }

    fn ban_of(&self, n: u64) -> Option<Known> {
        self.bans.get(&n).copied().filter(|ban| ban.until > self.now)
    }

    /// Returns the level of a key, or 0 if its ban ended `forget_ms` ago or earlier.
    fn level(&self, n: u64) -> u32 {
        let forgotten = |ban: &Known| self.now >= ban.until.saturating_add(self.settings.forget_ms.into());
        self.bans.get(&n).filter(|ban| !forgotten(ban)).map_or(0, |ban| ban.level)
    }

    /// Returns the duration of a ban of this level in ms; `None` if it never ends.
    fn duration(&self, level: u32) -> Option<u64> {
        let (most, escalate) = (u64::from(self.settings.max_ban_ms), u64::from(self.settings.escalate));
        let first = Some(self.settings.ban_ms).filter(|&ms| ms > 0)?;
        Some((1..level).fold(most.min(first.into()), |ms, _| most.min(ms * escalate)))
    }

    /// Counts one more failure of a key, which may take the place of another.
    fn count(&mut self, n: u64) -> u32 {
        let (now, within) = (self.now, u64::from(self.settings.within_ms));
        let of_key = self.places.iter_mut().position(|place| place.key == Some(n));
        let at = of_key.unwrap_or_else(|| {
            let worth = |place: &Place| {
                let counts = place.key.is_some() && now - place.newest < within;
                (counts, place.failed.len(), place.newest)
            };
            let at = (0..self.places.len()).min_by_key(|&at| worth(&self.places[at])).expect("there are places");
            self.places[at] = Place { key: Some(n), ..Place::default() };
            at
        });
        let place = &mut self.places[at];
        place.newest = now;
        place.failed.retain(|&at| now - at < within);
        place.failed.push(now);
        place.failed.len() as u32
    }

    fn forgive(&mut self, n: u64) {
        if let Some(place) = self.places.iter_mut().find(|place| place.key == Some(n)) {
            *place = Place::default();
        }
    }

    fn put(&mut self, n: u64, ban: Known) {
        self.put += 1;
        self.bans.remove(&n);
        for _ in 0..2 {
            if self.first().is_some_and(|(until, _, n)| until <= self.now && self.level(n) == 0) {
                self.drop_first();
            }
        }
        while self.bans.len() >= self.settings.max_bans as usize {
            self.drop_first();
        }
        self.bans.insert(n, ban);
    }

    /// Returns the ban that ends first: its end, its tag and its key.
    fn first(&self) -> Option<(u64, u64, u64)> {
        self.bans.iter().map(|(&n, ban)| (ban.until, tag(n), n)).min()
    }

    fn drop_first(&mut self) {
        let (until, _, n) = self.first().expect("there is a ban");
        self.dropped += u64::from(until > self.now);
        self.bans.remove(&n);
    }

    /// Returns the answer to a failure, and the level if this failure bans the key.
    fn fail(&mut self, n: u64) -> (Failure, Option<u32>) {
        if let Some(ban) = self.ban_of(n) {
            return (Failure::Banned(ban.left(self.now)), None);
        }
        let count = self.count(n);
        if count < self.settings.failures {
            return (Failure::Left(self.settings.failures - count), None);
        }
        let level = self.level(n) + 1;
        let ban = Known { until: self.duration(level).map_or(u64::MAX, |ms| self.now + ms), level };
        self.put(n, ban);
        self.forgive(n);
        (Failure::Banned(ban.left(self.now)), Some(level))
    }
}

/// Generates settings of at most nine failures, of few or many keys and bans.
pub(crate) fn settings() -> impl Strategy<Value = BanSettings> {
    let ms = || prop_oneof![20 => Just(50_u32), 10 => 1..500_u32, 1 => Just(MOST)];
    let ban_ms = prop_oneof![4 => ms(), 1 => Just(0)];
    let within_ms = prop_oneof![3 => Just(100_u32), 3 => ms()];
    let escalate = prop_oneof![10 => 1..4_u32, 1 => Just(MOST)];
    let max_ban_ms = prop_oneof![Just(300_u32), ms()];
    let (max_keys, max_bans) = (prop_oneof![1..=4_u32, Just(1_000)], prop_oneof![1..=4_u32, Just(100)]);
    let times = (within_ms, ban_ms, max_ban_ms, 1_u32..500);
    (1_u32..10, escalate, times, max_keys, max_bans).prop_map(
        |(failures, escalate, (within_ms, ban_ms, max_ban_ms, forget_ms), max_keys, max_bans)| BanSettings {
            failures,
            within_ms,
            ban_ms,
            escalate,
            max_ban_ms,
            forget_ms,
            max_keys,
            max_bans,
            manual: false,
        },
    )
}

/// Compares each answer with that of the model.
pub(crate) fn compare(settings: BanSettings, acts: Vec<(u64, Act)>) {
    let ban = open(settings);
    let mut model = Model::new(settings);
    for (gap, act) in acts {
        model.now += gap;
        let fail = |model: &mut Model, n| {
            assert_eq!(ban.record(1, tag(n), model.now * MS, || (bytes(n), bytes(0))), model.fail(n), "key {n}");
        };
        match act {
            Act::Fail(n) => fail(&mut model, n),
            Act::EachFails(ms) => {
                for n in 0..KEYS {
                    model.now += ms;
                    fail(&mut model, n);
                }
            }
            Act::Ban(n, ms) => {
                ban.ban(1, tag(n), model.now * MS, ms, bytes(n), bytes(0));
                let until = if ms == 0 { u64::MAX } else { model.now + u64::from(ms) };
                model.put(n, Known { until, level: model.level(n) });
            }
            Act::Unban(n) => {
                ban.unban(tag(n));
                model.bans.remove(&n);
                model.forgive(n);
            }
        }
        let now = model.now;
        for n in 0..KEYS {
            let expected = model.ban_of(n).map_or(Banned::No, |ban| Banned::For(ban.left(now)));
            assert_eq!(ban.check(tag(n), now * MS), expected, "key {n}");
        }
        let expected: Vec<_> =
            (0..KEYS).filter_map(|n| model.ban_of(n).map(|ban| (n, ban.left(now) / MS, ban.level))).collect();
        assert_eq!(list(&ban, now), expected);
        assert_eq!((ban.kept(), ban.put(), ban.info().dropped), (model.bans.len(), model.put, model.dropped));
    }
}

/// Generates a number of failures above nine, and the ms in which they count.
pub(crate) fn many_failures() -> impl Strategy<Value = (u32, u32)> {
    (10_u32..40, 7_u32..200)
}

/// Lets a key fail after each gap, in ms. Compares when it is banned with a list of all failures.
///
/// If a ban takes more than nine failures, their times are merged. No failure is forgotten early,
/// so no ban is late. A failure may count for up to a seventh of `within_ms` too long, so a ban
/// may be a little early.
pub(crate) fn fail_often((failures, within): (u32, u32), gaps: Vec<u64>) {
    let ban = open(BanSettings { failures, within_ms: within, ..SETTINGS });
    let (mut now, mut failed) = (1_000, Vec::new());
    for gap in gaps {
        now += gap;
        failed.push(now);
        let within_last = |ms: u32| failed.iter().filter(|&&at| now - at < u64::from(ms)).count() as u32;
        let (least, most) = (within_last(within), within_last(within + within.div_ceil(7) - 1));
        match fail(&ban, 1, now) {
            Failure::Left(left) => {
                assert!((least..=most).contains(&(failures - left)), "{left} left of {failures}");
            }
            Failure::Banned(_) => {
                assert!(most >= failures);
                failed.clear();
                ban.unban(tag(1));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    // If at most nine failures ban a key, each failure counts for exactly the time `within_ms`.
    #[test]
    fn each_answer_is_that_of_the_model(settings in settings(), acts in prop::collection::vec(act(), 1..200)) {
        compare(settings, acts);
    }

    #[test]
    fn many_failures_ban_no_later_and_little_earlier(
        settings in many_failures(), gaps in prop::collection::vec(0_u64..30, 1..300),
    ) {
        fail_often(settings, gaps);
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
