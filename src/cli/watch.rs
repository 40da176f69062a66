//! Options of `safebox watch`.

use std::path::PathBuf;

use clap::Args;

use super::parse_size;

/// What is in the trail, and what is not.
const NOTES: &str = "\
Verbs report create, start, exec, update, kill, stop, pause, resume, checkpoint, restore, end and delete with their
caller; `denied` is a refusal of the policy file, `failed` any other failure. The watch observes the end of containers
without a launcher, `oom`, and directories that come or go without a report. A process that is killed between its act
and its report leaves only what is observed.

Not in the trail: what happens before the first watch and after a signal ended it (the next one lists what exists);
ends and kills for lack of memory while a watch that was killed is down, or of a container that is deleted within
milliseconds; exit codes of containers without a launcher before Linux 6.15. Reports are kept while a watch is down or
does not read, up to 16 MiB; then verbs warn, and the trail gets an event `lost`. Lines are in the order of the reports;
after a kill of the watch the last ones may be there twice. Command lines are in the trail, environments are not.

A user who can write FILE can compute the chain anew: keep the head that --verify prints in another place.";

/// `watch`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct WatchArgs {
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
