//! Descriptions that try to be judged better than they are, or to run with less than they ask for.

mod manifests;

use std::path::Path;

use super::{Description, compose, config, docker, interpolate, pod, yaml};
use crate::launch::value::Launch;
use crate::tables::namespaces::NsKind;

fn service(text: &str) -> Description {
    let text = format!("services:\n  a:\n    image: x\n{text}");
    let mut document = yaml::parse(Path::new("/d/compose.yaml"), &text).unwrap().remove(0);
    interpolate::apply(&mut document).unwrap();
    compose::describe(&document, "a").unwrap()
}

fn service_error(text: &str) -> String {
    let text = format!("services:\n  a:\n    image: x\n{text}");
    let mut document = match yaml::parse(Path::new("/d/compose.yaml"), &text) {
        Ok(mut all) => all.remove(0),
        Err(e) => return e.to_string(),
    };
    match interpolate::apply(&mut document) {
        Ok(()) => compose::describe(&document, "a").err().unwrap().to_string(),
        Err(e) => e.to_string(),
    }
}

fn container(text: &str) -> Description {
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{ name: p }}\nspec:\n{text}");
    let documents = pod::flat(yaml::parse(Path::new("/d/pod.yaml"), &text).unwrap());
    let (name, node) = pod::containers(&documents[0]).remove(0);
    pod::describe(&documents[0], &name, node).unwrap()
}

fn options(d: &Description) -> Vec<String> {
    d.options.iter().map(|s| format!("{} {}", s.name, s.value).trim_end().to_string()).collect()
}

fn has(d: &Description, what: &str) {
    assert!(options(d).iter().any(|s| s == what), "{what}: {:?}", options(d));
}

fn unknown(d: &Description, key: &str) {
    assert!(d.unknown.iter().any(|(_, k)| k == key), "{key}: {:?}", d.unknown);
}

/// Neither run nor passed over: a run stops, and the audit says that it is not judged.
fn stops(mut d: Description, key: &str) {
    assert!(d.stops.iter().any(|(_, k, _)| k == key), "{key}: {:?}", d.stops);
    let error = d.launch(&mut Launch::default()).unwrap_err().to_string();
    assert!(error.contains(key), "{error}");
}

#[test]
fn compose_hides_nothing() {
    for (text, what) in [
        ("    privileged: yes\n", "privileged"),
        ("    privileged: \"true\"\n", "privileged"),
        ("    privileged: ${NOT_SET_ANYWHERE:-on}\n", "privileged"),
        ("    pid: host\n", "pid host"),
        ("    network_mode: host\n", "network host"),
        ("    userns_mode: host\n", "userns host"),
        ("    cap_add: [ALL]\n", "cap-add ALL"),
        ("    cap_add: ALL\n", "cap-add ALL"),
        ("    devices: [\"/dev/kvm:/dev/kvm:rwm\"]\n", "device /dev/kvm:/dev/kvm:rwm"),
        ("    device_cgroup_rules: [\"a *:* rwm\"]\n", "device-cgroup-rule a *:* rwm"),
        ("    use_api_socket: true\n", "volume /var/run/docker.sock:/var/run/docker.sock:rw"),
        ("    gpus: all\n", "gpus all"),
        ("    gpus: [{ driver: nvidia, count: 2 }]\n", "gpus 2"),
        ("    deploy: { resources: { reservations: { devices: [{ capabilities: [gpu] }] } } }\n", "gpus all"),
        ("    devices: [{ source: /dev/x, target: /dev/y, permissions: r }]\n", "device /dev/x:/dev/y:r"),
        ("    devices: [{ source: /dev/x }]\n", "device /dev/x:/dev/x:rwm"),
        (
            "    volumes: [{ type: tmpfs, target: /t, tmpfs: { size: 1m, mode: 0o1770 } }]\n",
            "tmpfs /t:rw,size=1m,mode=1770",
        ),
        ("    volumes: [\"/:/host:rshared\"]\n", "volume /:/host:rw,rshared"),
        ("    volumes: [\"./x:/x:ro,z\"]\n", "volume /d/x:/x:ro"),
        ("    volumes: [\"../../etc:/x\"]\n", "volume /d/../../etc:/x:rw"),
        (
            "    volumes: [{ type: bind, source: /, target: /h, bind: { propagation: rshared } }]\n",
            "volume /:/h:rw,rshared",
        ),
        (
            "    volumes: [\"d:/x\"]\nvolumes: { d: { driver_opts: { type: none, o: bind, device: /etc } } }\n",
            "volume /etc:/x:rw",
        ),
        (
            "    ports: [{ target: 80, published: 8080, host_ip: 127.0.0.1, protocol: udp }]\n",
            "publish 127.0.0.1:8080:80/udp",
        ),
        (
            "    healthcheck: { test: [CMD, sh, -c, \"a 'b'\"], interval: 3s }\n",
            "health-cmd sh -c 'a '\\''b'\\'''",
        ),
        ("    logging: { driver: json-file, options: { max-size: 1m } }\n", "log-opt max-size=1m"),
    ] {
        has(&service(text), what);
    }
    let home = std::env::var("HOME").unwrap_or_default();
    has(&service("    volumes: [\"~/.ssh:/s\"]\n"), &format!("volume {home}/.ssh:/s:rw"));
    has(&service("    volumes: [\"${HOME}:/s\"]\n"), &format!("volume {home}:/s:rw"));
    // Wherever it is written, the entrypoint stands first.
    for text in ["    command: [c]\n    entrypoint: [e, f]\n", "    entrypoint: [e, f]\n    command: [c]\n"] {
        assert_eq!(service(text).args, ["e", "f", "c"], "{text}");
    }
    // A merge key brings what it names along.
    let merged =
        yaml::parse(Path::new("f"), "x-h: &h { privileged: true }\nservices: { a: { <<: *h, image: x } }\n");
    has(&compose::describe(&merged.unwrap()[0], "a").unwrap(), "privileged");
}

