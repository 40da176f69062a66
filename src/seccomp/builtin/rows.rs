//! The rows of the built-in profile.

use crate::seccomp::bpf::Cond;

/// The action for the system calls of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyscallAction {
    /// The call is executed.
    Allow,
    /// The call fails with this errno and is not executed.
    Errno(i32),
}

/// A capability of capabilities(7) that allows a group or a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Name, e.g. `CAP_SYS_ADMIN`.
    pub name: &'static str,
    /// Number, as in a [`CapSet`](crate::tables::capabilities::CapSet).
    pub bit: u8,
}

/// A group of system calls with a common reason.
#[derive(Debug)]
pub struct Group {
    /// Short name.
    pub name: &'static str,
    /// Reason why they are allowed or refused.
    pub doc: &'static str,
    /// With this capability in the bounding set, `syscalls` are allowed regardless of `action`.
    pub caps: Option<Cap>,
    /// Action for `syscalls`.
    pub action: SyscallAction,
    /// System calls that are decided by their number alone.
    pub syscalls: &'static [&'static str],
    /// System calls that are decided by their arguments.
    pub rules: &'static [ArgumentRule],
}

/// One rule of the argument table; the last rule of each system call is unconditional.
#[derive(Debug)]
pub struct ArgumentRule {
    /// The system call.
    pub syscall: &'static str,
    /// The rule applies only with this capability in the bounding set.
    pub caps: Option<Cap>,
    /// All of these must hold; empty: always.
    pub when: &'static [Cond],
    /// Action if they hold.
    pub action: SyscallAction,
}
