//! cgroup v1 and hybrid hosts: a tree per controller (cgroups(7), "Cgroups version 1").

use std::path::{Path, PathBuf};

use crate::cgroup::{
    Cgroup, Hierarchy, Layout, Request, V1, below, limits, missing_parents, own_cgroup, unavailable,
};
use crate::config::Resources;
use crate::error::Result;
use crate::tables::limits::{UNIFIED, controller};

/// The v1 trees and the hybrid v2 tree that mountinfo lists.
pub fn layout(mountinfo: &str, cgroups: &str) -> Hierarchy {
    let (mut trees, mut unified) = (Vec::<V1>::new(), None);
    for line in mountinfo.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let mut head = head.split(' ').skip(3);
        let (Some(root), Some(mount)) = (head.next(), head.next()) else { continue };
        let mut tail = tail.split(' ');
        match tail.next() {
            Some("cgroup2") if unified.is_none() => {
                let own = own_below(cgroups, "", root);
                unified = Some(V1 { controllers: Vec::new(), mount: PathBuf::from(mount), own });
            }
            Some("cgroup") => {
                let names = controllers_of(tail.nth(1).unwrap_or_default());
                if names.is_empty() {
                    continue;
                }
                // A later mount of the same whole tree may hide an earlier one; one of a part counts only alone. A bind
                // mount elsewhere (the /sys of a chroot) hides nothing and can be unmounted at any time.
                if let Some(at) = trees.iter().position(|t| t.controllers == names) {
                    let usual = |mount: &Path| mount.starts_with(crate::cgroup::MOUNT_POINT);
                    if root != "/" || (usual(&trees[at].mount) && !usual(Path::new(mount))) {
                        continue;
                    }
                    trees.remove(at);
                }
                let own = own_below(cgroups, &names.join(","), root);
                trees.push(V1 { controllers: names, mount: PathBuf::from(mount), own });
            }
            _ => {}
        }
    }
    if trees.is_empty() { Hierarchy::None } else { Hierarchy::V1 { trees, unified } }
}

/// This process's cgroup in a tree. Below a mount of a part of the tree, its path starts at that part.
fn own_below(cgroups: &str, controllers: &str, root: &str) -> String {
    let own = own_cgroup(cgroups, controllers);
    own.strip_prefix(root.trim_end_matches('/')).unwrap_or(&own).to_string()
}

/// Controllers among a v1 mount's super options; options that are not controllers are left out.
fn controllers_of(options: &str) -> Vec<String> {
    const OTHER: [&str; 8] =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "all", "none", "favordynmods"];
    options
        .split(',')
        .filter(|o| !OTHER.contains(o) && (o.starts_with("name=") || !o.contains('=')))
        .map(str::to_string)
        .collect()
}

/// The container's cgroups: one in every tree. Where the container had none, it would stay in its caller's, `exec` in those of the
/// one who calls it, /proc/PID/cgroup inside would show their names, and criu would save what lies below.
///
/// An absolute path is taken from each tree's root; a relative one, and the default name, lies below the caller's own cgroup, so
/// the caller's limits hold for it too.
pub fn trees_for(trees: &[V1], unified: Option<&V1>, request: Request<'_>) -> Result<Layout> {
    let default = request.default_name();
    let wanted = request.path.filter(|p| !p.is_empty()).unwrap_or(&default);
    let place = |tree: &V1| match wanted.starts_with('/') {
        true => below(&tree.mount, wanted),
        false => below(&tree.mount, &tree.own).join(wanted),
    };
    let mut writes = writes(request.resources, !request.rootless)?;
    let mut cgroups = Vec::new();
    for tree in trees {
        let mine: Vec<_> = tree.controllers.iter().flat_map(|c| take(&mut writes, c)).collect();
        let path = place(tree);
        let (missing, exists) = (missing_parents(&tree.mount, &path), path.exists());
        let (mut all, mut enable) = (Vec::new(), Vec::new());
        if super::has(&tree.controllers, "cpuset") {
            let inherited = cpuset_inherited(&tree.mount, &path, exists);
            enable = inherited.ancestors;
            // The config's own value comes in `mine`.
            all.extend(inherited.own.into_iter().filter(|(f, _)| mine.iter().all(|(file, _)| file != f)));
        }
        all.extend(mine);
        cgroups.push(Cgroup {
            controllers: tree.controllers.clone(),
            exists,
            path,
            missing,
            enable,
            writes: all,
            v2: false,
        });
    }
    if let Some((pointer, controller, ..)) = writes.first() {
        let bound = match unified {
            Some(V1 { mount, .. }) if in_unified(mount, controller) => {
                format!(
                    "it is bound to cgroup v2 at {}, which on a hybrid host has no containers",
                    mount.display()
                )
            }
            _ => "no cgroup v1 tree has it; boot with systemd.unified_cgroup_hierarchy=1 for cgroup v2"
                .to_string(),
        };
        return Err(unavailable(pointer, controller, &bound));
    }
    if let Some(tree) = unified {
        let path = place(tree);
        let missing = missing_parents(&tree.mount, &path);
        cgroups.push(Cgroup {
            controllers: Vec::new(),
            exists: path.exists(),
            path,
            missing,
            enable: Vec::new(),
            writes: Vec::new(),
            v2: false,
        });
    }
    Ok(Layout { cgroups, ..Layout::default() })
}

