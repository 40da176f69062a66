//! Lesson 1: a namespace is a private copy of one view of the system (namespaces(7)).
//!
//! `cd examples && cargo run -q --bin 01_namespaces` (any user)
//!
//! A child process leaves two namespaces of its parent, user and UTS, and renames "the host". The parent then
//! reads its own host name: it is unchanged.

use std::error::Error;
use std::fs;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, gethostname, sethostname};

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child();
    }
    show("parent")?;
    println!("\nThe child calls unshare(CLONE_NEWUSER | CLONE_NEWUTS) and sethostname(\"inside\"):\n");
    let child = Command::new("/proc/self/exe").arg("child").status()?;
    show("\nparent")?;
    println!(
        "
you saw:  Each namespace is an inode of nsfs; two processes with the same number share that view. The child got
          two new numbers and kept the others, so it has its own host name and still sees the parent's files,
          processes and network. An ordinary user may do this, because the new user namespace makes the child
          root over the UTS namespace that belongs to it.
try next: sudo unshare --uts sh -c 'hostname inside; hostname', then lsns; then lesson 02_pid1"
    );
    if child.success() { Ok(()) } else { Err("the child failed (user.max_user_namespaces is 0?)".into()) }
}

fn child() -> Result<(), Box<dyn Error>> {
    // The user namespace is made first: it owns the UTS namespace.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWUTS)?;
    sethostname("inside")?;
    show("child")
}

fn show(who: &str) -> Result<(), Box<dyn Error>> {
    println!("{who}: uid {}, host name {}", geteuid(), gethostname()?.to_string_lossy());
    for kind in ["user", "uts", "pid", "net", "ipc", "mnt", "cgroup", "time"] {
        // A kernel without this kind of namespace has no such symlink.
        if let Ok(link) = fs::read_link(format!("/proc/self/ns/{kind}")) {
            print!("  {}", link.display());
        }
    }
    println!();
    Ok(())
}
