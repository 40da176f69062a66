//! Names of rows: `pivot`, `seccomp`, `mount:/proc`. They stay when a host or a config adds rows before them, so that
//! `--until`, `--fail` and `--row` take them instead of a number.

use super::Plan;

impl Plan {
    /// The names of all rows, each once: the second row with a name gets `.2` after it.
    pub fn names(&self) -> Vec<String> {
        let mut seen = std::collections::HashMap::new();
        let mut once = |name: String| {
            let count = seen.entry(name.clone()).or_insert(0);
            *count += 1;
            if *count == 1 { name } else { format!("{name}.{count}") }
        };
        self.rows.iter().map(|step| once(step.action.name())).collect()
    }

    /// The index of the row that a name or a number (from 1) stands for; else what is wrong with it.
    pub fn find(&self, row: &str) -> Result<usize, String> {
        let rows = self.rows.len();
        if let Ok(number) = row.parse::<usize>() {
            let index = number.checked_sub(1).filter(|index| *index < rows);
            return index.ok_or_else(|| format!("the plan has rows 1 to {rows} (see `safebox explain`)"));
        }
        let names = self.names();
        names.iter().position(|name| name == row).ok_or_else(|| {
            let word = row.split([':', '.']).next().unwrap_or(row);
            let mut similar: Vec<_> = names.iter().filter(|n| n.contains(word)).map(String::as_str).collect();
            similar.truncate(5);
            match similar.is_empty() {
                true => "no row has this name (see `safebox explain`)".into(),
                false => format!("no row has this name; similar: {}", similar.join(", ")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::plan::Actor;
    use crate::plan::ops::{Action, CgroupOp, CredOp, MaskOp};

    fn plan() -> Plan {
        let mut plan = Plan::default();
        let root = plan.slot("root");
        for path in [c"proc", c"sys"] {
            plan.push(Actor::Init, "masks", MaskOp::ReadOnly { root: root.clone(), path: path.to_owned() });
        }
        for _ in 0..2 {
            plan.push(Actor::Init, "drop", CredOp::NoNewPrivs);
        }
        plan
    }

    #[test]
    fn a_row_is_found_by_name_and_by_number() {
        let plan = plan();
        assert_eq!(plan.names(), ["readonly:/proc", "readonly:/sys", "no-new-privs", "no-new-privs.2"]);
        assert_eq!(plan.find("readonly:/sys"), Ok(1));
        assert_eq!(plan.find("no-new-privs.2"), Ok(3));
        assert_eq!(plan.find("4"), Ok(3));
        assert!(plan.find("0").is_err_and(|e| e.contains("rows 1 to 4")));
        assert!(plan.find("5").is_err_and(|e| e.contains("rows 1 to 4")));
        assert!(plan.find("readonly:/x").is_err_and(|e| e.contains("readonly:/proc, readonly:/sys")));
        assert!(plan.find("pivot").is_err_and(|e| e.contains("no row has this name (see")));
    }

    #[test]
    fn a_device_s_number_is_explained() {
        let write = |file: &CStr, value: &str| {
            Action::Cgroup(CgroupOp::Write { path: file.to_owned(), value: value.as_bytes().to_vec() })
        };
        assert_eq!(write(c"/g/devices.allow", "c 1:3 rwm").note(), Some("/dev/null"));
        assert_eq!(write(c"/g/devices.allow", "c 1:3 rwm").name(), "devices:allow:c1:3");
        assert_eq!(write(c"/g/devices.deny", "a").note(), Some("every device"));
        assert_eq!(write(c"/g/memory.max", "1").note(), None);
        assert_eq!(write(c"/g/memory.max", "1").name(), "cgroup:memory.max");
    }
}
