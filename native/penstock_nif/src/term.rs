//! Environments, terms and pids of the VM.

use std::ffi::{c_int, c_uint};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use penstock_core::Pid;
use rustler::sys::{self, ErlNifEnv, ErlNifPid, ErlNifTerm};

/// The low bits of a term. By these, the VM tells the kinds of immediate terms apart. An
/// immediate term is a word that refers to no memory.
const TAG_MASK: usize = 0xF;

/// The low bits of the term of a local pid. This is 0 until [`Env::learn_pid_tag`] has compared
/// such a term with the word that `enif_self` gives for the same process, and found them equal.
static PID_TAG: AtomicUsize = AtomicUsize::new(0);

/// A term: one word, which is the whole value of an atom, a small integer or a local pid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct Term(pub(crate) usize);

impl Term {
    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0 as u64
    }

    #[inline]
    pub(crate) fn raw(self) -> ErlNifTerm {
        // SAFETY: both types must be of the same layout. rustler declares `ErlNifTerm` as a
        // transparent wrapper of one `usize`, whose field is private.
        unsafe { std::mem::transmute::<usize, ErlNifTerm>(self.0) }
    }

    #[inline]
    pub(crate) fn of(raw: ErlNifTerm) -> Self {
        // SAFETY: as in `raw`.
        Self(unsafe { std::mem::transmute::<ErlNifTerm, usize>(raw) })
    }

    /// Returns the term of a pid. Local pids are immediate terms, which are valid in every
    /// environment.
    #[inline]
    pub(crate) fn pid(pid: Pid) -> Self {
        Self(pid.word() as usize)
    }
}

pub(crate) fn raw_pid(pid: Pid) -> ErlNifPid {
    // SAFETY: both types must be of the same layout: `ErlNifPid` is a C struct of one term. The
    // word must be a pid: each `Pid` that reaches this function comes from `pid_of`, or from
    // `caller`, which compares the tag. The `Pid` in the ask that `ask::init` pins is not a pid
    // of the VM, but it never reaches this function.
    unsafe { std::mem::transmute::<usize, ErlNifPid>(pid.word() as usize) }
}

fn pid_of(raw: ErlNifPid) -> Option<Pid> {
    // SAFETY: as in `raw_pid`.
    Pid::new(unsafe { std::mem::transmute::<ErlNifPid, usize>(raw) } as u64)
}

/// Returns the pid that the VM passed to a callback.
///
/// # Safety
/// `raw` points to a pid.
pub(crate) unsafe fn callback_pid(raw: *const ErlNifPid) -> Option<Pid> {
    // SAFETY: `raw` points to a pid, as the caller promises.
    pid_of(unsafe { *raw })
}

/// An environment of the VM, in which terms are read and made.
///
/// The environment must be that of the current call or callback, or that of a
/// [`Ticket`](crate::ticket::Ticket) in the hands of the ticket's owner. Entry points, `load` and
/// the callbacks of resources make an `Env` of the pointer that the VM passed. `Ticket::message`
/// makes an `Env` of the ticket's pointer. None of these functions keeps an `Env` after its
/// return. Each `SAFETY` comment below that says "the environment is valid" relies on this.
#[derive(Clone, Copy)]
pub(crate) struct Env(*mut ErlNifEnv);

impl Env {
    #[inline]
    pub(crate) fn of(raw: *mut ErlNifEnv) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(self) -> *mut ErlNifEnv {
        self.0
    }

    pub(crate) fn atom(self, name: &str) -> Term {
        // SAFETY: the environment is valid; the name is valid for its length, and ASCII.
        Term::of(unsafe { sys::enif_make_atom_len(self.0, name.as_ptr().cast(), name.len()) })
    }

    /// Returns the calling process.
    #[inline]
    pub(crate) fn me(self) -> Option<Pid> {
        let mut pid = MaybeUninit::uninit();
        // SAFETY: the environment is valid; the VM fills the pid unless it answers NULL.
        unsafe {
            if sys::enif_self(self.0, pid.as_mut_ptr()).is_null() {
                return None;
            }
            pid_of(pid.assume_init())
        }
    }

