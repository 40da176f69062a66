//! Options of a container that runs in the background: its log and its health.

use std::time::Duration;

use super::heading::DETACHED;
use super::verbs::RUN;
use super::words::{parse_seconds, parse_size, whole};
use super::{OptionRow, Says};
use crate::launch::value::{HealthOptions, LogDriver};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "log-driver",
        DETACHED,
        RUN,
        Says::One("DRIVER", |l, v| {
            l.life.log_driver = Some(match v {
                "json-file" => LogDriver::JsonFile,
                "none" => LogDriver::None,
                _ => return Err("one of json-file, none is needed: a service manager collects the output of a foreground run".into()),
            });
            Ok(())
        }),
        "What keeps the output of --detach: json-file, which `safebox logs` reads, or none [default: json-file]",
    )
    .more("Without this option a stream that is redirected to a file goes there and not into the log")
    .values(&["json-file", "none"], &["", "journald", "syslog"]),
    OptionRow::new(
        "log-opt",
        DETACHED,
        RUN,
        Says::Each("NAME=VALUE", |l, v| {
            let (name, value) = v.split_once('=').ok_or("max-size=SIZE or max-file=N is needed")?;
            match name {
                "max-size" => {
                    let size = u64::try_from(parse_size(value)?).ok().filter(|n| *n >= 4096);
                    l.life.log_options.max_size = size.ok_or("max-size: 4k at least")?;
                }
                "max-file" => l.life.log_options.max_file = whole(value, 1..=1000)?,
                _ => return Err(format!("{name}: max-size=SIZE or max-file=N is needed")),
            }
            Ok(())
        }),
        "max-size=SIZE: when the log begins a new file; max-file=N: how many are kept [default: 10m, 3]",
    )
    .values(&["max-size=1m", "max-file=5"], &["", "max-size", "max-size=1", "max-file=0", "labels=x"]),
    OptionRow::new(
        "health-cmd",
        DETACHED,
        RUN,
        Says::One("COMMAND", |l, v| {
            if v.is_empty() {
                return Err("a command is needed".into());
            }
            health(l).command = v.into();
            Ok(())
        }),
        "Run this in the container's /bin/sh at intervals: exit code 0 is healthy; see `safebox inspect`",
    )
    .values(&["curl -f localhost"], &[""]),
    OptionRow::new("health-interval", DETACHED, RUN, Says::One("DURATION", |l, v| time(v, &mut health(l).interval)), "Between two checks [default: 30s]")
        .values(&["5s"], &["", "0", "x"]),
    OptionRow::new("health-timeout", DETACHED, RUN, Says::One("DURATION", |l, v| time(v, &mut health(l).timeout)), "How long a check may take [default: 30s]")
        .values(&["5s"], &["", "0", "x"]),
    OptionRow::new(
        "health-retries",
        DETACHED,
        RUN,
        Says::One("N", |l, v| {
            health(l).retries = whole(v, 1..=1_000_000)?;
            Ok(())
        }),
        "Failures in a row that make it unhealthy [default: 3]",
    )
    .values(&["5"], &["", "0", "x"]),
    OptionRow::new(
        "health-start-period",
        DETACHED,
        RUN,
        Says::One("DURATION", |l, v| {
            health(l).start_period = parse_seconds(v)?;
            Ok(())
        }),
        "Failures in this time do not count, until a check succeeds [default: 0s]",
    )
    .values(&["5s"], &["", "x"]),
    OptionRow::new("health-start-interval", DETACHED, RUN, Says::One("DURATION", |l, v| time(v, &mut health(l).start_interval)), "Between two checks in that time [default: 5s]")
        .values(&["1s"], &["", "0", "x"]),
    OptionRow::new(
        "sdnotify",
        DETACHED,
        RUN,
        Says::One("WHO", |l, v| {
            l.life.notifies_ready = match v {
                "container" => false,
                "launcher" => true,
                _ => return Err("one of container, launcher is needed".into()),
            };
            Ok(())
        }),
        "Who tells systemd that it is ready: the program, or safebox once the program runs [default: container]",
    )
    .values(&["launcher"], &["", "conmon"]),
    OptionRow::new("no-healthcheck", DETACHED, RUN, Says::Flag(|l| l.life.no_healthcheck = true), "Run no health check"),
];

fn health(launch: &mut crate::launch::value::Launch) -> &mut HealthOptions {
    launch.life.health.get_or_insert_default()
}

fn time(text: &str, to: &mut Duration) -> super::ValueResult {
    match parse_seconds(text)? {
        time if time < Duration::from_millis(1) => Err("a time of 1ms at least is needed".into()),
        time => {
            *to = time;
            Ok(())
        }
    }
}
