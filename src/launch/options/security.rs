//! Options about what is hardened, and what is allowed again.

use super::super::ladder::LAYERS;
use super::super::value::Launch;
use super::heading::HARDENING;
use super::process::{pair, process};
use super::verbs::CONFIG;
use super::{OptionRow, Says, ValueResult};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::policy::{ALLOW, Change, Facts, Policy};
use crate::sys::read::at_most;
use crate::tables::capabilities::{self, CapSet};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "policy",
        HARDENING,
        CONFIG,
        Says::One("POLICY", |l, v| {
            let _: () = l.policy = Some(v.parse()?);
            Ok(())
        }),
        "restricted: every layer; baseline: known ways out are closed; privileged: the config as written \
         [default: restricted; privileged for a program started under the name runc]",
    )
    .values(&["restricted", "baseline", "privileged"], &["", "none"]),
    OptionRow::new(
        "allow",
        HARDENING,
        CONFIG,
        Says::List("WHAT", |l, v| {
            if ALLOW.iter().all(|(name, _)| *name != v) {
                let names: Vec<_> = ALLOW.iter().map(|(name, _)| *name).collect();
                return Err(format!("unknown; one of {}", names.join(", ")));
            }
            l.overrides.allow.push(v.into());
            Ok(())
        }),
        "Give something back: root, host-user, host-pid, host-net, host-ipc, host-uts, host-cgroup, new-privileges, \
         write-rootfs, devices, suid-mounts, ptrace (strace, gdb, LeakSanitizer), proc",
    )
    .values(&["root", "host-net"], &["", "everything"]),
    OptionRow::new(
        "cap-add",
        HARDENING,
        CONFIG,
        Says::List("CAP", |l, v| {
            if v.eq_ignore_ascii_case("all") {
                return Err("name the capabilities one by one, or use --policy privileged".into());
            }
            l.overrides.cap_add = l.overrides.cap_add.with(capability(v)?);
            Ok(())
        }),
        "Keep a capability, e.g. NET_BIND_SERVICE; all five sets are empty otherwise",
    )
    .effect(add_capabilities)
    .values(&["NET_ADMIN", "cap_chown"], &["", "NO_SUCH", "all"]),
    OptionRow::new(
        "cap-drop",
        HARDENING,
        CONFIG,
        Says::List("CAP", |l, v| {
            let all = v.eq_ignore_ascii_case("all");
            let bits = if all { CapSet(u64::MAX) } else { CapSet::EMPTY.with(capability(v)?) };
            l.process.cap_drop.0 |= bits.0;
            Ok(())
        }),
        "Take a capability of the config away, or ALL; --cap-add comes after it",
    )
    .effect(drop_capabilities)
    .values(&["NET_RAW", "ALL"], &["", "NO_SUCH"]),
    OptionRow::new(
        "seccomp",
        HARDENING,
        CONFIG,
        Says::One("PROFILE", |l, v| {
            let _: () = l.overrides.seccomp = v.parse()?;
            Ok(())
        }),
        "default: the built-in profile (with the config's, if it has one); config: the config's alone; unconfined: none. \
         Where no namespace can be made (safebox doctor), the built-in profile is required",
    )
    .values(&["config", "unconfined"], &["", "off"]),
    OptionRow::new(
        "seccomp-allow",
        HARDENING,
        CONFIG,
        Says::List("NAME", |l, v| {
            if v.is_empty() {
                return Err("the name of a system call is needed".into());
            }
            l.overrides.seccomp_allow.push(v.into());
            Ok(())
        }),
        "Let a system call run that the built-in profile refuses, e.g. userfaultfd; may be given again",
    )
    .values(&["userfaultfd"], &[""]),
    OptionRow::new(
        "require",
        HARDENING,
        CONFIG,
        Says::List("LAYER", |l, v| {
            if LAYERS.iter().all(|layer| layer.name != v) {
                let names: Vec<_> = LAYERS.iter().map(|layer| layer.name).collect();
                return Err(format!("unknown; one of {}", names.join(", ")));
            }
            l.life.require.push(v.into());
            Ok(())
        }),
        "Refuse to run without this layer, e.g. user-namespace or cgroup; safebox doctor lists them",
    )
    .values(&["user-namespace", "landlock"], &["", "everything"]),
    OptionRow::new(
        "security-opt",
        HARDENING,
        CONFIG,
        Says::Each("OPTION", security_opt),
        "no-new-privileges, seccomp=FILE|unconfined, apparmor=NAME, label=LABEL",
    )
    .effect(labels)
    .values(
        &["no-new-privileges", "seccomp=unconfined", "apparmor=x", "label=a:b:c:s0"],
        &["", "systempaths=unconfined", "seccomp=", "what=1", "label=disable"],
    ),
    OptionRow::new(
        "sysctl",
        HARDENING,
        CONFIG,
        Says::Each("NAME=VALUE", |l, v| {
            let _: () = l.process.sysctl.push(pair(v)?);
            Ok(())
        }),
        "A kernel parameter of the container's own namespaces",
    )
    .effect(|l, _, config, _| {
        for (key, value) in &l.process.sysctl {
            config.sysctl.retain(|(known, _)| known != key);
            config.sysctl.push((key.clone(), value.clone()));
        }
        config.sysctl.sort();
        Ok(())
    })
    .values(&["net.ipv4.ip_forward=1"], &["", "x", "=1"]),
    OptionRow::new(
        "pid",
        HARDENING,
        CONFIG,
        Says::One("NAMESPACE", |l, v| host_only(l, v, "host-pid")),
        "host: the host's process ids",
    )
    .values(&["host"], &["", "container:x"]),
    OptionRow::new(
        "ipc",
        HARDENING,
        CONFIG,
        Says::One("NAMESPACE", |l, v| match v {
            "private" | "none" => {
                let _: () = l.overrides.allow.retain(|name| name != "host-ipc");
                Ok(())
            },
            _ => host_only(l, v, "host-ipc"),
        }),
        "private, the default, or host: the host's System V and POSIX message queues",
    )
    .values(&["host", "private"], &["", "shareable"]),
    OptionRow::new(
        "uts",
        HARDENING,
        CONFIG,
        Says::One("NAMESPACE", |l, v| host_only(l, v, "host-uts")),
        "host: the host's name",
    )
    .values(&["host"], &["", "private"]),
    OptionRow::new(
        "cgroupns",
        HARDENING,
        CONFIG,
        Says::One("NAMESPACE", |l, v| match v {
            "private" => {
                let _: () = l.overrides.allow.retain(|name| name != "host-cgroup");
                Ok(())
            },
            _ => host_only(l, v, "host-cgroup"),
        }),
        "private, the default, or host: the host's view of cgroups",
    )
    .values(&["host", "private"], &["", "x"]),
    OptionRow::new(
        "userns",
        HARDENING,
        CONFIG,
        Says::One("NAMESPACE", |l, v| host_only(l, v, "host-user")),
        "host: ids inside are the host's",
    )
    .values(&["host"], &["", "keep-id"]),
];

