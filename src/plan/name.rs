//! Names of rows: `pivot`, `seccomp`, `mount:/proc`. They stay when a host or a config adds rows before them, so that
//! `--until`, `--fail` and `--row` take them instead of a number.

use std::ffi::CStr;

use super::action::{Action, Target};
use super::layer::Layer;
use super::{Plan, Slot};
use crate::sys::cstr::show;

/// A row as people call it.
struct Label {
    layer: Layer,
    word: &'static str,
    /// What differs among rows of one kind.
    of: Option<String>,
}

impl Action {
    /// The layer of isolation that this row belongs to.
    pub fn layer(&self) -> Layer {
        self.label().layer
    }

    /// The row's name; rows of one plan may share it ([`Plan::names`] tells them apart).
    pub fn name(&self) -> String {
        let Label { word, of, .. } = self.label();
        match of {
            Some(of) => format!("{word}:{of}"),
            None => word.into(),
        }
    }

    /// What a number in the row means, where the row says only the number.
    pub fn note(&self) -> Option<&'static str> {
        let Action::CgroupWrite { path, value } = self else { return None };
        let file = last(path);
        if file != "devices.allow" && file != "devices.deny" {
            return None;
        }
        // Kind and numbers; the rights come after them.
        let text = std::str::from_utf8(value).ok()?.trim_end();
        let device = text.rsplit_once(' ').map_or(text, |(device, _)| device);
        DEVICES.iter().find(|(numbers, _)| *numbers == device).map(|(_, meaning)| *meaning)
    }

    fn label(&self) -> Label {
        use Action as A;
        use Layer as L;
        let (layer, word, of) = match self {
            A::StateDir { .. } => (L::State, "state", None),
            A::LauncherMark { .. } => (L::State, "launcher", None),
            A::StateFile { .. } => (L::State, "state-file", None),
            A::RecordIds { .. } => (L::State, "ids", None),
            A::Fifo { .. } => (L::State, "fifo", None),
            A::DoorSocket { .. } => (L::State, "namespace-server", None),
            A::NotifyDir { .. } => (L::State, "notify-dir", None),
            A::NotifySocket { .. } => (L::State, "notify", None),
            A::RecordPid { .. } => (L::State, "record-pid", None),
            A::Created { .. } => (L::State, "created", None),
            A::PidFile { .. } => (L::State, "pid-file", None),
            A::SendPidfd { kind, .. } => (L::State, "send-pidfd", Some((*kind).to_string())),
            A::CgroupParent { .. } => (L::Cgroup, "cgroup-parent", None),
            A::CgroupDir { .. } => (L::Cgroup, "cgroup", None),
            A::CgroupJoinable { .. } => (L::Cgroup, "cgroup-joinable", None),
            A::CgroupEnable { .. } => (L::Cgroup, "cgroup-enable", None),
            A::CgroupWrite { path, value } | A::CgroupWriteEither { path, value, .. } => {
                let file = last(path);
                match file.strip_prefix("devices.") {
                    Some(_) => (L::Devices, "devices", Some(device(&file, value))),
                    None => (L::Cgroup, "cgroup", Some(file)),
                }
            }
            A::SystemdScope { .. } => (L::Cgroup, "scope", None),
            A::SystemdAttach { .. } => (L::Cgroup, "scope-attach", None),
            A::CgroupInScope { .. } => (L::Cgroup, "cgroup-in-scope", None),
            A::CgroupOwner { .. } => (L::Cgroup, "cgroup-owner", None),
            A::CgroupOpen { .. } => (L::Cgroup, "cgroup-open", None),
            A::CgroupJoin { .. } => (L::Cgroup, "cgroup-join", None),
            A::DeviceFilter { .. } => (L::Devices, "device-filter", None),
            _ => self.label_clone(),
        };
        Label { layer, word, of }
    }

    fn label_clone(&self) -> (Layer, &'static str, Option<String>) {
        use Action as A;
        use Layer as L;
        match self {
            A::OpenTree { to, .. } => (L::Mounts, "source", Some(slot(to))),
            A::OpenSource { path, .. } => (L::Mounts, "source", Some(show(path).into_owned())),
            A::OpenRoot { .. } => (L::Root, "rootfs", None),
            A::OpenNs { kind, .. } => (L::Namespaces, "open", Some(kind.row().oci.to_string())),
            A::OpenPidfd { .. } => (L::Namespaces, "pidfd", None),
            A::TimeOffsets { .. } => (L::Namespaces, "time-offsets", None),
            A::Spawn { .. } | A::SpawnSibling { .. } => (L::Namespaces, "clone", None),
            A::Unshare { .. } => (L::Namespaces, "unshare", None),
            A::JoinNs { kind, ns, .. } => {
                (L::Namespaces, "join", Some(kind.map_or_else(|| slot(ns), |k| k.row().oci.to_string())))
            }
            A::IdMapWrite { file, .. } => {
                let word = match *file {
                    "uid_map" => "uid-map",
                    "gid_map" => "gid-map",
                    _ => "setgroups-file",
                };
                (L::User, word, None)
            }
            A::IdMapTool { program, .. } => {
                (L::User, "id-map", program.file_name().map(|n| n.to_string_lossy().into_owned()))
            }
            A::OomScoreAdj { .. } => (L::Limits, "oom-score", None),
            A::OpenChildNs { kind, .. } => (L::Namespaces, "open", Some(kind.row().oci.to_string())),
            A::NetDevice { outside, .. } => (L::Namespaces, "net-device", Some(outside.to_string())),
            A::RaiseLimit { resource, .. } => (L::Limits, "raise-limit", Some(limit(*resource))),
            A::MoreFiles { .. } => (L::Limits, "more-files", None),
            A::SetLimit { resource, .. } => (L::Limits, "limit", Some(limit(*resource))),
            A::Userns { .. } => (L::User, "userns-of-mount", None),
            A::Idmap { tree, .. } => (L::User, "idmap", Some(slot(tree))),
            A::TakeShown { .. } => (L::Namespaces, "take-namespaces", None),
            A::Hooks { kind, .. } => (L::Program, "hooks", Some(kind.to_string())),
            A::CleanSignals => (L::Credentials, "signals", None),
            A::NewSession => (L::Descriptors, "session", None),
            A::BecomeRoot { .. } => (L::User, "become-root", None),
            A::Undumpable => (L::Descriptors, "undumpable", None),
            A::OwnRoot => (L::Root, "own-root", None),
            A::NewCgroupNs => (L::Namespaces, "cgroup-namespace", None),
            A::SetHostname { .. } => (L::Namespaces, "hostname", None),
            A::SetDomainname { .. } => (L::Namespaces, "domainname", None),
            A::LoopbackUp => (L::Namespaces, "loopback", None),
            A::Propagation { .. } => (L::Root, "propagation", None),
            A::OpenPlace { .. } => (L::Root, "open-place", None),
            A::AttachRoot { .. } => (L::Root, "attach-root", None),
            _ => self.label_mounts(),
        }
    }

    fn label_mounts(&self) -> (Layer, &'static str, Option<String>) {
        use Action as A;
        use Layer as L;
        let place = |target: &Target| Some(target.inside());
        let below = |root: &Slot, path: &CStr| {
            let dev = if &*root.name == "dev" { "/dev/" } else { "/" };
            Some(format!("{dev}{}", show(path)))
        };
        match self {
            A::OpenDir { root, path, .. } => (L::Mounts, "dir", below(root, path)),
            A::MakeTarget { target } => (L::Mounts, "target", place(target)),
            A::MountFs { target: Some(target), .. } => (L::Mounts, "mount", place(target)),
            A::MountFs { fs, keep, .. } => {
                (L::Mounts, "new", keep.as_ref().map(slot).or_else(|| Some(show(fs).into_owned())))
            }
            A::MoveTree { target, .. } => (L::Mounts, "mount", place(target)),
            A::FileMount { root, path, .. } => (L::Mounts, "mount", below(root, path)),
            A::OpenInside { root, path, .. } => (L::Mounts, "source", below(root, path)),
            A::Hold { tree, .. } => (L::ReadOnly, "hold", Some(slot(tree))),
            A::CopyUp { root, path, .. } => (L::Mounts, "copy-up", below(root, path)),
            A::Remount { target, .. } => (L::ReadOnly, "remount", place(target)),
            A::DeviceNode { root, path, .. } => (L::Devices, "device", below(root, path)),
            A::Relink { root, path, .. } | A::Symlink { root, path, .. } => {
                (L::Devices, "symlink", below(root, path))
            }
            A::DeviceNodes { .. } => (L::Devices, "device-nodes", None),
            A::NodeTrees { .. } => (L::Devices, "device-trees", None),
            A::OpenNull { .. } => (L::Masks, "null", None),
            A::EmptyDir { .. } => (L::Masks, "empty-dir", None),
            A::Mask { root, path, .. } => (L::Masks, "mask", below(root, path)),
            A::ReadonlyPath { root, path } => (L::Masks, "readonly", below(root, path)),
            A::Pty { .. } => (L::Descriptors, "pty", None),
            A::SendPty { .. } => (L::Descriptors, "send-pty", None),
            A::ConsoleMount { target, .. } => (L::Mounts, "mount", place(target)),
            A::Sysctl { path, .. } => {
                (L::Masks, "sysctl", Some(show(path).trim_start_matches("sys/").replace('/', ".")))
            }
            A::Pivot { .. } => (L::Root, "pivot", None),
            A::HideMount { path } => (L::Root, "hide", Some(show(path).into_owned())),
            A::Chroot { .. } => (L::Root, "chroot", None),
            A::RootAttr { root, change } => {
                let ro = change.attr.attr_set & libc::MOUNT_ATTR_RDONLY != 0;
                (L::ReadOnly, if ro { "readonly" } else { "attributes" }, Some(slot(root)))
            }
            _ => self.label_tail(),
        }
    }

    fn label_tail(&self) -> (Layer, &'static str, Option<String>) {
        use Action as A;
        use Layer as L;
        match self {
            A::MakeCwd { .. } => (L::Program, "make-cwd", None),
            A::TakeTty { .. } => (L::Descriptors, "tty", None),
            A::StdioPipe { pipe, .. } => (L::Descriptors, "pipe", Some(pipe.number.to_string())),
            A::StdioNull { .. } => (L::Descriptors, "null-stdin", None),
            A::PlaceStdio { .. } => (L::Descriptors, "stdio", None),
            A::StatusSocket { .. } => (L::Program, "init-status", None),
            A::StayInit { .. } => (L::Program, "init", None),
            A::GiveStdio { .. } | A::OwnStdio { .. } => (L::Descriptors, "own-stdio", None),
            A::OpenDevpts { .. } => (L::Descriptors, "devpts", None),
            A::Scheduler(_) => (L::Limits, "scheduler", None),
            A::IoPriority { .. } => (L::Limits, "io-priority", None),
            A::AllCpus => (L::Limits, "all-cpus", None),
            A::Affinity { .. } => (L::Limits, "affinity", None),
            A::MemoryPolicy(_) => (L::Limits, "memory-policy", None),
            A::Personality { .. } => (L::Program, "personality", None),
            A::Keyring => (L::Credentials, "keyring", None),
            A::ExecLabel { .. } => (L::Lsm, "label", None),
            A::Bounding { .. } => (L::Capabilities, "bounding", None),
            A::KeepCaps => (L::Capabilities, "keep-caps", None),
            A::Caps { .. } => (L::Capabilities, "caps", None),
            A::Ambient { .. } => (L::Capabilities, "ambient", None),
            A::SetGroups { .. } => (L::Credentials, "groups", None),
            A::SetGid { .. } => (L::Credentials, "gid", None),
            A::SetUid { .. } => (L::Credentials, "uid", None),
            A::Umask { .. } => (L::Program, "umask", None),
            A::NoNewPrivs => (L::NoNewPrivileges, "no-new-privs", None),
            A::VerifyCreds(_) => (L::Credentials, "verify", None),
            A::ChangeDir { again: false, .. } => (L::Descriptors, "chdir", None),
            A::ChangeDir { again: true, .. } => (L::Descriptors, "chdir-again", None),
            A::DieWithRuntime => (L::State, "die-with-runtime", None),
            A::FindProgram { .. } => (L::Program, "find-program", None),
            A::CloseFds { .. } => (L::Descriptors, "close-fds", None),
            A::AwaitStart { .. } => (L::State, "await-start", None),
            A::Seccomp { .. } => (L::Seccomp, "seccomp", None),
            A::SendListener { .. } => (L::Seccomp, "send-listener", None),
            A::DropListener { .. } => (L::Seccomp, "drop-listener", None),
            A::CriuRoot { .. } => (L::Program, "criu-root", None),
            A::AttachAt { .. } => (L::Root, "attach-at", None),
            A::PassFds { .. } => (L::Descriptors, "pass-fds", None),
            A::Exec { .. } => (L::Program, "exec", None),
            // No other action is left: `plan::every_row_has_a_name_of_its_own` would see an empty name.
            _ => (L::State, "", None),
        }
    }
}

