//! All limiters of a registry: the memory of one that is closed serves the next that is for as many keys.
//!
//! None is ever freed, so that a hit needs no lock and no count of who is hitting. There are as many of each size as were ever
//! open at once.

use once_cell::race::OnceBox;

use crate::sync::{Mutex, lock};

use super::limiter::Limiter;
use super::table::OutOfMemory;

pub(crate) type LimiterId = u32;

#[derive(Debug, Default)]
pub(crate) struct Limiters {
    /// Each row twice as long as the one before: any is found in two steps. Numbered from 1.
    rows: [OnceBox<Vec<OnceBox<Limiter>>>; 31],
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    made: LimiterId,
    spare: Vec<LimiterId>,
}

impl Limiters {
    fn place(id: LimiterId) -> Option<(usize, usize)> {
        let row = id.checked_ilog2()?;
        Some((row as usize, (id - (1 << row)) as usize))
    }

    #[inline]
    pub(crate) fn get(&self, id: LimiterId) -> Option<&Limiter> {
        let (row, at) = Self::place(id)?;
        self.rows.get(row)?.get()?.get(at)?.get()
    }

    /// One for so many keys that nobody has, closed.
    pub(crate) fn lend(&self, max_keys: u32) -> Result<(LimiterId, &Limiter), OutOfMemory> {
        {
            let mut stock = lock(&self.stock);
            let fits = |&id: &LimiterId| self.get(id).is_some_and(|limiter| limiter.max_keys() == max_keys);
            if let Some(limiter) = stock.spare.iter().position(fits).map(|at| stock.spare.swap_remove(at)) {
                return Ok((limiter, self.get(limiter).expect("it was made")));
            }
        }
        let limiter = Box::new(Limiter::new(max_keys)?);
        let id = {
            let mut stock = lock(&self.stock);
            stock.made += 1;
            stock.made
        };
        let (row, at) = Self::place(id).expect("ids begin with 1");
        let row = self.rows[row].get_or_init(|| Box::new((0..1 << row).map(|_| OnceBox::new()).collect()));
        Ok((id, row[at].get_or_init(|| limiter)))
    }

    /// Nobody has it any more, but for hits that are slow.
    pub(crate) fn take_back(&self, id: LimiterId) {
        lock(&self.stock).spare.push(id);
    }
}
