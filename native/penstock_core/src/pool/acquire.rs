//! Acquires permits without waiting, and releases them.
//!
//! Each process has one entry in a pool, with two counts of its permits. Only the process itself
//! writes its *own* permits. It does so by plain stores, so that an acquire needs only one locked
//! instruction. Other processes credit *inbound* permits to the process, under the shard lock.
//! An admission is written into the entry in one of two ways:
//!
//! - The admitted process writes its own permits, executes a full barrier and calls
//!   [`Pool::record`]. It does so after an acquire, after a restart, and if it was about to park
//!   and found permits free.
//! - The process that serves the waiters calls [`Table::credit`](crate::holders::Table::credit).

use crate::holders::{Entry, Kind, Reason, elapsed_ms};
use crate::host::Pid;
use crate::sync::{Ordering, fence, fence_after_rmw};

use super::reap::Scan;
use super::{Pool, PoolHost};

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too few permits are free, the free permits are due to waiters, or the request exceeds the
    /// limit.
    Full,
    /// The pool is closed or draining.
    Closed,
    /// The call could not finish the scan for dead holders, or could not serve all waiters. The
    /// caller must ask again.
    Again,
}

/// The process holds fewer permits than the call names, so nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl<H: PoolHost> Pool<H> {
    /// Acquires `n` permits if they are free and no process waits. Otherwise returns `false`, and
    /// counts no refusal.
    #[inline(always)]
    pub fn take(&self, host: &H, me: Pid, n: u32, kind: Kind) -> bool {
        self.state.load().admits(n) && self.acquire(host, me, n, kind)
    }

    /// Acquires `n` permits without waiting. Before it refuses, it reaps dead holders and serves
    /// the waiters. Counts each refusal except [`Refusal::Again`], which only asks the caller to
    /// call again.
    #[inline(always)]
    pub fn try_acquire(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if self.take(host, me, n, kind) { Ok(()) } else { self.try_harder(host, me, n, kind) }
    }

    #[inline(never)]
    fn try_harder(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if self.state.load().closed() {
            self.count_refusal(me, Refusal::Closed);
            return Err(Refusal::Closed);
        }
        if !self.oversize(n) {
            match self.reap_dead(host) {
                Scan::Unfinished => return Err(Refusal::Again),
                // Tries again even if this scan reaped no holder: a concurrent call may have
                // reaped one.
                Scan::Done if self.take(host, me, n, kind) => return Ok(()),
                Scan::Done | Scan::Skipped => {}
            }
            if self.has_free(n) {
                return self.acquire_behind_waiters(host, me, n, kind);
            }
        }
        Err(self.refuse(me))
    }

    /// Returns why a request for `n` permits would be refused now. Takes nothing, and counts no
    /// refusal.
    ///
    /// Before the answer `Full` it reaps dead holders and serves the waiters, unless the caller
    /// `waits`: then the caller parks next, and parking does that work.
    pub fn look(&self, host: &H, n: u32, waits: bool) -> Result<(), Refusal> {
        let word = self.state.load();
        if word.admits(n) {
            return Ok(());
        }
        if !waits && !word.closed() && !self.oversize(n) {
            if self.reap_dead(host) == Scan::Unfinished || self.has_free(n) && !self.serve(host) {
                return Err(Refusal::Again);
            }
            if self.state.load().admits(n) {
                return Ok(());
            }
        }
        Err(if self.state.load().closed() { Refusal::Closed } else { Refusal::Full })
    }

    /// Returns `true` if the calling process holds at least `n` permits of `kind`.
    pub fn holds(&self, me: Pid, n: u32, kind: Kind) -> bool {
        self.entry_of(me)
            .is_some_and(|entry| entry.own(kind) >= u64::from(n) || self.fold(me, entry, kind) >= u64::from(n))
    }

    /// Returns `true` if `n` permits are free, even if they are due to waiters.
    fn has_free(&self, n: u32) -> bool {
        let word = self.state.load();
        !word.closed() && word.free() >= i64::from(n)
    }

    /// Serves the waiters, then acquires permits if no process waits any more.
    ///
    /// Permits can be free while the state word has the flag WAITERS, in three cases:
    ///
    /// - A process gave permits back, or raised the limit, and has not served all waiters yet.
    /// - A parking process has set WAITERS and has not taken the permits yet.
    /// - The waiter at the head of the queue asks for more permits than are free. Then `take`
    ///   fails.
    #[cold]
    fn acquire_behind_waiters(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if !self.serve(host) {
            return Err(Refusal::Again);
        }
        if self.take(host, me, n, kind) { Ok(()) } else { Err(self.refuse(me)) }
    }

    /// Counts a refusal. Returns its reason.
    fn refuse(&self, me: Pid) -> Refusal {
        let refusal = if self.state.load().closed() { Refusal::Closed } else { Refusal::Full };
        self.count_refusal(me, refusal);
        refusal
    }

    /// Counts a refusal of a caller, unless it is [`Refusal::Again`].
    pub fn count_refusal(&self, pid: Pid, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Full => Reason::Full,
            Refusal::Closed => Reason::Closed,
            Refusal::Again => return,
        };
        self.table.shard(pid).count_refusal(reason);
    }

    #[inline(always)]
    fn acquire(&self, host: &H, me: Pid, n: u32, kind: Kind) -> bool {
        match self.table.find(me) {
            Some(entry) => self.acquire_into(host, me, entry, n, kind),
            None => match self.insert(host, me) {
                Some(entry) => self.acquire_into(host, me, entry, n, kind),
                None => false,
            },
        }
    }

    #[inline(always)]
    fn acquire_into(&self, host: &H, me: Pid, entry: &Entry, n: u32, kind: Kind) -> bool {
        let limit = self.front.limit.load();
        let before = entry.own(kind);
        // The process announces the permits in its entry before the CAS in `State::take`. If a
        // scan for dead holders misses the announcement, the scan may remove the entry from the
        // active set. Then `record`, after the CAS and the fence, observes the removal and adds
        // the entry again. A refusal undoes the announcement.
        entry.set_own(kind, before + u64::from(n));
        match self.state.take(n) {
            Ok(left) => {
                // ORDERING: pairs with the fence in `Table::deactivate_if_idle`. The announcement
                // is stored before `record` loads whether the entry is active.
                fence_after_rmw();
                self.record(host, me, entry, kind, before);
                self.note_peak(limit, left);
                true
            }
            Err(_) => {
                entry.set_own(kind, before);
                // ORDERING: pairs with the fence in `ManyHolders::propose`. A scan may have
                // counted this process as a holder because of the announcement. So the process
                // clears the hint if it holds nothing.
                fence(Ordering::SeqCst);
                self.clear_hint_if_empty(entry);
                false
            }
        }
    }

    /// Records an admission of the calling process. The process has got the permits, and did not
    /// announce them in its entry before.
    pub(super) fn record_unannounced(&self, host: &H, me: Pid, entry: &Entry, n: u32, kind: Kind) {
        let before = entry.own(kind);
        entry.set_own(kind, before + u64::from(n));
        // ORDERING: pairs with the fence in `Table::deactivate_if_idle`. The permits are stored
        // in the entry before `record` loads whether the entry is active.
        fence(Ordering::SeqCst);
        self.record(host, me, entry, kind, before);
    }

    /// Completes an admission of the calling process. The process has raised its own permits of
    /// this kind from `before`, and then executed a full barrier.
    #[inline(always)]
    fn record(&self, host: &H, me: Pid, entry: &Entry, kind: Kind, before: u64) {
        self.hold(host, me, entry, kind, before);
        entry.count_admission(self.generation());
    }

    /// Adds the entry of the calling process to the active set. Stores the present time in the
    /// entry if the process held nothing before. The process has raised its own permits of this
    /// kind from `before`, and then executed a full barrier.
    #[inline(always)]
    pub(super) fn hold(&self, host: &H, me: Pid, entry: &Entry, kind: Kind, before: u64) {
        if !entry.is_active() {
            self.activate(me);
        }
        if before == 0 && entry.holds_only_own(kind) {
            entry.set_since(host.now_ms());
        }
    }

    #[cold]
    fn activate(&self, me: Pid) {
        let _locked = self.table.lock(me);
        if let Some(slot) = self.table.locate(me)
            && let Some(entry) = self.table.entry(slot)
        {
            self.table.activate(entry, slot);
        }
    }

    /// Inserts an entry for the calling process, and makes the host watch the process. Returns
    /// `None` if the host finds the process dead. That is not expected, because the process
    /// itself calls.
    #[cold]
    pub(super) fn insert(&self, host: &H, me: Pid) -> Option<&Entry> {
        let (entry, _, made) = {
            let _locked = self.table.lock(me);
            self.table.get_or_insert(me)
        };
        // The host is called outside the shard lock, because the host takes locks of its own.
        if made && !host.watch(self, me) {
            self.down(host, me);
            return None;
        }
        Some(entry)
    }

    /// Returns the entry of the calling process, if it has one.
    ///
    /// A look-up without a lock may miss an entry that another process has just inserted for the
    /// caller. So if it finds none, a second look-up takes the shard lock.
    #[inline(always)]
    pub(super) fn entry_of(&self, me: Pid) -> Option<&Entry> {
        match self.table.find(me) {
            Some(entry) => Some(entry),
            None => self.locked_entry_of(me),
        }
    }

    #[cold]
    fn locked_entry_of(&self, me: Pid) -> Option<&Entry> {
        let _locked = self.table.lock(me);
        self.table.find(me)
    }

    /// Clears the many-holders hint if the entry holds nothing any more. The caller has removed
    /// permits from the entry, and then executed a full fence.
    #[inline(always)]
    pub(super) fn clear_hint_if_empty(&self, entry: &Entry) {
        if self.front.many_holders.is_set() && entry.held() == 0 {
            self.front.many_holders.clear();
        }
    }

    /// Releases `n` permits of `kind` that the calling process holds.
    #[inline(always)]
    pub fn release(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), NotHeld> {
        let entry = self.entry_of(me).ok_or(NotHeld)?;
        self.debit(me, entry, n, kind)?;
        self.note_end_of_hold(host, entry, kind);
        self.give_back(host, entry, u64::from(n));
        Ok(())
    }

    /// Releases all bound permits of the calling process. The process calls this when the work
    /// that it was created for has ended.
    pub fn end_work(&self, host: &H, me: Pid) -> Result<(), NotHeld> {
        let entry = self.entry_of(me).ok_or(NotHeld)?;
        match self.fold(me, entry, Kind::Bound) {
            0 => Err(NotHeld),
            permits => {
                entry.set_own(Kind::Bound, 0);
                self.note_end_of_hold(host, entry, Kind::Bound);
                self.give_back(host, entry, permits);
                Ok(())
            }
        }
    }

    /// Counts the end of a hold if the calling process, which has removed permits of `kind` from its
    /// entry, holds none any more. Called before the permits are given back, as [`Holds`] requires.
    ///
    /// Another process may credit permits at this instant. If this call misses them, one hold ends
    /// here, and another begins with the credit. Otherwise the hold goes on.
    ///
    /// [`Holds`]: crate::meters::Holds
    #[inline(always)]
    pub(super) fn note_end_of_hold(&self, host: &H, entry: &Entry, kind: Kind) {
        if let Some(holds) = self.front.holds.get()
            && entry.own(kind) == 0
            && entry.holds_only_own(kind)
        {
            holds.observe(elapsed_ms(entry.since(), host.now_ms()));
        }
    }

    /// Frees permits that the calling process has removed from its `entry`. Serves the queue if
    /// the state word shows waiters, or that the pool is closed or draining.
    #[inline(always)]
    fn give_back(&self, host: &H, entry: &Entry, permits: u64) {
        let was = self.state.give(permits);
        // ORDERING: pairs with the fence in `ManyHolders::propose`. The permits are removed from
        // the entry before the hint is loaded.
        fence_after_rmw();
        self.clear_hint_if_empty(entry);
        if was.flagged() {
            self.serve(host);
        }
    }

    /// Removes `n` permits from the entry of the calling process. The function that calls this
    /// must then free the permits, or credit them to another entry.
    #[inline(always)]
    pub(super) fn debit(&self, me: Pid, entry: &Entry, n: u32, kind: Kind) -> Result<(), NotHeld> {
        if entry.own(kind) < u64::from(n) && self.fold(me, entry, kind) < u64::from(n) {
            return Err(NotHeld);
        }
        entry.set_own(kind, entry.own(kind) - u64::from(n));
        Ok(())
    }

    /// Adds the inbound permits of the calling process to its own. Returns the sum.
    #[cold]
    pub(super) fn fold(&self, me: Pid, entry: &Entry, kind: Kind) -> u64 {
        let _locked = self.table.lock(me);
        self.table.fold(entry, kind);
        entry.own(kind)
    }
}
