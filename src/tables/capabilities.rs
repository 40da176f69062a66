//! The capabilities of capabilities(7) and a set of them.
//!
//! The crate caps, which the lessons use, is not as good here: its sets hold only the capabilities that it names, so one
//! of a newer kernel would be missing from what `verify` reports, and it parses `CAP_KILL` but not `kill`. A test
//! compares this table with it.

use std::fmt;

/// One row of [`CAPABILITIES`].
#[derive(Debug)]
pub struct CapabilityRow {
    /// Name in config.json, e.g. `CAP_CHOWN`.
    pub name: &'static str,
    /// Number in `linux/capability.h`.
    pub bit: u8,
    /// What it permits.
    pub doc: &'static str,
}

/// All capabilities of Linux 5.9 and later, row N being capability N.
pub const CAPABILITIES: [CapabilityRow; 41] = [
    CapabilityRow { name: "CAP_CHOWN", bit: 0, doc: "change the owner of any file" },
    CapabilityRow { name: "CAP_DAC_OVERRIDE", bit: 1, doc: "ignore file permission bits" },
    CapabilityRow {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        doc: "read any file and search any directory; also open_by_handle_at(2)",
    },
    CapabilityRow { name: "CAP_FOWNER", bit: 3, doc: "act as the owner of any file" },
    CapabilityRow {
        name: "CAP_FSETID",
        bit: 4,
        doc: "keep set-user-ID and set-group-ID bits when a file changes",
    },
    CapabilityRow { name: "CAP_KILL", bit: 5, doc: "send signals to any process" },
    CapabilityRow { name: "CAP_SETGID", bit: 6, doc: "take any group id and supplementary groups" },
    CapabilityRow { name: "CAP_SETUID", bit: 7, doc: "take any user id" },
    CapabilityRow {
        name: "CAP_SETPCAP",
        bit: 8,
        doc: "drop capabilities from the bounding set and change securebits",
    },
    CapabilityRow {
        name: "CAP_LINUX_IMMUTABLE",
        bit: 9,
        doc: "set and clear the immutable and append-only file flags",
    },
    CapabilityRow { name: "CAP_NET_BIND_SERVICE", bit: 10, doc: "bind ports below 1024" },
    CapabilityRow { name: "CAP_NET_BROADCAST", bit: 11, doc: "unused by the kernel" },
    CapabilityRow {
        name: "CAP_NET_ADMIN",
        bit: 12,
        doc: "configure interfaces, routes, firewalls and socket options",
    },
    CapabilityRow { name: "CAP_NET_RAW", bit: 13, doc: "open raw and packet sockets" },
    CapabilityRow { name: "CAP_IPC_LOCK", bit: 14, doc: "lock memory and use huge pages" },
    CapabilityRow { name: "CAP_IPC_OWNER", bit: 15, doc: "ignore permissions of System V IPC objects" },
    CapabilityRow { name: "CAP_SYS_MODULE", bit: 16, doc: "load and unload kernel modules" },
    CapabilityRow { name: "CAP_SYS_RAWIO", bit: 17, doc: "read and write ports and kernel memory" },
    CapabilityRow { name: "CAP_SYS_CHROOT", bit: 18, doc: "call chroot(2) and join mount namespaces" },
    CapabilityRow { name: "CAP_SYS_PTRACE", bit: 19, doc: "trace and read any process" },
    CapabilityRow { name: "CAP_SYS_PACCT", bit: 20, doc: "switch process accounting" },
    CapabilityRow {
        name: "CAP_SYS_ADMIN",
        bit: 21,
        doc: "mount, join namespaces and much else: close to root",
    },
    CapabilityRow { name: "CAP_SYS_BOOT", bit: 22, doc: "reboot, and load a new kernel" },
    CapabilityRow { name: "CAP_SYS_NICE", bit: 23, doc: "raise priorities and set realtime scheduling" },
    CapabilityRow { name: "CAP_SYS_RESOURCE", bit: 24, doc: "exceed and raise resource limits" },
    CapabilityRow { name: "CAP_SYS_TIME", bit: 25, doc: "set the system clock" },
    CapabilityRow { name: "CAP_SYS_TTY_CONFIG", bit: 26, doc: "configure and hang up terminals" },
    CapabilityRow { name: "CAP_MKNOD", bit: 27, doc: "create device nodes" },
    CapabilityRow { name: "CAP_LEASE", bit: 28, doc: "take leases on any file" },
    CapabilityRow { name: "CAP_AUDIT_WRITE", bit: 29, doc: "write to the kernel's audit log" },
    CapabilityRow { name: "CAP_AUDIT_CONTROL", bit: 30, doc: "configure auditing" },
    CapabilityRow {
        name: "CAP_SETFCAP",
        bit: 31,
        doc: "set file capabilities, and map uid 0 into a user namespace",
    },
    CapabilityRow { name: "CAP_MAC_OVERRIDE", bit: 32, doc: "override mandatory access control (Smack)" },
    CapabilityRow { name: "CAP_MAC_ADMIN", bit: 33, doc: "configure mandatory access control (Smack)" },
    CapabilityRow { name: "CAP_SYSLOG", bit: 34, doc: "read the kernel log and kernel addresses" },
    CapabilityRow { name: "CAP_WAKE_ALARM", bit: 35, doc: "set timers that wake the system" },
    CapabilityRow { name: "CAP_BLOCK_SUSPEND", bit: 36, doc: "prevent system suspend" },
    CapabilityRow { name: "CAP_AUDIT_READ", bit: 37, doc: "read the audit log over netlink" },
    CapabilityRow { name: "CAP_PERFMON", bit: 38, doc: "observe performance system-wide" },
    CapabilityRow { name: "CAP_BPF", bit: 39, doc: "load BPF programs" },
    CapabilityRow {
        name: "CAP_CHECKPOINT_RESTORE",
        bit: 40,
        doc: "checkpoint and restore processes; choose pids",
    },
];

