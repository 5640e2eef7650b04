//! Makes, opens, updates, drains, reopens and closes a keyed pool.

use crossbeam_utils::CachePadded;

use crate::batch::Batch;
use crate::host::{Answer, Host, Pid};
use crate::pool::{AS_LIMIT, Cancelled, Status};
use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock};

use super::keys::{self, Keys, PLACE_MEMORY};
use super::lease::LeaseAt;
use super::people::People;
use super::shard::{Shard, Totals};
use super::{KeyedHost, KeyedPool};

/// The configuration that a keyed pool is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedSettings {
    /// The largest number of permits held at once for each key: 1 to 2^31 - 1.
    pub limit: u32,
    /// The number of keys that the pool has places for.
    pub max_keys: u32,
    /// The largest number of waiters, over all keys.
    pub max_waiting: u32,
    /// The number of permits of a key beyond the limit that restarts may take, at most 2^60;
    /// [`AS_LIMIT`] stands for the limit itself.
    pub max_overdraft: u64,
}

/// New values of [`KeyedSettings`], by the same names; `None` keeps a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyedChanges {
    #[allow(missing_docs)]
    pub limit: Option<u32>,
    #[allow(missing_docs)]
    pub max_waiting: Option<u32>,
    #[allow(missing_docs)]
    pub max_overdraft: Option<u64>,
}

/// A process that waits until no permit is held.
struct Drainer<H: Host> {
    number: u64,
    pid: Pid,
    ticket: H::Ticket,
}

/// The data that the control lock guards.
pub(super) struct Control<H: Host> {
    pub(super) settings: KeyedSettings,
    pub(super) status: Status,
    drainers: Vec<Drainer<H>>,
    /// The number of the last drainer.
    last: u64,
    /// The drainer at which the next search for dead ones begins.
    next_look: usize,
    /// The number of processes killed for running too long since the pool was opened.
    pub(super) killed: u64,
    /// Dead processes that one call could not reap whole.
    pub(super) dying: Vec<Pid>,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyedDrain {
    /// No permit is held.
    Done,
    /// Permits are held: the host will wake the caller with an answer. The number names the wait.
    Waiting(u64),
}

/// The number of keys for each shard. Models have one shard, unless they ask for many keys.
const KEYS_IN_SHARD: usize = if cfg!(any(loom, shuttle)) { 4 } else { 1024 };
/// The number of drainers that one call looks at, to forget the dead ones.
const LOOKS_AT_DRAINERS: usize = 64;

/// Returns the number of shards for `max_keys`, a power of two.
fn shard_count(max_keys: u32) -> usize {
    1 << (max_keys as usize / KEYS_IN_SHARD).max(1).ilog2().min(LeaseAt::SHARD_BITS)
}

/// Returns the number of places of each shard. The keys spread over the shards by chance. So each
/// shard has six standard deviations more places than its mean share. Less than one in a billion
/// new keys finds its shard full before the table is.
fn places_in_shard(max_keys: u32, shards: usize) -> usize {
    let mean = (max_keys as usize).div_ceil(shards);
    if shards == 1 { mean } else { mean + 6 * mean.isqrt() }
}

impl<H: KeyedHost> KeyedPool<H> {
    /// The most bytes that the places of keys take for each of `max_keys`, apart from the reserve
    /// of a pool of several shards.
    pub const KEY_MEMORY: usize = {
        assert!(PLACE_MEMORY <= 64);
        64
    };

    /// Returns a closed pool with places for `max_keys` keys.
    pub fn new(max_keys: u32) -> Result<Self, OutOfMemory> {
        let count = shard_count(max_keys);
        let places = places_in_shard(max_keys, count);
        let shards: Result<Vec<_>, _> =
            (0..count).map(|number| Ok(CachePadded::new(Mutex::new(Shard::new(number, Keys::new(places)?))))).collect();
        let settings = KeyedSettings { limit: 0, max_keys, max_waiting: 0, max_overdraft: AS_LIMIT };
        Ok(Self {
            shards: shards?.into_boxed_slice(),
            people: People::new(),
            control: CachePadded::new(Mutex::new(Control {
                settings,
                status: Status::Closed,
                drainers: Vec::new(),
                last: 0,
                next_look: 0,
                killed: 0,
                dying: Vec::new(),
            })),
            waiting: CachePadded::new(AtomicU32::new(0)),
            max_waiting: AtomicU32::new(0),
            used: CachePadded::new(AtomicU64::new(0)),
            max_keys,
            generation: AtomicU32::new(0),
            data: H::KeyedData::default(),
        })
    }

    /// Returns the size in bytes of the places of keys, which are allocated at once.
    pub(super) fn reserved(&self) -> usize {
        let of_shard = keys::memory(self.places_in_shard()) + size_of::<CachePadded<Mutex<Shard<H>>>>();
        self.shards.len() * of_shard
    }