    /// Returns the calling process. `term` is `self()`, which Elixir passes to frequently called
    /// entry points: `self()` costs the caller nothing, while `enif_self` is a call of the VM.
    ///
    /// A pid in `term` must be that of the caller: with the pid of another process, permits would
    /// count for that process. Only this library's own Elixir code passes the term. If the term
    /// is no local pid, this function calls `enif_self`.
    #[inline(always)]
    pub(crate) fn caller(self, term: Term) -> Option<Pid> {
        let tag = PID_TAG.load(Ordering::Relaxed);
        if tag != 0 && term.0 & TAG_MASK == tag {
            debug_assert_eq!(Pid::new(term.word()), self.me(), "a hot entry is given self()");
            Pid::new(term.word())
        } else {
            self.me()
        }
    }

    /// Learns the tag of local pids from `term`, which is `self()`. Learns nothing if the word
    /// that `enif_self` gives for the process differs from `term`.
    pub(crate) fn learn_pid_tag(self, term: Term) {
        if self.me().map(Pid::word) == Some(term.word()) {
            PID_TAG.store(term.0 & TAG_MASK, Ordering::Relaxed);
        }
    }

    /// Returns the process of a local pid, as [`Self::local_pid`] does, and costs less.
    #[inline(always)]
    pub(crate) fn pid(self, term: Term) -> Option<Pid> {
        let tag = PID_TAG.load(Ordering::Relaxed);
        if tag != 0 && term.0 & TAG_MASK == tag {
            Pid::new(term.word())
        } else {
            self.local_pid(term)
        }
    }

    pub(crate) fn local_pid(self, term: Term) -> Option<Pid> {
        let mut pid = MaybeUninit::uninit();
        // SAFETY: the environment is valid; the VM fills the pid if it answers true.
        unsafe {
            if sys::enif_get_local_pid(self.0, term.raw(), pid.as_mut_ptr()) == 0 {
                return None;
            }
            pid_of(pid.assume_init())
        }
    }

    pub(crate) fn is_alive(self, pid: Pid) -> bool {
        // SAFETY: the environment is valid.
        unsafe { sys::enif_is_process_alive(self.0, &raw_pid(pid)) != 0 }
    }

    #[inline]
    pub(crate) fn uint(self, term: Term) -> Option<u32> {
        let mut value: c_uint = 0;
        // SAFETY: the environment is valid.
        (unsafe { sys::enif_get_uint(self.0, term.raw(), &mut value) } != 0).then_some(value)
    }

    pub(crate) fn u64(self, term: Term) -> Option<u64> {
        let mut value = 0_u64;
        // SAFETY: the environment is valid.
        (unsafe { sys::enif_get_uint64(self.0, term.raw(), &mut value) } != 0).then_some(value)
    }

    #[inline]
    pub(crate) fn make_u64(self, value: u64) -> Term {
        // SAFETY: the environment is valid.
        Term::of(unsafe { sys::enif_make_uint64(self.0, value) })
    }

    pub(crate) fn tuple(self, terms: &[Term]) -> Term {
        // SAFETY: the environment is valid. `Term` is a transparent word as `ErlNifTerm` is, and
        // the VM reads `terms.len()` of them.
        Term::of(unsafe { sys::enif_make_tuple_from_array(self.0, terms.as_ptr().cast(), terms.len() as c_uint) })
    }

    /// Returns the elements of a tuple of two.
    #[cold]
    pub(crate) fn pair(self, term: Term) -> Option<[Term; 2]> {
        self.elements(term)?.try_into().ok()
    }

    /// Returns the elements of a tuple. The caller must not use them after the current call.
    pub(crate) fn elements<'a>(self, term: Term) -> Option<&'a [Term]> {
        let (mut arity, mut elements) = (0, std::ptr::null());
        // SAFETY: the environment is valid; the VM answers true only for a tuple. Then
        // `elements` points to `arity` terms, unless `arity` is 0. `Term` has their layout.
        unsafe {
            if sys::enif_get_tuple(self.0, term.raw(), &mut arity, &mut elements) == 0 {
                return None;
            }
            Some(if arity == 0 { &[] } else { std::slice::from_raw_parts(elements.cast::<Term>(), arity as usize) })
        }
    }

    /// Returns the bytes of a binary. The caller must not use them after the current call.
    #[inline]
    pub(crate) fn binary<'a>(self, term: Term) -> Option<&'a [u8]> {
        let mut binary = MaybeUninit::<sys::ErlNifBinary>::uninit();
        // SAFETY: the environment is valid; the VM fills the struct if it answers true, with
        // bytes that do not move before the call ends.
        unsafe {
            if sys::enif_inspect_binary(self.0, term.raw(), binary.as_mut_ptr()) == 0 {
                return None;
            }
            let binary = binary.assume_init();
            Some(if binary.size == 0 { &[] } else { std::slice::from_raw_parts(binary.data, binary.size) })
        }
    }

