//! Names and what they stand for: which process may start, adopt and close them, and the reuse of
//! pools and memory.
#![cfg(not(any(loom, shuttle)))]

mod support;

use std::collections::BTreeMap;

use penstock_core::{
    Answer, Ban, BanSettings, Banned, Census, Changes, Drain, Hit, Host, Incarnation, Info, Key, Kind, Limiter,
    LimiterSettings, Limits, Named, NotHeld, Parked, Pid, Pool, Position, Rate, Refusal, Registry, Reserved, Settings,
    Started, Status, UnnamedId,
};
use proptest::prelude::*;

use support::{Fake, limit};

const NAME: u64 = 0x40;

fn pids<const N: usize>() -> [Pid; N] {
    std::array::from_fn(|at| Pid::new(at as u64 + 1).unwrap())
}

fn take(host: &Fake, named: Named<'_, Fake>, who: Pid) -> Result<(), Refusal> {
    named.pool().unwrap().0.try_acquire(host, who, 1, Kind::Free)
}

/// Returns all names of a registry in order, read piece by piece.
fn names(registry: &Registry<Fake>) -> Vec<u64> {
    let (mut all, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let piece = registry.names(from, 64);
        assert!(piece.looked_at < 64 + 32, "{} names were looked at", piece.looked_at);
        assert!(piece.next.is_none_or(|next| next > from));
        all.extend(piece.names);
        next = piece.next;
    }
    all.sort_unstable();
    all
}

#[test]
fn a_name_that_was_never_started_is_unknown() {
    let registry = Registry::<Fake>::new();
    assert!(registry.find(NAME).is_none());
    assert_eq!(names(&registry), []);
}

#[test]
fn a_name_is_started_once() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [owner, other] = pids();
    assert_eq!(registry.start(&host, NAME, owner, limit(3)), Started::Fresh);
    assert_eq!(registry.start(&host, NAME, other, limit(9)), Started::AlreadyStarted(owner));
    let named = registry.find(NAME).unwrap();
    let (pool, id) = named.pool().unwrap();
    assert_eq!((pool.info().settings, id), (limit(3), 1), "the old limit stays");
    assert_eq!(named.owner(), Some(owner));
    assert_eq!(names(&registry), [NAME]);
}

#[test]
fn names_that_share_a_bucket_are_told_apart() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    // The registry has 4096 buckets, chosen by the bits above the lowest six.
    let names: Vec<u64> = (1..=20).map(|at| (at << 18) | (at % 3) << 6 | 0xB).collect();
    for (at, &name) in names.iter().enumerate() {
        assert_eq!(registry.start(&host, name, owner, limit(at as u64)), Started::Fresh);
    }
    for (at, &name) in names.iter().enumerate() {
        assert_eq!(registry.find(name).unwrap().pool().unwrap().0.info().settings, limit(at as u64));
    }
    assert_eq!(self::names(&registry), names);
    assert!(registry.find(1 << 30).is_none());
}

/// 50,000 names are returned in pieces, each with a bound on the names visited, and none is left
/// out.
#[test]
fn names_are_told_in_pieces() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    let all: Vec<u64> = (1..=50_000).map(|at| at << 6 | 0xB).collect();
    for &name in &all {
        assert_eq!(registry.start(&host, name, owner, limit(1)), Started::Fresh);
    }
    assert_eq!(names(&registry), all);
    for &name in all.iter().filter(|&&name| (name >> 6) % 2 == 0) {
        assert!(registry.find(name).unwrap().close(&host, owner));
    }
    assert_eq!(names(&registry).len(), 25_000);
    assert_eq!(registry.names(usize::MAX, 64).next, None);
}

#[test]
fn only_its_owner_closes_a_pool() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [owner, other] = pids();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    assert!(!named.close(&host, other));
    let (pool, _) = named.pool().unwrap();
    assert!(named.close(&host, owner));
    assert_eq!(pool.info().status, Status::Closed);
    assert!(named.pool().is_none());
    assert_eq!((named.owner(), names(&registry)), (None, vec![]));
    assert!(!named.close(&host, owner), "once");
}

