//! Entry points of waits by messages, and of what ends them when their time is over.
//!
//! The reference that the caller gets is a resource: it names the wait, so that the caller can
//! take it back by the reference alone, and nothing has to be kept for references that nobody
//! will ask about. It owns nothing and monitors nobody.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use penstock_core::{Cancelled, Expiry, Host, InstanceId, Kind, Opening, Parked, Pid, Pool, Refusal, WaiterId};
use rustler::sys::{self, ErlNifEnv, ErlNifResourceType};

use crate::atoms;
use crate::beam::{Beam, Ticket};
use crate::clock;
use crate::deadlines;
use crate::entry::entries;
use crate::gates::{instance_term, refusal, release, resolve, resolve_instance, with_pool, Gate};
use crate::resources::{alloc, lasting, open_type};
use crate::term::{Env, Term};

entries! {
    pool_ask/3 => ask,
    pool_recall/2 => recall,
    pool_release/3 => release_of,
    waits_due/1 => due,
}

/// What a reference of ours refers to.
pub(crate) struct Ask {
    owner: Pid,
    /// The name that the pool was asked by; 0 for none.
    name: u64,
    /// The pool, by its address: it is compared and never followed.
    pool: usize,
    instance: InstanceId,
    /// Which opening of that pool, which may serve another handle, or the name again, since it was closed.
    opening: OnceCell<Opening>,
    permits: u32,
    /// The wait; 0 if the answer was there at once.
    id: AtomicU64,
    /// Whether the message has been sent.
    told: AtomicBool,
}

impl Ask {
    /// Notes that the message has been sent, or never will be.
    pub(crate) fn set_told(&self) {
        // ORDERING: Release pairs with the Acquire in `recall`: who finds it told finds the
        // message in its mailbox.
        self.told.store(true, Ordering::Release);
    }
}

static TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

/// The types that earlier loads of the module opened: a reference stays of the type that it was
/// made of.
static EARLIER: Mutex<Vec<AskType>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct AskType(*const ErlNifResourceType);

// SAFETY: compared by the VM, never written; `init` keeps what it points to.
unsafe impl Send for AskType {}

pub(crate) fn init(env: Env) -> bool {
    let type_ = open_type(env, c"penstock_ask", dtor, None);
    if type_.is_null() {
        return false;
    }
    let Some(owner) = Pid::new(1) else { return false };
    let (id, told) = (AtomicU64::new(0), AtomicBool::new(true));
    let pinned = Ask { owner, name: 0, pool: 0, instance: 0, opening: OnceCell::new(), permits: 0, id, told };
    // SAFETY: the type is open, and what it holds needs no destructor. The reference is never
    // released, which keeps the type when the module is purged; see `resources::pin`.
    unsafe { alloc(type_, pinned) };
    // ORDERING: AcqRel pairs with the Acquire in `make`: the type is open; and with itself, for
    // the one before.
    let last = TYPE.swap(type_.cast_mut(), Ordering::AcqRel);
    if !last.is_null() {
        EARLIER.lock().push(AskType(last));
    }
    true
}

unsafe extern "C" fn dtor(_env: *mut ErlNifEnv, _object: *mut c_void) {}

/// A reference, and what it refers to: that lives for as long as any term or ticket has the
/// reference.
fn make(env: Env, ask: Ask) -> (Term, *const Ask) {
    // ORDERING: Acquire pairs with the AcqRel in `init`.
    let type_ = TYPE.load(Ordering::Acquire);
    // SAFETY: the type is open and holds an `Ask`; the term has its own reference, so ours is
    // released.
    unsafe {
        let object = alloc(type_, ask);
        let term = Term::of(sys::enif_make_resource(env.raw(), object));
        sys::enif_release_resource(object);
        (term, object.cast())
    }
}

/// What a term refers to, if it is a reference of ours. For the length of the call, whose
/// argument the term must be.
fn asked<'a>(env: Env, term: Term) -> Option<&'a Ask> {
    // ORDERING: as in `make`.
    let type_ = TYPE.load(Ordering::Acquire);
    asked_of(env, term, type_).or_else(|| EARLIER.lock().iter().find_map(|earlier| asked_of(env, term, earlier.0)))
}

