//! A container of a Kubernetes manifest as options of `docker run`.

mod security;

use std::path::Path;

use security::{apparmor, security};

use super::words::quantity;
use super::yaml::{Document, Node, Tree};
use super::{Description, yaml};
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
            "resources" => resources(document, &mut d, value)?,
            "ports" => ports(document, &mut d, value, pod.get("hostNetwork").is_some_and(Node::is_true)),
            "volumeMounts" => mounts(document, &mut d, value, pod.get("volumes"))?,
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
            "dnsConfig" => {
                for server in value.get("nameservers").map(Node::items).unwrap_or_default() {
                    d.say(&document.at(server), "dns", server.text().unwrap_or_default());
                }
            }
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

/// `$(NAME)` in the arguments is the variable of `env`; `$$(NAME)` stays `$(NAME)`, and so does an unknown one.
fn substitute(d: &mut Description) {
    let env = d.said.iter().filter(|said| said.option == "env");
    let env: Vec<(&str, &str)> = env.filter_map(|said| said.value.split_once('=')).collect();
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
            _ => d.note(&at, "ports", "without a hostPort nothing outside leads to it"),
        }
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

fn resources(document: &Document, d: &mut Description, resources: &Node) -> Result<()> {
    for (kind, values) in resources.entries() {
        for (name, node) in values.entries() {
            let at = document.at(node);
            let text = node.text().unwrap_or_default();
            let amount = quantity(&text)
                .ok_or_else(|| document.error(node, format!("{name}: {text:?} is no quantity")))?;
            match (kind.as_str(), name.as_str()) {
                ("limits", "memory") => d.say(&at, "memory", format!("{}", amount as i64)),
                ("limits", "cpu") => d.say(&at, "cpus", amount.to_string()),
                ("requests", "memory") => d.say(&at, "memory-reservation", format!("{}", amount as i64)),
                _ => d.note(&at, &format!("resources.{kind}.{name}"), "nothing reserves it"),
            }
        }
    }
    Ok(())
}

fn mounts(document: &Document, d: &mut Description, mounts: &Node, volumes: Option<&Node>) -> Result<()> {
    const KEYS: [&str; 7] =
        ["name", "mountPath", "readOnly", "recursiveReadOnly", "subPath", "subPathExpr", "mountPropagation"];
    for mount in mounts.items() {
        let at = document.at(mount);
        for (key, value) in mount.entries().iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
            d.unknown.push((document.at(value), format!("volumeMounts.{key}")));
        }
        let part = |key: &str| mount.get(key).and_then(Node::text).unwrap_or_default();
        let (name, path, below) = (part("name"), part("mountPath"), part("subPath"));
        let list = volumes.map(Node::items).unwrap_or_default();
        let volume = list.into_iter().find(|v| v.get("name").and_then(Node::text).as_deref() == Some(&name));
        let volume =
            volume.ok_or_else(|| document.error(mount, format!("volumeMounts: no volume {name:?}")))?;
        if mount.get("subPathExpr").is_some() {
            d.stop(&at, "volumeMounts.subPathExpr", "its variables are not read: use subPath");
            continue;
        }
        if below.split('/').any(|part| part == "..") || below.starts_with('/') {
            return Err(document.error(mount, format!("volumeMounts: subPath {below:?} leaves the volume")));
        }
        let kind = volume.entries().iter().find(|(key, _)| key != "name");
        let mode = if mount.get("readOnly").is_some_and(Node::is_true) { "ro" } else { "rw" };
        match kind.map(|(key, node)| (key.as_str(), node)) {
            Some(("emptyDir", node)) => {
                let size = match node.get("sizeLimit") {
                    Some(size) => {
                        let bytes = size.text().and_then(|text| quantity(&text));
                        let bytes = bytes.ok_or_else(|| document.error(size, "sizeLimit: no quantity"))?;
                        format!(",size={}", bytes as i64)
                    }
                    None => String::new(),
                };
                d.say_tmpfs(&at, &format!("{path}:{mode}{size}"));
            }
            Some(("hostPath", node)) => {
                let source = node.get("path").and_then(Node::text).unwrap_or_default();
                let source = if below.is_empty() { source } else { format!("{source}/{below}") };
                let propagation = match part("mountPropagation").as_str() {
                    "Bidirectional" => ",rshared",
                    "HostToContainer" => ",rslave",
                    _ => "",
                };
                d.say(&at, "volume", format!("{source}:{path}:{mode}{propagation}"));
            }
            Some((key, _)) => d.note(
                &at,
                &format!("the volume {name}"),
                &format!("there is no cluster to take a {key} from"),
            ),
            None => d.say_tmpfs(&at, &format!("{path}:{mode}")),
        }
    }
    Ok(())
}
