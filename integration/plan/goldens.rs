//! Goldens: bundle x handmade host -> the output of `explain`. Needs no privilege and no kernel feature: a
//! plan depends only on the config, the command line and the facts in `Host`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test integration plan::` rewrites the files; read the diff.

mod names;

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use safebox::bundle::Bundle;
use safebox::cgroup::{Hierarchy, V1};
use safebox::host::{Fact, Host, Rootless, Subordinate};
use safebox::launch::prepare::{Prepared, prepare_on};
use safebox::launch::value::{Launch, RootSource};
use safebox::plan::recipe::Options;
use safebox::plan::{Plan, report};
use safebox::policy::{Overrides, Policy};
use safebox::sys::rlimit::RlimitPair;

use crate::harness::bundle::{set, spec};
use crate::harness::{Sandbox, case};

#[case]
fn golden_restricted_on_v2() {
    golden("restricted-v2", &Case::default());
}

#[case]
fn golden_restricted_on_hybrid_v1() {
    let mut case = Case { host: hybrid(), ..Case::default() };
    // Created once, independent of the number of hierarchies.
    set(&mut case.config, "/linux/intelRdt", json!({ "schemata": ["L3:0=f"] }));
    golden("restricted-hybrid", &case);
}

#[case]
fn golden_baseline() {
    golden("baseline", &policy(Policy::Baseline));
}

#[case]
fn golden_privileged() {
    golden("privileged", &policy(Policy::Privileged));
}

/// The golden files, compiled in, so that the tests can run without the repository.
const GOLDENS: &[(&str, &str)] = &[
    ("baseline", include_str!("golden/baseline.txt")),
    ("create", include_str!("golden/create.txt")),
    ("everything", include_str!("golden/everything.txt")),
    ("joined", include_str!("golden/joined.txt")),
    ("privileged", include_str!("golden/privileged.txt")),
    ("restricted-hybrid", include_str!("golden/restricted-hybrid.txt")),
    ("restricted-v2", include_str!("golden/restricted-v2.txt")),
    ("rootless", include_str!("golden/rootless.txt")),
    ("terminal", include_str!("golden/terminal.txt")),
];

/// A bundle, a host and a command line.
pub struct Case {
    pub config: Value,
    pub host: Host,
    pub policy: Policy,
    pub overrides: Overrides,
    pub options: Options,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            config: spec(),
            host: host(Hierarchy::V2 {
                mount: "/cgroup".into(),
                own: "/user.slice/session-1.scope".into(),
                controllers: ["cpuset", "cpu", "io", "memory", "pids"].map(String::from).into(),
            }),
            policy: Policy::Restricted,
            overrides: Overrides::default(),
            options: Options { die_with_runtime: true, ..Options::default() },
        }
    }
}

pub fn policy(policy: Policy) -> Case {
    Case { policy, ..Case::default() }
}

/// The facts of an imaginary machine.
fn host(cgroups: Hierarchy) -> Host {
    Host {
        euid: 0,
        kernel: (6, 12),
        cgroups,
        memory: Fact::new(|| 8 << 30),
        cpus: Fact::new(|| 4),
        cpus_possible: std::cell::OnceCell::from(4),
        subordinate: Fact::new(|| Subordinate { own: None, taken: vec![(100_000, 65536)] }),
        ids: None,
        getent: Fact::new(|| None),
        apparmor: Fact::new(|| false),
        landlock: Fact::new(|| 0),
        clone3: Fact::new(|| true),
        seccomp: Fact::new(|| true),
        keyctl: Fact::new(|| true),
        selinux: Fact::new(|| false),
        kcore: Fact::new(|| true),
        mqueue: std::cell::OnceCell::new(),
        rootless: None,
        outputs: Vec::new(),
        resctrl: std::cell::OnceCell::from(Some("/resctrl".into())),
        most_files: Fact::new(|| 800_000),
        caps: u64::MAX,
        limits: [const { std::cell::OnceCell::new() }; 16]
            .map(|_: std::cell::OnceCell<RlimitPair>| RlimitPair { soft: u64::MAX, hard: u64::MAX }.into()),
        kernel_mounts: std::cell::OnceCell::from(Some(vec!["/proc".into(), "/sys".into()])),
    }
}

pub fn hybrid() -> Host {
    let tree = |names: &[&str], dir: &str| V1 {
        controllers: names.iter().map(|n| (*n).to_string()).collect(),
        mount: Path::new("/cgroup").join(dir),
        own: "/job".into(),
    };
    host(Hierarchy::V1 {
        trees: vec![
            tree(&["cpu", "cpuacct"], "cpu,cpuacct"),
            tree(&["memory"], "memory"),
            tree(&["devices"], "devices"),
            tree(&["pids"], "pids"),
            tree(&["freezer"], "freezer"),
            tree(&["cpuset"], "cpuset"),
            tree(&["name=systemd"], "systemd"),
        ],
        unified: Some(tree(&[], "unified")),
    })
}

