//! Acquires permits without waiting, and releases them.
//!
//! A process alone writes its *own* permits, by plain stores: that keeps an acquire at one locked
//! instruction. Another process credits *inbound* permits under the lock of the entry. So an
//! admission is written in one of two ways, by which process writes it:
//!
//! - The calling process writes its own permits, executes a full barrier and calls
//!   [`Pool::record`]. It does so for an acquire that does not wait, and for permits found free
//!   when it parks.
//! - The process that serves the waiters calls [`Table::credit`](crate::holders::Table::credit).

use crate::holders::{Entry, Kind};
use crate::host::Pid;
use crate::sync::{Ordering, fence, fence_after_rmw};

use super::reap::Scan;
use super::{Pool, PoolHost};

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too few permits are free, or the request exceeds the limit.
    Full,
    /// The pool admits no process any more.
    Closed,
    /// The scan for dead holders, or the service of waiters, exceeds one call; the caller must ask
    /// again.
    Again,
}

/// The process holds fewer permits than that; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl<H: PoolHost> Pool<H> {
    /// Acquires `n` permits if they are free; refuses at once otherwise, without counting that.
    #[inline(always)]
    pub fn take(&self, host: &H, me: Pid, n: u32, kind: Kind) -> bool {
        self.state.load().admits(n) && self.acquire(host, me, n, kind)
    }

    /// Acquires `n` permits if they are free, after a scan for dead holders if they are not. A
    /// refusal is counted.
    #[inline(always)]
    pub fn try_acquire(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if self.take(host, me, n, kind) { Ok(()) } else { self.try_harder(host, me, n, kind) }
    }

    #[inline(never)]
    fn try_harder(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if self.state.load().closed() {
            self.count_refusal(me);
            return Err(Refusal::Closed);
        }
        if !self.oversize(n) {
            match self.reap_dead(host) {
                Scan::Unfinished => return Err(Refusal::Again),
                // Once more even if this scan found no dead holder: a concurrent scan may have.
                Scan::Done if self.take(host, me, n, kind) => return Ok(()),
                Scan::Done | Scan::Skipped => {}
            }
            if self.has_free(n) {
                return self.acquire_behind_waiters(host, me, n, kind);
            }
        }
        Err(self.refuse(me))
    }

    /// Returns `true` if `n` permits are free, although waiters may have a claim to them first.
    fn has_free(&self, n: u32) -> bool {
        let word = self.state.load();
        !word.closed() && word.free() >= i64::from(n)
    }

    /// Serves the waiters, and acquires what they leave.
    ///
    /// Permits came back and the waiters have not been served yet; or a process is parking at
    /// this moment, and will find permits that are free.
    #[cold]
    fn acquire_behind_waiters(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if !self.serve(host) {
            return Err(Refusal::Again);
        }
        if self.take(host, me, n, kind) { Ok(()) } else { Err(self.refuse(me)) }
    }

    fn refuse(&self, me: Pid) -> Refusal {
        self.count_refusal(me);
        if self.state.load().closed() { Refusal::Closed } else { Refusal::Full }
    }

    pub(super) fn count_refusal(&self, pid: Pid) {
        self.table.shard(pid).rejected.fetch_add(1, Ordering::Relaxed);
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
        // Announced before the exchange. A scan that misses the announcement deactivates the
        // entry; the exchange is the barrier after which `record` checks for that. A refusal
        // withdraws it.
        entry.set_own(kind, before + u64::from(n));
        match self.state.take(n) {
            Ok(left) => {
                fence_after_rmw();
                self.record(host, me, entry, kind, before);
                self.note_peak(limit, left);
                true
            }
            Err(_) => {
                entry.set_own(kind, before);
                // ORDERING: pairs with the fence in `ManyHolders::propose`: a scan may have
                // counted the announcement.
                fence(Ordering::SeqCst);
                self.clear_hint_if_empty(entry);
                false
            }
        }
    }

    /// Records an admission that the calling process has taken from the state word but not
    /// announced.
    pub(super) fn record_unannounced(&self, host: &H, me: Pid, entry: &Entry, n: u32, kind: Kind) {
        let before = entry.own(kind);
        entry.set_own(kind, before + u64::from(n));
        // ORDERING: pairs with the fence in `Table::deactivate_if_idle`, as in `acquire_into`.
        fence(Ordering::SeqCst);
        self.record(host, me, entry, kind, before);
    }

    /// Completes an admission whose permits are among the process' own, after a full barrier.
    /// `before` is what they were before it.
    #[inline(always)]
    fn record(&self, host: &H, me: Pid, entry: &Entry, kind: Kind, before: u64) {
        self.hold(host, me, entry, kind, before);
        entry.count_admission(self.generation());
    }

    /// Has the entry count as that of a holder, after a full barrier that follows the store of
    /// the process' own permits.
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

    /// Inserts an entry for the calling process, and has its death watched. Returns `None` if the
    /// process is dead, which no caller is.
    #[cold]
    pub(super) fn insert(&self, host: &H, me: Pid) -> Option<&Entry> {
        let (entry, _, made) = {
            let _locked = self.table.lock(me);
            self.table.get_or_insert(me)
        };
        // Outside the lock, as the host takes locks of its own to watch.
        if made && !host.watch(self, me) {
            self.down(host, me);
            return None;
        }
        Some(entry)
    }

    /// Returns the entry of the calling process; looks again under the lock, as another process
    /// may have just inserted it.
    #[inline(always)]
    pub(super) fn entry_of(&self, me: Pid) -> Option<&Entry> {
        match self.table.find(me) {
            Some(entry) => Some(entry),
            None => self.entry_for_sure(me),
        }
    }

    #[cold]
    fn entry_for_sure(&self, me: Pid) -> Option<&Entry> {
        let _locked = self.table.lock(me);
        self.table.find(me)
    }

    /// Withdraws the many-holders hint if the entry holds nothing any more. After a full fence.
    #[inline(always)]
    pub(super) fn clear_hint_if_empty(&self, entry: &Entry) {
        if self.front.many_holders.is_set() && entry.held() == 0 {
            self.front.many_holders.clear();
        }
    }

    /// Releases `n` permits of the calling process of that kind.
    #[inline(always)]
    pub fn release(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), NotHeld> {
        let entry = self.entry_of(me).ok_or(NotHeld)?;
        self.debit(me, entry, n, kind)?;
        self.give_back(host, entry, u64::from(n));
        Ok(())
    }

    /// Releases all bound permits of the calling process, as the work that it was created for is
    /// over; it has no other work then.
    pub fn end_work(&self, host: &H, me: Pid) -> Result<(), NotHeld> {
        let entry = self.entry_of(me).ok_or(NotHeld)?;
        match self.fold(me, entry, Kind::Bound) {
            0 => Err(NotHeld),
            permits => {
                entry.set_own(Kind::Bound, 0);
                self.give_back(host, entry, permits);
                Ok(())
            }
        }
    }

    /// Makes permits free that no entry holds any more.
    #[inline(always)]
    fn give_back(&self, host: &H, entry: &Entry, permits: u64) {
        let was = self.state.give(permits);
        fence_after_rmw();
        self.clear_hint_if_empty(entry);
        if was.flagged() {
            self.serve(host);
        }
    }

    /// Removes `n` permits from the entry of the calling process, before they become another's.
    #[inline(always)]
    pub(super) fn debit(&self, me: Pid, entry: &Entry, n: u32, kind: Kind) -> Result<(), NotHeld> {
        if entry.own(kind) < u64::from(n) && self.fold(me, entry, kind) < u64::from(n) {
            return Err(NotHeld);
        }
        entry.set_own(kind, entry.own(kind) - u64::from(n));
        Ok(())
    }

    /// Makes the inbound permits of the calling process its own; returns how many it has then.
    #[cold]
    pub(super) fn fold(&self, me: Pid, entry: &Entry, kind: Kind) -> u64 {
        let _locked = self.table.lock(me);
        self.table.fold(entry, kind);
        entry.own(kind)
    }
}
