//! Where processes wait: first come, first served, in a list whose places can be left from the middle in one step.

use super::holders::Kind;
use crate::host::{Host, Pid};

const NIL: u32 = u32::MAX;
/// Places are allocated this many at a time, and never move: growing copies pointers only.
const CHUNK: usize = 64;

/// A parked process.
pub(crate) struct Waiter<H: Host> {
    pub(crate) pid: Pid,
    pub(crate) permits: u32,
    pub(crate) kind: Kind,
    pub(crate) ticket: H::Ticket,
}

struct Place<H: Host> {
    generation: u32,
    prev: u32,
    next: u32,
    waiter: Option<Waiter<H>>,
}

/// Names one wait: the place, and which of its waits. At most 59 bits, a small integer on the BEAM; never 0.
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
    /// As a word.
    pub fn to_bits(self) -> u64 {
        self.0
    }
    /// From a word that may be anything.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The list.
pub(crate) struct Line<H: Host> {
    chunks: Vec<Box<[Place<H>]>>,
    head: u32,
    tail: u32,
    vacant: u32,
    len: usize,
    /// At least what anybody in the line asks for.
    widest: u32,
}

impl<H: Host> Line<H> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), head: NIL, tail: NIL, vacant: NIL, len: 0, widest: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn widest(&self) -> u32 {
        self.widest
    }

    fn place(&mut self, index: u32) -> &mut Place<H> {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let last = first + CHUNK as u32 - 1;
        self.chunks.push(
            (first..=last)
                .map(|at| Place { generation: 0, prev: NIL, next: if at == last { NIL } else { at + 1 }, waiter: None })
                .collect(),
        );
        self.vacant = first;
    }

    pub(crate) fn push(&mut self, waiter: Waiter<H>) -> WaiterId {
        if self.vacant == NIL {
            self.grow();
        }
        let (index, tail) = (self.vacant, self.tail);
        self.widest = self.widest.max(waiter.permits);
        let place = self.place(index);
        let next_vacant = place.next;
        place.generation = place.generation.wrapping_add(1);
        place.prev = tail;
        place.next = NIL;
        place.waiter = Some(waiter);
        let id = WaiterId::new(index, place.generation);
        self.vacant = next_vacant;
        match tail {
            NIL => self.head = index,
            _ => self.place(tail).next = index,
        }
        self.tail = index;
        self.len += 1;
        id
    }

    /// The head of the line.
    pub(crate) fn first(&mut self) -> Option<&Waiter<H>> {
        match self.head {
            NIL => None,
            head => self.place(head).waiter.as_ref(),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Waiter<H>> {
        match self.head {
            NIL => None,
            head => self.unlink(head),
        }
    }

    /// Takes out the wait of that name, if it is still parked and is that process'.
    pub(crate) fn leave(&mut self, id: WaiterId, pid: Pid) -> Option<Waiter<H>> {
        let place = self.chunks.get(id.index() / CHUNK)?.get(id.index() % CHUNK)?;
        let index = id.index() as u32;
        let there = place.waiter.as_ref().is_some_and(|waiter| waiter.pid == pid);
        if !there || WaiterId::new(index, place.generation) != id {
            return None;
        }
        self.unlink(index)
    }

    /// Takes out, from `from` on, up to `most` waiters that ask for more than `limit`, having looked at up to
    /// `looks`; where to go on, if that was not all.
    pub(crate) fn leave_wider(
        &mut self,
        limit: u64,
        from: Option<WaiterId>,
        looks: usize,
        mut out: impl FnMut(Waiter<H>) -> bool,
    ) -> Option<WaiterId> {
        let mut at = match from {
            // The one to go on with may have left; then its successor is unknown and the walk begins anew.
            Some(id) if self.is_parked(id) => id.index() as u32,
            _ => self.head,
        };
        let mut looked = 0;
        while at != NIL {
            if looked == looks {
                let generation = self.place(at).generation;
                return Some(WaiterId::new(at, generation));
            }
            looked += 1;
            let place = self.place(at);
            let next = place.next;
            let wider = place.waiter.as_ref().is_some_and(|waiter| u64::from(waiter.permits) > limit);
            if wider {
                let room = self.unlink(at).is_none_or(&mut out);
                if !room && next != NIL {
                    let generation = self.place(next).generation;
                    return Some(WaiterId::new(next, generation));
                }
            }
            at = next;
        }
        self.widest = self.widest.min(u32::try_from(limit).unwrap_or(u32::MAX));
        None
    }

    fn is_parked(&self, id: WaiterId) -> bool {
        let place = self.chunks.get(id.index() / CHUNK).and_then(|chunk| chunk.get(id.index() % CHUNK));
        place.is_some_and(|p| p.waiter.is_some() && WaiterId::new(id.index() as u32, p.generation) == id)
    }

    fn unlink(&mut self, index: u32) -> Option<Waiter<H>> {
        let vacant = self.vacant;
        let place = self.place(index);
        let waiter = place.waiter.take()?;
        let (prev, next) = (place.prev, place.next);
        place.next = vacant;
        self.vacant = index;
        match prev {
            NIL => self.head = next,
            _ => self.place(prev).next = next,
        }
        match next {
            NIL => self.tail = prev,
            _ => self.place(next).prev = prev,
        }
        self.len -= 1;
        if self.len == 0 {
            self.widest = 0;
        }
        Some(waiter)
    }
}
