//! What the policy file refuses, and for whom it makes exceptions.

use super::*;
use crate::config::Config;
use crate::policy::MachineFacts;

/// Bundles of the kubelet's containerd, of Podman, and of a script.
const POD: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc";
const PODMAN: &str = "/var/lib/containers/storage/overlay-containers/abc/userdata";
const SCRIPT: &str = "/tmp/box";

fn config(change: impl FnOnce(&mut serde_json::Value)) -> Config {
    let mut json = crate::config::template::spec(None);
    change(&mut json);
    crate::config::parse::from_slice(json.to_string().as_bytes()).unwrap()
}

fn judge(file: &str, config: &Config) -> std::result::Result<Vec<String>, String> {
    judge_in(file, config, POD)
}

fn judge_in(file: &str, config: &Config, bundle: &str) -> std::result::Result<Vec<String>, String> {
    let file = parse("f", file).unwrap();
    let posture = Posture::of_config(config, MachineFacts::NONE);
    file.judge(Subject::of_config("me", (config, Path::new(bundle)), &|_| false), &posture)
        .map(|c| c.iter().map(ToString::to_string).collect())
        .map_err(|e| e.to_string())
}

#[test]
fn errors_have_a_place() {
    for (text, want) in [
        ("mode = \"enforce\"\nlevle = \"baseline\"\n", "f:2:1: unknown field `levle`"),
        ("mode = \"maybe\"\n", "f:1:8: unknown variant `maybe`"),
        ("mode = \n", "f:1:8"),
        ("level = \"baseline\"\n", "missing field `mode`"),
        ("mode = \"warn\"\nrequire = [\"nope\"]\n", "f:2: no rule is called \"nope\""),
        ("mode = \"warn\"\n[[exceptions]]\nreason = \"x\"\n", "f:3: the exception \"x\" names neither"),
        (
            "mode = \"warn\"\n[[exceptions]]\nreason = \"x\"\nimage = \"*\"\n",
            "would hold for every container",
        ),
        (
            "mode = \"warn\"\n[[exceptions]]\nreason = \"x\"\nimage = \"a*b\"\n",
            "f:3: the exception \"x\" has the condition \"a*b\", which can never hold",
        ),
        ("mode = \"warn\"\n[[exceptions]]\nreason = \"x\"\ncgroup = \"\"\n", "can never hold"),
        ("mode = \"warn\"\n[[exceptions]]\nreason = \" \"\nimage = \"y\"\n", "has no reason"),
        ("mode = \"warn\"\n[[exceptions]]\nreason = \"x\"\nimage = \"y\"\nrules = []\n", "excepts no rule"),
        (
            "mode = \"warn\"\n[[exceptions]]\nreason = \"x\"\nimage = \"y\"\nlevel = \"x\"\n",
            "f:5:1: unknown field `level`",
        ),
    ] {
        let error = parse("f", text).unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_refusal_names_rule_place_and_remedy_in_one_line() {
    let host_net = config(|json| {
        json["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
    });
    let error = judge("mode = \"enforce\"\n", &host_net).unwrap_err();
    assert!(error.starts_with("policy baseline refuses this container: host-namespaces: the network namespace is the host's at /linux/namespaces; remedy: list"), "{error}");
    assert_eq!(judge("mode = \"enforce\"\n", &config(|_| {})), Ok(Vec::new()));
    let restricted = judge("mode = \"enforce\"\nlevel = \"restricted\"\n", &config(|_| {})).unwrap_err();
    assert!(
        restricted.contains("non-root") && restricted.contains("(also: seccomp, no-capabilities)"),
        "{restricted}"
    );
    let warned = judge("mode = \"warn\"\n", &host_net).unwrap();
    assert!(warned[0].contains("host-namespaces would be refused"), "{warned:?}");
    let required = judge("mode = \"enforce\"\nrequire = [\"limits\"]\n", &config(|_| {})).unwrap_err();
    assert!(required.contains("limits: memory is not limited"), "{required}");
}

#[test]
fn exceptions_hold_where_all_their_conditions_do() {
    let file = "mode = \"enforce\"\n[[exceptions]]\nreason = \"exporter\"\nannotations = { \"io.kubernetes.cri.sandbox-namespace\" = \"mon*\" }\ncgroup = \"/kube/*\"\nrules = [\"host-namespaces\"]\n";
    let make = |ns: &str, cgroup: &str, privileged: bool| {
        config(|json| {
            json["annotations"] = serde_json::json!({ "io.kubernetes.cri.sandbox-namespace": ns });
            json["linux"]["cgroupsPath"] = cgroup.into();
            json["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
            if privileged {
                json["process"]["capabilities"]["bounding"] = serde_json::json!(["CAP_SYS_ADMIN"]);
            }
        })
    };
    let told = judge(file, &make("monitoring", "/kube/a", false)).unwrap();
    assert!(told[0].contains("an exception holds for this container: exporter"), "{told:?}");
    assert!(judge(file, &make("other", "/kube/a", false)).is_err());
    assert!(judge(file, &make("monitoring", "/else", false)).is_err());
    assert!(judge(file, &make("monitoring", "/kube/a", true)).unwrap_err().contains("capabilities"));
    // A user of Podman, or a script, can write the same annotations and the same cgroup.
    for bundle in [PODMAN, SCRIPT] {
        assert!(judge_in(file, &make("monitoring", "/kube/a", false), bundle).is_err(), "{bundle}");
    }
    let warn = file.replace("enforce", "warn");
    let told = judge_in(&warn, &make("monitoring", "/kube/a", false), PODMAN).unwrap();
    assert!(
        told[0].contains("the exception \"exporter\" does not hold") && told[0].contains(PODMAN),
        "{told:?}"
    );
    for (engines, bundle, holds) in
        [("podman", PODMAN, true), ("podman", SCRIPT, false), ("any", SCRIPT, true), ("docker", POD, false)]
    {
        let file = format!("trusted-engines = [\"{engines}\"]\n{file}");
        let told = judge_in(&file, &make("monitoring", "/kube/a", false), bundle);
        assert_eq!(told.is_ok(), holds, "{engines} {bundle}");
    }
}

/// CRI-O and Podman copy what the authors of pods and images wrote.
#[test]
fn annotations_of_a_pod_s_author_do_not_count() {
    let host_net = config(|json| {
        json["annotations"] = serde_json::json!({ "team/x": "1" });
        json["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
    });
    let exception = "[[exceptions]]\nreason = \"r\"\nannotations = { \"team/x\" = \"1\" }\n";
    assert!(judge(&format!("mode = \"enforce\"\n{exception}"), &host_net).is_err());
    let told = judge(&format!("mode = \"warn\"\n{exception}"), &host_net).unwrap();
    assert!(told[0].contains("the annotation team/x"), "{told:?}");
    let trusts = format!("mode = \"enforce\"\ntrusted-annotations = [\"team/x\"]\n{exception}");
    assert!(judge(&trusts, &host_net).is_ok());
    assert!(judge_in(&trusts, &host_net, PODMAN).is_err());
}

#[test]
fn the_example_is_read() {
    let example = include_str!("../../../examples/kubernetes/policy.toml");
    let file = parse("policy.toml", example).unwrap();
    assert_eq!((file.mode, file.engines), (EnforceMode::Enforce, CallerEngine::of_kubernetes()));
    assert!(parse("f", "mode = \"off\"\ntrusted-engines = [\"runc\"]\n").is_err());
}

#[test]
fn the_name_fixes_the_level() {
    let name = |name: &str| Enforcement::level_of_name(Path::new(name));
    assert_eq!(name("/usr/bin/safebox-restricted"), Some(Level::Restricted));
    assert_eq!(name("safebox-baseline"), Some(Level::Baseline));
    assert_eq!(name("safebox"), None);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    std::fs::write(&path, "mode = \"off\"\n").unwrap();
    assert!(Enforcement::load(Some(&path), None).unwrap().is_none());
    let fixed = Enforcement::load(Some(&path), Some(Level::Restricted)).unwrap().unwrap();
    assert_eq!((fixed.mode, fixed.level), (EnforceMode::Enforce, Level::Restricted));
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    std::fs::write(&path, "mode = \"off\"\n").unwrap();
    for mode in [0o664, 0o646] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(Enforcement::load(Some(&path), None).unwrap_err().to_string().contains("chmod go-w"));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Enforcement::load(Some(&path), None).is_ok());
    assert!(Enforcement::load(Some(dir.path()), None).is_err(), "a directory");
    assert!(
        Enforcement::load(Some(&dir.path().join("none")), None).is_err(),
        "one that was named must be there"
    );
}
