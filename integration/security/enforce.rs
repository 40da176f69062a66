//! The administrator's policy file, for containers that engines start: refused, hardened, warned of, or left alone.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Call, Need, Output, Sandbox, bundle::safebox, case};

const ROOT: &[Need] = &[Need::Root];

fn file(sb: &Sandbox, text: &str) -> PathBuf {
    let path = sb.dir().join("policy.toml");
    std::fs::write(&path, text).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    path
}

/// `create` as containerd's shim calls it: with a log that it shows to its user.
fn create(sb: &Sandbox, policy: &str) -> Output {
    call(sb, policy).arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id()).output()
}

fn call(sb: &Sandbox, policy: &str) -> Call {
    let log = sb.dir().join("log.json");
    sb.runtime()
        .arg("--log")
        .arg(log)
        .args(["--log-format", "json"])
        .arg("--policy-file")
        .arg(file(sb, policy))
}

/// The messages in that log.
fn log(sb: &Sandbox) -> String {
    std::fs::read_to_string(sb.dir().join("log.json")).unwrap_or_default()
}

const ENFORCE: &str = "mode = \"enforce\"\nlevel = \"restricted\"\n";

/// What a kubelet asks for a pod that Pod Security Standards call restricted: the namespaces of its sandbox, without a
/// user namespace, with a writable rootfs.
fn restricted_pod(sb: Sandbox) -> Sandbox {
    sb.patch("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .patch("/process/capabilities", json!({}))
        .patch("/process/noNewPrivileges", json!(true))
        .patch("/root/readonly", json!(false))
        .patch(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }] }),
        )
        .patch("/annotations", json!({ "io.kubernetes.cri.container-type": "container" }))
}

fn privileged(sb: Sandbox) -> Sandbox {
    let names: Vec<_> = safebox::tables::capabilities::CAPABILITIES.iter().map(|row| row.name).collect();
    let caps = json!(names);
    sb.patch("/process/capabilities", json!({ "bounding": caps, "effective": caps, "permitted": caps }))
        .patch("/linux/maskedPaths", json!([]))
        .patch("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]))
}

#[case(ROOT)]
fn a_privileged_container_is_refused_and_leaves_nothing() {
    let sb = privileged(Sandbox::new());
    for level in ["baseline", "restricted"] {
        let out = create(&sb, &format!("mode = \"enforce\"\nlevel = \"{level}\"\n"));
        let out = out.exits(1).says(&format!("policy {level} refuses this container: "));
        // Engines show one line.
        let line = out.stderr.lines().next().unwrap_or_default().to_string();
        assert!(line.contains("remedy: ") && line.contains(" at /"), "{line}");
        assert!(log(&sb).contains("refuses this container"), "{}", log(&sb));
        sb.leak_check();
    }
}

#[case(ROOT)]
fn a_restricted_pod_runs() {
    let sb = restricted_pod(Sandbox::new().sh("id -u; exit 5"));
    create(&sb, ENFORCE).ok();
    sb.verb("start").ok();
    sb.wait_for_status("stopped");
    sb.delete();
    // One thing less, and it is refused by the rule that is about it.
    for (pointer, value, rule) in [
        ("/process/user", json!({ "uid": 0, "gid": 0 }), "non-root"),
        ("/process/noNewPrivileges", json!(false), "no-new-privileges"),
        ("/linux/seccomp", json!(null), "seccomp"),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }), "sysctls"),
        ("/process/capabilities", json!({ "bounding": ["CAP_CHOWN"] }), "no-capabilities"),
    ] {
        let sb = restricted_pod(Sandbox::new()).patch(pointer, value);
        create(&sb, ENFORCE).exits(1).says(&format!("refuses this container: {rule}: "));
        sb.leak_check();
    }
}

#[case(ROOT)]
fn a_pod_s_sandbox_is_judged_by_baseline() {
    // The pause container has engines' default capabilities and no filter.
    let of_engine = |sb: Sandbox, id: &str| {
        let id = if id.is_empty() { sb.id().to_string() } else { id.into() };
        let annotations =
            json!({ "io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": id });
        sb.patch("/annotations", annotations)
    };
    let sb = of_engine(Sandbox::new(), "");
    create(&sb, ENFORCE).ok();
    sb.delete().ok();
    let sb = of_engine(privileged(Sandbox::new()), "");
    create(&sb, ENFORCE).exits(1).says("policy restricted refuses");
    // The annotation of a user or of an image, who do not know the id.
    let forged = json!({ "io.kubernetes.cri.container-type": "sandbox" });
    for sb in [of_engine(Sandbox::new(), "other"), Sandbox::new().patch("/annotations", forged)] {
        create(&sb, ENFORCE).exits(1).says("policy restricted refuses");
        sb.leak_check();
    }
}

