//! Opens, updates, drains, reopens and closes a pool.

use crate::holders::{Cursor, Kind};
use crate::host::Pid;
use crate::meters::Holds;
use crate::sync::{Ordering, fence, lock};

use super::wait_queue::{Queue, Waiter, WaiterId};
use super::{Guarded, Pool, PoolHost, UNLIMITED};

/// The configuration that a pool is started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The largest number of permits held at once: at most 2^31 - 1, or [`UNLIMITED`]. 0 pauses
    /// the pool.
    pub limit: u64,
    /// The largest number of waiters.
    pub max_waiting: u32,
    /// The number of permits beyond the limit that restarts can take;
    /// [`AS_LIMIT`](super::AS_LIMIT) stands for the limit itself.
    pub max_overdraft: u64,
    /// A [`Report`](crate::holders::Report) counts holders that have held for more than this many
    /// ms; 0 counts none.
    pub held_longer_than: u32,
}

/// New values of [`Settings`], by the same names; `None` keeps a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    #[allow(missing_docs)]
    pub limit: Option<u64>,
    #[allow(missing_docs)]
    pub max_waiting: Option<u32>,
    #[allow(missing_docs)]
    pub max_overdraft: Option<u64>,
    #[allow(missing_docs)]
    pub held_longer_than: Option<u32>,
}

/// Whether the pool admits callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It admits callers.
    Open,
    /// It admits no caller until it is reopened. Drainers wait until the holders have given back
    /// all permits.
    Draining,
    /// It admits no caller. It can be opened again, with totals of 0, once no permit is held.
    Closed,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// No permit is held.
    Done,
    /// Permits are held: the host will wake the caller with an answer.
    Waiting(WaiterId),
}

impl<H: PoolHost> Pool<H> {
    /// Opens a closed pool in which no permit is held and no process is parked. All totals begin
    /// at 0. Returns `false`, and changes nothing, if the pool is not closed, or is still in use.
    ///
    /// A gate that restarts opens its closed pool again, so that its name does not collect pools.
    /// A call that still runs on the closed pool finds the pool closed, or acts on the new
    /// opening as if the call had come later.
    pub fn open(&self, settings: Settings) -> bool {
        let holds = self.front.holds.get();
        // Allocated before the lock is taken.
        let waits = holds.map(|_| Box::default());
        let mut guarded = lock(&self.guarded);
        if !self.is_idle_at(&guarded) {
            return false;
        }
        self.table.reset_totals();
        // An entry keeps 24 bits of the generation; see `Entry::count_admission`.
        self.front.generation.store((self.generation() + 1) & 0x00FF_FFFF, Ordering::Relaxed);
        self.shift_limit(settings.limit);
        self.front.peak.store(0, Ordering::Relaxed);
        guarded.opening += 1;
        guarded.settings = settings;
        guarded.granted = 0;
        guarded.overdrawn = 0;
        holds.into_iter().for_each(Holds::reset);
        guarded.waits = waits;
        guarded.shrunk_from = 0;
        guarded.queue.end_sweep();
        guarded.status = Status::Open;
        self.state.open();
        true
    }

    /// Opens the pool as [`Pool::open`] does, and meters its holds and waits from now on, in later
    /// openings, too. The pools of names are metered. An unnamed pool, of which a program may make
    /// thousands, takes no memory for it.
    pub fn open_metered(&self, settings: Settings) -> bool {
        self.front.holds.get_or_init(|| Box::new(Holds::new()));
        self.open(settings)
    }