impl Plan {
    /// The names of all rows, each once: the second row with a name gets `.2` after it.
    pub fn names(&self) -> Vec<String> {
        let mut seen = std::collections::HashMap::new();
        let mut once = |name: String| {
            let count = seen.entry(name.clone()).or_insert(0);
            *count += 1;
            if *count == 1 { name } else { format!("{name}.{count}") }
        };
        self.steps.iter().map(|step| once(step.action.name())).collect()
    }

    /// The index of the row that a name or a number (from 1) stands for; else what is wrong with it.
    pub fn find(&self, row: &str) -> Result<usize, String> {
        let rows = self.steps.len();
        if let Ok(number) = row.parse::<usize>() {
            let index = number.checked_sub(1).filter(|index| *index < rows);
            return index.ok_or_else(|| format!("the plan has rows 1 to {rows} (see `safebox explain`)"));
        }
        let names = self.names();
        names.iter().position(|name| name == row).ok_or_else(|| {
            let word = row.split([':', '.']).next().unwrap_or(row);
            let mut similar: Vec<_> = names.iter().filter(|n| n.contains(word)).map(String::as_str).collect();
            similar.truncate(5);
            match similar.is_empty() {
                true => "no row has this name (see `safebox explain`)".into(),
                false => format!("no row has this name; similar: {}", similar.join(", ")),
            }
        })
    }
}