/// The name of an image counts where the engine has written it: beside the id of a pod's sandbox that exists, or of the
/// container itself.
#[case(ROOT)]
fn an_image_s_name_counts_where_the_engine_wrote_it() {
    const POLICY: &str = "mode = \"enforce\"\nlevel = \"restricted\"\n[[exceptions]]\nreason = \"trusted\"\nimage = \"registry.test/good*\"\n";
    let mut pod = Sandbox::new();
    let (id, member) = (pod.id().to_string(), pod.other_id("member"));
    let mut create = |id: &str, annotations: serde_json::Value| {
        pod.set("/annotations", annotations);
        let out = call(&pod, POLICY).arg("create").arg("--bundle").arg(pod.bundle()).arg(id).output();
        (out, pod.runtime())
    };
    let of_pod = |kind: &str| {
        json!({ "io.kubernetes.cri.container-type": kind, "io.kubernetes.cri.sandbox-id": id,
            "io.kubernetes.cri.image-name": "registry.test/good:1" })
    };
    create(&member, of_pod("container")).0.exits(1).says("the engine has not written that annotation");
    create(&id, of_pod("sandbox")).0.ok();
    let own = json!({ "io.kubernetes.cri-o.ImageName": "registry.test/good:1",
        "io.kubernetes.cri-o.ContainerID": member });
    for annotations in [of_pod("container"), own] {
        let (out, runtime) = create(&member, annotations);
        out.ok();
        runtime.args(["delete", "--force", &member]).output().ok();
    }
    for key in ["org.opencontainers.image.ref.name", "io.kubernetes.cri-o.ImageName"] {
        create(&member, json!({ key: "registry.test/good:1" })).0.exits(1).says("policy restricted refuses");
    }
    pod.delete().ok();
}

#[case(ROOT)]
fn warn_logs_and_runs() {
    let sb = privileged(Sandbox::new());
    create(&sb, "mode = \"warn\"\n").ok();
    assert!(log(&sb).contains("dangerous-capabilities would be refused"), "{}", log(&sb));
    sb.delete().ok();
    let sb = privileged(Sandbox::new());
    create(&sb, "mode = \"off\"\n").ok();
    assert!(!log(&sb).contains("refused"), "{}", log(&sb));
    sb.delete().ok();
}

#[case(Root, Userns)]
fn harden_changes_and_logs() {
    let sb = privileged(
        Sandbox::new().sh("grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; id -u; sleep 60"),
    );
    create(&sb, "mode = \"harden\"\nlevel = \"restricted\"\n").ok();
    assert!(log(&sb).contains("policy hardens: capabilities: dropped"), "{}", log(&sb));
    sb.verb("start").ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", sb.pid())).expect("a status");
    for text in ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(text), "{text}: {status}");
    }
    sb.runtime().args(["verify", sb.id()]).output().ok();
    sb.delete().ok();
    // What hardening does not cure is refused.
    let bind = json!({ "destination": "/host", "source": "/", "type": "bind", "options": ["rbind"] });
    let sb = Sandbox::new().patch("/mounts/-", bind);
    create(&sb, "mode = \"harden\"\n").exits(1).says("host-directories");
}

#[case(ROOT)]
fn exceptions_are_logged() {
    let policy = "mode = \"enforce\"\ntrusted-engines = [\"any\"]\n[[exceptions]]\nreason = \"the node exporter\"\ncgroup = \"/safebox-exporter-*\"\nrules = [\"host-namespaces\"]\n";
    let host_net = |path: &str| {
        Sandbox::new()
            .patch("/linux/namespaces", json!([{ "type": "mount" }, { "type": "pid" }, { "type": "ipc" }]))
            .patch("/hostname", json!(null))
            .patch("/linux/cgroupsPath", json!(path))
    };
    let sb = host_net("/elsewhere");
    create(&sb, policy).exits(1).says("host-namespaces: the network namespace is the host's");
    let sb = Sandbox::new();
    let path = format!("/safebox-exporter-{}", sb.id());
    drop(sb);
    let sb = host_net(&path);
    create(&sb, policy).ok();
    assert!(log(&sb).contains("an exception holds for this container: the node exporter"), "{}", log(&sb));
    sb.delete().ok();
    // The bundle is of no engine that the file trusts: `docker run --cgroup-parent` chooses the same path.
    let policy = policy.replace("trusted-engines = [\"any\"]\n", "");
    create(&host_net(&path), &policy).exits(1).says("host-namespaces: the network namespace is the host's");
    let sb = host_net(&path);
    create(&sb, &policy.replace("enforce", "warn")).ok();
    assert!(log(&sb).contains("the exception \\\"the node exporter\\\" does not hold"), "{}", log(&sb));
    sb.delete().ok();
}