#[test]
fn a_crashed_owner_leaves_its_pool_to_the_next() {
    let (host, registry) = (Fake::new(4), Registry::new());
    let [crashed, next, holder, last] = pids();
    registry.start(&host, NAME, crashed, Settings { max_overdraft: 7, ..limit(5) });
    let named = registry.find(NAME).unwrap();
    let (pool, id) = named.pool().unwrap();
    assert_eq!(take(&host, named, holder), Ok(()));
    pool.update(&host, Changes { limit: Some(2), ..Changes::default() });
    host.begin_exit(crashed);

    // Unchanged options leave later updates in force.
    assert_eq!(registry.start(&host, NAME, next, Settings { max_overdraft: 7, ..limit(5) }), Started::Adopted);
    assert_eq!(named.pool().map(|(_, id)| id), Some(id));
    let info = pool.info();
    assert_eq!((info.in_use, info.settings.limit, info.settings.max_overdraft), (1, 2, 7));
    assert!(!named.close(&host, crashed), "it is the other's now");

    // Changed options replace the settings.
    host.begin_exit(next);
    let changed = Settings { limit: 6, max_waiting: 3, max_overdraft: 1, held_longer_than: 9 };
    assert_eq!(registry.start(&host, NAME, last, changed), Started::Adopted);
    assert_eq!((pool.info().in_use, pool.info().settings), (1, changed));
}

#[test]
fn an_owner_that_starts_anew_adopts_from_itself() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    registry.start(&host, NAME, owner, limit(5));
    assert_eq!(registry.start(&host, NAME, owner, limit(6)), Started::Adopted);
    assert_eq!(registry.find(NAME).unwrap().pool().unwrap().0.info().settings, limit(6));
}

#[test]
fn an_adoption_with_a_larger_limit_wakes_and_with_a_smaller_one_refuses() {
    let (host, registry) = (Fake::new(6), Registry::new());
    let [first, second, third, holder, small, large] = pids();
    registry.start(&host, NAME, first, limit(3));
    let named = registry.find(NAME).unwrap();
    let (pool, _) = named.pool().unwrap();
    pool.try_acquire(&host, holder, 3, Kind::Free).unwrap();
    pool.park(&host, small, 1, Kind::Free, host.ticket());
    pool.park(&host, large, 3, Kind::Free, host.ticket());
    host.begin_exit(first);
    registry.start(&host, NAME, second, limit(4));
    assert_eq!(host.mailbox(small), [(0, penstock_core::Answer::Granted)]);
    host.begin_exit(second);
    registry.start(&host, NAME, third, limit(2));
    assert_eq!(host.mailbox(large), [(1, penstock_core::Answer::Full)]);
    assert_eq!(pool.info().in_use, 4);
}

#[test]
fn restarts_use_the_pools_there_are() {
    let (host, registry) = (Fake::new(3), Registry::new());
    let [owner, a, b] = pids();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    let restart = |bound| {
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(bound)), Started::Fresh);
        named.pool().unwrap().1
    };
    // While no permit is held, each restart gets the same pool.
    assert!((2..100).all(|bound| restart(bound) == 1));
    // While a permit is held, a restart gets another pool, and the permit stays counted in the
    // first.
    assert_eq!(take(&host, named, a), Ok(()));
    assert_eq!(restart(1), 2);
    assert_eq!(named.pool().unwrap().0.info().in_use, 0);
    assert_eq!(named.instance(1).unwrap().info().in_use, 1);
    assert_eq!(take(&host, named, b), Ok(()));
    assert_eq!(restart(1), 3);
    assert!((0..100).all(|_| restart(1) == 3));
    // Work that began on a pool ends on it; a later restart uses the pool again.
    assert_eq!(named.instance(1).unwrap().release(&host, a, 1, Kind::Free), Ok(()));
    assert_eq!(restart(1), 1);
    assert_eq!(take(&host, named, a), Ok(()));
    assert_eq!(restart(1), 3);
    host.begin_exit(b);
    host.finish_exit(b, &[named.instance(2).unwrap()]);
    assert_eq!(restart(1), 2);
    assert!(named.instance(0).is_none() && named.instance(4).is_none());
}

