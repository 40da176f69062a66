//! The audit trail of `safebox watch`: what is in it, what becomes of it when something fails, and what it costs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::process::{Call, Running};
use crate::harness::strace::Trace;
use crate::harness::{Need, Sandbox, case, poll};

const ROOT: &[Need] = &[Need::Root];

/// A state root of its own, and a trail beside it.
fn own_root(sb: &Sandbox) -> (PathBuf, PathBuf) {
    let dir = sb.dir().join("watched");
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    (dir.join("root"), dir.join("trail"))
}

fn safebox(sb: &Sandbox, root: &Path) -> Call {
    sb.runtime().arg("--root").arg(root)
}

fn started(call: Call, trail: &Path) -> Running {
    let before = lines(trail).len();
    let running = call.spawn();
    // `begin` and what exists are written at once.
    poll("the watch begins", Duration::from_secs(10), || lines(trail).len() > before);
    running
}

fn watch(sb: &Sandbox, root: &Path, trail: &Path) -> Running {
    started(safebox(sb, root).args(["watch", "--output"]).arg(trail).limit(Duration::from_secs(60)), trail)
}

fn end(running: Running) {
    running.signal(Signal::SIGINT);
    running.wait().ok();
}

fn lines(trail: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(trail).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The events of a container, as `name` or `name(source)` where it is observed.
fn events(trail: &Path, id: &str) -> Vec<String> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_string();
    let of = lines(trail).into_iter().filter(|line| line["id"] == id);
    of.map(|line| match text(&line, "source").as_str() {
        "reported" => text(&line, "event"),
        _ => format!("{}(observed)", text(&line, "event")),
    })
    .collect()
}

fn event(trail: &Path, id: &str, name: &str) -> Value {
    let found = lines(trail).into_iter().find(|line| line["id"] == id && line["event"] == name);
    found.unwrap_or_else(|| panic!("no {name} of {id}"))
}

fn verified(sb: &Sandbox, trail: &Path) {
    sb.runtime().args(["watch", "--verify"]).arg(trail).output().ok().prints("whole");
}

fn create(sb: &Sandbox, root: &Path) -> Call {
    safebox(sb, root).arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id())
}

#[case(ROOT)]
fn every_verb_is_in_the_chain() {
    let sb = Sandbox::new().args(["sleep", "60"]);
    let (root, trail) = own_root(&sb);
    let call = |args: &[&str]| safebox(&sb, &root).args(args).arg(sb.id());
    let running = watch(&sb, &root, &trail);
    create(&sb, &root).output().ok();
    call(&["start"]).output().ok();
    let hostile = "\u{1b}[31m\u{9b}2J\n\u{202e}";
    call(&["exec"]).args(["echo", hostile]).output().ok();
    call(&["update", "--pids-limit", "77"]).output().ok();
    call(&["pause"]).output().ok();
    call(&["resume"]).output().ok();
    call(&["kill"]).arg("KILL").output().ok();
    call(&["delete", "--force"]).output().ok();
    call(&["start"]).output().exits(1);
    end(running);
    verified(&sb, &trail);
    let names = events(&trail, sb.id());
    let said: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "end(observed)").collect();
    assert_eq!(
        said,
        ["create", "start", "exec", "update", "pause", "resume", "kill", "delete", "failed"],
        "{names:?}"
    );
    let raw = std::fs::read_to_string(&trail).expect("the trail");
    assert!(raw.bytes().all(|b| b == b'\n' || (b' '..0x7f).contains(&b)), "{raw}");
    let exec = event(&trail, sb.id(), "exec");
    assert_eq!(exec["process"]["args"][1], hostile);
    assert_eq!(event(&trail, sb.id(), "update")["limits"]["pids_limit"], 77);
    assert_eq!(event(&trail, sb.id(), "kill")["signal"], "KILL");
    let by = &event(&trail, sb.id(), "create")["by"];
    assert!(by["uid"] == 0 && by["parent"]["pid"] == std::process::id(), "{by}");
    let mode = std::fs::metadata(&trail).expect("the trail").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // Nothing is left in the state root.
    assert_eq!(std::fs::read_dir(&root).expect("the root").count(), 0);
}

