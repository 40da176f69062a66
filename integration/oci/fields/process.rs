//! `process`, and the parts of `linux` about the process: read back from the kernel's files, from outside.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{self, Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];
/// runc 1.1 does not know these fields.
const OWN: &[Need] = &[Need::Root];

/// Creates and starts a container that sleeps; the caller deletes it.
fn sleeping(sb: &Sandbox) -> i32 {
    sb.create().ok();
    sb.verb("start").ok();
    harness::poll("the program runs", std::time::Duration::from_secs(5), || {
        std::fs::read_to_string(format!("/proc/{}/comm", sb.pid())).is_ok_and(|c| c.trim() == "sleep")
    });
    sb.pid()
}

fn proc(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_else(|e| panic!("/proc/{pid}/{file}: {e}"))
}

/// A line of `/proc/PID/status` with single blanks.
fn status(pid: i32, key: &str) -> String {
    let text = proc(pid, "status");
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Field `n` of `/proc/PID/stat` (proc_pid_stat(5)); the second is the name.
fn stat(pid: i32, n: usize) -> String {
    let text = proc(pid, "stat");
    let after = text.rsplit_once(')').expect("a name").1;
    after.split_whitespace().nth(n - 3).unwrap_or_default().to_string()
}

#[case(OCI)]
fn process_user_umask_and_groups() {
    let user = json!({ "uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [10, 2_147_483_647] });
    let sb = Sandbox::sleeper().patch("/process/user", user);
    let pid = sleeping(&sb);
    assert_eq!(status(pid, "Uid"), "1000 1000 1000 1000");
    assert_eq!(status(pid, "Gid"), "1001 1001 1001 1001");
    assert_eq!(status(pid, "Groups"), "10 2147483647");
    assert_eq!(status(pid, "Umask"), "0027");
    let out = sb.exec(["sh", "-c", "id -u; id -G; umask"]).ok().prints("1000\n1001 10 2147483647");
    if !harness::bundle::is_foreign() {
        // runc 1.1 ignores the umask here.
        out.prints("0027");
    }
    sb.delete().ok();
    let pid = {
        let sb = Sandbox::sleeper();
        let pid = sleeping(&sb);
        assert_eq!((status(pid, "Umask").as_str(), status(pid, "Groups").as_str()), ("0022", ""));
        sb.delete().ok();
        pid
    };
    assert!(pid > 0);
}

#[case(OCI)]
fn process_rlimits_are_the_kernel_s() {
    let table = [
        ("RLIMIT_AS", "Max address space"),
        ("RLIMIT_CORE", "Max core file size"),
        ("RLIMIT_CPU", "Max cpu time"),
        ("RLIMIT_DATA", "Max data size"),
        ("RLIMIT_FSIZE", "Max file size"),
        ("RLIMIT_LOCKS", "Max file locks"),
        ("RLIMIT_MEMLOCK", "Max locked memory"),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
        ("RLIMIT_NICE", "Max nice priority"),
        ("RLIMIT_NOFILE", "Max open files"),
        ("RLIMIT_NPROC", "Max processes"),
        ("RLIMIT_RSS", "Max resident set"),
        ("RLIMIT_RTPRIO", "Max realtime priority"),
        ("RLIMIT_RTTIME", "Max realtime timeout"),
        ("RLIMIT_SIGPENDING", "Max pending signals"),
        ("RLIMIT_STACK", "Max stack size"),
    ];
    // At most this process's own limit, because raising needs CAP_SYS_RESOURCE; large enough for a runtime in
    // Go.
    let mine = proc(std::process::id() as i32, "limits");
    let of = |i: usize, shown: &str| {
        let line = mine.lines().find_map(|l| l.strip_prefix(shown)).unwrap_or_default();
        match line.split_whitespace().nth(1).and_then(|hard| hard.parse::<u64>().ok()) {
            Some(hard) => (hard.saturating_sub(1), hard),
            None => ((1 << 36) + i as u64 * 4096, (1 << 37) + i as u64 * 4096),
        }
    };
    let limits: Vec<Value> = table
        .iter()
        .enumerate()
        .map(|(i, (name, shown))| json!({ "type": name, "soft": of(i, shown).0, "hard": of(i, shown).1 }))
        .collect();
    let sb = Sandbox::sleeper().patch("/process/rlimits", json!(limits));
    let pid = sleeping(&sb);
    let exec = sb.exec(["cat", "/proc/self/limits"]).ok().stdout;
    for text in [proc(pid, "limits"), exec] {
        for (i, (name, shown)) in table.iter().enumerate() {
            let line = text.lines().find_map(|l| l.strip_prefix(shown)).unwrap_or_default();
            let got: Vec<_> = line.split_whitespace().take(2).collect();
            let (soft, hard) = of(i, shown);
            if harness::bundle::is_foreign() && *name == "RLIMIT_NOFILE" && got[0] == hard.to_string() {
                // runc's own process may raise it afterwards: Go 1.19 does so whenever a program starts.
                continue;
            }
            assert_eq!(got, [soft.to_string(), hard.to_string()], "{name}");
        }
    }
    sb.delete().ok();
}

#[case(OCI)]
fn process_oom_score_adj() {
    let sb = Sandbox::sleeper().patch("/process/oomScoreAdj", json!(321));
    let pid = sleeping(&sb);
    assert_eq!(proc(pid, "oom_score_adj").trim(), "321");
    sb.exec(["cat", "/proc/self/oom_score_adj"]).ok().prints("321");
    sb.delete().ok();
}

#[case(OCI)]
fn process_cwd_is_made() {
    let sb = Sandbox::new()
        .sh("pwd; stat -c %u:%g .; touch file")
        .patch("/root/readonly", json!(false))
        .patch("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .patch("/process/cwd", json!("/made/for/it"));
    let out = sb.run_oci().output();
    assert!(out.stdout.starts_with("/made/for/it\n"), "{out}");
    if !harness::bundle::is_foreign() {
        // runc leaves it owned by root.
        out.ok().prints("1000:1000");
    }
}

#[case(OWN)]
fn process_scheduler_policies() {
    let policy = |name: &str| json!({ "policy": name });
    let cases = [
        (policy("SCHED_OTHER"), ("0", "0", "0")),
        (json!({ "policy": "SCHED_OTHER", "nice": 7 }), ("0", "7", "0")),
        (json!({ "policy": "SCHED_BATCH", "nice": 5 }), ("3", "5", "0")),
        (policy("SCHED_IDLE"), ("5", "0", "0")),
        (json!({ "policy": "SCHED_FIFO", "priority": 10 }), ("1", "0", "10")),
        (json!({ "policy": "SCHED_RR", "priority": 20 }), ("2", "0", "20")),
        (
            json!({ "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 10_000_000,
                    "flags": ["SCHED_FLAG_RESET_ON_FORK"] }),
            ("6", "0", "0"),
        ),
    ];
    for (scheduler, want) in cases {
        let sb = Sandbox::sleeper().patch("/process/scheduler", scheduler.clone());
        let out = sb.create();
        let realtime =
            ["SCHED_FIFO", "SCHED_RR", "SCHED_DEADLINE"].map(Value::from).contains(&scheduler["policy"]);
        if realtime && out.code != 0 {
            // A v1 cpu cgroup has no realtime budget by default; the error prevents a run without the
            // requested scheduler.
            out.says("sched_setattr").says("/process/scheduler");
            sb.leak_check();
            continue;
        }
        out.ok();
        sb.verb("start").ok();
        let pid = sb.pid();
        assert_eq!(
            (stat(pid, 41).as_str(), stat(pid, 19).as_str(), stat(pid, 40).as_str()),
            want,
            "{scheduler}"
        );
        sb.delete().ok();
    }
}

#[case(OWN)]
fn process_scheduler_refusals_have_pointers() {
    let cases = [
        (json!({}), "/process/scheduler/policy"),
        (json!({ "policy": "SCHED_ISO" }), "/process/scheduler/policy"),
        (json!({ "policy": "SCHED_NO" }), "/process/scheduler/policy"),
        (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "/process/scheduler/nice"),
        (json!({ "policy": "SCHED_OTHER", "priority": 1 }), "/process/scheduler/priority"),
        (json!({ "policy": "SCHED_FIFO", "priority": 0 }), "/process/scheduler/priority"),
        (json!({ "policy": "SCHED_FIFO", "priority": 1, "runtime": 5 }), "/process/scheduler"),
        (json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"] }), "/process/scheduler/flags/0"),
    ];
    for (scheduler, pointer) in cases {
        let sb = Sandbox::new().patch("/process/scheduler", scheduler);
        sb.create().exits(1).says(pointer);
    }
}

#[case(OWN)]
fn process_io_priority() {
    let cases = [
        ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ];
    for (class, priority, shown) in cases {
        let sb =
            Sandbox::sleeper().patch("/process/ioPriority", json!({ "class": class, "priority": priority }));
        let pid = sleeping(&sb);
        let out = Command::new("ionice").arg("-p").arg(pid.to_string()).output().expect("ionice");
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), shown);
        sb.delete().ok();
    }
    for (priority, pointer) in [
        (json!({ "class": "IOPRIO_CLASS_X" }), "/process/ioPriority/class"),
        (json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }), "/process/ioPriority/priority"),
    ] {
        Sandbox::new().patch("/process/ioPriority", priority).create().exits(1).says(pointer);
    }
}

#[case(OWN)]
fn process_exec_cpu_affinity() {
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    if cpus() < 2 {
        return;
    }
    let allowed = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    for (affinity, want) in [
        (json!({ "final": "1" }), "\t1\n"),
        // Until it is in the cgroup: older kernels then reset it to all cpus of the cgroup.
        (json!({ "initial": "0" }), "\t0"),
        (json!({ "initial": "0", "final": "1" }), "\t1\n"),
    ] {
        let sb = Sandbox::sleeper().patch("/process/execCPUAffinity", affinity);
        // The field does not apply to the first process.
        let pid = sleeping(&sb);
        assert!(status(pid, "Cpus_allowed_list").contains('-'), "{}", status(pid, "Cpus_allowed_list"));
        sb.exec(allowed).ok().prints(want);
        sb.delete().ok();
    }
    let sb = Sandbox::sleeper().patch("/process/execCPUAffinity", json!({ "final": "1000" }));
    sleeping(&sb);
    sb.exec(allowed).exits(255).says("/process/execCPUAffinity");
    sb.delete().ok();
    let sb = Sandbox::sleeper().patch("/process/execCPUAffinity", json!({ "initial": "x" }));
    sb.create().exits(1).says("/process/execCPUAffinity/initial: ");
}

#[case(OWN)]
fn process_personality_for_run_and_exec() {
    let sb = Sandbox::sleeper().patch("/linux/personality", json!({ "domain": "LINUX32" }));
    let pid = sleeping(&sb);
    assert_eq!(proc(pid, "personality").trim(), "00000008");
    if cfg!(target_arch = "x86_64") {
        sb.exec(["uname", "-m"]).ok().prints("i686");
    }
    sb.delete().ok();
    for (personality, pointer) in [
        (json!({ "domain": "LINUX64" }), "/linux/personality/domain"),
        (json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] }), "/linux/personality/flags"),
    ] {
        Sandbox::new().patch("/linux/personality", personality).create().exits(1).says(pointer);
    }
}

