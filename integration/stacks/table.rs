//! The result: one row per step, one column per runtime.

use std::fmt;

use crate::script::Script;

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Ok,
    /// It cannot run here, and why.
    Skipped(String),
    /// It does not hold: the end of its output.
    Failed(String),
}

struct Row {
    stack: &'static str,
    step: String,
    cells: Vec<Option<Verdict>>,
}

/// All rows.
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty one.
    pub fn new(columns: &[&'static str]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Fills a cell.
    pub fn set(&mut self, script: &Script, step: &str, column: usize, verdict: Verdict) {
        let at = self.rows.iter().position(|r| r.stack == script.name && r.step == step);
        let at = at.unwrap_or_else(|| {
            let cells = vec![None; self.columns.len()];
            self.rows.push(Row { stack: script.name, step: step.into(), cells });
            self.rows.len() - 1
        });
        self.rows[at].cells[column] = Some(verdict);
    }

    /// Whether safebox does all that runc does here.
    pub fn sound(&self) -> bool {
        !self.rows.iter().any(|r| r.says().1 == "FAILED")
    }
}

impl Row {
    /// The cells of runc and safebox. What fails with both is the host's, not the runtime's.
    fn says(&self) -> (&'static str, &'static str) {
        let word = |cell: &Option<Verdict>| match cell {
            Some(Verdict::Ok) => "ok",
            Some(Verdict::Skipped(_)) => "skipped",
            Some(Verdict::Failed(_)) => "FAILED",
            None => "-",
        };
        match (word(&self.cells[0]), word(&self.cells[1])) {
            ("FAILED", "FAILED") => ("host", "host"),
            ("FAILED", other) => ("host", other),
            words => words,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.rows.iter().map(|r| r.step.chars().count()).max().unwrap_or(0);
        writeln!(f, "\n{:<11} {:<wide$}  {:<8} {}", "stack", "step", self.columns[0], self.columns[1])?;
        let mut notes = Vec::new();
        for row in &self.rows {
            let (control, ours) = row.says();
            writeln!(f, "{:<11} {:<wide$}  {control:<8} {ours}", row.stack, row.step)?;
            for (cell, name) in row.cells.iter().zip(&self.columns) {
                if let Some(Verdict::Failed(text) | Verdict::Skipped(text)) = cell {
                    notes.push(format!("{}: {} [{name}]: {}", row.stack, row.step, text.trim()));
                }
            }
        }
        let count = |word: &str| self.rows.iter().filter(|r| r.says().1 == word).count();
        if !notes.is_empty() {
            writeln!(f, "\n{}", notes.join("\n"))?;
        }
        writeln!(
            f,
            "\n{} steps: {} ok, {} failed, {} skipped, {} fail with runc too (the host's)",
            self.rows.len(),
            count("ok"),
            count("FAILED"),
            count("skipped"),
            count("host")
        )
    }
}
