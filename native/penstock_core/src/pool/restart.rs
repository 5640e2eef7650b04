//! Restarts: permits for a child that replaces a dead one.
//!
//! A supervisor that cannot restart a child tries again at once. After `max_restarts` failures,
//! three by default, it terminates with all its other children. So a pool that is full refuses
//! other callers, but tries to admit a restart. The restart gets permits by a *takeover* of a
//! dead holder's permits, or by an *overdraft*: permits beyond the limit.
//!
//! # The steps of a restart
//!
//! The supervisor answers no message during a restart. So each call does bounded work, and
//! returns the step of the next call. A *piece* is the part of the holders that one call visits.
//! A *lap* visits all pieces, one in a call. A lap is *barren* if it found no dead holder with
//! enough permits.
//!
//! Each call first tries the cheap sources: free permits, and the dead holders that earlier
//! restarts remembered. After that, the step of the call decides:
//!
//! ```text
//! step        tries                           if that fails
//! ----------  ------------------------------  -------------------------------------------------
//! first       takeover in the next piece of   the piece was the whole table: refused
//!             the holders, then overdraft     a barren lap was recent: pause, then retry 1
//!                                             otherwise: a lap
//! lap         takeover in each piece, one in  refused
//!             a call, and then overdraft
//! retry 1, 2  overdraft                       pause, then the next retry
//! retry 3     overdraft                       a restart of the pool waited recently: refused
//!                                             otherwise: wait, then retry 4
//! retry 4, 5  overdraft                       wait, then the next retry
//! retry 6     overdraft                       refused
//! ```
//!
//! In a pause, the supervisor lets other processes run. In a wait, it lets 1 ms pass.
//!
//! # Takeover
//!
//! When a child has died, it or another dead holder may still have permits that have not come
//! back. A takeover reaps such a holder under its shard lock, as the host's monitor of the holder
//! would. Only one call removes the entry, so the permits go once, to the restart or to the pool.
//! Permits that go to the restart stay in use throughout, so no other caller can take them.
//!
//! In a pool of some hundred holders, one piece is the whole table. In a larger pool each restart
//! begins where the last one stopped. Children often die together, so a restart remembers the
//! other dead holders of its piece for the restarts that follow. A remembered pid is a hint: the
//! process may have been reaped, and its pid may belong to a living process by now. So a later
//! restart asks the host again whether the process lives. If the process has no entry any more,
//! the takeover fails. A dead holder that no restart remembers is reaped by its monitor.
//!
//! # Overdraft
//!
//! An overdraft covers the microseconds until the monitor of the dead child has run. It makes the
//! count of free permits negative. So until the overdraft is paid back, no acquire succeeds and
//! no waiter gets permits.
//!
//! The pool's `max_overdraft` bounds the overdraft. If the pool is overdrawn because its limit
//! fell, restarts can raise the permits in use up to their number at that change. So each child
//! of such a pool can be restarted: no other process can take the child's permits meanwhile.
//!
//! # Laps, pauses and waits
//!
//! A refusal may terminate the supervisor. So if the overdraft is exhausted, a restart visits all
//! holders, in a lap. After a barren lap no lap begins for a cooldown: ten times the duration of
//! the lap, at most 1 s. When the cooldown ends, the host's monitors have reaped all holders that
//! died before the lap. If a holder died since the lap, its monitor is about to run. So a restart
//! within the cooldown makes pauses and then waits, to let that monitor run.
//!
//! At most one restart of a pool begins to wait in 30 ms. The supervisor answers no message
//! during a wait, so the waits of many refused restarts must not add up.

use crate::holders::{Cursor, Kind};
use crate::host::Pid;
use crate::sync::{Mutex, lock};

use super::acquire::Refusal;
use super::{AS_LIMIT, Pool, PoolHost, UNLIMITED};

/// The number of cache lines in a piece. A piece has at most that number of holders. A visit to a
/// holder takes some 30 ns.
const PIECE_LINES: usize = if cfg!(loom) { 16 } else { 512 };
/// The number of dead holders that a pool can remember. Their pids take 8 KiB, which the pool
/// allocates when it first remembers a dead holder.
const MOST_REMEMBERED: usize = if cfg!(loom) { 2 } else { 1024 };
/// The number of remembered holders that one call tries. A try takes some 100 ns.
const MOST_TRIED: usize = 128;
/// The number of pauses of a restart that makes no lap because a barren lap was recent.
const PAUSES: u64 = 3;
/// The number of waits of 1 ms after the pauses.
const WAITS: u64 = 3;
/// After a restart of the pool began to wait, no other restart of the pool begins to wait for
/// this number of ms.
const WAIT_INTERVAL_MS: u32 = 30;
/// The length of the cooldown after a barren lap, in durations of that lap. No lap begins in a
/// cooldown.
const COOLDOWN_LAPS: u32 = 10;
/// The upper bound of a cooldown, in ms.
const MAX_COOLDOWN_MS: u32 = 1_000;

