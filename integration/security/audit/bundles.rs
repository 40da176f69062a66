//! One bundle that meets every rule, and for each item of the benchmarks one that does not: each is the good one with
//! one change.

use serde_json::{Value, json};

use safebox::audit::Report;
use safebox::config::defaults::MASKED;
use safebox::policy::{MachineFacts, RULES, Verdict};

use crate::harness::{Sandbox, case};

/// A machine with AppArmor.
pub const MACHINE: MachineFacts = MachineFacts { apparmor: true, selinux: false, landlock: 0 };

/// A bundle that every rule passes.
pub fn good() -> Sandbox {
    let mut sb = Sandbox::new();
    let map = json!([{ "containerID": 0, "hostID": 700_000, "size": 65536 }]);
    let limit = |name: &str| json!({ "type": name, "soft": 1024, "hard": 1024 });
    let options = json!(["nosuid", "nodev", "noexec"]);
    let quiet: Vec<&str> = MASKED.to_vec();
    for (pointer, value) in [
        ("/process/user", json!({ "uid": 1000, "gid": 1000 })),
        ("/process/capabilities", json!({})),
        ("/process/apparmorProfile", json!("safebox-test")),
        (
            "/process/rlimits",
            json!([limit("RLIMIT_NOFILE"), limit("RLIMIT_SIGPENDING"), limit("RLIMIT_MSGQUEUE")]),
        ),
        (
            "/linux/namespaces",
            json!(["pid", "network", "ipc", "uts", "mount", "cgroup", "user"].map(|t| json!({ "type": t }))),
        ),
        ("/linux/uidMappings", map.clone()),
        ("/linux/gidMappings", map),
        ("/linux/maskedPaths", json!(quiet)),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ERRNO" })),
        (
            "/linux/resources",
            json!({ "memory": { "limit": 64 << 20 }, "cpu": { "quota": 50_000, "period": 100_000 }, "pids": { "limit": 64 },
                    "devices": [{ "allow": false, "access": "rwm" }] }),
        ),
        ("/mounts/0/options", options),
    ] {
        sb.set(pointer, value);
    }
    sb
}

/// Judges a bundle as `safebox audit` does.
pub fn audit(sb: &Sandbox) -> Report {
    safebox::audit::bundle::audit(&sb.bundle(), MACHINE).expect("an audit")
}

fn failures(report: &Report) -> Vec<(&'static str, String, String)> {
    let findings = report.findings();
    findings
        .iter()
        .map(|f| (f.rule.id, f.references(), format!("{}: {}", f.place(), f.evidence.text)))
        .collect()
}

#[case]
fn a_good_bundle_has_no_finding() {
    let report = audit(&good());
    assert!(failures(&report).is_empty(), "{:#?}", failures(&report));
    let unclear: Vec<_> =
        report.judgements.iter().filter(|j| matches!(j.verdict, Verdict::CannotTell(_))).collect();
    assert!(unclear.is_empty(), "{unclear:#?}");
}

