//! `safebox update`: changes the limits of an existing container.

use crate::sys::start::ExitCode;

use crate::bundle::MAX_CONFIG;
use crate::cgroup::update;
use crate::cli::{GlobalArgs, UpdateArgs};
use crate::commands::common::VerbResult;
use crate::commands::report;
use crate::config::Resources;
use crate::error::{Error, Result, StateError};
use crate::host::Host;
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::log::Log;
use crate::policy::Posture;
use crate::state::State;
use crate::sys::read::at_most;
use crate::tables::limits::{Limit, row};

/// Applies the named limits and stores them in the state.
pub fn update(global: &GlobalArgs, args: &UpdateArgs, log: &Log) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    let change = match &args.resources {
        Some(path) => read_resources(path)?,
        None => flags(args)?,
    };
    let container = Container::load(&root, &args.id)?;
    let _lock = container.lock()?;
    // Load again under the lock: another update may have changed the state since the first load.
    let container = Container::load(&root, &args.id)?;
    if container.status() == ContainerStatus::Stopped {
        return Err(Error::from(StateError::Wrong("container not running".into())).into());
    }
    let mut state = container.state()?.clone();
    let schemata = schemata(args, &state)?;
    let merged = update::merge(&state.resources, change.clone());
    if let Some(enforcement) = crate::commands::common::enforcement(global)? {
        let lines = crate::launch::enforced::update(&enforcement, (&root, &state), &Host::probe()?, &merged)?;
        lines.iter().for_each(|line| log.warning(line));
    }
    let what = update::effective(&change, &merged);
    update::check(&state.cgroups, state.cgroup_v2, &what, &merged).map_err(named)?;
    if let Some(scope) = &state.scope {
        // systemd first: it rounds values, and the later write sets the exact ones.
        crate::cgroup::systemd::set_properties(scope, &what, state.cgroup_v2).map_err(named)?;
    }
    update::apply(&state.cgroups, state.cgroup_v2, &what).map_err(named)?;
    crate::cgroup::resctrl::change(&state.resctrl, &schemata)?;
    // `verify` compares with what is asked for now.
    if let Some(asked) = state.asked.as_ref().and_then(|a| serde_json::from_str::<Posture>(a.get()).ok()) {
        state.asked = serde_json::value::to_raw_value(&asked.with_resources(&merged)).ok();
    }
    state.resources = merged;
    container.save(&state)?;
    report::updated(&root, log, &args.id, &change);
    Ok(ExitCode::SUCCESS)
}

/// The values of the options about the container's resctrl class, if it has one.
fn schemata<'a>(args: &'a UpdateArgs, state: &State) -> Result<Vec<&'a str>> {
    let flags = [
        (&args.l3_cache_schema, "--l3-cache-schema: Intel RDT/CAT: l3 cache schema is not enabled"),
        (&args.mem_bw_schema, "--mem-bw-schema: Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ];
    let given = flags.iter().filter_map(|(schema, none)| Some((schema.as_deref()?, *none)));
    given
        .map(|(schema, none)| match state.resctrl.is_empty() {
            true => Err(Error::msg(none)),
            false => Ok(schema),
        })
        .collect()
}

/// Rewrites an error's pointer into the config as one into the resources.
fn named(e: Error) -> Error {
    match e {
        Error::Config(e) => {
            let field = e.pointer.strip_prefix("/linux/resources").unwrap_or(&e.pointer);
            Error::msg(format!("resources: {field}: {}", e.message))
        }
        e => e,
    }
}

/// Parses `--resources FILE`, or `-` for stdin: a `linux.resources` object. Zeros mean unchanged.
fn read_resources(path: &str) -> Result<Resources> {
    let read = match path {
        "-" => at_most(std::io::stdin().lock(), MAX_CONFIG),
        path => std::fs::File::open(path).and_then(|file| at_most(file, MAX_CONFIG)),
    };
    let raw = read.map_err(|e| Error::msg(format!("--resources {path}: {e}")))?;
    let mut change = crate::config::parse::resources_from_slice(&raw).map_err(|e| named(e.into()))?;
    // Go writes zero for an unset field; for a running container 0 is no useful limit.
    change.pids_limit = change.pids_limit.filter(|l| *l != 0);
    Ok(change)
}

/// Converts runc's options to the same object, so the same checks apply.
fn flags(args: &UpdateArgs) -> Result<Resources> {
    let mut raw = serde_json::json!({});
    let mut set = |limit: Limit, value: Option<serde_json::Value>| {
        let field = row(limit).pointer.strip_prefix("/linux/resources/").and_then(|f| f.split_once('/'));
        if let (Some((section, key)), Some(value)) = (field, value) {
            raw[section][key] = value;
        }
    };
    set(Limit::BlockWeight, args.blkio_weight.filter(|w| *w != 0).map(Into::into));
    set(Limit::Period, args.cpu_period.map(Into::into));
    set(Limit::Quota, args.cpu_quota.map(Into::into));
    set(Limit::Burst, args.cpu_burst.map(Into::into));
    set(Limit::Shares, args.cpu_share.map(Into::into));
    set(Limit::RealtimePeriod, args.cpu_rt_period.map(Into::into));
    set(Limit::RealtimeRuntime, args.cpu_rt_runtime.map(Into::into));
    set(Limit::Cpus, args.cpuset_cpus.clone().map(Into::into));
    set(Limit::Mems, args.cpuset_mems.clone().map(Into::into));
    set(Limit::Idle, args.cpu_idle.map(Into::into));
    set(Limit::Memory, args.memory.map(Into::into));
    set(Limit::Reservation, args.memory_reservation.map(Into::into));
    set(Limit::Swap, args.memory_swap.map(Into::into));
    set(Limit::Pids, args.pids_limit.map(Into::into));
    for (flag, value) in
        [("kernel-memory", &args.kernel_memory), ("kernel-memory-tcp", &args.kernel_memory_tcp)]
    {
        if value.is_some() {
            crate::log::say(&format!("--{flag} is ignored: the kernel no longer has this limit"));
        }
    }
    let bytes = serde_json::to_vec(&raw).map_err(|e| Error::msg(e.to_string()))?;
    crate::config::parse::resources_from_slice(&bytes).map_err(|e| named(e.into()))
}
