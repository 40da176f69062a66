//! systemd as the owner of the cgroup tree: the container's cgroup is a transient scope, so systemd and
//! safebox do not write into each other's files (systemd.resource-control(5), "Delegate").
//!
//! systemd makes a scope around a process that exists: Init is cloned, waits for the baton, is moved by
//! systemd, and then the rest of the limits is written. The conversation is a row of the plan.

pub mod bus;
pub mod properties;
mod unit;
pub mod value;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use bus::Bus;
pub use bus::BusFailure;
pub use properties::Property;
use unit::Unit;
use value::BusValue;

use super::{Cgroup, Hierarchy, Layout, Request, ops, tree};
use crate::config::Resources;
use crate::error::{Error, Result};
use crate::sys::{Errno, process};

/// Controllers that systemd hands to a delegated scope; others are handed down by rows of the plan.
const OWNED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// A scope that a container has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemdScope {
    /// Name of the unit.
    pub unit: String,
    /// How systemd is reached; later verbs may not have the environment that says so.
    pub address: String,
    /// The cgroup that holds its processes.
    #[serde(alias = "group")]
    pub cgroup: PathBuf,
    /// Whether it belongs to a user's systemd.
    pub user: bool,
}

/// What systemd is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The scope.
    pub scope: SystemdScope,
    /// Its properties, without `PIDs`.
    pub properties: Vec<Property>,
}

/// Where the systemd is that the caller may talk to: its own socket, or a bus.
pub fn address(user: bool) -> Result<String> {
    let var = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
    let found = |path: &str| Path::new(path).exists().then(|| path.to_string());
    let bus = |path: String| found(&path).map(|p| format!("unix:path={p}"));
    if user {
        let runtime = var("XDG_RUNTIME_DIR");
        return runtime
            .as_ref()
            .and_then(|dir| found(&format!("{dir}/systemd/private")))
            .or_else(|| var("DBUS_SESSION_BUS_ADDRESS"))
            .or_else(|| bus(format!("{}/bus", runtime?)))
            .ok_or_else(|| {
                Error::msg(
                    "--systemd-cgroup: the user's systemd is not there: neither $XDG_RUNTIME_DIR nor \
                     $DBUS_SESSION_BUS_ADDRESS leads to it (log in, or `loginctl enable-linger`; or use cgroupfs)",
                )
            });
    }
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Error::msg(
            "--systemd-cgroup: this machine was not booted with systemd (there is no /run/systemd/system): \
             leave the flag out to use cgroupfs",
        ));
    }
    found("/run/systemd/private")
        .or_else(|| var("DBUS_SYSTEM_BUS_ADDRESS"))
        .or_else(|| bus("/run/dbus/system_bus_socket".into()))
        .ok_or_else(|| {
            Error::msg(
                "--systemd-cgroup: systemd has no socket: neither /run/systemd/private nor a system bus",
            )
        })
}

/// Lays out a container whose cgroup is a scope.
pub fn layout(host: &Hierarchy, request: Request<'_>) -> Result<Layout> {
    let user = request.user;
    if user && !host.is_v2() {
        return Err(Error::msg(
            "--systemd-cgroup: an ordinary user's systemd has no control of cgroup v1: boot with \
             systemd.unified_cgroup_hierarchy=1, or use --cgroup-manager disabled",
        ));
    }
    let address = address(user)?;
    // A user's manager is not at the root of the tree, and only it knows where it is.
    let manager = if user {
        bus::talk(&address, |bus| bus.property("ControlGroup"))
            .map_err(|e| Error::msg(format!("--systemd-cgroup: {e}")))?
    } else {
        "/".to_string()
    };
    plan(host, request, address, &manager)
}

