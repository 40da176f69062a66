//! The cgroups that a process of `exec` joins. `exec --cgroup` names cgroups below the container's.

use std::path::{Component, Path, PathBuf};

use crate::cgroup::has;
use crate::error::{Error, Result};
use crate::plan::recipe::ExecCgroups;
use crate::state::State;

/// Chooses the cgroups of a container's new process.
///
/// Each of `asked` is `PATH`, below every cgroup of the container, or, on v1,
/// `CONTROLLER[,CONTROLLER]...:PATH` for the hierarchies of these controllers. The cgroups must exist. `pid`
/// is the container's init.
pub fn choose(state: &State, pid: i32, asked: &[String]) -> Result<ExecCgroups> {
    distinct(asked)?;
    let mut cgroups: Vec<_> = state.cgroups.iter().map(|(_, path)| path.clone()).collect();
    for text in asked {
        let (controllers, path) = text.split_once(':').map_or((None, text.as_str()), |(c, p)| (Some(c), p));
        let bad = |why: &str| Error::msg(format!("--cgroup {text}: {why}"));
        if state.cgroup_v2 && controllers.is_some() {
            return Err(bad("cgroup v2 has one hierarchy: use only a path"));
        }
        for name in controllers.into_iter().flat_map(|c| c.split(',')) {
            if !state.cgroups.iter().any(|(all, _)| has(all, name)) {
                return Err(bad(&format!(
                    "unknown controller {name}: the container is in no cgroup of such a controller"
                )));
            }
        }
        let named = |all: &[String]| controllers.is_none_or(|c| c.split(',').any(|name| has(all, name)));
        for ((all, base), cgroup) in state.cgroups.iter().zip(&mut cgroups) {
            if named(all) {
                *cgroup = below(base, path).ok_or_else(|| {
                    Error::msg(format!("bad sub cgroup path: {path} is not a sub cgroup path (--cgroup {text}: it leads out of the container's cgroup)"))
                })?;
                if !cgroup.is_dir() {
                    return Err(bad(&format!(
                        "error adding pid to cgroups: open {}/cgroup.procs: no such file or directory",
                        cgroup.display()
                    )));
                }
            }
        }
    }
    // For a cgroup named by `--cgroup` the caller itself must be able to move the process.
    let scope = state.scope.clone().filter(|s| s.user && asked.is_empty());
    let ours = |cgroup: &Path| state.preexisting.iter().all(|path| path != cgroup);
    if !state.cgroup_v2 {
        // The v2 tree of a hybrid host has no controllers.
        let trees = state.cgroups.iter().map(|(controllers, _)| !controllers.is_empty()).zip(cgroups);
        let (v1, v2): (Vec<_>, Vec<_>) = trees.partition(|(v1, _)| *v1);
        let paths = |of: Vec<(bool, PathBuf)>| of.into_iter().map(|(_, path)| path).collect::<Vec<_>>();
        let (entered, mut moved_to) = (paths(v1), paths(v2));
        let born_in = moved_to.pop_if(|cgroup| asked.is_empty() && scope.is_none() && ours(cgroup));
        return Ok(ExecCgroups { born_in, entered, moved_to, scope });
    }
    let cgroup = cgroups.into_iter().next().filter(|_| scope.is_none());
    if let Some(cgroup) = cgroup.as_deref().filter(|cgroup| asked.is_empty() && hands_down(cgroup)) {
        // The container delegates controllers in its own cgroups (systemd, Docker), so this cgroup cannot
        // have processes.
        return Ok(ExecCgroups { moved_to: vec![group_of(pid, cgroup)?], scope, ..ExecCgroups::default() });
    }
    // See `Builder::cgroup_slot`: no process is created in a pre-existing cgroup.
    Ok(match cgroup {
        Some(cgroup) if asked.is_empty() && ours(&cgroup) => {
            ExecCgroups { born_in: Some(cgroup), scope, ..ExecCgroups::default() }
        }
        cgroup => ExecCgroups { moved_to: cgroup.into_iter().collect(), scope, ..ExecCgroups::default() },
    })
}

/// No controller twice, and no path without controllers next to others; the texts are runc's.
fn distinct(asked: &[String]) -> Result<()> {
    let mut seen = Vec::new();
    for text in asked {
        let Some((controllers, _)) = text.split_once(':') else {
            if asked.len() > 1 {
                return Err(Error::msg(format!(
                    "invalid --cgroup argument: {text} (missing <controller>: prefix)"
                )));
            }
            continue;
        };
        for name in controllers.split(',') {
            if name.is_empty() {
                return Err(Error::msg(format!(
                    "invalid --cgroup argument: {text} (empty <controller> prefix)"
                )));
            }
            if seen.contains(&name) {
                return Err(Error::msg(format!(
                    "invalid --cgroup argument(s): controller {name} specified multiple times"
                )));
            }
            seen.push(name);
        }
    }
    Ok(())
}

/// Whether a v2 cgroup delegates controllers, and so cannot have processes (cgroups(7), "no internal
/// processes").
fn hands_down(cgroup: &Path) -> bool {
    let file = cgroup.join("cgroup.subtree_control");
    std::fs::read_to_string(file).is_ok_and(|controllers| !controllers.trim().is_empty())
}

/// The v2 cgroup of the container's init. It must be below the container's cgroup, whose limits then apply.
fn group_of(pid: i32, container: &Path) -> Result<PathBuf> {
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).map_err(|e| Error::msg(format!("{file}: {e}")))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let cgroup = Path::new(crate::cgroup::MOUNT_POINT).join(path);
    let inside = cgroup.starts_with(container) && !path.split('/').any(|part| part == "..");
    if inside {
        Ok(cgroup)
    } else {
        Err(Error::msg(format!("{}: not below the container's cgroup", cgroup.display())))
    }
}

/// `path` below `base`. `..` cannot leave `base`.
fn below(base: &Path, path: &str) -> Option<PathBuf> {
    let parts = Path::new(path).components().filter(|c| !matches!(c, Component::RootDir | Component::CurDir));
    let mut cgroup = base.to_path_buf();
    for part in parts {
        match part {
            Component::Normal(name) => cgroup.push(name),
            _ => return None,
        }
    }
    Some(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_has_one_group() {
        let error = |asked: &[&str]| {
            let asked: Vec<_> = asked.iter().map(|text| text.to_string()).collect();
            distinct(&asked).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(error(&["a"]), "");
        assert_eq!(error(&["cpu,memory:a", "pids:a:b"]), "");
        assert!(error(&["cpu:a", "memory,cpu:b"]).contains("controller cpu specified multiple times"));
        assert!(error(&["a", "b"]).contains("a (missing <controller>: prefix)"));
        assert!(error(&["cpu,:a"]).contains("empty <controller> prefix"));
    }

    #[test]
    fn a_subgroup_stays_below() {
        let base = Path::new("/sys/fs/cgroup/c1");
        assert_eq!(below(base, "/a//b/."), Some(base.join("a/b")));
        assert_eq!(below(base, ""), Some(base.to_path_buf()));
        assert_eq!(below(base, "../c2"), None);
        assert_eq!(below(base, "a/../../c2"), None);
    }
}