#[test]
fn compose_reports_what_it_does_not_read() {
    for (text, key) in [
        ("    extends: { service: b }\n", "extends"),
        ("include: [other.yaml]\n", "include"),
        ("    secrets: [s]\nsecrets: { s: { external: true } }\n", "secrets: s"),
        ("    volumes: [{ type: image, source: x, target: /x }]\n", "volumes"),
        (
            "    volumes: [\"d:/x\"]\nvolumes: { d: { driver_opts: { type: nfs, device: \":/export\" } } }\n",
            "volumes",
        ),
    ] {
        stops(service(text), key);
    }
    for (text, key) in [
        ("    frobnicate: 1\n", "frobnicate"),
        ("    ports: [{ target: 80, frob: 1 }]\n", "ports.frob"),
        ("    volumes: [{ type: bind, source: /a, target: /b, bind: { frob: 1 } }]\n", "volumes.bind.frob"),
        ("    volumes: [\"/a:/b:frob\"]\n", "volumes: frob"),
        ("    healthcheck: { frob: 1 }\n", "healthcheck.frob"),
        ("    devices: [{ source: /dev/x, frob: 1 }]\n", "devices.frob"),
        ("    volumes: [{ type: tmpfs, target: /t, tmpfs: { frob: 1 } }]\n", "volumes.tmpfs.frob"),
    ] {
        unknown(&service(text), key);
    }
    for (text, error) in [
        ("    privileged: perhaps\n", "true or false is needed"),
        ("    privileged: true\n    privileged: false\n", "duplicate"),
        ("    user: ${X?say it}\n", "say it"),
        ("    user: ${X\n", "brace"),
        ("    ulimits: { nofile: { soft: 1 } }\n", "soft and hard"),
        ("    restart: sometimes\n", "compose.yaml:4: restart: \"sometimes\": one of no, "),
        ("    pull_policy: sometimes\n", "one of always, "),
        ("    ports: [{ target: 80, protocol: icmp }]\n", "one of tcp, udp, sctp"),
        ("    ports: [{ target: 80, mode: all }]\n", "one of host, ingress"),
        (
            "    volumes: [{ type: bind, source: /a, target: /b, bind: { propagation: all } }]\n",
            "one of shared, ",
        ),
        ("    volumes: [{ type: bind, source: /a, target: /b, read_only: perhaps }]\n", "true or false"),
        ("    volumes: [{ type: tmpfs, target: /t, tmpfs: { mode: open } }]\n", "a number is needed"),
        ("    healthcheck: { disable: perhaps }\n", "true or false"),
    ] {
        assert!(service_error(text).contains(error), "{text}: {}", service_error(text));
    }
    let note = service("    user: $NOT_SET_ANYWHERE\n").notes;
    assert!(note.iter().any(|(_, key, _)| key == "${NOT_SET_ANYWHERE}"), "{note:?}");
}

