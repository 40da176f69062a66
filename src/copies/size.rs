//! The room that layers take on the disk.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::{LayerTree, at};

/// What the files below these directories occupy, in bytes; counting ends above `enough`. A file with several names counts
/// once. One that was removed and is still open is not seen, as by du(1). An error where a directory cannot be read: the
/// program may have closed it, or nested more of them than a path can name.
pub fn of(dirs: &[PathBuf], enough: u64) -> io::Result<u64> {
    let (mut bytes, mut several) = (0, HashSet::new());
    for dir in dirs {
        let root = at::Base::of(std::fs::File::open(dir)?.into());
        let tree = LayerTree { path: dir, root };
        let mut left = vec![PathBuf::new()];
        while let Some(below) = left.pop().filter(|_| bytes <= enough) {
            bytes += directory(&tree, &below, &mut left, &mut several)?;
        }
    }
    Ok(bytes)
}

/// The files of one directory; those below it come to `left`.
fn directory(
    tree: &LayerTree<'_>,
    below: &Path,
    left: &mut Vec<PathBuf>,
    several: &mut HashSet<(u64, u64)>,
) -> io::Result<u64> {
    let Some(dir) = tree.open(below)? else { return Ok(0) };
    let mut bytes = 0;
    for name in tree.names(&dir, below)? {
        let Some(st) = at::stat(dir.as_raw_fd(), &name)? else { continue };
        if st.st_mode & libc::S_IFMT == libc::S_IFDIR {
            left.push(below.join(super::os(&name)));
        } else if st.st_nlink > 1 && !several.insert((st.st_dev, st.st_ino)) {
            continue;
        }
        bytes += u64::try_from(st.st_blocks).unwrap_or(0) * 512;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {

    #[test]
    fn files_count_once_and_symlinks_are_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let of = |enough| super::of(&[dir.path().to_path_buf()], enough).expect("a size");
        std::fs::create_dir_all(at("a/b")).expect("directories");
        let empty = of(u64::MAX);
        std::fs::write(at("a/b/file"), vec![1; 1 << 20]).expect("a file");
        let one = of(u64::MAX);
        assert!((1 << 20..2 << 20).contains(&(one - empty)), "{one}");
        std::fs::hard_link(at("a/b/file"), at("name")).expect("a name");
        std::os::unix::fs::symlink("/usr", at("link")).expect("a symlink");
        let sparse = std::fs::File::create_new(at("a/sparse")).expect("a file");
        sparse.set_len(1 << 40).expect("a size");
        assert!(of(u64::MAX) - one < 64 << 10, "{one}");
        assert!(of(1 << 16) > 1 << 16);
    }
}
