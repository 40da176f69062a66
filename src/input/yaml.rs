//! YAML as a tree whose every node knows its line. The parser bounds nodes, depth, aliases and the size of what they
//! expand to.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Spot;
use crate::error::{Error, Result};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// A scalar, in words.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order.
    Map(Vec<(String, Node)>),
}

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub tree: Tree,
    /// From 1; of a mapping's value the line of its key.
    pub line: u32,
}

/// A document.
pub struct Document {
    /// The file.
    pub file: PathBuf,
    /// Its value.
    pub top: Node,
    /// Variables in it that are not set: (line, name).
    pub unset: Vec<(u32, String)>,
}

struct RawTree(Tree);

impl<'de> Deserialize<'de> for RawTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(RawTree)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of YAML")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_unit<E>(self) -> std::result::Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> std::result::Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Tree, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<RawTree>>()? {
            list.push(node(item));
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<RawTree>>()? {
            let line = line(key.referenced.line());
            map.push((key.value, Node { tree: value.value.0, line }));
        }
        Ok(Tree::Map(map))
    }
}

fn line(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX).max(1)
}

fn node(item: Spanned<RawTree>) -> Node {
    Node { line: line(item.referenced.line()), tree: item.value.0 }
}

/// The first line of the parser's message, without the place and without the advice to programmers.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(", set DuplicateKeyPolicy").next().unwrap_or(line);
    match line.strip_prefix("error: line ").and_then(|rest| rest.split_once(": ")) {
        Some((place, text)) if place.contains("column") => text.into(),
        _ => line.into(),
    }
}

/// The documents of a file.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Document>> {
    let all: Vec<Spanned<RawTree>> = serde_saphyr::from_multiple(text).map_err(|e| {
        let place = e.location().map(|l| format!(":{}:{}", l.line(), l.column())).unwrap_or_default();
        let line =
            e.location().and_then(|l| text.lines().nth(usize::try_from(l.line()).ok()?.checked_sub(1)?));
        let hint = match line.is_some_and(|line| line.contains("{{")) {
            true => ": it is a template: render it first (helm template)",
            false => "",
        };
        Error::msg(format!("{}{place}: {}{hint}", file.display(), plain(&e.to_string())))
    })?;
    let document = |item| Document { file: file.to_path_buf(), top: node(item), unset: Vec::new() };
    Ok(all.into_iter().map(document).collect())
}

impl Document {
    /// The place of a node.
    pub fn at(&self, node: &Node) -> Spot {
        Spot { file: self.file.clone(), line: node.line }
    }

    /// An error at a node.
    pub fn error(&self, node: &Node, what: impl fmt::Display) -> Error {
        Error::msg(format!("{}: {what}", self.at(node)))
    }
}

impl Node {
    /// The member of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().rev().find(|(k, _)| k == key);
        found.map(|(_, node)| node).filter(|node| node.tree != Tree::Null)
    }

    /// The value at a path of keys.
    pub fn path(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// A mapping's entries; none of anything else.
    pub fn entries(&self) -> &[(String, Node)] {
        match &self.tree {
            Tree::Map(map) => map,
            _ => &[],
        }
    }

    /// A mapping's entries that have a value.
    pub fn set_entries(&self) -> impl Iterator<Item = &(String, Node)> {
        self.entries().iter().filter(|(_, value)| value.tree != Tree::Null)
    }

    /// A sequence's items; a value alone is one item.
    pub fn items(&self) -> Vec<&Node> {
        match &self.tree {
            Tree::List(list) => list.iter().collect(),
            Tree::Null => Vec::new(),
            _ => vec![self],
        }
    }

    /// A scalar in words.
    pub fn text(&self) -> Option<String> {
        match &self.tree {
            Tree::Text(text) => Some(text.clone()),
            Tree::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// A boolean, also in the words of YAML 1.1; `None`: it is none.
    pub fn boolean(&self) -> Option<bool> {
        let is = |text: &str, words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        match &self.tree {
            Tree::Bool(value) => Some(*value),
            Tree::Text(text) if is(text, ["true", "yes", "on", "y"]) => Some(true),
            Tree::Text(text) if is(text, ["false", "no", "off", "n"]) => Some(false),
            _ => None,
        }
    }

    /// A scalar that is true.
    pub fn is_true(&self) -> bool {
        self.boolean() == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Document {
        parse(Path::new("f.yaml"), text).unwrap().remove(0)
    }

    #[test]
    fn every_node_has_its_line() {
        let d = one("a: 1\nb:\n  - x\n  - {c: true, d: [1, 0.5]}\ne: \"y\"\n");
        assert_eq!(d.top.get("a").unwrap().line, 1);
        let b = d.top.get("b").unwrap();
        assert_eq!(b.line, 2);
        assert_eq!((b.items()[0].line, b.items()[1].line), (3, 4));
        let c = b.items()[1].get("c").unwrap();
        assert!(c.is_true() && c.line == 4);
        assert_eq!(b.items()[1].get("d").unwrap().items()[1].text().unwrap(), "0.5");
        assert_eq!(d.top.get("e").unwrap().text().unwrap(), "y");
        assert!(d.top.get("none").is_none());
    }

    #[test]
    fn mistakes_have_a_place_and_bombs_end() {
        let error = parse(Path::new("f.yaml"), "a: [1,\nb: 2\n").err().unwrap().to_string();
        assert!(error.starts_with("f.yaml:") && !error.contains("line "), "{error}");
        let twice = parse(Path::new("f.yaml"), "a: 1\na: 2\n").err().unwrap().to_string();
        let helm = parse(Path::new("f.yaml"), "a: {{ .Values.x }}\n").err().unwrap().to_string();
        assert!(helm.ends_with("render it first (helm template)"), "{helm}");
        assert_eq!(twice, "f.yaml:2:1: duplicate mapping key: a");
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse(Path::new("bomb.yaml"), &bomb).is_err());
        let deep = "[".repeat(100_000);
        assert!(parse(Path::new("deep.yaml"), &deep).is_err());
    }
}
