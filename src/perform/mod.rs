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

pub mod baton;
mod child;
mod cni;
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
mod ops;
mod owner;
mod pasta;
pub mod places;
mod program;
pub mod runtime;
pub mod seal;
mod secrets;
pub mod target;
pub mod undo;

use std::os::fd::{OwnedFd, RawFd};

use crate::config::hooks::HookKind;
use crate::network::handle::HelperHandle;
use crate::plan::Plan;
pub use crate::plan::call::Call;
use crate::plan::hooks::HookRun;
use crate::sys::Errno;
use crate::sys::fs::{self, FileIdentity};

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
/// the last argument where its /proc/PID/ns is closed; the signalfd(2) before it tells the launcher to end, or is -1.
pub type HookRunner =
    fn(&HookRun, HookKind, (i32, u64), RawFd, Option<&namespace_fds::NamespaceFds>) -> Result<(), HookError>;

/// For plans that have no hooks.
pub fn no_hooks(
    _: &HookRun,
    kind: HookKind,
    _: (i32, u64),
    _: RawFd,
    _: Option<&namespace_fds::NamespaceFds>,
) -> Result<(), HookError> {
    Err(HookError::Failed(format!("this launch runs no {kind} hooks")))
}

/// What an actor carries from row to row: descriptors and, in the runtime, the child.
pub struct Cx {
    /// The slots of the plan; -1 until a row fills them.
    pub fds: Vec<RawFd>,
    /// Where the descriptors in these slots are, as far as it was asked.
    tops: Vec<Option<FileIdentity>>,
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
    /// What covers masked files is attached somewhere.
    pub null_used: bool,
    /// It is a mount whose flags protect the node, and copies have them too.
    pub null_sealed: bool,
    /// Mount targets that the runtime made before the clone: what is mounted there inherits no mode.
    pub made: Vec<std::ffi::CString>,
    /// Holders of user namespaces that are killed and not reaped yet.
    pub ended: Vec<crate::sys::idle::IdleChild>,
    /// Network devices of the host that are inside now.
    pub moved: Vec<netdev::Moved>,
    /// The system call being made, for the report of a failure.
    pub call: Call,
    /// How much of the row's path leads to the symlink that was refused ([`Call::VolumeLink`], [`Call::OthersLink`]).
    pub link: usize,
    /// The other side's message about a failure; the runtime's alone.
    pub detail: Option<String>,
    /// The signals that this process and its children ignore: bit N is signal N + 1; all until the clone looks.
    pub ignored: u64,
    /// Whether the runtime wants to be asked before each of Init's rows (`--step`, `--until`, `--fail`).
    pub ask: bool,
    /// The lock on the container's directory outlives the plan: the caller goes on with it.
    pub keep_lock: bool,
    /// The file that several rows in a row append to, or write a line each to, with its path.
    pub kept: [Option<(std::ffi::CString, OwnedFd)>; 2],
    /// Descriptors that only the launch needs: closed when it is over.
    pub held: Vec<OwnedFd>,
    /// Ports of the host that the launcher holds as long as the container runs.
    pub ports: Vec<OwnedFd>,
    /// The process that holds the sockets of the container's network, until another part of the launcher takes it.
    pub helper: Option<HelperHandle>,
    /// CLOCK_MONOTONIC when the baton went to Init the last time.
    pub handed: std::time::Duration,
    /// How many rows were performed before the rest was planned (see [`ReservedName`](crate::lifecycle::name::ReservedName)).
    pub performed: usize,
    /// Runs the hooks of a row; the runtime's alone.
    pub hooks: HookRunner,
    /// The loop of a child of the runtime; [`runtime::perform`] sets it.
    child: fn(&Plan, &mut Cx) -> !,
    /// Which actor this process is.
    pub me: crate::plan::Actor,
}

impl Cx {
    /// The runtime's, with room for `slots` descriptors.
    pub fn new(slots: u16) -> Self {
        Cx {
            fds: vec![-1; slots.into()],
            tops: vec![None; slots.into()],
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
            null_sealed: false,
            made: Vec::new(),
            ended: Vec::new(),
            moved: Vec::new(),
            call: Call::None,
            link: 0,
            detail: None,
            ignored: u64::MAX,
            ask: false,
            keep_lock: false,
            kept: [None, None],
            held: Vec::new(),
            ports: Vec::new(),
            helper: None,
            handed: std::time::Duration::ZERO,
            performed: 0,
            hooks: no_hooks,
            child: |_, _| crate::sys::process::exit_now(1),
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
        self.tops[usize::from(slot.index)] = None;
    }

    /// Where the descriptor in a slot is: its mount and inode, which stay the same, are asked for once.
    pub fn top(&mut self, slot: &crate::plan::Slot) -> Result<FileIdentity, Errno> {
        let index = usize::from(slot.index);
        if let Some(known) = self.tops[index] {
            return Ok(known);
        }
        let place = at(self, Call::Statx, fs::place(self.fds[index]))?;
        self.tops[index] = Some(place);
        Ok(place)
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
