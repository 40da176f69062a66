//! Options about the process: what runs, as whom, with which environment.

use std::path::PathBuf;

use super::super::accounts;
use super::super::value::{EnvOption, IdOrName, Launch};
use super::heading::PROCESS;
use super::verbs::CONFIG;
use super::words::{parse_ulimit, whole};
use super::{OptionRow, Says, ValueResult};
use crate::config::{Config, ConfigError, Process};
use crate::error::{Error, Result};
use crate::policy::{Change, Facts};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "env",
        PROCESS,
        CONFIG,
        Says::Each("NAME[=VALUE]", env),
        "Set a variable, or with NAME alone pass the caller's; nothing else of the caller's environment goes in",
    )
    .short('e')
    .effect(environment)
    .values(&["A=1", "A=", "HOME"], &["", "=x"]),
    OptionRow::new(
        "env-file",
        PROCESS,
        CONFIG,
        Says::Each("FILE", |l, v| {
            not_empty(v, "the path of a file with a line NAME=VALUE or NAME for each variable")?;
            l.process.env.push(EnvOption::File(v.into()));
            Ok(())
        }),
        "Set variables from the lines of a file; lines that begin with # are comments",
    )
    .values(&["env.txt"], &[""]),
    OptionRow::new(
        "workdir",
        PROCESS,
        CONFIG,
        Says::One("DIR", |l, v| {
            if !v.starts_with('/') || v.contains('\0') {
                return Err("an absolute path inside the container".into());
            }
            l.process.workdir = Some(PathBuf::from(v));
            Ok(())
        }),
        "Working directory inside",
    )
    .short('w')
    .effect(|l, _, config, _| {
        if let Some(dir) = &l.process.workdir {
            process(config)?.cwd.clone_from(dir);
        }
        Ok(())
    })
    .values(&["/srv"], &["", "srv", "./x"]),
    OptionRow::new(
        "user",
        PROCESS,
        CONFIG,
        Says::One("USER[:GROUP]", |l, v| {
            l.process.user = Some(user(v)?);
            l.overrides.user = true;
            Ok(())
        }),
        "Run as this user and group: numbers, or names of the container's /etc/passwd and /etc/group",
    )
    .short('u')
    .more("GROUP is the user's group of /etc/passwd if left out, or the number of UID where the file has no such user. \
           A number is never looked up as a name. Supplementary groups are those of the container's /etc/group for a name, \
           and none for a number")
    .effect(accounts::user)
    .values(&["1000", "0:65534", "www-data", "www-data:adm"], &["", "1:", ":1", "4294967295", "4294967296", "-1", "65534:0x0", "a b", "+1"]),
    OptionRow::new(
        "group-add",
        PROCESS,
        CONFIG,
        Says::Each("GROUP", |l, v| {
            let _: () = l.process.groups.push(account(v)?);
            Ok(())
        }),
        "Add a supplementary group: a number, or a name of the container's /etc/group",
    )
    .effect(accounts::groups)
    .values(&["5", "audio"], &["", "-1", "4294967296"]),
    OptionRow::new(
        "entrypoint",
        PROCESS,
        CONFIG,
        Says::One("PROGRAM", |l, v| {
            let _: () = l.process.entrypoint = Some(v.into());
            Ok(())
        }),
        "Run PROGRAM with the arguments after --, in place of process.args",
    )
    .effect(arguments)
    .values(&["/bin/sh"], &[]),
    OptionRow::new(
        "hostname",
        PROCESS,
        CONFIG,
        Says::One("NAME", |l, v| {
            let _: () = l.process.hostname = Some(host_name(v)?);
            Ok(())
        }),
        "Host name inside",
    )
    .effect(|l, _, config, _| {
        config.hostname = l.process.hostname.clone().or(config.hostname.take());
        config.domainname = l.process.domainname.clone().or(config.domainname.take());
        Ok(())
    })
    .values(&["web"], &["", "a b", "-x", "0123456789012345678901234567890123456789012345678901234567890123456"]),
    OptionRow::new(
        "domainname",
        PROCESS,
        CONFIG,
        Says::One("NAME", |l, v| {
            let _: () = l.process.domainname = Some(host_name(v)?);
            Ok(())
        }),
        "NIS domain name inside",
    )
    .values(&["example.org"], &["", "a b"]),
    OptionRow::new(
        "tty",
        PROCESS,
        CONFIG,
        Says::Flag(|l| l.process.tty = true),
        "A terminal of its own; stdin must be one",
    )
    .short('t')
    .more("Without -t the program has a terminal where the caller's stdin and stdout are terminals")
    .effect(|l, facts, config, _| {
        if !l.process.tty {
            return Ok(());
        }
        if !facts.overrides.stdin_is_tty && !facts.overrides.terminal_as_written && !l.pure {
            return Err(Error::msg("--tty: the input device is not a TTY: leave -t out, or start it in a terminal"));
        }
        process(config)?.terminal = true;
        Ok(())
    }),
    OptionRow::new(
        "interactive",
        PROCESS,
        CONFIG,
        Says::Flag(|l| l.process.interactive = true),
        "Pass the caller's stdin on, also to a detached container; in the foreground this is the default",
    )
    .short('i'),
    OptionRow::new(
        "ulimit",
        PROCESS,
        CONFIG,
        Says::Each("NAME=SOFT[:HARD]", |l, v| {
            let _: () = l.process.ulimits.push(parse_ulimit(v)?);
            Ok(())
        }),
        "Limit of a process, e.g. nofile=1024:4096, cpu=10, fsize=1000000; -1 for none",
    )
    .effect(|l, _, config, _| {
        let limits = &mut process(config)?.rlimits;
        for limit in &l.process.ulimits {
            limits.retain(|r| r.resource != limit.resource);
            limits.push(*limit);
        }
        Ok(())
    })
    .values(&["nofile=1024", "nofile=1024:4096", "core=-1"], &["", "nofile", "what=1", "nofile=x", "nofile=2:1", "nofile=-2"]),
    OptionRow::new(
        "umask",
        PROCESS,
        CONFIG,
        Says::One("OCTAL", |l, v| {
            let octal = !v.is_empty() && v.bytes().all(|b| (b'0'..=b'7').contains(&b));
            let mask = if octal { u32::from_str_radix(v, 8).ok() } else { None };
            let mask = mask.filter(|m| *m <= 0o777).ok_or("an octal number from 0 to 777 is needed")?;
            l.process.umask = Some(mask);
            Ok(())
        }),
        "Permission bits that new files do not get [default: the config's, else 022]",
    )
    .effect(|l, _, config, _| {
        if let Some(mask) = l.process.umask {
            process(config)?.user.umask = Some(mask);
        }
        Ok(())
    })
    .values(&["077", "0"], &["", "8", "1000", "-1", "0x7"]),
    OptionRow::new(
        "oom-score-adj",
        PROCESS,
        CONFIG,
        Says::One("N", |l, v| {
            let _: () = l.process.oom_score_adj = Some(whole(v, -1000..=1000)?);
            Ok(())
        }),
        "How likely the kernel kills the container when the machine runs out of memory, -1000 to 1000",
    )
    .hyphen()
    .effect(|l, _, config, _| {
        if let Some(score) = l.process.oom_score_adj {
            process(config)?.oom_score_adj = Some(score);
        }
        Ok(())
    })
    .values(&["500", "-5"], &["", "1001", "x"]),
    OptionRow::new(
        "annotation",
        PROCESS,
        CONFIG,
        Says::Each("NAME=VALUE", |l, v| {
            let _: () = l.process.annotations.push(pair(v)?);
            Ok(())
        }),
        "Add an annotation to the container's state",
    )
    .effect(|l, _, config, _| {
        config.annotations.extend(l.process.annotations.iter().cloned());
        Ok(())
    })
    .values(&["a=b"], &["", "=b", "a"]),
    OptionRow::new(
        "label",
        PROCESS,
        CONFIG,
        Says::Each("NAME=VALUE", |l, v| {
            let _: () = l.process.annotations.push(pair(v)?);
            Ok(())
        }),
        "The same as --annotation",
    )
    .short('l')
    .values(&["a=b"], &["", "=b", "a"]),
];