fn asked_of<'a>(env: Env, term: Term, type_: *const ErlNifResourceType) -> Option<&'a Ask> {
    let mut object = ptr::null();
    // SAFETY: the VM checks that the term is a live resource of this type, which holds an `Ask`;
    // the term is an argument of the current call, so the resource outlives it.
    unsafe {
        if sys::enif_get_resource(env.raw(), term.raw(), type_, &mut object) == 0 {
            return None;
        }
        Some(&*object.cast::<Ask>())
    }
}

/// How long the caller would wait.
enum Patience {
    None,
    Until(u64),
    Endless,
}

fn patience(beam: &Beam, timeout: Term) -> Option<Patience> {
    if timeout == atoms::infinity() {
        return Some(Patience::Endless);
    }
    Some(match beam.env.uint(timeout)? {
        0 => Patience::None,
        // One more, for the part of a ms that the clock does not say: none ends early.
        ms => Patience::Until(clock::exact_ms() + u64::from(ms) + 1),
    })
}

fn ask(beam: &Beam, [name, permits, timeout]: [Term; 3]) -> Term {
    let (Some(n), Some(patience)) = (beam.env.permits(permits), patience(beam, timeout)) else {
        return atoms::badarg();
    };
    with_pool(beam, name, |gate, me| {
        let pool = gate.pool;
        let until = match patience {
            Patience::None => match pool.try_acquire(beam, me, n, Kind::Free) {
                Err(Refusal::Again) => return atoms::again(),
                Err(no) if gate.stands() => return answered(beam, name, gate, me, n, refusal(no)),
                tried => {
                    return gate
                        .admitted(beam, me, n, Kind::Free, tried, || answered(beam, name, gate, me, n, atoms::ok()));
                }
            },
            Patience::Until(at) => Some(at),
            Patience::Endless => None,
        };
        if pool.take(beam, me, n, Kind::Free) {
            return gate.admitted(beam, me, n, Kind::Free, Ok(()), || answered(beam, name, gate, me, n, atoms::ok()));
        }
        let (reference, object) = make(beam.env, new_ask(beam, name, gate, me, n, false));
        // SAFETY: the reference is a term of this call, and keeps the object.
        let object = unsafe { &*object };
        let ticket = Ticket::of_ask(reference, object);
        let (parked, timed) = pool.ask(beam, me, n, ticket, until, || gate.stands());
        // After it: a pool that was opened anew since has answered the wait, or holds it.
        let _once = object.opening.set(pool.opening());
        if timed {
            begin_to_time(beam.env, pool);
        }
        let answer = match parked {
            Parked::Waiting(id) => {
                // The answer may be on its way already; only this process asks for the id, when
                // this call is over.
                object.id.store(id.to_bits(), Ordering::Relaxed);
                return beam.env.tuple(&[reference, atoms::waiting()]);
            }
            Parked::Granted => atoms::ok(),
            Parked::Full => atoms::full(),
            Parked::QueueFull => atoms::queue_full(),
            Parked::Closed => atoms::closed(),
            Parked::Deadlock => atoms::deadlock(),
        };
        object.set_told();
        beam.env.tuple(&[reference, answer])
    })
}

fn new_ask(beam: &Beam, by: Term, gate: Gate<'_>, owner: Pid, permits: u32, told: bool) -> Ask {
    let name = if beam.env.is_atom(by) { by.word() } else { 0 };
    let (pool, instance, opening) = (ptr::from_ref(gate.pool).addr(), gate.instance(), OnceCell::new());
    Ask { owner, name, pool, instance, opening, permits, id: AtomicU64::new(0), told: AtomicBool::new(told) }
}

/// Without a wait: the caller sends itself the message.
fn answered(beam: &Beam, by: Term, gate: Gate<'_>, me: Pid, n: u32, answer: Term) -> Term {
    let (reference, object) = make(beam.env, new_ask(beam, by, gate, me, n, true));
    // SAFETY: the reference is a term of this call, and keeps the object.
    let _once = unsafe { &*object }.opening.set(gate.pool.opening());
    beam.env.tuple(&[reference, answer])
}

