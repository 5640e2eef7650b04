//! Names, and the gate that each stands for: a pool, a keyed pool, a limiter or a ban list.
//!
//! A name has a [node], in the bucket that the name hashes to. A bucket is a linked list of
//! nodes. Nodes are never freed. So a caller looks a name up without a lock, and the registry
//! keeps no count of callers.
//!
//! A name is *in use* while its gate is open, a permit is held in one of its pools, or a process
//! waits in one of them. Once a name is not in use, its node can be renamed: another name of the
//! bucket gets the node. So a bucket has at most one node more than it had names in use at once.
//! There is one exception: a new name tries to take over only [`LOOKS`] nodes. A longer bucket
//! may get further nodes, at most one for each name.
//!
//! A *life* of a name begins when the name gets a node, and ends when the name loses that node.
//! The registry remembers each name that lost its node, to know that the name was started.
//!
//! A caller may look a name up just before the node is renamed. All effects of such a caller are
//! undone, or refused under the pool's queue lock; each method of [`Named`] says how. Three rules
//! make that possible:
//!
//! - A node is renamed under the lock of its ownership. At that moment all its pools are closed,
//!   no permit is held in them and no process waits in them. A closed pool admits no caller, so
//!   that stays true until a start of the new name opens a pool.
//! - The new name is written before a gate is opened for it. So a caller that finds an open gate
//!   of the new name also finds the new name when it loads the name again.
//! - A node is not renamed while a permit is held in its pools. So a caller that acquires a
//!   permit, and then still finds its name, has acquired the permit from its name's pool.
//!
//! [One word](current) tells which gate a name stands for. A limiter or a ban list comes from a
//! [slab], which gets it back when it is closed. A pool stays with the node, because permits may
//! be held in it. A name that is restarted while permits of its old pool are held gets [another
//! pool](pools).

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
use crate::gate::{Gate, GateSettings};
use crate::host::Pid;
use crate::keyed_pool::{KeyedHost, KeyedPool, KeyedSettings};
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

/// The number of buckets. A bucket is a list of nodes. The models have two, so that few names
/// share a bucket.
const BUCKETS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 4096 };

/// The number of nodes of its bucket that a new name tries to take over.
const LOOKS: u32 = 64;

/// Identifies one of a name's pools, so that a wait or a handoff ends on the pool that it began
/// on. The low 32 bits are the number of the pool in its node. The 27 bits above them are the
/// number of the name's life. The first pool of the first life has the id 1.
pub type InstanceId = u64;

/// A name's first life is number 0. The later lives of all names share one count: from 1 to this
/// number, and then from 1 again. When a number recurs, no caller has it from its earlier use.
const LIVES: u32 = (1 << 27) - 1;

/// A runtime that has gates of all kinds.
pub trait GateHost: PoolHost + KeyedHost {}

impl<H: PoolHost + KeyedHost> GateHost for H {}

/// The number of a keyed pool, from 1. A keyed pool that is closed while permits are held keeps its
/// number until they are back.
pub type KeyedId = u32;

/// The named and unnamed gates of a VM.
pub struct Registry<H: GateHost> {
    buckets: [OnceBox<Node<H>>; BUCKETS],
    shared: OnceBox<Shared<H>>,
    unnamed: OnceBox<Unnamed<H>>,
}

struct Shared<H: GateHost> {
    slabs: Arc<Slabs<H>>,
    /// Its lock is held while a node is added or renamed.
    forgotten: Mutex<Forgotten>,
}

impl<H: GateHost> Default for Shared<H> {
    fn default() -> Self {
        Self { slabs: Arc::default(), forgotten: Mutex::default() }
    }
}

/// The names that ever lost a node, and the number of the last life that was numbered.
#[derive(Default)]
struct Forgotten {
    names: BTreeSet<u64>,
    /// The number of the last life that began after its name had lost a node.
    lives: u32,
}

impl Forgotten {
    fn remember(&mut self, name: u64) {
        self.names.insert(name);
    }

    /// Returns the number of the life that a name begins: 0 for its first.
    fn next_life(&mut self, name: u64) -> u32 {
        if !self.names.contains(&name) {
            return 0;
        }
        self.lives = self.lives % LIVES + 1;
        self.lives
    }
}

impl<H: GateHost> Registry<H> {
    /// Returns a registry without names. The function is `const`, so that the registry can be a
    /// static: a look-up then starts at a fixed address.
    pub const fn new() -> Self {
        Self { buckets: [const { OnceBox::new() }; BUCKETS], shared: OnceBox::new(), unnamed: OnceBox::new() }
    }

    #[inline]
    fn bucket(&self, name: u64) -> &OnceBox<Node<H>> {
        // A name on the BEAM is the index of an atom, with a tag in its low 6 bits.
        &self.buckets[(name >> 6) as usize % BUCKETS]
    }

    fn shared(&self) -> &Shared<H> {
        self.shared.get_or_init(Box::default)
    }

    /// Returns the name if it has a node. A name that is in use has one.
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

    /// Returns `true` if the name ever lost a node.
    pub fn was_forgotten(&self, name: u64) -> bool {
        self.shared.get().is_some_and(|shared| lock(&shared.forgotten).names.contains(&name))
    }

    /// Returns `true` if the name was ever started.
    pub fn was_started(&self, name: u64) -> bool {
        // A name is added to the forgotten ones before it loses its node. So one of these two
        // checks finds a name that was started.
        self.find(name).is_some() || self.was_forgotten(name)
    }

