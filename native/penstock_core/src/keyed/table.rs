//! What is remembered of many keys, in a fixed number of places.
//!
//! A place is a pair of words that change together: the *tag*, which is the hash of a key, and the [`CellState`]. Tag 0 is nobody's.
//! A key whose TAT has passed is as good as one that was never seen, so its place may be taken for another; one whose TAT is
//! ahead is never evicted. Nothing is swept, and nothing moves.
//!
//! Nearly two places are there for each of `max_keys`, in rows of [`ROW`], which are a cache line. A key may be in any place of [`CHOICES`] rows;
//! of those it takes one in the first, or in the emptiest if that is nearly full; in the row an empty place, or the one that is idle for longest. Up to [`FEW`] keys there is one row that has just as many places.
//! In a table with as many keys as `max_keys` one more than 80 % are in their first row, and not one in a million finds no place.
//!
//! # One key, one place
//!
//! What must never be is a key charged in two places: it would have two bursts. A first hit goes
//!
//! ```text
//!   search all its rows -> claim a free place -> look at all the others again -> charge the claim
//! ```
//!
//! and each step is a comparison and exchange of the whole pair, or a look at one. Whoever sees another claim of its key gives its own up,
//! or takes the other's away, by which of them comes first in the rows; whoever sees a charged place of its key gives its own
//! claim up. *No two places of one key are ever charged at once.* Suppose `s` and `t` were, `t` later. Both were claims until they
//! were charged, and stayed claims of that key from the claim on, as numbers of claims do not recur. Who charged `t` looked at `s`
//! after `t` was claimed. If `s` was the key's by then, they would not both have been charged: a charged one ends the other's
//! claim, and of two claims one ends. So `s` was claimed after that, and thus after `t`; then who charged `s` looked at `t` after
//! it was claimed, saw the claim, and one of them ended. Contradiction.
//!
//! A place that was charged needs no such look when it is charged again, whether its TAT has passed or not: until it is taken for another
//! key, a search finds it.
//!
//! Whoever is preempted between two of these steps leaves a claim behind, which keeps a place from other keys and from nobody else.
//!
//! All this is sequentially consistent, which the argument needs: a claim and the look at the other places, on both sides.

use crate::reuse::OutOfMemory;
use crate::sync::AtomicPair;

use super::cell::{CellState, Context};
use super::scale;

/// Places in a row.
const ROW: usize = if cfg!(loom) { 2 } else { 4 };

/// Rows that a key may be in.
const CHOICES: usize = if cfg!(loom) { 2 } else { 3 };

/// Up to so many keys, each has just one place, and may be in any.
const FEW: usize = if cfg!(loom) { 2 } else { 8 };

const LINE: usize = 64;
const PLACE: usize = size_of::<AtomicPair>();

#[derive(Debug)]
pub(crate) struct Table {
    places: Vec<AtomicPair>,
    /// How many of them come before the first row, so that rows are cache lines.
    skipped: usize,
    rows: usize,
    row: usize,
}

/// A place as it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotSnapshot<'a> {
    place: &'a AtomicPair,
    tag: u64,
    pub(crate) state: CellState,
}

