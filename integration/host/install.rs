//! `safebox install`, and the examples for Kubernetes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::harness::{bundle::safebox, case};

const ALL: &[&str] = &["--containerd", "--podman", "--docker", "--crio"];

/// Runs `safebox install`; its exit status and output.
fn install(etc: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(safebox());
    command.arg("install").args(args).arg("--etc").arg(etc).args(["--program", "/usr/local/bin/safebox"]);
    let out = command.output().expect("safebox");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code(), text)
}

/// All regular files below a directory.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path.display().to_string()),
        }
    }
    found
}

#[case]
fn every_caller_is_written_once_and_undone() {
    let etc = tempfile::tempdir().expect("a directory");
    let (code, said) = install(etc.path(), ALL);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(files(etc.path()).len(), 4, "{said}");
    assert_eq!(said.matches("undo: safebox install --undo --").count(), 4, "{said}");
    let (code, said) = install(etc.path(), ALL);
    assert_eq!((code, said.matches("nothing to do").count()), (Some(0), 4), "{said}");
    let (code, said) = install(etc.path(), &[ALL, &["--undo"]].concat());
    assert_eq!((code, files(etc.path())), (Some(0), vec![]), "{said}");
}

#[case]
fn what_is_there_is_kept_and_backed_up() {
    let etc = tempfile::tempdir().expect("a directory");
    let path = etc.path().join("docker/daemon.json");
    std::fs::create_dir(path.parent().expect("the test's own file")).expect("the test's own file");
    let old = "{ \"debug\": true, \"runtimes\": { \"crun\": { \"path\": \"/usr/bin/crun\" } } }";
    std::fs::write(&path, old).expect("the test's own file");
    let (code, said) = install(etc.path(), &["--docker"]);
    assert_eq!(code, Some(0), "{said}");
    let new: Value = serde_json::from_str(&std::fs::read_to_string(&path).expect("the test's own file"))
        .expect("the test's own file");
    assert_eq!(new["debug"], Value::Bool(true));
    assert_eq!(new["runtimes"]["crun"]["path"], "/usr/bin/crun");
    assert_eq!(new["runtimes"]["safebox"]["path"], "/usr/local/bin/safebox");
    assert_eq!(
        std::fs::read_to_string(etc.path().join("docker/daemon.json.before-safebox"))
            .expect("the test's own file"),
        old
    );
}

#[case]
fn print_writes_nothing() {
    let etc = tempfile::tempdir().expect("a directory");
    let (code, said) = install(etc.path(), &[ALL, &["--print"]].concat());
    assert_eq!((code, files(etc.path())), (Some(0), vec![]), "{said}");
    assert!(said.contains("BinaryName = \"/usr/local/bin/safebox\""), "{said}");
}

#[case]
fn nothing_is_written_where_one_file_cannot_be_edited() {
    let etc = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(etc.path().join("docker")).expect("the test's own file");
    std::fs::write(etc.path().join("docker/daemon.json"), "{ broken").expect("the test's own file");
    let (code, said) = install(etc.path(), ALL);
    assert_eq!(code, Some(1));
    assert!(said.contains("daemon.json: not JSON"), "{said}");
    assert_eq!(files(etc.path()).len(), 1, "only what was there before");
    let (code, said) = install(etc.path(), &[]);
    assert!(code == Some(1) && said.contains("say for whom"), "{said}");
}

/// Kubernetes' own type parses the manifest and serialises it again: an unknown or misplaced field would be
/// lost.
fn is<T: Serialize + DeserializeOwned>(yaml: &str) {
    let value: Value = serde_yaml_ng::from_str(yaml).expect("YAML");
    let typed: T = serde_json::from_value(value.clone()).expect("what Kubernetes reads");
    assert_eq!(serde_json::to_value(typed).expect("the test's own file"), value);
}

#[case]
fn the_manifests_are_what_kubernetes_reads() {
    let classes: Vec<_> =
        include_str!("../../examples/kubernetes/runtimeclass.yaml").split("---\n").collect();
    assert_eq!(classes.len(), 3);
    classes.into_iter().for_each(is::<RuntimeClass>);
    is::<Pod>(include_str!("../../examples/kubernetes/pod.yaml"));
    is::<DaemonSet>(include_str!("../../examples/kubernetes/node-installer.yaml"));
    let typo = "{ apiVersion: v1, kind: Pod, metadata: {}, spec: { containers: [], runtimeClasName: x } }";
    assert!(std::panic::catch_unwind(|| is::<Pod>(typo)).is_err(), "a wrong field is noticed");
}

#[case]
fn a_policy_gets_a_handler_and_a_name() {
    let (etc, bin) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let program = bin.path().join("safebox");
    std::fs::write(&program, "").expect("write");
    let call = |args: &[&str]| {
        let mut command = Command::new(safebox());
        command.arg("install").args(args).arg("--etc").arg(etc.path()).arg("--program").arg(&program);
        let out = command.output().expect("safebox");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
        )
    };
    let restricted = ["--containerd", "--policy", "restricted"];
    let (code, said) = call(&restricted);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("handler: safebox-restricted`"), "{said}");
    let file = std::fs::read_to_string(etc.path().join("containerd/config.toml")).expect("a file");
    assert!(file.contains("runtimes.safebox-restricted.options]"), "{file}");
    let link = bin.path().join("safebox-restricted");
    assert_eq!(std::fs::read_link(&link).expect("a link"), Path::new("safebox"));
    let (code, said) = call(&restricted);
    assert!(code == Some(0) && said.contains("nothing to do"), "{said}");
    let (code, said) = call(&[&restricted[..], &["--undo"]].concat());
    assert_eq!((code, files(etc.path())), (Some(0), vec![]), "{said}");
    assert!(!link.is_symlink() && program.exists());
    let (code, said) = call(&["--containerd", "--policy", "privileged"]);
    assert!(code == Some(1) && said.contains("restricted and baseline"), "{said}");
    let (code, _) = call(&["--podman", "--policy", "restricted"]);
    assert_eq!(code, Some(1));
}

