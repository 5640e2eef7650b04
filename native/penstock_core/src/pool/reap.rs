//! Looking for holders that are dead and whose monitors have not run yet.
//!
//! Who saw the death of a holder may ask before the pool was told. So a refusal by a pool of at most [`SCAN_LIMIT`] holders looks at
//! all of them first, every time. On a larger one it looks at none: the monitor runs microseconds later, and to
//! look at some would find the right one too seldom to be worth what it costs a flood of refusals. It would also
//! admit a successor while the dead process still has its place in the VM's table, and so pass the limit by the look
//! of whoever counts processes. So the dead are buried when all were looked at, and if that found no crowd. A holder
//! is one whose permits the pool has not got back: nine of whom one has just died are a crowd until it was told.
//!
//! What the look takes for a holder may be an acquire that is about to be refused, and withdraws what it announced: beside seven
//! that live and one that is dead, two of them at one instant look like a crowd. And what another's burial frees may
//! go to a waiter that is dead as well and was passed already. In both cases the refusal stands, and the
//! monitors tell the pool microseconds later.

use crate::host::Pid;
use crate::sync::{Ordering, fence};

use super::many_holders::SCAN_LIMIT;
use super::{Pool, PoolHost};

/// How far a look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// Not at all: there is a crowd.
    Skipped,
    /// At all there was to look at: ask for the permit once more.
    Done,
    /// There is more than one call may look at.
    Unfinished,
}

/// Entries that one call visits, each some 50 ns if it is to be taken off the list.
const MOST: usize = 1024;
/// Dead that one call buries. More of them are a crowd as well.
const MOST_REAPED: usize = 128;

/// What a call has done so far.
#[derive(Default)]
struct Tally {
    visited: usize,
    /// Cache lines that were looked at to find them.
    passed: usize,
    reaped: usize,
    /// More waiters are due than one call may answer, and the host was asked to go on with them.
    deferred: bool,
    /// Found by the last walk. Here, so that one call allocates once, and only if there are any.
    dead: Vec<Pid>,
}

impl Tally {
    fn has_room(&self) -> bool {
        self.visited < MOST && self.reaped < MOST_REAPED && !self.deferred
    }
}

/// What a walk along the holders found.
enum Walk {
    /// More than [`SCAN_LIMIT`] that live.
    Many,
    /// More dead than one call buries, before there was a crowd.
    ManyDead,
    /// All of them. The dead are in the tally.
    Whole,
    /// No room for more. What was visited is off the list, but for at most a crowd and a massacre.
    Part,
}

impl<H: PoolHost> Pool<H> {
    /// The process is gone: all it had in the pool comes back, whatever it was doing. Once or many times.
    pub fn down(&self, host: &H, pid: Pid) {
        if self.reap(pid) {
            self.settle(host);
        }
    }

    /// As [`Pool::down`], for who has learnt of the death by other means than ours and would have what it held back now: who
    /// handed it over, or has heard from the process since. Does nothing if the process lives.
    pub fn ended(&self, host: &H, pid: Pid) {
        // Usually its monitor was first. An entry that was made, as the caller knows, and is not there any more, is gone for
        // good: no lock is needed to see that.
        if self.table.find(pid).is_some() && !host.alive(pid) {
            self.down(host, pid);
        }
    }

    /// Takes back all that a dead process had; whether something may be due at the desk now.
    fn reap(&self, pid: Pid) -> bool {
        self.reclaim(pid, 0).1
    }

    /// As `bury`, but keeps so many of its permits for the caller, if it had them: whether it did.
    pub(super) fn reclaim(&self, pid: Pid, keep: u64) -> (bool, bool) {
        // First, as the entry leads to the waits. A grant that was made before is in the entry,
        // and comes back with it.
        let waited = self.leave_all(pid);
        let give_back = |permits| if permits > 0 { self.state.give(permits) } else { self.state.load() };
        let Some(reclaimed) = self.table.remove(self.generation(), pid, keep, give_back) else {
            return (false, waited);
        };
        if reclaimed.permits > 0 {
            // ORDERING: pairs with the fence in `ManyHolders::propose`: the entry is wiped before we look.
            fence(Ordering::SeqCst);
            if self.front.many_holders.is_noted() {
                self.front.many_holders.withdraw();
            }
        }
        // Who waited behind it may now be at the head; whoever waits for permits may have them.
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
                    // The other look's confirmation is as good as ours, which it may have prevented.
                    if matches!(again, Walk::Many)
                        && (self.front.many_holders.publish(proposal) || self.front.many_holders.is_published())
                    {
                        break Scan::Done;
                    }
                    // The walk stopped at a crowd that is none, or never was, as permits that move are counted twice: there
                    // may be dead it has not seen.
                }
                // Their monitors are running, and nobody may have thousands buried by one call.
                Walk::ManyDead => break Scan::Done,
                Walk::Whole if tally.dead.is_empty() => break Scan::Done,
                // What a dead holder had may go to a waiter that is dead as well, and was passed already.
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

    /// Takes off the list who holds nothing, and buries nobody: see the top for what a crowd's dead would cost.
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
        // Once for all of them: each may have been what many waited for.
        tally.deferred |= due && !self.settle(host);
    }
}
