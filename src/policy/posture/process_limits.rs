//! The limits of a process: its cgroups, and getrlimit(2).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::process_files::Files;
use super::{Aspect, Known, OpenDevice, Place, Posture};
use crate::cgroup::Hierarchy;
use crate::config::Rlimit;
use crate::sys::read;
use crate::tables::limits::{Limit, row};

/// Page-aligned `LONG_MAX`: what cgroup v1 shows for no limit.
const NO_LIMIT_V1: u64 = 0x7fff_ffff_ffff_f000;

/// Where a controller is: (mount point, the process's directory), or why not.
pub(super) fn directory(cgroups: &Hierarchy, controller: &str) -> Known<(PathBuf, PathBuf)> {
    let below = |mount: &Path, own: &str| (mount.to_path_buf(), mount.join(own.trim_start_matches('/')));
    match cgroups {
        Hierarchy::V2 { mount, own, .. } => Ok(below(mount, own)),
        Hierarchy::V1 { trees, .. } => {
            let tree = trees.iter().find(|t| crate::cgroup::has(&t.controllers, controller));
            tree.map(|t| below(&t.mount, &t.own))
                .ok_or_else(|| format!("the cgroup controller {controller} is not mounted here"))
        }
        Hierarchy::None => Err("no cgroup file system is mounted here".into()),
    }
}

/// The strictest value of `file` in the process's directory and all above it, and the file that holds it. `parse` turns
/// the directory's files into a limit; `Ok(None)` is no limit.
fn strictest<T: PartialOrd + Copy>(
    cgroups: &Hierarchy,
    controller: &str,
    file: &str,
    parse: impl Fn(&Path) -> Known<Option<T>>,
) -> (Known<Option<T>>, Option<PathBuf>) {
    let (top, own) = match directory(cgroups, controller) {
        Ok(found) => found,
        Err(why) => return (Err(why), None),
    };
    let (mut best, mut place) = (None, Some(own.join(file)).filter(|path| path.exists()));
    for dir in own.ancestors().take_while(|dir| dir.starts_with(&top)) {
        match parse(dir) {
            Ok(Some(limit)) if best.is_none_or(|b| limit < b) => {
                (best, place) = (Some(limit), Some(dir.join(file)));
            }
            Ok(_) => {}
            Err(why) => return (Err(why), place),
        }
    }
    (Ok(best), place)
}