/// The same where systemd's place is known.
fn plan(host: &Hierarchy, request: Request<'_>, address: String, manager: &str) -> Result<Layout> {
    let unit = Unit::of(request.path, request.id, if request.user { "user.slice" } else { "system.slice" })?;
    let dir = unit.path()?;
    let cgroups = match host {
        Hierarchy::V2 { mount, controllers, .. } => {
            let path = unit::below(mount, manager, &dir);
            vec![v2(mount, controllers, path, request.resources)?]
        }
        Hierarchy::V1 { trees, unified } => {
            let absolute = Path::new("/").join(&dir);
            let path = absolute.to_str();
            let request = Request { path, ..request };
            let cgroups = crate::cgroup::v1::trees_for(trees, unified.as_ref(), request)?.cgroups;
            // What an earlier scope of this name has left in other trees is the scope's, and goes with it.
            cgroups.into_iter().map(|cgroup| Cgroup { exists: false, ..cgroup }).collect()
        }
        Hierarchy::None => return super::cgroupfs(host, request),
    };
    let is_systemd = |g: &&Cgroup| g.v2 || g.controllers == ["name=systemd"];
    let cgroup = cgroups.iter().find(is_systemd).map(|g| g.path.clone()).ok_or_else(|| {
        Error::msg("--systemd-cgroup: the cgroup tree of systemd (name=systemd) is not mounted")
    })?;
    // What is put into it would stand still, and the launch with it.
    if let Some(frozen) = cgroups.iter().find(|g| super::ops::frozen(&g.path)) {
        let text = "container's cgroup unexpectedly frozen (thaw or remove it)";
        return Err(Error::msg(format!("{}: {text}", frozen.path.display())));
    }
    let v2 = host.is_v2();
    let mut properties = properties::base(request.id, &unit.slice, v2);
    properties.extend(properties::of_annotations(request.annotations)?);
    properties.extend(properties::of_resources(request.resources, v2, !request.user)?);
    let scope = SystemdScope { unit: unit.name, address, cgroup, user: request.user };
    Ok(Layout { cgroups, scope: Some(Rc::new(Start { scope, properties })), note: None })
}

fn v2(mount: &Path, controllers: &[String], path: PathBuf, resources: &Resources) -> Result<Cgroup> {
    let writes = super::v2::writes(resources, controllers)?;
    // systemd knows nothing of hugetlb, rdma and misc, and delegates none of them.
    let controller = |file: &String| file.split('.').next().unwrap_or_default().to_string();
    let mut foreign: Vec<_> = writes.iter().map(|(file, _)| controller(file)).collect();
    foreign.retain(|c| controllers.contains(c) && !OWNED.contains(&c.as_str()));
    foreign.dedup();
    let enable = super::v2::enable(mount, &path, &foreign);
    Ok(Cgroup { controllers: Vec::new(), exists: false, missing: Vec::new(), enable, path, writes, v2: true })
}

/// `StartTransientUnit` around process `pid`; returns when the process is in the scope.
pub fn start(start: &Start, pid: i32) -> std::result::Result<(), BusFailure> {
    let scope = &start.scope;
    let inside = || is_in(&scope.cgroup, pid);
    let mut heard = false;
    let made = bus::talk(&scope.address, |bus| {
        // The call may have been heard before the line was cut, and its job is done without us.
        let again = std::mem::replace(&mut heard, true);
        if again && inside() { Ok(()) } else { ask(bus, start, pid, again) }
    });
    // If the process is in the unit, this row has created it; a row that fails undoes its own work.
    made.inspect_err(|_| {
        if inside() {
            stop(scope).unwrap_or_default();
        }
    })
}

/// Asks for the scope, and waits for the end of the job. `again`: a unit of this name may be the one that was asked for
/// before.
fn ask(bus: &mut Bus, start: &Start, pid: i32, again: bool) -> std::result::Result<(), BusFailure> {
    let (unit, cgroup) = (&start.scope.unit, &start.scope.cgroup);
    let pids = BusValue::Array("u".into(), vec![BusValue::U32(pid.unsigned_abs())]);
    let pids = [("PIDs".to_string(), pids)];
    let wanted = fit(bus, &start.properties);
    let args = [
        BusValue::Text(unit.clone()),
        BusValue::Text("replace".into()),
        array(wanted.iter().chain(&pids)),
        BusValue::Array("(sa(sv))".into(), Vec::new()),
    ];
    // While the scope has no processes, our own job may not have run yet.
    let empty = || if again { tree::pids(cgroup).is_ok_and(|p| p.is_empty()) } else { !cgroup.exists() };
    let (mut tries, most) = (0, if again { 500 } else { 50 });
    let answer = loop {
        match bus.manager("StartTransientUnit", &args) {
            Err(e) if again && e.is("UnitExists") && is_in(cgroup, pid) => return Ok(()),
            // It may be what a container that failed has left, or one that systemd has not yet forgotten.
            Err(e) if e.is("UnitExists") && tries < most && empty() => {
                tries += 1;
                reset_failed(bus, &start.scope);
                process::sleep_micros(20_000);
            }
            other => break other?,
        }
    };
    let ended = match job_result(bus, &answer)?.as_str() {
        "done" => verify(&start.scope, pid),
        result => Err(BusFailure::new(Errno::EIO, format!("the job to start {unit} ended with {result:?}"))),
    };
    // From the answer on the unit is ours, even where the process is not in it.
    ended.inspect_err(|_| stop(&start.scope).unwrap_or_default())
}

