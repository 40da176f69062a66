//! What a failure likely means and what to do, keyed by (row, errno).

use crate::error::ExecError;
use crate::perform::{Call, Cx};
use crate::plan::Plan;
use crate::plan::action::Action;
use crate::seccomp;
use crate::sys::Errno;
use crate::sys::cstr::show;

/// One remedy for a failed row, where one is known.
pub fn hint(action: &Action, errno: Errno, call: Call) -> Option<&'static str> {
    use Action as A;
    if call == Call::Injected {
        return Some("this row was made to fail by --fail");
    }
    Some(match (action, errno) {
        (A::StateDir { .. }, Errno::EEXIST) => "container with given ID already exists",
        (A::StateDir { .. } | A::StateFile { .. }, Errno::EROFS) => {
            "the state directory is read-only: choose another with --root"
        }
        (A::StateDir { .. } | A::StateFile { .. }, Errno::ENOSPC) => {
            "the state directory's file system is full: choose another with --root"
        }
        (A::SystemdScope { .. }, Errno::EEXIST) => {
            "a unit of this name runs: choose another id or linux.cgroupsPath"
        }
        (A::SystemdScope { .. } | A::SystemdAttach { .. }, Errno::ENOENT | Errno::ECONNREFUSED) => {
            "systemd does not listen there: is it running? Leave --systemd-cgroup out to use cgroupfs"
        }
        (A::CgroupDir { .. }, Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
            "cgroupfs is not writable here: run as root, or have this cgroup delegated to you"
        }
        (A::CgroupDir { .. }, Errno::EEXIST) => {
            "it was made this moment: another container is being created with the same linux.cgroupsPath"
        }
        (A::CgroupJoinable { .. }, Errno::EWOULDBLOCK) => {
            "another container is being created in it: give each its own linux.cgroupsPath"
        }
        (A::CgroupJoinable { .. }, Errno::EBUSY) => {
            "a container would share its limits and be killed with them: choose another linux.cgroupsPath"
        }
        (A::CgroupJoin { .. }, Errno::EBUSY) => {
            "this cgroup hands controllers down, so it can have no processes of its own (\"no internal processes\", cgroups(7)): name one below it (exec --cgroup PATH)"
        }
        (A::CgroupEnable { .. }, Errno::EBUSY) => {
            "the parent cgroup has processes of its own (\"no internal processes\", cgroups(7)): move them to a child, or choose another linux.cgroupsPath"
        }
        (A::CgroupWrite { path, .. }, Errno::ENOENT) if path.to_bytes().ends_with(b"memory.swap.max") => {
            "swap accounting is off in this kernel (cgroup.memory=noswap): swap cannot be bounded"
        }
        (A::CgroupWrite { path, .. }, Errno::ENOENT)
            if path.to_bytes().ends_with(b"memsw.limit_in_bytes") =>
        {
            "swap accounting is off in this kernel (boot with swapaccount=1): swap cannot be bounded"
        }
        (A::CgroupWriteEither { .. }, Errno::ENOENT) => {
            "no I/O scheduler with weights is here (modprobe bfq, or a kernel with CONFIG_BLK_CGROUP_IOCOST): the weight cannot be applied"
        }
        (A::CgroupWrite { .. } | A::CgroupWriteEither { .. }, Errno::ENOENT | Errno::EACCES) => {
            "this kernel or cgroup has no such file: the limit cannot be applied, and nothing runs without it"
        }
        (
            A::CgroupWrite { .. } | A::CgroupWriteEither { .. },
            Errno::EINVAL | Errno::ERANGE | Errno::EBUSY,
        ) => "the kernel refuses this value",
        (A::Spawn { .. } | A::SpawnSibling { .. } | A::Unshare { .. }, Errno::EPERM) => {
            "user namespaces may be off: see kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns; in a plain chroot there are none (clone(2))"
        }
        (A::Spawn { .. } | A::SpawnSibling { .. } | A::Unshare { .. }, Errno::ENOSPC) => {
            "a limit on namespaces is reached: see user.max_user_namespaces and its neighbours in /proc/sys/user"
        }
        (A::Spawn { cgroup: Some(_), .. }, Errno::ENOENT) => {
            "the cgroup is not below this process's cgroup namespace: mount cgroup2 anew inside it, instead of a bind mount of the host's"
        }
        (A::Spawn { .. }, Errno::EAGAIN) => {
            "no more processes for this user (RLIMIT_NPROC, or the pids limit of this cgroup)"
        }
        (A::OwnRoot, Errno::EXDEV) => {
            "safebox was started in a plain chroot, where `exec` would land in the host's root: start it outside, or enter the tree with pivot_root (unshare --mount, systemd-nspawn)"
        }
        (A::Scheduler(_), Errno::EPERM) => {
            "process scheduler can't be used together with AllowedCPUs (SCHED_DEADLINE needs all of them), and real-time policies need CAP_SYS_NICE on the host (sched_setattr(2))"
        }
        (A::MemoryPolicy(_), Errno::EINVAL) => {
            "the machine has no such memory node, or its kernel no such mode: see /sys/devices/system/node/online"
        }
        (A::Affinity { .. }, Errno::EINVAL) => "none of these cpus may be used here",
        (A::Userns { .. }, Errno::EPERM) => {
            "a mapping of other ids than one's own needs CAP_SETUID and CAP_SETGID"
        }
        (A::Idmap { userns: Some(_), .. }, Errno::EINVAL) => {
            "the file system of the mount's source cannot be idmapped: put it on ext4, xfs, btrfs or tmpfs"
        }
        (A::CopyUp { .. }, Errno::ENOSPC) => {
            "the tmpfs is smaller than what is to be copied into it: give it a larger size="
        }
        (A::Idmap { .. }, _) => {
            "its file system cannot be idmapped: use --allow host-user, or put it on ext4, xfs, btrfs or tmpfs"
        }
        (A::IdMapWrite { .. }, Errno::EPERM) => {
            "the mapping needs privileges outside: run as root, or use newuidmap's ranges"
        }
        (A::DeviceNodes { .. }, Errno::EPERM) => {
            "mknod is refused to safebox itself: it needs CAP_MKNOD, and a device cgroup that allows it"
        }
        (A::OpenTree { device: Some(_), .. }, Errno::ENODEV) => {
            "the host's /dev has something else at this path: repair it first"
        }
        (A::OpenTree { .. } | A::OpenSource { .. } | A::OpenInside { .. }, Errno::ENOENT) => {
            "the source of the bind mount does not exist on the host"
        }
        (A::MountFs { .. } | A::MoveTree { .. }, Errno::ELOOP) if call == Call::SymlinkTarget => {
            "this must be mounted on ordinary directory, and the rootfs has a symbolic link there: refused, since it may lead anywhere (CVE-2019-19921)"
        }
        (A::MountFs { .. } | A::MakeTarget { .. } | A::MoveTree { .. }, Errno::EROFS) => {
            "it is missing, and what it lies on is read-only: create it in the rootfs, or in the source of the bind mount above it"
        }
        (
            A::MountFs { .. } | A::MakeTarget { .. } | A::MoveTree { .. } | A::MakeCwd { .. },
            Errno::EACCES | Errno::EOVERFLOW,
        ) => "the container's root does not own the rootfs, and this must be made in it: create it there",
        (A::MountFs { fs, .. }, Errno::EPERM) if fs.to_bytes() == b"proc" => {
            "a new procfs needs a pid namespace of the same user namespace (with a joined one: --allow host-user), and is only allowed where the present one is fully visible: in a container, unmask /proc first"
        }
        (A::MountFs { fs, .. }, Errno::EPERM) if fs.to_bytes() == b"sysfs" => {
            "sysfs needs a network namespace of the same user namespace: give the container its own, or bind /sys"
        }
        (A::MountFs { fs, .. }, Errno::EPERM) if fs.to_bytes() == b"mqueue" => {
            "mqueue needs an IPC namespace of the same user namespace: give the container its own, or leave the mount out"
        }
        (A::MountFs { .. }, Errno::ENODEV) => {
            "the kernel does not know this file system: load its module, or correct `type`"
        }
        (A::MountFs { .. }, Errno::EINVAL) if call == Call::Fsconfig => {
            "the file system does not know this option"
        }
        (A::OpenPlace { .. }, Errno::EACCES) => {
            "the container's root may not pass the directories above the rootfs, where createContainer hooks look for its mounts: chmod them, or put the bundle elsewhere"
        }
        (A::RaiseLimit { .. }, Errno::EPERM) => {
            "raising a hard limit needs CAP_SYS_RESOURCE, which safebox does not have here"
        }
        (A::TimeOffsets { .. }, Errno::EACCES) => {
            "an ordinary user cannot set clocks in a user namespace that others are in already: give the container one of its own"
        }
        (A::OomScoreAdj { .. }, Errno::EACCES) => {
            "lowering the score needs CAP_SYS_RESOURCE, which safebox does not have here"
        }
        (A::SetUid { .. } | A::SetGid { .. } | A::SetGroups { .. }, Errno::EINVAL) => {
            "this id is not mapped into the container's user namespace"
        }
        (A::ChangeDir { .. } | A::MakeCwd { .. }, Errno::ENOTDIR) => "process.cwd is not a directory",
        (A::ChangeDir { .. }, Errno::EACCES) => {
            "the container's user may not enter process.cwd: chmod it, or choose the user with --user"
        }
        (A::ChangeDir { .. }, Errno::ENOENT) => {
            "process.cwd does not exist in the container, or lies outside it"
        }
        (A::ExecLabel { .. }, Errno::ENOENT) => "the profile is not loaded: load it with apparmor_parser",
        (A::ExecLabel { .. }, Errno::EINVAL) => "the security module does not know this label",
        (A::Seccomp { .. }, Errno::EINVAL) => {
            "the kernel refuses the filter: a flag or action is newer than this kernel"
        }
        (A::NetDevice { .. }, Errno::ENODEV) => "the host has no network device of this name: see `ip link`",
        (A::NetDevice { .. }, Errno::EEXIST) => {
            "a device of this name is inside already: give it another with `name`"
        }
        (A::NetDevice { .. }, Errno::EINVAL) if call == Call::NetlinkMove => {
            "this device is bound to its namespace (lo, for example, is) and cannot be moved"
        }
        (A::NetDevice { .. }, Errno::EPERM) => {
            "moving a device needs CAP_NET_ADMIN over the host's network namespace"
        }
        (A::SendListener { .. }, Errno::ENOENT | Errno::ECONNREFUSED) => {
            "failed to connect with seccomp agent specified in the seccomp profile: start it first (/linux/seccomp/listenerPath)"
        }
        (A::Seccomp { listener: Some(_), .. }, Errno::EBUSY) => {
            "somebody outside listens to the system calls of safebox itself, and there is one listener at most (without --debug a run needs none)"
        }
        (A::SendListener { .. }, Errno::EPERM) if call == Call::PidfdGetfd => {
            "taking the listener over needs CAP_SYS_PTRACE, which safebox does not have here"
        }
        (A::Pivot { .. }, Errno::EINVAL) => "pivot_root cannot work on an initramfs: use --no-pivot",
        (A::DieWithRuntime, Errno::ESRCH) => "the launcher died while the container was being built",
        (A::Sysctl { .. }, Errno::ENOENT) => "this kernel has no such setting",
        (A::Sysctl { .. }, Errno::EACCES | Errno::EPERM) => {
            "this setting belongs to the host, not to a namespace of the container"
        }
        (_, Errno::EMFILE) => {
            "the hard limit on open files (RLIMIT_NOFILE) is too low: raise it (`ulimit -Hn`, LimitNOFILE= of a service), or use fewer bind mounts"
        }
        (_, Errno::ENFILE) => "the host's limit on open files is reached: see /proc/sys/fs/file-nr",
        (_, Errno::ENOSYS) => "this kernel is too old: safebox needs Linux 5.14 or later",
        _ => return None,
    })
}

