//! Rows of the program: its process, working directory, hooks, execve(2).

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{NOT_OWNED, OnHost, Op, RowLabel, WALK};
use crate::config::hooks::HookKind;
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::lower::CStrArray;
use crate::plan::slot::{NamespaceServer, NamespaceSlots, Slot};
use crate::plan::words::resolved;
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about the program.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum ExecOp {
    CleanSignals,
    NewSession,
    Umask {
        mask: u32,
    },
    Personality {
        value: u64,
    },
    MakeCwd {
        root: Slot,
        path: CString,
        uid: u32,
        gid: u32,
    },
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
    /// A socket on which the init of `--init` tells how the program ended.
    StatusSocket {
        ours: Slot,
        theirs: Slot,
    },
    /// This process stays as init; its child goes on to the program.
    StayInit {
        status: Slot,
        /// Which of 0 to 2 is the terminal that the program's session takes over.
        tty: Option<u8>,
        /// It is not process 1 of a pid namespace of its own: orphans come to it all the same.
        subreaper: bool,
    },
    AwaitStart {
        start: Slot,
        report: Slot,
        server: Option<NamespaceServer>,
    },
    Hooks {
        kind: HookKind,
        state: Rc<crate::plan::hooks::HookRun>,
        /// The way into the container, where the process's pidfd is none.
        inside: Option<Rc<NamespaceSlots>>,
    },
    Exec {
        candidates: Rc<Vec<CString>>,
        argv: Rc<CStrArray>,
        envp: Rc<CStrArray>,
    },
}

