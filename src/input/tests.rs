//! Descriptions that try to be judged better than they are, or to run with less than they ask for.

use std::path::Path;

use super::{Description, compose, config, docker, interpolate, pod, yaml};
use crate::launch::value::Launch;

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
    ] {
        assert!(service_error(text).contains(error), "{text}: {}", service_error(text));
    }
    let note = service("    user: $NOT_SET_ANYWHERE\n").notes;
    assert!(note.iter().any(|(_, key, _)| key == "${NOT_SET_ANYWHERE}"), "{note:?}");
}

/// A pod with one container, and keys of both.
fn one(of_container: &str, of_pod: &str) -> Description {
    container(&format!("{of_pod}  containers:\n  - name: c\n    image: x\n{of_container}"))
}

const HOST_VOLUME: &str = "  volumes: [{ name: v, hostPath: { path: /etc } }]\n";

#[test]
fn a_pod_hides_nothing() {
    for (of_container, of_pod, what) in [
        ("    securityContext: { privileged: true }\n", "", "privileged"),
        ("    securityContext: { capabilities: { add: [SYS_ADMIN] } }\n", "", "cap-add SYS_ADMIN"),
        ("    securityContext: { procMount: Unmasked }\n", "", "security-opt systempaths=unconfined"),
        (
            "    securityContext: { appArmorProfile: { type: Unconfined } }\n",
            "",
            "security-opt apparmor=unconfined",
        ),
        (
            "    securityContext: { seccompProfile: { type: Unconfined } }\n",
            "",
            "security-opt seccomp=unconfined",
        ),
        ("    securityContext: { seLinuxOptions: { type: spc_t } }\n", "", "security-opt label=type:spc_t"),
        ("    ports: [{ containerPort: 80, hostPort: 8080 }]\n", "", "publish 8080:80/tcp"),
        (
            "    ports: [{ containerPort: 80, hostPort: 8080, hostIP: 0.0.0.0, protocol: TCP }]\n",
            "",
            "publish 0.0.0.0:8080:80/tcp",
        ),
        ("", "  hostNetwork: true\n", "network host"),
        ("", "  hostPID: yes\n", "pid host"),
        ("", "  hostIPC: true\n", "ipc host"),
        ("", "  dnsConfig: { searches: [x] }\n", "dns-search x"),
        ("", "  dnsConfig: { options: [{ name: ndots, value: \"2\" }] }\n", "dns-option ndots:2"),
        ("", "  hostAliases: [{ ip: 1.2.3.4, hostnames: [a] }]\n", "add-host a:1.2.3.4"),
        (
            "",
            "  securityContext: { sysctls: [{ name: kernel.msgmax, value: \"1\" }] }\n",
            "sysctl kernel.msgmax=1",
        ),
        (
            "    volumeMounts: [{ name: v, mountPath: /x, subPath: shadow }]\n",
            HOST_VOLUME,
            "volume /etc/shadow:/x:rw",
        ),
        (
            "    volumeMounts: [{ name: v, mountPath: /x, mountPropagation: Bidirectional }]\n",
            HOST_VOLUME,
            "volume /etc:/x:rw,rshared",
        ),
    ] {
        has(&one(of_container, of_pod), what);
    }
}

#[test]
fn a_port_of_a_pod_on_the_host_s_network_is_not_published() {
    let port = "    ports: [{ containerPort: 80, hostPort: 8080 }]\n";
    for (of_pod, published, note) in [
        ("", true, None),
        ("  hostNetwork: false\n", true, None),
        ("  hostNetwork: true\n", false, Some("with the host's network it is the host's already")),
    ] {
        let d = one(port, of_pod);
        let says = format!("{d:?}");
        assert_eq!(says.contains("8080:80"), published, "{of_pod:?}: {says}");
        assert!(note.is_none_or(|note| d.notes.iter().any(|(_, _, why)| why == note)), "{of_pod:?}: {says}");
    }
    let d = one("    ports: [{ containerPort: 80 }]\n", "");
    assert!(d.notes.iter().any(|(_, _, why)| why.starts_with("without a hostPort")), "{d:?}");
}

#[test]
fn a_pod_reports_what_it_does_not_read() {
    stops(
        one("    volumeMounts: [{ name: v, mountPath: /x, subPathExpr: $(A) }]\n", HOST_VOLUME),
        "volumeMounts.subPathExpr",
    );
    for (of_container, of_pod, key) in [
        ("    volumeMounts: [{ name: v, mountPath: /x, frob: 1 }]\n", HOST_VOLUME, "volumeMounts.frob"),
        ("    securityContext: { frob: 1 }\n", "", "securityContext.frob"),
        ("    volumeDevices: [{ name: v, devicePath: /dev/x }]\n", "", "volumeDevices"),
        ("    frob: 1\n", "", "frob"),
        ("", "  frob: 1\n", "frob"),
    ] {
        unknown(&one(of_container, of_pod), key);
    }
}

