//! Gates of several limits: the order of reasons, what a refusal leaves behind, and the settings
//! of a gate.
#![cfg(not(any(loom, shuttle)))]

#[path = "support/mod.rs"]
mod support;

use std::cell::Cell;

use penstock_core::{
    AS_LIMIT, Ban, BanMember, BanSettings, Banned, Gate, GateSettings, Held, Hit, Key, KeyParked, KeyTag, KeyedMember,
    KeyedPool, KeyedSettings, Kind, Limiter, LimiterMember, Limits, MOST_MEMBERS, Member, No, Outcome, Parked, Pid,
    Pool, PoolKey, PoolMember, Rank, Rate, Refused, Reusable, ShowKey, admit, finish,
};

use support::{Fake, limit};

const MS: u64 = 1_000_000;

#[derive(Debug)]
struct Text;

impl ShowKey for Text {
    fn make_at_once(&self) -> Option<Box<[u8]>> {
        Some(self.make())
    }
    fn make(&self) -> Box<[u8]> {
        Box::from(*b"key")
    }
}

fn pids<const N: usize>() -> [Pid; N] {
    std::array::from_fn(|at| Pid::new(at as u64 + 1).unwrap())
}

fn always() -> bool {
    true
}

/// Returns the limits of a limiter: one hit in each second, with this burst.
fn rate(burst: u32) -> Limits {
    Limits { rate: Rate::new(1, 1_000, burst).unwrap(), limit: 1, per_ms: 1_000 }
}

/// A ban list, two limiters, a keyed pool and a pool, each with room for one caller at a time.
struct Limited {
    host: Fake,
    ban: Ban,
    limiters: [Limiter; 2],
    keyed: KeyedPool<Fake>,
    pool: Pool<Fake>,
}

const KEY: u64 = 7;
const BANS: BanSettings = BanSettings {
    failures: 3,
    within_ms: 100,
    ban_ms: 50,
    escalate: 2,
    max_ban_ms: 300,
    forget_ms: 300,
    max_keys: 8,
    max_bans: 8,
    manual: false,
};

impl Limited {
    /// Each limiter admits `burst` hits, and one more in each second.
    fn open(burst: u32) -> Self {
        let limiter = |(): ()| {
            let limiter = Limiter::new(1).unwrap();
            limiter.open(rate(burst), false, 0);
            limiter
        };
        let this = Self {
            host: Fake::new(8),
            ban: Ban::make(BANS).unwrap(),
            limiters: [limiter(()), limiter(())],
            keyed: KeyedPool::new(1).unwrap(),
            pool: Pool::new(),
        };
        assert_eq!(this.ban.open(BANS, 0), 1);
        this.keyed.open(KeyedSettings { limit: 1, max_keys: 1, max_waiting: 9, max_overdraft: AS_LIMIT });
        assert!(this.pool.open(limit(1)));
        this
    }

