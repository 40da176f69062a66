//! A stack's steps, as its file has them: sections of bash under lines that start with `#: `.
//!
//! `setup` starts the daemon, `prelude` goes before every section, `finally` comes after every step and
//! removes its containers, and each `step NAME` is one row of the table.

/// One row.
pub struct Step {
    /// What must hold.
    pub name: String,
    /// Bash: 0 is a success, 77 means that it cannot run here and says why, anything else is a failure.
    pub body: String,
}

/// One stack.
pub struct Script {
    /// Its name.
    pub name: &'static str,
    /// What every section can use.
    pub prelude: String,
    /// Starts the daemon.
    pub setup: String,
    /// After every step.
    pub finally: String,
    /// The rows.
    pub steps: Vec<Step>,
}

impl Script {
    /// Reads a file.
    pub fn parse(name: &'static str, text: &str) -> Self {
        let mut script = Script {
            name,
            prelude: format!("set -euo pipefail\n{}\n", include_str!("common.sh")),
            setup: String::new(),
            finally: String::new(),
            steps: Vec::new(),
        };
        for section in text.split("\n#: ").map(|s| s.trim_start_matches("#: ")) {
            let (title, body) = section.split_once('\n').unwrap_or((section, ""));
            match title.trim() {
                "setup" => script.setup = body.into(),
                "prelude" => script.prelude.push_str(body),
                "finally" => script.finally = body.into(),
                title => match title.strip_prefix("step ") {
                    Some(step) => script.steps.push(Step { name: step.into(), body: body.into() }),
                    // Comments before the first section.
                    None => assert!(title.starts_with("# "), "{name}: unknown section {title:?}"),
                },
            }
        }
        script
    }
}
