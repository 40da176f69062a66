//! Networks of CNI: DEL runs whatever the end, with what ADD had.

use nix::sys::signal::Signal;

use super::cni::{CNI, Networks, wait_for_nothing};
use super::names::sh;
use crate::harness::{Call, Sandbox, case, poll};

#[case(CNI)]
fn cni_every_fault_leaves_nothing() {
    let networks = Networks::new();
    for row in [
        "keep-network",
        "network:apart",
        "network-check:apart",
        "isolate:apart",
        "unreachable:169.254.169.254",
        "unreachable:fd00:ec2::254",
        "pivot",
        "exec",
    ] {
        sh(networks.first("apart").args(["--fail", &format!("{row}:EIO")]), "true").exits(125).says("(EIO)");
        networks.leak_check();
    }
    sh(networks.first("out").args(["--fail", "resolv.conf:EIO"]), "true").exits(125).says("(EIO)");
    sh(networks.first("out").args(["--until", "network:out"]), "true").exits(0);
    networks.leak_check();
    let explain = networks.world.plain().args(["explain", "--why", "--cni-netconfpath", &networks.dir()]);
    let out = explain.args(["--network", "cni:apart", "-p", "8080:80", "--", "true"]).output();
    out.exits(125).says("none of its plugins maps ports");
    let explain = networks.world.plain().args(["explain", "--why", "--cni-netconfpath", &networks.dir()]);
    let out = explain.args(["--network", "cni:out", "-p", "8080:80", "--", "true"]).output().ok();
    for text in [
        "ADD of bridge, portmap, firewall",
        "port 127.0.0.1:8080 -> 80",
        "unreachable 169.254.169.254 table local",
        "DEL has what ADD had",
        "DEL of each plugin in",
    ] {
        assert!(out.stdout.contains(text), "{text}\n{out}");
    }
    networks.leak_check();
}

#[case(CNI)]
fn cni_sigkill_of_the_launcher_leaves_nothing() {
    let networks = Networks::new();
    let sb = &networks.world.sb;
    let run = || networks.first("out").args(["-p", "8080:80", "--", "sh", "-c", "echo up; sleep 60"]);
    let running = sb.run_until(run(), "up");
    assert!(networks.left().len() > 3, "{:?}", networks.left());
    running.signal(Signal::SIGKILL);
    running.wait();
    wait_for_nothing(&networks);
    networks.leak_check();
    // The guardian with it: the container is left, and delete removes it.
    let running = sb.run_until(run(), "up");
    let launcher = running.pid();
    let children =
        std::fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).expect("children");
    for child in children.split_whitespace() {
        let pid = nix::unistd::Pid::from_raw(child.parse().expect("a number"));
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap_or_default();
    }
    running.signal(Signal::SIGKILL);
    running.wait();
    networks.world.plain().args(["delete", "--force", sb.id()]).output().ok();
    networks.leak_check();
}

#[case(CNI)]
fn cni_delete_takes_back_what_create_made() {
    let networks = Networks::new();
    let sb = &networks.world.sb;
    sh(networks.first("out").args(["-d", "-p", "8080:80"]), "sleep 60").ok();
    assert!(networks.left().len() > 3, "{:?}", networks.left());
    networks.world.plain().args(["delete", "--force", sb.id()]).output().ok();
    networks.leak_check();
    // One that has ended stays until it is deleted, and so does what plugins keep for it. The configuration is gone by
    // then; the record has what DEL needs.
    sh(networks.first("out").arg("-d"), "true").ok();
    sb.wait_for_status("stopped");
    std::fs::remove_file(format!("{}/out.conflist", networks.dir())).expect("remove");
    assert!(!networks.left().is_empty());
    networks.world.plain().args(["delete", sb.id()]).output().ok();
    networks.leak_check();
}