    fn key(tag: u64) -> PoolKey<'static> {
        PoolKey { generation: 1, tag: KeyTag(tag, tag), show: &Text }
    }

    fn ban_member(&self) -> BanMember<'_> {
        BanMember { ban: &self.ban, generation: 1, tag: KEY, now: 0 }
    }

    fn limiter_member(&self, at: usize) -> LimiterMember<'_> {
        LimiterMember { limiter: &self.limiters[at], key: Key::Global(1), cost: 1, now: 0 }
    }

    fn keyed_member(&self, me: Pid) -> KeyedMember<'_, Fake> {
        KeyedMember { pool: &self.keyed, key: Self::key(KEY), me, n: 1 }
    }

    fn pool_member(&self, me: Pid) -> PoolMember<'_, Fake> {
        PoolMember { pool: &self.pool, still: &always, me, n: 1 }
    }

    /// Asks all limits, in an order that is not that of the answers.
    fn ask(&self, me: Pid, waits: bool) -> Result<[Held; MOST_MEMBERS], Refused> {
        self.ask_with(me, waits, &[])
    }

    fn ask_with(&self, me: Pid, waits: bool, more: &[&dyn Member<Fake>]) -> Result<[Held; MOST_MEMBERS], Refused> {
        let (pool, keyed, ban) = (self.pool_member(me), self.keyed_member(me), self.ban_member());
        let (second, first) = (self.limiter_member(1), self.limiter_member(0));
        let mut members: Vec<&dyn Member<Fake>> = vec![&pool, &keyed, &second, &first, &ban];
        members.extend(more);
        admit(&self.host, &members, Kind::Manual, waits, || 0)
    }

    fn held(&self) -> (u64, u64) {
        (self.keyed.info(&self.host).in_use, self.pool.info().in_use)
    }

    fn allowed(&self) -> [u64; 2] {
        [0, 1].map(|at| self.limiters[at].info(1).unwrap().allowed)
    }

    fn denied(&self) -> [u64; 2] {
        [0, 1].map(|at| self.limiters[at].info(1).unwrap().denied)
    }

    /// Returns the refusals that the keyed pool and the pool have counted.
    fn rejected(&self) -> (u64, u64) {
        let (sums, _) = self.pool.report(&self.host, Default::default(), usize::MAX);
        (self.keyed.info(&self.host).rejected, sums.rejected)
    }

    fn give_back(&self, me: Pid) {
        assert_eq!(self.keyed.release(&self.host, me, KeyTag(KEY, KEY), 1), Ok(()));
        assert_eq!(self.pool.release(&self.host, me, 1, Kind::Manual), Ok(()));
    }
}

/// The places of the limits in `Limited::ask`.
const POOL: usize = 0;
const KEYED: usize = 1;
const SECOND: usize = 2;
const FIRST: usize = 3;
const BAN: usize = 4;

/// A limit that runs an act when it is looked at, and another one when its permits are taken.
struct Spy<L: Fn() -> Result<(), No>, T: Fn() -> Result<Held, No>> {
    rank: Rank,
    look: L,
    take: T,
}

impl<L: Fn() -> Result<(), No>, T: Fn() -> Result<Held, No>> Member<Fake> for Spy<L, T> {
    fn rank(&self) -> Rank {
        self.rank
    }
    fn look(&self, _host: &Fake, _waits: bool) -> Result<(), No> {
        (self.look)()
    }
    fn take(&self, _host: &Fake, _kind: Kind, _waits: bool) -> Result<Held, No> {
        (self.take)()
    }
}

#[test]
fn the_first_limit_that_refuses_in_the_order_of_ranks_gives_the_reason() {
    let [holder, caller] = pids();
    let limited = Limited::open(1);
    assert!(limited.ask(holder, false).is_ok());
    assert_eq!((limited.held(), limited.allowed()), ((1, 1), [1, 1]));
    // All refuse. The limits are cleared one after the other, in the order of their ranks.
    limited.ban.ban(1, KEY, 0, 50, Box::from(*b"k"), Box::from(*b"r"));
    assert_eq!(limited.ask(caller, false), Err((BAN, No::Banned(50 * MS))));
    limited.ban.unban(KEY);
    // Of two limiters, the one that was given first gives the reason.
    assert_eq!(limited.ask(caller, false), Err((SECOND, No::RateLimited(Some(1_000 * MS)))));
    limited.limiters[1].give_back(Key::Global(1), 0, 1);
    assert_eq!(limited.ask(caller, false), Err((FIRST, No::RateLimited(Some(1_000 * MS)))));
    limited.limiters[0].give_back(Key::Global(1), 0, 1);
    assert_eq!(limited.ask(caller, false), Err((KEYED, No::KeyFull)));
    assert_eq!(limited.keyed.release(&limited.host, holder, KeyTag(KEY, KEY), 1), Ok(()));
    assert_eq!(limited.ask(caller, false), Err((POOL, No::Full)));
    // No refusal took or charged anything, and each limit counted its own refusal only.
    assert_eq!((limited.held(), limited.allowed()), ((0, 1), [1, 1]));
    assert_eq!((limited.denied(), limited.rejected()), ([1, 1], (1, 1)));
    assert_eq!(limited.pool.release(&limited.host, holder, 1, Kind::Manual), Ok(()));
    assert!(limited.ask(caller, false).is_ok());
    assert_eq!((limited.held(), limited.allowed()), ((1, 1), [2, 2]));
}