/// What failures of this row mean: (errno, remedy), without those that hold for every row.
pub fn known(action: &Action) -> Vec<(&'static str, &'static str)> {
    let mut known: Vec<(&str, &str)> = Vec::new();
    for errno in (1..134).map(Errno::from_raw) {
        if matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOSYS | Errno::UnknownErrno) {
            continue;
        }
        if let Some(remedy) = hint(action, errno, Call::None)
            && known.iter().all(|(_, text)| *text != remedy)
        {
            known.push((crate::tables::errno::name(errno as i32), remedy));
        }
    }
    // A remedy for every errno is one for none in particular.
    if known.len() == 1 && hint(action, Errno::EXFULL, Call::None).is_some() {
        known[0].0 = "any error";
    }
    known
}

/// Where the tree of a failed row was to be mounted: the row names its source alone, and one source may have many places.
pub fn destination(plan: &Plan, action: &Action) -> Option<String> {
    let (Action::OpenTree { to: tree, device: None, .. }
    | Action::OpenSource { to: tree, .. }
    | Action::Idmap { tree, .. }) = action
    else {
        return None;
    };
    plan.steps.iter().find_map(|step| match &step.action {
        Action::MoveTree { tree: moved, target, .. } if moved == tree => {
            Some(format!("/{}", show(&target.path)))
        }
        _ => None,
    })
}

