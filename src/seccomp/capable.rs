//! System calls for which the kernel requires a capability as well: allowing them in the filter alone changes nothing.

use super::builtin::GROUPS;
use crate::tables::capabilities::{self, CapSet};

/// A capability that the kernel requires for a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Name without `CAP_`, as `--cap-add` takes it.
    pub cap: &'static str,
    /// It must be one over the host: in the initial user namespace, where `--allow host-user` runs a container.
    pub over_host: bool,
}

const fn own(cap: &'static str) -> Needed {
    Needed { cap, over_host: false }
}

const fn host(cap: &'static str) -> Needed {
    Needed { cap, over_host: true }
}

/// The system calls and what each requires (capabilities(7); `ns_capable` and `capable` in the kernel's source). Calls
/// that some callers may make without it (unshare, ptrace, perf_event_open, mbind, fanotify_init) are not here.
const NEEDED: &[(Needed, &[&str])] = &[
    (
        own("SYS_ADMIN"),
        &[
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "mount",
            "mount_setattr",
            "move_mount",
            "pivot_root",
            "setdomainname",
            "sethostname",
            "setns",
            "umount",
            "umount2",
        ],
    ),
    (own("SYS_CHROOT"), &["chroot"]),
    (own("SYS_BOOT"), &["reboot"]),
    (host("DAC_READ_SEARCH"), &["open_by_handle_at"]),
    (host("BPF"), &["bpf"]),
    (host("SYS_MODULE"), &["delete_module", "finit_module", "init_module"]),
    (host("SYS_PACCT"), &["acct"]),
    (host("SYS_TIME"), &["clock_settime", "settimeofday"]),
    (host("SYS_RAWIO"), &["ioperm", "iopl"]),
    (host("SYSLOG"), &["syslog"]),
    (host("SYS_TTY_CONFIG"), &["vhangup"]),
    (host("SYS_BOOT"), &["kexec_file_load", "kexec_load"]),
    (host("SYS_ADMIN"), &["swapoff", "swapon"]),
];

/// What the kernel requires for this system call, whatever the filter says.
pub fn needed(call: &str) -> Option<Needed> {
    NEEDED.iter().find(|(_, calls)| calls.contains(&call)).map(|(needed, _)| *needed)
}

/// The flags that allow a system call to a container with these capabilities: `--seccomp-allow NAME`, or the capability
/// that it lacks, with which the profile allows the call, too.
pub fn remedy(call: &str, held: CapSet) -> String {
    let filter = format!("--seccomp-allow {call}");
    let Some(needed) = needed(call) else { return filter };
    let Some(flags) = needed.lacking(held) else { return filter };
    let opens = GROUPS.iter().any(|group| group.caps.is_some() && group.syscalls.contains(&call));
    let filter = if opens { String::new() } else { format!("{filter} with ") };
    format!("{filter}{flags}: the kernel requires CAP_{} for it, whatever the filter says", needed.cap)
}

impl Needed {
    /// The flags that give the capability; `None`: the container has it.
    pub fn lacking(self, held: CapSet) -> Option<String> {
        let has = capabilities::parse(self.cap).is_some_and(|bit| held.has(bit));
        let user = if self.over_host { " --allow host-user" } else { "" };
        (!has).then(|| format!("--cap-add {}{user}", self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{builtin_profile, weakens};

    #[test]
    fn every_call_is_one_that_the_profile_refuses_without_that_capability() {
        for (needed, calls) in NEEDED {
            let name = format!("CAP_{}", needed.cap);
            for call in *calls {
                // Names of other architectures are unknown here.
                assert_ne!(weakens(call), Ok(None), "{call}");
                let group = builtin_profile().iter().find(|group| group.syscalls.contains(call));
                let group = group.unwrap_or_else(|| panic!("{call} is in no group"));
                assert!(group.caps.is_none_or(|cap| cap.name == name), "{call}: {name}");
            }
        }
    }

    #[test]
    fn a_remedy_names_the_capability_that_lacks() {
        assert_eq!(
            remedy("mount", CapSet::EMPTY),
            "--cap-add SYS_ADMIN: the kernel requires CAP_SYS_ADMIN for it, whatever the filter says"
        );
        assert_eq!(remedy("mount", CapSet::EMPTY.with(21)), "--seccomp-allow mount");
        assert_eq!(remedy("userfaultfd", CapSet::EMPTY), "--seccomp-allow userfaultfd");
        assert!(
            remedy("swapon", CapSet::EMPTY)
                .starts_with("--seccomp-allow swapon with --cap-add SYS_ADMIN --allow host-user: ")
        );
    }
}
