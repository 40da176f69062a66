//! The law of the table, as property tests: what `harden` has changed, `judge` passes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::posture::{MachineFacts, Posture};
use super::{Cure, Facts, Overrides, Policy, RULES, Verdict, apply, rule};
use crate::bundle::Bundle;
use crate::host::Host;
use crate::state::id_ranges::Ranges;
use crate::tables::capabilities::CAPABILITIES;

fn pick(list: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(list, 0..=list.len())
}

fn namespaces() -> impl Strategy<Value = Value> {
    let kinds = pick(&["pid", "network", "ipc", "uts", "cgroup", "user"]);
    (kinds, any::<bool>()).prop_map(|(kinds, joined)| {
        let ns = |kind: &str| match (kind, joined) {
            ("network", true) => json!({ "type": kind, "path": "/proc/1/ns/net" }),
            _ => json!({ "type": kind }),
        };
        let all: Vec<_> =
            std::iter::once(json!({ "type": "mount" })).chain(kinds.into_iter().map(ns)).collect();
        json!(all)
    })
}

fn mount() -> impl Strategy<Value = Value> {
    let options = pick(&["ro", "nosuid", "nodev", "noexec", "exec", "suid", "dev", "rro"]);
    let what = prop_oneof![
        Just(("/proc", "proc", "proc")),
        Just(("/dev", "tmpfs", "tmpfs")),
        Just(("/sys", "sysfs", "sysfs")),
        Just(("/sys/fs/cgroup", "cgroup", "cgroup")),
        Just(("/tmp", "tmpfs", "tmpfs")),
        Just(("/data", "tmpfs", "tmpfs")),
        Just(("/dev/pts", "devpts", "devpts")),
        Just(("/mnt", "bind", "/tmp")),
        Just(("/etc/x", "none", "/etc")),
    ];
    (what, options, any::<bool>()).prop_map(|((to, kind, from), mut options, rec)| {
        if kind == "bind" || kind == "none" {
            options.push(if rec { "rbind" } else { "bind" });
        }
        json!({ "destination": to, "type": kind, "source": from, "options": options })
    })
}

fn capabilities() -> impl Strategy<Value = Value> {
    (any::<u64>(), any::<u64>()).prop_map(|(a, b)| {
        let names = |bits: u64| -> Vec<&str> {
            CAPABILITIES.iter().filter(|row| bits & 1 << row.bit != 0).map(|row| row.name).collect()
        };
        json!({ "bounding": names(a), "effective": names(a & b), "permitted": names(a & b),
                "inheritable": names(a & !b), "ambient": names(a & b & 0xffff) })
    })
}

fn process() -> impl Strategy<Value = Value> {
    let limits = pick(&["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_MSGQUEUE", "RLIMIT_NPROC"]);
    let user = (prop_oneof![Just(0u32), 0u32..65536], 0u32..65536);
    let env = pick(&["HOME=/root", "HOME=/tmp/x", "DB_PASSWORD=x", "PATH=/bin"]);
    (capabilities(), limits, user, env, any::<bool>(), any::<bool>()).prop_map(
        |(capabilities, limits, user, env, nnp, terminal)| {
            let limits: Vec<_> =
                limits.iter().map(|name| json!({ "type": name, "soft": 100u64, "hard": u64::MAX })).collect();
            json!({ "args": ["/bin/true"], "cwd": "/", "env": env, "noNewPrivileges": nnp, "terminal": terminal,
                    "user": { "uid": user.0, "gid": user.1, "additionalGids": [user.1 / 2, 0] },
                    "capabilities": capabilities, "rlimits": limits })
        },
    )
}

fn resources() -> impl Strategy<Value = Value> {
    let memory = prop_oneof![Just(0i64), Just(64 << 20)];
    let access = prop_oneof![Just("r"), Just("rwm"), Just("m")];
    (memory, any::<bool>(), any::<bool>(), access).prop_map(|(memory, pids, all, access)| {
        let device = if all {
            json!({ "allow": true, "access": access })
        } else {
            json!({ "allow": true, "type": "c", "major": 4, "minor": 64, "access": access })
        };
        let mut resources = json!({ "memory": { "limit": memory }, "devices": [device] });
        if pids {
            resources["pids"] = json!({ "limit": 100 });
        }
        resources
    })
}