/// A remedy where the container's own filter is what made row `row` fail. EPERM is what a profile answers where it
/// names nothing else, and ENOSYS to calls that are newer than all it knows.
pub fn refused(plan: &Plan, row: usize, errno: Errno) -> Option<&'static str> {
    let before = |wanted: fn(&Action) -> bool| plan.steps[..row].iter().any(|s| wanted(&s.action));
    if !before(|a| matches!(a, Action::Seccomp { .. })) || !matches!(errno, Errno::EPERM | Errno::ENOSYS) {
        return None;
    }
    Some(if before(|a| matches!(a, Action::NoNewPrivs)) {
        "the container's own filter is in force here and may refuse it: allow it in linux.seccomp"
    } else {
        "the container's own filter is in force here and may refuse it: allow it in linux.seccomp, or set process.noNewPrivileges, with which the filter comes last"
    })
}

/// Which symlink was refused, where one was.
pub fn refused_link(action: &Action, call: Call, length: usize) -> Option<String> {
    let (above, path) = action.resolves()?;
    let link = format!("{above}{}", path.get(..length).unwrap_or(&path).trim_end_matches('/'));
    match call {
        Call::VolumeLink => Some(format!(
            "{link:?} is a symlink in a volume and leads out of that volume: refused, since whoever writes the volume chooses where it leads"
        )),
        Call::OthersLink => Some(format!(
            "{link:?} is a symlink of another user and leads to what is not theirs: refused; name its target instead"
        )),
        _ => None,
    }
}

