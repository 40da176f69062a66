//! Normalises the environment of a container's program.

use std::collections::HashSet;

/// Variable that every program gets.
const HOME: &str = "HOME";

/// Normalises `env`. For duplicate names the last value wins (getenv(3) would find the first). HOME is set to
/// `home` if it is missing or empty. runc does both.
pub fn normalise(env: &mut Vec<String>, home: impl FnOnce() -> String) {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(env.len() + 1);
    for entry in std::mem::take(env).into_iter().rev() {
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        if seen.insert(name.to_string()) && !(name == HOME && value.is_empty()) {
            kept.push(entry);
        }
    }
    kept.reverse();
    if !kept.iter().any(|entry| entry.strip_prefix(HOME).is_some_and(|rest| rest.starts_with('='))) {
        kept.push(format!("{HOME}={}", home()));
    }
    *env = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(env: &[&str]) -> Vec<String> {
        let mut env = env.iter().map(|e| (*e).to_string()).collect();
        normalise(&mut env, || "/home".into());
        env
    }

    #[test]
    fn the_last_of_a_name_counts_and_home_is_there() {
        assert_eq!(normalised(&["A=1", "B=x", "A=2"]), ["B=x", "A=2", "HOME=/home"]);
        assert_eq!(normalised(&["HOME=/here", "HOMES=x"]), ["HOME=/here", "HOMES=x"]);
        for none in [&["HOME="] as &[&str], &[], &["HOME=/here", "HOME="]] {
            assert_eq!(normalised(none), ["HOME=/home"], "{none:?}");
        }
        assert_eq!(normalised(&["A=x=y", "A="]), ["A=", "HOME=/home"]);
    }
}