/// What a search for a key found.
pub(crate) enum Found<'a> {
    /// Its place.
    Charged(SlotSnapshot<'a>),
    /// Nothing, but a place that may be had.
    Free(SlotSnapshot<'a>),
    /// Nothing, and every place is another's until this instant at least.
    Full { until: u64 },
}

impl Table {
    pub(crate) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        let count = if max_keys <= FEW {
            max_keys
        } else {
            // So that with all that the allocator and pages add it is no more than 32 bytes for each.
            max_keys.checked_mul(2).ok_or(OutOfMemory)? - max_keys / 64
        };
        let mut places = Vec::new();
        places.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        // Written, and so had: what is only reserved would grow as keys come.
        places.extend((0..count).map(|_| AtomicPair::new(0, CellState::NONE.to_bits())));

        if max_keys <= FEW {
            return Ok(Self { places, skipped: 0, rows: 1, row: count });
        }
        // A model must not depend on where its memory is.
        let skipped = if cfg!(any(loom, shuttle)) { 0 } else { (LINE - places.as_ptr().addr() % LINE) % LINE / PLACE };
        let rows = (count - skipped) / ROW;
        Ok(Self { places, skipped, rows, row: ROW })
    }

    /// Bytes.
    pub(crate) fn memory(&self) -> usize {
        self.places.len() * PLACE
    }

    /// Forgets everything. For whoever has it alone.
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

    /// Where a key may be.
    fn rows_of(&self, tag: u64) -> [&[AtomicPair]; CHOICES] {
        let first = self.first_of(tag);
        let mut rows = [&[] as &[AtomicPair]; CHOICES];
        rows[0] = self.row(first);
        if self.rows > 1 {
            // Others that follow each other, by bits that the first was not chosen by.
            let ahead = 1 + scale(tag.wrapping_mul(0x9E37_79B9_7F4A_7C15), self.rows - (CHOICES - 1));
            for (n, row) in rows[1..].iter_mut().enumerate() {
                let at = first + ahead + n;
                *row = self.row(if at < self.rows { at } else { at - self.rows });
            }
        }
        rows
    }

    /// The place of a key, or one that it may have.
    #[inline]
    pub(crate) fn search(&self, tag: u64, context: Context) -> Found<'_> {
        // Most are there, as a table that is not nearly full has few keys in a row.
        let seen = SlotSnapshot::look(&self.row(self.first_of(tag))[0]);
        if seen.tag == tag && !seen.is_placeholder() { Found::Charged(seen) } else { self.search_all(tag, context) }
    }

    fn search_all(&self, tag: u64, context: Context) -> Found<'_> {
        let mut best: Option<(usize, SlotSnapshot<'_>)> = None;
        let mut until = u64::MAX;
        let mut claim = None;
        for row in self.rows_of(tag) {
            // An empty place before one of a key that may come back: of those, the one that is
            // idle for longest.
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
                    // What is claimed will be charged at once.
                    until = until.min(context.tat(seen.state).unwrap_or(context.now));
                }
            }
            // Another only if the one before is nearly full, and it is emptier: a key in the first is found by one look at memory.
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

    /// Makes a place that a search found free the key's own, to be charged. `None`: search again.
    pub(crate) fn claim<'a>(&'a self, tag: u64, free: SlotSnapshot<'a>) -> Option<SlotSnapshot<'a>> {
        // Somebody's claim of the same key is as good as ours.
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
            // Not again, if it is taken away or given up: a claim that comes after this sees ours.
            if before || !other.is_placeholder() || !other.vacate() && SlotSnapshot::look(place).tag == tag {
                mine.vacate();
                return None;
            }
        }
        Some(mine)
    }

    /// Has the place of a key say this, whatever it said. False if it has none, and can have none.
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

    /// Forgets a key. False if it has a place, but not the one that was looked at any more: again.
    pub(crate) fn remove(&self, tag: u64) -> bool {
        self.rows_of(tag)
            .into_iter()
            .flatten()
            .map(SlotSnapshot::look)
            .find(|seen| seen.tag == tag && !seen.is_placeholder())
            .is_none_or(|seen| seen.vacate())
    }

    /// Goes through places from `from` on, `most` of them, and returns where to go on.
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

    /// When the key of a free place was idle first; 0 of a place that is empty.
    #[inline]
    fn idle_since(&self, context: Context) -> u64 {
        if self.tag == 0 { 0 } else { context.tat(self.state).unwrap_or(0) }
    }

    /// Whether a key has this place that is not as good as unknown.
    pub(crate) fn is_active(&self, context: Context) -> bool {
        !self.is_placeholder() && !self.is_free(context)
    }

    /// The same place, as it is now.
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

    /// Leaves it to anybody. False if it is not as it was seen any more.
    pub(crate) fn vacate(&self) -> bool {
        self.exchange(0, CellState::NONE).is_some()
    }

    /// Of the same key. `None` if it is not as it was seen any more.
    #[inline]
    pub(crate) fn store(self, state: CellState) -> Option<Self> {
        self.exchange(self.tag, state)
    }
}
