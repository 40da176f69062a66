//! Parser of `process`.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxSchedulerFlag, LinuxSchedulerPolicy, Scheduler};

use super::at::At;
use super::lists::{absolute, bits, some_text};
use super::raw::{
    RawCapabilities, RawConsoleSize, RawCpuAffinity, RawIoPriority, RawProcess, RawRlimit, RawScheduler,
    RawUser,
};
use super::{Capabilities, ConfigError, Process, Rlimit, User};
use crate::tables::{capabilities, capabilities::CapSet, rlimits};

/// Parses `process` and resolves its defaults.
pub(super) fn process(raw: RawProcess, at: &At) -> Result<Process, ConfigError> {
    let (capabilities, unknown_capabilities) = capability_sets(raw.capabilities);
    Ok(Process {
        terminal: raw.terminal.unwrap_or(false),
        console_size: console_size(raw.console_size, raw.terminal == Some(true), &at.key("consoleSize"))?,
        user: user(raw.user.unwrap_or_default(), &at.key("user"))?,
        args: args(raw.args, &at.key("args"))?,
        env: env(raw.env, &at.key("env"))?,
        cwd: cwd(raw.cwd, &at.key("cwd"))?,
        capabilities,
        unknown_capabilities,
        rlimits: rlimit_list(&raw.rlimits.unwrap_or_default(), &at.key("rlimits"))?,
        no_new_privileges: raw.no_new_privileges.unwrap_or(false),
        apparmor_profile: some_text(raw.apparmor_profile),
        selinux_label: some_text(raw.selinux_label),
        oom_score_adj: oom_score_adj(raw.oom_score_adj, &at.key("oomScoreAdj"))?,
        scheduler: scheduler(raw.scheduler, &at.key("scheduler"))?,
        io_priority: io_priority(raw.io_priority, &at.key("ioPriority"))?,
        exec_cpu_affinity: affinity(raw.exec_cpu_affinity, &at.key("execCPUAffinity"))?,
    })
}

/// Parses `consoleSize`: (rows, columns). Callers that know no size send 0x0. Without a terminal config.md
/// requires that it is ignored; it is kept only for `exec --tty`.
fn console_size(
    raw: Option<RawConsoleSize>,
    terminal: bool,
    at: &At,
) -> Result<Option<(u16, u16)>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let size = [("height", raw.height), ("width", raw.width)].map(|(name, value)| {
        u16::try_from(value.unwrap_or(0))
            .map_err(|_| at.key(name).error("expected a whole number from 0 to 65535"))
    });
    match size {
        [Ok(rows), Ok(columns)] => Ok(Some((rows, columns)).filter(|s| *s != (0, 0))),
        [Err(e), _] | [_, Err(e)] if terminal => Err(e),
        _ => Ok(None),
    }
}

/// Parses `user`; a missing id is 0, as in Go. 4294967295 is `(uid_t)-1`, "no change" for setresuid(2).
fn user(raw: RawUser, at: &At) -> Result<User, ConfigError> {
    let id = |value: Option<u32>, at: At| match value {
        Some(u32::MAX) => Err(at.error("4294967295 means no id to the kernel; use 0 to 4294967294")),
        value => Ok(value.unwrap_or(0)),
    };
    let additional_gids = raw.additional_gids.unwrap_or_default();
    let gids = at.key("additionalGids");
    if additional_gids.len() > 65536 {
        return Err(gids.error("more than 65536 groups; the kernel takes no more (NGROUPS_MAX)"));
    }
    for (i, gid) in additional_gids.iter().enumerate() {
        id(Some(*gid), gids.index(i))?;
    }
    if raw.umask.is_some_and(|m| m > 0o777) {
        return Err(at.key("umask").error("umask above 511 (octal 0777)"));
    }
    Ok(User {
        uid: id(raw.uid, at.key("uid"))?,
        gid: id(raw.gid, at.key("gid"))?,
        umask: raw.umask,
        additional_gids,
    })
}

