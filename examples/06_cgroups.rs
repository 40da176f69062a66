//! Lesson 6: a cgroup is a directory that contains processes; its files set limits and report usage
//! (cgroups(7)).
//!
//! `cd examples && sudo "$(which cargo)" run -q --bin 06_cgroups`, or without root where systemd delegates:
//! `systemd-run --user --scope -p Delegate=yes cargo run -q --bin 06_cgroups`

use std::process::{Command, id};
use std::{env, error::Error, fs, hint::black_box};

const LIMIT: usize = 32 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).is_some() {
        black_box(vec![1u8; 4 * LIMIT]); // pages count once they are written to
        return Ok(());
    }
    let Some((dir, v2)) = lessons::memory_cgroup() else {
        println!("you saw:  nothing: this lesson needs a cgroup that it may write to");
        println!("try next: run it as root, or under systemd-run as the first lines of its source say");
        return Ok(());
    };
    let [limit, account, peak] = if v2 {
        ["memory.max", "memory.events", "memory.peak"]
    } else {
        ["memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes"]
    };
    println!("mkdir {0}\nwrite {0}/{limit} {LIMIT}", dir.display());
    fs::write(dir.join(limit), LIMIT.to_string())?;
    fs::write(dir.join("memory.swap.max"), "0").unwrap_or_default(); // only where swap is counted
    // The shell enters the cgroup and then executes the program, so that no part of it runs without the
    // limit.
    let enter = format!("echo $$ >{}/cgroup.procs && exec /proc/{}/exe eat", dir.display(), id());
    println!("a process enters by cgroup.procs and writes to {} MiB ...", (4 * LIMIT) >> 20);
    println!("it ended with {}", Command::new("sh").args(["-c", &enter]).status()?);
    let events = fs::read_to_string(dir.join(account))?;
    println!("{account}: {}", events.lines().find(|l| l.starts_with("oom_kill ")).unwrap_or("not counted"));
    println!(
        "{peak}: {}",
        fs::read_to_string(dir.join(peak)).unwrap_or_else(|_| "since Linux 5.19".into()).trim()
    );
    fs::remove_dir(&dir)?;
    println!(
        "
you saw:  The limit belongs to the group and holds for all its processes together. At the limit the kernel killed
          a process of this group, no other one, and the group's own account says so: exit code 137 alone does not.
try next: safebox explain --section cgroup --why BUNDLE/; then lesson 07_seccomp"
    );
    Ok(())
}
