//! The program's start without std's own: that asks for the stack's bounds (/proc/self/maps), and sets up signal
//! handlers and an alternate stack, some twenty system calls that a launcher of containers does not need. A stack
//! overflow still hits the guard page, and ends the program by SIGSEGV without a message.

use std::ffi::c_int;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a program ends with (exit(3)); 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// 0.
    pub const SUCCESS: ExitCode = ExitCode(0);
    /// 1.
    pub const FAILURE: ExitCode = ExitCode(1);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        ExitCode(code)
    }
}

/// Runs the program, with SIGPIPE ignored as in any Rust program, and returns what the process exits with. Of a caller that
/// ignores SIGCHLD the kernel would reap this program's children before their ends were seen (wait(2)).
pub fn run(main: fn() -> ExitCode) -> c_int {
    // SAFETY: SIG_IGN and SIG_DFL are no functions of this program.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    let code = on_a_stack(main);
    // What a verb prints was checked when it was written; std's own start does the same here.
    std::io::stdout().flush().unwrap_or_default();
    code.0.into()
}

/// Bytes of the stack without which the program would be ended by SIGSEGV, without a word.
const STACK: usize = if cfg!(debug_assertions) { 512 << 10 } else { 256 << 10 };
/// The stack that it gets then.
const OWN_STACK: usize = 4 * STACK;

/// The program, and what it ended with, while it runs on a stack of its own.
static MAIN: OnceLock<fn() -> ExitCode> = OnceLock::new();
static CODE: AtomicU8 = AtomicU8::new(1);

/// Runs `main` on the stack of the process, or where the caller's limit on that (RLIMIT_STACK, `ulimit -s`) is too small,
/// on one of its own. The limit stays as it is: the container inherits it.
fn on_a_stack(main: fn() -> ExitCode) -> ExitCode {
    let limit = super::rlimit::started_with(libc::RLIMIT_STACK);
    if limit.is_ok_and(|limit| limit.soft < STACK as u64) {
        match on_own_stack(main) {
            Ok(code) => return code,
            Err(e) => crate::to_stderr!("safebox: mmap of a stack: {e}: the limit on the stack is small"),
        }
        return ExitCode(125);
    }
    main()
}

fn on_own_stack(main: fn() -> ExitCode) -> super::SysResult<ExitCode> {
    extern "C" fn begin() {
        if let Some(main) = MAIN.get() {
            CODE.store(main().0, Ordering::Relaxed);
        }
    }
    MAIN.get_or_init(|| main);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), OWN_STACK, access, flags, -1, 0) };
    super::check(if base == libc::MAP_FAILED { -1 } else { 0 })?;
    // SAFETY: the lowest page of the new mapping, which nothing uses: an overflow ends the program there.
    super::check(unsafe { libc::mprotect(base, 4096, libc::PROT_NONE) }.into())?;
    // SAFETY: an all-zero ucontext_t is a valid value of that plain C struct; getcontext(3) fills it in.
    let (mut back, mut own): (libc::ucontext_t, libc::ucontext_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both contexts outlive the switch: this frame is resumed once `begin` returns. The stack is never unmapped.
    let switched = unsafe {
        libc::getcontext(&raw mut own);
        (own.uc_stack.ss_sp, own.uc_stack.ss_size, own.uc_link) = (base, OWN_STACK, &raw mut back);
        libc::makecontext(&raw mut own, begin, 0);
        libc::swapcontext(&raw mut back, &raw const own)
    };
    super::check(switched.into())?;
    Ok(ExitCode(CODE.load(Ordering::Relaxed)))
}

/// Makes `$main`, a function that returns an [`ExitCode`], the program; the crate is `no_main`.
#[doc(hidden)]
#[macro_export]
macro_rules! program {
    ($main:path) => {
        /// What the C library calls.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_: std::ffi::c_int, _: *const *const std::ffi::c_char) -> std::ffi::c_int {
            $crate::sys::start::run($main)
        }

        // Debug builds have the library's own (sys/trap.rs).
        #[cfg(not(debug_assertions))]
        #[global_allocator]
        static ALLOCATOR: $crate::sys::memory::Allocator = $crate::sys::memory::Allocator;
    };
}
