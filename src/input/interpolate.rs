//! Variables in a compose file: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${NAME:+text}`, `$$`
//! (compose-spec, Interpolation). They come from the caller's environment, then from `.env` beside the file.

use super::yaml::{Document, Node, Tree};
use crate::error::{Error, Result};

/// Nested defaults are read to this depth.
const DEPTH: usize = 8;

/// Replaces the variables in all values; those that are not set are noted in the document.
pub fn apply(document: &mut Document) -> Result<()> {
    let beside = document.file.with_file_name(".env");
    let file = if beside.is_file() { super::read(&beside)? } else { String::new() };
    let lookup = |name: &str| std::env::var(name).ok().or_else(|| assigned(&file, name));
    let mut unset = Vec::new();
    let mut top = std::mem::replace(&mut document.top, Node { tree: Tree::Null, line: 1 });
    let done = walk(&mut top, &lookup, &mut unset);
    document.top = top;
    document.unset = unset;
    done.map_err(|(line, why)| Error::msg(format!("{}:{line}: {why}", document.file.display())))
}

/// A line `NAME=VALUE` of an env file.
fn assigned(file: &str, name: &str) -> Option<String> {
    let found = file.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?.trim();
    let quoted = |q: char| found.strip_prefix(q).and_then(|rest| rest.strip_suffix(q));
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(found).to_string())
}

type VariableLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn walk(
    node: &mut Node,
    lookup: VariableLookup<'_>,
    unset: &mut Vec<(u32, String)>,
) -> std::result::Result<(), (u32, String)> {
    let line = node.line;
    match &mut node.tree {
        Tree::Text(text) if text.contains('$') => {
            let mut missing = Vec::new();
            *text = expand(text, lookup, &mut missing, 0).map_err(|why| (line, why))?;
            unset.extend(missing.into_iter().map(|name| (line, name)));
        }
        Tree::List(list) => list.iter_mut().try_for_each(|item| walk(item, lookup, unset))?,
        Tree::Map(map) => map.iter_mut().try_for_each(|(_, value)| walk(value, lookup, unset))?,
        _ => {}
    }
    Ok(())
}

/// The text with its variables replaced.
fn expand(
    text: &str,
    lookup: VariableLookup<'_>,
    unset: &mut Vec<String>,
    depth: usize,
) -> std::result::Result<String, String> {
    if depth > DEPTH {
        return Err("variables are nested too deeply".into());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| format!("{text:?}: a brace is not closed"))?;
            out.push_str(&braced(&after[..end], lookup, unset, depth)?);
            rest = &after[end + 1..];
        } else {
            let end = name_end(rest);
            if end == 0 {
                return Err(format!("{text:?}: a $ without a name: write $$"));
            }
            out.push_str(&value(&rest[..end], lookup, unset));
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn value(name: &str, lookup: VariableLookup<'_>, unset: &mut Vec<String>) -> String {
    lookup(name).unwrap_or_else(|| {
        unset.push(name.to_string());
        String::new()
    })
}

fn name_end(text: &str) -> usize {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// The position of the brace that closes the one before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// What stands between braces.
fn braced(
    text: &str,
    lookup: VariableLookup<'_>,
    unset: &mut Vec<String>,
    depth: usize,
) -> std::result::Result<String, String> {
    let (name, rest) = text.split_at(name_end(text));
    if name.is_empty() {
        return Err(format!("${{{text}}}: a name is needed"));
    }
    let (empty_counts, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
    let has = lookup(name).filter(|value| !(empty_counts && value.is_empty()));
    let mut word = |word: &str| expand(word, lookup, unset, depth + 1);
    match (rest.chars().next(), rest.get(1..).unwrap_or_default()) {
        (None, _) if !empty_counts => Ok(value(name, lookup, unset)),
        (Some('-'), default) => has.map_or_else(|| word(default), Ok),
        (Some('+'), text) => has.map_or_else(|| Ok(String::new()), |_| word(text)),
        (Some('?'), message) => has.ok_or_else(|| format!("the variable {name} is needed: {message}")),
        _ => Err(format!("${{{text}}}: not a form of compose files")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_those_of_compose() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_string()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let of = |text: &str| expand(text, &lookup, &mut Vec::new(), 0);
        for (text, want) in [
            ("$A-${A}-$$A", "a-a-$A"),
            ("${X:-d}${EMPTY:-d}${EMPTY-d}", "dd"),
            ("${X:-${Y:-${A}}}", "a"),
            ("${A:+yes}${X:+yes}", "yes"),
            ("${A:?needed}", "a"),
            ("$X", ""),
        ] {
            assert_eq!(of(text).as_deref(), Ok(want), "{text}");
        }
        for text in ["${A", "$", "$1", "${}", "${A!}", "${X:?say it}", &"${X:-".repeat(20)] {
            assert!(of(text).is_err(), "{text}");
        }
        let mut unset = Vec::new();
        expand("$X ${Y}", &lookup, &mut unset, 0).unwrap();
        assert_eq!(unset, ["X", "Y"]);
        assert_eq!(assigned("# x\nA=1\nB=\"two words\"\n", "B").as_deref(), Some("two words"));
    }
}
