//! Applies file options to the config: host paths at the same path, volumes, tmpfs, devices.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::copies;
use super::value::{Access, Launch, RootSource, Volume};
use crate::config::defaults::STANDARD;
use crate::config::mount_options::parse_options;
use crate::config::{Config, Device, Mount};
use crate::error::{Error, Result};
use crate::policy::{Change, Facts, Policy, WORKING_DIRECTORY, add_mount, is_closed, row_mount};
use crate::tables::host_paths::{HOST_PATHS, Refused};

/// Options of every bind mount of a volume: files of an image or another container must not grant privileges.
const NOTHING_GAINED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A host path named by an option.
struct OptionHostPath {
    access: Access,
    path: PathBuf,
    option: String,
}

/// Applies `--ro`, `--rw`, `--hide`, and adds the working directory for a run of the host's programs.
pub(super) fn host_paths(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let mut all = named(launch, facts)?;
    if launch.root == RootSource::Host {
        working_directory(launch, config, &mut all)?;
    }
    all.sort_by_key(|s| s.path.components().count());
    let covers = |host_path: &OptionHostPath, config: &Config| {
        config.mounts.iter().any(|m| m.bind.is_some() && host_path.path.starts_with(&m.destination))
    };
    let mut number = 0;
    for host_path in all {
        match host_path.access {
            Access::Copy => {
                refuse_source(&host_path.path, &host_path.option, facts)?;
                let mut mount = bind(&host_path.path, &host_path.path, true, &host_path.option)?;
                mount.overlay =
                    Some(copies::overlay((&host_path.path, &host_path.option), number, launch, facts)?);
                // overlayfs takes one file system, without the mounts below.
                mount.bind = Some(false);
                push(config, mount);
                asks_for_caller(&host_path.path, true, &host_path.option, facts, config)?;
                changes
                    .push(Change::new("files", copies::text((&host_path.path, &host_path.option), facts.id)));
                number += 1;
            }
            Access::Hide if !covers(&host_path, config) => {
                return Err(Error::msg(format!(
                    "{}: it is not below a visible host path, so there is nothing to hide",
                    host_path.option
                )));
            }
            Access::Hide => hide(config, &host_path.path)?,
            Access::Write | Access::Read => {
                refuse_source(&host_path.path, &host_path.option, facts)?;
                let write = host_path.access == Access::Write;
                push(config, bind(&host_path.path, &host_path.path, write, &host_path.option)?);
                asks_for_caller(&host_path.path, write, &host_path.option, facts, config)?;
                if write {
                    changes.push(Change::weaker(
                        "files",
                        format!("{} is writable ({})", host_path.path.display(), host_path.option),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The paths that the options name, each once.
fn named(launch: &Launch, facts: &Facts<'_>) -> Result<Vec<OptionHostPath>> {
    let mut all: Vec<OptionHostPath> = Vec::new();
    for (access, path) in &launch.files.paths {
        let flag = match access {
            Access::Write => "--rw",
            Access::Copy => "--overlay",
            Access::Read => "--ro",
            Access::Hide => "--hide",
        };
        let option = format!("{flag} {}", path.display());
        let path = found(path, &option, facts)?;
        // For equal paths hide wins over ro, ro over overlay, and overlay over rw.
        match all.iter_mut().find(|s| s.path == path) {
            Some(same) if same.access < *access => (same.access, same.option) = (*access, option),
            Some(_) => {}
            None => all.push(OptionHostPath { access: *access, path, option }),
        }
    }
    Ok(all)
}

/// The path without symlinks; an error if it does not exist or, in a hardened run, leads through another user's symlink.
fn found(path: &Path, option: &str, facts: &Facts<'_>) -> Result<PathBuf> {
    if facts.policy >= Policy::Baseline && path.exists() {
        return super::links::resolved(path).map_err(|why| Error::msg(format!("{option}: {why}")));
    }
    std::fs::canonicalize(path).map_err(|e| {
        Error::msg(match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{option}: no such file or directory: use an existing path")
            }
            _ => format!("{option}: {e}"),
        })
    })
}

/// Shared directories, which are not a project's.
const CROWDED: [&str; 8] = ["/home", "/root", "/tmp", "/var", "/var/tmp", "/run", "/srv", "/dev/shm"];

/// Mounts the working directory at the same path, read-only, unless an option mounts it.
fn working_directory(launch: &Launch, config: &mut Config, all: &mut Vec<OptionHostPath>) -> Result<()> {
    if launch.process.workdir.is_some() {
        return Ok(());
    }
    let dir = std::env::current_dir()
        .and_then(std::fs::canonicalize)
        .map_err(|e| Error::msg(format!("working directory: {e}; use -w DIR to name one inside")))?;
    if let Some(process) = config.process.as_mut() {
        process.cwd.clone_from(&dir);
    }
    // The root directory inside is the container's own, as with -w /.
    if dir == Path::new("/") {
        return Ok(());
    }
    let host = config.mounts.iter().any(|m| m.bind.is_some() && dir.starts_with(&m.destination));
    if host || all.iter().any(|s| dir.starts_with(&s.path)) {
        return Ok(());
    }
    let home = home().is_some_and(|home| home.starts_with(&dir));
    if home || CROWDED.iter().any(|crowded| dir == Path::new(crowded)) {
        if all.iter().any(|s| s.access != Access::Hide) {
            return Ok(());
        }
        let what =
            if home { "it is, or contains, the home directory" } else { "it is not a project directory" };
        return Err(Error::msg(format!(
            "the working directory {} is not mounted, because {what}: change into a project directory, name \
             paths with --ro or --rw, or use -w /",
            dir.display()
        )));
    }
    all.push(OptionHostPath { access: Access::Read, path: dir, option: WORKING_DIRECTORY.into() });
    Ok(())
}

/// The caller's home directory, without symlinks.
pub(super) fn home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|h| !h.is_empty())?;
    std::fs::canonicalize(home).ok().filter(|home| home.components().count() > 1)
}

/// Covers a directory with an empty one, and masks a file.
fn hide(config: &mut Config, path: &Path) -> Result<()> {
    if !path.is_dir() {
        config.masked_paths.push(path.to_path_buf());
        return Ok(());
    }
    let data = [("size", "64k"), ("mode", "0555")];
    push(
        config,
        Mount {
            destination: path.to_path_buf(),
            fs_type: Some("tmpfs".into()),
            source: Some("hidden".into()),
            attr_set: NOTHING_GAINED | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY,
            data: data.iter().map(|(k, v)| ((*k).to_string(), Some((*v).to_string()))).collect(),
            ..Mount::default()
        },
    );
    Ok(())
}

/// A bind mount of a host path, including the mounts below it.
pub(super) fn bind(source: &Path, destination: &Path, write: bool, option: &str) -> Result<Mount> {
    let text = source.to_str().ok_or_else(|| Error::msg(format!("{option}: the path is not valid UTF-8")))?;
    let readonly = if write { 0 } else { libc::MOUNT_ATTR_RDONLY };
    Ok(Mount {
        destination: destination.to_path_buf(),
        source: Some(text.into()),
        bind: Some(true),
        rec_attr_set: NOTHING_GAINED | readonly,
        volume: Some(option.into()),
        ..Mount::default()
    })
}

/// Adds a mount; the last mount at a destination wins.
fn push(config: &mut Config, mount: Mount) {
    config.mounts.retain(|m| m.destination != mount.destination);
    add_mount(&mut config.mounts, mount, usize::MAX);
}

/// For an unprivileged caller: only the caller can write its files, and only the caller can read files that
/// are closed to other users. So the container's user must then be the caller.
fn asks_for_caller(
    source: &Path,
    write: bool,
    option: &str,
    facts: &Facts<'_>,
    config: &mut Config,
) -> Result<()> {
    if facts.host.rootless.is_none() || config.hardening.caller_ids.is_some() {
        return Ok(());
    }
    let meta = std::fs::metadata(source).map_err(|e| Error::msg(format!("{option}: {e}")))?;
    if write {
        config.hardening.caller_ids = Some(option.into());
    } else if is_closed(&meta) && meta.uid() == facts.host.euid {
        config.hardening.caller_ids = Some(format!("{option}, which is closed to other users"));
    }
    Ok(())
}

/// Refuses, under `restricted`, the sources that [`HOST_PATHS`] marks, directories that contain one of them, the states of
/// containers, and sockets. Other paths that the rule host-directories fails are printed as weaker (see `weaker`).
fn refuse_source(source: &Path, option: &str, facts: &Facts<'_>) -> Result<()> {
    if facts.policy < Policy::Restricted {
        return Ok(());
    }
    let refused = |what: &str| Err(Error::msg(format!("{option}: {what}, or use --policy baseline")));
    if source == Path::new(SHM) {
        return refused("programs of the host share /dev/shm: name a path below it");
    }
    let shm = source.starts_with(SHM);
    let rows = HOST_PATHS.iter().filter(|row| row.refused != Refused::Never && !shm);
    let at = rows.clone().find(|row| match row.refused {
        Refused::Below => source.starts_with(row.path),
        _ => source == Path::new(row.path),
    });
    if let Some(row) = at {
        let remedy = match row.refused {
            Refused::Below => ", and so does every path below it: choose another",
            _ => ": name a path below it",
        };
        return refused(&format!("{} exposes the host{remedy}", row.path));
    }
    let mut inside = rows.map(|row| Path::new(row.path));
    if let Some(path) = inside.find(|path| path.starts_with(source) && path.exists()) {
        return refused(&format!("it contains {}: name another path below it", path.display()));
    }
    if facts.state_root.starts_with(source) || source.starts_with(facts.state_root) {
        return refused("it contains the states of containers: name another path");
    }
    if std::fs::metadata(source).is_ok_and(|m| m.file_type().is_socket()) {
        return refused("it is a socket, whose peer acts on the host: leave it out");
    }
    Ok(())
}

/// Shared memory, of which options may name single entries.
const SHM: &str = "/dev/shm";

/// `--volume`, `--mount`, `--tmpfs`.
pub(super) fn volumes(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    for volume in &launch.files.volumes {
        let mount = match &volume.source {
            Some(source) => {
                let source = found(source, &volume.option, facts)?;
                refuse_source(&source, &volume.option, facts)?;
                asks_for_caller(&source, volume.write, &volume.option, facts, config)?;
                let (place, option) = (volume.destination.display(), &volume.option);
                changes.push(if volume.write {
                    Change::weaker("files", format!("{} is writable at {place} ({option})", source.display()))
                } else {
                    Change::new(
                        "files",
                        format!("{} at {place} is read-only (:rw for writing)", source.display()),
                    )
                });
                bind(&source, &volume.destination, volume.write, option)?
            }
            None => Mount {
                destination: volume.destination.clone(),
                fs_type: Some("tmpfs".into()),
                source: Some("tmpfs".into()),
                attr_set: NOTHING_GAINED,
                ..Mount::default()
            },
        };
        push(config, with_options(mount, volume));
    }
    if !launch.files.volumes.is_empty() {
        launch
            .files
            .volumes
            .iter()
            .try_for_each(|volume| made_on_the_host(&volume.option, &volume.destination, config))?;
    }
    Ok(())
}

fn with_options(mut mount: Mount, volume: &Volume) -> Mount {
    let bind = mount.bind;
    parse_options(&volume.options, &mut mount);
    mount.bind = bind;
    // Options of a bind mount also apply to the mounts below it.
    if bind.is_some() {
        mount.rec_attr_set |= mount.attr_set;
        mount.rec_attr_set &= !mount.attr_clr;
        (mount.attr_set, mount.attr_clr, mount.names_flags) = (0, 0, false);
    }
    mount
}

/// Refuses a mount point that is missing in a volume: it would be created in the host's directory.
pub(super) fn made_on_the_host(option: &str, destination: &Path, config: &Config) -> Result<()> {
    let over = config
        .mounts
        .iter()
        .filter(|m| m.destination != destination && destination.starts_with(&m.destination));
    let Some(over) = over.max_by_key(|m| m.destination.components().count()) else { return Ok(()) };
    let (Some(_), Some(source)) = (over.bind, over.source.as_deref()) else { return Ok(()) };
    let inside = destination.strip_prefix(&over.destination).unwrap_or(Path::new(""));
    let path = Path::new(source).join(inside);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    Err(Error::msg(format!(
        "{}: {} does not exist, and nothing is created on the host: create it first, or choose a path outside {}",
        option,
        path.display(),
        over.destination.display()
    )))
}

/// `--device`.
pub(super) fn devices(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    _: &mut Vec<Change>,
) -> Result<()> {
    for (path, inside, access) in &launch.files.devices {
        let option = format!("--device {}", path.display());
        if facts.host.rootless.is_some() {
            return Err(Error::msg(format!(
                "{option}: only root of the machine can add a device to a container"
            )));
        }
        let path = found(path, &option, facts)?;
        let meta = std::fs::metadata(&path).map_err(|e| Error::msg(format!("{option}: {e}")))?;
        let kind = match meta.file_type() {
            t if t.is_char_device() => 'c',
            t if t.is_block_device() => 'b',
            _ => return Err(Error::msg(format!("{option}: {} is not a device", path.display()))),
        };
        let device = Device {
            path: inside.clone(),
            kind,
            major: libc::major(meta.rdev()),
            minor: libc::minor(meta.rdev()),
            mode: meta.mode() & 0o777,
            uid: 0,
            gid: 0,
        };
        if facts.policy == Policy::Privileged {
            config.resources.devices.push(device.rule(access));
        }
        config.devices.retain(|d| d.path != *inside);
        config.devices.push(device);
    }
    Ok(())
}

/// `--shm-size`.
pub(super) fn shm(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    _: &mut Vec<Change>,
) -> Result<()> {
    let Some(bytes) = launch.files.shm_size else { return Ok(()) };
    let memory = *facts.host.memory.get();
    if bytes as u64 > memory {
        return Err(Error::msg(format!(
            "--shm-size {bytes}: larger than this machine's memory ({} bytes)",
            memory
        )));
    }
    let at = |m: &Mount| m.destination == Path::new("/dev/shm") && m.fs_type.as_deref() == Some("tmpfs");
    if !config.mounts.iter().any(at) {
        let row = STANDARD.iter().find(|row| row.destination == "/dev/shm");
        config.mounts.extend(row.map(|row| row_mount(row, None)));
    }
    for mount in config.mounts.iter_mut().filter(|m| at(m)) {
        mount.data.retain(|(key, _)| key != "size");
        mount.data.push(("size".into(), Some(bytes.to_string())));
    }
    Ok(())
}
