//! The leases of each process, so that the death of a process ends all of them.
//!
//! A process has a record here from its first lease until it is reaped. The record tells whether
//! the host watches the process: the call that adds the record makes the host watch it. Records
//! are grouped by the hash of the pid, and each group has a lock.

use crossbeam_utils::CachePadded;

use crate::host::Pid;
use crate::keyed::scale;
use crate::sync::{Mutex, MutexGuard, lock};

use super::lease::LeaseAt;
use super::slab::{NIL, Slab};

/// The number of groups, and of the resources by which the host watches their processes.
pub(super) const GROUPS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

/// The number of buckets that are allocated together.
const CHUNK: usize = 64;

/// One process.
#[derive(Debug, Default)]
struct Person {
    pid: u64,
    /// The next record of the bucket.
    next: u32,
    /// The first link of the process.
    first: u32,
}

/// One lease of a process: a member of the list that its record begins.
#[derive(Debug, Default)]
struct Link {
    lease: LeaseAt,
    /// The record of the process.
    person: u32,
    next: u32,
    prev: u32,
}

/// The records of a group, in a hash table. It grows by one bucket at a time (linear hashing), so
/// that no insertion moves more than one bucket.
#[derive(Debug)]
pub(super) struct Group {
    chunks: Vec<Box<[u32]>>,
    /// The number of buckets in use.
    buckets: usize,
    people: Slab<Person>,
    links: Slab<Link>,
}

/// Returns buckets without a record.
fn new_chunk() -> Box<[u32]> {
    vec![NIL; CHUNK].into_boxed_slice()
}

impl Group {
    fn new() -> Self {
        Self { chunks: vec![new_chunk()], buckets: 1, people: Slab::new(), links: Slab::new() }
    }

    fn bucket_of(&self, pid: u64) -> usize {
        // The high bits of the hash chose the group.
        let hash = Pid::new(pid).map_or(0, Pid::hash) as usize;
        let wide = self.buckets.next_power_of_two();
        let bucket = hash & (wide - 1);
        if bucket < self.buckets { bucket } else { bucket & (wide / 2 - 1) }
    }

    fn head(&mut self, bucket: usize) -> &mut u32 {
        &mut self.chunks[bucket / CHUNK][bucket % CHUNK]
    }

    fn find(&self, pid: Pid) -> Option<u32> {
        let bucket = self.bucket_of(pid.word());
        let mut at = self.chunks[bucket / CHUNK][bucket % CHUNK];
        while at != NIL {
            let person = self.people.get(at);
            if person.pid == pid.word() {
                return Some(at);
            }
            at = person.next;
        }
        None
    }

    fn add(&mut self, pid: Pid) -> u32 {
        let at = self.people.take();
        *self.people.get_mut(at) = Person { pid: pid.word(), next: NIL, first: NIL };
        self.put(at);
        if self.people.used() > self.buckets {
            self.split();
        }
        at
    }

    /// Puts a record into its bucket.
    fn put(&mut self, at: u32) {
        let bucket = self.bucket_of(self.people.get(at).pid);
        let head = std::mem::replace(self.head(bucket), at);
        self.people.get_mut(at).next = head;
    }

    /// Adds a bucket, and moves to it the records that hash to it now.
    fn split(&mut self) {
        let from = self.buckets - (1 << self.buckets.ilog2());
        if self.buckets.is_multiple_of(CHUNK) {
            self.chunks.push(new_chunk());
        }
        self.buckets += 1;
        let mut at = std::mem::replace(self.head(from), NIL);
        while at != NIL {
            let next = self.people.get(at).next;
            self.put(at);
            at = next;
        }
    }

    fn remove(&mut self, at: u32) {
        let (pid, next) = (self.people.get(at).pid, self.people.get(at).next);
        let bucket = self.bucket_of(pid);
        if *self.head(bucket) == at {
            *self.head(bucket) = next;
        } else {
            let mut before = *self.head(bucket);
            while self.people.get(before).next != at {
                before = self.people.get(before).next;
            }
            self.people.get_mut(before).next = next;
        }
        self.people.give_back(at);
    }

    /// Adds a lease to a process. Returns its link, and `true` if the process had no record: then
    /// the caller must make the host watch the process.
    ///
    /// The first lease stays first, and a new one follows it. So the lease of a child's bound
    /// permits is found at once, of all the keys that the child has acquired since.
    pub(super) fn link(&mut self, pid: Pid, lease: LeaseAt) -> (u32, bool) {
        let (person, made) = match self.find(pid) {
            Some(at) => (at, false),
            None => (self.add(pid), true),
        };
        let link = self.links.take();
        let first = self.people.get(person).first;
        let next = if first == NIL {
            self.people.get_mut(person).first = link;
            NIL
        } else {
            std::mem::replace(&mut self.links.get_mut(first).next, link)
        };
        if next != NIL {
            self.links.get_mut(next).prev = link;
        }
        *self.links.get_mut(link) = Link { lease, person, next, prev: first };
        (link, made)
    }

    /// Removes a lease from its process. The record of the process stays, as the host goes on
    /// watching the process.
    pub(super) fn unlink(&mut self, link: u32) {
        let &Link { person, next, prev, .. } = self.links.get(link);
        if next != NIL {
            self.links.get_mut(next).prev = prev;
        }
        if prev != NIL {
            self.links.get_mut(prev).next = next;
        } else {
            self.people.get_mut(person).first = next;
        }
        self.links.give_back(link);
    }

    /// Returns a lease of the process. If it has none, removes the record of the process.
    pub(super) fn first_or_remove(&mut self, pid: Pid) -> Option<LeaseAt> {
        let person = self.find(pid)?;
        match self.people.get(person).first {
            NIL => {
                self.remove(person);
                None
            }
            link => Some(self.links.get(link).lease),
        }
    }

    /// Calls `visit` with the leases of a process, until it returns `false`.
    pub(super) fn each_lease(&self, pid: Pid, mut visit: impl FnMut(LeaseAt) -> bool) {
        let Some(person) = self.find(pid) else { return };
        let mut at = self.people.get(person).first;
        while at != NIL {
            let link = self.links.get(at);
            if !visit(link.lease) {
                return;
            }
            at = link.next;
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.people.memory() + self.links.memory() + self.chunks.len() * CHUNK * size_of::<u32>()
    }
}

/// The records of all processes.
#[derive(Debug)]
pub(super) struct People([CachePadded<Mutex<Group>>; GROUPS]);

impl People {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| CachePadded::new(Mutex::new(Group::new()))))
    }

    pub(super) fn group_of(pid: Pid) -> usize {
        scale(pid.hash(), GROUPS)
    }

    pub(super) fn lock(&self, pid: Pid) -> MutexGuard<'_, Group> {
        lock(&self.0[Self::group_of(pid)])
    }

    pub(super) fn memory(&self) -> usize {
        self.0.iter().map(|group| lock(group).memory()).sum()
    }
}
