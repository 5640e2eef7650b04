//! A name as a caller found it: look-ups of its gate, and its start and close by an owner.

use super::current::{Current, Nameable, StartConfig};
use super::node::{Node, Ownership};
use super::{GateHost, InstanceId, KeyedId};
use crate::ban::Ban;
use crate::gate::Gate;
use crate::host::Pid;
use crate::keyed_pool::KeyedPool;
use crate::pool::{Changes, Pool, Settings};
use crate::rate::Limiter;
use crate::reuse::{Generation, OutOfMemory};
use crate::sync::{MutexGuard, lock};

/// A name, and the node that a caller found for it. The node may be renamed at any time.
pub struct Named<'a, H: GateHost> {
    pub(super) node: &'a Node<H>,
    pub(super) name: u64,
}

impl<H: GateHost> Clone for Named<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: GateHost> Copy for Named<'_, H> {}

/// The result of starting a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A new gate was opened.
    Fresh,
    /// The gate of a dead owner was taken over, with its holders, waiters and keys.
    Adopted,
    /// Another living process owns the name.
    AlreadyStarted(Pid),
}

/// The name lost its node after it was found.
pub(super) struct Renamed;

/// Why a process did not become the owner.
enum NotOwner {
    /// Another living process is the owner.
    Other(Pid),
    Renamed,
}

impl<'a, H: GateHost> Named<'a, H> {
    /// Returns `true` if the node still stands for the name.
    ///
    /// A caller that has acquired permits in a pool of the node asks this. If the answer is
    /// `false`, the permits are another name's, and the caller gives them back. If the answer is
    /// `true`, it stays `true` while the caller holds the permits.
    #[inline]
    pub fn is_there(self) -> bool {
        self.node.name() == self.name
    }

    /// Returns the pool that is open in the node, and its number there, without checking which
    /// name the node stands for.
    ///
    /// A caller that acquires must ask [`Named::is_there`] after the acquire. A caller that
    /// changes the pool passes [`Named::is_there`] to the pool, which asks inside the queue lock.
    /// A caller that releases need not ask: it can hold permits in this pool only by this name.
    #[inline]
    pub fn current(self) -> Option<(&'a Pool<H>, u32)> {
        match self.node.current.load() {
            Current::Pool(id) => Some((self.node.pools.get(id)?, id)),
            _ => None,
        }
    }

    /// Returns the [`InstanceId`] of a pool of the node, in the present life of the name.
    #[inline]
    pub fn instance_of(self, id: u32) -> InstanceId {
        u64::from(self.node.life()) << 32 | u64::from(id)
    }

    /// Returns the open pool of the name, and its [`InstanceId`].
    #[inline]
    pub fn pool(self) -> Option<(&'a Pool<H>, InstanceId)> {
        let (pool, id) = self.current()?;
        let instance = self.instance_of(id);
        self.is_there().then_some((pool, instance))
    }

    /// Returns the open limiter, and its generation. A hit counts for that generation, even if
    /// the node is renamed meanwhile.
    #[inline]
    pub fn limiter(self) -> Option<(&'a Limiter, Generation)> {
        self.reusable()
    }

    /// Returns the open ban list, and its generation.
    #[inline]
    pub fn bans(self) -> Option<(&'a Ban, Generation)> {
        self.reusable()
    }

    /// Returns the open gate of several limits, and its generation.
    #[inline]
    pub fn gate(self) -> Option<(&'a Gate, Generation)> {
        self.reusable()
    }

    /// Returns the open keyed pool, its number, and its generation. An acquire counts for that
    /// generation, even if the node is renamed meanwhile.
    #[inline]
    pub fn keyed(self) -> Option<(&'a KeyedPool<H>, KeyedId, Generation)> {
        let Current::Keyed(handle) = self.node.current.load() else { return None };
        let pool = self.node.slabs.keyed.get(handle.id)?;
        self.is_there().then_some((pool, handle.id, handle.generation))
    }

    #[inline]
    fn reusable<T: Nameable<H>>(self) -> Option<(&'a T, Generation)> {
        let handle = T::handle(self.node.current.load())?;
        let item = T::slab(&self.node.slabs).get(handle.id)?;
        self.is_there().then_some((item, handle.generation))
    }

