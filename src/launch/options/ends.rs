//! Options about how the program ends, and when.

use super::heading::ENDS;
use super::verbs::{CONFIG, RUN};
use super::words::{parse_seconds, parse_size, whole};
use super::{OptionRow, Says};
use crate::launch::value::ResultTo;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "timeout",
        ENDS,
        RUN,
        Says::One("DURATION", |l, v| {
            l.life.timeout = Some(longer_than_nothing(v)?);
            Ok(())
        }),
        "Stop the program after this time, e.g. 10s; exit code 124",
    )
    .more(
        "It gets --stop-signal; what still runs after --stop-timeout is killed, with all processes of the container. \
         A reader that does not take the output cannot make the run longer",
    )
    .values(&["10s", "1m30s", "0.5"], &["", "0", "0s", "-1s", "soon", "5x"]),
    OptionRow::new(
        "cpu-time",
        ENDS,
        RUN,
        Says::One("DURATION", |l, v| {
            l.life.cpu_time = Some(longer_than_nothing(v)?);
            Ok(())
        }),
        "Kill the container once all its processes together have used this cpu time, e.g. 2s; exit code 124",
    )
    .more(
        "The container's cgroup counts it. Without one the times of its processes are added up, and a process whose \
         parent ignores SIGCHLD is not counted after its end",
    )
    .values(&["2s", "500ms", "3"], &["", "0", "-2", "much"]),
    OptionRow::new(
        "output-limit",
        ENDS,
        RUN,
        Says::One("SIZE", |l, v| {
            let bytes = parse_size(v)?;
            l.life.output_limit = Some(u64::try_from(bytes).ok().filter(|n| *n > 0).ok_or("a size is needed")?);
            Ok(())
        }),
        "Pass on at most this much of stdout and as much of stderr, e.g. 1m: the beginning and the end",
    )
    .more(
        "What is between them is read and dropped, and its size is printed on stderr after the end. The last quarter of \
         the limit, 64 KiB at most, is for the end of the output",
    )
    .values(&["1m", "64k", "100"], &["", "0", "-1", "x"]),
    OptionRow::new(
        "result",
        ENDS,
        RUN,
        Says::One("FILE|fd:N", |l, v| {
            l.life.result = Some(match v.strip_prefix("fd:") {
                Some(fd) => ResultTo::Fd(whole(fd, 3..=1_048_576)?),
                None if v.is_empty() => return Err("a file, or fd:N, is needed".into()),
                None => ResultTo::File(v.into()),
            });
            Ok(())
        }),
        "Write how the run ended and what it used to this file or open descriptor, whatever the end",
    )
    .more("The program never has the descriptor. A figure that cannot be had on this machine is absent")
    .values(&["result.json", "fd:3"], &["", "fd:", "fd:2", "fd:x"]),
    OptionRow::new(
        "result-format",
        ENDS,
        RUN,
        Says::One("json|meta", |l, v| {
            l.life.result_meta = Some(match v {
                "json" => false,
                "meta" => true,
                _ => return Err("one of json, meta is needed".into()),
            });
            Ok(())
        }),
        "How that is written: as JSON, or as the key:value lines of isolate, which judges read [default: json]",
    )
    .values(&["json", "meta"], &["", "xml"]),
    OptionRow::new(
        "stop-signal",
        ENDS,
        RUN,
        Says::One("SIGNAL", |l, v| {
            let signal = crate::tables::signals::parse(v).ok().filter(|s| *s > 0);
            let why = || format!("{v:?} is no signal: a name, such as SIGINT, or a number from 1 to 64");
            l.life.stop_signal = Some(signal.ok_or_else(why)?);
            Ok(())
        }),
        "The signal that asks the program to end [default: SIGTERM]",
    )
    .values(&["SIGINT", "QUIT", "9"], &["", "0", "65", "SIGNOTHING"]),
    OptionRow::new(
        "stop-timeout",
        ENDS,
        RUN,
        Says::One("DURATION", |l, v| {
            l.life.stop_timeout = Some(parse_seconds(v)?);
            Ok(())
        }),
        "How long it has then, before it is killed [default: 2s]",
    )
    .values(&["10", "0", "500ms"], &["", "-1", "later"]),
    OptionRow::new(
        "init",
        ENDS,
        CONFIG,
        Says::Switch(|l, on| l.life.init = Some(on)),
        "Run a minimal init as process 1, which passes signals on and reaps [default: true, but false for a bundle]",
    )
    .more("With it abort(3) is exit code 134, and a signal that the program does not handle ends it"),
];

fn longer_than_nothing(text: &str) -> Result<std::time::Duration, String> {
    match parse_seconds(text)? {
        time if time.is_zero() => Err("a time longer than 0 is needed".into()),
        time => Ok(time),
    }
}
