use std::path::Path;

use super::{Question, View, WouldVerdict, judge};
use crate::config::{Config, parse};

fn config(extra: &serde_json::Value) -> Config {
    let mut json = serde_json::json!({
        "ociVersion": "1.3.0",
        "process": { "args": ["sh"], "cwd": "/work", "user": { "uid": 1000, "gid": 1000 } },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["noexec"] },
            { "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] },
            { "destination": "/closed", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
            { "destination": "/own", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700", "uid=1000"] },
            { "destination": "/fixed", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "ro"] },
        ],
        "linux": {
            "namespaces": [{ "type": "mount" }, { "type": "network" }],
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
        },
    });
    if let Some(mounts) = json["mounts"].as_array_mut() {
        mounts.extend(extra.as_array().into_iter().flatten().cloned());
    }
    parse::from_slice(json.to_string().as_bytes()).expect("a config")
}

/// A root file system with a symlink out of a directory, and a directory to share.
fn world() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for made in ["rootfs/etc", "rootfs/work", "rootfs/bin", "share/sub"] {
        std::fs::create_dir_all(dir.path().join(made)).expect("a directory");
    }
    for (file, mode, text) in [
        ("rootfs/etc/x", 0o644, "text"),
        ("rootfs/etc/shadow", 0o600, "text"),
        ("rootfs/bin/tool", 0o755, "text"),
        ("rootfs/bin/script", 0o755, "#!/bin/none\n"),
        ("rootfs/bin/good", 0o755, "#!/bin/tool\n"),
    ] {
        let path = dir.path().join(file);
        std::fs::write(&path, text).expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("a mode");
    }
    std::os::unix::fs::symlink("/proc/kcore", dir.path().join("rootfs/work/core")).expect("a symlink");
    std::os::unix::fs::symlink("loop", dir.path().join("rootfs/work/loop")).expect("a symlink");
    dir
}

#[test]
fn the_answer_names_the_layer_and_the_remedy() {
    let dir = world();
    let share = dir.path().join("share");
    let volumes = serde_json::json!([
        { "destination": "/data", "type": "bind", "source": share, "options": ["rbind", "ro"] },
        { "destination": "/open", "type": "bind", "source": share, "options": ["rbind"] },
    ]);
    let config = config(&volumes);
    let rootfs = dir.path().join("rootfs");
    let view = View { config: &config, rootfs: &rootfs };
    for (question, verdict, word) in [
        ("read:/etc/x", WouldVerdict::Yes, "root file system"),
        ("read:../etc/x", WouldVerdict::Yes, "/etc/x"),
        ("read:/etc/none", WouldVerdict::No, "does not exist"),
        ("read:/etc/shadow", WouldVerdict::No, "not the sandbox"),
        ("write:/etc/x", WouldVerdict::No, "--tmpfs /etc"),
        ("write:/tmp/new", WouldVerdict::Unsure, "the tmpfs at /tmp"),
        ("write:/scratch/new", WouldVerdict::Yes, "an empty tmpfs of mode 1777"),
        ("write:/scratch/dir/new", WouldVerdict::Unsure, "only the running container"),
        ("write:/closed/new", WouldVerdict::Unsure, "only the running container"),
        ("write:/own/new", WouldVerdict::Yes, "an empty tmpfs of mode 0700"),
        ("write:/fixed/new", WouldVerdict::No, "/fixed is read-only"),
        ("write:/data/x", WouldVerdict::No, "/data is read-only"),
        ("write:/data/sub/../x", WouldVerdict::No, "/data is read-only"),
        ("write:/proc/sys/kernel/panic", WouldVerdict::No, "settings of the kernel"),
        ("read:/proc/kcore", WouldVerdict::No, "masked"),
        ("read:core", WouldVerdict::No, "masked"),
        ("read:loop", WouldVerdict::No, "symlinks"),
        ("exec:/bin/tool", WouldVerdict::Yes, "root file system"),
        ("exec:/tmp/tool", WouldVerdict::No, "noexec"),
        ("exec:/etc/x", WouldVerdict::No, "not the sandbox"),
        ("read:/dev/null", WouldVerdict::Yes, "a device"),
        ("write:/dev/stdout", WouldVerdict::Unsure, "/proc/self/fd/1"),
        ("read:/dev/fd/0", WouldVerdict::Unsure, "/proc/self/fd/0"),
        ("read:/dev/tty", WouldVerdict::Unsure, "controlling terminal"),
        ("read:/etc/x/", WouldVerdict::No, "not a directory"),
        ("read:/etc/", WouldVerdict::Yes, "root file system"),
        ("exec:/bin/script", WouldVerdict::No, "its interpreter /bin/none does not exist"),
        ("exec:/bin/good", WouldVerdict::Yes, "root file system"),
        ("read:/bin/script", WouldVerdict::Yes, "root file system"),
        ("read:/dev/sdz", WouldVerdict::No, "no device"),
        ("connect:example.org:443", WouldVerdict::No, "--allow host-net"),
        ("connect:127.0.0.1:80", WouldVerdict::Yes, "loopback"),
        ("connect:unix:/etc/none", WouldVerdict::No, "does not exist"),
    ] {
        let answer = judge(&view, &question.parse::<Question>().expect(question));
        assert_eq!(answer.verdict, verdict, "{question}: {answer}");
        assert!(answer.to_string().contains(word), "{question}: {answer}");
    }
}

