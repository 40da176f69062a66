//! Invalid input: each case gives a non-zero exit code, a message that names the mistake, and no leftovers.

mod programs;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

/// (pointer, value, text that stderr must contain).
fn table() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/process/args", json!([]), "/process/args"),
        ("/process/args", json!("sh"), "/process/args"),
        ("/process/args/0", json!(7), "/process/args/0"),
        ("/process/cwd", json!(""), "/process/cwd"),
        ("/process/cwd", json!("tmp"), "/process/cwd"),
        ("/process/user/uid", json!(-1), "/process/user/uid"),
        ("/process/user/uid", json!(4_294_967_296_u64), "/process/user/uid"),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_X", "soft": 1, "hard": 1 }]),
            "/process/rlimits/0/type",
        ),
        ("/process/oomScoreAdj", json!(2000), "/process/oomScoreAdj"),
        ("/ociVersion", json!("2.0.0"), "/ociVersion"),
        ("/ociVersion", json!("one"), "/ociVersion"),
        ("/root", json!([]), "/root"),
        ("/hostname", json!({}), "/hostname"),
        ("/mounts/0/destination", json!(""), "/mounts/0/destination"),
        ("/linux/namespaces", json!([{ "type": "space" }]), "/linux/namespaces/0"),
        ("/linux/namespaces/-", json!({ "type": "pid" }), "/linux/namespaces"),
        ("/linux/resources/pids", json!({ "limit": "many" }), "/linux/resources/pids/limit"),
        ("/linux/resources/memory", json!({ "limit": -5 }), "/linux/resources/memory/limit"),
        ("/linux/resources/memory", json!({ "limit": 1_i64 << 60 }), "memory"),
        ("/linux/resources/cpu", json!({ "quota": -5 }), "/linux/resources/cpu/quota"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_MAYBE" }), "/linux/seccomp/defaultAction"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["a"], "action": "NO" }] }),
            "/linux/seccomp/syscalls/0/action",
        ),
        ("/linux/sysctl", json!({ "kernel.core_pattern": "|/x" }), "/linux/sysctl"),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1\n2" }), "/linux/sysctl"),
        ("/linux/cgroupsPath", json!("../../escape"), "/linux/cgroupsPath"),
    ]
}

#[case(OWN)]
fn values_are_named_by_pointer() {
    for (pointer, value, says) in table() {
        let sb = Sandbox::new().patch(pointer, value.clone());
        let out = sb.run().output();
        assert_eq!(out.code, 125, "{pointer} = {value}\n{out}");
        assert!(out.stderr.contains(says), "{pointer} = {value}: no {says:?}\n{out}");
        assert!(out.stdout.is_empty(), "{out}");
        sb.leak_check();
    }
}

#[case(OWN)]
fn json_errors_have_line_and_column() {
    for (text, says) in [
        ("{\n  \"ociVersion\": \"1.0.2\",\n  oops\n}", "line 3 column 3"),
        ("", "line 1 column 0"),
        ("{\"ociVersion\": \"1.0.2\"", "line 1 column 22"),
        ("[]", "config.json"),
        ("\u{0}", "line 1 column 1"),
    ] {
        let sb = Sandbox::new();
        std::fs::write(sb.bundle().join("config.json"), text).expect("write");
        sb.run().output().exits(125).says(says).says("config.json");
    }
}

#[case(OWN)]
fn bundles_that_are_none() {
    let sb = Sandbox::new();
    let run = |dir: &Path| {
        sb.runtime().args(["run", "--quiet", "--bundle"]).arg(dir).arg(sb.id()).output().exits(125)
    };
    run(&sb.dir().join("nowhere")).says("no such file or directory").says("nowhere");
    run(Path::new("/etc/passwd")).says("not a directory");
    let config = sb.bundle().join("config.json");
    std::fs::remove_file(&config).expect("remove");
    run(&sb.bundle()).says("config.json").says("no such file or directory").says("safebox spec");
    std::fs::create_dir(&config).expect("mkdir");
    run(&sb.bundle()).says("config.json").says("not a regular file");
    std::fs::remove_dir(&config).expect("rmdir");
    let fifo = Command::new("mkfifo").arg(&config).status().expect("mkfifo");
    assert!(fifo.success());
    run(&sb.bundle()).says("config.json").says("not a regular file");
    std::fs::remove_file(&config).expect("remove");
    sb.leak_check();
}

#[case(OWN)]
fn rootfs_that_is_none() {
    let sb = Sandbox::new().patch("/root/path", json!("elsewhere"));
    sb.run().output().exits(125).says("invalid rootfs: stat ").says("no such file or directory");
    let place = sb.bundle().join("elsewhere");
    std::fs::write(&place, "a file").expect("write");
    sb.run().output().exits(125).says("invalid rootfs").says("is not a directory");
    std::fs::remove_file(&place).expect("remove");
    symlink("elsewhere", &place).expect("symlink");
    sb.run().output().exits(125).says("invalid rootfs").says("too many levels of symbolic links");
}

