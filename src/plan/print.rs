//! How rows print: the system calls, as strace would show them.

use std::fmt::{self, Display};

use super::Supplementary;
use super::action::Action;
use super::words::{as_user, flags, prlimit, propagation, value};
use crate::sys::cstr::show;
use crate::tables::mount_options::describe_attrs;

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
            A::StatusSocket { ours, theirs } => {
                write!(f, "socketpair(AF_UNIX, SOCK_SEQPACKET) -> {ours}, {theirs}")
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
}
