//! Lesson 3: a mount namespace is a private list of mounts; propagation decides which mount events are sent
//! to other namespaces; pivot_root(2) exchanges the root (mount_namespaces(7)).
//!
//! `cd examples && cargo run -q --bin 03_mounts` (any user)

use std::error::Error;
use std::fs;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(place) = std::env::args().nth(1) {
        // The child: another mount namespace, a copy of the parent's, and a new mount in it.
        unshare(CloneFlags::CLONE_NEWNS)?;
        return Ok(lessons::tmpfs(&place)?);
    }
    lessons::become_root(CloneFlags::empty())?;
    lessons::tmpfs("/tmp")?;

    for (name, propagation) in [("private", MsFlags::MS_PRIVATE), ("shared", MsFlags::MS_SHARED)] {
        let dir = format!("/tmp/{name}");
        fs::create_dir(&dir)?;
        mount(Some(dir.as_str()), dir.as_str(), NONE, MsFlags::MS_BIND, NONE)?;
        mount(NONE, dir.as_str(), NONE, propagation, NONE)?;
        fs::create_dir(format!("{dir}/sub"))?;
        Command::new("/proc/self/exe").arg(format!("{dir}/sub")).status()?;
        let seen = fs::read_to_string("/proc/self/mountinfo")?.contains(&format!(" {dir}/sub "));
        println!(
            "below a {name:7} mount the child's mount is {}",
            if seen { "seen here" } else { "not seen" }
        );
    }

    // pivot_root requires that the new root is a mount point: an empty tmpfs with one file.
    fs::create_dir("/tmp/root")?;
    lessons::tmpfs("/tmp/root")?;
    fs::write("/tmp/root/hello", "")?;
    println!("\n/ has {} entries, this program is a file in it", fs::read_dir("/")?.count());
    chdir("/tmp/root")?;
    pivot_root(".", ".")?; // the old root now lies over the new one ...
    umount2(".", MntFlags::MNT_DETACH)?; // ... and is taken away
    println!("/ has {} entry after pivot_root: {:?}", fs::read_dir("/")?.count(), fs::read_dir("/")?.next());
    println!(
        "
you saw:  A shared mount passes mounts on, a private one does not. After pivot_root and umount2 the host's tree is
          not hidden: it is in no path of this process (chroot(2) only moves the start of paths).
try next: safebox explain --section pivot --why BUNDLE/; then lesson 04_idmaps"
    );
    Ok(())
}
