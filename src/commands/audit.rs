//! `safebox audit`: checks bundles, containers and this machine against the rules.

use crate::sys::start::ExitCode;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::bail;

use crate::audit::{self, Report, format, running};
use crate::cli::{AuditArgs, FromDockerArgs, GlobalArgs};
use crate::commands::common::{VerbResult, root};
use crate::host::Host;
use crate::policy::MachineFacts;
use crate::sys::tty;

/// Checks every target and prints the reports.
pub fn audit(global: &GlobalArgs, args: &AuditArgs) -> VerbResult {
    if args.targets.is_empty() && args.pid.is_empty() {
        bail!(
            "audit: name a target: a bundle's directory, the id of a running container, host, or --pid PID"
        );
    }
    let machine = MachineFacts::of(&Host::probe()?);
    // What cannot be read hides nothing of the other targets.
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    for target in &args.targets {
        match one(global, target, machine) {
            Ok(all) => all.into_iter().for_each(|one| match one {
                Ok(report) => reports.push(report),
                Err(e) => errors.push(e.into()),
            }),
            Err(e) => errors.push(e),
        }
    }
    for pid in &args.pid {
        match running::audit(format!("pid {pid}"), *pid, machine) {
            Ok(report) => reports.push(report),
            Err(e) => errors.push(e.into()),
        }
    }
    let last = errors.pop();
    if reports.is_empty() && errors.is_empty() {
        return last.map_or(Ok(ExitCode::SUCCESS), Err);
    }
    let colour = tty::is_tty(1) && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let text = format::text(args.format.into(), &reports, colour, args.all);
    std::io::stdout().write_all(text.as_bytes())?;
    errors.iter().for_each(|e| crate::log::say(&format!("{e:#}")));
    if let Some(e) = last {
        return Err(e);
    }
    let worst = reports.iter().filter_map(Report::worst).max();
    let failed = args.fail_on.is_some_and(|least| worst.is_some_and(|worst| worst >= least));
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Prints the config.json that Docker would make of a line, and on stderr what is not in it.
pub fn from_docker(args: &FromDockerArgs) -> VerbResult {
    let described = crate::input::docker::describe("docker run", &args.line)?;
    let mut made = crate::input::config::make(&described)?;
    // As Docker: a variable that the caller does not have is left out.
    if let Some(env) = made.json["process"]["env"].as_array_mut() {
        env.retain(|entry| !made.passed.iter().any(|name| *entry == format!("{name}=")));
    }
    let left = made.left.iter().map(|(_, text)| text.as_str());
    let stops = described.stops.iter().map(|(_, key, _)| key.as_str());
    for text in left.chain(described.unknown.iter().map(|(_, key)| key.as_str())).chain(stops) {
        crate::log::say(&format!("not in the config: {text}"));
    }
    crate::commands::common::print_json(&made.json)?;
    Ok(ExitCode::SUCCESS)
}

/// A report, or why there is none.
type Audited = crate::error::Result<Report>;

fn one(global: &GlobalArgs, target: &str, machine: MachineFacts) -> anyhow::Result<Vec<Audited>> {
    if target == "host" {
        return Ok(vec![Ok(audit::host::audit(&audit::machine::MachineRoot::this()))]);
    }
    if target == "-" {
        let mut line = String::new();
        std::io::stdin().lock().take(1 << 20).read_to_string(&mut line)?;
        return Ok(vec![audit::described::line(&line, machine)]);
    }
    let path = Path::new(target);
    if path.is_file() {
        return Ok(audit::described::audit(path, machine)?);
    }
    if target.contains('/') || target == "." || target == ".." || path.join("config.json").exists() {
        crate::launch::images::no_image(path, true)?;
        return Ok(vec![audit::bundle::audit(path, machine)]);
    }
    let pid = running::process_of(&root(global)?, target)?;
    Ok(vec![running::audit(target.to_string(), pid, machine)])
}
