//! Arguments of the verbs about the changes of a run with `--overlay`.

use std::path::PathBuf;

use clap::Args;

use super::TableFormat;

/// `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Container id
    pub id: String,
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Container id
    pub id: String,
    /// Write only changes at or below these paths of the host [default: all]
    pub paths: Vec<PathBuf>,
}
