//! Lesson 9: the image's author controls symlinks in a rootfs; the kernel must resolve paths below it.
//!
//! `cd examples && cargo run -q --bin 09_symlinks` (any user)
//!
//! The bug in Docker, runc and others (CVE-2018-15664, CVE-2019-16884, CVE-2021-30465): a path is checked as
//! a string, and opened after a symlink has replaced a part of it. openat2(2) checks while it resolves.

use std::error::Error;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::{env, fs};

use lessons::text;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::temp_dir().join(format!("lesson-symlinks-{}", std::process::id()));
    fs::create_dir_all(dir.join("rootfs/etc"))?;
    fs::write(dir.join("hostname"), "the host's file")?;
    fs::write(dir.join("rootfs/etc/hostname"), "the container's file")?;
    env::set_current_dir(dir.join("rootfs"))?;
    // Symlinks of a hostile image. The last one is a magic link: the kernel follows it without resolving a
    // path.
    let secret = fs::File::open(dir.join("hostname"))?;
    symlink(dir.join("hostname"), "absolute")?;
    symlink("../hostname", "up")?;
    symlink("/etc/hostname", "inside")?;
    symlink(format!("/proc/self/fd/{}", secret.as_raw_fd()), "magic")?;

    let rootfs = open(".", OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
    let beneath = ResolveFlag::RESOLVE_BENEATH;
    let in_root = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    for name in ["absolute", "up", "inside", "magic"] {
        println!("{name} -> {}", fs::read_link(name)?.display());
        println!("  open                     {}", text(open(name, OFlag::O_RDONLY, Mode::empty())));
        for (title, resolve) in [("RESOLVE_BENEATH", beneath), ("RESOLVE_IN_ROOT", in_root)] {
            let how = OpenHow::new().flags(OFlag::O_RDONLY).resolve(resolve);
            println!("  openat2 {title}  {}", text(openat2(&rootfs, name, how)));
        }
    }
    fs::remove_dir_all(dir)?;
    println!(
        "
you saw:  open(2) follows a symlink of the image to the host. RESOLVE_BENEATH refuses what would leave the
          directory; RESOLVE_IN_ROOT takes the directory for /, as the program inside would, so that absolute links
          keep working. There is no moment between the check and the use.
try next: safebox explain --row mount:/proc --why BUNDLE/; then lesson 10_network"
    );
    Ok(())
}
