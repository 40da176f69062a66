//! The vocabulary of a plan: one [`Action`] per kernel operation, already lowered.
//!
//! What an action *means* is here (fields, how it prints, why it is done); what it *does* is in
//! `launch::apply`. Everything a row needs is ready made (C strings, masks, pointer arrays, BPF), so
//! performing it takes system calls and nothing else.

use std::ffi::CString;
use std::rc::Rc;

use super::lower::CStrArray;
pub use super::place::{DeviceNode, Landlock, Node, SetAttr, Target, TargetKind};
use super::{Door, Shown, Slot, Supplementary};
use crate::cgroup::devices::BpfInsn;
use crate::config::hooks::HookKind;
use crate::sys::process::SchedAttr;
use crate::sys::rlimit::Limit;
use crate::tables::namespaces::NsKind;

/// The two ends of a pipe that takes the place of one of the descriptors 0 to 2.
#[derive(Debug, Clone, PartialEq)]
pub struct StdioPipe {
    /// Which of them.
    pub number: u8,
    /// The launcher's end.
    pub ours: Slot,
    /// The program's end.
    pub theirs: Slot,
}

/// One kernel operation, or the few that only make sense together.
///
/// Paths named `path` without a slot are the runtime's own, outside the container.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum Action {
    // What the runtime does before the container exists.
    StateDir {
        path: CString,
        lock: Slot,
    },
    LauncherMark {
        path: CString,
        launcher: CString,
    },
    StateFile {
        dir: CString,
        name: CString,
        bytes: Rc<Vec<u8>>,
    },
    /// Whose a range of ids is.
    RecordIds {
        path: CString,
        value: Vec<u8>,
    },
    Fifo {
        path: CString,
        to: Slot,
    },
    DoorSocket {
        dir: CString,
        to: Slot,
    },
    NotifyDir {
        path: CString,
    },
    NotifySocket {
        dir: CString,
        to: Slot,
    },
    CgroupParent {
        path: CString,
    },
    CgroupDir {
        path: CString,
        record: CString,
    },
    CgroupJoinable {
        path: CString,
        record: CString,
        to: Slot,
    },
    CgroupEnable {
        path: CString,
        value: Vec<u8>,
    },
    CgroupWrite {
        path: CString,
        value: Vec<u8>,
    },
    /// `path`, or where it is not there `other`.
    CgroupWriteEither {
        path: CString,
        value: Vec<u8>,
        other: (CString, Vec<u8>),
    },
    /// systemd makes the container's scope around process `cx.pid`.
    SystemdScope {
        start: Rc<crate::cgroup::systemd::Start>,
        record: CString,
    },
    /// A process joins the scope by way of the caller's systemd.
    SystemdAttach {
        scope: Rc<crate::cgroup::systemd::Scope>,
    },
    CgroupInScope {
        path: CString,
        record: CString,
    },
    /// The group becomes `uid`'s, as far as the kernel says that it may.
    CgroupOwner {
        path: CString,
        uid: u32,
    },
    CgroupOpen {
        path: CString,
        to: Slot,
    },
    DeviceFilter {
        cgroup: Slot,
        program: Rc<Vec<BpfInsn>>,
    },
    OpenTree {
        source: CString,
        at: Option<Slot>,
        recursive: bool,
        device: Option<DeviceNode>,
        to: Slot,
    },
    /// A source of a bind mount: no symlink of another user is followed. A detached copy of it (`recursive` or not), or
    /// where that is for Init to make a descriptor that names it.
    OpenSource {
        path: CString,
        recursive: Option<bool>,
        to: Slot,
    },
    OpenRoot {
        path: CString,
        rootfs: Slot,
        recursive: bool,
        to: Slot,
    },
    OpenNs {
        path: CString,
        kind: NsKind,
        to: Slot,
    },
    OpenPidfd {
        pid: i32,
        start: u64,
        to: Slot,
    },
    TimeOffsets {
        value: Vec<u8>,
    },
    // The clone, and what only the outside may do to the child.
    /// `owner`: the effective user of the call, who becomes the owner of a new user namespace; `None` for the caller.
    Spawn {
        namespaces: u64,
        cgroup: Option<Slot>,
        owner: Option<u32>,
    },
    SpawnSibling {
        namespaces: u64,
        owner: Option<u32>,
    },
    Unshare {
        namespaces: u64,
        owner: Option<u32>,
    },
    JoinNs {
        ns: Slot,
        flags: u64,
        kind: Option<NsKind>,
    },
    RecordPid {
        dir: CString,
        name: CString,
        temp: CString,
    },
    SendPidfd {
        socket: Slot,
        kind: &'static str,
    },
    CgroupJoin {
        path: CString,
    },
    IdMapWrite {
        file: &'static str,
        value: Vec<u8>,
    },
    IdMapTool {
        program: std::path::PathBuf,
        maps: Vec<crate::config::IdMap>,
    },
    OomScoreAdj {
        value: i32,
    },
    OpenChildNs {
        kind: NsKind,
        to: Slot,
    },
    NetDevice {
        namespace: Slot,
        outside: Rc<str>,
        inside: Rc<str>,
    },
    /// A hard limit of the child's that only the host's right raises.
    RaiseLimit {
        resource: u32,
        limit: Limit,
    },
    /// The runtime's own limit on descriptors becomes its hard one.
    MoreFiles {
        limit: Limit,
    },
    Userns {
        uid_map: Vec<u8>,
        gid_map: Vec<u8>,
        to: Slot,
    },
    Idmap {
        tree: Slot,
        userns: Option<Slot>,
        recursive: bool,
        propagation: u64,
        /// Set at once with the mapping.
        attrs: u64,
    },
    /// What Init sends along with the baton.
    TakeShown {
        shown: Rc<Shown>,
    },
    Hooks {
        kind: HookKind,
        state: Rc<crate::plan::hooks::HookRun>,
        /// The way into the container, where the process's pidfd is none.
        inside: Option<Rc<Shown>>,
    },
    Created {
        from: CString,
        to: CString,
    },
    PidFile {
        path: CString,
        temp: CString,
    },
    // Init, still seeing the host.
    CleanSignals,
    NewSession,
    BecomeRoot {
        groups: Supplementary,
    },
    Undumpable,
    OwnRoot,
    NewCgroupNs,
    SetHostname {
        name: CString,
    },
    SetDomainname {
        name: CString,
    },
    LoopbackUp,
    Propagation {
        flags: u64,
    },
    OpenPlace {
        path: CString,
        rootfs: Slot,
        to: Slot,
    },
    AttachRoot {
        root: Slot,
        at: Option<Slot>,
    },
    OpenDir {
        root: Slot,
        path: CString,
        to: Slot,
    },
    MakeTarget {
        target: Target,
    },
    MountFs {
        fs: CString,
        data: Vec<(CString, Option<CString>)>,
        attrs: u64,
        after: Vec<SetAttr>,
        target: Option<Target>,
        keep: Option<Slot>,
    },
    MoveTree {
        tree: Slot,
        before: Vec<SetAttr>,
        target: Target,
    },
    /// A file of the runtime's, shown in place of one of the rootfs.
    FileMount {
        root: Slot,
        /// Of the file, of its directory, and in that.
        path: CString,
        dir: CString,
        name: CString,
        data: Vec<(CString, Option<CString>)>,
        content: Rc<Vec<u8>>,
    },
    /// A detached copy of a place inside the container.
    OpenInside {
        root: Slot,
        path: CString,
        recursive: bool,
        to: Slot,
    },
    /// One more descriptor of a tree that is about to be moved.
    Hold {
        tree: Slot,
        to: Slot,
    },
    CopyUp {
        root: Slot,
        path: CString,
        tree: Slot,
        mode: bool,
        /// What cannot be read or made is an error; otherwise it is left out.
        strict: bool,
    },
    Remount {
        target: Target,
        data: Vec<(CString, Option<CString>)>,
        changes: Vec<SetAttr>,
        keep: Option<Slot>,
    },
    DeviceNode {
        root: Slot,
        path: CString,
        parent: Option<CString>,
        mode: u32,
        dev: u64,
        uid: u32,
        gid: u32,
    },
    Symlink {
        root: Slot,
        path: CString,
        to: CString,
    },
    /// A link in place of whatever has its name.
    Relink {
        root: Slot,
        path: CString,
        to: CString,
    },
    /// A tmpfs that holds these nodes and nothing else.
    DeviceNodes {
        nodes: Vec<Node>,
        to: Slot,
    },
    /// A detached mount of each of these nodes; the tmpfs itself is attached only meanwhile.
    NodeTrees {
        nodes: Slot,
        root: Slot,
        trees: Vec<(CString, Slot)>,
    },
    OpenNull {
        dev: Slot,
        to: Slot,
    },
    EmptyDir {
        to: Slot,
    },
    Mask {
        root: Slot,
        path: CString,
        null: Slot,
        empty: Slot,
    },
    ReadonlyPath {
        root: Slot,
        path: CString,
    },
    Pty {
        devpts: Slot,
        master: Slot,
        slave: Slot,
        size: Option<(u16, u16)>,
        owner: u32,
        /// Lines end in LF and not in CR LF.
        lf: bool,
    },
    SendPty {
        master: Slot,
        socket: Slot,
    },
    ConsoleMount {
        slave: Slot,
        target: Target,
    },
    Sysctl {
        proc: Slot,
        path: CString,
        value: Vec<u8>,
    },
    Pivot {
        root: Slot,
    },
    HideMount {
        path: CString,
    },
    Chroot {
        root: Slot,
    },
    RootAttr {
        root: Slot,
        change: SetAttr,
    },
    // The tail that `run`, `start` and `exec` share.
    MakeCwd {
        root: Slot,
        path: CString,
        uid: u32,
        gid: u32,
    },
    /// `fds`: which of 0 to 2 become the terminal.
    TakeTty {
        slave: Slot,
        fds: Vec<u8>,
    },
    /// A pipe in the place of descriptor `pipe.number`. `owner`: the program's user, as the runtime sees it.
    StdioPipe {
        pipe: StdioPipe,
        owner: Option<u32>,
    },
    /// `own`: a node on a file system of its own, or else the host's.
    StdioNull {
        own: bool,
        to: Slot,
    },
    /// A socket on which the init of `--init` tells how the program ended.
    StatusSocket {
        ours: Slot,
        theirs: Slot,
    },
    /// Descriptors that take the place of the caller's 0 to 2: (number, what it becomes).
    PlaceStdio {
        ends: Vec<(u8, Slot)>,
    },
    /// The caller's pipes and output files are given to the program's user, as the runtime sees it.
    GiveStdio {
        uid: u32,
    },
    /// The container's devpts, as a place: what is there is not opened.
    OpenDevpts {
        to: Slot,
    },
    Scheduler(SchedAttr),
    IoPriority {
        value: i32,
    },
    AllCpus,
    Affinity {
        cpus: Vec<u64>,
    },
    MemoryPolicy(crate::config::MemoryPolicy),
    Personality {
        value: u64,
    },
    Keyring,
    /// Rights to files that the program never had are given up once more.
    Landlock(Rc<Landlock>),
    ExecLabel {
        proc: Slot,
        file: CString,
        value: Vec<u8>,
    },
    Bounding {
        keep: u64,
    },
    KeepCaps,
    /// `if_allowed`: unless [`Action::BecomeRoot`] found that they cannot be set here.
    SetGroups {
        gids: Vec<u32>,
        if_allowed: bool,
    },
    OwnStdio {
        uid: u32,
        files: bool,
    },
    SetGid {
        gid: u32,
    },
    SetUid {
        uid: u32,
    },
    Umask {
        mask: u32,
    },
    Caps {
        effective: u64,
        permitted: u64,
        inheritable: u64,
    },
    Ambient {
        caps: Vec<u8>,
    },
    NoNewPrivs,
    /// A limit of the program's, set by Init itself.
    SetLimit {
        resource: u32,
        limit: Limit,
    },
    VerifyCreds(crate::sys::cred::Creds),
    ChangeDir {
        path: CString,
        again: bool,
    },
    DieWithRuntime,
    FindProgram {
        candidates: Rc<Vec<CString>>,
        /// A hook's program is the config's choice: no symlink of a volume leads elsewhere.
        hook: bool,
    },
    CloseFds {
        keep: u32,
        needed: Vec<Slot>,
    },
    AwaitStart {
        start: Slot,
        report: Slot,
        door: Option<Door>,
    },
    Seccomp {
        filter: Rc<Vec<libc::sock_filter>>,
        flags: u32,
        what: &'static str,
        listener: Option<Slot>,
    },
    SendListener {
        listener: Slot,
        /// The agent's socket, and what it is told; without one the runtime itself answers.
        agent: Option<(CString, Rc<crate::plan::process_state::ProcessState>)>,
        /// Init sends it with the baton; else the runtime takes it.
        passed: bool,
    },
    DropListener {
        listener: Slot,
    },
    /// This process stays as init; its child goes on to the program.
    StayInit {
        status: Slot,
        /// Which of 0 to 2 is the terminal that the program's session takes over.
        tty: Option<u8>,
        /// It is not process 1 of a pid namespace of its own: orphans come to it all the same.
        subreaper: bool,
    },
    // Restore: criu takes the place of the program.
    CriuRoot {
        path: CString,
    },
    AttachAt {
        tree: Slot,
        path: CString,
    },
    PassFds {
        fds: Vec<Slot>,
    },
    Exec {
        candidates: Rc<Vec<CString>>,
        argv: Rc<CStrArray>,
        envp: Rc<CStrArray>,
    },
}

impl Action {
    /// Whether this is a tmpfs that gets the mode of the directory it covers, as with runc: the config gives none.
    pub fn inherits_mode(&self) -> bool {
        match self {
            Action::MountFs { fs, data, target: Some(_), .. } => {
                fs.to_bytes() == b"tmpfs" && data.iter().all(|(key, _)| key.to_bytes() != b"mode")
            }
            _ => false,
        }
    }
}
