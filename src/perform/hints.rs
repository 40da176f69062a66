//! What a failure likely means and what to do, keyed by (row, errno).

use crate::error::ExecError;
use crate::perform::{Call, Cx};
use crate::plan::Plan;
use crate::plan::ops::{Action, ConfineOp, CredOp, ExecOp, MountOp, SourceOp, UserOp};
use crate::seccomp;
use crate::sys::Errno;
use crate::sys::cstr::show;

/// Where the tree of a failed row was to be mounted: the row names its source alone, and one source may have many places.
pub fn destination(plan: &Plan, action: &Action) -> Option<String> {
    let (Action::Source(SourceOp::Tree { to: tree, device: None, .. })
    | Action::Source(SourceOp::Path { to: tree, .. })
    | Action::User(UserOp::Idmap { tree, .. })) = action
    else {
        return None;
    };
    plan.rows.iter().find_map(|step| match &step.action {
        Action::Mount(MountOp::Move { tree: moved, target, .. }) if moved == tree => {
            Some(format!("/{}", show(&target.path)))
        }
        _ => None,
    })
}

/// A remedy where the container's own filter is what made row `row` fail. EPERM is what a profile answers where it
/// names nothing else, and ENOSYS to calls that are newer than all it knows.
pub fn refused(plan: &Plan, row: usize, errno: Errno, call: Call) -> Option<&'static str> {
    if call == Call::Injected {
        return None;
    }
    let before = |wanted: fn(&Action) -> bool| plan.rows[..row].iter().any(|s| wanted(&s.action));
    if !before(|a| matches!(a, Action::Confine(ConfineOp::Seccomp { .. })))
        || !matches!(errno, Errno::EPERM | Errno::ENOSYS)
    {
        return None;
    }
    Some(if before(|a| matches!(a, Action::Cred(CredOp::NoNewPrivs))) {
        "the container's own filter is in force here and may refuse it: allow it in linux.seccomp"
    } else {
        "the container's own filter is in force here and may refuse it: allow it in linux.seccomp, or set process.noNewPrivileges, with which the filter comes last"
    })
}

/// Which symlink was refused, where one was.
pub fn refused_link(action: &Action, call: Call, length: usize) -> Option<String> {
    let (above, path) = action.resolves()?;
    let link = format!("{above}{}", path.get(..length).unwrap_or(&path).trim_end_matches('/'));
    match call {
        Call::VolumeLink => Some(format!(
            "{link:?} is a symlink in a volume and leads out of that volume: refused, since every writer of the volume chooses where it leads"
        )),
        Call::OthersLink => Some(format!(
            "{link:?} is a symlink of another user and leads to what is not theirs: refused; name its target instead"
        )),
        _ => None,
    }
}

/// [`exec_error`] for a file that was found and must not be executed.
fn denied(name: &str, uid: Option<u32>, call: Call) -> ExecError {
    let not_found = !name.contains('/');
    let message = match (not_found, call) {
        // As runc: the search of $PATH passes files that cannot be executed, so this is 127 and not 126.
        (true, call) => format!(
            "exec: \"{name}\": executable file not found in $PATH (there is {}: give its whole path to see why)",
            match call {
                Call::IsDirectory => "a directory of that name",
                Call::OnNoexec => "a file of that name on a noexec mount",
                Call::NotExecutable => "a file of that name without an x in its mode",
                _ => "a file of that name that may not be executed",
            }
        ),
        (false, Call::OnNoexec) => format!(
            "exec: \"{name}\": permission denied (it lies on a noexec mount, where no program is executed: mount that with exec, as --tmpfs DIR:exec does)"
        ),
        (false, Call::IsDirectory) => format!("exec: \"{name}\": permission denied (it is a directory)"),
        (false, Call::NotExecutable) => format!(
            "exec: \"{name}\": permission denied (it is not executable: its mode has no x; chmod +x makes it so, or name the interpreter of a script: sh {name})"
        ),
        (false, _) => format!(
            "exec: \"{name}\": permission denied (uid {} may not execute it: check its mode and those of the directories above it, or choose the user with --user)",
            uid.unwrap_or_default()
        ),
    };
    ExecError { message, bare: None, not_found }
}

