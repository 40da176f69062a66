//! Parser of `linux.sysctl`: only kernel parameters of the container's own namespaces are allowed.
//!
//! `/proc/sys` is one tree for the whole machine; only some of its files have a value per namespace. Any
//! other key would change the host (CRI-O CVE-2022-0811: `kernel.core_pattern`).

use super::at::At;
use super::raw::Map;
use super::{Config, ConfigError};
use crate::tables::namespaces::NsKind;

/// Keys of the ipc namespace, sysctl/kernel.txt.
const IPC_KEYS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Path below `/proc/sys` of a key of [`Config::sysctl`]. Dots and slashes are exchanged, so
/// `net.ipv4.conf.eth0/100.rp_filter` is the file of the interface `eth0.100`.
pub fn path(key: &str) -> String {
    swap(key)
}

/// Exchanges `.` and `/`.
fn swap(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

/// `key` with dots as separators. As in sysctl(8), the first separator decides which one the key uses.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('/') => swap(key),
        _ => key.to_owned(),
    }
}

/// Parses `linux.sysctl`: keys with dots, sorted. Checks here need only the texts.
pub(super) fn entries(
    raw: Option<Map<Option<String>>>,
    at: &At,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for (key, value) in raw.unwrap_or_default() {
        let here = at.key(&key);
        let (dotted, value) = (dotted(&key), value.unwrap_or_default());
        well_formed(&dotted, &here)?;
        if value.contains(['\n', '\r']) {
            return Err(here.error("the value has more than one line; write one"));
        }
        if entries.iter().any(|e| e.0 == dotted) {
            return Err(here.error(format!("sysctl {dotted:?} is given twice, with dots and with slashes")));
        }
        entries.push((dotted, value));
    }
    entries.sort();
    Ok(entries)
}

/// Checks that a key can only name a file below `/proc/sys`.
fn well_formed(dotted: &str, at: &At) -> Result<(), ConfigError> {
    if dotted.is_empty() {
        return Err(at.error("the sysctl's name is empty; write for example net.ipv4.ip_forward"));
    }
    if let Some(c) = dotted.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '+' | '\\' | '"' | '\'')) {
        return Err(at.error(format!("a sysctl name cannot contain {c:?}")));
    }
    if path(dotted).split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(at.error("a sysctl name cannot have empty parts or parts made of dots"));
    }
    Ok(())
}

/// Checks that every key belongs to a namespace of the container: a new one, or for `net.*` also a joined
/// one, because the containers of a pod share the network namespace of the pod's first container.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    for (key, _) in &config.sysctl {
        allowed(key, config)
            .map_err(|message| At::ROOT.key("linux").key("sysctl").key(key).error(message))?;
    }
    Ok(())
}

/// Returns why `key` is not allowed in this container.
fn allowed(key: &str, config: &Config) -> Result<(), String> {
    if IPC_KEYS.contains(&key) || key.starts_with("fs.mqueue.") {
        return match config.is_new(NsKind::Ipc) {
            true => Ok(()),
            false => Err(format!("sysctl {key:?} needs a new ipc namespace")),
        };
    }
    if key.starts_with("net.") {
        return match config.namespace(NsKind::Net) {
            Some(_) => Ok(()),
            None => Err(format!("sysctl {key:?} not allowed in host network namespace")),
        };
    }
    if key.starts_with("user.") && config.is_new(NsKind::User) {
        return Ok(());
    }
    match key {
        "kernel.domainname" if config.is_new(NsKind::Uts) => Ok(()),
        "kernel.domainname" => Err(format!("sysctl {key:?} needs a new uts namespace")),
        "kernel.hostname" => {
            Err(format!("sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"))
        }
        _ => Err(format!("sysctl {key:?} is not in a separate kernel namespace; it would change the host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators() {
        for (key, want, file) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            (
                "net/ipv4/conf/eno2.100/rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
            (
                "net.ipv4.conf.eno2/100.rp_filter",
                "net.ipv4.conf.eno2/100.rp_filter",
                "net/ipv4/conf/eno2.100/rp_filter",
            ),
        ] {
            assert_eq!(dotted(key), want);
            assert_eq!(path(&dotted(key)), file);
        }
    }

    #[test]
    fn no_way_out_of_proc_sys() {
        for key in [
            "",
            ".",
            "..",
            "net..x",
            "net/../kernel/x",
            "net.//.x",
            "/net/x",
            "net.x/",
            "net.a b",
            "net.a+b",
            "net.ä",
        ] {
            let key = dotted(key);
            let ok = well_formed(&key, &At::ROOT).is_ok();
            // A trailing slash in a dotted name is a trailing dot in the file name: unusual, but inside the
            // tree.
            assert_eq!(ok, key == "net.x/", "{key:?}");
        }
    }
}
