//! Lesson 12: with Landlock any process can drop access to paths, without root, namespaces or a config
//! (landlock(7)).
//!
//! `cd examples && cargo run -q --bin 12_landlock` (any user, since Linux 5.13)

use std::error::Error;
use std::os::fd::AsRawFd;
use std::{env, fs, io, mem, ptr};

use lessons::said;
use libc::{SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self, c_long, syscall};

// Access rights of linux/landlock.h.
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::temp_dir().join(format!("lesson-landlock-{}", std::process::id()));
    fs::create_dir(&dir)?;
    fs::write(dir.join("mine"), "a file of this lesson")?;
    let attempt = |when: &str| {
        println!("{when} read own file:    {}", said(fs::read(dir.join("mine"))));
        println!("{when} write own file:   {}", said(fs::write(dir.join("mine"), "x")));
        println!("{when} read /etc/passwd: {}", said(fs::read("/etc/passwd")));
    };
    attempt("before,");
    match restrict(&dir) {
        Ok(()) => attempt("after, "),
        Err(e) => println!("no Landlock in this kernel, or not in its lsm= list: {e}"),
    }
    fs::remove_dir_all(&dir)?;
    println!(
        "
you saw:  \"No file is read or written, except: below this directory it may be read\", for this process and its
          children, for good. Nothing is hidden: names, sizes and removal were not in the ruleset's list, so they
          stay as they were. A container hides paths by its mounts; Landlock denies them even where they show.
try next: 14_plan, where all layers come together: cargo run --example 14_plan BUNDLE/"
    );
    Ok(())
}

fn restrict(dir: &std::path::Path) -> io::Result<()> {
    let handled = READ_FILE | WRITE_FILE;
    let opened = fs::File::open(dir)?;
    // SAFETY: `handled` is the first version of struct landlock_ruleset_attr, and lives during the call.
    let ruleset =
        done(unsafe { syscall(SYS_landlock_create_ruleset, &handled, mem::size_of_val(&handled), 0) })?;
    // struct landlock_path_beneath_attr, which is packed: the allowed rights (64 bits), the directory (32 bits).
    let rule = [READ_FILE as u32, 0, opened.as_raw_fd() as u32];
    // SAFETY: `rule` is the structure of LANDLOCK_RULE_PATH_BENEATH (1), and lives during the call.
    done(unsafe { syscall(SYS_landlock_add_rule, ruleset, 1, ptr::from_ref(&rule), 0) })?;
    // SAFETY: neither call touches memory.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    // SAFETY: as above.
    done(unsafe { syscall(SYS_landlock_restrict_self, ruleset, 0) }).map(drop)
}

fn done(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