#[test]
fn a_name_has_as_many_pools_as_are_held() {
    const MANY: u64 = 500;
    let (host, registry) = (Fake::new(MANY as usize + 1), Registry::new());
    let owner = Pid::new(1).unwrap();
    let holder = |n: u64| Pid::new(n + 1).unwrap();
    registry.start(&host, NAME, owner, limit(1));
    let named = registry.find(NAME).unwrap();
    let restart = || {
        assert!(named.close(&host, owner));
        assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
        named.pool().unwrap().1
    };
    for n in 1..=MANY {
        assert_eq!(take(&host, named, holder(n)), Ok(()));
        assert_eq!(restart(), n + 1);
    }
    // A pool that is idle again is found after some starts, as each start visits 64 pools.
    let idle = named.instance(300).unwrap();
    assert_eq!(idle.release(&host, holder(300), 1, Kind::Free), Ok(()));
    let mut last = restart();
    let found = (1..=MANY / 64 + 1).any(|_| {
        assert_eq!(take(&host, named, owner), Ok(()));
        last = restart();
        last == 300
    });
    assert!(found, "the last was {last}");
    let held = (1..=last.max(501) + 20).filter_map(|id| named.instance(id)).filter(|pool| pool.info().in_use > 0);
    assert!(held.count() as u64 >= MANY - 1);
}

// Names that are closed.

/// Returns a name of bucket 1.
fn of_a_bucket(at: u64) -> u64 {
    at << 18 | 0x40
}

fn nodes(registry: &Registry<Fake>) -> usize {
    let piece = registry.names(0, usize::MAX / 16);
    assert_eq!(piece.next, None);
    // Visits to buckets are counted as well: eight buckets count as one name.
    piece.looked_at - 4096 / 8
}

#[test]
fn closed_names_leave_their_memory_to_others() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    for at in 1..=50_000 {
        assert_eq!(registry.start(&host, at << 6 | 0xB, owner, limit(1)), Started::Fresh);
        assert!(registry.find(at << 6 | 0xB).unwrap().close(&host, owner));
    }
    assert_eq!(nodes(&registry), 4096);
    assert!((1..=50_000).all(|at| registry.was_started(at << 6 | 0xB)));
    assert!(!registry.was_started(50_001 << 6 | 0xB));
    assert!(registry.was_forgotten(1 << 6 | 0xB) && !registry.was_forgotten(50_000 << 6 | 0xB));
    assert_eq!(names(&registry), []);
}

/// A name keeps its node while it is open, or while any permit of it is held or awaited.
#[test]
fn a_name_in_use_is_not_forgotten() {
    let (host, registry) = (Fake::new(3), Registry::new());
    let [owner, holder, drainer] = pids();
    let name = of_a_bucket;
    let close = |name| assert!(registry.find(name).unwrap().close(&host, owner));
    let start = |at| assert_eq!(registry.start(&host, name(at), owner, limit(1)), Started::Fresh);
    let forgotten = |at| registry.find(name(at)).is_none() && registry.was_forgotten(name(at));
    start(1);
    // The name is open.
    start(2);
    close(name(2));
    assert_eq!(registry.find(name(1)).unwrap().pool().unwrap().1, 1);
    // The name is closed, and a permit that was acquired before that is held.
    let (pool, instance) = registry.find(name(1)).unwrap().pool().unwrap();
    pool.try_acquire(&host, holder, 1, Kind::Free).unwrap();
    close(name(1));
    start(3);
    assert!(forgotten(2) && !forgotten(1));
    assert!(std::ptr::eq(registry.find(name(1)).unwrap().instance(instance).unwrap(), pool));
    // The permit is released.
    pool.release(&host, holder, 1, Kind::Free).unwrap();
    start(4);
    assert!(forgotten(1));
    // A drainer waits: a closed name keeps its node for that as well.
    let (pool, _) = registry.find(name(4)).unwrap().pool().unwrap();
    pool.try_acquire(&host, holder, 1, Kind::Free).unwrap();
    assert!(matches!(pool.drain(&host, drainer, host.ticket()), Drain::Waiting(_)));
    close(name(4));
    start(5);
    assert!(!forgotten(4));
    assert_eq!(nodes(&registry), 3);
    // Limiters and bans keep the node only while they are open.
    assert_eq!(registry.start_limiter(&host, name(6), owner, limiter(1, 1), || 0), Ok(Started::Fresh));
    start(7);
    assert!(registry.find(name(6)).unwrap().limiter().is_some());
    close(name(6));
    assert_eq!(registry.start_bans(&host, name(8), owner, BANS, || 0), Ok(Started::Fresh));
    assert!(forgotten(6));
}