/// The process of the config.
pub(super) fn process(config: &mut Config) -> Result<&mut Process> {
    config
        .process
        .as_mut()
        .ok_or_else(|| Error::Config(ConfigError::new("/process", "required to start a container")))
}

fn not_empty(value: &str, what: &str) -> ValueResult {
    if value.is_empty() { Err(format!("{what} is needed")) } else { Ok(()) }
}

/// `NAME=VALUE` with a name.
pub(super) fn pair(value: &str) -> std::result::Result<(String, String), String> {
    match value.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("NAME=VALUE is needed".into()),
    }
}

fn env(launch: &mut Launch, value: &str) -> ValueResult {
    let (name, given) = value.split_once('=').map_or((value, None), |(n, v)| (n, Some(v)));
    if name.is_empty() || value.contains('\0') {
        return Err("NAME=VALUE, or NAME for the caller's value".into());
    }
    launch.process.env.push(match given {
        Some(_) => EnvOption::Set(value.into()),
        None => EnvOption::Pass(name.into()),
    });
    Ok(())
}

/// A user and, after a colon, a group.
fn user(text: &str) -> std::result::Result<(IdOrName, Option<IdOrName>), String> {
    match text.split_once(':') {
        Some((user, group)) => Ok((account(user)?, Some(account(group)?))),
        None => Ok((account(text)?, None)),
    }
}

