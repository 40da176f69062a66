//! The security contexts of a pod and of its containers.

use crate::error::Result;
use crate::input::yaml::{Document, Node};
use crate::input::{Assumed, Description, Spot};

/// The security contexts; the container's keys count before the pod's.
pub(super) fn security(
    document: &Document,
    d: &mut Description,
    pod: Option<&Node>,
    own: Option<&Node>,
) -> Result<()> {
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
    if let (None, Some((at, _))) = (number("runAsUser"), number("runAsGroup")) {
        d.note(&at, "runAsGroup", "without runAsUser the group is that of the image's user");
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
    if let Some(own) = own {
        of_container(document, d, own);
    }
    for node in [pod, own].into_iter().flatten().filter_map(|context| context.get("windowsOptions")) {
        d.note(&document.at(node), "windowsOptions", "it is for Windows");
    }
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
fn of_container(document: &Document, d: &mut Description, own: &Node) {
    for (key, value) in own.set_entries() {
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
const CONTEXT: [&str; 18] = [
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
    "seLinuxChangePolicy",
    "windowsOptions",
];

/// A profile as the annotation names it: `unconfined`, `localhost/NAME`, `runtime/default`.
pub(super) fn apparmor(d: &mut Description, at: &Spot, profile: &str) {
    match profile.strip_prefix("localhost/") {
        Some(name) => d.say(at, "security-opt", format!("apparmor={name}")),
        None if profile == "unconfined" => d.say(at, "security-opt", "apparmor=unconfined"),
        None => d.note(at, "appArmorProfile", "the engine's own profile is not here"),
    }
}