fn config() -> impl Strategy<Value = Value> {
    let masked = pick(&["/proc/kcore", "/proc/keys", "/sys/firmware", "/etc/shadow"]);
    let readonly = pick(&["/proc/sys", "/proc/bus"]);
    let parts = (process(), namespaces(), proptest::collection::vec(mount(), 0..6), resources());
    (parts, masked, readonly, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((process, namespaces, mounts, resources), masked, readonly, root_ro, filter, host_root)| {
            let map =
                json!([{ "containerID": 0, "hostID": if host_root { 0 } else { 700_000 }, "size": 65536 }]);
            let mut linux = json!({ "namespaces": namespaces, "uidMappings": map, "gidMappings": map,
                "maskedPaths": masked, "readonlyPaths": readonly, "resources": resources });
            if filter {
                linux["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
            }
            if root_ro {
                linux["devices"] = json!([{ "path": "/dev/sda", "type": "b", "major": 8, "minor": 0 }]);
            }
            json!({ "ociVersion": "1.2.0", "process": process, "mounts": mounts, "linux": linux,
                    "root": { "path": "rootfs", "readonly": root_ro } })
        },
    )
}

/// Hardens, and judges each rule that the policy applies. `None`: the policy refuses the config.
fn law(json: &Value, policy: Policy) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rootfs")).unwrap();
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    let (bundle, mut config) = Bundle::open(dir.path()).unwrap_or_else(|e| panic!("{e}\n{json:#}"));
    let host = Host::probe().unwrap();
    let overrides = Overrides::default();
    let ids = Ranges::new(&host, true);
    let state_root = dir.path();
    let facts = Facts {
        id: "law",
        host: &host,
        bundle: &bundle,
        ids: &ids,
        overrides: &overrides,
        state_root,
        policy,
    };
    apply(&mut config, &facts).ok()?;
    let posture = Posture::of_config(&config, MachineFacts::of(&host));
    let rules = RULES.iter().filter(|rule| rule.since <= policy && !matches!(rule.cure, Cure::Author));
    let broken = rules.filter_map(|rule| match rule.verdict(&posture) {
        Verdict::Pass | Verdict::NotApplicable(_) => None,
        other => Some(format!("{policy}: {}: {other:?}", rule.id)),
    });
    Some(broken.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_hardened_passes(json in config()) {
        for policy in [Policy::Baseline, Policy::Restricted] {
            let broken = law(&json, policy);
            prop_assert!(broken.as_ref().is_none_or(Vec::is_empty), "{:#?}", broken);
        }
    }
}

#[test]
fn most_configs_are_hardened_and_not_refused() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let made = (0..50).map(|_| config().new_tree(&mut runner).unwrap().current());
    let hardened = made.filter(|json| law(json, Policy::Restricted).is_some()).count();
    assert!(hardened > 25, "{hardened} of 50");
}

#[test]
fn every_rule_has_all_its_faces() {
    for (i, r) in RULES.iter().enumerate() {
        assert!(RULES[..i].iter().all(|other| other.id != r.id), "{} twice", r.id);
        assert!(!r.references.is_empty() && !r.remedy.is_empty() && !r.remedy.contains('\n'), "{}", r.id);
        assert!(r.id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", r.id);
        if let Cure::By(name) = r.cure {
            assert!(rule(name).is_some_and(|by| matches!(by.cure, Cure::Harden(_))), "{} by {name}", r.id);
        }
        if r.enforced.is_some() {
            assert!(r.references.iter().any(|text| text.starts_with("PSS")), "{}", r.id);
        }
    }
}

/// What `safebox spec` writes, without anything that a policy adds.
#[test]
fn a_config_as_written_fails_what_it_does_not_ask_for() {
    let json = crate::config::template::spec(None).to_string();
    let config = crate::config::parse::from_slice(json.as_bytes()).unwrap();
    let posture = Posture::of_config(&config, MachineFacts { apparmor: true, selinux: false, landlock: 0 });
    let verdict = |id: &str| rule(id).unwrap().verdict(&posture);
    for id in ["non-root", "seccomp", "limits", "user-namespace", "lsm", "no-capabilities"] {
        assert_eq!(verdict(id).name(), "fail", "{id}: {:?}", verdict(id));
    }
    for id in
        ["capabilities", "host-namespaces", "namespaces", "masks", "read-only-rootfs", "no-new-privileges"]
    {
        assert_eq!(verdict(id), Verdict::Pass, "{id}");
    }
    assert_eq!(verdict("landlock").name(), "not-applicable");
    assert_eq!(verdict("setuid-files").name(), "cannot-tell");
}
