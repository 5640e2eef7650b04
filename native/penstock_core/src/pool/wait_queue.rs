//! The wait queue: first come, first served, in lists from whose middle a node is removed in one
//! step.
//!
//! A node is in up to three structures at once, each of which it leaves when the wait ends, in
//! any way:
//!
//! - its queue, of waiters or of drainers;
//! - the ring of all waits of its process, one member of which the process' entry names. A
//!   process that waits by messages may have many waits, and its death ends them all;
//! - the set of waits that end by a clock of the host, if it has such an end.
//!
//! The ring of a dead process becomes part of the ring of orphans in one step, and is emptied in
//! pieces.

use std::collections::BTreeSet;

use crate::holders::Kind;
use crate::host::{Host, Pid};

const NIL: u32 = u32::MAX;
/// The number of nodes that are allocated at a time. They never move: growing copies pointers
/// only.
const CHUNK: usize = 64;

/// What a process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Permits.
    Waiters = 0,
    /// The end of a drain.
    Drainers = 1,
}

/// A parked process.
pub(crate) struct Waiter<H: Host> {
    pub(crate) pid: Pid,
    pub(crate) permits: u32,
    pub(crate) kind: Kind,
    pub(crate) ticket: H::Ticket,
    pub(crate) queue: Queue,
    /// When the host ends the wait, in ms by its own clock; `None` if the process itself does.
    pub(crate) until: Option<u64>,
    /// Set when the wait is removed: its name, and that of another wait of the same process, if
    /// there is one. If the process' entry names the first, it must name the second.
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

/// Names one wait: the node, and the generation of the node. At most 59 bits, a small integer on
/// the BEAM; never 0.
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
    /// Returns it as a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// Returns the name of any word.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[derive(Clone, Copy)]
struct Ends {
    head: u32,
    tail: u32,
    len: usize,
}

/// A walk along the waiters that removes requests which became too large.
struct Sweep {
    /// The next node. Updated as nodes are removed, so that a walk never starts over.
    at: u32,
    /// The number of nodes to look at, until each node in the queue has been looked at.
    left: usize,
    /// The largest request among the nodes that were looked at and kept.
    max_requested: u32,
}

/// What became of the waits of a dead process.
pub(crate) enum Removed<H: Host> {
    Nothing,
    /// It had one wait, which is removed.
    One(Waiter<H>),
    /// It had several, which are orphans now.
    Orphans,
}

/// All parked processes of a pool.
pub(crate) struct WaitQueue<H: Host> {
    chunks: Vec<Box<[Node<H>]>>,
    queues: [Ends; 2],
    vacant: u32,
    /// At least the largest request of any waiter.
    max_requested: u32,
    sweep: Sweep,
    /// Any member of the ring of waits whose processes are dead.
    orphans: u32,
    /// The waits that the host ends: when, and the node.
    due: BTreeSet<(u64, u32)>,
}

impl<H: Host> WaitQueue<H> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            queues: [Ends { head: NIL, tail: NIL, len: 0 }; 2],
            vacant: NIL,
            max_requested: 0,
            sweep: Sweep { at: NIL, left: 0, max_requested: 0 },
            orphans: NIL,
            due: BTreeSet::new(),
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

    /// Appends a waiter to its queue, and to the ring of `peer`, if that is another wait of its
    /// process.
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
                // The walk may pass here before it is back where it began, and counts this node
                // as well.
                self.sweep.left += 1;
                self.sweep.max_requested = self.sweep.max_requested.max(waiter.permits);
            }
        }
        if let Some(until) = waiter.until {
            self.due.insert((until, index));
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

    /// Makes one ring of two.
    fn join_rings(&mut self, a: u32, b: u32) {
        let (a_next, b_next) = (self.node(a).ring_next, self.node(b).ring_next);
        self.node(a).ring_next = b_next;
        self.node(b_next).ring_prev = a;
        self.node(b).ring_next = a_next;
        self.node(a_next).ring_prev = b;
    }

    /// Returns the head of the waiters.
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

    /// Returns the node of that wait, if it is still parked and is that process'.
    fn parked(&self, id: WaiterId, pid: Pid) -> Option<u32> {
        let node = self.chunks.get(id.index() / CHUNK)?.get(id.index() % CHUNK)?;
        let index = id.index() as u32;
        let there = node.waiter.as_ref().is_some_and(|waiter| waiter.pid == pid);
        (there && WaiterId::new(index, node.generation) == id).then_some(index)
    }

    /// Removes the wait of that name, if it is still parked and is that process'.
    pub(crate) fn remove(&mut self, id: WaiterId, pid: Pid) -> Option<Waiter<H>> {
        let index = self.parked(id, pid)?;
        self.unlink(index)
    }

    /// Removes the only wait of a dead process, or makes all of its waits orphans. `id` is what
    /// its entry named.
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

    /// Returns `true` if there are waits that the host ends.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Removes a wait that ended by `now`.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Waiter<H>> {
        let &(until, index) = self.due.first()?;
        if until > now { None } else { self.unlink(index) }
    }

    /// Begins a walk to all waiters that are in the queue now, as the limit fell. A walk that is
    /// under way goes on from where it is, and passes here again.
    pub(crate) fn begin_sweep(&mut self) {
        let Ends { head, len, .. } = self.queues[Queue::Waiters as usize];
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

    /// Removes waiters that ask for more than `limit`, after it has looked at up to `steps`,
    /// until `out` has no more room.
    pub(crate) fn remove_larger_than(&mut self, limit: u64, steps: usize, mut out: impl FnMut(Waiter<H>) -> bool) {
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
                // The nodes behind it were counted, so its removal takes nothing off what is
                // left.
                let room = self.unlink(index).is_none_or(&mut out);
                if !room {
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
            self.due.remove(&(until, index));
        }
        if waiter.queue == Queue::Waiters && self.queues[queue].len == 0 {
            self.max_requested = 0;
            self.sweep.left = 0;
        }
        Some(waiter)
    }
}
