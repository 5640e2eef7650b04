//! Acquires permits of a key without waiting, and releases them.

use crate::holders::Kind;
use crate::host::Pid;
use crate::pool::{NotHeld, Status};
use crate::sync::{MutexGuard, Ordering, lock};

use super::keys::KeyTag;
use super::lease::LeaseId;
use super::reap::{Budget, Candidates, Reaped};
use super::shard::Shard;
use super::slab::NIL;
use super::{KeyedHost, KeyedPool, PoolKey};
use crate::keyed::scale;

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// Too few permits of the key are free, the free ones are due to waiters, or the request
    /// exceeds the limit.
    KeyFull,
    /// The key is new, and every place for a key is in use.
    TableFull,
    /// The pool is closed or draining, or the caller's opening of it is over.
    Closed,
    /// One call could not reap all dead holders that it met. The caller must ask again.
    Again,
}

/// The result of one attempt under the shard lock.
pub(super) enum Attempt {
    /// The caller holds the permits in this lease. `made`: the host must watch the caller.
    Admitted {
        id: LeaseId,
        made: bool,
    },
    Refused(KeyRefusal),
    /// The key is new, and the attempt needs the text that shows it.
    NeedsText,
}

impl<H: KeyedHost> KeyedPool<H> {
    pub(super) fn shard_of(&self, tag: KeyTag) -> usize {
        scale(tag.0, self.shards.len())
    }

