//! Lesson 1: a namespace is a private copy of one view of the system, and clone(2) makes it.
//!
//! `cargo run --example 01_namespaces` (any user)
//!
//! A child gets a user namespace (which gives it the right to make the others) and one of every other kind.
//! It renames "the" host and becomes process 1; the host's name and our own pid stay as they are.

use safebox::sys::process::{self, Cloned};
use safebox::tables::namespaces::{NAMESPACES, NsKind};

fn main() {
    for ns in &NAMESPACES {
        let ours = std::fs::read_link(format!("/proc/self/ns/{}", ns.proc)).unwrap_or_default();
        println!("{:16} {:22} {}", ns.flag_name, ours.display(), ns.doc);
    }
    // clone(2) makes them all at once. A time namespace is the exception: it is for later children only.
    let all: u64 = NAMESPACES.iter().filter(|ns| ns.kind != NsKind::Time).map(|ns| ns.flag).sum();
    println!("\noutside: pid {}, host name {}", process::pid(), host_name());
    match process::clone3(all, None, false) {
        Ok(Cloned::Child) => {
            let renamed = process::sethostname(b"inside");
            println!("inside:  pid {}, host name {} ({renamed:?})", process::pid(), host_name());
            process::exit_now(0);
        }
        Ok(Cloned::Parent { pid, .. }) => {
            let ended = process::wait(pid, 0);
            println!("outside: pid {}, host name {} (the child: {ended:?})", process::pid(), host_name());
        }
        Err(e) => println!("no namespaces for us here: {e}"),
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}