/// The pool ids that a caller got before a name was forgotten name no pool of its next life.
#[test]
fn a_forgotten_name_begins_another_life() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [owner] = pids();
    let [a, b] = [1, 2].map(of_a_bucket);
    let mut seen = Vec::new();
    for _ in 0..100 {
        for name in [a, b] {
            assert_eq!(registry.start(&host, name, owner, limit(1)), Started::Fresh);
            let named = registry.find(name).unwrap();
            let (pool, instance) = named.pool().unwrap();
            assert!(named.is_there());
            assert!(std::ptr::eq(named.instance(instance).unwrap(), pool));
            assert!(!seen.contains(&(name, instance)));
            assert!(seen.iter().all(|&(of, before)| of != name || named.instance(before).is_none()));
            seen.push((name, instance));
            assert!(named.close(&host, owner));
        }
    }
    assert_eq!(nodes(&registry), 1);
    assert_eq!((seen[0], seen[1]), ((a, 1), (b, 1)), "the first life of each");
}

/// A caller looks a name up, and acts when the node belongs to another name. Each act is refused,
/// or the caller can tell that it was on the other name.
#[test]
fn callers_that_are_late_touch_no_other_name() {
    let (host, registry) = (Fake::new(3), Registry::new());
    let [owner, user, late] = pids();
    let [a, b] = [1, 2].map(of_a_bucket);
    registry.start(&host, a, owner, limit(1));
    let named = registry.find(a).unwrap();
    let (pool, _) = named.pool().unwrap();
    assert!(named.close(&host, owner));
    let settings = limit(1);
    registry.start(&host, b, owner, settings);
    let of_b = registry.find(b).unwrap().pool().unwrap().0;
    assert!(std::ptr::eq(pool, of_b), "it is b's");
    let still = || named.is_there();

    // The caller takes a permit, can tell that it is b's, and gives it back.
    assert!(pool.take(&host, late, 1, Kind::Free) && !still());
    pool.release(&host, late, 1, Kind::Free).unwrap();
    of_b.try_acquire(&host, user, 1, Kind::Free).unwrap();
    assert_eq!(pool.park_while(&host, late, 1, Kind::Free, host.ticket(), still), Parked::Closed);
    assert!(pool.drain_while(&host, late, host.ticket(), still).is_none());
    assert!(!pool.reopen_while(&host, still));
    assert!(!pool.update_while(&host, Changes { limit: Some(9), ..Changes::default() }, still));
    assert_eq!(pool.release(&host, late, 1, Kind::Free), Err(NotHeld));
    assert!(named.pool().is_none() && named.limiter().is_none() && named.bans().is_none());
    assert!(named.pools().next().is_none());
    assert!(!named.close(&host, owner) && named.owner().is_none());
    let info = of_b.info();
    assert_eq!((info.status, info.settings, info.in_use, info.waiting), (Status::Open, settings, 1, 0));
}

// Unnamed pools.

/// Clears a pool that was dropped, in pieces of one entry, and makes it reusable. Returns the
/// number of pieces.
fn drop_unnamed(host: &Fake, registry: &Registry<Fake>, id: UnnamedId, pool: &Pool<Fake>) -> usize {
    pool.close(host);
    let (mut next, mut pieces) = (Some(Position::default()), 0);
    while let Some(from) = next {
        pieces += 1;
        next = pool.clear(host, from, 1);
    }
    registry.give_back_unnamed(id);
    pieces
}