/// The words of runc and Docker for a program that cannot be executed.
pub fn exec_error(plan: &Plan, row: usize, cx: &Cx, errno: Errno, call: Call) -> Option<ExecError> {
    let step = plan.steps.get(row).filter(|_| call != Call::Injected)?;
    // A filter that is in force before the program is looked up is told as for any other row.
    let told = call.is_refused_link() || refused(plan, row, errno).is_some();
    if matches!(step.action, Action::FindProgram { .. }) && told {
        return None;
    }
    let name = program(plan)?;
    let uid = plan.steps.iter().find_map(|s| match s.action {
        Action::SetUid { uid } => Some(uid),
        _ => None,
    });
    let not_found = |message: String| Some(ExecError { message, bare: None, not_found: true });
    let cannot = |message: String| Some(ExecError { message, bare: None, not_found: false });
    match (&step.action, errno) {
        (Action::FindProgram { .. }, Errno::ENOENT) if name.contains('/') => {
            not_found(format!("exec: \"{name}\": stat {name}: no such file or directory"))
        }
        (Action::FindProgram { .. }, Errno::ENOENT) => {
            not_found(format!("exec: \"{name}\": executable file not found in $PATH"))
        }
        // The path, not the program, is what is wrong: in runc's words, or the last look at $PATH.
        (Action::FindProgram { .. }, Errno::ENOTDIR) if name.contains('/') => {
            cannot(format!("exec: \"{name}\": stat {name}: not a directory"))
        }
        (Action::FindProgram { .. }, Errno::ENOTDIR) => {
            not_found(format!("exec: \"{name}\": executable file not found in $PATH"))
        }
        // As runc's: what cannot be executed is not what $PATH is searched for, so this is 127 and not 126.
        (Action::FindProgram { .. }, Errno::EACCES) if !name.contains('/') => not_found(format!(
            "exec: \"{name}\": executable file not found in $PATH (there is {}: give its whole path to see why)",
            if call == Call::IsDirectory {
                "a directory of that name"
            } else {
                "a file of that name that may not be executed"
            }
        )),
        (Action::FindProgram { .. }, Errno::EACCES) if call == Call::IsDirectory => {
            cannot(format!("exec: \"{name}\": permission denied (it is a directory)"))
        }
        (Action::FindProgram { .. }, Errno::EACCES) => cannot(format!(
            "exec: \"{name}\": permission denied (uid {} may not execute it: check its mode and those of the directories above it, or choose the user with --user)",
            uid.unwrap_or_default()
        )),
        (Action::FindProgram { .. }, e) => {
            cannot(format!("exec: \"{name}\": {}", crate::tables::errno::text(e as i32)))
        }
        (Action::Exec { candidates, .. }, e) => {
            let path = candidates.get(cx.program).map_or_else(|| name.clone(), |c| show(c).into_owned());
            let filters = plan.steps.iter().filter_map(|s| match &s.action {
                Action::Seccomp { filter, .. } => Some(filter.as_slice()),
                _ => None,
            });
            Some(not_executed(&path, e, cx.detail.as_deref(), filters))
        }
        _ => None,
    }
}

