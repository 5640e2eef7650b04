//! Reaps dead holders: takes back their permits, and removes their waits and entries.
//!
//! The host monitors each holder. When a holder dies, its monitor reaps it, by [`Pool::down`].
//! But a caller may learn of the death before that monitor has run. So before the pool refuses a
//! request, a scan visits all holders. If at most [`SCAN_LIMIT`] of them live, the scan reaps the
//! dead ones.
//!
//! If more of them live, the scan stops, publishes the [many-holders hint](super::many_holders)
//! and reaps no holder. While the hint is published, refusals do not scan. The scan leaves the
//! dead holders that it has met to their monitors, for two reasons:
//!
//! - To find one dead holder among many, each refusal would have to scan. In a flood of refusals
//!   few scans would meet that holder, and its monitor runs microseconds later anyway.
//! - A dead process stays in the VM's process table until its monitors have run. If a successor
//!   is admitted before that, the table has more of the pool's processes than the limit. In a
//!   pool of few holders, which is scanned, the excess is a few processes at most.
//!
//! # What a scan can miss
//!
//! In these cases the refusal stands, although a dead holder's permits would have been enough.
//! The monitor of that holder brings them back microseconds later.
//!
//! - A scan that meets more than [`MOST_REAPED`] dead holders in one walk leaves all of these to
//!   their monitors.
//! - The hint stays published until a holder is reaped or stops holding. Suppose that nine
//!   holders lived when it was published, one more than the scan limit. If one of the nine dies,
//!   the hint stays until the monitor of the dead holder has run.
//! - An acquire announces permits in its entry before it takes them. A scan may count such an
//!   entry as a holder although the acquire is then refused. With seven living holders and a dead
//!   one, two such acquires at one instant look like nine living holders.
//! - The permits of a reaped holder may go to a waiter that is dead, too, and whose entry the
//!   scan has passed. If the scan reaped the holder itself, it walks again. If another call
//!   reaped the holder, the scan does not walk again.

use crate::holders::elapsed_ms;
use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::many_holders::SCAN_LIMIT;
use super::{Pool, PoolHost};

/// The result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The many-holders hint is published, so there was no scan.
    Skipped,
    /// The scan ended, and may have reaped holders: the caller tries again to take permits.
    Done,
    /// The scan exceeds the bound of one call: the caller must call again.
    Unfinished,
}

/// The largest number of entries that one call visits. A visit takes some 50 ns if it removes the
/// entry from the active set.
const MOST_VISITED: usize = 1024;
/// A call that has reaped this number of holders reaps no more. A walk stops if it meets more
/// dead holders.
const MOST_REAPED: usize = 128;

/// The work that a scan has done so far, over all its walks.
#[derive(Default)]
struct Tally {
    /// The number of entries visited.
    visited: usize,
    /// The number of cache lines of the active set that were read to find these entries.
    lines: usize,
    /// The number of dead holders reaped.
    reaped: usize,
    /// `true` if the reaped permits are due to more waiters than one call serves: the host was
    /// asked to serve the others.
    deferred: bool,
    /// The dead holders that the last walk found. All walks use this vector, so that a scan
    /// allocates once, and only if there are dead holders.
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
    /// The walk stopped at the bound of one call. The next call gets further, because this walk
    /// deactivated the visited entries, except those of at most [`SCAN_LIMIT`] living and
    /// [`MOST_REAPED`] dead holders.
    Part,
}

impl<H: PoolHost> Pool<H> {
    /// Reaps a dead process, and serves the waiters. The host can call this any number of times
    /// for one process: the permits of the process come back once.
    pub fn down(&self, host: &H, pid: Pid) {
        if self.reap(pid, host.now_ms()) {
            self.serve(host);
        }
    }

    /// Reaps a process if it is dead; does nothing if it lives. A caller uses this if it has
    /// learnt of the death and needs the permits before the monitor has run. The caller must be
    /// the spawner of the process, or must have heard from the spawner after the handoff.
    pub fn ended(&self, host: &H, pid: Pid) {
        // The insertion of the entry happens before this call, because the caller has learnt of
        // the handoff. So a look-up without a lock finds the entry, unless another call removed
        // it. Usually the monitor was first, and has removed it.
        if self.table.find(pid).is_some() && !host.alive(pid) {
            self.down(host, pid);
        }
    }

    /// Reaps a dead process. Returns `true` if the caller must serve the wait queue.
    fn reap(&self, pid: Pid, now: u32) -> bool {
        self.reclaim(pid, 0, now).1
    }

    /// Reaps a dead process. If the process held at least `keep` permits, the caller keeps `keep`
    /// of them, and the others go back to the pool. Returns whether the caller keeps permits, and
    /// whether it must serve the wait queue. `now` is the present time of the host's coarse clock.
    pub(super) fn reclaim(&self, pid: Pid, keep: u64, now: u32) -> (bool, bool) {
        // The waits are removed before the entry, because the entry names them. After that, no
        // grant credits the entry. The permits of an earlier grant come back with the entry.
        let waited = self.remove_waits_of(pid);
        let give_back = |permits, since: Option<u32>| {
            if let (Some(holds), Some(since)) = (self.front.holds.get(), since) {
                // Before the permits are given back, as `Holds` requires.
                holds.observe(elapsed_ms(since, now));
            }
            if permits > 0 { self.state.give(permits) } else { self.state.load() }
        };
        // `None`: another call has reaped the process.
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
        // The queue must be served if the process had a wait, perhaps at the head, or if waiters
        // or drainers wait for its permits.
        (reclaimed.retained > 0, waited || reclaimed.given_back.flagged())
    }

    /// Scans for dead holders and reaps them, unless the pool has many holders.
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
                    // If another scan proposed the hint meanwhile, this scan cannot publish it.
                    // The hint that the other scan published serves as well.
                    if matches!(again, Walk::Many)
                        && (self.front.many_holders.publish(proposal) || self.front.many_holders.is_published())
                    {
                        break Scan::Done;
                    }
                    // The holders are not many any more, or never were: if a permit moved to
                    // another entry meanwhile, the walk may have counted both holders. The scan
                    // walks again, because the walk may have stopped before a dead holder.
                }
                // The scan leaves the dead holders to their monitors, which are about to run,
                // because one call cannot reap thousands.
                Walk::ManyDead => break Scan::Done,
                Walk::Whole if tally.dead.is_empty() => break Scan::Done,
                // After the reap the scan walks again, because the permits may have gone to a
                // waiter that is dead, too, and whose entry this walk has passed.
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

    /// Visits the entries of the active set: removes entries that hold nothing from the set,
    /// counts the living holders, and collects the dead ones. Reaps no holder, because the living
    /// holders may turn out to be many.
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
        let now = host.now_ms();
        for &pid in &tally.dead {
            due |= self.reap(pid, now);
        }
        tally.reaped += tally.dead.len();
        // One call serves for all reaped holders, because the permits of each may go to many
        // waiters.
        tally.deferred |= due && !self.serve(host);
    }
}
