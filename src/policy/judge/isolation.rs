//! Namespaces, kernel parameters, cgroups, terminals, and processes that came later.

use super::super::posture::ports::NOT_WRITTEN;
use super::super::posture::{Aspect, NamespaceView, Posture, TerminalView};
use super::{Evidence, Judged, Verdict, about, evidence, known, not_applicable, unless, verdict};
use crate::config::defaults;
use crate::config::idmap;
use crate::tables::capabilities;
use crate::tables::namespaces::NsKind;
use crate::tables::sysctls::SAFE;

/// The namespaces that Pod Security Standards name.
const OF_PODS: [(NsKind, &str); 3] =
    [(NsKind::Net, "CIS Docker 5.10"), (NsKind::Pid, "CIS Docker 5.16"), (NsKind::Ipc, "CIS Docker 5.17")];

/// The others that every container has.
const OTHERS: [(NsKind, &str); 3] = [
    (NsKind::Uts, "CIS Docker 5.21"),
    (NsKind::Cgroup, "cgroup_namespaces(7)"),
    (NsKind::Mount, "mount_namespaces(7)"),
];

pub(in super::super) fn host_namespaces(p: &Posture) -> Judged {
    shared(p, &OF_PODS)
}

pub(in super::super) fn namespaces(p: &Posture) -> Judged {
    shared(p, &OTHERS)
}