/// Parses `args`: at least the program. The program's existence is checked later, because callers map that
/// error to exit code 127.
fn args(raw: Option<Vec<String>>, at: &At) -> Result<Vec<String>, ConfigError> {
    match raw.unwrap_or_default() {
        args if args.is_empty() => {
            Err(at.error("args must not be empty; the first element is the program to execute"))
        }
        args => Ok(args),
    }
}

/// Parses `env`. An entry without a name is refused; runc refuses it when it starts the process.
fn env(raw: Option<Vec<String>>, at: &At) -> Result<Vec<String>, ConfigError> {
    let env = raw.unwrap_or_default();
    for (i, entry) in env.iter().enumerate() {
        variable(entry).map_err(|text| at.index(i).error(text))?;
    }
    Ok(env)
}

/// Checks that `entry` is `NAME=value`; the error says what is wrong.
pub fn variable(entry: &str) -> Result<(), String> {
    match entry.find('=') {
        None => Err(format!("environment variable {entry:?} has no =; write NAME=value")),
        Some(0) => Err("environment variable has an empty name; write NAME=value".into()),
        Some(_) => Ok(()),
    }
}

/// Parses `cwd`.
fn cwd(raw: Option<String>, at: &At) -> Result<PathBuf, ConfigError> {
    match some_text(raw) {
        None => Err(at.error("cwd must not be empty; give an absolute path inside the container")),
        Some(cwd) => absolute(cwd, at),
    }
}

/// Parses the five sets, and returns the unknown names: config.md requires a warning for those, not an error.
fn capability_sets(raw: Option<RawCapabilities>) -> (Capabilities, Vec<String>) {
    let (raw, mut unknown) = (raw.unwrap_or_default(), Vec::new());
    let mut set = |names: Option<Vec<String>>| {
        let mut set = CapSet::EMPTY;
        for name in names.unwrap_or_default() {
            match capabilities::parse(&name) {
                Some(bit) => set = set.with(bit),
                None if unknown.contains(&name) => {}
                None => unknown.push(name),
            }
        }
        set
    };
    let sets = Capabilities {
        bounding: set(raw.bounding),
        effective: set(raw.effective),
        inheritable: set(raw.inheritable),
        permitted: set(raw.permitted),
        ambient: set(raw.ambient),
    };
    (sets, unknown)
}

/// Parses `rlimits`: each resource at most once, soft not above hard.
fn rlimit_list(raw: &[RawRlimit], at: &At) -> Result<Vec<Rlimit>, ConfigError> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(raw.len());
    for (i, r) in raw.iter().enumerate() {
        let (at, name) = (at.index(i), r.r#type.as_deref().unwrap_or_default());
        let Some(row) = rlimits::by_name(name) else {
            let message = format!(
                "unknown resource limit {name:?}; the names are those of getrlimit(2), e.g. RLIMIT_NOFILE"
            );
            return Err(at.key("type").error(message));
        };
        if limits.iter().any(|l| l.resource == row.number) {
            return Err(at.key("type").error(format!("resource limit {name} is listed twice")));
        }
        let (soft, hard) = (r.soft.unwrap_or(0), r.hard.unwrap_or(0));
        if soft > hard {
            return Err(at.key("soft").error(format!("soft limit {soft} is above the hard limit {hard}")));
        }
        limits.push(Rlimit { resource: row.number, soft, hard });
    }
    Ok(limits)
}

/// Parses `oomScoreAdj`, proc_pid_oom_score_adj(5).
fn oom_score_adj(raw: Option<i64>, at: &At) -> Result<Option<i32>, ConfigError> {
    match raw {
        Some(n) if !(-1000..=1000).contains(&n) => {
            Err(at.error(format!("oom score adjustment {n} is outside -1000 to 1000")))
        }
        raw => Ok(raw.and_then(|n| i32::try_from(n).ok())),
    }
}

