//! The order of `exec`: a joiner enters the container's namespaces and creates the process inside.

use serde_json::json;

use safebox::host::Host;
use safebox::launch::exec_cgroups;
use safebox::launch::exec_input::exec_input;
use safebox::launch::filters::compile;
use safebox::lifecycle::container::Container;
use safebox::plan::Plan;
use safebox::plan::recipe::{Console, Options, build_exec};

use super::HERE;
use super::grammar::{compare_from, rows, without_memory};
use crate::harness::strace::Trace;
use crate::harness::{Sandbox, case};

#[case(HERE)]
fn exec() {
    started(&Sandbox::sleeper(), &[]);
}

/// The plan of `exec ID true`.
fn plan(sb: &Sandbox, groups: &[&str]) -> Plan {
    let container = Container::load(sb.root(), sb.id()).expect("a container");
    let state = container.state().expect("a state");
    let process_id = container.process_id().expect("a process");
    let filters: Vec<_> =
        state.seccomp.get().expect("filters").iter().map(|c| compile(c, true).expect("a filter")).collect();
    let host = Host::probe().expect("the host");
    let in_userns = state.namespaces & libc::CLONE_NEWUSER as u64 != 0;
    let stdio = super::outputs(!state.hardened && !in_userns && state.process.user.uid == 0, state.hardened);
    let options = Options { console: Console::Inherit, stdio, ..Options::default() };
    let process = safebox::config::Process { args: vec!["true".into()], ..state.process.clone() };
    let asked: Vec<_> = groups.iter().map(ToString::to_string).collect();
    let groups = exec_cgroups::choose(state, process_id.0, &asked).expect("its groups");
    let input = exec_input(state, process_id, &process, &host, &filters, &options, &groups);
    Plan::clone(&build_exec(input).expect("a plan").0)
}

/// Traces `exec` in a running container, and compares.
fn traced(sb: &Sandbox, groups: &[&str]) {
    let plan = plan(sb, groups);
    let file = sb.dir().join("trace");
    let call = sb.under(&["strace", "-f", "-o", &file.to_string_lossy()]).arg("exec");
    let call = groups.iter().fold(call, |call, group| call.args(["--cgroup", group]));
    call.args([sb.id(), "true"]).output().ok();
    let trace = Trace::read(&file);
    let calls = trace.of(trace.first);
    let target = format!("pidfd_open({},", sb.pid());
    // The state is read before it.
    let first = calls.iter().position(|c| c.line.starts_with(&target)).expect("the container is opened");
    compare_from(&trace, &without_memory(&calls[first..]), &rows(&plan), false);
}

/// The same, after creating and starting a container.
fn started(sb: &Sandbox, groups: &[&str]) {
    sb.create().ok();
    sb.verb("start").ok();
    traced(sb, groups);
    sb.delete().ok();
}

#[case(Root, Strace, Userns)]
fn exec_in_a_hardened_container() {
    let sb = Sandbox::up();
    let running = sb.run_until(sb.run(), "up");
    traced(&sb, &[]);
    sb.kill("KILL").ok();
    running.wait().exits(137);
}

#[case(HERE)]
fn exec_with_limits_and_another_user() {
    let sb = Sandbox::sleeper()
        .patch("/process/user", json!({ "uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [10, 20] }))
        .patch("/process/capabilities/inheritable", json!(["CAP_KILL"]))
        .patch("/process/capabilities/ambient", json!(["CAP_KILL"]))
        .patch("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]))
        .patch("/process/oomScoreAdj", json!(500))
        .patch("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 5 }))
        .patch("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }))
        .patch("/process/noNewPrivileges", json!(true))
        .patch("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }))
        .patch("/linux/personality", json!({ "domain": "LINUX", "flags": [] }))
        .patch(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["kexec_load"], "action": "SCMP_ACT_ERRNO" }] }),
        );
    started(&sb, &[]);
}

#[case(HERE)]
fn exec_in_a_group_that_was_there() {
    let (sb, _group) = crate::oci::groups::premade(Sandbox::sleeper());
    started(&sb, &[]);
}

/// A cgroup below the container's own, created by a process inside.
#[case(HERE)]
fn exec_in_a_group_below() {
    let sb = Sandbox::sleeper();
    sb.create().ok();
    sb.verb("start").ok();
    let below: Vec<_> = sb.trace().cgroups().iter().map(|group| group.join("sub")).collect();
    for dir in &below {
        std::fs::create_dir(dir).expect("a group");
        // On v1 a new cpuset cgroup accepts no process.
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|f| dir.join(f).exists()) {
            std::fs::copy(dir.join("..").join(file), dir.join(file)).map(drop).unwrap_or_default();
        }
    }
    traced(&sb, &["sub"]);
    sb.delete().ok();
}
