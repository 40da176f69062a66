//! Names of rows and of sections, and the sources of their whys.

use std::path::Path;

use super::{Case, bundle, create_case, everything_case, hybrid, plan, policy, rootless_case, terminal_case};
use crate::harness::{Sandbox, case};
use safebox::policy::Policy;

#[case]
fn one_row_and_one_section() {
    let sb = Sandbox::new();
    let explain = |flags: &[&str]| sb.runtime().arg("explain").args(flags).arg(sb.bundle()).output();
    let row = explain(&["--row", "pivot", "--why"]).ok().stdout;
    assert_eq!(row.lines().count(), 3, "{row}");
    assert!(row.contains("pivot_root(") && row.contains("why: "), "{row}");
    let section = explain(&["--section", "exec"]).ok().stdout;
    assert!(
        section.starts_with("exec: ") && section.contains("execve(") && !section.contains("pivot_root"),
        "{section}"
    );
    let whole = explain(&[]).ok().stdout;
    assert!(section.lines().all(|line| whole.contains(line)), "{section}");
    explain(&["--row", "nope"]).exits(125).says("--row nope: no row has this name");
    explain(&["--section", "nope"])
        .exits(125)
        .says("--section nope: no section has this name; one of state, ");
}

/// The plans of all goldens: a golden of names and numbers; names are unique.
#[case]
fn every_row_has_a_name_of_its_own() {
    let cases = [
        Case::default(),
        policy(Policy::Baseline),
        policy(Policy::Privileged),
        Case { host: hybrid(), ..Case::default() },
    ];
    for case in &cases {
        let dir = bundle(case);
        let plan = plan(dir.path(), case, "ID");
        let names = plan.names();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), names.len());
        for (i, name) in names.iter().enumerate() {
            assert_eq!(plan.find(name), Ok(i));
            assert!(
                !name.is_empty() && !name.starts_with([':', '.']),
                "row {}: {}",
                i + 1,
                plan.rows[i].action
            );
        }
    }
    let case = Case::default();
    let dir = bundle(&case);
    let rows = plan(dir.path(), &case, "ID").names();
    let text: String = rows.iter().enumerate().map(|(i, name)| format!("{:4}  {name}\n", i + 1)).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/plan/golden/names.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(&file, &text).expect("write the golden");
    }
    assert_eq!(text, include_str!("../golden/names.txt"), "names.txt (UPDATE_GOLDEN=1 rewrites it)");
}

/// Man pages that a why may cite and that Debian's manpages and manpages-dev do not contain: (page, package).
const ELSEWHERE: [(&str, &str); 7] = [
    ("apparmor(7)", "apparmor"),
    ("criu(8)", "criu"),
    ("newuidmap(1)", "uidmap"),
    ("passwd(5)", "passwd"),
    ("sd_notify(3)", "libsystemd-dev"),
    ("selinux(8)", "selinux-utils"),
    ("systemd.resource-control(5)", "systemd"),
];

/// Every why cites a source, and the man pages exist. (Names are those of Debian's packages, which are
/// checked if installed; CVE ids are checked by form, in `page::sources`.)
#[case]
fn sources_exist() {
    let pages = |(name, section): (&str, &str)| {
        let dir = section.chars().take(1).collect::<String>();
        Path::new(&format!("/usr/share/man/man{dir}/{name}.{section}.gz")).exists()
    };
    let installed = pages(("namespaces", "7")) && pages(("clone", "2"));
    let mut bad = Vec::new();
    for why in whys() {
        let sources = safebox::page::sources(&why);
        if sources.is_empty() {
            bad.push(format!("no source: {why}"));
        }
        for source in sources {
            let safebox::page::Citation::Man(name, section) = &source else { continue };
            let known = ELSEWHERE.iter().any(|(page, _)| *page == source.to_string());
            if installed && !known && !pages((name, section)) {
                bad.push(format!("{source} is not in manpages or manpages-dev: {why}"));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    if !installed {
        eprintln!(
            "plan::sources_exist: manpages and manpages-dev are not installed: only the form is checked"
        );
    }
}

/// The whys of all rows in the golden plans.
fn whys() -> std::collections::BTreeSet<String> {
    let cases = [
        Case::default(),
        policy(Policy::Privileged),
        Case { host: hybrid(), ..Case::default() },
        everything_case(),
        terminal_case(),
        rootless_case(),
        create_case(),
    ];
    let mut whys = std::collections::BTreeSet::new();
    for case in &cases {
        let dir = bundle(case);
        whys.extend(plan(dir.path(), case, "ID").rows.iter().map(|s| s.action.why().to_string()));
    }
    whys
}