#[test]
fn the_next_unnamed_pool_is_a_dropped_one() {
    const HOLDERS: usize = 1_000;
    let (host, registry) = (Fake::new(HOLDERS), Registry::new());
    let holders: Vec<Pid> = (1..=HOLDERS as u64).map(|n| Pid::new(n).unwrap()).collect();
    assert!(registry.reuse_unnamed(limit(1)).is_none());
    let (id, pool) = registry.make_unnamed(limit(5_000));
    for (n, &holder) in holders.iter().enumerate() {
        // Each holder has permits of all kinds: free, bound, on offer, and given by another
        // process.
        pool.try_acquire(&host, holder, 1, Kind::Free).unwrap();
        pool.try_acquire(&host, holder, 2, Kind::Bound).unwrap();
        pool.offer(holder, 1).unwrap();
        if n > 0 {
            pool.transfer(&host, holder, holders[n - 1], 1).unwrap();
        }
    }
    assert_eq!(pool.info().in_use, 3 * HOLDERS as u64);
    // A refusal publishes the hint that there are many holders.
    assert_eq!(pool.try_acquire(&host, holders[0], 4_000, Kind::Free), Err(Refusal::Full));
    assert!(drop_unnamed(&host, &registry, id, pool) > HOLDERS / 33);
    assert_eq!((pool.info().in_use, pool.info().waiting), (0, 0));
    assert_eq!(registry.count_unnamed(), (1, 1));

    let (again, reused) = registry.reuse_unnamed(Settings { max_waiting: 7, ..limit(3) }).unwrap();
    assert_eq!((again, std::ptr::eq(pool, reused)), (id, true));
    assert_eq!(registry.count_unnamed(), (1, 0));
    assert_eq!(
        reused.info(),
        Info {
            status: Status::Open,
            settings: Settings { max_waiting: 7, ..limit(3) },
            in_use: 0,
            waiting: 0,
            peak: 0,
            granted: 0
        }
    );
    let census = reused.census(&host, Position::default(), usize::MAX).0;
    assert_eq!(Census { looked_at: 0, ..census }, Census::default());
    assert_eq!(reused.holders(Position::default(), 10_000), (vec![], None));
    // The previous holders hold nothing, and a refusal scans for the dead again.
    assert_eq!(reused.release(&host, holders[5], 1, Kind::Free), Err(NotHeld));
    assert_eq!(reused.offer(holders[5], 1), None);
    reused.try_acquire(&host, holders[5], 3, Kind::Bound).unwrap();
    host.begin_exit(holders[5]);
    reused.try_acquire(&host, holders[6], 3, Kind::Free).unwrap();
    host.finish_exit(holders[5], &[reused]);
    assert_eq!(reused.info().in_use, 3);
}

/// A process that acquires in one unnamed pool after the other leaves one entry and one watch.
#[test]
fn a_loop_of_unnamed_pools_needs_one_pool() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [caller] = pids();
    let (id, first) = registry.make_unnamed(limit(1));
    first.try_acquire(&host, caller, 1, Kind::Free).unwrap();
    drop_unnamed(&host, &registry, id, first);
    for _ in 0..100_000 {
        let (id, pool) = registry.reuse_unnamed(limit(2)).unwrap();
        pool.try_acquire(&host, caller, 2, Kind::Free).unwrap();
        drop_unnamed(&host, &registry, id, pool);
    }
    assert_eq!(registry.count_unnamed(), (1, 1));
    assert_eq!(host.watches(caller), 1);
    host.begin_exit(caller);
    host.finish_exit(caller, &[first]);
    assert_eq!(registry.reuse_unnamed(limit(2)).unwrap().1.info().in_use, 0);
}

/// The waiters of a dropped pool exceed one call. All are told before the pool is reusable.
#[test]
fn waiters_of_a_dropped_pool_are_told_that_it_is_closed() {
    const WAITERS: u64 = 500;
    let (host, registry) = (Fake::new(WAITERS as usize + 1), Registry::new());
    let holder = Pid::new(WAITERS + 1).unwrap();
    let (id, pool) = registry.make_unnamed(limit(1));
    pool.try_acquire(&host, holder, 1, Kind::Free).unwrap();
    for n in 1..=WAITERS {
        let parked = pool.park(&host, Pid::new(n).unwrap(), 1, Kind::Free, host.ticket());
        assert!(matches!(parked, Parked::Waiting(_)));
    }
    drop_unnamed(&host, &registry, id, pool);
    for n in 1..=WAITERS {
        assert_eq!(host.mailbox(Pid::new(n).unwrap()), [(n as u32 - 1, Answer::Closed)]);
    }
    assert!(registry.reuse_unnamed(limit(1)).is_some());
}

/// An overdue process counts as killed in the opening of the pool that admitted it, and in no
/// later one.
#[test]
fn who_was_admitted_before_is_not_counted_as_killed() {
    let (host, registry) = (Fake::new(1), Registry::new());
    let [pid] = pids();
    let (id, pool) = registry.make_unnamed(limit(1));
    let killed = || pool.census(&host, Position::default(), usize::MAX).0.killed;
    let before = pool.opening();
    pool.count_killed(before, pid);
    assert_eq!(killed(), 1);
    drop_unnamed(&host, &registry, id, pool);
    registry.reuse_unnamed(limit(1)).unwrap();
    pool.count_killed(before, pid);
    assert_eq!(killed(), 0);
    pool.count_killed(pool.opening(), pid);
    assert_eq!(killed(), 1);
}

