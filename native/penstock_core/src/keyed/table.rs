//! The state of many keys, in a fixed number of places.
//!
//! A place is a pair of words that change together: the *tag*, which is the hash of a key, and
//! its [`CellState`]. No key has tag 0. A key whose TAT has passed equals a key that was never
//! seen, so its place may be taken for another key. A key whose TAT is ahead is never evicted.
//! Nothing is swept, and nothing moves.
//!
//! There are nearly two places for each of `max_keys`, in rows of [`ROW`], each row a cache line.
//! A key may be in any place of [`CHOICES`] rows. It takes a place in the first of them, or in
//! the emptiest one if the first is nearly full. In the row it takes an empty place, or the one
//! that has been idle for longest. Up to [`FEW`] keys share one row with one place each.
//!
//! In a table that holds `max_keys` keys, more than 80 % of them are in their first row. Fewer
//! than one new key in a million finds no place.
//!
//! # One key, one place
//!
//! A key must never be charged in two places: it would have two bursts. A first hit proceeds
//!
//! ```text
//!   search all its rows -> claim a free place -> look at all the others again -> charge the claim
//! ```
//!
//! and each step is a compare-and-exchange of the whole pair, or a load of one. A caller that
//! sees another claim of its key vacates its own claim or the other one, by which comes first in
//! the rows. A caller that sees a charged place of its key vacates its own claim.
//!
//! *No two places of one key are ever charged at once.* Suppose `s` and `t` were, `t` later. Both
//! were claims until they were charged, and stayed claims of that key since they were claimed, as
//! numbers of claims do not recur. The caller that charged `t` loaded `s` after it claimed `t`.
//! If `s` was the key's by then, they would not both have been charged: a charged place ends the
//! other's claim, and one of two claims ends. So `s` was claimed after that load, and thus after
//! `t`. Then the caller that charged `s` loaded `t` after its claim, saw the claim `t`, and one
//! of the two claims ended: a contradiction.
//!
//! A place that is charged again needs no such check, whether its TAT has passed or not. A search
//! finds it until it is taken for another key.
//!
//! A caller that is preempted between two of these steps leaves a claim behind. That keeps a
//! place from other keys, and from no hit of its own key.
//!
//! The argument needs sequential consistency, for a claim and the loads of the other places on
//! both sides; [`AtomicPair`] provides it.

use crate::reuse::OutOfMemory;
use crate::sync::AtomicPair;

use super::cell::{CellState, Context};
use super::scale;

/// Places in a row.
const ROW: usize = if cfg!(loom) { 2 } else { 4 };

/// The number of rows that a key may be in.
const CHOICES: usize = if cfg!(loom) { 2 } else { 3 };

/// Up to this many keys, each has just one place, and may be in any of them.
const FEW: usize = if cfg!(loom) { 2 } else { 8 };

const LINE: usize = 64;
const PLACE: usize = size_of::<AtomicPair>();

#[derive(Debug)]
pub(crate) struct Table {
    places: Vec<AtomicPair>,
    /// The number of places before the first row, so that rows are cache lines.
    skipped: usize,
    rows: usize,
    row: usize,
}

/// A place as it was loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotSnapshot<'a> {
    place: &'a AtomicPair,
    tag: u64,
    pub(crate) state: CellState,
}

