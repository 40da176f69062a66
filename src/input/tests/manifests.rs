//! Manifests that try the same.

use std::path::Path;

use super::super::{config, pod, yaml};
use super::{Description, container, has, stops, unknown};

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
        (
            "    livenessProbe: { exec: { command: [test, -e, \"a b\"] }, periodSeconds: 5 }\n",
            "",
            "health-cmd test -e 'a b'",
        ),
        ("    livenessProbe: { exec: { command: [x] }, failureThreshold: 2 }\n", "", "health-retries 2"),
        ("    livenessProbe: { exec: { command: [x] }, periodSeconds: 5 }\n", "", "health-interval 5s"),
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
    for (of_container, of_pod, why) in [
        (
            "    imagePullPolicy: Sometimes\n",
            "",
            "f:6: imagePullPolicy \"Sometimes\": one of Always, Never, IfNotPresent is needed",
        ),
        ("    restartPolicy: always\n", "", "one of Always, OnFailure, Never"),
        ("    terminationMessagePolicy: x\n", "", "one of File, FallbackToLogsOnError"),
        ("    ports: [{ containerPort: 80, protocol: tcp }]\n", "", "one of TCP, UDP, SCTP"),
        ("    ports: [{ containerPort: 80, hostPort: 80800 }]\n", "", "a number from 0 to 65535"),
        ("    securityContext: { privileged: perhaps }\n", "", "privileged \"perhaps\": true or false"),
        ("    securityContext: { allowPrivilegeEscalation: nope }\n", "", "true or false"),
        ("    securityContext: { runAsUser: app }\n", "", "runAsUser \"app\": a number from 0"),
        ("    securityContext: { procMount: Open }\n", "", "one of Default, Unmasked"),
        (
            "    securityContext: { seccompProfile: { type: unconfined } }\n",
            "",
            "one of RuntimeDefault, Localhost, Unconfined",
        ),
        ("    securityContext: [{ privileged: true }]\n", "", "a mapping is needed"),
        ("    livenessProbe: { httpGet: { scheme: ftp } }\n", "", "one of HTTP, HTTPS"),
        (
            "    volumeMounts: [{ name: v, mountPath: /x, mountPropagation: Both }]\n",
            HOST_VOLUME,
            "f:7: volumeMounts.mountPropagation \"Both\": one of None, HostToContainer, Bidirectional is needed",
        ),
        ("    volumeMounts: [{ name: v, mountPath: /x, readOnly: 2 }]\n", HOST_VOLUME, "true or false"),
        (
            "    volumeMounts: [{ name: v, mountPath: /x, recursiveReadOnly: Yes }]\n",
            HOST_VOLUME,
            "one of Disabled",
        ),
        ("", "  hostNetwork: perhaps\n", "f:4: hostNetwork \"perhaps\": true or false is needed"),
        ("", "  restartPolicy: Sometimes\n", "one of Always, OnFailure, Never"),
        ("", "  dnsPolicy: x\n", "one of ClusterFirst"),
        ("", "  preemptionPolicy: x\n", "one of PreemptLowerPriority"),
        ("", "  os: { name: plan9 }\n", "one of linux, windows"),
        ("", "  securityContext: { fsGroupChangePolicy: x }\n", "one of OnRootMismatch, Always"),
        ("", "  securityContext: { supplementalGroupsPolicy: x }\n", "one of Merge, Strict"),
        ("", "  securityContext: { appArmorProfile: { type: x } }\n", "one of RuntimeDefault"),
        (
            "",
            "  volumes: [{ name: v, emptyDir: { medium: Disk } }]\n",
            "one of \"\", Memory, HugePages, HugePages-*",
        ),
        (
            "",
            "  volumes: [{ name: v, hostPath: { path: /x, type: Dir } }]\n",
            "one of \"\", DirectoryOrCreate",
        ),
    ] {
        let error = error(of_container, of_pod);
        assert!(error.contains(why), "{of_container}{of_pod}: {error}");
    }
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