    /// Returns the number of places of each shard.
    pub(super) fn places_in_shard(&self) -> usize {
        places_in_shard(self.max_keys, self.shards.len())
    }

    /// Returns `true` if this generation of the pool is open or draining, and was not closed
    /// since. A close counts a generation, too.
    pub fn is_current(&self, generation: Generation) -> bool {
        self.generation() == generation
    }

    /// Returns the generation that is open or draining, or that of the close.
    pub fn generation(&self) -> Generation {
        self.generation.load(Ordering::Relaxed)
    }

    /// Counts a process as killed for running too long. `generation` is the one in which the pool
    /// admitted the process. Does nothing if that opening is over.
    pub fn count_killed(&self, generation: Generation) {
        if let Some(mut control) = self.lock_control(generation) {
            control.killed += 1;
        }
    }

    /// Returns `true` if no permit is held and no process waits.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.control).drainers.is_empty()
            && self.shards.iter().all(|shard| {
                let shard = lock(shard);
                shard.status == Status::Closed && shard.leases.used() == 0
            })
    }

    /// Copies settings and status to each shard. Called under the control lock.
    fn copy_to_shards(&self, control: &Control<H>, begin: Option<Generation>) {
        let KeyedSettings { limit, max_waiting, max_overdraft, .. } = control.settings;
        self.max_waiting.store(max_waiting, Ordering::Relaxed);
        let overdraft = if max_overdraft == AS_LIMIT { u64::from(limit) } else { max_overdraft };
        let overdrawn_limit = u64::from(limit).saturating_add(overdraft).min(u32::MAX.into());
        for shard in &self.shards {
            let mut shard = lock(shard);
            if let Some(generation) = begin {
                shard.generation = generation;
                shard.totals = Totals::default();
            } else if limit < shard.limit {
                shard.limit_version = shard.limit_version.wrapping_add(1);
            }
            shard.limit = limit;
            shard.overdrawn_limit = overdrawn_limit;
            shard.status = control.status;
            shard.due = 0;
        }
    }

    /// Opens a closed pool in which no permit is held and no process waits. Returns the
    /// generation of this opening.
    pub fn open(&self, settings: KeyedSettings) -> Generation {
        let mut control = lock(&self.control);
        let generation = self.generation().wrapping_add(1);
        control.settings = settings;
        control.status = Status::Open;
        control.killed = 0;
        self.copy_to_shards(&control, Some(generation));
        self.generation.store(generation, Ordering::Relaxed);
        generation
    }

