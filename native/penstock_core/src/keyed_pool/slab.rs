//! Items by small numbers, in chunks. An item never moves, so growth copies no item and one step
//! of it allocates one chunk.

/// Stands for no item.
pub(super) const NIL: u32 = u32::MAX;

/// The number of items in a chunk.
const CHUNK: usize = if cfg!(any(loom, shuttle)) { 4 } else { 32 };

#[derive(Debug)]
struct Cell<T> {
    /// The next unused cell, if this one is unused.
    next: u32,
    item: T,
}

/// A growing set of items. A freed item keeps its contents, and its number is used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[Cell<T>]>>,
    vacant: u32,
    used: usize,
}

impl<T: Default> Slab<T> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), vacant: NIL, used: 0 }
    }

    /// Returns the number of an item that is not in use.
    pub(super) fn take(&mut self) -> u32 {
        if self.vacant == NIL {
            self.grow();
        }
        let at = self.vacant;
        self.vacant = self.chunks[at as usize / CHUNK][at as usize % CHUNK].next;
        self.used += 1;
        at
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let last = first + CHUNK as u32 - 1;
        let cell = |at| Cell { next: if at == last { NIL } else { at + 1 }, item: T::default() };
        self.chunks.push((first..=last).map(cell).collect());
        self.vacant = first;
    }

    /// Makes a number available again.
    pub(super) fn give_back(&mut self, at: u32) {
        self.chunks[at as usize / CHUNK][at as usize % CHUNK].next = self.vacant;
        self.vacant = at;
        self.used -= 1;
    }

    /// Returns an item by its number, in use or not; `None` if it was never made.
    pub(super) fn try_get(&self, at: u32) -> Option<&T> {
        Some(&self.chunks.get(at as usize / CHUNK)?[at as usize % CHUNK].item)
    }

    pub(super) fn get(&self, at: u32) -> &T {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK].item
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK].item
    }

    /// Returns the number of items that were ever made: all numbers are below it.
    pub(super) fn made(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    /// Returns the number of items in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Returns the size of all items in bytes.
    pub(super) fn memory(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Cell<T>>()
    }
}
