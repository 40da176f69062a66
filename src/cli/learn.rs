//! Arguments of the verbs that show what a sandbox is.

use std::path::PathBuf;

use clap::Args;

use super::LaunchArgs;
use crate::launch::options::verbs;
use crate::launch::would::Question;
use crate::policy::Policy;

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Bundle directory; without it, a confined run of this machine's programs is explained
    pub bundle: Option<PathBuf>,
    /// The program and its arguments [default: the config's process.args]
    #[arg(last = true)]
    pub args: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: LaunchArgs<{ verbs::EXPLAIN }>,
    /// Print the reason of every row
    #[arg(long)]
    pub why: bool,
    /// Print only this row: its name (pivot, mount:/proc) or number
    #[arg(long, value_name = "ROW", conflicts_with_all = ["section", "diff", "diff_policy", "json", "html"])]
    pub row: Option<String>,
    /// Print only the rows of one section, e.g. masks
    #[arg(long, value_name = "NAME", conflicts_with_all = ["diff", "diff_policy", "json", "html"])]
    pub section: Option<String>,
    /// Write the plan to this file as an HTML page; with --diff or --diff-policy, two plans side by side
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "why"])]
    pub html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show the differences to another bundle's plan
    #[arg(long, value_name = "BUNDLE")]
    pub diff: Option<PathBuf>,
    /// Show the differences between the plans of two policies, e.g. --diff-policy baseline restricted
    #[arg(long, value_names = ["POLICY", "POLICY"], num_args = 2, conflicts_with_all = ["diff", "policy", "json", "why"])]
    pub diff_policy: Option<Vec<Policy>>,
    /// Instead of the plan, print whether the program could do this: read:PATH, write:PATH, exec:PATH,
    /// connect:HOST:PORT or connect:unix:PATH; repeatable. Exit code 1 if one of them would
    /// fail, 125 if the question or another option is wrong
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["row", "section", "html", "json", "diff", "diff_policy", "why"])]
    pub would: Vec<Question>,
}

/// `tour`.
#[derive(Debug, Args)]
pub struct TourArgs {
    /// Show only this layer: cgroup, devices, pid, network, user, root, read-only, masks, descriptors,
    /// capabilities, credentials, no-new-privs or seccomp
    pub layer: Option<String>,
    /// Do not wait between the layers
    #[arg(long)]
    pub all: bool,
    /// Perform the attack of a layer
    #[arg(long, hide = true, value_name = "LAYER")]
    pub attack: Option<String>,
    /// Arguments of the attack
    #[arg(last = true, hide = true)]
    pub arguments: Vec<String>,
}
