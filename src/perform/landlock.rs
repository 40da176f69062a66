//! The row that gives rights to files up.

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::plan::ops::Landlock;
use crate::sys::{Errno, fs, landlock};
use crate::tables::landlock::{READ, WRITE_FILE, of_file};

/// Puts a ruleset in force: the paths of the plan, and what descriptors of the caller name.
pub(super) fn restrict(cx: &mut Cx, plan: &Landlock) -> Done {
    let ruleset = at(cx, Call::LandlockRuleset, landlock::create(plan.handled, plan.scoped, plan.abi))?;
    for (path, rights) in &plan.paths {
        let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_PATH, 0))?;
        let added = allow(cx, plan, ruleset, fd, *rights);
        fs::close(fd);
        added?;
    }
    for fd in 0..plan.descriptors as i32 {
        descriptor(cx, plan, ruleset, fd)?;
    }
    at(cx, Call::LandlockRestrict, landlock::restrict(ruleset))?;
    fs::close(ruleset);
    Ok(())
}

fn allow(cx: &mut Cx, plan: &Landlock, ruleset: i32, fd: i32, rights: u64) -> Done {
    let directory = at(cx, Call::Stat, fs::fstatat(fd, c""))?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let rights = if directory { rights } else { of_file(rights) } & plan.handled;
    at(cx, Call::LandlockRule, landlock::add_path(ruleset, fd, rights))
}

/// The program can reopen a file of the caller by /proc/self/fd/N, with the access mode of its descriptor.
fn descriptor(cx: &mut Cx, plan: &Landlock, ruleset: i32, fd: i32) -> Done {
    let rights = match landlock::access_mode(fd) {
        Ok(libc::O_RDONLY) => READ,
        Ok(libc::O_WRONLY) => WRITE_FILE,
        Ok(_) => READ | WRITE_FILE,
        Err(Errno::EBADF) => return Ok(()),
        Err(e) => return Err(e),
    };
    match allow(cx, plan, ruleset, fd, rights) {
        // A pipe or a socket: no path leads there, and Landlock leaves it alone.
        Err(Errno::EBADFD) => Ok(()),
        done => done,
    }
}
