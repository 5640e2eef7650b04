//! One shard: its keys, and the leases and queues of these keys. All methods need the shard lock.

use crate::holders::{Kind, elapsed_ms};
use crate::host::{Host, Pid};
use crate::meters::Histogram;
use crate::pool::Status;

use super::PoolKey;
use super::acquire::KeyRefusal;
use super::keys::{Keys, Place};
use super::lease::{Lease, LeaseAt, LeaseId};
use super::people::People;
use super::report::KeyRefusals;
use super::slab::{NIL, Slab};

/// The waiters of one key, first come, first served: a list of leases.
#[derive(Debug)]
pub(super) struct Queue {
    /// The place of the key; `NIL` if the queue is not in use.
    pub(super) place: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) len: u32,
    /// The next waiter that a sweep visits, for a request that exceeds a smaller limit; `NIL` if
    /// there is no sweep.
    pub(super) sweep: u32,
    /// The version of the limit that the last sweep began with, or that the first waiter found.
    pub(super) swept: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { place: NIL, first: NIL, last: NIL, len: 0, sweep: NIL, swept: 0 }
    }
}

/// The totals of a shard since the pool was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) acquired: u64,
    pub(super) refused: KeyRefusals,
    pub(super) timed_out: u64,
    pub(super) released_by_exit: u64,
    /// The restarts that were admitted beyond the limit.
    pub(super) overdrawn: u64,
    /// For how long processes held permits of a key.
    pub(super) hold: Histogram,
    /// For how long waiters waited until they got an answer.
    pub(super) wait: Histogram,
}

impl Totals {
    /// Counts a refusal, unless it is [`KeyRefusal::Again`].
    pub(super) fn refuse(&mut self, refusal: KeyRefusal) {
        match refusal {
            KeyRefusal::KeyFull => self.refused.key_full += 1,
            KeyRefusal::TableFull => self.refused.table_full += 1,
            KeyRefusal::Closed => self.refused.closed += 1,
            KeyRefusal::Again => {}
        }
    }
}

pub(super) struct Shard<H: Host> {
    /// The number of this shard.
    pub(super) number: usize,
    pub(super) generation: u32,
    pub(super) status: Status,
    pub(super) limit: u32,
    /// Counts the changes to a smaller limit.
    pub(super) limit_version: u32,
    /// The permits of a key that restarts can bring into use: at most `u32::MAX`, so that no
    /// count of a key overflows.
    pub(super) overdrawn_limit: u64,
    pub(super) keys: Keys,
    pub(super) leases: Slab<Lease<H>>,
    pub(super) queues: Slab<Queue>,
    /// The first queue that `serve` has not visited since the limit or the status changed; `NIL`
    /// if it has visited all.
    pub(super) due: u32,
    /// The permits in use, over all keys of the shard.
    pub(super) in_use: u64,
    pub(super) totals: Totals,
}

impl<H: Host> Shard<H> {
    pub(super) fn new(number: usize, keys: Keys) -> Self {
        Self {
            number,
            generation: 0,
            status: Status::Closed,
            limit: 0,
            limit_version: 0,
            overdrawn_limit: 0,
            keys,
            leases: Slab::new(),
            queues: Slab::new(),
            due: NIL,
            in_use: 0,
            totals: Totals::default(),
        }
    }

    pub(super) fn at(&self, lease: u32) -> LeaseAt {
        LeaseAt::new(self.number, lease)
    }

    pub(super) fn place(&mut self, at: u32) -> &mut Place {
        self.keys.get_mut(at)
    }

    pub(super) fn lease(&mut self, at: u32) -> &mut Lease<H> {
        self.leases.get_mut(at)
    }

    /// Returns the number of the lease that `id` names, if it is one of `pid`.
    pub(super) fn lease_by(&self, id: LeaseId, pid: Pid) -> Option<u32> {
        let at = id.at();
        let found =
            at.shard() == self.number && self.leases.try_get(at.number()).is_some_and(|lease| lease.is(id, pid));
        found.then(|| at.number())
    }