fn is_in(cgroup: &Path, pid: i32) -> bool {
    tree::pids(cgroup).is_ok_and(|pids| pids.contains(&pid))
}

/// The cgroup that was asked for is the one that limits are written to: it must be the one that the process is in.
fn verify(scope: &SystemdScope, pid: i32) -> std::result::Result<(), BusFailure> {
    let pids = tree::pids(&scope.cgroup)
        .map_err(|e| BusFailure::new(e, format!("{}: {e}", scope.cgroup.display())))?;
    if pids.contains(&pid) {
        return Ok(());
    }
    let is = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let is = is.lines().find(|l| l.starts_with("0::") || l.contains(":name=systemd:")).unwrap_or_default();
    let text = format!("systemd has put process {pid} into {is:?}, and not into {}", scope.cgroup.display());
    Err(BusFailure::new(Errno::EXDEV, text))
}

/// Moves a process into the scope: an ordinary user may not, and asks its systemd.
pub fn attach(scope: &SystemdScope, pid: i32) -> std::result::Result<(), BusFailure> {
    let pids = BusValue::Array("u".into(), vec![BusValue::U32(pid.unsigned_abs())]);
    let args = [BusValue::Text(scope.unit.clone()), BusValue::Text(String::new()), pids];
    bus::talk(&scope.address, |bus| bus.manager("AttachProcessesToUnit", &args))?;
    verify(scope, pid)
}

/// Kills what is left in a scope and has systemd forget it. A scope that is gone is what is wanted.
pub fn stop(scope: &SystemdScope) -> std::result::Result<(), BusFailure> {
    if !scope.cgroup.exists() {
        // It has ended. Its name may belong to another unit by now; to forget a failed one does no harm.
        Bus::open(&scope.address).map(|mut bus| reset_failed(&mut bus, scope)).unwrap_or_default();
        return Ok(());
    }
    // systemd would ask first, and wait a minute and a half for an answer.
    ops::kill_all(&scope.cgroup);
    let stopped = bus::talk(&scope.address, |bus| {
        let args = [BusValue::Text(scope.unit.clone()), BusValue::Text("replace".into())];
        match bus.manager("StopUnit", &args) {
            Err(e) if e.is("NoSuchUnit") => {}
            other => drop(job_result(bus, &other?)?),
        }
        reset_failed(bus, scope);
        Ok(())
    });
    let left = ops::remove(&scope.cgroup, Instant::now() + ops::PATIENCE)
        .map_err(|e| BusFailure::new(e, format!("{} cannot be removed: {e}", scope.cgroup.display())));
    // Without its processes the scope ends by itself: if systemd cannot be asked, nothing is lost.
    if scope.cgroup.exists() { stopped.and(left) } else { Ok(()) }
}

/// `SetUnitProperties` for changed limits, so that systemd keeps them; the files are the caller's to write.
pub fn set_properties(scope: &SystemdScope, resources: &Resources, v2: bool) -> Result<()> {
    // The device list does not change, and while systemd rewrites it no device can be opened.
    let properties = properties::of_resources(resources, v2, false)?;
    if properties.is_empty() {
        return Ok(());
    }
    let failed = |e: BusFailure| Error::msg(format!("SetUnitProperties({}): {e}", scope.unit));
    let set = |bus: &mut Bus| {
        let properties = fit(bus, &properties);
        // For as long as the machine runs: a scope does not outlive that.
        let args = [BusValue::Text(scope.unit.clone()), BusValue::Bool(true), array(properties.iter())];
        bus.manager("SetUnitProperties", &args).map(drop)
    };
    bus::talk(&scope.address, set).map_err(failed)
}

