//! The allocator trap of debug builds: it checks that Init makes only system calls.
//!
//! After clone, a lock of the allocator could be held by a thread that does not exist in the child. The child
//! never allocates; this rule makes clone safe. In debug builds (which the tests run) the global allocator
//! aborts the process when Init allocates.
#[cfg(debug_assertions)]
mod armed {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicBool, Ordering};

    static SPRUNG: AtomicBool = AtomicBool::new(false);

    struct Trap;

    // SAFETY: every call is forwarded unchanged to the system allocator; the check does not touch memory.
    unsafe impl GlobalAlloc for Trap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if SPRUNG.load(Ordering::Relaxed) {
                let text = b"safebox: bug: Init allocated memory after clone\n";
                // SAFETY: a static buffer; abort does not return.
                unsafe {
                    libc::write(2, text.as_ptr().cast(), text.len());
                    libc::abort()
                }
            }
            // SAFETY: the caller guarantees the contract of `GlobalAlloc`.
            super::super::memory::allocated(unsafe { System.alloc(layout) }, layout.size())
        }

        unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
            // SAFETY: the caller guarantees the contract of `GlobalAlloc`.
            unsafe { System.dealloc(ptr, layout) }
        }
    }

    #[global_allocator]
    static TRAP: Trap = Trap;

    pub fn set() {
        SPRUNG.store(true, Ordering::Relaxed);
    }
}

/// Arms the trap in this process (a clone of the runtime); does nothing in release builds.
pub fn arm() {
    #[cfg(debug_assertions)]
    armed::set();
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use crate::sys::process::{ProcessExit, fork_run, wait};

    /// Exit status of a child that allocates.
    fn child(armed: bool) -> ProcessExit {
        let pid = fork_run(|| {
            if armed {
                super::arm();
            }
            std::hint::black_box(Box::new(1));
            7
        });
        let ended = wait(pid.expect("fork"), 0).expect("wait").expect("a status");
        ended.1
    }

    #[test]
    fn an_armed_process_that_allocates_is_aborted() {
        assert_eq!(child(true), ProcessExit::Signal(libc::SIGABRT));
        assert_eq!(child(false), ProcessExit::Code(7));
    }
}
