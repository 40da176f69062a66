//! The order test: the system calls of the runtime and Init in `strace -f` equal the output of `explain`,
//! call by call.
//!
//! No security-relevant call may be missing in the output, so only the calls listed here by name are filtered
//! out: the baton, the guardian, and the memory of the runtime's allocator (Init has none).

mod exec;
mod grammar;
mod launcher;
mod others;

use std::os::unix::net::UnixListener;

use serde_json::json;

use safebox::cgroup::Manager;
use safebox::launch::prepare::prepare;
use safebox::launch::value::{Launch, RootSource};
use safebox::plan::Plan;
use safebox::plan::recipe::{Options, Stdio};
use safebox::policy::Policy;

use crate::harness::process::Call;
use crate::harness::strace::{self, Trace};
use crate::harness::{Need, Sandbox, case};
use grammar::{compare, init_of, matches, rows, words};

const HERE: &[Need] = &[Need::Root, Need::Strace];

#[case(HERE)]
fn run_baseline() {
    drop(run(&Sandbox::new(), Policy::Baseline));
}

#[case(HERE)]
fn run_privileged() {
    drop(run(&Sandbox::new(), Policy::Privileged));
}

#[case(HERE)]
fn run_restricted() {
    let sb = Sandbox::new();
    let trace = run(&sb, Policy::Restricted);
    // After the filter there is only the program's own exec.
    let init = init_of(&trace);
    let last = trace.of(init).iter().position(|c| c.name == "execve").expect("an exec");
    assert_eq!(trace.of(init)[last - 1].name, "seccomp");
}

