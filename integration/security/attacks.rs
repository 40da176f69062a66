//! Known attacks on container runtimes: each row of the threat model's table is a test that fails when its
//! guard is removed. Attackers: a hostile rootfs, a second container that shares a volume, a process inside.

mod credentials;
mod descriptors;
mod links;
mod memory;
mod nodes;
mod places;
mod races;
mod runtime;
mod shares;
mod surface;
mod volumes;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sha2::{Digest, Sha256};

use crate::harness::carried::{carried, copy_program};
use crate::harness::{Output, Sandbox};

/// Text that no container may print.
const SECRET: &str = "the-host-s-secret";

/// A directory tree of the host that is not mounted in any container. Dropping it asserts that it is
/// unchanged.
struct Sentinel {
    dir: PathBuf,
    _place: tempfile::TempDir,
    before: Vec<u8>,
}

impl Sentinel {
    fn new() -> Self {
        let place = tempfile::Builder::new().prefix("sentinel-").tempdir().expect("a directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.path(), mode).expect("chmod");
        let dir = place.path().canonicalize().expect("a real path").join("sentinel");
        std::fs::create_dir_all(dir.join("below")).expect("a directory");
        std::fs::write(dir.join("secret"), SECRET).expect("a file");
        std::fs::write(dir.join("null"), SECRET).expect("a file");
        std::fs::write(dir.join("below/passwd"), format!("root:x:0:0::/{SECRET}:/bin/sh\n")).expect("a file");
        let before = hash_tree(&dir);
        Sentinel { dir, _place: place, before }
    }

    /// Creates `rootfs/NAME` as a symlink to `to` below the sentinel, replacing any existing file.
    fn link(&self, sb: &Sandbox, name: &str, to: &str) {
        let place = sb.rootfs().join(name);
        if place.is_dir() && !place.is_symlink() {
            std::fs::remove_dir_all(&place).expect("remove");
        } else if place.symlink_metadata().is_ok() {
            std::fs::remove_file(&place).expect("remove");
        }
        symlink(self.dir.join(to), place).expect("a link");
    }

    /// A name that occurs only in this tree.
    fn name(&self) -> String {
        let parent = self.dir.parent().and_then(Path::file_name).expect("a name");
        parent.to_string_lossy().into_owned()
    }

    #[track_caller]
    fn unchanged(&self) {
        assert_eq!(hash_tree(&self.dir), self.before, "the host's tree was changed");
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.unchanged();
        }
    }
}

/// Names, kinds, modes, owners and contents of everything below `dir`.
pub fn hash_tree(dir: &Path) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().expect("stat");
        hash.update(format!("{} {:o} {} {}\n", path.display(), meta.mode(), meta.uid(), meta.gid()));
        if meta.is_dir() {
            let mut entries: Vec<_> =
                std::fs::read_dir(&path).expect("readdir").flatten().map(|e| e.path()).collect();
            entries.sort();
            todo.extend(entries);
        } else if meta.is_file() {
            hash.update(std::fs::read(&path).expect("read"));
        }
    }
    hash.finalize().to_vec()
}

/// The number of different bursts of a [`Racer`].
const BURSTS: u32 = 7;

/// Exchanges two names repeatedly until it is dropped.
struct Racer {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    /// The names are to stay; they do.
    hold: Arc<AtomicBool>,
    holds: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    /// Exchanges come in bursts, as fast as they can: the moment between a check and its use is some microseconds long.
    /// Bursts, and the pauses between them, double from 1 to 64 ms, so that some starts see one name first and the other
    /// later, at each of their places.
    fn new(a: PathBuf, b: PathBuf) -> Self {
        let flag = || Arc::new(AtomicBool::new(false));
        let mut racer =
            Racer { stop: flag(), swaps: Arc::default(), hold: flag(), holds: flag(), thread: None };
        let (stop, swaps) = (racer.stop.clone(), racer.swaps.clone());
        let (hold, holds) = (racer.hold.clone(), racer.holds.clone());
        let stopped = move || stop.load(Ordering::Relaxed);
        let exchange = move || {
            renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).expect("exchange");
            swaps.fetch_add(1, Ordering::Relaxed)
        };
        let race = move || {
            let ends = |at: Instant| at <= Instant::now() || stopped();
            // The kernel makes 70 of 20 microseconds otherwise.
            nix::sys::prctl::set_timerslack(1).expect("prctl");
            let lengths = (0..BURSTS).map(|n| Duration::from_millis(1 << n)).cycle();
            let mut odd = false;
            for length in lengths {
                let end = Instant::now() + length;
                while !ends(end) && !hold.load(Ordering::Relaxed) {
                    odd = exchange() % 2 == 0;
                    std::thread::sleep(Duration::from_micros(20));
                }
                let end = Instant::now() + length;
                while !ends(end) || hold.load(Ordering::Relaxed) {
                    let wanted = hold.load(Ordering::Relaxed);
                    if wanted && odd {
                        odd = exchange() % 2 == 0;
                    }
                    holds.store(wanted, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(200));
                }
                holds.store(false, Ordering::Relaxed);
                if stopped() {
                    return;
                }
            }
        };
        racer.thread = Some(std::thread::spawn(race));
        racer
    }

    /// The names stay as they were at first, as long as the result lives: on a slow machine no start would win.
    fn hold(&self) -> Held<'_> {
        self.hold.store(true, Ordering::Relaxed);
        while !self.holds.load(Ordering::Relaxed) {
            assert!(!self.thread.as_ref().is_some_and(JoinHandle::is_finished), "the racer failed");
            std::thread::sleep(Duration::from_micros(100));
        }
        Held(self)
    }

    /// For the start number `i`: some starts of each kind race with nothing.
    fn for_start(&self, i: usize) -> Option<Held<'_>> {
        (i % 10 < 2).then(|| self.hold())
    }
}

/// Names that stay.
struct Held<'a>(&'a Racer);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.hold.store(false, Ordering::Relaxed);
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(joined, Some(Ok(()))), "the racer failed");
            assert!(self.swaps.load(Ordering::Relaxed) > 0, "the racer never ran");
        }
    }
}

/// Runs a bundle in both ways: hardened, and unhardened (root, no user namespace).
fn both(sb: &Sandbox) -> [Output; 2] {
    [sb.run().output(), sb.run_oci().output()]
}

/// Asserts that neither the container nor the runtime printed the host's secret.
#[track_caller]
fn no_secret(out: &Output) {
    assert!(!out.timed_out, "timed out\n{out}");
    assert!(!out.stdout.contains(SECRET) && !out.stderr.contains(SECRET), "the host's file was read\n{out}");
}

/// Builds the probe, a static C program, as `rootfs/bin/probe`; [`crate::harness::Need::Probe`].
pub fn build_probe(sb: &Sandbox) {
    if let Some(built) = carried("probe") {
        copy_program(&built, &sb.rootfs().join("bin/probe"));
        return;
    }
    let source = sb.dir().join("probe.c");
    std::fs::write(&source, include_str!("attacks/probe.c")).expect("the source");
    let cc = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(sb.rootfs().join("bin/probe"))
        .arg(&source)
        .output()
        .expect("cc");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
}
