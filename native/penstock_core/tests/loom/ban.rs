//! Races of failures, bans and unbans of one key. Also races of late callers: a list of bans is
//! opened again, as its next generation, while a caller of the previous one still uses it.
//!
//! Failures are counted in a table of their own. When a key has enough of them, the list of bans
//! counts them again under its lock, bans the key, and forgets the failures
//! (`List::ban_for_failures`). An unban removes the ban and the failures under the same lock. An
//! *offence* is a failure that bans, or would ban.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use penstock_core::{Ban, BanSettings, Banned, Failure, Generation, Reusable};

use crate::explore::explore;
use crate::limiter::MS;

const BAN: BanSettings = BanSettings {
    failures: 2,
    within_ms: 100,
    ban_ms: 50,
    escalate: 2,
    max_ban_ms: 1_000,
    forget_ms: 1_000,
    max_keys: 1,
    max_bans: 2,
    manual: false,
};

fn open_ban(settings: BanSettings) -> Arc<Ban> {
    let ban = Ban::make(settings).unwrap();
    ban.open(settings, 0);
    Arc::new(ban)
}

/// Records a failure at 0 ms, by a caller of the first generation.
fn fail(ban: &Ban, tag: u64) -> Failure {
    ban.record_failure(1, tag, 0, || (Box::new([1]), Box::new([])))
}

/// Bans a key for `ms` from 0 ms on, by a caller of this generation.
fn ban_key(ban: &Ban, generation: Generation, tag: u64, ms: u32) {
    ban.ban(generation, tag, 0, ms, Box::new([tag as u8]), Box::new([]));
}

/// Runs an act of another caller on a thread of its own.
fn spawn<T: 'static>(ban: &Arc<Ban>, act: impl FnOnce(&Ban) -> T + 'static) -> JoinHandle<T> {
    let ban = Arc::clone(ban);
    thread::spawn(move || act(&ban))
}

/// The second failure bans a key, and two come at once. One of them bans the key.
#[test]
fn failure_against_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = spawn(&ban, |ban| fail(ban, 7));
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        let banned = Failure::Banned(50 * MS);
        // The call that counts the first failure then looks for a ban. If the other call has
        // banned the key before that look, the first call reports the ban too.
        let expected = [(Failure::Left(1), banned), (banned, Failure::Left(1)), (banned, banned)];
        assert!(expected.contains(&(mine, other)), "{mine:?} {other:?}");
        assert_eq!(ban.check(7, 0), Banned::For(50 * MS));
    });
}

/// One failure bans a key, and two come at once. The key is banned once, so its level is 1, and one
/// of the callers is told that its failure has banned the key.
#[test]
fn offence_against_offence() {
    explore(|| {
        let ban = open_ban(BanSettings { failures: 1, ..BAN });
        let record = |ban: &Ban| ban.record(1, 7, 0, || (Box::new([1]), Box::new([])));
        let other = spawn(&ban, record);
        let (mine, other) = (record(&ban), other.join().unwrap());
        let banned = Failure::Banned(50 * MS);
        assert_eq!((mine.0, other.0), (banned, banned));
        let mut levels = [mine.1, other.1];
        levels.sort_unstable();
        assert_eq!(levels, [None, Some(1)]);
        let (listed, _) = ban.list(0, 0, 10);
        assert_eq!(listed.iter().map(|listed| (listed.level, listed.left)).collect::<Vec<_>>(), [(1, 50 * MS)]);
    });
}

/// A ban meets an unban. A check looks for the ban in a table, without a lock. That table and the
/// list must agree in the end.
#[test]
fn ban_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = spawn(&ban, |ban| ban.unban(7));
        ban_key(&ban, 1, 7, 50);
        other.join().unwrap();
        // The ban is listed if and only if it is in force.
        let listed = !ban.list(0, 0, 10).0.is_empty();
        assert_eq!(ban.check(7, 0) == Banned::For(50 * MS), listed);
    });
}

/// A failure would ban a key while another caller unbans the key. If the unban comes first, only
/// the new failure counts. If the failure comes first, the unban lifts the ban.
#[test]
fn offence_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = spawn(&ban, |ban| ban.unban(7));
        let mine = fail(&ban, 7);
        other.join().unwrap();
        assert_eq!(ban.check(7, 0), Banned::No);
        let after = fail(&ban, 7);
        match mine {
            // With 1 left, this failure came after the unban and counts. With 2 left, the unban
            // has forgotten this failure as well.
            Failure::Left(left) => {
                assert_eq!(after, if left == 2 { Failure::Left(1) } else { Failure::Banned(50 * MS) })
            }
            Failure::Banned(_) => assert_eq!(after, Failure::Left(1)),
        }
    });
}

/// The list has room for one more ban, and two come at once. The list drops the ban that ends
/// first.
#[test]
fn bans_of_a_full_list() {
    explore(|| {
        let ban = open_ban(BAN);
        ban_key(&ban, 1, 1, 10);
        let other = spawn(&ban, |ban| ban_key(ban, 1, 2, 20));
        ban_key(&ban, 1, 3, 30);
        other.join().unwrap();
        let banned: Vec<_> = (1..=3).map(|tag| ban.check(tag, 0)).collect();
        assert_eq!(banned, [Banned::No, Banned::For(20 * MS), Banned::For(30 * MS)]);
        assert_eq!(ban.info().dropped, 1);
    });
}

