//! `safebox checkpoint`: saves a running container to a directory of images.

use crate::sys::start::ExitCode;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::cli::{CheckpointArgs, GlobalArgs};
use crate::commands::common::VerbResult;
use crate::criu::rpc::{self, CriuNotification, CriuRequestType, opt};
use crate::criu::wire::WireMessage;
use crate::criu::{self, Criu, Directories, Feature, outside};
use crate::error::{Error, Result, StateError};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::state::State;
use crate::sys::{Errno, fs};
use crate::tables::errno;
use crate::tables::namespaces::NsKind;

const LOG: &str = "dump.log";

/// Dumps a container, and removes it unless --leave-running or --pre-dump is given.
pub fn checkpoint(global: &GlobalArgs, args: &CheckpointArgs) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    let lock = Container::load(&root, &args.id)?.lock()?;
    // Load again under the lock: a create may have changed the state since the first load.
    let container = Container::load(&root, &args.id)?;
    let status = container.status();
    let state = container.state()?;
    let pid =
        container.process().filter(|_| matches!(status, ContainerStatus::Running | ContainerStatus::Paused));
    let Some(pid) = pid else {
        let text = format!("Container cannot be checkpointed in {status} state");
        return Err(Error::from(StateError::Wrong(text)).into());
    };
    criu::needs_root("checkpoint")?;
    refuse(state)?;
    check_flags(args)?;
    let program = criu::program(global.criu.as_deref())?;
    // criu opens the directory from inside the user namespace, so other users need search permission (see
    // `reachable`).
    let userns = state.namespaces & NsKind::User.row().flag != 0;
    let dirs = Directories::open(&args.criu.flags(), Some(if userns { 0o711 } else { 0o700 }))?;
    let options = options(args, state, pid, &dirs, &program)?;
    let kind = if args.pre_dump { CriuRequestType::PreDump } else { CriuRequestType::Dump };
    let mut status_fd = args.status_fd;
    Criu::start(&program)?
        .ask(&rpc::request(kind, &options), &mut |event| on_event(&event, &mut status_fd))
        .map_err(|e| criu::log::explain(e, &dirs.log, LOG))?;
    if !args.leave_running && !args.pre_dump {
        // As with runc, the container is removed: from now on it exists only in the images.
        let undone = crate::lifecycle::destroy::destroy(&container);
        if let Some(problem) = undone.problems.first() {
            return Err(Error::msg(problem.clone()).into());
        }
    }
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// Refuses a container that criu cannot dump, with the reason, before any process is frozen.
fn refuse(state: &State) -> Result<()> {
    if state.init {
        return Err(Error::msg(
            "this container cannot be checkpointed: its init executes safebox's own file, which the images would \
             need (run it with --init=false)",
        ));
    }
    if state.outside.secrets {
        return Err(Error::msg(
            "this container cannot be checkpointed: it has secrets (--secret), and the images would hold them on disk",
        ));
    }
    if state.outside.idmapped {
        return Err(Error::msg(
            "this container cannot be checkpointed: it has an idmapped mount, which criu does not support (the \
             rootfs of a hardened `run` is one; a container of `create` has them only if its config asks)",
        ));
    }
    Ok(())
}

/// Validates the options before criu is looked for, so that a wrong option is reported even without criu.
fn check_flags(args: &CheckpointArgs) -> Result<()> {
    criu::check_flags(&args.criu.flags())?;
    page_server(args.page_server.as_deref())?;
    if args.parent_path.as_deref().is_some_and(Path::is_absolute) {
        return Err(Error::msg("--parent-path must be relative"));
    }
    if args.status_fd >= 0 && !fs::is_writable(args.status_fd) {
        let fd = args.status_fd;
        return Err(Error::msg(format!("invalid --status-fd argument {fd}: not open for writing")));
    }
    Ok(())
}

/// The options of the dump.
fn options(
    args: &CheckpointArgs,
    state: &State,
    pid: i32,
    dirs: &Directories,
    program: &Path,
) -> Result<WireMessage> {
    let mut m = criu::options(&args.criu.flags(), LOG, &state.annotations)?;
    dirs.name_in(&mut m);
    criu::network_lock(&mut m);
    m.int(opt::PID, pid.into())
        .text(opt::ROOT, &state.rootfs.to_string_lossy())
        .switch(opt::LEAVE_RUNNING, args.leave_running)
        .switch(opt::TCP_SKIP_IN_FLIGHT, args.tcp_skip_in_flight)
        .switch(opt::LINK_REMAP, args.link_remap);
    if let Some(freezer) = freezer(state) {
        m.text(opt::FREEZE_CGROUP, &freezer.to_string_lossy());
    }
    if let Some(server) = page_server(args.page_server.as_deref())? {
        m.nested(opt::PAGE_SERVER, &server);
    }
    if let Some(parent) = parent(args, dirs)? {
        m.text(opt::PARENT_IMG, &parent).switch(opt::TRACK_MEM, true);
    }
    if args.pre_dump {
        criu::needs(program, Feature::MemTrack)?;
    }
    if args.criu.lazy_pages {
        criu::needs(program, Feature::LazyPages)?;
    }
    for kind in [NsKind::Net, NsKind::Pid] {
        if state.outside.joined & kind.row().flag != 0 {
            let inode = outside::namespace_inode(pid, kind)?;
            m.text(opt::EXTERNAL, &format!("{}[{inode}]:{}", kind.row().proc, criu::namespace_key(kind)));
        }
    }
    if !args.pre_dump {
        external(&mut m, state, pid);
        let json = serde_json::to_vec(&outside::descriptors_of(pid, &state.outside))
            .map_err(|e| Error::msg(e.to_string()))?;
        write_new(&dirs.images, criu::DESCRIPTORS, &json)
            .map_err(|e| Error::os("write", dirs.path.join(criu::DESCRIPTORS).display(), e))?;
    }
    Ok(m)
}

