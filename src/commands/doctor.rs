//! `safebox doctor`: how far up the ladder this machine lets the caller, and what brings a missing layer back.

use crate::sys::start::ExitCode;
use std::io::Write;

use crate::cli::{self, TableFormat};
use crate::commands::common::{VerbResult, print_json};
use crate::host::Host;
use crate::launch::ladder::{LadderReport, Rung, look};

/// Exit code where a layer is missing.
const PARTIAL: u8 = 1;
/// Exit code where nothing could run.
const NOTHING: u8 = 2;

/// Looks, and tells.
pub fn doctor(args: &cli::DoctorArgs) -> VerbResult {
    let host = Host::probe()?;
    let report = look(&host)?;
    match args.format {
        TableFormat::Json => print_json(&json(&report, &host))?,
        TableFormat::Table => std::io::stdout().write_all(table(&report, &host).as_bytes())?,
    }
    let missing = report.layers.iter().any(|s| s.missing.is_some());
    Ok(match (report.rung, missing) {
        (Rung::None, _) => ExitCode::from(NOTHING),
        (_, true) => ExitCode::from(PARTIAL),
        (_, false) => ExitCode::SUCCESS,
    })
}

fn table(report: &LadderReport, host: &Host) -> String {
    let mut out = format!("rung: {}\nlandlock ABI: {}\n", report.rung, host.landlock.get());
    for status in &report.layers {
        match &status.missing {
            None => out.push_str(&format!("ok       {}\n", status.name)),
            Some(m) => out.push_str(&format!(
                "missing  {}: {}\n         without it {}\n         remedy: {}\n",
                report.lacks(status.name),
                m.why,
                report.asset(status.name),
                m.lift
            )),
        }
    }
    crate::error::escaped(&out)
}

fn json(report: &LadderReport, host: &Host) -> serde_json::Value {
    let layers: Vec<_> = report
        .layers
        .iter()
        .map(|status| {
            let mut layer = serde_json::json!({ "name": status.name, "ok": status.missing.is_none() });
            if let Some(m) = &status.missing {
                layer["why"] = m.why.clone().into();
                layer["lacks"] = report.lacks(status.name).into();
                layer["asset"] = report.asset(status.name).into();
                layer["remedy"] = m.lift.clone().into();
            }
            layer
        })
        .collect();
    serde_json::json!({ "rung": report.rung.to_string(), "landlockAbi": host.landlock.get(), "layers": layers })
}
