//! Objects of ours to which Erlang holds references (*resources*).
//!
//! `rustler::ResourceArc` looks up the type of each object by a hash at each call, which is a good part of what a message from a peer takes.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustler::sys::{
    c_void, enif_alloc_resource, enif_get_resource, enif_init_resource_type, enif_keep_resource, enif_make_resource,
    enif_monitor_process, enif_release_resource, ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceDown,
    ErlNifResourceDtor, ErlNifResourceFlags, ErlNifResourceType, ErlNifResourceTypeInit,
};
use rustler::{Encoder, Env, LocalPid, Term};

/// What may be shared with Erlang.
pub trait Share: Send + Sync + Sized + 'static {
    /// Of the type, unique in this library.
    const NAME: &'static CStr;

    /// Where the VM's name for the type is kept.
    fn kind() -> &'static Kind;

    /// The process that is [monitored](Shared::monitor) has ended.
    fn down(&self) {}
}

/// The VM's name for a type, once it is [open].
pub struct Kind(AtomicPtr<ErlNifResourceType>);

impl Kind {
    /// That of no type.
    pub const fn new() -> Self {
        Kind(AtomicPtr::new(ptr::null_mut()))
    }

    fn raw(&self) -> *const ErlNifResourceType {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a type known to the VM. To be called while the library is loaded. Returns whether the VM has taken it.
pub fn open<T: Share>(env: Env<'_>) -> bool {
    const { assert!(align_of::<T>() <= align_of::<usize>(), "the VM aligns objects to words") };
    let init = ErlNifResourceTypeInit {
        dtor: destroy::<T> as *const ErlNifResourceDtor,
        stop: ptr::null(),
        down: down::<T> as *const ErlNifResourceDown,
        members: 3,
        dyncall: ptr::null(),
    };
    let mut tried = MaybeUninit::uninit();
    let flags = ErlNifResourceFlags::ERL_NIF_RT_CREATE;
    // SAFETY: the environment is that of loading; the name ends with a zero; the first three of the callbacks are set, and have the types
    // that the VM calls them by.
    let raw = unsafe { enif_init_resource_type(env.as_c_arg(), T::NAME.as_ptr(), &init, flags, tried.as_mut_ptr()) };
    T::kind().0.store(raw.cast_mut(), Ordering::Relaxed);
    !raw.is_null()
}

/// # Safety
/// To be called by the VM only, with an object that was made by [`Shared::new`] and that nobody refers to any more.
unsafe extern "C" fn destroy<T: Share>(_env: *mut ErlNifEnv, object: *mut c_void) {
    // SAFETY: by contract. A panic must not reach the VM.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe { object.cast::<T>().drop_in_place() }));
}

/// # Safety
/// To be called by the VM only, with an object that was made by [`Shared::new`].
unsafe extern "C" fn down<T: Share>(
    _env: *mut ErlNifEnv,
    object: *mut c_void,
    _pid: *const ErlNifPid,
    _monitor: *const ErlNifMonitor,
) {
    // SAFETY: by contract; the VM keeps the object meanwhile.
    let object = unsafe { &*object.cast::<T>() };
    let _ = catch_unwind(AssertUnwindSafe(|| object.down()));
}

/// The object that a term refers to, if it is one of this type. It stays as long as the term does.
#[inline]
pub fn find<T: Share>(term: Term<'_>) -> Option<&T> {
    let mut object = MaybeUninit::uninit();
    let (env, kind) = (term.get_env().as_c_arg(), T::kind().raw());
    // SAFETY: the term is alive, the type is open, the out-pointer is valid.
    if unsafe { enif_get_resource(env, term.as_c_arg(), kind, object.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: a result other than 0 says that the pointer has been written, and that the object is of the type. All of these are made by
    // `Shared::new`. The term refers to it.
    Some(unsafe { &*object.assume_init().cast::<T>() })
}

/// A reference of ours to an object.
pub struct Shared<T: Share>(*const T);

// SAFETY: like an `Arc`; the VM counts references atomically, and any thread may give up the last one.
unsafe impl<T: Share> Send for Shared<T> {}

// SAFETY: as above.
unsafe impl<T: Share> Sync for Shared<T> {}

impl<T: Share> Shared<T> {
    /// Shares an object.
    pub fn new(object: T) -> Self {
        // SAFETY: the type is open. The VM ends itself rather than to return null.
        let place = unsafe { enif_alloc_resource(T::kind().raw(), size_of::<T>()) }.cast::<T>();
        // SAFETY: there is as much room, and it is aligned, as `open` has seen to.
        unsafe { place.write(object) };
        Shared(place)
    }

    /// Has [`Share::down`] called when the process has ended. False if it has already.
    pub fn monitor(&self, env: Env<'_>, pid: &LocalPid) -> bool {
        // SAFETY: the object is alive, the environment that of the present call. No monitor is asked for.
        unsafe { enif_monitor_process(env.as_c_arg(), self.0.cast(), pid.as_c_arg(), ptr::null_mut()) == 0 }
    }
}

impl<T: Share> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this reference keeps the object.
        unsafe { &*self.0 }
    }
}

impl<T: Share> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: the object is alive.
        unsafe { enif_keep_resource(self.0.cast()) };
        Shared(self.0)
    }
}

impl<T: Share> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this reference is given up once.
        unsafe { enif_release_resource(self.0.cast()) };
    }
}

impl<T: Share> Encoder for Shared<T> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the object is alive.
        unsafe { Term::new(env, enif_make_resource(env.as_c_arg(), self.0.cast())) }
    }
}
