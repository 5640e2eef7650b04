//! Permits for a process that takes the place of a dead one.
//!
//! A supervisor that may not restart a child tries again at once, and after three times
//! terminates, with all its other children. So a restart is admitted where a newcomer is not. It
//! takes over the permits of a dead holder that have not come back yet. On a full pool these are
//! those of its predecessor or of another dead holder. If there is none, it passes the limit, up
//! to the pool's overdraft. The free permits of the state word are negative then, so every other
//! request is refused until they are paid back. In a pool that is overdrawn because its limit
//! shrank, restarts may bring back what was in use then. Its children die one by one, and no
//! other process can have their permits.
//!
//! A takeover is one step under the dead holder's lock, against its monitor and every other call
//! that reaps it. The permits are removed once, and go either to the pool or to the restart. They
//! are in use throughout.
//!
//! The supervisor answers no message meanwhile, so a restart looks at a piece of the holders and
//! not at all of them. A piece covers a pool of some hundred holders; on a larger one each
//! restart goes on where the last one stopped. It remembers every dead holder that it passes, for
//! the restarts that follow, since children die together. If the predecessor is not found, the
//! overdraft covers it for the microseconds until its monitor has run.
//!
//! Only if the overdraft refuses, which is what terminates supervisors, does a restart look at
//! all holders, in a lap of many calls. A lap that found no dead holder is not repeated for ten
//! times as long as it took. By then the monitors of all holders that died before it have run. A
//! holder that died in between has a monitor that is about to run. The restart lets other
//! processes run, and then waits some ms. It waits only once in a while, since restarts that are
//! refused one after the other must not add up.
//!
//! A remembered pid is a hint. Its process may have been reaped since: then there is no entry to
//! remove. The pid may belong to a living process by now: so the host is asked again before the
//! entry is touched. Two restarts never get one dead holder, since one of them removes the entry.
//! A dead holder that no restart remembers is not lost: its monitor runs all the same.

use crate::holders::{Cursor, Kind};
use crate::host::Pid;
use crate::sync::{Mutex, Ordering, fence, lock};

use super::acquire::Refusal;
use super::{AS_LIMIT, LimitWord, Pool, PoolHost, UNLIMITED};

/// The number of cache lines that one call looks at, and at most as many holders, each some 30
/// ns.
const MOST: usize = if cfg!(loom) { 16 } else { 512 };
/// The number of dead holders that a pool remembers: 8 KiB, allocated when there are any.
const MOST_REMEMBERED: usize = if cfg!(loom) { 2 } else { 1024 };
/// Of these, the number that one call tries, each some 100 ns.
const MOST_TRIED: usize = 128;
/// How often a restart lets other processes run before it is refused without a lap.
const PAUSES: u64 = 3;
/// How often it then waits for 1 ms, and for how many ms after that no restart of the pool does.
const WAITS: u64 = 3;
const WAIT_INTERVAL_MS: u32 = 30;
/// For how many times the duration of a lap there is no other, and for how many ms at most.
const COOLDOWN_LAPS: u32 = 10;
const MAX_COOLDOWN_MS: u32 = 1_000;

/// The answer to a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The permits are the caller's, bound.
    Admitted,
    /// There is neither a dead holder nor room for an overdraft.
    Refused(Refusal),
    /// There are more holders than one call may look at: the caller asks again with that step.
    More(Step),
    /// As `More`, once other processes have run: a monitor may be about to bring the permits
    /// back.
    Pause(Step),
    /// As `Pause`, after 1 ms.
    Wait(Step),
}

/// How far one restart has come. 0 is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step(u64);

impl Step {
    const PHASE_SHIFT: u32 = 40;
    const LAP: u64 = 1;
    const RETRY: u64 = 2;

