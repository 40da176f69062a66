//! This machine: what its kernel gives containers to stand on, and how its container engine is set up.

use std::path::Path;

use super::host_docker;
use super::machine::{MachineCheck, MachineRoot, check, fail};
use super::{AuditedKind, Judgement, Report};
use crate::policy::{Evidence, Judged, Place, Severity, Verdict};

/// A kernel parameter that must be at least `least`.
fn at_least(m: &MachineRoot, name: &str, least: i64) -> Judged {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    match m.read(&path)?.map(|text| text.parse::<i64>()) {
        None => Ok(Verdict::NotApplicable(format!("this kernel has no {name}"))),
        Some(Ok(n)) if n >= least => Ok(Verdict::Pass),
        Some(Ok(n)) => fail(&path, format!("{name} is {n}, not at least {least}")),
        Some(Err(e)) => Err(format!("{path}: {e}")),
    }
}

fn lsm(m: &MachineRoot) -> Judged {
    match m.read("/sys/kernel/security/lsm")? {
        None => Err("/sys/kernel/security/lsm is not there: is securityfs mounted?".into()),
        Some(list) if list.split(',').any(|l| l == "apparmor" || l == "selinux") => Ok(Verdict::Pass),
        Some(list) => {
            fail("/sys/kernel/security/lsm", format!("neither AppArmor nor SELinux is active: {list}"))
        }
    }
}

fn seccomp(m: &MachineRoot) -> Judged {
    match m.read("/proc/sys/kernel/seccomp/actions_avail")? {
        Some(actions) if actions.contains("errno") => Ok(Verdict::Pass),
        _ => fail("/proc/sys/kernel/seccomp", "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"),
    }
}

fn cgroups(m: &MachineRoot) -> Judged {
    match m.path("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => Ok(Verdict::Pass),
        false => fail(
            "/sys/fs/cgroup",
            "cgroup v1 or hybrid: no safe delegation to users, no memory.high, no pressure",
        ),
    }
}

fn landlock(m: &MachineRoot) -> Judged {
    match m.read("/sys/kernel/security/lsm")? {
        Some(list) if list.split(',').any(|l| l == "landlock") => Ok(Verdict::Pass),
        Some(_) => fail("/sys/kernel/security/lsm", "Landlock is not active"),
        None if m.top == Path::new("/") && crate::sys::landlock::abi() > 0 => Ok(Verdict::Pass),
        None => Err("/sys/kernel/security/lsm is not there: is securityfs mounted?".into()),
    }
}

fn core_pattern(m: &MachineRoot) -> Judged {
    match m.read("/proc/sys/kernel/core_pattern")? {
        None => Err("/proc/sys/kernel/core_pattern is not there".into()),
        Some(pattern) if pattern.starts_with('|') => fail(
            "/proc/sys/kernel/core_pattern",
            format!("a program of the host gets the cores of containers, as root: {pattern}"),
        ),
        Some(_) => Ok(Verdict::Pass),
    }
}

/// Without a limit an unprivileged user namespace opens much of the kernel to every user.
fn user_namespaces(m: &MachineRoot) -> Judged {
    let read = |name: &str| m.read(&format!("/proc/sys/{name}"));
    let closed = read("kernel/unprivileged_userns_clone")?.as_deref() == Some("0")
        || read("kernel/apparmor_restrict_unprivileged_userns")?.as_deref() == Some("1")
        || read("user/max_user_namespaces")?.as_deref() == Some("0");
    if closed {
        return Ok(Verdict::Pass);
    }
    fail(
        "/proc/sys/user/max_user_namespaces",
        "every user can make user namespaces, and reach the kernel behind them",
    )
}

fn cpu_bugs(m: &MachineRoot) -> Judged {
    let dir = m.path("/sys/devices/system/cpu/vulnerabilities");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return Err(format!("{} cannot be read", dir.display()));
    };
    let mut open = Vec::new();
    for entry in entries.flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if text.starts_with("Vulnerable") {
            let at = Place::File(entry.path());
            let text = format!("{}: {}", entry.file_name().to_string_lossy(), text.trim());
            open.push(Evidence { at, text, reference: None });
        }
    }
    open.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(if open.is_empty() { Verdict::Pass } else { Verdict::Fail(open) })
}

const KSPP: &[&str] = &["KSPP Recommended Settings", "NIST SP 800-190 4.5"];

