//! `safebox verify`: compares a running container, read from outside, with its requested configuration.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use serde_json::json;

use crate::audit::verify::{Circumstances, Comparison, compare};
use crate::audit::{foreign, running};
use crate::bundle::Bundle;
use crate::cgroup::devices;
use crate::cli::{GlobalArgs, TableFormat, VerifyArgs};
use crate::commands::common::{VerbResult, print_json, root};
use crate::error::escaped_line;
use crate::host::Host;
use crate::lifecycle::container::Container;
use crate::policy::posture::{Known, process_sysctl};
use crate::policy::{MachineFacts, Posture};
use crate::state::State;

/// Compares and prints the differences; exit code 1 on any difference.
pub fn verify(global: &GlobalArgs, args: &VerifyArgs) -> VerbResult {
    let host = Host::probe()?;
    let (target, pid, asked, given) = match (&args.id, args.pid) {
        (Some(id), _) => ours(global, id, &host)?,
        (None, Some(pid)) => foreign(pid, args.bundle.clone(), &host)?,
        (None, None) => bail!("verify: name a container, or --pid PID"),
    };
    // The request decides only which paths are examined, not their state.
    let list = |list: &Known<Vec<PathBuf>>| list.clone().unwrap_or_default();
    let paths = [list(&asked.masked), list(&asked.readonly)].concat();
    let mut observed = Posture::of_process(pid, MachineFacts::of(&host), &paths)?;
    let keys: Vec<String> = asked.sysctl.iter().flatten().map(|(key, _)| key.clone()).collect();
    if !keys.is_empty() {
        observed.sysctl = process_sysctl::of(pid, &keys);
    }
    let found = compare(&asked, &observed, &given);
    match args.format {
        TableFormat::Json => print_json(&value(&target, pid, &found))?,
        TableFormat::Table => std::io::stdout().write_all(table(&target, pid, &found).as_bytes())?,
    }
    Ok(if found.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

type VerifyTarget = (String, i32, Posture, Circumstances);

/// A container of safebox: the request is in its state.
fn ours(global: &GlobalArgs, id: &str, host: &Host) -> anyhow::Result<VerifyTarget> {
    let root = root(global)?;
    let pid = running::process_of(&root, id)?;
    let container = Container::load(&root, id)?;
    let state = container.state()?;
    let asked = state.asked.as_ref().ok_or_else(|| {
        anyhow!("container {id} was made by an older safebox, which did not write down what was asked for")
    })?;
    let asked: Posture = serde_json::from_str(asked.get()).map_err(|e| anyhow!("the state of {id}: {e}"))?;
    let devices = state.cgroups.iter().any(|(controllers, _)| crate::cgroup::has(controllers, "devices"));
    let given = Circumstances {
        device_cgroup: devices,
        device_program: device_program(state, host),
        ..Circumstances::default()
    };
    Ok((id.to_string(), pid, asked, given))
}

/// cgroup v2: whether the plan's device program is attached; `None` where the plan attaches none.
fn device_program(state: &State, host: &Host) -> Option<(PathBuf, Known<bool>)> {
    // Only root of the machine may load one, at the launch and here.
    let loads = state.cgroup_v2 && host.rootless.is_none();
    let (_, cgroup) = state.cgroups.first().filter(|_| loads)?;
    let rules = devices::rules(&state.resources);
    let attached = std::fs::File::open(cgroup)
        .map_err(|e| format!("{}: {e}", cgroup.display()))
        .and_then(|dir| devices::is_enforced(dir.as_fd(), &rules).map_err(|e| format!("bpf(2): {e}")));
    Some((cgroup.clone(), attached))
}

/// A container of another runtime: the request is in its bundle.
fn foreign(pid: i32, bundle: Option<PathBuf>, host: &Host) -> anyhow::Result<VerifyTarget> {
    if !std::path::Path::new("/proc").join(pid.to_string()).exists() {
        bail!("--pid {pid}: no such process");
    }
    let bundle = bundle.or_else(|| foreign::bundle_of(pid)).ok_or_else(|| {
        anyhow!("--pid {pid}: neither runc, crun nor containerd knows this process: give its bundle with --bundle DIR")
    })?;
    let (_, config) = Bundle::open(&bundle)?;
    let asked = Posture::of_config(&config, MachineFacts::of(host));
    let device_cgroup = host.rootless.is_none() && !host.cgroups.is_v2();
    let given = Circumstances { device_cgroup, foreign: true, ..Circumstances::default() };
    Ok((bundle.display().to_string(), pid, asked, given))
}

fn table(target: &str, pid: i32, found: &Comparison) -> String {
    let mut out = format!(
        "{} (process {pid}): {} layers compared, {} differences\n",
        escaped_line(target),
        found.compared.len(),
        found.differences.len()
    );
    for layer in &found.compared {
        if !found.differences.iter().any(|d| d.layer == *layer) {
            out.push_str(&format!("  as asked     {layer}\n"));
        }
    }
    for d in &found.differences {
        out.push_str(&format!(
            "  DIFFERENT    {}: asked for {}, observed {}\n               at {}\n",
            d.layer,
            escaped_line(&d.asked),
            escaped_line(&d.observed),
            escaped_line(&d.at.to_string())
        ));
    }
    for (layer, why) in &found.unknown {
        out.push_str(&format!("  cannot tell  {layer}: {}\n", escaped_line(why)));
    }
    out
}

fn value(target: &str, pid: i32, found: &Comparison) -> serde_json::Value {
    let differences: Vec<_> = found
        .differences
        .iter()
        .map(|d| json!({ "layer": d.layer, "asked": d.asked, "observed": d.observed, "place": d.at.to_string() }))
        .collect();
    let unknown: Vec<_> =
        found.unknown.iter().map(|(layer, why)| json!({ "layer": layer, "why": why })).collect();
    json!({ "target": target, "pid": pid, "compared": found.compared, "differences": differences, "cannotTell": unknown })
}
