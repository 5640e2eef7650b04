//! Acquires permits of a key without waiting, and releases them.

use crate::holders::Kind;
use crate::host::Pid;
use crate::pool::{NotHeld, Status};
use crate::sync::{MutexGuard, Ordering, lock};

use super::keys::KeyTag;
use super::lease::LeaseId;
use super::reap::{Candidates, Reaped};
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

/// How many times a caller reaps dead holders and tries again.
pub(super) const ROUNDS: usize = 8;

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
    /// Counts each refusal except [`KeyRefusal::Again`], which only asks the caller to call again.
    pub fn try_acquire(&self, host: &H, me: Pid, key: PoolKey<'_>, n: u32, kind: Kind) -> Result<LeaseId, KeyRefusal> {
        for _ in 0..ROUNDS {
            let refusal = match self.take(host, me, key, n, kind) {
                Ok(id) => return Ok(id),
                Err(refusal) => refusal,
            };
            match self.reap_for(host, key.tag, refusal) {
                // Another caller may have reaped a holder meanwhile, so the last attempt follows
                // the scan that found none.
                Reaped::None => {
                    return self.take(host, me, key, n, kind).inspect_err(|_| self.count_refusal(key));
                }
                Reaped::Some => {}
            }
        }
        Err(KeyRefusal::Again)
    }

    /// Reaps dead holders whose permits or places a refused request could take.
    pub(super) fn reap_for(&self, host: &H, tag: KeyTag, refusal: KeyRefusal) -> Reaped {
        match refusal {
            KeyRefusal::KeyFull => self.reap_dead(host, tag, Candidates::OfKey),
            KeyRefusal::TableFull => self.reap_dead(host, tag, Candidates::OfShard),
            KeyRefusal::Closed | KeyRefusal::Again => Reaped::None,
        }
    }

    pub(super) fn count_refusal(&self, key: PoolKey<'_>) {
        let mut shard = self.lock_shard(key.tag);
        if shard.generation == key.generation {
            shard.totals.rejected += 1;
        }
    }

    /// Makes the host watch a process that has got its first lease. Returns `false` if the process
    /// is dead; then its leases are ended.
    pub(super) fn watched(&self, host: &H, pid: Pid, made: bool) -> bool {
        if made && !host.watch_keyed(self, pid) {
            self.down(host, pid);
            return false;
        }
        true
    }

    /// Returns the place of a key, and makes one if `text` is at hand.
    fn place_of(&self, shard: &mut Shard<H>, key: PoolKey<'_>, text: &mut Option<Box<[u8]>>) -> Result<u32, Attempt> {
        if let Some(place) = shard.keys.find(key.tag) {
            return Ok(place);
        }
        if shard.keys.is_full() {
            return Err(Attempt::Refused(KeyRefusal::TableFull));
        }
        let Some(text) = text.take().or_else(|| key.show.at_hand().map(Box::from)) else {
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
        if shard.status != Status::Open || shard.generation != key.generation {
            return Attempt::Refused(KeyRefusal::Closed);
        }
        if n > shard.limit {
            return Attempt::Refused(KeyRefusal::KeyFull);
        }
        let place = match self.place_of(shard, key, text) {
            Ok(place) => place,
            Err(no) => return no,
        };
        let of = shard.keys.get(place);
        if of.queue != NIL || !shard.fits(of.in_use, n) {
            return Attempt::Refused(KeyRefusal::KeyFull);
        }
        self.admit(shard, place, me, n, kind, now)
    }

    /// Admits a caller. Called under the shard lock, by a caller that may exceed the limit if it is
    /// a restart.
    pub(super) fn admit(&self, shard: &mut Shard<H>, place: u32, me: Pid, n: u32, kind: Kind, now: u32) -> Attempt {
        let Some((lease, made)) = shard.lease_of(&self.people, place, me) else {
            return Attempt::Refused(KeyRefusal::TableFull);
        };
        shard.credit(lease, kind, n, now);
        shard.totals.acquired += 1;
        Attempt::Admitted { id: shard.leases.get(lease).id(shard.at(lease)), made }
    }

    /// Counts one more key. Returns `false`, and counts none, if there are as many as the pool may
    /// have.
    fn count_key(&self) -> bool {
        // A pool of one shard has exactly `max_keys` places there.
        if self.shards.len() == 1 {
            return true;
        }
        let there = self.used.fetch_add(1, Ordering::Relaxed) < u64::from(self.max_keys);
        if !there {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        there
    }

    /// Counts one key less.
    pub(super) fn uncount_key(&self) {
        if self.shards.len() > 1 {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Releases `n` manual permits of a key that the calling process holds.
    pub fn release(&self, host: &H, me: Pid, tag: KeyTag, n: u32) -> Result<(), NotHeld> {
        let mut shard = self.lock_shard(tag);
        let place = shard.keys.find(tag).ok_or(NotHeld)?;
        let lease = shard.find_lease(&self.people, place, me).ok_or(NotHeld)?;
        if !shard.lease(lease).debit(Kind::Manual, n) {
            return Err(NotHeld);
        }
        self.finish_release(host, shard, lease, n);
        Ok(())
    }

    /// Releases `n` permits that the calling process holds in the lease of this id.
    pub fn release_of(&self, host: &H, me: Pid, id: LeaseId, n: u32, kind: Kind) -> Result<(), NotHeld> {
        let mut shard = lock(self.shards.get(id.at().shard()).ok_or(NotHeld)?);
        let lease = shard.lease_by(id, me).ok_or(NotHeld)?;
        if !shard.lease(lease).debit(kind, n) {
            return Err(NotHeld);
        }
        self.finish_release(host, shard, lease, n);
        Ok(())
    }

    /// Releases all bound permits of the calling process. The process calls this when the work that
    /// it was created for has ended.
    pub fn end_work(&self, host: &H, me: Pid) -> Result<(), NotHeld> {
        let mut ended = Err(NotHeld);
        // One lease in each round: a process has only few leases with bound permits, since it was
        // created for one piece of work.
        while let Some(id) = self.bound_lease(me) {
            let mut shard = lock(&self.shards[id.at().shard()]);
            let Some(lease) = shard.lease_by(id, me) else { continue };
            let n = shard.leases.get(lease).held_as(Kind::Bound);
            shard.lease(lease).debit(Kind::Bound, n);
            self.finish_release(host, shard, lease, n);
            ended = Ok(());
        }
        ended
    }

    /// Frees permits that a call has removed from a lease, serves the waiters of the key, and ends
    /// the lease if it is idle. Releases the shard lock.
    pub(super) fn finish_release(&self, host: &H, mut shard: MutexGuard<'_, Shard<H>>, lease: u32, n: u32) {
        let place = shard.leases.get(lease).place;
        shard.give_back(place, n);
        let has_waiters = shard.keys.get(place).queue != NIL;
        let gone = shard.end_if_idle(&self.people, lease);
        if has_waiters {
            // A key with waiters keeps its place.
            self.serve_and_unlock(host, shard, place);
        } else {
            self.unlock(host, shard);
        }
        if gone {
            self.uncount_key();
        }
    }

    /// Releases the shard lock, and answers the drainers if no permit is held any more.
    pub(super) fn unlock(&self, host: &H, shard: MutexGuard<'_, Shard<H>>) {
        let drained = shard.status != Status::Open && shard.in_use == 0;
        drop(shard);
        if drained {
            self.answer_drainers(host);
        }
    }
}
