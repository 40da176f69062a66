//! Layer: a system call filter.

use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::{TourLayer, always};

pub const LAYER: TourLayer = TourLayer {
    name: "seccomp",
    title: "a filter of system calls, loaded last",
    attack: "an unprivileged program creates a user namespace, in which it has every capability, and so reaches \
             parts of the kernel that were written for root",
    stopped: "the filter refuses the call before the kernel reads its arguments. `run` loads a list of the \
              allowed calls; the tour's filter lists only the refused ones.",
    apply: |config, _| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": [
                "unshare", "setns", "mount", "umount2", "pivot_root", "bpf", "ptrace", "keyctl", "add_key",
                "io_uring_setup", "userfaultfd", "perf_event_open", "open_by_handle_at", "kexec_load", "init_module",
            ], "action": "SCMP_ACT_ERRNO" }],
        });
    },
    arguments: |_| Vec::new(),
    perform: |_| match unshare(CloneFlags::CLONE_NEWUSER) {
        Ok(()) => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let caps =
                status.lines().find(|line| line.starts_with("CapEff")).unwrap_or_default().replace('\t', " ");
            Ok(format!("unshare(CLONE_NEWUSER): done, {caps}"))
        }
        Err(e) => Err(format!("unshare(CLONE_NEWUSER): {e}")),
    },
    also: &[],
    missing: always,
};