/// The result of a search for a key.
pub(crate) enum Found<'a> {
    /// The place of the key.
    Charged(SlotSnapshot<'a>),
    /// The key has none, but may take this place.
    Free(SlotSnapshot<'a>),
    /// The key has none, and every place belongs to another key until this instant at least.
    Full { until: u64 },
}

impl Table {
    /// The bytes that a table has for each of `max_keys`, at most.
    pub(crate) const KEY_MEMORY: usize = 2 * PLACE;

    pub(crate) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        let count = if max_keys <= FEW {
            max_keys
        } else {
            // With all that the allocator and the pages add, at most 32 bytes for each key.
            max_keys.checked_mul(2).ok_or(OutOfMemory)? - max_keys / 64
        };
        let mut places = Vec::new();
        places.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        // Written now, so that memory which is only reserved does not grow as keys come.
        places.extend((0..count).map(|_| AtomicPair::new(0, CellState::NONE.to_bits())));

        if max_keys <= FEW {
            return Ok(Self { places, skipped: 0, rows: 1, row: count });
        }
        // A model must not depend on the address of its memory.
        let skipped = if cfg!(any(loom, shuttle)) { 0 } else { (LINE - places.as_ptr().addr() % LINE) % LINE / PLACE };
        let rows = (count - skipped) / ROW;
        Ok(Self { places, skipped, rows, row: ROW })
    }

    /// Returns the size in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.places.len() * PLACE
    }

    /// Removes all keys. The caller must own the table exclusively.
    pub(crate) fn clear(&self) {
        for place in &self.places {
            place.store(0, CellState::NONE.to_bits());
        }
    }

    fn row(&self, n: usize) -> &[AtomicPair] {
        let begin = self.skipped + n * self.row;
        &self.places[begin..begin + self.row]
    }

    #[inline]
    fn first_of(&self, tag: u64) -> usize {
        scale(tag, self.rows)
    }

    /// Returns the rows that a key may be in.
    fn rows_of(&self, tag: u64) -> [&[AtomicPair]; CHOICES] {
        let first = self.first_of(tag);
        let mut rows = [&[] as &[AtomicPair]; CHOICES];
        rows[0] = self.row(first);
        if self.rows > 1 {
            // The others follow each other, by bits that did not choose the first.
            let ahead = 1 + scale(tag.wrapping_mul(0x9E37_79B9_7F4A_7C15), self.rows - (CHOICES - 1));
            for (n, row) in rows[1..].iter_mut().enumerate() {
                let at = first + ahead + n;
                *row = self.row(if at < self.rows { at } else { at - self.rows });
            }
        }
        rows
    }

    /// Returns the place of a key, or a place that it may take.
    #[inline]
    pub(crate) fn search(&self, tag: u64, context: Context) -> Found<'_> {
        // Most keys are there: a table that is not nearly full has few keys in a row.
        let seen = SlotSnapshot::look(&self.row(self.first_of(tag))[0]);
        if seen.tag == tag && !seen.is_placeholder() { Found::Charged(seen) } else { self.search_all(tag, context) }
    }

    fn search_all(&self, tag: u64, context: Context) -> Found<'_> {
        let mut best: Option<(usize, SlotSnapshot<'_>)> = None;
        let mut until = u64::MAX;
        let mut claim = None;
        for row in self.rows_of(tag) {
            // An empty place comes before the place of a key that may come back; of those, the
            // one that has been idle for longest is best.
            let mut free: (usize, Option<SlotSnapshot<'_>>) = (0, None);
            for place in row {
                let seen = SlotSnapshot::look(place);
                if seen.tag == tag {
                    if !seen.is_placeholder() {
                        return Found::Charged(seen);
                    }
                    claim = claim.or(Some(seen));
                } else if seen.is_free(context) {
                    let better = free.1.is_none_or(|best| seen.idle_since(context) < best.idle_since(context));
                    free = (free.0 + 1, if better { Some(seen) } else { free.1 });
                } else {
                    // A claim will be charged at once.
                    until = until.min(context.tat(seen.state).unwrap_or(context.now));
                }
            }
            // Another row only if the one before is nearly full and this is emptier: a key in its
            // first row is found by one load.
            if let (count, Some(seen)) = free
                && best.is_none_or(|(most, _)| most < 3 && count > most)
            {
                best = Some((count, seen));
            }
        }
        match (claim, best) {
            (Some(seen), _) | (None, Some((_, seen))) => Found::Free(seen),
            (None, None) => Found::Full { until },
        }
    }

    /// Makes a place that a search found free the key's own, to be charged. Returns `None` if the
    /// caller must search again.
    pub(crate) fn claim<'a>(&'a self, tag: u64, free: SlotSnapshot<'a>) -> Option<SlotSnapshot<'a>> {
        // Another caller's claim of the same key serves as well.
        let mine = if free.tag == tag { free } else { free.exchange(tag, CellState::placeholder())? };
        let mut before = true;
        for place in self.rows_of(tag).into_iter().flatten() {
            if std::ptr::eq(place, mine.place) {
                before = false;
                continue;
            }
            let other = SlotSnapshot::look(place);
            if other.tag != tag {
                continue;
            }
            // No second attempt if it is taken or vacated: a later claim sees this one.
            if before || !other.is_placeholder() || !other.vacate() && SlotSnapshot::look(place).tag == tag {
                mine.vacate();
                return None;
            }
        }
        Some(mine)
    }

    /// Sets the TAT of a key. Returns `false` if the key has no place and can have none.
    pub(crate) fn store(&self, tag: u64, tat: u64, context: Context) -> bool {
        loop {
            let mine = match self.search(tag, context) {
                Found::Charged(seen) => Some(seen),
                Found::Free(free) => self.claim(tag, free),
                Found::Full { .. } => return false,
            };
            if mine.is_some_and(|mine| mine.store(CellState::new(tat, context.parity)).is_some()) {
                return true;
            }
        }
    }

    /// Removes a key. Returns `false` if its place has changed since it was loaded: the caller
    /// must try again.
    pub(crate) fn remove(&self, tag: u64) -> bool {
        self.rows_of(tag)
            .into_iter()
            .flatten()
            .map(SlotSnapshot::look)
            .find(|seen| seen.tag == tag && !seen.is_placeholder())
            .is_none_or(|seen| seen.vacate())
    }

    /// Visits at most `most` places from `from` on; returns the next one.
    pub(crate) fn each<'a>(
        &'a self,
        from: usize,
        most: usize,
        mut visit: impl FnMut(SlotSnapshot<'a>),
    ) -> Option<usize> {
        let end = self.places.len().min(from.saturating_add(most));
        for place in self.places.get(from..end).unwrap_or_default() {
            visit(SlotSnapshot::look(place));
        }
        (end < self.places.len()).then_some(end)
    }
}