    fn lap(at: Cursor) -> Self {
        Self(Self::LAP << Self::PHASE_SHIFT | at.to_bits())
    }
    fn retry(nth: u64) -> Self {
        Self(Self::RETRY << Self::PHASE_SHIFT | nth)
    }
    fn phase(self) -> u64 {
        self.0 >> Self::PHASE_SHIFT
    }
    fn operand(self) -> u64 {
        self.0 & ((1 << Self::PHASE_SHIFT) - 1)
    }
    /// Returns it as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the step of any word.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// What the restarts of a pool know together.
#[derive(Debug)]
pub(super) struct Restarts(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    /// Holders that were dead when they were passed.
    dead: Vec<Pid>,
    /// Where the next piece begins.
    next_piece: Cursor,
    /// When the last lap began, by the host's exact clock.
    lap_began: u32,
    /// When the last barren lap ended, and for how many ms there is no other.
    cooldown: Option<(u32, u32)>,
    /// When a restart last began to wait.
    wait_began: Option<u32>,
}

impl Restarts {
    pub(super) fn new() -> Self {
        let next_piece = Cursor::default();
        Self(Mutex::new(Shared { dead: Vec::new(), next_piece, lap_began: 0, cooldown: None, wait_began: None }))
    }
}

/// The result of looking at some holders.
enum Piece {
    /// The permits of a dead holder are the caller's.
    TakenOver,
    /// None had them. The next piece begins there; `None` if this was the last.
    Barren(Option<Cursor>),
}

impl<H: PoolHost> Pool<H> {
    /// Acquires `n` permits for a restart, by the process that restarts: from the beginning, or
    /// from the step that the last call returned.
    pub fn take_for_restart(&self, host: &H, me: Pid, n: u32, step: Step) -> Restart {
        if self.state.load().closed() {
            return self.refuse_restart(me, Refusal::Closed);
        }
        if self.table.find(me).is_none() && self.insert(host, me).is_none() {
            return Restart::Refused(Refusal::Closed);
        }
        // Between two pieces a monitor may have brought the permits back.
        if self.take(host, me, n, Kind::Bound) || self.take_over_remembered(host, me, n) {
            return Restart::Admitted;
        }
        match step.phase() {
            Step::LAP => match self.take_over_in_piece(host, me, n, Cursor::from_bits(step.operand())) {
                Piece::TakenOver => Restart::Admitted,
                Piece::Barren(Some(next)) => Restart::More(Step::lap(next)),
                Piece::Barren(None) => {
                    self.end_lap(host);
                    self.overdraw(host, me, n).unwrap_or_else(|refusal| self.refuse_restart(me, refusal))
                }
            },
            Step::RETRY => match self.overdraw(host, me, n) {
                Ok(admitted) => admitted,
                Err(Refusal::Full) if step.operand() < PAUSES => Restart::Pause(Step::retry(step.operand() + 1)),
                Err(Refusal::Full) if step.operand() > PAUSES && step.operand() < PAUSES + WAITS => {
                    Restart::Wait(Step::retry(step.operand() + 1))
                }
                Err(Refusal::Full) if step.operand() == PAUSES && self.begin_to_wait(host) => {
                    Restart::Wait(Step::retry(PAUSES + 1))
                }
                Err(refusal) => self.refuse_restart(me, refusal),
            },
            _ => self.take_at_first(host, me, n),
        }
    }

    /// Tries a piece of the holders and the overdraft, and returns what else to try if that
    /// refuses.
    fn take_at_first(&self, host: &H, me: Pid, n: u32) -> Restart {
        let from = lock(&self.restarts.0).next_piece;
        let whole = match self.take_over_in_piece(host, me, n, from) {
            Piece::TakenOver => return Restart::Admitted,
            Piece::Barren(next) => next.is_none() && from == Cursor::default(),
        };
        match self.overdraw(host, me, n) {
            Ok(admitted) => admitted,
            Err(Refusal::Full) if !whole => {
                if self.begin_lap(host) {
                    Restart::More(Step::lap(Cursor::default()))
                } else {
                    Restart::Pause(Step::retry(1))
                }
            }
            Err(refusal) => self.refuse_restart(me, refusal),
        }
    }

    /// Takes over the permits of a remembered dead holder. Returns `true` if one had enough.
    fn take_over_remembered(&self, host: &H, me: Pid, n: u32) -> bool {
        for _ in 0..MOST_TRIED {
            let Some(pid) = lock(&self.restarts.0).dead.pop() else { return false };
            // Its pid may belong to another process by now.
            if pid != me && !host.alive(pid) && self.take_over(host, me, n, pid) {
                return true;
            }
        }
        false
    }

    /// Looks at holders from a cursor on. The next restart begins behind them, and knows the dead
    /// among them.
    fn take_over_in_piece(&self, host: &H, me: Pid, n: u32, from: Cursor) -> Piece {
        let (holders, next) = self.holders(from, MOST);
        host.worked(holders.len());
        let mut dead: Vec<Pid> = Vec::new();
        for holding in holders {
            // A holder of fewer permits is left to its monitor: a newcomer may have those.
            if holding.permits >= u64::from(n) && holding.pid != me && !host.alive(holding.pid) {
                dead.push(holding.pid);
            }
        }
        let mut taken_over = false;
        while let Some(pid) = dead.pop() {
            if self.take_over(host, me, n, pid) {
                taken_over = true;
                break;
            }
        }
        self.remember(&dead, next.unwrap_or_default());
        if taken_over { Piece::TakenOver } else { Piece::Barren(next) }
    }

