//! The built-in profile: the allowed system calls of a container whose config has no profile.
//!
//! It is an allow-list in groups. A system call in no group gets `ENOSYS`, the answer of a kernel that does
//! not know it, so programs use their existing fallback. This also covers system calls that are added to
//! Linux later. Refused groups get `ENOSYS` too, because programs have fallbacks for it (io_uring, keyrings,
//! NUMA, ...), and `EPERM` only where the kernel itself returns it to an unprivileged caller. Some groups are
//! allowed when the container has the capability that the kernel requires: the filter would only repeat the
//! kernel's check.
//!
//! [`ArgumentRule`]s check arguments: the rules of one system call are tried in order and the first match decides.
//! All of them compare C `int`s, of which the kernel reads only the low 32 bits. So all of them use `int`
//! or `bits`, which mask the high bits: `TIOCSTI | 1 << 32` is TIOCSTI.

mod rows;

use super::bpf::{CompareOp, Cond};
pub use rows::{ArgumentRule, Cap, Group, SyscallAction};

const SYS_ADMIN: Option<Cap> = Some(Cap { name: "CAP_SYS_ADMIN", bit: 21 });
const DAC_READ_SEARCH: Option<Cap> = Some(Cap { name: "CAP_DAC_READ_SEARCH", bit: 2 });
const NET_ADMIN: Option<Cap> = Some(Cap { name: "CAP_NET_ADMIN", bit: 12 });
const NET_RAW: Option<Cap> = Some(Cap { name: "CAP_NET_RAW", bit: 13 });
const SYS_MODULE: Option<Cap> = Some(Cap { name: "CAP_SYS_MODULE", bit: 16 });
const SYS_RAWIO: Option<Cap> = Some(Cap { name: "CAP_SYS_RAWIO", bit: 17 });
const SYS_CHROOT: Option<Cap> = Some(Cap { name: "CAP_SYS_CHROOT", bit: 18 });
const SYS_PTRACE: Option<Cap> = Some(Cap { name: "CAP_SYS_PTRACE", bit: 19 });
const SYS_PACCT: Option<Cap> = Some(Cap { name: "CAP_SYS_PACCT", bit: 20 });
const SYS_BOOT: Option<Cap> = Some(Cap { name: "CAP_SYS_BOOT", bit: 22 });
const SYS_NICE: Option<Cap> = Some(Cap { name: "CAP_SYS_NICE", bit: 23 });
const SYS_TIME: Option<Cap> = Some(Cap { name: "CAP_SYS_TIME", bit: 25 });
const SYS_TTY_CONFIG: Option<Cap> = Some(Cap { name: "CAP_SYS_TTY_CONFIG", bit: 26 });
const AUDIT_WRITE: Option<Cap> = Some(Cap { name: "CAP_AUDIT_WRITE", bit: 29 });
const SYSLOG: Option<Cap> = Some(Cap { name: "CAP_SYSLOG", bit: 34 });
const PERFMON: Option<Cap> = Some(Cap { name: "CAP_PERFMON", bit: 38 });
const BPF: Option<Cap> = Some(Cap { name: "CAP_BPF", bit: 39 });

/// Refused as the kernel refuses an unprivileged caller.
const EPERM: SyscallAction = SyscallAction::Errno(libc::EPERM);

/// A C `int` argument equals `value`: compares the low 32 bits and ignores the rest, as the kernel does.
const fn int(arg: u8, value: u64) -> Cond {
    Cond { arg, op: CompareOp::MaskedEq, mask: 0xffff_ffff, value }
}

/// Of the bits of `mask`, exactly the bits of `value` are set.
const fn bits(arg: u8, mask: u64, value: u64) -> Cond {
    Cond { arg, op: CompareOp::MaskedEq, mask, value }
}

const fn rule(syscall: &'static str, when: &'static [Cond], action: SyscallAction) -> ArgumentRule {
    ArgumentRule { syscall, caps: None, when, action }
}

const fn rule_with(caps: Option<Cap>, syscall: &'static str, when: &'static [Cond]) -> ArgumentRule {
    ArgumentRule { syscall, caps, when, action: SyscallAction::Allow }
}

