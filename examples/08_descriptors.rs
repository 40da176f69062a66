//! Lesson 8: an open directory of the host is an escape that needs no path, as in runc's CVE-2024-21626.
//!
//! `cd examples && cargo run -q --bin 08_descriptors` (any user)

use std::error::Error;
use std::fs;
use std::os::fd::OwnedFd;

use lessons::{said, text, tmpfs};
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, umount2};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir, getcwd, pivot_root};

fn main() -> Result<(), Box<dyn Error>> {
    lessons::become_root(CloneFlags::empty())?;
    // A model of the host: a secret, and the container's root next to it.
    tmpfs("/tmp")?;
    fs::write("/tmp/secret", "the host's secret")?;
    fs::create_dir("/tmp/root")?;
    tmpfs("/tmp/root")?;

    let leaked: OwnedFd = open("/tmp", OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
    chdir("/tmp/root")?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    let (read, mode) = (OFlag::O_RDONLY, Mode::empty());
    println!("after pivot_root, open(\"/tmp/secret\"):     {}", text(open("/tmp/secret", read, mode)));
    println!("openat(<leaked descriptor>, \"secret\"):     {}", text(openat(&leaked, "secret", read, mode)));

    // runc's bug: the config named /proc/self/fd/7 as working directory, which was a leaked directory of the
    // host.
    fchdir(&leaked)?;
    println!("it is the working directory, open(\"secret\"): {}", text(open("secret", read, mode)));
    println!("what getcwd(2) says of that place:         {}", said(getcwd()));

    chdir("/")?;
    drop(leaked); // close_range(3, ~0) does this for all of them
    println!("closed, and back at /, open(\"secret\"):     {}", text(open("secret", read, mode)));
    println!(
        "
you saw:  pivot_root changes where paths start. It takes back nothing that is open: the descriptor and the working
          directory led to the host. A runtime closes everything before it starts the program, and asks the kernel
          whether the working directory lies inside.
try next: safebox explain --row close-fds --why BUNDLE/; then lesson 09_symlinks"
    );
    Ok(())
}
