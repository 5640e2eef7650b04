//! A keyed pool with the processes that use it.

use std::sync::Arc;

use penstock_core::{
    AS_LIMIT, Cancelled, KeyInfo, KeyParked, KeyRefusal, KeyTag, KeyedPool, KeyedSettings, Kind, LeaseId, NotHeld, Pid,
    PoolKey, ShowKey,
};

use crate::support::Fake;

#[derive(Debug)]
pub struct Name(pub u64);

impl ShowKey for Name {
    fn at_hand(&self) -> Option<&[u8]> {
        None
    }
    fn make(&self) -> Box<[u8]> {
        self.0.to_le_bytes().into()
    }
}

pub struct Stage {
    pub host: Fake,
    pub pool: KeyedPool<Fake>,
    pub generation: u32,
}

#[derive(Clone)]
pub struct Process {
    pub stage: Arc<Stage>,
    pub pid: Pid,
}

pub fn settings(limit: u32, max_keys: u32) -> KeyedSettings {
    KeyedSettings { limit, max_keys, max_waiting: 100, max_overdraft: AS_LIMIT }
}

/// Returns the tag of a key: neighbours have tags far apart, as hashes are.
pub fn tag(key: u64) -> KeyTag {
    let word = |salt: u64| {
        (key + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xD6E8_FEB8_6659_FD93)
    };
    KeyTag(word(1), word(0x1234_5678))
}

impl Stage {
    pub fn with<const N: usize>(settings: KeyedSettings) -> (Arc<Self>, [Process; N]) {
        let host = Fake::new(N);
        let pool = KeyedPool::new(settings.max_keys).unwrap();
        let generation = pool.open(settings);
        let stage = Arc::new(Self { host, pool, generation });
        let processes =
            std::array::from_fn(|n| Process { stage: Arc::clone(&stage), pid: Pid::new(n as u64 + 1).unwrap() });
        (stage, processes)
    }

    pub fn info(&self, key: u64) -> KeyInfo {
        self.pool.key_info(tag(key))
    }
}

impl Process {
    fn with<T>(&self, key: u64, act: impl FnOnce(&KeyedPool<Fake>, &Fake, PoolKey<'_>) -> T) -> T {
        let show = Name(key);
        let key = PoolKey { generation: self.stage.generation, tag: tag(key), show: &show };
        act(&self.stage.pool, &self.stage.host, key)
    }

    pub fn try_acquire(&self, key: u64, n: u32) -> Result<LeaseId, KeyRefusal> {
        self.with(key, |pool, host, key| pool.try_acquire(host, self.pid, key, n, Kind::Manual))
    }

    pub fn try_bound(&self, key: u64, n: u32) -> Result<LeaseId, KeyRefusal> {
        self.with(key, |pool, host, key| pool.try_acquire(host, self.pid, key, n, Kind::Bound))
    }

    #[track_caller]
    pub fn hold(&self, key: u64, n: u32) -> LeaseId {
        self.try_acquire(key, n).expect("the permits are free")
    }

    pub fn park(&self, key: u64, n: u32) -> KeyParked {
        let ticket = self.stage.host.ticket();
        self.with(key, |pool, host, key| pool.park(host, self.pid, key, n, Kind::Manual, ticket))
    }

    #[track_caller]
    pub fn wait(&self, key: u64, n: u32) -> LeaseId {
        match self.park(key, n) {
            KeyParked::Waiting(id) => id,
            other => panic!("not parked but {other:?}"),
        }
    }

    pub fn cancel(&self, id: LeaseId) -> Cancelled {
        self.stage.pool.cancel(&self.stage.host, self.pid, id)
    }

    pub fn release(&self, key: u64, n: u32) -> Result<(), NotHeld> {
        self.stage.pool.release(&self.stage.host, self.pid, tag(key), n)
    }

    pub fn answers(&self) -> Vec<penstock_core::Answer> {
        self.stage.host.mailbox(self.pid).into_iter().map(|(_, answer)| answer).collect()
    }

    pub fn die(&self) {
        self.begin_exit();
        self.finish_exit();
    }

    pub fn begin_exit(&self) {
        self.stage.host.begin_exit(self.pid);
    }

    pub fn finish_exit(&self) {
        self.stage.host.finish_exit(self.pid, &[&self.stage.pool]);
    }
}
