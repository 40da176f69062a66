use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::apply::ContainerLayers;
use super::{ChangeKind, changes};
use crate::state::layers::{LayerRecord, upper};

struct World {
    _dir: tempfile::TempDir,
    base: PathBuf,
    store: PathBuf,
    record: LayerRecord,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let (base, store) = (dir.path().join("base"), dir.path().join("store"));
    for made in ["kept", "gone/deep", "closed"] {
        std::fs::create_dir_all(base.join(made)).expect("a directory");
    }
    for (file, text) in [("a", "old"), ("same", "same"), ("kept/b", "old"), ("gone/deep/c", "old")] {
        std::fs::write(base.join(file), text).expect("a file");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the time");
    // What the test does to the base later is later than this by more than the clock's tick.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let since = (now.as_secs() as i64 + 1, now.subsec_nanos());
    std::fs::create_dir_all(upper(&store, "x", 0)).expect("a layer");
    let record = LayerRecord { id: "x".into(), since, bases: vec![base.clone()] };
    std::fs::write(store.join("x/layers.json"), serde_json::to_vec(&record).expect("JSON"))
        .expect("a record");
    World { _dir: dir, base, store, record }
}

impl World {
    fn upper(&self) -> PathBuf {
        upper(&self.store, "x", 0)
    }

    fn layers(&self) -> ContainerLayers<'_> {
        ContainerLayers { store: &self.store, record: &self.record }
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.upper().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    fn letters(&self) -> Vec<String> {
        let found = changes(&self.base, &self.upper()).expect("changes");
        found.iter().map(|c| format!("{} {}", c.kind.letter(), c.path.display())).collect()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| format!("{e}"))
}

#[test]
fn changes_are_found_and_written() {
    let w = world();
    w.put("a", "new");
    w.put("same", "same");
    w.put("kept/b", "new too");
    w.put("fresh/dir/d", "added");
    std::os::unix::fs::symlink("a", w.upper().join("link")).expect("a symlink");
    std::fs::set_permissions(w.upper().join("kept"), PermissionsExt::from_mode(0o700)).expect("a mode");
    let expected = ["M a", "A fresh", "A fresh/dir", "A fresh/dir/d", "M kept", "M kept/b", "A link"];
    assert_eq!(w.letters(), expected);
    let done = w.layers().apply(&[]).expect("applied");
    assert!(!done.remaining && done.skipped.is_empty(), "{done:?}");
    assert_eq!(read(&w.base.join("a")), "new");
    assert_eq!(read(&w.base.join("kept/b")), "new too");
    assert_eq!(read(&w.base.join("fresh/dir/d")), "added");
    assert_eq!(std::fs::read_link(w.base.join("link")).expect("a symlink"), Path::new("a"));
    let mode = w.base.join("kept").metadata().expect("a directory").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(!w.store.join("x").exists());
}

#[test]
fn a_directory_takes_the_place_of_a_file_and_the_other_way() {
    let w = world();
    w.put("a/inside", "x");
    w.put("gone", "a file now");
    assert_eq!(w.letters(), ["M a", "A a/inside", "M gone"]);
    w.layers().apply(&[]).expect("applied");
    assert_eq!(read(&w.base.join("a/inside")), "x");
    assert_eq!(read(&w.base.join("gone")), "a file now");
}

#[test]
fn what_changed_on_the_host_is_a_conflict_and_nothing_is_written() {
    let mut w = world();
    w.record.since.0 -= 1;
    w.put("a", "mine");
    w.put("kept/b", "mine");
    std::fs::write(w.base.join("a"), "theirs").expect("a file");
    let error = w.layers().apply(&[]).expect_err("a conflict").to_string();
    assert!(error.starts_with("nothing is written") && error.contains("/a"), "{error}");
    assert_eq!((read(&w.base.join("a")), read(&w.base.join("kept/b"))), ("theirs".into(), "old".into()));
    let done = w.layers().apply(&[w.base.join("kept")]).expect("the other one");
    assert!(done.remaining && done.paths == 1);
    assert_eq!(w.letters(), ["M a"]);
    assert!(w.layers().apply(&[w.base.join("nothing")]).is_err());
}

#[test]
fn a_symlink_in_the_base_is_not_followed() {
    let w = world();
    w.put("kept/b", "mine");
    let outside = w.store.join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::remove_dir_all(w.base.join("kept")).expect("removed");
    std::os::unix::fs::symlink(&outside, w.base.join("kept")).expect("a symlink");
    // Seen as a directory that takes the place of the symlink.
    assert_eq!(w.letters()[0], "M kept");
    w.layers().apply(&[]).expect("applied");
    assert!(std::fs::read_dir(&outside).expect("a directory").next().is_none());
    assert_eq!(read(&w.base.join("kept/b")), "mine");
}

#[test]
fn kinds_have_letters() {
    assert_eq!(
        [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted].map(ChangeKind::letter),
        ['A', 'M', 'D']
    );
}

/// A setuid file that came to the layer in whatever way: written back, it is an ordinary program.
#[test]
fn no_setuid_bit_is_written_back() {
    let w = world();
    w.put("tool", "#!/bin/sh\n");
    std::fs::create_dir(w.upper().join("dir")).expect("a directory");
    for (name, mode) in [("tool", 0o6755), ("dir", 0o2777)] {
        let mode = PermissionsExt::from_mode(mode);
        std::fs::set_permissions(w.upper().join(name), mode).expect("chmod");
    }
    w.layers().apply(&[]).expect("applied");
    let mode = |name: &str| w.base.join(name).metadata().expect("a file").permissions().mode() & 0o7777;
    assert_eq!((mode("tool"), mode("dir")), (0o755, 0o777));
}

/// Its user may change the base at any time, also between an apply that was interrupted and the one that finishes it.
#[test]
fn nothing_is_written_through_a_symlink_of_the_base() {
    use std::os::unix::fs::MetadataExt;
    let w = world();
    let outside = w.base.parent().expect("a parent").join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::write(outside.join("f"), "outside").expect("a file");
    let inode = outside.join("f").metadata().expect("a file").ino();
    std::os::unix::fs::symlink(&outside, w.base.join("link")).expect("a symlink");
    for path in ["link/f", "../outside/f"] {
        let step = serde_json::json!({ "base": 0, "path": path.as_bytes(), "temp": "t", "act": { "Remove": inode } });
        let journal = serde_json::json!({ "phase": "Writing", "steps": [step] });
        std::fs::write(w.store.join("x/apply.json"), journal.to_string()).expect("a journal");
        assert!(w.layers().apply(&[]).is_err(), "{path}");
        assert_eq!(read(&outside.join("f")), "outside", "{path}");
    }
}

/// A program can make a file that is larger than the disk.
#[test]
fn holes_stay_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let w = world();
    w.put("sparse", "head");
    let file = std::fs::File::options().write(true).open(w.upper().join("sparse")).expect("the file");
    file.set_len(1 << 40).expect("a size");
    file.write_all_at(b"middle", 1 << 30).expect("write");
    w.layers().apply(&[]).expect("applied");
    let copied = std::fs::File::open(w.base.join("sparse")).expect("the file");
    let meta = copied.metadata().expect("its size");
    assert!(meta.len() == 1 << 40 && meta.blocks() < 1000, "{} bytes, {} blocks", meta.len(), meta.blocks());
    let mut text = [0; 6];
    copied.read_exact_at(&mut text, 1 << 30).expect("read");
    assert_eq!(&text, b"middle");
    copied.read_exact_at(&mut text, 0).expect("read");
    assert_eq!(&text, b"head\0\0");
}

