//! Opens, updates, drains, reopens and closes a pool.

use crate::holders::{Cursor, Kind};
use crate::host::Pid;
use crate::sync::{Ordering, fence, lock};

use super::wait_queue::{Queue, Waiter, WaiterId};
use super::{Guarded, Pool, PoolHost, UNLIMITED};

/// The configuration that a pool is started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// At most 2^31-1, or [`UNLIMITED`].
    pub limit: u64,
    /// The number of processes that may be parked.
    pub max_waiting: u32,
    /// How far restarts may pass the limit; [`AS_LIMIT`](super::AS_LIMIT) is as far as the limit
    /// is.
    pub max_overdraft: u64,
    /// A [`Report`](crate::holders::Report) counts holders that have held for more than this many
    /// ms; 0 counts none.
    pub held_longer_than: u32,
}

/// The settings that a pool is to change; `None` keeps a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// As in [`Settings`], as are the others.
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
    /// It does.
    Open,
    /// It does not, until it is reopened.
    Draining,
    /// It does not.
    Closed,
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// No permit is held.
    Done,
    /// The answer will come.
    Waiting(WaiterId),
}

impl<H: PoolHost> Pool<H> {
    /// Opens a closed pool in which no permit is held, with new totals. Returns `false` if it is
    /// not such a pool.
    ///
    /// A pool that was closed can be opened again, so the memory of a name's pools is bounded at
    /// any number of restarts. Calls that still run on the closed pool either find it closed, or
    /// find the new one, as if they had come later.
    pub fn open(&self, settings: Settings) -> bool {
        let mut guarded = lock(&self.guarded);
        if !self.is_idle_at(&guarded) {
            return false;
        }
        self.table.reset_totals();
        // 24 bits: see `Entry::count_admission`.
        self.front.generation.store((self.generation() + 1) & 0x00FF_FFFF, Ordering::Relaxed);
        self.shift_limit(settings.limit);
        self.front.peak.store(0, Ordering::Relaxed);
        guarded.opening += 1;
        guarded.settings = settings;
        guarded.granted = 0;
        guarded.shrunk_from = 0;
        guarded.queue.end_sweep();
        guarded.status = Status::Open;
        self.state.open();
        true
    }

    /// Returns `true` if the pool is closed, no permit is held, and no process waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle_at(&lock(&self.guarded))
    }

    fn is_idle_at(&self, guarded: &Guarded<H>) -> bool {
        guarded.status == Status::Closed
            && guarded.queue.is_empty(Queue::Waiters)
            && guarded.queue.is_empty(Queue::Drainers)
            && self.in_use() == 0
            && self.state.load().free() >= 0
    }

    /// Changes settings. Waiters that fit now are granted their permits, and those whose requests
    /// exceed the limit are refused.
    pub fn update(&self, host: &H, changes: Changes) {
        self.update_while(host, changes, || true);
    }

    /// Updates as [`Pool::update`] does, if `still` returns `true`, which is called inside the
    /// queue lock. Returns what it returned.
    pub fn update_while(&self, host: &H, changes: Changes, still: impl FnOnce() -> bool) -> bool {
        {
            let mut guarded = lock(&self.guarded);
            if !still() {
                return false;
            }
            if let Some(limit) = changes.limit {
                let (in_use, overdrawn) = self.shift_limit(limit.min(UNLIMITED));
                // Restarts may bring back what was in use at a shrink, until it has been paid
                // back.
                guarded.shrunk_from = if overdrawn { guarded.shrunk_from.max(in_use) } else { in_use };
                // Acquires that saw the limit change did not note the peak.
                self.front.peak.fetch_max(self.in_use(), Ordering::Relaxed);
                guarded.settings.limit = limit;
                // A limit of 0 is a pause, and refuses no request: not even one that exceeded an
                // earlier limit.
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

    /// Admits no caller any more, and has the calling process told when no permit is held. There
    /// is nothing to wait for on a pool that is closed for good.
    pub fn drain(&self, host: &H, me: Pid, ticket: H::Ticket) -> Drain {
        self.drain_while(host, me, ticket, || true).expect("it may")
    }

    /// Drains as [`Pool::drain`] does, if `still` returns `true`, which is called inside the
    /// queue lock; otherwise returns `None`.
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
                let waiter =
                    Waiter { pid: me, permits: 0, kind: Kind::Manual, ticket, queue, until: None, repoint: None };
                Drain::Waiting(match entry {
                    // The drainer has an entry so that its death removes it from the queue.
                    Some(entry) => self.join(&mut guarded, entry, waiter),
                    None => guarded.queue.push(waiter, WaiterId::from_bits(0)),
                })
            }
        };
        self.serve(host);
        Some(drain)
    }

    /// Admits callers again after a drain. Returns `false` if the pool is closed.
    pub fn reopen(&self, host: &H) -> bool {
        self.reopen_while(host, || true)
    }

    /// Reopens as [`Pool::reopen`] does, if `still` returns `true`, which is called inside the
    /// queue lock; otherwise returns `false`.
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

    /// Admits no caller any more. Permits stay counted until they are given back.
    pub fn close(&self, host: &H) {
        {
            let mut guarded = lock(&self.guarded);
            guarded.status = Status::Closed;
            self.state.close();
        }
        self.serve(host);
    }

    /// Clears a closed pool that no caller can reach any more: gives back all that is held in it,
    /// in bounded pieces.
    ///
    /// Each piece looks at `most` entries, or up to 32 more. Returns the cursor to go on from,
    /// and `None` when no permit is held and no process waits. Only the deaths of processes may
    /// race with it.
    pub fn clear(&self, host: &H, from: Cursor, most: usize) -> Option<Cursor> {
        // Waiters may have lost the pool, too: each is told that it is closed.
        if !self.serve(host) {
            return Some(from);
        }
        let (looked_at, rest) = self.table.clear(from, most, |permits| {
            self.state.give(permits);
        });
        host.worked(looked_at * 2);
        // ORDERING: pairs with the fence in `ManyHolders::propose`: the entries are cleared
        // before the hint is loaded.
        fence(Ordering::SeqCst);
        if self.front.many_holders.is_set() {
            self.front.many_holders.clear();
        }
        rest
    }
}