// Random sequences, against a plain model.

#[derive(Clone, Debug)]
enum Op {
    Start { owner: usize, limit: u64 },
    Close { owner: usize },
    Crash { owner: usize },
    Take { who: usize },
    Release { who: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_usize, 1..4_u64).prop_map(|(owner, limit)| Op::Start { owner, limit }),
        2 => (0..4_usize).prop_map(|owner| Op::Close { owner }),
        2 => (0..4_usize).prop_map(|owner| Op::Crash { owner }),
        4 => (0..4_usize).prop_map(|who| Op::Take { who }),
        3 => (0..4_usize).prop_map(|who| Op::Release { who }),
    ]
}

#[derive(Default)]
struct Model {
    owner: Option<usize>,
    current: Option<usize>,
    /// Per pool: its limit, and the number of permits that each user holds.
    pools: Vec<(u64, BTreeMap<usize, u64>)>,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_registry_is_what_its_model_is(ops in proptest::collection::vec(op(), 1..60)) {
        // Owners 1 to 4, users 5 to 8.
        let (host, registry) = (Fake::new(8), Registry::new());
        let [o1, o2, o3, o4, u1, u2, u3, u4] = pids();
        let (owners, users) = ([o1, o2, o3, o4], [u1, u2, u3, u4]);
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Start { owner, limit: bound } => {
                    if !host.alive(owners[owner]) {
                        continue;
                    }
                    let started = registry.start(&host, NAME, owners[owner], limit(bound));
                    match (model.owner, model.current) {
                        (Some(keeper), _) if keeper != owner && host.alive(owners[keeper]) => {
                            prop_assert_eq!(started, Started::AlreadyStarted(owners[keeper]));
                            continue;
                        }
                        (_, Some(current)) => {
                            prop_assert_eq!(started, Started::Adopted);
                            model.pools[current].0 = bound;
                        }
                        (_, None) => {
                            prop_assert_eq!(started, Started::Fresh);
                            let idle = model.pools.iter().position(|(_, held)| held.is_empty());
                            let current = idle.unwrap_or(model.pools.len());
                            if idle.is_none() {
                                model.pools.push((bound, BTreeMap::new()));
                            }
                            model.pools[current].0 = bound;
                            model.current = Some(current);
                        }
                    }
                    model.owner = Some(owner);
                }
                Op::Close { owner } => {
                    let closed = registry.find(NAME).is_some_and(|named| named.close(&host, owners[owner]));
                    prop_assert_eq!(closed, model.owner == Some(owner));
                    if closed {
                        (model.owner, model.current) = (None, None);
                    }
                }
                Op::Crash { owner } => {
                    // Another process gets the pid of a dead owner, unless that still owns the
                    // name.
                    if host.alive(owners[owner]) {
                        host.begin_exit(owners[owner]);
                    } else if model.owner != Some(owner) {
                        host.finish_exit(owners[owner], &[]);
                        host.reuse(owners[owner]);
                    }
                }
                Op::Take { who } => {
                    let pool = registry.find(NAME).and_then(Named::pool);
                    prop_assert_eq!(pool.map(|(_, id)| id as usize - 1), model.current);
                    if let (Some((pool, _)), Some(current)) = (pool, model.current) {
                        let (bound, held) = &mut model.pools[current];
                        let free = held.values().sum::<u64>() < *bound;
                        prop_assert_eq!(pool.try_acquire(&host, users[who], 1, Kind::Free).is_ok(), free);
                        if free {
                            *held.entry(who).or_default() += 1;
                        }
                    }
                }
                Op::Release { who } => {
                    // The user releases in the pool in which it holds a permit, even if that is
                    // closed.
                    let Some(at) = model.pools.iter().position(|(_, held)| held.contains_key(&who)) else { continue };
                    let pool = registry.find(NAME).and_then(|named| named.instance(at as u64 + 1)).unwrap();
                    prop_assert_eq!(pool.release(&host, users[who], 1, Kind::Free), Ok(()));
                    let held = model.pools[at].1.get_mut(&who).unwrap();
                    *held -= 1;
                    if *held == 0 {
                        model.pools[at].1.remove(&who);
                    }
                }
            }
            if let Some(named) = registry.find(NAME) {
                prop_assert_eq!(named.owner(), model.owner.map(|owner| owners[owner]));
                for (at, (bound, held)) in model.pools.iter().enumerate() {
                    let info = named.instance(at as u64 + 1).unwrap().info();
                    prop_assert_eq!(info.in_use, held.values().sum::<u64>());
                    let open = model.current == Some(at);
                    prop_assert_eq!(info.status, if open { Status::Open } else { Status::Closed });
                    if open {
                        prop_assert_eq!(info.settings.limit, *bound);
                    }
                }
                prop_assert!(named.instance(model.pools.len() as u64 + 1).is_none());
            }
        }
    }
}

