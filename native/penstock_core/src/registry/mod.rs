//! Names, and the pool, the limiter or the ban list that each stands for.
//!
//! A caller looks a name up without a lock and is not counted, since a [node] is never freed. A
//! node stands for a name while that name has something open, held or waited for. After that the
//! node may stand for another name of its bucket. So there are as many nodes as names were in use
//! at once, and at most one more per bucket. Of a name that lost its node the registry keeps only
//! its word, to tell that it was started.
//!
//! A caller may have looked a name up just before its node is given to another name. What that
//! caller does then is undone, or refused under the queue lock; each method of [`Named`] says
//! how. Three rules make that possible:
//!
//! - A node changes its name under the lock of its ownership. All its pools must be closed, with
//!   nothing held in them and no process waiting. A closed pool admits no caller, so that stays
//!   true until the node's next name opens one.
//! - The new name is written before a pool, a limiter or a ban list is opened for it. A caller
//!   that finds one of these open for the new name therefore sees the new name when it looks
//!   again.
//! - A node in which the caller holds a permit keeps its name. A caller that has acquired a
//!   permit and finds the name still there has acquired it by that name.
//!
//! What a name stands for is [one word](current). A limiter or a ban list is of a [slab], which
//! gets it back when it is closed. A pool stays with its name, as permits may be held in it. Only
//! a name that is restarted while permits of its old pool are still held gets a [second
//! one](pools).

mod current;
mod named;
mod node;
mod pools;
mod slab;
mod unnamed;

use std::collections::BTreeSet;
use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::ban::{Ban, BanSettings};
use crate::host::Pid;
use crate::pool::{Pool, PoolHost, Settings};
use crate::rate::{Limiter, LimiterSettings};
use crate::reuse::OutOfMemory;
use crate::sync::{Mutex, lock};

use current::Slabs;
use named::Renamed;
pub use named::{Named, Started};
use node::Node;
use unnamed::Unnamed;
pub use unnamed::UnnamedId;

const BUCKETS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// Nodes of a bucket that a new name looks at for one to take over.
const LOOKS: u32 = 64;

/// Names one of a name's pools, so that what began on it also ends on it: the number of the
/// name's life above, the pool's number below. At most 59 bits; 1 is the first pool of the first
/// life.
pub type InstanceId = u64;

/// Lives after the first are counted from 1 to this, and from 1 again: after that many restarts
/// no caller knows an old number.
const LIVES: u32 = (1 << 27) - 1;

/// The names of a VM.
pub struct Registry<H: PoolHost> {
    buckets: [OnceBox<Node<H>>; BUCKETS],
    shared: OnceBox<Shared>,
    unnamed: OnceBox<Unnamed<H>>,
}

#[derive(Default)]
struct Shared {
    slabs: Arc<Slabs>,
    /// Its lock is held while a node is added, or given to another name.
    forgotten: Mutex<Forgotten>,
}

/// Names that lost their nodes, started again since or not.
#[derive(Default)]
struct Forgotten {
    names: BTreeSet<u64>,
    /// The lives of names that began after the first.
    lives: u32,
}

impl Forgotten {
    fn remember(&mut self, name: u64) {
        self.names.insert(name);
    }

    /// Returns the number of the life that a name begins.
    fn next_life(&mut self, name: u64) -> u32 {
        if !self.names.contains(&name) {
            return 0;
        }
        self.lives = self.lives % LIVES + 1;
        self.lives
    }
}

impl<H: PoolHost> Registry<H> {
    /// Returns a registry without names. For a static, so that a look-up starts at a fixed
    /// address.
    pub const fn new() -> Self {
        Self { buckets: [const { OnceBox::new() }; BUCKETS], shared: OnceBox::new(), unnamed: OnceBox::new() }
    }

    #[inline]
    fn bucket(&self, name: u64) -> &OnceBox<Node<H>> {
        // Names on the BEAM are indices with a tag in the low 6 bits.
        &self.buckets[(name >> 6) as usize % BUCKETS]
    }

    fn shared(&self) -> &Shared {
        self.shared.get_or_init(Box::default)
    }

