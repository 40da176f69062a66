//! Containers that share namespaces: the members of a Kubernetes pod join those of its pause container. Also,
//! a container in a container.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case, poll};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];
const OWN_USERNS: &[Need] = &[Need::Root, Need::Userns];

/// The namespaces of a member: the named ones come from process `pid`, the others are new.
fn joining(pid: i32, shared: &[(&str, &str)]) -> Value {
    let own = ["mount", "cgroup", "pid", "ipc", "uts", "network"];
    let own = own.iter().filter(|k| !shared.iter().any(|(kind, _)| kind == *k)).map(|k| json!({ "type": k }));
    let shared =
        shared.iter().map(|(kind, file)| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") }));
    own.chain(shared).collect()
}

fn link(pid: i32, file: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a namespace").display().to_string()
}

const SHARED: [(&str, &str); 3] = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];

#[case(OCI)]
fn members_share_network_ipc_and_names() {
    let pause = Sandbox::new().sh("exec sleep 1000").patch("/hostname", json!("the-pod")).started();
    let member = Sandbox::new()
        .sh("exec sleep 1000")
        .patch("/linux/namespaces", joining(pause.pid(), &SHARED))
        .without("/hostname");
    let member = member.started();
    for (_, file) in SHARED {
        assert_eq!(link(member.pid(), file), link(pause.pid(), file), "{file}");
    }
    for file in ["mnt", "pid"] {
        assert_ne!(link(member.pid(), file), link(pause.pid(), file), "{file}");
    }
    member.exec(["hostname"]).ok().prints("the-pod");
    // A change of the shared network is visible to the other container.
    pause.exec(["ip", "link", "set", "lo", "down"]);
    let lo = |sb: &Sandbox| sb.exec(["ip", "link", "show", "lo"]).ok().stdout.contains(",UP");
    assert_eq!(lo(&pause), lo(&member));
    member.delete().ok();
    assert_eq!(pause.status(), "running");
    pause.delete().ok();
}

#[case(OCI)]
fn a_shared_pid_namespace_shows_all_and_kills_one() {
    let pause = Sandbox::new().sh("exec sleep 1111").started();
    let shared = [("pid", "pid"), SHARED[0], SHARED[1], SHARED[2]];
    let namespaces = joining(pause.pid(), &shared);
    let member = Sandbox::new().sh("sleep 2222 & exec sleep 3333").patch("/linux/namespaces", namespaces);
    let member = member.without("/hostname").started();
    let seen = member.exec(["ps", "-o", "args"]).ok();
    for word in ["sleep 1111", "sleep 2222", "sleep 3333"] {
        crate::harness::poll(word, std::time::Duration::from_secs(5), || {
            member.exec(["ps", "-o", "args"]).ok().stdout.contains(word)
        });
    }
    assert!(seen.stdout.contains("sleep 1111"), "{seen}");
    // Its init is not pid 1 there, so the cgroup must be used to kill its leftovers.
    member.kill("KILL").ok();
    member.wait_for_status("stopped");
    member.runtime().args(["kill", "--all", member.id(), "9"]).output().ok();
    crate::harness::poll("its child is gone", std::time::Duration::from_secs(5), || {
        !pause.exec(["ps", "-o", "args"]).ok().stdout.contains("sleep 2222")
    });
    assert_eq!(pause.status(), "running");
    member.delete().ok();
    pause.delete().ok();
}