/// Flags of sched_setattr(2) by their names in config.md.
const SCHEDULER_FLAGS: [(&str, LinuxSchedulerFlag); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", LinuxSchedulerFlag::SchedResetOnFork),
    ("SCHED_FLAG_RECLAIM", LinuxSchedulerFlag::SchedFlagReclaim),
    ("SCHED_FLAG_DL_OVERRUN", LinuxSchedulerFlag::SchedFlagDLOverrun),
    ("SCHED_FLAG_KEEP_POLICY", LinuxSchedulerFlag::SchedFlagKeepPolicy),
    ("SCHED_FLAG_KEEP_PARAMS", LinuxSchedulerFlag::SchedFlagKeepParams),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", LinuxSchedulerFlag::SchedFlagUtilClampMin),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", LinuxSchedulerFlag::SchedFlagUtilClampMax),
];

/// Parses `scheduler`: only combinations that sched_setattr(2) accepts.
fn scheduler(raw: Option<RawScheduler>, at: &At) -> Result<Option<Scheduler>, ConfigError> {
    use LinuxSchedulerPolicy::{SchedDeadline, SchedFifo, SchedRr};
    let Some(raw) = raw else { return Ok(None) };
    let Some(policy) = raw.policy else {
        return Err(at.key("policy").error("scheduler policy is required, for example SCHED_BATCH"));
    };
    let realtime = matches!(policy, SchedFifo | SchedRr);
    if raw.nice.is_some_and(|n| !(-20..=19).contains(&n)) {
        return Err(at.key("nice").error("nice value is outside -20 to 19"));
    }
    match raw.priority.unwrap_or(0) {
        1..=99 if realtime => {}
        0 if !realtime => {}
        _ if realtime => return Err(at.key("priority").error("realtime priority is outside 1 to 99")),
        _ => return Err(at.key("priority").error("priority needs policy SCHED_FIFO or SCHED_RR")),
    }
    let times = [raw.runtime, raw.deadline, raw.period];
    if policy != SchedDeadline && times.iter().flatten().any(|t| *t != 0) {
        return Err(at.error("runtime, deadline and period need policy SCHED_DEADLINE"));
    }
    let flags = raw.flags.map(|f| scheduler_flags(&f, &at.key("flags"))).transpose()?;
    let mut scheduler = Scheduler::default();
    scheduler.set_policy(policy).set_nice(raw.nice).set_priority(raw.priority).set_flags(flags);
    scheduler.set_runtime(raw.runtime).set_deadline(raw.deadline).set_period(raw.period);
    Ok(Some(scheduler))
}

/// Parses `scheduler.flags`.
fn scheduler_flags(raw: &[String], at: &At) -> Result<Vec<LinuxSchedulerFlag>, ConfigError> {
    let flag = |(i, name): (usize, &String)| match SCHEDULER_FLAGS.iter().find(|f| f.0 == name) {
        Some((_, flag)) => Ok(*flag),
        None => {
            let names: Vec<&str> = SCHEDULER_FLAGS.iter().map(|f| f.0).collect();
            Err(at.index(i).error(format!("unknown scheduler flag {name:?}; use {}", names.join(", "))))
        }
    };
    raw.iter().enumerate().map(flag).collect()
}

/// Classes of ioprio_set(2).
const IO_CLASSES: [(&str, i32); 3] =
    [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Parses `ioPriority` into `class << 13 | priority`.
fn io_priority(raw: Option<RawIoPriority>, at: &At) -> Result<Option<i32>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let name = raw.class.as_deref().unwrap_or_default();
    let Some((_, class)) = IO_CLASSES.iter().find(|c| c.0 == name) else {
        let message =
            format!("unknown class {name:?}; use IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE");
        return Err(at.key("class").error(message));
    };
    match i32::try_from(raw.priority.unwrap_or(0)) {
        Ok(priority @ 0..=7) => Ok(Some(class << 13 | priority)),
        _ => Err(at.key("priority").error("io priority is outside 0 to 7")),
    }
}

/// Parses `execCPUAffinity`: two cpu lists, as bit masks.
fn affinity(raw: Option<RawCpuAffinity>, at: &At) -> Result<(Vec<u64>, Vec<u64>), ConfigError> {
    let raw = raw.unwrap_or_default();
    Ok((bits(raw.initial, &at.key("initial"))?, bits(raw.r#final, &at.key("final"))?))
}
