//! The allocator of the program: where memory is exhausted the program says so, and ends as after any error of the runtime.
//! The standard library aborts with a signal.

use std::alloc::{GlobalAlloc, Layout, System};

/// A larger block is refused without more: who asks for it may have another way.
const SMALL: usize = 1 << 20;

/// The system's allocator.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: every call is forwarded unchanged to the system's allocator; where that fails the process may end.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees the contract of `GlobalAlloc`.
        allocated(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        allocated(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        allocated(unsafe { System.realloc(ptr, layout, size) }, size)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// The block at `ptr`; ends the process where a small one could not be had. What it has made is undone by its guardian.
pub(super) fn allocated(ptr: *mut u8, size: usize) -> *mut u8 {
    if ptr.is_null() && size < SMALL {
        exhausted();
    }
    ptr
}

#[cold]
fn exhausted() -> ! {
    let text = b"safebox: out of memory: the limit on data or address space (ulimit -d, -v) is too small, or the machine's memory is used up\n";
    // SAFETY: a static buffer; _exit does not return.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(125)
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use crate::sys::process::{ProcessExit, fork_run, wait};
    use crate::sys::rlimit::{RlimitPair, set};

    #[test]
    fn a_program_without_memory_ends_with_125() {
        let pid = fork_run(|| {
            if set(0, libc::RLIMIT_DATA, RlimitPair { soft: 1 << 16, hard: 1 << 16 }).is_err() {
                return 1;
            }
            // A block that large may fail; the small ones after it may not.
            let mut large = Vec::<u8>::new();
            if large.try_reserve_exact(1 << 30).is_ok() {
                return 2;
            }
            for _ in 0..100_000 {
                std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 15]));
            }
            3
        });
        let ended = wait(pid.expect("fork"), 0).expect("wait").expect("a status");
        assert_eq!(ended.1, ProcessExit::Code(125));
    }
}
