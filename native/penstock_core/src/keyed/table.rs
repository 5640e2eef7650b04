//! The state of many keys, in a fixed number of places.
//!
//! A place is a pair of words that change together: the *tag* of a key, and its [`CellState`]. An
//! empty place has tag 0, which no key has. A key whose TAT has passed equals a key that was
//! never charged, so another key may take its place. A key whose TAT is ahead is never evicted.
//! No place is swept, and no key moves.
//!
//! A table has nearly two places for each of `max_keys` keys, in rows of [`ROW`] places; a row is
//! a cache line. A key may be in any place of [`CHOICES`] rows. It takes a place in the first
//! row, or in the emptiest one if the first is nearly full. Within a row it takes an empty place
//! first, and then the place that has been idle for longest. A table of at most [`FEW`] keys is
//! one row, with one place for each key.
//!
//! In a table with `max_keys` active keys, more than 80 % of them are in their first row. Fewer
//! than one new key in a million finds no place.
//!
//! # One key, one place
//!
//! A key must never be charged in two places: it would have two bursts. The first hit of a key
//! takes four steps:
//!
//! ```text
//!   search all its rows -> claim a free place -> load all other places again -> charge the claim
//! ```
//!
//! A *claim* is a placeholder with the tag of the key. Each step loads pairs, or changes one pair
//! by a CAS. In the third step, a caller that finds another claim of its key compares their
//! places: if its own is later in the rows, it vacates its own claim, and otherwise the other
//! one. A caller that finds a charged place of its key vacates its own claim.
//!
//! *No two places of one key are ever charged at once.* Suppose that `s` and `t` were, `t`
//! charged later. Each was a claim of the key from the moment it was claimed until it was
//! charged: numbers of placeholders do not recur, so the CAS that charged it found the same
//! claim. The caller that charged `t` loaded `s` after it claimed `t`. If `s` had the key's tag
//! by then, not both would have been charged: a charged `s` ends the claim `t`, and of two claims
//! one ends. So `s` was claimed after that load, and thus after `t` was. Then the caller that
//! charged `s` loaded `t` after it claimed `s`, found the claim `t`, and one of the two claims
//! ended: a contradiction.
//!
//! A later hit charges the same place without this check, whether its TAT has passed or not: a
//! search finds the place until another key takes it.
//!
//! A caller that is preempted between two steps leaves a claim behind. The claim keeps its place
//! from other keys only: a hit of the same key charges it.
//!
//! The argument needs sequential consistency: each caller makes a claim and then loads the
//! other's place (store buffering). [`AtomicPair`] provides it.

use crate::reuse::OutOfMemory;
use crate::sync::AtomicPair;

use super::cell::{CellState, Context};
use super::scale;

/// The number of places in a row.
const ROW: usize = if cfg!(loom) { 2 } else { 4 };

/// The number of rows that a key may be in.
const CHOICES: usize = if cfg!(loom) { 2 } else { 3 };

/// A table of at most this many keys has one place for each, and a key may be in any of them.
const FEW: usize = if cfg!(loom) { 2 } else { 8 };

/// Bytes in a cache line.
const LINE: usize = 64;
/// Bytes in a place.
const PLACE: usize = size_of::<AtomicPair>();

#[derive(Debug)]
pub(crate) struct Table {
    places: Vec<AtomicPair>,
    /// The number of places before the first row, so that rows are cache lines.
    skipped: usize,
    /// The number of rows.
    rows: usize,
    /// The number of places in each.
    row: usize,
}

/// A place as it was loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaceSnapshot<'a> {
    place: &'a AtomicPair,
    tag: u64,
    pub(crate) state: CellState,
}

