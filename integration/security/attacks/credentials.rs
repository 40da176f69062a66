//! Credentials of the process: users, groups, capabilities, and values that a config may smuggle in.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::carried::copy_program;
use crate::harness::{Sandbox, case};

/// CVE-2022-29162, CVE-2022-24769: with inheritable capabilities a file with `+i` would grant them.
#[case(Root)]
fn inheritable_capabilities_are_empty() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let status = |extra: &[&str]| {
        let call = sb.runtime().arg("exec").args(extra.iter().copied()).arg(sb.id());
        call.args(["/bin/cat", "/proc/self/status"]).output().ok().stdout
    };
    for extra in [&[][..], &["--cap", "CAP_NET_RAW"], &["--cap", "CAP_NET_RAW", "--user", "1000:1000"]] {
        let text = status(extra);
        let line = |key: &str| text.lines().find(|l| l.starts_with(key)).unwrap_or_default().to_string();
        for set in ["CapInh", "CapAmb"] {
            assert!(line(set).ends_with("0000000000000000"), "{extra:?}: {}", line(set));
        }
    }
    sb.delete().ok();
    let sb = Sandbox::new().args(["/bin/cat", "/proc/self/status"]);
    for out in super::both(&sb) {
        let text = out.ok().stdout;
        assert!(
            text.contains("CapInh:\t0000000000000000") && text.contains("CapAmb:\t0000000000000000"),
            "{text}"
        );
    }
    // The caller's ambient capabilities must not reach the container, even if the config would keep them.
    let mut lax = Sandbox::new().args(["/bin/cat", "/proc/self/status"]);
    for set in ["bounding", "effective", "permitted", "inheritable"] {
        lax.set(&format!("/process/capabilities/{set}"), json!(["CAP_NET_RAW"]));
    }
    lax.set("/process/capabilities/ambient", json!([]));
    let call = lax.under(&["setpriv", "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]);
    let out = call.args(["run", "--quiet", "--policy", "privileged", "--bundle"]).arg(lax.bundle());
    let text = out.arg(lax.id()).output().ok().stdout;
    assert!(text.contains("CapInh:\t0000000000002000"), "{text}");
    assert!(text.contains("CapAmb:\t0000000000000000"), "{text}");
    // Requested by the config, they are removed by hardening.
    let sb = sb.patch("/process/capabilities/inheritable", json!(["CAP_NET_RAW", "CAP_SYS_ADMIN"]));
    let text = sb.run().output().ok().stdout;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
}

/// CVE-2022-29162 with the dangerous kind of file: `+i` needs only the process's inheritable set.
#[case(Root, Probe)]
fn a_file_with_inheritable_capabilities_gains_nothing() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/process/noNewPrivileges", json!(false));
    super::build_probe(&sb);
    // busybox under the name of an applet.
    let program = sb.rootfs().join("usr/cat");
    copy_program(&sb.rootfs().join("bin/busybox"), &program);
    let set =
        std::process::Command::new(sb.rootfs().join("bin/probe")).arg("file_caps").arg(&program).output();
    assert_eq!(set.expect("the probe").stdout, b"setxattr 0\n");
    let caps = json!(["CAP_NET_RAW", "CAP_CHOWN"]);
    let mut sb = sb;
    for name in ["bounding", "effective", "permitted"] {
        sb.set(&format!("/process/capabilities/{name}"), caps.clone());
    }
    // Temporary files may be on a nosuid mount, which must not be what stops the capabilities.
    let suid = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,suid \"$0\" && exec \"$@\"";
    let bundle = sb.bundle().display().to_string();
    let under = |sb: &Sandbox, args: &[&str]| {
        let call = sb.under(&["unshare", "--mount", "sh", "-c", suid, &bundle]);
        call.args(args).args(["--bundle", &bundle]).arg(sb.id()).output()
    };
    under(&sb, &["create"]).ok();
    sb.verb("start").ok();
    for extra in [&[][..], &["--cap", "CAP_NET_RAW"]] {
        let call =
            sb.runtime().args(["exec", "--user", "1000:1000"]).args(extra.iter().copied()).arg(sb.id());
        let out = call.args(["/usr/cat", "/proc/self/status"]).output().ok();
        for name in ["CapInh", "CapPrm", "CapEff"] {
            assert!(out.stdout.contains(&format!("{name}:\t0000000000000000")), "{extra:?}\n{out}");
        }
    }
    sb.delete().ok();
    // Control: the file grants them to a process that has them inheritable.
    sb.set("/process/capabilities/inheritable", caps);
    sb.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let sb = sb.args(["/usr/cat", "/proc/self/status"]);
    under(&sb, &["run", "--policy", "privileged"]).ok().prints("CapPrm:\t0000000000002001");
    // The hardened launch removes even those.
    under(&sb, &["run", "--quiet"]).ok().prints("CapPrm:\t0000000000000000");
}

