//! What the store asks of the operating system besides memory and threads. All of it is advice: being refused does no
//! harm.

use std::ffi::{c_char, c_int, c_void};

extern "C" {
    fn dladdr(address: *const c_void, info: *mut SymbolOrigin) -> c_int;
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
}

#[repr(C)]
struct SymbolOrigin {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

/// Keeps the library mapped for good: the reaper's thread runs its code even when the VM lets go of it.
pub fn pin_library() {
    const RTLD_LAZY: c_int = 1;
    const RTLD_NODELETE: c_int = if cfg!(target_os = "macos") { 0x80 } else { 0x1000 };
    let mut origin = std::mem::MaybeUninit::uninit();
    let here: fn() = pin_library;
    // SAFETY: the address is one of this library; the out-pointer is valid.
    if unsafe { dladdr(here as *const c_void, origin.as_mut_ptr()) } == 0 {
        return;
    }
    // SAFETY: initialised, as `dladdr` answered other than 0; the path is that of this library, which is open, so that
    // nothing runs but a counter.
    unsafe { dlopen(origin.assume_init().file, RTLD_LAZY | RTLD_NODELETE) };
}

/// Makes the present thread give way to schedulers: a thread that is woken may else push out the one that woke it, and that
/// may hold a lock.
pub fn stay_in_background() {
    #[cfg(target_os = "linux")]
    {
        extern "C" {
            fn setpriority(which: c_int, who: u32, nice: c_int) -> c_int;
            fn sched_setscheduler(thread: c_int, policy: c_int, priority: *const c_int) -> c_int;
        }
        const PRIO_PROCESS: c_int = 0;
        const SCHED_BATCH: c_int = 3;
        // SAFETY: the pointer is valid. On Linux, 0 is the calling thread, not the process.
        unsafe {
            sched_setscheduler(0, SCHED_BATCH, &0);
            setpriority(PRIO_PROCESS, 0, 10);
        }
    }
}

/// Asks for one large page of memory: readers come to what is there at random, and would otherwise have to wait for a
/// translation of nearly every address.
pub fn advise_large_pages(start: *mut c_void, len: usize) {
    const MADV_HUGEPAGE: c_int = 14;
    // SAFETY: this advice does not change what is in memory, whoever's it is.
    unsafe { advise(start, len, MADV_HUGEPAGE) };
}

/// Asks for small pages.
pub fn advise_small_pages(start: *mut c_void, len: usize) {
    const MADV_NOHUGEPAGE: c_int = 15;
    // SAFETY: this advice does not change what is in memory, whoever's it is.
    unsafe { advise(start, len, MADV_NOHUGEPAGE) };
}

/// Lets the system have memory back. It stays ours to use; what was in it is lost.
///
/// # Safety
/// Nobody uses it.
pub unsafe fn give_back(start: *mut c_void, len: usize) {
    const MADV_DONTNEED: c_int = 4;
    // SAFETY: by contract.
    unsafe { advise(start, len, MADV_DONTNEED) };
}

/// Does nothing on other systems than Linux.
///
/// # Safety
/// Depends on the advice.
unsafe fn advise(start: *mut c_void, len: usize, advice: c_int) {
    #[cfg(target_os = "linux")]
    {
        extern "C" {
            fn madvise(start: *mut c_void, len: usize, advice: c_int) -> c_int;
        }
        // SAFETY: by contract.
        unsafe { madvise(start, len, advice) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, len, advice);
}

#[cfg(target_os = "linux")]
mod membarrier {
    use std::ffi::{c_int, c_long};

    extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    #[cfg(target_arch = "x86_64")]
    const NUMBER: c_long = 324;
    #[cfg(not(target_arch = "x86_64"))]
    const NUMBER: c_long = 283;

    pub const PRIVATE_EXPEDITED: c_int = 1 << 3;
    pub const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    /// Whether the system has done it.
    pub fn call(command: c_int) -> bool {
        let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));
        // SAFETY: takes numbers only, and changes no memory.
        known && unsafe { syscall(NUMBER, command, 0 as c_int, 0 as c_int) } == 0
    }
}

/// Whether [`barrier`] is to be had from now on.
pub fn offer_barriers() -> bool {
    #[cfg(target_os = "linux")]
    return membarrier::call(membarrier::REGISTER_PRIVATE_EXPEDITED) && membarrier::call(membarrier::PRIVATE_EXPEDITED);
    #[cfg(not(target_os = "linux"))]
    false
}

/// Has every thread of this process pass a full memory barrier. [`offer_barriers`] must have said yes.
pub fn barrier() {
    #[cfg(target_os = "linux")]
    membarrier::call(membarrier::PRIVATE_EXPEDITED);
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Asks for the cache line `offset` bytes from `start`, without waiting for it. Any address will do.
#[inline]
pub fn prefetch(start: *const u8, offset: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and has no effect but on time.
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, offset);
}
