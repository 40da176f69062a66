//! Pre-existing cgroups: joined if they are empty, and left unchanged.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use safebox::cgroup::Hierarchy;
use serde_json::json;

use crate::harness::carried::patience;
use crate::harness::{Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];
const V1: &[Need] = &[Need::Root, Need::CgroupV1];
const V1_OCI: &[Need] = &[Need::Root, Need::CgroupV1, Need::Oci];
const V2: &[Need] = &[Need::Root, Need::CgroupV2];

/// A cgroup of the test in every hierarchy of the host, removed on drop.
pub struct Premade {
    name: String,
    dirs: Vec<PathBuf>,
}

impl Premade {
    fn new(sb: &Sandbox) -> Self {
        let name = sb.other_id("premade");
        let mounts = match Hierarchy::probe().expect("the host's cgroups") {
            Hierarchy::V2 { mount, .. } => {
                // Every runtime enables the controller before its first container.
                std::fs::write(mount.join("cgroup.subtree_control"), "+pids").expect("the pids controller");
                vec![mount]
            }
            Hierarchy::V1 { trees, unified } => {
                trees.into_iter().chain(unified).map(|t| t.mount).collect::<Vec<_>>()
            }
            Hierarchy::None => panic!("no cgroups"),
        };
        let dirs: Vec<_> = mounts.iter().map(|m| m.join(&name)).collect();
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).expect("a group"));
        // A new cgroup of the cpuset hierarchy accepts no process.
        if let Some(cpuset) = dirs.iter().find(|d| d.parent().is_some_and(|p| p.ends_with("cpuset"))) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                std::fs::copy(cpuset.join("..").join(file), cpuset.join(file)).expect("a cpuset");
            }
        }
        Premade { name, dirs }
    }

    /// Sets it as the cgroup of `sb`.
    fn give(&self, sb: Sandbox) -> Sandbox {
        sb.patch("/linux/cgroupsPath", json!(format!("/{}", self.name)))
    }

    /// The directory that contains `file`.
    fn with(&self, file: &str) -> &Path {
        self.dirs.iter().find(|d| d.join(file).exists()).unwrap_or_else(|| panic!("no group has {file}"))
    }

    fn write(&self, file: &str, value: &str) {
        std::fs::write(self.with(file).join(file), value).expect("a cgroup file");
    }

    /// Asserts that all exist and contain no process.
    fn untouched(&self) {
        for dir in &self.dirs {
            let members =
                std::fs::read_to_string(dir.join("cgroup.procs")).expect("the group is still there");
            assert_eq!(members, "", "{}", dir.display());
        }
    }
}

impl Drop for Premade {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // runc has removed them.
            std::fs::remove_dir(dir).unwrap_or_default();
        }
    }
}

/// Drop order: the cgroup is removed first; other leftovers are the runtime's.
pub fn premade(sb: Sandbox) -> (Sandbox, Premade) {
    let group = Premade::new(&sb);
    let sb = group.give(sb);
    (sb, group)
}

#[case(OCI)]
fn an_empty_one_is_joined_with_its_limits() {
    let (sb, group) = premade(Sandbox::sleeper());
    group.write("pids.max", "7");
    if let Some(dir) = group.dirs.iter().find(|d| d.join("cgroup.kill").exists()) {
        // A process cloned into a cgroup that was killed by cgroup.kill is killed too (Linux 6.1, 6.18).
        std::fs::write(dir.join("cgroup.kill"), "1").expect("cgroup.kill");
    }
    sb.create().ok();
    sb.verb("start").ok();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", sb.pid())).expect("its groups");
    assert!(groups.lines().all(|l| l.ends_with(&format!("/{}", group.name))), "{groups}");
    let max = std::fs::read_to_string(group.with("pids.max").join("pids.max")).expect("pids.max");
    assert_eq!(max.trim_end(), "7", "what the config does not say stays");
    sb.exec(["true"]).ok();
    sb.delete().ok();
}

#[case(OWN)]
fn a_relative_path_is_the_same_in_every_tree() {
    let sb = Sandbox::sleeper();
    let name = sb.other_id("relative");
    let sb = sb.patch("/linux/cgroupsPath", json!(name));
    sb.create().ok();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", sb.pid())).expect("its groups");
    assert!(groups.lines().all(|l| l.ends_with(&format!("/{name}"))), "{groups}");
    sb.delete().ok();
}

