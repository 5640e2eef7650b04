//! The wait queue of a pool: its waiters, first come, first served, and its drainers.
//!
//! The queues are doubly linked lists of nodes, one node for each wait. So a wait at any place of
//! its queue leaves it in constant time. A node is in up to three structures, and leaves all of
//! them when its wait ends:
//!
//! - the queue, of waiters or of drainers;
//! - the ring of all waits of one process. The [entry](crate::holders::Entry) of the process
//!   names one member. A process that asks without blocking can have many waits, and its death
//!   ends all of them;
//! - the ordered set of waits that the host ends by time, if the wait has such a time.
//!
//! A dead process may leave several waits, its orphans. Their ring joins the ring of all orphans
//! in one step. `Pool::serve` then removes the orphans in pieces, so that each call does bounded
//! work.

use std::collections::BTreeSet;

use crate::holders::Kind;
use crate::host::{Host, Pid};

const NIL: u32 = u32::MAX;
/// The number of nodes in one allocation. Nodes never move, so growth copies no node.
const CHUNK: usize = 64;

/// The queue that a wait is in: it tells what the process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Its processes wait for permits.
    Waiters = 0,
    /// Its processes wait until no permit is held.
    Drainers = 1,
}

/// One wait of a process: of a waiter for permits, or of a drainer.
pub(crate) struct Waiter<H: Host> {
    pub(crate) pid: Pid,
    pub(crate) permits: u32,
    pub(crate) kind: Kind,
    pub(crate) ticket: H::Ticket,
    pub(crate) queue: Queue,
    /// When the host ends the wait as timed out, in ms of the host's clock. `None` if the host
    /// never does so: the wait then ends by an answer, or by the process.
    pub(crate) until: Option<u64>,
    /// When a wait for permits began, in ms of the host's coarse clock.
    pub(crate) began: u32,
    /// The id of this wait, and that of another wait of the process. Set when this wait is
    /// removed while the process has another. If the entry of the process names this wait, the
    /// caller of the removal must make the entry name the other.
    pub(crate) repoint: Option<(WaiterId, WaiterId)>,
}

struct Node<H: Host> {
    generation: u32,
    prev: u32,
    next: u32,
    ring_prev: u32,
    ring_next: u32,
    waiter: Option<Waiter<H>>,
}

/// Names one wait by its node and by the node's generation, which each reuse of the node
/// increments. The id is never 0. It has at most 59 bits, so it is a small integer on the BEAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaiterId(u64);

impl WaiterId {
    const GENERATION_MASK: u32 = (1 << 27) - 1;

    fn new(index: u32, generation: u32) -> Self {
        Self((u64::from(generation & Self::GENERATION_MASK) << 32) | (u64::from(index) + 1))
    }
    fn index(self) -> usize {
        (self.0 as u32).wrapping_sub(1) as usize
    }
    /// Returns the id as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the id that a word stands for. No word does harm: each use of an id checks that
    /// the wait exists, and that it is one of the given process.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A queue: a list of nodes.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    len: usize,
}

/// A walk along the waiters after the limit fell. It removes each waiter whose request exceeds
/// the limit. It is done in pieces. If the limit falls again meanwhile, the walk continues where it
/// is, and after the tail of the queue it goes on at the head.
struct Sweep {
    /// The next node to visit; `NIL` stands for the head of the queue. If this node is removed,
    /// its successor is the next.
    at: u32,
    /// The number of visits that are left; 0 if no sweep is under way.
    left: usize,
    /// The largest request among the waiters that the sweep visited and kept, and those that
    /// joined during the sweep.
    max_requested: u32,
}

/// The result of [`WaitQueue::remove_ring_of`] for a dead process.
pub(crate) enum Removed<H: Host> {
    /// The process had no wait.
    Nothing,
    /// The process had one wait, which is removed.
    One(Waiter<H>),
    /// The process had several waits, which are orphans now.
    Orphans,
}

/// All parked processes of a pool.
pub(crate) struct WaitQueue<H: Host> {
    chunks: Vec<Box<[Node<H>]>>,
    queues: [List; 2],
    /// The first node that no wait uses; `next` links it to the other unused ones.
    vacant: u32,
    /// No waiter requests more permits than this. The end of a sweep lowers this bound. It is 0
    /// once the queue is empty.
    max_requested: u32,
    sweep: Sweep,
    /// A member of the ring of orphans; `NIL` if there is none.
    orphans: u32,
    /// For each wait that the host ends by time: that time, and the node of the wait.
    timed: BTreeSet<(u64, u32)>,
}

