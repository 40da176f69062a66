//! A `docker run` line as a list of its options.

use std::path::PathBuf;

use super::{Description, Spot};
use crate::error::{Error, Result};
use crate::launch::options::{OptionRow, Says, ValueShape, rows};

/// Whether a row takes a value.
fn takes_value(row: &OptionRow) -> bool {
    !matches!(row.says, Says::Flag(_) | Says::Switch(_) | Says::Refused(ValueShape::Flag, _))
}

/// Options of docker run that take a value and that no row has.
const OTHERS: [&str; 10] = [
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "log-driver",
    "log-opt",
    "network-alias",
    "use-api-socket",
];

fn find(name: &str) -> Option<&'static OptionRow> {
    rows().find(|r| r.long == name || r.also == Some(name))
}

fn find_short(c: char) -> Option<&'static OptionRow> {
    rows().find(|r| r.short == Some(c))
}

/// The container of a line: `docker run OPTIONS IMAGE [COMMAND...]`, also of `podman` and `nerdctl`.
pub fn describe(file: &str, line: &str) -> Result<Description> {
    let at = Spot { file: PathBuf::from(file), line: 1 };
    let failed = |what: String| Error::msg(format!("{at}: {what}"));
    let words = super::words::command(line.trim().trim_start_matches("$ ")).map_err(failed)?;
    let mut words = words.into_iter().peekable();
    before_run(&mut words);
    match words.next().as_deref() {
        Some("run" | "create") => {}
        other => return Err(failed(no_run(other))),
    }
    let mut d = Description::new("docker run", at.clone());
    while let Some(word) = words.next() {
        if word == "--" {
            d.image = words.next().map(|image| (image, at.clone()));
            d.args = words.by_ref().collect();
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, given) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_string())));
            let row = find(name);
            let value = row.map_or(OTHERS.contains(&name), takes_value);
            match (row, value, given) {
                (Some(r), false, Some(given)) if matches!(r.says, Says::Switch(_)) => {
                    d.say(&at, r.long, given)
                }
                (Some(r), false, given) => {
                    if on(&word, given.as_deref().unwrap_or("true")).map_err(failed)? {
                        d.say(&at, r.long, "");
                    }
                }
                (Some(r), true, given) => {
                    let value = given.or_else(|| words.next());
                    d.say(&at, r.long, value.ok_or_else(|| failed(format!("--{name}: a value is missing")))?);
                }
                (None, takes, given) => {
                    if takes && given.is_none() {
                        words.next();
                    }
                    d.unknown.push((at.clone(), format!("--{name}")));
                }
            }
        } else if let Some(short) = word.strip_prefix('-').filter(|s| !s.is_empty()) {
            shorts(&mut d, &at, short, &mut words)?;
        } else {
            d.image = Some((word, at.clone()));
            d.args = words.by_ref().collect();
        }
    }
    if d.image.is_none() {
        return Err(failed("no image is named".into()));
    }
    Ok(d)
}

/// Takes what stands before `run`: variables, programs that start another one, the engine with its own options.
fn before_run(words: &mut std::iter::Peekable<impl Iterator<Item = String>>) {
    const STARTERS: [&str; 7] = ["sudo", "doas", "env", "exec", "command", "time", "nohup"];
    const ENGINES: [&str; 5] = ["docker", "podman", "nerdctl", "finch", "container"];
    const WITH_VALUE: [&str; 14] = [
        "-u",
        "--user",
        "-g",
        "--group",
        "-H",
        "--host",
        "-c",
        "--context",
        "-l",
        "--log-level",
        "--config",
        "--namespace",
        "-n",
        "--root",
    ];
    let mut starts_other = false;
    while let Some(word) = words.peek() {
        let name = word.rsplit('/').next().unwrap_or_default();
        let is_variable = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        // -n of sudo has no value.
        let has_value = WITH_VALUE.contains(&word.as_str()) && !(starts_other && word == "-n");
        if STARTERS.contains(&name) {
            starts_other = true;
        } else if ENGINES.contains(&name) {
            starts_other = false;
        } else if !is_variable && !word.starts_with('-') {
            return;
        }
        words.next();
        if has_value {
            words.next();
        }
    }
}

fn no_run(word: Option<&str>) -> String {
    let has = word.map_or_else(|| "it ends there".into(), |word| format!("this one has {word:?} there"));
    format!("a line `docker run ...` is needed: {has}")
}

/// A boolean as Go reads it (strconv.ParseBool).
fn on(word: &str, text: &str) -> std::result::Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{word}: true or false is needed")),
    }
}

/// `-it`, `-p80:80`, `-p 80:80`.
fn shorts(
    d: &mut Description,
    at: &Spot,
    letters: &str,
    words: &mut impl Iterator<Item = String>,
) -> Result<()> {
    for (i, c) in letters.char_indices() {
        let Some(row) = find_short(c) else {
            d.unknown.push((at.clone(), format!("-{c}")));
            continue;
        };
        if !takes_value(row) {
            d.say(at, row.long, "");
            continue;
        }
        let rest = letters[i + c.len_utf8()..].trim_start_matches('=');
        let value = if rest.is_empty() { words.next() } else { Some(rest.to_string()) };
        let value = value.ok_or_else(|| Error::msg(format!("{at}: -{c}: a value is missing")))?;
        d.say(at, row.long, value);
        break;
    }
    Ok(())
}
