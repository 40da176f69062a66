//! What the helper gives up before the program starts: it reads what a hostile program sends.
//!
//! | layer | what is left |
//! | --- | --- |
//! | user | root's helper is [`USER`]; an unprivileged caller's is that user, in a user namespace of its own |
//! | capabilities | none, in all five sets |
//! | no_new_privs | set |
//! | files | none: Landlock with no rule, where the kernel has it, and no system call that opens one |
//! | system calls | those of the loop; every other one ends the helper |
//! | limits | descriptors, memory, no core |

use std::sync::Arc;

use super::pipe;
use crate::config::LinuxSeccomp;
use crate::error::{Error, Result};
use crate::seccomp::{self, FilterSource};
use crate::sys::rlimit::{self, RlimitPair};
use crate::sys::{Errno, cred, landlock, process};
use crate::tables::landlock::{SCOPES, all};

/// The user and group of the helper that root starts: no other program has this id.
pub const USER: u32 = 65_531;

/// The most descriptors: two for each connection and each pipe, the sockets that connect inside, and some for the rest.
pub const FILES: u64 =
    2 * (super::MOST_CONNECTIONS + super::pipe::MOST_PIPES) as u64 + super::DIALLERS as u64 + 160;

/// The most memory of its own in bytes. What connections hold is far less: 64 KiB for each direction that waits for a
/// slow reader. Pipes are the kernel's memory: 8 MiB where all of them are full.
pub const MEMORY: u64 = 512 << 20;

/// System calls of the loop, of the allocator, and of an orderly end.
const CALLS: [&str; 40] = [
    "accept4",
    "brk",
    "clock_gettime",
    "close",
    "connect",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "lseek",
    "madvise",
    "mremap",
    "munmap",
    "pipe2",
    "poll",
    "ppoll",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "splice",
    "tgkill",
    "write",
    "writev",
];

/// The helper's filter: compiled once, and the first time before the launch begins, since that takes system calls.
pub fn filter() -> Result<Vec<libc::sock_filter>> {
    static COMPILED: std::sync::OnceLock<Vec<libc::sock_filter>> = std::sync::OnceLock::new();
    if let Some(filter) = COMPILED.get() {
        return Ok(filter.clone());
    }
    let filter = compile()?;
    Ok(COMPILED.get_or_init(|| filter).clone())
}

fn compile() -> Result<Vec<libc::sock_filter>> {
    let family = |family: i32| {
        serde_json::json!({
            "names": ["socket"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": 0xffff_ffff_u64, "valueTwo": family, "op": "SCMP_CMP_MASKED_EQ" }],
        })
    };
    // What the standard library asks of a descriptor before it closes it, in a debug build.
    let looks = serde_json::json!({
        "names": ["fcntl"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 1, "value": 0xffff_ffff_u64, "valueTwo": libc::F_GETFD, "op": "SCMP_CMP_MASKED_EQ" }],
    });
    // A pipe is as the kernel makes it, or a large one.
    let size = |bytes: usize| {
        serde_json::json!({
            "names": ["fcntl"],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                { "index": 1, "value": 0xffff_ffff_u64, "valueTwo": libc::F_SETPIPE_SZ, "op": "SCMP_CMP_MASKED_EQ" },
                { "index": 2, "value": 0xffff_ffff_u64, "valueTwo": bytes, "op": "SCMP_CMP_MASKED_EQ" },
            ],
        })
    };
    // The helper's own cpus.
    let own_cpus = serde_json::json!({
        "names": ["sched_getaffinity", "sched_setaffinity"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 0, "value": 0xffff_ffff_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
    });
    let not_executable = serde_json::json!({
        "names": ["mmap"],
        "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 2, "value": libc::PROT_EXEC, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
    });
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [
            { "names": &CALLS[..], "action": "SCMP_ACT_ALLOW" },
            family(libc::AF_INET),
            family(libc::AF_INET6),
            looks,
            size(pipe::SMALL),
            size(pipe::LARGE),
            own_cpus,
            not_executable,
        ],
    });
    let profile: LinuxSeccomp = serde_json::from_value(profile)
        .map_err(|e| Error::msg(format!("the network helper's filter: {e}")))?;
    Ok(seccomp::compile(&FilterSource::Profile(Arc::new(profile)))?.instructions)
}

