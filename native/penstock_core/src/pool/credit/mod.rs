//! Sharded credit: a state of a pool with one word per scheduler. It is a prototype, which no
//! pool uses. `guides/performance.md` has its figures.
//!
//! All acquires and releases of a pool write its one [state word](super::state), whose cache line
//! moves between the cores. Here a scheduler takes permits from a word of its own, a *shard*, and
//! gives them back there. The free permits of a shard are its *credit*. All other free permits
//! are in the central word.
//!
//! ```text
//! central word
//!  63                                      3    2        1         0
//! +-----------------------------------------+--------+--------+---------+
//! | free permits outside of shards, signed  | SPREAD | CLOSED | WAITERS |
//! +-----------------------------------------+--------+--------+---------+
//!
//! word of a shard
//!  63                        32 31                                 0
//! +----------------------------+------------------------------------+
//! | credit                     | the credit up to which it collects |
//! +----------------------------+------------------------------------+
//!
//! SPREAD CLOSED WAITERS | free permits are     | take of n            | give of n
//! ----------------------+----------------------+----------------------+-----------------------
//!   0      0      0     | in the central word  | central, or refused; | central
//!                       |                      | may refill its shard |
//!   0      0      1     | in the central word  | refused              | central, serves waiters
//!   0      1     any    | in the central word  | refused              | central, serves drainers
//!   1      0      0     | anywhere             | own shard; central;  | own shard up to its
//!                       |                      | or recalls, decides  | most; central
//! ```
//!
//! - A *refill* moves a batch of permits from the central word to one shard. It sets SPREAD.
//! - A *recall* moves the credit of all shards to the central word, and clears SPREAD. A shard
//!   whose word is 0 is *recalled*: it has no credit, and collects none until its next refill.
//!
//! Both have the lock. So at each instant the central word, all credits, the permits held, and
//! those that a refill or recall moves at present add up to the limit. Permits move only while
//! SPREAD is set.
//!
//! # Exactness
//!
//! SPREAD is set by the write that takes the batch of a refill out of the central word, and
//! cleared by the write that puts the credit of a recall into it. So while the central word has
//! no SPREAD, it has all free permits. These calls decide by one read or write of such a word:
//!
//! - a refusal: the caller was refused because fewer than `n` permits were free at that instant,
//!   or a flag was set;
//! - each change of the limit or of a flag, each overdraft, and each take for a waiter.
//!
//! If the word has SPREAD, such a call recalls first, and decides by the write that ends the
//! recall. It need not try again, since no refill begins inside the lock.
//!
//! A successful take or give is one write of one word, its linearization point. Let a *spread* be
//! the time from a write that sets SPREAD to the next one that clears it. Each write of a caller
//! to a shard falls into one spread:
//!
//! - After its begin. No caller writes a recalled shard, so a refill of this spread came before.
//!   That refill follows the write that set SPREAD, and its Release pairs with the caller's
//!   Acquire.
//! - Before its end. The recall swaps the shard's word, by an Acquire that pairs with the
//!   caller's Release, and then clears SPREAD.
//!
//! Both are happens-before, so no caller that knows of such a write, by any way, reads a central
//! word of another time and is refused by it.
//!
//! # Waiters
//!
//! WAITERS and CLOSED are only in the central word. They are set by a write that leaves SPREAD
//! clear, and no refill sets SPREAD while one of them is set. So each shard is recalled then, and
//! sends all callers to the central word; copies of the flags in the shards would tell them no
//! more. A give to a shard comes before the recall, which finds the permits. Any other give is a
//! write of the central word. So no wake-up is lost, for the reason that `pool/wait.rs` gives for
//! one state word. The waiter at the head gets its permits as soon as enough are free anywhere.
//!
//! # Near the limit
//!
//! A recall writes each shard that is not recalled. A pool that is nearly full would recall and
//! refill in turn. Two bounds prevent that:
//!
//! - A refill takes at most a part of the central permits, and none if that is less than
//!   [`Spread::least`]. So a pool with few free permits uses the central word only.
//! - After a recall, a shard is refilled only when its callers have taken permits from the
//!   central word [`Spread::patience`] times. So recalls write one shard for each such number of
//!   takes.
//!
//! A scheduler on which holders only release permits must not keep them from the others. Its
//! shard collects up to two batches, and the rest goes to the central word.
//!
//! # What no shard knows
//!
//! The number of permits in use after a take on a shard. An exact peak needs that number, and so
//! a recall in each acquire that might raise the peak. [`Seen::free`] of [`Credit::look`] is
//! exact, and recalls. Counts of admissions are in the entries of the holders, and stay exact.

mod central;
mod one_word;
mod shard;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Mutex, Ordering, lock, try_lock};

use shard::Shard;

pub use central::Seen;
pub use one_word::OneWord;

/// The most shards: one for each bit of [`Credit::refilled`].
const MOST_SHARDS: usize = 64;

