//! A shell in a terminal: job control, resize, and the caller's terminal afterwards.

use std::time::Duration;

use super::project;
use crate::harness::{Need, Running, Sandbox, case, poll};
use crate::oci::rootless::one;
use crate::oci::terminal::Seat;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns];

#[case(ROOT)]
fn a_shell_has_job_control() {
    let sb = Sandbox::new();
    job_control(&sb, &["setsid", "--ctty"], None);
}

#[case(USER)]
fn a_user_s_shell_has_job_control() {
    let user = one();
    let sb = user.sandbox();
    job_control(&sb, &["setsid", "--ctty"], Some((user.uid, user.gid)));
}

/// A program in a terminal, and what it has printed so far.
struct Typist<'a> {
    seat: &'a Seat,
    run: &'a Running,
    read: usize,
}

impl Typist<'_> {
    /// Waits until the program has printed `word` after the words before.
    #[track_caller]
    fn sees(&mut self, word: &str) {
        let mut end = 0;
        poll(&format!("{word:?} in {:?}", self.run.so_far()), Duration::from_secs(10), || {
            let text = self.run.so_far().0;
            let found = text.get(self.read..).and_then(|rest| rest.find(word));
            end = found.map_or(end, |at| self.read + at + word.len());
            found.is_some()
        });
        self.read = end;
    }

    /// Types, and waits for the answer.
    #[track_caller]
    fn gets(&mut self, typed: &str, answer: &str) {
        self.seat.types(typed.as_bytes());
        self.sees(answer);
    }
}

/// `run -it -- bash` in a session with a controlling terminal: the kernel makes the signals, the test only types.
fn job_control(sb: &Sandbox, wrapper: &[&str], user: Option<(u32, u32)>) {
    let dir = project(sb);
    let seat = Seat::new(33, 111);
    let before = seat.mode();
    let call = match user {
        None => sb.under(wrapper),
        Some(_) => one().under(sb, wrapper),
    };
    let call = call.args(["run", "-q", "-it", "--name", sb.id(), "-e", "PS1=ready>", "--", "bash", "--norc"]);
    let call = call.with(move |c| {
        c.current_dir(dir);
    });
    let run = seat.call(call).spawn();
    let mut shell = Typist { seat: &seat, run: &run, read: 0 };
    shell.sees("ready>");
    // The arithmetic tells the answer from the echo of the line.
    shell.gets("stty size; cat file; echo $((1 + 1))end $-\r", "33 111");
    shell.sees("project");
    shell.sees("2end him");
    shell.gets("sleep 1001\r", "sleep 1001");
    in_foreground(sb, "sleep 1001");
    shell.gets("\x03", "ready>");
    shell.gets("echo $?:$((2 + 1))end\r", "130:3end");
    shell.gets("sleep 1002\r", "sleep 1002");
    in_foreground(sb, "sleep 1002");
    shell.gets("\x1a", "Stopped");
    shell.gets("bg\r", "sleep 1002 &");
    shell.gets("jobs\r", "Running");
    shell.sees("ready>");
    shell.gets("fg\r", "sleep 1002");
    in_foreground(sb, "sleep 1002");
    shell.gets("\x03", "ready>");
    seat.resize(44, 99);
    poll("the new size", Duration::from_secs(10), || {
        shell.gets("stty size; echo $((3 + 1))end\r", "\n4");
        shell.sees("end");
        run.so_far().0.contains("44 99")
    });
    shell.sees("ready>");
    shell.gets("cat\r", "cat");
    in_foreground(sb, "cat");
    shell.gets("typed\r", "typed\ntyped");
    shell.gets("\x04", "ready>");
    shell.seat.types(b"exit 7\r");
    let out = run.wait();
    assert_eq!(out.code, 7, "{out}");
    assert_eq!(seat.mode(), before, "the caller's terminal is not as it was");
    sb.leak_check();
}

/// Waits until the program has been executed and is in the foreground of its terminal.
fn in_foreground(sb: &Sandbox, line: &str) {
    let wanted: Vec<u8> = line.bytes().map(|b| if b == b' ' { 0 } else { b }).chain([0]).collect();
    let of_this_test = format!("SAFEBOX_TEST={}", sb.id());
    let found = || {
        std::fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
            let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
            // proc_pid_stat(5): after the name come state, ppid, pgrp, session, tty_nr, tpgid.
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let below = stat_parents(&entry.path()).iter().any(|pid| {
                let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environ.split(|b| *b == 0).any(|var| var == of_this_test.as_bytes())
            });
            read("cmdline") == wanted && fields.get(2) == fields.get(5) && below
        })
    };
    poll(&format!("{line} in the foreground"), Duration::from_secs(10), found);
}

/// The pids of a process's ancestors.
fn stat_parents(proc: &std::path::Path) -> Vec<i32> {
    let mut pids = Vec::new();
    let mut at = proc.to_path_buf();
    while let Ok(stat) = std::fs::read_to_string(at.join("stat")) {
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let Some(parent) = parent.filter(|pid: &i32| *pid > 1) else { break };
        pids.push(parent);
        at = format!("/proc/{parent}").into();
    }
    pids
}
