//! Files for which a mode says too little: device nodes, scripts, paths that end in a slash.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::place::{CoveredBy, File, ResolvedPath, View, is_dev};
use super::{Answer, RefusalCause};
use crate::config::CopyUp;
use crate::launch::interpreter::{DEPTH, HEAD, interpreter};
use crate::plan::recipe::DEFAULT_DEVICES;

/// Device nodes: those that the runtime makes are known.
pub(super) fn device(view: &View<'_>, place: &ResolvedPath<'_>) -> Option<Answer> {
    if !is_dev(place.layer) || place.path.parent() != Some(Path::new("/dev")) {
        return None;
    }
    const OTHERS: [&str; 5] = ["ptmx", "pts", "shm", "mqueue", "console"];
    let name = place.path.file_name()?.to_str()?;
    let shown = place.path.display();
    let known = DEFAULT_DEVICES.iter().any(|(device, ..)| *device == name)
        || OTHERS.contains(&name)
        || view.config.devices.iter().any(|d| d.path == place.path);
    let has_terminal = view.config.process.as_ref().is_some_and(|p| p.terminal);
    Some(match known {
        true if name == "tty" && !has_terminal => {
            Answer::unsure("only a program with a controlling terminal can open it: -t gives one")
        }
        true => Answer::yes(format!("{shown} is a device of the container")),
        false => Answer::no(
            format!("the container has no device {shown}"),
            place.path.exists().then(|| format!("--device {shown}")),
        ),
    })
}

/// A name in the top directory of a tmpfs that the launch mounts: it is empty at the start, and where the mount names its
/// mode, that decides who may make files there (tmpfs(5)).
pub(super) fn in_new_tmpfs(view: &View<'_>, place: &ResolvedPath<'_>) -> Option<Answer> {
    let CoveredBy::Mount(mount) = place.layer else { return None };
    let holds_mount = view.config.mounts.iter().any(|m| m.destination.starts_with(&place.path));
    if mount.fs_type.as_deref() != Some("tmpfs") || mount.copy_up != CopyUp::No || holds_mount {
        return None;
    }
    let option = |key: &str| mount.data.iter().rev().find(|(k, _)| k == key).and_then(|(_, v)| v.as_deref());
    let id = |key: &str| option(key).map_or(Some(0), |id| id.parse::<u32>().ok());
    let mode = u32::from_str_radix(option("mode")?, 8).ok()?;
    let user = &view.config.process.as_ref()?.user;
    let (owner, group) = (id("uid")?, id("gid")?);
    let shift = match owner == user.uid {
        true => 6,
        false if group == user.gid || user.additional_gids.contains(&group) => 3,
        false => 0,
    };
    let at = mount.destination.as_path();
    // To make a file takes write and search permission of its directory.
    let may = mode >> shift & 0o3 == 0o3 && place.path.parent() == Some(at);
    let (shown, at) = (place.path.display(), at.display());
    may.then(|| Answer::yes(format!("{shown} can be made: {at} is an empty tmpfs of mode {mode:04o}")))
}

/// A path that ends in a slash names a directory (path_resolution(7)).
pub(super) fn not_a_directory(asked: &Path, place: &ResolvedPath<'_>) -> Option<Answer> {
    let File::Known(_, meta) = &place.file else { return None };
    let bytes = asked.as_os_str().as_bytes();
    let wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let why = || format!("{} is not a directory", place.path.display());
    (wants_directory && !meta.is_dir()).then(|| Answer::not_ours(RefusalCause::Absence, why()))
}

/// An interpreter of the program that the container does not have.
pub(super) fn lacks(view: &View<'_>, place: &ResolvedPath<'_>) -> Option<Answer> {
    let File::Known(host, _) = &place.file else { return None };
    let mut program = host.clone();
    for _ in 0..DEPTH {
        let (next, _) = interpreter(&head(&program)?)?;
        let found = view.resolve(&next)?;
        match found.file {
            File::Known(host, _) => program = host,
            File::Absent => {
                let next = next.to_string_lossy().escape_debug().to_string();
                let why = format!("its interpreter {next} does not exist in the container");
                return Some(Answer::not_ours(RefusalCause::Absence, why));
            }
            File::Unknown => return None,
        }
    }
    None
}

/// The first bytes of a regular file.
fn head(path: &Path) -> Option<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(HEAD as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
