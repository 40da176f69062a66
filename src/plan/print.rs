//! How rows print: the system calls, as strace would show them.

use std::ffi::CString;
use std::fmt::{self, Display};

use super::Supplementary;
use super::action::{Action, SetAttr, Target};
use crate::sys::cstr::show;
use crate::sys::mount::MountAttr;
use crate::tables::mount_options::describe_attrs;
use crate::tables::namespaces::NAMESPACES;

/// Names of namespace flags, joined by `|`.
pub fn flags(bits: u64) -> String {
    let names: Vec<_> = NAMESPACES.iter().filter(|r| bits & r.flag != 0).map(|r| r.flag_name).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}

/// Names of mount(2) propagation flags, joined by `|`.
fn propagation(bits: u64) -> String {
    let table = [
        (libc::MS_SHARED, "MS_SHARED"),
        (libc::MS_SLAVE, "MS_SLAVE"),
        (libc::MS_PRIVATE, "MS_PRIVATE"),
        (libc::MS_UNBINDABLE, "MS_UNBINDABLE"),
        (libc::MS_REC, "MS_REC"),
    ];
    table.iter().filter(|(b, _)| bits & b != 0).map(|(_, n)| *n).collect::<Vec<_>>().join("|")
}

/// A value as it is written to a file, without its newline and shortened.
fn value(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    if text.len() > 72 {
        format!("{:?}...", text.chars().take(69).collect::<String>())
    } else {
        format!("{text:?}")
    }
}

fn print_data(f: &mut fmt::Formatter<'_>, data: &[(CString, Option<CString>)]) -> fmt::Result {
    data.iter().try_for_each(|(k, v)| match v {
        Some(v) => write!(f, "fsconfig({}={}) ", show(k), show(v)),
        None => write!(f, "fsconfig({}) ", show(k)),
    })
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.root, show(&self.path))
    }
}

impl Display for SetAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MountAttr { attr_set, attr_clr, propagation: p, .. } = self.attr;
        let mut parts = Vec::new();
        if attr_set != 0 {
            parts.push(format!("set={}", describe_attrs(attr_set)));
        }
        if attr_clr != 0 {
            parts.push(format!("clear={}", describe_attrs(attr_clr)));
        }
        if p != 0 {
            parts.push(format!("propagation={}", propagation(p)));
        }
        let recursive = if self.recursive { "AT_RECURSIVE, " } else { "" };
        write!(f, "mount_setattr({recursive}{})", parts.join(", "))
    }
}

