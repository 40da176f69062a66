//! `safebox logs`: what a detached container has printed.

use crate::sys::start::ExitCode;
use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use crate::cli::{GlobalArgs, LogsArgs};
use crate::commands::common::VerbResult;
use crate::error::Error;
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::log_file::{LogEntry, LogReader};
use crate::lifecycle::processes;
use crate::state::files::LOG;
use crate::sys::tty;

/// Between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(50);

/// Prints the log; `--follow` goes on until the container's end.
pub fn logs(global: &GlobalArgs, args: &LogsArgs) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, &args.id)?;
    if !container.dir.join(LOG).exists() {
        return Err(Error::msg(format!(
            "container {} has no log: it is kept for `run --detach`, without --log-driver none and where stdout is no file",
            args.id
        ))
        .into());
    }
    let mut reader = LogReader::new(&container.dir);
    let mut last: VecDeque<LogEntry> = VecDeque::new();
    let most = args.tail.map_or(usize::MAX, |tail| tail.0);
    let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", container.dir.join(LOG).display()));
    loop {
        let entries = reader.read().map_err(failed)?;
        if entries.is_empty() {
            break;
        }
        if args.tail.is_none() {
            if print(&entries, args.timestamps).is_err() {
                return Ok(ExitCode::SUCCESS);
            }
            continue;
        }
        last.extend(entries);
        last.drain(..last.len().saturating_sub(most));
    }
    if print(last.make_contiguous(), args.timestamps).is_err() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        // Whether there can be more is asked before the log is read.
        let over = container.status() == ContainerStatus::Stopped && processes::monitor(&container).is_none();
        let entries = reader.read().map_err(failed)?;
        if print(&entries, args.timestamps).is_err() || (over && entries.is_empty()) {
            return Ok(ExitCode::SUCCESS);
        }
        if entries.is_empty() {
            std::thread::sleep(LOOK);
        }
    }
}

/// Prints each stream to its own. An error means that the reader is gone.
fn print(entries: &[LogEntry], timestamps: bool) -> std::io::Result<()> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let terminals = [tty::is_tty(1), tty::is_tty(2)];
    for entry in entries {
        let is_error = entry.stream == "stderr";
        let to: &mut dyn Write = if is_error { &mut err } else { &mut out };
        // Escape sequences of the container are not for the caller's terminal.
        if terminals[usize::from(is_error)] {
            let time = if timestamps { format!("{} ", entry.time) } else { String::new() };
            write!(to, "{time}{}", crate::error::escaped(&entry.log))?;
            continue;
        }
        if timestamps {
            write!(to, "{} ", entry.time)?;
        }
        to.write_all(entry.log.as_bytes())?;
    }
    out.flush()
}
