//! Containers under the real containerd, Podman and Docker, with runc and with safebox.
//!
//! `cargo test --test stacks -- [STACK]... [--step TEXT] [--only RUNTIME] [--short] [--cost]`, as root;
//! `scripts/stacks` installs the requirements first. Every stack is a list of steps (`STACK.sh`). Each round
//! starts the stack's daemon with its own root, state and socket, performs the steps with one runtime, and
//! checks for leftovers after every step. runc goes first, as the control: a step that fails with it too
//! points to this host or this version of the stack, not to safebox. The result is one table.
//!
//! Everything runs in new mount and network namespaces with a private /run, so other daemons of the machine
//! are not affected.

mod isolate;
mod leftovers;
mod lock;
mod round;
mod script;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use round::Round;
use script::{Script, Step};
use table::{Table, Verdict};

/// A stack and its files.
struct Stack {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// Whether the stack can use both cgroup drivers.
    drivers: bool,
    /// Whether its steps run as an unprivileged user.
    ordinary: bool,
}

/// A file of this directory, and its text.
macro_rules! file {
    ($name:literal) => {
        ($name, include_str!($name))
    };
}

/// The stacks, in the order of the table.
const STACKS: &[Stack] = &[
    Stack { name: "containerd", files: &[file!("containerd.sh")], drivers: false, ordinary: false },
    Stack { name: "cri", files: &[file!("cri.sh")], drivers: true, ordinary: false },
    Stack { name: "conmon", files: &[file!("conmon.sh")], drivers: true, ordinary: false },
    Stack {
        name: "podman",
        files: &[file!("podman.sh"), file!("engine.sh"), file!("podman-root.sh"), file!("ladder.sh")],
        drivers: true,
        ordinary: false,
    },
    Stack {
        name: "rootless",
        files: &[file!("podman.sh"), file!("engine.sh"), file!("rootless.sh"), file!("ladder.sh")],
        drivers: true,
        ordinary: true,
    },
    Stack {
        name: "docker",
        files: &[file!("docker.sh"), file!("engine.sh"), file!("ladder.sh")],
        drivers: true,
        ordinary: false,
    },
];

/// The options of the command line.
#[derive(Default)]
struct Asked {
    stacks: Vec<String>,
    step: Option<String>,
    only: Option<String>,
    list: bool,
    cost: bool,
    /// Only containerd, its CRI plugin and conmon, without long steps.
    short: bool,
}

fn main() -> ExitCode {
    match perform() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("stacks: {e}");
            ExitCode::from(2)
        }
    }
}

