//! The launcher: programs of this machine, directories as root file systems, docker run's options.

mod account;
mod denials;
mod detached;
mod ends;
mod files;
mod host;
mod hostile;
mod ladder;
mod library;
mod options;
mod overlay;
mod secrets;
mod shell;
mod tools;
mod users;
mod weaker;

pub use ladder::without_namespaces;
use std::path::{Path, PathBuf};

use crate::harness::{Call, Sandbox};

/// A project directory with a file and a directory, readable by every user.
pub fn project(sb: &Sandbox) -> PathBuf {
    let dir = sb.dir().join("project");
    std::fs::create_dir_all(dir.join("sub")).expect("mkdir");
    std::fs::write(dir.join("file"), "project\n").expect("write");
    std::fs::write(dir.join("sub/secret"), "secret\n").expect("write");
    open(sb.dir());
    open(&dir);
    dir
}

/// Makes it readable by every user.
fn open(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// `safebox run --name ID` in `dir`; the test adds options and `-- PROGRAM`.
fn run_in(sb: &Sandbox, dir: &Path) -> Call {
    let dir = dir.to_path_buf();
    sb.runtime().args(["run", "--name", sb.id()]).with(move |c| {
        c.current_dir(&dir);
    })
}

/// A listing of all files below a directory: names, kinds, modes, owners, sizes, modification times.
fn picture(dir: &Path) -> String {
    let find =
        std::process::Command::new("find").arg(dir).args(["-printf", "%p %y %m %U:%G %s %C@ %l\n"]).output();
    let out = find.expect("find");
    assert!(out.status.success(), "{out:?}");
    let mut lines: Vec<_> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_string).collect();
    lines.sort();
    lines.join("\n")
}
