//! A stage: one pool, and the processes that use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use penstock_core::{Changes, Cursor, HolderInfo, Info, Kind, Pid, Pool, Report, Settings, Status};

use super::{Fake, Process};

/// Returns settings with this limit, no overdraft, and a queue with room for more waiters than
/// any test has.
pub fn limit(limit: u64) -> Settings {
    Settings { limit, max_waiting: 1_000_000, ..Settings::default() }
}

/// One pool, and the runtime of its processes.
pub struct Stage {
    pub pool: Pool<Fake>,
    pub host: Fake,
    /// A further process. Only `at_rest` acquires for it.
    stranger: Pid,
}

impl Stage {
    /// Opens a pool for the processes 1 to `processes`.
    pub fn open(processes: usize, settings: Settings) -> Arc<Self> {
        let stage = Self {
            pool: Pool::new(),
            host: Fake::new(processes + 1),
            stranger: Pid::new(processes as u64 + 1).unwrap(),
        };
        assert!(stage.pool.open(settings));
        Arc::new(stage)
    }

    /// Opens a metered pool for the processes 1 to `processes`.
    pub fn open_metered(processes: usize, settings: Settings) -> Arc<Self> {
        let stage = Self {
            pool: Pool::new(),
            host: Fake::new(processes + 1),
            stranger: Pid::new(processes as u64 + 1).unwrap(),
        };
        assert!(stage.pool.open_metered(settings));
        Arc::new(stage)
    }

    /// Opens a pool, and returns it with `N` processes. Each process is in another shard of the
    /// holder table than the process before it. So no shard lock orders the calls of a process
    /// and the next one.
    pub fn with_processes<const N: usize>(settings: Settings) -> (Arc<Self>, [Process; N]) {
        let stage = Self::open(3 * N, settings);
        let mut number = 0;
        let processes = std::array::from_fn(|at| {
            loop {
                number += 1;
                let process = stage.process(number);
                if Pool::<Fake>::shard_of(process.pid) % 2 == at % 2 {
                    return process;
                }
            }
        });
        (stage, processes)
    }

    pub fn process(self: &Arc<Self>, number: usize) -> Process {
        Process { stage: Arc::clone(self), pid: Pid::new(number as u64).expect("numbered from 1") }
    }

    /// Changes the limit, and nothing else.
    pub fn update(&self, limit: u64) {
        self.pool.update(&self.host, Changes { limit: Some(limit), ..Changes::default() });
    }

    pub fn info(&self) -> Info {
        self.pool.info()
    }

    pub fn in_use(&self) -> u64 {
        self.pool.info().in_use
    }

    /// Runs the work that the pool deferred to the host, until there is none.
    pub fn serve_deferred(&self) {
        while self.host.take_deferrals() > 0 {
            self.pool.serve(&self.host);
        }
    }

    pub fn report(&self) -> Report {
        let (sums, rest) = self.pool.report(&self.host, Cursor::default(), usize::MAX);
        assert_eq!(rest, None);
        sums
    }

    pub fn holders(&self) -> Vec<HolderInfo> {
        // Each call reads about 1,000 cache lines. So in a test of a large table, a walk takes
        // several calls.
        let (mut all, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(at) = next {
            let (some, rest) = self.pool.holders(at, 1_000);
            all.extend(some);
            next = rest;
        }
        all
    }

    /// Returns the number of permits that each holder has.
    pub fn holdings(&self) -> BTreeMap<u64, u64> {
        self.holders().into_iter().map(|holding| (holding.pid.word(), holding.permits)).collect()
    }

    /// Asserts that exactly `expected` is held, and that neither a permit nor a wake-up is lost.
    /// All calls must have returned, and the pool must have been told of all deaths.
    #[track_caller]
    pub fn at_rest(&self, expected: &[(&Process, u64)]) {
        let expected: BTreeMap<u64, u64> =
            expected.iter().filter(|(_, n)| *n > 0).map(|(process, n)| (process.pid.word(), *n)).collect();
        assert_eq!(self.holdings(), expected, "permits by holder");
        let info = self.info();
        assert_eq!(info.in_use, expected.values().sum::<u64>(), "in use is the sum of all permits held");
        assert_eq!(self.report().holders, expected.len() as u64, "the report counts the holders");

        // The flag WAITERS in the state word keeps newcomers out while a process waits. If the
        // flag was left behind, or was lost, the attempt of a newcomer shows it.
        let free = info.settings.limit.saturating_sub(info.in_use).min(1 << 30) as u32;
        if info.status == Status::Open && free > 0 {
            let admitted = self.pool.take(&self.host, self.stranger, free, Kind::Manual);
            assert_eq!(admitted, info.waiting == 0, "a newcomer is admitted exactly if no process waits");
            if admitted {
                self.pool.release(&self.host, self.stranger, free, Kind::Manual).unwrap();
            }
        }

        // If an earlier call forgot to answer a waiter, this call answers that waiter.
        let answers = self.host.answers();
        self.pool.serve(&self.host);
        assert_eq!(self.host.answers(), answers, "no earlier call gave an answer that was due");
    }
}
