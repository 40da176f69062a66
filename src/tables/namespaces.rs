//! The eight kinds of namespace (namespaces(7)).

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum NsKind {
    User,
    Mount,
    Pid,
    Net,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

/// One row of [`NAMESPACES`].
#[derive(Debug)]
pub struct NamespaceRow {
    /// The kind of this row.
    pub kind: NsKind,
    /// Name in config.json (`linux.namespaces[].type`).
    pub oci: &'static str,
    /// File name under `/proc/PID/ns`.
    pub proc: &'static str,
    /// `CLONE_NEW*` flag.
    pub flag: u64,
    /// The flag's name, as strace prints it.
    pub flag_name: &'static str,
    /// What it isolates.
    pub doc: &'static str,
}

/// All eight, in the order of joining: the user namespace first, because it grants the right to join the
/// others; the mount namespace last, because host paths cannot be opened after it.
pub const NAMESPACES: [NamespaceRow; 8] = [
    NamespaceRow {
        kind: NsKind::User,
        oci: "user",
        proc: "user",
        flag: libc::CLONE_NEWUSER as u64,
        flag_name: "CLONE_NEWUSER",
        doc: "user and group ids and capabilities: root inside has no privileges outside",
    },
    NamespaceRow {
        kind: NsKind::Pid,
        oci: "pid",
        proc: "pid",
        flag: libc::CLONE_NEWPID as u64,
        flag_name: "CLONE_NEWPID",
        doc: "process ids: processes outside cannot be seen or signalled; when pid 1 dies the kernel kills the rest",
    },
    NamespaceRow {
        kind: NsKind::Net,
        oci: "network",
        proc: "net",
        flag: libc::CLONE_NEWNET as u64,
        flag_name: "CLONE_NEWNET",
        doc: "network devices, addresses, routes, ports and abstract sockets",
    },
    NamespaceRow {
        kind: NsKind::Ipc,
        oci: "ipc",
        proc: "ipc",
        flag: libc::CLONE_NEWIPC as u64,
        flag_name: "CLONE_NEWIPC",
        doc: "System V IPC objects and POSIX message queues",
    },
    NamespaceRow {
        kind: NsKind::Uts,
        oci: "uts",
        proc: "uts",
        flag: libc::CLONE_NEWUTS as u64,
        flag_name: "CLONE_NEWUTS",
        doc: "host name and domain name",
    },
    NamespaceRow {
        kind: NsKind::Cgroup,
        oci: "cgroup",
        proc: "cgroup",
        flag: libc::CLONE_NEWCGROUP as u64,
        flag_name: "CLONE_NEWCGROUP",
        doc: "the root of the cgroup tree, so cgroup paths outside are hidden",
    },
    NamespaceRow {
        kind: NsKind::Time,
        oci: "time",
        proc: "time",
        flag: 0x80,
        flag_name: "CLONE_NEWTIME",
        doc: "offsets of the monotonic and boot-time clocks",
    },
    NamespaceRow {
        kind: NsKind::Mount,
        oci: "mount",
        proc: "mnt",
        flag: libc::CLONE_NEWNS as u64,
        flag_name: "CLONE_NEWNS",
        doc: "the mount table: mounts made inside are invisible outside",
    },
];

impl NsKind {
    /// This kind's row.
    pub fn row(self) -> &'static NamespaceRow {
        // Every kind has a row; the test below checks it.
        NAMESPACES.iter().find(|r| r.kind == self).unwrap_or(&NAMESPACES[0])
    }

    /// The kind named `oci` in config.json.
    pub fn from_oci(oci: &str) -> Option<Self> {
        NAMESPACES.iter().find(|r| r.oci == oci).map(|r| r.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_row() {
        for r in &NAMESPACES {
            assert_eq!(r.kind.row().oci, r.oci);
            assert_eq!(NsKind::from_oci(r.oci), Some(r.kind));
        }
    }
}
