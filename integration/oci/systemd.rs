//! `--systemd-cgroup`: the container's cgroup is a transient scope with runc's properties, and later verbs
//! work without the option.

mod compare;
mod units;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::carried::patience;
use crate::harness::{Call, Need, Sandbox, case, poll, rounds};

const BOOTED: &[Need] = &[Need::Root, Need::Systemd];
/// systemd closes all bus connections when it is reloaded.
const RELOADS: &[Need] = &[Need::Root, Need::Systemd, Need::Alone];

const OWNED: &[Need] = &[Need::Root, Need::Systemd, Need::CgroupV2, Need::Userns];
const UPDATED: &[Need] = &[Need::Root, Need::Systemd, Need::CgroupV2, Need::Alone];

#[case(OWNED)]
fn a_writable_scope_is_its_user_s() {
    crate::oci::fields::cgroup::owners(&["--systemd-cgroup"])
}

const MIB: u64 = 1 << 20;

/// A shell that waits, with a limit of each kind.
fn limited() -> Sandbox {
    Sandbox::new()
        .args(["/bin/sleep", "1000"])
        .patch(
            "/linux/resources/memory",
            json!({ "limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB }),
        )
        .patch(
            "/linux/resources/cpu",
            json!({ "shares": 512, "quota": 50_500, "period": 100_000, "cpus": "0" }),
        )
        .patch("/linux/resources/pids", json!({ "limit": 33 }))
}

fn create(sb: &Sandbox) -> Call {
    sb.runtime().args(["--systemd-cgroup", "create", "--bundle"]).arg(sb.bundle()).arg(sb.id())
}

fn systemctl(args: &[&str]) -> String {
    let out = Command::new("systemctl").args(args).output().expect("systemctl");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, unit]).trim().to_string()
}

/// Asserts that no unit of this test exists; systemd unloads a unit a moment after its end.
#[track_caller]
fn no_unit(sb: &Sandbox) {
    let units = || systemctl(&["list-units", "--all", "--plain", "--no-legend"]);
    poll("the unit is forgotten", Duration::from_secs(10), || !units().contains(sb.id()));
}

fn group(pid: i32) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("/proc/PID/cgroup");
    let line = text.lines().find(|l| l.starts_with("0::") || l.contains("name=systemd")).expect("a line");
    line.rsplit(':').next().expect("a path").into()
}

/// A file of the container's v2 cgroup, if this host has one.
fn file(pid: i32, name: &str) -> Option<String> {
    let path = PathBuf::from(format!("/sys/fs/cgroup{}", group(pid).display())).join(name);
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_string())
}

#[case(RELOADS)]
fn a_scope_has_the_limits_and_keeps_them() {
    let sb = limited();
    create(&sb).output().ok();
    let (pid, unit) = (sb.pid(), format!("safebox-{}.scope", sb.id()));
    assert_eq!(group(pid), PathBuf::from("/system.slice").join(&unit));
    assert_eq!(property(&unit, "TasksMax"), "33");
    assert_eq!(property(&unit, "Delegate"), "yes");
    if let Some(weight) = file(pid, "cpu.weight") {
        assert_eq!((weight.as_str(), property(&unit, "CPUWeight").as_str()), ("59", "59"), "512 shares");
    }
    let files = |max: &str| {
        if let Some(memory) = file(pid, "memory.max") {
            assert_eq!(memory, max);
            assert_eq!(file(pid, "pids.max").as_deref(), Some("33"));
            assert_eq!(file(pid, "memory.swap.max"), Some((32 * MIB).to_string()));
            assert_eq!(file(pid, "cpuset.cpus").as_deref(), Some("0"));
        }
    };
    files(&(64 * MIB).to_string());
    if let Some(cpu) = file(pid, "cpu.max") {
        assert_eq!(cpu, "50500 100000", "systemd counts in percents, the file does not");
    }
    // systemd writes its units' files again with the same values.
    systemctl(&["daemon-reload"]);
    files(&(64 * MIB).to_string());
    sb.runtime().args(["update", "--memory", &(80 * MIB).to_string()]).arg(sb.id()).output().ok();
    systemctl(&["daemon-reload"]);
    if file(pid, "memory.max").is_some() {
        assert_eq!(property(&unit, "MemoryMax"), (80 * MIB).to_string());
        assert_eq!(file(pid, "memory.max"), Some((80 * MIB).to_string()));
    }
    sb.delete().ok();
    sb.leak_check();
    no_unit(&sb);
}