impl<'a> SlotSnapshot<'a> {
    #[inline]
    fn look(place: &'a AtomicPair) -> Self {
        let (tag, state) = place.load();
        Self { place, tag, state: CellState::from_bits(state) }
    }

    fn is_placeholder(&self) -> bool {
        self.state.tat().is_none()
    }

    #[inline]
    fn is_free(&self, context: Context) -> bool {
        self.tag == 0 || context.tat(self.state).is_some_and(|tat| tat <= context.now)
    }

    /// Returns since when the key of a free place has been idle; 0 for an empty place.
    #[inline]
    fn idle_since(&self, context: Context) -> u64 {
        if self.tag == 0 { 0 } else { context.tat(self.state).unwrap_or(0) }
    }

    /// Returns `true` if a key has this place that differs from an unknown key.
    pub(crate) fn is_active(&self, context: Context) -> bool {
        !self.is_placeholder() && !self.is_free(context)
    }

    /// Loads the same place again.
    pub(crate) fn again(&self) -> Self {
        Self::look(self.place)
    }

    fn exchange(self, tag: u64, state: CellState) -> Option<Self> {
        self.place.compare_exchange((self.tag, self.state.to_bits()), (tag, state.to_bits())).then_some(Self {
            tag,
            state,
            ..self
        })
    }

    /// Empties the place. Returns `false` if it has changed since it was loaded.
    pub(crate) fn vacate(&self) -> bool {
        self.exchange(0, CellState::NONE).is_some()
    }

    /// Stores a state of the same key. Returns `None` if the place has changed since it was
    /// loaded.
    #[inline]
    pub(crate) fn store(self, state: CellState) -> Option<Self> {
        self.exchange(self.tag, state)
    }
}