/// The answer to a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The caller holds the permits, as bound ones.
    Admitted,
    /// No dead holder with enough permits was found, and the overdraft is exhausted; or the pool
    /// is closed or draining.
    Refused(Refusal),
    /// The caller must call again with this step, at once.
    More(Step),
    /// The caller must let other processes run and then call again with this step: a monitor may
    /// be about to give permits back.
    Pause(Step),
    /// The caller must let 1 ms pass and then call again with this step.
    Wait(Step),
}

/// The step of a restart; see the table at the top of this file. It consists of a phase and an
/// operand: the cursor of a lap, or the number of a retry. 0 is the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step(u64);

impl Step {
    const PHASE_SHIFT: u32 = 40;
    const LAP: u64 = 1;
    const RETRY: u64 = 2;

    fn lap(at: Cursor) -> Self {
        Self(Self::LAP << Self::PHASE_SHIFT | at.to_bits())
    }
    fn retry(number: u64) -> Self {
        Self(Self::RETRY << Self::PHASE_SHIFT | number)
    }
    fn phase(self) -> u64 {
        self.0 >> Self::PHASE_SHIFT
    }
    fn operand(self) -> u64 {
        self.0 & ((1 << Self::PHASE_SHIFT) - 1)
    }
    /// Returns the step as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the step of a word. A word that no call returned is also a step, and does no harm.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The memory that the restarts of a pool share, under the restart lock.
#[derive(Debug)]
pub(super) struct Restarts(Mutex<Shared>);

#[derive(Debug)]
struct Shared {
    /// The remembered holders: each was dead when a restart visited it.
    dead: Vec<Pid>,
    /// The cursor at which the next restart begins.
    next_piece: Cursor,
    /// When the last lap began, in ms of the host's exact clock.
    lap_began: u32,
    /// The cooldown: when the last barren lap ended, in ms of the host's exact clock, and for how
    /// many ms after that no lap begins.
    cooldown: Option<(u32, u32)>,
    /// When a restart last began to wait, in ms of the host's exact clock.
    wait_began: Option<u32>,
}

impl Restarts {
    pub(super) fn new() -> Self {
        let next_piece = Cursor::default();
        Self(Mutex::new(Shared { dead: Vec::new(), next_piece, lap_began: 0, cooldown: None, wait_began: None }))
    }
}

/// The result of a visit to a piece of the holders.
enum Piece {
    /// The caller holds permits of a dead holder.
    TakenOver,
    /// No dead holder had enough permits. Holds the cursor of the next piece, or `None` after the
    /// last.
    Barren(Option<Cursor>),
}

impl<H: PoolHost> Pool<H> {
    /// Acquires `n` bound permits for a restart. The supervisor calls this, with the first step
    /// or with the step that the last call returned.
    pub fn take_for_restart(&self, host: &H, me: Pid, n: u32, step: Step) -> Restart {
        if self.state.load().closed() {
            return self.refuse_restart(me, Refusal::Closed);
        }
        if self.table.find(me).is_none() && self.insert(host, me).is_none() {
            return Restart::Refused(Refusal::Closed);
        }
        // Each step tries free permits again, because a monitor may have given some back since
        // the last step.
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
            Step::RETRY => self.retry_step(host, me, n, step.operand()),
            _ => self.first_step(host, me, n),
        }
    }

