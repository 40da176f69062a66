//! The program's start without std's own: that asks for the stack's bounds (/proc/self/maps), and sets up signal
//! handlers and an alternate stack, some twenty system calls that a launcher of containers does not need. A stack
//! overflow still hits the guard page, and ends the program by SIGSEGV without a message.

use std::ffi::c_int;
use std::io::Write;

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
    let code = main();
    // What a verb prints was checked when it was written; std's own start does the same here.
    std::io::stdout().flush().unwrap_or_default();
    code.0.into()
}

/// Bytes of the stack without which the program would be killed by SIGSEGV, without a word.
pub const STACK: u64 = if cfg!(debug_assertions) { 512 << 10 } else { 256 << 10 };

/// The limit on the stack, if it is too small.
pub fn small_stack() -> Option<u64> {
    let limit = super::rlimit::started_with(libc::RLIMIT_STACK).ok()?;
    (limit.soft < STACK).then_some(limit.soft)
}

/// Makes `$main`, a function that returns an [`ExitCode`], the program; the crate is `no_main`.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        /// What the C library calls.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_: std::ffi::c_int, _: *const *const std::ffi::c_char) -> std::ffi::c_int {
            $crate::sys::start::run($main)
        }
    };
}