#[case]
fn auditd_rules_name_safebox_s_files() {
    let etc = tempfile::tempdir().expect("a directory");
    let (code, said) = install(etc.path(), &["--auditd"]);
    assert_eq!(code, Some(0), "{said}");
    for path in ["/usr/local/bin/safebox -p wxa", "/etc/safebox -p wa", "/run/safebox -p wa"] {
        assert!(said.contains(&format!("-w {path} -k safebox\n")), "{said}");
    }
    assert!(said.contains("# undo: rm /etc/audit/rules.d/safebox.rules && augenrules --load\n"), "{said}");
    // Unprivileged users read the policy file.
    assert!(said.contains("# do:   mkdir -p /etc/safebox; mkdir -p -m 700 /run/safebox "), "{said}");
    // Everything else is a comment.
    assert!(said.lines().all(|line| line.starts_with("# ") || line.starts_with("-w /")), "{said}");
    assert!(files(etc.path()).is_empty());
}

#[case]
fn the_examples_containerd_lines_are_those_of_install() {
    let etc = tempfile::tempdir().expect("a directory");
    let (_, said) = install(etc.path(), &["--containerd", "--print"]);
    let lines = said.split_once('\n').expect("lines").1;
    assert_eq!(lines, include_str!("../../examples/kubernetes/containerd.toml"));
}

/// scripts/install with an existing program.
#[case]
fn the_script_puts_all_in_place_and_removes_it() {
    let Some(script) =
        [concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install")].into_iter().find(|p| Path::new(p).exists())
    else {
        return;
    };
    let prefix = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| {
        let mut command = Command::new(script);
        command.env("SAFEBOX", safebox()).env("DESTDIR", prefix.path()).args(["--prefix", "/p"]).args(args);
        let out = command.output().expect("scripts/install");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    run(&[]);
    let below = prefix.path().join("p");
    let cache = prefix.path().join("var/cache/safebox");
    std::fs::create_dir_all(&cache).expect("a directory");
    let version = Command::new(below.join("bin/safebox")).arg("--version").output().expect("the program");
    assert!(version.stdout.starts_with(b"safebox version "));
    for file in [
        "share/man/man1/safebox.1",
        "share/man/man1/safebox-run.1",
        "share/bash-completion/completions/safebox",
        "share/zsh/site-functions/_safebox",
        "share/fish/vendor_completions.d/safebox.fish",
    ] {
        assert!(std::fs::metadata(below.join(file)).is_ok_and(|m| m.len() > 100), "{file}");
    }
    run(&["--uninstall"]);
    assert_eq!(files(prefix.path()), Vec::<String>::new());
    assert!(!below.exists(), "empty directories are left");
    assert!(!cache.exists());
}

/// With a script in place of the program, so that packing is fast.
#[case]
fn the_package_holds_all_and_needs_nothing() {
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/package"));
    if !script.exists() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("program");
    let text = format!("#!/bin/sh\nexec '{}' \"$@\"\n", safebox().display());
    std::fs::write(&program, text).expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let said = |command: &mut Command| {
        let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    let path = said(Command::new(script).arg(dir.path().join("out")).env("SAFEBOX", &program));
    let deb = path.trim_end();
    let list = said(Command::new("dpkg-deb").args(["--contents", deb]));
    for file in [
        "-rwxr-xr-x root/root ./usr/bin/safebox",
        "-rw-r--r-- root/root ./usr/share/man/man1/safebox-run.1.gz",
        "-rw-r--r-- root/root ./usr/share/bash-completion/completions/safebox",
        "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_safebox",
        "-rw-r--r-- root/root ./usr/share/doc/safebox/copyright",
    ] {
        // Between owner and name: size and time.
        let (owner, name) = file.split_once(" ./").expect("a name");
        let found = list.lines().any(|l| l.starts_with(owner) && l.ends_with(&format!(" ./{name}")));
        assert!(found, "no {file} in {list}");
    }
    // No dependencies: nothing that a minimal system lacks.
    assert_eq!(said(Command::new("dpkg-deb").args(["--field", deb, "Depends"])).trim(), "");
    let control = dir.path().join("control");
    said(Command::new("dpkg-deb").arg("--control").arg(deb).arg(&control));
    let removal = std::fs::read_to_string(control.join("postrm")).expect("postrm");
    assert!(removal.contains("rm -rf /var/cache/safebox"), "{removal}");
}

/// With --etc, because without it the machine's own files would be used.
#[case]
fn the_undo_that_is_printed_undoes_it() {
    let etc = tempfile::Builder::new().prefix("with a space").tempdir().expect("a directory");
    let (code, said) = install(etc.path(), &["--podman"]);
    assert_eq!(code, Some(0), "{said}");
    let undo = said.lines().find_map(|l| l.trim().strip_prefix("undo: safebox ")).expect("an undo");
    let line = format!("'{}' {undo}", safebox().display());
    let out = Command::new("sh").args(["-c", &line]).output().expect("sh");
    assert!(out.status.success() && files(etc.path()).is_empty(), "{line}: {said}");
}