/// Another container of the same user has created the keyring that runc would join, and granted access to
/// all.
#[case(Root, Probe)]
fn a_session_keyring_cannot_be_made_for_it_by_another() {
    let sb = Sandbox::new().args(["/bin/probe", "planted"]);
    super::build_probe(&sb);
    let name = format!("_ses.{}", sb.id());
    let mut other = std::process::Command::new(sb.rootfs().join("bin/probe"))
        .args(["plant", &name])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the probe");
    let mut said = [0; 8];
    std::io::Read::read_exact(other.stdout.as_mut().expect("a pipe"), &mut said).expect("read");
    assert_eq!(&said, b"plant 0\n");
    let nobody_s = format!("planted {}\nsession _ses\n", nix::libc::ENOKEY);
    let run = sb.run_oci().output();
    let sb = sb.args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let exec = sb.exec(["/bin/probe", "planted"]);
    other.kill().expect("kill the probe");
    other.wait().expect("wait for the probe");
    for out in [run, exec] {
        assert_eq!(out.stdout, nobody_s, "{out}");
    }
    sb.delete().ok();
}

/// crun CVE-2026-30892, containerd CVE-2024-40635.
#[case(Root)]
fn users_are_numbers_and_exact() {
    let id = |user: &str| {
        let sb = Sandbox::new().sh("echo $(id -u):$(id -g)");
        let passwd =
            "root:x:0:0::/:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n65534:x:0:0::/:/bin/sh\nbox:x:0:0::/:/\n";
        std::fs::write(sb.rootfs().join("etc/passwd"), passwd).expect("a file");
        let out = sb.run_oci().args(["--user", user]).output();
        (out.code, out.stdout.trim().to_string())
    };
    for (user, want) in
        [("1", "1:1"), ("65534", "65534:65534"), ("7:8", "7:8"), ("0:0", "0:0"), ("root", "0:0")]
    {
        assert_eq!(id(user), (0, want.to_string()), "{user}");
    }
    let bad = [
        "1:",
        ":1",
        "",
        "4294967296",
        "4294967295",
        "-1",
        "+1",
        "65534:0x0",
        "0x0",
        "1:-1",
        "1:4294967296",
        "box",
        " 1",
        "1 ",
        "1:1:1",
        "1e3",
        "18446744073709551616",
    ];
    for user in bad {
        let (code, printed) = id(user);
        assert!(code != 0 && printed.is_empty(), "--user {user:?} gave {code} {printed}");
    }
    for (uid, gid) in [
        (json!(4294967295u64), json!(0)),
        (json!(4294967296u64), json!(0)),
        (json!(-1), json!(0)),
        (json!("0"), json!(0)),
        (json!(1.5), json!(0)),
        (json!(0), json!(-1)),
        (json!(0), json!(4294967295u64)),
    ] {
        let sb = Sandbox::new().args(["/bin/id"]).patch("/process/user", json!({"uid": uid, "gid": gid}));
        for out in super::both(&sb) {
            assert!(
                out.code == 125 && out.stdout.is_empty() && out.stderr.contains("/process/user"),
                "{uid} {gid}\n{out}"
            );
        }
    }
}