    /// Returns `true` if callers of this generation can be admitted.
    pub(super) fn is_open(&self, generation: u32) -> bool {
        self.status == Status::Open && self.generation == generation
    }

    /// Returns `true` if a key with `in_use` permits can admit `n` more within its limit.
    pub(super) fn fits(&self, in_use: u32, n: u32) -> bool {
        u64::from(in_use) + u64::from(n) <= u64::from(self.limit)
    }

    /// Returns why a request for `n` permits of a key would be refused now.
    pub(super) fn refusal(&self, key: PoolKey<'_>, n: u32) -> Option<KeyRefusal> {
        if self.status != Status::Open || self.generation != key.generation {
            return Some(KeyRefusal::Closed);
        }
        if n > self.limit {
            return Some(KeyRefusal::KeyFull);
        }
        match self.keys.find(key.tag) {
            None => (self.keys.is_full() || !self.has_lease()).then_some(KeyRefusal::TableFull),
            Some(place) => {
                let of = self.keys.get(place);
                (of.queue != NIL || !self.fits(of.in_use, n)).then_some(KeyRefusal::KeyFull)
            }
        }
    }

    /// Returns the lease of a process on a key.
    ///
    /// The lease is in two lists: that of the key and that of the process. The search walks along
    /// both at once and ends with the shorter one. So neither a key of many holders nor a process
    /// of many keys makes it long.
    pub(super) fn find_lease(&self, people: &People, place: u32, pid: Pid) -> Option<u32> {
        /// The number of leases of the key that are tried without the group lock.
        const FEW: usize = 8;
        let mut at = self.keys.get(place).leases;
        for _ in 0..FEW {
            if at == NIL {
                return None;
            }
            let lease = self.leases.get(at);
            if lease.pid == Some(pid) {
                return Some(at);
            }
            at = lease.next;
        }
        if at == NIL {
            return None;
        }
        let mut found = None;
        let mut ended = false;
        people.lock(pid).each_lease(pid, |of_pid| {
            if of_pid.shard() == self.number && self.leases.get(of_pid.number()).place == place {
                found = Some(of_pid.number());
            } else if at == NIL {
                ended = true;
            } else if self.leases.get(at).pid == Some(pid) {
                found = Some(at);
            } else {
                at = self.leases.get(at).next;
            }
            found.is_none() && !ended
        });
        found
    }

    /// Returns `true` if the shard can have one more lease: its number fits into an id.
    pub(super) fn has_lease(&self) -> bool {
        (self.leases.used() as u32) < LeaseAt::MOST
    }

    /// Returns the lease of a process on a key, and makes it if there is none. Returns `true` if
    /// the process had no record: then the caller must make the host watch it. Returns `None` if
    /// the shard has as many leases as their ids can name.
    pub(super) fn lease_of(&mut self, people: &People, place: u32, pid: Pid) -> Option<(u32, bool)> {
        if let Some(at) = self.find_lease(people, place, pid) {
            return Some((at, false));
        }
        if !self.has_lease() {
            return None;
        }
        let at = self.leases.take();
        let (link, made) = people.lock(pid).link(pid, self.at(at));
        let first = std::mem::replace(&mut self.place(place).leases, at);
        let lease = self.lease(at);
        lease.begin(pid, place);
        (lease.link, lease.next, lease.prev) = (link, first, NIL);
        if first != NIL {
            self.lease(first).prev = at;
        }
        Some((at, made))
    }

    /// Adds permits to a lease and to the counts of its key.
    pub(super) fn credit(&mut self, lease: u32, kind: Kind, n: u32, now: u32) {
        self.lease(lease).credit(kind, n, now);
        let place = self.leases.get(lease).place;
        self.note_limit(place);
        self.place(place).in_use += n;
        self.in_use += u64::from(n);
    }

    /// Removes permits from the counts of a key. The caller has removed them from a lease.
    pub(super) fn give_back(&mut self, place: u32, n: u32) {
        self.note_limit(place);
        self.place(place).in_use -= n;
        self.in_use -= u64::from(n);
    }