    fn find_or_add(&self, name: u64) -> Named<'_, H> {
        self.find(name).unwrap_or_else(|| self.add(name))
    }

    #[cold]
    fn add(&self, name: u64) -> Named<'_, H> {
        let shared = self.shared();
        let mut forgotten = lock(&shared.forgotten);
        // Another caller may have added the name before this caller got the lock. Only the caller
        // with the lock adds names.
        if let Some(found) = self.find(name) {
            return found;
        }
        let life = forgotten.next_life(name);
        let mut link = self.bucket(name);
        let mut looks = 0;
        while let Some(node) = link.get() {
            looks += 1;
            if looks <= LOOKS && node.rename(name, life, |old| forgotten.remember(old)) {
                return Named { node, name };
            }
            link = &node.next;
        }
        let node = link.get_or_init(|| Box::new(Node::new(name, life, &shared.slabs)));
        Named { node, name }
    }

    /// Calls `start` with the name, and calls it again if the name lost its node meanwhile.
    fn start_with<T>(&self, name: u64, start: impl Fn(Named<'_, H>) -> Result<T, Renamed>) -> T {
        loop {
            if let Ok(started) = start(self.find_or_add(name)) {
                return started;
            }
        }
    }

    /// Starts, or takes over, the pool of a name.
    pub fn start(&self, host: &H, name: u64, owner: Pid, settings: Settings) -> Started {
        self.start_with(name, |named| named.start(host, owner, settings))
    }

    /// Starts, or takes over, the limiter of a name.
    pub fn start_limiter(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        settings: LimiterSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| named.start_reusable::<Limiter>(host, owner, settings, clock))
    }

    /// Starts, or takes over, the ban list of a name.
    pub fn start_bans(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        settings: BanSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| named.start_reusable::<Ban>(host, owner, settings, clock))
    }

    /// Starts, or takes over, the gate of several limits of a name.
    pub fn start_gate(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        settings: GateSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        self.start_with(name, |named| named.start_reusable::<Gate>(host, owner, settings, clock))
    }

    /// Starts, or takes over, the keyed pool of a name.
    pub fn start_keyed(
        &self,
        host: &H,
        name: u64,
        owner: Pid,
        settings: KeyedSettings,
        clock: fn() -> u64,
    ) -> Result<Started, OutOfMemory> {
        let started =
            self.start_with(name, |named| named.start_reusable::<KeyedPool<H>>(host, owner, settings, clock))?;
        // A changed limit may have made answers to waiters due.
        if started == Started::Adopted
            && let Some((pool, ..)) = self.find(name).and_then(Named::keyed)
        {
            pool.serve(host);
        }
        Ok(started)
    }

    /// Returns a keyed pool by its number, even if it is closed.
    pub fn keyed_pool(&self, id: KeyedId) -> Option<&KeyedPool<H>> {
        self.shared.get()?.slabs.keyed.get(id)
    }

    fn unnamed(&self) -> &Unnamed<H> {
        self.unnamed.get_or_init(Box::default)
    }

    /// Opens a spare unnamed pool, which is cleared and which no other caller can reach. Returns
    /// `None` if there is none.
    pub fn reuse_unnamed(&self, settings: Settings) -> Option<(UnnamedId, &Pool<H>)> {
        self.unnamed().reuse(settings)
    }

    /// Makes an unnamed pool, and opens it.
    pub fn make_unnamed(&self, settings: Settings) -> (UnnamedId, &Pool<H>) {
        self.unnamed().make(settings)
    }

    /// Returns an unnamed pool by its number, even if it is spare.
    pub fn unnamed_pool(&self, id: UnnamedId) -> Option<&Pool<H>> {
        self.unnamed().get(id)
    }

    /// Makes an unnamed pool spare. [`Pool::clear`] must have cleared all of it.
    pub fn give_back_unnamed(&self, id: UnnamedId) {
        self.unnamed().give_back(id);
    }

    /// Returns the number of unnamed pools that were made, and the number of spare ones.
    pub fn count_unnamed(&self) -> (usize, usize) {
        self.unnamed().count()
    }

    /// Returns one piece of the names that have an open gate.
    ///
    /// The piece begins with bucket number `from`. It ends with the first bucket that brings its
    /// [`Names::visited`] to `most`. A caller walks through all names piece by piece. A name
    /// whose gate is open throughout the walk is in one of the pieces.
    pub fn names(&self, from: usize, most: usize) -> Names {
        let mut names = Names { names: Vec::new(), next: None, visited: 0 };
        for (place, bucket) in self.buckets.iter().enumerate().skip(from) {
            if names.visited >= most * LINE {
                names.next = Some(place);
                break;
            }
            names.visited += 1;
            let mut at = bucket.get();
            while let Some(node) = at {
                names.visited += LINE;
                let name = node.name();
                // The name is loaded again, because the gate may be open for another name.
                if node.is_open() && node.name() == name {
                    names.names.push(name);
                }
                at = node.next.get();
            }
        }
        names.visited /= LINE;
        names
    }
}

/// The number of buckets in a cache line. Passing a line of empty buckets costs as much as
/// visiting one name.
const LINE: usize = 8;

/// A piece of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The names of this piece, in no particular order.
    pub names: Vec<u64>,
    /// The bucket that the next piece begins with; `None` if this is the last piece.
    pub next: Option<usize>,
    /// The number of names that were visited, open or not, plus the number of cache lines of
    /// buckets.
    pub visited: usize,
}

impl<H: GateHost> Default for Registry<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: GateHost> std::fmt::Debug for Registry<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