/// When and how far the free permits are spread over the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// A refill takes at most one in `part` of the free permits of the central word.
    pub part: u32,
    /// The least permits of a refill, above 0.
    pub least: u32,
    /// The most permits of a refill, at least `least` and below 2^30.
    pub most: u32,
    /// The number of times that callers of a recalled shard take permits from the central word
    /// before the shard is refilled.
    pub patience: u32,
}

impl Spread {
    /// Returns the bounds for a number of shards. All shards together get at most a quarter of
    /// the free permits, and collect at most half of them.
    pub fn over(shards: usize) -> Self {
        Self { part: 4 * shards as u32, least: 4, most: 64, patience: 64 }
    }

    /// Returns the permits of a refill that leaves the other ones of `free` in the central word.
    #[inline]
    fn batch(self, free: i64) -> Option<u32> {
        // A pool near its limit comes here often, so it must not divide.
        if free < i64::from(self.part) * i64::from(self.least) {
            return None;
        }
        Some((free / i64::from(self.part)).min(self.most.into()) as u32)
    }
}

/// The state of a pool, with a word for each scheduler.
///
/// Its limit and its overdraft are below 2^60.
#[derive(Debug)]
pub struct Credit {
    central: CachePadded<AtomicU64>,
    /// Bit `n` is set if shard `n` is not recalled. The lock guards each move of permits between
    /// two words.
    refilled: CachePadded<Mutex<u64>>,
    shards: Box<[CachePadded<Shard>]>,
    spread: Spread,
}

impl Credit {
    /// Returns the state of a pool before it is opened: closed, with no free permits.
    ///
    /// `shards` is at least 1 and at most 64. Panics otherwise.
    pub fn new(shards: usize, spread: Spread) -> Self {
        assert!((1..=MOST_SHARDS).contains(&shards), "a pool has 1 to {MOST_SHARDS} shards, not {shards}");
        Self {
            central: CachePadded::new(AtomicU64::new(Seen::CLOSED_EMPTY.word())),
            refilled: CachePadded::new(Mutex::new(0)),
            shards: (0..shards).map(|_| CachePadded::new(Shard::new())).collect(),
            spread,
        }
    }

    /// Takes `n` permits for a caller on the scheduler of a shard, which has not waited. Returns
    /// the state that refused the caller.
    #[inline]
    pub fn take(&self, shard: usize, n: u32) -> Result<(), Seen> {
        if self.shards[shard].take(n) { Ok(()) } else { self.take_central(&self.shards[shard], shard, n) }
    }

