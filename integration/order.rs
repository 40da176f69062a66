//! The order test: what `strace -f` sees the runtime and Init do is what `explain` prints, call by call.
//!
//! Nothing security-relevant may happen that is not printed, so nothing is filtered out but what is
//! listed here by name: the baton, the guardian, and the memory of the runtime's allocator (Init has none).

use std::os::unix::net::UnixListener;

use libtest_mimic::Trial;
use serde_json::json;

use safebox::launch::front::{Request, prepare};
use safebox::plan::build::Options;
use safebox::plan::{Action, Actor, Plan};
use safebox::policy::{Asked, Policy};

use crate::harness::process::Call;
use crate::harness::strace::{self, Trace};
use crate::harness::{Need, Sandbox, test};

const HERE: &[Need] = &[Need::Root, Need::Strace];

pub fn tests() -> Vec<Trial> {
    vec![
        test("order::run_restricted", HERE, restricted),
        test("order::run_baseline", HERE, || drop(run(&Sandbox::new(), Policy::Baseline))),
        test("order::run_privileged", HERE, || drop(run(&Sandbox::new(), Policy::Privileged))),
        test("order::run_with_mounts_devices_and_limits", HERE, rich),
        test("order::run_with_hooks", HERE, hooks),
        test("order::run_with_a_joiner", HERE, joiner),
        test("order::run_in_groups_that_are_there", HERE, premade_groups),
        test("order::create_with_a_seccomp_agent", HERE, agent),
        test(
            "order::run_with_network_devices",
            &[Need::Root, Need::Strace, Need::NetDevice],
            network_devices,
        ),
        test("order::create_and_start", HERE, create),
        test("order::create_with_a_terminal", HERE, terminal),
        test("order::explain_prints_the_calls_of_run", HERE, explained),
        test("order::a_call_that_is_not_printed_is_found", &[], matcher),
    ]
}

fn restricted() {
    let sb = Sandbox::new();
    let trace = run(&sb, Policy::Restricted);
    // The plan has no row twice as strong as this: after the filter, only the program's own exec.
    let init = init_of(&trace);
    let last = trace.of(init).iter().position(|c| c.name == "execve").expect("an exec");
    assert_eq!(trace.of(init)[last - 1].name, "seccomp");
}

fn rich() {
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
    let cgroup = format!("/{}/c", sb.other_id("parent"));
    let sb = sb
        .patch("/mounts/-", a)
        .patch("/mounts/-", b)
        .patch("/mounts/-", c)
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
    // Parents that were missing are made too and, as with runc, stay.
    for parent in sb.trace().cgroups() {
        assert!(parent.ends_with(sb.other_id("parent")), "{}", parent.display());
        std::fs::remove_dir(parent).expect("remove an empty group");
    }
}

fn hooks() {
    let hook = |text: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", text] }]);
    let sb = Sandbox::new()
        .patch("/hooks/createRuntime", hook("exit 0"))
        .patch("/hooks/createContainer", hook("exit 0"));
    run(&sb, Policy::Privileged);
}

