//! The leases: what one process holds of one key, and waits for.

use crate::holders::Kind;
use crate::host::{Host, Pid};

use super::slab::NIL;

/// The place of a lease: the shard in the high bits, and the number of the lease in the shard in
/// the low ones. [`LeaseAt::SHARD_BITS`] bits of the shard leave 22 bits of the number; in
/// models, 3 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseAt(u32);

impl LeaseAt {
    pub(super) const SHARD_BITS: u32 = if cfg!(any(loom, shuttle)) { 29 } else { 10 };
    const NUMBER_BITS: u32 = 32 - Self::SHARD_BITS;

    pub(super) fn new(shard: usize, number: u32) -> Self {
        Self((shard as u32) << Self::NUMBER_BITS | number)
    }
    pub(super) fn shard(self) -> usize {
        (self.0 >> Self::NUMBER_BITS) as usize
    }
    pub(super) fn number(self) -> u32 {
        self.0 & ((1 << Self::NUMBER_BITS) - 1)
    }
    /// The number of leases that a shard can have at most.
    pub(super) const MOST: u32 = 1 << Self::NUMBER_BITS;
}

/// A number of 27 bits. With a [`LeaseAt`] it makes a word of 59 bits, which is a small integer
/// on the BEAM.
const SEQ_MASK: u32 = (1 << 27) - 1;

/// Names one lease of one process, for as long as the process holds permits of the key or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(u64);

impl LeaseId {
    pub(super) fn new(at: LeaseAt, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(at.0))
    }
    pub(super) fn at(self) -> LeaseAt {
        LeaseAt(self.0 as u32)
    }
    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Returns the id as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the id that a word stands for. The word may be any: each use of an id checks that
    /// the lease exists, and that it is one of the calling process.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Names a handoff of permits of one key: by the lease of the spawner, and the sequence number of
/// the handoff there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedOffer(u64);

impl KeyedOffer {
    pub(super) fn new(at: LeaseAt, seq: u32) -> Self {
        Self(u64::from(seq) << 32 | u64::from(at.0))
    }
    pub(super) fn at(self) -> LeaseAt {
        LeaseAt(self.0 as u32)
    }
    pub(super) fn seq(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Returns the offer as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the offer that a word stands for. Any word stands for one, which may not exist.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A wait of a process for permits of one key.
pub(super) struct Wait<H: Host> {
    pub(super) permits: u32,
    pub(super) kind: Kind,
    pub(super) ticket: H::Ticket,
    /// When the wait began, in ms of the host's coarse clock.
    pub(super) began: u32,
    /// The lease of the next waiter of the key, and that of the one before.
    pub(super) next: u32,
    pub(super) prev: u32,
}

/// What one process holds of one key, and waits for. All fields are guarded by the lock of the
/// key's shard.
pub(super) struct Lease<H: Host> {
    /// The process; `None` if the lease is not in use.
    pub(super) pid: Option<Pid>,
    /// Counts the uses of this lease.
    generation: u32,
    /// The place of the key.
    pub(super) place: u32,
    /// The permits that the process holds of each [`Kind`].
    held: [u32; 2],
    /// The permits on their way to a process that this one spawns; 0 if there is no handoff.
    pub(super) offered: u32,
    /// The sequence number of the last handoff. It goes on over the uses of the lease, so an old
    /// offer never names a later handoff.
    seq: u32,
    /// When the process began to hold permits, in ms of the host's coarse clock.
    pub(super) since: u32,
    /// The next lease of the key, and the one before.
    pub(super) next: u32,
    pub(super) prev: u32,
    /// The link of this lease in the list of its process.
    pub(super) link: u32,
    pub(super) wait: Option<Box<Wait<H>>>,
}

impl<H: Host> Default for Lease<H> {
    fn default() -> Self {
        Self {
            pid: None,
            generation: 0,
            place: NIL,
            held: [0; 2],
            offered: 0,
            seq: 0,
            since: 0,
            next: NIL,
            prev: NIL,
            link: NIL,
            wait: None,
        }
    }
}

impl<H: Host> Lease<H> {
    /// Begins a use of the lease, by a process that holds nothing of the key yet.
    pub(super) fn begin(&mut self, pid: Pid, place: u32) {
        self.pid = Some(pid);
        self.place = place;
        self.held = [0; 2];
    }

    /// Ends a use of the lease: no id of it is valid any more.
    pub(super) fn end(&mut self) {
        self.pid = None;
        self.generation = (self.generation + 1) & SEQ_MASK;
    }

    pub(super) fn id(&self, at: LeaseAt) -> LeaseId {
        LeaseId::new(at, self.generation)
    }

    /// Returns `true` if `id` names the present use of the lease, by `pid`.
    pub(super) fn is(&self, id: LeaseId, pid: Pid) -> bool {
        self.pid == Some(pid) && self.generation == id.generation()
    }

    pub(super) fn held_as(&self, kind: Kind) -> u32 {
        self.held[kind as usize]
    }

    /// Returns all permits of the lease, those of a pending handoff included.
    pub(super) fn total(&self) -> u32 {
        self.held[0] + self.held[1] + self.offered
    }

    /// Adds permits. `now` is the time of the host's coarse clock.
    pub(super) fn credit(&mut self, kind: Kind, n: u32, now: u32) {
        if self.total() == 0 {
            self.since = now;
        }
        self.held[kind as usize] += n;
    }

    /// Removes permits. Returns `false`, and removes none, if the process holds fewer.
    pub(super) fn debit(&mut self, kind: Kind, n: u32) -> bool {
        let held = &mut self.held[kind as usize];
        let enough = *held >= n;
        if enough {
            *held -= n;
        }
        enough
    }

    /// Begins a handoff of `n` bound permits. Returns its sequence number; `None` if the process
    /// holds fewer, or if its last handoff of this key is pending.
    pub(super) fn offer(&mut self, n: u32) -> Option<u32> {
        if self.offered > 0 || !self.debit(Kind::Bound, n) {
            return None;
        }
        self.offered = n;
        self.seq = (self.seq + 1) & SEQ_MASK;
        Some(self.seq)
    }

    /// Completes the handoff of this number if it is pending, and returns its permits.
    pub(super) fn complete(&mut self, seq: u32) -> Option<u32> {
        let pending = self.pid.is_some() && self.offered > 0 && self.seq == seq;
        pending.then(|| std::mem::take(&mut self.offered))
    }

    /// Removes all permits, those of a pending handoff included, and returns their number.
    pub(super) fn clear(&mut self) -> u32 {
        let total = self.total();
        self.held = [0; 2];
        self.offered = 0;
        total
    }

    /// Returns `true` if the process holds no permit of the key and does not wait for one.
    pub(super) fn is_idle(&self) -> bool {
        self.total() == 0 && self.wait.is_none()
    }
}
