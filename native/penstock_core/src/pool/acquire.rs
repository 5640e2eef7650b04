//! Acquires permits without waiting, and releases them.

use crate::holders::{Entry, Kind};
use crate::host::Pid;
use crate::sync::{Ordering, fence, fence_after_rmw};

use super::reap::Looked;
use super::{Pool, PoolHost};

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No permit is free, or more are asked than there are.
    Full,
    /// Nobody is admitted any more.
    Closed,
    /// There is more to look at than one call may; ask again.
    Again,
}

/// The process does not hold that many; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl<H: PoolHost> Pool<H> {
    /// Takes `n` permits if they are free, and says no at once if not: for who would wait then.
    #[inline(always)]
    pub fn take(&self, host: &H, me: Pid, n: u32, kind: Kind) -> bool {
        self.state.load().admits(n) && self.take_as(host, me, n, kind)
    }

    /// Takes `n` permits if they are free, after a look for dead holders if they are not. A no is counted.
    #[inline(always)]
    pub fn try_acquire(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if self.take(host, me, n, kind) { Ok(()) } else { self.try_harder(host, me, n, kind) }
    }

    #[inline(never)]
    fn try_harder(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if self.state.load().closed() {
            self.table.shard(me).rejected.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal::Closed);
        }
        if !self.oversize(n) {
            match self.look_for_dead(host) {
                Looked::Unfinished => return Err(Refusal::Again),
                // Once more even if this look found nobody: another may have, at the same time.
                Looked::All if self.take(host, me, n, kind) => return Ok(()),
                Looked::All | Looked::Nothing => {}
            }
            if self.left_over(n) {
                return self.take_after_waiters(host, me, n, kind);
            }
        }
        Err(self.refuse(me))
    }

    /// Whether permits are free that waiters stand before.
    fn left_over(&self, n: u32) -> bool {
        let word = self.state.load();
        !word.closed() && word.free() >= i64::from(n)
    }

    /// Permits came back and those who wait have not been served yet, or one parks at this moment and will not have
    /// to: what they leave is the caller's.
    #[cold]
    fn take_after_waiters(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), Refusal> {
        if !self.settle(host) {
            return Err(Refusal::Again);
        }
        if self.take(host, me, n, kind) { Ok(()) } else { Err(self.refuse(me)) }
    }

    fn refuse(&self, me: Pid) -> Refusal {
        self.table.shard(me).rejected.fetch_add(1, Ordering::Relaxed);
        if self.state.load().closed() { Refusal::Closed } else { Refusal::Full }
    }

    #[inline(always)]
    fn take_as(&self, host: &H, me: Pid, n: u32, kind: Kind) -> bool {
        match self.table.find(me) {
            Some(entry) => self.take_in(host, me, entry, n, kind),
            None => match self.enrol(host, me) {
                Some(entry) => self.take_in(host, me, entry, n, kind),
                None => false,
            },
        }
    }

    #[inline(always)]
    fn take_in(&self, host: &H, me: Pid, entry: &Entry, n: u32, kind: Kind) -> bool {
        let limit = self.front.limit.load();
        let before = entry.own(kind);
        // Announced before it is taken: a look that sees nothing here takes the entry off the list, and the
        // exchange is the barrier after which we look whether it did. A refused announcement is withdrawn.
        entry.set_own(kind, before + u64::from(n));
        match self.state.take(n) {
            Ok(left) => {
                fence_after_rmw();
                if !entry.is_listed() {
                    self.list(me);
                }
                if before == 0 && entry.holds_only_own(kind) {
                    entry.set_since(host.now_ms());
                }
                entry.count_admission(self.epoch());
                self.note_peak(limit, left);
                true
            }
            Err(_) => {
                entry.set_own(kind, before);
                // ORDERING: a look may have counted the announcement; see crowd.rs.
                fence(Ordering::SeqCst);
                self.left(entry);
                false
            }
        }
    }

    /// What an admission by the pool's own hand leaves in the entry. By the process itself.
    pub(super) fn took(&self, host: &H, me: Pid, entry: &Entry, n: u32, kind: Kind) {
        self.keep(host, me, entry, u64::from(n), kind);
        entry.count_admission(self.epoch());
    }

    /// Puts permits that are nobody's into the entry of the calling process.
    pub(super) fn keep(&self, host: &H, me: Pid, entry: &Entry, permits: u64, kind: Kind) {
        if entry.held() == 0 {
            entry.set_since(host.now_ms());
        }
        entry.set_own(kind, entry.own(kind) + permits);
        // ORDERING: pairs with the fence in `Table::unlist_idle`, as in `take_in`.
        fence(Ordering::SeqCst);
        if !entry.is_listed() {
            self.list(me);
        }
    }

    #[cold]
    fn list(&self, me: Pid) {
        let _locked = self.table.lock(me);
        if let Some(slot) = self.table.locate(me)
            && let Some(entry) = self.table.entry(slot)
        {
            self.table.list(entry, slot);
        }
    }

    /// An entry for the calling process, watched. `None` if it is dead, which no caller is.
    #[cold]
    pub(super) fn enrol(&self, host: &H, me: Pid) -> Option<&Entry> {
        let (entry, _, made) = {
            let _locked = self.table.lock(me);
            self.table.claim(me)
        };
        // Not under the lock: watching is the host's affair, and takes locks of its own.
        if made && !host.watch(self, me) {
            self.down(host, me);
            return None;
        }
        Some(entry)
    }

    /// The entry of the calling process, looked for under the lock if another may just have made it.
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

    /// Wipes the crowd hint if the entry holds nothing any more. After a full fence.
    #[inline(always)]
    pub(super) fn left(&self, entry: &Entry) {
        if self.front.crowd.watched() && entry.held() == 0 {
            self.front.crowd.someone_left();
        }
    }

    /// Gives back `n` of the calling process' permits of that kind.
    #[inline(always)]
    pub fn release(&self, host: &H, me: Pid, n: u32, kind: Kind) -> Result<(), NotHeld> {
        let entry = self.entry_of(me).ok_or(NotHeld)?;
        self.withdraw(me, entry, n, kind)?;
        self.returned(host, entry, u64::from(n));
        Ok(())
    }

    /// The work of the calling process, for which it was created, is over: gives back all its bound permits. It has no other
    /// work then.
    pub fn end_work(&self, host: &H, me: Pid) -> Result<(), NotHeld> {
        let entry = self.entry_of(me).ok_or(NotHeld)?;
        match self.fold(me, entry, Kind::Bound) {
            0 => Err(NotHeld),
            permits => {
                entry.set_own(Kind::Bound, 0);
                self.returned(host, entry, permits);
                Ok(())
            }
        }
    }

    /// Permits that are in no entry any more become free.
    #[inline(always)]
    fn returned(&self, host: &H, entry: &Entry, permits: u64) {
        let was = self.state.give(permits);
        fence_after_rmw();
        self.left(entry);
        if was.flagged() {
            self.settle(host);
        }
    }

    /// Takes `n` permits out of the caller's entry, before they become another's.
    #[inline(always)]
    pub(super) fn withdraw(&self, me: Pid, entry: &Entry, n: u32, kind: Kind) -> Result<(), NotHeld> {
        if entry.own(kind) < u64::from(n) && self.fold(me, entry, kind) < u64::from(n) {
            return Err(NotHeld);
        }
        entry.set_own(kind, entry.own(kind) - u64::from(n));
        Ok(())
    }

    /// Makes what others gave the process its own; what it has of its own then. By the process itself.
    #[cold]
    pub(super) fn fold(&self, me: Pid, entry: &Entry, kind: Kind) -> u64 {
        let _locked = self.table.lock(me);
        self.table.fold(entry, kind);
        entry.own(kind)
    }
}