/// Ends the wait, if it is one of the caller's on that pool; or says of the message whether it
/// has been sent, and how many permits it brings.
fn recall(beam: &Beam, [gate, reference]: [Term; 2]) -> Term {
    let Some(me) = beam.env.me().filter(|_| beam.env.is_ref(reference)) else { return atoms::badarg() };
    let gone = || if resolve(beam, gate).is_some() { atoms::ok() } else { atoms::no_pool() };
    let Some(ask) = asked(beam.env, reference).filter(|ask| ask.owner == me) else { return gone() };
    let instance = instance_term(beam, ask.instance);
    let pool = resolve_instance(beam, gate, instance);
    let there = pool.filter(|pool| ask.pool == ptr::from_ref(*pool).addr());
    let same = there.filter(|pool| ask.opening.get() == Some(&pool.opening()));
    if same.is_none() && there.is_none() && (ask.name == 0 || ask.name != gate.word()) {
        // The wait of another pool.
        return gone();
    }
    // What was not answered at once has an id by now: the call that made it is over.
    let id = ask.id.load(Ordering::Relaxed);
    let waits = |pool: &Pool<Beam>| id != 0 && pool.leave_line(beam, me, WaiterId::from_bits(id)) == Cancelled::Yes;
    if same.is_some_and(waits) {
        // No message is on its way, whoever asks again.
        ask.set_told();
        return atoms::ok();
    }
    // Of an opening that is over nothing is held any more.
    let permits = if same.is_some() { ask.permits } else { 0 };
    // ORDERING: Acquire pairs with the Release in `set_told`.
    let told = if ask.told.load(Ordering::Acquire) { atoms::told() } else { atoms::coming() };
    beam.env.tuple(&[told, instance, beam.env.make_u64(u64::from(permits))])
}

fn release_of(beam: &Beam, [gate, instance, permits]: [Term; 3]) -> Term {
    match (resolve_instance(beam, gate, instance), beam.env.permits(permits), beam.env.me()) {
        (Some(pool), Some(n), Some(me)) => release(beam, pool, me, n, Kind::Free),
        _ => atoms::badarg(),
    }
}

/// Pools with waits that we end. A pool says so when the first such wait begins, and is taken out
/// when it says that there is none; each time it says so it gets a number.
static TIMED: Mutex<Timed> = Mutex::new(Timed { pools: Vec::new(), last: 0 });

struct Timed {
    pools: Vec<(u64, &'static Pool<Beam>)>,
    last: u64,
}

fn begin_to_time(env: Env, pool: &Pool<Beam>) {
    {
        let mut timed = TIMED.lock();
        timed.last += 1;
        let number = timed.last;
        timed.pools.push((number, lasting(pool)));
    }
    deadlines::begin_waits(env);
}

/// Pools that one call looks at, each some 50 ns if there is nothing to do.
const POOLS: usize = 32;

/// Messages and looks of one call, in the units of the host: some 50 µs, after which it ends no more waits.
const ENOUGH: u32 = 2_500;

/// Ends waits whose time is over, from a pool on; the pool to go on with, or `done`.
fn due(beam: &Beam, [from]: [Term; 1]) -> Term {
    let Some(from) = beam.env.u64(from) else { return atoms::badarg() };
    let mut at = usize::try_from(from).unwrap_or(usize::MAX);
    let now = clock::exact_ms();
    for _ in 0..POOLS {
        let next = TIMED.lock().pools.get(at).copied();
        let Some((number, pool)) = next else { return atoms::done() };
        if beam.spent() > ENOUGH {
            break;
        }
        // Not under the lock. A pool whose handle is gone is closed, and what waited has been answered.
        match pool.expire(beam, now) {
            Expiry::More => break,
            Expiry::Later => at += 1,
            Expiry::Nothing => forget(at, number),
        }
        beam.worked(2);
    }
    beam.env.make_u64(at as u64)
}

/// Takes a pool out that said that there are no waits. If it has said since that there are, it is
/// here by another number, too.
fn forget(at: usize, number: u64) {
    let out = {
        let mut timed = TIMED.lock();
        let there = timed.pools.get(at).is_some_and(|(of, _)| *of == number);
        there.then(|| timed.pools.swap_remove(at))
    };
    if out.is_some() {
        deadlines::end_waits();
    }
}