/// The result of a search for a key.
pub(crate) enum Found<'a> {
    /// The key has this place.
    Charged(PlaceSnapshot<'a>),
    /// The key has no place, but may claim this one, or has claimed it already.
    Free(PlaceSnapshot<'a>),
    /// The key has no place. Each place of its rows belongs to another key until this instant at
    /// least.
    Full { until: u64 },
}

impl Table {
    /// The bytes that a table has for each of `max_keys`, at most.
    pub(crate) const KEY_MEMORY: usize = 2 * PLACE;

    pub(crate) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        let count = if max_keys <= FEW {
            max_keys
        } else {
            // Nearly two places of 16 bytes for each key: 32 bytes at most, with the overhead of
            // the allocator and of pages.
            max_keys.checked_mul(2).ok_or(OutOfMemory)? - max_keys / 64
        };
        let mut places = Vec::new();
        places.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        // Written now, so that the resident memory does not grow as keys come.
        places.extend((0..count).map(|_| AtomicPair::new(0, CellState::NONE.to_bits())));

        if max_keys <= FEW {
            return Ok(Self { places, skipped: 0, rows: 1, row: count });
        }
        // A model must not depend on the address of its memory.
        let skipped = if cfg!(any(loom, shuttle)) { 0 } else { (LINE - places.as_ptr().addr() % LINE) % LINE / PLACE };
        let rows = (count - skipped) / ROW;
        Ok(Self { places, skipped, rows, row: ROW })
    }

    /// Returns the size of all places in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.places.len() * PLACE
    }

    /// Removes all keys. Only stale callers may access the table meanwhile.
    pub(crate) fn clear(&self) {
        for place in &self.places {
            place.store(0, CellState::NONE.to_bits());
        }
    }

    fn row(&self, n: usize) -> &[AtomicPair] {
        let begin = self.skipped + n * self.row;
        &self.places[begin..begin + self.row]
    }

    /// Returns the number of the first row of a key.
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
            // The other rows are adjacent. Another hash chooses where they begin.
            let ahead = 1 + scale(tag.wrapping_mul(0x9E37_79B9_7F4A_7C15), self.rows - (CHOICES - 1));
            for (n, row) in rows[1..].iter_mut().enumerate() {
                let at = first + ahead + n;
                *row = self.row(if at < self.rows { at } else { at - self.rows });
            }
        }
        rows
    }

    /// Searches the rows of a key for its place, or for one that it may claim.
    #[inline]
    pub(crate) fn search(&self, tag: u64, context: Context) -> Found<'_> {
        // Most keys have the first place of their first row: a table that is not nearly full has
        // few keys in a row.
        let loaded = PlaceSnapshot::load(&self.row(self.first_of(tag))[0]);
        if loaded.tag == tag && !loaded.is_placeholder() {
            Found::Charged(loaded)
        } else {
            self.search_all(tag, context)
        }
    }

    fn search_all(&self, tag: u64, context: Context) -> Found<'_> {
        // The number of free places in the best row, and the place to take there.
        let mut best: Option<(usize, PlaceSnapshot<'_>)> = None;
        let mut until = u64::MAX;
        let mut claim = None;
        for row in self.rows_of(tag) {
            // The number of free places in this row, and the one that has been idle for longest:
            // its key is least likely to come back. An empty place counts as idle since ever.
            let mut free: (usize, Option<PlaceSnapshot<'_>>) = (0, None);
            for place in row {
                let loaded = PlaceSnapshot::load(place);
                if loaded.tag == tag {
                    if !loaded.is_placeholder() {
                        return Found::Charged(loaded);
                    }
                    claim = claim.or(Some(loaded));
                } else if loaded.is_free(context) {
                    let better = free.1.is_none_or(|best| loaded.idle_since(context) < best.idle_since(context));
                    free = (free.0 + 1, if better { Some(loaded) } else { free.1 });
                } else {
                    // A claim of another key has no TAT yet: its caller charges or vacates it
                    // soon.
                    until = until.min(context.tat(loaded.state).unwrap_or(context.now));
                }
            }
            // A later row is better only if it is emptier and the best one is nearly full: most
            // searches must end in the first row.
            if let (count, Some(loaded)) = free
                && best.is_none_or(|(most, _)| most < 3 && count > most)
            {
                best = Some((count, loaded));
            }
        }
        match (claim, best) {
            (Some(loaded), _) | (None, Some((_, loaded))) => Found::Free(loaded),
            (None, None) => Found::Full { until },
        }
    }

    /// Claims, for the key, a place that a search found free. The caller must charge the claim.
    /// Returns `None` if the caller must search again.
    pub(crate) fn claim<'a>(&'a self, tag: u64, free: PlaceSnapshot<'a>) -> Option<PlaceSnapshot<'a>> {
        // If the place is another caller's claim of the same key, this caller uses that claim.
        let mine = if free.tag == tag { free } else { free.exchange(tag, CellState::placeholder())? };
        let mut before = true;
        for place in self.rows_of(tag).into_iter().flatten() {
            if std::ptr::eq(place, mine.place) {
                before = false;
                continue;
            }
            let other = PlaceSnapshot::load(place);
            if other.tag != tag {
                continue;
            }
            // If the place changes meanwhile and has another tag then, one attempt is enough: a
            // caller that claims it for this key after that finds this claim.
            if before || !other.is_placeholder() || !other.vacate() && other.reload().tag == tag {
                mine.vacate();
                return None;
            }
        }
        Some(mine)
    }

    /// Sets the TAT of a key. Returns `false` if the key has no place and no place is free.
    pub(crate) fn store(&self, tag: u64, tat: u64, context: Context) -> bool {
        loop {
            let mine = match self.search(tag, context) {
                Found::Charged(loaded) => Some(loaded),
                Found::Free(free) => self.claim(tag, free),
                Found::Full { .. } => return false,
            };
            if mine.is_some_and(|mine| mine.store(CellState::new(tat, context.parity)).is_some()) {
                return true;
            }
        }
    }

    /// Removes a key. Returns `false` if its place changed meanwhile: the caller must try again.
    pub(crate) fn remove(&self, tag: u64) -> bool {
        self.rows_of(tag)
            .into_iter()
            .flatten()
            .map(PlaceSnapshot::load)
            .find(|loaded| loaded.tag == tag && !loaded.is_placeholder())
            .is_none_or(|loaded| loaded.vacate())
    }

    /// Calls `visit` with at most `most` places from number `from` on. Returns the number of the
    /// next place.
    pub(crate) fn each<'a>(
        &'a self,
        from: usize,
        most: usize,
        mut visit: impl FnMut(PlaceSnapshot<'a>),
    ) -> Option<usize> {
        let end = self.places.len().min(from.saturating_add(most));
        for place in self.places.get(from..end).unwrap_or_default() {
            visit(PlaceSnapshot::load(place));
        }
        (end < self.places.len()).then_some(end)
    }
}

