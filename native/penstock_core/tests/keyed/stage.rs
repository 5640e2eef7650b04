//! A keyed pool with the processes that use it.

#![allow(dead_code)] // Each test program uses a part of this module.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as PlainU32, Ordering};

use penstock_core::{
    AS_LIMIT, Adoption, Answer, Cancelled, KeyInfo, KeyParked, KeyRefusal, KeyRestart, KeyTag, KeyedChanges,
    KeyedDrain, KeyedInfo, KeyedOffer, KeyedPool, KeyedSettings, Kind, LeaseId, NotHeld, Pid, PoolKey, Reusable,
    ShowKey, TransferError,
};

use crate::support::Fake;

/// A key whose text is the number of the key.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) u64);

impl ShowKey for Name {
    fn make_at_once(&self) -> Option<Box<[u8]>> {
        None
    }
    fn make(&self) -> Box<[u8]> {
        self.0.to_le_bytes().into()
    }
}

pub(crate) struct Stage {
    pub(crate) host: Fake,
    pub(crate) pool: KeyedPool<Fake>,
    pub(crate) settings: KeyedSettings,
    /// The generation that the processes mean.
    generation: PlainU32,
}

/// A process that uses the pool of `stage`. Most methods make the call of the pool that has their
/// name.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) stage: Arc<Stage>,
    pub(crate) pid: Pid,
}

pub(crate) fn settings(limit: u32, max_keys: u32) -> KeyedSettings {
    KeyedSettings { limit, max_keys, max_waiting: 100, max_overdraft: AS_LIMIT }
}

