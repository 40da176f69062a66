//! Verdicts of compiled filters, evaluated in the small interpreter of classic BPF.

use std::sync::Arc;

use super::numbers::{Meaning, X32_BIT, native, number};
use super::*;
use libseccomp::{ScmpArch, ScmpSyscall};

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

fn errno(e: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | e as u32
}

/// The kernel's verdict for this call.
fn run(program: &[sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    bpf::run(program, arch, nr, args).expect("an instruction that the interpreter knows")
}

fn nr(name: &str) -> u32 {
    number(name, native()).unwrap_or_else(|| panic!("{name}"))
}

fn audit() -> u32 {
    library::audit_arch(native()).unwrap()
}

fn call(filter: &Filter, name: &str, args: &[u64]) -> u32 {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    run(&filter.instructions, audit(), nr(name), six)
}

fn builtin(bits: &[u8]) -> Filter {
    let caps = bits.iter().fold(CapSet::EMPTY, |set, bit| set.with(*bit));
    compile(&FilterSource::BuiltIn { caps, allow: Vec::new() }).unwrap()
}

fn profile(json: &str) -> Result<Filter, ConfigError> {
    compile(&FilterSource::Profile(Arc::new(serde_json::from_str(json).unwrap())))
}

#[test]
fn every_group_says_what_its_row_says() {
    let (none, all) = (
        builtin(&[]),
        compile(&FilterSource::BuiltIn { caps: CapSet(u64::MAX), allow: Vec::new() }).unwrap(),
    );
    for group in builtin_profile() {
        for name in group.syscalls {
            let Some(_) = number(name, native()) else { continue };
            let plain = profile::ret(scmp(group.action));
            let granted = if group.caps.is_some() { ALLOW } else { plain };
            // The arguments must not matter.
            for args in [[0; 6], [u64::MAX; 6]] {
                assert_eq!(call(&none, name, &args), plain, "{name}");
                assert_eq!(call(&all, name, &args), granted, "{name} with all capabilities");
            }
        }
    }
}

/// libnuma calls get_mempolicy(2) to detect NUMA; programs fall back on ENOSYS.
#[test]
fn fallbacks_get_enosys_and_the_three_numa_calls_are_alike() {
    let f = builtin(&[]);
    let absent =
        ["get_mempolicy", "set_mempolicy", "mbind", "io_uring_setup", "keyctl", "add_key", "userfaultfd"];
    for name in absent {
        assert_eq!(call(&f, name, &[]), errno(libc::ENOSYS), "{name}");
    }
    for name in ["mount", "ptrace", "reboot", "clock_settime", "bpf"] {
        assert_eq!(call(&f, name, &[]), errno(libc::EPERM), "{name}");
    }
    for name in ["adjtimex", "clock_adjtime"] {
        assert_eq!(call(&f, name, &[]), ALLOW, "{name}");
    }
}

#[test]
fn a_call_that_was_asked_for_runs_and_no_other() {
    for name in ["userfaultfd", "ptrace", "clone3", "socket", "lsm_get_self_attr"] {
        let open = compile(&FilterSource::BuiltIn { caps: CapSet::EMPTY, allow: vec![name.into()] }).unwrap();
        let closed = builtin(&[]);
        let args = [libc::AF_VSOCK as u64];
        assert_ne!(call(&closed, name, &args), ALLOW, "{name}");
        assert_eq!(call(&open, name, &args), ALLOW, "{name}");
        for other in ["mount", "keyctl", "setns"] {
            assert_eq!(call(&open, other, &args), call(&closed, other, &args), "{other} with {name}");
        }
        assert!(weakens(name).unwrap().is_some(), "{name}");
    }
    assert_eq!(weakens("read"), Ok(None));
    for unknown in ["", "raed", "READ", "1", "ptrace "] {
        assert!(weakens(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn what_is_refused_is_reported_and_nothing_else() {
    let plain = builtin(&[]);
    let reported = reported(&plain.instructions);
    assert!(bpf::check(&reported).is_ok());
    for arch in [audit(), I386] {
        for nr in 0..600 {
            for args in [[0; 6], [u64::MAX; 6], [3, 0x5412, 0, 0, 0, 0]] {
                let (before, now) =
                    (run(&plain.instructions, arch, nr, args), run(&reported, arch, nr, args));
                let refused = before & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO;
                assert_eq!(now, if refused { libc::SECCOMP_RET_USER_NOTIF } else { before }, "{nr}");
                let data = libc::seccomp_data { nr: nr as i32, arch, instruction_pointer: 0, args };
                let answer = Reported::by(&plain.instructions, &data);
                let want = if refused { (before & libc::SECCOMP_RET_DATA) as i32 } else { libc::EPERM };
                assert_eq!(answer.errno as i32, want, "{nr}: never a success");
            }
        }
    }
    let data = libc::seccomp_data { nr: -1, arch: audit(), instruction_pointer: 0, args: [0; 6] };
    assert_eq!(Reported::by(&plain.instructions, &data).errno, nix::errno::Errno::EPERM);
}

#[test]
fn the_table_is_consistent() {
    let mut seen = std::collections::BTreeMap::new();
    for group in builtin_profile() {
        assert!(!group.doc.is_empty() && !group.name.is_empty());
        for name in group.syscalls {
            assert!(seen.insert(*name, group.name).is_none(), "{name} is in two groups");
            assert_ne!(numbers::meaning(name, native()), Meaning::Unknown, "{name}");
        }
        for (i, rule) in group.rules.iter().enumerate() {
            let place = *seen.entry(rule.syscall).or_insert("rules");
            assert_eq!(place, "rules", "{} is also decided by its number alone", rule.syscall);
            assert_ne!(numbers::meaning(rule.syscall, native()), Meaning::Unknown);
            let last = group.rules[i + 1..].iter().all(|r| r.syscall != rule.syscall);
            if last {
                assert!(rule.when.is_empty() && rule.caps.is_none(), "{}: no last word", rule.syscall);
            }
            for cond in rule.when {
                assert_eq!(cond.op, bpf::CompareOp::MaskedEq, "ints are compared by their low 32 bits");
                assert!(cond.mask <= 0xffff_ffff && cond.value & !cond.mask == 0);
            }
        }
    }
}

/// Every existing system call must be in the profile or in this list.
#[test]
fn every_known_system_call_is_judged_or_left_out_on_purpose() {
    /// The kernel itself answers ENOSYS to most of these; the three LSM calls have /proc/PID/attr as an
    /// alternative.
    const LEFT_OUT: &[&str] = &[
        "afs_syscall",
        "epoll_ctl_old",
        "epoll_wait_old",
        "getpmsg",
        "putpmsg",
        "security",
        "tuxcall",
        "vserver",
        "lsm_get_self_attr",
        "lsm_set_self_attr",
        "lsm_list_modules",
        "uprobe",
    ];
    let named = |name: &str| {
        builtin_profile()
            .iter()
            .any(|g| g.syscalls.contains(&name) || g.rules.iter().any(|r| r.syscall == name))
    };
    for arch in [ScmpArch::X8664, ScmpArch::Aarch64] {
        for nr in 0..512 {
            let Ok(name) = ScmpSyscall::from(nr).get_name_by_arch(arch) else { continue };
            assert!(named(&name) != LEFT_OUT.contains(&name.as_str()), "{arch:?} {nr} {name}");
        }
    }
    for name in LEFT_OUT {
        assert!(!named(name), "{name}");
    }
}

#[test]
fn unknown_system_calls_do_not_exist() {
    let f = builtin(&[]);
    for nr in [470, 999, 0x3fff_ffff] {
        assert_eq!(run(&f.instructions, audit(), nr, [0; 6]), errno(libc::ENOSYS), "{nr}");
    }
    assert_eq!(call(&f, "clone3", &[]), errno(libc::ENOSYS));
    assert_eq!(call(&f, "lsm_set_self_attr", &[]), errno(libc::ENOSYS));
}

#[test]
fn newer_system_calls_do_not_depend_on_the_library() {
    let f = builtin(&[]);
    for name in ["futex_waitv", "cachestat", "fchmodat2", "futex_wake", "mseal", "getxattrat", "file_getattr"]
    {
        assert_eq!(call(&f, name, &[]), ALLOW, "{name}");
    }
    assert_eq!(call(&f, "open_tree_attr", &[]), errno(libc::EPERM));
    assert_eq!(call(&f, "set_mempolicy_home_node", &[]), errno(libc::ENOSYS));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn other_entries_into_the_kernel_kill() {
    let f = builtin(&[21]);
    for number in [0, 1, 16, 41, 56, 165, 520, 0x3fff_ffff] {
        assert_eq!(
            run(&f.instructions, X86_64, number | X32_BIT, [1, 0x5412, 0, 0, 0, 0]),
            KILL,
            "x32 {number}"
        );
        for arch in [I386, 0xc000_00b7, 0, u32::MAX] {
            assert_eq!(
                run(&f.instructions, arch, number, [1, 0x5412, 0, 0, 0, 0]),
                KILL,
                "{arch:#x} {number}"
            );
        }
    }
    assert_eq!(run(&f.instructions, X86_64, 1, [0; 6]), ALLOW);
}

/// Bits that the kernel ignores.
const HIGH: [u64; 5] = [0, 1 << 32, 1 << 63, 0xdead_beef << 32, 0xffff_ffff << 32];

#[test]
fn terminal_input_cannot_be_injected() {
    let f = compile(&FilterSource::BuiltIn { caps: CapSet(u64::MAX), allow: Vec::new() }).unwrap();
    for high in HIGH {
        assert_eq!(call(&f, "ioctl", &[0, 0x5412 | high]), errno(libc::EPERM), "TIOCSTI {high:#x}");
        assert_eq!(call(&f, "ioctl", &[0, 0x541c | high]), errno(libc::EPERM), "TIOCLINUX {high:#x}");
        assert_eq!(call(&f, "ioctl", &[0, 0x5423 | high]), errno(libc::EPERM), "TIOCSETD {high:#x}");
        for request in [0, 0x5401, 0x5411, 0x5413, 0x541b, 0x541d, 0x1_5412, 0xffff_ffff] {
            assert_eq!(call(&f, "ioctl", &[0, request | high]), ALLOW, "{request:#x}");
        }
    }
}

#[test]
fn socket_families_are_an_allow_list() {
    let (plain, raw, net, audit) = (builtin(&[]), builtin(&[13]), builtin(&[12]), builtin(&[29]));
    let no_family = errno(libc::EAFNOSUPPORT);
    for high in HIGH {
        for family in 0..64u64 {
            let want = if matches!(family, 1 | 2 | 10 | 16) { ALLOW } else { no_family };
            assert_eq!(call(&plain, "socket", &[family | high, 2 | high, high]), want, "{family} {high:#x}");
            let want = match family {
                1 => ALLOW,
                2 | 10 => errno(libc::EOPNOTSUPP),
                _ => no_family,
            };
            assert_eq!(call(&plain, "socketpair", &[family | high, 1, 0]), want, "pair {family}");
        }
        for family in [0x1_0001, 0x8000_0001, 0xffff_ffff] {
            assert_eq!(call(&plain, "socket", &[family | high]), no_family, "{family:#x}");
        }
        assert_eq!(call(&raw, "socket", &[17 | high]), ALLOW);
        assert_eq!(call(&net, "socket", &[17 | high]), no_family);
        for protocol in 1..32u64 {
            let args = [16 | high, 3, protocol | high];
            assert_eq!(call(&plain, "socket", &args), errno(libc::EPROTONOSUPPORT), "{protocol}");
            assert_eq!(call(&net, "socket", &args), ALLOW);
            let want = if protocol == 9 { ALLOW } else { errno(libc::EPROTONOSUPPORT) };
            assert_eq!(call(&audit, "socket", &args), want, "{protocol}");
        }
    }
}

#[test]
fn protocols_of_the_internet_are_an_allow_list() {
    const STREAM: u64 = 1;
    const DGRAM: u64 = 2;
    const RAW: u64 = 3;
    let (plain, raw) = (builtin(&[]), builtin(&[13]));
    let refused = errno(libc::EPROTONOSUPPORT);
    for high in HIGH {
        for (family, icmp) in [(2, 1), (10, 58)] {
            for flags in [0, 0o4000, 0o2_000_000, 0o2_004_000] {
                // Includes the families' other types: SOCK_SEQPACKET is SCTP, SOCK_DCCP is DCCP, SOCK_PACKET
                // is another family.
                for (kind, protocol) in (0..16).flat_map(|kind| (0..300).map(move |p| (kind, p))) {
                    let want = match (kind, protocol) {
                        (STREAM, 0 | 6) | (DGRAM, 0 | 17) => ALLOW,
                        (DGRAM, p) if p == icmp => ALLOW,
                        (RAW, _) => errno(libc::EPERM),
                        _ => refused,
                    };
                    let args = [family | high, kind | flags | high, protocol | high];
                    assert_eq!(call(&plain, "socket", &args), want, "{family} {kind} {protocol} {high:#x}");
                    let want = if kind == RAW { ALLOW } else { want };
                    assert_eq!(call(&raw, "socket", &args), want, "CAP_NET_RAW {family} {kind} {protocol}");
                }
            }
        }
    }
}

#[test]
fn personality_and_clone_are_judged_by_their_low_bits() {
    let (f, admin) = (builtin(&[]), builtin(&[21]));
    for high in HIGH {
        for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            assert_eq!(call(&f, "personality", &[value | high]), ALLOW, "{value:#x}");
        }
        for value in [1, 0x4_0000, 0x40_0000, 0x4_0008, 0xffff_fffe] {
            assert_eq!(call(&f, "personality", &[value | high]), errno(libc::EPERM), "{value:#x}");
        }
        // fork, vfork and threads as glibc and musl create them.
        for flags in [17, 0x0120_0011, 0x4111, 0x3d_0f00, 0x7d_0f00] {
            assert_eq!(call(&f, "clone", &[flags | high]), ALLOW, "{flags:#x}");
        }
        for bit in [17, 25, 26, 27, 28, 29, 30] {
            let flags = 1u64 << bit | 17 | high;
            assert_eq!(call(&f, "clone", &[flags]), errno(libc::EPERM), "{flags:#x}");
            assert_eq!(call(&admin, "clone", &[flags]), ALLOW, "{flags:#x}");
        }
    }
    assert_eq!(call(&admin, "clone3", &[]), ALLOW);
    assert_eq!(call(&admin, "mount", &[]), ALLOW);
    assert_eq!(call(&admin, "io_uring_setup", &[]), errno(libc::ENOSYS));
}

#[test]
fn a_capability_opens_its_own_group_only() {
    for group in builtin_profile() {
        let Some(cap) = group.caps else { continue };
        let f = builtin(&[cap.bit]);
        for other in builtin_profile().iter().filter(|g| g.caps.is_none_or(|c| c != cap)) {
            for name in other.syscalls.iter().filter(|n| number(n, native()).is_some()) {
                assert_eq!(call(&f, name, &[]), profile::ret(scmp(other.action)), "{} {name}", cap.name);
            }
        }
    }
}

#[test]
fn features_name_what_this_kernel_has() {
    let f = features();
    assert!(f.actions.contains(&"SCMP_ACT_NOTIFY") && f.actions.contains(&"SCMP_ACT_LOG"));
    assert_eq!(f.operators.len(), 7);
    assert!(f.archs.contains(&"SCMP_ARCH_X86_64"));
    assert_eq!(f.known_flags.len(), 4);
    assert!(f.supported_flags.contains(&"SECCOMP_FILTER_FLAG_LOG"));
    assert!(!sys::flag_supported(1 << 30));
    assert!(!sys::action_available(0x1234_0000));
}

mod profiles;
