//! A judge: submissions by strangers, eight at a time, each in a sandbox of its own, with a verdict and figures for each.
//!
//! `cargo build && cargo run --example judge 200`; on a machine that is 4 times slower `judge 200 4`: limits of time are
//! 4 times as long.
//!
//! A submission is a Python program that is to print `42`. Six kinds are made up here: one that is right, and five that
//! are not (too slow, too large, a crash, a flood of output, a fork bomb). At the end the judge looks for what is left.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use safebox::lifecycle::account::{Account, Status};
use safebox::{Output, Sandbox};

/// What a submission does, what it is written in, and the verdict that it must get.
const KINDS: [(&str, &str, &str); 6] = [
    ("OK", "b = bytearray(8 << 20)\nprint(42)", "OK"),
    ("TLE", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass", "TLE"),
    ("MLE", "b = bytearray(200 << 20)\nprint(42)", "MLE"),
    ("RE", "import os\nos.abort()", "RE"),
    ("OUTPUT", "while True: print('42' * 1000)", "OLE"),
    (
        "FORK",
        "import os\nwhile True:\n    try:\n        os.fork()\n        os.setsid()\n    except OSError: pass",
        "FORK",
    ),
];

/// What a submission may use, on a usual machine.
const CPU: Duration = Duration::from_millis(600);
const WALL: Duration = Duration::from_secs(6);
const MEMORY: u64 = 64 << 20;
const PROCESSES: u64 = 16;
const OUTPUT: u64 = 64 << 10;

/// How many times slower than usual this machine is.
fn slower() -> u32 {
    std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Submissions at the same time.
const WORKERS: usize = 8;

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    let states = std::env::temp_dir().join(format!("judge-{}", std::process::id()));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if let Err(why) = submission(number, &states) {
                        wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(why);
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    wrong.extend(left_behind(&states));
    std::fs::remove_dir(&states).unwrap_or_else(|e| wrong.push(format!("{}: {e}", states.display())));
    println!("{count} submissions in {:.1} s, {} wrong", start.elapsed().as_secs_f64(), wrong.len());
    wrong.iter().for_each(|why| println!("wrong: {why}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The `safebox` that was built with this program, else the one in `$PATH`.
fn launcher() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("safebox")));
    std::env::var_os("SAFEBOX_BIN")
        .map(PathBuf::from)
        .or(beside.filter(|p| p.exists()))
        .unwrap_or("safebox".into())
}

/// Judges one submission: an error says what of its account is wrong.
fn submission(number: usize, states: &std::path::Path) -> Result<(), String> {
    let (kind, program, expected) = KINDS[number % KINDS.len()];
    let mut sandbox = Sandbox::new("python3");
    sandbox
        .args(["-c", program])
        .launcher(launcher())
        .state_root(states)
        .name(format!("judge-{}-{number}", std::process::id()))
        .current_dir("/usr")
        .memory(MEMORY)
        .pids_limit(PROCESSES)
        .cpu_time(CPU * slower())
        .timeout(WALL * slower())
        .output_limit(OUTPUT);
    let output = sandbox.output().map_err(|e| format!("{number} {kind}: {e}"))?;
    let account = &output.exit.account;
    let verdict = verdict(&output);
    let cpu = account.cpu_seconds.map_or(0.0, |cpu| cpu.user + cpu.system);
    println!(
        "{number:3} {kind:6} {verdict:4} {cpu:6.3} s cpu {:6.3} s {:6.1} MiB {:3} processes {:8} bytes",
        account.wall_seconds.unwrap_or_default(),
        account.memory_peak_bytes.unwrap_or_default() as f64 / f64::from(1 << 20),
        account.pids_peak.unwrap_or_default(),
        account.stdout_bytes.unwrap_or_default(),
    );
    let wrong = |what: &str| Err(format!("{number} {kind}: {what}: {}", account.json().trim_end()));
    match (verdict == expected, figures(kind, &output, cpu)) {
        (false, _) => wrong(verdict),
        (true, Some(what)) => wrong(what),
        (true, None) => Ok(()),
    }
}

/// The judge's verdict, from the account alone: nothing that the program prints is in it.
fn verdict(output: &Output) -> &'static str {
    let account = &output.exit.account;
    let forks = account.pids_refused.unwrap_or_default() > 0;
    match account.status {
        Status::Timeout | Status::CpuTime if forks => "FORK",
        Status::Timeout | Status::CpuTime if account.truncated == Some(true) => "OLE",
        Status::Timeout | Status::CpuTime => "TLE",
        Status::Oom => "MLE",
        Status::OutputLimit => "OLE",
        Status::Exited if output.exit.success() && output.stdout == b"42\n" => "OK",
        Status::Exited if output.exit.success() => "WA",
        Status::Exited | Status::Signaled => "RE",
        Status::NotStarted => "XX",
    }
}

/// What of the figures cannot be right, for a submission that is known.
fn figures(kind: &str, output: &Output, cpu: f64) -> Option<&'static str> {
    let account: &Account = &output.exit.account;
    let (limit, wall) = ((CPU * slower()).as_secs_f64(), (WALL * slower()).as_secs_f64());
    // Between two looks at the clock every cpu may be in use.
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let memory = account.memory_peak_bytes.unwrap_or_default();
    let within = |small: u64, value: u64, large: u64| small <= value && value <= large;
    let checks = [
        (cpu <= 0.0 || cpu > limit + 0.1 * cpus * f64::from(slower()), "more cpu time than the limit"),
        (account.wall_seconds.is_none_or(|s| s > wall + 3.0 * f64::from(slower())), "the time"),
        (!within(1 << 20, memory, MEMORY), "the memory"),
        (kind == "OK" && !within(8 << 20, memory, 48 << 20), "the memory of 8 MiB"),
        (kind == "MLE" && (memory < MEMORY / 2 || account.oom_kills != Some(1)), "the kill at the limit"),
        (kind == "TLE" && account.status == Status::CpuTime && cpu < limit, "the cpu time of a busy loop"),
        (kind == "RE" && account.signal != Some(6), "the signal of abort"),
        (kind == "OUTPUT" && output.stdout.len() as u64 != OUTPUT, "the size of the output"),
        (kind == "FORK" && account.pids_peak.is_some_and(|n| n != PROCESSES), "the number of processes"),
        (kind == "OK" && account.pids_peak.is_some_and(|n| n != 2), "init and the program"),
    ];
    checks.iter().find(|(wrong, _)| *wrong).map(|(_, what)| *what)
}

/// States, cgroups and processes that are still there.
fn left_behind(states: &std::path::Path) -> Vec<String> {
    let mark = format!("judge-{}-", std::process::id());
    let entries = |dir: &std::path::Path| {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>()
    };
    let mut found: Vec<_> = entries(states).iter().map(|p| format!("left: {}", p.display())).collect();
    let mut groups = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = groups.pop() {
        for path in entries(&dir).into_iter().filter(|p| p.is_dir() && !p.is_symlink()) {
            if path.to_string_lossy().contains(&mark) {
                found.push(format!("left: {}", path.display()));
            }
            groups.push(path);
        }
    }
    for process in entries("/proc".as_ref()) {
        let groups = std::fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        if groups.contains(&mark) {
            found.push(format!("left: {}", process.display()));
        }
    }
    found
}
