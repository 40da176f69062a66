//! Rows of security modules: label, Landlock, seccomp.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::Landlock;
use crate::plan::slot::Slot;
use crate::plan::words::value;
use crate::sys::Errno;
use crate::sys::cstr::show;

/// The name of the built-in filter in its row.
pub const BUILT_IN: &str = "built-in profile";

/// What rows do about security modules.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum ConfineOp {
    ExecLabel {
        proc: Slot,
        file: CString,
        value: Vec<u8>,
    },
    /// Rights to files that the program never had are given up once more.
    Landlock(Rc<Landlock>),
    Seccomp {
        filter: Rc<Vec<libc::sock_filter>>,
        flags: u32,
        what: &'static str,
        listener: Option<Slot>,
    },
    SendListener {
        listener: Slot,
        /// The agent's socket, and the message to it; without one the runtime itself answers.
        agent: Option<(CString, Rc<crate::plan::process_state::ProcessState>)>,
        /// Init sends it with the baton; else the runtime takes it.
        passed: bool,
    },
    DropListener {
        listener: Slot,
    },
}

impl Op for ConfineOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Landlock(_) => (Layer::Lsm, "landlock", None),
            Self::ExecLabel { .. } => (Layer::Lsm, "label", None),
            Self::Seccomp { .. } => (Layer::Seccomp, "seccomp", None),
            Self::SendListener { .. } => (Layer::Seccomp, "send-listener", None),
            Self::DropListener { .. } => (Layer::Seccomp, "drop-listener", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Landlock(l) => {
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
            Self::ExecLabel { proc, file, value: v } => {
                write!(f, "openat2({proc}/{}) write({})", show(file), value(v))
            }
            Self::Seccomp { filter, flags, what, listener } => {
                let flags = match crate::seccomp::flag_names(*flags) {
                    names if names.is_empty() => String::new(),
                    names => format!("{names}, "),
                };
                write!(f, "seccomp(SECCOMP_SET_MODE_FILTER, {flags}{what}, {} instructions)", filter.len())?;
                listener.iter().try_for_each(|slot| write!(f, " -> {slot}"))
            }
            Self::SendListener { listener, agent, passed } => {
                let taken = if *passed { "recvmsg(SCM_RIGHTS " } else { "pidfd_getfd(" };
                write!(f, "{taken}{listener})")?;
                agent.iter().try_for_each(|(socket, _)| {
                    write!(f, " connect({:?}) sendmsg(SCM_RIGHTS {listener})", show(socket))
                })
            }
            Self::DropListener { listener } => write!(f, "close({listener})"),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Landlock(_) => {
                "a second guard of files beside the mounts, which the program cannot undo: a directory of the host that got in all the same stays closed (landlock(7))"
            }
            Self::ExecLabel { .. } => {
                "the security module confines the program from its first instruction (apparmor(7), selinux(8))"
            }
            Self::Seccomp { listener: Some(_), .. } => {
                "some system calls are answered outside; loaded while the runtime is there to hand the listener over (seccomp_unotify(2))"
            }
            Self::SendListener { agent: None, .. } => {
                "for --debug, the kernel reports each refused system call to the launcher, which answers with the filter's errno (seccomp_unotify(2))"
            }
            Self::SendListener { .. } => {
                "the agent gets the listener, with the state of the container it belongs to (config-linux.md, The Container Process State)"
            }
            Self::DropListener { .. } => {
                "only the answering process keeps the listener: if it dies, the system calls fail instead of waiting forever (seccomp_unotify(2))"
            }
            Self::Seccomp { .. } => {
                "last, so that it need not allow what the rows above do: most of the kernel is out of reach now (seccomp(2))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::SendListener { agent: Some(_), .. } => Some("/linux/seccomp/listenerPath".into()),
            Self::ExecLabel { .. }
            | Self::Landlock(_)
            | Self::Seccomp { .. }
            | Self::SendListener { .. }
            | Self::DropListener { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::ExecLabel { .. }, Errno::ENOENT) => {
                Some("the profile is not loaded: load it with apparmor_parser")
            }
            (Self::ExecLabel { .. }, Errno::EINVAL) => Some("the security module does not know this label"),
            (Self::Seccomp { .. }, Errno::EINVAL) => {
                Some("the kernel refuses the filter: a flag or action is newer than this kernel")
            }
            (Self::SendListener { .. }, Errno::ENOENT | Errno::ECONNREFUSED) => Some(
                "failed to connect with seccomp agent specified in the seccomp profile: start it first (/linux/seccomp/listenerPath)",
            ),
            (Self::Seccomp { listener: Some(_), .. }, Errno::EBUSY) => Some(
                "a process outside has a seccomp listener on safebox itself, and the kernel allows one (without --debug a run needs none)",
            ),
            (Self::SendListener { .. }, Errno::EPERM) if call == Call::PidfdGetfd => {
                Some("taking the listener over needs CAP_SYS_PTRACE, which safebox does not have here")
            }
            (
                Self::ExecLabel { .. }
                | Self::Landlock(_)
                | Self::Seccomp { .. }
                | Self::SendListener { .. }
                | Self::DropListener { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::ExecLabel { .. }
            | Self::Landlock(..)
            | Self::Seccomp { .. }
            | Self::SendListener { .. }
            | Self::DropListener { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::ExecLabel { .. } => vec!["openat2", "write", "close"],
            Self::Landlock(l) => {
                let path = ["openat", "newfstatat", "landlock_add_rule", "close"];
                let descriptor = ["fcntl", "newfstatat?", "landlock_add_rule?"];
                let mut calls = vec!["landlock_create_ruleset"];
                calls.extend(path.repeat(l.paths.len()));
                calls.extend(descriptor.repeat(l.descriptors as usize));
                calls.extend(["landlock_restrict_self", "close"]);
                calls
            }
            Self::Seccomp { .. } => vec!["seccomp"],
            Self::SendListener { passed, agent, .. } => {
                let take = (!passed).then_some("pidfd_getfd");
                let send: &[&str] = &["socket", "connect", "sendmsg", "close", "close"];
                let send = if agent.is_some() { send } else { &[] };
                take.into_iter().chain(send.iter().copied()).collect()
            }
            Self::DropListener { .. } => vec!["close"],
        }
    }
}