#[case(ROOT)]
fn the_end_and_the_directory_are_observed() {
    let sb = Sandbox::new().sh("exit 7");
    let (root, trail) = own_root(&sb);
    let running = watch(&sb, &root, &trail);
    create(&sb, &root).output().ok();
    safebox(&sb, &root).args(["start", sb.id()]).output().ok();
    poll("the end", Duration::from_secs(10), || events(&trail, sb.id()).contains(&"end(observed)".into()));
    // Linux 6.15 tells the code of a process that was waited for.
    let end_of = event(&trail, sb.id(), "end");
    assert!(end_of["exitCode"].is_null() || end_of["exitCode"] == 7, "{end_of}");
    safebox(&sb, &root).args(["delete", sb.id()]).output().ok();
    // A launcher that is killed reports nothing: its guardian removes the container.
    let sb2 = Sandbox::new().args(["sleep", "60"]);
    let run = safebox(&sb2, &root).args(["run", "--bundle"]).arg(sb2.bundle()).arg(sb2.id()).spawn();
    poll("the start", Duration::from_secs(10), || events(&trail, sb2.id()).contains(&"start".into()));
    run.signal(Signal::SIGKILL);
    drop(run.wait());
    poll("the removal", Duration::from_secs(20), || {
        events(&trail, sb2.id()).contains(&"delete(observed)".into())
    });
    let names = events(&trail, sb2.id());
    assert_eq!(names, ["create", "start", "end(observed)", "delete(observed)"]);
    end(running);
    verified(&sb, &trail);
}

#[case(ROOT)]
fn a_kill_for_lack_of_memory_is_observed() {
    let sb = Sandbox::new()
        .args(["tail", "/dev/zero"])
        .patch("/linux/resources/memory", json!({ "limit": 20_971_520, "swap": 20_971_520 }));
    let (root, trail) = own_root(&sb);
    let running = watch(&sb, &root, &trail);
    create(&sb, &root).output().ok();
    safebox(&sb, &root).args(["start", sb.id()]).output().ok();
    poll("the kill", Duration::from_secs(20), || events(&trail, sb.id()).contains(&"end(observed)".into()));
    let names = events(&trail, sb.id());
    assert_eq!(names, ["create", "start", "oom(observed)", "end(observed)"]);
    safebox(&sb, &root).args(["delete", sb.id()]).output().ok();
    // A launcher's report has it, too.
    safebox(&sb, &root)
        .args(["run", "-q", "--memory", "20m", "--name", "c", "--", "tail", "/dev/zero"])
        .output();
    end(running);
    assert_eq!(event(&trail, "c", "end")["status"], "oom");
    verified(&sb, &trail);
}

#[case(ROOT)]
fn denials_name_the_rule() {
    let sb = Sandbox::new();
    let (root, trail) = own_root(&sb);
    let policy = sb.dir().join("policy.toml");
    std::fs::write(&policy, "mode = \"enforce\"\nlevel = \"restricted\"\n").expect("write");
    let running = watch(&sb, &root, &trail);
    let call = safebox(&sb, &root).arg("--policy-file").arg(&policy).args(["create", "--bundle"]);
    call.arg(sb.bundle()).arg(sb.id()).output().exits(1).says("refuses this container");
    end(running);
    let denied = event(&trail, sb.id(), "denied");
    assert!(denied["rule"] == "non-root" && denied["verb"] == "create", "{denied}");
    assert!(denied["error"].as_str().is_some_and(|e| e.contains("remedy: ")), "{denied}");
}

