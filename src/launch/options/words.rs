//! How single words of the command line are read: ids, sizes, durations, rows.

use crate::tables::rlimits::RLIMITS;

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

/// Bytes, with k, m, g, t or p for powers of 1024, whole or not (`1.5g`); -1 for no limit. As the library reads
/// them that runc and Docker use (go-units).
pub fn parse_size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let bad = || format!("{text:?} is not a size: a number with k, m or g, or -1 for no limit");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |last| last + 1);
    let (number, unit) = (&text[..end], text[end..].to_ascii_lowercase());
    let shift = match unit.strip_prefix(' ').unwrap_or(&unit) {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    if !number.contains('.') {
        return number.parse::<i64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(bad);
    }
    let bytes = number.parse::<f64>().map_err(|_| bad())? * (1u64 << shift) as f64;
    // The largest i64 has no f64 of its own: the next one is too large.
    if bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(bad()) }
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

/// A duration, or a number of seconds as docker run and timeout(1) take it.
pub fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if number { parse_duration(&format!("{text}s")) } else { parse_duration(text) }
}

/// A whole number of a range.
pub fn whole<N>(text: &str, range: std::ops::RangeInclusive<N>) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let plain = text.strip_prefix('-').unwrap_or(text);
    let digits = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("a whole number from {} to {} is needed", range.start(), range.end()))
}

/// `NAME=SOFT[:HARD]` of `--ulimit`, with docker's names: those of getrlimit(2) without `RLIMIT_`, in lower case.
pub fn parse_ulimit(text: &str) -> Result<crate::config::Rlimit, String> {
    let names = || {
        let names: Vec<_> =
            RLIMITS.iter().map(|row| row.name.trim_start_matches("RLIMIT_").to_lowercase()).collect();
        names.join(", ")
    };
    let (name, value) = text.split_once('=').ok_or("NAME=SOFT[:HARD] is needed")?;
    let row = RLIMITS.iter().find(|row| row.name.trim_start_matches("RLIMIT_").eq_ignore_ascii_case(name));
    let resource = row.ok_or_else(|| format!("{name:?}: one of {}", names()))?.number;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(libc::RLIM_INFINITY),
        text => whole(text, 0..=u64::MAX),
    };
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!("the soft limit {soft} is larger than the hard one, {hard}"));
    }
    Ok(crate::config::Rlimit { resource, soft, hard })
}

/// `ROW[:ERRNO]` of `--fail`; the errno is EPERM where none is given. Names of rows have colons, too.
pub fn parse_fail(text: &str) -> Result<(String, i32), String> {
    let by_name = |name: &str| (1..=133).find(|n| crate::tables::errno::name(*n) == name);
    match text.rsplit_once(':') {
        Some((row, errno)) if by_name(errno).is_some() => {
            Ok((row.into(), by_name(errno).unwrap_or(crate::sys::Errno::EPERM as i32)))
        }
        Some((row, errno)) if row.parse::<usize>().is_ok() || errno.starts_with('E') => {
            Err(format!("unknown errno {errno:?}"))
        }
        _ => Ok((text.into(), crate::sys::Errno::EPERM as i32)),
    }
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
    fn a_row_that_fails_is_a_name_and_an_errno() {
        let eio = crate::sys::Errno::EIO as i32;
        assert_eq!(parse_fail("60:EIO"), Ok(("60".into(), eio)));
        assert_eq!(parse_fail("pivot:EIO"), Ok(("pivot".into(), eio)));
        assert_eq!(parse_fail("mount:/proc:EIO"), Ok(("mount:/proc".into(), eio)));
        assert_eq!(parse_fail("mount:/proc"), Ok(("mount:/proc".into(), crate::sys::Errno::EPERM as i32)));
        assert_eq!(parse_fail("60"), Ok(("60".into(), crate::sys::Errno::EPERM as i32)));
        for bad in ["1:ENOTANERROR", "pivot:EWHAT", "1:x"] {
            assert!(parse_fail(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64m"), Ok(64 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("-1"), Ok(-1));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("0.5kb"), Ok(512));
        assert_eq!(parse_size("10 MiB"), Ok(10 << 20));
        assert_eq!(parse_size("7B"), Ok(7));
        assert_eq!(parse_size("1P"), Ok(1 << 50));
        assert_eq!(parse_size("1.9"), Ok(1));
        assert_eq!(parse_size("9223372036854775807"), Ok(i64::MAX));
        for bad in [
            "",
            "m",
            "-5",
            "-1.5g",
            "1x",
            "0x10",
            "99999999999g",
            "1.5.5g",
            ".",
            "1bb",
            "1kbb",
            "1  k",
            "8192.0p",
        ] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }
}
