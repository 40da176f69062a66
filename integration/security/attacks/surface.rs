//! Kernel attack surface of a process inside: system calls, cgroups, terminals.

use serde_json::json;

use super::build_probe;
use crate::harness::{Sandbox, case};

/// CVE-2022-0185, CVE-2024-1086: attack surface of user namespaces and io_uring.
#[case(Root, Probe)]
fn the_kernel_s_surface_is_closed_with_the_documented_errnos() {
    let sb = Sandbox::new().args(["/bin/probe", "surface"]);
    build_probe(&sb);
    let out = sb.run().output().ok();
    let (eperm, enosys) = (nix::libc::EPERM, nix::libc::ENOSYS);
    let want = [
        ("unshare_user", eperm),
        ("clone_user", eperm),
        ("clone_mnt_high", eperm),
        ("clone3", enosys),
        ("io_uring_setup", enosys),
        ("bpf", eperm),
        ("userfaultfd", enosys),
        ("perf_event_open", eperm),
        ("keyctl", enosys),
        ("mount", eperm),
        ("fsopen", eperm),
        ("unshare_cgroup", eperm),
        ("mount_cgroup", eperm),
        ("ptrace_unknown", enosys),
        ("vsock", nix::libc::EAFNOSUPPORT),
        ("vsock_high", nix::libc::EAFNOSUPPORT),
        ("packet", nix::libc::EAFNOSUPPORT),
        ("tiocsti", eperm),
        ("tiocsti_high", eperm),
        ("tioclinux", eperm),
        ("tioclinux_high", eperm),
    ];
    let want: String = want.iter().map(|(name, errno)| format!("{name} {errno}\n")).collect();
    assert_eq!(out.stdout, want, "{out}");
    // Entry points with other system call tables: the process is killed.
    if cfg!(target_arch = "x86_64") {
        for entry in ["x32", "i386"] {
            let out = sb.runtime().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.id());
            let out = out.args(["--", "/bin/probe", entry]).output();
            assert!(out.code == 128 + nix::libc::SIGSYS && out.stdout.is_empty(), "{entry}\n{out}");
        }
    }
}

/// CVE-2017-5226: the kernel ignores the request's high half, so the filter must too.
#[case(Root, Probe)]
fn a_terminal_takes_no_injected_input() {
    use nix::pty::openpty;
    let sb = Sandbox::new().args(["/bin/probe", "inject"]);
    build_probe(&sb);
    let pty = openpty(None, None).expect("a pty");
    let slave = pty.slave.try_clone().expect("dup");
    let out = sb.run().with(move |c| _ = c.stdin(slave)).output();
    let refused = nix::libc::EPERM;
    let mut text = out.stdout.replace('\r', "");
    if text.is_empty() {
        text = out.stderr.clone();
    }
    assert_eq!(text, format!("tiocsti {refused}\ntiocsti_high {refused}\n"), "{out}");
    // Nothing was inserted into the caller's input.
    use std::os::fd::AsFd;
    let mut waiting = [nix::poll::PollFd::new(pty.slave.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(
        nix::poll::poll(&mut waiting, nix::poll::PollTimeout::ZERO).expect("poll"),
        0,
        "input was injected"
    );
}

/// CVE-2023-25809.
#[case(Root)]
fn cgroups_cannot_be_written_inside() {
    let script = "for d in $(find /sys/fs/cgroup -type d); do \
                  mkdir $d/evil 2>&1; echo 1 2>&1 > $d/cgroup.procs; echo max 2>&1 > $d/pids.max; done; \
                  find /sys/fs/cgroup -name evil; mount | grep /sys/fs/cgroup | grep -v '[(,]ro[,)]'; true";
    let sb = Sandbox::new().sh(&format!("{{ {script}; }} 2>&1"));
    for out in super::both(&sb) {
        let out = out.ok();
        assert!(out.stdout.contains("Read-only file system"), "{out}");
        let other = out.stdout.lines().filter(|l| !l.contains("Read-only file system"));
        let other: Vec<_> = other.filter(|l| !l.contains("nonexistent directory")).collect();
        assert!(other.is_empty(), "not read-only: {other:?}\n{out}");
    }
    // The config requests a writable one; the hardened container gets none.
    let mount =
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]});
    let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
    let out = sb.patch("/mounts", json!([proc, mount])).run().output().ok();
    assert!(out.stdout.contains("Read-only file system") && !out.stdout.contains("evil\n"), "{out}");
}

/// CVE-2022-0492.
#[case(Root)]
fn release_agent_is_out_of_reach() {
    let script = "for how in '-UrC' '-UrCm' '-Cm' '-m'; do \
                  unshare $how sh -c 'mkdir -p /tmp/c && mount -t cgroup -o rdma cgroup /tmp/c && \
                  echo /evil > /tmp/c/release_agent && echo reached' && echo unshared; done 2>&1; \
                  mount -t cgroup -o memory cgroup /tmp && echo reached; \
                  find /sys/fs/cgroup -name release_agent; true";
    let sb = Sandbox::new().sh(script);
    let out = sb.run().output().ok();
    assert!(!out.stdout.contains("reached") && !out.stdout.contains("unshared"), "{out}");
    assert!(!out.stdout.contains("release_agent\n"), "it is visible\n{out}");
    // As root of the container, with the config's capabilities.
    let out = sb.run_oci().output().ok();
    assert!(!out.stdout.contains("reached"), "{out}");
}