/// Whether this kernel has memory policies.
fn numa() -> bool {
    std::path::Path::new("/proc/self/numa_maps").exists()
}

#[case(OWN)]
fn process_memory_policy_for_run_and_exec() {
    if !numa() {
        let sb = Sandbox::new().patch("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0" }));
        sb.create().exits(1).says("/linux/memoryPolicy");
        return;
    }
    for (policy, shown) in [
        (json!({ "mode": "MPOL_BIND", "nodes": "0" }), "bind:0"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }), "bind=static:0"),
        (json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }), "prefer:0"),
        (json!({ "mode": "MPOL_PREFERRED_MANY", "nodes": "0" }), "prefer (many):0"),
        (json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0" }), "interleave:0"),
        (json!({ "mode": "MPOL_LOCAL" }), "local"),
        (json!({ "mode": "MPOL_DEFAULT" }), "default"),
    ] {
        let sb = Sandbox::sleeper().patch("/linux/memoryPolicy", policy.clone());
        let pid = sleeping(&sb);
        let maps = proc(pid, "numa_maps");
        assert!(
            maps.lines().all(|l| l.split_once(' ').is_some_and(|(_, l)| l.starts_with(shown))),
            "{policy}\n{maps}"
        );
        let inside = sb.exec(["cat", "/proc/self/numa_maps"]).ok();
        assert!(inside.stdout.contains(shown), "{policy}\n{inside}");
        sb.delete().ok();
    }
}

