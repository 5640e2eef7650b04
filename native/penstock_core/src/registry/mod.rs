//! Names, and the pool, the limiter or the bans that each stands for.
//!
//! Looking a name up takes no lock and needs no count of callers that look, since a [node](Node) is never freed. A node
//! stands for a name while that has something open, held or waited for. After that it may stand for another name of its
//! bucket: so there are as many nodes as names were in use at once, by a node a bucket more at most. Of a name that lost its node
//! only its word is kept, to tell that it was started.
//!
//! A caller may have looked a name up just before its node is given to another name. What the caller does then is undone, or
//! is refused under the lock of the desk; each method of [`Named`] says how. These rules make that possible:
//!
//! - A node changes its name under the lock of its life, and only if all its pools are closed, nothing is held in them, and no
//!   process waits. A closed pool admits no caller, so that stays true until the node's next name opens one.
//! - The new name is written before a pool, a limiter or a list of bans is opened for it. A caller that finds one of these
//!   open for the new name therefore sees the new name when it looks again.
//! - A node in which the caller holds a permit keeps its name. A caller that has taken a permit and finds the name still there
//!   has taken it by that name.
//!
//! A pool of a name is closed, and opened again once nothing is held in it. Only a name that is restarted while its old pool's
//! permits are still held gets a second one. Limiters and bans are [lent](stock) to a name while they are open.

mod stock;
mod unnamed;

use std::collections::BTreeSet;
use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::ban::{Ban, BanSettings};
use crate::host::Pid;
use crate::pool::{Changes, Pool, PoolHost, Settings};
use crate::rate::{Limiter, LimiterSettings};
use crate::reuse::{Incarnation, Lend, OutOfMemory};
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock};

use stock::{Lease, Stock};
use unnamed::Unnamed;
pub use unnamed::UnnamedId;

const BUCKETS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// The names of a node.
pub struct Registry<H: PoolHost> {
    buckets: [OnceBox<Node<H>>; BUCKETS],
    stocks: OnceBox<Stocks>,
    unnamed: OnceBox<Unnamed<H>>,
}

#[derive(Default)]
struct Stocks {
    limiters: Arc<Stock<Limiter>>,
    bans: Arc<Stock<Ban>>,
    /// Its lock is held while a node is added, or given to another name.
    forgotten: Mutex<Forgotten>,
}

/// Names that lost their nodes, started again since or not.
#[derive(Default)]
struct Forgotten {
    names: BTreeSet<u64>,
    /// The lives of names that began after the first.
    lives: u32,
}

impl Forgotten {
    fn remember(&mut self, name: u64) {
        self.names.insert(name);
    }

    /// Returns the number of the life that a name begins.
    fn next_life(&mut self, name: u64) -> u32 {
        if !self.names.contains(&name) {
            return 0;
        }
        self.lives = self.lives % LIVES + 1;
        self.lives
    }
}

/// Pools of one name that a start looks at for one to reopen.
const LOOKS: u32 = 64;

/// What a name stands for, at one time for one name.
struct Node<H: PoolHost> {
    /// Changes under the lock of `life`.
    name: AtomicU64,
    /// Which life of the name this is: 0 is the first, and any other belongs to one name only.
    /// Changes with the name.
    number: AtomicU32,
    first: Pool<H>,
    /// The pools after it, each row twice as long as the one before: any is found in two steps.
    later: [OnceBox<Vec<OnceBox<Pool<H>>>>; 31],
    /// Which of the pools is open: 0 is none, 1 the first.
    current: AtomicU32,
    limiter: Lease<Limiter>,
    bans: Lease<Ban>,
    life: Mutex<Life>,
    next: OnceBox<Node<H>>,
}

/// A name as it was found, with its node.
pub struct Named<'a, H: PoolHost> {
    node: &'a Node<H>,
    name: u64,
}

impl<H: PoolHost> Clone for Named<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: PoolHost> Copy for Named<'_, H> {}

/// Who keeps the pool, and what it was started with.
struct Life {
    owner: Option<Pid>,
    given: Settings,
    given_limits: Option<LimiterSettings>,
    given_bans: Option<BanSettings>,
    /// How many pools the name has, and the last one that was looked at.
    made: u32,
    looked_at: u32,
}

/// Names one of a name's pools, so that what began on it also ends on it: the number of the
/// name's life above, the pool's number below. At most 59 bits; 1 is the first pool of the first
/// life.
pub type InstanceId = u64;