#[test]
fn a_table_that_is_full_and_limits_that_are_closed_refuse() {
    let [holder, caller] = pids();
    let limited = Limited::open(9);
    let other = Limited::key(KEY + 1);
    assert!(limited.keyed.try_acquire(&limited.host, holder, other, 1, Kind::Manual).is_ok());
    for waits in [false, true] {
        assert_eq!(limited.ask(caller, waits), Err((KEYED, No::TableFull)));
    }
    limited.keyed.close(&limited.host, 1);
    assert_eq!(limited.ask(caller, true), Err((KEYED, No::Closed)));
    let limited = Limited::open(9);
    limited.pool.close(&limited.host);
    assert_eq!(limited.ask(caller, true), Err((POOL, No::Closed)));
    assert_eq!(limited.held(), (0, 0));
    limited.limiters[0].open(rate(1), false, 0);
    assert_eq!(limited.ask(caller, false), Err((FIRST, No::Closed)));
    limited.ban.open(BANS, 0);
    assert_eq!(limited.ask(caller, false), Err((BAN, No::Closed)));
    assert_eq!((limited.limiters[1].info(1).unwrap().allowed, limited.held()), (0, (0, 0)));
}

/// A caller that would wait for a full limit gets another limit's reason first. If there is none,
/// the answer is `Full`, and no limit has counted a refusal: it may admit the caller yet.
#[test]
fn a_caller_that_waits_is_refused_by_what_waiting_cannot_change() {
    let [holder, caller] = pids();
    let limited = Limited::open(2);
    assert!(limited.ask(holder, false).is_ok());
    for _ in 0..3 {
        assert!(matches!(limited.ask(caller, true), Err((KEYED, No::Full))));
    }
    assert_eq!(limited.keyed.release(&limited.host, holder, KeyTag(KEY, KEY), 1), Ok(()));
    assert_eq!(limited.ask(caller, true), Err((POOL, No::Full)));
    assert_eq!(limited.held(), (0, 1));
    assert_eq!((limited.rejected(), limited.denied(), limited.allowed()), ((0, 0), [0, 0], [1, 1]));
    // The keyed pool is full again, and the pool behind it is closed.
    assert!(limited.keyed.try_acquire(&limited.host, holder, Limited::key(KEY), 1, Kind::Manual).is_ok());
    limited.pool.close(&limited.host);
    assert_eq!(limited.ask(caller, true), Err((POOL, No::Closed)));
    assert_eq!(limited.rejected(), (0, 1));
}

/// A process that waits in a full limit gets the permit that the gate gives back.
#[test]
fn permits_that_a_gate_gives_back_serve_the_waiters() {
    let [caller, waiter] = pids();
    let limited = Limited::open(2);
    let refusing = Spy {
        rank: Rank::Pool,
        look: || Ok(()),
        take: || {
            assert_eq!(limited.held(), (1, 1), "the gate holds the permits of the limits before");
            let parked =
                limited.keyed.park(&limited.host, waiter, Limited::key(KEY), 1, Kind::Manual, limited.host.ticket());
            assert!(matches!(parked, KeyParked::Waiting(_)), "{parked:?}");
            let parked = limited.pool.park(&limited.host, waiter, 1, Kind::Manual, limited.host.ticket());
            assert!(matches!(parked, Parked::Waiting(_)), "{parked:?}");
            Err(No::Full)
        },
    };
    assert_eq!(limited.ask_with(caller, false, &[&refusing]), Err((5, No::Full)));
    assert_eq!(limited.host.mailbox(waiter).len(), 2);
    assert_eq!((limited.held(), limited.allowed()), ((1, 1), [0, 0]));
    limited.give_back(waiter);
    assert_eq!(limited.held(), (0, 0));
}

