//! Files for which a mode says too little: device nodes, scripts, paths that end in a slash.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::place::{File, Place, View, is_dev};
use super::{Answer, Cause};
use crate::launch::interpreter::{DEPTH, HEAD, interpreter};
use crate::plan::recipe::DEFAULT_DEVICES;

/// Device nodes: those that the runtime makes are known.
pub(super) fn device(view: &View<'_>, place: &Place<'_>) -> Option<Answer> {
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

/// A path that ends in a slash names a directory (path_resolution(7)).
pub(super) fn not_a_directory(asked: &Path, place: &Place<'_>) -> Option<Answer> {
    let File::Known(_, meta) = &place.file else { return None };
    let bytes = asked.as_os_str().as_bytes();
    let wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let why = || format!("{} is not a directory", place.path.display());
    (wants_directory && !meta.is_dir()).then(|| Answer::not_ours(Cause::Absence, why()))
}

/// An interpreter of the program that the container does not have.
pub(super) fn lacks(view: &View<'_>, place: &Place<'_>) -> Option<Answer> {
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
                return Some(Answer::not_ours(Cause::Absence, why));
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
