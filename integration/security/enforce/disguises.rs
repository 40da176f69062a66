//! Ways around a rule: the host's files, namespaces and ports by other names.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::{create, file};
use crate::harness::{Sandbox, case};

/// Other ways to the host's files than a bind mount.
#[case(Root)]
fn layers_and_devices_of_the_host_are_refused() {
    for (kind, source, option) in [
        ("overlay", "overlay", "lowerdir=/etc:/srv"),
        ("overlay", "overlay", "lowerdir=/tmp,upperdir=/etc/cron.d,workdir=/tmp/w"),
        ("ext4", "/dev/sda1", "ro"),
    ] {
        let options: Vec<&str> = option.split(',').collect();
        let mount = json!({ "destination": "/x", "source": source, "type": kind, "options": options });
        let sb = Sandbox::new().patch("/mounts/-", mount);
        create(&sb, "mode = \"enforce\"\n")
            .exits(1)
            .says("policy baseline refuses this container: host-directories: ");
        sb.leak_check();
    }
    let sb = Sandbox::new().patch("/root/path", json!("/etc")).patch("/root/readonly", json!(false));
    create(&sb, "mode = \"enforce\"\n")
        .exits(1)
        .says("/etc of the host, a directory of the system, is the root");
    sb.leak_check();
}

/// A path of a namespace that is the host's, whatever its name.
#[case(Root)]
fn a_disguised_namespace_of_the_host_is_refused() {
    let sb = Sandbox::new();
    let place = sb.dir().join("ns");
    symlink("/proc/self/ns/net", &place).expect("a link");
    for path in [place.display().to_string(), format!("/proc/{}/ns/net", std::process::id())] {
        let kinds = json!([{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            { "type": "cgroup" }, { "type": "network", "path": path }]);
        let sb = Sandbox::new().patch("/linux/namespaces", kinds);
        create(&sb, "mode = \"enforce\"\n").exits(1).says(
            "policy baseline refuses this container: host-namespaces: the network namespace is the host's",
        );
        sb.leak_check();
    }
}

/// CRI-O writes the ports of a pod into an annotation of its sandbox; a run of safebox's own publishes them itself.
#[case(Root)]
fn ports_of_the_host_are_refused_where_they_are_seen() {
    let ports = |list: &str| {
        let sb = Sandbox::new();
        let annotations = json!({ "io.kubernetes.cri-o.ContainerID": sb.id(),
            "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.PortMappings": list });
        sb.patch("/annotations", annotations)
    };
    for mode in ["enforce", "harden"] {
        let sb = ports("[{\"HostPort\":8080,\"ContainerPort\":80,\"Protocol\":\"TCP\",\"HostIP\":\"\"}]");
        create(&sb, &format!("mode = \"{mode}\"\n"))
            .exits(1)
            .says("host-ports: port 8080 of the host leads into the pod");
        sb.leak_check();
    }
    let sb = ports("[]");
    create(&sb, "mode = \"enforce\"\n").ok();
    sb.delete().ok();
    let run = |publish: &str| {
        let sb = Sandbox::new();
        let call = sb.runtime().arg("--policy-file").arg(file(&sb, "mode = \"enforce\"\n"));
        let call = call.args(["run", "-q", "--publish", publish, "--name", sb.id()]).arg(sb.bundle());
        (call.args(["--", "/bin/true"]).output(), sb)
    };
    let (out, sb) = run("0.0.0.0:48080:80");
    out.exits(125).says("host-ports: port 48080 of every address of the host leads in");
    sb.leak_check();
    let (out, _sb) = run("127.0.0.1:48081:80");
    out.ok();
}