/// A limiter is used up between the look and the charge. What was taken and charged goes back.
#[test]
fn a_charge_that_is_denied_takes_back_permits_and_charges() {
    let [caller] = pids();
    for used_up in [0, 1] {
        let limited = Limited::open(1);
        let hits = Spy {
            rank: Rank::Pool,
            look: || Ok(()),
            take: || {
                assert_eq!(limited.limiters[used_up].hit(Key::Global(1), 0, 1), Hit::Allow(0));
                Ok(Held::Nothing)
            },
        };
        let at = [FIRST, SECOND][used_up];
        let refused = Err((at, No::RateLimited(Some(1_000 * MS))));
        assert_eq!(limited.ask_with(caller, false, &[&hits]), refused);
        assert_eq!(limited.held(), (0, 0));
        // The other limiter still has its only hit.
        assert_eq!(limited.limiters[1 - used_up].hit(Key::Global(1), 0, 1), Hit::Allow(0));
    }
}

/// A single limiter takes another way than several do.
#[test]
fn a_single_limiter_that_denies_gives_the_permits_back() {
    let [caller] = pids();
    let limited = Limited::open(1);
    let (pool, limiter) = (limited.pool_member(caller), limited.limiter_member(0));
    let spend = Spy {
        rank: Rank::Pool,
        look: || Ok(()),
        take: || {
            limited.limiters[0].hit(Key::Global(1), 0, 1);
            Ok(Held::Nothing)
        },
    };
    let members: [&dyn Member<Fake>; 3] = [&pool, &limiter, &spend];
    let refused = admit(&limited.host, &members, Kind::Bound, false, || 0);
    assert_eq!(refused, Err((1, No::RateLimited(Some(1_000 * MS)))));
    let never = LimiterMember { cost: 2, ..limited.limiter_member(0) };
    let members: [&dyn Member<Fake>; 2] = [&pool, &never];
    assert_eq!(admit(&limited.host, &members, Kind::Bound, false, || 0), Err((1, No::RateLimited(None))));
    assert_eq!(limited.held(), (0, 0));
}

/// Closes one of the limits.
type Close = fn(&Limited);

/// The pool, the keyed pool or the limiter is closed after the look.
#[test]
fn a_limit_that_closes_between_look_and_take_refuses() {
    let [caller] = pids();
    let closings: [(usize, Close); 3] = [
        (POOL, |limited| limited.pool.close(&limited.host)),
        (KEYED, |limited| limited.keyed.close(&limited.host, 1)),
        (FIRST, |limited| {
            limited.limiters[0].open(rate(1), false, 0);
        }),
    ];
    for (at, close) in closings {
        let limited = Limited::open(9);
        // The last of the pools is looked at after all others.
        let closes = Spy {
            rank: Rank::Pool,
            look: || {
                close(&limited);
                Ok(())
            },
            take: || Ok(Held::Nothing),
        };
        assert_eq!(limited.ask_with(caller, false, &[&closes]), Err((at, No::Closed)));
        assert_eq!(limited.held(), (0, 0));
        assert_eq!(limited.limiters[1].info(1).unwrap().allowed, 0);
    }
}

/// The name of the pool stands for another one after the look, or after the take.
#[test]
fn a_pool_that_loses_its_name_gets_its_permits_back() {
    let [caller] = pids();
    for lost_after in 0..2 {
        let limited = Limited::open(9);
        let asked = Cell::new(0);
        let still = || {
            asked.set(asked.get() + 1);
            asked.get() <= lost_after
        };
        let pool = PoolMember { pool: &limited.pool, still: &still, me: caller, n: 1 };
        let keyed = limited.keyed_member(caller);
        let members: [&dyn Member<Fake>; 2] = [&pool, &keyed];
        assert_eq!(admit(&limited.host, &members, Kind::Manual, false, || 0), Err((0, No::Closed)));
        assert_eq!(limited.held(), (0, 0));
        assert_eq!(limited.rejected(), (0, 0), "a pool of another name counts nothing");
    }
}