/// Properties as `a(sv)`.
fn array<'a>(properties: impl Iterator<Item = &'a Property>) -> BusValue {
    let pair = |(name, value): &Property| {
        BusValue::Struct(vec![BusValue::Text(name.clone()), BusValue::Variant(Box::new(value.clone()))])
    };
    BusValue::Array("(sv)".into(), properties.map(pair).collect())
}

/// Without what this systemd does not know: only idle cpu cgroups, before version 252.
fn fit(bus: &mut Bus, properties: &[Property]) -> Vec<Property> {
    let idle = properties::is_idle;
    let mut properties = properties.to_vec();
    if properties.iter().any(idle) {
        let version = bus.property("Version").unwrap_or_default();
        let digits: String =
            version.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        if digits.parse::<u32>().unwrap_or(0) < 252 {
            properties.retain(|p| !idle(p));
        }
    }
    properties
}

fn job_result(bus: &mut Bus, answer: &[BusValue]) -> std::result::Result<String, BusFailure> {
    let job = answer.first().and_then(BusValue::text).unwrap_or_default();
    bus.wait_for_job(job)
}

fn reset_failed(bus: &mut Bus, scope: &SystemdScope) {
    // A unit that has not failed, or is not there, needs none.
    bus.manager("ResetFailedUnit", &[BusValue::Text(scope.unit.clone())]).map(drop).unwrap_or_default();
}

#[cfg(test)]
mod hangs_up;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn request<'a>(
        resources: &'a Resources,
        annotations: &'a BTreeMap<String, String>,
        user: bool,
    ) -> Request<'a> {
        Request { path: Some("machine-x.slice:box:c1"), user, ..Request::of("c1", resources, annotations) }
    }

    fn host() -> Hierarchy {
        let controllers = ["cpu", "memory", "pids", "hugetlb"].map(String::from).to_vec();
        Hierarchy::V2 { mount: "/cg".into(), own: "/".into(), controllers }
    }

    #[test]
    fn a_scope_lies_below_its_manager() {
        let (resources, annotations) =
            (Resources { pids_limit: Some(7), ..Resources::default() }, BTreeMap::new());
        let at = |user, manager: &str| {
            let layout =
                plan(&host(), request(&resources, &annotations, user), "/s".into(), manager).unwrap();
            let start = layout.scope.unwrap();
            assert_eq!(layout.cgroups[0].path, start.scope.cgroup);
            assert_eq!(layout.cgroups[0].writes, [("pids.max".to_string(), "7".to_string())]);
            (start.scope.cgroup.display().to_string(), start.properties.clone())
        };
        let (path, properties) = at(false, "/");
        assert_eq!(path, "/cg/machine.slice/machine-x.slice/box-c1.scope");
        assert!(properties.iter().any(|(n, _)| n == "DevicePolicy"));
        assert!(properties.contains(&("TasksMax".into(), BusValue::U64(7))));
        let (path, properties) = at(true, "/user.slice/user-7.slice/user@7.service");
        assert_eq!(
            path,
            "/cg/user.slice/user-7.slice/user@7.service/machine.slice/machine-x.slice/box-c1.scope"
        );
        assert!(
            !properties.iter().any(|(n, _)| n == "DevicePolicy"),
            "a user's systemd cannot restrict devices"
        );
    }

    #[test]
    fn what_systemd_does_not_hand_down_is_enabled() {
        let annotations = BTreeMap::new();
        let resources = Resources { hugepages: vec![("2MB".into(), 4096)], ..Resources::default() };
        let layout = plan(&host(), request(&resources, &annotations, false), "/s".into(), "/").unwrap();
        assert_eq!(layout.cgroups[0].enable.last().unwrap().1, "+hugetlb");
    }
}