/// A key has one failure, and two more come at once. Both report the ban, and neither counts for
/// the next ban.
#[test]
fn offence_against_offence_of_a_key_with_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = spawn(&ban, |ban| fail(ban, 7));
        let banned = Failure::Banned(50 * MS);
        assert_eq!((fail(&ban, 7), other.join().unwrap()), (banned, banned));
        let after = ban.record_failure(1, 7, 60 * MS, || (Box::new([1]), Box::new([])));
        assert_eq!(after, Failure::Left(1));
    });
}

/// An offence meets an unban. The offence may clear the failures of its key late, or find too few
/// of them. It must not clear a failure that is counted after the unban.
#[test]
fn offence_against_unban_and_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = spawn(&ban, move |ban| {
            ban.unban(7);
            fail(ban, 7)
        });
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        // At least one failure has counted since the unban, so this one bans.
        assert_eq!(fail(&ban, 7), Failure::Banned(50 * MS), "{mine:?} {other:?}");
    });
}

/// A failure meets a ban and an unban of its key. A failure of a banned key clears the failures
/// of the key. Here it must not clear the failure that is counted after the unban.
#[test]
fn failure_against_ban_and_unban_and_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = spawn(&ban, move |ban| {
            ban_key(ban, 1, 7, 50);
            ban.unban(7);
            fail(ban, 7)
        });
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        assert_eq!(fail(&ban, 7), Failure::Banned(50 * MS), "{mine:?} {other:?}");
    });
}

/// An unban meets a failure and a ban. If the unban lifts the ban, it also forgets the failure.
#[test]
fn failure_and_ban_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = spawn(&ban, |ban| ban.unban(7));
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        ban_key(&ban, 1, 7, 50);
        other.join().unwrap();
        if ban.check(7, 0) == Banned::No {
            assert_eq!(fail(&ban, 7), Failure::Left(1));
        }
    });
}

/// A failure of a banned key meets an unban. The failure reports the ban, or counts after the
/// unban.
#[test]
fn failure_against_unban_of_a_banned_key() {
    explore(|| {
        let ban = open_ban(BAN);
        ban_key(&ban, 1, 7, 50);
        let other = spawn(&ban, |ban| ban.unban(7));
        let mine = fail(&ban, 7);
        other.join().unwrap();
        let then = fail(&ban, 7);
        let expected = [(Failure::Banned(50 * MS), Failure::Left(1)), (Failure::Left(1), Failure::Banned(50 * MS))];
        assert!(expected.contains(&(mine, then)), "{mine:?} {then:?}");
    });
}

/// The list is opened again while a late caller of the previous generation makes the call `act`.
/// If the caller finds that its generation is over, it unbans the key, as the NIF does. The call
/// must have no effect on the next generation.
fn open_against(settings: BanSettings, act: impl Fn(&Ban) + Copy + Send + Sync + 'static) {
    explore(move || {
        let ban = open_ban(settings);
        let other = spawn(&ban, move |ban| {
            act(ban);
            if !ban.is_current(1) {
                ban.unban(7);
            }
        });
        assert_eq!(Reusable::open(&*ban, settings, 0), 2);
        other.join().unwrap();
        assert_eq!(ban.check(7, 0), Banned::No);
        assert_eq!(ban.list(0, 0, 10).0, []);
        // The late failure has not counted: after this first failure, one more is left until a
        // ban.
        assert_eq!(fail(&ban, 7), Failure::Left(1));
    });
}

/// The late caller bans a key.
#[test]
fn open_against_ban() {
    open_against(BAN, |ban| ban_key(ban, 1, 7, 50));
}

/// The late caller checks a banned key. It finds the ban, or that its generation is over.
#[test]
fn open_against_check() {
    explore(|| {
        let ban = open_ban(BAN);
        ban_key(&ban, 1, 7, 50);
        let other = spawn(&ban, |ban| (ban.check(7, 0), ban.is_current(1)));
        Reusable::open(&*ban, BAN, 0);
        let answer = other.join().unwrap();
        assert!(matches!(answer, (Banned::For(_), _) | (Banned::No, false)), "{answer:?}");
    });
}

/// The late caller records a failure.
#[test]
fn open_against_failure() {
    open_against(BAN, |ban| {
        fail(ban, 7);
    });
}

/// The list has room for one ban. A late ban of the previous generation must not drop the ban of
/// the next.
#[test]
fn open_and_ban_against_a_late_ban() {
    let settings = BanSettings { max_bans: 1, ..BAN };
    explore(move || {
        let ban = open_ban(settings);
        let other = spawn(&ban, move |ban| {
            ban_key(ban, 1, 7, 50);
            if !ban.is_current(1) {
                ban.unban(7);
            }
        });
        Reusable::open(&*ban, settings, 0);
        ban_key(&ban, 2, 8, 50);
        other.join().unwrap();
        assert_eq!(ban.check(8, 0), Banned::For(50 * MS));
    });
}

/// A late `advance` must not move the clock of the next generation.
#[test]
fn open_against_advance_of_bans() {
    let settings = BanSettings { manual: true, ..BAN };
    explore(move || {
        let ban = open_ban(settings);
        let other = spawn(&ban, |ban| ban.advance(1, 5));
        Reusable::open(&*ban, settings, 0);
        other.join().unwrap();
        assert_eq!(ban.now(|| 1), 0);
    });
}
