//! The grammar of a trace: the calls that each process may make, derived from the rows of a plan, and the
//! matcher.

use serde_json::Value;

use safebox::plan::{Plan, report};

use crate::harness::Need;
use crate::harness::strace::{self, Trace};

/// A row as printed by `explain --json`; the grammar uses no other information.
pub struct Row {
    actor: String,
    calls: Vec<String>,
    action: String,
}

/// The rows of a plan.
pub fn rows(plan: &Plan) -> Vec<Row> {
    explained(&report::json(plan))
}

/// The rows in the output of `explain --json`.
pub fn explained(printed: &Value) -> Vec<Row> {
    let text = |v: &Value| v.as_str().expect("a text").to_string();
    let row = |step: &Value| Row {
        actor: text(&step["actor"]),
        calls: step["calls"].as_array().expect("calls").iter().map(text).collect(),
        action: text(&step["action"]),
    };
    printed["steps"].as_array().expect("steps").iter().map(row).collect()
}

impl Row {
    fn spawns(&self) -> bool {
        self.action.contains("clone3(") && self.actor == "runtime"
    }

    /// Whether it executes a program that is not part of safebox, with unknown calls.
    fn is_foreign(&self) -> bool {
        self.calls == ["*"]
    }

    fn awaits_start(&self) -> bool {
        self.actor == "init" && self.calls == ["read"]
    }

    /// From here on Init's child continues.
    fn stays(&self) -> bool {
        self.action.starts_with("rt_sigaction(all, forward)")
    }

    /// The row that reserves the container's name and takes its lock.
    fn takes_lock(&self) -> bool {
        self.calls.iter().any(|c| c == "flock") && self.calls.iter().any(|c| c == "renameat2")
    }

    /// Whether it creates a unit of systemd, which removes its cgroups at any time.
    fn makes_scope(&self) -> bool {
        self.action.contains("StartTransientUnit(")
    }

    /// Whether the runtime receives a seccomp listener, or Init passes it on.
    fn takes_listener(&self) -> bool {
        self.action.starts_with("pidfd_getfd(")
    }

    fn filters(&self) -> bool {
        self.action.starts_with("seccomp(")
    }

    fn is_passed_listener(&self) -> bool {
        self.action.starts_with("recvmsg(SCM_RIGHTS")
    }
}

/// Compares every process of the trace with the plan.
pub fn compare(trace: &Trace, rows: &[Row], id: &str, guarded: bool) {
    compare_from(trace, &window(trace.of(trace.first), id), rows, guarded);
}

/// The same for a plan whose first row creates no state directory.
pub fn compare_from(trace: &Trace, runtime: &[strace::Call], rows: &[Row], guarded: bool) {
    let spawned = |name: &str| {
        runtime.iter().filter(|c| c.name == name).filter_map(strace::Call::returned).collect::<Vec<_>>()
    };
    follow("runtime", runtime, &runtime_words(rows, guarded));
    let foreign = rows.iter().any(Row::is_foreign);
    let mut known = vec![trace.first, init_of(trace)];
    // Processes that try what the machine can do, before the first row.
    let early = trace.of(trace.first).iter().take_while(|c| c.name != "mkdirat");
    known.extend(early.filter(|c| c.name == "clone").filter_map(|c| Some(c.returned()? as i32)));
    let child = spawned("clone3")[0] as i32;
    let joins = rows.iter().any(|r| r.actor == "joiner");
    if joins {
        follow("joiner", trace.of(child), &child_words(rows, "joiner", true));
        known.push(child);
    }
    follow("init", trace.of(init_of(trace)), &child_words(rows, "init", !joins));
    if rows.iter().any(Row::stays) {
        let begins = |calls: &[strace::Call]| calls.first().is_some_and(|c| c.name == "setsid");
        let program = trace.calls.iter().find(|(pid, calls)| !known.contains(pid) && begins(calls));
        let (pid, calls) = program.expect("the child of init");
        follow("program", calls, &words(&["setsid", "ioctl?", "prctl?", "execve"], "the program's process"));
        known.push(*pid);
    }
    let clones: Vec<i32> = spawned("clone").into_iter().map(|pid| pid as i32).collect();
    // The helpers of user namespaces that only provide a mapping come first, and hooks last.
    let holds = |r: &&Row| r.actor == "runtime" && r.calls.iter().any(|c| c == "clone");
    let makers: Vec<&Row> = rows.iter().filter(holds).collect();
    let holders = makers.len();
    for (row, pid) in makers.iter().zip(&clones) {
        // The network helper's loop is no part of the plan; its row says what it may do.
        if !row.action.contains("safebox-net") {
            // It may be killed before it comes to either.
            let calls = words(&["prctl?", "pause?"], "it waits to be killed");
            follow("holder of a mapping", trace.of(*pid), &calls);
        }
        known.push(*pid);
    }
    if guarded {
        // Programs of a row may come before it.
        let executes = |pid: &&i32| trace.of(**pid).iter().any(|c| c.name == "execve");
        let guardian = *clones[holders..].iter().find(|pid| !executes(pid)).expect("a guardian");
        follow("guardian", &without_memory(trace.of(guardian)), &guardian_words());
        known.push(guardian);
    }
    let strangers: Vec<_> = trace.calls.keys().filter(|pid| !known.contains(pid)).collect();
    assert!(foreign || strangers.is_empty(), "processes that no row makes: {strangers:?}");
}

