//! Permits for a process that takes the place of a dead one.
//!
//! A supervisor that may not restart a child tries again at once, and gives up after three times, with all its other
//! children. So a restart is let in where a newcomer is not: it takes over what a dead holder has not given back yet, which on
//! a full pool is its predecessor or somebody else's; or, if there is none, it passes the limit, up to the pool's overdraft. As
//! the free permits of the state word are negative then, all else is refused until that is paid back. In a pool that is
//! overdrawn because its limit shrank, restarts may bring back what was in use then: its children die one by one, and nobody
//! else can have their permits.
//!
//! To take over is one step under the dead holder's lock, against its monitor and everybody else who buries: the permits
//! are removed once, and go either to the pool or to the restart. They are in use throughout.

use crate::host::{Host, Pid};
use crate::sync::{Ordering, fence, lock};

use super::admit::Refusal;
use super::holders::{Kind, Position};
use super::{AS_LIMIT, LimitWord, Pool, UNLIMITED};

/// Cache lines that one call looks at, and at most as many holders, each some 30 ns.
const MOST: usize = 512;

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The permits are the caller's, bound.
    Admitted,
    /// Neither a dead holder nor room for an overdraft.
    Refused(Refusal),
    /// More holders than one call may look at: ask again from there.
    More(Position),
}

impl<H: Host> Pool<H> {
    /// Takes `n` permits for a restart, by the process that restarts. From the start of the holders, or from where the last
    /// call said.
    pub fn take_for_restart(&self, host: &H, me: Pid, n: u32, from: Position) -> Restart {
        if self.state.load().closed() {
            return self.refuse_restart(me, Refusal::Closed);
        }
        let Some(entry) = self.table.find(me).or_else(|| self.enrol(host, me)) else {
            return Restart::Refused(Refusal::Closed);
        };
        let (holders, next) = self.holders(from, MOST);
        host.worked(holders.len());
        for holding in holders {
            if holding.permits >= u64::from(n) && holding.pid != me && !host.alive(holding.pid) {
                let (kept, due) = self.inherit(holding.pid, u64::from(n));
                if kept {
                    self.took(host, me, entry, n, Kind::Bound);
                }
                if due {
                    self.settle(host);
                }
                if kept {
                    return Restart::Admitted;
                }
            }
        }
        match next {
            Some(position) => Restart::More(position),
            None => self.overdraw(host, me, n),
        }
    }

    fn overdraw(&self, host: &H, me: Pid, n: u32) -> Restart {
        let taken = {
            // So that neither the limit nor the overdraft changes meanwhile.
            let mut desk = lock(&self.desk);
            let limit = LimitWord::limit(self.front.limit.load());
            let max_overdraft = match desk.settings.max_overdraft {
                AS_LIMIT => limit,
                given => given.min(UNLIMITED),
            };
            let least = -(max_overdraft as i64);
            let least_of_shrunk = least.min(limit as i64 - desk.shrunk_from as i64);
            let taken = self.state.overdraw(n, least, least_of_shrunk);
            if let Ok(left) = taken {
                if left.free() + i64::from(n) >= 0 {
                    // It had been paid back. No pool is overdrawn but by this and by a shrink.
                    desk.shrunk_from = 0;
                }
                self.note_peak(self.front.limit.load(), left);
            }
            taken
        };
        match (taken, self.table.find(me)) {
            (Ok(_), Some(entry)) => {
                self.took(host, me, entry, n, Kind::Bound);
                // ORDERING: pairs with the fence in `Crowd::suspect`, as wherever permits move.
                fence(Ordering::SeqCst);
                Restart::Admitted
            }
            (Ok(_), None) => {
                // No process calls that is dead, and only its death removes its entry.
                self.state.give(u64::from(n));
                self.refuse_restart(me, Refusal::Closed)
            }
            (Err(word), _) => self.refuse_restart(me, if word.closed() { Refusal::Closed } else { Refusal::Full }),
        }
    }

    fn refuse_restart(&self, me: Pid, refusal: Refusal) -> Restart {
        self.table.shard(me).rejected.fetch_add(1, Ordering::Relaxed);
        Restart::Refused(refusal)
    }
}
