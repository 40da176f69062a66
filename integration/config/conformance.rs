//! The tables of conformance.md are complete: every property of oci-spec's types and every verb and option
//! has a row, every row names an existing one, and every test named in a row exists.

mod properties;

use std::collections::BTreeSet;

use clap::CommandFactory;
use oci_spec::runtime::Spec;

use crate::harness::{Case, all, case};

/// The cells of the rows of conformance.md whose first cell starts with `start`.
fn rows(start: &str) -> Vec<Vec<&'static str>> {
    let rows: Vec<Vec<_>> = include_str!("../conformance.md")
        .lines()
        .filter(|l| l.starts_with(start))
        .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 5, "the table of {start} is gone");
    assert!(rows.iter().all(|r| r.len() == 3), "three cells each");
    rows
}

fn field_rows() -> Vec<Vec<&'static str>> {
    rows("| `/")
}

fn verb_rows() -> Vec<Vec<&'static str>> {
    rows("| **`")
}

/// The words in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// `/a/{b,c}` as `/a/b` and `/a/c`.
fn expand(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('{') else { return vec![pattern.to_string()] };
    let (list, tail) = rest.split_once('}').unwrap_or_else(|| panic!("{pattern}: no closing brace"));
    list.split(',').flat_map(|word| expand(&format!("{head}{word}{tail}"))).collect()
}

#[case]
fn every_property_has_a_row() {
    let properties: BTreeSet<_> = properties::of::<Spec>().into_iter().collect();
    assert!(properties.len() > 200 && properties.contains("/linux/resources/memory/limit"), "{properties:?}");
    let listed: Vec<_> =
        field_rows().iter().flat_map(|row| quoted(row[0]).flat_map(expand).collect::<Vec<_>>()).collect();
    // `/windows/**` is the section of another system; an object has a row if its members have rows.
    let covers = |pattern: &str, property: &str| match pattern.strip_suffix("/**") {
        Some(section) => property == section || property.starts_with(&format!("{section}/")),
        None => pattern == property || pattern.starts_with(&format!("{property}/")),
    };
    let lacking: Vec<_> =
        properties.iter().filter(|p| !listed.iter().any(|pattern| covers(pattern, p))).collect();
    assert!(lacking.is_empty(), "no row: {lacking:#?}");
    let invented: Vec<_> =
        listed.iter().filter(|pattern| !properties.iter().any(|p| covers(pattern, p))).collect();
    assert!(invented.is_empty(), "rows of properties that do not exist: {invented:#?}");
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = listed.iter().filter(|p| !seen.insert(*p)).collect();
    assert!(twice.is_empty(), "listed twice: {twice:?}");
}

/// The options of a command in `--help`; `None` for hidden ones.
fn flags(command: &clap::Command) -> BTreeSet<String> {
    command
        .get_arguments()
        .filter(|a| !a.is_hide_set())
        .filter_map(|a| a.get_long())
        .map(|long| format!("--{long}"))
        .collect()
}

/// Including hidden options.
fn all_flags(cli: &clap::Command, verb: &str) -> BTreeSet<String> {
    let command = cli.find_subcommand(verb).unwrap_or(cli);
    command.get_arguments().filter_map(|a| a.get_long()).map(|long| format!("--{long}")).collect()
}

#[case]
fn every_verb_and_flag_has_a_row() {
    let cli = safebox::cli::Cli::command();
    let mut expected: Vec<(String, BTreeSet<String>)> =
        cli.get_subcommands().map(|c| (c.get_name().to_string(), flags(c))).collect();
    expected.push(("safebox".into(), flags(&cli)));
    for row in verb_rows() {
        let name = quoted(row[0]).next().unwrap_or_default();
        let at = expected.iter().position(|(n, _)| n == name).unwrap_or_else(|| panic!("no verb {name}"));
        let (_, flags) = expected.remove(at);
        let listed: BTreeSet<_> =
            quoted(row[1]).map(|f| f.split(' ').next().unwrap_or_default().to_string()).collect();
        let known: BTreeSet<_> = all_flags(&cli, name);
        // Refused options are not in `--help`; the tests of the option table cover them.
        let differ: Vec<_> = flags.difference(&listed).chain(listed.difference(&known)).collect();
        assert!(differ.is_empty(), "{name}: in the table or on the command line only: {differ:?}");
    }
    assert!(expected.is_empty(), "verbs without a row: {expected:?}");
}

#[case]
fn every_row_names_tests_that_exist() {
    let names: BTreeSet<_> = all().into_iter().map(Case::name).collect();
    for row in field_rows().into_iter().chain(verb_rows()) {
        let named: Vec<_> = quoted(row[2]).collect();
        assert!(!named.is_empty(), "{}: no test", row[0]);
        for test in named {
            assert!(names.contains(test), "{}: there is no test {test}", row[0]);
        }
    }
}
