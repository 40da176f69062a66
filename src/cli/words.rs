//! How single words of the command line are read: ids, sizes, rows, and Go's flag syntax.

use std::ffi::OsString;

/// A uid, and a gid after a colon: decimal numbers only; a name is never looked up in a hostile passwd.
pub fn parse_user(text: &str) -> Result<(u32, Option<u32>), String> {
    let id = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        // The last id is (uid_t)-1, which system calls read as "leave as is".
        let n = if digits { s.parse::<u32>().ok() } else { None };
        n.filter(|n| *n != u32::MAX)
            .ok_or_else(|| format!("{s:?} is not an id: a number from 0 to 4294967294 is needed"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

/// Bytes, with k, m or g for powers of 1024; -1 for no limit.
pub fn parse_size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 10),
        Some(b'm') => (&number[..number.len() - 1], 20),
        Some(b'g') => (&number[..number.len() - 1], 30),
        Some(b't') => (&number[..number.len() - 1], 40),
        _ => (number, 0),
    };
    let bad = || format!("{text:?} is not a size: a number with k, m or g, or -1 for no limit");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    digits.parse::<i64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(bad)
}

/// `N[:ERRNO]` of `--fail`; the errno is EPERM where none is given.
pub fn parse_fail(text: &str) -> Result<(usize, i32), String> {
    let (row, errno) = text.split_once(':').unwrap_or((text, "EPERM"));
    let row = row.parse().map_err(|_| format!("{row:?} is not a row number"))?;
    let errno = (1..=133)
        .find(|n| crate::tables::errno::name(*n) == errno)
        .ok_or_else(|| format!("unknown errno {errno:?}"))?;
    Ok((row, errno))
}

/// Go's flag syntax in clap's: `-long` becomes `--long`, `--flag=true` becomes `--flag`, `--flag=false` goes.
///
/// Only words before the first positional argument of the verb are flags, and only names that some verb
/// has are touched, so a program's own arguments stay as they are.
pub fn normalise(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (flags, values) = names();
    let mut out = Vec::new();
    let mut end = false;
    for (i, arg) in args.enumerate() {
        let Some(text) = arg.to_str().filter(|t| i > 0 && !end && t.starts_with('-') && t.len() > 2) else {
            end |= arg == "--";
            out.push(arg);
            continue;
        };
        let name = text.trim_start_matches('-');
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        let flag = flags.contains(&name);
        if !flag && !values.contains(&name) {
            out.push(arg);
            continue;
        }
        match value {
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") if flag => out.push(format!("--{name}").into()),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") if flag => {}
            Some(value) => out.push(format!("--{name}={value}").into()),
            None => out.push(format!("--{name}").into()),
        }
    }
    out
}

/// Long options of all verbs: those that are switches, and those that take a value.
fn names() -> (Vec<&'static str>, Vec<&'static str>) {
    (
        vec![
            "debug",
            "systemd-cgroup",
            "no-pivot",
            "no-new-keyring",
            "quiet",
            "detach",
            "no-subreaper",
            "keep",
            "step",
            "all",
            "force",
            "tty",
            "no-new-privs",
            "ignore-paused",
            "why",
            "json",
        ],
        vec![
            "root",
            "log",
            "log-format",
            "rootless",
            "criu",
            "bundle",
            "pid-file",
            "console-socket",
            "preserve-fds",
            "policy",
            "allow",
            "user",
            "cap-add",
            "seccomp",
            "memory",
            "cpus",
            "pids-limit",
            "until",
            "fail",
            "format",
            "cwd",
            "env",
            "additional-gids",
            "process",
            "process-label",
            "apparmor",
            "cap",
            "diff",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_and_nothing_else() {
        assert_eq!(parse_user("1"), Ok((1, None)));
        assert_eq!(parse_user("0:65534"), Ok((0, Some(65534))));
        for bad in ["1:", ":1", "4294967296", "4294967295", "-1", "65534:0x0", "root", "", "1 ", "+1"] {
            assert!(parse_user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64m"), Ok(64 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("-1"), Ok(-1));
        for bad in ["", "m", "-5", "1x", "0x10", "99999999999g"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn go_flags_are_understood_and_programs_arguments_left_alone() {
        let run = |args: &[&str]| -> Vec<String> {
            normalise(args.iter().map(OsString::from)).into_iter().map(|a| a.into_string().unwrap()).collect()
        };
        assert_eq!(
            run(&["safebox", "-root", "/r", "run", "-detach=true", "x"]),
            ["safebox", "--root", "/r", "run", "--detach", "x"]
        );
        assert_eq!(run(&["safebox", "delete", "--force=false", "x"]), ["safebox", "delete", "x"]);
        assert_eq!(
            run(&["safebox", "run", "x", "--", "-force=true"]),
            ["safebox", "run", "x", "--", "-force=true"]
        );
    }

    #[test]
    fn every_long_option_is_known_to_normalise() {
        use crate::cli::Cli;
        use clap::CommandFactory;
        let (flags, values) = names();
        let command = Cli::command();
        let all = command.get_subcommands().chain([&command]);
        for arg in all.flat_map(clap::Command::get_arguments) {
            let Some(long) = arg.get_long().filter(|l| !matches!(*l, "help" | "version")) else { continue };
            let expected = if arg.get_action().takes_values() { &values } else { &flags };
            assert!(expected.contains(&long), "{long}");
        }
    }
}
