//! `--pid-file`.

use std::path::Path;

use crate::error::Error;
use crate::sys::replace::{Kind, replace_path};

/// Decimal and no newline, written whole or not at all: go-runc parses the raw bytes.
pub fn write(path: &Path, pid: i32) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::msg(format!("--pid-file {}: {e}", path.display()));
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = path.with_file_name(format!(".{name}.tmp"));
    replace_path(&temp, path, pid.to_string().as_bytes(), Kind { mode: 0o666, sync: false }).map_err(failed)
}