// runc 1.1 requires the mappings of the joined namespace, which the config cannot decide.
#[case(OWN)]
fn a_user_namespace_is_joined_with_what_it_owns() {
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 }, { "containerID": 1, "hostID": 200_001, "size": 5000 }]);
    let pause = Sandbox::new()
        .sh("exec sleep 1000")
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", maps.clone())
        .patch("/linux/gidMappings", maps);
    let pause = pause.started();
    let shared = [("user", "user"), SHARED[0], SHARED[1], SHARED[2]];
    let member = Sandbox::new()
        .sh("exec sleep 1000")
        .patch("/process/user", json!({ "uid": 7, "gid": 8 }))
        .patch("/linux/namespaces", joining(pause.pid(), &shared));
    let member = member.without("/hostname").started();
    assert_eq!(link(member.pid(), "user"), link(pause.pid(), "user"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", member.pid())).expect("status");
    assert!(status.contains("\nUid:\t200007\t"), "{status}");
    member.exec(["id", "-u"]).ok().prints("7");
    member.delete().ok();
    pause.delete().ok();
}

fn mapping() -> Value {
    json!([{ "containerID": 0, "hostID": 0, "size": 1 }, { "containerID": 1, "hostID": 200_001, "size": 5000 }])
}

/// A member in another user namespace than the owner of its network, IPC and host name: file systems that the
/// kernel does not let it mount come from the host.
fn strange_member(namespaces: Value) -> Sandbox {
    let mut sb = Sandbox::new().sh("exec sleep 1000").patch("/linux/namespaces", namespaces);
    let others = ["/sys", "/sys/fs/cgroup", "/dev/mqueue"];
    let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
    let kept = mounts.into_iter().filter(|m| !others.iter().any(|o| m["destination"] == *o));
    sb.set("/mounts", kept.collect());
    let sys = json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"] });
    sb.patch("/mounts/-", sys).without("/hostname")
}

fn belongs(member: &Sandbox, pause: &Sandbox, shared: &[(&str, &str)]) {
    for (_, file) in shared {
        assert_eq!(link(member.pid(), file), link(pause.pid(), file), "{file}");
    }
    let pod = format!("{}\n", pause.config()["hostname"].as_str().expect("a name"));
    member.exec(["hostname"]).ok().prints(&pod);
    // It has no privileges over them.
    assert_ne!(member.exec(["ip", "link", "set", "lo", "down"]).code, 0);
}

// runc 1.1 creates it, but cannot exec into it.
#[case(OWN_USERNS)]
fn a_user_namespace_and_what_the_host_owns() {
    let pause = Sandbox::new().sh("exec sleep 1000").patch("/hostname", json!("the-pod")).started();
    for own_group in [true, false] {
        let mut shared = SHARED.to_vec();
        shared.extend((!own_group).then_some(("cgroup", "cgroup")));
        let mut namespaces = joining(pause.pid(), &shared);
        namespaces.as_array_mut().expect("an array").push(json!({ "type": "user" }));
        let member = strange_member(namespaces)
            .patch("/linux/uidMappings", mapping())
            .patch("/linux/gidMappings", mapping());
        let member = member.started();
        assert_ne!(link(member.pid(), "user"), link(pause.pid(), "user"));
        belongs(&member, &pause, &shared);
        member.delete().ok();
    }
    pause.delete().ok();
}

#[case(OWN_USERNS)]
fn a_joined_user_namespace_and_what_the_host_owns() {
    let pause = Sandbox::new().sh("exec sleep 1000").patch("/hostname", json!("the-pod")).started();
    let users = Sandbox::new()
        .sh("exec sleep 1000")
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", mapping())
        .patch("/linux/gidMappings", mapping());
    let users = users.started();
    for pids in [&pause, &users] {
        let mut namespaces = joining(pause.pid(), &SHARED);
        let list = namespaces.as_array_mut().expect("an array");
        list.retain(|ns| ns["type"] != "pid");
        list.push(json!({ "type": "pid", "path": format!("/proc/{}/ns/pid", pids.pid()) }));
        list.push(json!({ "type": "user", "path": format!("/proc/{}/ns/user", users.pid()) }));
        let mut member = strange_member(namespaces);
        if pids.id() == pause.id() {
            let proc =
                json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] });
            member.set("/mounts/0", proc);
        }
        let member = member.started();
        assert_eq!(link(member.pid(), "user"), link(users.pid(), "user"));
        assert_eq!(link(member.pid(), "pid"), link(pids.pid(), "pid"));
        belongs(&member, &pause, &SHARED);
        member.delete().ok();
    }
    users.delete().ok();
    pause.delete().ok();
}

/// A user namespace of an unprivileged user with one id: requested groups are dropped, as with runc.
#[case(OWN_USERNS)]
fn a_user_namespace_that_denies_setgroups() {
    let mut holder = std::process::Command::new("unshare");
    let mut holder = holder.args(["--user", "--map-root-user", "sleep", "1000"]).spawn().expect("unshare");
    let pid = holder.id() as i32;
    let file = format!("/proc/{pid}/setgroups");
    poll("the mapping", Duration::from_secs(10), || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == "deny")
            && std::fs::read_to_string(format!("/proc/{pid}/uid_map")).is_ok_and(|map| !map.is_empty())
    });
    for groups in [json!([]), json!([0])] {
        let sb = Sandbox::new()
            .sh("id -u; id -g; exec sleep 1000")
            .patch("/process/user", json!({ "uid": 0, "gid": 0, "additionalGids": groups }))
            .patch("/linux/namespaces", joining(pid, &[("user", "user")]));
        let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
        // Group 5 is not mapped there.
        let kept = mounts.into_iter().filter(|m| m["type"] != "devpts");
        let sb = sb.patch("/mounts", kept.collect());
        let with_groups = ["setpriv", "--groups", "4,24"];
        sb.under(&with_groups).args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
        sb.verb("start").ok();
        assert_eq!(link(sb.pid(), "user"), link(pid, "user"));
        sb.exec(["id", "-u"]).ok().prints("0\n");
        // The caller's groups are dropped: their files may be among the mounts.
        let status = std::fs::read_to_string(format!("/proc/{}/status", sb.pid())).expect("its status");
        let held = status.lines().find_map(|l| l.strip_prefix("Groups:")).expect("Groups");
        assert_eq!(held.trim(), "", "{status}");
        let said = sb.under(&with_groups).args(["exec", sb.id(), "grep", "Groups", "/proc/self/status"]);
        assert_eq!(said.output().ok().stdout.trim_end(), "Groups:");
        sb.delete().ok();
    }
    holder.kill().expect("kill");
    holder.wait().expect("wait");
}

