//! The properties and privileges of a container process, seen from outside (the kernel's files) and from
//! inside.

mod environment;

use std::collections::BTreeMap;

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, bundle, case, process::Running};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root, Need::Userns];
const OWN_ROOT: &[Need] = &[Need::Root];

fn status(pid: i32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    text.lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.to_string(), v.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// A container that runs `sleep` under the restricted policy, and its pid.
fn sleeping(sb: &Sandbox) -> (Running, i32) {
    let run = sb.run_until(sb.run(), "up");
    (run, sb.pid())
}

fn sleeper() -> Sandbox {
    lax("echo up; exec sleep 1000")
}

/// A config without any of the policy's settings, so that the policy is tested.
fn lax(script: &str) -> Sandbox {
    let caps = json!(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    Sandbox::new()
        .sh(script)
        .patch("/root/readonly", json!(false))
        .patch("/process/noNewPrivileges", json!(false))
        .patch("/process/capabilities", json!({ "bounding": caps, "effective": caps, "permitted": caps }))
        .patch("/linux/maskedPaths", json!([]))
        .patch("/linux/readonlyPaths", json!([]))
}

fn end(sb: &Sandbox, run: Running) {
    sb.kill("KILL").ok();
    run.wait().exits(137);
    sb.leak_check();
}

#[case(OWN)]
fn restricted_status_is_as_promised() {
    let sb = sleeper();
    let (run, pid) = sleeping(&sb);
    let s = status(pid);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(s[set], "0000000000000000", "{set}");
    }
    assert_eq!((s["NoNewPrivs"].as_str(), s["Seccomp"].as_str()), ("1", "2"));
    assert_eq!(s["NSpid"].split(' ').next_back(), Some("1"), "{}", s["NSpid"]);
    let uids: Vec<u32> = s["Uid"].split(' ').map(|n| n.parse().expect("a uid")).collect();
    assert!(uids.iter().all(|u| *u == uids[0] && *u >= 65532), "{uids:?}");
    assert_eq!(s["Groups"], "", "supplementary groups");
    end(&sb, run);
}

#[case(OWN)]
fn namespaces_are_not_ours() {
    let sb = sleeper();
    let all = ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"];
    // The unhardened config has no user namespace: the kernel's refusals would not reveal a missing one.
    for (call, kinds) in [(sb.run(), &all[..]), (sb.run_oci(), &all[..6])] {
        let run = sb.run_until(call, "up");
        let pid = sb.pid();
        for ns in kinds {
            let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{ns}")).expect("a namespace");
            assert_ne!(link(&pid.to_string()), link("self"), "{ns}");
        }
        end(&sb, run);
    }
}

#[case(OWN)]
fn host_root_is_not_mapped() {
    let sb = sleeper();
    let (run, pid) = sleeping(&sb);
    for file in ["uid_map", "gid_map"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a map");
        let fields: Vec<u64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        assert!(
            fields.len() == 3 && fields[0] == 0 && fields[1] >= 65536 && fields[2] == 65536,
            "{file}: {text}"
        );
    }
    end(&sb, run);
}

/// (mount point, options of the mount, file system) of a process.
fn mountinfo(pid: i32) -> Vec<(String, Vec<String>, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    text.lines()
        .filter_map(|l| {
            let (head, tail) = l.split_once(" - ")?;
            let mut fields = head.split(' ').skip(4);
            let (point, options) = (fields.next()?, fields.next()?);
            let options = options.split(',').map(str::to_string).collect();
            Some((point.to_string(), options, tail.split(' ').next()?.to_string()))
        })
        .collect()
}

#[case(OWN)]
fn mounts_are_as_promised() {
    let sb = sleeper();
    let (run, pid) = sleeping(&sb);
    let mounts = mountinfo(pid);
    let find = |point: &str| {
        mounts.iter().rev().find(|m| m.0 == point).unwrap_or_else(|| panic!("no {point} in {mounts:#?}"))
    };
    let has = |point: &str, words: &[&str]| {
        let m = find(point);
        assert!(words.iter().all(|w| m.1.iter().any(|o| o == w)), "{point}: {:?}, not {words:?}", m.1);
    };
    has("/", &["ro"]);
    has("/proc", &["nosuid", "nodev", "noexec"]);
    has("/proc/sys", &["ro"]);
    has("/sys", &["ro", "nosuid", "nodev", "noexec"]);
    for scratch in ["/tmp", "/run", "/var/tmp", "/dev/shm"] {
        assert_eq!(find(scratch).2, "tmpfs", "{scratch}");
        has(scratch, &["nosuid", "nodev", "noexec"]);
    }
    // Which of them exist depends on the kernel.
    let secrets = ["/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
    let there: Vec<_> = secrets.iter().filter(|p| std::path::Path::new(p).exists()).collect();
    assert!(there.len() >= 3, "too few to say anything: {there:?}");
    for path in there {
        assert!(!["proc", "sysfs"].contains(&find(path).2.as_str()), "{path} is not covered");
    }
    for m in mounts.iter().filter(|m| m.2.starts_with("cgroup")) {
        assert!(m.1.iter().any(|o| o == "ro"), "{m:?} is writable");
    }
    end(&sb, run);
}

#[case(OCI)]
fn every_cgroup_is_its_own() {
    let sb = sleeper();
    let run = sb.run_until(sb.run_oci(), "up");
    let pid = sb.pid();
    let groups = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let (ours, theirs) = (groups("self"), groups(&pid.to_string()));
    let limited = ["memory", "pids", "cpu", "devices", "freezer", ""];
    for line in theirs.lines() {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        // On a hybrid host the v2 hierarchy limits nothing.
        let hybrid = controllers.is_empty() && theirs.lines().count() > 1;
        if !hybrid && controllers.split(',').any(|c| limited.contains(&c)) {
            assert!(!ours.lines().any(|l| l == line), "shares {line}");
            assert!(line.contains(sb.id()), "{line} does not name the container");
        }
    }
    end(&sb, run);
}

#[case(OCI)]
fn config_is_taken_literally() {
    let sb = sleeper()
        .patch("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 1002] }))
        .patch("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]))
        .patch("/process/oomScoreAdj", json!(123))
        .patch("/process/noNewPrivileges", json!(true))
        .patch("/process/capabilities", json!({ "bounding": ["CAP_KILL", "CAP_CHOWN"] }));
    let run = sb.run_until(sb.run_oci(), "up");
    let pid = sb.pid();
    let s = status(pid);
    assert_eq!((s["Uid"].as_str(), s["Gid"].as_str()), ("1000 1000 1000 1000", "1001 1001 1001 1001"));
    assert_eq!(s["Groups"], "5 1002");
    assert_eq!((s["CapBnd"].as_str(), s["CapEff"].as_str()), ("0000000000000021", "0000000000000000"));
    assert_eq!(s["NoNewPrivs"], "1");
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a file of /proc");
    assert_eq!(read("oom_score_adj").trim(), "123");
    let limits = read("limits");
    let line = limits.lines().find(|l| l.starts_with("Max open files")).expect("Max open files");
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["100", "200"]);
    end(&sb, run);
}

/// Descriptors that the caller leaves open do not reach the container.
#[case(OCI)]
fn only_stdio_is_open() {
    let sb = Sandbox::new().args(["/bin/ls", "/proc/self/fd"]);
    let wrapper = ["/bin/sh", "-c", "exec 7</ 9</dev/null; exec \"$0\" \"$@\""];
    let out = sb.under(&wrapper).args(["run", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    // The fourth is the directory that `ls` reads.
    let open: Vec<_> = out.stdout.split_whitespace().collect();
    assert_eq!(open, ["0", "1", "2", "3"], "{out}");
}

/// A program may open /dev/stdout again, which only the owner of a pipe or of a mode-0600 file can do.
#[case(OCI)]
fn a_pipe_of_the_caller_s_is_the_container_user_s() {
    let script = "echo out >/dev/stdout; echo err >/dev/stderr";
    let through_pipes = |call: crate::harness::Call| {
        let out = call.output().ok();
        // Beside what the launcher says of the policy.
        let mut lines: Vec<_> = out.stdout.lines().filter(|line| !line.contains("weaker: ")).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "out"], "{out}");
    };
    let sb = Sandbox::new().sh(script).patch("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let pipe = ["sh", "-c", "\"$0\" \"$@\" 2>&1 | cat"];
    let policy: &[&str] = if bundle::is_foreign() { &[] } else { &["--policy=privileged"] };
    let run = sb.under(&pipe).arg("run").args(policy).arg("--bundle").arg(sb.bundle()).arg(sb.id());
    through_pipes(run);
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    through_pipes(sb.under(&pipe).args(["exec", "--user", "1000:1000", sb.id(), "sh", "-c", script]));
    sb.delete().ok();
}

/// As in execvp(3): missing files, directories and files that are not executable are skipped.
#[case(OCI)]
fn the_search_for_the_program_goes_on_past_what_cannot_be_executed() {
    let sb = Sandbox::new().args(["prog"]);
    let at = |path: &str| sb.rootfs().join(path);
    for dir in ["a/prog", "b", "c"] {
        std::fs::create_dir_all(at(dir)).expect("mkdir");
    }
    for (path, mode) in [("b/prog", 0o644), ("c/prog", 0o755)] {
        std::fs::write(at(path), "#!/bin/sh\necho found in $0\n").expect("write");
        std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let sb = sb.patch("/process/env", json!(["PATH=/missing:/etc/passwd:/a:/b:/c:/bin"]));
    assert_eq!(sb.run_oci().output().ok().stdout, "found in /c/prog\n");
    let sb = sb.patch("/process/env", json!(["PATH=/missing:/etc/passwd:/a:/b"]));
    let out = sb.run_oci().output();
    assert!(out.code != 0, "{out}");
    out.says("executable file not found in $PATH");
}

/// A working directory with mode 0700 that only the user can enter (root lacks CAP_DAC_OVERRIDE), and one
/// that only the runtime can enter.
#[case(OCI)]
fn a_working_directory_its_user_or_only_root_may_enter() {
    for (owner, user) in [(42, 42), (42, 0), (0, 42)] {
        let sb =
            Sandbox::new().args(["/bin/sh", "-c", "echo in $PWD"]).patch("/process/cwd", json!("/closed"));
        let dir = sb.rootfs().join("closed");
        std::fs::create_dir(&dir).expect("mkdir");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        std::os::unix::fs::chown(&dir, Some(owner), Some(owner)).expect("chown");
        let sb = sb.patch("/process/user", json!({ "uid": user, "gid": user }));
        assert_eq!(sb.run_oci().output().ok().stdout, "in /closed\n", "of {owner}, for {user}");
    }
}

/// (command, text that stderr must contain): every one must fail.
const REFUSED: [(&str, &str); 9] = [
    ("touch /x", "Read-only file system"),
    ("echo x >/bin/busybox", "Read-only file system"),
    ("echo 1 >/proc/sys/kernel/hostname", "Read-only file system"),
    ("echo 1 >/proc/sys/vm/drop_caches", "Read-only file system"),
    ("mount -t tmpfs none /tmp", "permission denied"),
    ("unshare -U true", "Operation not permitted"),
    ("unshare -n true", "Operation not permitted"),
    ("mknod /tmp/null c 1 3", "Operation not permitted"),
    ("chown 0 /tmp", "Operation not permitted"),
];

#[case(OWN)]
fn restricted_refuses_the_usual_ways_out() {
    let script: String = REFUSED
        .iter()
        .enumerate()
        .map(|(i, (c, _))| format!("({c}) 2>&1 && echo {i} SUCCEEDED; echo {i}.\n"))
        .collect();
    let sb = lax(&script);
    let out = sb.run().output().ok();
    assert!(!out.stdout.contains("SUCCEEDED"), "{out}");
    let mut rest = out.stdout.as_str();
    for (i, (command, text)) in REFUSED.iter().enumerate() {
        let (said, after) =
            rest.split_once(&format!("{i}.\n")).unwrap_or_else(|| panic!("no end of {command}\n{out}"));
        assert!(said.contains(text), "{command}: {said:?}, not {text:?}");
        rest = after;
    }
}

#[case(OWN)]
fn writes_end_at_the_tmpfs() {
    let sb = lax(
        "for d in /tmp /run /var/tmp /dev/shm; do echo x >$d/f && cat $d/f || echo $d FAILED; done; \
         cp /bin/busybox /tmp/b && chmod +x /tmp/b && /tmp/b true; echo exec $?; \
         dd if=/dev/zero of=/run/big bs=1M count=100 2>&1 | tail -n 1; [ $(stat -c %s /run/big) -le 16777216 ] && echo bounded",
    );
    let out = sb.run().output().ok().prints("exec 126").prints("bounded");
    assert!(!out.stdout.contains("FAILED"), "{out}");
}

#[case(OWN)]
fn orphans_and_keyring_are_the_container_s() {
    let sb =
        Sandbox::new().sh("echo pid $$; (sleep 0.1 & exec true); cat /proc/1/cmdline | head -c 7; hostname");
    sb.run().output().ok().prints("pid 1").prints("/bin/sh").prints("safebox");
}

/// config.md: "Runtimes SHOULD NOT fail if the container configuration requests capabilities that cannot be granted".
#[case(OWN)]
fn what_the_runtime_cannot_grant_is_left_out_and_said() {
    let wrapper = ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-all"];
    let asked = json!(["CAP_SYS_TIME", "CAP_CHOWN"]);
    let sets = json!({ "bounding": asked, "effective": asked, "permitted": asked });
    let sb = sleeper().patch("/process/capabilities", sets);
    let log = sb.dir().join("log");
    let create = sb.under(&wrapper).args(["--log-format", "json", "--log"]).arg(&log);
    create.args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    let said = std::fs::read_to_string(&log).expect("the log");
    assert!(
        said.contains("\"warning\"") && said.contains("CAP_SYS_TIME") && !said.contains("CAP_CHOWN"),
        "{said}"
    );
    assert_eq!(status(sb.pid())["CapEff"], "0000000000000001");
    sb.verb("start").ok();
    let out = sb.under(&wrapper).args(["exec", "--cap", "CAP_SYS_TIME", sb.id(), "true"]).output().ok();
    out.says("does not have: CAP_SYS_TIME");
    sb.delete().ok();
}

/// `exec --cap` makes a capability ambient if the container has it inheritable: an unprivileged program keeps
/// it.
#[case(OCI)]
fn exec_cap_is_ambient_where_it_is_inheritable() {
    let sets = |inheritable: Value| {
        let bounding = json!(["CAP_KILL", "CAP_SYSLOG"]);
        json!({ "bounding": bounding, "permitted": ["CAP_KILL"], "inheritable": inheritable })
    };
    for (inheritable, expect) in
        [(json!(["CAP_SYSLOG"]), "0000000400000000"), (json!([]), "0000000000000000")]
    {
        let sb = Sandbox::new()
            .args(["/bin/sleep", "1000"])
            .patch("/process/user", json!({ "uid": 7, "gid": 7 }))
            .patch("/process/capabilities", sets(inheritable));
        sb.create().ok();
        sb.verb("start").ok();
        let grep = ["/bin/grep", "-E", "^Cap(Eff|Amb)", "/proc/self/status"];
        let call = sb.runtime().args(["exec", "--cap", "CAP_SYSLOG", sb.id()]).args(grep);
        call.output().ok().prints(&format!("CapEff:\t{expect}\nCapAmb:\t{expect}\n"));
        sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
    }
}

/// The template of older runc has ambient capabilities but no inheritable ones: no warning, as with runc 1.1.
#[case(OWN)]
fn ambient_capabilities_without_inheritable_ones_are_no_news() {
    let sets = json!({ "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"] });
    let sb = Sandbox::new().sh("true").patch("/process/capabilities", sets);
    let out = sb.run_oci().output().ok();
    assert!(!out.stderr.contains("ambient"), "{out}");
}

/// An ambient capability that is not inheritable.
#[case(OWN)]
fn ambient_capabilities_that_cannot_be_raised_are_left_out() {
    let both = json!(["CAP_KILL", "CAP_CHOWN"]);
    let sets = json!({ "bounding": both, "permitted": both, "inheritable": ["CAP_KILL"], "ambient": both });
    let sb = Sandbox::new()
        .args(["/bin/grep", "^CapAmb", "/proc/self/status"])
        .patch("/process/user", json!({ "uid": 7, "gid": 7 }))
        .patch("/process/capabilities", sets);
    let out = sb.run_oci().output().ok();
    out.says("can't raise ambient capability CAP_CHOWN: operation not permitted")
        .prints("CapAmb:\t0000000000000020\n");
}

/// time_namespaces(7): /proc/uptime is the boot-time clock of the reader's namespace.
#[case(OWN_ROOT)]
fn a_time_namespace_has_its_offsets() {
    let uptime = |text: &str| -> f64 {
        text.split('.')
            .next()
            .and_then(|s| s.trim().parse().ok())
            .unwrap_or_else(|| panic!("uptime {text:?}"))
    };
    let days = 100.0 * 86_400.0;
    let sb = Sandbox::new()
        .args(["/bin/cat", "/proc/uptime", "/proc/self/timens_offsets"])
        .patch("/linux/namespaces/-", json!({ "type": "time" }))
        .patch(
            "/linux/timeOffsets",
            json!({ "boottime": { "secs": 8_640_000 }, "monotonic": { "secs": 7, "nanosecs": 5 } }),
        );
    let link = std::fs::read_link("/proc/self/ns/time").expect("a time namespace");
    for call in [sb.run(), sb.run_oci()] {
        let before = uptime(&std::fs::read_to_string("/proc/uptime").expect("uptime"));
        let out = call.output().ok();
        let inside = uptime(&out.stdout);
        assert!((before + days..before + days + 60.0).contains(&inside), "{before} outside\n{out}");
        let words: Vec<_> = out.stdout.split_whitespace().collect();
        assert!(words.windows(3).any(|w| w == ["monotonic", "7", "5"]), "{out}");
    }
    assert_eq!(std::fs::read_link("/proc/self/ns/time").expect("a time namespace"), link);
}

#[case(OCI)]
fn id_maps_are_those_of_the_config() {
    let maps = json!([
        { "containerID": 0, "hostID": 400_000, "size": 1000 },
        { "containerID": 1000, "hostID": 500_000, "size": 10 },
    ]);
    let sb = sleeper();
    // A program in a directory that the mapped root cannot enter cannot be executed.
    let sb = sb
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", maps.clone())
        .patch("/linux/gidMappings", maps);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(sb.dir(), mode).expect("chmod");
    let run = sb.run_until(sb.run_oci(), "up");
    let pid = sb.pid();
    for file in ["uid_map", "gid_map"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a map");
        let fields: Vec<_> = text.split_whitespace().collect();
        assert_eq!(fields, ["0", "400000", "1000", "1000", "500000", "10"], "{file}");
    }
    assert_eq!(status(pid)["Uid"], "400000 400000 400000 400000");
    end(&sb, run);
}
