//! Writing a secret: from a file in memory of the runtime's to a file that only the program's user can read.

use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::FileOp;
use crate::plan::slot::SECRET_BLOCK;
use crate::sys::{Errno, fs};

/// One secret. The file belongs to its user before it holds anything, and has its mode last.
pub(super) fn write(op: &FileOp, cx: &mut Cx) -> Done {
    let FileOp::Secret { tmpfs, dirs, path, from, mode, owner: (uid, gid), .. } = op else {
        return Err(Errno::ENOSYS);
    };
    let (dir, source) = (cx.fd(tmpfs), cx.fd(from));
    for name in dirs {
        match at(cx, Call::Mkdir, fs::mkdirat(dir, name, 0o755)) {
            Err(Errno::EEXIST) => {}
            made => made?,
        }
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = at(cx, Call::Open, fs::openat(dir, path, flags, 0))?;
    let mut block = [0u8; SECRET_BLOCK as usize];
    loop {
        let n = at(cx, Call::Read, fs::read(source, &mut block))?;
        if n == 0 {
            break;
        }
        at(cx, Call::Write, fs::write_all(file, &block[..n]))?;
    }
    // A minimal init keeps this memory (`--init`).
    block.fill(0);
    std::hint::black_box(&mut block);
    at(cx, Call::Chown, fs::fchownat(file, c"", *uid, *gid))?;
    at(cx, Call::Chmod, fs::fchmod(file, *mode))?;
    fs::close(file);
    fs::close(source);
    cx.set(from, -1);
    Ok(())
}
