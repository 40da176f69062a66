//! Controls of the Pod Security Standards that are about fields of a manifest which no config.json has, and fields that
//! count although another takes their effect (of a pod's security context that a container's replaces).
//!
//! The table is that of kubernetes.io "Pod Security Standards" 1.35 (admission checks of Kubernetes, in
//! pod-security-admission/policy). A control that a rule of the policy judges by its effect is not repeated here.

use super::{About, Judgement, Report};
use crate::input::pod::Pod;
use crate::input::yaml::{Document, Node};
use crate::policy::{Evidence, Place, Severity, Verdict};
use crate::tables::sysctls;

/// Rules that only manifests have.
const RULES: [About; 4] = [
    About {
        id: "pod-host-process",
        title: "no container is a process of a Windows host",
        severity: Severity::High,
        references: &["PSS baseline: HostProcess"],
        remedy: "remove windowsOptions.hostProcess",
    },
    About {
        id: "pod-host-paths",
        title: "no volume is a path of the host",
        severity: Severity::Medium,
        references: &["PSS baseline: HostPath Volumes"],
        remedy: "use a volume of another kind (emptyDir, configMap, persistentVolumeClaim) in the place of hostPath",
    },
    About {
        id: "pod-host-probes",
        title: "probes and hooks ask the pod itself",
        severity: Severity::Medium,
        references: &["PSS baseline: Host Probes / Lifecycle Hooks"],
        remedy: "remove host from httpGet and tcpSocket: the kubelet would ask that address from the host's network",
    },
    About {
        id: "pod-volume-types",
        title: "volumes are of the kinds that a pod may define itself",
        severity: Severity::Low,
        references: &["PSS restricted: Volume Types"],
        remedy: "use configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected or secret",
    },
];

/// Kinds of volumes that `restricted` allows; `image` since Kubernetes 1.33.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Capabilities that `baseline` lets a container add.
const ADDED: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Types of SELinux that `baseline` allows.
const SELINUX: [&str; 4] = ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Why a value breaks a control; `None`: it does not.
type ControlTest = fn(&Node) -> Option<String>;

fn text(node: &Node) -> String {
    node.text().unwrap_or_default()
}

fn unless_one_of(node: &Node, allowed: &[&str]) -> Option<String> {
    let text = text(node);
    (!text.is_empty() && !allowed.contains(&text.as_str())).then_some(text)
}

/// (path in a security context, of a pod or a container; the rule; the control; what is wrong).
const CONTEXT: [(&[&str], &str, &str, ControlTest); 10] = [
    (&["windowsOptions", "hostProcess"], "pod-host-process", "PSS baseline: HostProcess", |node| {
        node.is_true().then(|| "hostProcess is true: it runs on the Windows host itself".into())
    }),
    (&["appArmorProfile", "type"], "lsm", "PSS baseline: AppArmor", |node| {
        unless_one_of(node, &["RuntimeDefault", "Localhost"]).map(|t| format!("the AppArmor profile is {t}"))
    }),
    (&["seLinuxOptions", "type"], "lsm", "PSS baseline: SELinux", |node| {
        unless_one_of(node, &SELINUX).map(|t| format!("the SELinux type {t} is none of a container"))
    }),
    (&["seLinuxOptions", "user"], "lsm", "PSS baseline: SELinux", |node| {
        unless_one_of(node, &[]).map(|t| format!("the SELinux user {t} is set"))
    }),
    (&["seLinuxOptions", "role"], "lsm", "PSS baseline: SELinux", |node| {
        unless_one_of(node, &[]).map(|t| format!("the SELinux role {t} is set"))
    }),
    (&["procMount"], "masks", "PSS baseline: /proc Mount Type", |node| {
        unless_one_of(node, &["Default"]).map(|t| format!("procMount is {t}"))
    }),
    (&["seccompProfile", "type"], "seccomp", "PSS baseline: Seccomp", |node| {
        unless_one_of(node, &["RuntimeDefault", "Localhost"]).map(|t| format!("the seccomp profile is {t}"))
    }),
    (&["runAsNonRoot"], "non-root", "PSS restricted: Running as Non-root", |node| {
        (!node.is_true()).then(|| "runAsNonRoot is false".into())
    }),
    (&["runAsUser"], "non-root", "PSS restricted: Running as Non-root user", |node| {
        (text(node) == "0").then(|| "runAsUser is 0".into())
    }),
    (&["privileged"], "privileged", "PSS baseline: Privileged Containers", |node| {
        node.is_true().then(|| "privileged is true".into())
    }),
];

/// What is found in one container of a manifest.
struct ManifestFindings<'a> {
    document: &'a Document,
    /// (rule, control, where, what).
    all: Vec<(&'static str, &'static str, Place, String)>,
}

impl ManifestFindings<'_> {
    fn add(&mut self, rule: &'static str, control: &'static str, node: &Node, text: impl Into<String>) {
        let at = self.document.at(node);
        self.all.push((rule, control, Place::Line(at.file, at.line), text.into()));
    }
}

/// Adds what the fields of the manifest say to the report of a container.
pub(super) fn judge(document: &Document, pod: &Pod<'_>, container: &Node, report: &mut Report) {
    let mut found = ManifestFindings { document, all: Vec::new() };
    contexts(pod, container, &mut found);
    non_root(pod, container, &mut found);
    capabilities(container, &mut found);
    sysctls(pod, &mut found);
    probes(container, &mut found);
    volumes(pod, container, &mut found);
    environment(container, &mut found);
    report.judgements.extend(RULES.iter().map(|rule| Judgement { rule: *rule, verdict: Verdict::Pass }));
    for (rule, control, at, text) in found.all {
        report.add(rule, Evidence { at, text, reference: Some(control) });
    }
}

