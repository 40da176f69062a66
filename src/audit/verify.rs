//! Verify: what was asked for beside what a running process has, layer by layer.
//!
//! Both sides are a [`Posture`]. What was asked for was written down when the container was made (or is in the bundle of
//! another runtime); what is observed is read from outside. Only what is weaker than asked for is a difference.

mod mounts;

use std::path::PathBuf;

use crate::config::IdMap;
use crate::policy::Posture;
use crate::policy::posture::{Aspect, Known, NamespaceView, Place, SeccompView, TerminalView};
use crate::tables::capabilities::CapSet;
use crate::tables::namespaces::NsKind;
use crate::tables::rlimits::RLIMITS;

/// One thing that is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The layer of isolation.
    pub layer: &'static str,
    /// What was asked for.
    pub asked: String,
    /// What the process has.
    pub observed: String,
    /// Where that was read.
    pub at: Place,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Layers that were compared.
    pub compared: Vec<&'static str>,
    /// What is different.
    pub differences: Vec<Difference>,
    /// Layers that could not be compared, and why.
    pub unknown: Vec<(&'static str, String)>,
}

impl Comparison {
    fn differs(
        &mut self,
        layer: &'static str,
        at: Place,
        asked: impl Into<String>,
        observed: impl Into<String>,
    ) {
        self.differences.push(Difference { layer, asked: asked.into(), observed: observed.into(), at });
    }

    /// Compares a part that both sides know.
    fn both<T>(
        &mut self,
        layer: &'static str,
        (asked, observed): (&Known<T>, &Known<T>),
        compare: impl FnOnce(&mut Self, &T, &T),
    ) {
        match (asked, observed) {
            (Ok(asked), Ok(observed)) => {
                if !self.compared.contains(&layer) {
                    self.compared.push(layer);
                }
                compare(self, asked, observed);
            }
            // What nothing was asked of needs no comparison.
            (Err(_), _) => {}
            (_, Err(why)) => self.unknown.push((layer, why.clone())),
        }
    }
}

/// What the comparison has to know beside the two sides.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// The container's device rules are enforced by a cgroup: it has one of that controller.
    pub device_cgroup: bool,
    /// cgroup v2: whether the program of the requested device rules is attached to this cgroup.
    pub device_program: Option<(PathBuf, Known<bool>)>,
    /// Paths inside at which the runtime itself shows a file.
    pub shown: Vec<PathBuf>,
    /// Another runtime made it: the tmpfs that holds the trees of cgroup v1 may be writable, the trees not.
    pub foreign: bool,
}

/// Compares the two.
pub fn compare(asked: &Posture, observed: &Posture, given: &Circumstances) -> Comparison {
    let mut out = Comparison::default();
    user(&mut out, asked, observed);
    capabilities(&mut out, asked, observed);
    flags(&mut out, asked, observed);
    namespaces(&mut out, asked, observed);
    root(&mut out, asked, observed);
    mounts::mounts(&mut out, asked, observed, given);
    paths(&mut out, asked, observed);
    limits(&mut out, asked, observed);
    devices(&mut out, asked, observed, given);
    device_program(&mut out, given);
    sysctl(&mut out, asked, observed);
    out
}

fn user(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    let at = observed.at(Aspect::User);
    out.both("user", (&asked.user, &observed.user), |out, a, o| {
        if (a.uid, a.gid) != (o.uid, o.gid) {
            out.differs("user", at.clone(), format!("{}:{}", a.uid, a.gid), format!("{}:{}", o.uid, o.gid));
        }
        let more: Vec<_> = o.groups.iter().filter(|g| !a.groups.contains(g) && **g != a.gid).collect();
        let less: Vec<_> = a.groups.iter().filter(|g| !o.groups.contains(g)).collect();
        if !more.is_empty() || !less.is_empty() {
            out.differs("user", at, format!("groups {:?}", a.groups), format!("groups {:?}", o.groups));
        }
    });
}