#[test]
fn wrong_values_of_a_pod_are_errors() {
    let error = |of_container: &str, of_pod: &str| {
        let text =
            format!("apiVersion: v1\nkind: Pod\nspec:\n{of_pod}  containers:\n  - name: c\n{of_container}");
        let documents = yaml::parse(Path::new("f"), &text).unwrap();
        let (name, node) = pod::containers(&documents[0]).remove(0);
        pod::describe(&documents[0], &name, node).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let root = "    securityContext: { runAsUser: 00, runAsNonRoot: true }\n";
    stops(one(root, ""), "runAsUser");
    assert!(
        error("    volumeMounts: [{ name: v, mountPath: /x, subPath: a/../../b }]\n", HOST_VOLUME)
            .contains("leaves")
    );
    let size = "  volumes: [{ name: v, emptyDir: { sizeLimit: much } }]\n";
    assert!(error("    volumeMounts: [{ name: v, mountPath: /x }]\n", size).contains("sizeLimit"));
    assert!(error("    volumeMounts: [{ name: w, mountPath: /x }]\n", size).contains("no volume"));
}

#[test]
fn arguments_have_their_variables() {
    let d = container(
        "  containers:\n  - name: c\n    args: [\"$(A)-$(B)\", \"$$(A) $A $\", \"$(\"]\n    env: [{ name: A, value: a }]\n",
    );
    assert_eq!(d.args, ["a-$(B)", "$(A) $A $", "$("]);
}

#[test]
fn every_container_of_every_kind_is_found() {
    let names = |text: &str| -> Vec<String> {
        let documents = pod::flat(yaml::parse(Path::new("f"), text).unwrap());
        let found = documents.iter().filter(|d| pod::is(d)).flat_map(pod::containers);
        found.map(|(name, _)| name).collect()
    };
    let spec =
        "{ initContainers: [{ name: i }], containers: [{ name: c }], ephemeralContainers: [{ name: e }] }";
    assert_eq!(names(&format!("apiVersion: v1\nkind: Pod\nspec: {spec}\n")), ["c", "i", "e"]);
    let template = format!("{{ template: {{ spec: {spec} }} }}");
    for kind in ["Deployment", "Rollout"] {
        assert_eq!(names(&format!("apiVersion: v1\nkind: {kind}\nspec: {template}\n")).len(), 3, "{kind}");
    }
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n- {{ apiVersion: v1, kind: Pod, spec: {spec} }}\n");
    assert_eq!(names(&format!("{list}---\n{list}")).len(), 6);
    assert_eq!(names("apiVersion: v1\nkind: ConfigMap\ndata: {}\n").len(), 0);
}

/// The kubelet's defaults are not Docker's.
#[test]
fn a_pod_is_judged_as_the_kubelet_starts_it() {
    let made = |of_container: &str, of_pod: &str| {
        let text = format!("{of_pod}  containers:\n  - name: c\n    image: x\n{of_container}");
        config::make(&container(&text)).unwrap().json
    };
    assert!(made("", "")["linux"]["seccomp"].is_null(), "without a profile the kubelet sets none");
    for kind in ["RuntimeDefault", "Localhost"] {
        let json = made("", &format!("  securityContext: {{ seccompProfile: {{ type: {kind} }} }}\n"));
        assert!(json["linux"]["seccomp"].is_object(), "{kind}");
    }
    let own = "    securityContext: { seccompProfile: { type: Unconfined } }\n";
    let json = made(own, "  securityContext: { seccompProfile: { type: RuntimeDefault } }\n");
    assert!(json["linux"]["seccomp"].is_null());
    let uid = |of_container: &str, of_pod: &str| made(of_container, of_pod)["process"]["user"]["uid"].clone();
    assert_ne!(uid("", "  securityContext: { runAsNonRoot: true }\n"), 0);
    assert_eq!(
        uid("    securityContext: { runAsNonRoot: false }\n", "  securityContext: { runAsNonRoot: true }\n"),
        0
    );
    assert_eq!(
        uid("    securityContext: { runAsUser: 0 }\n", "  securityContext: { runAsNonRoot: true }\n"),
        0
    );
    let host = "  volumes: [{ name: v, hostPath: { path: /etc } }]\n";
    let json = made("    volumeMounts: [{ name: v, mountPath: /x, readOnly: true }]\n", host);
    assert!(json.to_string().contains("[\"rbind\",\"ro\"]"), "readOnly is not recursive: {json}");
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
    ] {
        let (json, _) = all(line);
        // Keys in the order of a map without one.
        let sorted = part.split(',').all(|one| json.contains(one));
        assert!(sorted, "{line}: {json}");
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
        ("docker run --security-opt writable-cgroups=true x", "security-opt writable-cgroups"),
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
}
