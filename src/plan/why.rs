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
                "the next `run` finds the container by this if the launcher and its guardian are killed, without reading the state of every other container"
            }
            A::StateFile { .. } => {
                "what undoes the rows below is on disk before they run, so `delete` works after a crash"
            }
            A::RecordIds { .. } => {
                "the range of host ids is this container's as long as its state directory is there: no other container gets it"
            }
            A::Fifo { .. } => {
                "create and start are two commands; the container waits on this pipe in between (runtime.md, start)"
            }
            A::DoorSocket { .. } => {
                "Init cannot be looked into (CVE-2016-9962), not even by its owner: it opens its namespaces to who knocks here until it is started"
            }
            A::NotifySocket { .. } => "what the container says there goes on to systemd (sd_notify(3))",
            A::NotifyDir { .. } => {
                "the container says here that it is ready, since it cannot see the host's socket (sd_notify(3))"
            }
            A::CriuRoot { .. } => "criu wants the rootfs to be a mount of its own (criu.org, Usage)",
            A::AttachAt { .. } => {
                "in a mount namespace that ends with criu: the host never sees this mount, so nothing is to be unmounted"
            }
            A::PassFds { .. } => {
                "criu gets nothing but its socket and what the container inherits, at numbers its request names"
            }
            A::CgroupParent { .. } => {
                "a group that the container's path passes through; others may share it, so it stays (cgroups(7))"
            }
            A::CgroupDir { .. } => {
                "limits belong to a cgroup; one per container, so its usage is counted alone (cgroups(7))"
            }
            A::CgroupJoinable { .. } => {
                "the config names a group that is there: it may be joined as long as nobody is in it, and is not removed with the container (runtime.md, Delete)"
            }
            A::CgroupEnable { .. } => {
                "cgroup v2 hands a controller to children only when the parent says so (cgroups(7), subtree_control)"
            }
            A::CgroupWrite { .. } => {
                "the limit is in force before the first process exists, so nothing runs unlimited"
            }
            A::CgroupWriteEither { .. } => {
                "two I/O schedulers have weights, each a file of its own: BFQ, and io.cost (cgroup-v2.rst, IO Interface Files)"
            }
            A::SystemdScope { .. } => {
                "systemd owns the tree: it makes the group, around a process that waits, and hands it over (systemd.resource-control(5), Delegate)"
            }
            A::SystemdAttach { .. } => {
                "an ordinary user may not move a process between groups; their systemd may, within its own (cgroups(7), Delegation)"
            }
            A::CgroupInScope { .. } => {
                "systemd makes the scope in the trees it uses; in the others it is made here, under the same name (cgroups(7))"
            }
            A::CgroupOwner { .. } => {
                "the config mounts it writable in a cgroup namespace of its own: groups below are its user's to make, its own limits are not (config-linux.md, Cgroup ownership)"
            }
            A::CgroupOpen { .. } => {
                "clone3 starts the child inside this cgroup: there is no moment outside it (CLONE_INTO_CGROUP)"
            }
            A::DeviceFilter { .. } => {
                "a device node is a door to the kernel: only the listed ones open (config-linux.md, Allowed Device list)"
            }
            A::OpenTree { device: Some(_), .. } => {
                "a copy of the host's device, proved to be that device: a planted /dev/null cannot take its place (CVE-2025-31133)"
            }
            A::OpenTree { .. } => {
                "the host path is resolved once, now; later rows only hold the copy, so swapping the path changes nothing (CVE-2021-30465)"
            }
            A::OpenSource { .. } => {
                "the host path is resolved once, and a symlink of another user is followed only to what is theirs: one who may write to a shared directory does not choose what the container sees (symlink(7))"
            }
            A::OpenRoot { .. } => {
                "an ordinary user may copy mounts only in their own mount namespace; the path is looked up once more and must lead to the rootfs that was opened (mount_namespaces(7))"
            }
            A::OpenDevpts { .. } => {
                "a terminal of the container's own devpts; a FIFO or a device there is not opened, so that it cannot hold the runtime (open(2), O_PATH)"
            }
            A::StdioPipe { .. } => {
                "the launcher copies: the caller's terminal, file or pipe stays outside, and the program's user may open /dev/stdout (pipe(2))"
            }
            A::StdioNull { .. } => {
                "a container that is left alone keeps no terminal or pipe of the caller's; and a null device of its own, since inotify on the host's tells when host programs use it"
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
                "one call makes the child and its namespaces, as the user behind the container's first id: what the container takes of the kernel's tables is counted for who makes the user namespace (user_namespaces(7))"
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
                "pid and start time together name the process, so `kill` can never hit a stranger"
            }
            A::CgroupJoin { .. } => {
                "cgroup v1 has no CLONE_INTO_CGROUP: the child waits until it has been moved (cgroups(7))"
            }
            A::IdMapWrite { file: "setgroups", .. } => {
                "an unprivileged mapper must give up setgroups first (user_namespaces(7), CVE-2014-8989)"
            }
            A::IdMapWrite { .. } => {
                "ids inside are mapped to a range outside that owns nothing: root inside is nobody outside (user_namespaces(7))"
            }
            A::IdMapTool { .. } => {
                "an ordinary user may map one id, their own; for more this setuid program checks /etc/subuid (newuidmap(1))"
            }
            A::OomScoreAdj { .. } => {
                "which process the kernel kills first when memory runs out (proc_pid_oom_score_adj(5))"
            }
            A::RaiseLimit { .. } => {
                "a hard limit above the one that safebox has: only CAP_SYS_RESOURCE on the host raises it (getrlimit(2))"
            }
            A::MoreFiles { .. } => {
                "each bind mount's source holds a descriptor until it is mounted; the program gets the old limit back"
            }
            A::SetLimit { .. } => {
                "a limit per process (getrlimit(2)): the program's, so it takes effect when init's own work is done"
            }
            A::OpenChildNs { .. } => {
                "the namespace is held open while things are put into it (namespaces(7))"
            }
            A::NetDevice { .. } => {
                "the container gets a device of the host for itself, with its addresses, and up (config-linux.md, Network Devices)"
            }
            A::Userns { .. } => {
                "a user namespace in which nobody lives: it only holds the mapping of a mount (mount_setattr(2), MOUNT_ATTR_IDMAP)"
            }
            A::Idmap { userns: Some(_), .. } => {
                "the mount shows its owners as the config maps them, without a chown on disk (mount_setattr(2))"
            }
            A::Idmap { .. } => {
                "the mount shows its owners as ids of this user namespace, without a chown on disk (mount_setattr(2))"
            }
            A::TakeShown { .. } => {
                "hooks join the container by these: an ordinary user's runtime cannot look into Init, which stays undumpable (ptrace(2), CVE-2016-9962)"
            }
            A::Hooks { .. } => {
                "programs of the config's author, run at the moment config.md names (config.md, POSIX-platform Hooks)"
            }
            A::Created { .. } => "from here on the container counts as created (runtime.md, state)",
            A::PidFile { .. } => "written whole or not at all: callers read it the moment create returns",
            A::CleanSignals => {
                "the program starts with default signal handling, not its caller's (signal(7), execve(2)); until then SIGTERM ends it, which the kernel would drop for process 1"
            }
            A::NewSession => {
                "no controlling terminal of the caller is left to inject input into (setsid(2), CVE-2017-5226)"
            }
            A::BecomeRoot { .. } => {
                "root of the new user namespace: enough to build the container, nothing outside it"
            }
            A::OwnRoot => {
                "in a plain chroot the namespace's root stays the host's, and `exec` would land there: then nothing runs (setns(2), chroot(2))"
            }
            A::Undumpable => {
                "nobody inside may look at this process or its descriptors while it still holds host ones (CVE-2016-9962)"
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
            A::AttachRoot { at: Some(_), .. } => "the copy of the rootfs enters this mount namespace",
            A::AttachRoot { .. } => {
                "the copy of the rootfs enters this mount namespace, on top of the host's tree"
            }
            A::OpenDir { .. } => {
                "entries are made through this descriptor, so a link in the rootfs cannot lead elsewhere (CVE-2019-18837)"
            }
            A::MakeTarget { .. } => {
                "a mount needs something to cover; made now, while the rootfs's owner may (resolved below the root, CVE-2024-45310)"
            }
            A::OpenInside { .. } => {
                "the source lies below the rootfs: it is taken with the mounts that are listed before it"
            }
            A::Hold { .. } => {
                "it becomes read-only last: mounts, devices and the working directory may have to be made on it"
            }
            A::FileMount { .. } => {
                "a copy of the image's file with a line for the user that runs, over it and read-only: the image stays as it is, and programs that look their user up find one (passwd(5))"
            }
            A::CopyUp { strict: false, .. } => {
                "the image's directories for daemons (/run/postgresql) are there; links are copied, never followed, and what the container's root may not read is left out"
            }
            A::CopyUp { .. } => {
                "the tmpfs starts with what the rootfs holds there; links in it are copied, never followed (tmpcopyup)"
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
                    "the container's own terminals: none of the host's can be opened (devpts, newinstance)"
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
                "a terminal that is opened must be one of the container's own devpts: a file of the rootfs's is none (config-linux.md, Default Devices)"
            }
            A::Symlink { .. } => "names that programs expect in /dev (config-linux.md, Dev symbolic links)",
            A::DeviceNodes { nodes, .. } if nodes.iter().all(|node| node.dev == 0) => {
                "an ordinary user can make no device node, and whoever watches the host's sees who reads it: an empty file covers masked ones (inotify(7))"
            }
            A::DeviceNodes { .. } => {
                "nodes of the container's own: whoever watches a node of the host's sees who reads it (inotify(7)); made out here, since those of a tmpfs of a user namespace do not work (mount_namespaces(7), mknod(2))"
            }
            A::NodeTrees { .. } => {
                "only a mount that is attached can be copied, so the tmpfs of nodes is, for this moment (open_tree(2))"
            }
            A::OpenNull { .. } => {
                "the container's own /dev/null, proved to be it: a planted one cannot take its place under a mask (CVE-2025-31133)"
            }
            A::EmptyDir { .. } => "an empty read-only directory, to cover directories that are masked",
            A::Mask { .. } => {
                "covers what leaks or controls the host: a /dev/null of the container's own, or an empty directory (CVE-2025-31133)"
            }
            A::ReadonlyPath { .. } => {
                "still readable, no longer a control of the host (config-linux.md, Readonly Paths)"
            }
            A::Pty { .. } => {
                "a terminal of the container's own; its peer is opened through the descriptor, never by path (TIOCGPTPEER)"
            }
            A::SendPidfd { .. } => {
                "the caller can wait for and signal this very process (pidfd_open(2), --pidfd-socket)"
            }
            A::SendPty { .. } => "the other end goes to whoever drives the terminal (runc's console socket)",
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
                "nothing can be planted for the next start; what must be written goes to a tmpfs"
            }
            _ => self.why_tail(),
        }
    }

    fn why_tail(&self) -> &'static str {
        use Action as A;
        match self {
            A::MakeCwd { .. } => "the working directory must exist; made with the container user as owner",
            A::PlaceStdio { .. } => {
                "descriptors 0 to 2 of the caller do not reach the container (CVE-2016-9962)"
            }
            A::TakeTty { .. } => {
                "stdin, stdout and stderr are the container's own terminal, which is also its controlling one"
            }
            A::Scheduler(_) => "cpu scheduling policy of the process (sched_setattr(2))",
            A::IoPriority { .. } => "disk scheduling priority of the process (ioprio_set(2))",
            A::OwnStdio { .. } => {
                "the program may open /dev/stdout, as those who log there do: a pipe of the caller's is its user's alone; what cannot be given stays (fchown(2))"
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
                "root's rights in pieces, and only the pieces asked for; inheritable stays empty unless asked (CVE-2022-29162)"
            }
            A::Ambient { .. } => {
                "ambient capabilities survive exec for non-root users, so the set is cleared first (capabilities(7))"
            }
            A::NoNewPrivs => {
                "setuid and file capabilities have no effect from here on; seccomp may be loaded unprivileged (PR_SET_NO_NEW_PRIVS(2const))"
            }
            A::VerifyCreds(_) => {
                "what was dropped is read back: a row that silently did nothing must not go unseen"
            }
            A::ChangeDir { again: true, .. } => {
                "a directory that only its user may enter, such as a volume of theirs (path_resolution(7))"
            }
            A::ChangeDir { .. } => {
                "and the kernel is asked whether it lies inside: a leaked host directory would say (unreachable) (CVE-2024-21626)"
            }
            A::DieWithRuntime => {
                "if the launcher dies, the kernel kills the container: nothing runs unwatched (PR_SET_PDEATHSIG(2const))"
            }
            A::FindProgram { .. } => {
                "looked up as the container's user inside the container, so that create can say what is wrong"
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
                "the launcher hears of each refused system call, for --debug, and ends it with the filter's errno (seccomp_unotify(2))"
            }
            A::SendListener { .. } => {
                "the agent gets the listener and is told whose it is (config-linux.md, The Container Process State)"
            }
            A::DropListener { .. } => {
                "who answers alone holds it: if that process dies, the system calls fail instead of waiting forever"
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