    #[inline(never)]
    fn take_central(&self, shard: &Shard, number: usize, n: u32) -> Result<(), Seen> {
        // Other callers write the word all the time, so little may be done between its load and the CAS.
        let wants_more = shard.wants_refill(self.spread.patience);
        let mut seen = self.load();
        while seen.admits(n) {
            if wants_more && self.spread.batch(seen.less(n).free()).is_some() && self.refill(number, n) {
                return Ok(());
            }
            // LINEARIZATION POINT of a take from the central word. Permits are free there, so no
            // other word matters.
            match self.swap(seen, seen.less(n)) {
                Ok(_) => {
                    shard.note_central_take(self.spread.patience);
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
        if !seen.is_spread() {
            // LINEARIZATION POINT of a refusal: the load of a word that has all free permits.
            return Err(seen);
        }
        self.recall_and(|seen| seen.admits(n).then(|| seen.less(n))).map(|_| ())
    }

    /// Takes `n` permits, and moves a batch to the shard. Returns `false`, and does nothing, if
    /// another call has the lock or too few permits are free.
    fn refill(&self, number: usize, n: u32) -> bool {
        let Some(mut refilled) = try_lock(&self.refilled) else { return false };
        let mut seen = self.load();
        let batch = loop {
            let left = seen.less(n);
            let Some(batch) = self.spread.batch(left.free()).filter(|_| seen.admits(n)) else { return false };
            // LINEARIZATION POINT of a take with a refill. SPREAD is set before the batch is in
            // the shard, so a caller that misses the batch waits for the lock before it is
            // refused.
            match self.swap(seen, left.less(batch).spread()) {
                Ok(_) => break batch,
                Err(now) => seen = now,
            }
        };
        *refilled |= 1 << number;
        self.shards[number].add(batch);
        true
    }

    /// Gives `n` permits back on the scheduler of a shard. Returns `true` if the caller must
    /// serve waiters or drainers.
    #[inline]
    pub fn give(&self, shard: usize, n: u64) -> bool {
        if self.shards[shard].give(n) {
            return false;
        }
        // LINEARIZATION POINT of a release to the central word.
        // ORDERING: Release pairs with the Acquire of a take. Acquire pairs with the Release of
        // the other writes: a caller that finds a flag observes what was done before the flag was
        // set.
        Seen::from_word(self.central.fetch_add(Seen::permits(n), Ordering::AcqRel)).flagged()
    }

    /// Takes `n` permits for the waiter at the head of the queue, or for a caller that parks
    /// while the queue is empty. WAITERS refuses neither. Returns the state after the change, or
    /// the one that refused.
    pub fn take_for_waiter(&self, n: u32) -> Result<Seen, Seen> {
        self.decide(|seen| (!seen.closed() && seen.free() >= i64::from(n)).then(|| seen.less(n)))
    }

    /// Takes `n` permits for a restart, even if other processes wait. Returns the state after the
    /// change, or the one that refused.
    ///
    /// At least `least` permits must be free afterwards; a negative number is an overdraft. If
    /// the pool is overdrawn already, `least_if_overdrawn` replaces `least`. Neither bound is
    /// positive.
    pub fn overdraw(&self, n: u32, least: i64, least_if_overdrawn: i64) -> Result<Seen, Seen> {
        self.decide(|seen| {
            let least = if seen.free() < 0 { least_if_overdrawn } else { least };
            (!seen.closed() && seen.less(n).free() >= least).then(|| seen.less(n))
        })
    }

    /// Adds `delta` to the limit. Returns the number of permits that were free before.
    ///
    /// Recalls, although a larger limit would not need that: a smaller one must leave no credit,
    /// and the caller computes the permits in use from the answer.
    pub fn shift(&self, delta: i64) -> i64 {
        self.change(|seen| seen.plus(delta)).free() - delta
    }

    /// Sets WAITERS. Called under the queue lock.
    pub fn set_waiters(&self) {
        self.change(|seen| seen.with(Seen::WAITERS));
    }

    /// Clears WAITERS. Called under the queue lock.
    pub fn clear_waiters(&self) {
        self.change(|seen| seen.without(Seen::WAITERS));
    }

    /// Sets CLOSED. Called under the queue lock.
    pub fn close(&self) {
        self.change(|seen| seen.with(Seen::CLOSED));
    }

    /// Clears CLOSED. Called under the queue lock.
    pub fn open(&self) {
        self.change(|seen| seen.without(Seen::CLOSED));
    }

    /// Returns the exact state at one instant. Recalls.
    pub fn look(&self) -> Seen {
        match self.decide(|_| None) {
            Ok(seen) | Err(seen) => seen,
        }
    }

    /// Returns `true` if shards may have credit.
    pub fn is_spread(&self) -> bool {
        self.load().is_spread()
    }

    fn change(&self, change: impl Fn(Seen) -> Seen) -> Seen {
        match self.decide(|seen| Some(change(seen))) {
            Ok(seen) | Err(seen) => seen,
        }
    }

    /// Decides on a central word that has all free permits. Returns the word after the change, or
    /// the word for which `change` returned `None`.
    fn decide(&self, change: impl Fn(Seen) -> Option<Seen>) -> Result<Seen, Seen> {
        let mut seen = self.load();
        // LINEARIZATION POINT of each decision but one that recalls: the write, or the load of
        // the word that refused.
        while !seen.is_spread() {
            let Some(next) = change(seen) else { return Err(seen) };
            match self.swap(seen, next) {
                Ok(next) => return Ok(next),
                Err(now) => seen = now,
            }
        }
        self.recall_and(change)
    }

    /// Recalls the credit of all shards, and decides by the write that ends the recall.
    #[cold]
    fn recall_and(&self, change: impl Fn(Seen) -> Option<Seen>) -> Result<Seen, Seen> {
        let mut refilled = lock(&self.refilled);
        let credit = self.recall(&mut refilled);
        let mut seen = self.load();
        // Another call may have recalled before this one had the lock. Then no shard had credit,
        // and no refill has begun since, so the word has all free permits.
        loop {
            let whole = seen.whole(credit);
            let changed = change(whole);
            let next = changed.unwrap_or(whole);
            if changed.is_none() && whole == seen {
                return Err(whole);
            }
            // LINEARIZATION POINT of a decision that recalls.
            match self.swap(seen, next) {
                Ok(_) => return changed.ok_or(whole),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the credit of all shards. The caller adds it to the central word by the write that
    /// clears SPREAD.
    fn recall(&self, refilled: &mut u64) -> u64 {
        let mut credit = 0;
        while *refilled != 0 {
            credit += self.shards[refilled.trailing_zeros() as usize].recall();
            *refilled &= *refilled - 1;
        }
        credit
    }

    #[inline]
    fn load(&self) -> Seen {
        // ORDERING: Acquire pairs with the Release of each write of the central word. A caller
        // that is refused by a word without SPREAD observes the recall before it, and so takes
        // nothing from an older word of its shard afterwards.
        Seen::from_word(self.central.load(Ordering::Acquire))
    }

    #[inline]
    fn swap(&self, seen: Seen, next: Seen) -> Result<Seen, Seen> {
        // ORDERING: Acquire pairs with the Release of gives and recalls: the work that held the
        // permits happens before the work of the next holder. Release orders the store that
        // announces the permits in the caller's entry before the CAS, and the swaps of a recall
        // before the clearing of SPREAD. A failure decides as `load` does.
        match self.central.compare_exchange(seen.word(), next.word(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(next),
            Err(now) => Err(Seen::from_word(now)),
        }
    }
}