/// The kernel.
const KERNEL: &[MachineCheck] = &[
    check(
        ("host-lsm", "AppArmor or SELinux is active"),
        Severity::Medium,
        &["CIS Docker 5.2, 5.3"],
        "boot with lsm=...,apparmor (or selinux=1) and install the profiles",
        lsm,
    ),
    check(
        ("host-seccomp", "the kernel filters system calls"),
        Severity::High,
        &["CIS Docker 5.22"],
        "use a kernel with CONFIG_SECCOMP_FILTER",
        seccomp,
    ),
    check(
        ("host-cgroup-v2", "the whole host is cgroup v2"),
        Severity::Low,
        &["CIS Docker 2.11"],
        "boot with systemd.unified_cgroup_hierarchy=1",
        cgroups,
    ),
    check(
        ("host-landlock", "Landlock is active"),
        Severity::Low,
        &["landlock(7)"],
        "boot with lsm=landlock,... (Linux 5.13)",
        landlock,
    ),
    check(
        ("host-user-namespaces", "not every user can make user namespaces"),
        Severity::Low,
        &["CVE-2022-0185"],
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=1, or an AppArmor profile for those who need them",
        user_namespaces,
    ),
    check(
        ("host-core-pattern", "cores are not given to a program that runs as root"),
        Severity::Low,
        &["core(5)"],
        "sysctl -w kernel.core_pattern=core, or keep cores off with RLIMIT_CORE 1",
        core_pattern,
    ),
    check(
        ("host-kptr", "kernel addresses are hidden"),
        Severity::Low,
        KSPP,
        "sysctl -w kernel.kptr_restrict=1",
        |m| at_least(m, "kernel.kptr_restrict", 1),
    ),
    check(
        ("host-dmesg", "the kernel log is for root"),
        Severity::Low,
        KSPP,
        "sysctl -w kernel.dmesg_restrict=1",
        |m| at_least(m, "kernel.dmesg_restrict", 1),
    ),
    check(
        ("host-bpf", "BPF is for root"),
        Severity::Medium,
        KSPP,
        "sysctl -w kernel.unprivileged_bpf_disabled=1",
        |m| at_least(m, "kernel.unprivileged_bpf_disabled", 1),
    ),
    check(
        ("host-ptrace", "a process is traced by its parents only"),
        Severity::Low,
        KSPP,
        "sysctl -w kernel.yama.ptrace_scope=1",
        |m| at_least(m, "kernel.yama.ptrace_scope", 1),
    ),
    check(
        ("host-perf", "performance counters are for root"),
        Severity::Low,
        KSPP,
        "sysctl -w kernel.perf_event_paranoid=2",
        |m| at_least(m, "kernel.perf_event_paranoid", 2),
    ),
    check(
        ("host-kexec", "no other kernel can be loaded"),
        Severity::Low,
        KSPP,
        "sysctl -w kernel.kexec_load_disabled=1",
        |m| at_least(m, "kernel.kexec_load_disabled", 1),
    ),
    check(
        ("host-aslr", "addresses are random"),
        Severity::Medium,
        KSPP,
        "sysctl -w kernel.randomize_va_space=2",
        |m| at_least(m, "kernel.randomize_va_space", 2),
    ),
    check(
        ("host-hardlinks", "hard links to files of others are refused"),
        Severity::Medium,
        KSPP,
        "sysctl -w fs.protected_hardlinks=1",
        |m| at_least(m, "fs.protected_hardlinks", 1),
    ),
    check(
        ("host-symlinks", "symlinks in sticky directories are not followed"),
        Severity::Medium,
        KSPP,
        "sysctl -w fs.protected_symlinks=1",
        |m| at_least(m, "fs.protected_symlinks", 1),
    ),
    check(
        ("host-io-uring", "io_uring is not for every user"),
        Severity::Low,
        &["NIST SP 800-190 4.5"],
        "sysctl -w kernel.io_uring_disabled=1",
        |m| at_least(m, "kernel.io_uring_disabled", 1),
    ),
    check(
        ("host-cpu-bugs", "the bugs of the cpu are mitigated"),
        Severity::Medium,
        &["NIST SP 800-190 4.5"],
        "update the kernel and the microcode; remove mitigations=off",
        cpu_bugs,
    ),
];

