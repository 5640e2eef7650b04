//! The failures of many keys within a window of time, counted in a fixed number of places.
//!
//! A place has the tag of its key and up to eight *runs* ([`RUNS`]). A run is a time, to the ms,
//! and the number of failures at that time. If at most nine failures ban a key, the ban comes at
//! exactly the right failure: only the ninth can need a ninth run, and the ninth bans the key.
//!
//! If a ban takes more failures, a failure that needs a ninth run merges two of the nine runs.
//! The merged run has the time of the later one. The window is as long as seven *slots*, and so
//! touches at most eight slots. By the pigeonhole principle two of nine runs share a slot, and
//! these two are merged. So a failure counts for at most a seventh of the window too long, and a
//! ban may come a little early. A ban comes late only if its key loses its place.
//!
//! A key can be in any place of one row. If all places are taken, a new key evicts a key whose
//! failures are all older than the window. If there is no such key, it evicts the key with the
//! fewest failures; of several, the one whose last failure is oldest.
//!
//! The rows are divided into shards, and each shard has a lock. A call for one key holds the lock
//! for about 50 ns, and does nothing that blocks meanwhile.

use crate::keyed::scale;
use crate::reuse::OutOfMemory;
use crate::sync::{Mutex, lock};

/// The number of places in a row.
const ROW: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };
/// The largest number of shards.
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };
/// The largest number of runs in a place.
const RUNS: usize = 8;
/// The number of slots that the window is divided into.
const SLOTS: u32 = RUNS as u32 - 1;

/// The failures at one time. `age` tells how many ms that time is before `newest` of the place.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    age: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The tag of the key; 0 if the place is empty.
    tag: u64,
    /// The time from which ages are measured, in ms: that of the newest failure, or of a later
    /// count.
    newest: u64,
    /// The runs, the newest first. A run with a count of 0 is not in use.
    runs: [Run; RUNS],
}

#[derive(Debug)]
pub(super) struct Failures {
    shards: Vec<Mutex<Vec<Place>>>,
    /// The number of rows in all shards.
    rows: usize,
}

impl Place {
    /// Makes `now`, in ms, the time from which ages are measured. Drops the runs that are
    /// `within` ms old or older.
    fn age_to(&mut self, now: u64, within: u32) {
        let passed = u32::try_from(now - self.newest).unwrap_or(u32::MAX);
        for run in &mut self.runs {
            run.age = run.age.saturating_add(passed);
            if run.age >= within {
                *run = Run::default();
            }
        }
        self.newest = now;
    }

    /// Adds a failure at the time `newest`, which [`Place::age_to`] has just set.
    fn add(&mut self, within: u32) {
        let used = self.runs.iter().take_while(|run| run.count > 0).count();
        let free = match used {
            1.. if self.runs[0].age == 0 => None,
            RUNS => self.make_room(within),
            used => Some(used),
        };
        if let Some(free) = free {
            self.runs.copy_within(0..free, 1);
            self.runs[0].count = 0;
        }
        self.runs[0] = Run { age: 0, count: self.runs[0].count.saturating_add(1) };
    }

    /// Merges two runs, and returns the index that becomes free. Returns `None`, and merges none,
    /// if the caller must merge the new failure with the newest run.
    fn make_room(&mut self, within: u32) -> Option<usize> {
        let width = within.div_ceil(SLOTS);
        let slot = |age: u32| (self.newest - u64::from(age)) / u64::from(width);
        // Each run is compared with the next newer one, and the newest run with the new failure.
        // A pair that shares a slot is merged first, and of such pairs the closest in time.
        let apart = |&at: &usize| {
            let (age, newer) = (self.runs[at].age, at.checked_sub(1).map_or(0, |newer| self.runs[newer].age));
            (slot(age) != slot(newer), age - newer)
        };
        let older = (0..RUNS).min_by_key(apart).filter(|&older| older > 0)?;
        self.runs[older - 1].count = self.runs[older - 1].count.saturating_add(self.runs[older].count);
        Some(older)
    }

    fn count(&self) -> u32 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.count))
    }

    /// Returns `true` if the place is empty, or all its failures are older than the window.
    fn is_over(&self, now: u64, within: u32) -> bool {
        self.tag == 0 || now.saturating_sub(self.newest) >= u64::from(within)
    }
}

impl Failures {
    /// The bytes for each of `max_keys`. All keys together take less than one row more, because
    /// the last row is filled up.
    pub(super) const KEY_MEMORY: usize = 2 * size_of::<Place>();

    pub(super) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        // Two places for each key, so that few rows are full.
        let rows = max_keys.checked_mul(2).ok_or(OutOfMemory)?.div_ceil(ROW);
        // The probe asks the allocator whether there is memory for all shards together, and is
        // freed at once. The shards are allocated one by one, and the allocator may grant each
        // one although there is no memory for all.
        let mut probe = Vec::<Place>::new();
        probe.try_reserve_exact(rows * ROW).map_err(|_| OutOfMemory)?;
        drop(std::hint::black_box(probe));
        let shards = SHARDS.min(rows);
        let mut all = Vec::with_capacity(shards);
        for shard in 0..shards {
            let rows = (rows - shard).div_ceil(shards);
            let mut places = Vec::new();
            places.try_reserve_exact(rows * ROW).map_err(|_| OutOfMemory)?;
            // All places are written now, so that the resident memory does not grow later, as
            // keys come.
            places.resize(rows * ROW, Place::default());
            all.push(Mutex::new(places));
        }
        Ok(Self { shards: all, rows })
    }

    pub(super) fn memory(&self) -> usize {
        self.rows * ROW * size_of::<Place>()
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            lock(shard).fill(Place::default());
        }
    }

    /// Calls `act` with the row of a key, under the lock of its shard.
    fn with_row<T>(&self, tag: u64, act: impl FnOnce(&mut [Place]) -> T) -> T {
        let row = scale(tag, self.rows);
        let mut shard = lock(&self.shards[row % self.shards.len()]);
        let begin = row / self.shards.len() * ROW;
        act(&mut shard[begin..begin + ROW])
    }

    /// Counts one more failure at `now`, in ms. Returns the number of failures in the last
    /// `within` ms, this one included.
    pub(super) fn add(&self, tag: u64, now: u64, within: u32) -> u32 {
        self.with_row(tag, |row| {
            let place = match row.iter().position(|place| place.tag == tag) {
                Some(at) => &mut row[at],
                None => {
                    let worth = |place: &Place| (!place.is_over(now, within), place.count(), place.newest);
                    let at = (0..ROW).min_by_key(|&at| worth(&row[at])).unwrap_or(0);
                    row[at] = Place { tag, newest: now, ..Place::default() };
                    &mut row[at]
                }
            };
            // Another caller may have read its clock later but added its failure first. The time
            // of a place must not go back.
            place.age_to(now.max(place.newest), within);
            place.add(within);
            place.count()
        })
    }

    /// Returns the number of failures in the last `within` ms before `now`, which is in ms.
    pub(super) fn count(&self, tag: u64, now: u64, within: u32) -> u32 {
        self.with_row(tag, |row| {
            row.iter_mut().find(|place| place.tag == tag).map_or(0, |place| {
                place.age_to(now.max(place.newest), within);
                place.count()
            })
        })
    }

    /// Forgets the failures of a key.
    pub(super) fn forget(&self, tag: u64) {
        self.with_row(tag, |row| {
            if let Some(place) = row.iter_mut().find(|place| place.tag == tag) {
                *place = Place::default();
            }
        });
    }
}