/// (item, rule, pointer, value): the good bundle with this change violates the rule.
type Violation = (&'static str, &'static str, &'static str, fn() -> Value);

fn namespaces_without(kind: &str) -> Value {
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"];
    json!(kinds.iter().filter(|k| **k != kind).map(|k| json!({ "type": k })).collect::<Vec<_>>())
}

fn bind(source: &str, destination: &str, mut options: Vec<&str>) -> Value {
    options.extend(["bind", "nosuid", "nodev"]);
    json!({ "destination": destination, "source": source, "type": "bind", "options": options })
}

fn caps(names: &[&str]) -> Value {
    json!({ "bounding": names, "effective": names, "permitted": names })
}

const VIOLATIONS: &[Violation] = &[
    ("CIS Docker 4.1", "non-root", "/process/user/uid", || json!(0)),
    ("CIS Docker 4.10", "environment-secrets", "/process/env/-", || json!("DB_PASSWORD=hunter2")),
    ("CIS Docker 5.2", "lsm", "/process/apparmorProfile", || json!("unconfined")),
    ("CIS Docker 5.4", "no-capabilities", "/process/capabilities", || caps(&["CAP_CHOWN"])),
    ("CIS Docker 5.4", "capabilities", "/process/capabilities", || caps(&["CAP_IPC_LOCK"])),
    ("CIS Docker 5.4", "dangerous-capabilities", "/process/capabilities", || caps(&["CAP_SYS_ADMIN"])),
    ("CIS Docker 5.4", "dangerous-capabilities", "/process/capabilities", || caps(&["CAP_DAC_READ_SEARCH"])),
    ("CIS Docker 5.5", "privileged", "/process/capabilities", || {
        caps(&safebox::tables::capabilities::CAPABILITIES.each_ref().map(|row| row.name))
    }),
    (
        "CIS Docker 5.18",
        "devices",
        "/linux/resources/devices",
        || json!([{ "allow": true, "access": "rwm" }]),
    ),
    ("CIS Docker 5.6", "host-directories", "/mounts/-", || bind("/etc", "/host-etc", vec![])),
    ("CIS Docker 5.6", "host-directories", "/mounts/-", || bind("/", "/host", vec!["ro"])),
    ("CIS Docker 5.6", "host-directories", "/mounts/-", || bind("/boot/x", "/boot", vec!["ro"])),
    ("CIS Docker 5.7", "sshd", "/process/args", || json!(["/usr/sbin/sshd", "-D"])),
    ("CIS Docker 5.8", "ports", "/process/capabilities", || caps(&["CAP_NET_BIND_SERVICE"])),
    ("CIS Docker 5.10", "host-namespaces", "/linux/namespaces", || namespaces_without("network")),
    ("CIS Docker 5.11", "limits", "/linux/resources/memory", || json!({})),
    ("CIS Docker 5.12", "limits", "/linux/resources/cpu", || json!({})),
    ("CIS Docker 5.13", "read-only-rootfs", "/root/readonly", || json!(false)),
    ("CIS Docker 5.16", "host-namespaces", "/linux/namespaces", || namespaces_without("pid")),
    ("CIS Docker 5.17", "host-namespaces", "/linux/namespaces", || namespaces_without("ipc")),
    (
        "CIS Docker 5.18",
        "devices",
        "/linux/devices",
        || json!([{ "path": "/dev/sda", "type": "b", "major": 8, "minor": 0 }]),
    ),
    ("CIS Docker 5.19", "rlimits", "/process/rlimits", || json!([])),
    ("CIS Docker 5.20", "mount-propagation", "/mounts/-", || bind("/srv", "/srv", vec!["rshared"])),
    ("CIS Docker 5.21", "namespaces", "/linux/namespaces", || namespaces_without("uts")),
    ("CIS Docker 5.22", "seccomp", "/linux/seccomp", || json!({ "defaultAction": "SCMP_ACT_ALLOW" })),
    ("CIS Docker 5.25", "cgroup", "/linux/cgroupsPath", || json!("/")),
    ("CIS Docker 5.26", "no-new-privileges", "/process/noNewPrivileges", || json!(false)),
    ("CIS Docker 5.29", "limits", "/linux/resources/pids", || json!({ "limit": -1 })),
    ("CIS Docker 2.9, 5.31", "user-namespace", "/linux/namespaces", || namespaces_without("user")),
    (
        "CIS Docker 2.9, 5.31",
        "user-namespace",
        "/linux/uidMappings",
        || json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]),
    ),
    (
        "PSS baseline: Host Ports",
        "host-ports",
        "/annotations",
        || json!({ "io.kubernetes.cri-o.PortMappings": "[{\"HostPort\":8080,\"ContainerPort\":80,\"Protocol\":\"TCP\",\"HostIP\":\"\"}]" }),
    ),
    (
        "CIS Docker 5.14",
        "host-ports",
        "/annotations",
        || json!({ "nerdctl/ports": "[{\"HostPort\":8080,\"ContainerPort\":80,\"Protocol\":\"tcp\",\"HostIP\":\"0.0.0.0\"}]" }),
    ),
    (
        "CIS Docker 5.6",
        "host-directories",
        "/mounts/-",
        || json!({ "destination": "/x", "type": "overlay", "source": "overlay", "options": ["nosuid", "nodev", "lowerdir=/srv/a:/etc"] }),
    ),
    (
        "CIS Docker 5.6",
        "host-directories",
        "/mounts/-",
        || json!({ "destination": "/x", "type": "ext4", "source": "/dev/sda1", "options": ["nosuid", "nodev", "ro"] }),
    ),
    ("CIS Docker 5.32", "engine-sockets", "/mounts/-", || {
        bind("/var/run/docker.sock", "/var/run/docker.sock", vec![])
    }),
    ("PSS baseline: /proc Mount Type", "masks", "/linux/maskedPaths", || json!(["/proc/keys"])),
    ("PSS baseline: /proc Mount Type", "masks", "/linux/readonlyPaths", || json!([])),
    ("PSS baseline: Sysctls", "sysctls", "/linux/sysctl", || json!({ "net.ipv4.ip_forward": "1" })),
    ("CVE-2020-8694", "side-channels", "/linux/maskedPaths", || {
        let list: Vec<_> = MASKED.iter().filter(|path| !path.contains("powercap")).collect();
        json!(list)
    }),
    (
        "CIS Docker 5.6",
        "mount-options",
        "/mounts/-",
        || json!({ "destination": "/big", "type": "tmpfs", "source": "t", "options": ["nosuid", "nodev"] }),
    ),
    ("NIST SP 800-190 4.4.4", "mounts", "/mounts", || json!([])),
    ("CIS Docker 5.18, 5.26", "rootfs-options", "/process/noNewPrivileges", || json!(false)),
];

