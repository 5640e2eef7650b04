//! Which entries hold something.

use super::cursor::Slot;
use super::entry::Entry;
use super::table::{SEGMENT, Table};
use crate::host::Pid;
use crate::sync::{AtomicU32, Ordering, fence};

/// Words of bits in a cache line.
pub(super) const BITS_IN_LINE: usize = 16;

impl Table {
    /// Which entries of each segment of a level are listed.
    pub(super) fn bits(&self, level: usize) -> &[AtomicU32] {
        match level {
            0 => std::slice::from_ref(&self.first_bits),
            _ => self.deeper[level - 1].row.get().map_or(&[], |row| &row.bits),
        }
    }

    fn active_count(&self, level: usize) -> &AtomicU32 {
        if level == 0 { &self.first_active } else { &self.deeper[level - 1].active }
    }

    /// Under the pid's lock.
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

    /// Takes an entry that holds nothing off the list, unless it begins to hold meanwhile.
    pub(crate) fn deactivate_if_idle(&self, pid: Pid, slot: Slot) {
        let _locked = self.lock(pid);
        let Some(entry) = self.entry(slot) else { return };
        if self.occupant(slot) != Some(pid) || !entry.is_active() {
            return;
        }
        entry.active.store(0, Ordering::Relaxed);
        // ORDERING: pairs with the fence in `Pool::take_as`: the process announces and then looks at `listed`,
        // we clear `listed` and then look for an announcement; one of us sees the other.
        fence(Ordering::SeqCst);
        if entry.held() > 0 {
            // ORDERING: as in `activate`.
            entry.active.store(1, Ordering::Release);
        } else {
            self.deactivate(slot);
        }
    }

    pub(super) fn deactivate(&self, slot: Slot) {
        let bits = &self.bits(slot.level())[slot.index() / SEGMENT];
        // ORDERING: Release, here and below, pairs with the Acquire in `each_active`.
        bits.fetch_and(!(1 << (slot.index() % SEGMENT)), Ordering::Release);
        // ORDERING: see above.
        self.active_count(slot.level()).fetch_sub(1, Ordering::Release);
    }

    /// Calls `see` with every listed entry, until it says false; how many cache lines were looked at to find them.
    #[inline]
    pub(crate) fn each_active(&self, mut see: impl FnMut(Slot, Pid, &Entry) -> bool) -> usize {
        let mut lines = 0;
        let used = self.used.load(Ordering::Relaxed) as usize;
        for level in 0..=used {
            // ORDERING: Acquire, here and below, pairs with the Release in `deactivate`: who finds a dead holder taken off the
            // list also finds its permits given back.
            if self.active_count(level).load(Ordering::Acquire) == 0 {
                continue;
            }
            for (at, bits) in self.bits(level).iter().enumerate() {
                lines += usize::from(at % BITS_IN_LINE == BITS_IN_LINE - 1);
                // ORDERING: see above.
                let mut bits = bits.load(Ordering::Acquire);
                if bits == 0 {
                    continue;
                }
                let Some(segment) = self.segment(level, at) else { continue };
                while bits != 0 {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    // ORDERING: as in `Segment::find`.
                    if let Some(pid) = Pid::new(segment.key(place).load(Ordering::Acquire))
                        && !see(Slot::new(level, at * SEGMENT + place), pid, &segment.entries[place])
                    {
                        return lines;
                    }
                }
            }
        }
        lines
    }
}