    /// Returns the number of characters of an atom, if all of them are Latin-1.
    pub(crate) fn latin1_length(self, term: Term) -> Option<u32> {
        let (mut length, latin1) = (0, sys::ErlNifCharEncoding::ERL_NIF_LATIN1);
        // SAFETY: the environment is valid.
        (unsafe { sys::enif_get_atom_length(self.0, term.raw(), &mut length, latin1) } != 0).then_some(length)
    }

    pub(crate) fn i64(self, term: Term) -> Option<i64> {
        let mut value = 0_i64;
        // SAFETY: the environment is valid.
        (unsafe { sys::enif_get_int64(self.0, term.raw(), &mut value) } != 0).then_some(value)
    }

    pub(crate) fn f64(self, term: Term) -> Option<f64> {
        let mut value = 0_f64;
        // SAFETY: the environment is valid.
        (unsafe { sys::enif_get_double(self.0, term.raw(), &mut value) } != 0).then_some(value)
    }

    pub(crate) fn is_binary(self, term: Term) -> bool {
        // SAFETY: the environment is valid.
        unsafe { sys::enif_is_binary(self.0, term.raw()) != 0 }
    }

    pub(crate) fn is_empty_list(self, term: Term) -> bool {
        // SAFETY: the environment is valid.
        unsafe { sys::enif_is_empty_list(self.0, term.raw()) != 0 }
    }

    /// Returns the head and the tail of a list that is not empty.
    pub(crate) fn cell(self, term: Term) -> Option<(Term, Term)> {
        let (mut head, mut tail) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the environment is valid; the VM fills both if it answers true.
        unsafe {
            if sys::enif_get_list_cell(self.0, term.raw(), head.as_mut_ptr(), tail.as_mut_ptr()) == 0 {
                return None;
            }
            Some((Term::of(head.assume_init()), Term::of(tail.assume_init())))
        }
    }

    /// Returns the value of a key in a map.
    pub(crate) fn get(self, map: Term, key: Term) -> Option<Term> {
        let mut value = MaybeUninit::uninit();
        // SAFETY: the environment is valid; the VM fills the value if it answers true. It answers
        // true only for a map that has the key.
        unsafe {
            if sys::enif_get_map_value(self.0, map.raw(), key.raw(), value.as_mut_ptr()) == 0 {
                return None;
            }
            Some(Term::of(value.assume_init()))
        }
    }

    /// Returns the map unless it is empty, or no map.
    #[inline]
    pub(crate) fn filled_map(self, map: Term) -> Option<Term> {
        let mut size = 0;
        // SAFETY: the environment is valid; the VM fills the size if it answers true.
        let is_map = unsafe { sys::enif_get_map_size(self.0, map.raw(), &mut size) != 0 };
        (is_map && size > 0).then_some(map)
    }

    /// Makes a map of keys that differ from each other.
    pub(crate) fn map<const N: usize>(self, fields: [(Term, Term); N]) -> Term {
        let (keys, values) = (fields.map(|(key, _)| key), fields.map(|(_, value)| value));
        let mut map = MaybeUninit::uninit();
        // SAFETY: the environment is valid. `Term` is a transparent word as `ErlNifTerm` is, and
        // the VM reads `N` of either array. The VM answers true if no two keys are the same, and
        // then fills `map`.
        unsafe {
            let made = sys::enif_make_map_from_arrays(
                self.0,
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                N,
                map.as_mut_ptr(),
            );
            if made == 0 {
                return self.raise(crate::atoms::badarg());
            }
            Term::of(map.assume_init())
        }
    }

    /// Returns the keys and values of a map.
    pub(crate) fn pairs(self, term: Term) -> Option<Pairs> {
        let mut iterator = MaybeUninit::uninit();
        let first = sys::ErlNifMapIteratorEntry::ERL_NIF_MAP_ITERATOR_HEAD;
        // SAFETY: the environment is valid; the VM fills the iterator if it answers true.
        unsafe {
            if sys::enif_map_iterator_create(self.0, term.raw(), iterator.as_mut_ptr(), first) == 0 {
                return None;
            }
            Some(Pairs { env: self, iterator: iterator.assume_init() })
        }
    }