fn set_attrs(changes: &[SetAttr]) -> String {
    changes.iter().map(|c| format!("{c} ")).collect()
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Action as A;
        match self {
            A::StateDir { path, lock } => {
                write!(
                    f,
                    "mkdir, open -> {lock}, flock(LOCK_EX), renameat2(-> {:?}, RENAME_NOREPLACE)",
                    show(path)
                )
            }
            A::LauncherMark { path, .. } => write!(f, "symlink(\"PID START\", {:?})", show(path)),
            A::StateFile { dir, name, bytes } => {
                write!(f, "write({}/{}, {} bytes) rename", show(dir), show(name), bytes.len())
            }
            A::RecordIds { path, value: v } => write!(f, "write({}, {})", show(path), value(v)),
            A::Fifo { path, to } => write!(f, "mkfifo({:?}) open -> {to}", show(path)),
            A::DoorSocket { dir, to } => {
                let name = crate::state::files::DOOR;
                write!(f, "{to} = socket(AF_UNIX, SOCK_SEQPACKET) bind({}/{name}) listen", show(dir))
            }
            A::TakeShown { shown } => {
                f.write_str("recvmsg(SCM_RIGHTS")?;
                shown.slots().try_for_each(|slot| write!(f, " {slot}"))?;
                f.write_str(")")
            }
            A::CgroupParent { path } => write!(f, "mkdir({:?}) or it exists", show(path)),
            A::CgroupDir { path, record } => {
                write!(f, "mkdir({:?}) fstat write({}, \"DEV INODE\")", show(path), show(record))
            }
            A::CgroupJoinable { path, record, to } => {
                write!(
                    f,
                    "open({:?}) -> {to} flock(LOCK_EX|LOCK_NB) cgroup.procs == \"\" write({}, \"DEV INODE joined\")",
                    show(path),
                    show(record)
                )
            }
            A::CgroupEnable { path, value: v } | A::CgroupWrite { path, value: v } => {
                write!(f, "write({}, {})", show(path), value(v))
            }
            A::CgroupWriteEither { path, value: v, other: (file, other) } => {
                write!(
                    f,
                    "write({}, {}) or, without it, write({}, {})",
                    show(path),
                    value(v),
                    show(file),
                    value(other)
                )
            }
            A::SystemdScope { start, .. } => {
                write!(f, "systemd: StartTransientUnit({:?}, PIDs=[PID]", start.scope.unit)?;
                start.properties.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
                f.write_str(") JobRemoved == done")
            }
            A::SystemdAttach { scope } => {
                write!(f, "systemd: AttachProcessesToUnit({:?}, [PID])", scope.unit)
            }
            A::CgroupInScope { path, .. } => write!(f, "mkdir({:?}) or it exists", show(path)),
            A::CgroupOwner { path, uid } => {
                write!(
                    f,
                    "chown({:?}, {uid}) and its files that /sys/kernel/cgroup/delegate names",
                    show(path)
                )
            }
            A::CgroupOpen { path, to } => write!(f, "open({:?}, O_PATH|O_DIRECTORY) -> {to}", show(path)),
            A::DeviceFilter { cgroup, program } => {
                write!(
                    f,
                    "bpf(BPF_PROG_LOAD, CGROUP_DEVICE, {} instructions) bpf(BPF_PROG_ATTACH, {cgroup})",
                    program.len()
                )
            }
            A::OpenTree { source, at, recursive, device, to } => {
                let from = at.as_ref().map_or_else(|| format!("{:?}", show(source)), |s| s.to_string());
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "open_tree({from}, OPEN_TREE_CLONE{recursive}) -> {to}")?;
                match device {
                    Some(device) => write!(f, " fstat == {device}"),
                    None => Ok(()),
                }
            }
            A::OpenRoot { path, rootfs, recursive, to } => {
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "open_tree({:?}, OPEN_TREE_CLONE{recursive}) -> {to} fstat == {rootfs}", show(path))
            }
            A::OpenSource { path, recursive, to } => {
                write!(f, "openat2({:?}), no symlink of another user", show(path))?;
                match recursive {
                    Some(true) => write!(f, ", open_tree(OPEN_TREE_CLONE|AT_RECURSIVE) -> {to}"),
                    Some(false) => write!(f, ", open_tree(OPEN_TREE_CLONE) -> {to}"),
                    None => write!(f, " -> {to}"),
                }
            }
            A::OpenDevpts { to } => write!(f, "open(\"/dev/pts\", O_PATH) -> {to}"),
            A::StdioPipe { pipe, owner } => {
                write!(f, "pipe2() -> {}, {}", pipe.ours, pipe.theirs)?;
                owner.map_or(Ok(()), |uid| write!(f, " fchown({}, {uid})", pipe.theirs))
            }
            A::StdioNull { own: false, to } => write!(f, "open(\"/dev/null\") -> {to}"),
            A::StdioNull { to, .. } => {
                write!(f, "fsopen(\"tmpfs\") fsmount mknodat(dev/null, 0o20666, 1:3) open -> {to}")
            }
            A::GiveStdio { uid } => {
                write!(
                    f,
                    "fchown(0, {uid}) fchown(1, {uid}) fchown(2, {uid}), but /dev/null, terminals and an input file"
                )
            }
            A::OpenNs { path, to, .. } => write!(f, "open({:?}) -> {to}", show(path)),
            A::OpenPidfd { pid, start, to } => {
                write!(f, "pidfd_open({pid}) -> {to} start time in /proc/{pid}/stat == {start}")
            }
            A::TimeOffsets { value: v } => {
                write!(f, "write(/proc/PID/timens_offsets, {})", value(v))
            }
            _ => self.fmt_spawn(f),
        }
    }
}

