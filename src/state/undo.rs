//! What takes a container back: recorded in its state before it is needed.

use crate::host::OutputFile;

/// What takes back a row, recorded in the state directory before the row runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// Remove the container's state directory.
    StateDir(String),
    /// Remove the file by which a range of ids is the container's.
    Ids(String),
    /// Kill what is left in this cgroup and remove it.
    Cgroup(String),
    /// Remove this class of service, if the launch failed. Later others may be in it: it has a name of their own
    /// choice, and stays, as with runc.
    Class(String),
    /// Kill what is left in this cgroup, which somebody else made and which stays.
    Members(String),
    /// Kill what is left in this scope and have systemd stop and forget it.
    Scope(crate::cgroup::systemd::Scope),
    /// Kill the container's init and wait for it.
    Kill,
    /// End the network helper, if the launch failed. Later it ends with its launcher, or with the container.
    Helper,
    /// Bring a network device back to the host, if the launch failed. Later that is not the runtime's to do:
    /// the kernel does it when the namespace goes (config-linux.md, Network Devices).
    NetDevice {
        /// Its name on the host.
        outside: String,
        /// Its name in the container.
        inside: String,
    },
    /// Give the caller's output files back to their owners.
    Outputs {
        /// The files.
        files: Vec<OutputFile>,
        /// The user that has them meanwhile, as the runtime sees it.
        given: u32,
    },
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Undo::StateDir(path) | Undo::Ids(path) => write!(f, "remove {path}"),
            Undo::Cgroup(path) => write!(f, "kill what is left in {path}, rmdir it"),
            Undo::Members(path) => write!(f, "kill what is left in {path}"),
            Undo::Class(path) => write!(f, "rmdir {path}, if the launch failed"),
            Undo::NetDevice { outside, inside } => {
                write!(f, "netlink(RTM_NEWLINK, {inside:?}, IFLA_NET_NS_FD <own>, IFLA_IFNAME {outside:?})")
            }
            Undo::Scope(scope) => {
                write!(f, "kill what is left in {0}, StopUnit({0}), ResetFailedUnit({0})", scope.unit)
            }
            Undo::Outputs { files, .. } => {
                let fields = files.iter().map(|file| format!("fchown({}, {})", file.path, file.uid));
                f.write_str(&fields.collect::<Vec<_>>().join(" "))
            }
            Undo::Helper => f.write_str("close its line: it ends, waitpid"),
            Undo::Kill => f.write_str("pidfd_send_signal(SIGKILL), waitpid"),
        }
    }
}