    /// Returns the pools of the name, open or closed, the last made first.
    pub fn pools(self) -> impl Iterator<Item = &'a Pool<H>> {
        let made = self.lock().map_or(0, |ownership| ownership.pools.made);
        (1..=made).rev().filter_map(move |id| self.node.pools.get(id))
    }

    /// Returns a pool of this name, open or closed.
    ///
    /// A caller that holds permits in the pool, or waits in it, finds it. Any other caller may
    /// find a pool of another name if the node was renamed meanwhile, but has no permits there.
    #[inline]
    pub fn instance(self, instance: InstanceId) -> Option<&'a Pool<H>> {
        self.node.pools.get(instance as u32).filter(|_| u64::from(self.node.life()) == instance >> 32)
    }

    /// Locks the ownership of the name; returns `None` if the name lost its node.
    fn lock(self) -> Option<MutexGuard<'a, Ownership>> {
        let ownership = lock(&self.node.ownership);
        self.is_there().then_some(ownership)
    }

    /// Returns the present owner. Fails if that is a living process other than `owner`.
    fn owner_before(self, host: &H, owner: Pid) -> Result<Option<Pid>, NotOwner> {
        let before = self.lock().ok_or(NotOwner::Renamed)?.owner;
        // The host must be called outside the lock. If the owner dies after this call, the start
        // by its successor fails. When the successor tries again, this call finds the owner dead.
        match before.filter(|&other| other != owner && host.alive(other)) {
            Some(other) => Err(NotOwner::Other(other)),
            None => Ok(before),
        }
    }

    /// Makes `owner` the owner, unless another living process is the owner. Returns the locked
    /// ownership.
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

    /// Starts a pool for the name, or takes over the pool of a dead owner.
    pub(super) fn start(self, host: &H, owner: Pid, settings: Settings) -> Result<Started, Renamed> {
        let mut ownership = match self.take_over(host, owner) {
            Ok(ownership) => ownership,
            Err(NotOwner::Other(other)) => return Ok(Started::AlreadyStarted(other)),
            Err(NotOwner::Renamed) => return Err(Renamed),
        };
        if let (Some((pool, _)), StartConfig::Pool(old)) = (self.current(), ownership.config) {
            ownership.config = StartConfig::Pool(settings);
            drop(ownership);
            // A setting that differs from that of the last start is changed. An equal one keeps
            // the value that a later update gave it. No update changes `held_longer_than`, so
            // each start sets it.
            let changes = Changes {
                limit: (settings.limit != old.limit).then_some(settings.limit),
                max_waiting: (settings.max_waiting != old.max_waiting).then_some(settings.max_waiting),
                max_overdraft: (settings.max_overdraft != old.max_overdraft).then_some(settings.max_overdraft),
                held_longer_than: Some(settings.held_longer_than),
            };
            pool.update_while(host, changes, || self.is_there());
            return Ok(Started::Adopted);
        }
        let vacated = self.node.vacate(&mut ownership);
        let id = self.node.pools.open(&mut ownership.pools, settings);
        self.node.occupy(&mut ownership, StartConfig::Pool(settings), Current::Pool(id));
        drop(ownership);
        vacated.close(host);
        Ok(Started::Fresh)
    }

    /// Starts a limiter or a ban list for the name, or takes over that of a dead owner.
    pub(super) fn start_reusable<T: Nameable<H>>(
        self,
        host: &H,
        owner: Pid,
        config: T::Config,
        clock: fn() -> u64,
    ) -> Result<Result<Started, OutOfMemory>, Renamed> {
        let slab = T::slab(&self.node.slabs);
        // The open limiter or ban list and the settings that it was started with, if it can
        // resume with `config`.
        let resumable = |ownership: &Ownership| {
            let handle = T::handle(self.node.current.load())?;
            let old = T::from_start_config(ownership.config).filter(|&old| T::is_compatible(old, config))?;
            Some((slab.get(handle.id)?, handle.generation, old))
        };
        loop {
            // `take_over` below checks this again. This check comes first so that a start that
            // must fail allocates nothing.
            match self.owner_before(host, owner) {
                Ok(_) => {}
                Err(NotOwner::Other(other)) => return Ok(Ok(Started::AlreadyStarted(other))),
                Err(NotOwner::Renamed) => return Err(Renamed),
            }
            let can_resume = resumable(&*self.lock().ok_or(Renamed)?).is_some();
            // The new item is opened outside the lock, because that takes long.
            let opened = match (!can_resume).then(|| slab.open(config, clock())).transpose() {
                Ok(opened) => opened,
                Err(no_memory) => return Ok(Err(no_memory)),
            };
            let mut ownership = match self.take_over(host, owner) {
                Ok(ownership) => ownership,
                Err(no) => {
                    opened.into_iter().for_each(|handle| slab.discard(handle));
                    return match no {
                        NotOwner::Other(other) => Ok(Ok(Started::AlreadyStarted(other))),
                        NotOwner::Renamed => Err(Renamed),
                    };
                }
            };
            if let Some((item, generation, old)) = resumable(&ownership) {
                ownership.config = T::to_start_config(config);
                drop(ownership);
                opened.into_iter().for_each(|handle| slab.discard(handle));
                item.resume(generation, old, config, clock, &|| self.owner() == Some(owner));
                return Ok(Ok(Started::Adopted));
            }
            // At the first check the open limiter or ban list could resume. It was closed before
            // the second check. So this call has opened none yet, and tries again.
            let Some(handle) = opened else { continue };
            let vacated = self.node.vacate(&mut ownership);
            self.node.occupy(&mut ownership, T::to_start_config(config), T::current(handle));
            drop(ownership);
            vacated.close(host);
            return Ok(Ok(Started::Fresh));
        }
    }

    /// Closes the gate of the name. Returns `false`, and does nothing, if `owner` is not the
    /// owner.
    pub fn close(self, host: &H, owner: Pid) -> bool {
        // The gate is closed outside the lock. A node is not renamed before its pool is closed, as
        // the pool is open until then.
        let closing = {
            let Some(mut ownership) = self.lock() else { return false };
            if ownership.owner != Some(owner) {
                return false;
            }
            ownership.owner = None;
            self.node.vacate(&mut ownership)
        };
        closing.close(host);
        true
    }

    /// Returns the number of the opening of the name's gate; `None` if no gate is open. The number
    /// stays when another owner takes the gate over, and no other opening has it.
    pub fn opening(self) -> Option<u64> {
        let ownership = self.lock()?;
        self.node.is_open().then_some(ownership.opening)
    }

    /// Returns the owner, which may be dead.
    pub fn owner(self) -> Option<Pid> {
        self.lock()?.owner
    }
}

impl<H: GateHost> std::fmt::Debug for Named<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}
