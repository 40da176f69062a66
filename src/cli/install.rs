//! Options of `safebox install`.

use std::path::PathBuf;

use clap::Args;

use crate::policy::Policy;

/// `install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Print a systemd unit that runs this detached container from now on
    #[arg(long, value_name = "ID", conflicts_with_all = ["containerd", "podman", "docker", "crio", "print", "undo"])]
    pub systemd_unit: Option<String>,
    /// containerd: a runtime handler of its CRI plugin, for Kubernetes
    #[arg(long)]
    pub containerd: bool,
    /// Podman: `podman --runtime safebox`
    #[arg(long)]
    pub podman: bool,
    /// Docker Engine: `docker run --runtime safebox`
    #[arg(long)]
    pub docker: bool,
    /// CRI-O: a runtime handler
    #[arg(long)]
    pub crio: bool,
    /// With --containerd: a handler that takes no container that this policy refuses, restricted or baseline
    #[arg(long, value_name = "POLICY", requires = "containerd", conflicts_with_all = ["podman", "docker", "crio"])]
    pub policy: Option<Policy>,
    /// Print the rules by which auditd(8) watches safebox's own files
    #[arg(long, conflicts_with_all = ["containerd", "podman", "docker", "crio", "undo"])]
    pub auditd: bool,
    /// Print the files that would be written, and write nothing
    #[arg(long)]
    pub print: bool,
    /// Remove the configuration that install wrote
    #[arg(long)]
    pub undo: bool,
    /// Path of the runtime as the callers see it [default: this program's]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Configuration directory
    #[arg(long, value_name = "DIR", default_value = "/etc")]
    pub etc: PathBuf,
}
