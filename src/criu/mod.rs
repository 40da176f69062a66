//! Checkpoint and restore, which `criu` does: it freezes the processes, reads all that the kernel knows of
//! them into images, and makes them again from there (criu.org).
//!
//! criu is driven through its own protocol, `criu swrk` ([`rpc`]), not its command line: only there does a
//! restore say when the namespaces exist (hooks run then), when the processes do (the pid is recorded
//! before they go on), and only there does it hand over the master end of a terminal. The messages are few
//! and flat, so [`wire`] writes them by hand: the bindings' crate would bring a protobuf runtime with it.
//!
//! A restore is a plan like any other (`plan::build::restore`) whose program is criu instead of the
//! container's: state, cgroups and limits, the rootfs in a mount namespace of criu's own. What the rows of
//! a create do inside (mounts, masks, ids, capabilities, seccomp) criu does from the images.

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
use rpc::{Answer, Event, Line, opt};
use wire::Message;

/// Which of the caller's descriptors were what, beside the images.
pub const DESCRIPTORS: &str = "descriptors.json";

/// What `checkpoint` and `restore` both tell criu; the names are those of runc's flags.
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

/// An annotation may come with an image, and criu's configuration names programs: it must be a file of the host's
/// administrator, not one that somebody has put where criu would look for it.
fn trusted(file: &Path) -> std::result::Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    if !file.is_absolute() {
        return Err("must be an absolute path".into());
    }
    let meta = file.symlink_metadata().map_err(|e| e.to_string())?;
    let owned = meta.is_file() && meta.uid() == 0 && meta.mode() & 0o022 == 0;
    if owned { Ok(()) } else { Err("must be a file of root's that nobody else may write".into()) }
}

/// The configuration file that every container's criu reads, as under runc.
const CONFIG_FILE: &str = "/etc/criu/runc.conf";
/// The annotation that names another.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// Feature numbers of `criu_features`, and runc's names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Feature {
    MemTrack = 1,
    LazyPages = 2,
}

fn find(name: &Path) -> Option<PathBuf> {
    std::env::split_paths(&crate::host::search_path()).map(|dir| dir.join(name)).find(|p| p.is_file())
}

/// The criu program: `--criu`, or the one that is found.
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

/// How criu keeps packets away while it works: with `iptables-restore`, as under runc, where that is
/// installed, else with nftables, which it brings (`criu_network_lock_method`).
pub fn network_lock(m: &mut Message) {
    const NFTABLES: i64 = 2;
    if find(Path::new("iptables-restore")).is_none() {
        m.int(opt::NETWORK_LOCK, NFTABLES);
    }
}

/// criu, waiting for a request on the other end of `line`.
pub struct Criu {
    line: Line,
    child: Child,
}

impl Criu {
    /// Starts `criu swrk`. Its standard descriptors lead nowhere: it has its log.
    pub fn start(program: &Path) -> Result<Self> {
        let (ours, theirs) = socket::seqpacket_pair().map_err(|e| Error::os("socketpair", "", e))?;
        let (ours, theirs) = (Line(ours), Line(theirs));
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

    /// One request, heard out to the end; then criu ends.
    pub fn ask(self, request: &Message, on_event: &mut dyn FnMut(Event) -> Result<()>) -> Result<Answer> {
        let Criu { line, mut child } = self;
        let answer = rpc::converse(line.0, request, on_event);
        // After a pre-dump it would wait for the next request: without its caller it ends.
        drop(line);
        child.wait().map_err(|e| Error::msg(format!("criu: {e}")))?;
        answer
    }
}

/// An error unless criu, on this kernel, has the feature.
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

/// The directories of a request, open: criu reads and writes through the descriptors.
pub struct Directories {
    /// For images.
    pub images: OwnedFd,
    /// Where the images are.
    pub path: PathBuf,
    /// For the log, where it is another.
    pub work: Option<OwnedFd>,
    /// Where the log is.
    pub log: PathBuf,
}

impl Directories {
    /// Opens them. The images' is made, with this mode, for a dump, and must be there for a restore.
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

    /// The same directories in the mount namespace of the process `pid`. criu works in them, and it may
    /// mount only in its own.
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

    /// An error where the images cannot be reached from a user namespace: criu opens them when it is in the
    /// container's already. The images themselves stay root's.
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

    /// Names them in a request: criu takes them from this process while it asks.
    pub fn name_in(&self, m: &mut Message) {
        m.int(opt::IMAGES_DIR_FD, self.images.as_raw_fd().into());
        if let Some(work) = &self.work {
            m.int(opt::WORK_DIR_FD, work.as_raw_fd().into());
        }
    }
}

fn make_dir(path: &Path, flag: &str, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| Error::msg(format!("{flag}: mkdir {}: {}", path.display(), text(&e))))
}

fn open_dir(path: &Path, flag: &str) -> Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    fs::openat(libc::AT_FDCWD, &crate::sys::cstr::cpath(path)?, flags, 0)
        .map(fs::own)
        .map_err(|e| Error::os(&format!("{flag}: open"), path.display(), e))
}

/// An I/O error in the words of errno(3).
pub fn text(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), crate::tables::errno::text)
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

/// The flags with few values have one of them.
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
) -> Result<Message> {
    check_flags(flags)?;
    let mut m = Message::new();
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
        // As under runc a network namespace is restored empty: its devices are the caller's and its hooks' to make.
        .int(opt::EMPTY_NS, libc::CLONE_NEWNET.into());
    match annotations.get(CONFIG_ANNOTATION).map(String::as_str) {
        None => drop(m.text(opt::CONFIG_FILE, CONFIG_FILE)),
        // Named but empty: none at all.
        Some("") => {}
        Some(file) => {
            trusted(Path::new(file))
                .map_err(|why| Error::msg(format!("{CONFIG_ANNOTATION} {file}: {why}")))?;
            m.text(opt::CONFIG_FILE, file);
        }
    }
    Ok(m)
}

/// An error where this process cannot use criu at all.
pub fn needs_root(verb: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::msg(format!("{verb} needs root: criu cannot {verb} the container of an ordinary user")))
}

/// The name of a namespace that is not the container's own, in the images.
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
