//! Races of gates of several limits. Each limit is exact by itself, as the other models show. So
//! these models check what happens between two limits of one decision.

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use penstock_core::{
    AS_LIMIT, Gate, GateSettings, Held, KeyTag, KeyedMember, KeyedPool, KeyedSettings, Kind, MOST_MEMBERS, No, Parked,
    Pid, Pool, PoolKey, PoolMember, Refused, Registry, Reusable, Started, admit,
};

use crate::explore::explore;
use crate::keyed_stage::{Name, tag};
use crate::pids;
use crate::support::{Fake, limit};

const NAME: u64 = 0x40;
const OTHER: u64 = 0xC0;

fn always() -> bool {
    true
}

/// Two pools with a limit of 1.
struct Pools {
    host: Fake,
    pools: [Pool<Fake>; 2],
}

impl Pools {
    fn open() -> Arc<Self> {
        let this = Self { host: Fake::new(4), pools: [Pool::new(), Pool::new()] };
        this.pools.iter().for_each(|pool| assert!(pool.open(limit(1))));
        Arc::new(this)
    }

    fn spawn<T: 'static>(self: &Arc<Self>, act: impl FnOnce(&Self) -> T + 'static) -> JoinHandle<T> {
        let this = Arc::clone(self);
        thread::spawn(move || act(&this))
    }

    /// Asks both pools, in this order, until none answers `Again`.
    fn ask(&self, me: Pid, order: [usize; 2]) -> Result<(), Refused> {
        let members = order.map(|at| PoolMember { pool: &self.pools[at], still: &always, me, n: 1 });
        loop {
            match admit(&self.host, &members, Kind::Manual, false, || 0) {
                Err((_, No::Again)) => {}
                answer => return answer.map(|_| ()),
            }
        }
    }

    fn in_use(&self) -> [u64; 2] {
        [0, 1].map(|at| self.pools[at].info().in_use)
    }

    /// Asserts that no permit is lost: a process that comes last gets all that is free.
    fn assert_free(&self, last: Pid, used: [u64; 2]) {
        assert_eq!(self.in_use(), used);
        for (pool, used) in self.pools.iter().zip(used) {
            assert_eq!(pool.try_acquire(&self.host, last, 1, Kind::Manual).is_ok(), used == 0);
        }
    }
}

/// A gate takes the first pool and is refused by the second, which a third process holds. Another
/// process parks in the first pool meanwhile. It gets the permit, at once or from the gate.
#[test]
fn a_gate_that_is_refused_against_a_waiter_of_the_limit_before() {
    explore(|| {
        let pools = Pools::open();
        let [caller, waiter, holder, last] = pids();
        // The second pool is full only after the look: so the gate takes the first one.
        let asking = pools.spawn(move |pools| {
            let second = PoolMember { pool: &pools.pools[1], still: &always, me: caller, n: 1 };
            let first = PoolMember { pool: &pools.pools[0], still: &always, me: caller, n: 1 };
            let fills = Fills { pools, holder };
            let members: [&dyn penstock_core::Member<Fake>; 3] = [&first, &fills, &second];
            admit(&pools.host, &members, Kind::Manual, false, || 0)
        });
        let parked = pools.pools[0].park(&pools.host, waiter, 1, Kind::Manual, pools.host.ticket());
        let answer = asking.join().unwrap();
        assert!(matches!(answer, Err((0 | 2, No::Full))), "{answer:?}");
        match parked {
            Parked::Granted => assert!(pools.host.mailbox(waiter).is_empty()),
            Parked::Waiting(_) => assert_eq!(pools.host.mailbox(waiter).len(), 1, "the permit reached the waiter"),
            other => panic!("{other:?}"),
        }
        // `Fills` fills the second pool only after the gate has taken the first one.
        let filled = pools.pools[1].holds(holder, 1, Kind::Manual);
        pools.assert_free(last, [1, u64::from(filled)]);
    });
}

/// A limit by which `holder` gets the permit of the second pool, when the gate takes it.
struct Fills<'a> {
    pools: &'a Pools,
    holder: Pid,
}

impl penstock_core::Member<Fake> for Fills<'_> {
    fn rank(&self) -> penstock_core::Rank {
        penstock_core::Rank::Pool
    }
    fn look(&self, _host: &Fake, _waits: bool) -> Result<(), No> {
        Ok(())
    }
    fn take(&self, host: &Fake, _kind: Kind, _waits: bool) -> Result<Held, No> {
        assert_eq!(self.pools.pools[1].try_acquire(host, self.holder, 1, Kind::Manual), Ok(()));
        Ok(Held::Nothing)
    }
}

/// Two gates over the same two pools, in opposite order, that do not wait. Each may refuse the
/// other, but none leaves a permit behind, and both are never admitted.
#[test]
fn two_gates_in_opposite_order() {
    explore(|| {
        let pools = Pools::open();
        let [one, two, _, last] = pids();
        let asking = pools.spawn(move |pools| pools.ask(one, [0, 1]));
        let second = pools.ask(two, [1, 0]);
        let first = asking.join().unwrap();
        let admitted = u64::from(first.is_ok()) + u64::from(second.is_ok());
        assert!(admitted <= 1, "{first:?} {second:?}");
        pools.assert_free(last, [admitted; 2]);
    });
}

