//! Why each row is done: what `explain --why` prints.

use super::action::Action;
use crate::tables::namespaces::NsKind;

impl Action {
    /// One sentence for a reader who came to learn, with its source.
    pub fn why(&self) -> &'static str {
        use Action as A;
        match self {
            A::StateDir { .. } => {
                "the name is taken atomically: a second create with this id fails here (runtime.md, create)"
            }
            A::LauncherMark { .. } => {
                "the mark names the launcher: if launcher and guardian are killed, the next `run` finds and removes this container, without reading every state (start time in proc(5))"
            }
            A::StateFile { .. } => {
                "the list of undos is on disk before the rows run, so `delete` works after a crash (runtime.md, delete)"
            }
            A::RecordIds { .. } => {
                "the file reserves the range of host ids for this container until its state directory is removed (user_namespaces(7))"
            }
            A::Fifo { .. } => {
                "create and start are two commands; the container waits on this pipe in between (runtime.md, start)"
            }
            A::DoorSocket { .. } => {
                "Init is undumpable, so ptrace access to it is denied even to its owner (CVE-2016-9962): on this socket it hands out its namespaces until it is started"
            }
            A::NotifySocket { .. } => {
                "the runtime passes the container's notify messages on to systemd (sd_notify(3))"
            }
            A::NotifyDir { .. } => {
                "the container sends its notify messages to a socket in this directory, since it cannot see the host's (sd_notify(3))"
            }
            A::CriuRoot { .. } => "criu wants the rootfs to be a mount of its own (criu(8))",
            A::AttachAt { .. } => {
                "in a mount namespace that ends with criu: the host never sees this mount, so nothing is to be unmounted (mount_namespaces(7))"
            }
            A::PassFds { .. } => {
                "criu gets nothing but its socket and what the container inherits, at numbers its request names (criu(8), --inherit-fd)"
            }
            A::CgroupParent { .. } => {
                "this cgroup is a parent in the container's path; other containers may use it, so it is not removed (cgroups(7))"
            }
            A::CgroupDir { .. } => {
                "limits belong to a cgroup; one per container, so its usage is counted alone (cgroups(7))"
            }
            A::CgroupJoinable { .. } => {
                "the config names a pre-existing cgroup: the container joins it only if it has no processes, and does not remove it (runtime.md, Delete)"
            }
            A::CgroupEnable { .. } => {
                "a child cgroup has a controller only if its parent enables it (cgroups(7), subtree_control)"
            }
            A::CgroupWrite { path, .. } if path.to_bytes().windows(9).any(|w| w == b"/devices.") => {
                "a device node gives access to a driver of the kernel: only the listed devices can be opened (config-linux.md, Allowed Device list)"
            }
            A::CgroupWrite { .. } => {
                "the limit is in force before the first process exists, so nothing runs unlimited (cgroups(7))"
            }
            A::CgroupWriteEither { .. } => {
                "the weight's file depends on the I/O scheduler: BFQ has one, io.cost has another (cgroup-v2.rst, IO Interface Files)"
            }
            A::SystemdScope { .. } => {
                "systemd owns the cgroup tree: it makes the cgroup around the waiting child and delegates it (systemd.resource-control(5), Delegate)"
            }
            A::SystemdAttach { .. } => {
                "an unprivileged user may not move a process between cgroups; the user's systemd may, within its delegated part (cgroups(7), Delegation)"
            }
            A::CgroupInScope { .. } => {
                "systemd makes the scope in the cgroup v1 trees that it uses; the runtime makes the same cgroup in the others (cgroups(7))"
            }
            A::CgroupOwner { .. } => {
                "the config mounts the cgroup writable in a new cgroup namespace: the container's user may make cgroups below it, and may not change its limits (config-linux.md, Cgroup ownership)"
            }
            A::CgroupOpen { .. } => {
                "clone3 starts the child inside this cgroup: there is no moment outside it (clone(2), CLONE_INTO_CGROUP)"
            }
            A::DeviceFilter { .. } => {
                "a device node gives access to a driver of the kernel: only the listed devices can be opened (config-linux.md, Allowed Device list)"
            }
            A::OpenTree { device: Some(_), .. } => {
                "a copy of the host's device, proved to be that device: a planted /dev/null cannot take its place (CVE-2025-31133)"
            }
            A::OpenTree { .. } => {
                "the host path is resolved once, now; later rows only hold the copy, so swapping the path changes nothing (CVE-2021-30465)"
            }
            A::OpenSource { .. } => {
                "the host path is resolved once, and a symlink of another user is followed only to files of that user: write access to a shared directory does not decide what the container sees (symlink(7))"
            }
            A::OpenRoot { .. } => {
                "an unprivileged user may copy mounts only in a mount namespace of the same user namespace; the path is resolved again and must be the rootfs that was opened (mount_namespaces(7))"
            }
            A::OpenDevpts { .. } => {
                "a terminal of the container's own devpts; a FIFO or a device there is not opened, so that it cannot hold the runtime (open(2), O_PATH)"
            }
            A::StdioPipe { .. } => {
                "the launcher copies: the caller's terminal, file or pipe stays outside, and the program's user may open /dev/stdout (pipe(2))"
            }
            A::StdioNull { .. } => {
                "a detached container must not read the caller's terminal or pipe, where later input is meant for other programs (credentials(7), Sessions); its null device is its own, since inotify on the host's reports each access (inotify(7))"
            }
            A::GiveStdio { .. } => {
                "the program may open /dev/stdout: its user is not mapped to the owner, so only the runtime can give it (fchown(2))"
            }
            A::OpenNs { .. } => {
                "the namespace to join is opened while host paths can still be seen (setns(2))"
            }
            A::OpenPidfd { .. } => {
                "a pidfd names this very process, even if its pid is used again (pidfd_open(2))"
            }
            A::TimeOffsets { .. } => {
                "clock offsets can only be set before the first process enters the namespace (time_namespaces(7))"
            }
            A::Unshare { .. } => {
                "made for children, while its offsets can still be set, and inside the user namespace that owns it (time_namespaces(7))"
            }
            A::Spawn { owner: Some(_), .. } => {
                "one call makes the child and its namespaces, as the user behind the container's first id: the kernel counts the container's namespaces and other objects for the user who makes the user namespace (user_namespaces(7))"
            }
            A::Spawn { .. } => {
                "one call makes the child and its namespaces; the first user namespace owns the others, so root inside rules only them (clone(2), user_namespaces(7))"
            }
            A::SpawnSibling { .. } => {
                "a pid or time namespace is entered by children only, so one more clone enters it (pid_namespaces(7))"
            }
            A::JoinNs { kind, .. } => match kind {
                Some(NsKind::User) => {
                    "joined first: it gives the right to join the others (user_namespaces(7))"
                }
                _ => "shares this view with the container it belongs to (setns(2))",
            },
            A::RecordPid { .. } => {
                "pid and start time together identify the process, so `kill` never signals another process that got the same pid (pidfd_open(2), proc(5))"
            }
            A::CgroupJoin { .. } => {
                "cgroup v1 has no CLONE_INTO_CGROUP: the child waits until it has been moved (cgroups(7))"
            }
            A::IdMapWrite { file: "setgroups", .. } => {
                "an unprivileged mapper must give up setgroups first (user_namespaces(7), CVE-2014-8989)"
            }
            A::IdMapWrite { .. } => {
                "ids inside are mapped to a range outside that owns nothing: root inside is an unprivileged id outside (user_namespaces(7))"
            }
            A::IdMapTool { .. } => {
                "an unprivileged user may map one id, the own one; this setuid program maps the ranges that /etc/subuid lists (newuidmap(1))"
            }
            A::OomScoreAdj { .. } => "which process the kernel kills first when memory runs out (proc(5))",
            A::RaiseLimit { .. } => {
                "a hard limit above the one that safebox has: only CAP_SYS_RESOURCE on the host raises it (getrlimit(2))"
            }
            A::MoreFiles { .. } => {
                "each bind mount's source holds a descriptor until it is mounted; the program gets the old limit back (getrlimit(2), RLIMIT_NOFILE)"
            }
            A::SetLimit { .. } => {
                "a limit per process (getrlimit(2)): the program's, so it takes effect when init's own work is done"
            }
            A::OpenChildNs { .. } => {
                "the descriptor keeps the namespace while devices are moved into it (namespaces(7))"
            }
            A::NetDevice { .. } => {
                "the container gets a device of the host for itself, with its addresses, and up (config-linux.md, Network Devices)"
            }
            A::Userns { .. } => {
                "a user namespace without processes: it only holds the id mapping of a mount (mount_setattr(2), MOUNT_ATTR_IDMAP)"
            }
            A::Idmap { userns: Some(_), .. } => {
                "the mount shows its owners as the config maps them, without a chown on disk (mount_setattr(2))"
            }
            A::Idmap { .. } => {
                "the mount shows its owners as ids of this user namespace, without a chown on disk (mount_setattr(2))"
            }
            A::TakeShown { .. } => {
                "hooks join the container by these descriptors: an unprivileged runtime has no ptrace access to Init, which stays undumpable (ptrace(2), CVE-2016-9962)"
            }
            A::Hooks { .. } => {
                "programs of the config's author, run at the moment config.md names (config.md, POSIX-platform Hooks)"
            }
            A::Created { .. } => "from here on the container counts as created (runtime.md, state)",
            A::PidFile { .. } => {
                "written whole or not at all: callers read it the moment create returns (rename(2))"
            }
            A::CleanSignals => {
                "the program starts with default signal handling, not its caller's (signal(7), execve(2)); until then SIGTERM ends it, which the kernel would drop for process 1"
            }
            A::NewSession => {
                "no controlling terminal of the caller is left to inject input into (setsid(2), CVE-2017-5226)"
            }
            A::BecomeRoot { .. } => {
                "root of the new user namespace: enough to build the container, nothing outside it (user_namespaces(7), Capabilities)"
            }
            A::OwnRoot => {
                "in a plain chroot the namespace's root stays the host's, and `exec` would land there: then nothing runs (setns(2), chroot(2))"
            }
            A::Undumpable => {
                "processes inside get no ptrace access to Init while it holds descriptors of the host (prctl(2), PR_SET_DUMPABLE; CVE-2016-9962)"
            }
            A::NewCgroupNs => {
                "the cgroup joined becomes the root of the tree that is shown inside (cgroup_namespaces(7))"
            }
            A::SetHostname { .. } | A::SetDomainname { .. } => {
                "only in a new UTS namespace, or the host would be renamed (uts_namespaces(7))"
            }
            A::LoopbackUp => {
                "a new network namespace has one device, lo, and it is down (network_namespaces(7))"
            }
            A::Propagation { .. } => {
                "mounts made here must not appear on the host (mount_namespaces(7), shared subtrees)"
            }
            _ => self.why_mounts(),
        }
    }

    fn why_mounts(&self) -> &'static str {
        use Action as A;
        match self {
            A::OpenPlace { .. } => {
                "createContainer hooks find the container's mounts at the bundle's rootfs; proved to be the directory that was opened (config.md, POSIX-platform Hooks)"
            }
            A::AttachRoot { at: Some(_), .. } => {
                "the copy of the rootfs enters this mount namespace (mount_namespaces(7))"
            }
            A::AttachRoot { .. } => {
                "the copy of the rootfs enters this mount namespace, on top of the host's tree (mount_namespaces(7))"
            }
            A::OpenDir { .. } => {
                "entries are made through this descriptor, so a link in the rootfs cannot lead elsewhere (CVE-2019-18837)"
            }
            A::MakeTarget { .. } => {
                "a mount needs a target; it is made now, as the owner of the rootfs, and resolved below the root (CVE-2024-45310)"
            }
            A::OpenInside { .. } => {
                "the source lies below the rootfs: it is taken with the mounts that are listed before it (config.md, Mounts)"
            }
            A::Hold { .. } => {
                "it becomes read-only last: mounts, devices and the working directory may have to be made on it (mount_setattr(2), MOUNT_ATTR_RDONLY)"
            }
            A::FileMount { .. } => {
                "a copy of the image's file with a line for the user that runs, over it and read-only: the image stays as it is, and programs that look their user up find one (passwd(5))"
            }
            A::CopyUp { strict: false, .. } => {
                "the image's directories for daemons (/run/postgresql) are there; links are copied, never followed, and what the container's root may not read is left out (symlink(7))"
            }
            A::CopyUp { .. } => {
                "the tmpfs starts with what the rootfs holds there; links in it are copied, never followed (tmpcopyup, symlink(7))"
            }
            A::MountFs { fs, target: None, .. } if fs.to_bytes() == b"proc" => {
                "a private procfs that nothing can be mounted over: writes that matter go through it (CVE-2019-16884, CVE-2025-52881)"
            }
            A::MountFs { fs, .. } => match fs.to_bytes() {
                b"proc" => {
                    "shows the processes of this pid namespace only; the destination must not be a link (CVE-2019-19921)"
                }
                b"sysfs" => "shows the devices of this network namespace (sysfs(5))",
                b"devpts" => {
                    "the container's own terminals: none of the host's can be opened (pts(4), newinstance)"
                }
                b"mqueue" => "the message queues of this IPC namespace (mq_overview(7))",
                b"cgroup" | b"cgroup2" => "shows the container its own limits, read-only (CVE-2022-0492)",
                b"tmpfs" => {
                    "a place to write that is empty at every start, bounded, and cannot hold programs or devices where so marked (tmpfs(5))"
                }
                _ => "a mount of the config (config.md, Mounts)",
            },
            A::MoveTree { .. } => {
                "the copy made before clone is put below the container's root, wherever links there point (CVE-2021-30465)"
            }
            A::Remount { .. } => "changes the attributes of what is already mounted there (mount_setattr(2))",
            A::DeviceNode { .. } => {
                "the few devices that every program expects (config-linux.md, Default Devices)"
            }
            A::Relink { .. } => {
                "/dev/ptmx must lead to the container's own devpts, whatever the rootfs has at that path (config-linux.md, Default Devices)"
            }
            A::Symlink { .. } => "names that programs expect in /dev (config-linux.md, Dev symbolic links)",
            A::DeviceNodes { nodes, .. } if nodes.iter().all(|node| node.dev == 0) => {
                "an unprivileged user cannot make device nodes, and inotify on the host's /dev/null would report each access: an empty file covers masked files (inotify(7))"
            }
            A::DeviceNodes { .. } => {
                "the container gets device nodes of its own, since inotify on the host's nodes would report each access (inotify(7)); the runtime makes them, since nodes on a tmpfs of a user namespace cannot be opened (mount_namespaces(7), mknod(2))"
            }
            A::NodeTrees { .. } => {
                "only a mount that is attached can be copied, so the tmpfs of nodes is, for this moment (mount_setattr(2))"
            }
            A::OpenNull { .. } => {
                "the container's own /dev/null, proved to be it: a planted one cannot take its place under a mask (CVE-2025-31133)"
            }
            A::EmptyDir { .. } => {
                "an empty read-only directory, to cover directories that are masked (config-linux.md, Masked Paths)"
            }
            A::Mask { .. } => {
                "covers what leaks or controls the host: a /dev/null of the container's own, or an empty directory (CVE-2025-31133)"
            }
            A::ReadonlyPath { .. } => {
                "still readable, no longer a control of the host (config-linux.md, Readonly Paths)"
            }
            A::Pty { .. } => {
                "a terminal of the container's own; its peer is opened through the descriptor, never by path (ioctl_tty(2), TIOCGPTPEER)"
            }
            A::SendPidfd { .. } => {
                "the caller can wait for and signal this very process (pidfd_open(2), --pidfd-socket)"
            }
            A::SendPty { .. } => {
                "the master end goes to the process behind the console socket (config.md, Process: terminal)"
            }
            A::ConsoleMount { .. } => {
                "/dev/console is the container's terminal (config-linux.md, Default Devices)"
            }
            A::Sysctl { .. } => {
                "kernel settings that belong to the new namespaces, written through a verified procfs (CVE-2022-0811)"
            }
            A::Pivot { .. } => {
                "the container's root becomes / and the host's tree is let go: unlike chroot, there is nothing to climb back to (pivot_root(2))"
            }
            A::HideMount { .. } => {
                "the host's procfs and sysfs stay mounted below a chroot, and where one is fully visible, user namespaces inside may mount another (mount_namespaces(7))"
            }
            A::Chroot { .. } => {
                "only where pivot_root cannot work (an initramfs): weaker, since the old root stays mounted (chroot(2))"
            }
            A::RootAttr { .. } => {
                "nothing can be planted for the next start; what must be written goes to a tmpfs (mount_setattr(2), MOUNT_ATTR_RDONLY)"
            }
            _ => self.why_tail(),
        }
    }

    fn why_tail(&self) -> &'static str {
        use Action as A;
        match self {
            A::MakeCwd { .. } => {
                "the working directory must exist; made with the container user as owner (config.md, Process: cwd)"
            }
            A::PlaceStdio { .. } => {
                "descriptors 0 to 2 of the caller do not reach the container (CVE-2016-9962)"
            }
            A::TakeTty { .. } => {
                "stdin, stdout and stderr are the container's own terminal, which is also its controlling one (ioctl_tty(2), TIOCSCTTY)"
            }
            A::Scheduler(_) => "cpu scheduling policy of the process (sched_setattr(2))",
            A::IoPriority { .. } => "disk scheduling priority of the process (ioprio_set(2))",
            A::OwnStdio { .. } => {
                "the program may open /dev/stdout, as programs that log there do: only the owner of a pipe may open it again; where the owner cannot be changed, it stays (fchown(2))"
            }
            A::AllCpus => {
                "the cpus of its cgroup, not those that the caller is bound to; where this is not allowed, it stays as it is (sched_setaffinity(2))"
            }
            A::Affinity { .. } => {
                "cpus of a process that joins, before and after it is in the cgroup (config.md, execCPUAffinity; sched_setaffinity(2))"
            }
            A::MemoryPolicy(_) => {
                "memory nodes that the program and its children take pages from (config-linux.md, Memory policy; set_mempolicy(2))"
            }
            A::Personality { .. } => "execution domain, e.g. 32-bit uname (personality(2))",
            A::Landlock(_) => {
                "a second guard of files beside the mounts, which the program cannot undo: a directory of the host that got in all the same stays closed (landlock(7))"
            }
            A::Keyring => {
                "the caller's session keys are not passed on; without a name, which another container could have taken first (keyctl(2))"
            }
            A::ExecLabel { .. } => {
                "the security module confines the program from its first instruction (apparmor(7), selinux(8))"
            }
            A::Bounding { .. } => {
                "no exec, setuid program or file capability can bring these back (capabilities(7))"
            }
            A::KeepCaps => {
                "the next row gives up uid 0; without this the permitted set would go with it (prctl(2))"
            }
            A::SetGroups { .. } => "the caller's supplementary groups are not inherited (CVE-2022-36109)",
            A::SetGid { .. } => {
                "group before user: afterwards there would be no right to change it (setgid(2))"
            }
            A::SetUid { .. } => "with CAP_SETUID real, effective and saved: there is no way back (setuid(2))",
            A::Umask { .. } => "a known mask, not the caller's (umask(2))",
            A::Caps { .. } => {
                "the program keeps the capabilities that were asked for and no others; the inheritable set stays empty unless asked for (CVE-2022-29162)"
            }
            A::Ambient { .. } => {
                "ambient capabilities survive exec for non-root users, so the set is cleared first (capabilities(7))"
            }
            A::NoNewPrivs => {
                "setuid and file capabilities have no effect from here on; seccomp may be loaded unprivileged (prctl(2), PR_SET_NO_NEW_PRIVS)"
            }
            A::VerifyCreds(_) => {
                "Init reads back what it dropped: if a row had no effect, the launch fails here (credentials(7), capabilities(7))"
            }
            A::ChangeDir { again: true, .. } => {
                "some directories can be entered by the container's user only, such as a volume of that user (path_resolution(7))"
            }
            A::ChangeDir { .. } => {
                "getcwd(2) proves that the working directory lies inside: for a leaked host directory it says (unreachable) (CVE-2024-21626)"
            }
            A::StatusSocket { .. } => {
                "the exit code of init cannot tell abort from exit(134): the wait status comes over a socket that the program never has (wait(2))"
            }
            A::StayInit { .. } => {
                "process 1 of a pid namespace gets no signal that it does not handle, abort(3) does not end it, and orphans are its to reap: a minimal init takes that place, as docker run --init (pid_namespaces(7))"
            }
            A::DieWithRuntime => {
                "if the launcher dies, the kernel kills the container (prctl(2), PR_SET_PDEATHSIG)"
            }
            A::FindProgram { .. } => {
                "looked up as the container's user inside the container, so that create can say what is wrong (execve(2), path_resolution(7))"
            }
            A::CloseFds { .. } => {
                "no descriptor of the host is left open in the container, nor while paths are looked up in it (CVE-2024-21626)"
            }
            A::AwaitStart { .. } => {
                "created, not started: everything is in place but the program (runtime.md, start)"
            }
            A::Seccomp { listener: Some(_), .. } => {
                "some system calls are answered outside; loaded while the runtime is there to hand the listener over (seccomp_unotify(2))"
            }
            A::SendListener { agent: None, .. } => {
                "for --debug, the kernel reports each refused system call to the launcher, which answers with the filter's errno (seccomp_unotify(2))"
            }
            A::SendListener { .. } => {
                "the agent gets the listener, with the state of the container it belongs to (config-linux.md, The Container Process State)"
            }
            A::DropListener { .. } => {
                "only the answering process keeps the listener: if it dies, the system calls fail instead of waiting forever (seccomp_unotify(2))"
            }
            A::Seccomp { .. } => {
                "last, so that it need not allow what the rows above do: most of the kernel is out of reach now (seccomp(2))"
            }
            A::Exec { .. } => {
                "this process becomes the container's program; every other descriptor closes here (execve(2))"
            }
            _ => "",
        }
    }
}