/// The words of runc and Docker for a program that cannot be executed.
pub fn exec_error(plan: &Plan, row: usize, cx: &Cx, errno: Errno, call: Call) -> Option<ExecError> {
    let step = plan.rows.get(row).filter(|_| call != Call::Injected)?;
    // A filter that is in force before the lookup is reported as for any other row.
    let reported = call.is_refused_link() || refused(plan, row, errno, call).is_some();
    if matches!(step.action, Action::Exec(ExecOp::FindProgram { .. })) && reported {
        return None;
    }
    let name = program(plan)?;
    let uid = plan.rows.iter().find_map(|s| match s.action {
        Action::Cred(CredOp::SetUid { uid }) => Some(uid),
        _ => None,
    });
    let not_found = |message: String| Some(ExecError { message, bare: None, not_found: true });
    let cannot = |message: String| Some(ExecError { message, bare: None, not_found: false });
    match (&step.action, errno) {
        (Action::Exec(ExecOp::FindProgram { .. }), _) if name.is_empty() => not_found(
            "exec: \"\": executable file not found in $PATH (the name is empty: name a program)".into(),
        ),
        (Action::Exec(ExecOp::FindProgram { .. }), Errno::ENOENT) => Some(ExecError::not_found(&name)),
        // The path, not the program, is what is wrong: in runc's words, or the last look at $PATH.
        (Action::Exec(ExecOp::FindProgram { .. }), Errno::ENOTDIR) if name.contains('/') => {
            cannot(format!("exec: \"{name}\": stat {name}: not a directory"))
        }
        (Action::Exec(ExecOp::FindProgram { .. }), Errno::ENOTDIR) => Some(ExecError::not_found(&name)),
        (Action::Exec(ExecOp::FindProgram { .. }), Errno::EACCES) => Some(denied(&name, uid, call)),
        (Action::Exec(ExecOp::FindProgram { .. }), e) => {
            cannot(format!("exec: \"{name}\": {}", crate::tables::errno::text(e as i32)))
        }
        (Action::Exec(ExecOp::Exec { candidates, .. }), e) => {
            let path = candidates.get(cx.program).map_or_else(|| name.clone(), |c| show(c).into_owned());
            let filters = plan.rows.iter().filter_map(|s| match &s.action {
                Action::Confine(ConfineOp::Seccomp { filter, .. }) => Some(filter.as_slice()),
                _ => None,
            });
            Some(not_executed(&path, e, cx.detail.as_deref(), filters))
        }
        _ => None,
    }
}

/// The words for an execve(2) that failed: runc's, which Docker and Podman look for, then the reason. `lacking` is what
/// the file lacks, where that is known; `filters` are those in force.
pub fn not_executed<'a>(
    path: &str,
    errno: Errno,
    lacking: Option<&str>,
    mut filters: impl Iterator<Item = &'a [libc::sock_filter]>,
) -> ExecError {
    let refused = filters.any(|filter| seccomp::refuses(filter, libc::SYS_execve) == Some(errno as i32));
    let why = match (errno, lacking) {
        _ if refused => "the seccomp profile refuses execve: allow execve in linux.seccomp",
        (Errno::ENOENT | Errno::EACCES | Errno::ELOOP, Some(lacking)) => lacking,
        (Errno::ENOENT, None) => "its interpreter (#! line or ELF loader) is missing",
        (Errno::ENOEXEC, _) => {
            "not a program for this machine (wrong architecture, or a script without a #! line)"
        }
        (Errno::EACCES, None) => "it lies on a noexec mount, or its interpreter is not executable",
        (Errno::E2BIG, _) => {
            "process.args and process.env are too large: 128 KiB for each entry, a quarter of the stack limit for all (execve(2))"
        }
        (Errno::EPERM, _) => {
            "the file has capabilities that this container does not have: --cap-add NAME, or remove them with setcap -r"
        }
        (Errno::ETXTBSY, _) => "a process has the file open for writing",
        _ => "",
    };
    let text = crate::tables::errno::text(errno as i32);
    let colon = if why.is_empty() { "" } else { ": " };
    let bare = format!("exec {path}: {text}");
    ExecError { message: format!("{bare}{colon}{why}"), bare: Some(bare), not_found: errno == Errno::ENOENT }
}

fn program(plan: &Plan) -> Option<String> {
    plan.rows.iter().find_map(|s| match &s.action {
        Action::Exec(ExecOp::Exec { argv, .. }) => argv.strings().first().map(|s| show(s).into_owned()),
        _ => None,
    })
}
