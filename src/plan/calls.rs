//! Which system calls each row makes: what `explain --json` lists and the order test holds strace to.

use super::Supplementary;
use super::action::Action;

/// Another effective user with the same capabilities, and back.
const AS_USER: &[&str] = &["prctl", "capget", "setresuid", "capset"];
const BACK: &[&str] = &["setresuid", "capset", "prctl?"];
/// What follows openat2(2) where a symlink is on the way or something is missing (`launch::target`).
const WALK: &str = "openat|statx|fstatfs|readlinkat|mkdirat|close*";

impl Action {
    /// The system calls this row makes, in order: `?` may be left out, `*` may come any number of times,
    /// `a|b*` is any of these any number of times, `*` alone is anything (hooks are other people's programs).
    ///
    /// The order test holds this table against strace, so it is what happens, not what was meant.
    pub fn calls(&self) -> Vec<&'static str> {
        use Action as A;
        match self {
            A::StateDir { .. } => vec!["mkdirat", "openat", "flock", "renameat2"],
            A::LauncherMark { .. } => vec!["symlinkat"],
            A::StateFile { .. } => vec!["openat", "write", "close", "renameat"],
            A::RecordIds { .. } => vec!["openat", "write", "close"],
            A::Fifo { .. } => vec!["mknodat", "openat"],
            A::DoorSocket { .. } => vec!["openat", "socket", "umask", "bind", "umask", "listen", "close"],
            // It comes with the baton.
            A::TakeShown { .. } => vec![],
            A::CgroupParent { .. } => vec!["mkdirat"],
            A::CgroupDir { .. } | A::CgroupInScope { .. } => {
                vec!["mkdirat", "newfstatat", "openat", "write", "close"]
            }
            // The members of the group and of those below it are read, and whether it is frozen.
            A::CgroupJoinable { .. } => {
                vec![
                    "openat",
                    "mkdirat?",
                    "openat?",
                    "flock",
                    "openat|newfstatat|fstat|statx|fcntl|lseek|read|getdents64|close*",
                    "write",
                    "close",
                ]
            }
            // A conversation over a socket: as many records as the other side makes of it; then a look at
            // where the process is.
            A::SystemdScope { .. } | A::SystemdAttach { .. } => vec![
                "socket",
                "connect",
                "setsockopt",
                "setsockopt",
                "write|sendto|read|recvfrom|openat|fstat|statx|fcntl|lseek|getdents64|newfstatat|close*",
            ],
            A::CgroupEnable { .. } | A::CgroupWrite { .. } | A::CgroupJoin { .. } => {
                vec!["openat", "write", "close"]
            }
            A::CgroupOwner { .. } => {
                vec![
                    "openat",
                    "fchownat",
                    "openat|fstat|statx|lseek|read|close*",
                    "fchownat",
                    "fchownat|close*",
                ]
            }
            A::CgroupWriteEither { .. } => vec!["openat", "openat?", "write", "close"],
            A::CgroupOpen { .. } | A::OpenNs { .. } => vec!["openat"],
            A::OpenDevpts { .. } | A::StdioNull { own: false, .. } => vec!["openat"],
            A::StdioNull { .. } => {
                let made = ["umask", "mkdirat", "mknodat", "umask", "openat", "close"];
                [vec!["fsopen", "fsconfig", "fsmount", "close"], made.to_vec()].concat()
            }
            A::StatusSocket { .. } => vec!["socketpair"],
            A::StdioPipe { owner: None, .. } => vec!["pipe2"],
            A::StdioPipe { .. } => vec!["pipe2", "fchownat"],
            A::GiveStdio { .. } => ["newfstatat", "fchownat?"].repeat(3),
            A::DeviceFilter { .. } => vec!["bpf", "bpf", "close"],
            A::OpenTree { device: Some(_), .. } => vec!["open_tree", "newfstatat"],
            A::OpenTree { .. } => vec!["open_tree"],
            A::OpenPidfd { .. } => vec!["pidfd_open", "openat", "read", "close"],
            A::OpenSource { recursive: Some(_), .. } => vec!["openat2", WALK, "open_tree", "close"],
            A::OpenSource { recursive: None, .. } => vec!["openat2", WALK],
            A::OpenRoot { .. } => vec!["open_tree", "newfstatat", "newfstatat"],
            A::TimeOffsets { .. } => vec!["openat", "write", "close"],
            // The first three: /proc/self/status tells this process's threads, and the signals that it ignores.
            A::Spawn { owner: None, .. } => vec!["openat", "read", "close", "socketpair", "clone3", "close"],
            A::Spawn { owner: Some(_), .. } => {
                [&["openat", "read", "close", "socketpair"], AS_USER, &["clone3", "close"], BACK].concat()
            }
            A::SpawnSibling { owner: None, .. } => vec!["clone3"],
            A::SpawnSibling { owner: Some(_), .. } => [AS_USER, &["clone3"]].concat(),
            A::Unshare { owner: None, .. } => vec!["unshare"],
            A::Unshare { owner: Some(_), .. } => [AS_USER, &["unshare"]].concat(),
            A::JoinNs { .. } => vec!["setns", "close"],
            A::RecordPid { .. } => vec!["openat", "read", "close", "openat", "write", "close", "renameat"],
            A::PidFile { .. } => vec!["openat", "write", "close", "renameat"],
            A::IdMapWrite { .. } | A::OomScoreAdj { .. } => vec!["openat", "write", "close"],
            A::RaiseLimit { .. } | A::MoreFiles { .. } | A::SetLimit { .. } => vec!["prlimit64"],
            A::Userns { .. } => vec![
                "clone",
                "openat",
                "write",
                "close",
                "openat",
                "write",
                "close",
                "openat",
                "pidfd_open",
                "pidfd_send_signal",
                "close",
                "wait4",
            ],
            A::Idmap { userns: Some(_), .. } => vec!["mount_setattr"],
            A::Idmap { .. } => vec!["openat", "mount_setattr", "close"],
            A::OpenChildNs { .. } => vec!["openat"],
            // Its own namespace and a socket to look for the device; then a socket on either side, and as many
            // requests as it has addresses. For a number one more socket on the other side.
            A::NetDevice { inside, .. } => {
                let there = ["setns", "socket", "setns", "sendto|recvfrom*", "close"];
                let number: &[&str] = if inside.contains("%d") { &there } else { &[] };
                let find = ["openat", "socket", "sendto", "recvfrom*", "close"];
                [&find, number, &["socket"], &there, &["close", "close"]].concat()
            }
            A::Hooks { .. } | A::IdMapTool { .. } => vec!["*"],
            A::Created { .. } => vec!["renameat"],
            A::CleanSignals => vec!["rt_sigaction*", "rt_sigprocmask"],
            A::NewSession => vec!["setsid"],
            A::BecomeRoot { groups: Supplementary::Keep } => vec!["setresgid", "setresuid"],
            A::BecomeRoot { .. } => vec!["setgroups", "setresgid", "setresuid"],
            A::OwnRoot => vec!["statx", "openat", "setns", "close", "statx"],
            A::Undumpable | A::KeepCaps | A::NoNewPrivs => vec!["prctl"],
            A::DieWithRuntime => vec!["prctl", "poll?"],
            A::NewCgroupNs => vec!["unshare"],
            A::SetHostname { .. } => vec!["sethostname"],
            A::SetDomainname { .. } => vec!["setdomainname"],
            A::LoopbackUp => vec!["socket", "ioctl", "close"],
            A::Propagation { .. } | A::RootAttr { .. } => vec!["mount_setattr"],
            _ => self.calls_mounts(),
        }
    }

    fn calls_mounts(&self) -> Vec<&'static str> {
        use super::action::TargetKind;
        use Action as A;
        /// In-root resolution: found at once, or walked and made one component at a time.
        const RESOLVE: [&str; 2] = ["openat2", WALK];
        /// Whether something may be mounted there; what is not on the rootfs's own mount is looked at again.
        const FREE: [&str; 4] = ["statx", "statx", "fstatfs?", "fstatfs?"];
        let asks = |kind: TargetKind| {
            matches!(kind, TargetKind::AsSource | TargetKind::Proc).then_some("newfstatat")
        };
        match self {
            A::OpenPlace { .. } => vec!["openat", "newfstatat", "newfstatat"],
            A::AttachRoot { .. } => vec!["move_mount"],
            A::OpenDir { .. } => [&RESOLVE[..], &["statx", "statx", "openat2?", "statx?", "close?"]].concat(),
            A::MakeTarget { .. } => vec!["openat2", WALK, "openat2?", WALK],
            // The last directory is made with the user's ids, but with root's capabilities.
            A::MakeCwd { .. } => vec![
                "openat2",
                "openat|statx|readlinkat|mkdirat|capget|capset|setfsuid|setfsgid|close*",
                "close",
            ],
            A::MountFs { data, after, target, keep, .. } => {
                // What is there already says how a tmpfs without a mode of its own looks.
                let inherits = self.inherits_mode();
                let mut calls = Vec::new();
                calls
                    .extend(inherits.then_some(["openat2?", WALK, "newfstatat?", "close?"]).iter().flatten());
                calls.push("fsopen");
                calls.extend(data.iter().map(|_| "fsconfig"));
                calls.extend(inherits.then_some("fsconfig?"));
                calls.extend(["fsconfig", "fsmount", "close"]);
                calls.extend(after.iter().map(|_| "mount_setattr"));
                if target.is_some() {
                    calls.extend(RESOLVE.iter().chain(&FREE).chain(&["move_mount", "close"]));
                }
                calls.extend(keep.is_none().then_some("close"));
                calls
            }
            A::MoveTree { before, target, .. } => {
                let mut calls: Vec<_> = asks(target.kind).into_iter().collect();
                calls.extend(before.iter().map(|_| "mount_setattr"));
                calls.extend(RESOLVE.iter().chain(&FREE).chain(&["move_mount", "close", "close"]));
                calls
            }
            A::FileMount { data, .. } => {
                let mut calls = vec!["fsopen"];
                calls.extend(data.iter().map(|_| "fsconfig"));
                calls.extend(["fsconfig", "fsmount", "close", "openat2", WALK, "move_mount"]);
                calls.extend([
                    "openat",
                    "write",
                    "fchmod",
                    "close",
                    "open_tree",
                    "fchdir",
                    "umount2",
                    "close",
                ]);
                calls.extend(["mount_setattr", "openat2", WALK, "move_mount", "close", "close", "close"]);
                calls
            }
            A::OpenInside { .. } => ["openat2", WALK, "open_tree", "close"].to_vec(),
            A::Hold { .. } => vec!["fcntl"],
            A::CopyUp { .. } => {
                const COPY: &str = "openat|newfstatat|getdents64|mkdirat|read|write|fchownat|fchmod|utimensat|readlinkat|symlinkat|umask|mknodat|close*";
                vec!["openat2?", WALK, COPY]
            }
            A::Remount { data, changes, keep, .. } => {
                let mut calls = RESOLVE.to_vec();
                if !data.is_empty() {
                    calls.push("fspick");
                    calls.extend(data.iter().map(|_| "fsconfig"));
                    calls.extend(["fsconfig", "close"]);
                }
                calls.extend(changes.iter().map(|_| "mount_setattr"));
                calls.extend(keep.is_none().then_some("close"));
                calls
            }
            A::DeviceNode { parent, uid, gid, .. } => {
                let mut calls = if parent.is_some() { RESOLVE.to_vec() } else { Vec::new() };
                calls.extend(["umask", "mknodat", "umask", "openat", "newfstatat"]);
                calls.extend(((*uid, *gid) != (0, 0)).then_some("fchownat"));
                calls.push("close");
                calls.extend(parent.is_some().then_some("close"));
                calls
            }
            A::Symlink { .. } => vec!["symlinkat"],
            A::Relink { .. } => vec!["symlinkat", "readlinkat?", "unlinkat?", "unlinkat?", "symlinkat?"],
            A::OpenNull { .. } => vec!["openat", "newfstatat"],
            A::DeviceNodes { nodes, .. } => {
                let mut calls = vec!["fsopen", "fsconfig", "fsmount", "close", "umask"];
                for node in nodes {
                    calls.push("mknodat");
                    calls.extend(((node.uid, node.gid) != (0, 0)).then_some("fchownat"));
                }
                calls.push("umask");
                calls
            }
            A::NodeTrees { trees, .. } => {
                let opened = trees.iter().map(|_| "open_tree");
                std::iter::once("move_mount").chain(opened).chain(["fchdir", "umount2", "close"]).collect()
            }
            A::EmptyDir { .. } => vec!["fsopen", "fsconfig", "fsconfig", "fsconfig", "fsmount", "close"],
            // What is not there needs nothing; the first masked directory takes the mount itself, and the root cannot
            // be covered.
            A::Mask { .. } | A::ReadonlyPath { .. } => vec![
                "openat2",
                WALK,
                "statx?",
                "statx?",
                "open_tree?",
                "mount_setattr?",
                "move_mount?",
                "close?",
                "close?",
            ],
            A::ConsoleMount { target, .. } => {
                let mut calls = vec!["open_tree"];
                calls.extend(asks(target.kind));
                calls.extend(RESOLVE.iter().chain(&FREE).chain(&["move_mount", "close", "close"]));
                calls
            }
            A::Pivot { .. } => vec!["fchdir", "pivot_root", "umount2"],
            A::HideMount { .. } => {
                const COVER: [&str; 7] =
                    ["fsopen?", "fsconfig?", "fsconfig?", "fsmount?", "close?", "move_mount?", "close?"];
                [&["umount2*"], &COVER[..]].concat()
            }
            A::Chroot { .. } => vec!["fchdir", "chroot"],
            _ => self.calls_tail(),
        }
    }

    fn calls_tail(&self) -> Vec<&'static str> {
        use Action as A;
        match self {
            // Unlock the pty, open its peer, set its size.
            A::Pty { size, lf, .. } => {
                let set = size.map(|_| "ioctl");
                let modes = vec!["ioctl"; if *lf { 2 } else { 0 }];
                let open = ["fstatfs", "openat2", "ioctl", "ioctl"];
                open.into_iter().chain(set).chain(modes).chain(["fchownat"]).collect()
            }
            A::NotifyDir { .. } | A::CriuRoot { .. } => vec!["mkdirat"],
            A::AttachAt { .. } => vec!["openat", "move_mount", "close", "close"],
            // Each out of the way, and the baton's socket; then each to its place.
            A::PassFds { fds } => {
                [vec!["fcntl"; fds.len()], vec!["fcntl?"], vec!["dup2"; fds.len()]].concat()
            }
            A::NotifySocket { .. } => vec!["openat", "socket", "bind", "fchmodat", "close"],
            A::SendPidfd { .. } => vec!["sendmsg", "close"],
            A::SendPty { .. } => vec!["sendmsg", "close", "close"],
            A::Sysctl { .. } | A::ExecLabel { .. } => vec!["openat2", "write", "close"],
            A::TakeTty { fds, .. } => std::iter::once("ioctl").chain(fds.iter().map(|_| "dup2")).collect(),
            A::PlaceStdio { ends } => vec!["dup2"; ends.len()],
            A::Scheduler(_) => vec!["sched_setattr"],
            A::IoPriority { .. } => vec!["ioprio_set"],
            A::AllCpus | A::Affinity { .. } => vec!["sched_setaffinity"],
            A::MemoryPolicy(_) => vec!["set_mempolicy"],
            A::Personality { .. } => vec!["personality"],
            A::Keyring => vec!["keyctl"],
            A::Landlock(l) => {
                let path = ["openat", "newfstatat", "landlock_add_rule", "close"];
                let descriptor = ["fcntl", "newfstatat?", "landlock_add_rule?"];
                let mut calls = vec!["landlock_create_ruleset"];
                calls.extend(path.repeat(l.paths.len()));
                calls.extend(descriptor.repeat(l.descriptors as usize));
                calls.extend(["landlock_restrict_self", "close"]);
                calls
            }
            // One for each capability that the kernel knows and that is not kept.
            A::Bounding { .. } => vec!["prctl*"],
            A::Ambient { caps } => vec!["prctl"; 1 + caps.len()],
            A::SetGroups { if_allowed, .. } => vec![if *if_allowed { "setgroups?" } else { "setgroups" }],
            A::OwnStdio { .. } => ["newfstatat", "fchownat?"].repeat(3),
            A::SetGid { .. } => vec!["setgid"],
            A::SetUid { .. } => vec!["setuid"],
            A::Umask { .. } => vec!["umask"],
            A::Caps { .. } => vec!["capset"],
            A::VerifyCreds(creds) => {
                let groups = creds.groups.iter().map(|_| "getgroups?");
                // Not under a filter of the config's. One for each capability that the kernel knows and that is not kept, or could be ambient.
                ["getresuid?", "getresgid?"].into_iter().chain(groups).chain(["capget", "prctl*"]).collect()
            }
            A::ChangeDir { again: false, .. } => vec!["openat2", WALK, "fchdir?", "close?", "getcwd?"],
            A::ChangeDir { again: true, .. } => vec!["openat2?", WALK, "fchdir?", "close?", "getcwd?"],
            // The first candidate that is there and may be executed ends the search.
            A::FindProgram { hook: true, .. } => {
                vec!["openat2", WALK, "close?", "newfstatat?", "faccessat2?"]
            }
            A::FindProgram { candidates, .. } => {
                candidates.iter().flat_map(|_| ["newfstatat?", "faccessat2?"]).collect()
            }
            // Slots below those that are kept; the gaps between the descriptors that are needed; the rest; and
            // those marked.
            A::CloseFds { needed, .. } => {
                [vec!["close*"], vec!["close_range?"; needed.len() + 1], vec!["close_range"; 2]].concat()
            }
            A::AwaitStart { .. } => vec!["read"],
            A::Seccomp { .. } => vec!["seccomp"],
            A::SendListener { passed, agent, .. } => {
                let take = (!passed).then_some("pidfd_getfd");
                let send: &[&str] = &["socket", "connect", "sendmsg", "close", "close"];
                let send = if agent.is_some() { send } else { &[] };
                take.into_iter().chain(send.iter().copied()).collect()
            }
            A::DropListener { .. } => vec!["close"],
            // What the process does that stays; its child begins with setsid.
            A::StayInit { tty, subreaper, .. } => {
                let first = ["rt_sigaction*", "prctl"].into_iter();
                let more = subreaper.then_some("prctl").into_iter().chain(tty.map(|_| "ioctl"));
                let life = ["clone", "close_range", "close_range", "wait4*", "write", "exit_group"];
                first.chain(more).chain(life).collect()
            }
            A::Exec { .. } => vec!["execve"],
            _ => vec![],
        }
    }
}
