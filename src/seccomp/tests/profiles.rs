//! Profiles from a config.

use super::*;

const MOBY_LIKE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["read", "write", "openat", "close", "mmap", "munmap", "brk", "exit", "exit_group", "futex",
                   "socketcall", "waitpid", "chown32", "riscv_hwprobe", "uretprobe", "fchmodat2", "mseal"],
         "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["setxattrat"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "value": 4294967299, "op": "SCMP_CMP_GE"}, {"index": 2, "value": 7, "op": "SCMP_CMP_LT"}]}
    ]}"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn a_profile_for_three_architectures() {
    let f = profile(MOBY_LIKE).unwrap();
    let at = |arch, number, args: &[u64]| {
        let mut six = [0; 6];
        six[..args.len()].copy_from_slice(args);
        run(&f.instructions, arch, number, six)
    };
    let eperm = errno(libc::EPERM);
    let enosys = errno(libc::ENOSYS);
    assert_eq!(call(&f, "read", &[]), ALLOW);
    assert_eq!(call(&f, "mount", &[]), eperm);
    assert_eq!(call(&f, "socket", &[40]), eperm);
    assert_eq!(call(&f, "socket", &[1]), ALLOW);
    assert_eq!(call(&f, "personality", &[8]), ALLOW);
    assert_eq!(call(&f, "personality", &[9]), eperm);
    assert_eq!(call(&f, "clone", &[0x1000_0011]), eperm);
    assert_eq!(call(&f, "clone", &[17]), ALLOW);
    assert_eq!(call(&f, "clone3", &[]), enosys);
    // i386: read 3, mount 21, chown32 212, waitpid 7.
    assert_eq!(at(I386, 3, &[]), ALLOW);
    assert_eq!(at(I386, 7, &[]), ALLOW);
    assert_eq!(at(I386, 212, &[]), ALLOW);
    assert_eq!(at(I386, 21, &[]), eperm);
    // x32: read 0, mount 165.
    assert_eq!(at(X86_64, X32_BIT, &[]), ALLOW);
    assert_eq!(at(X86_64, X32_BIT | 165, &[]), eperm);
    // Known only to the table of this crate: on all three.
    for (arch, base) in [(X86_64, 0), (X86_64, X32_BIT), (I386, 0)] {
        assert_eq!(at(arch, base | 452, &[]), ALLOW, "fchmodat2 {arch:#x}");
        assert_eq!(at(arch, base | 462, &[]), ALLOW, "mseal {arch:#x}");
        assert_eq!(at(arch, base | 451, &[]), eperm, "cachestat is older than the newest");
        assert_eq!(at(arch, base | 463, &[0, 0x1_0000_0003, 6]), ALLOW);
        assert_eq!(at(arch, base | 463, &[0, 0x1_0000_0002, 6]), eperm);
        assert_eq!(at(arch, base | 463, &[0, 0x2_0000_0000, 0]), ALLOW);
        assert_eq!(at(arch, base | 463, &[0, 3, 0]), eperm);
        assert_eq!(at(arch, base | 463, &[0, 0x1_0000_0003, 7]), eperm);
        assert_eq!(at(arch, base | 463, &[0, 0x1_0000_0003, 1 << 32]), eperm);
        // Newer than the profile.
        assert_eq!(at(arch, base | 464, &[]), enosys);
        assert_eq!(at(arch, base | 0x3fff_fff0, &[]), enosys);
    }
    assert_eq!(at(X86_64, 335, &[]), ALLOW, "uretprobe");
    assert_eq!(at(I386, 335, &[]), eperm, "pselect6 of i386 is not uretprobe");
    assert_eq!(at(0xc000_00b7, 63, &[]), libc::SECCOMP_RET_KILL_THREAD);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn native_only_refuses_the_others() {
    let f = profile(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#,
    )
    .unwrap();
    assert_eq!(call(&f, "read", &[]), ALLOW);
    assert_eq!(run(&f.instructions, X86_64, X32_BIT, [0; 6]), libc::SECCOMP_RET_KILL_THREAD);
    assert_eq!(run(&f.instructions, I386, 3, [0; 6]), libc::SECCOMP_RET_KILL_THREAD);
    assert_eq!(call(&f, "write", &[]), errno(libc::ENOSYS), "1 is above 0, the newest that is named");
}