#[case(OWN)]
fn process_memory_policy_errors_have_pointers() {
    for (policy, pointer) in [
        (json!({ "mode": "MPOL_X" }), "/linux/memoryPolicy/mode"),
        (json!({ "nodes": "0" }), "/linux/memoryPolicy/mode"),
        (json!({ "mode": "MPOL_BIND" }), "/linux/memoryPolicy/nodes"),
        (json!({ "mode": "MPOL_BIND", "nodes": "900" }), "/linux/memoryPolicy"),
        (json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["X"] }), "/linux/memoryPolicy/flags/0"),
    ] {
        let sb = Sandbox::new().patch("/linux/memoryPolicy", policy);
        sb.create().exits(1).says(pointer);
        sb.leak_check();
    }
}

#[case(OWN)]
fn process_names_of_the_machine() {
    let sb = Sandbox::new()
        .sh("hostname; cat /proc/sys/kernel/domainname")
        .patch("/hostname", json!("a-host"))
        .patch("/domainname", json!("a.domain"));
    sb.run_oci().output().ok().prints("a-host\na.domain\n");
    for (pointer, name) in [("/hostname", "a"), ("/domainname", "b")] {
        let namespaces = json!([{ "type": "mount" }, { "type": "pid" }]);
        let sb = Sandbox::new().without("/hostname").patch("/linux/namespaces", namespaces);
        sb.patch(pointer, json!(name)).create().exits(1).says(&format!("{pointer}: "));
        let sb = Sandbox::new().patch(pointer, json!("x".repeat(65)));
        sb.create().exits(1).says(&format!("{pointer}: "));
    }
}

