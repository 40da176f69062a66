//! A container of a Kubernetes manifest as options of `docker run`.

mod places;
mod security;
mod shape;

use std::path::Path;

use super::words::quoted;
use super::yaml::{Document, Node, Tree};
use super::{Assumed, Description, Engine, yaml};
use crate::error::{Error, Result};
use security::{apparmor, security};

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
pub const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

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
    ("subdomain", "there is no cluster"),
    ("setHostnameAsFQDN", "there is no cluster"),
    ("preemptionPolicy", "there is no cluster"),
    ("priority", "there is no cluster"),
    ("overhead", "there is no cluster"),
    ("readinessGates", "there is no cluster"),
    ("resourceClaims", "there is no cluster"),
    ("serviceAccount", "there is no cluster"),
    ("hostnameOverride", "there is no cluster"),
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
    ("restartPolicyRules", "a service manager restarts programs"),
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

/// A pod, for what its fields say themselves.
pub struct Pod<'a> {
    /// Its `spec`.
    pub spec: &'a Node,
    top: &'a Node,
    annotations: Option<&'a Node>,
}

impl<'a> Pod<'a> {
    /// The pod of a document.
    pub fn of(document: &'a Document) -> Option<Self> {
        let annotations = document.top.path(&["spec", "template", "metadata", "annotations"]);
        let in_job = &["spec", "jobTemplate", "spec", "template", "metadata", "annotations"];
        let annotations = annotations.or_else(|| document.top.path(in_job));
        let annotations = annotations.or_else(|| document.top.path(&["template", "metadata", "annotations"]));
        let annotations = annotations.or_else(|| document.top.path(&["metadata", "annotations"]));
        Some(Pod { spec: pod(document)?, top: &document.top, annotations })
    }

    /// The object that it is of: `Deployment/web: `.
    pub fn object(&self) -> String {
        let text = |path: &[&str]| self.top.path(path).and_then(Node::text).unwrap_or_default();
        format!("{}/{}: ", text(&["kind"]), text(&["metadata", "name"]))
    }

    /// Its containers of every kind.
    pub fn containers(&self) -> Vec<&'a Node> {
        CONTAINERS.into_iter().filter_map(|key| self.spec.get(key)).flat_map(Node::items).collect()
    }

    /// The annotation with a container's profile of AppArmor, as Kubernetes before 1.30 has it.
    pub fn apparmor_of(&self, container: &Node) -> Option<&'a Node> {
        let name = container.get("name").and_then(Node::text)?;
        self.annotations?.get(&format!("container.apparmor.security.beta.kubernetes.io/{name}"))
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

/// Containers of an object whose pod was not found.
pub fn hidden_containers(document: &Document) -> Option<&Node> {
    fn find(node: &Node) -> Option<&Node> {
        match &node.tree {
            Tree::Map(entries) => entries.iter().find_map(|(key, value)| {
                let list = CONTAINERS.contains(&key.as_str()) || key == "container";
                let with_image = |node: &Node| node.items().iter().any(|item| item.get("image").is_some());
                if list && with_image(value) { Some(value) } else { find(value) }
            }),
            Tree::List(items) => items.iter().find_map(find),
            _ => None,
        }
    }
    let is_object = document.top.get("apiVersion").is_some() && document.top.get("kind").is_some();
    if is_object { find(&document.top) } else { None }
}

/// Whether a document is a manifest with containers.
pub fn is(document: &Document) -> bool {
    document.top.get("apiVersion").is_some() && pod(document).is_some()
}

/// The containers of a document, with their names; those that run before, and those for debugging, are behind.
pub fn containers(document: &Document) -> Vec<(String, &Node)> {
    let name = |node: &Node| node.get("name").and_then(Node::text).unwrap_or_else(|| "container".into());
    let all = Pod::of(document).map(|pod| pod.containers()).unwrap_or_default();
    all.into_iter().map(|node| (name(node), node)).collect()
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
    let Some(whole) = Pod::of(document) else { return Ok(d) };
    let pod = whole.spec;
    shape::check(document, pod, container)?;
    pod_keys(document, &mut d, pod)?;
    security(document, &mut d, pod.get("securityContext"), container.get("securityContext"))?;
    if let Some(node) = whole.apparmor_of(container) {
        apparmor(&mut d, &document.at(node), &node.text().unwrap_or_default());
    }
    for (key, value) in container.set_entries() {
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
            "livenessProbe" if value.get("exec").is_some() => liveness(document, &mut d, value)?,
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

/// A liveness probe that executes a program is the health check of a detached run.
fn liveness(document: &Document, d: &mut Description, probe: &Node) -> Result<()> {
    const TIMES: [(&str, &str, &str); 4] = [
        ("periodSeconds", "health-interval", "s"),
        ("timeoutSeconds", "health-timeout", "s"),
        ("initialDelaySeconds", "health-start-period", "s"),
        ("failureThreshold", "health-retries", ""),
    ];
    let Some(command) = probe.path(&["exec", "command"]) else {
        return Err(document.error(probe, "livenessProbe.exec: a command is needed"));
    };
    let words: Vec<String> = command.items().iter().filter_map(|word| word.text()).collect();
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    d.say(&document.at(command), "health-cmd", words.join(" "));
    for (key, value) in probe.set_entries() {
        let row = TIMES.iter().find(|(known, ..)| known == key);
        match (row, value.text()) {
            (Some((_, option, unit)), Some(text)) => {
                d.say(&document.at(value), option, format!("{text}{unit}"))
            }
            _ if matches!(key.as_str(), "exec" | "successThreshold" | "terminationGracePeriodSeconds") => {}
            _ => d.unknown.push((document.at(value), format!("livenessProbe.{key}"))),
        }
    }
    Ok(())
}

/// The keys of the pod, which its containers share.
fn pod_keys(document: &Document, d: &mut Description, pod: &Node) -> Result<()> {
    for (key, value) in pod.set_entries() {
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
            "hostUsers" if !value.is_true() => d.assumed.push((at, Assumed::OwnUsers)),
            "hostUsers" => d.note(&at, "hostUsers", "ids are the host's with --allow host-user alone"),
            // A container's own limits come after these, and replace them.
            "resources" => places::resources(document, d, value)?,
            "os" if value.get("name").and_then(Node::text).as_deref() == Some("windows") => {
                d.stop(&at, "os", "it is for Windows");
            }
            "os" => {}
            "hostname" => d.say(&at, "hostname", value.text().unwrap_or_default()),
            "terminationGracePeriodSeconds" => d.say(&at, "stop-timeout", value.text().unwrap_or_default()),
            key => note(d, document, OF_POD, key, value),
        }
    }
    Ok(())
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
        match (part("hostPort").filter(|port| port != "0"), part("containerPort")) {
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