    /// Returns `true` if the pool is closed, no permit is held, and no waiter or drainer is
    /// parked.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle_at(&lock(&self.guarded))
    }

    fn is_idle_at(&self, guarded: &Guarded<H>) -> bool {
        guarded.status == Status::Closed
            && guarded.queue.is_empty(Queue::Waiters)
            && guarded.queue.is_empty(Queue::Drainers)
            && self.in_use() == 0
    }

    /// Changes settings. Then grants permits to waiters as far as the new limit allows, and
    /// refuses waiters whose requests exceed it. A limit of 0 refuses no waiter.
    pub fn update(&self, host: &H, changes: Changes) {
        self.update_while(host, changes, || true);
    }

    /// Updates as [`Pool::update`] does if `still` returns `true`. Returns the result of `still`.
    /// This calls `still` inside the queue lock. The name that the caller used may stand for
    /// another pool by now, so `still` tells whether the caller means this pool.
    pub fn update_while(&self, host: &H, changes: Changes, still: impl FnOnce() -> bool) -> bool {
        {
            let mut guarded = lock(&self.guarded);
            if !still() {
                return false;
            }
            if let Some(limit) = changes.limit {
                let (in_use, overdrawn) = self.shift_limit(limit.min(UNLIMITED));
                // While a smaller limit overdraws the pool, restarts can bring this number of
                // permits into use. If the limit of an overdrawn pool changes again, the number
                // must not fall.
                guarded.shrunk_from = if overdrawn { guarded.shrunk_from.max(in_use) } else { in_use };
                // An acquire that runs during the change may leave the peak as it is, so this
                // call raises the peak; see `raise_peak`.
                self.front.peak.fetch_max(self.in_use(), Ordering::Relaxed);
                guarded.settings.limit = limit;
                // A limit of 0 pauses the pool, and refuses no waiter.
                if limit > 0 && u64::from(guarded.queue.max_requested()) > limit {
                    guarded.queue.begin_sweep();
                }
            }
            let settings = &mut guarded.settings;
            settings.max_waiting = changes.max_waiting.unwrap_or(settings.max_waiting);
            settings.max_overdraft = changes.max_overdraft.unwrap_or(settings.max_overdraft);
            settings.held_longer_than = changes.held_longer_than.unwrap_or(settings.held_longer_than);
        }
        self.serve(host);
        true
    }

    /// Admits no further caller, and parks the calling process until no permit is held.
    ///
    /// In a closed pool, a drainer does not wait for the holders: the pool answers the drainer at
    /// once, with the number of permits still held.
    pub fn drain(&self, host: &H, me: Pid, ticket: H::Ticket) -> Drain {
        self.drain_while(host, me, ticket, || true).expect("the condition is always true")
    }

    /// Drains as [`Pool::drain`] does if `still` returns `true`. Otherwise returns `None`.
    /// `still` is as in [`Pool::update_while`].
    pub fn drain_while(&self, host: &H, me: Pid, ticket: H::Ticket, still: impl FnOnce() -> bool) -> Option<Drain> {
        let entry = self.table.find(me).or_else(|| self.insert(host, me));
        let drain = {
            let mut guarded = lock(&self.guarded);
            if !still() {
                return None;
            }
            if guarded.status == Status::Open {
                guarded.status = Status::Draining;
                self.state.close();
            }
            if self.in_use() == 0 {
                Drain::Done
            } else {
                let queue = Queue::Drainers;
                let waiter = Waiter {
                    pid: me,
                    permits: 0,
                    kind: Kind::Manual,
                    ticket,
                    queue,
                    until: None,
                    began: 0,
                    repoint: None,
                };
                Drain::Waiting(match entry {
                    // The entry of a drainer names its wait, so that the reap of a dead drainer
                    // finds the wait.
                    Some(entry) => self.join(&mut guarded, entry, waiter),
                    None => guarded.queue.push(waiter, WaiterId::from_bits(0)),
                })
            }
        };
        self.serve(host);
        Some(drain)
    }

    /// Admits callers again after a drain, and answers drainers that still wait. Returns `false`
    /// if the pool is closed.
    pub fn reopen(&self, host: &H) -> bool {
        self.reopen_while(host, || true)
    }

    /// Reopens as [`Pool::reopen`] does if `still` returns `true`. Otherwise returns `false`.
    /// `still` is as in [`Pool::update_while`].
    pub fn reopen_while(&self, host: &H, still: impl FnOnce() -> bool) -> bool {
        {
            let mut guarded = lock(&self.guarded);
            if !still() {
                return false;
            }
            match guarded.status {
                Status::Open => return true,
                Status::Closed => return false,
                Status::Draining => {}
            }
            guarded.status = Status::Open;
            self.state.open();
        }
        self.serve(host);
        true
    }

    /// Admits no further caller, and answers all waiters and drainers. Permits that are held stay
    /// counted until they come back.
    pub fn close(&self, host: &H) {
        {
            let mut guarded = lock(&self.guarded);
            guarded.status = Status::Closed;
            self.state.close();
        }
        self.serve(host);
    }

    /// Clears one part of a closed pool: gives back all permits that are held in that part. The
    /// caller ensures that no process has a reference to the pool any more. So only
    /// [`Pool::down`] and [`Pool::serve`] can run at the same time.
    ///
    /// A call visits at most `most + 32` entries. Returns the cursor of the next part, or `None`
    /// once no permit is held and no process waits.
    pub fn clear(&self, host: &H, from: Cursor, most: usize) -> Option<Cursor> {
        // Processes may still be parked, because a process that has asked may drop its reference
        // to the pool before the answer.
        if !self.serve(host) {
            return Some(from);
        }
        let (visited, next) = self.table.clear(from, most, |permits| {
            self.state.give(permits);
        });
        host.worked(visited * 2);
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the entries are cleared
        // before the hint is loaded.
        fence(Ordering::SeqCst);
        if self.front.many_holders.is_set() {
            self.front.many_holders.clear();
        }
        next
    }
}
