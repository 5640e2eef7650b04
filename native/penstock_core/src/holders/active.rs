//! The active set: one bit for each entry of the table. The bit is set if the entry may hold
//! permits. A level of the table is an array of segments, and each segment has one word of bits.

use super::cursor::Slot;
use super::entry::Entry;
use super::table::{SEGMENT, Table};
use crate::host::Pid;
use crate::sync::{AtomicU32, Ordering, fence};

/// The number of words of the active set in a cache line. A word has the bits of one segment.
pub(super) const BITS_IN_LINE: usize = 16;

impl Table {
    /// Returns the bits of a level, a word for each segment.
    pub(super) fn bits(&self, level: usize) -> &[AtomicU32] {
        match level {
            0 => std::slice::from_ref(&self.first_bits),
            _ => self.deeper[level - 1].row.get().map_or(&[], |row| &row.bits),
        }
    }

    /// Returns the number of active entries of a level.
    fn active_count(&self, level: usize) -> &AtomicU32 {
        if level == 0 { &self.first_active } else { &self.deeper[level - 1].active }
    }

    /// Adds an entry to the active set. Called under the pid's shard lock.
    pub(crate) fn activate(&self, entry: &Entry, slot: Slot) {
        if entry.is_active() {
            return;
        }
        self.active_count(slot.level()).fetch_add(1, Ordering::Relaxed);
        let bits = &self.bits(slot.level())[slot.index() / SEGMENT];
        bits.fetch_or(1 << (slot.index() % SEGMENT), Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `Entry::is_active`.
        entry.active.store(1, Ordering::Release);
    }

    /// Removes an entry that holds nothing from the active set, unless its process begins to hold
    /// permits meanwhile.
    pub(crate) fn deactivate_if_idle(&self, pid: Pid, slot: Slot) {
        let _locked = self.lock(pid);
        let Some(entry) = self.entry(slot) else { return };
        if self.occupant(slot) != Some(pid) || !entry.is_active() {
            return;
        }
        entry.active.store(0, Ordering::Relaxed);
        // ORDERING: pairs with the barrier before `Pool::hold` (store buffering). The process
        // stores its permits and then loads `active`. This call clears `active` and then loads
        // the permits. At least one observes the other. So if the process holds permits, it or
        // this call makes the entry active again.
        fence(Ordering::SeqCst);
        if entry.held() > 0 {
            // ORDERING: Release pairs with the Acquire in `Entry::is_active`, as in `activate`.
            entry.active.store(1, Ordering::Release);
        } else {
            self.deactivate(slot);
        }
    }

    /// Removes an entry from the active set. Called under the pid's shard lock.
    pub(super) fn deactivate(&self, slot: Slot) {
        let bits = &self.bits(slot.level())[slot.index() / SEGMENT];
        // ORDERING: this Release and the next one pair with the Acquires in `each_active`. Both
        // publish that the permits of a dead holder were given back.
        bits.fetch_and(!(1 << (slot.index() % SEGMENT)), Ordering::Release);
        // ORDERING: Release, as argued above.
        self.active_count(slot.level()).fetch_sub(1, Ordering::Release);
    }

    /// Calls `visit` with each active entry, until `visit` returns `false`. Returns the number of
    /// whole cache lines of the active set that this call read.
    #[inline]
    pub(crate) fn each_active(&self, mut visit: impl FnMut(Slot, Pid, &Entry) -> bool) -> usize {
        let mut lines = 0;
        // Relaxed: `used` only bounds the loop, and each level publishes its own memory. An
        // insertion that happens before this call is seen. A concurrent insertion may be missed,
        // as if its process had come later.
        let used = self.used.load(Ordering::Relaxed) as usize;
        for level in 0..=used {
            // ORDERING: this Acquire and that of the bits pair with the Releases in `deactivate`.
            // A caller that finds a dead holder inactive also observes that the permits of this
            // holder were given back.
            if self.active_count(level).load(Ordering::Acquire) == 0 {
                continue;
            }
            for (at, bits) in self.bits(level).iter().enumerate() {
                lines += usize::from(at % BITS_IN_LINE == BITS_IN_LINE - 1);
                // ORDERING: Acquire, as argued above.
                let mut bits = bits.load(Ordering::Acquire);
                if bits == 0 {
                    continue;
                }
                let Some(segment) = self.segment(level, at) else { continue };
                while bits != 0 {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    // ORDERING: Acquire, as in `Segment::find`.
                    if let Some(pid) = Pid::new(segment.key(place).load(Ordering::Acquire))
                        && !visit(Slot::new(level, at * SEGMENT + place), pid, &segment.entries[place])
                    {
                        return lines;
                    }
                }
            }
        }
        lines
    }
}