/// The pid of Init: cloned by the runtime or by the joiner.
pub fn init_of(trace: &Trace) -> i32 {
    let clones = |c: &&strace::Call| c.name == "clone3" && !probes_clone3(c);
    let cloned = |pid| trace.of(pid).iter().find(clones).and_then(strace::Call::returned);
    let child = cloned(trace.first).expect("the runtime clones") as i32;
    cloned(child).map_or(child, |pid| pid as i32)
}

/// The runtime's calls from the first row on; before it, config and caches are read.
pub fn window(calls: &[strace::Call], id: &str) -> Vec<strace::Call> {
    let first = calls
        .iter()
        .position(|c| c.name == "mkdirat" && c.line.contains(&format!("/state/{id}~")))
        .expect("mkdirat of the state directory");
    // Another launch with the same id, which has reserved the name, could be creating or removing them.
    let early = calls[..first].iter().find(|c| c.line.contains("\"/sys/fs/cgroup") && c.line.contains(id));
    assert!(early.is_none(), "looks at the id's own group before it has the name: {early:?}");
    let calls = without_memory(&calls[first..]);
    let named = calls.iter().position(|c| c.name == "renameat2").expect("the name is taken") + 1;
    // The launcher's mark next to it.
    let named = named + calls[named..].iter().take_while(|c| c.name == "symlinkat").count();
    let planned = calls[named..].iter().position(|c| !looks(c)).expect("the rest of the plan") + named;
    [&calls[..named], &calls[planned..]].concat()
}

/// A question whether the kernel, or a filter outside, lets the system call through.
fn probes_clone3(call: &strace::Call) -> bool {
    call.line.contains("clone3(NULL, 0)")
}

/// Whether the call only reads: after it has reserved the name, the runtime examines the paths that the id
/// names before it plans the rest.
fn looks(call: &strace::Call) -> bool {
    match call.name.as_str() {
        "openat" => !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|f| call.line.contains(f)),
        "statx" | "newfstatat" | "fstat" | "readlink" | "access" | "faccessat2" | "lseek" | "read" => true,
        "getdents64" | "geteuid" | "close" => true,
        // A path inside the rootfs; the caller's terminal, whose modes the guardian restores.
        "openat2" => call.line.contains("O_PATH"),
        "ioctl" => call.line.contains("TCGETS"),
        "clone3" => probes_clone3(call),
        "keyctl" => call.line.contains("KEYCTL_GET_KEYRING_ID"),
        // A notification; a query to systemd about its cgroups. Any other file must be opened for writing
        // first.
        "socket" => call.line.contains("AF_UNIX"),
        "connect" | "setsockopt" | "sendto" | "recvfrom" | "write" | "poll" => true,
        _ => false,
    }
}

/// Removes the allocator's calls, and the check that debug builds of std make before closing a descriptor.
pub fn without_memory(calls: &[strace::Call]) -> Vec<strace::Call> {
    let mine = |c: &&strace::Call| {
        let memory = matches!(c.name.as_str(), "brk" | "mmap" | "munmap" | "mremap" | "madvise");
        let looks = c.name == "fcntl" && c.line.contains("F_GETFD");
        // The time: a system call only if the machine has no vDSO clock, as in the VM.
        let clock = c.name == "clock_gettime";
        // A signal came first: strace shows the same call again.
        let restarted = c.line.contains("= ? ERESTART");
        !memory && !looks && !clock && !restarted
    };
    calls.iter().filter(mine).cloned().collect()
}

/// One word of the grammar, and the row that it belongs to.
pub struct Word {
    text: String,
    row: String,
}

pub fn words<S: AsRef<str>>(calls: &[S], row: impl std::fmt::Display) -> Vec<Word> {
    calls.iter().map(|text| Word { text: text.as_ref().into(), row: row.to_string() }).collect()
}

fn row_words(rows: &[Row], i: usize) -> Vec<Word> {
    words(&rows[i].calls, format!("row {}: {}", i + 1, rows[i].action))
}

