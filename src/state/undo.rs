//! The undo records of a plan, written to the state before they are needed.

use crate::host::OutputFile;

/// The undo of a row, recorded in the state directory before the row runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// Remove the container's state directory.
    StateDir(String),
    /// Remove the file that reserves an id range for the container.
    Ids(String),
    /// Kill the remaining processes in this cgroup and remove it.
    Cgroup(String),
    /// Remove this resctrl class if the launch failed. After a successful launch it stays, as with runc: its
    /// name is user-defined, and other processes may be in it.
    Class(String),
    /// Kill the remaining processes in this pre-existing cgroup, which stays.
    Members(String),
    /// Kill the remaining processes in this scope; systemd stops and unloads it.
    Scope(crate::cgroup::systemd::SystemdScope),
    /// Kill the container's init and wait for it.
    Kill,
    /// End the pasta(1) that has written its number to this file.
    Pasta(String),
    /// Run DEL of the plugins that this file records.
    Cni(String),
    /// Let go of the network namespace that is mounted on this file.
    Namespace(String),
    /// End the network helper, if the launch failed. Later it ends with its launcher, or with the container.
    Helper,
    /// Move a network device back to the host if the launch failed. After a successful launch the kernel
    /// moves it when the namespace ends (config-linux.md, Network Devices).
    NetDevice {
        /// Its name on the host.
        outside: String,
        /// Its name in the container.
        inside: String,
    },
    /// Remove the layers of writable copies if nothing was written to them.
    Layers(String),
    /// Restore the owners of the caller's output files.
    Outputs {
        /// The files.
        files: Vec<OutputFile>,
        /// The temporary owner, as the runtime sees it.
        given: u32,
    },
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Undo::StateDir(path) | Undo::Ids(path) => write!(f, "remove {path}"),
            Undo::Cgroup(path) => write!(f, "kill the processes in {path}, rmdir it"),
            Undo::Members(path) => write!(f, "kill the processes in {path}"),
            Undo::Layers(path) => write!(f, "remove {path}, if nothing was written to it"),
            Undo::Class(path) => write!(f, "rmdir {path}, if the launch failed"),
            Undo::NetDevice { outside, inside } => {
                write!(f, "netlink(RTM_NEWLINK, {inside:?}, IFLA_NET_NS_FD <own>, IFLA_IFNAME {outside:?})")
            }
            Undo::Scope(scope) => {
                write!(f, "kill the processes in {0}, StopUnit({0}), ResetFailedUnit({0})", scope.unit)
            }
            Undo::Outputs { files, .. } => {
                let fields = files.iter().map(|file| format!("fchown({}, {})", file.path, file.uid));
                f.write_str(&fields.collect::<Vec<_>>().join(" "))
            }
            Undo::Pasta(file) => write!(f, "pidfd_send_signal(pid in {file}, SIGKILL)"),
            Undo::Cni(file) => write!(f, "DEL of each plugin in {file}, the last one first"),
            Undo::Namespace(file) => write!(f, "umount2({file}, MNT_DETACH) unlink({file})"),
            Undo::Helper => f.write_str("close its line: it ends, waitpid"),
            Undo::Kill => f.write_str("pidfd_send_signal(SIGKILL), waitpid"),
        }
    }
}
