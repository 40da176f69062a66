//! Lesson 4: a user namespace maps ids, and files belong to the ids outside (user_namespaces(7)).
//!
//! `cd examples && cargo run -q --bin 04_idmaps` (any user; as root the map is a range)

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};
use std::{env, fs};

use lessons::{owner, said};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, getegid, geteuid, setresuid};

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).is_some() {
        return inside();
    }
    let dir = env::temp_dir().join(format!("lesson-idmaps-{}", std::process::id()));
    fs::create_dir(&dir)?;
    env::set_current_dir(&dir)?;
    fs::write("outside", "")?;
    println!("outside: I am {}, the file `outside` belongs to {}\n", geteuid(), owner("outside")?);
    let pipe = Stdio::piped;
    let mut child = Command::new("/proc/self/exe").arg("inside").stdin(pipe()).stdout(pipe()).spawn()?;
    let mut lines = io::BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    println!("{}", lines.next().ok_or("the child failed")??);

    // Root may map any range; an unprivileged user its own id only (or what newuidmap(1) allows), and no groups.
    let (proc, root) = (format!("/proc/{}", child.id()), geteuid().is_root());
    let map = |id: u32| if root { "0 100000 65536".into() } else { format!("0 {id} 1") };
    chown(&dir, root.then_some(100_000), None)?;
    fs::write(format!("{proc}/setgroups"), "deny")?;
    println!("outside: write(/proc/PID/uid_map, {:?})", map(geteuid().as_raw()));
    fs::write(format!("{proc}/uid_map"), map(geteuid().as_raw()))?;
    fs::write(format!("{proc}/gid_map"), map(getegid().as_raw()))?;
    child.stdin.take().ok_or("no stdin")?.write_all(b"\n")?;
    lines.for_each(|line| println!("{}", line.unwrap_or_default()));
    println!("outside: the file `inside` belongs to {}", owner("inside")?);
    fs::remove_dir_all(dir)?;
    println!(
        "
you saw:  Without a map every id is the overflow id 65534. Uid 0 inside is an ordinary id outside, and the disk
          holds the id outside. An id that is not in the map does not exist inside.
try next: safebox explain --section outside --why BUNDLE/; then lesson 17_volumes"
    );
    child.wait()?.success().then_some(()).ok_or("the child failed".into())
}

fn inside() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    println!("inside:  without a map I am {}", geteuid());
    io::stdin().read_line(&mut String::new())?; // the parent has written the map
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
    fs::write("inside", "")?;
    println!("inside:  I am {}, `outside` belongs to {}", geteuid(), owner("outside")?);
    println!("inside:  `inside` belongs to {}", owner("inside")?);
    println!("inside:  chown(\"inside\", 70000) {}", said(chown("inside", Some(70_000), None)));
    Ok(())
}