/// Lives after the first are counted from 1 to this, and from 1 again: so many restarts later no
/// caller knows an old number.
const LIVES: u32 = (1 << 27) - 1;

/// What came of starting a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was made.
    Fresh,
    /// The pool of an owner that crashed was taken over, with all that is held in it.
    Adopted,
    /// Another process keeps it.
    AlreadyStarted(Pid),
}

impl<H: PoolHost> Registry<H> {
    /// No names. For a static, so that finding one starts at a fixed address.
    pub const fn new() -> Self {
        Self { buckets: [const { OnceBox::new() }; BUCKETS], stocks: OnceBox::new(), unnamed: OnceBox::new() }
    }

    #[inline]
    fn bucket(&self, name: u64) -> &OnceBox<Node<H>> {
        // Names on the BEAM are indices with a tag in the low 6 bits.
        &self.buckets[(name >> 6) as usize % BUCKETS]
    }

    fn stocks(&self) -> &Stocks {
        self.stocks.get_or_init(Box::default)
    }

    /// Returns the name if it has a node, as a name has that is open, or in whose pools permits
    /// are held.
    #[inline]
    pub fn find(&self, name: u64) -> Option<Named<'_, H>> {
        let mut at = self.bucket(name).get();
        while let Some(node) = at {
            if node.name() == name {
                return Some(Named { node, name });
            }
            at = node.next.get();
        }
        None
    }

    /// Returns `true` if the name had a node and lost it, whether it has one again or not.
    pub fn was_forgotten(&self, name: u64) -> bool {
        self.stocks.get().is_some_and(|stocks| lock(&stocks.forgotten).names.contains(&name))
    }

    /// Returns `true` if the name was ever started.
    pub fn was_started(&self, name: u64) -> bool {
        // A name that loses its node is noted before that.
        self.find(name).is_some() || self.was_forgotten(name)
    }

    fn find_or_add(&self, name: u64) -> Named<'_, H> {
        self.find(name).unwrap_or_else(|| self.add(name))
    }

    #[cold]
    fn add(&self, name: u64) -> Named<'_, H> {
        let stocks = self.stocks();
        let mut forgotten = lock(&stocks.forgotten);
        // Under this lock no other caller gives the name a node.
        if let Some(found) = self.find(name) {
            return found;
        }
        let number = forgotten.next_life(name);
        let mut link = self.bucket(name);
        let mut looks = 0;
        while let Some(node) = link.get() {
            looks += 1;
            if looks <= LOOKS && node.become_another(name, number, |old| forgotten.remember(old)) {
                return Named { node, name };
            }
            link = &node.next;
        }
        let node = link.get_or_init(|| Box::new(Node::new(name, number, stocks)));
        Named { node, name }
    }

    /// Calls `start` with the name, again if the name lost its node meanwhile.
    fn start_with<T>(&self, name: u64, start: impl Fn(Named<'_, H>) -> Result<T, Renamed>) -> T {
        loop {
            if let Ok(started) = start(self.find_or_add(name)) {
                return started;
            }
        }
    }

    /// Starts, or takes over, the pool of a name.
    pub fn start(&self, host: &H, name: u64, owner: Pid, given: Settings) -> Started {
        self.start_with(name, |named| named.start(host, owner, given))
    }

    /// Starts, or takes over, the limiter of a name.
    pub fn start_limiter(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        given: LimiterSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| {
            named.start_lent(&named.node.limiter, |life| &mut life.given_limits, host, owner, given, clock)
        })
    }

    /// Starts, or takes over, the bans of a name.
    pub fn start_bans(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        given: BanSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| {
            named.start_lent(&named.node.bans, |life| &mut life.given_bans, host, owner, given, clock)
        })
    }

    fn unnamed(&self) -> &Unnamed<H> {
        self.unnamed.get_or_init(Box::default)
    }

    /// Opens an unnamed pool that was dropped before and is spare; `None` if there is none.
    pub fn reuse_unnamed(&self, settings: Settings) -> Option<(UnnamedId, &Pool<H>)> {
        self.unnamed().reuse(settings)
    }

    /// Makes an unnamed pool, and opens it.
    pub fn make_unnamed(&self, settings: Settings) -> (UnnamedId, &Pool<H>) {
        self.unnamed().make(settings)
    }

    /// Returns an unnamed pool by its number, spare or not.
    pub fn unnamed_pool(&self, id: UnnamedId) -> Option<&Pool<H>> {
        self.unnamed().get(id)
    }

    /// Makes an unnamed pool spare, after [`Pool::clear`] has cleared all of it.
    pub fn give_back_unnamed(&self, id: UnnamedId) {
        self.unnamed().give_back(id);
    }

    /// Returns how many unnamed pools were made, and how many of them are spare.
    pub fn count_unnamed(&self) -> (usize, usize) {
        self.unnamed().count()
    }

    /// Returns the names that stand for something now, from a place on, in pieces.
    ///
    /// A piece looks at `most` names, by the names of one bucket more at most. A name that is
    /// open throughout the walk is in one of its pieces.
    pub fn names(&self, from: usize, most: usize) -> Names {
        let mut names = Names { names: Vec::new(), next: None, looked_at: 0 };
        for (place, bucket) in self.buckets.iter().enumerate().skip(from) {
            if names.looked_at >= most * LINE {
                names.next = Some(place);
                break;
            }
            names.looked_at += 1;
            let mut at = bucket.get();
            while let Some(node) = at {
                names.looked_at += LINE;
                let name = node.name();
                // Looked at again, as the name may have become another's.
                if node.is_open() && node.name() == name {
                    names.names.push(name);
                }
                at = node.next.get();
            }
        }
        names.looked_at /= LINE;
        names
    }
}