/// One number; `max` and -1 are no limit, and a file that is missing (the root group) has none.
fn number(dir: &Path, file: &str) -> Known<Option<u64>> {
    let path = dir.join(file);
    match read::value(&path) {
        Ok(text) => Ok(text.trim().parse().ok().filter(|n| *n < NO_LIMIT_V1)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// Cpus in one directory.
fn cpus(dir: &Path, v2: bool) -> Known<Option<f64>> {
    let text = |file| match read::value(dir.join(file)) {
        Ok(text) => Ok(text.trim().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(format!("{}: {e}", dir.join(file).display())),
    };
    let [quota, period] = [Limit::Quota, Limit::Period].map(|limit| row(limit).file(v2).unwrap_or_default());
    let (quota, period) = if v2 {
        let both = text(quota)?;
        let (quota, period) = both.split_once(' ').unwrap_or((&both, "100000"));
        (quota.to_string(), period.to_string())
    } else {
        (text(quota)?, text(period)?)
    };
    let parsed = quota.parse::<f64>().ok().filter(|q| *q > 0.0).zip(period.parse::<f64>().ok());
    Ok(parsed.map(|(quota, period)| quota / period))
}

/// Fills in what the process's cgroups say.
pub(super) fn fill(posture: &mut Posture, files: &Files) {
    let cgroups = match Hierarchy::of(&files.pid.to_string()) {
        Ok(cgroups) => cgroups,
        Err(e) => {
            let why = e.to_string();
            (posture.memory, posture.pids) = (Err(why.clone()), Err(why.clone()));
            (posture.cpus, posture.cpu_weight) = (Err(why.clone()), Err(why.clone()));
            (posture.device_rules, posture.own_cgroup) = (Err(why.clone()), Err(why));
            return;
        }
    };
    let v2 = cgroups.is_v2();
    let mut places: BTreeMap<Aspect, Option<PathBuf>> = BTreeMap::new();
    // Every limit that is read here has a file on both versions.
    let file_of = |limit| row(limit).file(v2).unwrap_or_default();
    let file = file_of(Limit::Memory);
    let (memory, place) = strictest(&cgroups, "memory", file, |dir| number(dir, file));
    posture.memory = memory;
    places.insert(Aspect::Memory, place);
    let file = file_of(Limit::Pids);
    let (pids, place) = strictest(&cgroups, "pids", file, |dir| number(dir, file));
    posture.pids = pids;
    places.insert(Aspect::Pids, place);
    let file = file_of(Limit::Quota);
    let (cpu, place) = strictest(&cgroups, "cpu", file, |dir| cpus(dir, v2));
    posture.cpus = cpu;
    places.insert(Aspect::Cpu, place);
    posture.cpu_weight = directory(&cgroups, "cpu").and_then(|(_, dir)| {
        let usual = if v2 { 100 } else { 1024 };
        Ok(number(&dir, file_of(Limit::Shares))?.is_some_and(|n| n != usual))
    });
    posture.own_cgroup = own_cgroup(&cgroups);
    posture.device_rules = device_rules(&cgroups);
    places.insert(
        Aspect::DeviceRules,
        directory(&cgroups, "devices").ok().map(|(_, dir)| dir.join("devices.list")),
    );
    for (aspect, place) in places {
        let place = place.unwrap_or_else(|| files.shown("cgroup"));
        posture.places.insert(aspect, Place::File(place));
    }
    posture.places.insert(Aspect::Cgroup, Place::File(files.shown("cgroup")));
}

/// Whether any of its directories is not the top of its tree.
fn own_cgroup(cgroups: &Hierarchy) -> Known<bool> {
    let below = |own: &str| !own.trim_matches('/').is_empty();
    match cgroups {
        Hierarchy::V2 { own, .. } => Ok(below(own)),
        Hierarchy::V1 { trees, unified } => Ok(trees.iter().chain(unified).any(|tree| below(&tree.own))),
        Hierarchy::None => Err("no cgroup file system is mounted here".into()),
    }
}

fn device_rules(cgroups: &Hierarchy) -> Known<Vec<OpenDevice>> {
    let (top, dir) = directory(cgroups, "devices")?;
    if cgroups.is_v2() {
        return programs(&top, &dir);
    }
    let path = dir.join("devices.list");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let open = |(i, line): (usize, &str)| {
        let mut words = line.split([' ', ':']);
        let (kind, major, minor) = (words.next()?.chars().next()?, words.next()?, words.next()?);
        let access = words.next().unwrap_or_default();
        let number = |text: &str| text.parse::<u32>().ok();
        let used = access.contains(['r', 'w']);
        let default = super::of_config::is_default(kind, number(major), number(minor));
        (used && !default).then(|| OpenDevice {
            rule: line.to_string(),
            all: major == "*" && minor == "*",
            at: Place::Line(path.clone(), u32::try_from(i + 1).unwrap_or(0)),
        })
    };
    Ok(text.lines().enumerate().filter_map(open).collect())
}

/// cgroup v2: programs decide, and what they decide cannot be read back; where there is none, everything is open.
fn programs(top: &Path, dir: &Path) -> Known<Vec<OpenDevice>> {
    use std::os::fd::AsFd;
    for dir in dir.ancestors().take_while(|d| d.starts_with(top)) {
        let failed = |e: &dyn std::fmt::Display| format!("device programs of {}: {e}", dir.display());
        let open = std::fs::File::open(dir).map_err(|e| failed(&e))?;
        let found = crate::sys::bpf::attached_device_programs(open.as_fd()).map_err(|e| failed(&e))?;
        if !found.is_empty() {
            return Err(format!("a BPF program of {} decides; its rules cannot be read back", dir.display()));
        }
    }
    let all = OpenDevice { rule: "no device program".into(), all: true, at: Place::File(dir.to_path_buf()) };
    Ok(vec![all])
}

/// Lines of /proc/PID/limits: line N + 2 is resource N (`lnames` of the kernel's fs/proc/base.c).
pub(super) fn rlimits(files: &Files) -> Known<Vec<Rlimit>> {
    let text = files.text("limits")?;
    // The names have blanks in them, and are 26 characters wide; so are the numbers, with 21.
    let row = |(i, line): (usize, &str)| {
        let mut words = line.get(26..)?.split_whitespace();
        let mut limit = || match words.next() {
            Some("unlimited") => Some(libc::RLIM_INFINITY),
            word => word?.parse().ok(),
        };
        Some(Rlimit { resource: u32::try_from(i).ok()?, soft: limit()?, hard: limit()? })
    };
    Ok(text.lines().skip(1).enumerate().filter_map(row).collect())
}
