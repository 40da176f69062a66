//! Formats for programs, exit codes, and how long it takes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use libtest_mimic::Completion;
use serde_json::{Value, json};

use super::bundles::{audit, good};
use crate::harness::needs::find;
use crate::harness::{Sandbox, case};

fn call(sb: &Sandbox, args: &[&str]) -> crate::harness::Output {
    sb.runtime().arg("audit").arg(sb.bundle()).args(args).output()
}

#[case]
fn this_machine_is_judged() {
    let sb = Sandbox::new();
    let out = sb.runtime().args(["audit", "host", "--format", "json"]).output().ok();
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let verdicts = report["targets"][0]["verdicts"].as_array().expect("verdicts");
    let seccomp = verdicts.iter().find(|v| v["rule"] == "host-seccomp").expect("host-seccomp");
    assert_eq!(seccomp["verdict"], "pass", "{out}");
    assert!(verdicts.len() >= 15, "{out}");
}

#[case]
fn the_exit_code_follows_fail_on() {
    let sb = good().patch("/process/user/uid", json!(0));
    call(&sb, &[]).exits(0);
    call(&sb, &["--fail-on", "high"]).exits(0);
    let out = call(&sb, &["--fail-on", "medium"]).exits(1);
    assert!(out.stdout.contains("medium non-root: it runs as root"), "{out}");
    call(&good().patch("/linux/seccomp", json!(null)), &["--fail-on", "high"]).exits(1);
}

#[case]
fn findings_name_file_line_and_pointer() {
    let sb = good().patch("/process/user/uid", json!(0));
    let text = std::fs::read_to_string(sb.bundle().join("config.json")).expect("config.json");
    let line = text.lines().position(|l| l.contains("\"user\"")).expect("a user") + 1;
    let out = call(&sb, &["--format", "json"]).ok();
    let report: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let findings = report["targets"][0]["findings"].as_array().expect("findings");
    let found = findings.iter().find(|f| f["rule"] == "non-root").expect("non-root");
    assert_eq!((&found["pointer"], &found["line"]), (&json!("/process/user"), &json!(line)), "{found:#}");
    assert!(found["file"].as_str().is_some_and(|f| f.ends_with("bundle/config.json")), "{found:#}");
    assert!(found["remedy"].as_str().is_some_and(|r| r.contains("process.user.uid")), "{found:#}");
}

fn bad() -> Sandbox {
    good()
        .patch("/process/user/uid", json!(0))
        .patch("/linux/seccomp", json!(null))
        .patch("/process/env/-", json!("TOKEN=x"))
}

fn sarif(sb: &Sandbox) -> Value {
    serde_json::from_str(&call(sb, &["--format", "sarif"]).ok().stdout).expect("JSON")
}

#[case]
fn sarif_has_what_github_asks_for() {
    let log = sarif(&bad());
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    assert!(results.len() >= 3, "{log:#}");
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("an index");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap_or("")), "{result:#}");
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().is_some_and(|n| n > 0), "{result:#}");
        assert!(
            place["artifactLocation"]["uri"].as_str().is_some_and(|u| u.starts_with("file:///")),
            "{result:#}"
        );
        assert!(result["message"]["text"].as_str().is_some_and(|t| !t.is_empty()));
        assert!(result["partialFingerprints"]["primaryLocationLineHash"].is_string());
    }
    for rule in rules {
        assert!(rule["shortDescription"]["text"].is_string() && rule["help"]["text"].is_string(), "{rule:#}");
        let severity = rule["properties"]["security-severity"].as_str().expect("a severity");
        assert!(severity.parse::<f64>().is_ok_and(|n| n > 0.0 && n <= 10.0));
    }
}

/// A Python program that validates a log against the published schema.
const VALIDATE: &str = r#"
import json, sys, os
sys.path.insert(0, sys.argv[1])
import jsonschema
schema = json.load(open(os.path.join(sys.argv[1], "schema.json")))
log = json.load(open(sys.argv[2]))
errors = list(jsonschema.Draft7Validator(schema).iter_errors(log))
for e in errors:
    print(list(e.absolute_path), e.message[:300])