#[test]
fn the_mode_counts_with_the_ids_as_they_are_inside() {
    let dir = world();
    let share = dir.path().join("share");
    let owner = std::os::unix::fs::MetadataExt::uid(&share.metadata().expect("a directory"));
    let map = |inside: u32| serde_json::json!([{ "containerID": owner, "hostID": inside, "size": 1 }]);
    let answer = |inside: u32| {
        let mount = serde_json::json!([{ "destination": "/open", "type": "bind", "source": share, "options": ["rbind"],
            "uidMappings": map(inside), "gidMappings": map(inside) }]);
        let config = config(&mount);
        let view = View { config: &config, rootfs: Path::new("/") };
        judge(&view, &"write:/open/new".parse().expect("a question"))
    };
    assert_eq!(answer(1000).verdict, WouldVerdict::Yes, "{}", answer(1000));
    assert!(answer(1001).why.contains("owner 1001:1001"), "{}", answer(1001));
}

#[test]
fn rules_of_the_network_decide_by_name_and_port() {
    let mut config = config(&serde_json::json!([]));
    let rule = |text: &str| crate::config::network::parse_rule(text).expect("a rule");
    config.network.rules = vec![rule("*.example.org"), rule("example.org:80"), rule("192.0.2.7:22")];
    let view = View { config: &config, rootfs: Path::new("/") };
    for (question, verdict, word) in [
        ("connect:www.Example.org:443", WouldVerdict::Yes, "*.example.org:443"),
        ("connect:example.org:443", WouldVerdict::No, "--allow-net example.org:443"),
        ("connect:example.org:80", WouldVerdict::Yes, "example.org:80"),
        ("connect:192.0.2.7:22", WouldVerdict::Yes, "192.0.2.7:22"),
        ("connect:192.0.2.8:22", WouldVerdict::No, "--allow-net 192.0.2.8:22"),
        ("connect:198.18.0.1:443", WouldVerdict::Unsure, "stands for a name"),
        ("connect:10.255.255.53:53", WouldVerdict::No, "(--allow-net NAME for each name"),
    ] {
        let answer = judge(&view, &question.parse::<Question>().expect(question));
        assert_eq!(answer.verdict, verdict, "{question}: {answer}");
        assert!(answer.to_string().contains(word), "{question}: {answer}");
    }
}

#[test]
fn questions_are_checked() {
    for bad in
        ["", "read", "read:", "eat:/x", "connect:host", "connect::80", "connect:h:0", "connect:h:99999"]
    {
        assert!(bad.parse::<Question>().is_err(), "{bad}");
    }
}
