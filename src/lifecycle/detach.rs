//! `run --detach`: the process that stays with the container, and the one that returns.
//!
//! The launch goes on in a child, the monitor: a container is the child of the process that launches it, and only that
//! one learns its exit code. The first process waits until the program runs, and returns. If the launch fails the
//! monitor has reported why, and its exit code is the first one's.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{Error, Result};
use crate::sys::{fs, io, process};

/// Which process this is.
pub enum DetachSide {
    /// The monitor, which tells the other one when the program runs.
    Monitor(Ready),
    /// The first process, once the program runs.
    Started,
    /// The first process: the launch has failed with this exit code, and the reason was printed.
    Failed(i32),
}

/// The monitor's word to the first process.
pub struct Ready(OwnedFd);

/// Goes on as two processes; returns in the first one when it is known what came of the launch.
pub fn split() -> Result<DetachSide> {
    let failed = |what: &'static str| move |e| Error::os(what, "", e);
    let (read, write) = io::pipe().map_err(failed("pipe"))?;
    let (read, write) = (fs::own(read), fs::own(write));
    let Some(child) = process::fork().map_err(failed("fork"))? else {
        drop(read);
        // Ctrl-C and hang-ups are not for the container; that the first process was killed is, as long as it waits.
        process::setsid().map_err(failed("setsid"))?;
        process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as u64).map_err(failed("prctl"))?;
        return Ok(DetachSide::Monitor(Ready(write)));
    };
    drop(write);
    let mut word = [0];
    loop {
        match fs::read(read.as_raw_fd(), &mut word) {
            Ok(1) => return Ok(DetachSide::Started),
            Err(crate::sys::Errno::EINTR) => {}
            _ => break,
        }
    }
    let exit = process::wait(child, 0).map_err(failed("wait"))?;
    Ok(DetachSide::Failed(exit.map_or(255, |(_, exit)| exit.code())))
}

impl Ready {
    /// The program runs: this process lets go of what is the caller's.
    pub fn tell(self) -> Result<()> {
        let failed = |what: &'static str| move |e| Error::os(what, "the monitor", e);
        process::prctl(libc::PR_SET_PDEATHSIG, 0).map_err(failed("prctl"))?;
        let null =
            fs::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0).map(fs::own).map_err(failed("open"))?;
        (0..3).try_for_each(|fd| fs::dup2(null.as_raw_fd(), fd)).map_err(failed("dup2"))?;
        fs::chdir(c"/").map_err(failed("chdir"))?;
        // A first process that was killed meanwhile has no use for it: the container runs, as was asked.
        fs::write(self.0.as_raw_fd(), b"0").map(drop).or(Ok(()))
    }
}
