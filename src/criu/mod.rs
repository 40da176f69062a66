//! Checkpoint and restore with `criu`: it freezes the processes, writes their kernel state into images, and
//! recreates them from the images (criu.org).
//!
//! criu is driven through its protocol `criu swrk` ([`rpc`]), not its command line. Only the protocol reports
//! during a restore when the namespaces exist (hooks run then) and when the processes exist (the pid is
//! recorded before they continue), and only it passes the master end of a terminal. The messages are few and
//! flat, so [`wire`] encodes them without the bindings' crate and its protobuf runtime.
//!
//! A restore is a plan like any other (`plan::recipe::restore`) whose program is criu instead of the
//! container's. It creates state, cgroups, limits, and the rootfs in criu's own mount namespace. criu
//! restores the rest from the images: mounts, masks, ids, capabilities, seccomp.

pub mod inside;
pub mod log;
pub mod outside;
pub mod rpc;
pub mod wire;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Error, Result};
use crate::sys::{fs, socket};
use rpc::{CriuNotification, CriuResponse, CriuSocket, opt};
use wire::WireMessage;

/// File next to the images: the caller's descriptors 0 to 2 at the checkpoint.
pub const DESCRIPTORS: &str = "descriptors.json";

/// The options that `checkpoint` and `restore` share; the names are those of runc's flags.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Flags {
    pub image_path: Option<PathBuf>,
    pub work_path: Option<PathBuf>,
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub lazy_pages: bool,
    pub file_locks: bool,
    pub manage_cgroups_mode: Option<String>,
    pub empty_ns: Vec<String>,
    pub auto_dedup: bool,
}

/// Checks a criu configuration file. An annotation may come with an image, and criu's configuration names
/// programs to execute, so the file must belong to root and not be writable by other users.
fn trusted(file: &Path) -> std::result::Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    if !file.is_absolute() {
        return Err("must be an absolute path".into());
    }
    let meta = file.symlink_metadata().map_err(|e| e.to_string())?;
    let owned = meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0;
    if owned { Ok(()) } else { Err("must be owned by root and writable only by root".into()) }
}

/// The configuration file that criu reads for every container, as under runc.
const CONFIG_FILE: &str = "/etc/criu/runc.conf";
/// The annotation that names another one.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// Feature numbers of `criu_features`, and runc's names of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Feature {
    MemTrack = 1,
    LazyPages = 2,
}

fn find(name: &Path) -> Option<PathBuf> {
    std::env::split_paths(&crate::host::search_path()).map(|dir| dir.join(name)).find(|p| p.is_file())
}

/// The criu program: `--criu`, or the one in `PATH`.
pub fn program(asked: Option<&Path>) -> Result<PathBuf> {
    let name = asked.unwrap_or(Path::new("criu"));
    if name.components().count() > 1 {
        return Ok(name.to_path_buf());
    }
    find(name).ok_or_else(|| {
        let name = name.display();
        Error::msg(format!(
            "CRIU version check failed: exec: \"{name}\": executable file not found in $PATH (install criu)"
        ))
    })
}

/// Tells criu how to lock the network during its work: with `iptables-restore` if it is installed, as under
/// runc, else with nftables, which criu contains (`criu_network_lock_method`).
pub fn network_lock(m: &mut WireMessage) {
    const NFTABLES: i64 = 2;
    if find(Path::new("iptables-restore")).is_none() {
        m.int(opt::NETWORK_LOCK, NFTABLES);
    }
}

/// A criu process that waits for a request on `line`.
pub struct Criu {
    line: CriuSocket,
    child: Child,
}

impl Criu {
    /// Starts `criu swrk`. Its stdin, stdout and stderr are /dev/null: it writes a log.
    pub fn start(program: &Path) -> Result<Self> {
        let (ours, theirs) = socket::seqpacket_pair().map_err(|e| Error::os("socketpair", "", e))?;
        let (ours, theirs) = (CriuSocket(ours), CriuSocket(theirs));
        fs::inheritable(theirs.0).map_err(|e| Error::os("fcntl", "", e))?;
        let child = Command::new(program)
            .args(["swrk", &theirs.0.to_string()])
            .env("PATH", crate::host::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| Error::msg(format!("exec: \"{}\": {e}", program.display())))?;
        Ok(Criu { line: ours, child })
    }

