//! Failures of many keys, each counted for as long as they are young enough, in a fixed number of places.
//!
//! A place has the tag of its key and up to [`RUNS`] runs: when a failure came, to the ms, and how many at that time. So up to nine failures
//! are each counted for exactly as long as they count. Of more, two runs become one, with the time of the later. They are of the same *slot*, of which
//! there are seven in the time that failures count for: nine runs are of eight slots at most, so there are two such. So a failure counts for a seventh
//! longer at most: a ban may come a little early, never late.
//!
//! A key may be in any place of one row. If all of them are others', the one with the fewest failures makes room, the oldest of those. Rows are in shards
//! with a lock each, held for some 50 ns and for nothing that could wait.

use crate::keyed::scale;
use crate::reuse::OutOfMemory;
use crate::sync::{Mutex, lock};

const ROW: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };
const SHARDS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };
const RUNS: usize = 8;
const SLOTS: u32 = RUNS as u32 - 1;

/// So many failures at one time, in ms before the newest.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    age: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    tag: u64,
    /// When the newest run came.
    newest: u64,
    /// The newest first; those that are not in use have a count of 0.
    runs: [Run; RUNS],
}

#[derive(Debug)]
pub(super) struct Failures {
    shards: Vec<Mutex<Vec<Place>>>,
    rows: usize,
}

impl Place {
    /// Without what is too old to count at `now`.
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

    /// One more, now.
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

    /// Makes two runs one, and says where there is room then; `None`: the newest is to be one with what comes now.
    fn make_room(&mut self, within: u32) -> Option<usize> {
        let width = within.div_ceil(SLOTS);
        let slot = |age: u32| (self.newest - u64::from(age)) / u64::from(width);
        // How far the run is from the next newer, which for the newest is what comes now; those of one slot first.
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
    pub(super) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        // Two places for each, so that few rows are full.
        let rows = max_keys.checked_mul(2).ok_or(OutOfMemory)?.div_ceil(ROW);
        // All at once, if only to ask: each shard alone may be had where all of them may not.
        let mut probe = Vec::<Place>::new();
        probe.try_reserve_exact(rows * ROW).map_err(|_| OutOfMemory)?;
        drop(std::hint::black_box(probe));
        let shards = SHARDS.min(rows);
        let mut all = Vec::with_capacity(shards);
        for shard in 0..shards {
            let rows = (rows - shard).div_ceil(shards);
            let mut places = Vec::new();
            places.try_reserve_exact(rows * ROW).map_err(|_| OutOfMemory)?;
            // Written, and so had.
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

    /// Counts one more at `now`, in ms: how many there are within that time, this one included.
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
            // Of a clock that was read before another's.
            place.age_to(now.max(place.newest), within);
            place.add(within);
            place.count()
        })
    }

    /// How many there are at `now`, in ms, within that time.
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
