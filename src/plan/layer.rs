//! The layers of isolation: what the rows of a plan add up to.

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // LAYERS documents them, and users see that
pub enum Layer {
    State,
    Cgroup,
    Devices,
    Namespaces,
    User,
    Root,
    Mounts,
    ReadOnly,
    Masks,
    Descriptors,
    Capabilities,
    Credentials,
    NoNewPrivileges,
    Limits,
    Lsm,
    Seccomp,
    Program,
}

/// A layer's faces.
pub struct LayerRow {
    /// The layer.
    pub layer: Layer,
    /// Its name in `explain`.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What it stops; empty for rows that isolate nothing.
    pub stops: &'static str,
}

/// All layers, in the order of the plan.
pub const LAYERS: &[LayerRow] = &[
    row(Layer::State, "state", "the container's directory and its undo", ""),
    row(
        Layer::Cgroup,
        "cgroup",
        "limits of the whole container",
        "using up the machine's memory, cpu and processes",
    ),
    row(
        Layer::Devices,
        "devices",
        "the devices that may be opened",
        "reading disks and memory through a device node",
    ),
    row(
        Layer::Namespaces,
        "namespaces",
        "pid, network, IPC, UTS, mount and cgroup namespaces",
        "seeing or signalling other processes, reaching the host's network and its sockets",
    ),
    row(
        Layer::User,
        "user",
        "user namespace and id maps",
        "owning anything on the host: root inside is an unprivileged id outside",
    ),
    row(
        Layer::Root,
        "root",
        "the root file system and pivot_root",
        "every path that leads to the host's files",
    ),
    row(Layer::Mounts, "mounts", "what is mounted, and where", "reaching directories that were not listed"),
    row(Layer::ReadOnly, "read-only", "mounts that cannot be written", "planting a file for the next start"),
    row(
        Layer::Masks,
        "masks",
        "covered and read-only paths of /proc and /sys",
        "reading and changing kernel settings",
    ),
    row(
        Layer::Descriptors,
        "descriptors",
        "open files, terminal and working directory",
        "leaving through a directory that is open, typing into the caller's terminal",
    ),
    row(
        Layer::Capabilities,
        "capabilities",
        "what root may do beyond files",
        "mounting, tracing, configuring the network",
    ),
    row(
        Layer::Credentials,
        "credentials",
        "user, groups and keys",
        "acting as root of the container, or with the caller's groups",
    ),
    row(Layer::NoNewPrivileges, "no-new-privs", "no_new_privs", "becoming root by a setuid program"),
    row(Layer::Limits, "limits", "limits of each process", "running out of descriptors, signals or cpus"),
    row(Layer::Lsm, "lsm", "label of AppArmor or SELinux", "what the profile denies"),
    row(
        Layer::Seccomp,
        "seccomp",
        "filter of system calls",
        "most of the kernel: mount, unshare, bpf, io_uring, ptrace and more",
    ),
    row(Layer::Program, "program", "the program, its directory and hooks", ""),
];

const fn row(layer: Layer, name: &'static str, title: &'static str, stops: &'static str) -> LayerRow {
    LayerRow { layer, name, title, stops }
}

impl Layer {
    /// The layer's faces.
    pub fn row(self) -> &'static LayerRow {
        // The table has them in the order of the enum: a test holds that.
        &LAYERS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_its_row() {
        for (i, row) in LAYERS.iter().enumerate() {
            assert_eq!(row.layer as usize, i, "{}", row.name);
        }
        assert_eq!(LAYERS.len(), Layer::Program as usize + 1);
    }
}