/// A source is what its symlinks lead to, and a path of /sys or /dev hides none.
#[case(ROOT)]
fn a_disguised_directory_of_the_host_is_refused() {
    let sb = Sandbox::new();
    let link = sb.dir().join("harmless");
    symlink("/", &link).expect("a link");
    let link = link.to_str().expect("a path");
    for (source, destination) in [
        (link, "/host"),
        ("/var/..", "/host"),
        ("/usr/../etc/shadow", "/host"),
        ("/", "/sys/kernel/debug"),
        ("/", "/dev/console"),
        ("/etc/cron.d", "/cron"),
    ] {
        let bind =
            json!({ "destination": destination, "source": source, "type": "bind", "options": ["rbind"] });
        let sb = Sandbox::new().patch("/mounts/-", bind);
        create(&sb, "mode = \"enforce\"\n")
            .exits(1)
            .says("policy baseline refuses this container: host-directories: ");
        sb.leak_check();
    }
}

#[case(ROOT)]
fn the_program_s_name_fixes_the_level() {
    let sb = Sandbox::new();
    for (name, refused) in [("safebox-restricted", true), ("safebox-baseline", false), ("safebox", false)] {
        let program = sb.dir().join(name);
        symlink(safebox(), &program).expect("a link");
        let out =
            sb.runtime_as(&program).arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id()).output();
        if refused {
            out.exits(1).says("policy restricted refuses this container: non-root");
        } else {
            out.ok();
            sb.delete().ok();
        }
    }
    // The name counts, whatever a file says.
    let off = file(&sb, "mode = \"off\"\n");
    let call = sb.runtime_as(&sb.dir().join("safebox-restricted")).arg("--policy-file").arg(off);
    call.arg("create")
        .arg("--bundle")
        .arg(sb.bundle())
        .arg(sb.id())
        .output()
        .exits(1)
        .says("policy restricted refuses");
}

