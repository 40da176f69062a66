//! `safebox diff`, `apply`, `discard`: the changes of a run with `--overlay`.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::cli::{ApplyArgs, DiffArgs, GlobalArgs, IdArgs, TableFormat};
use crate::commands::common::{VerbResult, root};
use crate::copies::apply::ContainerLayers;
use crate::copies::{PathChange, risk};
use crate::error::{Error, StateError, escaped_json, escaped_line};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::state::layers::{self, LayerRecord};

/// The layers of a container: where all layers are, and the record of these.
fn load(global: &GlobalArgs, id: &str) -> Result<(PathBuf, LayerRecord), Error> {
    crate::state::check_id(id)?;
    let store = layers::store(&root(global)?)?;
    let record = layers::load(&store, id)?;
    Ok((store, record))
}

/// A program that still runs changes the layer.
fn refuse_running(global: &GlobalArgs, id: &str) -> Result<(), Error> {
    let running = match Container::load(&root(global)?, id) {
        Ok(container) => container.status() != ContainerStatus::Stopped,
        Err(Error::State(StateError::NotFound)) => false,
        Err(e) => return Err(e),
    };
    match running {
        true => Err(Error::msg(format!(
            "{id}: the container still runs: safebox kill {id} KILL, or wait for its end"
        ))),
        false => Ok(()),
    }
}

/// Prints each change: `A 0644 120 PATH`.
pub fn diff(global: &GlobalArgs, args: &DiffArgs) -> VerbResult {
    let (store, record) = load(global, &args.id)?;
    let layers = ContainerLayers { store: &store, record: &record };
    let changes = layers.changes()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.format == TableFormat::Json {
        let rows: Vec<_> = changes.iter().map(|(base, change)| json(&record, *base, change)).collect();
        writeln!(out, "{}", escaped_json(&serde_json::to_string(&rows)?))?;
    } else {
        for (base, change) in &changes {
            let path = record.bases[*base].join(&change.path);
            let kind = if change.meta.is_dir() { "/" } else { "" };
            let risk = risk::of(change).map(|why| format!("  [{why}]")).unwrap_or_default();
            writeln!(
                out,
                "{} {:04o} {:>9} {}{kind}{risk}",
                change.kind.letter(),
                change.meta.mode() & 0o7777,
                if change.meta.is_dir() { 0 } else { change.meta.len() },
                escaped_line(&path.display().to_string())
            )?;
        }
    }
    out.flush()?;
    if layers.is_interrupted()? {
        crate::log::say(&format!(
            "an apply was interrupted after it began to write: safebox apply {} finishes it",
            args.id
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn json(record: &LayerRecord, base: usize, change: &PathChange) -> serde_json::Value {
    let mut row = serde_json::json!({
        "change": change.kind.letter().to_string(),
        // JSON has no text for a name that is not UTF-8.
        "path": record.bases[base].join(&change.path).to_string_lossy(),
        "mode": format!("{:04o}", change.meta.mode() & 0o7777),
        "directory": change.meta.is_dir(),
    });
    if !change.meta.is_dir() {
        row["size"] = change.meta.len().into();
    }
    if let Some(why) = risk::of(change) {
        row["risk"] = why.into();
    }
    row
}

/// Writes changes to the host's directories.
pub fn apply(global: &GlobalArgs, args: &ApplyArgs) -> VerbResult {
    let (store, record) = load(global, &args.id)?;
    refuse_running(global, &args.id)?;
    let absolute = |path: &PathBuf| {
        // The path itself may be a symlink that is to be replaced.
        let path = std::path::absolute(path).map_err(|e| Error::msg(format!("{}: {e}", path.display())))?;
        let parent = path.parent().and_then(|p| p.canonicalize().ok());
        Ok::<_, Error>(match (parent, path.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => path,
        })
    };
    let paths = args.paths.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let done = ContainerLayers { store: &store, record: &record }.apply(&paths)?;
    if done.finished {
        crate::log::say("the interrupted apply is finished");
    }
    for skipped in &done.skipped {
        crate::log::say(&format!("not written: {}", escaped_line(skipped)));
    }
    let rest =
        if done.remaining { format!("; safebox diff {} lists what remains", args.id) } else { String::new() };
    let paths = if done.paths == 1 { "path" } else { "paths" };
    crate::log::say(&format!("{} {paths} written{rest}", done.paths));
    Ok(ExitCode::SUCCESS)
}

/// Removes the changes.
pub fn discard(global: &GlobalArgs, args: &IdArgs) -> VerbResult {
    let (store, record) = load(global, &args.id)?;
    refuse_running(global, &args.id)?;
    ContainerLayers { store: &store, record: &record }.discard()?;
    Ok(ExitCode::SUCCESS)
}

/// `list --layers`: the ids that have layers, with their directories.
pub fn list(global: &GlobalArgs, quiet: bool, format: TableFormat) -> VerbResult {
    let store = layers::store(&root(global)?)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut rows = Vec::new();
    for id in layers::ids(&store) {
        let record = match layers::load(&store, &id) {
            Ok(record) => record,
            Err(e) => {
                crate::log::say(&e.to_string());
                continue;
            }
        };
        // What one program has left does not hide the others' layers.
        let changes = ContainerLayers { store: &store, record: &record }.changes();
        let changes =
            changes.inspect_err(|e| crate::log::say(&format!("{id}: {e}"))).ok().map(|all| all.len());
        rows.push((id, changes, record.bases));
    }
    if format == TableFormat::Json {
        let values = rows.iter().map(
            |(id, changes, bases)| serde_json::json!({ "id": id, "changes": changes, "directories": bases }),
        );
        writeln!(out, "{}", escaped_json(&serde_json::Value::from_iter(values).to_string()))?;
    } else {
        if !quiet {
            writeln!(out, "{:<24} {:>7}  DIRECTORIES", "ID", "CHANGES")?;
        }
        for (id, changes, bases) in &rows {
            let bases: Vec<_> = bases.iter().map(|b| escaped_line(&b.display().to_string())).collect();
            match quiet {
                true => writeln!(out, "{id}")?,
                false => {
                    let changes = changes.map_or("?".into(), |n| n.to_string());
                    writeln!(out, "{id:<24} {changes:>7}  {}", bases.join(" "))?;
                }
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