fn perform() -> Result<ExitCode, String> {
    let asked = parse()?;
    let mut stacks = Vec::new();
    for stack in STACKS {
        if asked.stacks.is_empty() || asked.stacks.iter().any(|s| s == stack.name) {
            let texts: Vec<String> = stack.files.iter().map(|(name, text)| source(name, text)).collect();
            stacks.push((stack, Script::parse(&texts).map_err(|e| format!("{}: {e}", stack.name))?));
        }
    }
    if asked.list {
        for (stack, script) in &stacks {
            script.steps.iter().for_each(|s| println!("{}: {}", stack.name, s.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root: it starts container daemons".into());
    }
    let _lock = lock::take()?;
    isolate::enter()?;
    let dir = place()?;
    let base = dir.path().join("base");
    round::make_base(&base)?;
    if asked.cost {
        return cost(dir.path(), &base);
    }
    let table = rounds(&asked, &stacks, dir.path(), &base)?;
    print!("{table}");
    Ok(if table.sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A temporary directory that an unprivileged user can enter.
fn place() -> Result<tempfile::TempDir, String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o711);
    tempfile::Builder::new()
        .prefix("stacks-")
        .permissions(mode)
        .tempdir()
        .map_err(|e| format!("temporary directory: {e}"))
}

/// The control and the tested runtime: the columns of the table.
const COLUMNS: [&str; 2] = ["runc", "safebox"];

/// All rounds.
fn rounds(asked: &Asked, stacks: &[(&Stack, Script)], dir: &Path, base: &Path) -> Result<Table, String> {
    let runtimes = [round::found(Path::new(COLUMNS[0])), safebox(dir)?];
    // In the short run the control runs only what failed.
    let order = if asked.short { [1, 0] } else { [0, 1] };
    let mut table = Table::new(&COLUMNS);
    for (stack, script) in stacks {
        // systemd is the default driver of all stacks if it runs; the other one must be requested.
        let drivers: &[&str] = match (isolate::systemd(), stack.drivers) {
            (true, true) => &["systemd", "cgroupfs"],
            _ => &["cgroupfs"],
        };
        for (at, driver) in drivers.iter().enumerate() {
            let label = if at == 0 { stack.name.to_string() } else { format!("{}, {driver}", stack.name) };
            for column in order {
                let name = COLUMNS[column];
                if asked.only.as_ref().is_some_and(|only| only != name) {
                    continue;
                }
                eprintln!("{label} with {name}");
                let failed = table.failed(&label);
                let wanted = |s: &Step| {
                    let asked_for = asked.step.as_ref().is_none_or(|text| s.name.contains(text));
                    let short = !s.long && (column == 1 || failed.contains(&s.name));
                    asked_for && (s.driver || at == 0) && (short || !asked.short)
                };
                let round = Round {
                    script,
                    wanted: &wanted,
                    driver,
                    ordinary: stack.ordinary,
                    name,
                    runtime: runtimes[column].clone(),
                    work: dir.join(format!("{}{at}-{name}", stack.name)),
                    base,
                };
                round.perform(|step, verdict| table.set(&label, step, column, verdict))?;
            }
        }
        if stack.drivers && !isolate::systemd() && asked.step.is_none() {
            let why = || Verdict::Skipped("systemd does not run here".into());
            (0..COLUMNS.len()).for_each(|c| table.set(stack.name, "all with systemd's cgroups", c, why()));
        }
    }
    Ok(table)
}

/// Measures the costs of the runtimes under containerd, in one run: `cost.sh` prints them.
fn cost(dir: &Path, base: &Path) -> Result<ExitCode, String> {
    // The setup of cost.sh comes before the daemon starts.
    let texts = [("cost.sh", include_str!("cost.sh")), ("containerd.sh", include_str!("containerd.sh"))];
    let script = Script::parse(&texts.map(|(name, text)| source(name, text)))?;
    let round = Round {
        script: &script,
        wanted: &|s: &Step| s.name == "cost",
        driver: "cgroupfs",
        ordinary: false,
        name: "safebox",
        runtime: safebox(dir)?,
        work: dir.join("cost"),
        base,
    };
    let mut code = ExitCode::FAILURE;
    round.perform(|_, verdict| {
        if verdict == Verdict::Ok {
            code = ExitCode::SUCCESS;
        }
    })?;
    print!("{}", std::fs::read_to_string(dir.join("cost/result")).unwrap_or_default());
    Ok(code)
}

/// The safebox under test: `SAFEBOX_BIN` if the tests were copied to another machine, else cargo's. It is
/// copied, because an unprivileged user may have no access to it there.
fn safebox(dir: &Path) -> Result<PathBuf, String> {
    let built: PathBuf =
        std::env::var_os("SAFEBOX_BIN").map_or_else(|| env!("CARGO_BIN_EXE_safebox").into(), PathBuf::from);
    let copy = dir.join("safebox");
    std::fs::copy(&built, &copy).map_err(|e| format!("{}: {e}", built.display()))?;
    Ok(copy)
}

/// A script as built in, or from `STACKS_DIR` during development.
fn source(name: &str, built_in: &str) -> String {
    let dir = std::env::var_os("STACKS_DIR").map(PathBuf::from);
    dir.and_then(|d| std::fs::read_to_string(d.join(name)).ok()).unwrap_or_else(|| built_in.to_string())
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
            "--cost" => asked.cost = true,
            "--short" => asked.short = true,
            name if STACKS.iter().any(|s| s.name == name) => asked.stacks.push(arg),
            _ => return Err(format!("unknown stack or option {arg:?}")),
        }
    }
    if asked.short && asked.stacks.is_empty() {
        asked.stacks = ["containerd", "cri", "conmon"].map(String::from).to_vec();
    }
    Ok(asked)
}