/// The only pool of a gate is not looked at before it is taken. Its name is lost before, or during
/// the take.
#[test]
fn a_pool_without_its_name_counts_no_refusal_of_a_gate() {
    let [holder, caller] = pids();
    for (lost_after, full, waits) in [(0, true, false), (0, true, true), (0, false, false), (1, false, false)] {
        let limited = Limited::open(9);
        if full {
            assert_eq!(limited.pool.try_acquire(&limited.host, holder, 1, Kind::Manual), Ok(()));
        }
        let asked = Cell::new(0);
        let still = || {
            asked.set(asked.get() + 1);
            asked.get() <= lost_after
        };
        let members = [PoolMember { pool: &limited.pool, still: &still, me: caller, n: 1 }];
        assert_eq!(admit(&limited.host, &members, Kind::Manual, waits, || 0), Err((0, No::Closed)));
        assert_eq!((limited.held(), limited.rejected()), ((0, u64::from(full)), (0, 0)));
    }
}

/// All keys of the first limit are those of dead holders. Its take does not reap for a caller that
/// waits, so the caller gets the place by the look that follows.
#[test]
fn a_caller_that_waits_gets_the_place_of_a_dead_key() {
    let [dead, caller] = pids();
    let limited = Limited::open(9);
    let other = Limited::key(KEY + 1);
    assert!(limited.keyed.try_acquire(&limited.host, dead, other, 1, Kind::Manual).is_ok());
    limited.host.begin_exit(dead);
    assert!(limited.ask(caller, true).is_ok());
    limited.host.finish_exit(dead, &[&limited.pool, &limited.keyed]);
    assert_eq!(limited.held(), (1, 1));
}

/// A limit that refuses by its take, or by the look after it, has counted the refusal once.
#[test]
fn a_refusal_of_the_first_limit_counts_once() {
    let [holder, caller] = pids();
    for waits in [false, true] {
        let limited = Limited::open(9);
        let other = Limited::key(KEY + 1);
        assert!(limited.keyed.try_acquire(&limited.host, holder, other, 1, Kind::Manual).is_ok());
        assert_eq!(limited.ask(caller, waits), Err((KEYED, No::TableFull)));
        assert_eq!(limited.rejected(), (1, 0));
        limited.keyed.close(&limited.host, 1);
        assert_eq!(limited.ask(caller, waits), Err((KEYED, No::Closed)));
        assert_eq!(limited.rejected(), (2, 0));
    }
}

/// `Again` from one limit undoes what the limits before gave, and is counted nowhere.
#[test]
fn a_limit_that_must_be_asked_again_leaves_nothing_taken() {
    let [caller] = pids();
    let limited = Limited::open(9);
    let scans = Spy { rank: Rank::Pool, look: || Ok(()), take: || Err(No::Again) };
    assert_eq!(limited.ask_with(caller, false, &[&scans]), Err((5, No::Again)));
    assert_eq!((limited.held(), limited.allowed(), limited.rejected()), ((0, 0), [0, 0], (0, 0)));
}

/// The permits of a caller that dies after the decision come back, those of each limit by itself.
#[test]
fn the_death_of_the_caller_gives_the_permits_of_all_limits_back() {
    let [caller, next] = pids();
    let limited = Limited::open(9);
    assert!(limited.ask(caller, false).is_ok());
    limited.host.begin_exit(caller);
    // The scans of the take find the dead holder. A caller that waits leaves them to the wait.
    assert_eq!(limited.ask(next, true), Err((KEYED, No::Full)));
    assert!(limited.ask(next, false).is_ok());
    limited.host.finish_exit(caller, &[&limited.pool, &limited.keyed]);
    assert_eq!(limited.held(), (1, 1));
}

