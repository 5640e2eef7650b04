//! What names are lent: limiters and bans. The memory of one that is closed serves the next that is of its size.
//!
//! None is ever freed, so that a look needs no lock and no count of who is looking. There are as many of each size as were ever open, or about
//! to be, at once.

use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::reuse::{Incarnation, Lend, OutOfMemory};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Numbers a thing of a stock, from 1.
pub(super) type Id = u32;

/// Things that are never freed, by their numbers.
pub(super) struct Rows<T> {
    /// Each row is twice as long as the row before it, so a thing is found in two steps.
    rows: [OnceBox<Vec<OnceBox<T>>>; 31],
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: [const { OnceBox::new() }; 31] }
    }
}

impl<T> Rows<T> {
    fn place(id: Id) -> Option<(usize, usize)> {
        let row = id.checked_ilog2()?;
        Some((row as usize, (id - (1 << row)) as usize))
    }

    #[inline]
    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let (row, at) = Self::place(id)?;
        self.rows.get(row)?.get()?.get(at)?.get()
    }

    /// Adds `it` under a number that no other thing has had.
    pub(super) fn add(&self, id: Id, it: Box<T>) -> &T {
        let (row, at) = Self::place(id).expect("ids begin with 1");
        let row = self.rows[row].get_or_init(|| Box::new((0..1 << row).map(|_| OnceBox::new()).collect()));
        row[at].get_or_init(|| it)
    }
}

/// All of a registry.
pub(super) struct Stock<T> {
    rows: Rows<T>,
    counts: Mutex<Counts>,
}

/// How many things of a stock were made, and those that are spare.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) made: Id,
    pub(super) spare: Vec<Id>,
}

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Self { rows: Rows::default(), counts: Mutex::default() }
    }
}

impl<T: Lend> Stock<T> {
    #[inline]
    fn get(&self, id: Id) -> Option<&T> {
        self.rows.get(id)
    }

    /// One that fits and that nobody has, closed.
    fn take(&self, given: T::Given) -> Result<(Id, &T), OutOfMemory> {
        {
            let mut counts = lock(&self.counts);
            let fits = |&id: &Id| self.get(id).is_some_and(|it| it.fits(given));
            if let Some(id) = counts.spare.iter().position(fits).map(|at| counts.spare.swap_remove(at)) {
                return Ok((id, self.get(id).expect("it was made")));
            }
        }
        // Outside the lock: it may be many megabytes.
        let it = Box::new(T::make(given)?);
        let id = {
            let mut counts = lock(&self.counts);
            counts.made += 1;
            counts.made
        };
        Ok((id, self.rows.add(id, it)))
    }
}

/// What one name is lent, if anything.
pub(super) struct Lease<T> {
    stock: Arc<Stock<T>>,
    /// Which, and which incarnation of it: `id << 32 | incarnation`; 0 is none.
    current: AtomicU64,
}

/// Taken, and opened, but not lent yet.
#[derive(Clone, Copy)]
pub(super) struct Prepared {
    id: Id,
    incarnation: Incarnation,
}

impl<T: Lend> Lease<T> {
    pub(super) fn new(stock: &Arc<Stock<T>>) -> Self {
        Self { stock: Arc::clone(stock), current: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn get(&self) -> Option<(&T, Incarnation)> {
        // ORDERING: Acquire pairs with the Release in `begin`: it is open.
        let word = self.current.load(Ordering::Acquire);
        self.stock.get((word >> 32) as Id).map(|it| (it, word as Incarnation))
    }

    pub(super) fn prepare(&self, given: T::Given, now: u64) -> Result<Prepared, OutOfMemory> {
        let (id, it) = self.stock.take(given)?;
        Ok(Prepared { id, incarnation: it.open(given, now) })
    }

    pub(super) fn not_needed(&self, prepared: Prepared) {
        lock(&self.stock.counts).spare.push(prepared.id);
    }

    pub(super) fn begin(&self, prepared: Prepared) {
        // ORDERING: Release pairs with the Acquire in `get`.
        self.current.store(u64::from(prepared.id) << 32 | u64::from(prepared.incarnation), Ordering::Release);
    }

    /// Those who have found it by now are told that it is gone, or count for nobody.
    pub(super) fn end(&self) {
        let word = self.current.swap(0, Ordering::Relaxed);
        if word != 0 {
            lock(&self.stock.counts).spare.push((word >> 32) as Id);
        }
    }
}
