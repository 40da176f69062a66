//! `safebox ps`: the processes in a container's cgroup.

use std::io::Write;
use std::process::Command;

use crate::sys::start::ExitCode;

use crate::cli::{GlobalArgs, PsArgs, TableFormat};
use crate::commands::common::VerbResult;
use crate::error::Error;
use crate::lifecycle::container::Container;
use crate::lifecycle::processes::processes;

/// Lists the processes: host pids as JSON, or the table of ps(1).
pub fn ps(global: &GlobalArgs, args: &PsArgs) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, &args.id)?;
    let state = container.state()?;
    let pids = processes(&container, state)?;
    let mut out = std::io::stdout().lock();
    if args.format == TableFormat::Json {
        // runc prints null for an empty list, as for `list`.
        let text = if pids.is_empty() { "null".into() } else { serde_json::to_string(&pids)? };
        writeln!(out, "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = if args.ps_options.is_empty() { vec!["-ef".to_string()] } else { args.ps_options.clone() };
    let output = Command::new("ps").args(&options).output().map_err(|e| Error::msg(format!("ps: {e}")))?;
    if !output.status.success() {
        return Err(Error::msg(String::from_utf8_lossy(&output.stderr).trim().to_string()).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|t| t == "PID")
        .ok_or_else(|| Error::msg("couldn't find PID field in ps output"))?;
    writeln!(out, "{title}")?;
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|p| p.parse::<i32>().ok());
        if pid.is_some_and(|p| pids.contains(&p)) {
            writeln!(out, "{}", crate::error::escaped_line(line))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
