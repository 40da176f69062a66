//! One violating input for every field that the Pod Security Standards restrict, in each list of containers.

use crate::audit::{Finding, Report, described};
use crate::input::pod::CONTAINERS;
use crate::policy::{MachineFacts, Verdict};

/// The context of a container that meets every control.
const GOOD: [&str; 5] = [
    "allowPrivilegeEscalation: false",
    "runAsNonRoot: true",
    "runAsUser: 1000",
    "seccompProfile: { type: RuntimeDefault }",
    "capabilities: { drop: [ALL] }",
];

fn reports(text: &str) -> Vec<Report> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pod.yaml");
    std::fs::write(&file, text).unwrap();
    let all = described::audit(&file, MachineFacts::NONE).unwrap_or_else(|e| panic!("{e}\n{text}"));
    all.into_iter().map(|report| report.unwrap_or_else(|e| panic!("{e}\n{text}"))).collect()
}

/// (rule, control) of what is found in all containers of a manifest.
fn found(text: &str) -> Vec<(&'static str, String)> {
    let all = reports(text);
    let findings = all.iter().flat_map(|report| {
        let controls = |f: &Finding<'_>| format!("{}; {}", f.references(), f.rule.references.join("; "));
        report.findings().iter().map(|f| (f.rule.id, controls(f))).collect::<Vec<_>>()
    });
    findings.filter(|(_, control)| control.contains("PSS")).collect()
}

/// A manifest with a good container in each list. That of `list` gets `keys`, and `context` in the place of the same
/// fields of the good one.
fn manifest(list: &str, keys: &str, context: &str, of_pod: &str, pod_context: &str) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: p }}\nspec:\n  securityContext: {{ {pod_context} }}\n{of_pod}"
    );
    for name in CONTAINERS {
        let own = name == list;
        let changed =
            |key: &&str| !own || !context.contains(key.split(':').next().unwrap_or_default().trim());
        let mut parts: Vec<&str> = GOOD.into_iter().filter(changed).collect();
        if own && !context.is_empty() {
            parts.push(context);
        }
        text.push_str(&format!("  {name}:\n  - name: {}\n    image: x\n", name.to_lowercase()));
        text.push_str(&format!("    securityContext: {{ {} }}\n", parts.join(", ")));
        if own {
            text.push_str(keys);
        }
    }
    text
}

#[test]
fn a_manifest_that_meets_the_standards_has_no_finding_of_theirs() {
    assert_eq!(found(&manifest("", "", "", "", "")), [], "{}", manifest("", "", "", "", ""));
    for of_pod in super::VOLUMES {
        let volume = format!("  volumes: [{{ name: v, {of_pod}: {{ }} }}]\n");
        assert_eq!(found(&manifest("", "", "", &volume, "")), [], "{volume}");
    }
    for name in crate::tables::sysctls::SAFE {
        let sysctl = format!("sysctls: [{{ name: {name}, value: \"1\" }}]");
        assert_eq!(found(&manifest("", "", "", "", &sysctl)), [], "{sysctl}");
    }
    for kind in super::SELINUX {
        assert_eq!(found(&manifest("", "", "", "", &format!("seLinuxOptions: {{ type: {kind} }}"))), []);
    }
}

