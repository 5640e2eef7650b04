//! A runtime that runs a hook of the test at each of its calls, and when a ticket is dropped. So
//! a test acts in the middle of a call of the pool, at a point that it chooses.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use penstock_core::{Answer, Host, KeyedHost, KeyedPool, KeyedSettings, Pid, PoolKey, ShowKey};

use crate::stage::tag;

/// Where the pool called the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Alive(Pid),
    Watch(Pid),
    Wake,
    Clock,
    Worked,
    Defer,
    TicketDropped,
    Text,
}

type Hook = Box<dyn FnMut(Point)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Runs the hook of the thread, unless it runs already.
fn reach(point: Point) {
    let hook = HOOK.with(|hook| hook.borrow_mut().take());
    if let Some(mut hook) = hook {
        hook(point);
        HOOK.with(|place| *place.borrow_mut() = Some(hook));
    }
}

/// Makes `hook` the hook of this thread.
pub(crate) fn at_each_point(hook: impl FnMut(Point) + 'static) {
    HOOK.with(|place| *place.borrow_mut() = Some(Box::new(hook)));
}

/// Removes the hook of this thread.
pub(crate) fn no_hook() {
    HOOK.with(|place| *place.borrow_mut() = None);
}

#[derive(Debug)]
pub(crate) struct Ticket;

impl Drop for Ticket {
    fn drop(&mut self) {
        reach(Point::TicketDropped);
    }
}

/// The runtime. Clones share their dead processes.
#[derive(Clone, Default)]
pub(crate) struct Hooked(Arc<Mutex<BTreeSet<Pid>>>);

impl Hooked {
    pub(crate) fn kill(&self, pid: Pid) {
        self.0.lock().unwrap().insert(pid);
    }
    fn lives(&self, pid: Pid) -> bool {
        !self.0.lock().unwrap().contains(&pid)
    }
}

impl Host for Hooked {
    type Ticket = Ticket;

    fn alive(&self, pid: Pid) -> bool {
        reach(Point::Alive(pid));
        self.lives(pid)
    }
    fn wake(&self, _pid: Pid, _ticket: Ticket, _answer: Answer) {
        reach(Point::Wake);
    }
    fn now_ms(&self) -> u32 {
        reach(Point::Clock);
        1
    }
    fn worked(&self, _entries: usize) {
        reach(Point::Worked);
    }
}

impl KeyedHost for Hooked {
    type KeyedData = ();

    fn watch_keyed(&self, _pool: &KeyedPool<Self>, pid: Pid) -> bool {
        reach(Point::Watch(pid));
        self.lives(pid)
    }
    fn defer_keyed(&self, _pool: &KeyedPool<Self>) {
        reach(Point::Defer);
    }
}

/// A key whose text the pool must make.
#[derive(Debug)]
pub(crate) struct Made;

impl ShowKey for Made {
    fn make_at_once(&self) -> Option<Box<[u8]>> {
        None
    }
    fn make(&self) -> Box<[u8]> {
        reach(Point::Text);
        [1].into()
    }
}

pub(crate) fn key(generation: u32, key: u64) -> PoolKey<'static> {
    PoolKey { generation, tag: tag(key), show: &Made }
}

/// Opens a pool, and returns it with its runtime and its generation.
pub(crate) fn open(settings: KeyedSettings) -> (Arc<KeyedPool<Hooked>>, Hooked, u32) {
    let pool = Arc::new(KeyedPool::new(settings.max_keys).unwrap());
    let generation = pool.open(settings);
    (pool, Hooked::default(), generation)
}
