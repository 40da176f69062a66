//! From bytes to the raw structs, with errors that say where.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::ConfigError;
use super::at::push_name;

/// Reads one JSON document.
///
/// Syntax errors name line and column; type errors carry a pointer. Keeping track of the path costs
/// time, so a good document is read without it and a bad one is read again.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConfigError> {
    refuse_nul(json)?;
    match serde_json::from_slice(json) {
        Ok(value) => Ok(value),
        Err(e) if e.classify() == Category::Data => Err(located::<T>(json, &e)),
        Err(e) => Err(ConfigError::new("", format!("not JSON: {}", lower_first(&e.to_string())))),
    }
}

/// The type error of `json`, with its pointer; `first` is the same error without one.
fn located<T: DeserializeOwned>(json: &[u8], first: &serde_json::Error) -> ConfigError {
    let de = &mut serde_json::Deserializer::from_slice(json);
    match serde_path_to_error::deserialize::<_, T>(de) {
        Err(e) => ConfigError::new(pointer(e.path()), plain(&e.inner().to_string())),
        // Not reached: the same bytes failed a moment ago.
        Ok(_) => ConfigError::new("", plain(&first.to_string())),
    }
}

/// serde's path as an RFC 6901 pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => push_name(&mut pointer, key),
            // A name of a variant is the value itself, not a place.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// What serde calls Rust's types, in words that fit a JSON document.
const WORDS: [(&str, &str); 10] = [
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u64", "expected a whole number from 0 to 18446744073709551615"),
    ("expected usize", "expected a whole number from 0 to 18446744073709551615"),
    ("expected i32", "expected a whole number from -2147483648 to 2147483647"),
    ("expected i64", "expected a whole number from -9223372036854775808 to 9223372036854775807"),
    ("expected a sequence", "expected an array"),
    ("invalid type: map", "invalid type: object"),
    ("invalid type: sequence", "invalid type: array"),
    ("expected a map", "expected an object"),
];

/// serde's message without its position (the pointer is better) and without Rust's names.
fn plain(message: &str) -> String {
    let mut text = message.rfind(" at line ").and_then(|at| message.get(..at)).unwrap_or(message).to_owned();
    for (rust, json) in WORDS {
        if text.contains(rust) {
            text = text.replacen(rust, json, 1);
        }
    }
    match text.find("expected struct ") {
        Some(at) => text[..at].to_owned() + "expected an object",
        None => text,
    }
}

/// `message` in the house's lower case.
fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_lowercase().to_string() + chars.as_str())
}

/// Refuses a NUL in any string: it would end every path, argument and option early in the kernel's
/// eyes but not in ours. In JSON a NUL can only be written `\u0000`, so the walk is almost never made.
fn refuse_nul(json: &[u8]) -> Result<(), ConfigError> {
    if !json.windows(6).any(|w| w == b"\\u0000") {
        return Ok(());
    }
    // What is not JSON is reported by the reader.
    let Ok(document) = serde_json::from_slice::<Value>(json) else { return Ok(()) };
    match nul_in(&document) {
        Some(pointer) => Err(ConfigError::new(pointer, "contains a NUL byte; no kernel interface takes one")),
        None => Ok(()),
    }
}

/// Pointer of the first string with a NUL.
fn nul_in(value: &Value) -> Option<String> {
    let child = |name: &str, value: &Value| {
        let mut pointer = String::new();
        push_name(&mut pointer, name);
        if name.contains('\0') { Some(pointer) } else { nul_in(value).map(|rest| pointer + &rest) }
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(values) => values.iter().enumerate().find_map(|(i, v)| child(&i.to_string(), v)),
        Value::Object(members) => members.iter().find_map(|(name, v)| child(name, v)),
        _ => None,
    }
}