/// What begins as a number is one; a name is one of POSIX's portable names.
fn account(text: &str) -> std::result::Result<IdOrName, String> {
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') || text.is_empty() {
        return match super::words::parse_user(text)? {
            (id, None) => Ok(IdOrName::Id(id)),
            _ => Err(format!("{text:?} is not an id: a user and a group are UID:GID")),
        };
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-$".contains(c);
    if text.len() > 256 || !text.chars().all(plain) {
        return Err(format!("{text:?} is neither an id nor a name (letters, digits and _ . - $)"));
    }
    Ok(IdOrName::Name(text.into()))
}

/// What sethostname(2) takes, as far as programs understand it.
fn host_name(text: &str) -> std::result::Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > 64 || text.starts_with(['-', '.']) || !text.chars().all(plain) {
        return Err("1 to 64 letters, digits, dots and dashes are needed".into());
    }
    Ok(text.into())
}

/// `--env` and `--env-file`, in order; the last value of a name counts.
fn environment(launch: &Launch, _: &Facts<'_>, config: &mut Config, _: &mut Vec<Change>) -> Result<()> {
    let mut add = Vec::new();
    for option in &launch.process.env {
        match option {
            EnvOption::Set(entry) => add.push(entry.clone()),
            EnvOption::Pass(name) => add.extend(passed(name)),
            EnvOption::File(path) => add.extend(from_file(path)?),
        }
    }
    if !add.is_empty() {
        process(config)?.env.extend(add);
    }
    Ok(())
}

/// The caller's value of a variable, where it has one that is text.
pub(in crate::launch) fn passed(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| format!("{name}={value}"))
}

/// The largest file of variables; execve(2) takes far less.
const MAX_ENV_FILE: u64 = 1 << 20;

fn from_file(path: &std::path::Path) -> Result<Vec<String>> {
    let shown = path.display();
    let failed = |text: String| Error::msg(format!("--env-file {shown}: {text}"));
    let meta = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() || meta.len() > MAX_ENV_FILE {
        return Err(failed("a regular file of at most 1 MiB is needed".into()));
    }
    let text = crate::launch::links::open_file(path).and_then(std::io::read_to_string);
    let text = text.map_err(|e| failed(e.to_string()))?;
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, _)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                out.push(line.into())
            }
            None if !line.contains(char::is_whitespace) => out.extend(passed(line)),
            _ => return Err(failed(format!("line {}: NAME=VALUE or NAME is needed", i + 1))),
        }
    }
    Ok(out)
}

/// `--entrypoint` and what comes after `--`.
fn arguments(launch: &Launch, _: &Facts<'_>, config: &mut Config, _: &mut Vec<Change>) -> Result<()> {
    let program = launch.process.entrypoint.as_ref().filter(|p| !p.is_empty());
    if launch.args.is_empty() && program.is_none() {
        return Ok(());
    }
    process(config)?.args = program.into_iter().chain(&launch.args).cloned().collect();
    Ok(())
}