/// One or two ancestors without cpus and memory nodes, or one without memory nodes: the empty files are
/// filled, other values stay.
#[case(V1_OCI)]
fn ancestors_with_an_empty_cpuset_get_one() {
    let root = Path::new("/sys/fs/cgroup/cpuset");
    let read = |group: &Path, file: &str| {
        std::fs::read_to_string(group.join(file)).expect("a cpuset").trim_end().to_string()
    };
    for (levels, cpus) in [(1, None), (2, None), (1, Some("0"))] {
        let sb = Sandbox::sleeper();
        let top = root.join(sb.other_id("empty"));
        let path = if levels == 1 { top.clone() } else { top.join("below") };
        std::fs::create_dir_all(&path).expect("groups");
        if let Some(cpus) = cpus {
            std::fs::write(path.join("cpuset.cpus"), cpus).expect("cpuset.cpus");
        }
        let place = path.strip_prefix(root).expect("below the mount").join("c");
        let mut sb = sb.patch("/linux/cgroupsPath", json!(Path::new("/").join(place)));
        sb.create().ok();
        sb.verb("start").ok();
        sb.exec(["true"]).ok();
        sb.runtime().args(["update", "--cpuset-cpus", "0", sb.id()]).output().ok();
        for group in path.ancestors().take_while(|group| *group != root) {
            let (has, above) = (read(group, "cpuset.cpus"), read(root, "cpuset.cpus"));
            assert_eq!(has, cpus.map_or(above, String::from), "{}", group.display());
            assert_eq!(read(group, "cpuset.mems"), read(root, "cpuset.mems"), "{}", group.display());
        }
        sb.delete().ok();
        // Also for the hardened run.
        sb.set("/process/args", json!(["true"]));
        sb.run().output().ok();
        // The container's ancestors in the other hierarchies stay, as with runc.
        for group in sb.trace().cgroups().iter().rev() {
            std::fs::remove_dir(group).expect("an empty group");
        }
    }
}

#[case(OWN)]
fn a_joined_one_stays() {
    let (mut sb, group) = premade(Sandbox::sleeper());
    sb.create().ok();
    sb.verb("start").ok();
    sb.verb("pause").ok();
    assert_eq!(sb.status(), "paused");
    sb.verb("resume").ok();
    sb.runtime().args(["kill", "--all", sb.id(), "KILL"]).output().ok();
    sb.wait_for_status("stopped");
    sb.delete().ok();
    group.untouched();
    sb.set("/process/args", json!(["true"]));
    sb.run().output().ok();
    group.untouched();
}

/// Counts of an earlier container in the cgroup are not reported for this one.
#[case(OWN)]
fn what_it_counted_before_is_not_this_container_s() {
    let sb = Sandbox::new().args(["tail", "/dev/zero"]);
    let (mut sb, _group) = premade(sb);
    let run = |sb: &Sandbox| sb.run().args(["--memory", "20m"]).output();
    run(&sb).exits(137).says("out of memory: the kernel killed 1 process");
    sb.set("/process/args", json!(["true"]));
    let out = run(&sb).ok();
    assert_eq!(out.stderr, "", "{out}");
}

/// A process outside the container, in one of the cgroups.
struct Member(Child);

impl Member {
    fn of(dir: &Path) -> Self {
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let member = Member(child);
        std::fs::write(dir.join("cgroup.procs"), member.0.id().to_string()).expect("join");
        member
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

#[case(OWN)]
fn one_with_a_process_is_refused() {
    let (sb, group) = premade(Sandbox::sleeper());
    for dir in &group.dirs {
        let mut member = Member::of(dir);
        for out in [sb.create(), sb.run_oci().output()] {
            let trees =
                out.says("/linux/cgroupsPath").says("container's cgroup is not empty: 1 process(es) found");
            assert!(trees.code == 1 || trees.code == 125, "{trees}");
            assert!(
                member.0.try_wait().expect("wait").is_none(),
                "a process outside the container was killed"
            );
        }
    }
    group.untouched();
}

#[case(OWN)]
fn a_frozen_one_is_refused() {
    let (sb, group) = premade(Sandbox::sleeper());
    let (file, yes) = match group.dirs.iter().any(|d| d.join("freezer.state").exists()) {
        true => ("freezer.state", "FROZEN"),
        false => ("cgroup.freeze", "1"),
    };
    group.write(file, yes);
    sb.create().exits(1).says("container's cgroup unexpectedly frozen");
    group.untouched();
}

#[case(OWN)]
fn of_many_at_once_one_gets_it() {
    let (sb, group) = premade(Sandbox::sleeper());
    let ids: Vec<_> = (0..8).map(|n| sb.other_id(&n.to_string())).collect();
    let create = |id: &String| sb.runtime().args(["create", "--bundle"]).arg(sb.bundle()).arg(id).spawn();
    let running: Vec<_> = ids.iter().map(create).collect();
    let outs: Vec<_> = running.into_iter().map(|r| r.wait()).collect();
    let made: Vec<_> = ids.iter().zip(&outs).filter(|(_, out)| out.code == 0).map(|(id, _)| id).collect();
    assert_eq!(made.len(), 1, "{outs:?}");
    for id in made {
        sb.runtime().args(["delete", "--force", id]).output().ok();
    }
    group.untouched();
}

/// Without a pid namespace a child outlives the container's init.
#[case(OWN)]
fn what_is_left_in_a_joined_one_is_killed() {
    let sb = Sandbox::new().sh("sleep 1000 & exec sleep 0.1");
    let namespaces = json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]);
    let (sb, group) = premade(sb.patch("/linux/namespaces", namespaces));
    sb.create().ok();
    sb.verb("start").ok();
    sb.wait_for_status("stopped");
    sb.runtime().args(["delete", sb.id()]).output().ok();
    crate::harness::poll("nobody", std::time::Duration::from_secs(5), || {
        std::fs::read_to_string(group.dirs[0].join("cgroup.procs")).expect("the group").is_empty()
    });
    group.untouched();
}