/// Returns the tag of a key: neighbours have tags far apart, as hashes are.
pub(crate) fn tag(key: u64) -> KeyTag {
    let word = |salt: u64| {
        (key + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    };
    KeyTag(word(1), word(0x1234_5678))
}

impl Stage {
    /// Opens a pool for the processes 1 to `processes`.
    pub(crate) fn open(processes: usize, settings: KeyedSettings) -> Arc<Self> {
        let pool = KeyedPool::new(settings.max_keys).unwrap();
        let generation = PlainU32::new(pool.open(settings));
        Arc::new(Self { host: Fake::new(processes), pool, settings, generation })
    }

    pub(crate) fn with<const N: usize>(settings: KeyedSettings) -> (Arc<Self>, [Process; N]) {
        let stage = Self::open(N, settings);
        let processes = std::array::from_fn(|n| stage.process(n as u64 + 1));
        (stage, processes)
    }

    pub(crate) fn process(self: &Arc<Self>, number: u64) -> Process {
        Process { stage: Arc::clone(self), pid: Pid::new(number).expect("numbered from 1") }
    }

    pub(crate) fn processes(self: &Arc<Self>, numbers: std::ops::RangeInclusive<u64>) -> Vec<Process> {
        numbers.map(|number| self.process(number)).collect()
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Opens the closed pool again. From now on the processes mean this opening.
    pub(crate) fn open_again(&self, settings: KeyedSettings) {
        self.generation.store(self.pool.open(settings), Ordering::Relaxed);
    }

    pub(crate) fn info(&self, key: u64) -> KeyInfo {
        self.pool.key_info(tag(key))
    }

    pub(crate) fn sums(&self) -> KeyedInfo {
        self.pool.info(&self.host)
    }

    pub(crate) fn update(&self, limit: u32) -> bool {
        self.change(KeyedChanges { limit: Some(limit), ..KeyedChanges::default() })
    }

    pub(crate) fn change(&self, changes: KeyedChanges) -> bool {
        self.pool.update(&self.host, self.generation(), changes)
    }

    pub(crate) fn reopen(&self) -> bool {
        self.pool.reopen(&self.host, self.generation())
    }

    pub(crate) fn close(&self) {
        self.pool.close(&self.host, self.generation());
    }

    /// Runs the work that the pool deferred to the host, until there is none.
    pub(crate) fn serve_deferred(&self) {
        while self.host.take_deferrals() > 0 {
            self.pool.serve(&self.host);
        }
    }

    /// Returns the number of permits that each holder of a key has.
    pub(crate) fn holdings(&self, key: u64) -> BTreeMap<u64, u64> {
        let (mut all, mut next) = (BTreeMap::new(), Some(0));
        while let Some(at) = next {
            let (some, rest) = self.pool.holders(&self.host, tag(key), at, 50);
            all.extend(some.into_iter().map(|holder| (holder.pid.word(), holder.permits)));
            next = rest;
        }
        all
    }

    /// Asserts that exactly `expected` is held, and that neither a permit nor a wake-up is lost.
    /// Each item is a holder, a key below 8, and a number of permits. All calls must have
    /// returned, and the pool must have been told of all deaths.
    #[track_caller]
    pub(crate) fn at_rest(&self, expected: &[(&Process, u64, u32)]) {
        self.serve_deferred();
        let (mut in_use, mut waiting, mut keys) = (0, 0, 0);
        for key in 0..8 {
            let of_key = expected.iter().filter(|(_, of, n)| *of == key && *n > 0);
            let holders: BTreeMap<_, _> = of_key.map(|(process, _, n)| (process.pid.word(), u64::from(*n))).collect();
            assert_eq!(self.holdings(key), holders, "permits of key {key} by holder");
            let info = self.info(key);
            assert_eq!(u64::from(info.in_use), holders.values().sum::<u64>(), "in use of key {key}");
            in_use += u64::from(info.in_use);
            waiting += info.waiting;
            keys += u64::from(info.in_use > 0 || info.waiting > 0);
        }
        let sums = self.sums();
        assert_eq!(sums.in_use, in_use, "in use is the sum over the keys");
        assert_eq!(sums.waiting, waiting, "waiting is the sum over the keys");
        assert_eq!(sums.keys, keys, "a key without permits and waiters has no place");

        // If an earlier call forgot to answer a waiter, this change answers it: after a change,
        // the pool visits each queue.
        let answers = self.host.answers();
        self.change(KeyedChanges::default());
        self.serve_deferred();
        assert_eq!(self.host.answers(), answers, "no earlier call gave an answer that was due");
    }

    /// Asserts that no permit, no waiter, no key and no lease is left. Closes the pool.
    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        self.at_rest(&[]);
        self.close();
        self.serve_deferred();
        assert!(Reusable::fits(&self.pool, self.settings), "the pool can be opened again");
    }
}

impl Process {
    pub(crate) fn with<T>(&self, key: u64, act: impl FnOnce(&KeyedPool<Fake>, &Fake, PoolKey<'_>) -> T) -> T {
        let show = Name(key);
        let key = PoolKey { generation: self.stage.generation(), tag: tag(key), show: &show };
        act(&self.stage.pool, &self.stage.host, key)
    }

    fn pool(&self) -> &KeyedPool<Fake> {
        &self.stage.pool
    }

    fn host(&self) -> &Fake {
        &self.stage.host
    }

    pub(crate) fn take(&self, key: u64, n: u32) -> Result<LeaseId, KeyRefusal> {
        self.with(key, |pool, host, key| pool.take(host, self.pid, key, n, Kind::Manual))
    }

    pub(crate) fn try_acquire(&self, key: u64, n: u32) -> Result<LeaseId, KeyRefusal> {
        self.try_as(key, n, Kind::Manual)
    }

    pub(crate) fn try_as(&self, key: u64, n: u32, kind: Kind) -> Result<LeaseId, KeyRefusal> {
        self.with(key, |pool, host, key| pool.try_acquire(host, self.pid, key, n, kind))
    }

    /// Acquires `n` permits that must be free.
    #[track_caller]
    pub(crate) fn hold(&self, key: u64, n: u32) -> LeaseId {
        self.try_acquire(key, n).expect("the permits are free")
    }

    /// Acquires `n` bound permits that must be free.
    #[track_caller]
    pub(crate) fn hold_bound(&self, key: u64, n: u32) -> LeaseId {
        self.try_as(key, n, Kind::Bound).expect("the permits are free")
    }

    /// Acquires `n` bound permits that must be free, and offers them to a child.
    #[track_caller]
    pub(crate) fn acquire_and_offer(&self, key: u64, n: u32) -> KeyedOffer {
        let id = self.hold_bound(key, n);
        self.offer(id, n).expect("the process has just acquired them")
    }

    pub(crate) fn park(&self, key: u64, n: u32) -> KeyParked {
        self.park_as(key, n, Kind::Manual).0
    }

    /// Parks. Returns the result, and the number of the ticket that an answer to the wait comes
    /// with.
    pub(crate) fn park_as(&self, key: u64, n: u32, kind: Kind) -> (KeyParked, u32) {
        let ticket = self.host().ticket();
        let number = ticket.0;
        (self.with(key, |pool, host, key| pool.park(host, self.pid, key, n, kind, ticket)), number)
    }

    /// Parks for permits that must not be free.
    #[track_caller]
    pub(crate) fn wait(&self, key: u64, n: u32) -> LeaseId {
        match self.park(key, n) {
            KeyParked::Waiting(id) => id,
            other => panic!("not parked but {other:?}"),
        }
    }

    pub(crate) fn cancel(&self, id: LeaseId) -> Cancelled {
        self.pool().cancel(self.host(), self.pid, id)
    }

    pub(crate) fn withdraw(&self, id: LeaseId) -> Cancelled {
        self.pool().withdraw(self.host(), self.pid, id)
    }

    pub(crate) fn release(&self, key: u64, n: u32) -> Result<(), NotHeld> {
        self.pool().release(self.host(), self.pid, tag(key), n)
    }

    pub(crate) fn release_of(&self, id: LeaseId, n: u32, kind: Kind) -> Result<(), NotHeld> {
        self.pool().release_of(self.host(), self.pid, id, n, kind)
    }

    pub(crate) fn end_work(&self) -> Result<(), NotHeld> {
        self.pool().end_work(self.host(), self.pid)
    }

    /// Tells the pool that `child` has ended, as a spawner does that saw its child end.
    pub(crate) fn report_end_of(&self, child: &Self) {
        self.pool().ended(self.host(), child.pid);
    }

    pub(crate) fn offer(&self, id: LeaseId, n: u32) -> Option<KeyedOffer> {
        self.pool().offer(self.pid, id, n)
    }

    pub(crate) fn hand_over(&self, offer: KeyedOffer, child: &Self) {
        self.pool().hand_over(self.host(), offer, child.pid);
    }

    pub(crate) fn adopt(&self, offer: KeyedOffer) -> Adoption {
        self.pool().adopt(self.host(), self.pid, offer)
    }

    pub(crate) fn retract(&self, offer: KeyedOffer) {
        self.pool().retract(self.host(), offer);
    }

    pub(crate) fn claim(&self, spawner: &Self, offer: KeyedOffer) -> Option<LeaseId> {
        self.pool().claim(self.host(), self.pid, spawner.pid, offer)
    }

    pub(crate) fn entrust(&self, id: LeaseId, to: &Self, n: u32) -> Result<(), TransferError> {
        self.pool().entrust(self.host(), self.pid, id, to.pid, n)
    }

    pub(crate) fn restart_step(&self, key: u64, n: u32, step: u64) -> KeyRestart {
        self.with(key, |pool, host, key| pool.take_for_restart(host, self.pid, key, n, step))
    }

    /// Asks for a restart, and repeats the call until the pool admits or refuses it.
    pub(crate) fn restart(&self, key: u64, n: u32) -> KeyRestart {
        let mut step = 0;
        loop {
            match self.restart_step(key, n, step) {
                KeyRestart::Pause(next) | KeyRestart::Wait(next) => step = next,
                answer => return answer,
            }
        }
    }

    /// Asks for a restart that must be admitted.
    #[track_caller]
    pub(crate) fn restarted(&self, key: u64, n: u32) -> LeaseId {
        match self.restart(key, n) {
            KeyRestart::Admitted(id) => id,
            other => panic!("not admitted but {other:?}"),
        }
    }

    pub(crate) fn drain(&self) -> KeyedDrain {
        let ticket = self.host().ticket();
        self.pool().drain(self.host(), self.stage.generation(), self.pid, ticket).expect("the opening lasts")
    }

    /// Drains a pool of which permits are held. Returns the number of the wait.
    #[track_caller]
    pub(crate) fn wait_for_drain(&self) -> u64 {
        match self.drain() {
            KeyedDrain::Waiting(number) => number,
            KeyedDrain::Done => panic!("no permit is held"),
        }
    }

    pub(crate) fn stop_draining(&self, number: u64) -> Cancelled {
        self.pool().stop_draining(self.pid, number)
    }

    /// Returns all answers that the process got.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.host().mailbox(self.pid).into_iter().map(|(_, answer)| answer).collect()
    }

    /// Returns `true` if the process got a grant, and `false` if it got no answer. Panics at any
    /// other answer.
    #[track_caller]
    pub(crate) fn was_granted(&self) -> bool {
        match self.answers().as_slice() {
            [] => false,
            [Answer::Granted] => true,
            other => panic!("answered {other:?}"),
        }
    }

    pub(crate) fn begin_exit(&self) {
        self.stage.host.begin_exit(self.pid);
    }

    pub(crate) fn finish_exit(&self) {
        self.stage.host.finish_exit(self.pid, &[&self.stage.pool]);
    }

    pub(crate) fn die(&self) {
        self.begin_exit();
        self.finish_exit();
    }
}
