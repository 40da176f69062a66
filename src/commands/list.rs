//! `safebox list`: containers as runc's table, its JSON, or ids.

use crate::sys::start::ExitCode;
use std::io::Write;

use crate::cli::{Global, List, TableFormat};
use crate::commands::common::Outcome;
use crate::error::Error;
use crate::lifecycle::container::{self, Container};
use crate::log::Log;

/// Lists containers.
pub fn list(global: &Global, args: &List, log: &Log) -> Outcome {
    if args.layers {
        return super::copies::list(global, args.quiet, args.format);
    }
    let root = crate::commands::common::root(global)?;
    // The default root is created by the first container; a missing root named by --root is an error.
    if let Err(e) = std::fs::read_dir(&root)
        && (global.root.is_some() || e.kind() != std::io::ErrorKind::NotFound)
    {
        return Err(Error::msg(format!("open {}: {e}", root.display())).into());
    }
    let value = |c: &Container| Some(super::state::value(c, c.state.as_ref()?));
    let (shown, left_out) =
        container::all(&root, |c| (c.id.clone(), (!args.quiet).then(|| value(c)).flatten()));
    for why in left_out {
        log.warning(&why.to_string());
    }
    // One write(2) for many lines.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.quiet {
        for (id, _) in &shown {
            writeln!(out, "{id}")?;
        }
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let values: Vec<_> = shown.into_iter().filter_map(|(_, value)| value).collect();
    if args.format == TableFormat::Json {
        // runc prints null for an empty list; its callers accept both.
        let text = if values.is_empty() { "null".into() } else { serde_json::to_string(&values)? };
        writeln!(out, "{text}")?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    let text = |v: &serde_json::Value| v.as_str().map_or_else(|| v.to_string(), crate::error::escaped_line);
    rows.extend(
        values.iter().map(|v| ["id", "pid", "status", "bundle", "created", "owner"].map(|k| text(&v[k]))),
    );
    print_table(&mut out, &rows)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Columns as wide as their widest cell, three spaces apart, at least twelve wide: Go's tabwriter with runc's
/// settings.
fn print_table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> std::io::Result<()> {
    let width = |column: usize| rows.iter().map(|r| r[column].len() + 3).max().unwrap_or(0).max(12);
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            if i + 1 == N { writeln!(out, "{cell}")? } else { write!(out, "{cell:<w$}", w = width(i))? }
        }
    }
    Ok(())
}
