//! A slab of reusable items: limiters, or ban lists. The slab keeps a closed item, and reopens it
//! for the next name that asks for the same size.
//!
//! No item is ever freed. So a caller looks an item up without a lock, and the slab keeps no
//! count of callers. There are as many items of each size as were open, or about to be opened, at
//! once.

use once_cell::race::OnceBox;

use crate::reuse::{Generation, OutOfMemory, Reusable};
use crate::sync::{Mutex, lock};

/// The number of an item of a slab, from 1.
pub(super) type Id = u32;

/// Items by their numbers, which begin with 1. No item is ever freed.
pub(super) struct Rows<T> {
    /// Each row is twice as long as the row before, so an item never moves and is found in two
    /// steps.
    rows: [OnceBox<Vec<OnceBox<T>>>; 31],
}

impl<T> Rows<T> {
    pub(super) const fn new() -> Self {
        Self { rows: [const { OnceBox::new() }; 31] }
    }

    /// Returns the row of an item, and its index there; `None` for 0.
    fn place(id: Id) -> Option<(usize, usize)> {
        let row = id.checked_ilog2()?;
        Some((row as usize, (id - (1 << row)) as usize))
    }

    #[inline]
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let (row, at) = Self::place(id)?;
        self.rows.get(row)?.get()?.get(at)?.get()
    }

    /// Returns the item of this number, and makes it if there is none.
    pub(super) fn get_or_make(&self, id: Id, make: impl FnOnce() -> Box<T>) -> &T {
        let (row, at) = Self::place(id).expect("ids begin with 1");
        let row = self.rows[row].get_or_init(|| Box::new((0..1 << row).map(|_| OnceBox::new()).collect()));
        row[at].get_or_init(make)
    }
}

/// The number of items that were made, and the numbers of the spare ones.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) made: Id,
    pub(super) spare: Vec<Id>,
}

/// All limiters, or all ban lists, of a registry.
pub(super) struct Slab<T> {
    rows: Rows<T>,
    counts: Mutex<Counts>,
}

/// One opening of an item of a slab: its number and its generation.
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

    /// Opens a spare item of the size that `config` asks for, or a new one. No name stands for
    /// the item yet.
    pub(super) fn open(&self, config: T::Config, now: u64) -> Result<Handle, OutOfMemory> {
        let (id, item) = self.reuse_or_make(config)?;
        Ok(Handle { id, generation: item.open(config, now) })
    }

    /// Returns a closed item of the size that `config` asks for. It is not spare any more, and no
    /// name stands for it.
    fn reuse_or_make(&self, config: T::Config) -> Result<(Id, &T), OutOfMemory> {
        {
            let mut counts = lock(&self.counts);
            let fits = |&id: &Id| self.get(id).is_some_and(|item| item.fits(config));
            if let Some(id) = counts.spare.iter().position(fits).map(|at| counts.spare.swap_remove(at)) {
                return Ok((id, self.get(id).expect("it was made")));
            }
        }
        // The item is made outside the lock, because it may have many megabytes, and `make`
        // writes all of them.
        let item = Box::new(T::make(config)?);
        let id = {
            let mut counts = lock(&self.counts);
            counts.made += 1;
            counts.made
        };
        Ok((id, self.rows.get_or_make(id, || item)))
    }

    /// Makes an item spare that was opened for a name, which did not get it.
    pub(super) fn discard(&self, handle: Handle) {
        if let Some(item) = self.get(handle.id) {
            item.discard(handle.generation);
        }
        self.give_back(handle);
    }

    /// Makes an item spare. No name stands for it.
    ///
    /// A stale caller that found the item before may still use it. Until the item is reopened,
    /// the caller's hits and failures count for no name. After that, the caller learns that its
    /// generation is over.
    pub(super) fn give_back(&self, handle: Handle) {
        lock(&self.counts).spare.push(handle.id);
    }
}