fn capabilities(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    let at = observed.at(Aspect::Capabilities);
    let root = asked.user.as_ref().is_ok_and(|u| u.uid == 0);
    let keeps = asked.no_new_privileges.as_ref().is_ok_and(|set| *set);
    out.both("capabilities", (&asked.capabilities, &observed.capabilities), |out, a, o| {
        // execve(2) changes these two: root gets the bounding set, others keep what is ambient.
        let gained = if root || !keeps { a.bounding } else { a.ambient };
        let most = CapSet(gained.0 | a.ambient.0);
        for (name, want, have) in [
            ("bounding", a.bounding, o.bounding),
            ("inheritable", a.inheritable, o.inheritable),
            ("ambient", a.ambient, o.ambient),
            ("permitted", most, o.permitted),
            ("effective", most, o.effective),
        ] {
            let more = CapSet(have.0 & !want.0);
            if !more.is_empty() {
                out.differs("capabilities", at.clone(), format!("{name} {want}"), format!("{more} more"));
            }
        }
    });
}

fn flags(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    let at = observed.at(Aspect::NoNewPrivileges);
    out.both("no_new_privs", (&asked.no_new_privileges, &observed.no_new_privileges), |out, a, o| {
        if *a && !o {
            out.differs("no_new_privs", at, "1", "0");
        }
    });
    let at = observed.at(Aspect::Seccomp);
    out.both("seccomp", (&asked.seccomp, &observed.seccomp), |out, a, o| {
        let text = |s: &SeccompView| match s {
            SeccompView::Off => "no filter".to_string(),
            SeccompView::Filters(0) => "filters".into(),
            SeccompView::Filters(n) => format!("{n} filters"),
        };
        let fewer = match (a, o) {
            (SeccompView::Off, _) | (_, SeccompView::Filters(0)) => false,
            (_, SeccompView::Off) => true,
            (SeccompView::Filters(a), SeccompView::Filters(o)) => o < a,
        };
        if fewer {
            out.differs("seccomp", at, text(a), text(o));
        }
    });
    let at = observed.at(Aspect::Lsm);
    out.both("label", (&asked.lsm, &observed.lsm), |out, a, o| {
        let machine = observed.machine.apparmor || observed.machine.selinux;
        if machine && a.is_some() && a != o {
            let text = |l: &Option<String>| l.clone().unwrap_or_else(|| "unconfined".into());
            out.differs("label", at, text(a), text(o));
        }
    });
    let at = observed.at(Aspect::OomScore);
    out.both("oom score", (&asked.oom_score_adj, &observed.oom_score_adj), |out, a, o| {
        if let (Some(a), Some(o)) = (a, o)
            && a != o
        {
            out.differs("oom score", at, a.to_string(), o.to_string());
        }
    });
    let at = observed.at(Aspect::Terminal);
    out.both("terminal", (&asked.terminal, &observed.terminal), |out, a, o| {
        if (a, o) == (&TerminalView::Own, &TerminalView::Host) {
            out.differs("terminal", at, "none of the host's", "a terminal of the host is open");
        }
    });
    if asked.landlock == Ok(true) {
        out.both("landlock", (&asked.landlock, &observed.landlock), |_, _, _| {});
    }
}

fn namespaces(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    for (kind, a) in &asked.namespaces {
        let Some((_, o)) = observed.namespaces.iter().find(|(k, _)| k == kind) else { continue };
        let (at, name) = (observed.at(Aspect::Namespaces), kind.row().oci);
        out.both("namespaces", (a, o), |out, a, o| match (a, o) {
            (NamespaceView::Own, NamespaceView::Host) => {
                out.differs("namespaces", at, format!("a {name} namespace of its own"), "the host's");
            }
            (NamespaceView::Host, NamespaceView::Own) => {
                out.differs("namespaces", at, format!("the host's {name} namespace"), "another");
            }
            _ => {}
        });
    }
    let own = matches!(asked.namespace(NsKind::User), Ok(NamespaceView::Own));
    let text = |maps: &[IdMap]| crate::config::idmap::map_text(maps).trim().replace('\n', ", ");
    for (what, a, o) in
        [("uid_map", &asked.uid_maps, &observed.uid_maps), ("gid_map", &asked.gid_maps, &observed.gid_maps)]
    {
        let at = observed.at(Aspect::IdMaps);
        out.both("ids", (a, o), |out, a, o| {
            if own && a != o {
                out.differs("ids", at, format!("{what} {}", text(a)), format!("{what} {}", text(o)));
            }
        });
    }
}

fn root(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    let at = observed.at(Aspect::Root);
    out.both("rootfs", (&asked.root, &observed.root), |out, a, o| {
        for (name, a, o) in
            [("ro", a.readonly, o.readonly), ("nosuid", a.nosuid, o.nosuid), ("nodev", a.nodev, o.nodev)]
        {
            if a && !o {
                out.differs("rootfs", at.clone(), name, format!("not {name}"));
            }
        }
    });
}

