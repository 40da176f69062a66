//! Tests of the sources: a module imports only from layers below its own, and a type name has one meaning.
//!
//! The list is in the crate's documentation, lowest layer first. The test reads every path in the sources
//! that starts with `crate`, `super` or `self`, in `use` statements and elsewhere, and compares it with the
//! list. For the names it reads the declarations of types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const TOUR: &str = include_str!("lib.rs");

type Module = Vec<String>;

/// The layers, lowest first, as listed in the crate's documentation: one per line of the block after "# The
/// layers".
fn layers() -> Vec<String> {
    let block = TOUR.split("# The layers").nth(1).expect("the tour lists the layers");
    let block = block.split("```").nth(1).expect("a block");
    let lines = block.lines().skip(1).filter_map(|line| line.strip_prefix("//! "));
    lines.filter_map(|line| Some(line.split_whitespace().next()?.trim_end_matches('/').to_string())).collect()
}

/// Every module with its source, without comments and tests.
fn modules() -> BTreeMap<Module, String> {
    fn walk(dir: &Path, name: &Module, found: &mut BTreeMap<Module, String>) {
        for entry in std::fs::read_dir(dir).expect("src").flatten() {
            let (path, stem) = (entry.path(), PathBuf::from(entry.file_name()));
            let stem = stem.file_stem().expect("a name").to_string_lossy().into_owned();
            let below = [name.clone(), vec![stem.clone()]].concat();
            if path.is_dir() {
                walk(&path, &below, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !below.contains(&"tests".into()) {
                let module = if stem == "mod" { name.clone() } else { below };
                found.insert(module, code(&std::fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Vec::new(), &mut found);
    for root in ["lib", "main", "layers"] {
        found.remove(&vec![root.to_string()]);
    }
    found
}

/// The code without comments and without the items that only tests have (`#[cfg(test)]`): what follows those counts.
fn code(text: &str) -> String {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim() != "#[cfg(test)]" {
            out.push(line.split("//").next().unwrap_or_default());
            continue;
        }
        let item = lines.find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
        if !item.ends_with([';', '}']) {
            let end =
                |line: &&str| line.len() == indent + 1 && line.ends_with(['}', ';']) || line.trim() == "};";
            lines.find(end);
        }
    }
    out.join("\n")
}

/// The paths of a `use` tree, or of one path: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(prefix: &[String], tree: &str, out: &mut Vec<Module>) {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (i, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        let (path, group) = part.split_once('{').map_or((part, None), |(p, g)| (p, Some(g.trim_end())));
        let path = path.split(" as ").next().unwrap_or_default();
        let words = path.split("::").map(str::trim).filter(|w| !w.is_empty()).map(String::from);
        let path = [prefix.to_vec(), words.collect()].concat();
        match group {
            Some(group) => leaves(&path, group.strip_suffix('}').unwrap_or(group), out),
            None => out.push(path),
        }
    }
}

/// Every path in `code` that starts with `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<Module> {
    let mut out = Vec::new();
    for first in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(first) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || "_:$".contains(before) {
                continue;
            }
            let rest = &code[at..];
            // In a `use` a tree follows; elsewhere a path ends at the first character that no path contains.
            let line = code[..at].rsplit('\n').next().unwrap_or_default().trim_start();
            let tree = line.starts_with("use ") || (line.starts_with("pub") && line.contains("use "));
            let end = if tree {
                rest.find(';')
            } else {
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            };
            leaves(&[], &rest[..end.unwrap_or(rest.len())], &mut out);
        }
    }
    out
}

/// The module that `path`, found in `from`, refers to.
fn target(path: &[String], from: &Module, known: &BTreeMap<Module, String>) -> Option<Module> {
    let mut at: Module = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => from.clone(),
    };
    for word in path {
        match word.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            word => at.push(word.into()),
        }
    }
    while !at.is_empty() && !known.contains_key(&at) {
        at.pop();
    }
    (!at.is_empty() && at != *from).then_some(at)
}

fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let known = modules();
    let of = |(from, code): (&Module, &String)| {
        (from.clone(), paths(code).iter().filter_map(|path| target(path, from, &known)).collect())
    };
    known.iter().map(of).collect()
}