    fn first_step(&self, host: &H, me: Pid, n: u32) -> Restart {
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

    fn retry_step(&self, host: &H, me: Pid, n: u32, number: u64) -> Restart {
        let next = Step::retry(number + 1);
        match self.overdraw(host, me, n) {
            Ok(admitted) => admitted,
            Err(Refusal::Full) if number < PAUSES => Restart::Pause(next),
            Err(Refusal::Full) if number == PAUSES && self.begin_to_wait(host) => Restart::Wait(next),
            Err(Refusal::Full) if number > PAUSES && number < PAUSES + WAITS => Restart::Wait(next),
            Err(refusal) => self.refuse_restart(me, refusal),
        }
    }

    /// Takes over permits of a remembered dead holder. Returns `true` if a holder had enough.
    fn take_over_remembered(&self, host: &H, me: Pid, n: u32) -> bool {
        for _ in 0..MOST_TRIED {
            let Some(pid) = lock(&self.restarts.0).dead.pop() else { return false };
            // The host is asked again, because the pid may belong to a living process by now.
            if pid != me && !host.alive(pid) && self.take_over(host, me, n, pid) {
                return true;
            }
        }
        false
    }

    /// Visits the piece of the holders that begins at the cursor `from`, and takes over `n`
    /// permits of a dead holder. Remembers the other dead holders, and the end of the piece, for
    /// later restarts.
    fn take_over_in_piece(&self, host: &H, me: Pid, n: u32, from: Cursor) -> Piece {
        let (holders, next) = self.holders(from, PIECE_LINES);
        host.worked(holders.len());
        let mut dead: Vec<Pid> = Vec::new();
        for holding in holders {
            // A dead holder of fewer permits is left to its monitor, which gives the permits to
            // the pool.
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

    /// Remembers dead holders while there is room, and the cursor at which the next restart
    /// begins.
    fn remember(&self, dead: &[Pid], next: Cursor) {
        let allocated = {
            let mut shared = lock(&self.restarts.0);
            shared.next_piece = next;
            shared.dead.capacity() > 0
        };
        if dead.is_empty() {
            return;
        }
        // The memory is allocated outside the restart lock, so that no other restart waits
        // meanwhile.
        let room = if allocated { Vec::new() } else { Vec::with_capacity(MOST_REMEMBERED) };
        let mut shared = lock(&self.restarts.0);
        if shared.dead.capacity() < room.capacity() {
            shared.dead = room;
        }
        let places = MOST_REMEMBERED - shared.dead.len();
        shared.dead.extend(dead.iter().take(places));
    }

    /// Reaps a dead process, and gives `n` of its permits to the caller. If the process held
    /// fewer, all its permits go to the pool, and this returns `false`. Also returns `false` if
    /// another call has reaped the process.
    fn take_over(&self, host: &H, me: Pid, n: u32, dead: Pid) -> bool {
        let (retained, due) = self.reclaim(dead, u64::from(n), host.now_ms());
        if retained {
            let entry = self.table.find(me).expect("the caller inserted its entry and is alive");
            self.record_unannounced(host, me, entry, n, Kind::Bound);
        }
        if due {
            self.serve(host);
        }
        retained
    }

    /// Begins a lap. Returns `false` if the last barren lap is too recent.
    fn begin_lap(&self, host: &H) -> bool {
        let now = host.exact_ms();
        let mut shared = lock(&self.restarts.0);
        if shared.cooldown.is_some_and(|(ended, cooldown)| now.wrapping_sub(ended) < cooldown) {
            return false;
        }
        // The old cooldown is deleted. Otherwise it would seem to last again once the clock has
        // wrapped, after 49 days.
        shared.cooldown = None;
        shared.lap_began = now;
        true
    }

    /// Begins the waits of a restart. Returns `false` if another restart began to wait less than
    /// [`WAIT_INTERVAL_MS`] ago.
    fn begin_to_wait(&self, host: &H) -> bool {
        let now = host.exact_ms();
        let mut shared = lock(&self.restarts.0);
        if shared.wait_began.is_some_and(|began| now.wrapping_sub(began) < WAIT_INTERVAL_MS) {
            return false;
        }
        shared.wait_began = Some(now);
        true
    }

    /// Ends a barren lap, and begins its cooldown.
    fn end_lap(&self, host: &H) {
        let now = host.exact_ms();
        let mut shared = lock(&self.restarts.0);
        let took = now.wrapping_sub(shared.lap_began);
        shared.cooldown = (took > 0).then(|| (now, took.saturating_mul(COOLDOWN_LAPS).min(MAX_COOLDOWN_MS)));
    }

    /// Takes `n` permits beyond the limit, if the bound of the overdraft allows it.
    fn overdraw(&self, host: &H, me: Pid, n: u32) -> Result<Restart, Refusal> {
        let taken = {
            // No other call changes the limit or the settings while this call has the queue lock.
            let mut guarded = lock(&self.guarded);
            let limit = self.front.limit.limit();
            let max_overdraft = match guarded.settings.max_overdraft {
                AS_LIMIT => limit,
                given => given.min(UNLIMITED),
            };
            let least = -(max_overdraft as i64);
            // If the pool is overdrawn because the limit fell, the restart can bring up to
            // `shrunk_from` permits into use.
            let least_if_overdrawn = least.min(limit as i64 - guarded.shrunk_from as i64);
            let taken = self.state.overdraw(n, least, least_if_overdrawn);
            if let Ok(left) = taken {
                guarded.overdrawn += u64::from(left.free() < 0);
                if left.free() + i64::from(n) >= 0 {
                    // The pool was not overdrawn before this call, so an overdraft by a smaller
                    // limit has been paid back.
                    guarded.shrunk_from = 0;
                }
                self.note_peak(self.front.limit.load(), left);
            }
            taken
        };
        match (taken, self.table.find(me)) {
            (Ok(_), Some(entry)) => {
                self.record_unannounced(host, me, entry, n, Kind::Bound);
                Ok(Restart::Admitted)
            }
            (Ok(_), None) => {
                // Not expected: the caller inserted its entry before, and is alive.
                self.state.give(u64::from(n));
                Err(Refusal::Closed)
            }
            (Err(word), _) => Err(if word.closed() { Refusal::Closed } else { Refusal::Full }),
        }
    }

    fn refuse_restart(&self, me: Pid, refusal: Refusal) -> Restart {
        self.count_refusal(me, refusal);
        Restart::Refused(refusal)
    }
}
