//! The effective user that makes a user namespace, whose limits then count its objects (user_namespaces(7)).

use crate::perform::{Call, Cx, Done, at};
use crate::sys::{Errno, cred, process};

/// Makes `owner` the effective user, with the same capabilities; what [`back`] takes.
pub(super) fn as_user(cx: &mut Cx, owner: Option<u32>) -> Result<Option<(cred::Caps, i32)>, Errno> {
    let Some(uid) = owner else { return Ok(None) };
    // What the caller has asked for ends with a change of the user (prctl(2), PR_SET_PDEATHSIG).
    let signal = at(cx, Call::Prctl, process::death_signal())?;
    let caps = at(cx, Call::Capget, cred::capget())?;
    at(cx, Call::Setresuid, cred::effective_user(uid))?;
    // The change of the user has cleared the effective ones. Without them nothing could be taken back: a change to
    // root's id brings them again (capabilities(7), "Effect of user ID changes on capabilities").
    let set = at(cx, Call::Capset, cred::capset(caps.0, caps.1, caps.2));
    set.inspect_err(|_| cred::effective_user(0).unwrap_or_default()).map(|()| Some((caps, signal)))
}

/// Makes root the effective user again.
pub(super) fn back(cx: &mut Cx, before: Option<(cred::Caps, i32)>) -> Done {
    let Some(((effective, permitted, inheritable), signal)) = before else { return Ok(()) };
    at(cx, Call::Setresuid, cred::effective_user(0))?;
    at(cx, Call::Capset, cred::capset(effective, permitted, inheritable))?;
    match u64::try_from(signal) {
        Ok(1..) => at(cx, Call::Prctl, process::prctl(libc::PR_SET_PDEATHSIG, signal as u64)).map(drop),
        _ => Ok(()),
    }
}
