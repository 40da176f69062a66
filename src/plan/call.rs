//! The system calls of rows, so that the report of a failure names the one that failed.

macro_rules! calls {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// The system calls of rows, so that a failure names the one that failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Call { $($variant),* }

        impl Call {
            const ALL: &'static [Call] = &[$(Call::$variant),*];

            /// The call's name, as strace prints it.
            pub fn name(self) -> &'static str {
                match self { $(Call::$variant => $name),* }
            }

            /// A symlink was refused, and not a system call.
            pub fn is_refused_link(self) -> bool {
                matches!(self, Call::VolumeLink | Call::OthersLink)
            }

            /// The call with this number, as a baton carries it.
            pub fn from_number(n: i32) -> Call {
                usize::try_from(n).ok().and_then(|n| Self::ALL.get(n)).copied().unwrap_or(Call::None)
            }
        }
    };
}

calls! {
    None "row", Mkdir "mkdirat", Lock "flock", Open "openat", OpenIn "openat2", Write "write", Read "read", Rename "renameat",
    Mkfifo "mknodat", Bpf "bpf", Bind "bind", Statx "statx", Chrooted "/ is not the root of the mount namespace", OpenTree "open_tree", Stat "newfstatat", NotThatDevice "not the device asked for",
    PidfdOpen "pidfd_open", SameProcess "the process is gone, its number is another's", Unshare "unshare", Socketpair "socketpair", Clone "clone3", Threads "more than one thread",
    Setns "setns", Prlimit "prlimit64", MountSetattr "mount_setattr", Hook "hook", Setsid "setsid",
    Setgroups "setgroups", Setgid "setgid", Setuid "setuid", Setresgid "setresgid", Setresuid "setresuid", Prctl "prctl", Hostname "sethostname",
    Domainname "setdomainname", Loopback "ioctl(SIOCSIFFLAGS)", MoveMount "move_mount", Fsopen "fsopen",
    Fsconfig "fsconfig", FsconfigCreate "fsconfig(FSCONFIG_CMD_CREATE)",
    FsconfigReconfigure "fsconfig(FSCONFIG_CMD_RECONFIGURE)", Fsmount "fsmount", Mknod "mknodat",
    Chown "fchownat", Symlink "symlinkat", Unlink "unlinkat", Ioctl "ioctl", Sendmsg "sendmsg", Fchdir "fchdir",
    Pivot "pivot_root", Umount "umount2", Chroot "chroot", Dup "dup2", Sched "sched_setattr", Sigaction "rt_sigaction", Ioprio "ioprio_set",
    Personality "personality", Affinity "sched_setaffinity", Mempolicy "set_mempolicy", Keyctl "keyctl", Capset "capset", Capget "capget", Getresuid "getresuid", Getresgid "getresgid", Getgroups "getgroups",
    Verify "what was dropped is still there", Getcwd "getcwd", Outside "working directory is outside the root",
    Access "faccessat2", CloseRange "close_range", Seccomp "seccomp", Exec "execve", Baton "recv",
    SymlinkTarget "the mount's destination is a symbolic link", DirExpected "the mount's destination is not a directory",
    FileExpected "the mount's destination is a directory, the source is not", RuntimeGone "the runtime is gone",
    IsDirectory "it is a directory", OnNoexec "the mount is noexec", PidfdGetfd "pidfd_getfd", Connect "connect", Netlink "netlink", NetlinkMove "netlink(RTM_NEWLINK, IFLA_NET_NS_FD)", Injected "injected by --fail",
    Statfs "fstatfs", OnRoot "it would be mounted on the rootfs itself, where it has no effect", InProc "it is inside /proc", OtherMount "a link of the rootfs leads to another mount", VolumeLink "a symlink in a volume leads out of it", OthersLink "a symlink of another user",
    NotProc "it is not of type proc", NotDevpts "what is at /dev/pts is no devpts", SameDirectory "the path leads to another directory than the one that was opened",
    Listen "listen", Getdents "getdents64", Chmod "fchmod", Fspick "fspick", Kill "pidfd_send_signal", Wait "wait4",
    LandlockRuleset "landlock_create_ruleset", LandlockRule "landlock_add_rule", LandlockRestrict "landlock_restrict_self",
    Systemd "systemd", IdTool "newuidmap", Pipe "pipe2", Fork "clone", Socket "socket", Setsockopt "setsockopt", Helper "recv(ready)", Pasta "pasta", Cni "CNI plugin", Memfd "memfd_create", Reached "it can still be reached", NotExecutable "the mode has no x",
}
