//! Races of failures and bans.

use std::sync::Arc;

use loom::thread;
use penstock_core::{Ban, BanSettings, Banned, Failure, Reusable};

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

fn fail(ban: &Ban, tag: u64) -> Failure {
    ban.record_failure(1, tag, 0, || (Box::new([1]), Box::new([])))
}

#[test]
fn failure_against_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || fail(&ban, 7))
        };
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        let banned = Failure::Banned(50 * MS);
        // The first failure may also report the ban, if that is in force by then.
        let expected = [(Failure::Left(1), banned), (banned, Failure::Left(1)), (banned, banned)];
        assert!(expected.contains(&(mine, other)), "{mine:?} {other:?}");
        assert_eq!(ban.check(7, 0), Banned::For(50 * MS));
    });
}

/// A single failure bans, and two fail at once: the ban is one, of level 1.
#[test]
fn offence_against_offence() {
    explore(|| {
        let ban = open_ban(BanSettings { failures: 1, ..BAN });
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || fail(&ban, 7))
        };
        let banned = Failure::Banned(50 * MS);
        assert_eq!((fail(&ban, 7), other.join().unwrap()), (banned, banned));
        let (listed, _) = ban.list(0, 0, 10);
        assert_eq!(listed.iter().map(|listed| (listed.level, listed.left)).collect::<Vec<_>>(), [(1, 50 * MS)]);
    });
}

#[test]
fn ban_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
        other.join().unwrap();
        // The ban is listed if and only if it is in force.
        let listed = !ban.list(0, 0, 10).0.is_empty();
        assert_eq!(ban.check(7, 0) == Banned::For(50 * MS), listed);
    });
}

/// One process would ban the key, and another forgives it. If the unban is first, only the new
/// failure counts; otherwise the ban is lifted.
#[test]
fn offence_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        let mine = fail(&ban, 7);
        other.join().unwrap();
        assert_eq!(ban.check(7, 0), Banned::No);
        let after = fail(&ban, 7);
        match mine {
            // The failure came before the unban and is forgotten, or came after it and counts.
            Failure::Left(left) => {
                assert_eq!(after, if left == 2 { Failure::Left(1) } else { Failure::Banned(50 * MS) })
            }
            Failure::Banned(_) => assert_eq!(after, Failure::Left(1)),
        }
    });
}

/// The list drops the ban that ends first, and keeps all others in force.
#[test]
fn bans_of_a_full_list() {
    explore(|| {
        let ban = open_ban(BAN);
        ban.ban(1, 1, 0, 10, Box::new([1]), Box::new([]));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.ban(1, 2, 0, 20, Box::new([2]), Box::new([])))
        };
        ban.ban(1, 3, 0, 30, Box::new([3]), Box::new([]));
        other.join().unwrap();
        let banned: Vec<_> = (1..=3).map(|tag| ban.check(tag, 0)).collect();
        assert_eq!(banned, [Banned::No, Banned::For(20 * MS), Banned::For(30 * MS)]);
        assert_eq!(ban.info().dropped, 1);
    });
}

/// A third failure comes as two others ban the key. It reports the ban, or was counted before; no
/// failure counts for the next ban.
#[test]
fn failure_against_two_that_ban() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || fail(&ban, 7))
        };
        let banned = Failure::Banned(50 * MS);
        assert_eq!((fail(&ban, 7), other.join().unwrap()), (banned, banned));
        let after = ban.record_failure(1, 7, 60 * MS, || (Box::new([1]), Box::new([])));
        assert_eq!(after, Failure::Left(1));
    });
}

/// A failure that is slow to clear the counts for its ban, or too late to count, must not clear
/// failures after the unban.
#[test]
fn offence_against_unban_and_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                ban.unban(7);
                fail(&ban, 7)
            })
        };
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        // At least one failure has come since the unban.
        assert_eq!(fail(&ban, 7), Failure::Banned(50 * MS), "{mine:?} {other:?}");
    });
}

#[test]
fn failure_against_ban_and_unban_and_a_failure() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
                ban.unban(7);
                fail(&ban, 7)
            })
        };
        let mine = fail(&ban, 7);
        let other = other.join().unwrap();
        assert_eq!(fail(&ban, 7), Failure::Banned(50 * MS), "{mine:?} {other:?}");
    });
}

/// An unban forgets all failures that were counted before it.
#[test]
fn failure_and_ban_against_unban() {
    explore(|| {
        let ban = open_ban(BAN);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        assert_eq!(fail(&ban, 7), Failure::Left(1));
        ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
        other.join().unwrap();
        if ban.check(7, 0) == Banned::No {
            assert_eq!(fail(&ban, 7), Failure::Left(1));
        }
    });
}

/// An unban forgets no failure that is counted after it.
#[test]
fn failure_against_unban_of_one_that_is_banned() {
    explore(|| {
        let ban = open_ban(BAN);
        ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.unban(7))
        };
        let mine = fail(&ban, 7);
        other.join().unwrap();
        let then = fail(&ban, 7);
        let expected = [(Failure::Banned(50 * MS), Failure::Left(1)), (Failure::Left(1), Failure::Banned(50 * MS))];
        assert!(expected.contains(&(mine, then)), "{mine:?} {then:?}");
    });
}

/// Acts as the entry points do: a caller that finds the list closed meanwhile takes back what it
/// left there.
fn open_against(settings: BanSettings, act: impl Fn(&Ban) + Copy + Send + Sync + 'static) {
    explore(move || {
        let ban = open_ban(settings);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                act(&ban);
                if !ban.is_current(1) {
                    ban.unban(7);
                }
            })
        };
        assert_eq!(Reusable::open(&*ban, settings, 0), 2);
        other.join().unwrap();
        assert_eq!(ban.check(7, 0), Banned::No);
        assert_eq!(ban.list(0, 0, 10).0, []);
        // The late act counts for nothing either.
        assert_eq!(fail(&ban, 7), Failure::Left(1));
    });
}

#[test]
fn open_against_ban() {
    open_against(BAN, |ban| ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([])));
}

#[test]
fn open_against_failure() {
    open_against(BAN, |ban| {
        fail(ban, 7);
    });
}

/// A late ban of the previous generation exceeds the list, and must end no ban of this one.
#[test]
fn open_and_ban_against_a_ban_of_before() {
    let settings = BanSettings { max_bans: 1, ..BAN };
    explore(move || {
        let ban = open_ban(settings);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || {
                ban.ban(1, 7, 0, 50, Box::new([1]), Box::new([]));
                if !ban.is_current(1) {
                    ban.unban(7);
                }
            })
        };
        Reusable::open(&*ban, settings, 0);
        ban.ban(2, 8, 0, 50, Box::new([1]), Box::new([]));
        other.join().unwrap();
        assert_eq!(ban.check(8, 0), Banned::For(50 * MS));
    });
}

#[test]
fn open_against_advance_of_bans() {
    let settings = BanSettings { manual: true, ..BAN };
    explore(move || {
        let ban = open_ban(settings);
        let other = {
            let ban = Arc::clone(&ban);
            thread::spawn(move || ban.advance(1, 5))
        };
        Reusable::open(&*ban, settings, 0);
        other.join().unwrap();
        assert_eq!(ban.now(|| 1), 0);
    });
}