/// Runs of rows of one actor: (actor, first row, row after the last).
fn turns(rows: &[Row]) -> Vec<(&str, usize, usize)> {
    let mut turns: Vec<(&str, usize, usize)> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        match turns.last_mut() {
            Some((actor, _, end)) if *actor == row.actor => *end = i + 1,
            _ => turns.push((&row.actor, i, i + 1)),
        }
    }
    turns
}

pub fn runtime_words(rows: &[Row], guarded: bool) -> Vec<Word> {
    let mut out = Vec::new();
    let mut guardian = guarded;
    for (actor, from, to) in turns(rows) {
        if actor == "runtime" {
            out.extend((from..to).flat_map(|i| row_words(rows, i)));
            continue;
        }
        out.extend(words(&["sendto"], "the baton goes to the child"));
        if rows[from].awaits_start() {
            return out;
        }
        if std::mem::take(&mut guardian) {
            out.extend(words(&["socketpair", "clone", "close"], "the guardian stands"));
            if rows[..from].iter().any(Row::makes_scope) {
                out.extend(words(memory_watch(), "the memory events are watched"));
            }
        }
        // With a seccomp listener that the runtime cannot take.
        let receive = if rows.get(to).is_some_and(Row::is_passed_listener) { "recvmsg" } else { "recvfrom" };
        // A foreground run also handles signals while it waits, for example the end of a joiner or of a hook.
        let wait: &[&str] =
            if guarded { &["poll", "read?", "poll?", "read?", "poll?", receive] } else { &[receive] };
        out.extend(words(wait, "the baton comes back, or end of file"));
        if actor == "joiner" && rows[to - 1].action.contains("clone3(") {
            out.extend(words(
                &["close", "pidfd_open", "waitid", "wait4"],
                "init is adopted, the joiner is done",
            ));
        }
    }
    out
}

/// The calls of the cgroup event monitor: cgroup-v2, memory.events; cgroup v1, memory.txt 9.
fn memory_watch() -> &'static [&'static str] {
    match Need::CgroupV2.missing() {
        None => &["inotify_init1", "inotify_add_watch"],
        Some(_) => &["openat", "eventfd2", "openat", "write", "close"],
    }
}

pub fn child_words(rows: &[Row], me: &str, spawned: bool) -> Vec<Word> {
    let mut out = Vec::new();
    if spawned {
        out.extend(words(&["close"], "the runtime's end of the socket"));
        if rows.iter().any(Row::takes_lock) {
            out.extend(words(&["close"], "the runtime's lock"));
        }
        if rows.iter().any(|r| r.spawns() && r.action.contains("CLONE_INTO_CGROUP")) {
            out.extend(words(&["close"], "its cgroup (v2)"));
        }
    }
    for (actor, from, to) in turns(rows).into_iter().filter(|(actor, ..)| *actor == me) {
        // A filter need not allow sendto(2) and recvfrom(2), which runc does not call under it.
        let filtered = |end: usize| rows[..end].iter().any(Row::filters);
        out.extend(words(&[if filtered(from) { "read" } else { "recvfrom" }], "the baton comes"));
        let mine = |i: &usize| !rows[..*i].iter().any(Row::stays);
        out.extend((from..to).filter(mine).flat_map(|i| row_words(rows, i)));
        if let Some(next) = rows.get(to) {
            // A seccomp agent may be asked about sendto(2), but does not have its listener yet.
            let call = match next {
                r if r.takes_listener() => "write",
                r if r.is_passed_listener() => "sendmsg",
                _ if filtered(to) => "write",
                _ => "sendto",
            };
            out.extend(words(&[call], format!("{actor} hands the baton back")));
        }
    }
    if me == "joiner" {
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
        "poll",
        "brk?",
        "madvise*",
        "recvfrom",
        "exit_group",
    ];
    words(&life, "the guardian's life")
}

/// Asserts that `calls` begin with exactly the sequence of `words`.
#[track_caller]
pub fn follow(who: &str, calls: &[strace::Call], words: &[Word]) {
    if let Err(text) = matches(calls, words) {
        panic!("{who}: {text}");
    }
}

/// Walks through the calls with the set of possible next words, as in matching a regular expression.
pub fn matches(calls: &[strace::Call], words: &[Word]) -> Result<(), String> {
    let mut at = reachable(words, [0].into());
    for (i, call) in calls.iter().enumerate() {
        if at.contains(&words.len()) {
            return Ok(());
        }
        let mut next = Vec::new();
        for w in at.iter().copied().filter(|w| allows(&words[*w].text, &call.name)) {
            next.push(if words[w].text.ends_with('*') { w } else { w + 1 });
        }
        if next.is_empty() {
            return Err(unexpected(calls, i, words, &at));
        }
        at = reachable(words, next);
    }
    if at.contains(&words.len()) { Ok(()) } else { Err(unexpected(calls, calls.len(), words, &at)) }
}

/// The positions, and those after optional words.
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
