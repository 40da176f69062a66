//! Cgroups of a caller that is not root of the machine: only delegated ones can be used.
//!
//! On cgroup v2 a part of the tree can be delegated (cgroups(7), "Delegation"): a user's systemd has one,
//! and so has a service or scope with `Delegate=yes`. Below v1 controllers nothing is delegated, unless
//! an administrator changed the owners. Where nothing was given there is no cgroup: that is fine while no
//! limit is asked for, and an error when one is.

use std::path::{Path, PathBuf};

use super::{Cgroup, Hierarchy, Layout, Request, V1, below, systemd, v2};
use crate::cgroup::v1;
use crate::config::ConfigError;
use crate::error::{Error, Result};

/// What can be done about it.
const REMEDY: &str = "use --systemd-cgroup, start safebox with `systemd-run --user --scope -p Delegate=yes`, \
                      or accept no limits with --cgroup-manager disabled";

/// Lays out the cgroups, or none.
pub fn layout(host: &Hierarchy, request: Request<'_>) -> Result<Layout> {
    let wanted = request.path.filter(|p| !p.is_empty());
    let made = match host {
        Hierarchy::V2 { mount, own, .. } => on_v2(mount, own, request)?,
        Hierarchy::V1 { trees, .. } => on_v1(trees, request)?,
        Hierarchy::None => None,
    };
    if let Some(layout) = made {
        return Ok(layout);
    }
    let limit = v2::first_limit(request.resources);
    // A path may be one of systemd's; without one the choice is ours.
    if limit.is_some()
        && request.manager.is_none()
        && wanted.is_none()
        && host.is_v2()
        && systemd::address(true).is_ok()
    {
        return systemd::layout(host, Request { user: true, ..request });
    }

    let pointer = match (limit, wanted) {
        (Some(pointer), _) => pointer,
        (None, Some(_)) => "/linux/cgroupsPath",
        (None, None) => {
            let note = "none: no cgroup here was delegated to this user; nothing is limited";
            return Ok(Layout { note: Some(note.into()), ..Layout::default() });
        }
    };
    let remedy = if host.is_v2() {
        REMEDY
    } else {
        "cgroup v1 has none for ordinary users: boot with systemd.unified_cgroup_hierarchy=1, or accept no limits with --cgroup-manager disabled"
    };
    let text = format!("this cannot be applied: no cgroup here was delegated to this user; {remedy}");
    Err(Error::Config(ConfigError::new(pointer, text)))
}

/// The container's cgroup beside the caller's own, where that place is the caller's; else below it.
fn on_v2(mount: &Path, own: &str, request: Request<'_>) -> Result<Option<Layout>> {
    let own = below(mount, own);
    let place = match request.path.filter(|p| !p.is_empty()) {
        Some(path) if path.starts_with('/') => {
            let path = below(mount, path);
            existing(&path).filter(|p| is_ours(p)).map(|_| path)
        }
        path => {
            let name = path.map_or_else(|| format!("safebox-{}", request.id), str::to_string);
            let beside = own.parent().filter(|p| *p != mount && is_ours(p));
            beside.or(Some(own.as_path()).filter(|p| is_ours(p))).map(|p| p.join(name))
        }
    };
    let Some(path) = place else { return Ok(None) };
    let parent = existing(&path).unwrap_or_else(|| mount.to_path_buf());
    let here = words(&parent.join("cgroup.controllers"));
    let known = words(&mount.join("cgroup.controllers"));
    let writes = v2::writes(request.resources, &known)?;
    let controller = |file: &str| file.split('.').next().unwrap_or_default().to_string();
    if let Some((file, _)) =
        writes.iter().find(|(f, _)| !here.contains(&controller(f)) && controller(f) != "cgroup")
    {
        let text = format!(
            "the {} controller is not delegated to {} (which has {}), so this limit cannot be applied: add it to Delegate= of the unit, or {REMEDY}",
            controller(file),
            parent.display(),
            here.join(" ")
        );
        return Err(Error::Config(ConfigError::new(v2::pointer_of(file), text)));
    }
    // Usage alone is not worth a controller.
    let mut needed: Vec<_> =
        writes.iter().map(|(file, _)| controller(file)).filter(|c| c != "cgroup").collect();
    needed.dedup();
    let enable = v2::enable(mount, &path, &needed);
    let missing = super::missing_parents(mount, &path);
    let exists = path.exists();
    let cgroup = Cgroup { controllers: Vec::new(), exists, enable, missing, path, writes, v2: true };
    Ok(Some(Layout { cgroups: vec![cgroup], ..Layout::default() }))
}

/// The trees in which the caller's own cgroup is the caller's.
fn on_v1(trees: &[V1], request: Request<'_>) -> Result<Option<Layout>> {
    let ours: Vec<V1> = trees
        .iter()
        .filter(|t| match request.path.filter(|p| p.starts_with('/')) {
            Some(path) => existing(&below(&t.mount, path)).is_some_and(|p| is_ours(&p)),
            None => is_ours(&below(&t.mount, &t.own)),
        })
        .cloned()
        .collect();
    if ours.is_empty() {
        return Ok(None);
    }
    v1::trees_for(&ours, None, request).map(Some)
}

/// Whether the caller may make cgroups in `dir` and put processes into them.
fn is_ours(dir: &Path) -> bool {
    let may = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    may(dir) && may(&dir.join("cgroup.procs"))
}

/// The nearest ancestor of `path` that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|p| p.is_dir()).map(Path::to_path_buf)
}

fn words(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_string).collect()
}