fn joiner() {
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

fn create() {
    let sb = Sandbox::new();
    let plan = plan(&sb, Policy::Privileged, waiting());
    traced_create(&sb, &plan, |call| call);
}

fn premade_groups() {
    let (sb, _group) = crate::groups::premade(Sandbox::new());
    run(&sb, Policy::Privileged);
}

fn network_devices() {
    let sb = Sandbox::new();
    let device = crate::fields::netdev::Device::new(&sb, &["10.98.11.1/24", "fd00:98::b/64"]);
    let sb = sb.patch("/linux/netDevices", json!({ &device.name: { "name": "eth0" } }));
    run(&sb, Policy::Privileged);
}

fn agent() {
    let sb = Sandbox::new();
    let socket = sb.dir().join("agent");
    // It takes the listener and is never asked.
    let listener = UnixListener::bind(&socket).expect("a socket");
    let rules = json!([{ "names": ["kexec_load"], "action": "SCMP_ACT_NOTIFY" }]);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": socket });
    let mut sb = sb.patch("/linux/seccomp", profile);
    for nnp in [true, false] {
        sb.set("/process/noNewPrivileges", json!(nnp));
        traced_create(&sb, &plan(&sb, Policy::Privileged, waiting()), |call| call);
    }
    drop(listener);
    std::fs::remove_file(socket).expect("remove the socket");
}

fn terminal() {
    let sb = Sandbox::new().patch("/process/terminal", json!(true));
    let plan = plan(&sb, Policy::Privileged, waiting());
    let socket = sb.dir().join("console");
    let listener = UnixListener::bind(&socket).expect("a socket");
    traced_create(&sb, &plan, |call| call.arg("--console-socket").arg(&socket));
    drop(listener);
    std::fs::remove_file(socket).expect("remove the socket");
}

fn waiting() -> Options {
    Options { wait_for_start: true, ..Options::default() }
}

/// Traces `create` and, in the same trace, what Init does after `start`.
fn traced_create(sb: &Sandbox, plan: &Plan, with: impl FnOnce(Call) -> Call) {
    let file = sb.dir().join("trace");
    let call = sb.under(&["strace", "-f", "-o", &file.to_string_lossy()]).arg("create").arg("--bundle");
    // strace ends when all that it follows has ended: Init, after `start`.
    let strace = with(call.arg(sb.bundle())).arg(sb.id()).spawn();
    crate::harness::poll("the container is created", std::time::Duration::from_secs(10), || {
        sb.verb("state").stdout.contains("\"created\"")
    });
    sb.verb("start").ok();
    strace.wait().ok();
    sb.verb("delete").ok();
    compare(&Trace::read(&file), plan, sb.id(), false);
}

/// What `explain --json` prints has the same calls as the plan that is compared here.
fn explained() {
    let sb = Sandbox::new();
    let out = sb.runtime().arg("explain").arg("--json").arg(sb.bundle()).output().ok();
    let printed: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let plan = plan(&sb, Policy::Restricted, foreground());
    let steps = printed["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), plan.steps.len());
    for (row, step) in steps.iter().zip(&plan.steps) {
        assert_eq!(row["calls"], json!(step.action.calls()), "{row:#}");
        assert_eq!(row["actor"], json!(step.actor.to_string()));
    }
}

fn foreground() -> Options {
    Options { die_with_runtime: true, ..Options::default() }
}

/// The plan of a verb, as the verb itself makes it.
fn plan(sb: &Sandbox, policy: Policy, options: Options) -> Plan {
    let bundle = sb.bundle();
    let request = Request {
        bundle: &bundle,
        id: sb.id(),
        root: sb.root(),
        policy,
        asked: Asked::default(),
        options,
        args: Vec::new(),
        pure: true,
        cgroup_manager: None,
        launcher: None,
    };
    prepare(request).and_then(|p| p.plan()).unwrap_or_else(|e| panic!("{e}")).0
}

/// Traces `run` and compares.
fn run(sb: &Sandbox, policy: Policy) -> Trace {
    let name = format!("{policy:?}").to_lowercase();
    let plan = plan(sb, policy, foreground());
    let file = sb.dir().join("trace");
    sb.under(&["strace", "-f", "-o", &file.to_string_lossy()])
        .args(["run", "--quiet", "--policy", &name, "--bundle"])
        .arg(sb.bundle())
        .arg(sb.id())
        .output()
        .ok();
    let trace = Trace::read(&file);
    compare(&trace, &plan, sb.id(), true);
    trace
}

/// Compares every process of the trace with what the plan says about it.
fn compare(trace: &Trace, plan: &Plan, id: &str, guarded: bool) {
    let runtime = window(trace.of(trace.first), id);
    let spawned = |name: &str| {
        runtime.iter().filter(|c| c.name == name).filter_map(strace::Call::returned).collect::<Vec<_>>()
    };
    follow("runtime", &runtime, &runtime_words(plan, guarded));
    let hooked = plan.steps.iter().any(|s| matches!(s.action, Action::Hooks { .. }));
    let mut known = vec![trace.first, init_of(trace)];
    let child = spawned("clone3")[0] as i32;
    let joins = plan.steps.iter().any(|s| s.actor == Actor::Joiner);
    if joins {
        follow("joiner", trace.of(child), &child_words(plan, Actor::Joiner, true));
        known.push(child);
    }
    follow("init", trace.of(init_of(trace)), &child_words(plan, Actor::Init, !joins));
    if guarded {
        let guardian = *spawned("clone").first().expect("a guardian") as i32;
        follow("guardian", &without_memory(trace.of(guardian)), &guardian_words());
        known.push(guardian);
    }
    let strangers: Vec<_> = trace.calls.keys().filter(|pid| !known.contains(pid)).collect();
    assert!(hooked || strangers.is_empty(), "processes that no row makes: {strangers:?}");
}

/// The container process: what the runtime cloned, or what the joiner did in its place.
fn init_of(trace: &Trace) -> i32 {
    let cloned = |pid| trace.of(pid).iter().find(|c| c.name == "clone3").and_then(strace::Call::returned);
    let child = cloned(trace.first).expect("the runtime clones") as i32;
    cloned(child).map_or(child, |pid| pid as i32)
}

/// The runtime's calls from the first row on: before it, config and caches are read.
fn window(calls: &[strace::Call], id: &str) -> Vec<strace::Call> {
    let first = calls
        .iter()
        .position(|c| c.name == "mkdirat" && c.line.contains(&format!("/state/{id}~")))
        .expect("mkdirat of the state directory");
    without_memory(&calls[first..])
}

/// Leaves out the allocator, and the check that debug builds of std make before they close a descriptor.
fn without_memory(calls: &[strace::Call]) -> Vec<strace::Call> {
    let mine = |c: &&strace::Call| {
        let memory = matches!(c.name.as_str(), "brk" | "mmap" | "munmap" | "mremap" | "madvise");
        let looks = c.name == "fcntl" && c.line.contains("F_GETFD");
        !memory && !looks
    };
    calls.iter().filter(mine).cloned().collect()
}

/// One word of the grammar, and the row that it belongs to.
struct Word {
    text: &'static str,
    row: String,
}

fn words(calls: &[&'static str], row: impl std::fmt::Display) -> Vec<Word> {
    calls.iter().map(|text| Word { text, row: row.to_string() }).collect()
}

fn row_words(plan: &Plan, i: usize) -> Vec<Word> {
    let step = &plan.steps[i];
    words(&step.action.calls(), format!("row {}: {}", i + 1, step.action))
}

/// Runs of rows of one actor: (actor, first row, row after the last).
fn turns(plan: &Plan) -> Vec<(Actor, usize, usize)> {
    let mut turns: Vec<(Actor, usize, usize)> = Vec::new();
    for (i, step) in plan.steps.iter().enumerate() {
        match turns.last_mut() {
            Some((actor, _, end)) if *actor == step.actor => *end = i + 1,
            _ => turns.push((step.actor, i, i + 1)),
        }
    }
    turns
}

fn runtime_words(plan: &Plan, guarded: bool) -> Vec<Word> {
    let mut out = Vec::new();
    let mut guardian = guarded;
    for (actor, from, to) in turns(plan) {
        if actor == Actor::Runtime {
            out.extend((from..to).flat_map(|i| row_words(plan, i)));
            continue;
        }
        out.extend(words(&["sendto"], "the baton goes to the child"));
        if matches!(plan.steps[from].action, Action::AwaitStart { .. }) {
            return out;
        }
        if std::mem::take(&mut guardian) {
            out.extend(words(&["socketpair", "clone", "close"], "the guardian stands"));
        }
        // A foreground run also listens for signals while it waits; a Joiner's or a hook's end is one.
        let wait: &[&'static str] =
            if guarded { &["poll", "read?", "poll?", "read?", "poll?", "recvfrom"] } else { &["recvfrom"] };
        out.extend(words(wait, "the baton comes back, or end of file"));
        if actor == Actor::Joiner {
            out.extend(words(
                &["close", "pidfd_open", "waitid", "wait4"],
                "init is adopted, the joiner is done",
            ));
        }
    }
    out
}

fn child_words(plan: &Plan, me: Actor, spawned: bool) -> Vec<Word> {
    let mut out = Vec::new();
    if spawned {
        out.extend(words(&["close", "close"], "the runtime's end of the socket and its lock"));
        if plan.steps.iter().any(|s| matches!(s.action, Action::Spawn { cgroup: Some(_), .. })) {
            out.extend(words(&["close"], "its cgroup (v2)"));
        }
    }
    let all = turns(plan);
    for (actor, from, to) in all.iter().copied().filter(|(actor, ..)| *actor == me) {
        out.extend(words(&["recvfrom"], "the baton comes"));
        out.extend((from..to).flat_map(|i| row_words(plan, i)));
        if let Some(next) = plan.steps.get(to) {
            // A seccomp agent may want to be asked about sendto(2), and does not have its listener yet.
            let listener = matches!(next.action, Action::SendListener { .. });
            let call: &[&'static str] = if listener { &["write"] } else { &["sendto"] };
            out.extend(words(call, format!("{actor} hands the baton back")));
        }
    }
    if me == Actor::Joiner {
        out.extend(words(&["exit_group"], "the joiner is done"));
    }
    out
}

fn guardian_words() -> Vec<Word> {
    let life = [
        "set_robust_list",
        "setsid",
        "openat",
        "dup2",
        "dup2",
        "dup2",
        "close_range",
        "close_range*",
        "recvfrom",
        "exit_group",
    ];
    words(&life, "the guardian's life")
}

/// Asserts that `calls` begin with exactly the sequence of `words`.
#[track_caller]
fn follow(who: &str, calls: &[strace::Call], words: &[Word]) {
    if let Err(text) = matches(calls, words) {
        panic!("{who}: {text}");
    }
}

/// Steps through the calls with the set of words that may come next, as a regular expression is matched.
fn matches(calls: &[strace::Call], words: &[Word]) -> Result<(), String> {
    let mut at = reachable(words, [0].into());
    for (i, call) in calls.iter().enumerate() {
        if at.contains(&words.len()) {
            return Ok(());
        }
        let mut next = Vec::new();
        for w in at.iter().copied().filter(|w| allows(words[*w].text, &call.name)) {
            next.push(if words[w].text.ends_with('*') { w } else { w + 1 });
        }
        if next.is_empty() {
            return Err(unexpected(calls, i, words, &at));
        }
        at = reachable(words, next);
    }
    if at.contains(&words.len()) { Ok(()) } else { Err(unexpected(calls, calls.len(), words, &at)) }
}

/// The positions, and those behind words that may be left out.
fn reachable(words: &[Word], from: Vec<usize>) -> Vec<usize> {
    let mut at = from;
    let mut i = 0;
    while let Some(w) = at.get(i).copied() {
        i += 1;
        let optional = words.get(w).is_some_and(|w| w.text.ends_with(['?', '*']));
        if optional && !at.contains(&(w + 1)) {
            at.push(w + 1);
        }
    }
    at
}

fn allows(word: &str, name: &str) -> bool {
    word == "*" || word.trim_end_matches(['?', '*']).split('|').any(|w| w == name)
}

fn unexpected(calls: &[strace::Call], i: usize, words: &[Word], at: &[usize]) -> String {
    let before: Vec<_> = calls[i.saturating_sub(4)..i].iter().map(|c| format!("    {}", c.line)).collect();
    let here = calls.get(i).map_or("(the end)", |c| c.line.as_str());
    let wanted: Vec<_> = at
        .iter()
        .filter_map(|w| words.get(*w))
        .map(|w| format!("    {}  ({})", w.text, w.row.chars().take(100).collect::<String>()))
        .collect();
    format!("after\n{}\n  came\n    {here}\n  but the plan says\n{}", before.join("\n"), wanted.join("\n"))
}

/// The matcher itself: it accepts what the grammar says and nothing else.
fn matcher() {
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
