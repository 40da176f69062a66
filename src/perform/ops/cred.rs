//! What the rows about credentials do.

use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::CredOp;
use crate::sys::{Errno, cred, process};

/// Performs one row about credentials.
pub(super) fn apply(op: &CredOp, cx: &mut Cx) -> Done {
    match op {
        CredOp::Undumpable => at(cx, Call::Prctl, process::prctl(libc::PR_SET_DUMPABLE, 0)).map(drop),
        CredOp::Keyring => match at(cx, Call::Keyctl, process::new_session_keyring()) {
            // A kernel without keyrings has none to inherit.
            Err(Errno::ENOSYS) => Ok(()),
            other => other,
        },
        CredOp::Bounding { keep } => at(cx, Call::Prctl, cred::limit_bounding(*keep)),
        CredOp::KeepCaps => at(cx, Call::Prctl, process::prctl(libc::PR_SET_KEEPCAPS, 1)).map(drop),
        CredOp::SetGroups { if_allowed: true, .. } if cx.groups_denied => Ok(()),
        CredOp::SetGroups { gids, .. } => at(cx, Call::Setgroups, cred::setgroups(gids)),
        // A container's own filter may be in force by now: these two are the calls that runc makes.
        CredOp::SetGid { gid } => at(cx, Call::Setgid, cred::setgid(*gid)),
        CredOp::SetUid { uid } => at(cx, Call::Setuid, cred::setuid(*uid)),
        CredOp::Caps { effective, permitted, inheritable } => {
            at(cx, Call::Capset, cred::capset(*effective, *permitted, *inheritable))
        }
        CredOp::Ambient { caps } => {
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
        CredOp::NoNewPrivs => at(cx, Call::Prctl, process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)).map(drop),
        CredOp::Verify(creds) => verify(creds, cx),
    }
}

/// Asks the kernel for all that was set and dropped; [`Call::Verify`] where something is not so.
fn verify(want: &cred::Creds, cx: &mut Cx) -> Done {
    let ids = |id| (id, id, id);
    let mut as_set = true;
    // Where the config's filter is in force, it may kill a process that asks for these, and runc does not ask: they are believed, since
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
/// force and refuses it, the value is believed, as in runc, since it was set without an error.
fn asked(cx: &mut Cx, call: Call, answer: crate::sys::SysResult<bool>) -> crate::sys::SysResult<bool> {
    match at(cx, call, answer) {
        Err(_) if cx.filtered => Ok(true),
        answer => answer,
    }
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
            match ready.and_then(|()| apply(&CredOp::Ambient { caps: vec![5] }, &mut Cx::new(0))) {
                Ok(()) if cred::not_ambient(kill) == Ok(true) => 0,
                _ => 1,
            }
        });
        assert_eq!(
            process::wait(child.unwrap(), 0).unwrap().map(|(_, exit)| exit),
            Some(process::ProcessExit::Code(0))
        );
    }
}
