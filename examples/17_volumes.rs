//! Lesson 17: an idmapped mount: files in a volume belong to its owner, whichever id writes (mount_setattr(2)).
//!
//! `cd examples && cargo run -q --bin 17_volumes` (any user; an idmapped mount needs root), after lesson 4

use std::os::unix::{fs::chown, process::CommandExt};
use std::process::{Command, Stdio};
use std::{env, error::Error, fs};

use lessons::{owner, sh};
use nix::mount::{MntFlags, umount2};
use nix::sched::CloneFlags;
use nix::unistd::geteuid;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::temp_dir().join(format!("lesson-volumes-{}", std::process::id()));
    fs::create_dir(&dir)?;
    env::set_current_dir(&dir)?;
    fs::create_dir("data")?;
    fs::create_dir("view")?;
    let saw = if geteuid().is_root() { idmapped() } else { own_id() };
    fs::remove_dir_all(&dir)?;
    println!(
        "
you saw:  {}
try next: safebox run --rw DIR -- touch DIR/new; ls -ln DIR; then lesson 05_capabilities",
        saw?
    );
    Ok(())
}

/// Root: `data` is user 1000's, and the container's user is 100000 outside.
fn idmapped() -> Result<&'static str, Box<dyn Error>> {
    chown("data", Some(1000), Some(1000))?;
    lessons::private_mounts()?;
    // In the map of this namespace: the id on the disk, the id that is shown, how many.
    let namespace = lessons::user_namespace("1000 100000 1")?;
    if lessons::bind_idmapped(c"data", c"view", &namespace).is_err() {
        return Ok("this kernel, or the file system here, has no idmapped mounts (Linux 5.12)");
    }
    println!("`data` belongs to {}; mounted at `view`, idmapped: {}", owner("data")?, owner("view")?);
    for file in ["data/a", "view/b"] {
        let mut touch = Command::new("touch");
        let made = touch.arg(file).uid(100_000).gid(100_000).stderr(Stdio::null()).status()?.success();
        println!("uid 100000: touch {file}: {}", if made { "done" } else { "refused" });
    }
    println!("on the disk `data/b` belongs to {}", owner("data/b")?);
    umount2("view", MntFlags::MNT_DETACH)?;
    Ok("The mount translates ids in both directions: the disk holds the owner's id, none of the container's.")
}

/// Any other user: the map has the caller's id alone.
fn own_id() -> Result<&'static str, Box<dyn Error>> {
    let caller = geteuid();
    lessons::become_root(CloneFlags::empty())?;
    let made = sh("touch data/b")?;
    println!("uid 0 inside, {caller} outside: touch data/b: {}", if made { "done" } else { "refused" });
    println!("inside `data/b` belongs to {}; on the disk to {caller}", owner("data/b")?);
    Ok("No mount translates ids without root: files are the caller's if the program is the caller.")
}
