//! Parses the output of `strace -f -o FILE`: the calls of each process, in the order in which they started.

use std::collections::BTreeMap;
use std::path::Path;

/// One system call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// The line of the trace where it started; a call that was interrupted by others is joined again.
    pub line: String,
}

impl Call {
    /// The value after ` = `, if it is a number.
    pub fn returned(&self) -> Option<i64> {
        self.line.rsplit_once(" = ")?.1.split(' ').next()?.parse().ok()
    }
}

/// The calls of each process.
#[derive(Debug, Default)]
pub struct Trace {
    /// The process that strace started.
    pub first: i32,
    /// Calls by pid.
    pub calls: BTreeMap<i32, Vec<Call>>,
}

impl Trace {
    /// Reads a trace.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read(path).expect("the trace");
        let mut trace = Trace::default();
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            let Ok(pid) = pid.parse() else { panic!("no pid in front of {line:?}") };
            if trace.first == 0 {
                trace.first = pid;
            }
            trace.add(pid, rest.trim_start());
        }
        // A mount or rename of any process may come between (openat2(2)), and another one's change of a network
        // device (restart_syscall() of the kernel): the call is made again.
        let again = |call: &Call| {
            call.name == "openat2" && call.line.contains("= -1 EAGAIN")
                || call.line.contains("= ? ERESTARTNOINTR")
                // Without a vDSO clock, as under emulation, the time is a system call.
                || call.name == "clock_gettime"
        };
        trace.calls.values_mut().for_each(|calls| calls.retain(|call| !again(call)));
        trace
    }

    fn add(&mut self, pid: i32, text: &str) {
        let calls = self.calls.entry(pid).or_default();
        // Signals and exits.
        if text.starts_with("+++") || text.starts_with("---") {
            return;
        }
        if let Some(resumed) = text.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>").unwrap_or_default();
            if let Some(last) = calls.last_mut() {
                last.line = format!("{}{end}", last.line.trim_end_matches(" <unfinished ...>"));
            }
            return;
        }
        let name = text.split('(').next().unwrap_or_default().to_string();
        calls.push(Call { name, line: text.to_string() });
    }

    /// The calls of a process.
    pub fn of(&self, pid: i32) -> &[Call] {
        self.calls.get(&pid).map_or(&[], Vec::as_slice)
    }
}
