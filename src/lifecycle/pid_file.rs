//! `--pid-file`.

use std::io::Write;
use std::path::Path;

use crate::error::Error;

/// Decimal and no newline, written whole or not at all: go-runc parses the raw bytes.
pub fn write(path: &Path, pid: i32) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::msg(format!("--pid-file {}: {e}", path.display()));
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = path.with_file_name(format!(".{name}.tmp"));
    // What has that name is a runtime's that was killed, or another user's, in a directory that both may write.
    std::fs::remove_file(&temp).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temp).map_err(failed)?;
    file.write_all(pid.to_string().as_bytes()).map_err(failed)?;
    std::fs::rename(&temp, path).map_err(failed)
}