/// Buckets in a cache line: to pass so many that are empty costs what looking at a name does.
const LINE: usize = 8;

/// A piece of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The names of this piece, in no order.
    pub names: Vec<u64>,
    /// The place to go on from; `None` if there are no more.
    pub next: Option<usize>,
    /// Names that were looked at, open or not.
    pub looked_at: usize,
}

impl<H: PoolHost> Default for Registry<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: PoolHost> std::fmt::Debug for Registry<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// The name lost its node between being found and being started.
struct Renamed;

/// Why a process does not become the owner.
enum NotOwner {
    /// Another one is, and lives.
    Other(Pid),
    Renamed,
}

impl<H: PoolHost> Node<H> {
    fn new(name: u64, number: u32, stocks: &Stocks) -> Self {
        Self {
            name: AtomicU64::new(name),
            number: AtomicU32::new(number),
            first: Pool::new(),
            later: [const { OnceBox::new() }; 31],
            current: AtomicU32::new(0),
            limiter: Lease::new(&stocks.limiters),
            bans: Lease::new(&stocks.bans),
            life: Mutex::new(Life {
                owner: None,
                given: Settings::default(),
                given_limits: None,
                given_bans: None,
                made: 1,
                looked_at: 1,
            }),
            next: OnceBox::new(),
        }
    }

    #[inline]
    fn name(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `become_another`: the number is of that
        // life, or a later one.
        self.name.load(Ordering::Acquire)
    }

    #[inline]
    fn number(&self) -> u32 {
        // ORDERING: Acquire pairs with the Release in `become_another`.
        self.number.load(Ordering::Acquire)
    }

    fn is_open(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `start`: a caller that sees the pool open
        // sees the name that it is open for.
        self.current.load(Ordering::Acquire) != 0 || self.limiter.get().is_some() || self.bans.get().is_some()
    }

