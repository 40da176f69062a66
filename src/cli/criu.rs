//! Flags of `checkpoint` and `restore`: runc's.

use std::path::PathBuf;

use clap::Args;

use crate::criu::Flags;

/// What both verbs tell criu.
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
    /// Allow unix sockets whose other end is outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a terminal that belongs to a shell outside
    #[arg(long)]
    pub shell_job: bool,
    /// Move memory on demand (userfaultfd), through `criu lazy-pages`
    #[arg(long)]
    pub lazy_pages: bool,
    /// Keep file locks
    #[arg(long)]
    pub file_locks: bool,
    /// soft (existing groups keep their limits), full, strict or ignore [default: soft]
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<String>,
    /// Make this namespace, but do not restore what is in it: network, which is always so
    #[arg(long, value_name = "NAMESPACE")]
    pub empty_ns: Vec<String>,
    /// Drop memory from older images that newer ones hold
    #[arg(long)]
    pub auto_dedup: bool,
}

impl CriuFlags {
    /// What criu is told.
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
pub struct Checkpoint {
    /// Container id
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: CriuFlags,
    /// Images of an earlier --pre-dump, relative to --image-path
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Let the container go on afterwards
    #[arg(long)]
    pub leave_running: bool,
    /// Leave TCP connections out that are not yet accepted
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Allow open files that were deleted but have other names
    #[arg(long)]
    pub link_remap: bool,
    /// Write \0 to this descriptor once --lazy-pages can be served
    #[arg(long, value_name = "FD", default_value_t = -1, allow_hyphen_values = true)]
    pub status_fd: i32,
    /// Send memory to a page server instead of into the images
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Save memory only, and let the container go on
    #[arg(long)]
    pub pre_dump: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Container id
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: CriuFlags,
    /// The bundle's directory [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Return when the container runs
    #[arg(long, short)]
    pub detach: bool,
    /// Write the pid of the container's process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Send the terminal's master end to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Do not reap orphans
    #[arg(long)]
    pub no_subreaper: bool,
    /// Accepted for callers of runc, which ignores it too: criu changes the root as it did before
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