/// systemd's properties equal the cgroup files, and stay when systemd writes them again.
#[case(UPDATED)]
fn an_update_is_systemd_s_as_well() {
    let sb =
        limited().patch("/linux/resources/unified", json!({ "pids.max": "44", "memory.high": "60000000" }));
    create(&sb).output().ok();
    let (pid, unit) = (sb.pid(), format!("safebox-{}.scope", sb.id()));
    let update = |args: &[&str]| sb.runtime().arg("update").args(args).arg(sb.id()).output();
    // Name and value of each property, file and content of each in the cgroup. A reload takes seconds.
    let seen = |expected: &[(&str, &str, &str, &str)]| {
        for when in ["at once", "after daemon-reload"] {
            for (name, says, in_file, says_file) in expected {
                assert_eq!(property(&unit, name), *says, "{name} {when}");
                assert_eq!(file(pid, in_file).as_deref(), Some(*says_file), "{in_file} {when}");
            }
            if when == "at once" {
                systemctl(&["daemon-reload"]);
            }
        }
    };
    seen(&[("TasksMax", "44", "pids.max", "44")]);
    // The option is applied, not the config's `unified` file.
    update(&["--pids-limit", "55"]).ok();
    seen(&[("TasksMax", "55", "pids.max", "55"), ("MemoryHigh", "60000000", "memory.high", "59998208")]);
    update(&["--memory", "-1"]).ok();
    let none = "infinity";
    seen(&[("MemoryMax", none, "memory.max", "max"), ("MemorySwapMax", none, "memory.swap.max", "max")]);
    // Shares end the idle mode and are restored after it.
    update(&["--cpu-idle", "1"]).ok();
    seen(&[("CPUWeight", "idle", "cpu.idle", "1")]);
    update(&["--pids-limit", "56"]).ok();
    seen(&[("CPUWeight", "idle", "cpu.idle", "1")]);
    update(&["--cpu-share", "1024"]).ok();
    seen(&[("CPUWeight", "100", "cpu.idle", "0")]);
    update(&["--cpu-idle", "1"]).ok();
    update(&["--cpu-idle", "0"]).ok();
    seen(&[("CPUWeight", "100", "cpu.weight", "100")]);
    // Without the check the process would be killed before the file is read.
    let low = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } }).to_string();
    let out = sb.runtime().args(["update", "--resources", "-"]).arg(sb.id()).input(low).output();
    out.exits(1).says("rejecting memory limit 4096 < usage ");
    assert_eq!(sb.status(), "created");
    sb.delete().ok();
    sb.leak_check();
    no_unit(&sb);
}

/// Each reload closes all bus connections; jobs continue.
#[case(RELOADS)]
fn a_launch_survives_reloads() {
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(seen) {
                systemctl(&["daemon-reload"]);
            }
        });
        let launches = std::panic::catch_unwind(|| {
            for _ in 0..rounds(12) {
                let sb = limited();
                create(&sb).output().ok();
                sb.runtime().args(["update", "--pids-limit", "44"]).arg(sb.id()).output().ok();
                sb.delete().ok();
                sb.leak_check();
            }
        });
        done.store(true, seen);
        launches.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[case(BOOTED)]
fn later_verbs_need_no_flag() {
    let sb = limited().patch("/linux/cgroupsPath", json!("box-inner.slice:test:"));
    let path = format!("box-inner.slice:test:{}", sb.id());
    let sb = sb.patch("/linux/cgroupsPath", json!(path));
    create(&sb).output().ok();
    let pid = sb.pid();
    let scope = format!("test-{}.scope", sb.id());
    assert_eq!(group(pid), PathBuf::from("/box.slice/box-inner.slice").join(&scope));
    sb.verb("start").ok();
    let mut exec = sb.runtime().arg("exec").arg(sb.id()).args(["sleep", "1000"]).spawn();
    let pids = || sb.runtime().args(["ps", "--format", "json"]).arg(sb.id()).output().ok().stdout;
    poll("two processes are in the scope", Duration::from_secs(10), || pids().matches(',').count() == 1);
    assert!(!exec.has_ended());
    sb.verb("pause").ok();
    assert_eq!(sb.status(), "paused");
    sb.verb("resume").ok();
    sb.runtime().args(["kill", "--all"]).arg(sb.id()).arg("KILL").output().ok();
    exec.wait().exits(137);
    sb.wait_for_status("stopped");
    sb.verb("delete").ok();
    sb.leak_check();
    no_unit(&sb);
    // The slice was created for the scope and belongs to systemd.
    systemctl(&["stop", "box-inner.slice", "box.slice"]);
}