impl Action {
    fn fmt_spawn(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Action as A;
        let into = |c: &Option<super::Slot>| {
            c.as_ref().map_or_else(String::new, |c| format!("|CLONE_INTO_CGROUP {c}"))
        };
        match self {
            A::Spawn { namespaces, cgroup, owner } => {
                write!(
                    f,
                    "socketpair(AF_UNIX, SOCK_SEQPACKET) {}clone3({}|CLONE_PIDFD|CLONE_CLEAR_SIGHAND{})",
                    as_user(*owner),
                    flags(*namespaces),
                    into(cgroup)
                )
            }
            A::SpawnSibling { namespaces, owner } => {
                write!(
                    f,
                    "{}clone3({}|CLONE_PARENT|CLONE_PIDFD|CLONE_CLEAR_SIGHAND)",
                    as_user(*owner),
                    flags(*namespaces)
                )
            }
            A::Unshare { namespaces, owner } => {
                write!(f, "{}unshare({})", as_user(*owner), flags(*namespaces))
            }
            A::JoinNs { ns, flags: bits, .. } => write!(f, "setns({ns}, {})", flags(*bits)),
            A::RecordPid { dir, name, .. } => write!(f, "write({}/{}, PID) rename", show(dir), show(name)),
            A::CgroupJoin { path } => write!(f, "write({}, PID)", show(path)),
            A::IdMapWrite { file, value: v } => write!(f, "write(/proc/PID/{file}, {})", value(v)),
            A::IdMapTool { program, maps } => {
                write!(f, "{} PID", program.display())?;
                maps.iter().try_for_each(|m| write!(f, " {} {} {}", m.container, m.host, m.size))
            }
            A::OomScoreAdj { value } => write!(f, "write(/proc/PID/oom_score_adj, \"{value}\")"),
            A::RaiseLimit { resource, limit } => prlimit(f, "PID", *resource, limit.soft, limit.hard),
            A::MoreFiles { limit } => prlimit(f, "0", libc::RLIMIT_NOFILE, limit.hard, limit.hard),
            A::SetLimit { resource, limit } => prlimit(f, "0", *resource, limit.soft, limit.hard),
            A::OpenChildNs { kind, to } => write!(f, "open(/proc/PID/ns/{}) -> {to}", kind.row().proc),
            A::NetDevice { namespace, outside, inside } => {
                write!(
                    f,
                    "netlink(RTM_NEWLINK, {outside:?}, IFLA_NET_NS_FD {namespace}, IFLA_IFNAME {inside:?}) setns({namespace}) netlink(RTM_NEWADDR, RTM_NEWLINK, {inside:?}, IFF_UP) setns(back)"
                )
            }
            A::Userns { uid_map, gid_map, to } => {
                write!(
                    f,
                    "clone(CLONE_NEWUSER) write(uid_map, {}) write(gid_map, {}) open(ns/user) -> {to} kill",
                    value(uid_map),
                    value(gid_map)
                )
            }
            A::Idmap { tree, userns, recursive, propagation: p, attrs } => {
                match userns {
                    None => f.write_str("open(/proc/PID/ns/user) ")?,
                    Some(slot) => write!(f, "{slot} ")?,
                }
                let recursive = if *recursive { ", AT_RECURSIVE" } else { "" };
                write!(f, "mount_setattr({tree}{recursive}, set=MOUNT_ATTR_IDMAP")?;
                if *attrs != 0 {
                    write!(f, "|{}", describe_attrs(*attrs))?;
                }
                if *p == 0 { f.write_str(")") } else { write!(f, ", propagation={})", propagation(*p)) }
            }
            A::Hooks { kind, state, .. } => write!(f, "{kind} hooks ({})", state.hooks.len()),
            A::Created { from, to } => write!(f, "rename({:?}, {:?})", show(from), show(to)),
            A::PidFile { path, .. } => write!(f, "write({:?}, PID) rename", show(path)),
            A::CleanSignals => {
                f.write_str("rt_sigaction(every ignored signal, SIG_DFL) rt_sigprocmask(SIG_SETMASK, [])")
            }
            A::NewSession => f.write_str("setsid()"),
            A::BecomeRoot { groups } => {
                f.write_str(match groups {
                    Supplementary::Drop => "setgroups([]) ",
                    Supplementary::DropIfAllowed => "setgroups([]) unless it is denied here, ",
                    Supplementary::Keep => "",
                })?;
                f.write_str("setresgid(0) setresuid(0)")
            }
            A::OwnRoot => {
                f.write_str("setns(/proc/self/ns/mnt, CLONE_NEWNS): / must be the same before and after")
            }
            A::Undumpable => f.write_str("prctl(PR_SET_DUMPABLE, 0)"),
            A::NewCgroupNs => f.write_str("unshare(CLONE_NEWCGROUP)"),
            A::SetHostname { name } => write!(f, "sethostname({:?})", show(name)),
            A::SetDomainname { name } => write!(f, "setdomainname({:?})", show(name)),
            A::LoopbackUp => f.write_str("socket(AF_INET) ioctl(SIOCSIFFLAGS, \"lo\", IFF_UP)"),
            A::Propagation { flags } => {
                write!(f, "mount_setattr(\"/\", AT_RECURSIVE, propagation={})", propagation(*flags))
            }
            _ => self.fmt_mounts(f),
        }
    }