/// Judges the machine.
pub fn audit(machine: &MachineRoot) -> Report {
    let judge = |check: &MachineCheck| Judgement {
        rule: check.about,
        verdict: (check.judge)(machine).unwrap_or_else(Verdict::CannotTell),
    };
    let mut judgements: Vec<_> = KERNEL.iter().map(judge).collect();
    judgements.extend(host_docker::checks(machine).iter().map(judge));
    Report {
        target: "host".into(),
        kind: AuditedKind::Host,
        judgements,
        document: None,
        unknown: Vec::new(),
        beside: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, MachineRoot) {
        let dir = tempfile::tempdir().unwrap();
        let machine = MachineRoot { top: dir.path().to_path_buf() };
        for (path, text) in files {
            let path = machine.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        (dir, machine)
    }

    fn verdict(report: &Report, id: &str) -> &'static str {
        let found = report.judgements.iter().find(|j| j.rule.id == id);
        found.unwrap_or_else(|| panic!("no check {id}")).verdict.name()
    }

    #[test]
    fn a_machine_is_judged_by_its_files() {
        let (_dir, good) = machine(&[
            ("/sys/kernel/security/lsm", "capability,landlock,apparmor\n"),
            ("/proc/sys/kernel/kptr_restrict", "2\n"),
            ("/proc/sys/kernel/core_pattern", "core\n"),
            ("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n"),
        ]);
        let report = audit(&good);
        for id in ["host-lsm", "host-landlock", "host-kptr", "host-core-pattern", "host-cpu-bugs"] {
            assert_eq!(verdict(&report, id), "pass", "{id}");
        }
        assert_eq!(verdict(&report, "host-perf"), "not-applicable");
        assert!(report.judgements.iter().all(|j| !j.rule.id.starts_with("docker")), "no Docker is there");
        let (_dir, bad) = machine(&[
            ("/sys/kernel/security/lsm", "capability\n"),
            ("/proc/sys/kernel/kptr_restrict", "0\n"),
            ("/proc/sys/kernel/core_pattern", "|/bin/x %p\n"),
            ("/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode\n"),
        ]);
        let report = audit(&bad);
        for id in ["host-lsm", "host-landlock", "host-kptr", "host-core-pattern", "host-cpu-bugs"] {
            assert_eq!(verdict(&report, id), "fail", "{id}");
        }
        let (_dir, none) = machine(&[]);
        assert_eq!(verdict(&audit(&none), "host-lsm"), "cannot-tell");
    }

    #[test]
    fn docker_is_judged_where_it_is_installed() {
        let (_dir, m) = machine(&[
            ("/usr/bin/dockerd", ""),
            (
                "/etc/docker/daemon.json",
                "{\n \"icc\": false,\n \"hosts\": [\"tcp://0.0.0.0:2375\"],\n \"live-restore\": true\n}\n",
            ),
            ("/etc/audit/rules.d/docker.rules", "-w /usr/bin/dockerd -p rwxa -k docker\n"),
        ]);
        let report = audit(&m);
        for (id, want) in [
            ("docker-icc", "pass"),
            ("docker-live-restore", "pass"),
            ("docker-tls", "fail"),
            ("docker-userland-proxy", "fail"),
            ("docker-userns-remap", "fail"),
            ("docker-audit", "fail"),
        ] {
            assert_eq!(verdict(&report, id), want, "{id}");
        }
        for (json, id) in [
            ("\"storage-driver\": \"aufs\"", "docker-storage-driver"),
            ("\"cgroup-parent\": \"/x\"", "docker-cgroup-parent"),
            ("\"storage-opts\": [\"dm.basesize=50G\"]", "docker-base-size"),
            ("\"seccomp-profile\": \"unconfined\"", "docker-seccomp"),
            ("\"insecure-registries\": [\"x\"]", "docker-insecure-registries"),
            ("\"log-level\": \"debug\"", "docker-log-level"),
            ("\"iptables\": false", "docker-iptables"),
            ("\"experimental\": true", "docker-experimental"),
        ] {
            assert_eq!(verdict(&report, id), "pass", "{id}");
            let json = format!("{{ {json} }}");
            let (_dir, m) = machine(&[("/usr/bin/dockerd", ""), ("/etc/docker/daemon.json", &json)]);
            assert_eq!(verdict(&audit(&m), id), "fail", "{id}");
        }
        // A later file of the unit takes the command's place.
        let unit = "/usr/lib/systemd/system/docker.service";
        let part = "/etc/systemd/system/docker.service.d/tcp.conf";
        let open = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H fd:// \\\n  -H=tcp://0.0.0.0:2375\n";
        for (text, want) in [
            ("ExecStart=/usr/bin/dockerd -H fd://\n", "pass"),
            (open, "fail"),
            (&open.replace("-H=", "--tlsverify -H="), "pass"),
        ] {
            let (_dir, m) = machine(&[
                ("/usr/bin/dockerd", ""),
                (unit, "ExecStart=/usr/bin/dockerd -H fd://\n"),
                (part, text),
            ]);
            assert_eq!(verdict(&audit(&m), "docker-tls"), want, "{text}");
        }
        let (_dir, broken) = machine(&[("/usr/bin/dockerd", ""), ("/etc/docker/daemon.json", "{")]);
        assert_eq!(verdict(&audit(&broken), "docker-icc"), "cannot-tell");
    }
}
