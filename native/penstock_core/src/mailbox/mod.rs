//! Mailboxes: a bound on the messages that wait at a process, the *server*. The senders keep it.
//!
//! A message has *room* from the call that sends it until the server takes it up. The bound holds
//! at each death:
//!
//! - A sender takes room and sends in one call, in which it cannot be killed.
//! - A sender that waits leaves its message here. The call that finds room for it sends it, in the
//!   name of the sender. So no waiter ever has room and no message, which its death would lose.
//! - The death of the server ends its mailbox, with all messages.
//!
//! # The state word
//!
//! All that decides is one word: the *generation*, which is odd while the mailbox is open; whether
//! senders wait; and the number of messages that have room. Its place may serve one server after
//! another. So each write is a CAS that compares the generation: a stale caller changes nothing.
//!
//! # Races
//!
//! - Room comes back while a sender parks. Both write the state word. Either the sender finds the
//!   room, or the server finds that senders wait, and takes the lock, in which the sender parked.
//! - A newcomer meets room that is meant for a waiter. While senders wait, no newcomer is admitted.
//! - The server dies while a sender sends. The VM drops the message, and the next generation begins
//!   with all room free.
//! - A kept message takes the place of one of which the server is being told. The sender then does
//!   not tell the server, and so a request of this sender could come first. It asks
//!   [`Open::is_told`] before.
//! - A waiter gives up as its turn comes. The lock decides: the waiter finds its wait, or its message
//!   is sent.
//!
//! No method of the host is called inside a lock.

mod line;
mod open;
mod places;
mod refusals;
mod waits;

use std::fmt;

use crate::host::{Host, Pid};
use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, lock};

use line::Inner;
use places::Places;
use refusals::Refusals;

pub use line::Discarded;
pub use open::{NoRoom, Open};
pub use waits::{MailParked, Token};

/// A runtime that has mailboxes.
pub trait MailHost: Host {
    /// A message that the core keeps until there is room for it, or until the server takes it up.
    type Parcel: Send;

    /// Sends a message to a process, which may be dead.
    fn post(&self, to: Pid, parcel: Self::Parcel);

    /// Watches `pid`: the host calls [`Mailboxes::down`] after its death. Returns `false`, and watches
    /// nothing, if the process is dead.
    fn watch_server(&self, pid: Pid) -> bool;

    /// Drops what a dead server left, which may be long.
    fn discard(&self, left: Discarded<Self>);
}

/// What becomes of messages that find no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The sender is refused, or waits.
    Refuse,
    /// The oldest message that is kept here makes way. See [`Open::keep`].
    DropOldest,
}

/// The settings of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxSettings {
    /// The number of messages that have room.
    pub limit: u32,
    /// The number of senders that may wait.
    pub max_waiting: u32,
    /// What becomes of messages that find no room.
    pub overflow: Overflow,
    /// Whether a message keeps its room once the server has taken it up, until the server gives the
    /// room back by [`Open::release`].
    pub manual: bool,
}

/// A mailbox at one time. The numbers may be of slightly different instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxInfo {
    /// The present settings.
    pub settings: MailboxSettings,
    /// Messages that have room.
    pub in_use: u32,
    /// Senders that wait for room.
    pub waiting: usize,
    /// Messages that the server has taken up, and keeps room for.
    pub held: u32,
    /// Messages that had room since the mailbox was opened.
    pub admitted: u64,
    /// Calls that were refused.
    pub rejected: u64,
    /// Waits that ended without room.
    pub timed_out: u64,
    /// Messages that made way for newer ones.
    pub dropped: u64,
}

/// The result of [`Mailboxes::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailOpened {
    /// The mailbox is open.
    Yes,
    /// The server is dead.
    Dead,
    /// The table has no place for another server.
    NoPlace,
}

/// The number of messages that have room.
const USED: u64 = (1 << 32) - 1;
/// Whether senders wait.
const WAIT: u64 = 1 << 32;
/// The lowest bit of the generation, which is set while the mailbox is open.
const OPEN: u64 = 1 << 33;
/// The generation.
const GENERATION: u64 = !(USED | WAIT);

/// The mode word: [`Overflow::DropOldest`].
const DROPS: u32 = 1;
/// The mode word: `manual`.
const MANUAL: u32 = 2;

/// A place for the mailbox of one server after another.
#[repr(align(64))]
struct Mailbox<H: MailHost> {
    state: AtomicU64,
    limit: AtomicU32,
    mode: AtomicU32,
    /// Written by the server alone.
    taken: AtomicU64,
    held: AtomicU32,
    refusals: Refusals,
    /// Messages that were kept and of which the server is to be told, and how many it was told of.
    to_tell: AtomicU64,
    told: AtomicU64,
    inner: Mutex<Inner<H>>,
}

