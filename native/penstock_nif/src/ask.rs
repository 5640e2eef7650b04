//! Asks. In a *wait by messages* the caller does not block: it gets a reference at once, and a
//! message brings the answer. The reference refers to an *ask*, a resource of the VM.
//!
//! The ask names the wait, so the caller can end the wait by the reference alone. No table keeps
//! the asks: the VM destroys an ask with the last reference to it. An ask owns nothing and
//! monitors no process.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use once_cell::sync::OnceCell;
use penstock_core::{InstanceId, Opening, Pid, Pool, WaiterId};
use rustler::sys::ErlNifResourceFlags;

use crate::host::Beam;
use crate::resolve::Gate;
use crate::resource::{Resource, ResourceType};
use crate::term::{Env, Term};

/// The wait that a reference refers to.
pub(crate) struct Ask {
    /// The process that asked.
    owner: Pid,
    /// The name by which the owner asked the pool; 0 for an unnamed pool.
    name: u64,
    /// The address of the pool, only for comparison.
    pool: usize,
    instance: InstanceId,
    /// The opening of the pool in which the owner asked. A closed pool may be opened again, for
    /// another handle or for the same name. The wait then belongs to an earlier opening, and has
    /// ended.
    opening: OnceCell<Opening>,
    permits: u32,
    /// The id of the wait; 0 if the owner was answered at once.
    id: AtomicU64,
    /// Whether the message with the answer has been sent, or never will be.
    told: AtomicBool,
}

static ASK: ResourceType<Ask> = ResourceType::new();

impl Resource for Ask {
    const NAME: &'static CStr = c"penstock_ask";
}

pub(crate) fn init(env: Env, how: ErlNifResourceFlags) -> bool {
    ASK.open(env, how)
}

/// Keeps the type of asks, see [`ResourceType::pin`]. `owner` can be any process.
pub(crate) fn pin(owner: Pid) {
    ASK.pin(|| Ask {
        owner,
        name: 0,
        pool: 0,
        instance: 0,
        opening: OnceCell::new(),
        permits: 0,
        id: AtomicU64::new(0),
        told: AtomicBool::new(true),
    });
}

impl Ask {
    /// Makes the ask of `owner` for `permits` of a gate. Returns the reference to the ask, and
    /// its address. `by` is the name or the reference by which the owner asked the gate.
    pub(crate) fn make(beam: &Beam, by: Term, gate: Gate<'_>, owner: Pid, permits: u32) -> (Term, *const Self) {
        let ask = Self {
            owner,
            name: if beam.env.is_atom(by) { by.word() } else { 0 },
            pool: ptr::from_ref(gate.pool).addr(),
            instance: gate.instance(),
            opening: OnceCell::new(),
            permits,
            id: AtomicU64::new(0),
            told: AtomicBool::new(false),
        };
        ASK.make(beam.env, ask)
    }

    /// Returns the ask that a term refers to, if the term is the reference of an ask. The term
    /// must be an argument of the current call.
    pub(crate) fn get<'a>(env: Env, term: Term) -> Option<&'a Self> {
        ASK.get(env, term)
    }

    pub(crate) fn owner(&self) -> Pid {
        self.owner
    }

    pub(crate) fn instance(&self) -> InstanceId {
        self.instance
    }

    pub(crate) fn permits(&self) -> u32 {
        self.permits
    }

    /// Returns `true` if the owner asked that pool, in any of its openings.
    pub(crate) fn is_of_pool(&self, pool: &Pool<Beam>) -> bool {
        self.pool == ptr::from_ref(pool).addr()
    }

    /// Returns `true` if the owner asked the pool by that name.
    pub(crate) fn is_by_name(&self, name: Term) -> bool {
        self.name != 0 && self.name == name.word()
    }

    /// Records the present opening of the pool, just after the owner asked the pool. The pool may
    /// have been closed and opened again around that time. Then either the close has answered the
    /// wait, or the wait is in the present opening.
    pub(crate) fn set_opening(&self, pool: &Pool<Beam>) {
        let _first = self.opening.set(pool.opening());
    }

    /// Returns `true` if the pool has not been opened again since the owner asked.
    pub(crate) fn is_of_opening(&self, pool: &Pool<Beam>) -> bool {
        self.opening.get() == Some(&pool.opening())
    }

    /// Records the id of the wait. The pool may have answered the wait already. That is no race:
    /// only the owner reads the id, and the owner makes this call.
    pub(crate) fn set_wait(&self, id: WaiterId) {
        self.id.store(id.to_bits(), Ordering::Relaxed);
    }

    /// Returns the id of the wait, unless the owner was answered at once.
    pub(crate) fn wait(&self) -> Option<WaiterId> {
        let bits = self.id.load(Ordering::Relaxed);
        (bits != 0).then(|| WaiterId::from_bits(bits))
    }

    /// Records that the message with the answer has been sent, or never will be.
    pub(crate) fn set_told(&self) {
        // ORDERING: Release pairs with the Acquire in `is_told`: an owner that reads `true` there
        // finds the message in its mailbox, if one was sent.
        self.told.store(true, Ordering::Release);
    }

    pub(crate) fn is_told(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `set_told`.
        self.told.load(Ordering::Acquire)
    }
}
