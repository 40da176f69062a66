//! Performing a plan: the actors run the same loop over the same list, each its own rows.
//!
//! ```text
//!   runtime                         init
//!   -------                         ----
//!   rows ..., clone3  ------------> (waits)
//!   rows (id maps, idmap, ...)
//!   Baton{next} ------------------> rows (mounts, pivot_root, caps, ...)
//!                                   execve: the socket closes
//!   end of file <-----------------  (or Baton{next: row, errno} and _exit)
//! ```
//!
//! The baton is the whole protocol. It crosses where the actor changes from one row to the next;
//! every wait has one waker; a dead peer is end of file.

pub mod apply;
mod apply_cgroup_owner;
mod apply_creds;
mod apply_inside;
pub mod apply_mounts;
mod apply_outside;
pub mod baton;
mod child;
pub mod control;
pub mod copy_up;
mod failure;
pub mod files;
pub mod hints;
mod idmap_failure;
pub mod interpreter;
mod landlock;
pub mod namespace_fds;
pub mod netdev;
mod new_mount;
mod nodes;
pub mod places;
mod program;
pub mod runtime;
pub mod seal;
pub mod target;
pub mod undo;

use std::os::fd::RawFd;

use crate::config::hooks::HookKind;
use crate::plan::hooks::HookRun;
use crate::sys::Errno;

/// Why hooks did not run to their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookError {
    /// One failed, in words.
    Failed(String),
    /// The launcher got this signal; the hook was killed.
    Interrupted(i32),
}

impl From<String> for HookError {
    fn from(text: String) -> Self {
        HookError::Failed(text)
    }
}

/// Runs the hooks of one row: `of` is the container process (pid, start time), which hooks of the container join, by
/// the last argument where it cannot be looked into; the signalfd(2) before it tells the launcher to end, or is -1.
pub type HookRunner =
    fn(&HookRun, HookKind, (i32, u64), RawFd, Option<&namespace_fds::Inside>) -> Result<(), HookError>;

/// For plans that have no hooks.
pub fn no_hooks(
    _: &HookRun,
    kind: HookKind,
    _: (i32, u64),
    _: RawFd,
    _: Option<&namespace_fds::Inside>,
) -> Result<(), HookError> {
    Err(HookError::Failed(format!("this launch runs no {kind} hooks")))
}

/// What an actor carries from row to row: descriptors and, in the runtime, the child.
pub struct Cx {
    /// The slots of the plan; -1 until a row fills them.
    pub fds: Vec<RawFd>,
    /// The container process, as this actor's pid namespace sees it; 0 before the clone.
    pub pid: i32,
    /// Its pidfd; -1 before the clone.
    pub pidfd: RawFd,
    /// This actor's end of the baton's socket; -1 before the clone.
    pub baton: RawFd,
    /// A signalfd(2) of a foreground `run`: Ctrl-C ends the launch before the program starts; -1 for none.
    pub signals: RawFd,
    /// A signal from there that came while a hook ran.
    pub interrupted: Option<i32>,
    /// Which candidate of `FindProgram` was chosen.
    pub program: usize,
    /// Whether the working directory has been entered.
    pub entered: bool,
    /// A filter is in force, which may be the config's: what it refuses is done in another way, where there is one.
    pub filtered: bool,
    /// The user namespace that was joined denies setgroups(2).
    pub groups_denied: bool,
    /// The empty directory of the masks is attached somewhere, and can be copied.
    pub empty_used: bool,
    /// So is what covers masked files.
    pub null_used: bool,
    /// Mount targets that the runtime made before the clone: what is mounted there inherits no mode.
    pub made: Vec<std::ffi::CString>,
    /// Network devices of the host that are inside now.
    pub moved: Vec<netdev::Moved>,
    /// The system call being made, for the report of a failure.
    pub call: Call,
    /// How much of the row's path leads to the symlink that was refused ([`Call::VolumeLink`], [`Call::OthersLink`]).
    pub link: usize,
    /// What the other side of a conversation said about a failure; the runtime's alone.
    pub detail: Option<String>,
    /// The signals that this process and its children ignore: bit N is signal N + 1; all until the clone looks.
    pub ignored: u64,
    /// Whether the runtime wants to be asked before each of Init's rows (`--step`, `--until`, `--fail`).
    pub ask: bool,
    /// The lock on the container's directory outlives the plan: somebody else goes on with it.
    pub keep_lock: bool,
    /// How many rows were performed before the rest was planned (see [`name::Name`]).
    pub performed: usize,
    /// Runs the hooks of a row; the runtime's alone.
    pub hooks: HookRunner,
    /// Which actor this process is.
    pub me: crate::plan::Actor,
}

impl Cx {
    /// The runtime's, with room for `slots` descriptors.
    pub fn new(slots: u16) -> Self {
        Cx {
            fds: vec![-1; slots.into()],
            pid: 0,
            pidfd: -1,
            baton: -1,
            signals: -1,
            interrupted: None,
            program: 0,
            entered: false,
            filtered: false,
            groups_denied: false,
            empty_used: false,
            null_used: false,
            made: Vec::new(),
            moved: Vec::new(),
            call: Call::None,
            link: 0,
            detail: None,
            ignored: u64::MAX,
            ask: false,
            keep_lock: false,
            performed: 0,
            hooks: no_hooks,
            me: crate::plan::Actor::Runtime,
        }
    }

    /// The descriptor in a slot.
    pub fn fd(&self, slot: &crate::plan::Slot) -> RawFd {
        self.fds[usize::from(slot.index)]
    }

    /// Fills a slot.
    pub fn set(&mut self, slot: &crate::plan::Slot, fd: RawFd) {
        self.fds[usize::from(slot.index)] = fd;
    }
}

/// What performing a row returns.
pub type Done = Result<(), Errno>;

/// Marks the call and passes the result on.
pub(crate) fn at<T>(
    cx: &mut Cx,
    call: Call,
    result: std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    cx.call = call;
    result
}

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
    IsDirectory "it is a directory", PidfdGetfd "pidfd_getfd", Connect "connect", Netlink "netlink", NetlinkMove "netlink(RTM_NEWLINK, IFLA_NET_NS_FD)", Injected "injected by --fail",
    Statfs "fstatfs", OnRoot "it would be mounted on the rootfs itself, where it has no effect", InProc "it is inside /proc", OtherMount "a link of the rootfs leads to another mount", VolumeLink "a symlink in a volume leads out of it", OthersLink "a symlink of another user",
    NotProc "it is not of type proc", NotDevpts "what is at /dev/pts is no devpts", SameDirectory "the path leads to another directory than the one that was opened",
    Listen "listen", Getdents "getdents64", Chmod "fchmod", Fspick "fspick", Kill "pidfd_send_signal", Wait "wait4",
    LandlockRuleset "landlock_create_ruleset", LandlockRule "landlock_add_rule", LandlockRestrict "landlock_restrict_self",
    Systemd "systemd", IdTool "newuidmap", Pipe "pipe2", Fork "clone",
}
