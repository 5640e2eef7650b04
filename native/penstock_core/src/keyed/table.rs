//! The state of many keys, in a fixed number of places.
//!
//! A place is a pair of words that change together: the *tag* of a key, and its [`CellState`]. An
//! empty place has tag 0, which no key has. A key whose TAT has passed is like a key that was
//! never charged, so another key can take its place. A key whose TAT is ahead of the clock is
//! never evicted. No task clears places in the background, and no key moves to another place.
//!
//! A table has nearly two places for each of `max_keys` keys, in rows of [`ROW`] places; a row is
//! a cache line. A key may be in any place of [`CHOICES`] rows. A new key takes a place in its
//! first row. If fewer than three places are free there, the key takes a place in a later row
//! that has more free places, if there is one. Within a row the key takes an empty place if it
//! can, and otherwise the place whose key has been idle for longest. A table of at most [`FEW`]
//! keys is one row, with one place for each key.
//!
//! A key is active while its TAT is ahead of the clock. In a table with `max_keys` active keys,
//! more than 80 % of them are in their first row. Fewer than one new key in a million finds no
//! place.
//!
//! # One key, one place
//!
//! A key must never be charged in two places, because it would then have two bursts. The first
//! hit of a key takes four steps:
//!
//! ```text
//!   search all its rows -> claim a free place -> load all other places again -> charge the claim
//! ```
//!
//! A *claim* is a placeholder with the tag of the key. Each step loads pairs, or changes one pair
//! by a CAS. In the third step, a caller can find other places with the tag of its key:
//!
//! - another claim: the claim that is earlier in the rows stays, and the caller vacates the later
//!   one;
//! - a charged place: that place stays, and the caller vacates its own claim.
//!
//! *No two places of one key are ever charged at once.* Suppose that the places `s` and `t` of a
//! key were charged at once, and `t` was charged later.
//!
//! 1. Each place kept one claim from the instant at which it was claimed until it was charged.
//!    The CAS that charged the place expected that claim, and numbers of placeholders do not
//!    recur.
//! 2. The caller that charged `t` loaded `s` after `t` was claimed. Suppose that `s` had the
//!    key's tag at that load. If `s` was charged, the caller vacated the claim `t`, which
//!    contradicts 1. If `s` was a claim, that claim or `t` ended. By 1 it was not `t`, so it was
//!    not the claim by which `s` was charged.
//! 3. So the claim by which `s` was charged came after that load, and thus after `t` was claimed.
//! 4. The caller that charged `s` loaded `t` after `s` was claimed. It found the claim `t`, so
//!    one of the two claims ended. That contradicts 1.
//!
//! A later hit charges the same place without the third step, whether the key's TAT has passed or
//! not: a search finds the place until another key takes it.
//!
//! While a caller is preempted between two steps, its claim stays. The claim keeps other keys out
//! of the place. Another hit of the same key can charge the claim.
//!
//! The argument needs sequential consistency, because each of two callers makes a claim and then
//! loads the place of the other's claim (store buffering). [`AtomicPair`] provides it.

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
    /// The number of unused places before the first row. Because of them, each row begins where a
    /// cache line begins.
    skipped: usize,
    /// The number of rows.
    rows: usize,
    /// The number of places in each row.
    row: usize,
}

/// A place, and the tag and state that a caller loaded from it.
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
    /// The key has no charged place. Either this place is free, or a caller has claimed it for
    /// this key and has not charged it yet. [`Table::claim`] accepts both.
    Free(PlaceSnapshot<'a>),
    /// The key has no place, because other keys have all places of its rows. No place becomes
    /// free before `until`: the first of their TATs, or now if a key only claims its place.
    Full { until: u64 },
}

impl Table {
    /// The most bytes that a table takes for each of `max_keys`.
    pub(crate) const KEY_MEMORY: usize = 2 * PLACE;

    pub(crate) fn new(max_keys: usize) -> Result<Self, OutOfMemory> {
        let count = if max_keys <= FEW {
            max_keys
        } else {
            // Nearly two places of 16 bytes for each key. With the overhead of the allocator and
            // of pages, that is at most 32 bytes for each key.
            max_keys.checked_mul(2).ok_or(OutOfMemory)? - max_keys / 64
        };
        let mut places = Vec::new();
        places.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        // All places are written now, so that the resident memory does not grow when keys come.
        places.extend((0..count).map(|_| AtomicPair::new(0, CellState::NONE.to_bits())));

        if max_keys <= FEW {
            return Ok(Self { places, skipped: 0, rows: 1, row: count });
        }
        // A model of loom or shuttle must run the same wherever its memory lies, so it skips no
        // place.
        let skipped = if cfg!(any(loom, shuttle)) { 0 } else { (LINE - places.as_ptr().addr() % LINE) % LINE / PLACE };
        let rows = (count - skipped) / ROW;
        Ok(Self { places, skipped, rows, row: ROW })
    }