    /// Stands for another name from now on, if nothing is open, held or waited for. Calls
    /// `forget` with the old name before that cannot be found any more.
    fn become_another(&self, name: u64, number: u32, forget: impl FnOnce(u64)) -> bool {
        let life = lock(&self.life);
        // A pool is idle if it is closed, and only a start opens it, which needs the lock of the
        // life.
        let idle = life.owner.is_none()
            && !self.is_open()
            && life.made <= LOOKS
            && (1..=life.made).all(|id| self.pool(id).is_none_or(Pool::is_idle));
        if !idle {
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

    /// Returns a pool by its number, open or not.
    #[inline]
    fn pool(&self, id: u32) -> Option<&Pool<H>> {
        if id == 1 {
            return Some(&self.first);
        }
        let (row, at) = Self::place(id)?;
        self.later.get(row)?.get()?.get(at)?.get()
    }

    /// Where a pool after the first is: 2 is the first row, 3 and 4 the second, and so on.
    fn place(id: u32) -> Option<(usize, usize)> {
        let nth = id.checked_sub(1)?;
        let row = nth.checked_ilog2()?;
        Some((row as usize, (nth - (1 << row)) as usize))
    }

    /// One that may have to be made.
    fn make(&self, id: u32) -> &Pool<H> {
        match Self::place(id) {
            None => &self.first,
            Some((row, at)) => {
                let row = self.later[row].get_or_init(|| Box::new((0..1 << row).map(|_| OnceBox::new()).collect()));
                row[at].get_or_init(|| Box::new(Pool::new()))
            }
        }
    }

    /// Opens a pool of the name in which nothing is held; a new one if that is not soon found.
    ///
    /// Each of the others was closed over permits that a living process still holds, so there are never more of them than
    /// permits that were not given back over a restart.
    fn open(&self, life: &mut Life, given: Settings) -> u32 {
        if self.first.open(given) {
            return 1;
        }
        for _ in 0..LOOKS.min(life.made) {
            life.looked_at = life.looked_at % life.made + 1;
            if self.make(life.looked_at).open(given) {
                return life.looked_at;
            }
        }
        life.made += 1;
        self.make(life.made).open(given);
        life.made
    }

    /// Inside the lock.
    fn end_lent(&self, life: &mut Life) {
        life.given_limits = None;
        life.given_bans = None;
        self.limiter.end();
        self.bans.end();
    }
}

impl<'a, H: PoolHost> Named<'a, H> {
    /// Returns `true` if the node stands for the name still.
    ///
    /// A caller that has taken permits in the pool asks this, and gives them back if it is not
    /// so: then it took another name's. While it holds them the answer does not change.
    #[inline]
    pub fn is_there(self) -> bool {
        self.node.name() == self.name
    }

    /// Returns the pool that is open in the node, and its number there, without a look at whose
    /// it is.
    ///
    /// A caller that acquires asks [`Named::is_there`] after that; one that changes the pool has
    /// it ask inside the lock of the desk. One that releases need not ask: it gives back what it
    /// holds in that pool, which it can hold only by this name.
    #[inline]
    pub fn current(self) -> Option<(&'a Pool<H>, u32)> {
        // ORDERING: Acquire pairs with the Release in `start`: the pool is open, and the name
        // written that it is open for.
        match self.node.current.load(Ordering::Acquire) {
            0 => None,
            1 => Some((&self.node.first, 1)),
            id => Some((self.node.pool(id)?, id)),
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

    /// Returns the open limiter, and its incarnation. A hit is of that incarnation, whatever the
    /// node stands for by then.
    #[inline]
    pub fn limiter(self) -> Option<(&'a Limiter, Incarnation)> {
        self.node.limiter.get().filter(|_| self.is_there())
    }

    /// Returns the open bans, and their incarnation.
    #[inline]
    pub fn bans(self) -> Option<(&'a Ban, Incarnation)> {
        self.node.bans.get().filter(|_| self.is_there())
    }

    /// Returns the pools of this name, open or not, the newest first.
    pub fn pools(self) -> impl Iterator<Item = &'a Pool<H>> {
        let made = self.lock().map_or(0, |life| life.made);
        (1..=made).rev().filter_map(move |id| self.node.pool(id))
    }

    /// Returns a pool of this name by its number, open or not.
    ///
    /// A caller that holds something in it, or waits, finds it. Another may find the pool of
    /// another name, if the node was given away since the name was found; it has nothing there.
    #[inline]
    pub fn instance(self, instance: InstanceId) -> Option<&'a Pool<H>> {
        self.node.pool(instance as u32).filter(|_| u64::from(self.node.number()) == instance >> 32)
    }

    /// Locks the life of the name; `None` if the name lost its node.
    fn lock(self) -> Option<MutexGuard<'a, Life>> {
        let life = lock(&self.node.life);
        self.is_there().then_some(life)
    }

    /// Returns the owner if it is dead or that process.
    fn owner_before(self, host: &H, owner: Pid) -> Result<Option<Pid>, NotOwner> {
        let before = self.lock().ok_or(NotOwner::Renamed)?.owner;
        // Asked outside the lock; that an owner dies after this is its successor's next attempt.
        match before.filter(|&other| other != owner && host.alive(other)) {
            Some(other) => Err(NotOwner::Other(other)),
            None => Ok(before),
        }
    }

    /// Makes a process the owner, unless another is that lives: then that.
    fn take_over(self, host: &H, owner: Pid) -> Result<MutexGuard<'a, Life>, NotOwner> {
        let before = self.owner_before(host, owner)?;
        let mut life = self.lock().ok_or(NotOwner::Renamed)?;
        if life.owner != before
            && let Some(other) = life.owner
        {
            return Err(NotOwner::Other(other));
        }
        life.owner = Some(owner);
        Ok(life)
    }