#[case(BOOTED)]
fn annotations_are_properties() {
    let sb = limited()
        .patch("/annotations/org.systemd.property.TimeoutStopSec", json!("7"))
        .patch("/annotations/org.systemd.property.Description", json!("'a test'"))
        .patch("/annotations/org.systemd.property.After", json!("['basic.target']"));
    create(&sb).output().ok();
    let unit = format!("safebox-{}.scope", sb.id());
    assert_eq!(property(&unit, "TimeoutStopUSec"), "7s");
    assert_eq!(property(&unit, "Description"), "a test");
    assert!(property(&unit, "After").contains("basic.target"));
    sb.delete().ok();
    no_unit(&sb);
    for (name, value, says) in [
        ("After", "[1", "/annotations/org.systemd.property.After"),
        ("A1", "1", "is not the name of a systemd property"),
        ("NoSuchThing", "1", "NoSuchThing"),
    ] {
        let sb = limited().patch(&format!("/annotations/org.systemd.property.{name}"), json!(value));
        create(&sb).output().exits(1).says(says);
        sb.leak_check();
        no_unit(&sb);
    }
}

fn run_call(sb: &Sandbox) -> Call {
    sb.runtime().args(["--systemd-cgroup", "run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.id())
}

#[case(BOOTED)]
fn run_leaves_no_unit() {
    let sb = Sandbox::new().sh("exit 7");
    let out = run_call(&sb).output().exits(7);
    assert!(out.took < patience(Duration::from_secs(10)), "{out}");
    sb.leak_check();
    // The name is free again at once.
    run_call(&sb).output().exits(7);
    no_unit(&sb);
}

/// Podman's `--cgroupns host`: the container's own cgroup is a bind mount of a scope that is created late.
#[case(BOOTED)]
fn a_scope_is_shown_without_a_cgroup_namespace() {
    let name = |kind: &str| json!({ "type": kind });
    let kinds = ["pid", "network", "ipc", "uts", "mount", "user"];
    for count in [5, 6] {
        let namespaces: Vec<_> = kinds[..count].iter().map(|k| name(k)).collect();
        let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/pids; do cat $d/pids.max; done 2>/dev/null";
        let mut sb = limited().sh(script).patch("/linux/namespaces", json!(namespaces)).patch(
            "/mounts/-",
            json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"] }),
        );
        if count == 6 {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            sb.set("/linux/uidMappings", map.clone());
            sb.set("/linux/gidMappings", map);
        }
        let out = run_call(&sb).output();
        assert_eq!(out.stdout, "33\n", "{out}");
        sb.leak_check();
        no_unit(&sb);
    }
}

const OUT_OF_MEMORY: &str =
    "out of memory: the kernel killed 1 process(es) of the container at its memory limit";

fn hungry(script: &str) -> Sandbox {
    let memory = json!({ "limit": 32 * MIB, "swap": 32 * MIB });
    Sandbox::new().sh(script).patch("/linux/resources/memory", memory)
}

#[case(BOOTED)]
fn run_reports_an_oom_kill() {
    for _ in 0..rounds(20) {
        let sb = hungry("exec tail /dev/zero");
        run_call(&sb).args(["--policy", "privileged"]).output().exits(137).says(OUT_OF_MEMORY);
    }
    // A SIGKILL with another cause is not reported as out of memory.
    let sb = hungry("echo up; exec sleep 1000");
    let run = sb.run_until(run_call(&sb).args(["--policy", "privileged"]), "up");
    sb.kill("KILL").ok();
    let out = run.wait().exits(137);
    assert!(!out.stderr.contains("out of memory"), "{out}");
    no_unit(&sb);
}

/// systemd removes the scope when its last process has ended; here the launcher sleeps until then.
#[case(BOOTED)]
fn run_reports_an_oom_kill_of_a_scope_that_is_gone() {
    let sb = hungry("echo up; while [ ! -e /dev/shm/go ]; do sleep 0.1; done; exec tail /dev/zero");
    let run = sb.run_until(run_call(&sb).args(["--policy", "privileged"]), "up");
    let trees = sb.trace().cgroups();
    assert!(!trees.is_empty());
    run.signal(Signal::SIGSTOP);
    let shm = format!("/proc/{}/root/dev/shm/go", sb.pid());
    std::fs::write(shm, "").expect("a file");
    let unit = format!("safebox-{}.scope", sb.id());
    poll("the scope is gone", Duration::from_secs(20), || property(&unit, "ActiveState") != "active");
    poll("its group is gone", Duration::from_secs(5), || sb.trace().cgroups().len() < trees.len());
    run.signal(Signal::SIGCONT);
    run.wait().exits(137).says(OUT_OF_MEMORY);
    sb.leak_check();
    no_unit(&sb);
}

/// The rows around the scope, and some others.
#[case(BOOTED)]
fn every_fault_leaves_no_unit() {
    let sb = limited();
    let explain = sb.runtime().args(["--systemd-cgroup", "explain", "--json"]).arg(sb.bundle()).output().ok();
    let plan: serde_json::Value = serde_json::from_str(&explain.stdout).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    let at = |text: &str| {
        let has = |s: &serde_json::Value| s["action"].as_str().is_some_and(|a| a.contains(text));
        steps.iter().position(has).unwrap_or_else(|| panic!("no row with {text}")) + 1
    };
    let (clone, scope) = (at("clone3("), at("StartTransientUnit("));
    assert!(
        steps[scope - 1]["undo"].as_str().is_some_and(|u| u.contains("StopUnit")),
        "{}",
        steps[scope - 1]
    );
    let rows = (clone..scope + 12).chain((scope + 12..steps.len()).step_by(15)).chain([steps.len()]);
    for row in rows {
        let out = run_call(&sb).args(["--fail", &format!("{row}:EIO")]).output().exits(125);
        out.says(&format!("row {row} ("));
        let left = sb.trace().find();
        assert!(left.is_empty(), "left behind by row {row}:\n  {}", left.join("\n  "));
    }
    no_unit(&sb);
}

#[case(BOOTED)]
fn a_foreign_unit_is_not_touched() {
    let sb = limited();
    create(&sb).output().ok();
    let path = format!("system.slice:safebox:{}", sb.id());
    let sb = sb.patch("/linux/cgroupsPath", json!(path));
    let other = sb.other_id("b");
    let call = sb.runtime().args(["--systemd-cgroup", "create", "--bundle"]).arg(sb.bundle()).arg(&other);
    call.output().exits(1).says("EEXIST");
    assert_eq!(sb.status(), "created", "the first one is as it was");
    sb.delete().ok();
    sb.leak_check();
    no_unit(&sb);
}

#[case(BOOTED)]
fn a_path_that_is_no_unit_is_refused() {
    for bad in ["/a/b", "a.slice:b", "a:b:c", "a--b.slice:p:n", "a.slice:p:n.slice", "a.slice:p:a b"] {
        let sb = limited().patch("/linux/cgroupsPath", json!(bad));
        create(&sb).output().exits(1).says("/linux/cgroupsPath");
        sb.leak_check();
    }
}

#[case(Root, NoSystemd)]
fn without_systemd_nothing_runs() {
    let sb = limited();
    create(&sb).output().exits(1).says("--systemd-cgroup: this machine was not booted with systemd");
    sb.leak_check();
    let call =
        sb.runtime().args(["--cgroup-manager", "systemd", "run", "--bundle"]).arg(sb.bundle()).arg(sb.id());
    call.output().exits(125).says("not booted with systemd");
    sb.leak_check();
}

#[case(Root)]
fn managers_must_agree() {
    let sb = Sandbox::new();
    let call = sb.runtime().args(["--systemd-cgroup", "--cgroup-manager", "cgroupfs", "create", "--bundle"]);
    call.arg(sb.bundle()).arg(sb.id()).output().exits(1).says("contradict each other");
    let call = sb.runtime().args(["--cgroup-manager", "none", "create", "--bundle"]);
    call.arg(sb.bundle()).arg(sb.id()).output().exits(1).says("one of cgroupfs, systemd, disabled");
    sb.leak_check();
}