    /// Sends one request and handles its notifications; then criu ends.
    pub fn ask(
        self,
        request: &WireMessage,
        on_event: &mut dyn FnMut(CriuNotification) -> Result<()>,
    ) -> Result<CriuResponse> {
        let Criu { line, mut child } = self;
        let answer = rpc::converse(line.0, request, on_event);
        // After a pre-dump criu waits for the next request; it ends when this end is closed.
        drop(line);
        child.wait().map_err(|e| Error::msg(format!("criu: {e}")))?;
        answer
    }
}

/// An error unless criu and this kernel have the feature.
pub fn needs(program: &Path, feature: Feature) -> Result<()> {
    let answer = Criu::start(program)?
        .ask(&rpc::feature_check(feature as u32), &mut |_| Ok(()))
        .map_err(|e| Error::msg(format!("CRIU feature check failed: {e}")))?;
    if answer.features.contains(&(feature as u32)) {
        return Ok(());
    }
    let why = match feature {
        Feature::MemTrack => "this kernel does not track changed memory (CONFIG_MEM_SOFT_DIRTY)",
        Feature::LazyPages => "this kernel cannot load memory on demand (userfaultfd(2))",
    };
    Err(Error::msg(format!("criu is missing features: [{feature:?}]: {why}")))
}

/// The open directories of a request: criu reads and writes through the descriptors.
pub struct Directories {
    /// The images directory.
    pub images: OwnedFd,
    /// Path of the images directory.
    pub path: PathBuf,
    /// The directory of the log, if it is another one.
    pub work: Option<OwnedFd>,
    /// Path of the log's directory.
    pub log: PathBuf,
}

impl Directories {
    /// Opens them. For a dump the images directory is created with this mode; for a restore it must exist.
    pub fn open(flags: &Flags, make: Option<u32>) -> Result<Self> {
        let path = flags.image_path.clone().filter(|p| !p.as_os_str().is_empty());
        let path = path.unwrap_or_else(|| "checkpoint".into());
        if let Some(mode) = make {
            make_dir(&path, "--image-path", mode)?;
        }
        let work = flags.work_path.as_deref().filter(|w| !w.as_os_str().is_empty());
        if let Some(work) = work {
            make_dir(work, "--work-path", 0o700)?;
        }
        Ok(Directories {
            images: open_dir(&path, "--image-path")?,
            work: work.map(|w| open_dir(w, "--work-path")).transpose()?,
            log: work.unwrap_or(&path).to_path_buf(),
            path,
        })
    }

    /// The same directories in the mount namespace of the process `pid`. criu works there, and it may mount
    /// only in its own mount namespace.
    pub fn seen_by(&self, pid: i32) -> Result<Self> {
        let open = |fd: &OwnedFd, flag| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let path = std::fs::read_link(&link).map_err(|e| Error::msg(format!("{link}: {e}")))?;
            open_dir(Path::new(&format!("/proc/{pid}/root{}", path.display())), flag)
        };
        Ok(Directories {
            images: open(&self.images, "--image-path")?,
            work: self.work.as_ref().map(|w| open(w, "--work-path")).transpose()?,
            log: self.log.clone(),
            path: self.path.clone(),
        })
    }

    /// An error if the images cannot be reached from a user namespace: criu opens them after it has entered
    /// the container's. The images themselves stay owned by root.
    pub fn reachable(&self) -> Result<()> {
        let stat =
            fs::fstatat(self.images.as_raw_fd(), c"").map_err(|e| Error::os("stat", "--image-path", e))?;
        if stat.st_mode & 0o001 != 0 {
            return Ok(());
        }
        let path = self.path.display();
        Err(Error::msg(format!(
            "--image-path {path}: criu must find its images from inside the user namespace: chmod o+x {path}"
        )))
    }

    /// Adds the directories to a request: criu opens them through this process's /proc/PID/fd.
    pub fn name_in(&self, m: &mut WireMessage) {
        m.int(opt::IMAGES_DIR_FD, self.images.as_raw_fd().into());
        if let Some(work) = &self.work {
            m.int(opt::WORK_DIR_FD, work.as_raw_fd().into());
        }
    }
}

