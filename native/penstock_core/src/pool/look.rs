//! Looking for holders that are dead and whose monitors have not run yet.
//!
//! Who saw the death of a holder may ask before the pool was told. So a refusal by a pool of at most [`CROWD`] holders looks at
//! all of them first, every time. On a larger one it looks at none: the monitor runs microseconds later, and to
//! look at some would find the right one too seldom to be worth what it costs a flood of refusals. It would also
//! admit a successor while the dead process still has its place in the VM's table, and so pass the limit by the look
//! of whoever counts processes. So the dead are buried when all were looked at, and not if that found a crowd.
//!
//! What the look takes for a holder may be an acquire that is about to be refused, and withdraws what it announced: beside seven
//! that live and one that is dead, two of them at one instant look like a crowd. And what another's burial frees may
//! go to a waiter that is dead as well and was passed already. In both cases the refusal stands, and the
//! monitors tell the pool microseconds later.

use crate::host::{Host, Pid};

use super::Pool;
use super::crowd::CROWD;

/// How far a look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Not at all: there is a crowd.
    Nothing,
    /// At all there was to look at: ask for the permit once more.
    All,
    /// There is more than one call may look at.
    Unfinished,
}

/// Entries that one call visits, each some 50 ns if it is to be taken off the list.
const MOST: usize = 1024;
/// Dead that one call buries; with that many before nine that live, it does not go on to see whether there is a crowd.
const MOST_BURIED: usize = 128;

/// What a call has done so far.
#[derive(Default)]
struct Tally {
    visited: usize,
    /// Cache lines that were looked at to find them.
    passed: usize,
    buried: usize,
    /// More waiters are due than one call may answer, and the host was asked to go on with them.
    deferred: bool,
}

impl Tally {
    fn has_room(&self) -> bool {
        self.visited < MOST && self.buried < MOST_BURIED && !self.deferred
    }
}

impl<H: Host> Pool<H> {
    #[inline]
    pub(super) fn look_for_dead(&self, host: &H) -> Looked {
        if self.front.crowd.confirmed() { Looked::Nothing } else { self.look_closely(host) }
    }

    fn look_closely(&self, host: &H) -> Looked {
        let mut tally = Tally::default();
        let looked = loop {
            let (alive, dead) = self.look_at_all(host, &mut tally);
            if alive > CROWD {
                let suspicion = self.front.crowd.suspect();
                // The other look's confirmation is as good as ours, which it may have prevented.
                if self.crowded(&mut tally) && (self.front.crowd.confirm(suspicion) || self.front.crowd.confirmed()) {
                    break Looked::All;
                }
                // The look stopped at a crowd that is none, or never was, as permits that move are counted twice: there may
                // be dead it has not seen.
            } else {
                self.bury_all(host, &dead, &mut tally);
                if tally.has_room() && dead.is_empty() {
                    break Looked::All;
                }
                // What a dead holder had may have gone to a waiter that is dead as well, and was passed already.
            }
            if !tally.has_room() {
                break Looked::Unfinished;
            }
        };
        host.worked(tally.visited + tally.passed);
        looked
    }

    /// How many of the holders are alive, counted to one more than [`CROWD`], and which of those before it are dead.
    fn look_at_all(&self, host: &H, tally: &mut Tally) -> (usize, Vec<Pid>) {
        // Allocates for the first dead only.
        let (mut alive, mut dead) = (0, Vec::new());
        let passed = self.table.each_listed(|slot, pid, entry| {
            tally.visited += 1;
            if entry.held() == 0 {
                self.table.unlist_idle(pid, slot);
            } else if host.alive(pid) {
                alive += 1;
            } else {
                dead.push(pid);
            }
            alive <= CROWD && tally.has_room() && tally.buried + dead.len() < MOST_BURIED
        });
        tally.passed += passed;
        (alive, dead)
    }

    /// Only once it is known that those alive are no crowd: see the top for what a crowd's dead would cost.
    fn bury_all(&self, host: &H, dead: &[Pid], tally: &mut Tally) {
        let mut due = false;
        for &pid in dead {
            due |= self.bury(pid);
        }
        tally.buried += dead.len();
        // Once for all of them: each may have been what many waited for.
        tally.deferred |= due && !self.settle(host);
    }

    /// Whether more than [`CROWD`] processes hold something.
    fn crowded(&self, tally: &mut Tally) -> bool {
        let mut holders = 0;
        tally.passed += self.table.each_listed(|_, _, entry| {
            holders += usize::from(entry.held() > 0);
            holders <= CROWD
        });
        holders > CROWD
    }
}