/// A step that failed, in words.
pub type HardenFailure = (&'static str, Errno);

/// Gives everything up. `with_launcher`: the kernel ends it with the launcher.
pub fn harden(
    user: Option<u32>,
    with_launcher: bool,
    filter: &[libc::sock_filter],
) -> std::result::Result<(), HardenFailure> {
    let step = |what: &'static str| move |e: Errno| (what, e);
    let prctl = |op, value| process::prctl(op, value).map(drop);
    limits()?;
    if let Some(id) = user {
        cred::setgroups(&[]).map_err(step("setgroups"))?;
        cred::setresgid(id).map_err(step("setresgid"))?;
        cred::setresuid(id).map_err(step("setresuid"))?;
    } else {
        process::unshare(libc::CLONE_NEWUSER as u64).map_err(step("unshare(CLONE_NEWUSER)"))?;
    }
    // A new user namespace has brought all of them.
    if user.is_none() {
        cred::limit_bounding(0).map_err(step("prctl(PR_CAPBSET_DROP)"))?;
    }
    cred::capset(0, 0, 0).map_err(step("capset"))?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(step("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    prctl(libc::PR_SET_DUMPABLE, 0).map_err(step("prctl(PR_SET_DUMPABLE)"))?;
    if with_launcher {
        // After the change of the user, which clears it.
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).map_err(step("prctl(PR_SET_PDEATHSIG)"))?;
    }
    no_files()?;
    crate::sys::seccomp::set_filter(filter, 0).map(drop).map_err(step("seccomp"))
}

fn limits() -> std::result::Result<(), HardenFailure> {
    let set = |resource, most: u64, what: &'static str| {
        let had = rlimit::started_with(resource).map_err(|e| (what, e))?;
        let most = most.min(had.hard);
        rlimit::set(0, resource, RlimitPair { soft: most, hard: most }).map_err(|e| (what, e))
    };
    set(libc::RLIMIT_NOFILE, FILES, "prlimit64(RLIMIT_NOFILE)")?;
    set(libc::RLIMIT_DATA, MEMORY, "prlimit64(RLIMIT_DATA)")?;
    set(libc::RLIMIT_CORE, 0, "prlimit64(RLIMIT_CORE)")
}

fn no_files() -> std::result::Result<(), HardenFailure> {
    let abi = landlock::abi();
    if abi == 0 {
        return Ok(());
    }
    let scopes = if abi >= 6 { SCOPES } else { 0 };
    let ruleset = landlock::create(all(abi), scopes, abi).map_err(|e| ("landlock_create_ruleset", e))?;
    let restricted = landlock::restrict(ruleset).map_err(|e| ("landlock_restrict_self", e));
    crate::sys::fs::close(ruleset);
    restricted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each layer alone, behind a filter that lets everything pass: what the loop's filter keeps from the others shows.
    #[test]
    fn without_its_filter_it_has_no_file_and_no_right() {
        if landlock::abi() == 0 {
            return;
        }
        let all = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
        let root = nix::unistd::geteuid().is_root();
        let life = |user: Option<u32>| {
            // A caller's group, which must go.
            if user.is_some() && cred::setgroups(&[4242]).is_err() {
                return 1;
            }
            if harden(user, true, &all).is_err() {
                // A machine without user namespaces.
                return if user.is_some() { 2 } else { 0 };
            }
            let open = crate::sys::fs::openat(libc::AT_FDCWD, c"/", libc::O_RDONLY, 0);
            let checks = [
                open == Err(Errno::EACCES),
                cred::capget().is_ok_and(|(effective, permitted, _)| effective | permitted == 0),
                user.is_some() || cred::bounding() == 0,
                process::death_signal() == Ok(libc::SIGKILL),
                process::prctl(libc::PR_GET_DUMPABLE, 0) == Ok(0),
                process::prctl(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1),
                user.is_none_or(|id| cred::effective_uid() == id),
                user.is_none() || cred::groups_are(&[]) == Ok(true),
                rlimit::started_with(libc::RLIMIT_DATA).is_ok_and(|limit| limit.hard <= MEMORY),
                rlimit::started_with(libc::RLIMIT_NOFILE).is_ok_and(|limit| limit.hard <= FILES),
                rlimit::started_with(libc::RLIMIT_CORE).is_ok_and(|limit| limit.hard == 0),
            ];
            checks.iter().position(|good| !good).map_or(0, |i| 10 + i as i32)
        };
        for user in [root.then_some(USER), None] {
            let pid = process::fork_run(|| life(user)).unwrap();
            let (_, exit) = process::wait(pid, 0).unwrap().unwrap();
            assert_eq!(exit, process::ProcessExit::Code(0), "{user:?}; 10 is the first check");
        }
    }

    /// fcntl(2) gives a pipe one of its two sizes, and nothing else.
    #[test]
    fn the_filter_lets_pipes_have_two_sizes() {
        let filter = filter().unwrap();
        let life = |command: i32, argument: usize| {
            let Ok((_, write)) = crate::sys::net::pipe() else { return 1 };
            let fd = std::os::fd::AsRawFd::as_raw_fd(&write);
            if process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).is_err()
                || crate::sys::seccomp::set_filter(&filter, 0).is_err()
            {
                return 2;
            }
            match command {
                libc::F_SETPIPE_SZ => i32::from(crate::sys::net::resize_pipe(fd, argument).is_err()) * 3,
                _ => i32::from(nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_GETFL).is_err()) * 3,
            }
        };
        for (command, argument, passes) in [
            (libc::F_SETPIPE_SZ, pipe::SMALL, true),
            (libc::F_SETPIPE_SZ, pipe::LARGE, true),
            (libc::F_SETPIPE_SZ, pipe::SMALL / 2, false),
            (libc::F_SETPIPE_SZ, pipe::LARGE / 2, false),
            (libc::F_GETFL, 0, false),
        ] {
            let pid = process::fork_run(|| life(command, argument)).unwrap();
            let (_, exit) = process::wait(pid, 0).unwrap().unwrap();
            let expect = if passes {
                process::ProcessExit::Code(0)
            } else {
                process::ProcessExit::Signal(libc::SIGSYS)
            };
            assert_eq!(exit, expect, "{command} {argument}");
        }
    }

    /// sched_setaffinity(2) moves the helper, and no other process of its user.
    #[test]
    fn the_filter_lets_it_choose_its_own_cpus_only() {
        let filter = filter().unwrap();
        let cpus = crate::sys::sched::affinity().unwrap();
        let life = |pid: i32| {
            if process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).is_err()
                || crate::sys::seccomp::set_filter(&filter, 0).is_err()
            {
                return 2;
            }
            match pid {
                0 => i32::from(crate::sys::sched::sched_setaffinity(&cpus).is_err()) * 3,
                pid => {
                    let pid = nix::unistd::Pid::from_raw(pid);
                    i32::from(nix::sched::sched_setaffinity(pid, &nix::sched::CpuSet::new()).is_err())
                }
            }
        };
        let passes = process::ProcessExit::Code(0);
        for (pid, expect) in [(0, passes), (1, process::ProcessExit::Signal(libc::SIGSYS))] {
            let child = process::fork_run(|| life(pid)).unwrap();
            let (_, exit) = process::wait(child, 0).unwrap().unwrap();
            assert_eq!(exit, expect, "{pid}");
        }
    }

    #[test]
    fn the_filter_knows_every_call_of_its_table() {
        let filter = filter().unwrap();
        assert!(filter.len() > CALLS.len(), "{}", filter.len());
    }
}