assert list(jsonschema.Draft7Validator(schema).iter_errors({"version": "2.1.0"})), "the schema accepts a log without runs"
sys.exit(1 if errors else 0)
"#;

/// The schema is fetched once and kept outside of the tree.
#[case]
fn sarif_is_valid_by_the_published_schema() -> Completion {
    let (Some(python), Some(dir)) = (find("python3"), packages()) else {
        return Completion::ignored_with("the schema cannot be fetched from PyPI here");
    };
    let sb = bad();
    let log = sb.dir().join("log.sarif");
    std::fs::write(&log, sarif(&sb).to_string()).expect("write");
    let out = Command::new(python).args(["-c", VALIDATE]).arg(dir).arg(&log).output().expect("python3");
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    Completion::Completed
}

/// A directory with Python's jsonschema (PyPI) and the schema of SARIF 2.1.0, which crates.io's serde-sarif carries.
fn packages() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let dir = home.join(".cache/safebox-test-sarif");
    if dir.join("schema.json").is_file() && dir.join("jsonschema").is_dir() {
        return Some(dir);
    }
    std::fs::create_dir_all(dir.join("fetch")).ok()?;
    let run = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "jsonschema==4.23.0", "--target"];
    let manifest = "[package]\nname = \"fetch\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\nserde-sarif = \"=0.8.0\"\n[workspace]\n";
    std::fs::write(dir.join("fetch/Cargo.toml"), manifest).ok()?;
    std::fs::write(dir.join("fetch/lib.rs"), "").ok()?;
    let fetched = run(Command::new("python3").args(pip).arg(&dir))
        && run(Command::new("cargo").arg("fetch").current_dir(dir.join("fetch")));
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let sources = std::fs::read_dir(cargo.join("registry/src")).ok().filter(|_| fetched)?;
    let schema = sources
        .flatten()
        .map(|e| e.path().join("serde-sarif-0.8.0/src/schema.json"))
        .find(|p| p.is_file())?;
    std::fs::copy(schema, dir.join("schema.json")).ok()?;
    Some(dir)
}

#[case]
fn junit_counts_what_it_holds() {
    let text = call(&bad(), &["--format", "junit"]).ok().stdout;
    let count = |what: &str| text.matches(what).count();
    let attribute = |name: &str| {
        let (_, rest) = text.split_once(&format!(" {name}=\"")).expect("an attribute");
        rest.split('"').next().and_then(|n| n.parse::<usize>().ok()).expect("a number")
    };
    assert_eq!(count("<testcase "), attribute("tests"), "{text}");
    assert_eq!(count("<failure "), attribute("failures"), "{text}");
    assert_eq!(count("<skipped "), attribute("skipped"), "{text}");
    if let Some(python) = find("python3") {
        let sb = good();
        let file = sb.dir().join("junit.xml");
        std::fs::write(&file, &text).expect("write");
        let parse = "import sys, xml.etree.ElementTree as e; e.parse(sys.argv[1])";
        assert!(Command::new(python).args(["-c", parse]).arg(&file).status().expect("python3").success());
    }
}

#[case]
fn words_of_a_bundle_do_not_reach_the_terminal() {
    let sb = good().patch("/process/env/-", json!("X_TOKEN\u{1b}[2J\nforged=s"));
    let out = call(&sb, &[]).ok();
    assert!(out.stdout.contains("X_TOKEN\\u{1b}[2J\\nforged"), "{out}");
    assert!(!out.stdout.contains('\u{1b}'), "{out}");
}

#[case]
fn a_thousand_bundles_in_one_call() {
    let sb = bad();
    let bundle = sb.bundle().display().to_string();
    let out = sb.runtime().arg("audit").args(vec![bundle; 1000]).output().ok();
    assert_eq!(out.stdout.matches("(bundle): ").count(), 1000);
    assert_eq!(audit(&sb).findings().len(), 3);
}
