//! Compares a name with a plain model of that name, by random sequences of calls.

use std::collections::BTreeMap;

use penstock_core::{Host, Kind, Named, Registry, Started, Status};
use proptest::prelude::*;

use crate::stage::{NAME, pids};
use crate::support::{Fake, limit};

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Start { owner: usize, limit: u64 },
    Close { owner: usize },
    Crash { owner: usize },
    Take { user: usize },
    Release { user: usize },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_usize, 1..4_u64).prop_map(|(owner, limit)| Op::Start { owner, limit }),
        2 => (0..4_usize).prop_map(|owner| Op::Close { owner }),
        2 => (0..4_usize).prop_map(|owner| Op::Crash { owner }),
        4 => (0..4_usize).prop_map(|user| Op::Take { user }),
        3 => (0..4_usize).prop_map(|user| Op::Release { user }),
    ]
}

#[derive(Default)]
struct Model {
    owner: Option<usize>,
    /// The index of the open pool in `pools`.
    current: Option<usize>,
    /// By pool: its limit, and the number of permits that each user holds.
    pools: Vec<(u64, BTreeMap<usize, u64>)>,
}

/// Makes the calls, and compares the name with the model after each.
pub(crate) fn run(ops: Vec<Op>) {
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
                    (Some(other), _) if other != owner && host.alive(owners[other]) => {
                        assert_eq!(started, Started::AlreadyStarted(owners[other]));
                        continue;
                    }
                    (_, Some(current)) => {
                        assert_eq!(started, Started::Adopted);
                        model.pools[current].0 = bound;
                    }
                    (_, None) => {
                        assert_eq!(started, Started::Fresh);
                        let idle = |(_, held): &(u64, BTreeMap<usize, u64>)| held.is_empty();
                        let (_pool, id) = registry.find(NAME).and_then(Named::pool).unwrap();
                        let current = id as usize - 1;
                        // A start may open any idle pool, and makes one if there is none.
                        if model.pools.iter().any(idle) {
                            assert!(model.pools.get(current).is_some_and(idle));
                        } else {
                            assert_eq!(current, model.pools.len());
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
                assert_eq!(closed, model.owner == Some(owner));
                if closed {
                    (model.owner, model.current) = (None, None);
                }
            }
            Op::Crash { owner } => {
                // If the process is dead already and owns nothing, a new process gets its
                // pid.
                if host.alive(owners[owner]) {
                    host.begin_exit(owners[owner]);
                } else if model.owner != Some(owner) {
                    host.finish_exit(owners[owner], &[]);
                    host.reuse(owners[owner]);
                }
            }
            Op::Take { user } => {
                let pool = registry.find(NAME).and_then(Named::pool);
                assert_eq!(pool.map(|(_, id)| id as usize - 1), model.current);
                if let (Some((pool, _)), Some(current)) = (pool, model.current) {
                    let (bound, held) = &mut model.pools[current];
                    let free = held.values().sum::<u64>() < *bound;
                    assert_eq!(pool.try_acquire(&host, users[user], 1, Kind::Manual).is_ok(), free);
                    if free {
                        *held.entry(user).or_default() += 1;
                    }
                }
            }
            Op::Release { user } => {
                // A user releases in the pool in which it holds a permit, even if that pool
                // is closed.
                let Some(at) = model.pools.iter().position(|(_, held)| held.contains_key(&user)) else { continue };
                let pool = registry.find(NAME).and_then(|named| named.instance(at as u64 + 1)).unwrap();
                assert_eq!(pool.release(&host, users[user], 1, Kind::Manual), Ok(()));
                let held = model.pools[at].1.get_mut(&user).unwrap();
                *held -= 1;
                if *held == 0 {
                    model.pools[at].1.remove(&user);
                }
            }
        }
        if let Some(named) = registry.find(NAME) {
            assert_eq!(named.owner(), model.owner.map(|owner| owners[owner]));
            for (at, (bound, held)) in model.pools.iter().enumerate() {
                let info = named.instance(at as u64 + 1).unwrap().info();
                assert_eq!(info.in_use, held.values().sum::<u64>());
                let open = model.current == Some(at);
                assert_eq!(info.status, if open { Status::Open } else { Status::Closed });
                if open {
                    assert_eq!(info.settings.limit, *bound);
                }
            }
            assert!(named.instance(model.pools.len() as u64 + 1).is_none());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_name_answers_as_its_model(ops in proptest::collection::vec(op(), 1..60)) {
        run(ops);
    }
}