#[case(OWN)]
fn process_time_offsets() {
    let sb = Sandbox::new()
        .sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime || cat /proc/uptime")
        .patch("/linux/namespaces/-", json!({ "type": "time" }))
        .patch(
            "/linux/timeOffsets",
            json!({ "monotonic": { "secs": 1000, "nanosecs": 5 }, "boottime": { "secs": 900_000_000 } }),
        );
    let out = sb.run_oci().output();
    let words: Vec<_> = out.stdout.split_whitespace().collect();
    assert!(words.windows(3).any(|w| w == ["monotonic", "1000", "5"]), "{out}");
    assert!(words.windows(3).any(|w| w == ["boottime", "900000000", "0"]), "{out}");
    for (offsets, pointer) in [
        (json!({ "realtime": { "secs": 1 } }), "/linux/timeOffsets/realtime"),
        (json!({ "monotonic": { "nanosecs": 1_000_000_000 } }), "/linux/timeOffsets/monotonic/nanosecs"),
    ] {
        let sb = Sandbox::new().patch("/linux/namespaces/-", json!({ "type": "time" }));
        sb.patch("/linux/timeOffsets", offsets).create().exits(1).says(pointer);
    }
    let sb = Sandbox::new().patch("/linux/timeOffsets", json!({ "monotonic": { "secs": 1 } }));
    sb.create().exits(1).says("/linux/timeOffsets: ");
}

#[case(OWN)]
fn process_selinux_label_without_selinux_is_refused() {
    if Need::Selinux.missing().is_none() {
        return;
    }
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    for pointer in ["/process/selinuxLabel", "/linux/mountLabel"] {
        let sb = Sandbox::new().patch(pointer, json!(label));
        sb.create().exits(1).says(&format!("{pointer}: SELinux is not active"));
        sb.leak_check();
    }
}

#[case(OWN)]
fn intel_rdt_without_resctrl_names_the_remedy() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if mounts.contains(" - resctrl ") {
        return;
    }
    let sb = Sandbox::new().patch("/linux/intelRdt", json!({ "closID": "c" }));
    sb.create().exits(1).says("/linux/intelRdt: ").says("mount -t resctrl");
    sb.leak_check();
}
