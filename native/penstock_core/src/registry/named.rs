//! A name as a caller found it, and what its owner does with it.

use super::InstanceId;
use super::current::{Current, Given, Nameable};
use super::node::{Node, Ownership};
use crate::ban::Ban;
use crate::host::Pid;
use crate::pool::{Changes, Pool, PoolHost, Settings};
use crate::rate::Limiter;
use crate::reuse::{Generation, OutOfMemory};
use crate::sync::{MutexGuard, lock};

/// A name as it was found, with its node.
pub struct Named<'a, H: PoolHost> {
    pub(super) node: &'a Node<H>,
    pub(super) name: u64,
}

impl<H: PoolHost> Clone for Named<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: PoolHost> Copy for Named<'_, H> {}

/// What came of starting a pool, a limiter or a ban list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was made.
    Fresh,
    /// The one of an owner that crashed was taken over, with all that is held or remembered in
    /// it.
    Adopted,
    /// Another living process owns it.
    AlreadyStarted(Pid),
}

/// The name lost its node between being found and being started.
pub(super) struct Renamed;

/// Why a process does not become the owner.
enum NotOwner {
    /// Another living process is.
    Other(Pid),
    Renamed,
}

impl<'a, H: PoolHost> Named<'a, H> {
    /// Returns `true` if the node still stands for the name.
    ///
    /// A caller that has acquired permits in the pool asks this, and gives them back on `false`:
    /// then it acquired another name's. While it holds them the answer does not change.
    #[inline]
    pub fn is_there(self) -> bool {
        self.node.name() == self.name
    }

    /// Returns the pool that is open in the node, and its number there, without checking which
    /// name the node stands for.
    ///
    /// A caller that acquires asks [`Named::is_there`] after that; one that changes the pool has
    /// the pool ask it inside the queue lock. One that releases need not ask: it gives back what
    /// it holds in that pool, which it can hold only by this name.
    #[inline]
    pub fn current(self) -> Option<(&'a Pool<H>, u32)> {
        match self.node.current.load() {
            Current::Pool(id) => Some((self.node.pools.get(id)?, id)),
            _ => None,
        }
    }

    /// Names a pool of the node in the life that the name has now.
    #[inline]
    pub fn instance_of(self, id: u32) -> InstanceId {
        u64::from(self.node.number()) << 32 | u64::from(id)
    }

    /// Returns the open pool of the name, and its number.
    #[inline]
    pub fn pool(self) -> Option<(&'a Pool<H>, InstanceId)> {
        let (pool, id) = self.current()?;
        let instance = self.instance_of(id);
        self.is_there().then_some((pool, instance))
    }

    /// Returns the open limiter, and its generation. A hit belongs to that generation, even if
    /// the node stands for another name by then.
    #[inline]
    pub fn limiter(self) -> Option<(&'a Limiter, Generation)> {
        self.reusable()
    }

    /// Returns the open ban list, and its generation.
    #[inline]
    pub fn bans(self) -> Option<(&'a Ban, Generation)> {
        self.reusable()
    }

    #[inline]
    fn reusable<T: Nameable>(self) -> Option<(&'a T, Generation)> {
        let handle = T::handle(self.node.current.load())?;
        let item = T::slab(&self.node.slabs).get(handle.id)?;
        self.is_there().then_some((item, handle.generation))
    }

