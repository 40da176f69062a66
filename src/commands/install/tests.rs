//! The files of callers: twice is once, and undone is as it was.

use super::*;

/// The handler that is written, or taken out.
fn named(name: &str, out: bool) -> Handler {
    Handler { name: name.into(), program: (!out).then(|| format!("/usr/local/bin/{name}")) }
}

fn written() -> Handler {
    named("safebox", false)
}

fn taken_out() -> Handler {
    named("safebox", true)
}

/// Twice is once, and taking it out gives back what was there.
fn round_trip(edit: Edit, old: Option<&str>) -> String {
    let new = edit(old, &written()).unwrap().unwrap();
    assert_eq!(edit(Some(&new), &written()).unwrap().unwrap(), new, "twice is once");
    assert_eq!(edit(Some(&new), &taken_out()).unwrap().as_deref(), old, "undone");
    new
}

#[test]
fn containerd_gets_a_block_in_the_table_of_its_version() {
    let new = round_trip(containerd, None);
    assert!(new.starts_with("version = 2\n"));
    let v2 = "version = 2\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    x = 1\n";
    let new = round_trip(containerd, Some(v2));
    assert!(new.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.safebox.options]"));
    assert!(new.contains("SystemdCgroup = false"));
    assert!(new.contains(".runtimes.runc]"), "the default runtime, which containerd would miss");
    let own = "version = 2\n[plugins.x.containerd.runtimes.runc]\n";
    assert_eq!(round_trip(containerd, Some(own)).matches(".runtimes.runc]").count(), 1);
    let v3 = "version = 3\n[a]\n  SystemdCgroup = true\n";
    let new = round_trip(containerd, Some(v3));
    assert!(new.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.safebox]"));
    assert!(new.ends_with("SystemdCgroup = true\n# safebox: end\n"));
    assert!(round_trip(containerd, Some("disabled_plugins = []\n")).contains("[plugins.cri.containerd"));
    assert!(containerd(Some("version = 2\n[x.runtimes.safebox]\n"), &written()).is_err());
    assert!(containerd(Some("version = 9\n"), &written()).is_err());
}

#[test]
fn docker_gets_one_key_and_keeps_the_others() {
    assert_eq!(
        serde_json::from_str::<Value>(&round_trip(docker, None)).unwrap(),
        json!({ "runtimes": { "safebox": { "path": "/usr/local/bin/safebox" } } })
    );
    let old = "{\n  \"runtimes\": {\n    \"other\": {\n      \"path\": \"/o\"\n    }\n  }\n}\n";
    let new: Value = serde_json::from_str(&round_trip(docker, Some(old))).unwrap();
    assert_eq!(new.pointer("/runtimes/other/path"), Some(&json!("/o")));
    assert!(docker(Some("{ not json"), &written()).is_err());
    assert!(docker(Some("[]"), &written()).is_err());
    assert_eq!(docker(None, &taken_out()).unwrap(), None);
}

#[test]
fn drop_ins_are_safeboxs_alone() {
    assert!(round_trip(podman, None).contains("safebox = [\"/usr/local/bin/safebox\"]"));
    assert!(round_trip(crio, None).contains("runtime_path = \"/usr/local/bin/safebox\""));
}

#[test]
fn a_policy_has_a_handler_of_its_own() {
    let plain = containerd(None, &written()).unwrap().unwrap();
    let both = containerd(Some(&plain), &named("safebox-restricted", false)).unwrap().unwrap();
    assert!(both.contains("runtimes.safebox-restricted.options]"), "{both}");
    assert!(both.contains("BinaryName = \"/usr/local/bin/safebox-restricted\""), "{both}");
    assert_eq!(both.matches(".runtimes.runc]").count(), 1);
    let twice = containerd(Some(&both), &named("safebox-restricted", false)).unwrap().unwrap();
    assert_eq!(both, twice);
    assert_eq!(containerd(Some(&both), &named("safebox-restricted", true)).unwrap().unwrap(), plain);
    // The other way round, either can be taken out.
    let left = containerd(Some(&both), &taken_out()).unwrap().unwrap();
    assert!(!left.contains("runtimes.safebox]") && left.contains("runtimes.safebox-restricted]"), "{left}");
}
