//! Why execve(2) refuses a file that is there: the interpreter of its `#!` line, or its ELF loader, is not.
//!
//! The kernel answers with the same errno as for a missing file, so the interpreters are looked up here, below the
//! container's root, after the failure.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::launch::interpreter::{DEPTH, HEAD, interpreter};
use crate::perform::Cx;
use crate::perform::baton::Baton;
use crate::sys::{Errno, fs, process, socket};

/// Init, after its report: sends a descriptor of the container's root. The report has gone before, because the
/// container's filter may kill the process for this.
pub(super) fn show_root(cx: &Cx, report: Baton) {
    let Ok(root) = fs::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0) else { return };
    socket::send_fd(cx.baton, &report.to_bytes(), root).unwrap_or_default();
}

/// The runtime, after Init's report: what the program at `path` lacks. A filter's agent may hold Init up, so the wait
/// is bounded.
pub(super) fn lacking_inside(baton: RawFd, path: &Path) -> Option<String> {
    let [ready] = process::poll_in_for([baton], Duration::from_secs(1)).ok()?;
    let (record, fds) = if ready { Baton::receive_with_fds(baton) } else { return None };
    record.ok()??;
    lacking(fds.first()?.as_raw_fd(), path)
}

/// What the program at `path` below `root` lacks, in words; `None` where nothing is known to be missing.
pub fn lacking(root: RawFd, path: &Path) -> Option<String> {
    let mut program = path.to_path_buf();
    for _ in 0..DEPTH {
        let (next, elf) = interpreter(&head(&open_below(root, &program).ok()?)?)?;
        let shown = next.to_string_lossy().escape_debug().to_string();
        let kind = if elf { " (the loader that a dynamically linked program needs)" } else { "" };
        match open_below(root, &next) {
            Err(Errno::ENOENT | Errno::ENOTDIR) if shown.ends_with("\\r") => {
                return Some(format!(
                    "its interpreter {shown} is missing: its #! line ends in a carriage return"
                ));
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                return Some(format!("its interpreter {shown} is missing{kind}"));
            }
            Err(_) => return None,
            Ok(file) if mode(&file)? & 0o111 == 0 => {
                return Some(format!("its interpreter {shown} has no execute permission{kind}"));
            }
            Ok(_) => program = next,
        }
    }
    Some(format!("more than {DEPTH} interpreters of interpreters"))
}

/// An O_PATH descriptor: a device or a FIFO is not opened by this.
fn open_below(root: RawFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    fs::openat2(root, &path, libc::O_PATH, 0, fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS).map(fs::own)
}

fn mode(file: &OwnedFd) -> Option<u32> {
    std::fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd())).ok().map(|m| m.mode())
}

/// The first bytes of a regular file.
fn head(file: &OwnedFd) -> Option<Vec<u8>> {
    if mode(file)? & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let file = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let mut bytes = vec![0; HEAD];
    let n = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(n);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_also_behind_another_script() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(dir.path().join(name), mode).unwrap();
        };
        put("a", "#!/no/such\n");
        put("b", "#!/a\n");
        put("c", "#!/c\n");
        put("d", "#!/b\r\n");
        let root = fs::own(
            nix::fcntl::open(dir.path(), nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty())
                .map(std::os::fd::IntoRawFd::into_raw_fd)
                .unwrap(),
        );
        let of = |name: &str| lacking(root.as_raw_fd(), Path::new(name));
        assert_eq!(of("/a").as_deref(), Some("its interpreter /no/such is missing"));
        assert_eq!(of("/b").as_deref(), Some("its interpreter /no/such is missing"));
        assert_eq!(of("/c").as_deref(), Some("more than 5 interpreters of interpreters"));
        assert!(of("/d").unwrap().starts_with("its interpreter /b\\r is missing: its #! line"));
        assert_eq!(of("/nothing"), None);
    }
}