    /// Returns the pools of this name, open or not, the newest first.
    pub fn pools(self) -> impl Iterator<Item = &'a Pool<H>> {
        let made = self.lock().map_or(0, |ownership| ownership.pools.made);
        (1..=made).rev().filter_map(move |id| self.node.pools.get(id))
    }

    /// Returns a pool of this name by its number, open or not.
    ///
    /// A caller that holds something in it, or waits, finds it. Another may find the pool of
    /// another name, if the node was given away since the name was found; it has nothing there.
    #[inline]
    pub fn instance(self, instance: InstanceId) -> Option<&'a Pool<H>> {
        self.node.pools.get(instance as u32).filter(|_| u64::from(self.node.number()) == instance >> 32)
    }

    /// Locks the ownership of the name; returns `None` if the name lost its node.
    fn lock(self) -> Option<MutexGuard<'a, Ownership>> {
        let ownership = lock(&self.node.ownership);
        self.is_there().then_some(ownership)
    }

    /// Returns the owner if it is dead or that process.
    fn owner_before(self, host: &H, owner: Pid) -> Result<Option<Pid>, NotOwner> {
        let before = self.lock().ok_or(NotOwner::Renamed)?.owner;
        // Asked outside the lock; if the owner dies after this, its successor's next attempt
        // finds that out.
        match before.filter(|&other| other != owner && host.alive(other)) {
            Some(other) => Err(NotOwner::Other(other)),
            None => Ok(before),
        }
    }

    /// Makes a process the owner, unless another living process is.
    fn take_over(self, host: &H, owner: Pid) -> Result<MutexGuard<'a, Ownership>, NotOwner> {
        let before = self.owner_before(host, owner)?;
        let mut ownership = self.lock().ok_or(NotOwner::Renamed)?;
        if ownership.owner != before
            && let Some(other) = ownership.owner
        {
            return Err(NotOwner::Other(other));
        }
        ownership.owner = Some(owner);
        Ok(ownership)
    }

    pub(super) fn start(self, host: &H, owner: Pid, given: Settings) -> Result<Started, Renamed> {
        let mut ownership = match self.take_over(host, owner) {
            Ok(ownership) => ownership,
            Err(NotOwner::Other(other)) => return Ok(Started::AlreadyStarted(other)),
            Err(NotOwner::Renamed) => return Err(Renamed),
        };
        if let (Some((pool, _)), Given::Pool(old)) = (self.current(), ownership.given) {
            ownership.given = Given::Pool(given);
            drop(ownership);
            // What the new owner was given otherwise wins; what was only updated since stays.
            let changes = Changes {
                limit: (given.limit != old.limit).then_some(given.limit),
                max_waiting: (given.max_waiting != old.max_waiting).then_some(given.max_waiting),
                max_overdraft: (given.max_overdraft != old.max_overdraft).then_some(given.max_overdraft),
                held_longer_than: Some(given.held_longer_than),
            };
            pool.update_while(host, changes, || self.is_there());
            return Ok(Started::Adopted);
        }
        self.node.vacate(&mut ownership);
        ownership.given = Given::Pool(given);
        let id = self.node.pools.open(&mut ownership.pools, given);
        self.node.current.store(Current::Pool(id));
        Ok(Started::Fresh)
    }

    pub(super) fn start_reusable<T: Nameable>(
        self,
        host: &H,
        owner: Pid,
        given: T::Config,
        clock: fn() -> u64,
    ) -> Result<Result<Started, OutOfMemory>, Renamed> {
        let slab = T::slab(&self.node.slabs);
        // What is open, if it can resume, and what it was started with.
        let resumable = |ownership: &Ownership| {
            let handle = T::handle(self.node.current.load())?;
            let old = T::config(ownership.given).filter(|&old| T::is_compatible(old, given))?;
            Some((slab.get(handle.id)?, handle.generation, old))
        };
        loop {
            // Before memory is taken for nothing.
            match self.owner_before(host, owner) {
                Ok(_) => {}
                Err(NotOwner::Other(other)) => return Ok(Ok(Started::AlreadyStarted(other))),
                Err(NotOwner::Renamed) => return Err(Renamed),
            }
            let can_resume = resumable(&*self.lock().ok_or(Renamed)?).is_some();
            // Outside the lock, as it takes time.
            let opened = match (!can_resume).then(|| slab.open(given, clock())).transpose() {
                Ok(opened) => opened,
                Err(no_memory) => return Ok(Err(no_memory)),
            };
            let mut ownership = match self.take_over(host, owner) {
                Ok(ownership) => ownership,
                Err(no) => {
                    opened.into_iter().for_each(|handle| slab.give_back(handle));
                    return match no {
                        NotOwner::Other(other) => Ok(Ok(Started::AlreadyStarted(other))),
                        NotOwner::Renamed => Err(Renamed),
                    };
                }
            };
            if let Some((item, generation, old)) = resumable(&ownership) {
                ownership.given = T::given(given);
                drop(ownership);
                opened.into_iter().for_each(|handle| slab.give_back(handle));
                item.resume(generation, old, given, clock, &|| self.owner() == Some(owner));
                return Ok(Ok(Started::Adopted));
            }
            // It was closed between the two looks.
            let Some(handle) = opened else { continue };
            // The name stops standing for the pool before that is closed, as in `close`.
            let pool = self.pool().map(|(pool, _)| pool);
            self.node.vacate(&mut ownership);
            ownership.given = T::given(given);
            self.node.current.store(T::current(handle));
            drop(ownership);
            if let Some(pool) = pool {
                pool.close(host);
            }
            return Ok(Ok(Started::Fresh));
        }
    }

    /// Closes the pool, limiter or ban list that `owner` owns; returns `false` if another process
    /// owns the name, or none.
    pub fn close(self, host: &H, owner: Pid) -> bool {
        // A pool that is not closed yet keeps its node.
        let closing = {
            let Some(mut ownership) = self.lock() else { return false };
            if ownership.owner != Some(owner) {
                return false;
            }
            ownership.owner = None;
            let closing = self.pool().map(|(pool, _)| pool);
            // The name is gone before the pool is closed: a caller that is told `closed` and asks
            // again finds no pool.
            self.node.vacate(&mut ownership);
            closing
        };
        if let Some(pool) = closing {
            pool.close(host);
        }
        true
    }

    /// Returns the owner, dead or alive.
    pub fn owner(self) -> Option<Pid> {
        self.lock()?.owner
    }
}

impl<H: PoolHost> std::fmt::Debug for Named<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}
