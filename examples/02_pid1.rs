//! Lesson 2: the first process of a pid namespace is process 1, with special duties and protections
//! (pid_namespaces(7)).
//!
//! `cd examples && cargo run -q --bin 02_pid1` (any user)

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sched::CloneFlags;

/// The script of process 1. Its last command stays in the background and would sleep for 100 seconds.
const FIRST: &str = r#"
    echo "  I am process $$, my parent is $PPID (it is outside of this namespace)"
    kill -TERM $$; echo "  I sent SIGTERM to process 1 and it did not end: it has no handler for it"
    sh -c '(sleep 0.2; read -r stat </proc/self/stat; set -- $stat; echo "  an orphan: my parent is process $4 now") &'
    sleep 0.5
    sleep 100 &
    echo "  process 1 ends now, and process $! still sleeps"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    println!("outside: process {}", std::process::id());
    // unshare(CLONE_NEWPID) does not move this process; its future children are in the new namespace.
    lessons::become_root(CloneFlags::CLONE_NEWPID)?;
    println!("outside: still process {} after unshare(CLONE_NEWPID)\n", std::process::id());

    println!("the first child:");
    let start = Instant::now();
    // A procfs shows the pid namespace of the process that mounts it. `$0` is the script.
    let script = "mount -t proc proc /proc && exec sh -c \"$0\"";
    let out = Command::new("sh").args(["-c", script, FIRST]).stdin(Stdio::null()).output()?;
    print!("{}", String::from_utf8_lossy(&out.stdout));
    // The sleeping process holds the write end of the pipe. End of file within seconds means that it is dead.
    println!(
        "outside: every process of the namespace was gone after {:.1} s\n",
        start.elapsed().as_secs_f32()
    );

    match Command::new("true").status() {
        Err(e) => println!("outside: one more child? {e}"),
        Ok(status) => println!("outside: one more child? {status}"),
    }
    println!(
        "
you saw:  Process 1 ignores signals from its own namespace that it has no handler for, adopts orphans, and when
          it ends the kernel kills the rest: one SIGKILL ends a whole container. A namespace without process 1
          is dead, and fork fails in it with ENOMEM.
try next: unshare --user --map-root-user --pid --fork --mount-proc ps -ef; then lesson 03_mounts"
    );
    Ok(())
}
