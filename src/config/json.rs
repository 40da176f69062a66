//! Parses bytes into the raw structs. Errors name the location.

use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::ConfigError;
use super::at::push_name;
use super::fold::{Fold, Whole};

/// Parses the JSON document at the start of `json` and ignores the rest, as Go's decoder does for runc.
///
/// Syntax errors name line and column; type errors carry a pointer. Tracking the path and duplicate keys
/// costs time, so the first attempt does without them; only a document that fails is parsed again with both.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConfigError> {
    let reader = &mut serde_json::Deserializer::from_slice(json);
    match T::deserialize(Fold::new(reader, false)) {
        Ok(value) => Ok(value),
        Err(e) if e.classify() == Category::Data => again(json),
        Err(e) => Err(syntax(&e)),
    }
}

/// The second, slower parser.
fn again<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConfigError> {
    let document =
        Whole.deserialize(&mut serde_json::Deserializer::from_slice(json)).map_err(|e| syntax(&e))?;
    serde_path_to_error::deserialize(Fold::new(document, true))
        .map_err(|e| ConfigError::new(pointer(e.path()), plain(&e.inner().to_string())))
}

fn syntax(e: &serde_json::Error) -> ConfigError {
    ConfigError::new("", format!("not JSON: {}", lower_first(&e.to_string())))
}

/// Converts serde's path to an RFC 6901 pointer.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => push_name(&mut pointer, key),
            // The name of a variant is the value itself, not part of the path.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// serde's names of Rust types, and the corresponding JSON terms.
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

/// serde's message without its position (the pointer is more precise) and without names of Rust types.
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

/// `message` with a lower-case first letter; an abbreviation (`EOF`) stays unchanged.
fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), second) if !second.is_some_and(|c| c.is_ascii_uppercase()) => {
            first.to_ascii_lowercase().to_string() + chars.as_str()
        }
        _ => message.to_owned(),
    }
}
