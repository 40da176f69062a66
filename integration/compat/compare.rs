//! Compares the output of the verbs, field by field, with runc's for the same bundle. Known differences are
//! in [`KNOWN`], each with its reason; any other one fails.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bundle::safebox;
use crate::harness::{Need, Sandbox, case};

const BOTH: &[Need] = &[Need::Root, Need::Runc];

/// (verb, pointer that may differ, reason). A pointer may end in `/*` for all values below it.
const KNOWN: &[(&str, &str, &str)] = &[
    ("state", "/ociVersion", "runc prints the version that it was built with, safebox the config's"),
    (
        "spec",
        "/process/capabilities/ambient/*",
        "runc 1.2 dropped them from its template too: they are a gain of privilege",
    ),
    ("state", "/owner", "runc 1.1 leaves the owner empty in `state` and names it in `list`"),
    ("events", "/data/cpu/psi/*", "pressure stall information came with runc 1.2"),
    ("events", "/data/memory/psi/*", "pressure stall information came with runc 1.2"),
    ("events", "/data/blkio/psi/*", "pressure stall information came with runc 1.2"),
    ("events", "/data/memory/usage/max", "memory.peak came with runc 1.2"),
    ("events", "/data/blkio/*", "which devices are read depends on the page cache"),
    ("events", "/data/memory/cache", "nothing may be cached"),
    ("events", "/data/cpu/usage/total", "left out when it is zero"),
    ("events", "/data/cpu/throttling/*", "left out when it is zero"),
    ("events", "/data/memory/kernel/*", "left out when it is zero"),
    ("events", "/data/memory/kernelTCP/*", "cgroup v2 has no such counter: left out"),
    ("events", "/data/cpuset/*", "cgroup v2 has no such files: left out"),
    ("features", "/annotations/*", "names and versions of runc and its libraries, and of ours"),
    ("features", "/linux/intelRdt/*", "runc 1.1 does not know the field"),
    ("features", "/linux/memoryPolicy/*", "runc 1.1 does not know the field"),
    ("features", "/linux/mountExtensions/*", "runc 1.1 does not know the field"),
    ("features", "/linux/netDevices/*", "runc 1.1 does not know the field"),
    ("features", "/linux/cgroup/rdma", "runc 1.1 does not know the field"),
    ("features", "/linux/seccomp/knownFlags/*", "runc 1.1 does not know the field"),
    ("features", "/linux/seccomp/supportedFlags/*", "runc 1.1 does not know the field"),
    ("features", "/potentiallyUnsafeConfigAnnotations/*", "runc 1.1 does not know the field"),
];

fn is_known(what: &str, pointer: &str) -> bool {
    KNOWN.iter().any(|(w, at, _)| {
        let below = at.strip_suffix("/*");
        *w == what && below.map_or(pointer == *at, |b| pointer == b || pointer.starts_with(&format!("{b}/")))
    })
}

/// The type of every value below `value`, by pointer; items of a list are under `*`.
fn shape(value: &Value, at: &str, out: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(list) => {
            list.iter().for_each(|v| shape(v, &format!("{at}/*"), out));
            "list"
        }
        Value::Object(map) => {
            map.iter().for_each(|(k, v)| shape(v, &format!("{at}/{k}"), out));
            "object"
        }
    };
    out.insert(at.to_string(), kind);
}

#[track_caller]
fn same_shape(what: &str, runc: &Value, ours: &Value) {
    let (mut a, mut b) = (BTreeMap::new(), BTreeMap::new());
    shape(runc, "", &mut a);
    shape(ours, "", &mut b);
    let missing = a
        .iter()
        .filter(|(at, kind)| b.get(*at) != Some(kind))
        .map(|(at, kind)| format!("runc: {at}: {kind}"));
    let extra = b
        .iter()
        .filter(|(at, kind)| a.get(*at) != Some(kind))
        .map(|(at, kind)| format!("ours: {at}: {kind}"));
    let known = |line: &String| is_known(what, line.split(": ").nth(1).unwrap_or_default());
    let all: Vec<_> = missing.chain(extra).filter(|line| !known(line)).collect();
    assert!(all.is_empty(), "{what} differs:\n  {}\nrunc: {runc:#}\nours: {ours:#}", all.join("\n  "));
}

/// A runtime and its state root.
struct Runtime<'a> {
    program: std::path::PathBuf,
    sb: &'a Sandbox,
    root: std::path::PathBuf,
}

impl Runtime<'_> {
    fn call(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(args).current_dir(self.sb.bundle());
        command.stdin(std::process::Stdio::null()).env("SAFEBOX_TEST", self.sb.id());
        command.output().expect("the runtime starts")
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let out = self.call(args);
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"))
    }

    /// Creates without keeping the pipes of `call` open: the container inherits its descriptors.
    fn create(&self, id: &str) {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(["create", id]).current_dir(self.sb.bundle());
        for end in [Command::stdin, Command::stdout, Command::stderr] {
            end(&mut command, std::process::Stdio::null());
        }
        command.env("SAFEBOX_TEST", self.sb.id());
        assert!(command.status().is_ok_and(|s| s.success()), "{} create", self.program.display());
    }
}