fn in_unified(mount: &Path, controller: &str) -> bool {
    std::fs::read_to_string(mount.join("cgroup.controllers"))
        .is_ok_and(|c| c.split_whitespace().any(|c| c == controller))
}

/// A write that a limit needs: (JSON pointer, controller, file, value).
type ControllerWrite = (&'static str, &'static str, String, String);

fn take(writes: &mut Vec<ControllerWrite>, controller: &str) -> Vec<(String, String)> {
    let (mine, rest) = std::mem::take(writes).into_iter().partition(|w| w.1 == controller);
    *writes = rest;
    let mine: Vec<ControllerWrite> = mine;
    mine.into_iter().map(|(_, _, file, value)| (file, value)).collect()
}

/// The cpus and memory nodes that a container's cpuset cgroup and its ancestors lack.
#[derive(Default)]
struct InheritedCpuset {
    /// (file, value) of the ancestors, outermost first.
    ancestors: Vec<(PathBuf, String)>,
    /// (file name, value) of the container's cgroup.
    own: Vec<(String, String)>,
}

/// A new cpuset cgroup is empty, and an empty one takes no process and gives its children nothing (cpuset(7)). So the
/// cgroup and each of its ancestors that is empty or missing gets what the nearest ancestor above it has. A
/// pre-existing cgroup that has cpus or memory nodes keeps them.
fn cpuset_inherited(mount: &Path, path: &Path, exists: bool) -> InheritedCpuset {
    let mut found = InheritedCpuset::default();
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let value = |cgroup: &Path| {
            let text = crate::sys::read::value(cgroup.join(name)).unwrap_or_default();
            Some(text.trim_end().to_string()).filter(|text| !text.is_empty())
        };
        // A cgroup that is not there yet has none.
        if exists && value(path).is_some() {
            continue;
        }
        let mut empty = Vec::new();
        let mut above = path.ancestors().skip(1).take_while(|cgroup| cgroup.starts_with(mount));
        let nearest = above.find_map(|cgroup| {
            value(cgroup).or_else(|| {
                empty.push(cgroup);
                None
            })
        });
        let Some(inherited) = nearest else { continue };
        found.ancestors.extend(empty.iter().rev().map(|cgroup| (cgroup.join(name), inherited.clone())));
        found.own.push((name.to_string(), inherited));
    }
    found
}

/// The v1 files and values for `resources`, in the order in which they must be written.
fn writes(resources: &Resources, devices: bool) -> Result<Vec<ControllerWrite>> {
    let mut out = numbers(resources)?;
    if devices {
        device_lines(resources, &mut out)?;
    }
    Ok(out)
}

