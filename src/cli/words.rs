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

/// Go's durations: numbers with `ns`, `us`, `ms`, `s`, `m` or `h`, one after the other (`1m30s`).
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let bad = || format!("{text:?} is not a duration, such as 5s, 1m30s or 500ms");
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|n| *n > 0).ok_or_else(bad)?;
        let unit =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| digits + n);
        let scale = match &rest[digits..unit] {
            "ns" => 1e-9,
            "us" | "\u{b5}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        seconds += rest[..digits].parse::<f64>().map_err(|_| bad())? * scale;
        rest = &rest[unit..];
    }
    if text.is_empty() {
        return Err(bad());
    }
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| bad())
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
/// As in Go, flags end at the first positional argument after the verb, so a program's own arguments stay
/// as they are. Only names that some verb has are touched; they are read from clap's definitions, and only
/// when a word needs it.
pub fn normalise(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let args: Vec<OsString> = args.collect();
    if !args.iter().any(|a| a.to_str().is_some_and(|t| go_syntax(t).is_some())) {
        return args;
    }
    let options = options();
    let (mut out, mut words, mut value_next) = (Vec::new(), 0, false);
    for arg in args {
        let text = arg.to_str().unwrap_or_default();
        // The program's own name, the verb and its first argument: after them no flags come.
        if words > 2 || value_next || !text.starts_with('-') || text == "-" || text == "--" {
            words += if text == "--" { 3 } else { usize::from(!value_next) };
            value_next = false;
            out.push(arg);
            continue;
        }
        let name = text.trim_start_matches('-');
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        match (options.iter().find(|(long, _)| long == name), value) {
            (Some((_, false)), Some("true" | "1" | "t" | "T" | "TRUE" | "True")) => {
                out.push(format!("--{name}").into())
            }
            (Some((_, false)), Some("false" | "0" | "f" | "F" | "FALSE" | "False")) => {}
            (Some(_), Some(value)) => out.push(format!("--{name}={value}").into()),
            (Some((_, takes_value)), None) => {
                value_next = *takes_value;
                out.push(format!("--{name}").into());
            }
            // A short option with a value apart (`-b DIR`) is followed by that value.
            (None, _) => {
                value_next = text.len() == 2 && "bufgepc".contains(&text[1..]);
                out.push(arg);
            }
        }
    }
    out
}

/// The verb of a command line, which need not make sense: the first word that is no global option or its value.
pub fn verb(args: &[OsString]) -> Option<&str> {
    use clap::CommandFactory;
    let command = super::Cli::command();
    let takes_value = |name: &str| {
        let found = command.get_arguments().find(|a| a.get_long() == Some(name));
        found.is_some_and(|a| a.get_action().takes_values())
    };
    let mut words = args.iter().skip(1).filter_map(|a| a.to_str());
    while let Some(word) = words.next() {
        match word.strip_prefix("--") {
            Some(name) if takes_value(name) => drop(words.next()),
            None if !word.starts_with('-') => return Some(word),
            _ => {}
        }
    }
    None
}

/// A word that only Go's flag package reads as it is meant.
fn go_syntax(text: &str) -> Option<()> {
    let single = text.len() > 2 && text.starts_with('-') && !text.starts_with("--");
    let boolean = text.starts_with("--") && text.split_once('=').is_some_and(|(_, v)| v.len() < 6);
    (single || boolean).then_some(())
}

/// Long options of all verbs, and whether they take a value.
fn options() -> Vec<(String, bool)> {
    use clap::CommandFactory;
    let command = super::Cli::command();
    let all = command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    all.filter_map(|a| Some((a.get_long()?.to_string(), a.get_action().takes_values()))).collect()
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
    fn the_verb_is_found_among_options() {
        let of =
            |args: &[&str]| verb(&args.iter().map(OsString::from).collect::<Vec<_>>()).map(str::to_string);
        assert_eq!(of(&["safebox", "--root", "run", "--debug", "create", "--x"]).as_deref(), Some("create"));
        assert_eq!(of(&["safebox", "--root=/r", "run", "--nope"]).as_deref(), Some("run"));
        assert_eq!(of(&["safebox", "--nope"]), None);
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
        let exec = ["safebox", "--root", "/r", "exec", "-user", "1", "id", "ls", "-all", "--quiet=true"];
        let expect = ["safebox", "--root", "/r", "exec", "--user", "1", "id", "ls", "-all", "--quiet=true"];
        assert_eq!(run(&exec), expect, "what the program gets is its own");
        assert_eq!(run(&["safebox", "-no-subreaper"]), ["safebox", "--no-subreaper"]);
    }
}
