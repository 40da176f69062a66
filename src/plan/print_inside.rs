//! How the rows of Init print: mounts, and the tail that ends as the program.

use std::fmt;

use super::action::Action;
use super::words::{print_data, set_attrs, value};
use crate::sys::cstr::show;
use crate::tables::mount_options::describe_attrs;

impl Action {
    pub(super) fn fmt_mounts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            A::StayInit { status, tty, subreaper } => {
                f.write_str("rt_sigaction(all, forward) prctl(PR_SET_DUMPABLE, 0) ")?;
                f.write_str(if *subreaper { "prctl(PR_SET_CHILD_SUBREAPER) " } else { "" })?;
                f.write_str(if tty.is_some() { "ioctl(TIOCNOTTY) " } else { "" })?;
                write!(
                    f,
                    "clone(SIGCHLD): init stays: close_range, wait4(-1), write({status}); its child: setsid"
                )?;
                f.write_str(if tty.is_some() { " ioctl(TIOCSCTTY)" } else { "" })
            }
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