/// (rule, control, keys of the container, its context).
const OF_CONTAINER: &[(&str, &str, &str, &str)] = &[
    ("pod-host-process", "HostProcess", "", "windowsOptions: { hostProcess: true }"),
    ("privileged", "Privileged Containers", "", "privileged: true"),
    ("capabilities", "Capabilities", "", "capabilities: { drop: [ALL], add: [NET_RAW] }"),
    ("capabilities", "Capabilities", "", "capabilities: { drop: [ALL], add: [SYS_ADMIN] }"),
    ("dangerous-capabilities", "Capabilities", "", "capabilities: { drop: [ALL], add: [CAP_SYS_ADMIN] }"),
    ("host-ports", "Host Ports", "    ports: [{ containerPort: 80, hostPort: 8080 }]\n", ""),
    ("pod-host-probes", "Host Probes", "    livenessProbe: { httpGet: { port: 1, host: 10.0.0.1 } }\n", ""),
    ("pod-host-probes", "Host Probes", "    readinessProbe: { httpGet: { port: 1, host: 10.0.0.1 } }\n", ""),
    ("pod-host-probes", "Host Probes", "    startupProbe: { httpGet: { port: 1, host: 10.0.0.1 } }\n", ""),
    ("pod-host-probes", "Host Probes", "    livenessProbe: { tcpSocket: { port: 1, host: h } }\n", ""),
    ("pod-host-probes", "Host Probes", "    readinessProbe: { tcpSocket: { port: 1, host: h } }\n", ""),
    ("pod-host-probes", "Host Probes", "    startupProbe: { tcpSocket: { port: 1, host: h } }\n", ""),
    (
        "pod-host-probes",
        "Host Probes",
        "    lifecycle: { postStart: { httpGet: { port: 1, host: h } } }\n",
        "",
    ),
    ("pod-host-probes", "Host Probes", "    lifecycle: { preStop: { httpGet: { port: 1, host: h } } }\n", ""),
    (
        "pod-host-probes",
        "Host Probes",
        "    lifecycle: { postStart: { tcpSocket: { port: 1, host: h } } }\n",
        "",
    ),
    (
        "pod-host-probes",
        "Host Probes",
        "    lifecycle: { preStop: { tcpSocket: { port: 1, host: h } } }\n",
        "",
    ),
    ("lsm", "AppArmor", "", "appArmorProfile: { type: Unconfined }"),
    ("lsm", "SELinux", "", "seLinuxOptions: { type: spc_t }"),
    ("lsm", "SELinux", "", "seLinuxOptions: { user: system_u }"),
    ("lsm", "SELinux", "", "seLinuxOptions: { role: sysadm_r }"),
    ("masks", "/proc Mount Type", "", "procMount: Unmasked"),
    ("seccomp", "Seccomp", "", "seccompProfile: { type: Unconfined }"),
    ("no-new-privileges", "Privilege Escalation", "", "allowPrivilegeEscalation: true"),
    ("non-root", "Running as Non-root", "", "runAsNonRoot: false"),
    ("non-root", "Running as Non-root", "", "runAsUser: 0, runAsNonRoot: false"),
    ("no-capabilities", "Capabilities", "", "capabilities: { drop: [NET_RAW] }"),
    ("no-capabilities", "Capabilities", "", "capabilities: { drop: [ALL], add: [CHOWN] }"),
];

#[test]
fn every_field_of_a_container_is_judged_in_every_list() {
    for list in CONTAINERS {
        for (rule, control, keys, context) in OF_CONTAINER {
            let text = manifest(list, keys, context, "", "");
            let found = found(&text);
            let hit = found.iter().any(|(id, reference)| id == rule && reference.contains(control));
            assert!(hit, "{list}: {control}: {keys}{context}: {found:?}\n{text}");
        }
    }
}

/// (rule, control, keys of the pod, its context).
const OF_POD: &[(&str, &str, &str, &str)] = &[
    ("pod-host-process", "HostProcess", "", "windowsOptions: { hostProcess: true }"),
    ("host-namespaces", "Host Namespaces", "  hostNetwork: true\n", ""),
    ("host-namespaces", "Host Namespaces", "  hostPID: true\n", ""),
    ("host-namespaces", "Host Namespaces", "  hostIPC: true\n", ""),
    ("pod-host-paths", "HostPath Volumes", "  volumes: [{ name: v, hostPath: { path: /srv/x } }]\n", ""),
    ("lsm", "AppArmor", "", "appArmorProfile: { type: Unconfined }"),
    ("lsm", "SELinux", "", "seLinuxOptions: { type: unconfined_t }"),
    ("lsm", "SELinux", "", "seLinuxOptions: { user: u }"),
    ("lsm", "SELinux", "", "seLinuxOptions: { role: r }"),
    ("seccomp", "Seccomp", "", "seccompProfile: { type: Unconfined }"),
    ("sysctls", "Sysctls", "", "sysctls: [{ name: kernel.msgmax, value: \"1\" }]"),
    ("sysctls", "Sysctls", "", "sysctls: [{ name: net.ipv6.conf.all.disable_ipv6, value: \"1\" }]"),
    ("pod-volume-types", "Volume Types", "  volumes: [{ name: v, hostPath: { path: /srv/x } }]\n", ""),
    ("pod-volume-types", "Volume Types", "  volumes: [{ name: v, nfs: { server: a, path: / } }]\n", ""),
    ("pod-volume-types", "Volume Types", "  volumes: [{ name: v, flexVolume: { driver: d } }]\n", ""),
    ("non-root", "Running as Non-root", "", "runAsNonRoot: false"),
    ("non-root", "Running as Non-root", "", "runAsUser: 0"),
];