    /// Returns the encoding of a term in the external term format.
    pub(crate) fn external(self, term: Term) -> Option<Vec<u8>> {
        let mut binary = MaybeUninit::<sys::ErlNifBinary>::uninit();
        // SAFETY: the environment is valid; the VM fills the struct if it answers true. This
        // function then owns the binary, copies its bytes and releases it once.
        unsafe {
            if sys::enif_term_to_binary(self.0, term.raw(), binary.as_mut_ptr()) == 0 {
                return None;
            }
            let mut binary = binary.assume_init();
            let bytes = std::slice::from_raw_parts(binary.data, binary.size).to_vec();
            sys::enif_release_binary(&mut binary);
            Some(bytes)
        }
    }

    pub(crate) fn make_binary(self, bytes: &[u8]) -> Term {
        let mut term = MaybeUninit::uninit();
        // SAFETY: the environment is valid; the VM makes a binary of `bytes.len()` bytes and
        // returns where they must be written.
        unsafe {
            let data = sys::enif_make_new_binary(self.0, bytes.len(), term.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
            Term::of(term.assume_init())
        }
    }

    /// Returns the VM's own hash of a term. Terms that are `===` have the same hash.
    pub(crate) fn hash(self, term: Term, salt: u64) -> u64 {
        // SAFETY: the term must be live: it is an argument of the current call, or a part of one.
        unsafe { sys::enif_hash(sys::ErlNifHash::ERL_NIF_INTERNAL_HASH, term.raw(), salt) }
    }

    pub(crate) fn list(self, terms: &[Term]) -> Term {
        // SAFETY: the environment is valid. `Term` is a transparent word as `ErlNifTerm` is, and
        // the VM reads `terms.len()` of them.
        Term::of(unsafe { sys::enif_make_list_from_array(self.0, terms.as_ptr().cast(), terms.len() as c_uint) })
    }

    pub(crate) fn is_ref(self, term: Term) -> bool {
        // SAFETY: the environment is valid.
        unsafe { sys::enif_is_ref(self.0, term.raw()) != 0 }
    }

    pub(crate) fn is_atom(self, term: Term) -> bool {
        // SAFETY: the environment is valid.
        unsafe { sys::enif_is_atom(self.0, term.raw()) != 0 }
    }

    /// Sends a copy of a term to a process. The term can be of any environment. The VM drops a
    /// message to a dead process. If that process was a waiter, its permits return when the
    /// pool's monitor of it fires. Returns `false` if the process is dead for certain.
    pub(crate) fn send(self, to: Pid, message: Term) -> bool {
        // SAFETY: the environment is valid. With a NULL message environment the VM copies the
        // message from the environment that the message is in.
        unsafe { sys::enif_send(self.0, &raw_pid(to), std::ptr::null_mut(), message.raw()) != 0 }
    }

    /// Copies a term of any environment into this one.
    pub(crate) fn copy(self, term: Term) -> Term {
        // SAFETY: the environment is valid, and the caller has the environment of the term.
        Term::of(unsafe { sys::enif_make_copy(self.0, term.raw()) })
    }

    pub(crate) fn raise(self, reason: Term) -> Term {
        // SAFETY: the environment must be that of a call which returns this result. `enter`
        // returns the result, and `map` passes the result to its entry point. No callback calls
        // `enter` or `map`.
        Term::of(unsafe { sys::enif_raise_exception(self.0, reason.raw()) })
    }

    /// Tells the scheduler that this call used `percent` of a time slice.
    pub(crate) fn consume_timeslice(self, percent: u32) {
        // SAFETY: the environment must be that of a call and not of a callback. `Beam` guarantees
        // that: it is not accountable in a callback.
        unsafe { sys::enif_consume_timeslice(self.0, percent.clamp(1, 100) as c_int) };
    }
}

/// The keys and values of a map, in no particular order.
pub(crate) struct Pairs {
    env: Env,
    iterator: sys::ErlNifMapIterator,
}

impl Iterator for Pairs {
    type Item = (Term, Term);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut key, mut value) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the iterator is one that the VM made, in this environment, which is valid; the
        // VM fills both terms if it answers true.
        unsafe {
            if sys::enif_map_iterator_get_pair(self.env.0, &mut self.iterator, key.as_mut_ptr(), value.as_mut_ptr())
                == 0
            {
                return None;
            }
            sys::enif_map_iterator_next(self.env.0, &mut self.iterator);
            Some((Term::of(key.assume_init()), Term::of(value.assume_init())))
        }
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        // SAFETY: the iterator is one that the VM made, and nothing uses it after `drop`.
        unsafe { sys::enif_map_iterator_destroy(self.env.0, &mut self.iterator) };
    }
}