/// CVE-2022-36109, CVE-2023-25173: a group that is denied access to a file must not be lost.
#[case(Root)]
fn supplementary_groups_are_those_of_the_config() {
    let sb = Sandbox::new().sh("id -G; cat /denied");
    let user = json!({"uid": 1000, "gid": 1000, "additionalGids": [2000, 3000]});
    let denied = sb.rootfs().join("denied");
    std::fs::write(&denied, "read").expect("a file");
    // Other users may read it, members of 2000 may not: a process that lost its groups could.
    std::os::unix::fs::chown(&denied, Some(0), Some(2000)).expect("chown");
    std::fs::set_permissions(&denied, std::fs::Permissions::from_mode(0o604)).expect("chmod");
    let sb = sb.patch("/process/user", user);
    // Files whose owners cannot be mapped have the overflow id inside, as `run` reports; the unhardened
    // config maps them.
    let explain = sb.runtime().arg("explain").arg(sb.bundle()).output().ok();
    let [hardened, written] = super::both(&sb);
    for (out, owned) in [(hardened, explain.stdout.contains("MOUNT_ATTR_IDMAP")), (written, true)] {
        assert!(out.stdout.starts_with("1000 2000 3000\n"), "{out}");
        assert!(!owned || (out.code != 0 && !out.stdout.contains("read")), "the denied file was read\n{out}");
    }
    // Without supplementary groups in the config, none of the caller's remain.
    let sb = sb.patch("/process/user", json!({"uid": 1000, "gid": 1000})).sh("id -G");
    for out in super::both(&sb) {
        assert_eq!(out.ok().stdout, "1000\n");
    }
    let sb = sb.args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let exec =
        sb.runtime().args(["exec", "--additional-gids", "4000", sb.id(), "/bin/id", "-G"]).output().ok();
    assert_eq!(exec.stdout, "1000 4000\n");
    sb.delete().ok();
}