fn paths(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    for (layer, a, o, aspect) in [
        ("masks", &asked.masked, &observed.masked, Aspect::Masked),
        ("read-only paths", &asked.readonly, &observed.readonly, Aspect::Readonly),
    ] {
        let at = observed.at(aspect);
        out.both(layer, (a, o), |out, a, o| {
            for path in a.iter().filter(|path| !o.contains(path)) {
                out.differs(layer, at.clone(), path.display().to_string(), "open");
            }
        });
    }
}

fn limits(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    const PAGE: u64 = 4096;
    for (layer, a, o, aspect, slack) in [
        ("memory", &asked.memory, &observed.memory, Aspect::Memory, PAGE),
        ("processes", &asked.pids, &observed.pids, Aspect::Pids, 0),
    ] {
        let at = observed.at(aspect);
        out.both(layer, (a, o), |out, a, o| {
            if let Some(a) = a
                && o.is_none_or(|o| o > a + slack)
            {
                out.differs(layer, at, a.to_string(), o.map_or_else(|| "no limit".into(), |o| o.to_string()));
            }
        });
    }
    let at = observed.at(Aspect::Cpu);
    out.both("cpu", (&asked.cpus, &observed.cpus), |out, a, o| {
        if let Some(a) = a
            && o.is_none_or(|o| o > a + 0.001)
        {
            out.differs(
                "cpu",
                at,
                format!("{a} cpus"),
                o.map_or_else(|| "no limit".into(), |o| format!("{o} cpus")),
            );
        }
    });
    let at = observed.at(Aspect::Rlimits);
    out.both("rlimits", (&asked.rlimits, &observed.rlimits), |out, a, o| {
        for want in a {
            let name =
                RLIMITS.iter().find(|row| row.number == want.resource).map_or("a limit", |row| row.name);
            let have = o.iter().find(|l| l.resource == want.resource);
            // A process may lower its own.
            if have.is_none_or(|have| have.hard > want.hard || have.soft > want.soft) {
                let text = have.map_or_else(|| "nothing".into(), |l| format!("{}:{}", l.soft, l.hard));
                out.differs("rlimits", at.clone(), format!("{name} {}:{}", want.soft, want.hard), text);
            }
        }
    });
}

fn devices(out: &mut Comparison, asked: &Posture, observed: &Posture, given: &Circumstances) {
    out.both("devices", (&asked.devices, &observed.devices), |out, a, o| {
        for more in
            o.iter().filter(|o| !a.iter().any(|a| (a.kind, a.major, a.minor) == (o.kind, o.major, o.minor)))
        {
            out.differs(
                "devices",
                more.at.clone(),
                "no such device",
                format!("{} ({} {}:{})", more.path.display(), more.kind, more.major, more.minor),
            );
        }
    });
    if given.device_cgroup {
        out.both("device rules", (&asked.device_rules, &observed.device_rules), |out, a, o| {
            for more in o.iter().filter(|o| o.all && !a.iter().any(|a| a.all)) {
                out.differs("device rules", more.at.clone(), "the default devices", more.rule.clone());
            }
        });
    }
}

/// The device program of a v2 cgroup.
fn device_program(out: &mut Comparison, given: &Circumstances) {
    const LAYER: &str = "device rules";
    let Some((group, attached)) = &given.device_program else { return };
    if let Err(why) = attached {
        out.unknown.push((LAYER, why.clone()));
        return;
    }
    out.compared.push(LAYER);
    if *attached == Ok(false) {
        let observed = "no program with its instructions is attached";
        out.differs(LAYER, Place::File(group.clone()), "the device program of the requested rules", observed);
    }
}

fn sysctl(out: &mut Comparison, asked: &Posture, observed: &Posture) {
    let at = observed.at(Aspect::Sysctl);
    let none = asked.sysctl.as_ref().is_ok_and(Vec::is_empty);
    if none {
        return;
    }
    out.both("kernel parameters", (&asked.sysctl, &observed.sysctl), |out, a, o| {
        for (key, value) in a {
            let have =
                o.iter().find(|(k, _)| k == key).map(|(_, v)| v.split_whitespace().collect::<Vec<_>>());
            if let Some(have) = have
                && have != value.split_whitespace().collect::<Vec<_>>()
            {
                out.differs("kernel parameters", at.clone(), format!("{key}={value}"), have.join(" "));
            }
        }
    });
}
