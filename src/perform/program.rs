//! Finding the container's program, as the user that is to execute it.

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::sys::{Errno, fs};

/// The first candidate that this user may execute; what is wrong with the best one otherwise.
pub(super) fn find(cx: &mut Cx, candidates: &[std::ffi::CString]) -> Done {
    let mut found = Errno::ENOENT;
    for (i, path) in candidates.iter().enumerate() {
        let st = at(cx, Call::Stat, fs::stat(path));
        match st {
            Ok(st) if st.st_mode & libc::S_IFMT == libc::S_IFDIR => {
                cx.call = Call::IsDirectory;
                found = Errno::EACCES;
                continue;
            }
            Ok(_) => {}
            // A directory of $PATH that is not there, or not one, has nothing to say.
            Err(Errno::ENOENT | Errno::ENOTDIR) if candidates.len() > 1 => continue,
            Err(e) => {
                found = e;
                continue;
            }
        }
        match at(cx, Call::Access, fs::faccess_exec(libc::AT_FDCWD, path)) {
            Ok(()) => {
                cx.program = i;
                return Ok(());
            }
            // A filter that knows no faccessat2(2), which is of 2020: as Go does, the mode is looked at.
            Err(Errno::ENOSYS | Errno::EPERM) if st.is_ok_and(|st| st.st_mode & 0o111 != 0) => {
                cx.program = i;
                return Ok(());
            }
            Err(e) => {
                // access(2) asks the mount, too. A filter without statfs(2) leaves the cause open.
                if e == Errno::EACCES && st.is_ok_and(|st| st.st_mode & 0o111 == 0) {
                    cx.call = Call::NotExecutable;
                } else if e == Errno::EACCES && fs::on_noexec_mount(path) == Ok(true) {
                    cx.call = Call::OnNoexec;
                }
                found = e;
            }
        }
    }
    Err(found)
}
