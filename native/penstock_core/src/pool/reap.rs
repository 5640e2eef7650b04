//! Reaps dead holders: takes back their permits, and removes their waits and entries.
//!
//! The monitor of a dead holder reaps it, by [`Pool::down`]. But a caller may learn of the death
//! before that monitor has run. So before a request is refused, a scan visits all holders. If at
//! most [`SCAN_LIMIT`] of them live, it reaps the dead ones.
//!
//! If more live, the scan stops, publishes the [many-holders hint](super::many_holders) and reaps
//! none; while the hint stands, refusals do not scan. It would be wrong to reap those dead
//! holders that the scan has met:
//!
//! - A flood of refusals would pay for scans that seldom meet the right holder, whose monitor
//!   runs microseconds later.
//! - A dead process stays in the VM's process table until its monitors have run. A successor that
//!   is admitted before that makes more processes in the table than the limit. A pool of few
//!   holders exceeds it by a few at most.
//!
//! # What a scan can miss
//!
//! In these cases the refusal stands, although a dead holder's permits would have been enough.
//! The monitor brings them back microseconds later.
//!
//! - A scan that meets more dead holders than one call may reap leaves the rest to their
//!   monitors.
//! - The hint stands until a holder is reaped or stops holding. Suppose that it was published
//!   while nine holders lived, one more than the scan limit. If one of them dies, the hint stands
//!   until the monitor of that one has run.
//! - An acquire announces permits in its entry before it takes them. A scan may count such an
//!   entry as a holder although the acquire is then refused. With seven living holders and a dead
//!   one, two such acquires at one instant look like nine living holders.
//! - The permits of a reaped holder may go to a waiter that is dead, too, and whose entry the
//!   scan has passed. A scan walks again if it reaped a holder, but not if another call did.

use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::many_holders::SCAN_LIMIT;
use super::{Pool, PoolHost};

/// The result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The many-holders hint stands, so there was no scan.
    Skipped,
    /// The scan ended, and may have reaped holders: the caller tries again to take permits.
    Done,
    /// The scan exceeds the bound of one call: the caller must call again.
    Unfinished,
}

/// The largest number of entries that one call visits, each some 50 ns if it is deactivated.
const MOST_VISITED: usize = 1024;
/// The number of dead holders after which a call reaps no more, and a walk stops.
const MOST_REAPED: usize = 128;

/// The work that a scan has done so far, over all its walks.
#[derive(Default)]
struct Tally {
    /// The number of entries visited.
    visited: usize,
    /// The number of cache lines of bits that were read to find these entries.
    lines: usize,
    /// The number of dead holders reaped.
    reaped: usize,
    /// The waiters that got the permits are more than one call serves, and the host was asked to
    /// serve the others.
    deferred: bool,
    /// The dead holders that the last walk found. The vector is kept from walk to walk, so that a
    /// scan allocates once, and only if there are dead holders.
    dead: Vec<Pid>,
}

impl Tally {
    /// Returns `true` if the bound of one call allows more work.
    fn has_room(&self) -> bool {
        self.visited < MOST_VISITED && self.reaped < MOST_REAPED && !self.deferred
    }
}

/// The result of a walk along the active entries.
enum Walk {
    /// The walk stopped at more than [`SCAN_LIMIT`] living holders.
    Many,
    /// The walk stopped at more than [`MOST_REAPED`] dead holders, and had met at most
    /// [`SCAN_LIMIT`] living ones.
    ManyDead,
    /// The walk visited all active entries. The dead holders are in the tally.
    Whole,
    /// The walk stopped at the bound of one call. It deactivated the visited entries, except for
    /// at most [`SCAN_LIMIT`] living and [`MOST_REAPED`] dead holders, so the next call gets
    /// further.
    Part,
}

impl<H: PoolHost> Pool<H> {
    /// Reaps a dead process, and serves the waiters. May be called any number of times for one
    /// process; its permits come back once.
    pub fn down(&self, host: &H, pid: Pid) {
        if self.reap(pid) {
            self.serve(host);
        }
    }

    /// Reaps a process if it is dead; does nothing if it lives. For a caller that learnt of the
    /// death and needs the permits before the monitor has run. The caller is the spawner, or
    /// heard from the spawner after the handoff.
    pub fn ended(&self, host: &H, pid: Pid) {
        // Usually the monitor was first. The insertion of the entry happens before this call, so
        // a look-up without a lock finds the entry, unless it was removed.
        if self.table.find(pid).is_some() && !host.alive(pid) {
            self.down(host, pid);
        }
    }

