//! Small filters next to the built-in profile, for container features that the profile does not cover. Each
//! is a table: system calls, and the refused bits of an argument.

use serde_json::json;

use crate::config::{ConfigError, LinuxSeccomp, SeccompGuard};

/// `S_ISUID` and `S_ISGID`.
const SET_ID: [u64; 2] = [0o4000, 0o2000];

/// System calls that set a file's mode: (name, index of the mode argument).
const MODES: [(&str, u64); 9] = [
    ("chmod", 1),
    ("fchmod", 1),
    ("fchmodat", 2),
    ("fchmodat2", 2),
    ("creat", 1),
    ("open", 2),
    ("openat", 3),
    ("mknod", 1),
    ("mknodat", 2),
];

/// Compiles a guard into a profile.
pub fn guard_profile(guard: SeccompGuard) -> Result<LinuxSeccomp, ConfigError> {
    let rules = match guard {
        SeccompGuard::NoSetuidFiles => no_setuid_files(),
        SeccompGuard::NoInternet => no_internet(),
        SeccompGuard::NoUserNamespaces => no_user_namespaces(),
    };
    serde_json::from_value(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }))
        .map_err(|e| ConfigError::new("", format!("{}: {e}", guard.what())))
}

fn no_setuid_files() -> Vec<serde_json::Value> {
    let one = |(name, index): (&str, u64), bit: u64| {
        json!({
            "names": [name],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": libc::EPERM,
            "args": [{ "index": index, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ" }],
        })
    };
    let mut rules: Vec<_> = MODES.into_iter().flat_map(|row| SET_ID.map(|bit| one(row, bit))).collect();
    // Its mode is in memory, which a filter cannot read. Programs fall back to openat.
    rules.push(json!({ "names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    rules
}

fn no_user_namespaces() -> Vec<serde_json::Value> {
    let bit = libc::CLONE_NEWUSER as u64;
    let args = json!([{ "index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ" }]);
    let flags = json!({ "names": ["clone", "unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM, "args": args });
    // A filter cannot read the flags of clone3, which are in memory. Programs fall back to clone.
    vec![flags, json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS })]
}

fn no_internet() -> Vec<serde_json::Value> {
    // The family is a C int: the kernel ignores the upper half.
    let families = (0..64).filter(|family| *family != libc::AF_UNIX as u64);
    let args = |family| json!([{ "index": 0, "value": 0xffff_ffff_u64, "valueTwo": family, "op": "SCMP_CMP_MASKED_EQ" }]);
    families
        .map(|family| {
            json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EAFNOSUPPORT, "args": args(family) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seccomp::{FilterSource, bpf, compile};

    fn answer(guard: SeccompGuard, call: i64, args: [u64; 6]) -> u32 {
        let filter = compile(&FilterSource::Profile(Arc::new(guard_profile(guard).unwrap()))).unwrap();
        let arch = crate::seccomp::library::audit_arch(crate::seccomp::numbers::native()).unwrap();
        bpf::run(&filter.instructions, arch, u32::try_from(call).unwrap(), args).unwrap()
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    #[test]
    fn modes_of_ordinary_files_pass() {
        let of = |call, args| answer(SeccompGuard::NoSetuidFiles, call, args);
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        for (call, index) in [(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_openat, 3)] {
            for (mode, expect) in [(0o755, ALLOW), (0o1777, ALLOW), (0o4755, refused), (0o2755, refused)] {
                let mut args = [0; 6];
                args[index] = mode;
                assert_eq!(of(call, args), expect, "{call} {mode:o}");
            }
        }
        assert_eq!(of(libc::SYS_openat2, [0; 6]), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        assert_eq!(of(libc::SYS_mkdirat, [0, 0, 0o2775, 0, 0, 0]), ALLOW, "a directory gains nothing");
    }

    #[test]
    fn threads_and_other_namespaces_pass() {
        let of =
            |call, flags: i32| answer(SeccompGuard::NoUserNamespaces, call, [flags as u64, 0, 0, 0, 0, 0]);
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        for call in [libc::SYS_clone, libc::SYS_unshare] {
            assert_eq!(of(call, libc::CLONE_NEWUSER | libc::CLONE_NEWNET), refused, "{call}");
            assert_eq!(of(call, libc::CLONE_FILES | libc::CLONE_FS), ALLOW, "{call}");
        }
        assert_eq!(of(libc::SYS_clone3, 0), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn unix_sockets_alone_pass() {
        let of = |family: u64| answer(SeccompGuard::NoInternet, libc::SYS_socket, [family, 1, 0, 0, 0, 0]);
        let refused = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
            assert_eq!(of(family as u64), refused, "{family}");
            assert_eq!(of(family as u64 | 1 << 32), refused, "{family} with a high bit");
        }
        assert_eq!(of(libc::AF_UNIX as u64), ALLOW);
    }
}
