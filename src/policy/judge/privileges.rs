//! The user, capabilities, filters, labels and devices.

use super::super::posture::{Aspect, Posture, SeccompView};
use super::super::rules::DEFAULT_CAPS;
use super::{Judged, Verdict, about, evidence, has_own_users, known, not_applicable, unless, verdict};
use crate::tables::capabilities::{self, CapSet};

/// Capabilities with which a process can leave its container or change the machine.
const DANGEROUS: [&str; 20] = [
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_BOOT",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "DAC_READ_SEARCH",
    "NET_ADMIN",
    "BPF",
    "PERFMON",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "CHECKPOINT_RESTORE",
    "LINUX_IMMUTABLE",
    "BLOCK_SUSPEND",
    "WAKE_ALARM",
];

fn set_of(names: &[&str]) -> u64 {
    names.iter().filter_map(|name| capabilities::parse(name)).collect::<CapSet>().0
}

/// All five sets, or-ed.
fn every(p: &Posture) -> Result<u64, String> {
    let c = known(&p.capabilities)?;
    Ok(c.bounding.0 | c.effective.0 | c.permitted.0 | c.inheritable.0 | c.ambient.0)
}

pub(in super::super) fn non_root(p: &Posture) -> Judged {
    let user = known(&p.user)?;
    let text = if has_own_users(p) {
        "it runs as root of its user namespace"
    } else {
        "it runs as root, with the host's ids"
    };
    Ok(unless(user.uid != 0, p.at(Aspect::User), text))
}

fn beyond(p: &Posture, most: u64) -> Judged {
    let more = CapSet(every(p)? & !most);
    Ok(unless(more.is_empty(), p.at(Aspect::Capabilities), more.to_string()))
}

pub(in super::super) fn default_capabilities(p: &Posture) -> Judged {
    beyond(p, set_of(&DEFAULT_CAPS))
}

pub(in super::super) fn no_capabilities(p: &Posture) -> Judged {
    beyond(p, set_of(&["NET_BIND_SERVICE"]))
}

pub(in super::super) fn dangerous_capabilities(p: &Posture) -> Judged {
    let has = CapSet(every(p)? & set_of(&DANGEROUS));
    let found = has.iter().filter_map(|bit| capabilities::CAPABILITIES.get(usize::from(bit)));
    Ok(verdict(
        found.map(|row| evidence(p.at(Aspect::Capabilities), format!("{}: {}", row.name, row.doc))).collect(),
    ))
}

/// What `--privileged` leaves on: all capabilities, or all devices.
pub(in super::super) fn privileged(p: &Posture) -> Judged {
    let mut found = Vec::new();
    let known_caps = CapSet::ALL.0 >> 3;
    if every(p)? & known_caps == known_caps {
        found.push(evidence(p.at(Aspect::Capabilities), "it has every capability"));
    }
    if let Ok(rules) = &p.device_rules {
        let all = rules.iter().filter(|rule| rule.all && !has_own_users(p));
        found.extend(
            all.map(|rule| evidence(rule.at.clone(), format!("every device is allowed ({})", rule.rule))),
        );
    }
    Ok(verdict(found))
}

pub(in super::super) fn no_new_privileges(p: &Posture) -> Judged {
    let set = *known(&p.no_new_privileges)?;
    Ok(unless(set, p.at(Aspect::NoNewPrivileges), "setuid programs and file capabilities give privileges"))
}

pub(in super::super) fn seccomp(p: &Posture) -> Judged {
    let on = *known(&p.seccomp)? != SeccompView::Off;
    Ok(unless(on, p.at(Aspect::Seccomp), "no filter: every system call of the kernel can be reached"))
}

pub(in super::super) fn lsm(p: &Posture) -> Judged {
    let reference = match (p.machine.apparmor, p.machine.selinux) {
        (false, false) => return not_applicable("neither AppArmor nor SELinux is active on this machine"),
        (true, _) => "CIS Docker 5.2",
        (false, true) => "CIS Docker 5.3",
    };
    let text = "no profile of AppArmor and no label of SELinux confines it";
    Ok(match known(&p.lsm)? {
        Some(_) => Verdict::Pass,
        None => Verdict::Fail(vec![about(reference, p.at(Aspect::Lsm), text)]),
    })
}

pub(in super::super) fn landlock(p: &Posture) -> Judged {
    match p.origin {
        super::super::posture::Origin::Written => {
            return not_applicable("config.json cannot ask for it; safebox run adds it");
        }
        _ if p.machine.landlock == 0 => return not_applicable("this kernel has no Landlock"),
        _ => {}
    }
    let on = *known(&p.landlock)?;
    Ok(unless(on, p.at(Aspect::Mounts), "no second guard of files beside the mounts"))
}

pub(in super::super) fn devices(p: &Posture) -> Judged {
    let nodes = known(&p.devices)?.iter();
    let node = |d: &super::super::posture::DeviceView| {
        let path = d.path.display();
        // A description is of another machine, whose numbers are not known here.
        let text = match (d.major, d.minor) {
            (0, 0) => format!("{path} is a device of the host"),
            (major, minor) => format!("{path} is {} {major}:{minor} of the host", d.kind),
        };
        evidence(d.at.clone(), text)
    };
    let mut found: Vec<_> = nodes.map(node).collect();
    // In a user namespace of its own a process makes no nodes, and nodev keeps those of the image shut.
    let shut = p.is_process() && has_own_users(p) && p.root.as_ref().is_ok_and(|root| root.nodev);
    if !shut {
        let open = known(&p.device_rules)?.iter();
        found.extend(
            open.map(|rule| evidence(rule.at.clone(), format!("the device rule {} is open", rule.rule))),
        );
    }
    Ok(verdict(found))
}