#[case]
fn every_item_has_a_bundle_that_violates_it() {
    for (item, rule, pointer, value) in VIOLATIONS {
        let mut sb = good();
        sb.set(pointer, value());
        let found = failures(&audit(&sb));
        let hit = found.iter().any(|(id, references, _)| id == rule && references.contains(item));
        assert!(hit, "{item}: {pointer} is not found by {rule}: {found:#?}");
    }
    // Rules that no config alone violates have tests of their own.
    let elsewhere = ["landlock", "terminal", "volumes", "home", "exec", "image-secrets", "setuid-files"];
    for rule in RULES.iter().filter(|rule| !elsewhere.contains(&rule.id)) {
        assert!(VIOLATIONS.iter().any(|(_, id, ..)| *id == rule.id), "no bundle violates {}", rule.id);
    }
}

/// benchmarks.md names rules that exist, and all of the policy's.
#[case]
fn the_table_of_benchmarks_names_every_rule() {
    let rows = include_str!("benchmarks.md").lines().filter(|l| l.starts_with("| ") && !l.starts_with("| -"));
    let cells = rows.skip(1).map(|l| l.split(" | ").nth(2).unwrap_or_default().to_string());
    let named: Vec<String> =
        cells.flat_map(|c| c.split('`').skip(1).step_by(2).map(String::from).collect::<Vec<_>>()).collect();
    let source = concat!(
        include_str!("../../../src/audit/dockerfile/mod.rs"),
        include_str!("../../../src/audit/host.rs"),
        include_str!("../../../src/audit/manifest.rs"),
        include_str!("../../../src/audit/host_docker.rs")
    );
    for name in &named {
        let known = RULES.iter().any(|r| r.id == name) || source.contains(&format!("\"{name}\""));
        assert!(known, "there is no rule {name}");
    }
    for rule in RULES {
        assert!(named.iter().any(|n| n == rule.id), "{} is not in the table", rule.id);
    }
}

#[case]
fn files_of_the_image_are_judged() {
    use std::os::unix::fs::PermissionsExt;
    let sb = good();
    std::fs::write(sb.rootfs().join("bin/su"), "x").expect("write");
    std::fs::set_permissions(sb.rootfs().join("bin/su"), std::fs::Permissions::from_mode(0o4755))
        .expect("chmod");
    std::fs::create_dir_all(sb.rootfs().join("root/.ssh")).expect("mkdir");
    std::fs::write(sb.rootfs().join("root/.ssh/id_rsa"), "x").expect("write");
    // A link out of the image is not followed.
    std::os::unix::fs::symlink("/etc", sb.rootfs().join("elsewhere")).expect("a link");
    let found = failures(&audit(&sb));
    let has = |id: &str, text: &str| found.iter().any(|(rule, _, what)| *rule == id && what.contains(text));
    assert!(has("setuid-files", "/bin/su has mode 4755"), "{found:#?}");
    assert!(has("image-secrets", "/root/.ssh/id_rsa"), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[case]
fn what_does_not_apply_is_told_from_what_passes() {
    let report = audit(&good());
    let verdict =
        |id: &str| report.judgements.iter().find(|j| j.rule.id == id).expect("a rule").verdict.name();
    assert_eq!(verdict("landlock"), "not-applicable");
    assert_eq!(verdict("exec"), "not-applicable");
    // The engine's own, and no property of config.json.
    assert_eq!(verdict("host-ports"), "not-applicable");
    for (ports, expect) in
        [("[]", "pass"), ("[{\"HostPort\":0,\"ContainerPort\":80}]", "pass"), ("{", "cannot-tell")]
    {
        let mut sb = good();
        sb.set("/annotations", json!({ "io.kubernetes.cri-o.PortMappings": ports }));
        let report = audit(&sb);
        let found = report.judgements.iter().find(|j| j.rule.id == "host-ports").expect("a rule");
        assert_eq!(found.verdict.name(), expect, "{ports}: {found:?}");
    }
    let mut sb = good();
    let joined = json!([{ "type": "pid" }, { "type": "network", "path": "/run/netns/x" }, { "type": "ipc" }]);
    sb.set("/linux/namespaces", joined);
    let report = audit(&sb);
    let found = report.judgements.iter().find(|j| j.rule.id == "host-namespaces").expect("a rule");
    assert_eq!(found.verdict.name(), "cannot-tell", "{found:?}");
}
