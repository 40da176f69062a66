//! Scopes of safebox and of runc, compared.

use crate::harness::case;
use std::process::Command;

use super::{create, limited, no_unit, property};
use serde_json::json;

/// The compared properties, as printed by `systemctl show`. CPUWeight is left out: runc uses another formula
/// since 1.3.2, the same as safebox.
pub(super) const COMPARED: &[&str] = &[
    "Slice",
    "Delegate",
    "DelegateControllers",
    "MemoryAccounting",
    "CPUAccounting",
    "IOAccounting",
    "TasksAccounting",
    "DefaultDependencies",
    "MemoryMax",
    "MemorySwapMax",
    "MemoryLow",
    "MemoryHigh",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "TasksMax",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "DevicePolicy",
    "KillMode",
    "OOMPolicy",
    "CollectMode",
    "ActiveState",
    "SubState",
];

#[case(Root, Systemd, Runc)]
fn properties_are_those_of_runc() {
    let (ours, theirs) = (limited(), limited().patch("/ociVersion", json!("1.0.2")));
    create(&ours).output().ok();
    let root = theirs.root().display().to_string();
    let runc = |args: &[&str]| {
        let out = Command::new("runc")
            .args(["--root", &root])
            .args(args)
            .stdin(std::process::Stdio::null())
            .output();
        assert!(out.expect("runc").status.success(), "runc {args:?}");
    };
    let bundle = theirs.bundle().display().to_string();
    let quiet = ["--systemd-cgroup", "create", "--bundle", &bundle, theirs.id()];
    // The container inherits runc's stdout: with a pipe, end of file would never come.
    let status = Command::new("runc")
        .args(["--root", &root])
        .args(quiet)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.expect("runc").success(), "runc create");
    let units = [format!("safebox-{}.scope", ours.id()), format!("runc-{}.scope", theirs.id())];
    let all = |unit: &str| COMPARED.iter().map(|n| format!("{n}={}", property(unit, n))).collect::<Vec<_>>();
    let devices = |unit: &str| {
        let text = property(unit, "DeviceAllow");
        let mut lines: Vec<_> = text.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    let seen = [all(&units[0]), all(&units[1])];
    let seen_devices = [devices(&units[0]), devices(&units[1])];
    ours.delete().ok();
    runc(&["delete", "--force", theirs.id()]);
    assert_eq!(seen[0], seen[1]);
    // safebox's list has one more: the tunnel device, which runc removed in 1.2 and added again.
    let extra: Vec<_> = seen_devices[0].iter().filter(|d| !seen_devices[1].contains(d)).collect();
    assert!(extra.iter().all(|d| d.contains("10:200")), "{seen_devices:?}");
    assert!(seen_devices[1].iter().all(|d| seen_devices[0].contains(d)), "{seen_devices:?}");
    no_unit(&ours);
    std::fs::remove_dir_all(theirs.root()).unwrap_or_default();
}
