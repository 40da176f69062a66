//! cgroup v2: one tree, one cgroup per container, the child born inside it.

use std::path::Path;

use super::{Cgroup, Layout, Request, below, limits, missing_parents, unavailable};
use crate::config::{ConfigError, Resources};
use crate::error::{Error, Result};
use crate::tables::limits::{UNIFIED, controller, of_file};

/// The container's cgroup. A path of the config is taken from the root of the tree when it is
/// absolute; a relative one, and the default name, lies beside the caller's own cgroup,
/// since a cgroup with processes cannot hand controllers to children (cgroups(7), "no internal processes").
pub fn layout(mount: &Path, own: &str, controllers: &[String], request: Request<'_>) -> Result<Layout> {
    let default = request.default_name();
    let wanted = request.path.filter(|p| !p.is_empty()).unwrap_or(&default);
    let path = if wanted.starts_with('/') {
        below(mount, wanted)
    } else {
        let beside = Path::new(own).parent().map_or_else(|| "/".into(), |p| p.to_string_lossy().into_owned());
        below(mount, &beside).join(wanted)
    };
    let writes = writes(request.resources, controllers)?;
    let needed = needed(controllers);
    Ok(Layout {
        cgroups: vec![Cgroup {
            controllers: Vec::new(),
            enable: enable(mount, &path, &needed),
            missing: missing_parents(mount, &path),
            exists: path.exists(),
            path,
            writes,
            v2: true,
        }],
        ..Layout::default()
    })
}

/// The controllers that every container gets, as runc gives them: usage is counted even without a limit.
fn needed(available: &[String]) -> Vec<String> {
    ALL.iter().filter(|c| available.iter().any(|a| a == *c)).map(|c| (*c).to_string()).collect()
}

/// The subtree_control writes that are still needed. The parent is read first: if it hands down
/// everything, so do all above it.
pub(super) fn enable(mount: &Path, path: &Path, needed: &[String]) -> Vec<(std::path::PathBuf, String)> {
    let mut writes = Vec::new();
    for ancestor in path.ancestors().skip(1).take_while(|p| p.starts_with(mount)) {
        let file = ancestor.join("cgroup.subtree_control");
        let have = crate::sys::read::value(&file).unwrap_or_default();
        let lacking: Vec<_> = needed
            .iter()
            .filter(|c| have.split_whitespace().all(|h| h != *c))
            .map(|c| format!("+{c}"))
            .collect();
        if lacking.is_empty() {
            break;
        }
        writes.push((file, lacking.join(" ")));
    }
    writes.reverse();
    writes
}

/// Every controller that a limit can need.
const ALL: [&str; 8] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc"];

/// The first limit that is asked for, as a JSON pointer. Device rules are none: they are also kept by the
/// user namespace.
pub fn first_limit(resources: &Resources) -> Option<&'static str> {
    let v1_only = limits::v1_only(resources).map(|(row, _)| row.pointer);
    let write = || limits::writes(resources, true).into_iter().find(|w| !w.value.starts_with("max"));
    let unified = || resources.unified.iter().any(|(_, value)| !value.starts_with("max")).then_some(UNIFIED);
    v1_only.or_else(|| write().map(|w| w.row.pointer)).or_else(unified)
}

/// The files and values for `resources`, in the order in which they must be written.
pub fn writes(resources: &Resources, controllers: &[String]) -> Result<Vec<(String, String)>> {
    if let Some((row, instead)) = limits::v1_only(resources) {
        let text = format!("cgroup v2 does not have this; {instead}");
        return Err(Error::Config(ConfigError::new(row.pointer, text)));
    }
    let mut out: Vec<_> = limits::writes(resources, true).into_iter().map(|w| (w.file, w.value)).collect();
    // The kernel takes one line a write: io.max of several devices comes as several.
    let lines = |(file, value): &(String, String)| {
        let line = |line: &str| (file.clone(), line.to_string());
        value.trim_end_matches('\n').split('\n').map(line).collect::<Vec<_>>()
    };
    out.extend(resources.unified.iter().flat_map(lines));
    for (file, _) in &out {
        let controller = controller(file);
        if !matches!(controller, "cgroup") && !super::has(controllers, controller) {
            let bound = format!("cgroup v2 has {} at {}", controllers.join(" "), super::MOUNT_POINT);
            return Err(unavailable(pointer_of(file), controller, &bound));
        }
    }
    Ok(out)
}

/// The config's field behind a v2 file.
pub(super) fn pointer_of(file: &str) -> &'static str {
    of_file(file).map_or(UNIFIED, |row| row.pointer)
}

/// The files that `resources` are written to.
pub(super) fn files(resources: &Resources) -> Vec<String> {
    let all = ALL.map(String::from);
    writes(resources, &all).unwrap_or_default().into_iter().map(|(file, _)| file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cpu, Memory};

    fn all() -> Vec<String> {
        ["cpu", "cpuset", "io", "memory", "pids"].map(String::from).to_vec()
    }

    #[test]
    fn limits_become_v2_files() {
        let resources = Resources {
            memory: Memory { limit: Some(100), swap: Some(150), reservation: Some(10), ..Memory::default() },
            cpu: Cpu { shares: Some(1024), quota: Some(50_000), period: Some(100_000), ..Cpu::default() },
            pids_limit: Some(7),
            unified: vec![("io.max".into(), "7:0 riops=3\n7:1 riops=5\n".into())],
            ..Resources::default()
        };
        let expect = [
            ("memory.max", "100"),
            ("memory.swap.max", "50"),
            ("memory.low", "10"),
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "7"),
            ("io.max", "7:0 riops=3"),
            ("io.max", "7:1 riops=5"),
        ];
        assert_eq!(writes(&resources, &all()).unwrap(), expect.map(|(f, v)| (f.to_string(), v.to_string())));
    }

    #[test]
    fn a_limit_without_its_controller_is_an_error_that_names_it() {
        let resources = Resources { pids_limit: Some(7), ..Resources::default() };
        let err = writes(&resources, &["memory".to_string()]).unwrap_err().to_string();
        assert!(err.contains("/linux/resources/pids/limit") && err.contains("pids controller"), "{err}");
    }

    #[test]
    fn what_only_v1_has_is_refused_by_name() {
        let refused = |change: fn(&mut Resources)| {
            let mut resources = Resources::default();
            change(&mut resources);
            writes(&resources, &all()).unwrap_err().to_string()
        };
        assert!(refused(|r| r.memory.swappiness = Some(10)).contains("/linux/resources/memory/swappiness: "));
        assert!(refused(|r| r.memory.disable_oom_killer = true).contains("/memory/disableOOMKiller: "));
        assert!(refused(|r| r.cpu.realtime_runtime = Some(10)).contains("/cpu/realtimeRuntime: "));
        let class = serde_json::json!({ "classID": 5 });
        let class = || serde_json::from_value(class.clone()).ok();
        let resources = Resources { network: class(), ..Resources::default() };
        let error = writes(&resources, &all()).unwrap_err().to_string();
        assert!(error.contains("/linux/resources/network/classID: "), "{error}");
    }
}