    pub(super) fn lock_shard(&self, tag: KeyTag) -> MutexGuard<'_, Shard<H>> {
        lock(&self.shards[self.shard_of(tag)])
    }

    /// Acquires `n` permits of a key if they are free and no process waits for the key. Neither
    /// reaps dead holders nor counts a refusal.
    pub fn take(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, kind: Kind) -> Result<LeaseId, KeyRefusal> {
        let now = host.now_ms();
        let mut text = None;
        loop {
            let attempt = self.attempt(&mut self.lock_shard(key.tag), me, key, &mut text, n, kind, now);
            match attempt {
                Attempt::Admitted { id, made } => {
                    return self.watched(host, me, made).then_some(id).ok_or(KeyRefusal::Closed);
                }
                Attempt::Refused(no) => return Err(no),
                Attempt::NeedsText => text = Some(key.show.make()),
            }
        }
    }

    /// Acquires `n` permits of a key without waiting. Before it refuses, it reaps dead holders.
    /// Counts each refusal except [`KeyRefusal::Again`], which only asks the caller to call
    /// again.
    pub fn try_acquire(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, kind: Kind) -> Result<LeaseId, KeyRefusal> {
        let mut budget = Budget::new();
        loop {
            let refusal = match self.take(host, me, key, n, kind) {
                Ok(id) => return Ok(id),
                Err(refusal) => refusal,
            };
            match self.reap_for(host, key.tag, refusal, &mut budget) {
                // Another caller may have reaped a holder meanwhile, so the last attempt follows
                // the scan that found none.
                Reaped::None => {
                    return self.take(host, me, key, n, kind).inspect_err(|&no| self.count_refusal(key, no));
                }
                Reaped::Some if budget.is_spent() => return Err(KeyRefusal::Again),
                Reaped::Some => {}
            }
        }
    }

    /// Returns why a request for `n` permits of a key would be refused now. Takes nothing, and
    /// counts no refusal.
    ///
    /// Before it refuses, it reaps dead holders. It does not do so before the answer `KeyFull` if
    /// the caller `waits`: then the caller parks next, and parking does that work.
    pub fn look(&self, host: &H, key: PoolKey<'_>, n: u32, waits: bool) -> Result<(), KeyRefusal> {
        let mut budget = Budget::new();
        loop {
            let refusal = match self.lock_shard(key.tag).refusal(key, n) {
                None => return Ok(()),
                Some(KeyRefusal::KeyFull) if waits => return Err(KeyRefusal::KeyFull),
                Some(refusal) => refusal,
            };
            match self.reap_for(host, key.tag, refusal, &mut budget) {
                Reaped::None => return self.lock_shard(key.tag).refusal(key, n).map_or(Ok(()), Err),
                Reaped::Some if budget.is_spent() => return Err(KeyRefusal::Again),
                Reaped::Some => {}
            }
        }
    }

    /// Returns `true` if the calling process holds at least `n` manual permits of a key.
    pub fn holds(&self, me: Pid, tag: KeyTag, n: u32) -> bool {
        let shard = self.lock_shard(tag);
        let lease = shard.keys.find(tag).and_then(|place| shard.find_lease(&self.people, place, me));
        lease.is_some_and(|lease| shard.leases.get(lease).held_as(Kind::Manual) >= n)
    }

    /// Reaps dead holders whose permits or places a refused request could take.
    pub(super) fn reap_for(&self, host: &H, tag: KeyTag, refusal: KeyRefusal, budget: &mut Budget) -> Reaped {
        match refusal {
            KeyRefusal::KeyFull => self.reap_dead(host, tag, Candidates::OfKey, budget),
            KeyRefusal::TableFull => self.reap_dead(host, tag, Candidates::OfShard, budget),
            KeyRefusal::Closed | KeyRefusal::Again => Reaped::None,
        }
    }

    /// Counts a refusal of a caller that means the present opening of the pool, unless the refusal
    /// is [`KeyRefusal::Again`].
    pub fn count_refusal(&self, key: PoolKey<'_>, refusal: KeyRefusal) {
        let mut shard = self.lock_shard(key.tag);
        if shard.generation == key.generation {
            shard.totals.refuse(refusal);
        }
    }

    /// Makes the host watch a process that has got its first lease. Returns `false` if the
    /// process is dead; then its leases are ended.
    pub(super) fn watched(&self, host: &H, pid: Pid, made: bool) -> bool {
        if made && !host.watch_keyed(self, pid) {
            self.down(host, pid);
            return false;
        }
        true
    }

    /// Gives a place to a key that has none, if `text` is at hand. The caller must make a lease
    /// of the key under the same lock, since the end of the last lease ends the place.
    pub(super) fn new_place(
        &self,
        shard: &mut Shard<H>,
        key: PoolKey<'_>,
        text: &mut Option<Box<[u8]>>,
    ) -> Result<u32, Attempt> {
        if shard.keys.is_full() || !shard.has_lease() {
            return Err(Attempt::Refused(KeyRefusal::TableFull));
        }
        let Some(text) = text.take().or_else(|| key.show.make_at_once()) else {
            return Err(Attempt::NeedsText);
        };
        if !self.count_key() {
            return Err(Attempt::Refused(KeyRefusal::TableFull));
        }
        Ok(shard.keys.insert(key.tag, text).expect("a place is free"))
    }

    /// Tries to admit a caller. Called under the shard lock.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn attempt(
        &self,
        shard: &mut Shard<H>,
        me: Pid,
        key: PoolKey<'_>,
        text: &mut Option<Box<[u8]>>,
        n: u32,
        kind: Kind,
        now: u32,
    ) -> Attempt {
        if !shard.is_open(key.generation) {
            return Attempt::Refused(KeyRefusal::Closed);
        }
        if n > shard.limit {
            return Attempt::Refused(KeyRefusal::KeyFull);
        }
        let place = match shard.keys.find(key.tag) {
            None => match self.new_place(shard, key, text) {
                Ok(place) => place,
                Err(no) => return no,
            },
            Some(place) => {
                let of = shard.keys.get(place);
                if of.queue != NIL || !shard.fits(of.in_use, n) {
                    return Attempt::Refused(KeyRefusal::KeyFull);
                }
                place
            }
        };
        self.admit(shard, place, me, n, kind, now)
    }

    /// Admits a caller to a key that has room for its permits. Called under the shard lock.
    pub(super) fn admit(&self, shard: &mut Shard<H>, place: u32, me: Pid, n: u32, kind: Kind, now: u32) -> Attempt {
        let Some((lease, made)) = shard.lease_of(&self.people, place, me) else {
            // A new place has no lease yet only if `new_place` found room for one.
            return Attempt::Refused(KeyRefusal::TableFull);
        };
        shard.credit(lease, kind, n, now);
        shard.totals.acquired += 1;
        Attempt::Admitted { id: shard.leases.get(lease).id(shard.at(lease)), made }
    }

    /// Counts one more key. Returns `false`, and counts none, if there are as many as the pool
    /// may have.
    fn count_key(&self) -> bool {
        // A pool of one shard has exactly `max_keys` places there.
        if self.shards.len() == 1 {
            return true;
        }
        // Not an addition that is taken back: meanwhile it would refuse a caller of another
        // shard.
        let one_more = |used| (used < u64::from(self.max_keys)).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Ends a lease if its process neither holds permits of the key nor waits. With its last
    /// lease the key loses its place. Called under the shard lock.
    pub(super) fn end_if_idle(&self, shard: &mut Shard<H>, lease: u32) {
        // The key is uncounted under the lock: a caller that finds its place free finds it free
        // in the count, too.
        if shard.end_if_idle(&self.people, lease) && self.shards.len() > 1 {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Releases `n` manual permits of a key that the calling process holds.
    pub fn release(&self, host: &H, me: Pid, tag: KeyTag, n: u32) -> Result<(), NotHeld> {
        let now = host.now_ms();
        let mut shard = self.lock_shard(tag);
        let place = shard.keys.find(tag).ok_or(NotHeld)?;
        let lease = shard.find_lease(&self.people, place, me).ok_or(NotHeld)?;
        if !shard.lease(lease).debit(Kind::Manual, n) {
            return Err(NotHeld);
        }
        shard.note_end_of_hold(lease, now);
        self.finish_release(host, shard, lease, n, now);
        Ok(())
    }

    /// Releases `n` permits that the calling process holds in the lease of this id.
    pub fn release_of(&self, host: &H, me: Pid, id: LeaseId, n: u32, kind: Kind) -> Result<(), NotHeld> {
        let now = host.now_ms();
        let mut shard = lock(self.shards.get(id.at().shard()).ok_or(NotHeld)?);
        let lease = shard.lease_by(id, me).ok_or(NotHeld)?;
        if !shard.lease(lease).debit(kind, n) {
            return Err(NotHeld);
        }
        shard.note_end_of_hold(lease, now);
        self.finish_release(host, shard, lease, n, now);
        Ok(())
    }

    /// Releases all bound permits of the calling process. The process calls this when the work
    /// that it was created for has ended.
    pub fn end_work(&self, host: &H, me: Pid) -> Result<(), NotHeld> {
        let now = host.now_ms();
        let mut ended = Err(NotHeld);
        // One lease in each round: a process has only few leases with bound permits, since it was
        // created for one piece of work.
        while let Some(id) = self.bound_lease(me) {
            let mut shard = lock(&self.shards[id.at().shard()]);
            let Some(lease) = shard.lease_by(id, me) else { continue };
            let n = shard.leases.get(lease).held_as(Kind::Bound);
            shard.lease(lease).debit(Kind::Bound, n);
            shard.note_end_of_hold(lease, now);
            self.finish_release(host, shard, lease, n, now);
            ended = Ok(());
        }
        ended
    }

    /// Frees permits that a call has removed from a lease, serves the waiters of the key, and
    /// ends the lease if it is idle. Releases the shard lock. `now` is the time before the lock.
    /// Returns the number of answers that it gave to waiters.
    pub(super) fn finish_release(
        &self,
        host: &H,
        mut shard: MutexGuard<'_, Shard<H>>,
        lease: u32,
        n: u32,
        now: u32,
    ) -> usize {
        let place = shard.leases.get(lease).place;
        shard.give_back(place, n);
        self.end_if_idle(&mut shard, lease);
        // A key with waiters keeps its place, for each waiter has a lease. A key that has lost
        // its place left no queue there.
        if shard.keys.get(place).queue == NIL {
            self.unlock(host, shard);
            0
        } else {
            self.serve_and_unlock(host, shard, place, now)
        }
    }

    /// Releases the shard lock, and answers the drainers if no permit is held any more.
    pub(super) fn unlock(&self, host: &H, shard: MutexGuard<'_, Shard<H>>) {
        let drained = shard.status != Status::Open && shard.in_use == 0;
        drop(shard);
        if drained && !self.answer_drainers(host) {
            host.defer_keyed(self);
        }
    }
}