#[test]
fn the_default_decides_about_newer_system_calls() {
    let with = |default: &str| {
        let json = format!(
            r#"{{"defaultAction": "{default}", "syscalls": [{{"names": ["read", "mseal"], "action": "SCMP_ACT_ALLOW"}},
                {{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}}]}}"#
        );
        let f = profile(&json).unwrap();
        (run(&f.instructions, audit(), 999, [0; 6]), call(&f, "mount", &[]), call(&f, "ptrace", &[]))
    };
    let enosys = errno(libc::ENOSYS);
    let eacces = errno(libc::EACCES);
    assert_eq!(with("SCMP_ACT_ERRNO"), (enosys, errno(libc::EPERM), eacces));
    assert_eq!(with("SCMP_ACT_KILL"), (enosys, libc::SECCOMP_RET_KILL_THREAD, eacces));
    assert_eq!(with("SCMP_ACT_KILL_THREAD"), (enosys, libc::SECCOMP_RET_KILL_THREAD, eacces));
    assert_eq!(with("SCMP_ACT_KILL_PROCESS"), (enosys, KILL, eacces));
    assert_eq!(with("SCMP_ACT_TRAP"), (enosys, libc::SECCOMP_RET_TRAP, eacces));
    assert_eq!(with("SCMP_ACT_LOG"), (libc::SECCOMP_RET_LOG, libc::SECCOMP_RET_LOG, eacces));
    let trace = libc::SECCOMP_RET_TRACE | 1;
    assert_eq!(with("SCMP_ACT_TRACE"), (trace, trace, eacces));
    assert_eq!(with("SCMP_ACT_ALLOW"), (ALLOW, ALLOW, eacces));
}

#[test]
fn a_deny_list_reaches_system_calls_the_library_does_not_know() {
    let f = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["fchmodat2", "mount", "file_setattr"], "action": "SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    for name in ["fchmodat2", "mount", "file_setattr"] {
        assert_eq!(call(&f, name, &[]), errno(libc::EPERM), "{name}");
    }
    assert_eq!(call(&f, "fchmodat", &[]), ALLOW);
}

/// The comparisons of this crate (on a system call that libseccomp 2.5 does not know) and libseccomp's.
#[test]
fn every_operator_with_both_compilers() {
    let v = 0x1_0000_0005u64;
    let edges = [0, 5, 6, v - 1, v, v + 1, 0x1_0000_0000, 0x2_0000_0000, 0x2_0000_0005, u64::MAX];
    type Holds = fn(u64, u64) -> bool;
    let ops: [(&str, Holds); 6] = [
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("EQ", |a, b| a == b),
        ("GE", |a, b| a >= b),
        ("GT", |a, b| a > b),
    ];
    for name in ["lseek", "removexattrat"] {
        for (op, holds) in ops {
            let f = profile(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{{"names": ["{name}"],
                   "action": "SCMP_ACT_ALLOW", "args": [{{"index": 2, "value": {v}, "op": "SCMP_CMP_{op}"}}]}}]}}"#
            ))
            .unwrap();
            for a in edges {
                let want = if holds(a, v) { ALLOW } else { errno(libc::ENOSYS) };
                assert_eq!(call(&f, name, &[0, 0, a]), want, "{name} {a:#x} {op} {v:#x}");
            }
        }
        for mask in [0xff, 0xff_0000_0000, 0xf0_0000_00f0u64, u64::MAX] {
            let f = profile(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{{"names": ["{name}"],
                   "action": "SCMP_ACT_ALLOW",
                   "args": [{{"index": 5, "value": {mask}, "valueTwo": {v}, "op": "SCMP_CMP_MASKED_EQ"}}]}}]}}"#
            ))
            .unwrap();
            for a in edges {
                let want = if a & mask == v & mask { ALLOW } else { errno(libc::ENOSYS) };
                assert_eq!(call(&f, name, &[0, 0, 0, 0, 0, a]), want, "{name} {a:#x} & {mask:#x}");
            }
        }
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives_and_on_several_all_hold() {
    for name in ["lseek", "removexattrat"] {
        let f = |args: &str| {
            profile(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
                    "syscalls": [{{"names": ["{name}"], "action": "SCMP_ACT_ALLOW", "args": [{args}]}}]}}"#
            ))
            .unwrap()
        };
        let eq =
            |index: u8, value: u8| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
        let both = f(&[eq(0, 1), eq(1, 2)].join(","));
        assert_eq!(call(&both, name, &[1, 2]), ALLOW);
        assert_eq!(call(&both, name, &[1, 3]), errno(libc::ENOSYS));
        let either = f(&[eq(0, 1), eq(0, 2), eq(1, 7)].join(","));
        for args in [[1, 0], [2, 0], [9, 7]] {
            assert_eq!(call(&either, name, &args), ALLOW, "{args:?}");
        }
        assert_eq!(call(&either, name, &[3, 0]), errno(libc::ENOSYS));
    }
}

