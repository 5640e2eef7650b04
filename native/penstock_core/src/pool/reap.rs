//! Reaps dead holders, whether their monitors have run or not.
//!
//! A caller may know of the death of a holder before the pool does. So a refusal by a pool of at
//! most [`SCAN_LIMIT`] holders scans all of them first, every time. On a larger pool it scans
//! none, once the many-holders hint is published. The monitor runs microseconds later, and a partial scan finds the right holder too
//! seldom for what it costs a flood of refusals. It would also admit a successor while the dead
//! process still has its place in the VM's table, and so pass the limit as counted by processes.
//! So the dead are reaped once all holders were scanned, and only if these are not many.
//!
//! A dead holder counts until the pool has its permits back. If the hint was published while all
//! of nine holders lived, it stands until the monitor of the first dead one has run.
//!
//! What the scan takes for a holder may be an acquire that is about to be refused, and withdraws
//! its announcement. With seven living holders and a dead one, two such acquires at one instant
//! look like too many. And the permits of a reaped holder may go to a waiter that is dead as well
//! and was passed already. The scan walks again for the permits that it gave back itself, not for
//! those that another call gave. Where it misses such a case the refusal stands, and the monitors
//! tell the pool microseconds later.

use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::many_holders::SCAN_LIMIT;
use super::{Pool, PoolHost};

/// How far a scan went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// It was skipped, as there are many holders.
    Skipped,
    /// It is complete: the caller asks for the permits once more.
    Done,
    /// It exceeds one call.
    Unfinished,
}

/// The number of entries that one call visits, each some 50 ns if it is deactivated.
const MOST: usize = 1024;
/// The number of dead holders that one call reaps. More of them count as many holders.
const MOST_REAPED: usize = 128;

/// What a call has done so far.
#[derive(Default)]
struct Tally {
    visited: usize,
    /// The cache lines that were looked at to find them.
    passed: usize,
    reaped: usize,
    /// More waiters are due than one call may serve, and the host was asked to go on with them.
    deferred: bool,
    /// The dead that the last walk found. Kept here, so that one call allocates once, and only if
    /// there are any.
    dead: Vec<Pid>,
}

impl Tally {
    fn has_room(&self) -> bool {
        self.visited < MOST && self.reaped < MOST_REAPED && !self.deferred
    }
}

/// The result of a walk along the active entries.
enum Walk {
    /// More than [`SCAN_LIMIT`] living holders.
    Many,
    /// More dead holders than one call reaps, before there were many living ones.
    ManyDead,
    /// All of them were visited. The dead are in the tally.
    Whole,
    /// No room for more. All visited entries are inactive now, except for at most [`SCAN_LIMIT`]
    /// living and [`MOST_REAPED`] dead holders.
    Part,
}

impl<H: PoolHost> Pool<H> {
    /// Reaps a process that is gone: all its permits come back, no matter between which
    /// calls it died. May be called once or many times.
    pub fn down(&self, host: &H, pid: Pid) {
        if self.reap(pid) {
            self.serve(host);
        }
    }

    /// Reaps the process if it is dead; does nothing if it lives. For a caller that learnt of the
    /// death before the monitor has run and needs the permits now: the spawner, or a process that
    /// heard from it since.
    pub fn ended(&self, host: &H, pid: Pid) {
        // Its monitor was usually first. The caller knows that the entry was inserted; if it is
        // missing, it is gone for good, which needs no lock to see.
        if self.table.find(pid).is_some() && !host.alive(pid) {
            self.down(host, pid);
        }
    }

    /// Takes back all that a dead process had. Returns `true` if the wait queue may have to be
    /// served.
    fn reap(&self, pid: Pid) -> bool {
        self.reclaim(pid, 0).1
    }

    /// Takes back all that a dead process had, except for `keep` permits, which are the caller's.
    /// Returns whether it had that many, and whether the wait queue may have to be served.
    pub(super) fn reclaim(&self, pid: Pid, keep: u64) -> (bool, bool) {
        // The waits first, as the entry leads to them. A grant that was made before is in the
        // entry, and comes back with it.
        let waited = self.remove_waits_of(pid);
        let give_back = |permits| if permits > 0 { self.state.give(permits) } else { self.state.load() };
        let Some(reclaimed) = self.table.remove(self.generation(), pid, keep, give_back) else {
            return (false, waited);
        };
        if reclaimed.permits > 0 {
            // ORDERING: pairs with the fence in `ManyHolders::propose`: the entry is wiped before
            // the hint is loaded.
            fence(Ordering::SeqCst);
            if self.front.many_holders.is_set() {
                self.front.many_holders.clear();
            }
        }
        // A waiter behind it may now be at the head, and waiters may get the permits.
        (reclaimed.retained > 0, waited || reclaimed.given_back.flagged())
    }

    #[inline]
    pub(super) fn reap_dead(&self, host: &H) -> Scan {
        if self.front.many_holders.is_published() { Scan::Skipped } else { self.scan(host) }
    }

    fn scan(&self, host: &H) -> Scan {
        let mut tally = Tally::default();
        let looked = loop {
            match self.walk(host, &mut tally) {
                Walk::Many => {
                    let proposal = self.front.many_holders.propose();
                    let again = self.walk(host, &mut tally);
                    // A hint that another scan published serves as well; that scan may have
                    // prevented this one's.
                    if matches!(again, Walk::Many)
                        && (self.front.many_holders.publish(proposal) || self.front.many_holders.is_published())
                    {
                        break Scan::Done;
                    }
                    // The walk stopped at many holders that are not many, or never were, as
                    // permits that move are counted twice. There may be dead holders that it has
                    // not visited.
                }
                // Their monitors are running, and no single call may have to reap thousands.
                Walk::ManyDead => break Scan::Done,
                Walk::Whole if tally.dead.is_empty() => break Scan::Done,
                // The permits of a dead holder may go to a waiter that is dead as well, and was
                // passed already.
                Walk::Whole => self.reap_found(host, &mut tally),
                Walk::Part => {}
            }
            if !tally.has_room() {
                break Scan::Unfinished;
            }
        };
        host.worked(tally.visited + tally.passed);
        looked
    }

    /// Deactivates entries that hold nothing, and reaps none: see the top of this file for what
    /// reaping some of many would cost.
    fn walk(&self, host: &H, tally: &mut Tally) -> Walk {
        let (mut alive, mut walk) = (0, Walk::Whole);
        tally.dead.clear();
        let passed = self.table.each_active(|slot, pid, entry| {
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
        tally.passed += passed;
        walk
    }

    fn reap_found(&self, host: &H, tally: &mut Tally) {
        let mut due = false;
        for &pid in &tally.dead {
            due |= self.reap(pid);
        }
        tally.reaped += tally.dead.len();
        // Once for all of them: each may have held what many waited for.
        tally.deferred |= due && !self.serve(host);
    }
}
