//! The vocabulary of a plan: one [`Action`] for each kernel operation, already lowered.
//!
//! Each file of this folder is one group of operations: its enum, and all facts about its operations (name, text,
//! reason, field of the config, remedy, system calls). What they do is in the file of the same name in `perform::ops`.
//! Matches over an operation have no `_`, so an operation without one of its faces does not compile. Everything that a row
//! needs is ready made (C strings, masks, pointer arrays, BPF), so performing it takes system calls and nothing else.

mod cgroup;
mod clone;
mod confine;
mod cred;
mod device;
mod exec;
mod fd;
mod file;
mod limit;
mod mask;
mod mount;
mod net;
mod ns;
mod overlay;
mod relay;
mod root;
mod source;
mod state;
mod user;

use std::fmt;

pub use super::place::{DevFile, DeviceNode, Landlock, SetAttr, StdioPipe, Target, TargetKind};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::sys::Errno;
pub use cgroup::is_device_list;
pub use confine::BUILT_IN;
pub use file::OwnFile;

/// Another effective user with the same capabilities, and back.
const AS_USER: &[&str] = &["prctl", "capget", "setresuid", "capset"];
const BACK: &[&str] = &["setresuid", "capset", "prctl?"];
/// What follows openat2(2) where a symlink is on the way or a component is missing (`perform::target`).
const WALK: &str = "openat|statx|fstatfs|readlinkat|mkdirat|close*";
/// Resolution below the root: found at once, or walked and made one component at a time.
const RESOLVE: [&str; 3] = ["openat2", "openat2?", WALK];
/// Whether a place may be mounted on; one that is not on the rootfs's own mount is looked at again.
const FREE: [&str; 4] = ["statx?", "statx", "fstatfs?", "fstatfs?"];

/// The first copy of a file of a new mount, and what follows the last one: before Linux 6.15 the mount must be attached meanwhile.
const COPIES: [&str; 3] = ["open_tree", "move_mount?", "open_tree?"];
const COPIED: [&str; 3] = ["fchdir?", "umount2?", "close"];

/// Remedies of operations in more than one group.
const USERNS_OFF: &str = "user namespaces may be off: see kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns; in a plain chroot there are none (clone(2))";
const NAMESPACE_LIMIT: &str =
    "a limit on namespaces is reached: see user.max_user_namespaces and its neighbours in /proc/sys/user";
const NOT_OWNED: &str =
    "the container's root does not own the rootfs, and this must be made in it: create it there";

/// A row as people call it: its layer of isolation, its word, and what differs among rows of one kind.
type RowLabel = (Layer, &'static str, Option<String>);

/// What a row does to the host outside the container's processes and mounts: the checks of plans ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHost {
    /// It creates something that stays when the processes of the launch are gone, and that no earlier row's undo removes.
    Creates,
    /// It opens a path of the host.
    Opens,
}

/// The faces of an operation.
trait Op {
    /// The layer and the name: `(Masks, "readonly", Some("/proc"))`.
    fn label(&self) -> RowLabel;

    /// The system calls with their arguments, as strace would show them.
    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// One sentence for a reader who came to learn, with its source.
    fn why(&self) -> &'static str;

    /// RFC 6901 pointer of the field of the config behind it, where there is one.
    fn pointer(&self) -> Option<String>;

    /// What this failure means and what to do about it, where that is known.
    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str>;

    /// What it does to the host.
    fn on_host(&self) -> &'static [OnHost];

    /// The names of the system calls, in order: `?` may be left out, `*` may come any number of times, `a|b*` is any of
    /// these any number of times, `*` alone is anything (hooks are programs of their own).
    ///
    /// The order test holds this against strace. `explain` has no effects, so it cannot be recorded from a performance.
    fn calls(&self) -> Vec<&'static str>;

    /// The path that it resolves (inside the container, or a bind mount's source), after what stands before it in the
    /// config. For operations that resolve one.
    fn resolves(&self) -> Option<(&'static str, String)> {
        None
    }

    /// What a number in its text means. For operations whose text says only the number.
    fn note(&self) -> Option<&'static str> {
        None
    }
}

