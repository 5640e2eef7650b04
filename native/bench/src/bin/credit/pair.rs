//! Two threads that work at once.

use std::hint::spin_loop;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// The part of a sample in which both threads must run. A busy machine runs them in turn.
const SHARED: f64 = 0.8;
/// The order that ends the second thread.
const END: usize = usize::MAX;

/// Work that a thread does, by the number of the thread: 0 or 1.
pub type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Two threads, the caller's and another one. They live on between samples, so that the system has
/// the time to put them on different cores.
pub struct Pair<'a> {
    /// The works among which a sample chooses.
    works: [Work<'a>; 2],
    /// The number of samples that were ordered, times 2, plus the work of the last of them.
    order: AtomicUsize,
    /// The number of samples that the second thread is ready for.
    ready: AtomicUsize,
    /// The number of samples that both threads may begin.
    begin: AtomicUsize,
    /// The number of samples that the second thread has done.
    done: AtomicUsize,
    /// When the second thread began and ended its last sample.
    times: Mutex<(Instant, Instant)>,
}

impl<'a> Pair<'a> {
    /// Makes the second thread, and calls `measure` with the pair in the first one.
    pub fn run<T>(works: [Work<'a>; 2], measure: impl FnOnce(&Self) -> T) -> T {
        let zero = || AtomicUsize::new(0);
        let now = Instant::now();
        let times = Mutex::new((now, now));
        let pair = Self { works, order: zero(), ready: zero(), begin: zero(), done: zero(), times };
        thread::scope(|scope| {
            scope.spawn(|| {
                bind(1);
                pair.follow();
            });
            bind(0);
            let result = measure(&pair);
            // ORDERING: Release pairs with the Acquire in `await_change`.
            pair.order.store(END, Ordering::Release);
            result
        })
    }

    /// Does a work in both threads. Returns the mean of their times in ns. Repeats that until both
    /// ran at once for nearly all of the time. Returns `None` after `until`.
    pub fn sample(&self, work: usize, until: Instant) -> Option<f64> {
        while Instant::now() < until {
            let number = self.done.load(Ordering::Relaxed) + 1;
            // ORDERING: Release pairs with the Acquire in `await_change`, as do the stores below.
            self.order.store(2 * number + work, Ordering::Release);
            await_change(&self.ready, number - 1);
            // ORDERING: see above.
            self.begin.store(number, Ordering::Release);
            let (a, b) = time(|| self.works[work](0));
            await_change(&self.done, number - 1);
            let (c, d) = *self.times.lock().expect("no thread panics");
            let shared = b.min(d).saturating_duration_since(a.max(c)).as_nanos() as f64;
            let mean = ((b - a) + (d - c)).as_nanos() as f64 / 2.0;
            if shared >= SHARED * mean {
                return Some(mean);
            }
        }
        None
    }

    /// Does a work in the first thread, while the second one waits. Returns the time in ns.
    pub fn sample_alone(&self, work: usize) -> f64 {
        let (begin, end) = time(|| self.works[work](0));
        (end - begin).as_nanos() as f64
    }

    /// Does what the first thread orders.
    fn follow(&self) {
        let mut last = 0;
        loop {
            last = await_change(&self.order, last);
            if last == END {
                return;
            }
            let (number, work) = (last / 2, last % 2);
            // ORDERING: Release pairs with the Acquire in `await_change`, as does the store below.
            self.ready.store(number, Ordering::Release);
            await_change(&self.begin, number - 1);
            *self.times.lock().expect("no thread panics") = time(|| self.works[work](1));
            // ORDERING: see above.
            self.done.store(number, Ordering::Release);
        }
    }
}

/// Waits until a number is no longer `old`. Returns the number.
fn await_change(number: &AtomicUsize, old: usize) -> usize {
    loop {
        // ORDERING: Acquire pairs with the Release stores of the other thread, which say how far it is.
        let now = number.load(Ordering::Acquire);
        if now != old {
            return now;
        }
        spin_loop();
    }
}

/// Binds the calling thread to a core, by the program `taskset` of Linux. Where there is none, the
/// system chooses, and may take long to choose two cores.
fn bind(core: usize) {
    let Ok(path) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(id) = path.file_name() else { return };
    let silent = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let _bound = silent(Command::new("taskset").args(["-c", "-p", &core.to_string()]).arg(id));
}

fn time(work: impl FnOnce()) -> (Instant, Instant) {
    let begin = Instant::now();
    work();
    (begin, Instant::now())
}
