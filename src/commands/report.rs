//! What verbs report to the audit trail, if a watch is set up (`safebox watch`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::{Cli, GlobalArgs, Verb};
use crate::commands::common::VerbResult;
use crate::config::Process;
use crate::error::Error;
use crate::lifecycle::account::Account;
use crate::log::Log;
use crate::state::State;
use crate::tables::capabilities::CAPABILITIES;
use crate::trail::event::{self, EventSource, TrailEvent, event};
use crate::trail::spool;

/// Writes a report; a lost one is logged, and stops nothing.
fn send(root: &Path, log: &Log, events: impl FnOnce() -> Vec<TrailEvent>) {
    if let Err(e) = spool::report(root, events) {
        log.warning(&format!("the audit trail lacks this {e}"));
    }
}

fn reported(name: &str, id: &str, details: Value) -> TrailEvent {
    event(EventSource::Reported, name, id, details)
}

/// What a process may do.
fn process(process: &Process) -> Value {
    let caps = process.capabilities.effective.iter();
    let caps = caps.filter_map(|bit| CAPABILITIES.get(usize::from(bit)).map(|row| row.name));
    json!({
        "args": event::words(&process.args),
        "uid": process.user.uid,
        "gid": process.user.gid,
        "capabilities": caps.collect::<Vec<_>>(),
        "noNewPrivileges": process.no_new_privileges,
    })
}

fn made(name: &str, state: &State, pid: i32) -> TrailEvent {
    let mut details = json!({ "pid": pid, "bundle": state.bundle, "hardened": state.hardened });
    let image =
        state.annotations.iter().find(|(key, _)| crate::policy::enforce::IMAGES.contains(&key.as_str()));
    details["image"] = image.map_or(Value::Null, |(_, name)| event::text(name));
    details["process"] = process(&state.process);
    reported(name, &state.id, details)
}

/// A container was created (`create`) or restored (`restore`).
pub fn created(root: &Path, log: &Log, name: &str, state: &State, pid: i32) {
    send(root, log, || vec![made(name, state, pid)]);
}

/// A container of `run` was created and started.
pub fn running(root: &Path, log: &Log, state: &State, pid: i32) {
    send(root, log, || vec![made("create", state, pid), reported("start", &state.id, json!({ "pid": pid }))]);
}

/// A launcher saw the end of its container, and removed it or not.
pub fn ended(root: &Path, log: &Log, account: &Account, removed: bool) {
    send(root, log, || {
        let denials: Vec<Value> = account.denials.iter().take(20).map(|line| event::text(line)).collect();
        let details = json!({
            "status": account.status,
            "exitCode": account.exit_code,
            "signal": account.signal,
            "oomKills": account.oom_kills.filter(|n| *n > 0),
            "pidsRefused": account.pids_refused.filter(|n| *n > 0),
            "denials": Some(denials).filter(|lines| !lines.is_empty()),
            "moreDenials": Some(account.denials.len().saturating_sub(20)).filter(|n| *n > 0),
        });
        let end = reported("end", &account.id, details);
        std::iter::once(end).chain(removed.then(|| reported("delete", &account.id, json!({})))).collect()
    });
}

/// A process was started in a container.
pub fn executed(root: &Path, log: &Log, id: &str, pid: i32, new: &Process) {
    send(root, log, || vec![reported("exec", id, json!({ "pid": pid, "process": process(new) }))]);
}

/// The limits of a container were changed.
pub fn updated(root: &Path, log: &Log, id: &str, what: &impl serde::Serialize) {
    send(root, log, || {
        let mut limits = serde_json::to_value(what).unwrap_or_default();
        without_nulls(&mut limits);
        vec![reported("update", id, json!({ "limits": limits }))]
    });
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(without_nulls);
        map.retain(|_, v| !v.is_null() && v.as_object().is_none_or(|o| !o.is_empty()) && *v != json!([]));
    }
}

/// A verb that changes a container, to be reported by the dispatcher.
pub struct Doing {
    root: PathBuf,
    verb: &'static str,
    id: String,
    /// It is reported before it acts: what it causes follows.
    first: bool,
    /// The verb reports its success itself.
    itself: bool,
    details: Value,
}

impl Doing {
    /// The verb of this command line, if it changes a container.
    pub fn of(cli: &Cli) -> Option<Self> {
        let (verb, id, details) = match &cli.verb {
            Verb::Run(args) => {
                let id = args.options.0.life.name.as_ref().or(args.target.as_ref());
                ("run", id.cloned().unwrap_or_default(), Value::Null)
            }
            Verb::Create(args) => ("create", args.id.clone(), Value::Null),
            Verb::Start(args) => ("start", args.id.clone(), Value::Null),
            Verb::Exec(args) => ("exec", args.id.clone(), json!({ "args": event::words(&args.command) })),
            Verb::Update(args) => ("update", args.id.clone(), Value::Null),
            Verb::Kill(args) => ("kill", args.id.clone(), json!({ "signal": args.signal, "all": args.all })),
            Verb::Stop(args) => ("stop", args.id.clone(), Value::Null),
            Verb::Delete(args) => ("delete", args.id.clone(), json!({ "force": args.force })),
            Verb::Pause(args) => ("pause", args.id.clone(), Value::Null),
            Verb::Resume(args) => ("resume", args.id.clone(), Value::Null),
            Verb::Checkpoint(args) => ("checkpoint", args.id.clone(), Value::Null),
            Verb::Restore(args) => ("restore", args.id.clone(), Value::Null),
            _ => return None,
        };
        let itself = matches!(verb, "run" | "create" | "exec" | "update" | "restore");
        Some(Doing {
            root: root(&cli.global),
            verb,
            id,
            first: matches!(verb, "kill" | "stop"),
            itself,
            details,
        })
    }

    /// Before the verb acts.
    pub fn begin(&self, log: &Log) {
        if self.first {
            send(&self.root, log, || vec![reported(self.verb, &self.id, self.details.clone())]);
        }
    }

    /// After it; a refusal of the policy is an event of its own.
    pub fn end(&self, log: &Log, outcome: &VerbResult) {
        match outcome {
            Ok(_) if self.first || self.itself => {}
            Ok(_) => send(&self.root, log, || vec![reported(self.verb, &self.id, self.details.clone())]),
            Err(error) => send(&self.root, log, || {
                let mut details = json!({ "verb": self.verb, "error": event::text(&format!("{error:#}")) });
                let name = match error.downcast_ref::<Error>() {
                    Some(Error::Denied { rule, .. }) => {
                        details["rule"] = (*rule).into();
                        "denied"
                    }
                    _ => "failed",
                };
                vec![reported(name, &self.id, details)]
            }),
        }
    }
}

/// The state root, without the checks that each verb makes.
fn root(global: &GlobalArgs) -> PathBuf {
    match &global.root {
        Some(dir) => std::path::absolute(dir).unwrap_or_else(|_| dir.clone()),
        None => crate::host::state_root::default_state_root(),
    }
}