/// The row of the capability `name`, with or without `CAP_` and in any case.
fn find(name: &str) -> Option<&'static CapabilityRow> {
    let short = match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    };
    CAPABILITIES.iter().find(|r| r.name[4..].eq_ignore_ascii_case(short))
}

/// The number of the capability `name`, with or without `CAP_` and in any case.
pub fn parse(name: &str) -> Option<u8> {
    find(name).map(|r| r.bit)
}

/// A set of capabilities: bit N is capability N, as in `/proc/PID/status` and capset(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: CapSet = CapSet(0);

    /// Every capability in [`CAPABILITIES`]: bits 0 to 40.
    pub const ALL: CapSet = CapSet((1 << CAPABILITIES.len()) - 1);

    /// The set with `bit` added.
    pub fn with(self, bit: u8) -> Self {
        CapSet(self.0 | 1 << bit)
    }

    /// The set with `bit` removed.
    pub fn without(self, bit: u8) -> Self {
        CapSet(self.0 & !(1 << bit))
    }

    /// Whether `bit` is in the set.
    pub fn has(self, bit: u8) -> bool {
        self.0 & 1 << bit != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers in the set, ascending, including numbers that this table does not name.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |bit| self.has(*bit))
    }
}

impl FromIterator<u8> for CapSet {
    fn from_iter<I: IntoIterator<Item = u8>>(bits: I) -> Self {
        bits.into_iter().fold(CapSet::EMPTY, CapSet::with)
    }
}

/// `CAP_CHOWN,CAP_KILL`, or `none`; a number without a name prints as `CAP_63`, so nothing is hidden.
impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (i, bit) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match CAPABILITIES.get(usize::from(bit)) {
                Some(row) => f.write_str(row.name)?,
                None => write!(f, "CAP_{bit}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_bit_order() {
        for (i, row) in CAPABILITIES.iter().enumerate() {
            assert_eq!(usize::from(row.bit), i);
            assert_eq!(parse(row.name), Some(row.bit));
        }
    }

    #[test]
    fn the_crate_caps_has_the_same_names_and_numbers() {
        let theirs: Vec<_> = caps::all().into_iter().map(|c| (c.to_string(), c.index())).collect();
        assert_eq!(theirs.len(), CAPABILITIES.len());
        for (name, number) in theirs {
            assert_eq!(parse(&name), Some(number), "{name}");
        }
    }

    /// What this process may do, as the kernel and the crate say it.
    #[test]
    fn the_crate_caps_reads_the_same_sets() {
        let (effective, permitted, inheritable) = crate::sys::cred::capget().unwrap();
        for (set, ours) in [
            (caps::CapSet::Effective, effective),
            (caps::CapSet::Permitted, permitted),
            (caps::CapSet::Inheritable, inheritable),
        ] {
            let theirs: CapSet = caps::read(None, set).unwrap().iter().map(caps::Capability::index).collect();
            assert_eq!(CapSet(ours & CapSet::ALL.0), theirs, "{set:?}");
        }
    }

    #[test]
    fn names_are_found_in_every_spelling() {
        for name in ["CAP_SYS_ADMIN", "SYS_ADMIN", "sys_admin", "cap_Sys_Admin"] {
            assert_eq!(parse(name), Some(21));
        }
        for name in ["", "CAP_", "CAP_CAP_KILL", "KILL ", "CAP", "é"] {
            assert_eq!(parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn sets_print_their_names() {
        assert_eq!(CapSet::EMPTY.to_string(), "none");
        assert_eq!(CapSet::EMPTY.with(5).with(0).to_string(), "CAP_CHOWN,CAP_KILL");
        assert_eq!(CapSet(1 << 63).to_string(), "CAP_63");
        assert_eq!(CapSet::ALL.0, 0x1ff_ffff_ffff);
        assert_eq!(CapSet::ALL.iter().collect::<CapSet>(), CapSet::ALL);
    }
}