    /// Remembers dead holders for later restarts, as far as there is room, and where the next
    /// restart begins.
    fn remember(&self, dead: &[Pid], next: Cursor) {
        let allocated = {
            let mut shared = lock(&self.restarts.0);
            shared.next_piece = next;
            shared.dead.capacity() > 0
        };
        if dead.is_empty() {
            return;
        }
        // Allocated outside the lock.
        let room = if allocated { Vec::new() } else { Vec::with_capacity(MOST_REMEMBERED) };
        let mut shared = lock(&self.restarts.0);
        if shared.dead.capacity() < room.capacity() {
            shared.dead = room;
        }
        let places = MOST_REMEMBERED - shared.dead.len();
        shared.dead.extend(dead.iter().take(places));
    }

    /// Reaps a dead process and gives the caller `n` of its permits. If it held fewer, all of them
    /// go back to the pool.
    fn take_over(&self, host: &H, me: Pid, n: u32, dead: Pid) -> bool {
        let (retained, due) = self.reclaim(dead, u64::from(n));
        if retained {
            // The entry is there, since the caller lives and has inserted it.
            let entry = self.table.find(me).expect("only its death removes an entry");
            self.record_unannounced(host, me, entry, n, Kind::Bound);
        }
        if due {
            self.serve(host);
        }
        retained
    }

    /// Begins a lap. Returns `false` if the last one is too recent.
    fn begin_lap(&self, host: &H) -> bool {
        let now = host.exact_ms();
        let mut shared = lock(&self.restarts.0);
        if shared.cooldown.is_some_and(|(ended, cooldown)| now.wrapping_sub(ended) < cooldown) {
            return false;
        }
        // A clock that wraps must not find it again.
        shared.cooldown = None;
        shared.lap_began = now;
        true
    }

    /// Returns `true` if the restart may wait, and `false` if another did a moment ago.
    fn begin_to_wait(&self, host: &H) -> bool {
        let now = host.exact_ms();
        let mut shared = lock(&self.restarts.0);
        if shared.wait_began.is_some_and(|began| now.wrapping_sub(began) < WAIT_INTERVAL_MS) {
            return false;
        }
        shared.wait_began = Some(now);
        true
    }

    /// Notes that a lap has ended and found no dead holder.
    fn end_lap(&self, host: &H) {
        let now = host.exact_ms();
        let mut shared = lock(&self.restarts.0);
        let took = now.wrapping_sub(shared.lap_began);
        shared.cooldown = (took > 0).then(|| (now, took.saturating_mul(COOLDOWN_LAPS).min(MAX_COOLDOWN_MS)));
    }

    /// Takes the permits beyond the limit, as far as the overdraft allows.
    fn overdraw(&self, host: &H, me: Pid, n: u32) -> Result<Restart, Refusal> {
        let taken = {
            // Under the lock neither the limit nor the overdraft changes.
            let mut guarded = lock(&self.guarded);
            let limit = LimitWord::limit(self.front.limit.load());
            let max_overdraft = match guarded.settings.max_overdraft {
                AS_LIMIT => limit,
                given => given.min(UNLIMITED),
            };
            let least = -(max_overdraft as i64);
            let least_of_shrunk = least.min(limit as i64 - guarded.shrunk_from as i64);
            let taken = self.state.overdraw(n, least, least_of_shrunk);
            if let Ok(left) = taken {
                if left.free() + i64::from(n) >= 0 {
                    // The overdraft had been paid back. Only this and a shrink overdraw a pool.
                    guarded.shrunk_from = 0;
                }
                self.note_peak(self.front.limit.load(), left);
            }
            taken
        };
        match (taken, self.table.find(me)) {
            (Ok(_), Some(entry)) => {
                self.record_unannounced(host, me, entry, n, Kind::Bound);
                // ORDERING: pairs with the fence in `ManyHolders::propose`, as everywhere that
                // permits move.
                fence(Ordering::SeqCst);
                Ok(Restart::Admitted)
            }
            (Ok(_), None) => {
                // No caller is dead, and only the death of a process removes its entry.
                self.state.give(u64::from(n));
                Err(Refusal::Closed)
            }
            (Err(word), _) => Err(if word.closed() { Refusal::Closed } else { Refusal::Full }),
        }
    }

    fn refuse_restart(&self, me: Pid, refusal: Refusal) -> Restart {
        self.table.shard(me).rejected.fetch_add(1, Ordering::Relaxed);
        Restart::Refused(refusal)
    }
}
