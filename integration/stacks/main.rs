//! Containers under the real containerd, Podman and Docker, with runc and with safebox.
//!
//! `cargo test --test stacks -- [STACK]... [--step TEXT] [--only RUNTIME]`, as root; `scripts/stacks`
//! installs what is needed first. Every stack is a list of steps (`STACK.sh`). Each round starts the stack's
//! daemon with its own root, state and socket, goes through the steps with one runtime, and looks after
//! every step for what was left behind. runc goes first, as the control: a step that fails with it too says
//! something about this host or this version of the stack, not about safebox. At the end comes one table.
//!
//! Everything happens in a mount and a network namespace of its own, with its own /run: no other daemon of
//! the machine is seen or disturbed.

mod isolate;
mod leftovers;
mod round;
mod script;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use script::Script;
use table::Table;

/// The stacks, in the order of the table.
const STACKS: &[(&str, &str)] = &[
    ("containerd", include_str!("containerd.sh")),
    ("cri", include_str!("cri.sh")),
    ("podman", include_str!("podman.sh")),
    ("docker", include_str!("docker.sh")),
];

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    stacks: Vec<String>,
    step: Option<String>,
    only: Option<String>,
    list: bool,
}

fn main() -> ExitCode {
    let asked = match parse() {
        Ok(asked) => asked,
        Err(e) => return fail(&e),
    };
    let scripts: Vec<Script> = STACKS
        .iter()
        .filter(|(name, _)| asked.stacks.is_empty() || asked.stacks.iter().any(|s| s == name))
        .map(|(name, text)| Script::parse(name, &source(name, text)))
        .collect();
    if asked.list {
        for script in &scripts {
            script.steps.iter().for_each(|s| println!("{}: {}", script.name, s.name));
        }
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        return fail("needs root: it starts container daemons");
    }
    match perform(&asked, &scripts) {
        Ok(table) => {
            print!("{table}");
            if table.sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => fail(&e),
    }
}

/// All rounds.
fn perform(asked: &Asked, scripts: &[Script]) -> Result<Table, String> {
    isolate::enter()?;
    let dir = tempfile::Builder::new()
        .prefix("stacks-")
        .tempdir()
        .map_err(|e| format!("temporary directory: {e}"))?;
    let base = dir.path().join("base");
    round::make_base(&base)?;
    let runtimes = [("runc", PathBuf::from("runc")), ("safebox", safebox())];
    let mut table = Table::new(&["runc", "safebox"]);
    for script in scripts {
        for (column, (name, path)) in runtimes.iter().enumerate() {
            if asked.only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            eprintln!("{} with {name}", script.name);
            let work = dir.path().join(format!("{}-{name}", script.name));
            let round = round::Round::new(script, name, path, &work, &base);
            round.perform(asked.step.as_deref(), |step, verdict| table.set(script, step, column, verdict))?;
        }
    }
    Ok(table)
}

/// The safebox under test: `SAFEBOX_BIN` where the tests were carried to another machine, else cargo's.
fn safebox() -> PathBuf {
    std::env::var_os("SAFEBOX_BIN").map_or_else(|| env!("CARGO_BIN_EXE_safebox").into(), PathBuf::from)
}

/// A script as it was built in, or, while it is being written, from `STACKS_DIR`.
fn source(name: &str, built_in: &str) -> String {
    let dir = std::env::var_os("STACKS_DIR").map(PathBuf::from);
    dir.and_then(|d| std::fs::read_to_string(d.join(format!("{name}.sh"))).ok())
        .unwrap_or_else(|| built_in.to_string())
}

fn parse() -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--step" => asked.step = Some(value()?),
            "--only" => asked.only = Some(value()?),
            "--list" => asked.list = true,
            name if STACKS.iter().any(|(s, _)| *s == name) => asked.stacks.push(arg),
            _ => return Err(format!("unknown stack or option {arg:?}")),
        }
    }
    Ok(asked)
}

fn fail(text: &str) -> ExitCode {
    eprintln!("stacks: {text}");
    ExitCode::from(2)
}
