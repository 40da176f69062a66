//! Lesson 5: root is a number; its privileges are capabilities, which can be dropped (capabilities(7)).
//!
//! `cd examples && cargo run -q --bin 05_capabilities` (any user)

use std::error::Error;
use std::fs;
use std::process::Command;

use caps::CapSet;
use lessons::said;
use nix::sched::CloneFlags;
use nix::unistd::{chroot, geteuid, sethostname};

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        return attempt();
    }
    lessons::become_root(CloneFlags::CLONE_NEWUTS)?;
    println!("root of a new user namespace:");
    Command::new("/proc/self/exe").arg("attempt").status()?;

    // The bounding set limits the capabilities of every later execve(2). It can only shrink.
    let bounding = caps::read(None, CapSet::Bounding)?;
    for capability in &bounding {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    println!("\nthe same user after prctl(PR_CAPBSET_DROP) of all {}, and an execve:", bounding.len());
    Command::new("/proc/self/exe").arg("attempt").status()?;
    println!(
        "
you saw:  Uid 0 stayed and every right went: the kernel asks for a capability, not for root. (Files are another
          matter: their owner may still read them, which is why a sandbox changes the user, too.) The first root
          was root of its own namespaces only: none of its capabilities counts outside.
try next: capsh --print; safebox explain --row caps --why BUNDLE/; then lesson 06_cgroups"
    );
    Ok(())
}

fn attempt() -> Result<(), Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = |key: &str| status.lines().find(|l| l.starts_with(key)).unwrap_or_default().replace('\t', " ");
    println!("  uid {}, {}, {}", geteuid(), line("CapEff"), line("CapBnd"));
    println!("  mount a tmpfs on /mnt  needs CAP_SYS_ADMIN:  {}", said(lessons::tmpfs("/mnt")));
    println!("  sethostname(\"box\")     needs CAP_SYS_ADMIN:  {}", said(sethostname("box")));
    println!("  chroot(\"/mnt\")         needs CAP_SYS_CHROOT: {}", said(chroot("/mnt")));
    Ok(())
}
