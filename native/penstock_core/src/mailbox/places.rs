//! A table from pids to values that are reused and never freed. To find the value of a pid takes no
//! lock.
//!
//! The hash of a pid leads to one bucket in each level. A level is allocated when the buckets of
//! the levels before it are full, and a bucket when its first pid comes. Neither ever moves. The
//! first level is in the table itself, so that nearly all look-ups are short.

use once_cell::race::OnceBox;

use crate::host::Pid;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};

/// The number of pids in a bucket. Their keys share a cache line.
const LANES: usize = if cfg!(loom) { 1 } else { 8 };
/// The number of levels. The last has places for two million pids.
const LEVELS: usize = if cfg!(loom) { 2 } else { 5 };
/// The number of buckets, one after another, that a pid may be in on the last level. On the others it
/// may be in one.
const LAST_BUCKETS: usize = if cfg!(loom) { 1 } else { 64 };

/// The number of buckets in the first level.
const FIRST: usize = if cfg!(loom) { 1 } else { 64 };

/// Returns the number of buckets in a level, a power of two.
const fn buckets(level: usize) -> usize {
    if cfg!(loom) { 1 } else { FIRST << (3 * level) }
}

#[repr(align(64))]
struct Bucket<T> {
    /// The pid of each lane, as a word; 0 marks a free one.
    keys: [AtomicU64; LANES],
    values: [T; LANES],
}

impl<T> Bucket<T> {
    #[inline(always)]
    fn find(&self, pid: Pid) -> Option<Place<'_, T>> {
        // ORDERING: Acquire pairs with the AcqRel of the CAS in `get_or_insert`, which comes after
        // the Release of `free`. So the caller reads nothing of an earlier pid.
        let lane = (0..LANES).find(|&lane| self.keys[lane].load(Ordering::Acquire) == pid.word())?;
        Some(Place { pid, key: &self.keys[lane], value: &self.values[lane] })
    }
}

#[inline(always)]
fn bucket_in(level: usize, pid: Pid) -> usize {
    pid.hash() as usize & (buckets(level) - 1)
}

/// Returns the buckets of a level, other than the first, that a pid may be in.
fn buckets_in(level: usize, pid: Pid) -> impl Iterator<Item = usize> {
    let count = if level == LEVELS - 1 { LAST_BUCKETS } else { 1 };
    let first = bucket_in(level, pid);
    (0..count).map(move |next| (first + next) & (buckets(level) - 1))
}

/// The table.
pub(super) struct Places<T> {
    first: [OnceBox<Bucket<T>>; FIRST],
    deeper: [OnceBox<Vec<OnceBox<Bucket<T>>>>; LEVELS - 1],
    /// The number of deeper levels in use, which never falls.
    used: AtomicU32,
    /// Held by a call that inserts a pid.
    inserting: Mutex<()>,
}

/// The value of a pid, and the key that says that it is still the value of this pid.
pub(super) struct Place<'a, T> {
    pid: Pid,
    key: &'a AtomicU64,
    pub(super) value: &'a T,
}

impl<T> Place<'_, T> {
    /// Returns `true` if the place is still that of the pid. If so, all that the caller read of the
    /// value before, by Acquire, is of the present pid or of an earlier one.
    #[inline(always)]
    pub(super) fn stands(&self) -> bool {
        // The key of a place changes from a pid to 0, and later to another pid. So if it is the
        // pid before and after a load, it was the pid in between.
        self.key.load(Ordering::Relaxed) == self.pid.word()
    }

    /// Frees the place. The caller must have ended all use of the value by its own means.
    pub(super) fn free(&self) {
        // ORDERING: Release pairs with the Acquire of the CAS in `get_or_insert`: the next pid finds
        // the value as this one left it.
        self.key.store(0, Ordering::Release);
    }
}

impl<T> Places<T> {
    #[cfg(not(any(loom, shuttle)))]
    pub(super) const fn new() -> Self {
        Self {
            first: [const { OnceBox::new() }; FIRST],
            deeper: [const { OnceBox::new() }; LEVELS - 1],
            used: AtomicU32::new(0),
            inserting: Mutex::new(()),
        }
    }

    #[cfg(any(loom, shuttle))]
    pub(super) fn new() -> Self {
        Self {
            first: std::array::from_fn(|_| OnceBox::new()),
            deeper: std::array::from_fn(|_| OnceBox::new()),
            used: AtomicU32::new(0),
            inserting: Mutex::new(()),
        }
    }

    /// Returns the place of a pid. It may miss one that is being inserted.
    #[inline]
    pub(super) fn find(&self, pid: Pid) -> Option<Place<'_, T>> {
        let bucket = self.first[bucket_in(0, pid)].get();
        bucket.and_then(|bucket| bucket.find(pid)).or_else(|| self.find_deeper(pid))
    }

    #[cold]
    fn find_deeper(&self, pid: Pid) -> Option<Place<'_, T>> {
        // ORDERING: Acquire pairs with the Release in `get_or_insert`; publishes the level.
        let used = self.used.load(Ordering::Acquire) as usize;
        (1..=used).find_map(|level| {
            let row = self.deeper[level - 1].get()?;
            buckets_in(level, pid).find_map(|at| row[at].get()?.find(pid))
        })
    }
}

impl<T: Default> Places<T> {
    /// Returns the place of a pid, which is inserted if there is none; `None` if the table is full.
    pub(super) fn get_or_insert(&self, pid: Pid) -> Option<Place<'_, T>> {
        let _inserting = lock(&self.inserting);
        if let Some(place) = self.find(pid) {
            return Some(place);
        }
        self.insert(&self.first[bucket_in(0, pid)], pid).or_else(|| {
            (1..LEVELS).find_map(|level| {
                let row = self.deeper[level - 1]
                    .get_or_init(|| Box::new((0..buckets(level)).map(|_| OnceBox::new()).collect()));
                // ORDERING: Release pairs with the Acquire in `find_deeper`.
                self.used.fetch_max(level as u32, Ordering::Release);
                buckets_in(level, pid).find_map(|at| self.insert(&row[at], pid))
            })
        })
    }

    /// Inserts a pid into a bucket, which is made if need be; returns `None` if it is full.
    fn insert<'a>(&self, bucket: &'a OnceBox<Bucket<T>>, pid: Pid) -> Option<Place<'a, T>> {
        let bucket = bucket.get_or_init(|| {
            Box::new(Bucket {
                keys: std::array::from_fn(|_| AtomicU64::new(0)),
                values: std::array::from_fn(|_| T::default()),
            })
        });
        // ORDERING: Acquire pairs with the Release in `free`. Release publishes the key, and pairs with
        // the Acquire in `find`.
        let lane = (0..LANES).find(|&lane| {
            bucket.keys[lane].compare_exchange(0, pid.word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        Some(Place { pid, key: &bucket.keys[lane], value: &bucket.values[lane] })
    }
}
