//! The command line and the environment in this process's memory, where /proc/PID/cmdline and
//! /proc/PID/environ read them.

use std::sync::atomic::{AtomicUsize, Ordering};

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

static START: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);
/// The descriptor of a request, and one more; 0 for none.
static REQUEST: AtomicUsize = AtomicUsize::new(0);

/// Remembers the descriptor that the command line came from.
pub fn keep(request: i32) {
    REQUEST.store(usize::try_from(request).map_or(0, |fd| fd + 1), Ordering::Relaxed);
}

/// That descriptor.
pub fn request() -> Option<i32> {
    REQUEST.load(Ordering::Relaxed).checked_sub(1).and_then(|fd| i32::try_from(fd).ok())
}

/// Finds the memory range of the arguments and the environment, for [`forget`]. `count` is the number of
/// arguments. Call it once at the start, while the environment is as execve(2) left it.
pub fn find(count: usize) {
    // SAFETY: at the start of a program `environ` is laid out by the kernel (execve(2)): the number of
    // arguments, that many pointers, NULL, then the environment. The stored number is compared with `count`
    // before any pointer is read.
    let (first, at) = unsafe {
        let argv = environ.wrapping_sub(count + 1);
        if environ.is_null() || count == 0 || argv.wrapping_sub(1).cast::<usize>().read() != count {
            return;
        }
        (*argv as usize, libc::getauxval(libc::AT_EXECFN) as usize)
    };
    // The strings lie one after the other. The program's name (AT_EXECFN) follows them.
    if first != 0 && at > first {
        START.store(first, Ordering::Relaxed);
        LEN.store(at - first, Ordering::Relaxed);
    }
}

/// Overwrites both in this process. Any process in the container's pid namespace may read /proc/PID/cmdline
/// of a process that it can see, and the caller's environment may hold secrets.
pub fn forget() {
    const NAME: &[u8] = b"safebox init";
    let (start, len) = (START.load(Ordering::Relaxed) as *mut u8, LEN.load(Ordering::Relaxed));
    if len == 0 {
        return;
    }
    // SAFETY: `find` checked that this range holds the arguments and the environment, which the kernel puts
    // on the writable stack. The caller has copied what it still needs, and no other thread reads it.
    unsafe {
        start.write_bytes(0, len);
        start.copy_from_nonoverlapping(NAME.as_ptr(), NAME.len().min(len - 1));
    }
}