/// Replaces the file `name`: a symlink in a directory that other users can write could lead anywhere.
fn write_new(dir: &OwnedFd, name: &str, bytes: &[u8]) -> std::result::Result<(), Errno> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
    match fs::unlinkat(dir.as_raw_fd(), &name, 0) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = fs::openat(dir.as_raw_fd(), &name, flags, 0o600).map(fs::own)?;
    fs::write_all(file.as_raw_fd(), bytes)
}

/// Declares the host resources that the images contain only by name.
fn external(m: &mut WireMessage, state: &State, pid: i32) {
    let mut name = |at: &Path, called: &str| {
        m.nested(opt::EXT_MNT, &rpc::pair(&at.to_string_lossy(), called));
    };
    for mount in &state.outside.mounts {
        let at = outside::resolved(pid, mount).unwrap_or_else(|| mount.clone());
        name(&at, &at.to_string_lossy());
    }
    for masked in &state.outside.masked {
        // Directories are masked by a tmpfs of the container, which the images contain.
        let at = outside::resolved(pid, masked);
        if let Some(at) = at.filter(|at| !Path::new(&format!("/proc/{pid}/root{}", at.display())).is_dir()) {
            name(&at, crate::launch::outside::MASK);
        }
    }
    for file in state.outside.descriptors.iter().filter(|d| d.starts_with("file[")) {
        m.text(opt::EXTERNAL, file);
    }
}

/// The freezer cgroup: criu freezes all processes at once with it, and leaves a paused container paused.
fn freezer(state: &State) -> Option<&Path> {
    crate::cgroup::of_controller(&state.cgroups, state.cgroup_v2, "freezer")
}

/// `criu_page_server_info`.
fn page_server(asked: Option<&str>) -> Result<Option<WireMessage>> {
    let Some(asked) = asked.filter(|a| !a.is_empty()) else { return Ok(None) };
    let (address, port) = asked
        .rsplit_once(':')
        .map(|(a, p)| (a.trim_start_matches('[').trim_end_matches(']'), p))
        .filter(|(a, p)| !a.is_empty() && !p.is_empty())
        .ok_or_else(|| Error::msg("Use --page-server ADDRESS:PORT to specify page server"))?;
    let port: u16 = port.parse().map_err(|_| Error::msg("Invalid port number"))?;
    Ok(Some(rpc::numbered(address, port.into())))
}

/// `--parent-path`, relative to the images directory, as criu requires.
fn parent(args: &CheckpointArgs, dirs: &Directories) -> Result<Option<String>> {
    let Some(parent) = args.parent_path.as_deref().filter(|p| !p.as_os_str().is_empty()) else {
        return Ok(None);
    };
    let real = dirs.path.join(parent);
    let invalid = |why: &str| Error::msg(format!("invalid --parent-path: {} {why}", real.display()));
    match std::fs::metadata(&real) {
        Ok(m) if m.is_dir() => Ok(Some(parent.to_string_lossy().into_owned())),
        Ok(_) => Err(invalid("is not a directory")),
        Err(e) => {
            Err(Error::msg(format!("invalid --parent-path: stat {}: {}", real.display(), errno::of_io(&e))))
        }
    }
}

/// Handles a notification of a dump: only "memory can be fetched now" needs an action.
fn on_event(event: &CriuNotification, status_fd: &mut i32) -> Result<()> {
    if event.name == "status-ready" && *status_fd >= 0 {
        let written = fs::write_all(*status_fd, &[0]);
        // The reader waits for end of file.
        fs::close(*status_fd);
        *status_fd = -1;
        written.map_err(|e| Error::os("write", "--status-fd", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        let server = page_server(Some("127.0.0.1:27")).unwrap().unwrap();
        assert_eq!(server.bytes(), b"\x0a\x09127.0.0.1\x10\x1b");
        assert_eq!(page_server(Some("[::1]:27")).unwrap().unwrap().bytes(), b"\x0a\x03::1\x10\x1b");
        assert!(page_server(None).unwrap().is_none());
        for (bad, says) in
            [(":27", "ADDRESS:PORT"), ("a", "ADDRESS:PORT"), ("a:", "ADDRESS:PORT"), ("a:x", "port")]
        {
            assert!(page_server(Some(bad)).unwrap_err().to_string().contains(says), "{bad}");
        }
    }
}