/// The writes of one controller: its name, and (file, value) in order.
pub type ControllerWrites = (&'static str, Vec<(String, String)>);

/// All limits but the devices, by controller: what `update` writes.
pub fn by_controller(resources: &Resources) -> Result<Vec<ControllerWrites>> {
    let mut out: Vec<ControllerWrites> = Vec::new();
    for (_, controller, file, value) in numbers(resources)? {
        match out.iter_mut().find(|(c, _)| *c == controller) {
            Some((_, writes)) => writes.push((file, value)),
            None => out.push((controller, vec![(file, value)])),
        }
    }
    Ok(out)
}

/// Everything but the devices.
fn numbers(resources: &Resources) -> Result<Vec<ControllerWrite>> {
    if let Some((key, _)) = resources.unified.first() {
        let text = "invalid configuration: cannot use unified on cgroup v1";
        return Err(unavailable(UNIFIED, key, text));
    }
    let named =
        |w: limits::LimitWrite| (w.row.pointer, controller(w.row.v1.unwrap_or_default()), w.file, w.value);
    Ok(limits::writes(resources, false).into_iter().map(named).collect())
}

fn device_lines(resources: &Resources, out: &mut Vec<ControllerWrite>) -> Result<()> {
    const DEVICES: &str = "/linux/resources/devices";
    let rules = crate::cgroup::devices::rules(resources);
    let lines = crate::cgroup::devices::v1_lines(&rules)
        .map_err(|e| crate::error::Error::Config(crate::config::ConfigError::new(DEVICES, e.to_string())))?;
    out.extend(lines.into_iter().map(|(file, line)| (DEVICES, "devices", file.to_string(), line)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 29 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 29 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 29 0:27 /x /mnt/memory rw - cgroup cgroup rw,memory
36 29 0:26 / /srv/chroot/sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
";
    const GROUPS: &str = "4:memory:/job/1\n3:pids:/\n2:cpu:/\n1:name=systemd:/\n0::/scope\n";

    #[test]
    fn trees_are_found_once_with_this_process_group() {
        let Hierarchy::V1 { trees, unified } = layout(MOUNTINFO, GROUPS) else { panic!("hybrid") };
        let names: Vec<_> = trees.iter().map(|t| (t.controllers.join(","), t.own.as_str())).collect();
        let expect = [("cpu", "/"), ("memory", "/job/1"), ("pids", "/"), ("name=systemd", "/")];
        assert_eq!(names, expect.map(|(n, o)| (n.to_string(), o)));
        // Not the bind mount in a chroot.
        assert_eq!(trees[0].mount, Path::new("/sys/fs/cgroup/cpu"));
        let unified = unified.expect("a v2 tree");
        assert_eq!((unified.mount, unified.own.as_str()), ("/sys/fs/cgroup/unified".into(), "/scope"));
    }

    #[test]
    fn limits_go_to_their_tree_and_a_missing_tree_is_an_error() {
        let Hierarchy::V1 { trees, unified } = layout(MOUNTINFO, GROUPS) else { panic!("hybrid") };
        let mut resources = Resources { pids_limit: Some(9), ..Resources::default() };
        resources.memory.limit = Some(4096);
        let annotations = std::collections::BTreeMap::new();
        let request = Request::of("c1", &resources, &annotations);
        // This table has no devices tree: the default device list cannot be applied.
        let err = trees_for(&trees, unified.as_ref(), request).unwrap_err().to_string();
        assert!(err.contains("devices controller"), "{err}");
        let with_devices =
            MOUNTINFO.to_string() + "36 29 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n";
        let Hierarchy::V1 { trees, unified } = layout(&with_devices, GROUPS) else { panic!("hybrid") };
        let cgroups = trees_for(&trees, None, request).unwrap().cgroups;
        let memory = cgroups.iter().find(|g| g.controllers == ["memory"]).unwrap();
        assert_eq!(memory.path, Path::new("/sys/fs/cgroup/memory/job/1/safebox-c1"));
        assert_eq!(memory.writes, [("memory.limit_in_bytes".to_string(), "4096".to_string())]);
        assert!(
            cgroups.iter().any(|g| g.controllers == ["cpu"]),
            "every controller is joined: it counts, too"
        );
        // Every tree has the cgroup at the same place, the v2 one too.
        let all = |path| {
            let request = Request { path, ..request };
            let cgroups = trees_for(&trees, unified.as_ref(), request).unwrap().cgroups;
            ["memory", "unified"].map(|tree| {
                let mount = Path::new("/sys/fs/cgroup").join(tree);
                let path = cgroups.iter().find_map(|g| g.path.strip_prefix(&mount).ok());
                path.expect(tree).display().to_string()
            })
        };
        assert_eq!(all(Some("a/b")), ["job/1/a/b", "scope/a/b"]);
        assert_eq!(all(Some("/a/b")), ["a/b", "a/b"]);
        assert_eq!(all(None), ["job/1/safebox-c1", "scope/safebox-c1"]);
    }
}