/// The `CLONE_NEW*` flags of clone(2): mount, cgroup, uts, ipc, user, pid, network. `CLONE_NEWTIME` shares
/// its bit with the exit signal of clone(2); only unshare(2) and clone3(2) accept it.
const CLONE_NEW: u64 = 0x7e02_0000;

/// ioctl(2) requests; the numbers are the same on every supported architecture.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const TIOCSETD: u64 = 0x5423;

const AF_UNIX: u64 = libc::AF_UNIX as u64;
const AF_INET: u64 = libc::AF_INET as u64;
const AF_INET6: u64 = libc::AF_INET6 as u64;
const AF_NETLINK: u64 = libc::AF_NETLINK as u64;
const AF_PACKET: u64 = libc::AF_PACKET as u64;
const NETLINK_ROUTE: u64 = libc::NETLINK_ROUTE as u64;
const NETLINK_AUDIT: u64 = libc::NETLINK_AUDIT as u64;

/// Allowed socket types (socket(2)) and their protocols.
const STREAM: u64 = libc::SOCK_STREAM as u64;
const DGRAM: u64 = libc::SOCK_DGRAM as u64;
const RAW: u64 = libc::SOCK_RAW as u64;
const TCP: u64 = libc::IPPROTO_TCP as u64;
const UDP: u64 = libc::IPPROTO_UDP as u64;
const ICMP: u64 = libc::IPPROTO_ICMP as u64;
const ICMPV6: u64 = libc::IPPROTO_ICMPV6 as u64;

/// The type of a socket, without SOCK_CLOEXEC and SOCK_NONBLOCK: the kernel reads the low four bits.
const fn kind(of: u64) -> Cond {
    bits(1, 0xf, of)
}

/// The errno of a kernel without the address family; programs fall back, for example from IPv6 to IPv4.
const NO_FAMILY: SyscallAction = SyscallAction::Errno(libc::EAFNOSUPPORT);
/// The errno of a kernel without that netlink protocol; for libaudit it means that there is no audit.
const NO_PROTOCOL: SyscallAction = SyscallAction::Errno(libc::EPROTONOSUPPORT);

/// A group that is allowed by number alone.
const fn allow(name: &'static str, doc: &'static str, syscalls: &'static [&'static str]) -> Group {
    Group { name, doc, caps: None, action: SyscallAction::Allow, syscalls, rules: &[] }
}

/// A group that is refused with `EPERM` without the capability.
const fn deny(
    name: &'static str,
    doc: &'static str,
    caps: Option<Cap>,
    syscalls: &'static [&'static str],
) -> Group {
    Group { name, doc, caps, action: EPERM, syscalls, rules: &[] }
}

/// A group that is refused with `ENOSYS` without the capability: the kernel does not return `EPERM` for it,
/// and programs have a fallback for a kernel without it.
const fn absent(
    name: &'static str,
    doc: &'static str,
    caps: Option<Cap>,
    syscalls: &'static [&'static str],
) -> Group {
    Group { name, doc, caps, action: SyscallAction::Errno(libc::ENOSYS), syscalls, rules: &[] }
}