#[case(OCI)]
fn a_member_outlives_the_pause_container() {
    let pause = Sandbox::new().sh("exec sleep 1000").started();
    let member =
        Sandbox::new().sh("exec sleep 1000").patch("/linux/namespaces", joining(pause.pid(), &SHARED));
    let member = member.without("/hostname").started();
    pause.delete().ok();
    assert_eq!(member.status(), "running");
    member.exec(["true"]).ok();
    member.delete().ok();
}

#[case(OWN)]
fn a_namespace_that_is_none() {
    for path in ["/proc/1/ns/none", "/etc/passwd", "/proc/self/ns/uts"] {
        let sb = Sandbox::new().patch(
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "pid" }, { "type": "network", "path": path }]),
        );
        let out = sb.without("/hostname").create();
        assert_ne!(out.code, 0, "{path}: {out}");
        out.says(if path == "/etc/passwd" || path.ends_with("uts") { "setns" } else { path });
    }
}

/// safebox as root of a container with everything a runtime needs: no user namespace, all capabilities,
/// cgroups.
#[case(OWN)]
fn a_container_runs_in_a_container() {
    let inner = Sandbox::new().sh("echo inner $$; hostname");
    let all: Vec<_> = safebox::tables::capabilities::CAPABILITIES.iter().map(|c| json!(c.name)).collect();
    // On v2 a cgroup with processes cannot delegate controllers, so the first process moves to a child
    // cgroup.
    let aside = "if [ -e /sys/fs/cgroup/cgroup.procs ]; then mkdir /sys/fs/cgroup/aside; \
                 echo $$ >/sys/fs/cgroup/aside/cgroup.procs; fi; exec \"$0\" \"$@\"";
    let mut outer = Sandbox::new().args([
        "/bin/sh",
        "-c",
        aside,
        "/usr/safebox",
        "--root",
        "/run/nested",
        "run",
        "--quiet",
        "--policy",
        "privileged",
        "--bundle",
        "/bundle",
        inner.id(),
    ]);
    let bind = |from: &Path, to: &str| json!({ "destination": to, "type": "bind", "source": from, "options": ["rbind", "rw"] });
    let program = crate::harness::bundle::safebox();
    let mounts = [
        bind(&program, "/usr/safebox"),
        bind(&inner.bundle(), "/bundle"),
        match Need::CgroupV2.missing() {
            None => {
                json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"] })
            }
            Some(_) => bind(Path::new("/sys/fs/cgroup"), "/sys/fs/cgroup"),
        },
        json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" }),
    ];
    for mount in mounts {
        outer.set("/mounts/-", mount);
    }
    for set in ["bounding", "effective", "permitted"] {
        outer.set(&format!("/process/capabilities/{set}"), Value::Array(all.clone()));
    }
    outer.set("/process/noNewPrivileges", json!(false));
    outer.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
    let outer = outer.without("/linux/maskedPaths").without("/linux/readonlyPaths");
    outer.run_oci().output().ok().prints("inner 1").prints("safebox");
}

/// The kernel kills all processes with init only in the container's own pid namespace. Other processes of a
/// shared namespace do not belong to the container.
#[case(OWN)]
fn sigkill_reaches_all_of_a_shared_pid_namespace() {
    let namespaces: Value = ["mount", "ipc", "uts"].iter().map(|kind| json!({ "type": kind })).collect();
    let sharing = || {
        let sb = Sandbox::new().sh("sleep 1000 & sleep 1000 & echo up; wait");
        sb.patch("/linux/namespaces", namespaces.clone()).started()
    };
    let other = sharing();
    for first_is_gone in [false, true] {
        let sb = sharing();
        let all = || sb.trace().processes().len();
        poll("three processes", Duration::from_secs(10), || all() == 3);
        if first_is_gone {
            kill(Pid::from_raw(sb.pid()), Signal::SIGKILL).expect("kill");
            sb.wait_for_status("stopped");
        }
        sb.kill("KILL").ok();
        poll("all have ended", Duration::from_secs(10), || all() == 0);
        sb.wait_for_status("stopped");
        sb.kill("KILL").exits(1).says("container not running");
        sb.verb("delete").ok();
    }
    assert_eq!(other.trace().processes().len(), 3);
    other.delete().ok();
}