impl<H: Host> WaitQueue<H> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            queues: [List { head: NIL, tail: NIL, len: 0 }; 2],
            vacant: NIL,
            max_requested: 0,
            sweep: Sweep { at: NIL, left: 0, max_requested: 0 },
            orphans: NIL,
            timed: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self, queue: Queue) -> usize {
        self.queues[queue as usize].len
    }

    pub(crate) fn is_empty(&self, queue: Queue) -> bool {
        self.len(queue) == 0
    }

    pub(crate) fn max_requested(&self) -> u32 {
        self.max_requested
    }

    fn node(&mut self, index: u32) -> &mut Node<H> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn id(&mut self, index: u32) -> WaiterId {
        let generation = self.node(index).generation;
        WaiterId::new(index, generation)
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let last = first + CHUNK as u32 - 1;
        self.chunks.push(
            (first..=last)
                .map(|at| Node {
                    generation: 0,
                    prev: NIL,
                    next: if at == last { NIL } else { at + 1 },
                    ring_prev: NIL,
                    ring_next: NIL,
                    waiter: None,
                })
                .collect(),
        );
        self.vacant = first;
    }

    /// Appends a waiter to its queue. Joins it to the ring of `peer` if `peer` is a wait of the
    /// same process.
    pub(crate) fn push(&mut self, waiter: Waiter<H>, peer: WaiterId) -> WaiterId {
        let peer = self.parked(peer, waiter.pid);
        if self.vacant == NIL {
            self.grow();
        }
        let (index, queue) = (self.vacant, waiter.queue as usize);
        let tail = self.queues[queue].tail;
        if waiter.queue == Queue::Waiters {
            self.max_requested = self.max_requested.max(waiter.permits);
            if self.sweep.left > 0 {
                // The new waiter fits the limit. The sweep may visit this waiter before some of
                // the older ones, so it needs one more visit to reach them all.
                self.sweep.left += 1;
                self.sweep.max_requested = self.sweep.max_requested.max(waiter.permits);
            }
        }
        if let Some(until) = waiter.until {
            self.timed.insert((until, index));
        }
        let node = self.node(index);
        let next_vacant = node.next;
        node.generation = node.generation.wrapping_add(1);
        node.prev = tail;
        node.next = NIL;
        node.ring_prev = index;
        node.ring_next = index;
        node.waiter = Some(waiter);
        let id = WaiterId::new(index, node.generation);
        self.vacant = next_vacant;
        match tail {
            NIL => self.queues[queue].head = index,
            _ => self.node(tail).next = index,
        }
        self.queues[queue].tail = index;
        self.queues[queue].len += 1;
        if let Some(peer) = peer {
            self.join_rings(peer, index);
        }
        id
    }

    /// Joins the rings of two nodes into one. The nodes must be in different rings: if they are
    /// in one ring, the same steps split it.
    fn join_rings(&mut self, a: u32, b: u32) {
        let (a_next, b_next) = (self.node(a).ring_next, self.node(b).ring_next);
        self.node(a).ring_next = b_next;
        self.node(b_next).ring_prev = a;
        self.node(b).ring_next = a_next;
        self.node(a_next).ring_prev = b;
    }

    /// Returns the waiter at the head of the queue.
    pub(crate) fn first(&mut self) -> Option<&Waiter<H>> {
        match self.queues[Queue::Waiters as usize].head {
            NIL => None,
            head => self.node(head).waiter.as_ref(),
        }
    }

    pub(crate) fn pop(&mut self, queue: Queue) -> Option<Waiter<H>> {
        match self.queues[queue as usize].head {
            NIL => None,
            head => self.unlink(head),
        }
    }

    /// Returns the node of a wait, if the wait has not ended and is one of `pid`.
    fn parked(&self, id: WaiterId, pid: Pid) -> Option<u32> {
        let node = self.chunks.get(id.index() / CHUNK)?.get(id.index() % CHUNK)?;
        let index = id.index() as u32;
        let there = node.waiter.as_ref().is_some_and(|waiter| waiter.pid == pid);
        (there && WaiterId::new(index, node.generation) == id).then_some(index)
    }

    /// Removes a wait, if it has not ended and is one of `pid`.
    pub(crate) fn remove(&mut self, id: WaiterId, pid: Pid) -> Option<Waiter<H>> {
        let index = self.parked(id, pid)?;
        self.unlink(index)
    }

    /// Removes the only wait of a dead process, or makes its several waits orphans. `id` is the
    /// wait that the entry of the process named. The entry must name no wait after this call.
    /// Otherwise a later call would join the same ring to the orphans again.
    pub(crate) fn remove_ring_of(&mut self, id: WaiterId, pid: Pid) -> Removed<H> {
        let Some(index) = self.parked(id, pid) else { return Removed::Nothing };
        if self.node(index).ring_next == index {
            return self.unlink(index).map_or(Removed::Nothing, Removed::One);
        }
        match self.orphans {
            NIL => self.orphans = index,
            orphans => self.join_rings(orphans, index),
        }
        Removed::Orphans
    }

    pub(crate) fn has_orphans(&self) -> bool {
        self.orphans != NIL
    }

    pub(crate) fn pop_orphan(&mut self) -> Option<Waiter<H>> {
        match self.orphans {
            NIL => None,
            orphan => self.unlink(orphan),
        }
    }

    /// Returns `true` if there are waits that the host ends by time.
    pub(crate) fn has_timed(&self) -> bool {
        !self.timed.is_empty()
    }

    /// Removes a wait whose time is over at `now`.
    pub(crate) fn pop_expired(&mut self, now: u64) -> Option<Waiter<H>> {
        let &(until, index) = self.timed.first()?;
        if until > now { None } else { self.unlink(index) }
    }

    /// Begins a sweep over all present waiters, after the limit fell. A sweep that is under way
    /// goes on from its place, and after the tail from the head, until it has visited all waiters
    /// again.
    pub(crate) fn begin_sweep(&mut self) {
        let List { head, len, .. } = self.queues[Queue::Waiters as usize];
        if self.sweep.left == 0 {
            self.sweep.at = head;
        }
        self.sweep.left = len;
        self.sweep.max_requested = 0;
    }

    pub(crate) fn end_sweep(&mut self) {
        self.sweep.left = 0;
    }

    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep.left > 0
    }

    /// Continues the sweep, if one is under way, for at most `steps` visits. Removes each waiter
    /// that requests more than `limit` and passes it to `out`. Stops when `out` returns `false`.
    pub(crate) fn continue_sweep(&mut self, limit: u64, steps: usize, mut out: impl FnMut(Waiter<H>) -> bool) {
        if self.sweep.left == 0 {
            return;
        }
        for _ in 0..steps.min(self.sweep.left) {
            if self.sweep.left == 0 {
                break;
            }
            self.sweep.left -= 1;
            let index = match self.sweep.at {
                NIL => self.queues[Queue::Waiters as usize].head,
                at => at,
            };
            if index == NIL {
                self.sweep.left = 0;
                break;
            }
            let node = self.node(index);
            let (next, permits) = (node.next, node.waiter.as_ref().map_or(0, |waiter| waiter.permits));
            self.sweep.at = next;
            if u64::from(permits) > limit {
                // This visit is already subtracted from `left`, so the removal leaves it alone.
                let has_room = self.unlink(index).is_none_or(&mut out);
                if !has_room {
                    break;
                }
            } else {
                self.sweep.max_requested = self.sweep.max_requested.max(permits);
            }
        }
        if self.sweep.left == 0 {
            self.max_requested = self.sweep.max_requested;
        }
    }

    /// Removes a node from all structures that it is in.
    fn unlink(&mut self, index: u32) -> Option<Waiter<H>> {
        let vacant = self.vacant;
        let id = self.id(index);
        let node = self.node(index);
        let mut waiter = node.waiter.take()?;
        let (prev, next) = (node.prev, node.next);
        let (ring_prev, ring_next) = (node.ring_prev, node.ring_next);
        node.next = vacant;
        self.vacant = index;
        let queue = waiter.queue as usize;
        match prev {
            NIL => self.queues[queue].head = next,
            _ => self.node(prev).next = next,
        }
        match next {
            NIL => self.queues[queue].tail = prev,
            _ => self.node(next).prev = prev,
        }
        self.queues[queue].len -= 1;
        if self.sweep.at == index {
            self.sweep.at = next;
        }
        let alone = ring_next == index;
        if !alone {
            self.node(ring_prev).ring_next = ring_next;
            self.node(ring_next).ring_prev = ring_prev;
            waiter.repoint = Some((id, self.id(ring_next)));
        }
        if self.orphans == index {
            self.orphans = if alone { NIL } else { ring_next };
        }
        if let Some(until) = waiter.until {
            self.timed.remove(&(until, index));
        }
        if waiter.queue == Queue::Waiters && self.queues[queue].len == 0 {
            self.max_requested = 0;
            self.sweep.left = 0;
        }
        Some(waiter)
    }
}