#[case(HERE)]
fn run_with_mounts_devices_and_limits() {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.dir().join("data")).expect("a directory");
    std::fs::write(sb.dir().join("file"), "x").expect("a file");
    let path = |name: &str| json!(sb.dir().join(name));
    let binds = [
        json!({ "destination": "/new/place/data", "source": path("data"), "options": ["rbind", "ro", "rslave"] }),
        json!({ "destination": "/etc/a-file", "source": path("file"), "options": ["bind", "nosuid"] }),
        json!({ "destination": "/new/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "shared"] }),
    ];
    let [a, b, c] = binds;
    let cgroups = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" });
    let cgroup = format!("/{}/c", sb.other_id("parent"));
    let sb = sb
        .patch("/mounts/-", a)
        .patch("/mounts/-", b)
        .patch("/mounts/-", c)
        .patch("/mounts/-", cgroups)
        .patch("/root/readonly", json!(false))
        .patch("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
        .patch("/linux/rootfsPropagation", json!("slave"))
        .patch(
            "/linux/devices",
            json!([
                { "path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "uid": 5, "gid": 5 },
            ]),
        )
        .patch("/linux/resources/pids", json!({ "limit": 64 }))
        .patch("/linux/resources/memory", json!({ "limit": 268_435_456 }))
        .patch("/linux/cgroupsPath", json!(cgroup))
        .patch("/process/user", json!({ "uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [10, 20] }))
        .patch("/process/capabilities/inheritable", json!(["CAP_KILL"]))
        .patch("/process/capabilities/ambient", json!(["CAP_KILL"]))
        .patch("/process/oomScoreAdj", json!(500))
        .patch("/process/cwd", json!("/work/dir"))
        .patch("/domainname", json!("example.org"))
        .patch("/process/args", json!(["true"]));
    run(&sb, Policy::Privileged);
    // Missing parents are created too and, as with runc, stay.
    for parent in sb.trace().cgroups() {
        assert!(parent.ends_with(sb.other_id("parent")), "{}", parent.display());
        std::fs::remove_dir(parent).expect("remove an empty group");
    }
}

#[case(HERE)]
fn run_with_init() {
    let sb = Sandbox::new();
    let life = safebox::launch::value::LifeOptions { init: Some(true), ..Default::default() };
    let launch = Launch { life, ..launch_of(&sb, Policy::Restricted, foreground(&sb, Policy::Restricted)) };
    let plan = Plan::clone(&prepare(&launch).and_then(|p| p.plan()).unwrap_or_else(|e| panic!("{e}")).0);
    traced_run(&sb, Policy::Restricted, &plan, &["--init"]);
}

#[case(HERE)]
fn run_with_hooks() {
    let hook = |text: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", text] }]);
    let sb = Sandbox::new()
        .patch("/hooks/createRuntime", hook("exit 0"))
        .patch("/hooks/createContainer", hook("exit 0"));
    run(&sb, Policy::Privileged);
}

#[case(HERE)]
fn run_with_a_joiner() {
    let own = |kind: &str| format!("/proc/{}/ns/{kind}", std::process::id());
    let sb = Sandbox::new()
        .patch(
            "/linux/namespaces",
            json!([
                { "type": "pid", "path": own("pid") },
                { "type": "network", "path": own("net") },
                { "type": "mount" },
                { "type": "uts" },
                { "type": "time" },
            ]),
        )
        .patch("/linux/timeOffsets", json!({ "monotonic": { "secs": 60 } }));
    run(&sb, Policy::Privileged);
}

#[case(HERE)]
fn create_and_start() {
    let sb = Sandbox::new();
    let plan = plan(&sb, Policy::Privileged, waiting());
    traced_create(&sb, &[], &plan, |call| call);
}

#[case(HERE)]
fn run_in_groups_that_are_there() {
    let (sb, _group) = crate::oci::groups::premade(Sandbox::new());
    run(&sb, Policy::Privileged);
}

#[case(Root, Strace, NetDevice)]
fn run_with_network_devices() {
    let sb = Sandbox::new();
    let device = crate::oci::fields::netdev::Device::new(&sb, &["10.98.11.1/24", "fd00:98::b/64"]);
    let sb = sb.patch("/linux/netDevices", json!({ &device.name: { "name": "eth0" } }));
    run(&sb, Policy::Privileged);
    let other = Sandbox::new();
    let device = crate::oci::fields::netdev::Device::new(&other, &[]);
    let other = other.patch("/linux/netDevices", json!({ &device.name: { "name": "eth%d" } }));
    run(&other, Policy::Privileged);
}

/// Secrets, names, a published port.
#[case(HERE)]
fn run_with_secrets_and_a_network_by_name() {
    let sb = Sandbox::new();
    std::fs::write(sb.dir().join("secret"), "x").expect("a file");
    let secret = format!("id=s,src={},target=a/s", sb.dir().join("secret").display());
    said(&sb, &[("secret", &secret), ("allow-net", "a.test:80"), ("publish", "18081:8000")]);
}

/// A network whose plugin only says that it has done something.
#[case(HERE)]
fn run_on_a_network_of_plugins() {
    use std::os::unix::fs::PermissionsExt;
    let sb = Sandbox::new();
    let dir = sb.dir().join("cni");
    std::fs::create_dir(&dir).expect("mkdir");
    let plugin = "#!/bin/sh\necho '{\"cniVersion\":\"1.0.0\",\"dns\":{\"nameservers\":[\"192.0.2.1\"]}}'\n";
    let list = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"plugin"}]}"#;
    for (name, text) in [("plugin", plugin), ("n.conflist", list)] {
        std::fs::write(dir.join(name), text).expect("write");
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    std::fs::write(sb.rootfs().join("etc/resolv.conf"), "").expect("write");
    let dir = dir.to_string_lossy();
    said(&sb, &[("network", "cni:n"), ("cni-netconfpath", &dir), ("cni-path", &dir)]);
}

/// Compares a `run` with these options.
fn said(sb: &Sandbox, said: &[(&str, &str)]) {
    let mut launch = launch_of(sb, Policy::Restricted, foreground(sb, Policy::Restricted));
    let mut options = Vec::new();
    for (name, value) in said {
        let row = safebox::launch::options::row(name).expect("a row");
        row.say(&mut launch, value).expect("a good value");
        options.push(format!("--{name}={value}"));
    }
    let plan = prepare(&launch).expect("a launch").plan().expect("a plan").0;
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    traced_run(sb, Policy::Restricted, &plan, &options);
}

#[case(HERE)]
fn create_with_a_seccomp_agent() {
    let sb = Sandbox::new();
    let socket = sb.dir().join("agent");
    // The agent receives the listener and is never asked.
    let listener = UnixListener::bind(&socket).expect("a socket");
    let rules = json!([{ "names": ["kexec_load"], "action": "SCMP_ACT_NOTIFY" }]);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": socket });
    let mut sb = sb.patch("/linux/seccomp", profile);
    for nnp in [true, false] {
        sb.set("/process/noNewPrivileges", json!(nnp));
        traced_create(&sb, &[], &plan(&sb, Policy::Privileged, waiting()), |call| call);
    }
    drop(listener);
    std::fs::remove_file(socket).expect("remove the socket");
}

/// The sources of binds that a policy file has judged.
#[case(HERE)]
fn create_under_a_policy_file() {
    let sb = Sandbox::new();
    let from = sb.dir().join("from");
    std::fs::create_dir_all(&from).expect("a directory");
    let mount = json!({ "destination": "/to", "type": "bind", "source": from, "options": ["rbind"] });
    let sb = sb.patch("/mounts/-", mount);
    let file = sb.dir().join("policy.toml");
    std::fs::write(&file, "mode = \"enforce\"\n").expect("write");
    let mut launch = launch_of(&sb, Policy::Privileged, waiting());
    launch.enforcement = safebox::policy::enforce::Enforcement::load(Some(&file), None).expect("a policy");
    let plan = Plan::clone(&prepare(&launch).and_then(|p| p.plan()).unwrap_or_else(|e| panic!("{e}")).0);
    let judged = |step: &safebox::plan::Row| format!("{:?}", step.action).contains("judged: true");
    assert!(plan.rows.iter().any(judged), "the source was not judged");
    let file = file.to_string_lossy();
    traced_create(&sb, &["--policy-file", &file], &plan, |call| call);
}

#[case(HERE)]
fn create_with_a_terminal() {
    let sb = Sandbox::new().patch("/process/terminal", json!(true));
    let plan = plan(&sb, Policy::Privileged, waiting());
    let socket = sb.dir().join("console");
    let listener = UnixListener::bind(&socket).expect("a socket");
    traced_create(&sb, &[], &plan, |call| call.arg("--console-socket").arg(&socket));
    drop(listener);
    std::fs::remove_file(socket).expect("remove the socket");
}

fn waiting() -> Options {
    Options { wait_for_start: true, gives_stdio: true, ..Options::default() }
}

/// Traces `create` and, in the same trace, Init after `start`.
fn traced_create(sb: &Sandbox, global: &[&str], plan: &Plan, with: impl FnOnce(Call) -> Call) {
    let file = sb.dir().join("trace");
    let call = sb.under(&["strace", "-f", "-o", &file.to_string_lossy()]).args(global);
    let call = call.arg("create").arg("--bundle");
    // strace ends when all traced processes have ended: Init, after `start`.
    let strace = with(call.arg(sb.bundle())).arg(sb.id()).spawn();
    crate::harness::poll("the container is created", std::time::Duration::from_secs(10), || {
        sb.verb("state").stdout.contains("\"created\"")
    });
    sb.verb("start").ok();
    strace.wait().ok();
    sb.verb("delete").ok();
    compare(&Trace::read(&file), &rows(plan), sb.id(), false);
}

/// `explain --json` prints the same calls as the plan that is compared here.
#[case(HERE)]
fn explain_prints_the_calls_of_run() {
    let sb = Sandbox::new();
    let out = sb.runtime().arg("explain").arg("--json").arg(sb.bundle()).output().ok();
    let printed: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let plan = plan(&sb, Policy::Restricted, foreground(&sb, Policy::Restricted));
    let steps = printed["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), plan.rows.len());
    for (row, step) in steps.iter().zip(&plan.rows) {
        assert_eq!(row["calls"], json!(step.action.calls()), "{row:#}");
        assert_eq!(row["actor"], json!(step.actor.to_string()));
    }
}

fn foreground(sb: &Sandbox, policy: Policy) -> Options {
    let config = sb.config();
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    let direct = policy == Policy::Privileged
        && namespaces.iter().all(|n| n["type"] != "user")
        && config["process"]["user"]["uid"].as_u64().unwrap_or(0) == 0;
    let stdio = outputs(direct, policy != Policy::Privileged);
    Options { die_with_runtime: true, stdio, ..Options::default() }
}

/// stdin is /dev/null, in a hardened container its own; stdout and stderr are files.
fn outputs(direct: bool, hardened: bool) -> [Stdio; 3] {
    let input = if hardened { Stdio::Null } else { Stdio::Inherit };
    let output = if direct { Stdio::Inherit } else { Stdio::Pipe };
    [input, output, output]
}

/// The plan of a verb, built as the verb builds it.
fn plan(sb: &Sandbox, policy: Policy, options: Options) -> Plan {
    plan_by(sb, policy, options, None)
}

fn plan_by(sb: &Sandbox, policy: Policy, options: Options, cgroup_manager: Option<Manager>) -> Plan {
    let launch = Launch { cgroup_manager, ..launch_of(sb, policy, options) };
    Plan::clone(&prepare(&launch).and_then(|p| p.plan()).unwrap_or_else(|e| panic!("{e}")).0)
}

fn launch_of(sb: &Sandbox, policy: Policy, options: Options) -> Launch {
    let launcher = options.die_with_runtime.then_some((0, 0));
    Launch {
        root: RootSource::Bundle(sb.bundle()),
        id: sb.id().into(),
        state_root: sb.root().into(),
        policy: Some(policy),
        caller: options,
        pure: true,
        launcher,
        ..Launch::default()
    }
}

/// Traces `run` and compares.
fn run(sb: &Sandbox, policy: Policy) -> Trace {
    let plan = plan(sb, policy, foreground(sb, policy));
    traced_run(sb, policy, &plan, &[])
}

fn traced_run(sb: &Sandbox, policy: Policy, plan: &Plan, options: &[&str]) -> Trace {
    let name = format!("{policy:?}").to_lowercase();
    let file = sb.dir().join("trace");
    sb.under(&["strace", "-f", "-o", &file.to_string_lossy()])
        .args(["run", "--quiet", "--policy", &name, "--bundle"])
        .arg(sb.bundle())
        .args(options)
        .arg(sb.id())
        .output()
        .ok();
    let trace = Trace::read(&file);
    compare(&trace, &rows(plan), sb.id(), true);
    trace
}

/// Tests the matcher: it accepts the grammar and nothing else.
#[case]
fn a_call_that_is_not_printed_is_found() {
    let check = |grammar: &[&'static str], calls: &str| {
        let calls: Vec<_> = calls
            .split_whitespace()
            .map(|name| strace::Call { name: name.into(), line: format!("{name}() = 0") })
            .collect();
        matches(&calls, &words(grammar, "a row")).is_ok()
    };
    let grammar = ["a", "b?", "c|d*", "e"];
    for good in ["a e", "a b e", "a c d c e", "a b d e", "a e more"] {
        assert!(check(&grammar, good), "{good}");
    }
    for bad in ["", "a", "e", "a b b e", "a x e", "a c", "x a e", "a c b e"] {
        assert!(!check(&grammar, bad), "{bad}");
    }
}