    /// Returns the size of all places in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.places.len() * PLACE
    }

    /// Removes all keys. Meanwhile only stale callers of an earlier generation may access the
    /// table.
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
            // The other rows follow one another. A second hash of the tag chooses how far they
            // are ahead of the first row.
            let ahead = 1 + scale(tag.wrapping_mul(0x9E37_79B9_7F4A_7C15), self.rows - (CHOICES - 1));
            for (n, row) in rows[1..].iter_mut().enumerate() {
                let at = first + ahead + n;
                *row = self.row(if at < self.rows { at } else { at - self.rows });
            }
        }
        rows
    }

    /// Searches the rows of a key for its place, or for a place that the caller can claim for it.
    #[inline]
    pub(crate) fn search(&self, tag: u64, context: Context) -> Found<'_> {
        // Most keys have the first place of their first row, because a row has few keys while the
        // table is not nearly full.
        let loaded = PlaceSnapshot::load(&self.row(self.first_of(tag))[0]);
        if loaded.tag == tag && !loaded.is_placeholder() {
            Found::Charged(loaded)
        } else {
            self.search_all(tag, context)
        }
    }

    fn search_all(&self, tag: u64, context: Context) -> Found<'_> {
        // The number of free places in the best row so far, and the place to take there.
        let mut best: Option<(usize, PlaceSnapshot<'_>)> = None;
        let mut until = u64::MAX;
        let mut claim = None;
        for row in self.rows_of(tag) {
            // The number of free places in this row, and the one to take: the place whose key has
            // been idle for longest, and so is least likely to come back. An empty place counts
            // as idle since the instant 0.
            let mut free: (usize, Option<PlaceSnapshot<'_>>) = (0, None);
            for place in row {
                let loaded = PlaceSnapshot::load(place);
                if loaded.tag == tag {
                    if !loaded.is_placeholder() {
                        return Found::Charged(loaded);
                    }
                    // A caller, perhaps this one, has claimed the place for this key and has not
                    // charged it yet.
                    claim = claim.or(Some(loaded));
                } else if loaded.is_free(context) {
                    let better = free.1.is_none_or(|best| loaded.idle_since(context) < best.idle_since(context));
                    free = (free.0 + 1, if better { Some(loaded) } else { free.1 });
                } else {
                    // A place that is claimed for another key has no TAT. A caller charges or
                    // vacates it soon, so it counts as free from `now` on.
                    until = until.min(context.tat(loaded.state).unwrap_or(context.now));
                }
            }
            // A later row is better only if the best row so far has fewer than three free places,
            // and the later row has more. So most keys get a place in their first row, where a
            // search ends soonest.
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

    /// Claims a place for the key. A search must have returned the place as [`Found::Free`]. The
    /// caller must charge the claim. Returns `None` if the place changed meanwhile, or if another
    /// place of the key stays: then the caller must search again.
    pub(crate) fn claim<'a>(&'a self, tag: u64, free: PlaceSnapshot<'a>) -> Option<PlaceSnapshot<'a>> {
        // If another caller has claimed the place for the same key, both callers use that claim.
        // Only one CAS charges it, and the caller whose CAS fails searches again.
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
            // A charged place stays. If there are two claims, the one that is earlier in the rows
            // stays. If `vacate` fails and the other place has another tag now, the other claim
            // has ended. A caller that claims that place for this key again finds the claim
            // `mine`.
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

    /// Calls `visit` with at most `most` places, from place number `from` on. Returns the number
    /// of the next place; `None` after the last.
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

    /// Returns the instant since which the key of a free place has been idle: its TAT, or 0 if
    /// the place is empty.
    #[inline]
    fn idle_since(&self, context: Context) -> u64 {
        if self.tag == 0 { 0 } else { context.tat(self.state).unwrap_or(0) }
    }

    /// Returns `true` if the place belongs to a key whose TAT is ahead of the clock.
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
