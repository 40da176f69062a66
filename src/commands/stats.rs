//! `safebox stats`: what containers use, as a table or as JSON lines.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cgroup::figures::Counters;
use crate::cgroup::stats;
use crate::cli::{GlobalArgs, StatsArgs, TableFormat};
use crate::commands::common::VerbResult;
use crate::error::Result;
use crate::lifecycle::container::{self, Container, ContainerStatus};

/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(1);

/// One look at a container.
struct Sample {
    id: String,
    at: Instant,
    cpu: Option<Duration>,
    data: Value,
}

/// Prints a row for each container, once or every second.
pub fn stats(global: &GlobalArgs, args: &StatsArgs) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    let mut before = look(&root, &args.ids)?;
    loop {
        std::thread::sleep(SAMPLE);
        let now = look(&root, &args.ids)?;
        let rows: Vec<_> = now.iter().map(|s| row(s, before.iter().find(|b| b.id == s.id))).collect();
        // The reader is gone: the end, as for any program of a pipe.
        if print(&rows, args).is_err() || args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

/// The containers that are asked for, or all that run.
fn look(root: &Path, ids: &[String]) -> Result<Vec<Sample>> {
    if ids.is_empty() {
        let (samples, _) = container::all(root, |c| match c.status() {
            ContainerStatus::Running | ContainerStatus::Paused => sample(root, &c.id).ok(),
            _ => None,
        });
        return Ok(samples.into_iter().flatten().collect());
    }
    ids.iter().map(|id| sample(root, id)).collect()
}

fn sample(root: &Path, id: &str) -> Result<Sample> {
    let container = Container::load(root, id)?;
    let state = container.state()?;
    let cpu = Counters::of_cgroups(&state.cgroups, &state.preexisting).cpu().map(|cpu| cpu.total());
    Ok(Sample { id: id.into(), at: Instant::now(), cpu, data: stats::stats(&state.cgroups, state.cgroup_v2) })
}

/// A figure that cannot be had is null.
fn row(now: &Sample, before: Option<&Sample>) -> Value {
    let percent = before.and_then(|before| {
        let used = now.cpu?.saturating_sub(before.cpu?).as_secs_f64();
        Some((used / now.at.duration_since(before.at).as_secs_f64() * 10_000.0).round() / 100.0)
    });
    let memory = &now.data["memory"]["usage"];
    json!({
        "id": now.id,
        "cpuPercent": percent,
        "memoryBytes": memory["usage"],
        "memoryLimitBytes": memory["limit"].as_u64().filter(|n| *n < 1 << 60),
        "pids": now.data["pids"]["current"],
        "pidsLimit": now.data["pids"]["limit"],
    })
}

fn print(rows: &[Value], args: &StatsArgs) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.format == TableFormat::Json {
        rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
        return out.flush();
    }
    let text = |value: &Value| if value.is_null() { "-".to_string() } else { value.to_string() };
    let size = |value: &Value| match value.as_u64() {
        Some(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        None => "-".into(),
    };
    writeln!(out, "{:<24} {:>8} {:>24} {:>12}", "ID", "CPU %", "MEMORY / LIMIT", "PIDS / LIMIT")?;
    for row in rows {
        let memory = format!("{} / {}", size(&row["memoryBytes"]), size(&row["memoryLimitBytes"]));
        let pids = format!("{} / {}", text(&row["pids"]), text(&row["pidsLimit"]));
        let id = row["id"].as_str().unwrap_or_default();
        writeln!(out, "{id:<24} {:>8} {memory:>24} {pids:>12}", text(&row["cpuPercent"]))?;
    }
    out.flush()
}