    fn fmt_mounts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Action as A;
        match self {
            A::OpenPlace { path, rootfs, to } => {
                write!(f, "open({:?}, O_PATH|O_DIRECTORY) -> {to} fstat == {rootfs}", show(path))
            }
            A::AttachRoot { root, at: None } => write!(f, "move_mount({root} -> \"/\")"),
            A::AttachRoot { root, at: Some(place) } => write!(f, "move_mount({root} -> {place})"),
            A::OpenDir { root, path, to } => {
                write!(f, "openat2({root}/{}, RESOLVE_IN_ROOT) or mkdirat -> {to}", show(path))
            }
            A::MakeTarget { target } => write!(f, "openat2({target}, RESOLVE_IN_ROOT) or mkdirat"),
            A::MountFs { fs, data, attrs, after, target, keep } => {
                write!(f, "fsopen({:?}) ", show(fs))?;
                print_data(f, data)?;
                write!(f, "fsmount({}) {}", describe_attrs(*attrs), set_attrs(after))?;
                match (target, keep) {
                    (Some(t), _) => write!(f, "move_mount(-> {t})"),
                    (None, Some(k)) => write!(f, "-> {k}"),
                    (None, None) => Ok(()),
                }
            }
            A::MoveTree { tree, before, target } => {
                write!(f, "{}move_mount({tree} -> {target})", set_attrs(before))
            }
            A::OpenInside { root, path, recursive, to } => {
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "openat2({root}/{}) open_tree(OPEN_TREE_CLONE{recursive}) -> {to}", show(path))
            }
            A::Hold { tree, to } => write!(f, "fcntl({tree}, F_DUPFD_CLOEXEC) -> {to}"),
            A::FileMount { root, dir, name, content, .. } => {
                let (dir, name) = (show(dir), show(name));
                write!(
                    f,
                    "fsopen(\"tmpfs\") fsmount() move_mount(-> {root}/{dir}) write({name}, {} bytes) open_tree({name}, OPEN_TREE_CLONE) umount2(., MNT_DETACH) mount_setattr(set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC) move_mount(-> {root}/{dir}/{name})",
                    content.len()
                )
            }
            A::CopyUp { root, path, tree, strict, .. } => {
                let what = if *strict { "copy" } else { "copy what may be read" };
                write!(f, "openat2({root}/{}, RESOLVE_IN_ROOT) {what} -> {tree}", show(path))
            }
            A::Remount { target, data, changes, .. } => {
                write!(f, "openat2({target}, RESOLVE_IN_ROOT) ")?;
                if !data.is_empty() {
                    f.write_str("fspick() ")?;
                    print_data(f, data)?;
                    f.write_str("fsconfig(FSCONFIG_CMD_RECONFIGURE) ")?;
                }
                f.write_str(set_attrs(changes).trim_end())
            }
            A::DeviceNode { root, path, mode, dev, .. } => {
                write!(
                    f,
                    "mknodat({root}/{}, {mode:#o}, {}:{})",
                    show(path),
                    libc::major(*dev),
                    libc::minor(*dev)
                )
            }
            A::Relink { root, path, to } => {
                write!(f, "symlinkat({:?}, {root}/{1}), in place of what is there", show(to), show(path))
            }
            A::Symlink { root, path, to } => write!(f, "symlinkat({:?}, {root}/{})", show(to), show(path)),
            A::DeviceNodes { nodes, to } => {
                f.write_str("fsopen(\"tmpfs\") fsmount(MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOEXEC)")?;
                nodes.iter().try_for_each(|node| write!(f, " mknodat({node})"))?;
                write!(f, " -> {to}")
            }
            A::NodeTrees { nodes, root, trees } => {
                write!(f, "move_mount({nodes} -> {root})")?;
                trees.iter().try_for_each(|(name, to)| {
                    write!(f, " open_tree({nodes}/{}, OPEN_TREE_CLONE) -> {to}", show(name))
                })?;
                write!(f, " fchdir({nodes}) umount2(\".\", MNT_DETACH)")
            }
            A::OpenNull { dev, to } => {
                write!(f, "openat({dev}/null, O_PATH|O_NOFOLLOW) -> {to} fstat == char 1:3")
            }
            A::EmptyDir { to } => {
                write!(
                    f,
                    "fsopen(\"tmpfs\") fsconfig(size=4k) fsconfig(mode=0555) fsmount(MOUNT_ATTR_RDONLY) -> {to}"
                )
            }
            A::Mask { root, path, null, empty } => {
                write!(
                    f,
                    "openat2({root}/{}) open_tree({null} or {empty}, OPEN_TREE_CLONE) move_mount",
                    show(path)
                )
            }
            A::ReadonlyPath { root, path } => {
                write!(
                    f,
                    "openat2({root}/{}) open_tree(OPEN_TREE_CLONE|AT_RECURSIVE) mount_setattr(set=MOUNT_ATTR_RDONLY) move_mount",
                    show(path)
                )
            }
            A::Pty { devpts, master, slave, owner, lf, .. } => {
                let modes = if *lf { format!(" tcsetattr({master}, ~ONLCR)") } else { String::new() };
                write!(
                    f,
                    "openat2({devpts}/ptmx) -> {master} ioctl(TIOCGPTPEER) -> {slave}{modes} fchownat({slave}, {owner})"
                )
            }
            A::NotifyDir { path } | A::CriuRoot { path } => write!(f, "mkdir({}, 0755)", show(path)),
            A::AttachAt { tree, path } => write!(f, "move_mount({tree}, {})", show(path)),
            A::PassFds { fds } => {
                let names: Vec<String> = fds.iter().map(|s| s.to_string()).collect();
                write!(f, "dup2({}) to 0-{}", names.join(" "), fds.len().saturating_sub(1))
            }
            A::NotifySocket { dir, to } => {
                write!(
                    f,
                    "{to} = socket(AF_UNIX, SOCK_DGRAM) bind({}/{})",
                    show(dir),
                    crate::state::files::NOTIFY_SOCKET
                )
            }
            A::SendPidfd { socket, .. } => write!(f, "sendmsg({socket}, SCM_RIGHTS PIDFD)"),
            A::SendPty { master, socket } => write!(f, "sendmsg({socket}, SCM_RIGHTS {master})"),
            A::ConsoleMount { slave, target } => {
                write!(f, "open_tree({slave}, OPEN_TREE_CLONE) move_mount(-> {target})")
            }
            A::Sysctl { proc, path, value: v } => {
                write!(f, "openat2({proc}/{}) write({})", show(path), value(v))
            }
            A::Pivot { root } => {
                write!(f, "fchdir({root}) pivot_root(\".\", \".\") umount2(\".\", MNT_DETACH)")
            }
            A::HideMount { path } => write!(f, "umount2({}, MNT_DETACH)", show(path)),
            A::Chroot { root } => write!(f, "fchdir({root}) chroot(\".\")"),
            A::RootAttr { root, change } => write!(f, "{change} on {root}"),
            _ => self.fmt_tail(f),
        }
    }

    fn fmt_tail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Action as A;
        let caps = |bits: u64| crate::tables::capabilities::CapSet(bits);
        match self {
            A::MakeCwd { root, path, uid, gid } => {
                let path = show(path);
                write!(f, "openat2({root}/{path}) or setfsgid({gid}) setfsuid({uid}) mkdirat")
            }
            A::PlaceStdio { ends } => {
                let dup = |(number, from): &(u8, crate::plan::Slot)| format!("dup2({from}, {number})");
                f.write_str(&ends.iter().map(dup).collect::<Vec<_>>().join(" "))
            }
            A::TakeTty { slave, fds } => {
                write!(f, "ioctl({slave}, TIOCSCTTY)")?;
                fds.iter().try_for_each(|fd| write!(f, " dup2({slave}, {fd})"))
            }
            A::Scheduler(a) => {
                write!(f, "sched_setattr(policy={}, priority={}, nice={})", a.policy, a.priority, a.nice)
            }
            A::IoPriority { value } => write!(f, "ioprio_set(IOPRIO_WHO_PROCESS, 0, {value:#x})"),
            A::AllCpus => f.write_str("sched_setaffinity(0, all)"),
            A::Affinity { cpus } => write!(f, "sched_setaffinity(0, {})", Bits(cpus)),
            A::MemoryPolicy(policy) => {
                write!(f, "set_mempolicy({:#x}, {})", policy.mode, Bits(&policy.nodes))
            }
            A::Personality { value } => write!(f, "personality({value:#x})"),
            A::Landlock(l) => {
                write!(f, "landlock_restrict_self(ABI {}", l.abi)?;
                for (path, rights) in &l.paths {
                    write!(
                        f,
                        ", {}: {}",
                        show(path),
                        crate::tables::landlock::names(*rights & l.handled, l.abi)
                    )?;
                }
                if l.scoped != 0 {
                    write!(f, "; signals and abstract sockets stay inside")?;
                }
                f.write_str(")")
            }
            A::Keyring => f.write_str("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
            A::ExecLabel { proc, file, value: v } => {
                write!(f, "openat2({proc}/{}) write({})", show(file), value(v))
            }
            A::Bounding { keep } => write!(f, "prctl(PR_CAPBSET_DROP, all but {})", caps(*keep)),
            A::KeepCaps => f.write_str("prctl(PR_SET_KEEPCAPS, 1)"),
            A::SetGroups { gids, if_allowed } => {
                write!(f, "setgroups({gids:?}){}", if *if_allowed { " unless it is denied here" } else { "" })
            }
            A::SetGid { gid } => write!(f, "setgid({gid})"),
            A::SetUid { uid } => write!(f, "setuid({uid})"),
            A::Umask { mask } => write!(f, "umask({mask:#05o})"),
            A::Caps { effective, permitted, inheritable } => {
                write!(
                    f,
                    "capset(effective={}, permitted={}, inheritable={})",
                    caps(*effective),
                    caps(*permitted),
                    caps(*inheritable)
                )
            }
            A::Ambient { caps: list } if list.is_empty() => {
                f.write_str("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)")
            }
            A::Ambient { caps: list } => {
                write!(f, "prctl(PR_CAP_AMBIENT, clear all, then raise {})", list.len())
            }
            A::OwnStdio { uid, files } => {
                let but = if *files { "/dev/null" } else { "/dev/null and files" };
                write!(f, "fchown(0, {uid}) fchown(1, {uid}) fchown(2, {uid}), but {but}")
            }
            A::NoNewPrivs => f.write_str("prctl(PR_SET_NO_NEW_PRIVS, 1)"),
            A::VerifyCreds(creds) => {
                write!(f, "getresuid() == {} getresgid() == {}", creds.uid, creds.gid)?;
                if let Some(groups) = &creds.groups {
                    write!(f, " getgroups() == {groups:?}")?;
                }
                f.write_str(" capget() == as set, prctl(PR_CAPBSET_READ, PR_CAP_AMBIENT_IS_SET")?;
                f.write_str(if creds.no_new_privs { ", PR_GET_NO_NEW_PRIVS)" } else { ")" })
            }
            A::ChangeDir { path, again } => {
                f.write_str(if *again { "where that was denied: " } else { "" })?;
                write!(f, "openat2({:?}) fchdir() getcwd() is inside", show(path))
            }
            A::DieWithRuntime => f.write_str("prctl(PR_SET_PDEATHSIG, SIGKILL)"),
            A::FindProgram { candidates, hook } => {
                write!(
                    f,
                    "{}faccessat2({:?}, X_OK, AT_EACCESS)",
                    if *hook { "openat2 " } else { "" },
                    candidates.first().map(|c| show(c)).unwrap_or_default()
                )?;
                if candidates.len() > 1 {
                    write!(f, " and {} more of $PATH", candidates.len() - 1)
                } else {
                    Ok(())
                }
            }
            A::CloseFds { keep, needed } => {
                write!(f, "close_range({keep}, ~0) but <baton>")?;
                needed.iter().try_for_each(|slot| write!(f, " {slot}"))
            }
            A::AwaitStart { start, door: None, .. } => write!(f, "read({start}, 1)"),
            A::AwaitStart { start, door: Some(door), .. } => {
                write!(f, "read({start}, 1); at a knock accept4({}) sendmsg(SCM_RIGHTS", door.socket)?;
                door.shown.slots().try_for_each(|slot| write!(f, " {slot}"))?;
                f.write_str(")")
            }
            A::Seccomp { filter, flags, what, listener } => {
                let flags = match crate::seccomp::flag_names(*flags) {
                    names if names.is_empty() => String::new(),
                    names => format!("{names}, "),
                };
                write!(f, "seccomp(SECCOMP_SET_MODE_FILTER, {flags}{what}, {} instructions)", filter.len())?;
                listener.iter().try_for_each(|slot| write!(f, " -> {slot}"))
            }
            A::SendListener { listener, agent, passed } => {
                let taken = if *passed { "recvmsg(SCM_RIGHTS " } else { "pidfd_getfd(" };
                write!(f, "{taken}{listener})")?;
                agent.iter().try_for_each(|(socket, _)| {
                    write!(f, " connect({:?}) sendmsg(SCM_RIGHTS {listener})", show(socket))
                })
            }
            A::DropListener { listener } => write!(f, "close({listener})"),
            A::Exec { argv, envp, .. } => {
                let args: Vec<_> = argv.strings().iter().map(|s| format!("{:?}", show(s))).collect();
                write!(f, "execve([{}], {} variables)", args.join(", "), envp.strings().len())
            }
            _ => Err(fmt::Error),
        }
    }
}

/// A set of small numbers, as `{0,1,7}`.
struct Bits<'a>(&'a [u64]);

impl fmt::Display for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (0..self.0.len() * 64).filter(|n| self.0[n / 64] & (1 << (n % 64)) != 0);
        let list: Vec<_> = set.map(|n| n.to_string()).collect();
        write!(f, "{{{}}}", list.join(","))
    }
}

fn prlimit(
    f: &mut std::fmt::Formatter<'_>,
    of: &str,
    resource: u32,
    soft: u64,
    hard: u64,
) -> std::fmt::Result {
    let limit = |v: u64| if v == libc::RLIM_INFINITY { "unlimited".to_string() } else { v.to_string() };
    let name = crate::tables::rlimits::by_number(resource).map_or("RLIMIT_?", |r| r.name);
    write!(f, "prlimit({of}, {name}, {{soft={}, hard={}}})", limit(soft), limit(hard))
}

/// Who makes a user namespace, where that is not the caller.
fn as_user(owner: Option<u32>) -> String {
    owner.map(|uid| format!("setresuid(-1, {uid}, -1) ")).unwrap_or_default()
}
