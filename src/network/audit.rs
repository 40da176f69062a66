//! The audit file: one JSON object a line for each connection and each refusal, written outside.

use std::io::Write;

use super::verdict::ConnectionVerdict;

/// The most lines of one container: a program that is refused for ever must not fill a disk.
const MOST: u32 = 100_000;

/// The file, open for appending.
pub struct NetworkAudit {
    file: std::fs::File,
    lines: u32,
}

impl NetworkAudit {
    /// One that appends to this file.
    pub fn new(file: std::fs::File) -> Self {
        NetworkAudit { file, lines: 0 }
    }

    /// Appends a line: `sent` and `received` are bytes as the program sees them, `rule` is the rule that allowed it.
    pub fn write(&mut self, verdict: &ConnectionVerdict, (sent, received): (u64, u64), rule: Option<&str>) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > MOST {
            return;
        }
        let mut line = serde_json::json!({
            "time": crate::time::now(),
            "verdict": verdict.word(),
            "reason": verdict.reason.word(),
            "name": Some(&verdict.name).filter(|n| !n.is_empty()),
            "address": verdict.address,
            "port": Some(verdict.port).filter(|p| *p > 0),
            "sent": sent,
            "received": received,
        });
        if !verdict.other.is_empty() {
            line["detail"] = verdict.other.clone().into();
        }
        match (rule, verdict.rule()) {
            (Some(rule), _) => line["rule"] = rule.into(),
            (None, Some(rule)) => line["wouldAllow"] = rule.into(),
            (None, None) => {}
        }
        if self.lines == MOST {
            line["note"] = "the last line of this container's".into();
        }
        // There is no other place to report it to.
        self.file.write_all(format!("{line}\n").as_bytes()).unwrap_or_default();
    }
}
