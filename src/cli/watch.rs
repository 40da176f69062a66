//! Options of `safebox watch`.

use std::path::PathBuf;

use clap::Args;

use super::parse_size;

/// `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Append the trail to this file, which only this user can write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Begin a new file before one is larger than this; the older ones are FILE.1, FILE.2, ... [default: 10m]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "output")]
    pub max_size: Option<i64>,
    /// Keep so many files [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), requires = "output")]
    pub max_files: Option<u32>,
    /// Check the hash chain of a trail and its older files, and name the first line that breaks it
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub verify: Option<PathBuf>,
    /// With --verify: the trail must have a line with this hash, as an earlier --verify printed it
    #[arg(long, value_name = "HASH", requires = "verify")]
    pub head: Option<String>,
}