/// One source may be mounted at several paths: the message names the failed one.
#[case(OWN)]
fn a_bind_that_fails_names_its_destination() {
    for (source, says) in [
        ("/nowhere/x", "(for the mount at /data/two)"),
        // A directory on a file.
        ("/tmp", "<root>/data/two"),
    ] {
        let sb = Sandbox::new();
        std::fs::create_dir_all(sb.rootfs().join("data")).expect("a directory");
        std::fs::write(sb.rootfs().join("data/two"), "").expect("a file");
        let bind = |source: &str, destination: &str| json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] });
        let mut mounts = sb.config()["mounts"].as_array().expect("a list").clone();
        mounts.extend([bind("/tmp", "/data/one"), bind(source, "/data/two")]);
        let sb = sb.patch("/mounts", json!(mounts));
        for policy in ["restricted", "privileged"] {
            sb.run().args(["--policy", policy]).output().exits(125).says(says);
        }
        sb.create().exits(1).says(says);
        sb.leak_check();
    }
}

/// config.md, Linux Process: unknown capabilities cause a warning, not a failure.
#[case(OCI)]
fn an_unknown_capability_is_left_out_with_a_warning() {
    let names = json!(["CAP_KILL", "CAP_FLY"]);
    let sb = Sandbox::new().sh("true").patch("/process/capabilities/bounding", names);
    sb.run_oci().output().ok().says("ignoring unknown or unavailable capabilities: [CAP_FLY]");
    sb.leak_check();
}

#[case(OCI)]
fn ids_that_are_none() {
    let sb = Sandbox::new();
    for id in ["a/b", "../x", "..", ".", "a b", "ä", ""] {
        let out = sb.runtime().args(["create", "--bundle"]).arg(sb.bundle()).arg(id).output();
        assert_eq!(out.code, 1, "{id:?}\n{out}");
        // For an empty id runc has a different text.
        assert!(
            id.is_empty() || out.stderr.contains("invalid container ID format") || id == ".",
            "{id:?}\n{out}"
        );
        sb.leak_check();
    }
    for verb in ["start", "state", "delete", "kill", "pause", "resume", "ps"] {
        sb.verb(verb).exits(1).says("container does not exist");
    }
    sb.delete().ok();
}

#[case(OCI)]
fn a_duplicate_id_spoils_nothing() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.create().exits(1).says("container with given ID already exists");
    assert_eq!(sb.status(), "created");
    sb.verb("start").ok();
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
    sb.leak_check();
}

#[case(OWN)]
fn command_lines_that_make_no_sense() {
    let sb = Sandbox::new();
    for (args, says) in [
        (vec!["run", "--memory", "12x"], "12x"),
        (vec!["run", "--memory", "1"], "--memory 1: must be at least"),
        (vec!["run", "--memory", "1000000g"], "larger than this machine's memory"),
        (vec!["run", "--cpus=-1"], "--cpus"),
        (vec!["run", "--cpus", "100000"], "--cpus 100000"),
        (vec!["run", "--pids-limit", "0"], "--pids-limit"),
        (vec!["run", "--allow", "everything"], "\"everything\" for flag --allow: unknown"),
        (vec!["run", "--cap-add", "FLY"], "\"FLY\" for flag --cap-add: unknown capability"),
        (vec!["run", "--policy", "lax"], "unknown policy"),
        (vec!["run", "--user", "a b"], "neither an id nor a name"),
        (vec!["run", "--seccomp", "config"], "no seccomp profile"),
        (vec!["run", "--no-such-flag"], "flag provided but not defined: --no-such-flag"),
        (vec!["--no-such-flag", "run"], "flag provided but not defined: --no-such-flag"),
        (vec!["create", "--no-such-flag"], "flag provided but not defined: --no-such-flag"),
        (vec!["dance"], "dance"),
    ] {
        let out = sb.runtime().args(&args).arg("--bundle").arg(sb.bundle()).arg(sb.id()).output();
        // As in `docker run` the launcher's own failures are 125; OCI verbs exit with 1, and runc without a
        // verb with 3.
        let code = if args.contains(&"run") { 125 } else { 1 + 2 * i32::from(args[0] == "dance") };
        assert_eq!(out.code, code, "{args:?}\n{out}");
        assert!(out.stderr.contains(says), "{args:?}: no {says:?}\n{out}");
        sb.leak_check();
    }
}