    /// Reaps a dead process. Returns `true` if the caller must serve the wait queue.
    fn reap(&self, pid: Pid) -> bool {
        self.reclaim(pid, 0).1
    }

    /// Reaps a dead process, but does not give back `keep` of its permits, if it held that many:
    /// these are the caller's. Returns whether it held them, and whether the caller must serve
    /// the wait queue.
    pub(super) fn reclaim(&self, pid: Pid, keep: u64) -> (bool, bool) {
        // First the waits, which the entry names. After this no grant credits the entry, and the
        // permits of an earlier grant come back with the entry.
        let waited = self.remove_waits_of(pid);
        let give_back = |permits| if permits > 0 { self.state.give(permits) } else { self.state.load() };
        // `None`: another call reaped the process.
        let Some(reclaimed) = self.table.remove(self.generation(), pid, keep, give_back) else {
            return (false, waited);
        };
        if reclaimed.permits > 0 {
            // ORDERING: pairs with the fence in `ManyHolders::propose`. The entry is wiped before
            // the hint is loaded.
            fence(Ordering::SeqCst);
            if self.front.many_holders.is_set() {
                self.front.many_holders.clear();
            }
        }
        // Its wait may have been the head, or waiters may get its permits.
        (reclaimed.retained > 0, waited || reclaimed.given_back.flagged())
    }

    /// Scans for dead holders and reaps them, unless there are many holders.
    #[inline]
    pub(super) fn reap_dead(&self, host: &H) -> Scan {
        if self.front.many_holders.is_published() { Scan::Skipped } else { self.scan(host) }
    }

    fn scan(&self, host: &H) -> Scan {
        let mut tally = Tally::default();
        let result = loop {
            match self.walk(host, &mut tally) {
                Walk::Many => {
                    let proposal = self.front.many_holders.propose();
                    let again = self.walk(host, &mut tally);
                    // If another scan proposed meanwhile, this one cannot publish; the hint of
                    // that scan serves as well.
                    if matches!(again, Walk::Many)
                        && (self.front.many_holders.publish(proposal) || self.front.many_holders.is_published())
                    {
                        break Scan::Done;
                    }
                    // The holders are not many any more, or never were: a permit that moved to
                    // another entry during the walk may be counted in both. The walk may have
                    // stopped before a dead holder, so the scan walks again.
                }
                // Their monitors are about to run, and one call cannot reap thousands.
                Walk::ManyDead => break Scan::Done,
                Walk::Whole if tally.dead.is_empty() => break Scan::Done,
                // Then walks again: the permits may have gone to a waiter that is dead, too, and
                // whose entry this walk has passed.
                Walk::Whole => self.reap_found(host, &mut tally),
                Walk::Part => {}
            }
            if !tally.has_room() {
                break Scan::Unfinished;
            }
        };
        host.worked(tally.visited + tally.lines);
        result
    }

    /// Visits active entries: deactivates those that hold nothing, counts the living holders, and
    /// collects the dead ones. Reaps none, since the holders may turn out to be many.
    fn walk(&self, host: &H, tally: &mut Tally) -> Walk {
        let (mut alive, mut walk) = (0, Walk::Whole);
        tally.dead.clear();
        let lines = self.table.each_active(|slot, pid, entry| {
            if !tally.has_room() {
                walk = Walk::Part;
                return false;
            }
            tally.visited += 1;
            if entry.held() == 0 {
                self.table.deactivate_if_idle(pid, slot);
            } else if host.alive(pid) {
                alive += 1;
            } else {
                tally.dead.push(pid);
            }
            if alive > SCAN_LIMIT {
                walk = Walk::Many;
            } else if tally.dead.len() > MOST_REAPED {
                walk = Walk::ManyDead;
            }
            matches!(walk, Walk::Whole)
        });
        tally.lines += lines;
        walk
    }

    /// Reaps the dead holders that the last walk found.
    fn reap_found(&self, host: &H, tally: &mut Tally) {
        let mut due = false;
        for &pid in &tally.dead {
            due |= self.reap(pid);
        }
        tally.reaped += tally.dead.len();
        // Serves once for all of them, since the permits of each may go to many waiters.
        tally.deferred |= due && !self.serve(host);
    }
}