/// The profile. It lists the names of all architectures; names that the native one lacks are skipped.
#[rustfmt::skip] // one name per line would hide the groups
pub static GROUPS: &[Group] = &[
    // ---- what programs need ----
    allow(
        "io",
        "reading and writing through file descriptors; the file system checked the open",
        &[
            "close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "fadvise64", "fallocate",
            "fcntl", "fdatasync", "flock", "fsync", "ftruncate", "lseek", "pipe", "pipe2", "pread64",
            "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readv", "sendfile",
            "splice", "sync", "sync_file_range", "syncfs", "tee", "truncate", "vmsplice", "write", "writev",
        ],
    ),
    allow(
        "paths",
        "names in the container's own mount namespace, guarded by ownership and read-only mounts",
        &[
            "access", "cachestat", "chdir", "chmod", "chown", "creat", "faccessat", "faccessat2", "fchdir",
            "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "file_getattr", "file_setattr", "fstat",
            "fstatfs", "futimesat", "getcwd", "getdents", "getdents64", "lchown", "link", "linkat",
            "listmount", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "open", "openat",
            "openat2", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "stat", "statfs",
            "statmount", "statx", "symlink", "symlinkat", "umask", "unlink", "unlinkat", "utime", "utimensat",
            "utimes",
        ],
    ),
    allow(
        "xattr",
        "extended attributes; the trusted and security namespaces are guarded by capabilities",
        &[
            "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr",
            "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr",
            "removexattrat", "setxattr", "setxattrat",
        ],
    ),
    allow(
        "waiting",
        "waiting for descriptors, files, signals and timers",
        &[
            "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
            "eventfd", "eventfd2", "fanotify_mark", "inotify_add_watch", "inotify_init", "inotify_init1",
            "inotify_rm_watch", "poll", "ppoll", "pselect6", "select", "signalfd", "signalfd4",
            "timerfd_create", "timerfd_gettime", "timerfd_settime",
        ],
    ),
    Group {
        name: "aio",
        doc: "fs.aio-max-nr is one limit for the whole host, and one container could use it up; nginx, \
              MySQL and MariaDB fall back to threads on ENOSYS",
        caps: None,
        action: SyscallAction::Errno(libc::ENOSYS),
        syscalls: &["io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit"],
        rules: &[],
    },
    allow(
        "memory",
        "a process's own address space",
        &[
            "brk", "madvise", "map_shadow_stack", "membarrier", "memfd_create",
            "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal",
            "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect",
            "process_mrelease", "remap_file_pages",
        ],
    ),
    allow(
        "processes",
        "creating, executing and ending processes and threads of the container's own pid namespace",
        &[
            "arch_prctl", "execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue",
            "futex_wait", "futex_waitv", "futex_wake", "get_robust_list", "get_thread_area", "getcpu",
            "getpgid", "getpgrp", "getpid", "getppid", "getsid", "gettid", "pidfd_open", "pidfd_send_signal",
            "prctl", "restart_syscall", "riscv_flush_icache", "riscv_hwprobe", "rseq", "set_robust_list",
            "set_thread_area", "set_tid_address", "setpgid", "setsid", "uretprobe", "vfork", "wait4", "waitid",
        ],
    ),
    allow(
        "scheduling",
        "priorities and limits; without capabilities the kernel only allows to lower them",
        &[
            "getpriority", "getrlimit", "getrusage", "ioprio_get", "ioprio_set", "prlimit64",
            "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
            "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
            "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "setpriority",
            "setrlimit", "sysinfo", "times", "uname",
        ],
    ),
    allow(
        "signals",
        "signals within the container's own pid namespace",
        &[
            "kill", "pause", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
            "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sigaltstack", "tgkill",
            "tkill",
        ],
    ),
    allow(
        "time",
        "reading clocks and setting own timers; every process may read with adjtimex(2), and to set the \
         clock the kernel requires CAP_SYS_TIME over the host",
        &[
            "adjtimex", "alarm", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday",
            "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun",
            "timer_gettime", "timer_settime",
        ],
    ),
    allow(
        "identity",
        "ids and capabilities; the capability sets and the id maps limit which ids a process can take",
        &[
            "capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid",
            "getuid", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid",
            "setreuid", "setuid",
        ],
    ),
    allow(
        "ipc",
        "System V and POSIX IPC of the container's own ipc namespace",
        &[
            "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl",
            "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl",
            "shmdt", "shmget",
        ],
    ),
    allow(
        "sandboxing",
        "random numbers, and dropping privileges: a program may confine itself further",
        &[
            "getrandom", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
        ],
    ),
    allow(
        "sockets",
        "communication through existing sockets; socket-families decides which sockets can be created",
        &[
            "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
            "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
        ],
    ),
    // ---- decided by arguments ----
    Group {
        name: "socket-families",
        doc: "an allow-list: rarely used families (AF_ALG, AF_VSOCK, AF_TIPC, ...) and protocols (SCTP, DCCP, \
              MPTCP, UDP-Lite, ...) autoload rarely reviewed kernel modules, a frequent source of privilege \
              escalation",
        caps: None,
        action: SyscallAction::Allow,
        syscalls: &[],
        rules: &[
            rule("socket", &[int(0, AF_UNIX)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET), kind(STREAM), int(2, 0)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET), kind(STREAM), int(2, TCP)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET), kind(DGRAM), int(2, 0)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET), kind(DGRAM), int(2, UDP)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET), kind(DGRAM), int(2, ICMP)], SyscallAction::Allow),
            rule_with(NET_RAW, "socket", &[int(0, AF_INET), kind(RAW)]),
            // The errno of the kernel for an unprivileged caller.
            rule("socket", &[int(0, AF_INET), kind(RAW)], EPERM),
            rule("socket", &[int(0, AF_INET)], NO_PROTOCOL),
            rule("socket", &[int(0, AF_INET6), kind(STREAM), int(2, 0)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET6), kind(STREAM), int(2, TCP)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET6), kind(DGRAM), int(2, 0)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET6), kind(DGRAM), int(2, UDP)], SyscallAction::Allow),
            rule("socket", &[int(0, AF_INET6), kind(DGRAM), int(2, ICMPV6)], SyscallAction::Allow),
            rule_with(NET_RAW, "socket", &[int(0, AF_INET6), kind(RAW)]),
            rule("socket", &[int(0, AF_INET6), kind(RAW)], EPERM),
            rule("socket", &[int(0, AF_INET6)], NO_PROTOCOL),
            rule("socket", &[int(0, AF_NETLINK), int(2, NETLINK_ROUTE)], SyscallAction::Allow),
            rule_with(AUDIT_WRITE, "socket", &[int(0, AF_NETLINK), int(2, NETLINK_AUDIT)]),
            rule_with(NET_ADMIN, "socket", &[int(0, AF_NETLINK)]),
            rule("socket", &[int(0, AF_NETLINK)], NO_PROTOCOL),
            rule_with(NET_RAW, "socket", &[int(0, AF_PACKET)]),
            rule("socket", &[], NO_FAMILY),
            // Of the allowed families only AF_UNIX supports socketpair; for the others the kernel returns
            // EOPNOTSUPP.
            rule("socketpair", &[int(0, AF_UNIX)], SyscallAction::Allow),
            // The kernel would create the sockets, and load the protocol's module, before it returns the
            // error.
            rule("socketpair", &[int(0, AF_INET)], SyscallAction::Errno(libc::EOPNOTSUPP)),
            rule("socketpair", &[int(0, AF_INET6)], SyscallAction::Errno(libc::EOPNOTSUPP)),
            rule("socketpair", &[], NO_FAMILY),
        ],
    },
    Group {
        name: "terminal-injection",
        doc: "TIOCSTI and TIOCLINUX insert characters into the caller's terminal input, which the shell \
              outside executes (CVE-2017-5226); the kernel reads the request as 32 bits (CVE-2019-10063); \
              TIOCSETD autoloads rarely reviewed line disciplines (CVE-2017-2636)",
        caps: None,
        action: SyscallAction::Allow,
        syscalls: &[],
        rules: &[
            rule("ioctl", &[int(1, TIOCSTI)], EPERM),
            rule("ioctl", &[int(1, TIOCLINUX)], EPERM),
            rule("ioctl", &[int(1, TIOCSETD)], EPERM),
            rule("ioctl", &[], SyscallAction::Allow),
        ],
    },
    Group {
        name: "personality",
        doc: "PER_LINUX, PER_LINUX32, each with UNAME26, and the query; not ADDR_NO_RANDOMIZE or \
              READ_IMPLIES_EXEC, which weaken every program executed later",
        caps: None,
        action: SyscallAction::Allow,
        syscalls: &[],
        rules: &[
            rule("personality", &[int(0, 0)], SyscallAction::Allow),
            rule("personality", &[int(0, 0x8)], SyscallAction::Allow),
            rule("personality", &[int(0, 0x2_0000)], SyscallAction::Allow),
            rule("personality", &[int(0, 0x2_0008)], SyscallAction::Allow),
            rule("personality", &[int(0, 0xffff_ffff)], SyscallAction::Allow),
            rule("personality", &[], EPERM),
        ],
    },
    Group {
        name: "namespaces",
        doc: "a new user namespace grants every capability over kernel code that was written for root only (CVE-2022-0185, CVE-2024-1086)",
        caps: SYS_ADMIN,
        action: EPERM,
        syscalls: &["setns", "unshare"],
        rules: &[
            rule_with(SYS_ADMIN, "clone", &[]),
            rule("clone", &[bits(0, CLONE_NEW, 0)], SyscallAction::Allow),
            rule("clone", &[], EPERM),
            // clone3 takes its flags through a pointer, which a filter cannot read. On ENOSYS libc falls back
            // to clone; it would take EPERM as the final result.
            rule_with(SYS_ADMIN, "clone3", &[]),
            rule("clone3", &[], SyscallAction::Errno(libc::ENOSYS)),
        ],
    },
    // ---- refused without the capability that the kernel requires ----
    deny(
        "mount",
        "the mount table isolates the container: masks and read-only paths are mounts",
        SYS_ADMIN,
        &[
            "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
            "open_tree_attr", "pivot_root", "umount", "umount2",
        ],
    ),
    deny(
        "administration",
        "host-wide settings: names, quotas, file-system-wide watching",
        SYS_ADMIN,
        &["fanotify_init", "quotactl", "quotactl_fd", "setdomainname", "sethostname"],
    ),
    deny("chroot", "a root process that can call chroot can escape from a chroot", SYS_CHROOT, &["chroot"]),
    deny(
        "file-handles",
        "opening by handle bypasses the path and with it the rootfs (the \"shocker\" escape)",
        DAC_READ_SEARCH,
        &["open_by_handle_at"],
    ),
    absent("file-handle-names", "a file handle is useless without the right to open it", DAC_READ_SEARCH, &["name_to_handle_at"]),
    deny(
        "tracing",
        "ptrace(2) is kernel attack surface: a large interface that few programs use, with a history of \
         escalations (CVE-2019-13272). Blocking it does not separate processes of one user: they can write \
         /proc/PID/mem. \
         strace, gdb and LeakSanitizer need it: --allow ptrace",
        SYS_PTRACE,
        &["ptrace"],
    ),
    absent(
        "tracing-others",
        "memory and descriptors of other processes, with the access rules of ptrace(2); --allow ptrace allows them too",
        SYS_PTRACE,
        &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"],
    ),
    deny("bpf", "a compiler and verifier in the kernel, the source of many escalations", BPF, &["bpf"]),
    deny("perf", "performance counters: a large parser and a side channel", PERFMON, &["perf_event_open"]),
    deny("modules", "loads code into the kernel", SYS_MODULE, &["delete_module", "finit_module", "init_module"]),
    deny("reboot", "ends the host, or the pid namespace", SYS_BOOT, &["reboot"]),
    deny("accounting", "writes a log of every process that ends on the host", SYS_PACCT, &["acct"]),
    deny(
        "clock",
        "the clocks are shared with the host",
        SYS_TIME,
        &["clock_settime", "settimeofday"],
    ),
    deny("raw-io", "I/O ports give direct access to hardware", SYS_RAWIO, &["ioperm", "iopl"]),
    deny("kernel-log", "shows kernel addresses and messages about other containers", SYSLOG, &["syslog"]),
    deny("hangup", "hangs up the terminal of other processes", SYS_TTY_CONFIG, &["vhangup"]),
    absent(
        "numa",
        "NUMA placement of memory: can slow down other processes and reveal facts about their pages. All or \
         none of the calls are refused, because libnuma calls get_mempolicy(2) to detect NUMA",
        SYS_NICE,
        &["get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy", "set_mempolicy_home_node"],
    ),
    // ---- always refused ----
    absent(
        "io-uring",
        "performs most system calls without seccomp seeing them; a frequent source of escalations",
        None,
        &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    ),
    absent("keyring", "kernel keyrings are not namespaced", None, &["add_key", "keyctl", "request_key"]),
    absent(
        "userfaultfd",
        "stops the kernel in the middle of a copy: exploits use it to win races",
        None,
        &["userfaultfd"],
    ),
    deny("kexec", "replaces the running kernel", None, &["kexec_file_load", "kexec_load"]),
    deny("swap", "swap areas belong to the host", None, &["swapoff", "swapon"]),
    absent(
        "obsolete",
        "obsolete calls that the kernel keeps for old programs; rarely tested",
        None,
        &[
            "_sysctl", "create_module", "get_kernel_syms", "lookup_dcookie", "modify_ldt", "nfsservctl",
            "query_module", "sysfs", "uselib", "ustat", "vm86", "vm86old",
        ],
    ),
];
