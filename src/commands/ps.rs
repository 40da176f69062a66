//! `safebox ps`: the processes of a container's cgroup.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::Outcome;
use crate::cli::{Global, Ps, TableFormat};
use crate::error::Error;
use crate::state::{Container, State};

/// The group that holds all processes: the v2 one, else one that every v1 layout has.
pub fn group(state: &State) -> Option<&(Vec<String>, PathBuf)> {
    let has = |name: &str| state.cgroups.iter().find(|(c, _)| c.iter().any(|c| c == name));
    if state.cgroup_v2 {
        state.cgroups.first()
    } else {
        has("freezer").or_else(|| has("pids")).or_else(|| state.cgroups.first())
    }
}

/// The container's processes: those of its cgroup or, where it has none, of its pid namespace. In one that it
/// shares, only the first can be told from others'.
pub fn processes(container: &Container, state: &State) -> Result<Vec<i32>, Error> {
    match group(state) {
        Some((_, path)) => {
            crate::cgroup::tree::pids(path).map_err(|e| Error::os("read the processes of", path.display(), e))
        }
        None => Ok(of_namespace(container, state)),
    }
}

fn of_namespace(container: &Container, state: &State) -> Vec<i32> {
    let Some(init) = container.process() else { return Vec::new() };
    if !state.own_pid_namespace {
        return vec![init];
    }
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let (own, theirs) = (namespace(crate::sys::process::pid()), namespace(init));
    if own == theirs || theirs.is_none() {
        return vec![init];
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![init] };
    let mut pids: Vec<i32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    pids.retain(|pid| namespace(*pid) == theirs);
    pids.sort_unstable();
    pids
}

/// Lists them as host pids in JSON, or as ps(1) shows them.
pub fn ps(global: &Global, args: &Ps) -> Outcome {
    let container = Container::load(&super::root(global)?, &args.id)?;
    let state = container.state()?;
    let pids = processes(&container, state)?;
    let mut out = std::io::stdout().lock();
    if args.format == TableFormat::Json {
        // runc prints null for none, as for `list`.
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
            writeln!(out, "{}", crate::error::shown_in_line(line))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
