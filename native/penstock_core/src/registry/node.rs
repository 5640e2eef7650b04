//! A node: the gate and the pools of one name at a time.

use std::sync::Arc;

use once_cell::race::OnceBox;

use super::GateHost;
use super::current::{Current, CurrentWord, Slabs, StartConfig};
use super::pools::{PoolCounts, Pools};
use crate::host::Pid;
use crate::keyed_pool::KeyedPool;
use crate::pool::Pool;
use crate::reuse::Generation;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};

pub(super) struct Node<H: GateHost> {
    /// Changes under the lock of `ownership`.
    name: AtomicU64,
    /// The number of the name's present life, which began when the name got this node. Each
    /// name's first life is number 0; any other number belongs to one name. Changes with `name`.
    life: AtomicU32,
    pub(super) pools: Pools<H>,
    /// Changes under the lock of `ownership`.
    pub(super) current: CurrentWord,
    pub(super) slabs: Arc<Slabs<H>>,
    pub(super) ownership: Mutex<Ownership>,
    pub(super) next: OnceBox<Node<H>>,
}

/// The owner of a name, and the settings that it started the name with.
pub(super) struct Ownership {
    pub(super) owner: Option<Pid>,
    /// The settings of the gate that `Node::current` names.
    pub(super) config: StartConfig,
    /// The number of the opening of that gate: no other opening has it.
    pub(super) opening: u64,
    pub(super) pools: PoolCounts,
}

impl<H: GateHost> Node<H> {
    pub(super) fn new(name: u64, life: u32, slabs: &Arc<Slabs<H>>) -> Self {
        Self {
            name: AtomicU64::new(name),
            life: AtomicU32::new(life),
            pools: Pools::new(),
            current: CurrentWord::new(),
            slabs: Arc::clone(slabs),
            ownership: Mutex::new(Ownership {
                owner: None,
                config: StartConfig::None,
                opening: 0,
                pools: PoolCounts::new(),
            }),
            next: OnceBox::new(),
        }
    }

    #[inline]
    pub(super) fn name(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `rename`: the caller observes the life of
        // this name, or a later one.
        self.name.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn life(&self) -> u32 {
        // ORDERING: Acquire pairs with the Release in `rename`: a caller that observes the next
        // life also observes that the name is gone.
        self.life.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        self.current.load() != Current::None
    }

    /// Gives the node to another name. Calls `forget` with the old name while callers can still
    /// find the old name here. Returns `false`, and does nothing, if the old name is in use.
    pub(super) fn rename(&self, name: u64, life: u32, forget: impl FnOnce(u64)) -> bool {
        let ownership = lock(&self.ownership);
        // An idle pool stays idle while this lock is held: it is closed, and only a start, which
        // takes the lock, opens it.
        if ownership.owner.is_some() || self.is_open() || !self.pools.are_idle(ownership.pools) {
            return false;
        }
        forget(self.name());
        // The node has no name while its life changes. Otherwise a caller could pair the old name
        // with the new life.
        self.name.store(0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `life`; publishes that the old name is
        // gone.
        self.life.store(life, Ordering::Release);
        // ORDERING: Release pairs with the Acquire in `name`; publishes the life.
        self.name.store(name, Ordering::Release);
        true
    }

    /// Makes the name stand for a gate that was opened for it. The caller holds the lock of the
    /// ownership.
    pub(super) fn occupy(&self, ownership: &mut Ownership, config: StartConfig, current: Current) {
        ownership.config = config;
        ownership.opening = self.slabs.next_opening();
        self.current.store(current);
    }

    /// Makes the name stand for nothing, and gives its gate back to the slab that it came from. The
    /// caller holds the lock of the ownership. After it has released that lock, it must
    /// [close](Vacated::close) the gate.
    pub(super) fn vacate(&self, ownership: &mut Ownership) -> Vacated<'_, H> {
        let before = self.current.load();
        ownership.config = StartConfig::None;
        self.current.store(Current::None);
        // Given back only after the store above: another name may open a spare limiter or ban
        // list at once. A spare keyed pool is opened only once it is closed.
        match before {
            Current::Limiter(handle) => self.slabs.limiters.give_back(handle),
            Current::Ban(handle) => self.slabs.bans.give_back(handle),
            Current::Gate(handle) => self.slabs.gates.give_back(handle),
            Current::Keyed(handle) => {
                self.slabs.keyed.give_back(handle);
                return self
                    .slabs
                    .keyed
                    .get(handle.id)
                    .map_or(Vacated::Nothing, |pool| Vacated::Keyed(pool, handle.generation));
            }
            Current::Pool(id) => return self.pools.get(id).map_or(Vacated::Nothing, Vacated::Pool),
            Current::None => {}
        }
        Vacated::Nothing
    }
}

/// A gate that its name has stopped standing for.
#[must_use]
pub(super) enum Vacated<'a, H: GateHost> {
    /// A limiter, a ban list or no gate: these are not closed.
    Nothing,
    Pool(&'a Pool<H>),
    Keyed(&'a KeyedPool<H>, Generation),
}

impl<H: GateHost> Vacated<'_, H> {
    /// Closes the gate: its waiters are answered. A caller that is told so, and asks again by the
    /// name, finds no gate, since the name stands for nothing by now.
    pub(super) fn close(self, host: &H) {
        match self {
            Self::Nothing => {}
            Self::Pool(pool) => pool.close(host),
            Self::Keyed(pool, generation) => pool.close(host, generation),
        }
    }
}