#[case(ROOT)]
fn what_exists_is_listed() {
    let sb = Sandbox::new().args(["sleep", "60"]);
    let (root, trail) = own_root(&sb);
    create(&sb, &root).output().ok();
    let running = watch(&sb, &root, &trail);
    // One root has one watch.
    safebox(&sb, &root).arg("watch").output().exits(1).says("watches");
    safebox(&sb, &root).args(["delete", "--force", sb.id()]).output().ok();
    end(running);
    assert_eq!(event(&trail, sb.id(), "exists")["status"], "created");
    let names = events(&trail, sb.id());
    assert!(names[0] == "exists(observed)" && names.contains(&"delete".into()), "{names:?}");
    assert_eq!(lines(&trail).last().expect("a line")["event"], "finish");
}

#[case(ROOT)]
fn a_killed_watch_loses_nothing() {
    let sb = Sandbox::new();
    let (root, trail) = own_root(&sb);
    let run = |name: &str| {
        let call = safebox(&sb, &root).args(["run", "-q", "--name", name, "--", "true"]);
        call.output().ok();
    };
    let running = watch(&sb, &root, &trail);
    run("one");
    running.signal(Signal::SIGSTOP);
    // Nothing waits for a watch that does not read.
    run("two");
    running.signal(Signal::SIGKILL);
    running.wait().exits(137);
    run("three");
    let running = watch(&sb, &root, &trail);
    run("four");
    end(running);
    for id in ["one", "two", "three", "four"] {
        let mut seen = events(&trail, id);
        // What the watch was writing when it was killed is there again.
        let mut known = std::collections::BTreeSet::new();
        seen.retain(|event| known.insert(event.clone()) || id != "one");
        assert_eq!(seen, ["create", "start", "end", "delete"], "{id}");
    }
    let begins: Vec<Value> = lines(&trail).into_iter().filter(|line| line["event"] == "begin").collect();
    assert!(begins.len() == 2 && begins[1]["resumed"] == true, "{begins:?}");
    verified(&sb, &trail);
}

#[case(ROOT)]
fn a_trail_that_was_changed_is_found() {
    let sb = Sandbox::new();
    let (root, trail) = own_root(&sb);
    let call = safebox(&sb, &root).args(["watch", "--max-size", "64k", "--max-files", "3", "--output"]);
    let running = started(call.arg(&trail), &trail);
    for n in 0..160 {
        safebox(&sb, &root)
            .args(["kill", &format!("no-{n}")])
            .arg(format!("SIGTERM{}", "x".repeat(900)))
            .output();
    }
    end(running);
    let verify = || sb.runtime().args(["watch", "--verify"]).arg(&trail);
    let out = verify().output().ok().prints("older files were removed");
    let files = [trail.clone(), trail.with_extension("1"), trail.with_extension("2")];
    assert!(files.iter().all(|file| file.metadata().is_ok_and(|m| m.len() <= 65_536)));
    let head = out.stdout.lines().find_map(|l| l.strip_prefix("head ")).expect("a head");
    let head = head.split(' ').next().expect("a hash").to_string();
    verify().args(["--head", &head]).output().ok();
    // A line that is gone, in the middle of an older file.
    let old = std::fs::read_to_string(&files[1]).expect("a file");
    let kept: Vec<&str> = old.lines().enumerate().filter(|(n, _)| *n != 4).map(|(_, line)| line).collect();
    std::fs::write(&files[1], kept.join("\n") + "\n").expect("write");
    verify().output().exits(1).prints("trail.1:5: the chain is broken");
    std::fs::write(&files[1], &old).expect("write");
    // Lines that are gone at the end are found with the head alone.
    let new = std::fs::read_to_string(&trail).expect("a file");
    let cut = new.trim_end().rsplit_once('\n').expect("lines").0;
    std::fs::write(&trail, format!("{cut}\n")).expect("write");
    verify().output().ok();
    verify().args(["--head", &head]).output().exits(1).prints("no line with the hash");
    verify().args(["--output", "x"]).output().exits(1);
    sb.runtime().args(["watch", "--verify", "/nonexistent"]).output().exits(2);
}