#[test]
fn a_line_of_docker_hides_nothing() {
    let all = |line: &str| {
        let made = config::make(&docker::describe("-", line).unwrap()).unwrap();
        (made.json.to_string(), made.left.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>())
    };
    for (line, part) in [
        ("docker run --privileged --cap-drop ALL x", "CAP_SYS_ADMIN"),
        ("docker run --cap-drop ALL --privileged=1 x", "CAP_SYS_ADMIN"),
        ("docker run --mount 'type=bind,src=/,dst=/host,readonly=false' x", "\"source\":\"/\""),
        ("docker run --mount type=bind,source=/etc,target=/e,bind-propagation=rshared x", "rshared"),
        (
            "docker run --mount 'type=volume,dst=/e,volume-driver=local,\"volume-opt=o=bind\",volume-opt=type=none,volume-opt=device=/etc' x",
            "\"source\":\"/etc\"",
        ),
        ("docker run -v/etc:/e:z x", "\"source\":\"/etc\""),
        ("docker run -itv /etc:/e x", "\"source\":\"/etc\""),
        ("docker run --device-cgroup-rule 'a *:* rwm' x", "\"access\":\"rwm\",\"allow\":true,\"type\":\"a\""),
        ("docker run --cap-add NET_ADMIN --cap-drop ALL x", "\"bounding\":[\"CAP_NET_ADMIN\"]"),
        ("docker run -u :5 x", "\"gid\":5,\"uid\":0"),
        ("docker run --read-only=0 x", "\"readonly\":false"),
        ("docker run -- x --read-only", "\"readonly\":false"),
        ("docker run -v /a:/b:ro x", "[\"rbind\",\"rro\"]"),
        ("docker run --group-add 0 -u 5 x", "\"additionalGids\":[0]"),
        (
            "docker run --security-opt writable-cgroups=true x",
            "\"destination\":\"/sys/fs/cgroup\",\"options\":[\"nosuid\"",
        ),
        ("podman run --security-opt unmask=ALL x", "\"maskedPaths\":[]"),
        ("podman run --userns keep-id x", "\"hostID\":1048576"),
    ] {
        let (json, _) = all(line);
        // Keys in the order of a map without one.
        let sorted = part.split(',').all(|one| json.contains(one));
        assert!(sorted, "{line}: {json}");
    }
    for start in [
        "sudo -E docker",
        "DOCKER_HOST=tcp://x docker",
        "/usr/bin/docker",
        "docker -H tcp://x --debug",
        "exec docker",
        "sudo -u u nerdctl --namespace k8s.io",
    ] {
        assert!(all(&format!("{start} run --privileged x")).0.contains("CAP_SYS_ADMIN"), "{start}");
    }
    let (json, _) = all("docker run --net=host --pid=host --ipc=host x");
    for kind in ["network", "pid\"", "ipc"] {
        assert!(!json.contains(&format!("\"type\":\"{kind}")), "{kind}: {json}");
    }
    for (line, left) in [
        ("docker run -v $(pwd):/w x", "volume $(pwd): a shell decides"),
        ("docker run -v \"$PWD\":/w x", "volume $PWD: a shell decides"),
        ("docker run -v ~/.ssh:/s x", "volume ~/.ssh: a shell decides"),
        ("docker run -u app x", "user app"),
        ("docker run --volumes-from y x", "volumes-from y"),
        ("docker run --network container:y x", "network container:y"),
        ("docker run --security-opt seccomp=x.json x", "seccomp profile x.json"),
        ("docker run --device vendor.com/class=x x", "device vendor.com/class=x"),
        ("docker run --env-file /none x", "env-file /none"),
    ] {
        let (_, found) = all(line);
        assert!(found.iter().any(|text| text.starts_with(left)), "{line}: {found:?}");
    }
    for line in [
        "docker run x; docker run --privileged y",
        "docker run --read-only=perhaps x",
        "docker run --",
        "docker ps",
    ] {
        assert!(docker::describe("-", line).is_err(), "{line}");
    }
    for (line, why) in [
        ("docker run --pid hots x", "pid hots: \"hots\": one of host, "),
        ("docker run --ipc public x", "one of host, private, none, shareable"),
        ("docker run --uts x y", "one of host"),
        ("docker run --cgroupns shared x", "one of host, private"),
        ("docker run --userns own x", "one of host, private"),
        ("docker run --restart sometimes x", "one of no, "),
        ("docker run --pull sometimes x", "one of always, "),
        ("docker run -v /a:/b:r0 x", "\"r0\" is no option of a volume"),
        ("docker run --mount type=bind,src=/a,dst=/b,bind-propagation=all x", "one of shared, "),
        ("docker run --mount type=bind,src=/a,dst=/b,readonly=perhaps x", "true or false is needed"),
    ] {
        let error = config::make(&docker::describe("-", line).unwrap()).err().map(|e| e.to_string());
        assert!(
            error.as_ref().is_some_and(|e| e.starts_with("-:1: ") && e.contains(why)),
            "{line}: {error:?}"
        );
    }
}

/// A namespace of another container is neither the host's nor its own.
#[test]
fn words_of_namespaces_are_checked_where_a_container_is_made() {
    let made = |key: &str| config::make(&service(&format!("    {key}\n")));
    for (key, why) in [
        ("pid: hots", "one of host, private"),
        ("ipc: public", "one of host"),
        ("uts: own", "one of host"),
        ("userns_mode: own", "one of host"),
        ("cgroup: shared", "one of host"),
    ] {
        let error = made(key).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with("/d/compose.yaml:4: ") && error.contains(why), "{key}: {error}");
    }
    for (key, kind) in [
        ("pid: \"service:b\"", NsKind::Pid),
        ("network_mode: \"service:b\"", NsKind::Net),
        ("ipc: \"container:b\"", NsKind::Ipc),
    ] {
        let joined = made(key).unwrap().joined;
        assert!(joined.iter().any(|(k, whose)| *k == kind && whose.ends_with(":b")), "{key}: {joined:?}");
    }
    for key in ["restart: no", "restart: \"no\"", "restart: on-failure:3", "cgroup: host", "ipc: shareable"] {
        assert!(made(key).is_ok(), "{key}");
    }
}