fn runtimes(sb: &Sandbox) -> [Runtime<'_>; 2] {
    [("runc".into(), "runc-state"), (safebox(), "state")].map(|(program, root)| Runtime {
        program,
        sb,
        root: sb.dir().join(root),
    })
}

#[case(BOTH)]
fn state_list_ps_and_events() {
    let sb = Sandbox::new()
        .sh("exec sleep 1000")
        .patch("/ociVersion", json!("1.0.2"))
        .patch("/annotations", json!({ "a.b": "c", "org.example": "" }));
    let pairs = runtimes(&sb).map(|r| {
        let id = sb.other_id(if r.program.ends_with("runc") { "r" } else { "s" });
        r.create(&id);
        let created = r.json(&["state", &id]);
        assert!(r.call(&["start", &id]).status.success());
        let seen = [
            ("state", r.json(&["state", &id])),
            ("list", r.json(&["list", "--format", "json"])),
            ("ps", r.json(&["ps", "--format", "json", &id])),
            ("events", r.json(&["events", "--stats", &id])),
        ];
        assert!(r.call(&["kill", &id, "KILL"]).status.success());
        crate::harness::poll("stopped", std::time::Duration::from_secs(10), || {
            r.json(&["state", &id])["status"] == "stopped"
        });
        let stopped = r.json(&["state", &id]);
        assert!(r.call(&["delete", &id]).status.success());
        let empty = r.call(&["list", "--format", "json"]).stdout;
        (created, seen, stopped, empty)
    });
    let [(created, seen, stopped, empty), (ours_created, ours_seen, ours_stopped, ours_empty)] = pairs;
    for (runc, ours) in [(&created, &ours_created), (&seen[0].1, &ours_seen[0].1), (&stopped, &ours_stopped)]
    {
        same_values(runc, ours);
    }
    same_values(&seen[1].1[0], &ours_seen[1].1[0]);
    for ((what, runc), (_, ours)) in seen.iter().zip(&ours_seen) {
        same_shape(what, runc, ours);
    }
    assert_eq!(empty, ours_empty, "an empty list");
}

/// The values of a state that are the same for all containers.
#[track_caller]
fn same_values(runc: &Value, ours: &Value) {
    for key in ["status", "bundle", "rootfs", "annotations"] {
        assert_eq!(runc[key], ours[key], "{key}");
    }
    assert_eq!(runc["pid"] == 0, ours["pid"] == 0, "pid");
}

#[case(BOTH)]
fn features() {
    let sb = Sandbox::new();
    let [runc, ours] = runtimes(&sb).map(|r| r.json(&["features"]));
    same_shape("features", &runc, &ours);
    // safebox announces everything that runc announces.
    for list in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
        "/linux/seccomp/archs",
    ] {
        let of = |v: &Value| v.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let lacks: Vec<_> = of(&runc).into_iter().filter(|v| !of(&ours).contains(v)).collect();
        assert!(lacks.is_empty(), "{list} lacks {lacks:?}");
    }
}

#[case(BOTH)]
fn spec() {
    for flags in [&[] as &[&str], &["--rootless"]] {
        let sb = Sandbox::new();
        let specs = runtimes(&sb).map(|r| {
            let dir = sb.dir().join(r.root.file_name().unwrap_or_default()).with_extension("spec");
            std::fs::create_dir(&dir).expect("mkdir");
            let path = dir.display().to_string();
            let args = [&["spec", "--bundle", &path], flags].concat();
            let out = r.call(&args);
            assert!(
                out.status.success() && out.stdout.is_empty(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            let again = r.call(&args);
            assert!(!again.status.success(), "a config that is there is not replaced");
            let text = std::fs::read(dir.join("config.json")).expect("config.json");
            serde_json::from_slice::<Value>(&text).expect("JSON")
        });
        let [runc, ours] = specs;
        same_shape("spec", &runc, &ours);
        for key in ["process", "root", "hostname"] {
            assert_eq!(runc[key]["args"], ours[key]["args"], "{key}");
        }
    }
}

/// Texts that callers match in the errors of failing verbs.
#[case(BOTH)]
fn version_and_errors() {
    let sb = Sandbox::new();
    let said = runtimes(&sb).map(|r| {
        let cases: [&[&str]; 12] = [
            &["state", "none"],
            &["start", "none"],
            &["kill", "none", "9"],
            &["delete", "none"],
            &["delete", "--force", "none"],
            &["exec", "none", "true"],
            &["pause", "none"],
            &["resume", "none"],
            &["ps", "none"],
            &["update", "--pids-limit", "7", "none"],
            &["events", "--stats", "none"],
            &["state", "no/ne"],
        ];
        cases.map(|args| {
            let out = r.call(args);
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            let says = ["container does not exist", "invalid container ID format"].map(|t| text.contains(t));
            (args.join(" "), out.status.code(), says, out.stdout.is_empty())
        })
    });
    let [runc, ours] = said;
    assert_eq!(runc, ours);
    let version = runtimes(&sb).map(|r| String::from_utf8_lossy(&r.call(&["--version"]).stdout).into_owned());
    for text in version {
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|l| l.contains(" version ")), "{text}");
        assert!(lines.next().is_some_and(|l| l.starts_with("commit: ")), "{text}");
        assert!(lines.next().is_some_and(|l| l.starts_with("spec: ")), "{text}");
    }
}