impl<H: MailHost> Default for Mailbox<H> {
    fn default() -> Self {
        Self {
            state: AtomicU64::new(0),
            limit: AtomicU32::new(0),
            mode: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            held: AtomicU32::new(0),
            refusals: Refusals::default(),
            to_tell: AtomicU64::new(0),
            told: AtomicU64::new(0),
            inner: Mutex::new(Inner::default()),
        }
    }
}

impl<H: MailHost> Mailbox<H> {
    fn lock(&self) -> MutexGuard<'_, Inner<H>> {
        lock(&self.inner)
    }

    fn set(&self, inner: &mut Inner<H>, settings: MailboxSettings) {
        self.limit.store(settings.limit, Ordering::Relaxed);
        let drops = if settings.overflow == Overflow::DropOldest { DROPS } else { 0 };
        self.mode.store(drops | if settings.manual { MANUAL } else { 0 }, Ordering::Relaxed);
        inner.max_waiting = settings.max_waiting;
    }

    fn settings(&self, inner: &Inner<H>) -> MailboxSettings {
        let mode = self.mode.load(Ordering::Relaxed);
        MailboxSettings {
            limit: self.limit.load(Ordering::Relaxed),
            max_waiting: inner.max_waiting,
            overflow: if mode & DROPS == 0 { Overflow::Refuse } else { Overflow::DropOldest },
            manual: mode & MANUAL != 0,
        }
    }
}

/// All mailboxes of a node.
pub struct Mailboxes<H: MailHost> {
    places: Places<Mailbox<H>>,
}

impl<H: MailHost> fmt::Debug for Mailboxes<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailboxes").finish_non_exhaustive()
    }
}

impl<H: MailHost> Default for Mailboxes<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: MailHost> Mailboxes<H> {
    /// Makes the table without a mailbox.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        Self { places: Places::new() }
    }

    /// Makes the table without a mailbox.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> Self {
        Self { places: Places::new() }
    }

    /// Opens the mailbox of a process. If it is open, changes its settings. The caller must then call
    /// [`Open::serve`], since the limit may have grown.
    pub fn open(&self, host: &H, server: Pid, settings: MailboxSettings) -> MailOpened {
        loop {
            let Some(place) = self.places.get_or_insert(server) else { return MailOpened::NoPlace };
            let mailbox = place.value;
            let mut inner = mailbox.lock();
            if !place.stands() {
                // The server died, and another call closed its mailbox.
                continue;
            }
            mailbox.set(&mut inner, settings);
            let state = mailbox.state.load(Ordering::Relaxed);
            if state & OPEN != 0 {
                return MailOpened::Yes;
            }
            inner.reset(mailbox.refusals.sum());
            mailbox.taken.store(0, Ordering::Relaxed);
            mailbox.held.store(0, Ordering::Relaxed);
            // Only the difference counts. A sender of the last generation may still be about to tell.
            // ORDERING: Release pairs with the Acquire in `find`; publishes the settings.
            mailbox.state.store((state & GENERATION).wrapping_add(OPEN), Ordering::Release);
            drop(inner);
            // Watched once it is open. In the other order, `down` could come before the opening.
            if host.watch_server(server) {
                return MailOpened::Yes;
            }
            self.down(host, server);
            return MailOpened::Dead;
        }
    }

    /// Returns the open mailbox of a process.
    #[inline]
    pub fn find(&self, server: Pid) -> Option<Open<'_, H>> {
        let place = self.places.find(server)?;
        // ORDERING: Acquire pairs with the Release in `open`. It also keeps the load in `stands`
        // behind this one.
        let state = place.value.state.load(Ordering::Acquire);
        (state & OPEN != 0 && place.stands()).then(|| Open::at(place.value, server, state))
    }

    /// Ends the mailbox of a dead process.
    pub fn down(&self, host: &H, server: Pid) {
        let Some(place) = self.places.find(server) else { return };
        let left = {
            let mut inner = place.value.lock();
            let state = place.value.state.load(Ordering::Relaxed);
            if state & OPEN == 0 || !place.stands() {
                return;
            }
            // A swap, since senders of this generation still write. They fail from now on.
            place.value.state.swap((state & GENERATION).wrapping_add(OPEN), Ordering::Relaxed);
            let left = inner.leave();
            // Freed inside the lock, so that `open` finds the place closed and its own, or neither.
            place.free();
            left
        };
        host.discard(left);
    }
}
