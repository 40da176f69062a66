//! A container of a Kubernetes manifest as options of `docker run`.

mod places;

use std::path::Path;

use super::yaml::{Document, Node, Tree};
use super::{Assumed, Description, Engine, Spot, yaml};
use crate::error::{Error, Result};

/// Where each kind has its pod.
const PODS: &[(&str, &[&str])] = &[
    ("Pod", &["spec"]),
    ("Deployment", &["spec", "template", "spec"]),
    ("StatefulSet", &["spec", "template", "spec"]),
    ("DaemonSet", &["spec", "template", "spec"]),
    ("ReplicaSet", &["spec", "template", "spec"]),
    ("ReplicationController", &["spec", "template", "spec"]),
    ("Job", &["spec", "template", "spec"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
    ("PodTemplate", &["template", "spec"]),
];

/// Where kinds that are not known (Argo's Rollout, Knative's Service) mostly have it.
const USUAL: [&[&str]; 2] = [&["spec", "template", "spec"], &["spec"]];

/// The lists of containers in a pod.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Keys of a pod that one container's runtime cannot mean.
const OF_POD: &[(&str, &str)] = &[
    ("automountServiceAccountToken", "no token is mounted in any case"),
    ("serviceAccountName", "there is no cluster"),
    ("runtimeClassName", "this is the runtime"),
    ("restartPolicy", "a service manager restarts programs"),
    ("nodeSelector", "there is no cluster"),
    ("nodeName", "there is no cluster"),
    ("affinity", "there is no cluster"),
    ("tolerations", "there is no cluster"),
    ("topologySpreadConstraints", "there is no cluster"),
    ("priorityClassName", "there is no cluster"),
    ("imagePullSecrets", "nothing is pulled"),
    ("dnsPolicy", "the container has no network but its own"),
    ("enableServiceLinks", "there is no cluster"),
    ("initContainers", "one container runs alone"),
    ("ephemeralContainers", "one container runs alone"),
    ("shareProcessNamespace", "one container runs alone"),
    ("schedulerName", "there is no cluster"),
    ("hostUsers", "ids are never the host's"),
    ("subdomain", "there is no cluster"),
    ("setHostnameAsFQDN", "there is no cluster"),
    ("preemptionPolicy", "there is no cluster"),
    ("priority", "there is no cluster"),
    ("overhead", "there is no cluster"),
    ("readinessGates", "there is no cluster"),
    ("schedulingGates", "there is no cluster"),
    ("activeDeadlineSeconds", "give --timeout"),
];

/// Keys of a container that mean nothing here.
const OF_CONTAINER: &[(&str, &str)] = &[
    ("image", "safebox runs a root file system: give it with --rootfs"),
    ("imagePullPolicy", "nothing is pulled"),
    ("livenessProbe", "a service manager asks for the health of programs"),
    ("readinessProbe", "a service manager asks for the health of programs"),
    ("startupProbe", "a service manager asks for the health of programs"),
    ("lifecycle", "hooks come with a bundle"),
    ("terminationMessagePath", "the program's output is the caller's"),
    ("terminationMessagePolicy", "the program's output is the caller's"),
    ("stdin", "stdin is the caller's"),
    ("stdinOnce", "stdin is the caller's"),
    ("resizePolicy", "there is no cluster"),
    ("restartPolicy", "a service manager restarts programs"),
    ("targetContainerName", "one container runs alone"),
];

/// The spec of the pod in a document, if it has one.
fn pod(document: &Document) -> Option<&Node> {
    let kind = document.top.get("kind")?.text()?;
    match PODS.iter().find(|(known, _)| *known == kind) {
        Some((_, path)) => document.top.path(path),
        None => USUAL
            .iter()
            .filter_map(|path| document.top.path(path))
            .find(|spec| spec.get("containers").is_some()),
    }
}

/// The documents of a file, with the items of a `List` in its place.
pub fn flat(documents: Vec<Document>) -> Vec<Document> {
    let items = |mut document: Document| {
        let kind = document.top.get("kind").and_then(Node::text).unwrap_or_default();
        let list = document.top.get("items").is_some() && kind.ends_with("List");
        if !list {
            return vec![document];
        }
        let Tree::Map(entries) = &mut document.top.tree else { return Vec::new() };
        let found = entries.iter_mut().find(|(key, _)| key == "items").map(|(_, node)| &mut node.tree);
        let Some(Tree::List(items)) = found else { return Vec::new() };
        let of = |top| Document { file: document.file.clone(), top, unset: Vec::new() };
        std::mem::take(items).into_iter().map(of).collect()
    };
    documents.into_iter().flat_map(items).collect()
}

/// Whether a document is a manifest with containers.
pub fn is(document: &Document) -> bool {
    document.top.get("apiVersion").is_some() && pod(document).is_some()
}

/// The containers of a document, with their names; those that run before, and those for debugging, are behind.
pub fn containers(document: &Document) -> Vec<(String, &Node)> {
    let list = |key| pod(document).and_then(|spec| spec.get(key)).map(Node::items).unwrap_or_default();
    let name = |node: &Node| node.get("name").and_then(Node::text).unwrap_or_else(|| "container".into());
    CONTAINERS.into_iter().flat_map(list).map(|node| (name(node), node)).collect()
}

/// One container of a file; without a name the first.
pub fn read(path: &Path, name: Option<&str>) -> Result<Description> {
    let text = super::read(path)?;
    let documents = flat(yaml::parse(path, &text)?);
    let with: Vec<&Document> = documents.iter().filter(|d| is(d)).collect();
    let mut known = Vec::new();
    for document in &with {
        for (container, node) in containers(document) {
            if name.is_none_or(|name| name == container) {
                return describe(document, &container, node);
            }
            known.push(container);
        }
    }
    Err(Error::msg(match (name, known.is_empty()) {
        (Some(name), false) => {
            format!("{}: no container {name:?}; one of {}", path.display(), known.join(", "))
        }
        _ => format!(
            "{}: no manifest of a Pod, Deployment, StatefulSet, DaemonSet, Job or CronJob",
            path.display()
        ),
    }))
}

/// One container of a document.
pub fn describe(document: &Document, name: &str, container: &Node) -> Result<Description> {
    let mut d = Description::new(name, document.at(container));
    d.engine = Engine::Kubernetes;
    let Some(pod) = pod(document) else { return Ok(d) };
    pod_keys(document, &mut d, pod);
    security(document, &mut d, pod.get("securityContext"), container.get("securityContext"))?;
    let annotations = document.top.path(&["spec", "template", "metadata", "annotations"]);
    let annotations = annotations.or_else(|| document.top.path(&["metadata", "annotations"]));
    // As Kubernetes before 1.30 has it.
    let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
    if let Some(node) = annotations.and_then(|a| a.get(&key)) {
        apparmor(&mut d, &document.at(node), &node.text().unwrap_or_default());
    }
    for (key, value) in container.entries() {
        let at = document.at(value);
        match key.as_str() {
            "name" | "securityContext" => {}
            "command" | "args" => {}
            "workingDir" => d.say(&at, "workdir", value.text().unwrap_or_default()),
            "tty" if value.is_true() => d.say(&at, "tty", ""),
            "tty" => {}
            "env" => env(document, &mut d, value),
            "envFrom" => d.note(&at, key, "there is no cluster"),
            "resources" => places::resources(document, &mut d, value)?,
            "ports" => ports(document, &mut d, value, pod.get("hostNetwork").is_some_and(Node::is_true)),
            "volumeMounts" => places::mounts(document, &mut d, value, pod.get("volumes"))?,
            "image" => {
                d.image = value.text().map(|image| (image, at.clone()));
                note(&mut d, document, OF_CONTAINER, key, value);
            }
            key => note(&mut d, document, OF_CONTAINER, key, value),
        }
    }
    for key in ["command", "args"] {
        let items = container.get(key).map(Node::items).unwrap_or_default();
        d.args.extend(items.iter().filter_map(|item| item.text()));
    }
    substitute(&mut d);
    Ok(d)
}

/// The keys of the pod, which its containers share.
fn pod_keys(document: &Document, d: &mut Description, pod: &Node) {
    for (key, value) in pod.entries() {
        let at = document.at(value);
        match key.as_str() {
            "containers" | "securityContext" | "volumes" => {}
            "hostAliases" => aliases(document, d, value),
            "dnsConfig" => dns(document, d, value),
            "hostNetwork" | "hostPID" | "hostIPC" => {
                let option = match key.as_str() {
                    "hostNetwork" => "network",
                    "hostPID" => "pid",
                    _ => "ipc",
                };
                if value.is_true() {
                    d.say(&at, option, "host");
                }
            }
            "hostname" => d.say(&at, "hostname", value.text().unwrap_or_default()),
            "terminationGracePeriodSeconds" => d.say(&at, "stop-timeout", value.text().unwrap_or_default()),
            key => note(d, document, OF_POD, key, value),
        }
    }
}

/// `dnsConfig`: lines of /etc/resolv.conf.
fn dns(document: &Document, d: &mut Description, config: &Node) {
    for (key, option) in [("nameservers", "dns"), ("searches", "dns-search")] {
        for item in config.get(key).map(Node::items).unwrap_or_default() {
            d.say(&document.at(item), option, item.text().unwrap_or_default());
        }
    }
    for item in config.get("options").map(Node::items).unwrap_or_default() {
        let part = |key: &str| item.get(key).and_then(Node::text);
        let value = part("value").map(|value| format!(":{value}")).unwrap_or_default();
        d.say(&document.at(item), "dns-option", part("name").unwrap_or_default() + &value);
    }
}

/// `$(NAME)` in the arguments is the variable of `env`; `$$(NAME)` stays `$(NAME)`, and so does an unknown one.
fn substitute(d: &mut Description) {
    let env = d.options.iter().filter(|option| option.name == "env");
    let env: Vec<(&str, &str)> = env.filter_map(|option| option.value.split_once('=')).collect();
    for arg in &mut d.args {
        let (mut out, mut rest) = (String::new(), arg.as_str());
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let name = rest.strip_prefix("$(").and_then(|r| r.split_once(')'));
            let value = name.and_then(|(name, _)| env.iter().rev().find(|(n, _)| *n == name));
            (out, rest) = match (rest.starts_with("$$"), value, name) {
                (true, ..) => (out + "$", &rest[2..]),
                (false, Some((_, value)), Some((_, after))) => (out + value, after),
                _ => (out + "$", &rest[1..]),
            };
        }
        *arg = out + rest;
    }
}

fn note(d: &mut Description, document: &Document, known: &[(&str, &str)], key: &str, value: &Node) {
    match known.iter().find(|(k, _)| *k == key) {
        Some((_, why)) => d.note(&document.at(value), key, why),
        None => d.unknown.push((document.at(value), key.into())),
    }
}

/// Ports of the host; with the host's network each port is one already.
fn ports(document: &Document, d: &mut Description, value: &Node, host_network: bool) {
    for port in value.items() {
        let (at, part) = (document.at(port), |key: &str| port.get(key).and_then(Node::text));
        match (part("hostPort"), part("containerPort")) {
            (Some(outside), Some(inside)) if !host_network => {
                let ip = part("hostIP").map(|ip| format!("{ip}:")).unwrap_or_default();
                let protocol = part("protocol").unwrap_or_else(|| "tcp".into()).to_lowercase();
                d.say(&at, "publish", format!("{ip}{outside}:{inside}/{protocol}"));
            }
            (Some(_), _) if host_network => {
                d.note(&at, "ports", "with the host's network it is the host's already")
            }
            _ => d.note(&at, "ports", "without a hostPort nothing outside leads to it"),
        }
    }
}

/// The security contexts; the container's keys count before the pod's.
fn security(document: &Document, d: &mut Description, pod: Option<&Node>, own: Option<&Node>) -> Result<()> {
    let find = |key: &str| own.and_then(|c| c.get(key)).or_else(|| pod.and_then(|c| c.get(key)));
    let number = |key: &str| find(key).and_then(|node| Some((document.at(node), node.text()?)));
    if let Some((at, uid)) = number("runAsUser") {
        let gid = number("runAsGroup").map(|(_, gid)| format!(":{gid}")).unwrap_or_default();
        d.say(&at, "user", format!("{uid}{gid}"));
        let root = uid.parse::<u64>().is_ok_and(|uid| uid == 0);
        if root && find("runAsNonRoot").is_some_and(Node::is_true) {
            d.stop(&at, "runAsUser", "it is 0, and runAsNonRoot does not allow that");
        }
    } else if let Some(node) = find("runAsNonRoot").filter(|node| node.is_true()) {
        d.assumed.push((document.at(node), Assumed::NotRoot));
    }
    for key in ["fsGroup", "supplementalGroups"] {
        for group in pod.and_then(|c| c.get(key)).map(Node::items).unwrap_or_default() {
            d.say(&document.at(group), "group-add", group.text().unwrap_or_default());
        }
    }
    profiles(document, d, find);
    for sysctl in pod.and_then(|c| c.get("sysctls")).map(Node::items).unwrap_or_default() {
        let part = |key: &str| sysctl.get(key).and_then(Node::text).unwrap_or_default();
        d.say(&document.at(sysctl), "sysctl", format!("{}={}", part("name"), part("value")));
    }
    of_container(document, d, own.map(Node::entries).unwrap_or_default());
    if let Some(node) = pod.and_then(|c| c.get("fsGroupChangePolicy")) {
        d.note(&document.at(node), "fsGroupChangePolicy", "the owner of a volume is mapped, not changed");
    }
    for context in [pod, own].into_iter().flatten() {
        for (key, value) in context.entries() {
            if !CONTEXT.contains(&key.as_str()) {
                d.unknown.push((document.at(value), format!("securityContext.{key}")));
            }
        }
    }
    Ok(())
}

/// The profiles of seccomp and of the security modules.
fn profiles<'n>(document: &Document, d: &mut Description, find: impl Fn(&str) -> Option<&'n Node>) {
    if let Some(node) = find("seccompProfile") {
        let kind = node.get("type").and_then(Node::text).unwrap_or_default();
        match kind.as_str() {
            "RuntimeDefault" => d.say(&document.at(node), "seccomp", "default"),
            "Unconfined" => d.say(&document.at(node), "security-opt", "seccomp=unconfined"),
            _ => {
                d.assumed.push((document.at(node), Assumed::Filtered));
                d.note(
                    &document.at(node),
                    "seccompProfile",
                    "give the file with --security-opt seccomp=FILE",
                );
            }
        }
    }
    if let Some(node) = find("appArmorProfile") {
        let part = |key: &str| node.get(key).and_then(Node::text).unwrap_or_default();
        match part("type").as_str() {
            "Localhost" => {
                apparmor(d, &document.at(node), &format!("localhost/{}", part("localhostProfile")))
            }
            kind => apparmor(d, &document.at(node), &kind.to_ascii_lowercase()),
        }
    }
    if let Some(node) = find("seLinuxOptions") {
        for (key, value) in node.entries() {
            d.say(
                &document.at(value),
                "security-opt",
                format!("label={key}:{}", value.text().unwrap_or_default()),
            );
        }
    }
}