#[test]
fn flags_and_listener() {
    let f = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "listenerMetadata": "m",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                  "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir", "fchmodat2"], "action": "SCMP_ACT_NOTIFY"}]}"#,
    )
    .unwrap();
    assert_eq!(f.flags, 2 | 4 | 8 | 32);
    assert_eq!(f.listener, Some(Listener { path: "/run/agent".into(), metadata: "m".into() }));
    assert_eq!(call(&f, "mkdir", &[]), libc::SECCOMP_RET_USER_NOTIF);
    assert_eq!(call(&f, "fchmodat2", &[]), libc::SECCOMP_RET_USER_NOTIF);
}

#[test]
fn errors_point_at_what_is_wrong() {
    let list = |entry: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{entry}]}}"#);
    let cases = [
        (list(r#"{"names": ["read", "frobnicate"], "action": "SCMP_ACT_KILL"}"#), "/syscalls/0/names/1"),
        (list(r#"{"names": ["a\u0000b"], "action": "SCMP_ACT_KILL"}"#), "/syscalls/0/names/0"),
        (list(r#"{"names": [], "action": "SCMP_ACT_KILL"}"#), "/syscalls/0/names"),
        (list(r#"{"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 5}"#), "/syscalls/0/errnoRet"),
        (
            list(r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}"#),
            "/syscalls/0/errnoRet",
        ),
        (
            list(
                r#"{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "/syscalls/0/args/0/index",
        ),
        (list(r#"{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}"#), "/listenerPath"),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.into(), "/defaultAction"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}"#.into(), "/listenerMetadata"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}"#.into(), "/defaultErrnoRet"),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#
                .into(),
            "/flags/0",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a", "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]}"#
                .into(),
            "/syscalls/0/names/1",
        ),
    ];
    for (json, pointer) in cases {
        let error = profile(&json).unwrap_err();
        assert_eq!(error.pointer, format!("/linux/seccomp{pointer}"), "{error}");
    }
}

#[test]
fn an_oversized_program_is_an_error() {
    let entries: Vec<String> = (0..3000)
        .map(|i| {
            format!(
                r#"{{"names": ["lseek"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": 0, "value": {}, "op": "SCMP_CMP_EQ"}}]}}"#,
                i * 4_294_967_297u64
            )
        })
        .collect();
    let json = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{}]}}"#, entries.join(","));
    let error = profile(&json).unwrap_err();
    assert!(error.message.contains("4096"), "{error}");
}

#[test]
fn a_name_that_is_not_known_is_left_out_where_nothing_more_runs() {
    let with = |default: &str, action: &str| {
        profile(&format!(
            r#"{{"defaultAction": "{default}", "syscalls": [{{"names": ["read", "no_such_call"], "action": "{action}"}}]}}"#
        ))
    };
    for (default, action) in [
        ("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
        ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"),
        ("SCMP_ACT_KILL", "SCMP_ACT_ERRNO"),
    ] {
        with(default, action).unwrap_or_else(|e| panic!("{default} {action}: {e}"));
    }
    for (default, action) in [
        ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"),
        ("SCMP_ACT_LOG", "SCMP_ACT_KILL"),
        ("SCMP_ACT_ALLOW", "SCMP_ACT_TRACE"),
    ] {
        let error = with(default, action).unwrap_err().to_string();
        assert!(error.contains("/names/1") && error.contains("no_such_call"), "{default} {action}: {error}");
    }
}
