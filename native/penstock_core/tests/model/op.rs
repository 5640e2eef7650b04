//! Random sequences of calls.

use penstock_core::{AS_LIMIT, Settings, UNLIMITED};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Take {
        who: usize,
        n: u32,
        bound: bool,
    },
    Try {
        who: usize,
        n: u32,
        bound: bool,
    },
    Park {
        who: usize,
        n: u32,
        bound: bool,
    },
    /// The process ends its wait, or finds its answer.
    Wake {
        who: usize,
    },
    /// The process queues a request as in `Park`, but goes on, and may ask again.
    Ask {
        who: usize,
        n: u32,
        ms: Option<u32>,
    },
    /// The process takes back one of its requests: the last one, or the `nth` before that.
    Recall {
        who: usize,
        nth: usize,
    },
    /// The host ends waits.
    Expire {
        ms: u32,
    },
    EveryoneAsks {
        n: u32,
    },
    /// Another process uses the number of the wait.
    CancelForeign {
        who: usize,
        whose: usize,
    },
    Release {
        who: usize,
        n: u32,
        bound: bool,
    },
    Transfer {
        who: usize,
        to: usize,
        n: u32,
    },
    Spawn {
        who: usize,
        n: u32,
    },
    /// The spawner hands over; the child adopts.
    Proceed {
        who: usize,
    },
    Retract {
        who: usize,
    },
    /// A supervisor takes over what a spawner offers.
    Claim {
        who: usize,
        spawner: usize,
    },
    Entrust {
        who: usize,
        to: usize,
        n: u32,
    },
    Restart {
        who: usize,
        n: u32,
    },
    BeginExit {
        who: usize,
    },
    FinishExit {
        who: usize,
    },
    DownAgain {
        who: usize,
    },
    Reuse {
        who: usize,
    },
    Update {
        limit: u64,
    },
    UpdateWaiting {
        most: u32,
    },
    Drain {
        who: usize,
    },
    Reopen,
    Close,
    Open {
        settings: Settings,
    },
    Advance {
        ms: u32,
    },
    /// Each process makes one call, so that there are many holders or waiters.
    EveryoneTakes,
    EveryoneParks {
        n: u32,
    },
    EveryoneDies,
}

pub(crate) fn limits(processes: usize) -> impl Strategy<Value = u64> {
    let many = processes as u64;
    prop_oneof![3 => 0..=6_u64, 3 => 0..=many + 2, 1 => many..=4 * many, 1 => Just(UNLIMITED)]
}

pub(crate) fn settings(processes: usize) -> impl Strategy<Value = Settings> {
    let waiting = prop_oneof![Just(0), 1..=4_u32, Just(10_000)];
    let long = prop_oneof![Just(0), 1..=60_u32];
    let overdraft = prop_oneof![3 => limits(processes), 1 => Just(AS_LIMIT)];
    (limits(processes), waiting, overdraft, long).prop_map(|(limit, max_waiting, max_overdraft, held_longer_than)| {
        Settings { limit, max_waiting, max_overdraft, held_longer_than }
    })
}

pub(crate) fn op(processes: usize) -> impl Strategy<Value = Op> {
    // Some are children, which do not exist before they are spawned.
    let who = 0..processes + processes / 2;
    let n = prop_oneof![6 => Just(1_u32), 3 => 2..=4_u32, 1 => 5..=20_u32];
    let act = (who.clone(), n.clone(), proptest::bool::weighted(0.3));
    let everyone = if processes > 20 { 4 } else { 1 };
    prop_oneof![
        6 => act.clone().prop_map(|(who, n, bound)| Op::Take { who, n, bound }),
        12 => act.clone().prop_map(|(who, n, bound)| Op::Try { who, n, bound }),
        12 => act.clone().prop_map(|(who, n, bound)| Op::Park { who, n, bound }),
        8 => (who.clone(), n.clone(), proptest::option::of(0..50_u32))
            .prop_map(|(who, n, ms)| Op::Ask { who, n, ms }),
        3 => (who.clone(), 0..4_usize).prop_map(|(who, nth)| Op::Recall { who, nth }),
        2 => (0..20_u32).prop_map(|ms| Op::Expire { ms }),
        everyone => (1..3_u32).prop_map(|n| Op::EveryoneAsks { n }),
        6 => who.clone().prop_map(|who| Op::Wake { who }),
        1 => (who.clone(), who.clone()).prop_map(|(who, whose)| Op::CancelForeign { who, whose }),
        20 => act.clone().prop_map(|(who, n, bound)| Op::Release { who, n, bound }),
        6 => (who.clone(), who.clone(), n.clone()).prop_map(|(who, to, n)| Op::Transfer { who, to, n }),
        8 => (who.clone(), n.clone()).prop_map(|(who, n)| Op::Spawn { who, n }),
        16 => who.clone().prop_map(|who| Op::Proceed { who }),
        3 => who.clone().prop_map(|who| Op::Retract { who }),
        4 => (who.clone(), who.clone()).prop_map(|(who, spawner)| Op::Claim { who, spawner }),
        4 => (who.clone(), who.clone(), n.clone()).prop_map(|(who, to, n)| Op::Entrust { who, to, n }),
        4 => (who.clone(), n.clone()).prop_map(|(who, n)| Op::Restart { who, n }),
        5 => who.clone().prop_map(|who| Op::BeginExit { who }),
        5 => who.clone().prop_map(|who| Op::FinishExit { who }),
        1 => who.clone().prop_map(|who| Op::DownAgain { who }),
        4 => who.clone().prop_map(|who| Op::Reuse { who }),
        4 => limits(processes).prop_map(|limit| Op::Update { limit }),
        1 => (0..4_u32).prop_map(|most| Op::UpdateWaiting { most }),
        2 => who.clone().prop_map(|who| Op::Drain { who }),
        3 => Just(Op::Reopen),
        1 => Just(Op::Close),
        2 => settings(processes).prop_map(|settings| Op::Open { settings }),
        1 => (1..50_u32).prop_map(|ms| Op::Advance { ms }),
        everyone => Just(Op::EveryoneTakes),
        everyone => (1..3_u32).prop_map(|n| Op::EveryoneParks { n }),
        1 => Just(Op::EveryoneDies),
    ]
}
