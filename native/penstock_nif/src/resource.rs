//! Resources of the VM: terms that refer to a value of this library.

use std::ffi::{c_void, CStr};
use std::marker::PhantomData;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;
use penstock_core::Pid;
use rustler::sys::{
    self, ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit,
};

use crate::term::{callback_pid, Env, Term};

/// A value that a resource holds.
pub(crate) trait Resource: Send + Sync + Sized + 'static {
    const NAME: &'static CStr;
    /// Whether resources of this type monitor processes.
    const MONITORS: bool = false;

    /// Runs when the VM destroys the resource, once no term and nothing else refers to it.
    fn end(self, _env: Env) {}

    /// Runs when a monitored process dies. On OTP 25 the VM may hold the main lock of that
    /// process, so this function must use only atomics, this library's own locks and sends.
    fn down(&self, _env: Env, _pid: Pid) {}
}

/// The resource type of `T` in the VM.
pub(crate) struct ResourceType<T> {
    /// The type that the last load of the module opened; null before the first.
    current: AtomicPtr<ErlNifResourceType>,
    /// The types that each load of the module opened and pinned. A resource has the type of the
    /// load that made it, so `get` must try all types.
    pinned: Mutex<Vec<Pinned>>,
    holds: PhantomData<fn() -> T>,
}

struct Pinned(*const ErlNifResourceType);

// SAFETY: any thread can use the pointer: this library passes it only to `enif_get_resource`,
// which any thread can call. The type stays valid, because `pin` made a resource of that type
// that is never released.
unsafe impl Send for Pinned {}

impl<T: Resource> ResourceType<T> {
    pub(crate) const fn new() -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), pinned: Mutex::new(Vec::new()), holds: PhantomData }
    }

    /// Opens the type when the module is loaded, or takes it over from the module that it replaces.
    /// Returns `false` if the VM refuses.
    pub(crate) fn open(&self, env: Env, how: ErlNifResourceFlags) -> bool {
        let dtor: unsafe extern "C" fn(*mut ErlNifEnv, *mut c_void) = dtor::<T>;
        let down: unsafe extern "C" fn(*mut ErlNifEnv, *mut c_void, *const ErlNifPid, *const ErlNifMonitor) = down::<T>;
        let init = ErlNifResourceTypeInit {
            dtor: dtor as *const _,
            stop: ptr::null(),
            down: if T::MONITORS { down as *const _ } else { ptr::null() },
            members: 3,
            dyncall: ptr::null(),
        };
        let mut tried = how;
        // SAFETY: the VM demands that this call comes from `load` or `upgrade`: only they call
        // `open`. The name and the callbacks must stay valid: they are static. After a purge, the VM
        // has forgotten the name of the type. The resources of that type keep their callbacks, which
        // are the same functions.
        let opened = unsafe { sys::enif_init_resource_type(env.raw(), T::NAME.as_ptr(), &init, tried, &mut tried) };
        if opened.is_null() {
            return false;
        }
        // ORDERING: Release pairs with the Acquire in `current`; publishes the open type.
        self.current.store(opened.cast_mut(), Ordering::Release);
        true
    }

    /// Keeps the current type, and this library, for as long as the VM runs.
    ///
    /// Once the module is purged and no resource of its types is left, the VM unmaps the library
    /// and frees the types. The statics and the resources must outlive a purge. So this function
    /// makes one resource that is never released: that resource keeps the library and the type.
    pub(crate) fn pin(&self, value: impl FnOnce() -> T) {
        let mut pinned = self.pinned.lock();
        // A type that was taken over is pinned already.
        if pinned.iter().all(|earlier| earlier.0 != self.current()) {
            let _never_released = self.alloc(value());
            pinned.push(Pinned(self.current()));
        }
    }

    #[inline]
    fn current(&self) -> *const ErlNifResourceType {
        // ORDERING: Acquire pairs with the Release in `open`.
        self.current.load(Ordering::Acquire)
    }

    /// Makes a resource that owns `value`. The caller owns its one reference.
    pub(crate) fn alloc(&self, value: T) -> *mut c_void {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        // SAFETY: the type must be open, and the VM allows this call in no `load` or `upgrade`. Only
        // entry points lead here, and none runs before `load` has opened all types. The memory must
        // fit a `T`: the VM returns memory of that size, aligned for a word. A `T` of larger
        // alignment does not compile.
        unsafe {
            let object = sys::enif_alloc_resource(self.current(), size_of::<T>());
            object.cast::<T>().write(value);
            object
        }
    }

    /// Makes a term that refers to `value`. The value lives until the last term that refers to it
    /// is gone.
    pub(crate) fn make(&self, env: Env, value: T) -> (Term, *const T) {
        let object = self.alloc(value);
        // SAFETY: `alloc` has just made the resource, and its only reference belongs to this
        // call. The term gets a reference of its own, so this call can release the first one.
        unsafe {
            let term = Term::of(sys::enif_make_resource(env.raw(), object));
            sys::enif_release_resource(object);
            (term, object.cast())
        }
    }

    /// Returns the value that a term refers to. The term must be an argument of the current call.
    /// The caller can use the value until that call returns.
    #[inline]
    pub(crate) fn get<'a>(&self, env: Env, term: Term) -> Option<&'a T> {
        get_of(env, term, self.current()).or_else(|| self.get_pinned(env, term))
    }

    #[cold]
    fn get_pinned<'a>(&self, env: Env, term: Term) -> Option<&'a T> {
        if !env.is_ref(term) {
            return None;
        }
        self.pinned.lock().iter().find_map(|earlier| get_of(env, term, earlier.0))
    }
}

#[inline]
fn get_of<'a, T>(env: Env, term: Term, type_: *const ErlNifResourceType) -> Option<&'a T> {
    let mut object = ptr::null();
    // SAFETY: the object must hold a `T` and outlive the reference. The VM checks that the term
    // is a resource of this type, which holds a `T`. The caller guarantees that the term is an
    // argument of the current call, which keeps the resource until the call returns.
    unsafe {
        if sys::enif_get_resource(env.raw(), term.raw(), type_, &mut object) == 0 {
            return None;
        }
        Some(&*object.cast::<T>())
    }
}

unsafe extern "C" fn dtor<T: Resource>(env: *mut ErlNifEnv, object: *mut c_void) {
    let end = || {
        // SAFETY: `alloc` has written a `T` to each resource of this type. The VM destroys each
        // resource once, so this call alone moves the value out.
        let value = unsafe { object.cast::<T>().read() };
        value.end(Env::of(env));
    };
    let _panicked = catch_unwind(AssertUnwindSafe(end));
}

unsafe extern "C" fn down<T: Resource>(
    env: *mut ErlNifEnv,
    object: *mut c_void,
    pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    let down = || {
        // SAFETY: `alloc` has written a `T` to each resource of this type. The VM holds a
        // reference to the resource until this call returns.
        let value = unsafe { &*object.cast::<T>() };
        // SAFETY: the pointer must be to a pid, as the VM guarantees for this argument.
        if let Some(pid) = unsafe { callback_pid(pid) } {
            value.down(Env::of(env), pid);
        }
    };
    let _panicked = catch_unwind(AssertUnwindSafe(down));
}