#[case(ROOT)]
fn the_file_is_outside_every_container() {
    let sb = Sandbox::new().args(["sleep", "60"]);
    let (root, trail) = own_root(&sb);
    create(&sb, &root).output().ok();
    let inside = sb.rootfs().join("trail");
    let refused = |file: &Path, why: &str| {
        safebox(&sb, &root).args(["watch", "--output"]).arg(file).output().exits(1).says(why);
    };
    refused(&inside, "can see it");
    assert!(!inside.exists());
    safebox(&sb, &root).args(["delete", "--force", sb.id()]).output().ok();
    // Other users' files, and links.
    let open = sb.dir().join("open");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    refused(&open.join("trail"), "other users can replace files");
    std::os::unix::fs::symlink("/etc/hostname", trail.with_extension("link")).expect("a link");
    refused(&trail.with_extension("link"), "too many levels of symbolic links");
    std::fs::write(trail.with_extension("precious"), "precious").expect("write");
    refused(&trail.with_extension("precious"), "not a trail");
    assert!(!root.join("~events").exists());
    // A container that comes later is named.
    let data = sb.dir().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let trail = data.join("trail");
    let running = watch(&sb, &root, &trail);
    let volume = format!("{}:/data", data.display());
    safebox(&sb, &root)
        .args(["run", "-q", "--name", "sees", "-v", &volume, "--", "sleep", "1"])
        .output()
        .ok();
    safebox(&sb, &root).args(["run", "-q", "--name", "not", "--", "sleep", "1"]).output().ok();
    end(running);
    assert!(event(&trail, "sees", "exposed")["why"].as_str().is_some_and(|why| why.contains("/data")));
    assert!(!events(&trail, "not").contains(&"exposed(observed)".into()));
}

#[case(ROOT)]
fn a_reader_that_ends_ends_the_watch() {
    let sb = Sandbox::new();
    let (root, _) = own_root(&sb);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let call = safebox(&sb, &root).arg("watch").with(move |c| {
        c.stdout(writer);
    });
    let running = call.spawn();
    let mut first = String::new();
    let mut reader = std::io::BufReader::new(reader);
    std::io::BufRead::read_line(&mut reader, &mut first).expect("a line");
    assert!(first.contains("\"event\":\"begin\""), "{first}");
    drop(reader);
    running.wait().ok();
    assert_eq!(std::fs::read_dir(&root).expect("the root").count(), 0);
}

#[case(Root, Strace)]
fn without_a_watch_a_start_has_two_calls_more() {
    let sb = Sandbox::new();
    let (root, _) = own_root(&sb);
    let file = sb.dir().join("strace");
    let wrapper = ["strace", "-f", "-o", file.to_str().expect("a path")];
    sb.under(&wrapper).arg("--root").arg(&root).args(["run", "-q", "--", "true"]).output().ok();
    let trace = Trace::read(&file);
    let calls: Vec<&str> =
        trace.calls.values().flatten().map(|c| c.line.as_str()).filter(|l| l.contains("~events")).collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls.iter().all(|line| line.starts_with("openat(") && line.contains("ENOENT")), "{calls:?}");
}

#[case(ROOT)]
fn thirty_starts_at_once_are_all_there() {
    let sb = Sandbox::new();
    let (root, trail) = own_root(&sb);
    let running = watch(&sb, &root, &trail);
    let run = |n: usize| {
        let call = safebox(&sb, &root).args(["run", "-q", "--name", &format!("c{n}"), "--", "true"]);
        call.limit(Duration::from_secs(60)).spawn()
    };
    let all: Vec<Running> = (0..30).map(run).collect();
    all.into_iter().for_each(|one| drop(one.wait_at_most(Duration::from_secs(60)).ok()));
    end(running);
    for n in 0..30 {
        assert_eq!(events(&trail, &format!("c{n}")), ["create", "start", "end", "delete"], "{n}");
    }
    verified(&sb, &trail);
}