macro_rules! groups {
    ($($(#[$doc:meta])* $group:ident($module:ident::$op:ident)),* $(,)?) => {
        $(pub use $module::$op;)*

        /// One kernel operation, or the few that only make sense together.
        ///
        /// Paths named `path` without a slot are the runtime's own, outside the container.
        #[derive(Debug, Clone)]
        pub enum Action {
            $($(#[$doc])* $group($op),)*
        }

        impl Action {
            fn op(&self) -> &dyn Op {
                match self {
                    $(Action::$group(op) => op,)*
                }
            }
        }

        $(impl From<$op> for Action {
            fn from(op: $op) -> Self {
                Action::$group(op)
            }
        })*
    };
}

groups! {
    /// The container's state directory.
    State(state::StateOp),
    /// Cgroups and their limits.
    Cgroup(cgroup::CgroupOp),
    /// New processes.
    Clone(clone::CloneOp),
    /// Namespaces.
    Ns(ns::NsOp),
    /// Network devices.
    Net(net::NetOp),
    /// The network by name.
    Relay(relay::RelayOp),
    /// Id maps and user namespaces.
    User(user::UserOp),
    /// Limits and scheduling of a process.
    Limit(limit::LimitOp),
    /// The root file system.
    Root(root::RootOp),
    /// The sources of mounts.
    Source(source::SourceOp),
    /// Mounts.
    Mount(mount::MountOp),
    /// Writable copies of directories.
    Overlay(overlay::OverlayOp),
    /// Directories and files inside the container.
    File(file::FileOp),
    /// Device nodes and the device filter.
    Device(device::DeviceOp),
    /// Masked and read-only paths, sysctls.
    Mask(mask::MaskOp),
    /// Descriptors and the terminal.
    Fd(fd::FdOp),
    /// Ids, groups, capabilities.
    Cred(cred::CredOp),
    /// Security modules and seccomp.
    Confine(confine::ConfineOp),
    /// The program.
    Exec(exec::ExecOp),
}

impl Action {
    /// The layer of isolation that this row belongs to.
    pub fn layer(&self) -> Layer {
        self.op().label().0
    }

    /// The row's name; rows of one plan may share it ([`super::Plan::names`] tells them apart).
    pub fn name(&self) -> String {
        match self.op().label() {
            (_, word, Some(of)) => format!("{word}:{of}"),
            (_, word, None) => word.into(),
        }
    }

    /// One sentence for a reader who came to learn, with its source.
    pub fn why(&self) -> &'static str {
        self.op().why()
    }

    /// RFC 6901 pointer of the field of the config behind this row, where there is one.
    pub fn pointer(&self) -> Option<String> {
        self.op().pointer()
    }

    /// What a number in the row means, where the row says only the number.
    pub fn note(&self) -> Option<&'static str> {
        self.op().note()
    }

    /// The path that this row resolves (inside the container, or a bind mount's source), and what stands before it in the
    /// config.
    pub fn resolves(&self) -> Option<(&'static str, String)> {
        self.op().resolves()
    }

    /// Whether this row does that to the host.
    pub fn does(&self, what: OnHost) -> bool {
        self.op().on_host().contains(&what)
    }

    /// The names of the row's system calls, in order: `?` may be left out, `*` may come any number of times, `a|b*` is any
    /// of these any number of times, `*` alone is anything. The order test holds this against strace.
    pub fn calls(&self) -> Vec<&'static str> {
        self.op().calls()
    }

    /// One remedy for a failure of this row, where one is known.
    pub fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        if call == Call::Injected {
            return Some("this row was made to fail by --fail");
        }
        self.op().remedy(errno, call).or(match errno {
            Errno::EMFILE => Some(
                "the hard limit on open files (RLIMIT_NOFILE) is too low: raise it (`ulimit -Hn`, LimitNOFILE= of a service), or use fewer bind mounts",
            ),
            Errno::ENFILE => Some("the host's limit on open files is reached: see /proc/sys/fs/file-nr"),
            Errno::ENOSYS => Some("this kernel is too old: safebox needs Linux 5.14 or later"),
            _ => None,
        })
    }

    /// What failures of this row mean: (errno, remedy), without those that hold for every row.
    pub fn remedies(&self) -> Vec<(&'static str, &'static str)> {
        let mut known: Vec<(&str, &str)> = Vec::new();
        for errno in (1..134).map(Errno::from_raw) {
            if matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOSYS | Errno::UnknownErrno) {
                continue;
            }
            if let Some(remedy) = self.remedy(errno, Call::None)
                && known.iter().all(|(_, text)| *text != remedy)
            {
                known.push((crate::tables::errno::name(errno as i32), remedy));
            }
        }
        // A remedy for every errno is one for none in particular.
        if known.len() == 1 && self.remedy(Errno::EXFULL, Call::None).is_some() {
            known[0].0 = "any error";
        }
        known
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.op().print(f)
    }
}
