//! Mounts and devices of a description in a config.

use std::fs::metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::{Value, json};

use super::Made;
use crate::input::values::{PROPAGATIONS, check, check_volume};
use crate::input::{Engine, Spot};
use crate::launch::options::ValueResult;

pub(super) fn tmpfs(made: &mut Made, at: &Spot, value: &str) {
    let (target, words) = value.split_once(':').unwrap_or((value, ""));
    // Docker's own options for it.
    let mut options = vec!["nosuid", "nodev", "noexec"];
    options.extend(words.split(',').filter(|w| !w.is_empty()));
    made.set(
        at,
        "/mounts/-",
        json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
}

pub(super) fn volume(made: &mut Made, at: &Spot, value: &str) -> ValueResult {
    let words: Vec<&str> = value.split(':').collect();
    let (source, target, options) = match words[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => {
            made.left.push((at.clone(), format!("volume {value}: an anonymous volume")));
            return Ok(());
        }
    };
    let options: Vec<&str> = options.split(',').collect();
    options.iter().try_for_each(|option| check_volume(option))?;
    bind(made, at, (source, target), &options);
    Ok(())
}

fn bind(made: &mut Made, at: &Spot, (source, target): (&str, &str), words: &[&str]) {
    if source.starts_with(['$', '~', '`']) || source.contains("$(") {
        made.left.push((
            at.clone(),
            format!("volume {source}: a shell decides which directory of the host it is"),
        ));
        return;
    }
    if !source.starts_with('/') && !source.starts_with('.') {
        made.left.push((at.clone(), format!("volume {source}: the engine's, below its own directory")));
        return;
    }
    let mut options = vec!["rbind"];
    // Docker's `ro` holds for what is mounted below, too, since version 25; Kubernetes' readOnly does not.
    let readonly = if made.engine == Engine::Docker { "rro" } else { "ro" };
    options.extend(words.iter().filter_map(|word| match *word {
        "ro" | "readonly" => Some(readonly),
        "rro" => Some("rro"),
        word if PROPAGATIONS.contains(&word) => Some(word),
        _ => None,
    }));
    made.set(
        at,
        "/mounts/-",
        json!({ "destination": target, "type": "bind", "source": source, "options": options }),
    );
}

pub(super) fn mount(made: &mut Made, at: &Spot, value: &str) -> ValueResult {
    let part = |keys: &[&str]| {
        value
            .split(',')
            .filter_map(|w| w.split_once('=').or(Some((w, "true"))))
            .find(|(k, _)| keys.contains(k))
            .map(|(_, v)| v)
    };
    let target = part(&["target", "dst", "destination"]).unwrap_or("/");
    match part(&["type"]) {
        Some("tmpfs") => {
            let size = part(&["tmpfs-size"]).map(|s| format!("{target}:size={s}"));
            tmpfs(made, at, &size.unwrap_or_else(|| target.into()));
        }
        Some("bind") => {
            let readonly = match part(&["readonly", "ro"]) {
                None | Some("false" | "0") => false,
                Some("true" | "1") => true,
                Some(other) => return Err(format!("readonly={other}: true or false is needed")),
            };
            let mut words = Vec::from_iter(part(&["bind-propagation"]));
            words.iter().try_for_each(|word| check("mount bind-propagation", word))?;
            words.extend(readonly.then_some("ro"));
            bind(made, at, (part(&["source", "src"]).unwrap_or("/"), target), &words);
        }
        // A directory of the host behind a volume's name.
        Some("volume") | None if value.contains("device=/") => {
            let source =
                value.split("device=").nth(1).and_then(|rest| rest.split([',', '"']).next()).unwrap_or("/");
            bind(made, at, (source, target), &[]);
        }
        _ => made.left.push((at.clone(), format!("mount {value}"))),
    }
    Ok(())
}

/// `c 1:3 rwm`, behind the engine's denial of everything.
pub(super) fn device_rule(made: &mut Made, at: &Spot, value: &str) -> std::result::Result<(), String> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let [kind, numbers, access] = words[..] else { return Err("TYPE MAJOR:MINOR ACCESS is needed".into()) };
    let (major, minor) = numbers.split_once(':').ok_or("MAJOR:MINOR is needed")?;
    let number = |text: &str| match text {
        "*" => Ok(Value::Null),
        text => text.parse::<u32>().map(Value::from).map_err(|e| format!("{text:?}: {e}")),
    };
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    for (key, text) in [("major", major), ("minor", minor)] {
        if let value @ Value::Number(_) = number(text)? {
            rule[key] = value;
        }
    }
    made.set(at, "/linux/resources/devices/-", rule);
    Ok(())
}

/// Which numbers a node has is known on the machine alone; that one is given away is what counts.
pub(super) fn device(made: &mut Made, at: &Spot, value: &str) {
    let (host, rest) = value.split_once(':').unwrap_or((value, ""));
    if !host.starts_with('/') {
        made.left
            .push((at.clone(), format!("device {value}: a name of CDI, whose devices are the engine's")));
        return;
    }
    let inside = rest.split(':').next().filter(|p| p.starts_with('/')).unwrap_or(host);
    let meta =
        metadata(host).ok().filter(|m| m.file_type().is_char_device() || m.file_type().is_block_device());
    let block = meta.as_ref().is_some_and(|m| m.file_type().is_block_device());
    let rdev = meta.map_or(0, |m| m.rdev());
    let (major, minor) = (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev));
    if !made.json["linux"]["devices"].is_array() {
        made.json["linux"]["devices"] = json!([]);
    }
    let kind = if block { "b" } else { "c" };
    made.set(at, "/linux/devices/-", json!({ "path": inside, "type": kind, "major": major, "minor": minor }));
}
