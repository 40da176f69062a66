//! `safebox list`: containers as runc's table, its JSON, or ids.

use crate::sys::start::ExitCode;
use std::io::Write;

use crate::cli::{GlobalArgs, ListArgs, TableFormat};
use crate::commands::common::VerbResult;
use crate::error::Error;
use crate::lifecycle::listing;
use crate::log::Log;

/// Lists containers.
pub fn list(global: &GlobalArgs, args: &ListArgs, log: &Log) -> VerbResult {
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
    let (listed, left_out) = listing::all(&root, args.quiet);
    for why in left_out {
        log.warning(&why.to_string());
    }
    // One write(2) for many lines.
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.quiet {
        for (id, _) in &listed {
            writeln!(out, "{id}")?;
        }
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let listings: Vec<_> = listed.into_iter().filter_map(|(_, listing)| listing).collect();
    if args.format == TableFormat::Json {
        // runc prints null for an empty list; its callers accept both.
        let text = if listings.is_empty() { "null".into() } else { serde_json::to_string(&listings)? };
        writeln!(out, "{text}")?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    rows.extend(listings.iter().map(|l| {
        let text = crate::error::escaped_line;
        let bundle = text(&l.bundle.to_string_lossy());
        [text(&l.id), l.pid.to_string(), l.status.into(), bundle, text(&l.created), text(&l.owner)]
    }));
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
