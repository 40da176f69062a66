//! The shape of an event: one JSON object, in one line of ASCII.

use serde_json::{Map, Value, json};

/// One event; the keys `event`, `id`, `time` and `source` come first.
pub type TrailEvent = Map<String, Value>;

/// Bytes of a command line, or of an error, that an event holds.
const MOST: usize = 4096;

/// The source of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// The verb that did it.
    Reported,
    /// The watcher, from outside.
    Observed,
}

/// An event of now. `id` is empty for what concerns no container.
pub fn event(source: EventSource, name: &str, id: &str, details: Value) -> TrailEvent {
    let mut event = Map::new();
    event.insert("event".into(), name.into());
    if !id.is_empty() {
        event.insert("id".into(), id.into());
    }
    event.insert("time".into(), crate::time::now().into());
    let (source, by) = match source {
        EventSource::Reported => ("reported", Some(by())),
        EventSource::Observed => ("observed", None),
    };
    event.insert("source".into(), source.into());
    event.extend(by.map(|by| ("by".to_string(), by)));
    if let Value::Object(details) = details {
        event.extend(details.into_iter().filter(|(_, value)| !value.is_null()));
    }
    event
}

/// The caller of this verb: its user, the user who logged in (audit's loginuid), and the parent process.
fn by() -> Value {
    let parent = std::os::unix::process::parent_id();
    let name = crate::sys::read::text(format!("/proc/{parent}/comm")).unwrap_or_default();
    // 4294967295: not set.
    let login = crate::sys::read::text("/proc/self/loginuid").ok();
    let login = login.and_then(|text| text.trim().parse::<u32>().ok()).filter(|uid| *uid != u32::MAX);
    let mut by = json!({
        "uid": nix::unistd::getuid().as_raw(),
        "pid": std::process::id(),
        "parent": { "pid": parent, "name": name.trim_end() },
    });
    if let Some(login) = login {
        by["login"] = login.into();
    }
    by
}

/// A command line; what exceeds 4 KiB is cut, and counted.
pub fn words(args: &[String]) -> Value {
    let mut left = MOST;
    let mut shown: Vec<&str> = Vec::new();
    for arg in args {
        if arg.len() > left {
            shown.push(start(arg, left));
            break;
        }
        left -= arg.len();
        shown.push(arg);
    }
    let (all, kept) = (args.iter().map(String::len), shown.iter().map(|arg| arg.len()));
    match all.sum::<usize>() - kept.sum::<usize>() {
        0 if shown.len() == args.len() => json!(shown),
        cut => json!({ "first": shown, "cutBytes": cut, "cutWords": args.len() - shown.len() }),
    }
}

/// A message of at most 4 KiB.
pub fn text(text: &str) -> Value {
    start(text, MOST).into()
}

/// The longest beginning of `text` with at most `most` bytes.
fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The event as one line without its line break. Every character beyond ASCII is escaped: names come from containers and
/// images, and a terminal must not obey them (C1 controls, text direction).
pub fn line(event: &TrailEvent) -> String {
    ascii(&Value::Object(event.clone()).to_string())
}

/// JSON text in ASCII: outside of strings there is nothing else.
fn ascii(json: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a text cannot fail.
            write!(out, "\\u{unit:04x}").unwrap_or_default();
        }
    }
    out
}
