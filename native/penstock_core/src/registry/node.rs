//! A node: what a name stands for, at one time for one name.

use std::sync::Arc;

use once_cell::race::OnceBox;

use super::current::{Current, CurrentWord, Given, Slabs};
use super::pools::{PoolCounts, Pools};
use crate::host::Pid;
use crate::pool::PoolHost;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};

pub(super) struct Node<H: PoolHost> {
    /// Changes under the lock of `ownership`.
    name: AtomicU64,
    /// Which life of the name this is: 0 is the first, and any other belongs to one name only.
    /// Changes with the name.
    number: AtomicU32,
    pub(super) pools: Pools<H>,
    /// Changes under the lock of `ownership`.
    pub(super) current: CurrentWord,
    pub(super) slabs: Arc<Slabs>,
    pub(super) ownership: Mutex<Ownership>,
    pub(super) next: OnceBox<Node<H>>,
}

/// The owner of a name, and what it started the name with.
pub(super) struct Ownership {
    pub(super) owner: Option<Pid>,
    /// Of the kind of `Node::current`.
    pub(super) given: Given,
    pub(super) pools: PoolCounts,
}

impl<H: PoolHost> Node<H> {
    pub(super) fn new(name: u64, number: u32, slabs: &Arc<Slabs>) -> Self {
        Self {
            name: AtomicU64::new(name),
            number: AtomicU32::new(number),
            pools: Pools::new(),
            current: CurrentWord::new(),
            slabs: Arc::clone(slabs),
            ownership: Mutex::new(Ownership { owner: None, given: Given::None, pools: PoolCounts::new() }),
            next: OnceBox::new(),
        }
    }

    #[inline]
    pub(super) fn name(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `become_another`: the number is of that
        // life, or a later one.
        self.name.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn number(&self) -> u32 {
        // ORDERING: Acquire pairs with the Release in `become_another`.
        self.number.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        self.current.load() != Current::None
    }

    /// Makes the node stand for another name, if nothing is open, held or waited for; returns
    /// `false` if not. Calls `forget` with the old name before that cannot be found any more.
    pub(super) fn become_another(&self, name: u64, number: u32, forget: impl FnOnce(u64)) -> bool {
        let ownership = lock(&self.ownership);
        // An idle pool is closed, and only a start opens it, which needs this lock.
        if ownership.owner.is_some() || self.is_open() || !self.pools.are_idle(ownership.pools) {
            return false;
        }
        forget(self.name());
        // No name: a caller that reads the number of the next life sees that the name is gone.
        self.name.store(0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `number`.
        self.number.store(number, Ordering::Release);
        // ORDERING: Release pairs with the Acquire in `name`.
        self.name.store(name, Ordering::Release);
        true
    }

    /// Makes the name stand for nothing, and its limiter or ban list spare. Under the lock of the
    /// ownership.
    pub(super) fn vacate(&self, ownership: &mut Ownership) {
        let before = self.current.load();
        ownership.given = Given::None;
        self.current.store(Current::None);
        // Only now, as a spare one may be opened for another name at once.
        match before {
            Current::Limiter(handle) => self.slabs.limiters.give_back(handle),
            Current::Ban(handle) => self.slabs.bans.give_back(handle),
            Current::Pool(_) | Current::None => {}
        }
    }
}
