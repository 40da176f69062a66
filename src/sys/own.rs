//! This process: its pid, and prctl(2).

use super::{SysResult, check};

/// `prctl(op, arg, 0, 0, 0)`.
pub fn prctl(op: i32, arg: u64) -> SysResult<i64> {
    // SAFETY: this crate passes only operations that take a plain number.
    check(unsafe { libc::prctl(op, arg, 0u64, 0u64, 0u64) }.into())
}

/// `prctl(op, arg, arg3, 0, 0)`, for `PR_CAP_AMBIENT`.
pub fn prctl3(op: i32, arg: u64, arg3: u64) -> SysResult<i64> {
    // SAFETY: this crate passes only operations that take plain numbers.
    check(unsafe { libc::prctl(op, arg, arg3, 0u64, 0u64) }.into())
}

/// getpid(2).
pub fn pid() -> i32 {
    std::process::id() as i32
}
