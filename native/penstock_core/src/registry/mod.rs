//! Names, and the pool, the limiter or the bans that each stands for.
//!
//! A name is never forgotten (on the BEAM it is an atom, which is never collected either), so that looking one up takes
//! no lock and needs no count of who is looking. Nor is a pool of a name ever freed: it is closed, and opened again
//! once nothing is held in it. Only a name that is restarted while its old pool's permits are still held gets a
//! second one. Limiters and bans are [lent](stock) to a name while they are open.

mod stock;
mod unnamed;

use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::ban::{Ban, BanSettings};
use crate::host::{Host, Pid};
use crate::pool::{Changes, Pool, Settings};
use crate::rate::{Limiter, LimiterSettings, OutOfMemory};
use crate::sync::{AtomicU32, Mutex, MutexGuard, Ordering, lock};

pub use stock::{Incarnation, Lend};
use stock::{Lease, Stock};
use unnamed::Unnamed;
pub use unnamed::UnnamedId;

const BUCKETS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// The names of a node.
pub struct Registry<H: Host> {
    buckets: [OnceBox<Named<H>>; BUCKETS],
    stocks: OnceBox<Stocks>,
    unnamed: OnceBox<Unnamed<H>>,
}

#[derive(Default)]
struct Stocks {
    limiters: Arc<Stock<Limiter>>,
    bans: Arc<Stock<Ban>>,
}

/// Pools of one name that a start looks at for one to reopen.
const LOOKS: u32 = 64;

/// A name, with its pools.
pub struct Named<H: Host> {
    name: u64,
    first: Pool<H>,
    /// The pools after it, each row twice as long as the one before: any is found in two steps.
    later: [OnceBox<Vec<OnceBox<Pool<H>>>>; 31],
    /// Which of the pools is open: 0 is none, 1 the first.
    current: AtomicU32,
    limiter: Lease<Limiter>,
    bans: Lease<Ban>,
    life: Mutex<Life>,
    next: OnceBox<Named<H>>,
}

/// Who keeps the pool, and what it was started with.
struct Life {
    owner: Option<Pid>,
    given: Settings,
    given_limits: Option<LimiterSettings>,
    given_bans: Option<BanSettings>,
    /// How many pools the name has, and the last one that was looked at.
    made: InstanceId,
    looked_at: InstanceId,
}

/// Names one of a name's pools, so that what began on it also ends on it.
pub type InstanceId = u32;

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

impl<H: Host> Registry<H> {
    /// No names. For a static, so that finding one starts at a fixed address.
    pub const fn new() -> Self {
        Self { buckets: [const { OnceBox::new() }; BUCKETS], stocks: OnceBox::new(), unnamed: OnceBox::new() }
    }

    #[inline]
    fn bucket(&self, name: u64) -> &OnceBox<Named<H>> {
        // Names on the BEAM are indices with a tag in the low 6 bits.
        &self.buckets[(name >> 6) as usize % BUCKETS]
    }

    /// The name, if it was ever started.
    #[inline]
    pub fn find(&self, name: u64) -> Option<&Named<H>> {
        let mut at = self.bucket(name).get();
        while let Some(named) = at {
            if named.name == name {
                return Some(named);
            }
            at = named.next.get();
        }
        None
    }

    fn find_or_add(&self, name: u64) -> &Named<H> {
        let mut link = self.bucket(name);
        loop {
            // Whoever is first makes the link; the others find it made, by that name or another.
            let named = link.get_or_init(|| Box::new(Named::new(name, self.stocks.get_or_init(Box::default))));
            if named.name == name {
                return named;
            }
            link = &named.next;
        }
    }

