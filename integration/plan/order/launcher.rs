//! The order of the launcher's own plans: this machine's programs, a directory as root, writable copies, and a program
//! without namespaces.

use super::grammar::{compare, explained};
use crate::harness::strace::Trace;
use crate::harness::{Call, Need, Sandbox, case};
use crate::run::launcher::{project, without_namespaces};

const HOST: &[Need] = &[Need::Root, Need::Strace, Need::Userns, Need::Idmap];
/// Without namespaces nothing is mounted.
const BARE: &[Need] = &[Need::Root, Need::Strace, Need::Userns];

/// Compares the trace of `run OPTIONS -- /bin/true` with the rows that `explain` prints for it. `under` is the runtime
/// below these programs.
fn traced(sb: &Sandbox, under: impl Fn(&[&str]) -> Call, options: &[&str]) {
    let program = ["--", "/bin/true"];
    let explain = under(&[]).args(["explain", "--json"]).args(options).args(program);
    let printed = explain.spawn_with_stdin().wait().ok();
    let rows = explained(&serde_json::from_str(&printed.stdout).expect("JSON"));
    let file = sb.dir().join("trace");
    let call = under(&["strace", "-f", "-o", &file.to_string_lossy()]);
    let call = call.args(["run", "-q", "--name", sb.id()]).args(options).args(program);
    call.limit(std::time::Duration::from_secs(60)).spawn_with_stdin().wait().ok();
    compare(&Trace::read(&file), &rows, sb.id(), true);
    sb.leak_check();
}

/// The runtime in the test's project directory.
fn in_project<'a>(sb: &'a Sandbox) -> impl Fn(&[&str]) -> Call + 'a {
    let dir = project(sb);
    move |wrapper| {
        let dir = dir.clone();
        sb.under(wrapper).with(move |c| {
            c.current_dir(dir);
        })
    }
}

#[case(HOST)]
fn run_of_this_machine_s_programs() {
    let sb = Sandbox::new();
    traced(&sb, in_project(&sb), &["--rw", "sub", "--hide", "/usr/share"]);
}

#[case(HOST)]
fn run_with_a_writable_copy() {
    let sb = Sandbox::new();
    traced(&sb, in_project(&sb), &["--overlay", "."]);
}

#[case(HOST)]
fn run_of_a_directory() {
    let sb = Sandbox::new();
    let rootfs = sb.rootfs();
    traced(&sb, in_project(&sb), &["--rootfs", &rootfs.to_string_lossy()]);
}

#[case(BARE)]
fn run_without_namespaces() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    traced(&sb, |wrapper| without_namespaces(&sb, &dir, wrapper), &[]);
}