/// A network of two plugins that write down what they get. The second fails where a file says so.
fn scripts(networks: &Networks) -> (String, impl Fn(Call) -> Call) {
    use std::os::unix::fs::PermissionsExt;
    let bin = networks.world.dir().join("bin");
    std::fs::create_dir(&bin).expect("mkdir");
    let script = format!(
        "#!/bin/sh\nin=$(cat); echo \"${{0##*/}} $CNI_COMMAND $CNI_IFNAME ${{CNI_NETNS##*/}} $(env | sort | cut -d= -f1 | tr '\\n' ' ') $in\" >> {0}/log\n\
         [ -e {0}/slow-${{0##*/}}-$CNI_COMMAND ] && {{ echo $$ > {0}/slept; exec sleep 60; }}\n\
         [ -e {0}/fail-${{0##*/}}-$CNI_COMMAND ] && {{ echo '{{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"try again\",\"details\":\"later\"}}'; exit 1; }}\n\
         [ $CNI_COMMAND = ADD ] && echo '{{\"cniVersion\":\"1.0.0\",\"by\":\"'${{0##*/}}'\",\"ips\":[{{\"address\":\"10.1.2.3/24\"}}]}}'\nexit 0\n",
        networks.world.dir().display()
    );
    for name in ["one", "two"] {
        std::fs::write(bin.join(name), &script).expect("write");
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    networks
        .list("scripts", r#"[{"type":"one","key":1},{"type":"two","capabilities":{"portMappings":true}}]"#);
    let bin = bin.display().to_string();
    (networks.world.dir().join("log").display().to_string(), move |call: Call| {
        call.args(["--cni-path", &bin])
    })
}

#[case(CNI)]
fn cni_plugins_are_run_as_the_specification_has_it() {
    let networks = Networks::new();
    let (log, with) = scripts(&networks);
    sh(with(networks.first("scripts")).args(["-p", "127.0.0.1:8080:80"]), "true").ok();
    let text = std::fs::read_to_string(&log).expect("the log");
    let calls: Vec<_> = text.lines().map(|l| l.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        calls,
        [
            "one ADD eth0 netns",
            "two ADD eth0 netns",
            "one CHECK eth0 netns",
            "two CHECK eth0 netns",
            "two DEL eth0 netns",
            "one DEL eth0 netns"
        ],
        "{text}"
    );
    let inputs: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(&l[l.find('{').expect("{")..]).expect("JSON")).collect();
    let by: Vec<_> = inputs.iter().map(|i| i["prevResult"]["by"].as_str().unwrap_or("none")).collect();
    assert_eq!(by, ["none", "one", "two", "two", "two", "two"], "{text}");
    let ports = serde_json::json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" }]);
    for (input, line) in inputs.iter().zip(text.lines()) {
        assert_eq!((&input["cniVersion"], &input["name"]), (&"1.0.0".into(), &"scripts".into()));
        assert_eq!(input.get("capabilities"), None);
        let two = line.starts_with("two");
        assert_eq!(input.get("key").is_some(), !two, "each has its own part: {line}");
        assert_eq!(input["runtimeConfig"].get("portMappings"), two.then_some(&ports), "{line}");
        // Nothing of the caller's environment.
        assert!(
            line.contains(" CNI_COMMAND CNI_CONTAINERID CNI_IFNAME CNI_NETNS CNI_PATH PATH PWD "),
            "{line}"
        );
    }
    networks.leak_check();
}

#[case(CNI)]
fn cni_a_plugin_that_fails_is_named() {
    let networks = Networks::new();
    let (log, with) = scripts(&networks);
    for (what, says) in [("two-ADD", "plugin two (ADD)"), ("one-CHECK", "plugin one (CHECK)")] {
        let file = networks.world.dir().join(format!("fail-{what}"));
        std::fs::write(&file, "").expect("write");
        let out = sh(with(networks.first("scripts")), "true").exits(125);
        out.says(&format!("network scripts: {says}: try again; later (code 11)"));
        std::fs::remove_file(&file).expect("remove");
        let text = std::fs::read_to_string(&log).expect("the log");
        assert!(text.lines().rev().take(2).all(|l| l.contains(" DEL ")), "both are taken back: {text}");
        networks.leak_check();
    }
    // A bridge without a port cannot isolate anything.
    networks.list("mute", r#"[{"type":"one"},{"type":"bridge","portIsolation":true}]"#);
    let bridge = networks.world.dir().join("bin/bridge");
    std::fs::copy(networks.world.dir().join("bin/one"), bridge).expect("copy");
    let out = sh(with(networks.first("mute")), "true").exits(125);
    out.says("the network's result names no port of a bridge");
    networks.leak_check();
}

/// The launcher gets a signal to end, or is killed, while a plugin works.
#[case(CNI)]
fn cni_a_launch_is_interrupted_while_a_plugin_works() {
    let networks = Networks::new();
    let (log, with) = scripts(&networks);
    let dir = networks.world.dir().to_path_buf();
    std::fs::write(dir.join("slow-two-ADD"), "").expect("write");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let started = std::time::Instant::now();
        let running = with(networks.first("scripts")).args(["--", "true"]).spawn();
        let pid = || {
            std::fs::read_to_string(dir.join("slept")).ok().and_then(|text| text.trim().parse::<i32>().ok())
        };
        poll("the second plugin works", std::time::Duration::from_secs(10), || pid().is_some());
        let plugin = pid().expect("a number");
        running.signal(signal);
        let out = running.wait();
        assert_ne!(out.code, 0, "{out}");
        poll("the plugin's end", std::time::Duration::from_secs(5), || {
            !std::path::Path::new(&format!("/proc/{plugin}")).exists()
        });
        std::fs::remove_file(dir.join("slept")).expect("remove");
        if signal == Signal::SIGKILL {
            // The launcher had no time to take it back.
            networks.world.plain().args(["delete", "--force", networks.world.sb.id()]).output().ok();
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(50), "{out}");
        let text = std::fs::read_to_string(&log).expect("the log");
        assert!(text.lines().rev().take(2).all(|l| l.contains(" DEL ")), "{signal}: {text}");
        networks.leak_check();
    }
}

#[case(CNI)]
fn cni_a_del_that_fails_can_be_repeated() {
    let networks = Networks::new();
    let (log, with) = scripts(&networks);
    let file = networks.world.dir().join("fail-two-DEL");
    std::fs::write(&file, "").expect("write");
    sh(with(networks.first("scripts")), "true")
        .says("network scripts: plugin two (DEL): try again; later (code 11)");
    let text = std::fs::read_to_string(&log).expect("the log");
    assert!(
        text.lines().next_back().is_some_and(|l| l.starts_with("one DEL")),
        "the other runs all the same: {text}"
    );
    let sb: &Sandbox = &networks.world.sb;
    networks.world.plain().args(["delete", "--force", sb.id()]).output().exits(1).says("plugin two (DEL)");
    std::fs::remove_file(&file).expect("remove");
    networks.world.plain().args(["delete", "--force", sb.id()]).output().ok();
    networks.leak_check();
}