    /// Starts, or takes over, the pool of a name.
    pub fn start(&self, host: &H, name: u64, owner: Pid, given: Settings) -> Started {
        self.find_or_add(name).start(host, owner, given)
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
        let named = self.find_or_add(name);
        named.start_lent(&named.limiter, |life| &mut life.given_limits, host, owner, given, clock)
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
        let named = self.find_or_add(name);
        named.start_lent(&named.bans, |life| &mut life.given_bans, host, owner, given, clock)
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
    /// A piece looks at `most` names, by the names of one bucket more at most. A name that is open throughout the walk is
    /// in one of its pieces.
    pub fn names(&self, from: usize, most: usize) -> Names {
        let mut names = Names { names: Vec::new(), next: None, looked_at: 0 };
        for (place, bucket) in self.buckets.iter().enumerate().skip(from) {
            if names.looked_at >= most * LINE {
                names.next = Some(place);
                break;
            }
            names.looked_at += 1;
            let mut at = bucket.get();
            while let Some(named) = at {
                names.looked_at += LINE;
                if named.is_open() {
                    names.names.push(named.name);
                }
                at = named.next.get();
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

impl<H: Host> Default for Registry<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Host> std::fmt::Debug for Registry<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl<H: Host> Named<H> {
    fn new(name: u64, stocks: &Stocks) -> Self {
        Self {
            name,
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

    /// The open pool, and its number.
    #[inline]
    pub fn pool(&self) -> Option<(&Pool<H>, InstanceId)> {
        // ORDERING: Acquire pairs with the Release in `start`: the pool is open.
        match self.current.load(Ordering::Acquire) {
            0 => None,
            1 => Some((&self.first, 1)),
            id => self.instance(id).map(|pool| (pool, id)),
        }
    }

    fn is_open(&self) -> bool {
        self.current.load(Ordering::Relaxed) != 0 || self.limiter().is_some() || self.bans().is_some()
    }

    /// The open limiter, and which of its incarnations.
    #[inline]
    pub fn limiter(&self) -> Option<(&Limiter, Incarnation)> {
        self.limiter.get()
    }

    /// The open bans, and which of their incarnations.
    #[inline]
    pub fn bans(&self) -> Option<(&Ban, Incarnation)> {
        self.bans.get()
    }

    /// The pools of this name, open or not, the newest first.
    pub fn pools(&self) -> impl Iterator<Item = &Pool<H>> {
        let made = lock(&self.life).made;
        (1..=made).rev().filter_map(|id| self.instance(id))
    }

    /// A pool of this name by its number, open or not.
    #[inline]
    pub fn instance(&self, id: InstanceId) -> Option<&Pool<H>> {
        if id == 1 {
            return Some(&self.first);
        }
        let (row, at) = Self::place(id)?;
        self.later.get(row)?.get()?.get(at)?.get()
    }

    /// Where a pool after the first is: 2 is the first row, 3 and 4 the second, and so on.
    fn place(id: InstanceId) -> Option<(usize, usize)> {
        let nth = id.checked_sub(1)?;
        let row = nth.checked_ilog2()?;
        Some((row as usize, (nth - (1 << row)) as usize))
    }

    /// One that may have to be made.
    fn make(&self, id: InstanceId) -> &Pool<H> {
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
    fn open(&self, life: &mut Life, given: Settings) -> InstanceId {
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

    /// The owner, if it is dead or that process; or who else it is.
    fn owner_before(&self, host: &H, owner: Pid) -> Result<Option<Pid>, Pid> {
        let before = lock(&self.life).owner;
        // Asked outside the lock; that an owner dies after this is its successor's next attempt.
        match before.filter(|&other| other != owner && host.alive(other)) {
            Some(other) => Err(other),
            None => Ok(before),
        }
    }

    /// Makes a process the owner, unless another is that lives: then that.
    fn take_over(&self, host: &H, owner: Pid) -> Result<MutexGuard<'_, Life>, Pid> {
        let before = self.owner_before(host, owner)?;
        let mut life = lock(&self.life);
        if life.owner != before
            && let Some(other) = life.owner
        {
            return Err(other);
        }
        life.owner = Some(owner);
        Ok(life)
    }

    fn start(&self, host: &H, owner: Pid, given: Settings) -> Started {
        let mut life = match self.take_over(host, owner) {
            Ok(life) => life,
            Err(other) => return Started::AlreadyStarted(other),
        };
        self.end_lent(&mut life);
        let old = std::mem::replace(&mut life.given, given);
        if let Some((pool, _)) = self.pool() {
            drop(life);
            // What the new owner was given anew wins; what was only updated since stays.
            let changes = Changes {
                limit: (given.limit != old.limit).then_some(given.limit),
                max_waiting: (given.max_waiting != old.max_waiting).then_some(given.max_waiting),
                max_overdraft: (given.max_overdraft != old.max_overdraft).then_some(given.max_overdraft),
                held_longer_than: Some(given.held_longer_than),
            };
            pool.update(host, changes);
            return Started::Adopted;
        }
        let id = self.open(&mut life, given);
        // ORDERING: Release pairs with the Acquire in `pool`.
        self.current.store(id, Ordering::Release);
        Started::Fresh
    }

    fn start_lent<T: Lend>(
        &self,
        lease: &Lease<T>,
        given_before: impl Fn(&mut Life) -> &mut Option<T::Given>,
        host: &H,
        owner: Pid,
        given: T::Given,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        // What is open, if it can go on, and as what it was started.
        let goes_on = |life: &mut Life| {
            let (it, incarnation) = lease.get()?;
            let old = given_before(life).filter(|&old| T::may_go_on(old, given))?;
            Some((it, incarnation, old))
        };
        loop {
            // Before memory is taken for nothing.
            if let Err(other) = self.owner_before(host, owner) {
                return Ok(Started::AlreadyStarted(other));
            }
            let may_go_on = goes_on(&mut lock(&self.life)).is_some();
            // Outside the lock, for it takes time.
            let prepared = if may_go_on { None } else { Some(lease.prepare(given, clock())?) };
            let mut life = match self.take_over(host, owner) {
                Ok(life) => life,
                Err(other) => {
                    prepared.into_iter().for_each(|prepared| lease.not_needed(prepared));
                    return Ok(Started::AlreadyStarted(other));
                }
            };
            if let Some((it, incarnation, old)) = goes_on(&mut life) {
                *given_before(&mut life) = Some(given);
                drop(life);
                prepared.into_iter().for_each(|prepared| lease.not_needed(prepared));
                it.go_on(incarnation, old, given, clock, &|| self.owner() == Some(owner));
                return Ok(Started::Adopted);
            }
            // It was closed between the two looks.
            let Some(prepared) = prepared else { continue };
            self.end_lent(&mut life);
            *given_before(&mut life) = Some(given);
            // The name is not a pool's any more before that is closed, as in `close`.
            let pool = self.pool().map(|(pool, _)| pool);
            self.current.store(0, Ordering::Relaxed);
            lease.begin(prepared);
            drop(life);
            if let Some(pool) = pool {
                pool.close(host);
            }
            return Ok(Started::Fresh);
        }
    }

    /// Inside the lock.
    fn end_lent(&self, life: &mut Life) {
        life.given_limits = None;
        life.given_bans = None;
        self.limiter.end();
        self.bans.end();
    }

    /// Closes what `owner` keeps; false if it is not (any more) that process' to close.
    pub fn close(&self, host: &H, owner: Pid) -> bool {
        let closing = {
            let mut life = lock(&self.life);
            if life.owner != Some(owner) {
                return false;
            }
            life.owner = None;
            let closing = self.pool().map(|(pool, _)| pool);
            // The name is gone before the pool is closed: who is told `closed` and asks again, finds no pool.
            self.current.store(0, Ordering::Relaxed);
            self.end_lent(&mut life);
            closing
        };
        if let Some(pool) = closing {
            pool.close(host);
        }
        true
    }

    /// Who keeps it, dead or alive.
    pub fn owner(&self) -> Option<Pid> {
        lock(&self.life).owner
    }
}

impl<H: Host> std::fmt::Debug for Named<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}