    fn start(self, host: &H, owner: Pid, given: Settings) -> Result<Started, Renamed> {
        let mut life = match self.take_over(host, owner) {
            Ok(life) => life,
            Err(NotOwner::Other(other)) => return Ok(Started::AlreadyStarted(other)),
            Err(NotOwner::Renamed) => return Err(Renamed),
        };
        self.node.end_lent(&mut life);
        let old = std::mem::replace(&mut life.given, given);
        if let Some((pool, _)) = self.current() {
            drop(life);
            // What the new owner was given anew wins; what was only updated since stays.
            let changes = Changes {
                limit: (given.limit != old.limit).then_some(given.limit),
                max_waiting: (given.max_waiting != old.max_waiting).then_some(given.max_waiting),
                max_overdraft: (given.max_overdraft != old.max_overdraft).then_some(given.max_overdraft),
                held_longer_than: Some(given.held_longer_than),
            };
            pool.update_while(host, changes, || self.is_there());
            return Ok(Started::Adopted);
        }
        let id = self.node.open(&mut life, given);
        // ORDERING: Release pairs with the Acquire in `pool`.
        self.node.current.store(id, Ordering::Release);
        Ok(Started::Fresh)
    }

    fn start_lent<T: Lend>(
        self,
        lease: &Lease<T>,
        given_before: impl Fn(&mut Life) -> &mut Option<T::Given>,
        host: &H,
        owner: Pid,
        given: T::Given,
        clock: fn() -> u64,
    ) -> Result<Result<Started, OutOfMemory>, Renamed> {
        // What is open, if it can go on, and as what it was started.
        let goes_on = |life: &mut Life| {
            let (it, incarnation) = lease.get()?;
            let old = given_before(life).filter(|&old| T::may_go_on(old, given))?;
            Some((it, incarnation, old))
        };
        loop {
            // Before memory is taken for nothing.
            match self.owner_before(host, owner) {
                Ok(_) => {}
                Err(NotOwner::Other(other)) => return Ok(Ok(Started::AlreadyStarted(other))),
                Err(NotOwner::Renamed) => return Err(Renamed),
            }
            let may_go_on = goes_on(&mut *self.lock().ok_or(Renamed)?).is_some();
            // Outside the lock, for it takes time.
            let prepared = match (!may_go_on).then(|| lease.prepare(given, clock())).transpose() {
                Ok(prepared) => prepared,
                Err(no_memory) => return Ok(Err(no_memory)),
            };
            let mut life = match self.take_over(host, owner) {
                Ok(life) => life,
                Err(no) => {
                    prepared.into_iter().for_each(|prepared| lease.not_needed(prepared));
                    return match no {
                        NotOwner::Other(other) => Ok(Ok(Started::AlreadyStarted(other))),
                        NotOwner::Renamed => Err(Renamed),
                    };
                }
            };
            if let Some((it, incarnation, old)) = goes_on(&mut life) {
                *given_before(&mut life) = Some(given);
                drop(life);
                prepared.into_iter().for_each(|prepared| lease.not_needed(prepared));
                it.go_on(incarnation, old, given, clock, &|| self.owner() == Some(owner));
                return Ok(Ok(Started::Adopted));
            }
            // It was closed between the two looks.
            let Some(prepared) = prepared else { continue };
            self.node.end_lent(&mut life);
            *given_before(&mut life) = Some(given);
            // The name is not a pool's any more before that is closed, as in `close`.
            let pool = self.pool().map(|(pool, _)| pool);
            self.node.current.store(0, Ordering::Relaxed);
            lease.begin(prepared);
            drop(life);
            if let Some(pool) = pool {
                pool.close(host);
            }
            return Ok(Ok(Started::Fresh));
        }
    }

    /// Closes what `owner` keeps; false if it is not (any more) that process' to close.
    pub fn close(self, host: &H, owner: Pid) -> bool {
        // A pool that is not closed yet keeps its node.
        let closing = {
            let Some(mut life) = self.lock() else { return false };
            if life.owner != Some(owner) {
                return false;
            }
            life.owner = None;
            let closing = self.pool().map(|(pool, _)| pool);
            // The name is gone before the pool is closed: who is told `closed` and asks again, finds no pool.
            self.node.current.store(0, Ordering::Relaxed);
            self.node.end_lent(&mut life);
            closing
        };
        if let Some(pool) = closing {
            pool.close(host);
        }
        true
    }

    /// Who keeps it, dead or alive.
    pub fn owner(self) -> Option<Pid> {
        self.lock()?.owner
    }
}

impl<H: PoolHost> std::fmt::Debug for Named<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}