/// The keys that only a container's own context has.
fn of_container(document: &Document, d: &mut Description, entries: &[(String, Node)]) {
    for (key, value) in entries {
        let at = document.at(value);
        match key.as_str() {
            "allowPrivilegeEscalation" if !value.is_true() => d.say(&at, "security-opt", "no-new-privileges"),
            "readOnlyRootFilesystem" if value.is_true() => d.say(&at, "read-only", ""),
            "privileged" if value.is_true() => d.say(&at, "privileged", ""),
            "procMount" if value.text().as_deref() == Some("Unmasked") => {
                d.say(&at, "security-opt", "systempaths=unconfined");
            }
            "capabilities" => {
                for (kind, option) in [("drop", "cap-drop"), ("add", "cap-add")] {
                    for cap in value.get(kind).map(Node::items).unwrap_or_default() {
                        d.say(&document.at(cap), option, cap.text().unwrap_or_default());
                    }
                }
            }
            _ => {}
        }
    }
}

/// Keys of security contexts that are read.
const CONTEXT: [&str; 16] = [
    "seLinuxOptions",
    "supplementalGroupsPolicy",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "fsGroup",
    "fsGroupChangePolicy",
    "supplementalGroups",
    "seccompProfile",
    "appArmorProfile",
    "sysctls",
    "allowPrivilegeEscalation",
    "readOnlyRootFilesystem",
    "privileged",
    "capabilities",
    "procMount",
];

