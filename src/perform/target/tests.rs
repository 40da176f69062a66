//! Places below a root, whatever symlinks say.

use super::*;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

fn cx() -> Cx {
    Cx::new(0)
}

#[test]
fn missing_places_are_made_inside_whatever_the_links_say() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("abs")).unwrap();
    symlink("../../../../../../../up", dir.path().join("rel")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let root = std::fs::File::open(dir.path()).unwrap();
    let make = |path: &str, kind| {
        let path = CString::new(path).unwrap();
        open_or_make(&mut cx(), root.as_raw_fd(), &path, kind, false).map(fs::close)
    };
    make("a/b/../c", TargetKind::Dir).unwrap();
    assert!(dir.path().join("a/c").is_dir());
    make("abs/x/file", TargetKind::File).unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "nothing was made outside");
    let inside = dir.path().join(outside.path().strip_prefix("/").unwrap());
    assert!(inside.join("x/file").is_file(), "the absolute link was followed inside the root");
    make("rel/y", TargetKind::Dir).unwrap();
    assert!(dir.path().join("up/y").is_dir());
    make("../../etc", TargetKind::Dir).unwrap();
    assert!(dir.path().join("etc").is_dir());
    assert_eq!(make("loop/z", TargetKind::Dir), Err(Errno::ELOOP));
}

#[test]
fn strict_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("proc")).unwrap();
    let root = std::fs::File::open(dir.path()).unwrap();
    let mut cx = cx();
    let err = open_or_make(&mut cx, root.as_raw_fd(), c"proc", TargetKind::Dir, true);
    assert_eq!((err, cx.call), (Err(Errno::ELOOP), Call::SymlinkTarget));
}
