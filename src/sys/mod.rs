//! The only unsafe code: thin, typed wrappers over system calls that libc or nix do not offer in a
//! form that is safe after clone (no allocation, no locks, errno as a value).
//!
//! Every function here performs exactly the system call it is named after, so that the plan's rows
//! and a `strace` of the program read the same.
#![allow(unsafe_code)]

pub mod argv;
pub mod before_exec;
pub mod bpf;
pub mod cred;
pub mod cstr;
pub mod exe;
pub mod fs;
pub mod idle;
pub mod io;
pub mod landlock;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod own;
pub mod probe;
pub mod process;
pub mod read;
pub mod reaper;
pub mod replace;
pub mod rlimit;
pub mod route;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod start;
pub mod trap;
pub mod tty;
pub mod usage;
pub mod watch;
pub mod xattr;

pub use nix::errno::Errno;

/// What a system call returns: a value or an errno(3).
pub type SysResult<T> = std::result::Result<T, Errno>;

/// The errno of an I/O error; `EIO` where the error is not the kernel's.
pub fn errno(e: std::io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))
}

/// Turns the raw return value of `syscall(2)` into a `SysResult`.
fn check(ret: i64) -> SysResult<i64> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}
