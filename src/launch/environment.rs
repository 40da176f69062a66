//! The environment that a program of a container gets: what it was given, settled.

use std::collections::HashSet;
use std::os::fd::AsRawFd;

use crate::bundle::home_in;
use crate::perform::namespace_fds::Inside;
use crate::sys::fs;

/// What everybody needs and nobody has to give.
const HOME: &str = "HOME";

/// Settles `env`: of a name that is there twice the last value counts (getenv(3) would find the first), and HOME
/// is `home` where it is missing or empty, as runc has both.
pub fn settle(env: &mut Vec<String>, home: impl FnOnce() -> String) {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(env.len() + 1);
    for entry in std::mem::take(env).into_iter().rev() {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        if seen.insert(name.to_string()) && !(name == HOME && value.is_empty()) {
            kept.push(entry);
        }
    }
    kept.reverse();
    if !kept.iter().any(|entry| entry.strip_prefix(HOME).is_some_and(|rest| rest.starts_with('='))) {
        kept.push(format!("{HOME}={}", home()));
    }
    *env = kept;
}

/// The home directory of `uid` in the passwd of a running container, whose process is (pid, start time); `/` where
/// there is none. Whoever owns the container owns the file, and what is read of it is a path for the container.
/// `inside` is the way to it where the process cannot be looked into.
pub fn home_inside((pid, start): (i32, u64), uid: u32, inside: Option<&Inside>) -> String {
    if let Some(inside) = inside {
        return home_in(inside.root, uid).unwrap_or_else(|| "/".into());
    }
    let root = std::ffi::CString::new(format!("/proc/{pid}/root")).ok();
    let root = root.and_then(|path| {
        fs::openat(libc::AT_FDCWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0).map(fs::own).ok()
    });
    // The number could have become another process's before its root was opened.
    let root = root.filter(|_| crate::sys::process::alive(pid, start));
    root.and_then(|root| home_in(root.as_raw_fd(), uid)).unwrap_or_else(|| "/".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(env: &[&str]) -> Vec<String> {
        let mut env = env.iter().map(|e| (*e).to_string()).collect();
        settle(&mut env, || "/home".into());
        env
    }

    #[test]
    fn the_last_of_a_name_counts_and_home_is_there() {
        assert_eq!(settled(&["A=1", "B=x", "A=2"]), ["B=x", "A=2", "HOME=/home"]);
        assert_eq!(settled(&["HOME=/here", "HOMES=x"]), ["HOME=/here", "HOMES=x"]);
        for none in [&["HOME="] as &[&str], &[], &["HOME=/here", "HOME="]] {
            assert_eq!(settled(none), ["HOME=/home"], "{none:?}");
        }
        assert_eq!(settled(&["A=x=y", "A="]), ["A=", "HOME=/home"]);
    }
}
