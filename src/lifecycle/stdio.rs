//! Copies between the caller's descriptors 0 to 2 and the container's pipes: see [`crate::launch::stdio`].

use std::os::fd::RawFd;

use crate::error::{Error, Result};
use crate::launch::stdio::NAMES;
use crate::lifecycle::log_file::LogCopy;
use crate::lifecycle::relay::{Copy, RelayEnd};
use crate::lifecycle::supervise::Supervisor;
use crate::perform::Cx;
use crate::plan::recipe::PlanSlots;
use crate::sys::fs;

/// Begins to copy; the program's ends of the pipes are closed here, so that each side sees the other's end.
pub fn attach(supervisor: &mut Supervisor, slots: &PlanSlots, cx: &Cx) -> Result<()> {
    let limit = supervisor.output_limit;
    for pipe in &slots.pipes {
        let fd = RawFd::from(pipe.number);
        fs::close(cx.fd(&pipe.theirs));
        if let Some(log) = supervisor.log.clone().filter(|_| fd > 0) {
            let copy = LogCopy::new(fs::own(cx.fd(&pipe.ours)), pipe.number, log);
            supervisor.logs.push(copy.map_err(|e| Error::os("log", NAMES[usize::from(pipe.number)], e))?);
            continue;
        }
        let copy = || -> crate::sys::SysResult<Copy> {
            let ours = RelayEnd::own(fs::own(cx.fd(&pipe.ours)))?;
            Ok(match fd {
                0 => Copy::input(RelayEnd::of_caller(0, libc::O_RDONLY)?, ours),
                fd => {
                    Copy::output(ours, RelayEnd::of_caller(fd, libc::O_WRONLY)?).of_stream(pipe.number, limit)
                }
            })
        };
        supervisor.add(copy().map_err(|e| Error::os("copy", NAMES[usize::from(pipe.number)], e))?);
    }
    Ok(())
}