// Limiters.

fn limiter(limit: u32, max_keys: u32) -> LimiterSettings {
    LimiterSettings {
        limits: Limits { limit, per_ms: 100, rate: Rate::new(limit, 100, 1).unwrap() },
        max_keys,
        manual: false,
    }
}

fn hit(named: Named<'_, Fake>) -> Hit {
    let (limiter, incarnation) = named.limiter().unwrap();
    limiter.hit(Key::Global(incarnation), 0, 1)
}

const DENIED: Hit = Hit::Deny(100_000_000);

#[test]
fn a_limiter_is_left_to_the_next_owner_with_what_is_owed() {
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
    // The change takes effect: at twice the rate, half the time is owed.
    assert_eq!(registry.start_limiter(&host, NAME, third, limiter(2, 1), || 0), Ok(Started::Adopted));
    assert_eq!(hit(named), Hit::Deny(50_000_000));
    assert!(!named.close(&host, other));
    assert!(named.close(&host, third));
    assert!(named.limiter().is_none());
    assert_eq!(names(&registry), []);
}

#[test]
fn a_limiter_of_another_size_is_another() {
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
fn a_name_may_be_of_a_pool_and_then_of_a_limiter_and_back() {
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
        let (limiter, incarnation) = named.limiter().unwrap();
        assert_eq!(limiter.hit(Key::Tag(incarnation, 7), 0, 1), Hit::Allow(0));
        assert_eq!((limiter.info(incarnation).unwrap().allowed, hit(named)), (1, Hit::Allow(0)));
        seen.push(limiter);
        assert!(named.close(&host, owner));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 2);
}

/// A caller found a limiter before it was closed, and asks it when another name uses its memory.
/// The only place of the table is taken.
#[test]
fn who_is_late_is_told_nothing_of_another_s_limiter() {
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

const BANS: BanSettings = BanSettings {
    failures: 1,
    within_ms: 100,
    ban_ms: 50,
    escalate: 2,
    max_ban_ms: 1_000,
    forget_ms: 1_000,
    max_keys: 1,
    max_bans: 1,
    manual: false,
};

fn bans(registry: &Registry<Fake>, name: u64) -> (&Ban, Incarnation) {
    registry.find(name).unwrap().bans().unwrap()
}

#[test]
fn who_is_late_bans_nobody_in_another_s_list() {
    let (host, registry) = (Fake::new(2), Registry::new());
    let [a, b] = pids();
    assert_eq!(registry.start_bans(&host, NAME, a, BANS, || 0), Ok(Started::Fresh));
    let (late, before) = bans(&registry, NAME);
    assert!(registry.find(NAME).unwrap().close(&host, a));
    assert_eq!(registry.start_bans(&host, NAME << 1, b, BANS, || 0), Ok(Started::Fresh));
    let (ban, now) = bans(&registry, NAME << 1);
    assert!(std::ptr::eq(late, ban));
    ban.ban(now, 5, 0, 10, Box::new([5]), Box::new([]));
    // The list has room for one ban, and a second would drop it.
    late.ban(before, 6, 0, 100, Box::new([6]), Box::new([]));
    late.record_failure(before, 7, 0, || (Box::new([7]), Box::new([])));
    assert!(!late.advance(before, 1));
    assert_eq!([5, 6, 7].map(|tag| ban.check(tag, 0)), [Banned::For(10_000_000), Banned::No, Banned::No]);
    assert_eq!(ban.info().dropped, 0);
}
