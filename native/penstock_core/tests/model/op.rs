//! Random calls. An operation names a process by its index.

use penstock_core::{AS_LIMIT, Settings, UNLIMITED};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Take {
        process: usize,
        n: u32,
        bound: bool,
    },
    Try {
        process: usize,
        n: u32,
        bound: bool,
    },
    Park {
        process: usize,
        n: u32,
        bound: bool,
    },
    /// The process cancels its wait, or finds that the wait was answered.
    Wake {
        process: usize,
    },
    /// The process waits as in `Park`, but does not block, and can ask again. The host ends the
    /// wait after `ms`, or never if `ms` is `None`.
    Ask {
        process: usize,
        n: u32,
        ms: Option<u32>,
    },
    /// The process leaves one of the waits that it asked for: the last one if `nth` is 0, the one
    /// before it if `nth` is 1, and so on.
    Leave {
        process: usize,
        nth: usize,
    },
    /// The clock advances by `ms`, and the host ends the waits whose time is over.
    Expire {
        ms: u32,
    },
    /// A process cancels the wait of another, which must have no effect.
    CancelForeign {
        process: usize,
        waiter: usize,
    },
    Release {
        process: usize,
        n: u32,
        bound: bool,
    },
    Transfer {
        process: usize,
        to: usize,
        n: u32,
    },
    Spawn {
        process: usize,
        n: u32,
    },
    /// A spawner hands over, or a child adopts.
    Proceed {
        process: usize,
    },
    /// The spawn has failed, and the spawner retracts its offer.
    Retract {
        process: usize,
    },
    /// A supervisor claims the offer of a spawner.
    Claim {
        process: usize,
        spawner: usize,
    },
    Entrust {
        process: usize,
        to: usize,
        n: u32,
    },
    Restart {
        process: usize,
        n: u32,
    },
    /// The process dies, and the pool is not told yet.
    BeginExit {
        process: usize,
    },
    /// The pool is told of the death.
    FinishExit {
        process: usize,
    },
    /// The pool is told of the death once more.
    DownAgain {
        process: usize,
    },
    /// A new process gets the pid of a dead one.
    Reuse {
        process: usize,
    },
    Update {
        limit: u64,
    },
    UpdateWaiting {
        most: u32,
    },
    Drain {
        process: usize,
    },
    Reopen,
    Close,
    Open {
        settings: Settings,
    },
    Advance {
        ms: u32,
    },
    /// Each running process takes a permit, so that there are many holders.
    EachTakes,
    /// Each running process parks for `n` permits.
    EachParks {
        n: u32,
    },
    /// Each running process asks `n` times, for `n` permits and for `n` ms.
    EachAsks {
        n: u32,
    },
    /// Each running process dies, and the pool is not told yet.
    EachDies,
}

/// The largest limit but [`UNLIMITED`], and the largest request.
const MOST: u32 = i32::MAX as u32;

pub(crate) fn limits(processes: usize) -> impl Strategy<Value = u64> {
    let many = processes as u64;
    let most = u64::from(MOST);
    prop_oneof![
        9 => 0..=6_u64,
        9 => 0..=many + 2,
        3 => many..=4 * many,
        3 => Just(UNLIMITED),
        1 => most - 2..=most,
    ]
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
    // The last third of the pids have no process at first. A process gets such a pid when it is
    // spawned (`Op::Spawn`), or by `Op::Reuse`.
    let process = 0..processes + processes / 2;
    let n = prop_oneof![24 => Just(1_u32), 12 => 2..=4_u32, 4 => 5..=20_u32, 1 => MOST - 2..=MOST];
    let act = (process.clone(), n.clone(), proptest::bool::weighted(0.3));
    let each_running = if processes > 20 { 4 } else { 1 };
    prop_oneof![
        6 => act.clone().prop_map(|(process, n, bound)| Op::Take { process, n, bound }),
        12 => act.clone().prop_map(|(process, n, bound)| Op::Try { process, n, bound }),
        12 => act.clone().prop_map(|(process, n, bound)| Op::Park { process, n, bound }),
        8 => (process.clone(), n.clone(), proptest::option::of(0..50_u32))
            .prop_map(|(process, n, ms)| Op::Ask { process, n, ms }),
        3 => (process.clone(), 0..4_usize).prop_map(|(process, nth)| Op::Leave { process, nth }),
        2 => (0..20_u32).prop_map(|ms| Op::Expire { ms }),
        each_running => (1..3_u32).prop_map(|n| Op::EachAsks { n }),
        6 => process.clone().prop_map(|process| Op::Wake { process }),
        1 => (process.clone(), process.clone()).prop_map(|(process, waiter)| Op::CancelForeign { process, waiter }),
        20 => act.clone().prop_map(|(process, n, bound)| Op::Release { process, n, bound }),
        6 => (process.clone(), process.clone(), n.clone()).prop_map(|(process, to, n)| Op::Transfer { process, to, n }),
        8 => (process.clone(), n.clone()).prop_map(|(process, n)| Op::Spawn { process, n }),
        16 => process.clone().prop_map(|process| Op::Proceed { process }),
        3 => process.clone().prop_map(|process| Op::Retract { process }),
        4 => (process.clone(), process.clone()).prop_map(|(process, spawner)| Op::Claim { process, spawner }),
        4 => (process.clone(), process.clone(), n.clone()).prop_map(|(process, to, n)| Op::Entrust { process, to, n }),
        4 => (process.clone(), n.clone()).prop_map(|(process, n)| Op::Restart { process, n }),
        5 => process.clone().prop_map(|process| Op::BeginExit { process }),
        5 => process.clone().prop_map(|process| Op::FinishExit { process }),
        1 => process.clone().prop_map(|process| Op::DownAgain { process }),
        4 => process.clone().prop_map(|process| Op::Reuse { process }),
        4 => limits(processes).prop_map(|limit| Op::Update { limit }),
        1 => (0..4_u32).prop_map(|most| Op::UpdateWaiting { most }),
        2 => process.clone().prop_map(|process| Op::Drain { process }),
        3 => Just(Op::Reopen),
        1 => Just(Op::Close),
        2 => settings(processes).prop_map(|settings| Op::Open { settings }),
        3 => prop_oneof![2 => 1..50_u32, 1 => 1..500_000_u32].prop_map(|ms| Op::Advance { ms }),
        each_running => Just(Op::EachTakes),
        each_running => (1..3_u32).prop_map(|n| Op::EachParks { n }),
        1 => Just(Op::EachDies),
    ]
}