#[test]
fn every_field_of_a_pod_is_judged() {
    for (rule, control, keys, context) in OF_POD {
        let text = manifest("", "", "", keys, context);
        let found = found(&text);
        let hit = found.iter().any(|(id, reference)| id == rule && reference.contains(control));
        assert!(hit, "{control}: {keys}{context}: {found:?}\n{text}");
    }
}

/// What is not said counts, too.
#[test]
fn what_restricted_wants_has_to_be_said() {
    for (rule, context) in [
        ("no-new-privileges", "allowPrivilegeEscalation: null"),
        ("seccomp", "seccompProfile: null"),
        ("no-capabilities", "capabilities: null"),
        ("non-root", "runAsNonRoot: null"),
    ] {
        let found = found(&manifest("containers", "", context, "", ""));
        assert!(found.iter().any(|(id, _)| *id == rule), "{context}: {found:?}");
    }
    // The pod's word counts for its containers.
    let of_pod = "runAsNonRoot: true, seccompProfile: { type: RuntimeDefault }";
    let text = manifest("containers", "", "runAsNonRoot: null, seccompProfile: null", "", of_pod);
    assert_eq!(found(&text), [], "{text}");
}

#[test]
fn annotations_of_every_kind_of_object_count() {
    let template = "{ metadata: { annotations: { container.apparmor.security.beta.kubernetes.io/c: unconfined } }, \
                    spec: { containers: [{ name: c, image: x }] } }";
    for (kind, spec) in [
        ("Deployment", format!("spec: {{ template: {template} }}")),
        ("CronJob", format!("spec: {{ jobTemplate: {{ spec: {{ template: {template} }} }} }}")),
        ("PodTemplate", format!("template: {template}")),
    ] {
        let text = format!("apiVersion: x\nkind: {kind}\n{spec}\n");
        assert!(found(&text).iter().any(|(_, control)| control.contains("AppArmor")), "{kind}");
    }
}

#[test]
fn what_a_cluster_adds_is_judged() {
    let verdict = |text: &str, rule: &str| {
        let report = reports(text).remove(0);
        report.judgements.into_iter().find(|j| j.rule.id == rule).unwrap().verdict
    };
    let own = manifest("", "", "", "  hostUsers: false\n", "");
    assert_eq!(verdict(&own, "user-namespace"), Verdict::Pass);
    assert_eq!(verdict(&manifest("", "", "", "", ""), "user-namespace").name(), "fail");
    let secret = "    envFrom: [{ configMapRef: { name: c } }, { secretRef: { name: s } }]\n";
    let Verdict::Fail(all) = verdict(&manifest("containers", secret, "", "", ""), "environment-secrets")
    else {
        panic!("a secret in the environment passes")
    };
    assert_eq!(all.len(), 1);
    let limits = "  resources: { limits: { memory: 64Mi, cpu: 1 } }\n";
    let Verdict::Fail(all) = verdict(&manifest("", "", "", limits, ""), "limits") else {
        panic!("no finding")
    };
    assert_eq!(all.len(), 1, "processes alone are not limited: {all:?}");
}

/// A volume of one container is no finding of another.
#[test]
fn volumes_are_told_of_the_containers_that_mount_them() {
    let volumes = "  volumes: [{ name: v, hostPath: { path: /srv/x } }, { name: unused, hostPath: { path: /srv/y } }]\n";
    let mounts = "    volumeMounts: [{ name: v, mountPath: /x }]\n";
    let all = reports(&manifest("initContainers", mounts, "", volumes, ""));
    let counts = all.iter().map(|r| r.findings().iter().filter(|f| f.rule.id == "pod-host-paths").count());
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 0]);
}
