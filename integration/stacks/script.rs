//! The steps of a stack, parsed from its files: sections of bash under lines that start with `#: `.
//!
//! `setup` starts the daemon, `prelude` precedes every section, `finally` follows every step and removes its
//! containers, and each `step NAME` is one row of the table. A `driver step NAME` depends on the cgroup
//! driver: if systemd runs, it runs a second time with the other driver. A `long step NAME` is skipped in the
//! short run.

/// One row.
pub struct Step {
    /// The statement that the step tests.
    pub name: String,
    /// Bash code: exit code 0 is a success, 77 means skipped with a printed reason, any other one a failure.
    pub body: String,
    /// Whether it depends on the cgroup driver.
    pub driver: bool,
    /// Whether it takes long.
    pub long: bool,
}

/// One stack.
pub struct Script {
    /// Code before every section.
    pub prelude: String,
    /// Starts the daemon.
    pub setup: String,
    /// Runs after every step.
    pub finally: String,
    /// The rows.
    pub steps: Vec<Step>,
}

impl Script {
    /// Parses the concatenation of files.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut script = Script {
            prelude: format!("set -euo pipefail\n{}\n", include_str!("common.sh")),
            setup: String::new(),
            finally: String::new(),
            steps: Vec::new(),
        };
        let sections = |text: &String| text.split("\n#: ").map(str::to_string).collect::<Vec<_>>();
        for section in texts.iter().flat_map(sections) {
            let section = section.trim_start_matches("#: ");
            let (title, body) = section.split_once('\n').unwrap_or((section, ""));
            match title.trim() {
                "setup" => script.setup.push_str(body),
                "prelude" => script.prelude.push_str(body),
                "finally" => script.finally.push_str(body),
                // Comments before the first section.
                title if title.starts_with("# ") => {}
                title => {
                    let (driver, rest) = title.strip_prefix("driver ").map_or((false, title), |r| (true, r));
                    let (long, rest) = rest.strip_prefix("long ").map_or((false, rest), |r| (true, r));
                    let name =
                        rest.strip_prefix("step ").ok_or_else(|| format!("unknown section {title:?}"))?;
                    script.steps.push(Step { name: name.into(), body: body.into(), driver, long });
                }
            }
        }
        Ok(script)
    }
}