#[case]
fn golden_everything_a_config_can_ask() {
    golden("everything", &everything_case());
}

fn everything_case() -> Case {
    let mut case = policy(Policy::Privileged);
    let mut set = |pointer, value| set(&mut case.config, pointer, value);
    set(
        "/hooks",
        json!({
            "prestart": [{ "path": "/opt/prestart" }],
            "createRuntime": [{ "path": "/opt/create-runtime" }],
            "createContainer": [{ "path": "/opt/create-container" }],
            "startContainer": [{ "path": "/opt/start-container" }],
            "poststart": [{ "path": "/opt/poststart" }],
            "poststop": [{ "path": "/opt/poststop" }],
        }),
    );
    set(
        "/mounts/-",
        json!({ "destination": "/data", "source": "/srv/data", "options": ["rbind", "ro", "rslave"] }),
    );
    set("/mounts/-", json!({ "destination": "/etc/hosts", "source": "/srv/hosts", "options": ["bind"] }));
    set("/mounts/-", json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }));
    set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "1024" }));
    set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/scsi"]));
    set("/linux/readonlyPaths", json!(["/proc/sys"]));
    set(
        "/linux/devices",
        json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 432 }]),
    );
    set(
        "/linux/resources",
        json!({
            "memory": { "limit": 268_435_456, "reservation": 134_217_728 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0-1" },
            "pids": { "limit": 64 },
        }),
    );
    set("/linux/cgroupsPath", json!("/made/by/config"));
    set(
        "/linux/intelRdt",
        json!({ "l3CacheSchema": "L3:0=ff", "schemata": ["L3:0=f", "MB:0=50"], "enableMonitoring": true }),
    );
    set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    set("/process/capabilities/ambient", json!(["CAP_KILL"]));
    set("/process/user", json!({ "uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [10, 20] }));
    set("/process/oomScoreAdj", json!(500));
    set("/process/cwd", json!("/work/dir"));
    set("/domainname", json!("example.org"));
    set("/root/readonly", json!(false));
    case
}

#[case]
fn golden_terminal() {
    golden("terminal", &terminal_case());
}

fn terminal_case() -> Case {
    let mut case = Case::default();
    set(&mut case.config, "/process/terminal", json!(true));
    case.overrides.stdin_is_tty = true;
    case.options.window = Some((24, 80));
    case
}

#[case]
fn golden_rootless_map() {
    golden("rootless", &rootless_case());
}

fn rootless_case() -> Case {
    let mut config = safebox::config::template::spec(Some((1000, 1000)));
    set(&mut config, "/process/terminal", json!(false));
    let mut case = Case { config, ..policy(Policy::Privileged) };
    case.host.euid = 1000;
    case.host.subordinate =
        Fact::new(|| Subordinate { own: Some((100_000, 65536)), taken: vec![(100_000, 65536)] });
    case.host.rootless = Some(Rootless { egid: 1000, setgroups: true, ..Rootless::default() });
    case
}

#[case]
fn golden_create() {
    golden("create", &create_case());
}

fn create_case() -> Case {
    let options =
        Options { wait_for_start: true, pid_file: Some("/run/the.pid".into()), ..Options::default() };
    Case { options, ..policy(Policy::Privileged) }
}

#[case]
fn golden_joined_namespaces() {
    let mut case = policy(Policy::Privileged);
    set(
        &mut case.config,
        "/linux/namespaces",
        json!([
            { "type": "pid", "path": "/proc/1/ns/pid" },
            { "type": "network", "path": "/run/netns/shared" },
            { "type": "mount" },
            { "type": "time" },
        ]),
    );
    set(&mut case.config, "/linux/timeOffsets", json!({ "monotonic": { "secs": 60 } }));
    bundle_without(&mut case.config, &["/hostname", "/linux/sysctl"]);
    golden("joined", &case);
}

fn bundle_without(config: &mut Value, pointers: &[&str]) {
    for pointer in pointers.iter().filter(|p| config.pointer(p).is_some()).collect::<Vec<_>>() {
        crate::harness::bundle::remove(config, pointer);
    }
}

/// Plans of two containers of one bundle differ only in names and host ids.
#[case]
fn the_id_changes_names_only() {
    let dir = bundle(&Case::default());
    let actions = |id: &str| -> Vec<_> {
        let plan = plan(dir.path(), &Case::default(), id);
        plan.rows.iter().map(|s| (s.actor, std::mem::discriminant(&s.action), s.part)).collect()
    };
    assert_eq!(actions("one"), actions("another-2"));
}

/// Writes the case's bundle; of the rootfs only the account files affect a plan.
fn bundle(case: &Case) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let etc = dir.path().join("rootfs/etc");
    std::fs::create_dir_all(&etc).expect("rootfs");
    std::fs::write(etc.join("passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("passwd");
    std::fs::write(etc.join("group"), "root:x:0:\n").expect("group");
    let text = serde_json::to_vec(&case.config).expect("JSON");
    std::fs::write(dir.path().join("config.json"), text).expect("config.json");
    dir
}

fn plan(dir: &Path, case: &Case, id: &str) -> Plan {
    Plan::clone(&prepared_in(dir, case, id).plan().unwrap_or_else(|e| panic!("{e}")).0)
}

fn prepared_in(dir: &Path, case: &Case, id: &str) -> Prepared {
    let (mut bundle, config) = Bundle::open(dir).unwrap_or_else(|e| panic!("{e}"));
    // A fixed file system, independent of the test machine's temporary directory: ext4.
    bundle.rootfs_magic = 0xEF53;
    bundle.rootfs_owner = (0, 0);
    let launch = Launch {
        root: RootSource::Bundle(dir.into()),
        id: id.into(),
        state_root: "/run/safebox".into(),
        policy: Some(case.policy),
        overrides: case.overrides.clone(),
        caller: case.options.clone(),
        pure: true,
        launcher: case.options.die_with_runtime.then_some((0, 0)),
        ..Launch::default()
    };
    prepare_on(&launch, (bundle, config), case.host.clone()).unwrap_or_else(|e| panic!("{e}"))
}

/// The prepared launch of this case on its handmade host, and its bundle directory.
pub fn prepared(case: &Case) -> (Prepared, TempDir) {
    let dir = bundle(case);
    (prepared_in(dir.path(), case, "ID"), dir)
}

/// Compares with `integration/plan/golden/NAME.txt`, or rewrites it.
#[track_caller]
fn golden(name: &str, case: &Case) {
    let dir = bundle(case);
    let text = normal(&report::text(&plan(dir.path(), case, "ID"), false, &report::Only::All), dir.path());
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/plan/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(&file, &text).expect("write the golden");
    }
    let golden = GOLDENS.iter().find(|(n, _)| *n == name).map_or("", |(_, text)| text);
    for (i, (is, was)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, was, "{name}.txt, line {}: (UPDATE_GOLDEN=1 rewrites it)", i + 1);
    }
    assert_eq!(
        text.lines().count(),
        golden.lines().count(),
        "{name}.txt: lines (UPDATE_GOLDEN=1 rewrites it)"
    );
}

/// Replaces machine-dependent parts by placeholders: paths, the filter's length (it depends on the
/// architecture), the length of state.json. Removes row numbers.
fn normal(text: &str, dir: &Path) -> String {
    let text = text.replace(&*dir.to_string_lossy(), "BUNDLE");
    let mut out = String::new();
    for line in text.lines() {
        // Row numbers too: one new row would change every line below it.
        let numbered = line.get(..6).and_then(|n| n.trim().parse::<u32>().ok()).is_some();
        let line = if numbered { &line[6..] } else { line };
        let mut words: Vec<&str> = line.split(' ').collect();
        for i in 1..words.len() {
            let counted = ["bytes)", "instructions)"].iter().any(|w| words[i].starts_with(w));
            if counted && words[i - 1].bytes().all(|b| b.is_ascii_digit()) {
                words[i - 1] = "N";
            }
        }
        out.push_str(&words.join(" "));
        out.push('\n');
    }
    out
}

/// `explain --diff`: prints only rows that one of the two bundles has alone.
#[case]
fn a_diff_shows_what_another_bundle_does_differently() {
    let (a, b) = (Sandbox::new(), Sandbox::new().patch("/hostname", json!("other-name")));
    let explain = |other: &Sandbox| {
        let call = a.runtime().arg("explain").arg(a.bundle()).arg("--diff").arg(other.bundle());
        call.output().ok().stdout
    };
    assert!(explain(&a).starts_with("the plans are the same"));
    let text = explain(&b);
    let rows: Vec<_> = text.lines().filter(|l| l.starts_with(['-', '+'])).collect();
    let hostname =
        |sign: char| rows.iter().filter(|r| r.starts_with(sign) && r.contains("sethostname")).count();
    assert_eq!((hostname('-'), hostname('+')), (1, 1), "{text}");
    // The remaining differences are paths of the bundle: its rootfs and its state.
    let other: Vec<_> =
        rows.iter().filter(|r| !r.contains("sethostname") && !r.contains("state.json")).collect();
    assert!(other.is_empty(), "{text}");
}