#[case(ROOT)]
fn a_broken_file_stops_the_launch() {
    let sb = Sandbox::new();
    for (text, says) in [
        ("mode = \"enforce\"\nlevle = \"x\"\n", "policy.toml:2:1: unknown field"),
        ("mode = ", "policy.toml:1:"),
        ("", "missing field `mode`"),
    ] {
        create(&sb, text).exits(1).says(says);
        sb.leak_check();
    }
    let path = file(&sb, "mode = \"off\"\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    let call = sb.runtime().arg("--policy-file").arg(&path).arg("create").arg("--bundle").arg(sb.bundle());
    call.arg(sb.id()).output().exits(1).says("chmod go-w");
    let call = sb.runtime().args(["--policy-file", "/nonexistent", "create", "--bundle"]).arg(sb.bundle());
    call.arg(sb.id()).output().exits(1).says("--policy-file /nonexistent: ");
    sb.leak_check();
}

#[case(ROOT)]
fn run_is_refused_with_125() {
    let sb = privileged(Sandbox::new());
    let out =
        call(&sb, ENFORCE).args(["run", "--policy", "privileged", "--bundle"]).arg(sb.bundle()).arg(sb.id());
    out.output().exits(125).says("policy restricted refuses this container");
    sb.leak_check();
}

#[case(ROOT)]
fn exec_is_judged_by_what_it_adds() {
    let sb = restricted_pod(Sandbox::new().args(["sleep", "60"]));
    create(&sb, ENFORCE).ok();
    sb.verb("start").ok();
    let process = sb.dir().join("process.json");
    let exec = |policy: &str, options: &[&str]| {
        let call = call(&sb, policy).arg("exec").args(options).arg(sb.id());
        call.args(["grep", "-E", "Cap(Bnd|Eff)|NoNew|Uid", "/proc/self/status"]).output()
    };
    exec(ENFORCE, &[]).ok().prints("NoNewPrivs:\t1");
    exec(ENFORCE, &["--user", "1001"]).ok().prints("1001");
    let all: Vec<_> = safebox::tables::capabilities::CAPABILITIES.iter().map(|row| row.name).collect();
    let json = json!({ "args": ["true"], "cwd": "/", "user": { "uid": 1000, "gid": 1000 }, "noNewPrivileges": true,
        "env": ["PATH=/bin"],
        "capabilities": { "bounding": all, "effective": all, "permitted": all } });
    std::fs::write(&process, json.to_string()).expect("write");
    let file = process.to_str().expect("a path");
    for (options, rule) in [
        (&["--user", "0"] as &[&str], "non-root"),
        (&["--cap", "CAP_SYS_ADMIN"], "dangerous-capabilities"),
        (&["--cap", "CAP_CHOWN"], "no-capabilities"),
        (&["--no-new-privs=false"], "no-new-privileges"),
        (&["--process", file], "dangerous-capabilities"),
    ] {
        let out = exec(ENFORCE, options).exits(255).says("policy restricted refuses this exec: ");
        out.says(rule).says("remedy: ");
        exec("mode = \"warn\"\nlevel = \"restricted\"\n", options).ok();
        assert!(log(&sb).contains(&format!("{rule} would be refused")), "{}", log(&sb));
    }
    let exception = format!(
        "trusted-engines = [\"any\"]\n{ENFORCE}[[exceptions]]\nreason = \"debugging\"\nannotations = {{ \"io.kubernetes.cri.container-type\" = \"container\" }}\nrules = [\"non-root\"]\n"
    );
    exec(&exception, &["--user", "0"]).ok().prints("Uid:\t0");
    exec(&exception, &["--cap", "CAP_CHOWN"]).exits(255).says("no-capabilities");
    exec("mode = ", &[]).exits(255).says("policy.toml:1:");
    sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
    // A container that has more already is entered with that, and with less, and not with more.
    let sb = Sandbox::new().args(["sleep", "60"]);
    sb.create().ok();
    let add = |cap: &str| call(&sb, ENFORCE).args(["exec", "--cap", cap, sb.id(), "true"]).output();
    call(&sb, ENFORCE).args(["exec", sb.id(), "true"]).output().ok();
    add("CAP_SYS_TIME").exits(255).says("CAP_SYS_TIME");
    let json = json!({ "args": ["true"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "capabilities": {}, "env": ["PATH=/bin"] });
    std::fs::write(sb.dir().join("less.json"), json.to_string()).expect("write");
    let less = call(&sb, ENFORCE).args(["exec", "--process"]).arg(sb.dir().join("less.json"));
    less.arg(sb.id()).output().ok();
    sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
}

#[case(Root, Userns)]
fn harden_reduces_what_exec_asks_for() {
    const HARDEN: &str = "mode = \"harden\"\nlevel = \"restricted\"\n";
    let sb = privileged(Sandbox::new().args(["sleep", "60"]));
    create(&sb, HARDEN).ok();
    sb.verb("start").ok();
    // kubectl exec: the engine repeats the process of the config that it wrote.
    let mut process = sb.config()["process"].clone();
    process["args"] = json!(["grep", "-E", "CapBnd|NoNewPrivs|Seccomp:|Uid", "/proc/self/status"]);
    let file = sb.dir().join("process.json");
    std::fs::write(&file, process.to_string()).expect("write");
    let out = call(&sb, HARDEN).args(["exec", "--process"]).arg(&file).arg(sb.id()).output().ok();
    for text in ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t65532"] {
        assert!(out.stdout.contains(text), "{text}: {out}");
    }
    assert!(log(&sb).contains("policy hardens exec: "), "{}", log(&sb));
    // Without the policy the caller gets what it asks for.
    let out = sb.runtime().args(["exec", "--process"]).arg(&file).arg(sb.id()).output().ok();
    assert!(out.stdout.contains("Uid:\t0"), "{out}");
    sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
}

#[case(ROOT)]
fn update_takes_no_required_limit_away() {
    const LIMITS: &str = "mode = \"enforce\"\nrequire = [\"limits\"]\n";
    let limits =
        json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 50 }, "cpu": { "shares": 512 } });
    let sb = Sandbox::new().args(["sleep", "60"]).patch("/linux/resources", limits);
    create(&sb, LIMITS).ok();
    sb.verb("start").ok();
    let update = |options: &[&str]| call(&sb, LIMITS).arg("update").args(options).arg(sb.id()).output();
    update(&["--memory", "96m"]).ok();
    // What is asked for now is what verify compares with.
    sb.runtime().args(["verify", sb.id()]).output().ok();
    update(&["--memory", "-1"])
        .exits(1)
        .says("policy baseline refuses this update: limits: memory is not limited");
    update(&["--pids-limit", "-1"]).exits(1).says("the number of processes is not limited");
    sb.runtime().args(["verify", sb.id()]).output().ok();
    sb.runtime().args(["update", "--memory", "-1", sb.id()]).output().ok();
    sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
}