fn make_dir(path: &Path, flag: &str, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|e| {
        Error::msg(format!("{flag}: mkdir {}: {}", path.display(), crate::tables::errno::of_io(&e)))
    })
}

fn open_dir(path: &Path, flag: &str) -> Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    fs::openat(libc::AT_FDCWD, &crate::sys::cstr::cpath(path)?, flags, 0)
        .map(fs::own)
        .map_err(|e| Error::os(&format!("{flag}: open"), path.display(), e))
}

/// criu's number for `--manage-cgroups-mode` (`criu_cg_mode`).
fn cgroups_mode(flags: &Flags) -> Result<i64> {
    match flags.manage_cgroups_mode.as_deref().unwrap_or_default() {
        "" => Ok(6),
        "ignore" => Ok(0),
        "soft" => Ok(3),
        "full" => Ok(4),
        "strict" => Ok(5),
        _ => Err(Error::msg("Invalid manage-cgroups-mode value")),
    }
}

/// Validates the options that have a fixed set of values.
pub fn check_flags(flags: &Flags) -> Result<()> {
    if let Some(other) = flags.empty_ns.iter().find(|ns| *ns != "network") {
        return Err(Error::msg(format!("namespace {other:?} is not supported")));
    }
    cgroups_mode(flags).map(drop)
}

/// The options that a dump and a restore share.
pub fn options(
    flags: &Flags,
    log_file: &str,
    annotations: &std::collections::BTreeMap<String, String>,
) -> Result<WireMessage> {
    check_flags(flags)?;
    let mut m = WireMessage::new();
    m.int(opt::LOG_LEVEL, 4)
        .text(opt::LOG_FILE, log_file)
        .switch(opt::MANAGE_CGROUPS, true)
        .int(opt::MANAGE_CGROUPS_MODE, cgroups_mode(flags)?)
        .switch(opt::NOTIFY_SCRIPTS, true)
        .switch(opt::SHELL_JOB, flags.shell_job)
        .switch(opt::EXT_UNIX_SK, flags.ext_unix_sk)
        .switch(opt::TCP_ESTABLISHED, flags.tcp_established)
        .switch(opt::FILE_LOCKS, flags.file_locks)
        .switch(opt::AUTO_DEDUP, flags.auto_dedup)
        .switch(opt::LAZY_PAGES, flags.lazy_pages)
        .switch(opt::ORPHAN_PTS_MASTER, true)
        // As under runc a network namespace is restored empty: the caller and its hooks create the devices.
        .int(opt::EMPTY_NS, libc::CLONE_NEWNET.into());
    match annotations.get(CONFIG_ANNOTATION).map(String::as_str) {
        None => drop(m.text(opt::CONFIG_FILE, CONFIG_FILE)),
        // Set but empty: no configuration file.
        Some("") => {}
        Some(file) => {
            trusted(Path::new(file))
                .map_err(|why| Error::msg(format!("{CONFIG_ANNOTATION} {file}: {why}")))?;
            m.text(opt::CONFIG_FILE, file);
        }
    }
    Ok(m)
}

/// An error if this process cannot use criu at all.
pub fn needs_root(verb: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::msg(format!("{verb} needs root: criu cannot {verb} the container of an unprivileged user")))
}

/// The name of a joined namespace in the images.
pub fn namespace_key(kind: crate::tables::namespaces::NsKind) -> &'static str {
    match kind {
        crate::tables::namespaces::NsKind::Pid => "extRootPidNS",
        _ => "extRootNetNS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn only_root_s_own_file_configures_criu() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("criu.conf");
        std::fs::write(&file, "").unwrap();
        if !nix::unistd::geteuid().is_root() {
            assert!(trusted(&file).unwrap_err().contains("root's"));
            return;
        }
        assert_eq!(trusted(&file), Ok(()));
        assert!(trusted(Path::new("criu.conf")).unwrap_err().contains("absolute"));
        symlink(&file, dir.path().join("link")).unwrap();
        assert!(trusted(&dir.path().join("link")).is_err());
        assert!(trusted(dir.path()).is_err());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
        assert!(trusted(&file).is_err());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        chown(&file, Some(1000), None).unwrap();
        assert!(trusted(&file).is_err());
    }
}