#[test]
fn every_import_leads_to_a_lower_layer() {
    let layers = layers();
    let layer = |module: &Module| {
        layers.iter().position(|l| *l == module[0]).unwrap_or_else(|| panic!("{} is in no layer", module[0]))
    };
    let imports = imports();
    assert!(imports.len() > 100, "the sources were not found");
    let mut upward = Vec::new();
    for (from, to) in &imports {
        let above = to.iter().filter(|to| layer(to) > layer(from));
        upward.extend(above.map(|to| format!("{} -> {}", from.join("::"), to.join("::"))));
    }
    assert!(upward.is_empty(), "imports from a higher layer:\n{}", upward.join("\n"));
    for name in &layers {
        assert!(imports.keys().any(|m| m[0] == *name), "{name} is listed and is no module");
    }
}

/// The remainder of `imports` after repeatedly removing modules without imports in the remainder: the modules
/// in or between cycles.
fn rest(mut imports: BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    loop {
        let left: BTreeSet<Module> = imports.keys().cloned().collect();
        imports.retain(|_, to| to.iter().any(|to| left.contains(to)));
        if imports.len() == left.len() {
            return left;
        }
    }
}

fn turned(imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut turned: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, to) in imports {
        for to in to {
            turned.entry(to.clone()).or_default().insert(from.clone());
        }
    }
    turned
}

/// Also within a layer, no file imports a file that imports it, directly or indirectly. A `mod.rs` that only
/// names or calls its own children (by paths that do not start with `crate`) is not counted.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports();
    let below = rest(imports.clone());
    let above = rest(turned(&imports));
    let circle: Vec<_> = below.intersection(&above).map(|m| m.join("::")).collect();
    assert!(circle.is_empty(), "in or between circles of imports: {}", circle.join(", "));
    let m = |name: &str| vec![name.to_string()];
    let planted = BTreeMap::from([
        (m("a"), BTreeSet::from([m("b")])),
        (m("b"), BTreeSet::from([m("c")])),
        (m("c"), BTreeSet::from([m("b")])),
    ]);
    assert!(rest(planted).contains(&m("b")), "a planted circle is seen");
}

/// Tests the parser of paths.
#[test]
fn paths_are_found_in_all_their_forms() {
    let code = code(
        "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more {\n    use crate::l;\n}\nuse crate::a::{b, c::{self, D}, e as f};\npub(super) use super::g;\nfn x() { crate::h::i(1); $crate::j }\n// crate::k\n",
    );
    let mut found: Vec<_> = paths(&code).iter().map(|p| p.join("::")).collect();
    found.sort();
    assert_eq!(
        found,
        ["crate::a::b", "crate::a::c::D", "crate::a::c::self", "crate::a::e", "crate::h::i", "super::g"]
    );
}

/// The name of the type that a line declares: a struct, enum, union, trait or alias. An indented alias is an associated
/// type, whose name its trait gives.
fn declared(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let item = match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => item,
    };
    let (keyword, rest) = item.strip_prefix("unsafe ").unwrap_or(item).split_once(' ')?;
    let counts = match keyword {
        "struct" | "enum" | "union" | "trait" => true,
        "type" => !line.starts_with(' '),
        _ => false,
    };
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    Some(&rest[..end]).filter(|name| counts && name.starts_with(char::is_uppercase))
}

/// A reader who meets a type's name does not look up which module's it is.
#[test]
fn no_type_name_stands_twice() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, code) in modules() {
        for name in code.lines().filter_map(declared) {
            files.entry(name.into()).or_default().push(module.join("::"));
        }
    }
    assert!(files.len() > 400, "the declarations were not found");
    let twice = files.iter().filter(|(_, at)| at.len() > 1);
    let twice: Vec<_> = twice.map(|(name, at)| format!("{name}: {}", at.join(", "))).collect();
    assert!(twice.is_empty(), "type names with two meanings:\n{}", twice.join("\n"));
    let lines =
        ["pub(in crate::x) struct A<T>(T);", "    pub enum B {", "type C = D;", "pub unsafe trait E {"];
    assert_eq!(lines.map(declared), [Some("A"), Some("B"), Some("C"), Some("E")]);
    let others =
        ["    type Output = A;", "let kind = F {", "pub enum $name {", "impl G for H {", "use a::I;"];
    assert!(others.iter().all(|line| declared(line).is_none()));
}
