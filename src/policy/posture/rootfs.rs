//! What an image holds that no config takes away: setuid programs, and secrets.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sys::cstr::cpath;
use crate::sys::fs;

/// So many entries of a tree are looked at.
const MOST: usize = 200_000;
/// So many findings of a kind are kept.
const KEPT: usize = 20;

/// Names of files that hold secrets, and what they are.
const SECRETS: [(&str, &str); 12] = [
    ("id_rsa", "a private key of SSH"),
    ("id_dsa", "a private key of SSH"),
    ("id_ecdsa", "a private key of SSH"),
    ("id_ed25519", "a private key of SSH"),
    (".env", "variables of an application, often passwords"),
    (".git-credentials", "passwords of git"),
    (".netrc", "passwords of servers"),
    (".pgpass", "passwords of PostgreSQL"),
    (".htpasswd", "password hashes"),
    (".dockercfg", "passwords of registries"),
    ("credentials.json", "credentials of a cloud"),
    ("kubeconfig", "credentials of a cluster"),
];

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rootfs {
    /// Paths inside of programs with a setuid or setgid bit: (path, mode).
    pub setuid: Vec<(PathBuf, u32)>,
    /// Paths inside of files that hold secrets by their names: (path, what).
    pub secrets: Vec<(PathBuf, &'static str)>,
    /// It has /usr/sbin/sshd.
    pub sshd: bool,
    /// More entries than are looked at: what was not seen is not known.
    pub cut: bool,
}

/// Looks through a tree. No symlink is followed and no other file system is entered.
pub fn look(root: &impl AsRawFd) -> Result<Rootfs, String> {
    let top = format!("/proc/self/fd/{}", root.as_raw_fd());
    let device = |meta: &std::fs::Metadata| std::os::unix::fs::MetadataExt::dev(meta);
    let here = std::fs::metadata(&top).map(|m| device(&m)).map_err(|e| format!("the rootfs: {e}"))?;
    let mut found = Rootfs::default();
    let (mut dirs, mut seen) = (vec![PathBuf::from("/")], 0);
    while let Some(dir) = dirs.pop() {
        let Some(fd) = open(root, &dir) else { continue };
        let Ok(entries) = std::fs::read_dir(format!("/proc/self/fd/{}", fd.as_raw_fd())) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST {
                found.cut = true;
                return Ok(found);
            }
            let (path, Ok(kind)) = (dir.join(entry.file_name()), entry.file_type()) else { continue };
            if kind.is_dir() {
                // DirEntry::metadata does not follow symlinks.
                if entry.metadata().is_ok_and(|m| device(&m) == here) {
                    dirs.push(path);
                }
            } else if kind.is_file() {
                file(&mut found, path, &entry);
            }
        }
    }
    found.setuid.sort();
    found.secrets.sort();
    Ok(found)
}

/// A directory below `root`, none of whose parents is a symlink.
fn open(root: &impl AsRawFd, dir: &Path) -> Option<OwnedFd> {
    let below = dir.strip_prefix("/").unwrap_or(dir);
    let below = if below == Path::new("") { Path::new(".") } else { below };
    let name = cpath(below).ok()?;
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS;
    fs::openat2(root.as_raw_fd(), &name, libc::O_RDONLY | libc::O_DIRECTORY, 0, resolve).ok().map(fs::own)
}

fn file(found: &mut Rootfs, path: PathBuf, entry: &std::fs::DirEntry) {
    found.sshd |= path == Path::new("/usr/sbin/sshd");
    let name = entry.file_name();
    let secret = SECRETS.iter().find(|(known, _)| name.to_str() == Some(known));
    let others = [
        ("/.aws/credentials", "credentials of a cloud"),
        ("/.docker/config.json", "passwords of registries"),
    ];
    let other = others.iter().find(|(end, _)| path.to_str().is_some_and(|p| p.ends_with(end)));
    if let Some((_, what)) = secret.or(other)
        && found.secrets.len() < KEPT
    {
        found.secrets.push((path.clone(), what));
    }
    let Ok(meta) = entry.metadata() else { return };
    let mode = meta.permissions().mode();
    if mode & 0o6000 != 0 && mode & 0o111 != 0 && found.setuid.len() < KEPT {
        found.setuid.push((path, mode & 0o7777));
    }
}