/// Runs `change` on a mount at the state directory, then the container, then removes the mount.
fn with_state_mount(options: &str, fill: bool) -> (Sandbox, crate::harness::Output) {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.root()).expect("mkdir");
    let mount = |args: &[&str], path: &Path| {
        assert!(
            Command::new(args[0]).args(&args[1..]).arg(path).status().expect("mount").success(),
            "{args:?}"
        );
    };
    mount(&["mount", "-t", "tmpfs", "-o", options, "tmpfs"], sb.root());
    if fill {
        std::fs::write(sb.root().join("filler"), vec![0; 1 << 20]).expect_err("the tmpfs has room for all");
    }
    let out = sb.run().output();
    mount(&["umount"], sb.root());
    sb.leak_check();
    (sb, out)
}

#[case(Root, Alone)]
fn a_full_state_directory() {
    let (_sb, out) = with_state_mount("size=64k", true);
    out.exits(125).says("no space left on device").says("choose another with --root");
}

#[case(Root, Alone)]
fn a_read_only_state_directory() {
    let (_sb, out) = with_state_mount("ro", false);
    out.exits(125).says("read-only file system").says("choose another with --root");
}

#[case(OWN)]
fn closed_stdio_is_no_trap() {
    for (closing, code) in [("<&-", 0), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)] {
        let sb = Sandbox::new().args(["/bin/true"]);
        let script = format!("exec \"$0\" \"$@\" {closing}");
        let out =
            sb.under(&["/bin/sh", "-c", &script]).args(["run", "--bundle"]).arg(sb.bundle()).arg(sb.id());
        out.output().exits(code);
        sb.leak_check();
    }
}

#[case(OWN)]
fn links_in_place_of_proc_are_refused() {
    for name in ["proc", "sys"] {
        let sb = Sandbox::new().sh("echo RAN");
        std::fs::remove_dir(sb.rootfs().join(name)).expect("rmdir");
        symlink("tmp", sb.rootfs().join(name)).expect("symlink");
        let out = sb.run().output().exits(125).says(name).says("symbolic link");
        assert!(!out.stdout.contains("RAN"), "{out}");
        sb.leak_check();
    }
}

#[case(OCI)]
fn a_missing_bind_source() {
    let bind =
        json!({ "destination": "/mnt", "type": "bind", "source": "/nowhere/at/all", "options": ["rbind"] });
    let sb = Sandbox::new().patch("/mounts/-", bind);
    sb.create().exits(1).says("no such file or directory").says("/nowhere/at/all");
    sb.leak_check();
}

/// In a plain chroot `exec` would enter the host's root, so the launch is refused.
#[case(OWN)]
fn a_plain_chroot_is_refused() {
    let sb = Sandbox::new();
    let place = sb.dir().join("place");
    std::fs::create_dir(&place).expect("mkdir");
    for mount in [
        "mount --rbind / \"$0\"",
        "mount --bind / \"$0\"; mount --rbind /proc \"$0/proc\"; mount --rbind /sys \"$0/sys\"; mount --rbind /tmp \"$0/tmp\"",
    ] {
        let script = format!("{mount}; place=$0; exec chroot \"$place\" \"$@\"");
        let place = place.display().to_string();
        for verb in ["run", "create"] {
            let call = sb.under(&["unshare", "--mount", "sh", "-c", &script, &place]);
            let out = call.arg(verb).arg("--bundle").arg(sb.bundle()).arg(sb.id()).output();
            assert_ne!(out.code, 0, "{out}");
            // The kernel refuses a user namespace, which `run` needs, in a chroot.
            out.says("plain chroot").says(if verb == "run" { "clone3" } else { "/ is not the root" });
        }
        sb.leak_check();
    }
    std::fs::remove_dir(&place).expect("rmdir");
}

/// config.md: unknown properties and those of other platforms are no errors; a config for another platform
/// is.
#[case(OWN)]
fn what_is_of_other_systems_is_ignored_beside_linux() {
    let mut sb = Sandbox::new();
    for (pointer, value) in [
        ("/windows", json!({ "layerFolders": ["C:\\x"] })),
        ("/solaris", json!({ "milestone": "m" })),
        ("/vm", json!({ "kernel": { "path": "/k" } })),
        ("/zos", json!({})),
        ("/uidMappings", json!([{ "containerID": 0, "hostID": 5, "size": 1 }])),
        ("/gidMappings", json!([])),
        ("/process/user/username", json!("someone")),
        ("/process/commandLine", json!("format c:")),
        ("/of the future", json!({ "a": [1] })),
        ("/linux/of the future", json!(true)),
    ] {
        sb.set(pointer, value);
    }
    sb.run_oci().output().ok();
    let sb = sb.without("/linux");
    sb.create().exits(1).says("this config is for another platform; a linux section is needed");
    sb.leak_check();
}