#[test]
fn finish_asks_bans_and_limiters_only() {
    let [holder, caller] = pids();
    let limited = Limited::open(2);
    assert!(limited.ask(holder, false).is_ok());
    let (pool, keyed, ban) = (limited.pool_member(caller), limited.keyed_member(caller), limited.ban_member());
    let limiters = [limited.limiter_member(0), limited.limiter_member(1)];
    let members: [&dyn Member<Fake>; 5] = [&pool, &keyed, &ban, &limiters[0], &limiters[1]];
    let end = || finish(&limited.host, &members, || 0);
    assert_eq!(end(), Ok(()));
    assert_eq!((limited.held(), limited.allowed()), ((1, 1), [2, 2]));
    assert_eq!(end(), Err((3, No::RateLimited(Some(1_000 * MS)))));
    assert_eq!(limited.denied(), [1, 0]);
    limited.ban.ban(1, KEY, 0, 50, Box::from(*b"k"), Box::from(*b"r"));
    assert_eq!(limited.ban.check(KEY, 0), Banned::For(50 * MS));
    assert_eq!(end(), Err((2, No::Banned(50 * MS))));
}

#[test]
fn a_gate_of_the_most_limits_takes_all_or_none() {
    let [caller] = pids();
    let host = Fake::new(1);
    let pools: [Pool<Fake>; MOST_MEMBERS] = std::array::from_fn(|_| Pool::new());
    pools.iter().for_each(|pool| assert!(pool.open(limit(1))));
    let members: Vec<_> = pools.iter().map(|pool| PoolMember { pool, still: &always, me: caller, n: 1 }).collect();
    let ask = || admit(&host, &members, Kind::Bound, false, || 0);
    assert_eq!(ask(), Ok([Held::Pool; MOST_MEMBERS]));
    assert_eq!(pools.iter().map(|pool| pool.info().in_use).sum::<u64>(), 16);
    for pool in &pools[..15] {
        pool.release(&host, caller, 1, Kind::Bound).unwrap();
    }
    assert_eq!(ask(), Err((15, No::Full)));
    assert_eq!(pools.iter().map(|pool| pool.info().in_use).sum::<u64>(), 1);
}

fn gate_of(names: &[u64], shed_at: u32) -> GateSettings {
    let mut members = [0; MOST_MEMBERS];
    members[..names.len()].copy_from_slice(names);
    GateSettings { members, shed_at }
}

#[test]
fn a_stale_caller_gets_no_settings() {
    let (one, two) = (gate_of(&[1, 2, 3], 0), gate_of(&[4], 2));
    let gate = Gate::make(one).unwrap();
    let first = gate.open(one, 0);
    assert_eq!((gate.settings(first), gate.is_current(first)), (Some(one), true));
    let second = gate.open(two, 0);
    let mut names = [0; MOST_MEMBERS];
    assert_eq!((gate.settings(first), gate.is_current(first)), (None, false));
    assert_eq!((gate.names(first, &mut names), gate.shed_at(first)), (None, 0));
    assert_eq!((gate.settings(second), gate.shed_at(second)), (Some(two), 2));
    assert_eq!((gate.names(second, &mut names), names[0]), (Some(1), 4));
    assert!(Gate::is_compatible(one, one) && !Gate::is_compatible(one, two));
}

#[test]
fn a_gate_counts_each_outcome_since_it_was_opened() {
    let settings = gate_of(&[1], 0);
    let gate = Gate::make(settings).unwrap();
    gate.open(settings, 0);
    for (times, outcome) in Outcome::ALL.into_iter().enumerate() {
        (0..times).for_each(|_| gate.count(outcome));
    }
    // Threads of other shards count too.
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| gate.count(Outcome::Admitted)))));
    assert_eq!(gate.counts(), [4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    gate.open(settings, 0);
    assert_eq!(gate.counts(), [0; 11]);
}
