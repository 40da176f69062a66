//! The system calls of the rows that change, and check, who the process is.

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::plan::Supplementary;
use crate::plan::action::{Action, StdioPipe};
use crate::sys::{Errno, cred, fs, io, process, rlimit};

/// Performs one such row.
pub(super) fn apply(action: &Action, cx: &mut Cx) -> Done {
    use Action as A;
    match action {
        A::Bounding { keep } => at(cx, Call::Prctl, cred::limit_bounding(*keep)),
        A::KeepCaps => at(cx, Call::Prctl, process::prctl(libc::PR_SET_KEEPCAPS, 1)).map(drop),
        A::SetGroups { if_allowed: true, .. } if cx.groups_denied => Ok(()),
        A::SetGroups { gids, .. } => at(cx, Call::Setgroups, cred::setgroups(gids)),
        A::OwnStdio { uid, files } => own_stdio(*uid, *files, cx),
        // A container's own filter may be in force by now: these two are the calls that runc makes.
        A::SetGid { gid } => at(cx, Call::Setgid, cred::setgid(*gid)),
        A::SetUid { uid } => at(cx, Call::Setuid, cred::setuid(*uid)),
        A::Umask { mask } => {
            fs::umask(*mask);
            Ok(())
        }
        A::Caps { effective, permitted, inheritable } => {
            at(cx, Call::Capset, cred::capset(*effective, *permitted, *inheritable))
        }
        A::Ambient { caps } => {
            cx.call = Call::Prctl;
            process::prctl3(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
            for cap in caps {
                let raise = libc::PR_CAP_AMBIENT_RAISE as u64;
                match process::prctl3(libc::PR_CAP_AMBIENT, raise, (*cap).into()) {
                    // SECBIT_NO_CAP_AMBIENT_RAISE of the caller's: one right less, as with runc.
                    Ok(_) | Err(Errno::EPERM) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        }
        A::NoNewPrivs => at(cx, Call::Prctl, process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)).map(drop),
        A::SetLimit { resource, limit } => at(cx, Call::Prlimit, rlimit::set(0, *resource, *limit)),
        A::VerifyCreds(creds) => verify(creds, cx),
        _ => crate::perform::apply_mounts::apply(action, cx),
    }
}

/// The caller's supplementary groups go, where they are to.
pub(super) fn drop_groups(groups: Supplementary) -> Done {
    if groups == Supplementary::Keep { Ok(()) } else { cred::setgroups(&[]) }
}

/// Asks the kernel for all that was set and dropped; [`Call::Verify`] where something is not so.
fn verify(want: &cred::Creds, cx: &mut Cx) -> Done {
    let ids = |id| (id, id, id);
    let mut as_set = true;
    // Where the config's filter is in force, it may kill who asks for these, and runc does not: they are believed, since
    // they were set without an error.
    if !cx.filtered {
        as_set &= at(cx, Call::Getresuid, cred::getresuid())? == ids(want.uid);
        as_set &= at(cx, Call::Getresgid, cred::getresgid())? == ids(want.gid);
        if let Some(groups) = want.groups.as_ref().filter(|_| !cx.groups_denied) {
            as_set &= at(cx, Call::Getgroups, cred::groups_are(groups))?;
        }
    }
    let caps = (want.effective, want.permitted, want.inheritable);
    as_set &= asked(cx, Call::Capget, cred::capget().map(|is| is == caps))?;
    as_set &= at(cx, Call::Prctl, cred::bounding_is_within(want.bounding))?;
    // The kernel lets only those be ambient that are permitted and inheritable, and these are known by now.
    as_set &= at(cx, Call::Prctl, cred::not_ambient(want.permitted & want.inheritable & !want.ambient))?;
    if want.no_new_privs {
        as_set &= at(cx, Call::Prctl, process::prctl(libc::PR_GET_NO_NEW_PRIVS, 0))? == 1;
    }
    cx.call = Call::Verify;
    if as_set { Ok(()) } else { Err(Errno::EPERM) }
}

/// An answer of the kernel's, which none of these questions is refused by itself. Where the config's filter is in
/// force and refuses it, nobody can be asked: what was set is believed, as runc does, since it was set without an error.
fn asked(cx: &mut Cx, call: Call, answer: crate::sys::Result<bool>) -> crate::sys::Result<bool> {
    match at(cx, call, answer) {
        Err(_) if cx.filtered => Ok(true),
        answer => answer,
    }
}

/// A pipe of which the program's end belongs to the program's user: the runtime's copy of either end is its own.
pub(super) fn stdio_pipe(pipe: &StdioPipe, owner: Option<u32>, cx: &mut Cx) -> Done {
    let (read, write) = at(cx, Call::Pipe, io::pipe())?;
    let (ours, theirs) = if pipe.number == 0 { (write, read) } else { (read, write) };
    cx.set(&pipe.ours, ours);
    cx.set(&pipe.theirs, theirs);
    owner.map_or(Ok(()), |uid| at(cx, Call::Chown, fs::fchownat(theirs, c"", uid, u32::MAX)))
}

/// From outside, where the owner is seen: a caller's pipe, or file for output. An input file is only read, and a
/// terminal is its user's.
pub(super) fn give_stdio(uid: u32, cx: &mut Cx) -> Done {
    for fd in 0..3 {
        let st = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
        let given = match st.st_mode & libc::S_IFMT {
            libc::S_IFIFO => true,
            libc::S_IFREG => fd != 0,
            _ => false,
        };
        if !given || st.st_uid == uid {
            continue;
        }
        if let Err(e) = at(cx, Call::Chown, fs::fchownat(fd, c"", uid, u32::MAX)) {
            // A file system that is read-only, or another machine's.
            crate::log::say(&format!(
                "warning: descriptor {fd} cannot be given to uid {uid}, so the program cannot open it again (/dev/stdout): {}",
                crate::tables::errno::text(e as i32)
            ));
        }
    }
    Ok(())
}

/// Gives descriptors 0 to 2 to the container's user, but the null device, which is everybody's, and regular files
/// only with `files`.
fn own_stdio(uid: u32, files: bool, cx: &mut Cx) -> Done {
    for fd in 0..3 {
        let st = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
        let null = st.st_mode & libc::S_IFMT == libc::S_IFCHR && st.st_rdev == libc::makedev(1, 3);
        let file = st.st_mode & libc::S_IFMT == libc::S_IFREG;
        if null || st.st_uid == uid || (file && !files) {
            continue;
        }
        match at(cx, Call::Chown, fs::fchownat(fd, c"", uid, u32::MAX)) {
            // Not this user namespace's to give, or on a file system that is read-only.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::EROFS) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SECBIT_NO_CAP_AMBIENT_RAISE`.
    const NO_RAISE: u64 = 1 << 6;

    #[test]
    fn a_caller_s_securebits_may_refuse_ambient_capabilities() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: inheritable capabilities need root");
            return;
        }
        let child = process::fork_run(|| {
            let kill = 1 << 5;
            let ready = process::prctl(libc::PR_SET_SECUREBITS, NO_RAISE)
                .and_then(|_| cred::capget())
                .and_then(|(effective, permitted, _)| cred::capset(effective, permitted, kill));
            match ready.and_then(|()| apply(&Action::Ambient { caps: vec![5] }, &mut Cx::new(0))) {
                Ok(()) if cred::not_ambient(kill) == Ok(true) => 0,
                _ => 1,
            }
        });
        assert_eq!(
            process::wait(child.unwrap(), 0).unwrap().map(|(_, exit)| exit),
            Some(process::Exit::Code(0))
        );
    }
}
