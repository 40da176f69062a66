//! Options of `checkpoint` and `restore`, the same as runc's.

use std::path::PathBuf;

use clap::Args;

use crate::criu::Flags;

/// Options that both verbs have.
#[derive(Debug, Clone, Args)]
pub struct CriuFlags {
    /// Directory of the images [default: checkpoint]
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Directory for criu's log and work files [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Allow open TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow unix sockets whose peer is outside the container
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a terminal of a shell outside the container
    #[arg(long)]
    pub shell_job: bool,
    /// Transfer memory on demand (userfaultfd), through `criu lazy-pages`
    #[arg(long)]
    pub lazy_pages: bool,
    /// Save and restore file locks
    #[arg(long)]
    pub file_locks: bool,
    /// soft (existing cgroups keep their limits), full, strict or ignore [default: soft]
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<String>,
    /// Create this namespace, but do not restore its contents: only network, which is the default
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Remove memory pages from older images that newer images contain
    #[arg(long)]
    pub auto_dedup: bool,
}

impl CriuFlags {
    /// The options for criu.
    pub fn flags(&self) -> Flags {
        let CriuFlags {
            image_path,
            work_path,
            tcp_established,
            ext_unix_sk,
            shell_job,
            lazy_pages,
            file_locks,
            manage_cgroups_mode,
            empty_ns,
            auto_dedup,
        } = self.clone();
        Flags {
            image_path,
            work_path,
            tcp_established,
            ext_unix_sk,
            shell_job,
            lazy_pages,
            file_locks,
            manage_cgroups_mode,
            empty_ns,
            auto_dedup,
        }
    }
}

/// `checkpoint`.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// Container id
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: CriuFlags,
    /// Images of an earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Leave the container running afterwards
    #[arg(long)]
    pub leave_running: bool,
    /// Skip TCP connections that are not accepted yet
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Allow open files that were deleted but have other hard links
    #[arg(long)]
    pub link_remap: bool,
    /// Write \0 to this descriptor when --lazy-pages is ready
    #[arg(long, value_name = "FD", default_value_t = -1, allow_hyphen_values = true)]
    pub status_fd: i32,
    /// Send memory to a page server instead of writing it to the images
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Save only memory, and leave the container running
    #[arg(long)]
    pub pre_dump: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Container id
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: CriuFlags,
    /// Bundle directory [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Exit when the container runs
    #[arg(long, short)]
    pub detach: bool,
    /// Write the pid of the container's init to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Unix socket that receives the terminal's master end
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Do not reap orphans
    #[arg(long)]
    pub no_subreaper: bool,
    /// Accepted and ignored, as by runc: criu changes the root as at the checkpoint
    #[arg(long, hide = true)]
    pub no_pivot: bool,
    /// Close TCP connections instead of restoring them
    #[arg(long)]
    pub tcp_close: bool,
    /// Restore with this LSM label
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// Restore mounts with this SELinux context
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
}