impl Op for ExecOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Hooks { kind, .. } => (Layer::Program, "hooks", Some(kind.to_string())),
            Self::CleanSignals => (Layer::Credentials, "signals", None),
            Self::NewSession => (Layer::Descriptors, "session", None),
            Self::MakeCwd { .. } => (Layer::Program, "make-cwd", None),
            Self::Personality { .. } => (Layer::Program, "personality", None),
            Self::Umask { .. } => (Layer::Program, "umask", None),
            Self::ChangeDir { again: false, .. } => (Layer::Descriptors, "chdir", None),
            Self::ChangeDir { again: true, .. } => (Layer::Descriptors, "chdir-again", None),
            Self::DieWithRuntime => (Layer::State, "die-with-runtime", None),
            Self::FindProgram { .. } => (Layer::Program, "find-program", None),
            Self::AwaitStart { .. } => (Layer::State, "await-start", None),
            Self::StatusSocket { .. } => (Layer::Program, "init-status", None),
            Self::StayInit { .. } => (Layer::Program, "init", None),
            Self::Exec { .. } => (Layer::Program, "exec", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hooks { kind, state, .. } => write!(f, "{kind} hooks ({})", state.hooks.len()),
            Self::CleanSignals => f.write_str(
                "rt_sigaction(every ignored signal, SIG_DFL) rt_sigprocmask(SIG_SETMASK, []) umask(022)",
            ),
            Self::NewSession => f.write_str("setsid()"),
            Self::MakeCwd { root, path, uid, gid } => {
                let path = show(path);
                write!(f, "openat2({root}/{path}) or setfsgid({gid}) setfsuid({uid}) mkdirat")
            }
            Self::Personality { value } => write!(f, "personality({value:#x})"),
            Self::Umask { mask } => write!(f, "umask({mask:#05o})"),
            Self::ChangeDir { path, again } => {
                f.write_str(if *again { "where that was denied: " } else { "" })?;
                write!(f, "openat2({:?}) fchdir() getcwd() is inside", show(path))
            }
            Self::DieWithRuntime => f.write_str("prctl(PR_SET_PDEATHSIG, SIGKILL)"),
            Self::FindProgram { candidates, hook } => {
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
            Self::AwaitStart { start, server: None, .. } => write!(f, "read({start}, 1)"),
            Self::AwaitStart { start, server: Some(server), .. } => {
                write!(f, "read({start}, 1); at a request accept4({}) sendmsg(SCM_RIGHTS", server.socket)?;
                server.shown.slots().try_for_each(|slot| write!(f, " {slot}"))?;
                f.write_str(")")
            }
            Self::StatusSocket { ours, theirs } => {
                write!(f, "socketpair(AF_UNIX, SOCK_SEQPACKET) -> {ours}, {theirs}")
            }
            Self::StayInit { status, tty, subreaper } => {
                f.write_str("rt_sigaction(all, forward) prctl(PR_SET_DUMPABLE, 0) ")?;
                f.write_str(if *subreaper { "prctl(PR_SET_CHILD_SUBREAPER) " } else { "" })?;
                f.write_str(if tty.is_some() { "ioctl(TIOCNOTTY) " } else { "" })?;
                write!(
                    f,
                    "write({status}) clone(SIGCHLD): init stays: close_range, wait4(-1), write({status}); its child: setsid"
                )?;
                f.write_str(if tty.is_some() { " ioctl(TIOCSCTTY)" } else { "" })
            }
            Self::Exec { argv, envp, .. } => {
                let args: Vec<_> = argv.strings().iter().map(|s| format!("{:?}", show(s))).collect();
                write!(f, "execve([{}], {} variables)", args.join(", "), envp.strings().len())
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Hooks { .. } => {
                "programs of the config's author, run at the moment config.md names (config.md, POSIX-platform Hooks)"
            }
            Self::CleanSignals => {
                "the program starts with default signal handling, not its caller's (signal(7), execve(2)); until then SIGTERM ends it, which the kernel would drop for process 1; the caller's umask does not close to the program what is made for it (umask(2))"
            }
            Self::NewSession => {
                "no controlling terminal of the caller is left to inject input into (setsid(2), CVE-2017-5226)"
            }
            Self::MakeCwd { .. } => {
                "the working directory must exist; made with the container user as owner (config.md, Process: cwd)"
            }
            Self::Personality { .. } => "execution domain, e.g. 32-bit uname (personality(2))",
            Self::Umask { .. } => "a known mask, not the caller's (umask(2))",
            Self::ChangeDir { again: true, .. } => {
                "some directories can be entered by the container's user only, such as a volume of that user (path_resolution(7))"
            }
            Self::ChangeDir { .. } => {
                "getcwd(2) proves that the working directory lies inside: for a leaked host directory it says (unreachable) (CVE-2024-21626)"
            }
            Self::DieWithRuntime => {
                "if the launcher dies, the kernel kills the container (prctl(2), PR_SET_PDEATHSIG)"
            }
            Self::FindProgram { .. } => {
                "looked up as the container's user inside the container, so that create can say what is wrong (execve(2), path_resolution(7))"
            }
            Self::AwaitStart { .. } => {
                "created, not started: everything is in place but the program (runtime.md, start)"
            }
            Self::StatusSocket { .. } => {
                "the exit code of init cannot tell abort from exit(134): the wait status comes over a socket that the program never has (wait(2))"
            }
            Self::StayInit { .. } => {
                "process 1 of a pid namespace gets no signal that it does not handle, abort(3) does not end it, and orphans are its to reap: a minimal init takes that place, as docker run --init (pid_namespaces(7))"
            }
            Self::Exec { .. } => {
                "this process becomes the container's program; every other descriptor closes here (execve(2))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Personality { .. } => Some("/linux/personality".into()),
            Self::CleanSignals
            | Self::NewSession
            | Self::Umask { .. }
            | Self::MakeCwd { .. }
            | Self::ChangeDir { .. }
            | Self::DieWithRuntime
            | Self::FindProgram { .. }
            | Self::AwaitStart { .. }
            | Self::StatusSocket { .. }
            | Self::StayInit { .. }
            | Self::Hooks { .. }
            | Self::Exec { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::MakeCwd { root, path, .. } => Some(resolved(root, path)),
            Self::ChangeDir { path, .. } => Some(("", path.to_string_lossy().into_owned())),
            Self::FindProgram { candidates, hook: true } => {
                Some(("", candidates.first()?.to_string_lossy().into_owned()))
            }
            Self::CleanSignals
            | Self::NewSession
            | Self::Umask { .. }
            | Self::Personality { .. }
            | Self::DieWithRuntime
            | Self::FindProgram { .. }
            | Self::AwaitStart { .. }
            | Self::StatusSocket { .. }
            | Self::StayInit { .. }
            | Self::Hooks { .. }
            | Self::Exec { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::MakeCwd { .. }, Errno::EACCES | Errno::EOVERFLOW) => Some(NOT_OWNED),
            (Self::ChangeDir { .. } | Self::MakeCwd { .. }, Errno::ENOTDIR) => {
                Some("process.cwd is not a directory")
            }
            (Self::ChangeDir { .. }, Errno::EACCES) => Some(
                "the container's user may not enter process.cwd: chmod it, or choose the user with --user",
            ),
            (Self::ChangeDir { .. }, Errno::ENOENT) => {
                Some("process.cwd does not exist in the container, or lies outside it")
            }
            (Self::DieWithRuntime, Errno::ESRCH) => {
                Some("the launcher died while the container was being built")
            }
            (Self::StayInit { .. }, Errno::EAGAIN) => Some(
                "the program is the second process beside its init: raise --pids-limit or --ulimit nproc, or run it with --init=false",
            ),
            (
                Self::CleanSignals
                | Self::NewSession
                | Self::Umask { .. }
                | Self::Personality { .. }
                | Self::MakeCwd { .. }
                | Self::ChangeDir { .. }
                | Self::DieWithRuntime
                | Self::FindProgram { .. }
                | Self::AwaitStart { .. }
                | Self::StatusSocket { .. }
                | Self::StayInit { .. }
                | Self::Hooks { .. }
                | Self::Exec { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::CleanSignals
            | Self::NewSession
            | Self::Umask { .. }
            | Self::Personality { .. }
            | Self::MakeCwd { .. }
            | Self::ChangeDir { .. }
            | Self::DieWithRuntime
            | Self::FindProgram { .. }
            | Self::StatusSocket { .. }
            | Self::StayInit { .. }
            | Self::AwaitStart { .. }
            | Self::Hooks { .. }
            | Self::Exec { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Hooks { .. } => vec!["*"],
            Self::CleanSignals => vec!["rt_sigaction*", "rt_sigprocmask", "umask"],
            Self::NewSession => vec!["setsid"],
            Self::DieWithRuntime => vec!["prctl", "poll?"],
            // The last directory is made with the user's ids, but with root's capabilities.
            Self::MakeCwd { .. } => vec![
                "openat2",
                "openat|statx|readlinkat|mkdirat|capget|capset|setfsuid|setfsgid|close*",
                "close",
            ],
            Self::Personality { .. } => vec!["personality"],
            Self::Umask { .. } => vec!["umask"],
            Self::ChangeDir { again: false, .. } => vec!["openat2", WALK, "fchdir?", "close?", "getcwd?"],
            Self::ChangeDir { again: true, .. } => vec!["openat2?", WALK, "fchdir?", "close?", "getcwd?"],
            // The first candidate that is there and may be executed ends the search.
            Self::FindProgram { hook: true, .. } => {
                vec!["openat2", WALK, "close?", "newfstatat?", "faccessat2?"]
            }
            Self::FindProgram { candidates, .. } => {
                candidates.iter().flat_map(|_| ["newfstatat?", "faccessat2?"]).collect()
            }
            Self::AwaitStart { .. } => vec!["read"],
            Self::StatusSocket { .. } => vec!["socketpair"],
            // What the process does that stays; its child begins with setsid.
            Self::StayInit { tty, subreaper, .. } => {
                let first = ["rt_sigaction*", "prctl"].into_iter();
                let more = subreaper.then_some("prctl").into_iter().chain(tty.map(|_| "ioctl"));
                let life = ["write", "clone", "close_range", "close_range", "wait4*", "write", "exit_group"];
                first.chain(more).chain(life).collect()
            }
            Self::Exec { .. } => vec!["execve"],
        }
    }
}