    /// Counts the end of a hold if the lease has no permit left. Called after permits have left the
    /// lease. Not called after a handoff: the work that the permits are for begins in the child.
    pub(super) fn note_end_of_hold(&mut self, lease: u32, now: u32) {
        let of = self.leases.get(lease);
        if of.total() == 0 {
            self.totals.hold.observe(elapsed_ms(of.since, now));
        }
    }

    /// Counts a wait that got an answer.
    pub(super) fn note_answer(&mut self, wait: &super::lease::Wait<H>, now: u32) {
        self.totals.wait.observe(elapsed_ms(wait.began, now));
    }

    /// Notes in a key what was in use when the limit fell. A change of the limit visits no key.
    /// So this is called before each change of the permits in use: they are still those of that
    /// time.
    fn note_limit(&mut self, place: u32) {
        let (limit, version) = (self.limit, self.limit_version);
        let of = self.place(place);
        if of.in_use <= limit {
            of.shrunk_from = 0;
        } else if of.limit_version != version {
            of.shrunk_from = of.shrunk_from.max(of.in_use);
        }
        of.limit_version = version;
    }

    /// Returns the number of permits of a key that restarts can bring into use.
    pub(super) fn most_with_overdraft(&mut self, place: u32) -> u64 {
        self.note_limit(place);
        self.overdrawn_limit.max(u64::from(self.keys.get(place).shrunk_from))
    }

    /// Ends a lease if its process neither holds permits of the key nor waits. With its last
    /// lease the key loses its place. Returns `true` if the key lost its place.
    pub(super) fn end_if_idle(&mut self, people: &People, lease: u32) -> bool {
        let of = self.leases.get(lease);
        if !of.is_idle() {
            return false;
        }
        let Some(pid) = of.pid else { return false };
        let (place, next, prev, link) = (of.place, of.next, of.prev, of.link);
        people.lock(pid).unlink(link);
        if next != NIL {
            self.lease(next).prev = prev;
        }
        if prev != NIL {
            self.lease(prev).next = next;
        } else {
            self.place(place).leases = next;
        }
        self.lease(lease).end();
        self.leases.give_back(lease);
        if self.keys.get(place).leases != NIL {
            return false;
        }
        debug_assert_eq!(self.keys.get(place).in_use, 0, "each permit is in a lease");
        self.keys.remove(place);
        true
    }

    /// Appends the wait of a lease to the queue of its key.
    pub(super) fn enqueue(&mut self, lease: u32) {
        let place = self.leases.get(lease).place;
        if self.keys.get(place).queue == NIL {
            let queue = self.queues.take();
            *self.queues.get_mut(queue) = Queue { place, swept: self.limit_version, ..Queue::default() };
            self.place(place).queue = queue;
        }
        let queue = self.queues.get_mut(self.keys.get(place).queue);
        queue.len += 1;
        let last = std::mem::replace(&mut queue.last, lease);
        if last == NIL {
            queue.first = lease;
        }
        if let Some(wait) = &mut self.lease(lease).wait {
            wait.prev = last;
        }
        if last != NIL
            && let Some(wait) = &mut self.lease(last).wait
        {
            wait.next = lease;
        }
    }

    /// Removes the wait of a lease from the queue of its key, and returns it.
    pub(super) fn dequeue(&mut self, lease: u32) -> Option<Box<super::lease::Wait<H>>> {
        let wait = self.lease(lease).wait.take()?;
        if wait.next != NIL
            && let Some(next) = &mut self.lease(wait.next).wait
        {
            next.prev = wait.prev;
        }
        if wait.prev != NIL
            && let Some(prev) = &mut self.lease(wait.prev).wait
        {
            prev.next = wait.next;
        }
        let place = self.leases.get(lease).place;
        let at = self.keys.get(place).queue;
        let queue = self.queues.get_mut(at);
        queue.len -= 1;
        if queue.first == lease {
            queue.first = wait.next;
        }
        if queue.last == lease {
            queue.last = wait.prev;
        }
        if queue.sweep == lease {
            queue.sweep = wait.next;
        }
        if queue.len == 0 {
            queue.place = NIL;
            self.queues.give_back(at);
            self.place(place).queue = NIL;
        }
        Some(wait)
    }
}