    /// Locks the control data if `generation` is that of the present opening.
    fn lock_control(&self, generation: Generation) -> Option<MutexGuard<'_, Control<H>>> {
        let control = lock(&self.control);
        self.is_current(generation).then_some(control)
    }

    /// Changes settings. Then grants permits to waiters as far as the new limit allows, and
    /// refuses waiters whose requests exceed it. Returns `false` if the opening is over.
    pub fn update(&self, host: &H, generation: Generation, changes: KeyedChanges) -> bool {
        if !self.change(generation, changes, || true) {
            return false;
        }
        self.serve(host);
        true
    }

    /// Changes settings, and leaves the answers that are due to `serve`. `still` is called under
    /// the control lock, and tells whether the caller may still change the pool.
    fn change(&self, generation: Generation, changes: KeyedChanges, still: impl FnOnce() -> bool) -> bool {
        let Some(mut control) = self.lock_control(generation) else { return false };
        if !still() {
            return false;
        }
        let settings = &mut control.settings;
        settings.limit = changes.limit.unwrap_or(settings.limit);
        settings.max_waiting = changes.max_waiting.unwrap_or(settings.max_waiting);
        settings.max_overdraft = changes.max_overdraft.unwrap_or(settings.max_overdraft);
        self.copy_to_shards(&control, None);
        true
    }

    /// Returns the number of permits held. While the pool admits no caller, the number only
    /// falls.
    fn in_use(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).in_use).sum()
    }

    /// Admits no further caller, and parks the calling process until no permit is held. Returns
    /// `None` if the opening is over.
    pub fn drain(&self, host: &H, generation: Generation, me: Pid, ticket: H::Ticket) -> Option<KeyedDrain> {
        self.forget_dead_drainers(host);
        let drain = {
            let mut control = self.lock_control(generation)?;
            if control.status == Status::Open {
                control.status = Status::Draining;
                self.copy_to_shards(&control, None);
            }
            // A release that comes after this sum finds the shard closed, and takes the control
            // lock to answer the drainer. A release that comes before it is in the sum.
            if self.in_use() == 0 {
                KeyedDrain::Done
            } else {
                control.last += 1;
                let number = control.last;
                control.drainers.push(Drainer { number, pid: me, ticket });
                KeyedDrain::Waiting(number)
            }
        };
        self.serve(host);
        Some(drain)
    }

    /// Removes drainers that have died, among some of them. Each drain adds one drainer and looks
    /// at many, so dead drainers do not add up.
    fn forget_dead_drainers(&self, host: &H) {
        let mut pids = [None; LOOKS_AT_DRAINERS];
        {
            let mut control = lock(&self.control);
            let from = if control.next_look < control.drainers.len() { control.next_look } else { 0 };
            for (place, drainer) in pids.iter_mut().zip(&control.drainers[from..]) {
                *place = Some((drainer.number, drainer.pid));
            }
            control.next_look = from + LOOKS_AT_DRAINERS;
        }
        for (number, _) in pids.into_iter().flatten().filter(|&(_, pid)| !host.alive(pid)) {
            let _ticket = self.remove_drainer(|drainer| drainer.number == number);
        }
    }

    fn remove_drainer(&self, is_it: impl Fn(&Drainer<H>) -> bool) -> Option<Drainer<H>> {
        let mut control = lock(&self.control);
        let at = control.drainers.iter().position(is_it)?;
        Some(control.drainers.swap_remove(at))
    }

    /// Ends the wait of a drainer. The drainer calls this.
    pub fn stop_draining(&self, me: Pid, number: u64) -> Cancelled {
        match self.remove_drainer(|drainer| drainer.number == number && drainer.pid == me) {
            Some(_ticket) => Cancelled::Yes,
            None => Cancelled::TooLate,
        }
    }

    /// Answers drainers whose wait is over: no permit is held any more, or the drain has ended.
    /// Returns `false` if some are left.
    #[cold]
    pub(super) fn answer_drainers(&self, host: &H) -> bool {
        let mut batch = Batch::new();
        let done = {
            let mut control = lock(&self.control);
            if control.drainers.is_empty() {
                return true;
            }
            let in_use = self.in_use();
            if control.status == Status::Draining && in_use > 0 {
                return true;
            }
            while batch.has_room()
                && let Some(drainer) = control.drainers.pop()
            {
                batch.push(drainer.pid, drainer.ticket, Some(Answer::to_drainer(in_use)));
            }
            control.drainers.is_empty()
        };
        batch.send(host);
        done
    }

    /// Admits callers again after a drain, and tells the drainers that still wait. Returns
    /// `false` if the pool is closed, or if the opening is over.
    pub fn reopen(&self, host: &H, generation: Generation) -> bool {
        let Some(mut control) = self.lock_control(generation) else { return false };
        if control.status == Status::Open {
            return true;
        }
        control.status = Status::Open;
        self.copy_to_shards(&control, None);
        drop(control);
        self.serve(host);
        true
    }

    /// Admits no further caller, and answers all waiters and drainers. Permits that are held stay
    /// counted until they come back.
    pub fn close(&self, host: &H, generation: Generation) {
        if self.end_opening(generation) {
            self.serve(host);
        }
    }

    /// Closes the pool, and leaves the answers that are due to `serve`. Returns `false` if the
    /// opening was over.
    fn end_opening(&self, generation: Generation) -> bool {
        let Some(mut control) = self.lock_control(generation) else { return false };
        control.status = Status::Closed;
        self.copy_to_shards(&control, None);
        self.generation.store(generation.wrapping_add(1), Ordering::Relaxed);
        true
    }
}

impl<H: KeyedHost> Reusable for KeyedPool<H> {
    type Config = KeyedSettings;

    fn make(config: KeyedSettings) -> Result<Self, OutOfMemory> {
        Self::new(config.max_keys)
    }

    fn fits(&self, config: KeyedSettings) -> bool {
        // Permits may be held from before the close.
        self.max_keys == config.max_keys && self.is_idle()
    }

    fn open(&self, config: KeyedSettings, _now: u64) -> Generation {
        Self::open(self, config)
    }

    fn discard(&self, generation: Generation) {
        self.end_opening(generation);
    }

    fn is_compatible(old: KeyedSettings, new: KeyedSettings) -> bool {
        old.max_keys == new.max_keys
    }

    fn resume(
        &self,
        generation: Generation,
        old: KeyedSettings,
        new: KeyedSettings,
        _clock: fn() -> u64,
        is_owner: &dyn Fn() -> bool,
    ) {
        let changes = KeyedChanges {
            limit: (new.limit != old.limit).then_some(new.limit),
            max_waiting: (new.max_waiting != old.max_waiting).then_some(new.max_waiting),
            max_overdraft: (new.max_overdraft != old.max_overdraft).then_some(new.max_overdraft),
        };
        // `is_owner` is called under the lock of the change. So an owner that takes over after it
        // returned `true` makes its own change after this one.
        self.change(generation, changes, is_owner);
    }
}
