//! Failures of many keys, each counted while it is young enough, in a fixed number of places.
//!
//! A place has the tag of its key and up to [`RUNS`] runs: when a failure came, to the ms, and
//! how many came at that time. So up to nine failures are each counted exactly. Of more, two runs
//! are merged, with the time of the later. The window is divided into seven *slots*. Nine runs
//! span at most eight of them, so by the pigeonhole principle two runs share a slot; those are
//! merged. So a failure counts for at most a seventh longer: a ban may come a little early, never
//! late.
//!
//! A key may be in any place of one row. If all of them are taken, the place with the fewest
//! failures makes room, and of those the oldest. Rows are in shards with a lock each, held for
//! some 50 ns and while nothing blocks.

use crate::keyed::scale;
use crate::reuse::OutOfMemory;
use crate::sync::{Mutex, lock};

const ROW: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };
const RUNS: usize = 8;
const SLOTS: u32 = RUNS as u32 - 1;

/// Failures at one time: its age, in ms before the newest run, and their number.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    age: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    tag: u64,
    /// When the newest run came, in ms.
    newest: u64,
    /// The newest first; a run with a count of 0 is not in use.
    runs: [Run; RUNS],
}

#[derive(Debug)]
pub(super) struct Failures {
    shards: Vec<Mutex<Vec<Place>>>,
    rows: usize,
}

impl Place {
    /// Moves the place to `now`, without the runs that are too old to count then.
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

    /// Adds a failure at the time of the newest run.
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

    /// Merges two runs and returns the index that is free then; `None` if the newest run is to be
    /// merged with the failure that comes now.
    fn make_room(&mut self, within: u32) -> Option<usize> {
        let width = within.div_ceil(SLOTS);
        let slot = |age: u32| (self.newest - u64::from(age)) / u64::from(width);
        // Orders runs by the distance to the next newer one, which for the newest is the failure
        // that comes now; those that share a slot come first.
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

    fn is_over(&self, now: u64, within: u32) -> bool {
        self.tag == 0 || now.saturating_sub(self.newest) >= u64::from(within)
    }
}

impl Failures {
    /// The bytes for each of `max_keys`, without the rest of the last row.
    pub(super) const KEY_MEMORY: usize = 2 * size_of::<Place>();

    pub(super) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        // Two places for each key, so that few rows are full.
        let rows = max_keys.checked_mul(2).ok_or(OutOfMemory)?.div_ceil(ROW);
        // All at once, only to ask: there may be memory for each shard but not for all of them.
        let mut probe = Vec::<Place>::new();
        probe.try_reserve_exact(rows * ROW).map_err(|_| OutOfMemory)?;
        drop(std::hint::black_box(probe));
        let shards = SHARDS.min(rows);
        let mut all = Vec::with_capacity(shards);
        for shard in 0..shards {
            let rows = (rows - shard).div_ceil(shards);
            let mut places = Vec::new();
            places.try_reserve_exact(rows * ROW).map_err(|_| OutOfMemory)?;
            // Written now, so that no memory is only reserved.
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

    fn with_row<T>(&self, tag: u64, act: impl FnOnce(&mut [Place]) -> T) -> T {
        let row = scale(tag, self.rows);
        let mut shard = lock(&self.shards[row % self.shards.len()]);
        let begin = row / self.shards.len() * ROW;
        act(&mut shard[begin..begin + ROW])
    }

    /// Counts one more failure at `now`, in ms. Returns how many there are within that time, this
    /// one included.
    pub(super) fn add(&self, tag: u64, now: u64, within: u32) -> u32 {
        self.with_row(tag, |row| {
            let place = match row.iter().position(|place| place.tag == tag) {
                Some(at) => &mut row[at],
                None => {
                    let oldest = |place: &Place| (!place.is_over(now, within), place.count(), place.newest);
                    let at = (0..ROW).min_by_key(|&at| oldest(&row[at])).unwrap_or(0);
                    row[at] = Place { tag, newest: now, ..Place::default() };
                    &mut row[at]
                }
            };
            // The clock may have been read before another caller's.
            place.age_to(now.max(place.newest), within);
            place.add(within);
            place.count()
        })
    }

    /// Returns how many failures there are at `now`, in ms, within that time.
    pub(super) fn count(&self, tag: u64, now: u64, within: u32) -> u32 {
        self.with_row(tag, |row| {
            row.iter_mut().find(|place| place.tag == tag).map_or(0, |place| {
                place.age_to(now.max(place.newest), within);
                place.count()
            })
        })
    }

    pub(super) fn forget(&self, tag: u64) {
        self.with_row(tag, |row| {
            if let Some(place) = row.iter_mut().find(|place| place.tag == tag) {
                *place = Place::default();
            }
        });
    }
}