impl<'a> PlaceSnapshot<'a> {
    #[inline]
    fn load(place: &'a AtomicPair) -> Self {
        let (tag, state) = place.load();
        Self { place, tag, state: CellState::from_bits(state) }
    }

    fn is_placeholder(&self) -> bool {
        self.state.tat().is_none()
    }

    /// Returns `true` if the place is empty, or the TAT of its key has passed.
    #[inline]
    fn is_free(&self, context: Context) -> bool {
        self.tag == 0 || context.tat(self.state).is_some_and(|tat| tat <= context.now)
    }

    /// Returns the instant since which the key of a free place has been idle; 0 if it is empty.
    #[inline]
    fn idle_since(&self, context: Context) -> u64 {
        if self.tag == 0 { 0 } else { context.tat(self.state).unwrap_or(0) }
    }

    /// Returns `true` if the place belongs to a key whose TAT is ahead.
    pub(crate) fn is_active(&self, context: Context) -> bool {
        !self.is_placeholder() && !self.is_free(context)
    }

    /// Loads the same place again.
    pub(crate) fn reload(&self) -> Self {
        Self::load(self.place)
    }

    /// Changes the place by a CAS. Returns `None` if it has changed since it was loaded.
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

    /// Stores another state of the same key. Returns `None` if the place has changed since it was
    /// loaded.
    #[inline]
    pub(crate) fn store(self, state: CellState) -> Option<Self> {
        self.exchange(self.tag, state)
    }
}