/// The words for an execve(2) that failed: runc's, which Docker and Podman look for, then the reason. `lacking` is what
/// the file lacks, where that is known; `filters` are those in force.
pub fn not_executed<'a>(
    path: &str,
    errno: Errno,
    lacking: Option<&str>,
    mut filters: impl Iterator<Item = &'a [libc::sock_filter]>,
) -> ExecError {
    let refused = filters.any(|filter| seccomp::refuses(filter, libc::SYS_execve) == Some(errno as i32));
    let why = match (errno, lacking) {
        _ if refused => "the seccomp profile refuses execve: allow execve in linux.seccomp",
        (Errno::ENOENT | Errno::EACCES | Errno::ELOOP, Some(lacking)) => lacking,
        (Errno::ENOENT, None) => "its interpreter (#! line or ELF loader) is missing",
        (Errno::ENOEXEC, _) => {
            "not a program for this machine (wrong architecture, or a script without a #! line)"
        }
        (Errno::EACCES, None) => "it lies on a noexec mount, or its interpreter is not executable",
        (Errno::E2BIG, _) => {
            "process.args and process.env are too large: 128 KiB for each entry, a quarter of the stack limit for all (execve(2))"
        }
        (Errno::EPERM, _) => {
            "the file has capabilities that this container does not have: --cap-add NAME, or remove them with setcap -r"
        }
        (Errno::ETXTBSY, _) => "a process has the file open for writing",
        _ => "",
    };
    let text = crate::tables::errno::text(errno as i32);
    let colon = if why.is_empty() { "" } else { ": " };
    let bare = format!("exec {path}: {text}");
    ExecError { message: format!("{bare}{colon}{why}"), bare: Some(bare), not_found: errno == Errno::ENOENT }
}

fn program(plan: &Plan) -> Option<String> {
    plan.steps.iter().find_map(|s| match &s.action {
        Action::Exec { argv, .. } => argv.strings().first().map(|s| show(s).into_owned()),
        _ => None,
    })
}
