//! `safebox tour`: from a plain fork and exec to a container, one layer at a time.
//!
//! Before each layer an attack succeeds. Then the tour shows the rows that the layer adds to the plan, and
//! the same attack fails. The tour attacks only what it has created itself: `world`. A layer is a file of
//! this folder: an attack, and a change of the config. The containers are real ones, made by `safebox run`,
//! and the rows are those of `safebox explain`.

mod capabilities;
mod cgroup;
mod credentials;
mod descriptors;
mod devices;
mod masks;
mod network;
mod no_new_privs;
mod pid;
mod read_only;
mod root;
mod seccomp;
mod user;
mod world;

use std::io::{BufRead, Write};

use serde_json::Value;

use crate::error::{Error, Result};
use world::{AttackResult, World};

/// One layer of isolation.
struct TourLayer {
    /// The NAME of `tour NAME`.
    name: &'static str,
    /// Title.
    title: &'static str,
    /// The attack that it stops.
    attack: &'static str,
    /// Why the attack fails with the layer.
    stopped: &'static str,
    /// Changes the config to enable the layer.
    apply: fn(&mut Value, &World),
    /// Arguments for the attacker: paths, numbers.
    arguments: fn(&World) -> Vec<String>,
    /// The attack itself, in a separate process. `Ok`: what it did; `Err`: why it failed.
    perform: fn(&[String]) -> std::result::Result<String, String>,
    /// Rows that are shown although an earlier layer added them, because this layer uses them.
    also: &'static [&'static str],
    /// Why the layer cannot be shown on this machine.
    missing: fn(&World) -> Option<String>,
}

/// All layers, in the order of the plan.
const LAYERS: &[TourLayer] = &[
    cgroup::LAYER,
    devices::LAYER,
    pid::LAYER,
    network::LAYER,
    user::LAYER,
    root::LAYER,
    read_only::LAYER,
    masks::LAYER,
    descriptors::LAYER,
    capabilities::LAYER,
    credentials::LAYER,
    no_new_privs::LAYER,
    seccomp::LAYER,
];

/// For layers without requirements.
fn always(_: &World) -> Option<String> {
    None
}

/// The names of all layers.
pub fn names() -> Vec<&'static str> {
    LAYERS.iter().map(|layer| layer.name).collect()
}

/// Performs the attack of a layer in this process. The exit code is 0 if it succeeded.
pub fn attack(name: &str, arguments: &[String]) -> Result<u8> {
    if name == world::VICTIM {
        world::wait_for_the_end();
        return Ok(0);
    }
    let layer = LAYERS.iter().find(|layer| layer.name == name);
    let layer = layer.ok_or_else(|| Error::msg(format!("--attack {name}: the tour has no such layer")))?;
    let (text, code) = match (layer.perform)(arguments) {
        Ok(text) => (text, 0),
        Err(text) => (text, world::STOPPED),
    };
    writeln!(std::io::stdout(), "{text}").map_err(|e| Error::msg(format!("stdout: {e}")))?;
    Ok(code)
}

/// Shows all layers, or the one named `only`. With `ask`, waits for a line before each. The error names the
/// attacks that did not behave as the tour describes.
pub fn tour(only: Option<&str>, ask: bool) -> Result<()> {
    if let Some(name) = only
        && LAYERS.iter().all(|layer| layer.name != name)
    {
        return Err(Error::msg(format!("tour {name}: no such layer; one of {}", names().join(", "))));
    }
    let world = World::new()?;
    say(
        "Each layer is added to the ones before it. The attacks only touch files and processes that the tour has made",
    )?;
    say(&format!("itself, in {}; it removes them at the end.", world.dir.display()))?;
    let mut wrong = Vec::new();
    let mut table = Vec::new();
    for (i, layer) in LAYERS.iter().enumerate() {
        if only.is_some_and(|name| name != layer.name) {
            continue;
        }
        say(&format!("\n=== {} of {}: {}: {}\n", i + 1, LAYERS.len(), layer.name, layer.title))?;
        if let Some(reason) = (layer.missing)(&world) {
            say(&format!("SKIPPED: {reason}"))?;
            table.push((layer.name, "skipped", reason));
            continue;
        }
        match show(&world, i)? {
            Ok(()) => table.push((layer.name, "stopped", layer.attack.to_string())),
            Err(problem) => {
                say(&format!("PROBLEM: {problem}"))?;
                table.push((layer.name, "PROBLEM", problem.clone()));
                wrong.push(format!("{}: {problem}", layer.name));
            }
        }
        if ask && only.is_none() && i + 1 < LAYERS.len() && !go_on()? {
            break;
        }
    }
    if only.is_none() {
        say("\nWhat the layers stopped:\n")?;
        for (name, state, text) in table {
            wrapped(&format!("  {name:14} {state:8} "), &text)?;
        }
        say("\n`safebox run` has all of these on, and more: safebox explain --why BUNDLE/ lists every row.")?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::msg(format!("the tour did not behave as described: {}", wrong.join("; ")))),
    }
}