    /// Returns the name if it has a node, as a name has that is open, or in whose pools permits
    /// are held.
    #[inline]
    pub fn find(&self, name: u64) -> Option<Named<'_, H>> {
        let mut at = self.bucket(name).get();
        while let Some(node) = at {
            if node.name() == name {
                return Some(Named { node, name });
            }
            at = node.next.get();
        }
        None
    }

    /// Returns `true` if the name had a node and lost it, whether it has one again or not.
    pub fn was_forgotten(&self, name: u64) -> bool {
        self.shared.get().is_some_and(|shared| lock(&shared.forgotten).names.contains(&name))
    }

    /// Returns `true` if the name was ever started.
    pub fn was_started(&self, name: u64) -> bool {
        // A name that loses its node is noted before that.
        self.find(name).is_some() || self.was_forgotten(name)
    }

    fn find_or_add(&self, name: u64) -> Named<'_, H> {
        self.find(name).unwrap_or_else(|| self.add(name))
    }

    #[cold]
    fn add(&self, name: u64) -> Named<'_, H> {
        let shared = self.shared();
        let mut forgotten = lock(&shared.forgotten);
        // Under this lock no other caller gives the name a node.
        if let Some(found) = self.find(name) {
            return found;
        }
        let number = forgotten.next_life(name);
        let mut link = self.bucket(name);
        let mut looks = 0;
        while let Some(node) = link.get() {
            looks += 1;
            if looks <= LOOKS && node.become_another(name, number, |old| forgotten.remember(old)) {
                return Named { node, name };
            }
            link = &node.next;
        }
        let node = link.get_or_init(|| Box::new(Node::new(name, number, &shared.slabs)));
        Named { node, name }
    }

    /// Calls `start` with the name, again if the name lost its node meanwhile.
    fn start_with<T>(&self, name: u64, start: impl Fn(Named<'_, H>) -> Result<T, Renamed>) -> T {
        loop {
            if let Ok(started) = start(self.find_or_add(name)) {
                return started;
            }
        }
    }

    /// Starts, or takes over, the pool of a name.
    pub fn start(&self, host: &H, name: u64, owner: Pid, given: Settings) -> Started {
        self.start_with(name, |named| named.start(host, owner, given))
    }

    /// Starts, or takes over, the limiter of a name.
    pub fn start_limiter(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        given: LimiterSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| named.start_reusable::<Limiter>(host, owner, given, clock))
    }

    /// Starts, or takes over, the ban list of a name.
    pub fn start_bans(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        given: BanSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| named.start_reusable::<Ban>(host, owner, given, clock))
    }

    fn unnamed(&self) -> &Unnamed<H> {
        self.unnamed.get_or_init(Box::default)
    }

    /// Opens an unnamed pool that was dropped before and is spare; returns `None` if there is
    /// none.
    pub fn reuse_unnamed(&self, settings: Settings) -> Option<(UnnamedId, &Pool<H>)> {
        self.unnamed().reuse(settings)
    }

    /// Makes an unnamed pool, and opens it.
    pub fn make_unnamed(&self, settings: Settings) -> (UnnamedId, &Pool<H>) {
        self.unnamed().make(settings)
    }

    /// Returns an unnamed pool by its number, spare or not.
    pub fn unnamed_pool(&self, id: UnnamedId) -> Option<&Pool<H>> {
        self.unnamed().get(id)
    }

    /// Makes an unnamed pool spare, after [`Pool::clear`] has cleared all of it.
    pub fn give_back_unnamed(&self, id: UnnamedId) {
        self.unnamed().give_back(id);
    }

    /// Returns how many unnamed pools were made, and how many of them are spare.
    pub fn count_unnamed(&self) -> (usize, usize) {
        self.unnamed().count()
    }

    /// Returns the names that stand for something now, from a place on, in pieces.
    ///
    /// A piece looks at `most` names, and at most at the names of one bucket more. A name that is
    /// open throughout the walk is in one of its pieces.
    pub fn names(&self, from: usize, most: usize) -> Names {
        let mut names = Names { names: Vec::new(), next: None, looked_at: 0 };
        for (place, bucket) in self.buckets.iter().enumerate().skip(from) {
            if names.looked_at >= most * LINE {
                names.next = Some(place);
                break;
            }
            names.looked_at += 1;
            let mut at = bucket.get();
            while let Some(node) = at {
                names.looked_at += LINE;
                let name = node.name();
                // Looked at again, as the name may have become another's.
                if node.is_open() && node.name() == name {
                    names.names.push(name);
                }
                at = node.next.get();
            }
        }
        names.looked_at /= LINE;
        names
    }
}

/// Buckets in a cache line: passing one line of empty buckets costs what looking at a name does.
const LINE: usize = 8;

/// A piece of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The names of this piece, in no order.
    pub names: Vec<u64>,
    /// The place to go on from; `None` if there are no more.
    pub next: Option<usize>,
    /// Names that were looked at, open or not.
    pub looked_at: usize,
}

impl<H: PoolHost> Default for Registry<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: PoolHost> std::fmt::Debug for Registry<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