/// strace fakes success for a call that the kernel never sees, so nothing is dropped; safebox must detect it.
#[case(Root, Strace)]
fn a_launch_stops_when_the_kernel_did_not_do_as_told() {
    let sb = Sandbox::new()
        .sh("echo started; cat /proc/self/status")
        // A duplicate group: the kernel keeps and returns both.
        .patch("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [4000, 77, 77]}));
    let log = sb.dir().join("strace.log");
    let log = log.to_str().expect("UTF-8");
    let refused = |out: &crate::harness::Output, call: &str, code: i32| {
        assert!(std::fs::read_to_string(log).expect("the log").contains("(INJECTED)"), "{call}\n{out}");
        assert!(out.code == code && out.stdout.is_empty(), "{call}: must be refused\n{out}");
        // On cgroup v2 the clone itself needs the privileges that the first capset would set.
        let early = call == "capset" && out.stderr.contains("clone3: permission denied");
        assert!(
            early || out.stderr.contains("what was dropped is still there"),
            "{call}: names the cause\n{out}"
        );
    };
    // The first prctl calls of the child drop the bounding set; the calls that read it back are not faked.
    let calls = ["setuid", "setgid", "capset", "setgroups", "prctl"];
    let inject = |call: &str| {
        let when = if call == "prctl" { ":when=1..4" } else { "" };
        (format!("trace={call}"), format!("inject={call}:retval=0{when}"))
    };
    for call in calls {
        let (trace, inject) = inject(call);
        let wrap = ["strace", "-f", "-o", log, "-e", &trace, "-e", &inject];
        for policy in ["privileged", "restricted"] {
            // In a new user namespace Init sets ids twice: first to become its root.
            if policy == "restricted" && !["capset", "prctl"].contains(&call) {
                continue;
            }
            let run = sb.under(&wrap).args(["run", "--quiet", "--policy", policy, "--bundle"]);
            refused(&run.arg(sb.bundle()).arg(sb.id()).output(), call, 125);
        }
    }
    let sleeper = sb.args(["/bin/sleep", "1000"]);
    sleeper.create().ok();
    sleeper.verb("start").ok();
    for call in calls {
        let (trace, inject) = inject(call);
        let wrap = ["strace", "-f", "-o", log, "-e", &trace, "-e", &inject];
        let exec = sleeper.under(&wrap).args(["exec", "--user", "1000:1000", sleeper.id()]);
        refused(&exec.args(["/bin/echo", "started"]).output(), call, 255);
    }
    sleeper.delete().ok();
}

/// CRI-O CVE-2022-0811.
#[case(Root)]
fn sysctls_cannot_reach_the_host() {
    let read = |path: &str| std::fs::read(path).unwrap_or_default();
    let files =
        ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/shmmax", "/proc/sys/vm/overcommit_memory"];
    let before = files.map(read);
    let evil = |key: &str, value: &str| -> Value { json!({key: value}) };
    let bad = [
        evil("kernel.core_pattern", "|/evil"),
        evil("kernel/core_pattern", "|/evil"),
        evil("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/evil\nkernel.core_pattern=|/evil"),
        evil("kernel.shm_rmid_forced+kernel.core_pattern", "|/evil"),
        evil("net.ipv4.ip_forward\n", "1"),
        evil("net/../kernel/core_pattern", "|/evil"),
        evil("net.../kernel/core_pattern", "|/evil"),
        evil("net/ipv4/../../kernel/core_pattern", "|/evil"),
        evil("fs.mqueue/../../kernel/core_pattern", "|/evil"),
        evil("fs/mqueue/../../kernel/core_pattern", "|/evil"),
        evil("net.ipv4.ip_forward", "1\r2"),
        evil("vm.overcommit_memory", "1"),
        evil("", "1"),
        evil(".", "1"),
        evil("net.", "1"),
        evil("/proc/sys/kernel/core_pattern", "|/evil"),
        evil("kernel.hostname", "evil"),
    ];
    for sysctl in bad {
        let sb = Sandbox::new().patch("/linux/sysctl", sysctl.clone());
        for out in super::both(&sb) {
            assert_eq!(out.code, 125, "{sysctl} must be refused\n{out}");
            assert!(out.stderr.contains("/linux/sysctl"), "{sysctl}: by the config's check\n{out}");
        }
    }
    // The kernel uses the first line of a text and ignores the rest, which the config did not intend.
    for value in ["one\ntwo", "one\rtwo", "one\n"] {
        let sb = Sandbox::new().patch("/linux/sysctl", evil("kernel.domainname", value));
        for out in super::both(&sb) {
            assert!(out.code == 125 && out.stderr.contains("more than one line"), "{value:?}\n{out}");
        }
    }
    assert_eq!(files.map(read), before, "the host's kernel settings were changed");
    let sb = Sandbox::new().sh("cat /proc/sys/kernel/shm_rmid_forced");
    let sb = sb.patch("/linux/sysctl", json!({"kernel.shm_rmid_forced": "1"}));
    for out in super::both(&sb) {
        out.ok().prints("1\n");
    }
}

/// CVE-2021-43784: lengths that once overflowed a 16-bit field.
#[case(Root)]
fn large_requests_work_or_are_refused() {
    let mut mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    let deep = "d".repeat(200);
    for i in 0..400 {
        mounts.as_array_mut().expect("an array").push(json!({
            "destination": format!("/m/{deep}/{i}"), "type": "tmpfs", "source": "tmpfs", "options": ["size=4k", "ro"],
        }));
    }
    let sb = Sandbox::new().sh("grep -c /m/ /proc/self/mountinfo").patch("/mounts", mounts);
    assert!(serde_json::to_vec(&sb.config()["mounts"]).expect("JSON").len() > 65536);
    sb.run_oci().output().ok().prints("400\n");
    // Names, environment and arguments larger than 64 KiB.
    let sb = Sandbox::new()
        .sh("echo ${#LARGE}")
        .patch("/process/env/-", json!(format!("LARGE={}", "x".repeat(100_000))));
    for out in super::both(&sb) {
        out.ok().prints("100000\n");
    }
    // The kernel accepts 340 lines and less than a page of mappings: success or a clear error.
    for lines in [100u32, 340, 5000] {
        let maps: Vec<_> = (0..lines)
            .map(|i| json!({"containerID": i, "hostID": 3_000_000_000u32 + 2 * i, "size": 1}))
            .collect();
        let mut sb = Sandbox::new().sh("wc -l < /proc/self/uid_map");
        sb.set("/linux/namespaces/-", json!({"type": "user"}));
        sb.set("/linux/uidMappings", json!(maps));
        sb.set("/linux/gidMappings", json!(maps));
        let out = sb.run_oci().output();
        assert!(!out.timed_out, "{out}");
        if out.code == 0 {
            assert_eq!(out.stdout.trim(), lines.to_string(), "{out}");
        } else {
            assert!(out.code == 125 && out.stderr.contains("map"), "{out}");
        }
    }
}