/// On v1 a frozen process does not die, and a child cgroup may be frozen by itself.
#[case(V1)]
fn what_was_frozen_below_is_killed_and_removed() {
    for own_pids in [true, false] {
        let sb = Sandbox::new().sh("sleep 1000 & echo up; exec sleep 1000");
        let namespaces = json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]);
        let sb = if own_pids { sb } else { sb.patch("/linux/namespaces", namespaces) };
        sb.create().ok();
        sb.verb("start").ok();
        let groups = sb.trace().cgroups();
        let freezer = groups.iter().find(|g| g.join("freezer.state").exists()).expect("a freezer");
        let members = || std::fs::read_to_string(freezer.join("cgroup.procs")).expect("its processes");
        crate::harness::poll("two", std::time::Duration::from_secs(5), || members().lines().count() == 2);
        let below = freezer.join("below/deeper");
        std::fs::create_dir_all(&below).expect("a group");
        for pid in members().lines() {
            std::fs::write(below.join("cgroup.procs"), pid).expect("move it");
        }
        std::fs::write(below.join("freezer.state"), "FROZEN").expect("freeze");
        crate::harness::poll("frozen", std::time::Duration::from_secs(5), || {
            std::fs::read_to_string(below.join("freezer.state")).expect("a state") == "FROZEN\n"
        });
        let out = sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
        assert!(out.took < patience(std::time::Duration::from_secs(5)), "{out}");
        sb.leak_check();
    }
}

/// While anything remains, `delete` can be called again, and poststop hooks are postponed.
#[case(OWN)]
fn what_cannot_be_removed_keeps_its_name() {
    let sb = Sandbox::sleeper();
    let told = sb.dir().join("told");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo x >>{}", told.display())] }]);
    let sb = sb.patch("/hooks/poststop", hook);
    sb.create().ok();
    sb.kill("KILL").ok();
    sb.wait_for_status("stopped");
    let group = sb.trace().cgroups().into_iter().next().expect("a group");
    // For this process cgroupfs is read-only.
    let mount = mount_of(&group);
    let script = format!("mount -o remount,bind,ro {mount} && exec \"$@\"");
    let call = sb.under(&["unshare", "--mount", "sh", "-c", &script, "sh"]);
    let out = call.args(["delete", sb.id()]).output().exits(1);
    let out = out.says("cannot be removed");
    assert!(group.exists() && !told.exists(), "{out}");
    assert_eq!(sb.status(), "stopped", "{out}");
    sb.runtime().args(["delete", sb.id()]).output().ok();
    assert_eq!(std::fs::read_to_string(&told).expect("the hook ran"), "x\n");
    sb.leak_check();
}

/// The mount point of this cgroup's hierarchy.
fn mount_of(group: &Path) -> String {
    let mounts = match Hierarchy::probe().expect("the host's cgroups") {
        Hierarchy::V2 { mount, .. } => vec![mount],
        Hierarchy::V1 { trees, unified } => trees.into_iter().chain(unified).map(|t| t.mount).collect(),
        Hierarchy::None => panic!("no cgroups"),
    };
    let mount = mounts.iter().find(|m| group.starts_with(m)).expect("its mount");
    mount.display().to_string()
}

#[case(OWN)]
fn every_fault_leaves_a_joined_one_there() {
    let (sb, group) = premade(Sandbox::sleeper());
    let plan =
        sb.runtime().args(["explain", "--json", "--policy", "privileged"]).arg(sb.bundle()).output().ok();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let rows = plan["steps"].as_array().expect("steps").len();
    for row in (1..=rows).step_by(3) {
        let fail = format!("{row}:EIO");
        let out = sb.run().args(["--policy", "privileged", "--fail", &fail]).output();
        assert_eq!(out.code, 125, "row {row}\n{out}");
        group.untouched();
    }
}

/// systemd or Docker in a container: its init moves from the container's cgroup to a child cgroup and
/// delegates controllers, so the container's cgroup can no longer have processes.
#[case(V2)]
fn exec_goes_where_the_container_has_gone_below_its_own() {
    let sb = Sandbox::new().sh("mkdir /sys/fs/cgroup/init && echo 1 >/sys/fs/cgroup/init/cgroup.procs && \
         echo +pids >/sys/fs/cgroup/cgroup.subtree_control && echo up; exec sleep 1000");
    let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
    let writable = mounts.into_iter().filter(|m| m["type"] != "cgroup").collect::<Vec<_>>();
    let mut sb = sb.patch("/mounts", json!(writable));
    sb.set("/mounts/-", json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }));
    let run = sb.run_until(sb.run_oci(), "up");
    assert_eq!(sb.exec(["cat", "/proc/self/cgroup"]).ok().stdout, "0::/init\n");
    sb.kill("KILL").ok();
    run.wait().exits(137);
}
