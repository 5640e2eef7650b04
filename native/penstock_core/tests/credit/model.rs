//! One thread makes calls at random, on any shard. Each answer must be that of plain numbers.

use penstock_core::{Credit, Spread};
use proptest::prelude::*;

const SHARDS: usize = 3;
/// No request is larger.
const LARGEST: u32 = 12;

#[derive(Clone, Copy, Debug)]
enum Op {
    Take {
        shard: usize,
        n: u32,
    },
    /// Gives back up to `n` permits that are held.
    Give {
        shard: usize,
        n: u64,
    },
    TakeForWaiter {
        n: u32,
    },
    Overdraw {
        n: u32,
        least: i64,
        least_if_overdrawn: i64,
    },
    Shift {
        delta: i64,
    },
    SetWaiters,
    ClearWaiters,
    Close,
    Open,
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    let (shard, n) = (0..SHARDS, 1..=LARGEST);
    prop_oneof![
        20 => (shard.clone(), n.clone()).prop_map(|(shard, n)| Op::Take { shard, n }),
        20 => (shard, 1..=2 * u64::from(LARGEST)).prop_map(|(shard, n)| Op::Give { shard, n }),
        2 => n.clone().prop_map(|n| Op::TakeForWaiter { n }),
        1 => (n, -20..=0_i64, -20..=0_i64)
            .prop_map(|(n, least, least_if_overdrawn)| Op::Overdraw { n, least, least_if_overdrawn }),
        1 => (-30..=30_i64).prop_map(|delta| Op::Shift { delta }),
        1 => Just(Op::SetWaiters),
        3 => Just(Op::ClearWaiters),
        1 => Just(Op::Close),
        3 => Just(Op::Open),
        1 => Just(Op::Look),
    ]
}

/// What the calls must answer.
#[derive(Debug)]
struct Plain {
    free: i64,
    held: u64,
    closed: bool,
    has_waiters: bool,
}

impl Plain {
    /// Takes `n` permits if `admits`.
    fn take(&mut self, n: u32, admits: bool) -> bool {
        if admits {
            self.free -= i64::from(n);
            self.held += u64::from(n);
        }
        admits
    }

    fn flagged(&self) -> bool {
        self.closed || self.has_waiters
    }
}

fn run(credit: &Credit, plain: &mut Plain, op: Op) -> Result<(), TestCaseError> {
    match op {
        Op::Take { shard, n } => {
            let admits = !plain.flagged() && plain.free >= n.into();
            let taken = credit.take(shard, n);
            if let Err(seen) = taken {
                let expected = (plain.free, plain.closed, plain.has_waiters);
                prop_assert_eq!((seen.free(), seen.closed(), seen.has_waiters()), expected);
            }
            prop_assert_eq!(taken.is_ok(), plain.take(n, admits));
        }
        Op::Give { shard, n } => {
            let n = n.min(plain.held);
            if n > 0 {
                prop_assert_eq!(credit.give(shard, n), plain.flagged());
                plain.held -= n;
                plain.free += n as i64;
            }
        }
        Op::TakeForWaiter { n } => {
            let admits = !plain.closed && plain.free >= n.into();
            let taken = credit.take_for_waiter(n);
            prop_assert_eq!(taken.is_ok(), plain.take(n, admits));
            let (Ok(seen) | Err(seen)) = taken;
            prop_assert_eq!(seen.free(), plain.free);
        }
        Op::Overdraw { n, least, least_if_overdrawn } => {
            let least_now = if plain.free < 0 { least_if_overdrawn } else { least };
            let admits = !plain.closed && plain.free - i64::from(n) >= least_now;
            let taken = credit.overdraw(n, least, least_if_overdrawn);
            prop_assert_eq!(taken.is_ok(), plain.take(n, admits));
        }
        Op::Shift { delta } => {
            prop_assert_eq!(credit.shift(delta), plain.free);
            plain.free += delta;
        }
        Op::SetWaiters => {
            credit.set_waiters();
            plain.has_waiters = true;
        }
        Op::ClearWaiters => {
            credit.clear_waiters();
            plain.has_waiters = false;
        }
        Op::Close => {
            credit.close();
            plain.closed = true;
        }
        Op::Open => {
            credit.open();
            plain.closed = false;
        }
        Op::Look => {
            let seen = credit.look();
            let expected = (plain.free, plain.closed, plain.has_waiters);
            prop_assert_eq!((seen.free(), seen.closed(), seen.has_waiters()), expected);
            prop_assert!(!credit.is_spread());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn each_answer_is_that_of_plain_numbers(
        part in 1..16_u32,
        least in 1..4_u32,
        most in 1..20_u32,
        patience in 0..4_u32,
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let credit = Credit::new(SHARDS, Spread { part, least, most, patience });
        let mut plain = Plain { free: 0, held: 0, closed: true, has_waiters: false };
        for op in [Op::Shift { delta: 60 }, Op::Open].into_iter().chain(ops).chain([Op::Look]) {
            run(&credit, &mut plain, op)?;
        }
    }
}

fn open(limit: i64, spread: Spread) -> Credit {
    let credit = Credit::new(SHARDS, spread);
    credit.shift(limit);
    credit.open();
    credit
}

#[test]
fn a_pool_with_few_free_permits_is_not_spread() {
    let credit = open(16, Spread { part: 4, least: 4, most: 64, patience: 0 });
    assert_eq!(credit.take(0, 1), Ok(()));
    assert!(!credit.is_spread());
    credit.shift(1);
    // A quarter of the 15 permits that this take leaves is less than 4.
    assert_eq!(credit.take(0, 1), Ok(()));
    assert!(!credit.is_spread());
    credit.shift(2);
    assert_eq!(credit.take(0, 1), Ok(()));
    assert!(credit.is_spread());
}

#[test]
fn after_a_recall_a_shard_is_refilled_when_its_patience_is_over() {
    let patience = 5;
    let credit = open(1_000, Spread { patience, ..Spread::over(SHARDS) });
    for _ in 0..2 {
        for _ in 0..patience {
            assert_eq!(credit.take(1, 1), Ok(()));
            assert!(!credit.give(1, 1));
            assert!(!credit.is_spread());
        }
        assert_eq!(credit.take(1, 1), Ok(()));
        assert!(credit.is_spread());
        // The shard has a batch now, so its callers do not recall.
        assert!(!credit.give(1, 1));
        assert_eq!(credit.take(1, 1), Ok(()));
        assert!(credit.is_spread());
        assert!(!credit.give(1, 1));
        assert_eq!(credit.look().free(), 1_000);
        assert!(!credit.is_spread());
    }
}

/// Permits are taken on one shard and given back on another. That one must not keep them.
#[test]
fn a_shard_that_only_collects_leaves_permits_to_the_others() {
    let credit = open(100, Spread { part: 12, least: 4, most: 4, patience: 0 });
    // The shard that collects is in use.
    assert_eq!(credit.take(2, 1), Ok(()));
    for _ in 0..1_000 {
        for _ in 0..50 {
            assert_eq!(credit.take(0, 1), Ok(()));
            assert!(!credit.give(2, 1));
        }
        // No take had to recall, since shard 2 keeps 8 permits at most.
        assert!(credit.is_spread());
    }
    assert_eq!(credit.look().free(), 99);
}