/// A profile as the annotation names it: `unconfined`, `localhost/NAME`, `runtime/default`.
fn apparmor(d: &mut Description, at: &Spot, profile: &str) {
    match profile.strip_prefix("localhost/") {
        Some(name) => d.say(at, "security-opt", format!("apparmor={name}")),
        None if profile == "unconfined" => d.say(at, "security-opt", "apparmor=unconfined"),
        None => d.note(at, "appArmorProfile", "the engine's own profile is not here"),
    }
}

/// `hostAliases`: lines of /etc/hosts.
fn aliases(document: &Document, d: &mut Description, list: &Node) {
    for item in list.items() {
        let ip = item.get("ip").and_then(Node::text).unwrap_or_default();
        for name in item.get("hostnames").map(Node::items).unwrap_or_default() {
            d.say(&document.at(name), "add-host", format!("{}:{ip}", name.text().unwrap_or_default()));
        }
    }
}

fn env(document: &Document, d: &mut Description, list: &Node) {
    for item in list.items() {
        let name = item.get("name").and_then(Node::text).unwrap_or_default();
        match item.get("value").and_then(Node::text) {
            Some(value) => d.say(&document.at(item), "env", format!("{name}={value}")),
            None if item.get("valueFrom").is_some() => {
                d.assumed.push((document.at(item), Assumed::Variable(name.clone())));
                d.note(
                    &document.at(item),
                    &format!("env {name}"),
                    "there is no cluster to take its value from",
                );
            }
            None => d.say(&document.at(item), "env", format!("{name}=")),
        }
    }
}