fn contexts(pod: &Pod<'_>, container: &Node, found: &mut ManifestFindings<'_>) {
    let contexts = [pod.spec.get("securityContext"), container.get("securityContext")];
    for context in contexts.into_iter().flatten() {
        for (path, rule, control, wrong) in CONTEXT {
            if let Some((node, text)) = context.path(path).and_then(|node| Some((node, wrong(node)?))) {
                found.add(rule, control, node, text);
            }
        }
    }
    if let Some(node) = pod.apparmor_of(container)
        && matches!(text(node).as_str(), profile if profile != "runtime/default" && !profile.starts_with("localhost/"))
    {
        found.add("lsm", "PSS baseline: AppArmor", node, format!("the AppArmor profile is {}", text(node)));
    }
}

/// `runAsNonRoot` has to be set, beside a user that is not root.
fn non_root(pod: &Pod<'_>, container: &Node, found: &mut ManifestFindings<'_>) {
    let of = |node: &Node| node.path(&["securityContext", "runAsNonRoot"]).is_some();
    if !of(container) && !of(pod.spec) {
        let text = "runAsNonRoot is not set: an image whose user is root would be started as root where runAsUser is removed";
        found.add("non-root", "PSS restricted: Running as Non-root", container, text);
    }
}

fn capabilities(container: &Node, found: &mut ManifestFindings<'_>) {
    let list = |kind| {
        container.path(&["securityContext", "capabilities", kind]).map(Node::items).unwrap_or_default()
    };
    let plain = |node: &Node| text(node).trim_start_matches("CAP_").to_string();
    for node in list("add") {
        if !ADDED.contains(&plain(node).as_str()) {
            found.add("capabilities", "PSS baseline: Capabilities", node, format!("it adds {}", plain(node)));
        }
    }
    if !list("drop").into_iter().any(|node| plain(node) == "ALL") {
        let text = "capabilities.drop does not name ALL";
        found.add("no-capabilities", "PSS restricted: Capabilities", container, text);
    }
}

fn sysctls(pod: &Pod<'_>, found: &mut ManifestFindings<'_>) {
    let list = pod.spec.path(&["securityContext", "sysctls"]).map(Node::items).unwrap_or_default();
    for node in list {
        let name = node.get("name").map(text).unwrap_or_default().replace('/', ".");
        if !sysctls::SAFE.contains(&name.as_str()) {
            let text = format!("{name} is not a kernel parameter that is safe to set");
            found.add("sysctls", "PSS baseline: Sysctls", node, text);
        }
    }
}

/// Where the kubelet asks another host than the pod.
fn probes(container: &Node, found: &mut ManifestFindings<'_>) {
    let handlers: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    for path in handlers {
        for kind in ["httpGet", "tcpSocket"] {
            let host = container.path(path).and_then(|node| node.path(&[kind, "host"]));
            if let Some(node) = host.filter(|node| !text(node).is_empty()) {
                let text = format!("{}.{kind} asks {}", path.join("."), text(node));
                found.add("pod-host-probes", "PSS baseline: Host Probes / Lifecycle Hooks", node, text);
            }
        }
    }
}

/// Those that the container mounts; those that none does are told of the first container.
fn volumes(pod: &Pod<'_>, container: &Node, found: &mut ManifestFindings<'_>) {
    let mounts = |container: &Node, name: &str| {
        let list = ["volumeMounts", "volumeDevices"].into_iter().filter_map(|key| container.get(key));
        list.flat_map(Node::items).any(|mount| mount.get("name").is_some_and(|n| text(n) == name))
    };
    let containers = pod.containers();
    let is_first = containers.first().is_some_and(|first| std::ptr::eq(*first, container));
    for volume in pod.spec.get("volumes").map(Node::items).unwrap_or_default() {
        let name = volume.get("name").map(text).unwrap_or_default();
        let unused = !containers.iter().any(|other| mounts(other, &name));
        let counts_here = mounts(container, &name) || unused && is_first;
        if !counts_here {
            continue;
        }
        for (kind, node) in volume.entries().iter().filter(|(key, _)| key != "name") {
            if kind == "hostPath" {
                let path = node.get("path").map(text).unwrap_or_default();
                let text = format!("the volume {name} is {path} of the host");
                found.add("pod-host-paths", "PSS baseline: HostPath Volumes", node, text);
            }
            if !VOLUMES.contains(&kind.as_str()) {
                let text = format!("the volume {name} is of the kind {kind}");
                found.add("pod-volume-types", "PSS restricted: Volume Types", node, text);
            }
        }
    }
}

/// `envFrom` with a secret: each of its keys is a variable.
fn environment(container: &Node, found: &mut ManifestFindings<'_>) {
    for item in container.get("envFrom").map(Node::items).unwrap_or_default() {
        if let Some(secret) = item.get("secretRef") {
            let name = secret.get("name").map(text).unwrap_or_default();
            let text = format!("every key of the secret {name} is a variable of the environment");
            found.add("environment-secrets", "CIS Docker 4.10", secret, text);
        }
    }
}

#[cfg(test)]
mod tests;
