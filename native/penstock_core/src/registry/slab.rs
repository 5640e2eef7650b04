//! A slab of reusable limiters and ban lists. A closed one is kept and reopened for the next name
//! that asks for the same size.
//!
//! None is ever freed, so a caller that looks one up needs no lock and is not counted. There are
//! as many of each size as were ever open, or about to be opened, at once.

use once_cell::race::OnceBox;

use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{Mutex, lock};

/// Numbers an item of a slab, from 1.
pub(super) type Id = u32;

/// Items that are never freed, by their numbers.
pub(super) struct Rows<T> {
    /// Each row is twice as long as the row before it, so an item is found in two steps.
    rows: [OnceBox<Vec<OnceBox<T>>>; 31],
}

impl<T> Rows<T> {
    pub(super) const fn new() -> Self {
        Self { rows: [const { OnceBox::new() }; 31] }
    }

    fn place(id: Id) -> Option<(usize, usize)> {
        let row = id.checked_ilog2()?;
        Some((row as usize, (id - (1 << row)) as usize))
    }

    #[inline]
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let (row, at) = Self::place(id)?;
        self.rows.get(row)?.get()?.get(at)?.get()
    }

    /// Returns the item of that number, made if there is none.
    pub(super) fn get_or_make(&self, id: Id, make: impl FnOnce() -> Box<T>) -> &T {
        let (row, at) = Self::place(id).expect("ids begin with 1");
        let row = self.rows[row].get_or_init(|| Box::new((0..1 << row).map(|_| OnceBox::new()).collect()));
        row[at].get_or_init(make)
    }
}

/// How many items of a slab were made, and which of them are spare.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) made: Id,
    pub(super) spare: Vec<Id>,
}

/// All the limiters, or all the ban lists, of a registry.
pub(super) struct Slab<T> {
    rows: Rows<T>,
    counts: Mutex<Counts>,
}

/// One opening of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) id: Id,
    pub(super) generation: Generation,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { rows: Rows::new(), counts: Mutex::default() }
    }
}

impl<T: Reusable> Slab<T> {
    #[inline]
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        self.rows.get(id)
    }

    /// Opens a spare item that fits, or a new one. No name stands for it yet.
    pub(super) fn open(&self, config: T::Config, now: u64) -> Result<Handle, OutOfMemory> {
        let (id, item) = self.take(config)?;
        Ok(Handle { id, generation: item.open(config, now) })
    }

    /// Returns a closed item that fits and that no name has.
    fn take(&self, config: T::Config) -> Result<(Id, &T), OutOfMemory> {
        {
            let mut counts = lock(&self.counts);
            let fits = |&id: &Id| self.get(id).is_some_and(|item| item.fits(config));
            if let Some(id) = counts.spare.iter().position(fits).map(|at| counts.spare.swap_remove(at)) {
                return Ok((id, self.get(id).expect("it was made")));
            }
        }
        // Outside the lock: it may be many megabytes.
        let item = Box::new(T::make(config)?);
        let id = {
            let mut counts = lock(&self.counts);
            counts.made += 1;
            counts.made
        };
        Ok((id, self.rows.get_or_make(id, || item)))
    }

    /// Makes an item spare that no name stands for.
    ///
    /// Callers that found it before are told that its generation is over, or count for no name.
    pub(super) fn give_back(&self, handle: Handle) {
        lock(&self.counts).spare.push(handle.id);
    }
}
