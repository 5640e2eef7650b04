//! Names, and the pool or the limiter that each stands for.
//!
//! A name is never forgotten (on the BEAM it is an atom, which is never collected either), so that looking one up takes
//! no lock and needs no count of who is looking. Nor is a pool of a name ever freed: it is closed, and opened again
//! once nothing is held in it. Only a name that is restarted while its old pool's permits are still held gets a
//! second one. A limiter is lent to a name while it is open.

use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::host::{Host, Pid};
use crate::pool::{Changes, Pool, Settings};
use crate::rate::{Changed, Incarnation, Limiter, LimiterId, LimiterSettings, Limiters, Limits, OutOfMemory};
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock};

const BUCKETS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// The names of a node.
pub struct Registry<H: Host> {
    buckets: [OnceBox<Named<H>>; BUCKETS],
    limiters: OnceBox<Arc<Limiters>>,
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
    /// Which limiter is open, and which incarnation of it: `id << 32 | incarnation`; 0 is none.
    limiter: AtomicU64,
    limiters: Arc<Limiters>,
    life: Mutex<Life>,
    next: OnceBox<Named<H>>,
}

/// Who keeps the pool, and what it was started with.
struct Life {
    owner: Option<Pid>,
    given: Settings,
    given_limits: Option<LimiterSettings>,
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
        Self { buckets: [const { OnceBox::new() }; BUCKETS], limiters: OnceBox::new() }
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
            let named =
                link.get_or_init(|| Box::new(Named::new(name, Arc::clone(self.limiters.get_or_init(Box::default)))));
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

    /// Starts, or takes over, the limiter of a name. At `now`.
    pub fn start_limiter(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        given: LimiterSettings,
        now: u64,
    ) -> Result<Started, OutOfMemory> {
        self.find_or_add(name).start_limiter(host, owner, given, now)
    }

    /// Every name that has a pool or a limiter now.
    pub fn names(&self) -> Vec<u64> {
        let mut names = Vec::new();
        for bucket in &self.buckets {
            let mut at = bucket.get();
            while let Some(named) = at {
                if named.pool().is_some() || named.limiter().is_some() {
                    names.push(named.name);
                }
                at = named.next.get();
            }
        }
        names
    }
}

impl<H: Host> Default for Registry<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Host> std::fmt::Debug for Registry<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("names", &self.names()).finish()
    }
}

impl<H: Host> Named<H> {
    fn new(name: u64, limiters: Arc<Limiters>) -> Self {
        Self {
            name,
            first: Pool::new(),
            later: [const { OnceBox::new() }; 31],
            current: AtomicU32::new(0),
            limiter: AtomicU64::new(0),
            limiters,
            life: Mutex::new(Life {
                owner: None,
                given: Settings::default(),
                given_limits: None,
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

    /// The open limiter, and which of its incarnations.
    #[inline]
    pub fn limiter(&self) -> Option<(&Limiter, Incarnation)> {
        // ORDERING: Acquire pairs with the Release in `start_limiter`: the limiter is open.
        let word = self.limiter.load(Ordering::Acquire);
        self.limiters.get((word >> 32) as LimiterId).map(|limiter| (limiter, word as Incarnation))
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

    /// Makes a process the owner, unless another is that lives: then that.
    fn take_over(&self, host: &H, owner: Pid) -> Result<MutexGuard<'_, Life>, Pid> {
        let before = lock(&self.life).owner;
        // Asked outside the lock; that an owner dies after this is its successor's next attempt.
        if let Some(other) = before.filter(|&other| other != owner && host.alive(other)) {
            return Err(other);
        }
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
        self.close_limiter(&mut life);
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

    fn start_limiter(&self, host: &H, owner: Pid, given: LimiterSettings, now: u64) -> Result<Started, OutOfMemory> {
        // Made outside the lock: it may be many megabytes.
        let prepared = match self.adoptable(&lock(&self.life), given) {
            Some(_) => None,
            None => {
                let (id, limiter) = self.limiters.lend(given.max_keys)?;
                Some((id, limiter.open(given.limits, given.manual, now)))
            }
        };
        let mut life = match self.take_over(host, owner) {
            Ok(life) => life,
            Err(other) => {
                self.not_needed(prepared);
                return Ok(Started::AlreadyStarted(other));
            }
        };
        if let Some((limiter, old)) = self.adoptable(&life, given) {
            life.given_limits = Some(given);
            drop(life);
            self.not_needed(prepared);
            // What the new owner was given anew wins; what was only updated since stays.
            if given.limits != old {
                let (now, mut from) = (limiter.now(|| now), None);
                while let Changed::NotYet(progress) = limiter.update(given.limits, now, from) {
                    from = Some(progress);
                }
            }
            return Ok(Started::Adopted);
        }
        let Some((id, incarnation)) = prepared else {
            // It was closed between the two looks.
            drop(life);
            return self.start_limiter(host, owner, given, now);
        };
        self.close_limiter(&mut life);
        life.given_limits = Some(given);
        // The name is not a pool's any more before that is closed, as in `close`.
        let pool = self.pool().map(|(pool, _)| pool);
        self.current.store(0, Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `limiter`.
        self.limiter.store(u64::from(id) << 32 | u64::from(incarnation), Ordering::Release);
        drop(life);
        if let Some(pool) = pool {
            pool.close(host);
        }
        Ok(Started::Fresh)
    }

    /// The open limiter, if it can be what is given now, and what it was given at its start. The size of what it remembers, and the
    /// clock, are for life.
    fn adoptable(&self, life: &Life, given: LimiterSettings) -> Option<(&Limiter, Limits)> {
        let old = life.given_limits?;
        let same = (old.max_keys, old.manual) == (given.max_keys, given.manual);
        self.limiter().filter(|_| same).map(|(limiter, _)| (limiter, old.limits))
    }

    fn not_needed(&self, prepared: Option<(LimiterId, Incarnation)>) {
        if let Some((id, _)) = prepared {
            self.limiters.take_back(id);
        }
    }

    /// Inside the lock.
    fn close_limiter(&self, life: &mut Life) {
        life.given_limits = None;
        // Those who hit and have found it by now are told that it is gone, or count for nobody: see `Limiter::open`.
        let word = self.limiter.swap(0, Ordering::Relaxed);
        if word != 0 {
            self.limiters.take_back((word >> 32) as LimiterId);
        }
    }

    /// Closes the pool or the limiter that `owner` keeps; false if it is not (any more) that process' to close.
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
            self.close_limiter(&mut life);
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
