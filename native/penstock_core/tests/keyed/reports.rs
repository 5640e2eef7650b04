//! What people are shown: sums, keys and holders.

use penstock_core::{HolderInfo, Status};

use crate::stage::{Stage, settings, tag};

#[test]
fn the_sums_count_each_outcome() {
    let (stage, [a, b, c]) = Stage::with(settings(2, 2));
    a.hold(1, 2);
    a.hold(2, 1);
    assert!(b.try_acquire(1, 1).is_err());
    assert!(b.try_acquire(3, 1).is_err());
    let wait = b.wait(1, 1);
    c.wait(1, 1);
    b.cancel(wait);
    a.die();
    let sums = stage.sums();
    assert_eq!((sums.status, sums.settings), (Status::Open, settings(2, 2)));
    assert_eq!((sums.keys, sums.in_use, sums.waiting), (1, 1, 0));
    assert_eq!((sums.acquired, sums.rejected, sums.timed_out, sums.released_by_exit), (3, 2, 1, 3));
}

#[test]
fn memory_is_that_of_the_places_and_of_what_is_used() {
    let (stage, [a, b, c]) = Stage::with(settings(1, 100_000));
    let at_first = stage.sums().memory;
    let per_key = at_first / 100_000;
    assert!(per_key <= penstock_core::KeyedPool::<crate::support::Fake>::KEY_MEMORY + 16, "{per_key} bytes a key");
    // The record of each process exists.
    for process in [&a, &b, &c] {
        process.hold(0, 1);
        process.release(0, 1).unwrap();
    }
    a.hold(1, 1);
    let held = stage.sums().memory;
    assert!(held > at_first, "records and leases count");
    b.wait(1, 1);
    let waiting = stage.sums().memory;
    assert!(waiting > held);
    c.wait(1, 1);
    assert!(stage.sums().memory > waiting, "each wait counts");
    for key in 0..1_000 {
        let _ = a.try_acquire(key, 1);
        let _ = a.release(key, 1);
    }
    assert!(stage.sums().memory < held + 1_000 * 1_000, "keys that passed leave nothing");
}

#[test]
fn top_shows_the_keys_that_hold_most() {
    for max_keys in [100, 5_000] {
        let (stage, [a, b]) = Stage::with(settings(100, max_keys));
        for key in 0..80 {
            a.hold(key, key as u32 + 1);
        }
        b.wait(79, 50);
        b.wait(30, 90);
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (some, rest) = stage.pool.top(&stage.host, from, 3);
            assert!(some.len() <= 3 && some.is_sorted_by_key(|top| std::cmp::Reverse(top.permits)));
            all.extend(some);
            next = rest;
        }
        all.sort_by_key(|top| std::cmp::Reverse((top.permits, top.waiting)));
        all.truncate(3);
        let shown: Vec<_> = all
            .iter()
            .map(|top| (u64::from_le_bytes((*top.shown).try_into().unwrap()), top.permits, top.waiting))
            .collect();
        assert_eq!(shown, [(79, 80, 1), (78, 79, 0), (77, 78, 0)]);
        assert_eq!(all[0].tag, tag(79).0);
        a.die();
        stage.serve_deferred();
        assert!(stage.pool.top(&stage.host, 0, 3).0.iter().all(|top| top.permits >= 50), "the waiters were granted");
    }
}

#[test]
fn holders_shows_who_holds_permits_of_a_key_and_since_when() {
    let stage = Stage::open(100, settings(100, 10));
    let all = stage.processes(1..=100);
    for (at, holder) in all.iter().enumerate() {
        holder.hold(1 + at as u64 % 2, 1);
        stage.host.advance(1);
    }
    all[0].hold(1, 1);
    // Only waits: no holder.
    let wait = all[1].wait(1, 100);
    let mut found: Vec<HolderInfo> = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        let (some, rest) = stage.pool.holders(&stage.host, tag(1), from, 7);
        assert!(some.len() <= 7);
        found.extend(some);
        next = rest;
    }
    found.sort_by_key(|holder| holder.pid);
    let expected: Vec<_> = (0..100)
        .step_by(2)
        .map(|at| HolderInfo { pid: all[at].pid, permits: if at == 0 { 2 } else { 1 }, since_ms: 1_000 + at as u32 })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(all[1].cancel(wait), penstock_core::Cancelled::Yes);
    // A process that held nothing of the key meanwhile holds since its next acquire.
    all[2].release(1, 1).unwrap();
    all[2].hold(1, 1);
    let (found, _) = stage.pool.holders(&stage.host, tag(1), 0, 1_000);
    assert!(found.contains(&HolderInfo { pid: all[2].pid, permits: 1, since_ms: 1_100 }));
    assert_eq!(stage.pool.holders(&stage.host, tag(7), 0, 1_000), (Vec::new(), None));
}