fn shared(p: &Posture, kinds: &[(NsKind, &'static str)]) -> Judged {
    let (mut found, mut unknown) = (Vec::new(), None);
    for (kind, reference) in kinds {
        let name = kind.row().oci;
        let namespace = match p.namespace(*kind) {
            Ok(namespace) => namespace,
            Err(why) => {
                unknown = Some(why);
                continue;
            }
        };
        match namespace {
            NamespaceView::Own => {}
            NamespaceView::Host => found.push(about(
                reference,
                p.at(Aspect::Namespaces),
                format!("the {name} namespace is the host's"),
            )),
            NamespaceView::Joined(path) if is_host(path) => found.push(about(
                reference,
                p.at(Aspect::Namespaces),
                format!("the {name} namespace is the host's: {}", path.display()),
            )),
            NamespaceView::Joined(path) => {
                unknown =
                    Some(format!("whose {name} namespace {} is depends on the machine", path.display()));
            }
        }
    }
    match unknown {
        Some(why) if found.is_empty() => Ok(Verdict::CannotTell(why)),
        _ => Ok(verdict(found)),
    }
}

/// Paths that lead to the host's namespaces by their names.
fn is_host(path: &std::path::Path) -> bool {
    path.starts_with("/proc/1/ns") || path.starts_with("/proc/self/ns")
}

pub(in super::super) fn user_namespace(p: &Posture) -> Judged {
    match p.namespace(NsKind::User)? {
        NamespaceView::Host => {
            return Ok(Verdict::Fail(vec![evidence(
                p.at(Aspect::Namespaces),
                "no user namespace: ids inside are the host's, root is the host's root",
            )]));
        }
        NamespaceView::Joined(path) => {
            return Err(format!("which ids {} maps depends on the machine", path.display()));
        }
        NamespaceView::Own => {}
    }
    let maps_root = idmap::maps_host_root(known(&p.uid_maps)?) || idmap::maps_host_root(known(&p.gid_maps)?);
    Ok(unless(!maps_root, p.at(Aspect::IdMaps), "the host's root is mapped into the container"))
}

/// Docker sets it for IPv6 in the container's own network.
const OF_DOCKER: &str = "net.ipv6.conf.all.disable_ipv6";

pub(in super::super) fn sysctls(p: &Posture) -> Judged {
    // Limits of the container's own user namespace take something away and give nothing.
    let safe = |key: &str| SAFE.contains(&key) || key == OF_DOCKER || key.starts_with("user.max_");
    let set = known(&p.sysctl)?.iter().filter(|(key, _)| !safe(key));
    let found = set.map(|(key, value)| {
        let at = match p.at(Aspect::Sysctl) {
            super::Place::Pointer(list) => {
                super::Place::Pointer(format!("{list}/{}", key.replace('/', "~1")))
            }
            at => at,
        };
        evidence(at, format!("{key}={value} is not a kernel parameter that is safe to set"))
    });
    Ok(verdict(found.collect()))
}

pub(in super::super) fn ports(p: &Posture) -> Judged {
    let (key, value) = defaults::SYSCTL;
    if !matches!(p.namespace(NsKind::Net), Ok(NamespaceView::Own)) {
        return not_applicable("the container has no network namespace of its own");
    }
    if p.sysctl.as_ref().is_ok_and(|set| set.iter().any(|(k, v)| k == key && v.trim() == value)) {
        return Ok(Verdict::Pass);
    }
    let caps = known(&p.capabilities)?;
    let bind = capabilities::parse("NET_BIND_SERVICE").is_some_and(|bit| caps.effective.has(bit));
    match bind {
        false => not_applicable("it has no capability for ports below 1024"),
        true if p.is_process() => {
            Err("the kernel parameters of another process's network cannot be read".into())
        }
        true => Ok(Verdict::Fail(vec![evidence(
            p.at(Aspect::Capabilities),
            format!("NET_BIND_SERVICE for ports below 1024; {key}={value} needs no capability"),
        )])),
    }
}

/// A pod has none; another container is reached at one address.
pub(in super::super) fn host_ports(p: &Posture) -> Judged {
    if matches!(p.namespace(NsKind::Net), Ok(NamespaceView::Host)) {
        return not_applicable(
            "the network is the host's, and so is each port: the rule host-namespaces judges it",
        );
    }
    if p.ports.as_ref().is_err_and(|why| why == NOT_WRITTEN) {
        return not_applicable(NOT_WRITTEN);
    }
    let mut found = Vec::new();
    for port in known(&p.ports)? {
        let name = match port.port.as_str() {
            "" => "a free port".to_string(),
            number => format!("port {number}"),
        };
        let mut add = |reference, text| found.push(about(reference, port.at.clone(), text));
        if port.of_pod {
            add("PSS baseline: Host Ports", format!("{name} of the host leads into the pod"));
            continue;
        }
        if port.is_privileged() {
            add("CIS Docker 5.8", format!("{name} of the host is below 1024"));
        }
        if port.is_everywhere() {
            add("CIS Docker 5.14", format!("{name} of every address of the host leads in"));
        }
    }
    Ok(verdict(found))
}

pub(in super::super) fn own_cgroup(p: &Posture) -> Judged {
    let own = *known(&p.own_cgroup)?;
    Ok(unless(own, p.at(Aspect::Cgroup), "it is in the top cgroup: nothing counts or limits it"))
}

pub(in super::super) fn terminal(p: &Posture) -> Judged {
    if !p.is_process() && p.terminal.is_err() {
        return not_applicable("the descriptors 0 to 2 are given by the caller when it starts");
    }
    let own = *known(&p.terminal)? == TerminalView::Own;
    Ok(unless(own, p.at(Aspect::Terminal), "a terminal of the host is open as stdin, stdout or stderr"))
}

/// Processes with more rights than the container's first: `docker exec --privileged` or `--user root`.
pub(in super::super) fn exec(p: &Posture) -> Judged {
    if !p.is_process() {
        return not_applicable("later processes are seen on running containers");
    }
    let (caps, user) = (known(&p.capabilities)?, known(&p.user)?);
    let may = caps.bounding.0 | caps.permitted.0;
    let mut found: Vec<Evidence> = Vec::new();
    for peer in known(&p.peers)? {
        let at = super::Place::File(format!("/proc/{}/status", peer.pid).into());
        let more = capabilities::CapSet(peer.capabilities & !may);
        if !more.is_empty() {
            found.push(about(
                "CIS Docker 5.23",
                at,
                format!("process {} ({}) has {more}, which the container does not have", peer.pid, peer.name),
            ));
        } else if peer.uid == 0 && user.uid != 0 {
            found.push(about(
                "CIS Docker 5.24",
                at,
                format!(
                    "process {} ({}) is root, the container's first is {}",
                    peer.pid, peer.name, user.uid
                ),
            ));
        }
    }
    Ok(verdict(found))
}