/// A program can give one large file countless names.
#[test]
fn names_of_one_file_are_copied_once() {
    use std::os::unix::fs::MetadataExt;
    let w = world();
    w.put("one", "text");
    w.put("dir/x", "x");
    for name in ["two", "dir/three", "a"] {
        std::fs::hard_link(w.upper().join("one"), w.upper().join(name)).expect("a name");
    }
    w.layers().apply(&[]).expect("applied");
    let inode = |name: &str| w.base.join(name).metadata().expect("a file").ino();
    for name in ["two", "dir/three", "a"] {
        assert_eq!((inode(name), read(&w.base.join(name))), (inode("one"), "text".into()), "{name}");
    }
    assert!(
        std::fs::read_dir(&w.base)
            .expect("a directory")
            .flatten()
            .all(|e| { !e.file_name().to_string_lossy().starts_with(".safebox") })
    );
}

/// The owner of a directory above the base has put a symlink in its place since the run.
#[test]
fn a_base_behind_a_symlink_is_refused() {
    let mut w = world();
    w.put("a", "mine");
    let above = w.base.parent().expect("a directory").join("above");
    let elsewhere = w.base.parent().expect("a directory").join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("base")).expect("a directory");
    std::os::unix::fs::symlink(&elsewhere, &above).expect("a symlink");
    w.record.bases = vec![above.join("base")];
    assert!(w.layers().apply(&[]).is_err());
    assert!(!elsewhere.join("base/a").exists());
}