/// The owner of a pool closes it, and starts another name, which may take over the registry's node.
/// A gate that means the first name either holds a permit there, or leaves none anywhere.
#[test]
fn a_gate_against_the_restart_of_a_limit() {
    explore(|| {
        let host = Fake::new(4);
        let [owner, caller, last, _] = pids();
        let registry = Arc::new(Registry::<Fake>::new());
        assert_eq!(registry.start(&host, NAME, owner, limit(1)), Started::Fresh);
        let asking = {
            let (registry, host) = (Arc::clone(&registry), host.clone());
            thread::spawn(move || {
                let named = registry.find(NAME)?;
                let (pool, id) = named.current()?;
                let members = [PoolMember { pool, still: &|| named.is_there(), me: caller, n: 1 }];
                let answer = admit(&host, &members, Kind::Bound, false, || 0);
                match answer {
                    Ok(_) => Some(named.instance_of(id)),
                    Err((_, No::Closed | No::Full)) => None,
                    Err(other) => panic!("{other:?}"),
                }
            })
        };
        assert!(registry.find(NAME).unwrap().close(&host, owner));
        assert_eq!(registry.start(&host, OTHER, owner, limit(1)), Started::Fresh);
        if let Some(instance) = asking.join().unwrap() {
            let pool = registry.find(NAME).and_then(|named| named.instance(instance)).expect("the holder keeps it");
            assert_eq!(pool.info().in_use, 1);
            assert_eq!(pool.release(&host, caller, 1, Kind::Bound), Ok(()));
        }
        let (pool, _) = registry.find(OTHER).unwrap().pool().unwrap();
        assert_eq!(pool.info().in_use, 0);
        assert_eq!(pool.try_acquire(&host, last, 1, Kind::Manual), Ok(()));
    });
}

/// A gate gets the last place of a keyed pool, and is refused by the pool behind it. Meanwhile
/// another key asks for the place. The place is free at the end, or the other key has it.
#[test]
fn the_last_place_of_a_table_against_a_gate_that_is_refused() {
    explore(|| {
        let pools = Pools::open();
        let [caller, other, holder, last] = pids();
        let keyed = Arc::new(KeyedPool::<Fake>::new(1).unwrap());
        let settings = KeyedSettings { limit: 1, max_keys: 1, max_waiting: 9, max_overdraft: AS_LIMIT };
        let generation = keyed.open(settings);
        let asking = {
            let keyed = Arc::clone(&keyed);
            pools.spawn(move |pools| {
                let key = PoolKey { generation, tag: tag(1), show: &Name(1) };
                let first = KeyedMember { pool: &*keyed, key, me: caller, n: 1 };
                let second = PoolMember { pool: &pools.pools[1], still: &always, me: caller, n: 1 };
                let fills = Fills { pools, holder };
                let members: [&dyn penstock_core::Member<Fake>; 3] = [&first, &fills, &second];
                admit(&pools.host, &members, Kind::Manual, false, || 0)
            })
        };
        let ask = |me, number| {
            let key = PoolKey { generation, tag: tag(number), show: &Name(number) };
            keyed.try_acquire(&pools.host, me, key, 1, Kind::Manual)
        };
        let got = ask(other, 2);
        let answer = asking.join().unwrap();
        assert!(matches!(answer, Err((0, No::TableFull) | (2, No::Full))), "{answer:?}");
        assert_eq!(keyed.info(&pools.host).in_use, u64::from(got.is_ok()));
        if got.is_ok() {
            let tag: KeyTag = tag(2);
            assert_eq!(keyed.release(&pools.host, other, tag, 1), Ok(()));
        }
        assert!(ask(last, 3).is_ok(), "the place is free again");
    });
}

/// A caller reads the settings of its gate while the memory of the gate is opened for another name.
/// It gets the settings of its own generation, or none, and never a mixture.
#[test]
fn the_settings_of_a_gate_against_its_next_opening() {
    // The list of the second generation ends where that of the first goes on.
    let settings = |name: u64| {
        let members = if name == 1 { [1; MOST_MEMBERS] } else { [name, 0, 0] };
        GateSettings { members, shed_at: name as u32 }
    };
    explore(move || {
        let gate = Arc::new(Gate::make(settings(1)).unwrap());
        let first = gate.open(settings(1), 0);
        let opening = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.open(settings(2), 0))
        };
        let read = gate.settings(first);
        assert!(read.is_none() || read == Some(settings(1)), "{read:?}");
        let mut names = [0; MOST_MEMBERS];
        if let Some(count) = gate.names(first, &mut names) {
            assert_eq!((count, names), (MOST_MEMBERS, [1; MOST_MEMBERS]));
        }
        let second = opening.join().unwrap();
        assert_eq!((gate.settings(first), gate.settings(second)), (None, Some(settings(2))));
    });
}
