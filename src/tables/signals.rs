//! The signals of signal(7), by name and number.

/// Standard signals: (name without `SIG`, number on this architecture, Go's text, which callers of runc
/// match).
const SIGNALS: [(&str, i32, &str); 31] = [
    ("HUP", libc::SIGHUP, "hangup"),
    ("INT", libc::SIGINT, "interrupt"),
    ("QUIT", libc::SIGQUIT, "quit"),
    ("ILL", libc::SIGILL, "illegal instruction"),
    ("TRAP", libc::SIGTRAP, "trace/breakpoint trap"),
    ("ABRT", libc::SIGABRT, "aborted"),
    ("BUS", libc::SIGBUS, "bus error"),
    ("FPE", libc::SIGFPE, "floating point exception"),
    ("KILL", libc::SIGKILL, "killed"),
    ("USR1", libc::SIGUSR1, "user defined signal 1"),
    ("SEGV", libc::SIGSEGV, "segmentation fault"),
    ("USR2", libc::SIGUSR2, "user defined signal 2"),
    ("PIPE", libc::SIGPIPE, "broken pipe"),
    ("ALRM", libc::SIGALRM, "alarm clock"),
    ("TERM", libc::SIGTERM, "terminated"),
    ("STKFLT", libc::SIGSTKFLT, "stack fault"),
    ("CHLD", libc::SIGCHLD, "child exited"),
    ("CONT", libc::SIGCONT, "continued"),
    ("STOP", libc::SIGSTOP, "stopped (signal)"),
    ("TSTP", libc::SIGTSTP, "stopped"),
    ("TTIN", libc::SIGTTIN, "stopped (tty input)"),
    ("TTOU", libc::SIGTTOU, "stopped (tty output)"),
    ("URG", libc::SIGURG, "urgent I/O condition"),
    ("XCPU", libc::SIGXCPU, "CPU time limit exceeded"),
    ("XFSZ", libc::SIGXFSZ, "file size limit exceeded"),
    ("VTALRM", libc::SIGVTALRM, "virtual timer expired"),
    ("PROF", libc::SIGPROF, "profiling timer expired"),
    ("WINCH", libc::SIGWINCH, "window changed"),
    ("IO", libc::SIGIO, "I/O possible"),
    ("PWR", libc::SIGPWR, "power failure"),
    ("SYS", libc::SIGSYS, "bad system call"),
];

/// Alternative names, accepted but never printed.
const ALIASES: [(&str, i32); 4] =
    [("IOT", libc::SIGABRT), ("CLD", libc::SIGCHLD), ("POLL", libc::SIGIO), ("UNUSED", libc::SIGSYS)];

/// First realtime signal of libc; the C library uses the kernel's 32 and 33 itself.
const RTMIN: i32 = 34;
/// Last signal.
const RTMAX: i32 = 64;

/// The number, 1 to 64, of a signal written as `KILL`, `SIGKILL`, `kill`, `9`, `SIGRTMIN+3` or `RTMAX-1`; or
/// 0: kill(2) then only checks that the process exists.
///
/// The errors are those of runc, which callers may show: `unknown signal "FOO"`, and the text of kill(2)'s
/// error for a number.
pub fn parse(text: &str) -> Result<i32, String> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let found = if is_number { number(text) } else { named(text) };
    found.ok_or_else(|| match is_number && text.parse::<i32>().is_ok() {
        true => "unable to signal init: invalid argument".to_string(),
        false => format!("unknown signal {text:?}"),
    })
}

/// The name of signal `number`, as in `SIGKILL`, `SIGRTMIN+3`; `None` outside 1 to 64 and for 32 and 33.
pub fn name(number: i32) -> Option<String> {
    if let Some((name, ..)) = SIGNALS.iter().find(|s| s.1 == number) {
        return Some(format!("SIG{name}"));
    }
    match number {
        RTMIN => Some("SIGRTMIN".into()),
        RTMAX => Some("SIGRTMAX".into()),
        n if n > RTMIN && n < RTMAX => Some(format!("SIGRTMIN+{}", n - RTMIN)),
        _ => None,
    }
}

/// Go's text for the signal that ended a process, as runc prints it: `signal: bad system call`.
pub fn in_words(number: i32) -> String {
    match SIGNALS.iter().find(|s| s.1 == number) {
        Some((.., words)) => format!("signal: {words}"),
        None => format!("signal: signal {number}"),
    }
}

/// A decimal number, if it is in range.
fn number(text: &str) -> Option<i32> {
    text.parse().ok().filter(|n| (0..=RTMAX).contains(n))
}

/// A name with or without `SIG`, in any case.
fn named(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().map(|s| (s.0, s.1)).chain(ALIASES).find(|s| s.0 == short).map(|s| s.1);
    known.or_else(|| realtime(short))
}

/// `RTMIN`, `RTMIN+n`, `RTMAX` or `RTMAX-n`, within the realtime range.
fn realtime(short: &str) -> Option<i32> {
    let (base, rest, sign) = if let Some(rest) = short.strip_prefix("RTMIN") {
        (RTMIN, rest, '+')
    } else {
        (RTMAX, short.strip_prefix("RTMAX")?, '-')
    };
    let offset = match rest.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i32>().ok()?,
        None if rest.is_empty() => 0,
        _ => return None,
    };
    let signal = if sign == '+' { base.checked_add(offset)? } else { base.checked_sub(offset)? };
    (RTMIN..=RTMAX).contains(&signal).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, want) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("kill", 9),
            ("sigkill", 9),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("rtmax", 64),
            ("CLD", libc::SIGCHLD),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "FOO",
            "-9",
            "+9",
            "9 ",
            "4294967305",
            "SIG",
            "SIGSIGKILL",
            "RTMIN-1",
            "RTMIN+31",
            "RTMIN+",
            "RTMAX+1",
        ] {
            assert_eq!(parse(text), Err(format!("unknown signal {text:?}")));
        }
        // A number above 64 parses, but kill(2) refuses it.
        assert_eq!(parse("65"), Err("unable to signal init: invalid argument".into()));
    }

    #[test]
    fn names_round_trip() {
        for n in (1..=31).chain(34..=64) {
            assert_eq!(name(n).map(|s| parse(&s)), Some(Ok(n)));
        }
        assert_eq!(name(33), None);
    }
}
