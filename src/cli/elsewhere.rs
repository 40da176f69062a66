//! What people who know other tools type first, and what to type here.

use std::ffi::OsString;
use std::path::Path;

use crate::launch::images::{IMAGES, on_path};

/// Verbs of other tools, with the corresponding safebox command or a note: (verb, text).
pub(super) const VERBS: &[(&str, &str)] = &[
    ("remove", "safebox delete ID"),
    ("version", "safebox --version"),
    ("info", "safebox features"),
    ("attach", "safebox exec -t ID PROGRAM starts another program in the container"),
    ("shell", "safebox exec -t ID /bin/sh"),
    ("rename", "a container keeps its id: safebox delete ID, and run it again with --name"),
    (
        "restart",
        "safebox delete ID, and run it again; the unit of safebox install --systemd-unit ID restarts it",
    ),
    ("cp", "a directory that is shown with --rw PATH or -v SRC:DST:rw holds files for both sides"),
    ("commit", "--overlay PATH keeps what a program changes: safebox diff ID, safebox apply ID"),
    ("port", "safebox inspect ID"),
    ("pull", "safebox runs bundles, not images: the README shows how to make one"),
    ("images", "safebox runs bundles, not images: the README shows how to make one"),
    ("build", "safebox runs bundles, not images: the README shows how to make one"),
];

const BINDS: &str = "-v SRC:DST is read-only, -v SRC:DST:rw is writable; --ro PATH and --rw PATH show a path at its own place";
const DEFAULT: &str = "this is the default: leave it out";
const LIMITS: &str = "--memory SIZE, --cpus N and --pids-limit N set the limits";

/// Options of `run` in bubblewrap, firejail, nsjail and systemd-run: (name without dashes, text).
const OPTIONS: &[(&str, &str)] = &[
    ("bind", BINDS),
    ("ro-bind", BINDS),
    ("dev-bind", BINDS),
    ("bind-try", BINDS),
    ("ro-bind-try", BINDS),
    ("dir", "--tmpfs DST makes a writable directory"),
    ("proc", "/proc is there by default: leave it out"),
    ("dev", "/dev is there by default: leave it out"),
    ("unshare-all", DEFAULT),
    ("unshare-user", DEFAULT),
    ("unshare-pid", DEFAULT),
    ("unshare-net", DEFAULT),
    ("unshare-ipc", DEFAULT),
    ("unshare-uts", DEFAULT),
    ("unshare-cgroup", DEFAULT),
    ("new-session", DEFAULT),
    ("die-with-parent", DEFAULT),
    ("share-net", "--network host"),
    ("chdir", "-w DIR"),
    ("setenv", "-e NAME=VALUE"),
    ("clearenv", "the environment is an allow-list by default; -e NAME passes a variable"),
    ("as-pid-1", "--init=false"),
    ("private", "the home directory is an empty tmpfs by default: leave it out"),
    ("private-tmp", DEFAULT),
    ("private-dev", DEFAULT),
    ("noroot", DEFAULT),
    ("nonewprivs", DEFAULT),
    ("caps.drop", "all capabilities are dropped by default: leave it out"),
    ("noprofile", "there are no profiles of programs: leave it out"),
    ("profile", "there are no profiles of programs: --ro PATH, --rw PATH and --allow-net NAME give access"),
    ("whitelist", "--ro PATH or --rw PATH"),
    ("blacklist", "--hide PATH"),
    ("chroot", "--rootfs DIR"),
    ("bindmount", BINDS),
    ("bindmount_ro", BINDS),
    ("cwd", "-w DIR"),
    ("time_limit", "--timeout DURATION, such as 10s"),
    ("rlimit_as", LIMITS),
    ("cgroup_mem_max", LIMITS),
    ("property", LIMITS),
    ("scope", DEFAULT),
    ("wait", "a run in the foreground waits: leave it out"),
    ("pty", "-it"),
    ("pipe", DEFAULT),
    ("collect", "--rm"),
];

/// The option of `run` that corresponds to another tool's option.
pub(super) fn option(long: &str) -> Option<&'static str> {
    OPTIONS.iter().find(|(name, _)| *name == long).map(|(_, text)| *text)
}

/// The remedy for a second positional argument of a verb that takes one target: the program after `--`. The word
/// before it may be the program itself, or the name of an image.
pub(super) fn positional(verb: &str, arg: &str, args: &[OsString]) -> String {
    let words: Vec<&str> = args.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let at = words.iter().rposition(|word| *word == arg);
    let target = at.and_then(|at| words.get(at.checked_sub(1)?)).filter(|word| !word.starts_with('-'));
    match target {
        Some(target) if verb != "run" || target.ends_with('/') || Path::new(target).is_dir() => {}
        Some(target) if on_path(target).is_some() || Path::new(target).is_file() => {
            return format!(
                " (a program and its arguments come after --: safebox {verb} ... -- {target} {arg} ...)"
            );
        }
        Some(target) => {
            return format!(
                " ({target} is neither a directory nor a program of this machine; for an image: {IMAGES})"
            );
        }
        None => {}
    }
    format!(" (a program and its arguments come after --: safebox {verb} ... -- {arg} ...)")
}

/// The remedy for a word in the place of a verb that is a program.
pub(super) fn program(word: &str) -> Option<String> {
    on_path(word).map(|_| format!(": to run this machine's program: safebox run -- {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::options::row;

    #[test]
    fn options_of_other_tools_are_none_of_ours_and_name_some_of_ours() {
        for (name, text) in OPTIONS {
            assert!(row(name).is_none(), "--{name} is an option of run");
            for word in text.split([' ', ',', ';', ':']).filter(|w| w.starts_with("--")) {
                let long = word.trim_start_matches("--").split('=').next().unwrap_or_default();
                assert!(row(long).is_some(), "--{name}: {word} is no option");
            }
        }
    }

    #[test]
    fn a_program_without_the_dashes_is_named() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (line, arg, says) in [
            ("safebox run sh x.py", "x.py", "safebox run ... -- sh x.py ..."),
            ("safebox run b/ ls", "ls", "safebox run ... -- ls ..."),
            ("safebox run --rm no-such-image ls", "ls", "skopeo copy docker://"),
            ("safebox run /etc/passwd ls", "ls", "-- /etc/passwd ls"),
        ] {
            assert!(positional("run", arg, &words(line)).contains(says), "{line}");
        }
        assert!(program("sh").is_some() && program("no-such-program").is_none());
    }
}