/// Shows one layer. Inner error: the attack failed without the layer, or succeeded with it.
fn show(world: &World, i: usize) -> Result<std::result::Result<(), String>> {
    let layer = &LAYERS[i];
    wrapped("The attack: ", layer.attack)?;
    say(match i {
        0 => "\nBefore, in a plain fork and exec:",
        _ => "\nBefore, in a container that has the layers above:",
    })?;
    let before = world.perform(layer, i)?;
    report(&before)?;
    if !before.worked {
        return Ok(Err(
            "the attack fails without this layer, so the tour cannot show what the layer does".into()
        ));
    }
    say("\nWhat the layer adds to the plan:")?;
    rows(&world.plan(i)?, &world.plan(i + 1)?, layer.also)?;
    say("\nAfter:")?;
    let after = world.perform(layer, i + 1)?;
    report(&after)?;
    if after.worked {
        return Ok(Err("the attack succeeds in spite of this layer".into()));
    }
    say("")?;
    wrapped("Stopped: ", layer.stopped)?;
    Ok(Ok(()))
}

fn report(outcome: &AttackResult) -> Result<()> {
    for line in outcome.text.lines() {
        say(&format!("  | {line}"))?;
    }
    say(&format!("  {}", if outcome.worked { "=> it works" } else { "=> it fails" }))
}

/// Prints the rows that only the second plan has, and those named in `also`, with their reasons.
fn rows(before: &[Value], after: &[Value], also: &[&str]) -> Result<()> {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_string();
    let act = |row: &Value| (word(row, "actor"), word(row, "action"));
    let old: Vec<_> = before.iter().map(act).collect();
    let mut last = String::new();
    for row in after {
        let name = word(row, "name");
        // The size of the state depends on the other rows, so this row always differs.
        let new = !old.contains(&act(row)) && name != "state-file";
        if !new && !also.contains(&name.as_str()) {
            continue;
        }
        let number = row["row"].as_u64().unwrap_or_default();
        say(&format!("{number:4}  {:8}{name:24} {}", word(row, "actor"), short(&word(row, "action"))))?;
        let why = word(row, "why");
        if why != last {
            wrapped("        why: ", &why)?;
        }
        last = why;
    }
    Ok(())
}

/// A row's action, truncated to fit the screen; `explain` prints it in full.
fn short(action: &str) -> String {
    match action.char_indices().nth(150) {
        Some((end, _)) => format!("{}...", &action[..end]),
        None => action.to_string(),
    }
}

/// Prints a text in lines of at most 110 characters, all indented like the first.
fn wrapped(first: &str, text: &str) -> Result<()> {
    let mut line = first.to_string();
    for word in text.split_whitespace() {
        if line.len() + word.len() > 110 {
            say(line.trim_end())?;
            line = " ".repeat(first.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    say(line.trim_end())
}

fn go_on() -> Result<bool> {
    let ask = "\n[Enter] the next layer   [q] end the tour: ";
    std::io::stdout().write_all(ask.as_bytes()).map_err(|e| Error::msg(format!("stdout: {e}")))?;
    std::io::stdout().flush().map_err(|e| Error::msg(format!("stdout: {e}")))?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).map_err(|e| Error::msg(format!("stdin: {e}")))?;
    Ok(read > 0 && line.trim() != "q")
}

fn say(text: &str) -> Result<()> {
    let text = crate::error::escaped(text);
    writeln!(std::io::stdout(), "{text}").map_err(|e| Error::msg(format!("stdout: {e}")))
}