fn capability(name: &str) -> std::result::Result<u8, String> {
    let names = || {
        capabilities::CAPABILITIES.iter().map(|row| row.name.trim_start_matches("CAP_")).collect::<Vec<_>>()
    };
    capabilities::parse(name).ok_or_else(|| format!("unknown capability; one of {}", names().join(", ")))
}

fn host_only(launch: &mut Launch, value: &str, allow: &str) -> ValueResult {
    if value != "host" {
        return Err(format!(
            "host is the only value (as --allow {allow}); the default is a namespace of its own"
        ));
    }
    launch.overrides.allow.push(allow.into());
    Ok(())
}

fn security_opt(launch: &mut Launch, value: &str) -> ValueResult {
    let (name, given) = value.split_once(['=', ':']).map_or((value, ""), |(n, v)| (n, v));
    match (name, given) {
        ("no-new-privileges", "" | "true") => launch.process.no_new_privileges = true,
        ("no-new-privileges", "false") => launch.overrides.allow.push("new-privileges".into()),
        ("seccomp", "unconfined") => launch.overrides.seccomp = crate::policy::SeccompAsk::Unconfined,
        ("seccomp", file) if !file.is_empty() => {
            launch.process.seccomp = Some(file.into());
            launch.overrides.seccomp = crate::policy::SeccompAsk::Default;
        }
        ("apparmor", name) if !name.is_empty() => launch.process.apparmor = Some(name.into()),
        ("label", label) if label.matches(':').count() >= 3 => launch.process.label = Some(label.into()),
        ("label", _) => return Err("label= takes a whole SELinux context, USER:ROLE:TYPE:LEVEL".into()),
        ("systempaths", _) => return Err("use --allow proc".into()),
        _ => return Err("no-new-privileges, seccomp=FILE|unconfined, apparmor=NAME or label=LABEL".into()),
    }
    Ok(())
}

/// Under `privileged` the config's capabilities and these; the policy's rule has its own way with them.
fn add_capabilities(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    _: &mut Vec<Change>,
) -> Result<()> {
    let add = launch.overrides.cap_add;
    if facts.policy == Policy::Privileged && !add.is_empty() {
        let c = &mut process(config)?.capabilities;
        for set in [&mut c.bounding, &mut c.effective, &mut c.permitted] {
            set.0 |= add.0;
        }
    }
    Ok(())
}

fn drop_capabilities(launch: &Launch, _: &Facts<'_>, config: &mut Config, _: &mut Vec<Change>) -> Result<()> {
    let drop = launch.process.cap_drop.0 & !launch.overrides.cap_add.0;
    if drop != 0 {
        let c = &mut process(config)?.capabilities;
        for set in [&mut c.bounding, &mut c.effective, &mut c.permitted, &mut c.inheritable, &mut c.ambient] {
            set.0 &= !drop;
        }
    }
    Ok(())
}

/// Bytes of the largest seccomp profile.
const LARGEST_PROFILE: u64 = 16 << 20;

/// `--security-opt`: no_new_privs, a profile in place of the config's, labels.
fn labels(launch: &Launch, _: &Facts<'_>, config: &mut Config, _: &mut Vec<Change>) -> Result<()> {
    let asked = &launch.process;
    if let Some(path) = &asked.seccomp {
        let failed =
            |e: &dyn std::fmt::Display| Error::msg(format!("--security-opt seccomp={}: {e}", path.display()));
        let file = crate::launch::links::open_file(path);
        let text = file.and_then(|file| at_most(file, LARGEST_PROFILE)).map_err(|e| failed(&e))?;
        config.seccomp = Some(crate::config::parse::seccomp_from_slice(&text).map_err(|e| failed(&e))?);
    }
    let process = process(config)?;
    process.no_new_privileges |= asked.no_new_privileges;
    process.apparmor_profile = asked.apparmor.clone().or(process.apparmor_profile.take());
    process.selinux_label = asked.label.clone().or(process.selinux_label.take());
    Ok(())
}