fn last(path: &CStr) -> String {
    show(path).rsplit('/').next().unwrap_or_default().to_string()
}

fn slot(slot: &Slot) -> String {
    slot.name.replace(' ', "-")
}

/// `allow:c1:3` for "c 1:3 rwm" in devices.allow.
fn device(file: &str, value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let device: String = text.split_whitespace().take(2).collect();
    format!("{}:{device}", file.trim_start_matches("devices."))
}

fn limit(resource: u32) -> String {
    crate::tables::rlimits::by_number(resource)
        .map_or_else(|| resource.to_string(), |r| r.name.trim_start_matches("RLIMIT_").to_lowercase())
}

/// Devices by kind and number (admin-guide/devices.txt of the kernel).
const DEVICES: &[(&str, &str)] = &[
    ("a", "every device"),
    ("a *:*", "every device"),
    ("c *:*", "every character device"),
    ("b *:*", "every block device"),
    ("c 1:3", "/dev/null"),
    ("c 1:5", "/dev/zero"),
    ("c 1:7", "/dev/full"),
    ("c 1:8", "/dev/random"),
    ("c 1:9", "/dev/urandom"),
    ("c 5:0", "/dev/tty"),
    ("c 5:1", "/dev/console"),
    ("c 5:2", "/dev/ptmx"),
    ("c 136:*", "/dev/pts/*"),
    ("c 10:200", "/dev/net/tun"),
    ("c 10:229", "/dev/fuse"),
    ("c 10:232", "/dev/kvm"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Actor;

    fn plan() -> Plan {
        let mut plan = Plan::default();
        let root = plan.slot("root");
        for path in [c"proc", c"sys"] {
            plan.push(
                Actor::Init,
                "masks",
                Action::ReadonlyPath { root: root.clone(), path: path.to_owned() },
            );
        }
        for _ in 0..2 {
            plan.push(Actor::Init, "drop", Action::NoNewPrivs);
        }
        plan
    }

    #[test]
    fn a_row_is_found_by_name_and_by_number() {
        let plan = plan();
        assert_eq!(plan.names(), ["readonly:/proc", "readonly:/sys", "no-new-privs", "no-new-privs.2"]);
        assert_eq!(plan.find("readonly:/sys"), Ok(1));
        assert_eq!(plan.find("no-new-privs.2"), Ok(3));
        assert_eq!(plan.find("4"), Ok(3));
        assert!(plan.find("0").is_err_and(|e| e.contains("rows 1 to 4")));
        assert!(plan.find("5").is_err_and(|e| e.contains("rows 1 to 4")));
        assert!(plan.find("readonly:/x").is_err_and(|e| e.contains("readonly:/proc, readonly:/sys")));
        assert!(plan.find("pivot").is_err_and(|e| e.contains("no row has this name (see")));
    }

    #[test]
    fn a_device_s_number_is_explained() {
        let write = |file: &CStr, value: &str| Action::CgroupWrite {
            path: file.to_owned(),
            value: value.as_bytes().to_vec(),
        };
        assert_eq!(write(c"/g/devices.allow", "c 1:3 rwm").note(), Some("/dev/null"));
        assert_eq!(write(c"/g/devices.allow", "c 1:3 rwm").name(), "devices:allow:c1:3");
        assert_eq!(write(c"/g/devices.deny", "a").note(), Some("every device"));
        assert_eq!(write(c"/g/memory.max", "1").note(), None);
        assert_eq!(write(c"/g/memory.max", "1").name(), "cgroup:memory.max");
    }
}
