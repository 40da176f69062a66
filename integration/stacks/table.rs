//! The result: one row per step, one column per runtime.

use std::fmt;

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Ok,
    /// It cannot run here, with the reason.
    Skipped(String),
    /// It failed, with the end of its output.
    Failed(String),
}

struct Row {
    stack: String,
    step: String,
    cells: Vec<Option<Verdict>>,
}

/// All rows.
pub struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty table. The first column is the control.
    pub fn new(columns: &[&'static str]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Fills a cell.
    pub fn set(&mut self, stack: &str, step: &str, column: usize, verdict: Verdict) {
        let at = self.rows.iter().position(|r| r.stack == stack && r.step == step);
        let at = at.unwrap_or_else(|| {
            let cells = vec![None; self.columns.len()];
            self.rows.push(Row { stack: stack.into(), step: step.into(), cells });
            self.rows.len() - 1
        });
        self.rows[at].cells[column] = Some(verdict);
    }

    /// The steps of a stack that safebox failed.
    pub fn failed(&self, stack: &str) -> Vec<String> {
        let failed = |r: &&Row| r.stack == stack && matches!(r.cells[1], Some(Verdict::Failed(_)));
        self.rows.iter().filter(failed).map(|r| r.step.clone()).collect()
    }

    /// Whether safebox passes every step that runc passes here.
    pub fn sound(&self) -> bool {
        !self.rows.iter().any(|r| matches!(r.says().1, "FAILED" | "differs"))
    }
}

impl Row {
    /// The cells of runc and safebox. A failure of both with the same message is caused by the host, not by
    /// the runtime. With different messages only a reader can tell.
    fn says(&self) -> (&'static str, &'static str) {
        let word = |cell: &Option<Verdict>| match cell {
            Some(Verdict::Ok) => "ok",
            Some(Verdict::Skipped(_)) => "skipped",
            Some(Verdict::Failed(_)) => "FAILED",
            None => "-",
        };
        match (&self.cells[0], &self.cells[1]) {
            (Some(Verdict::Failed(control)), Some(Verdict::Failed(ours))) if gist(control) == gist(ours) => {
                ("host", "host")
            }
            (Some(Verdict::Failed(_)), Some(Verdict::Failed(_))) => ("host", "differs"),
            (Some(Verdict::Failed(_)), other) => ("host", word(other)),
            (control, ours) => (word(control), word(ours)),
        }
    }
}

/// A message without names, paths, numbers and times, which differ between runs.
fn gist(text: &str) -> String {
    let last = text.lines().rev().find(|l| !l.starts_with("(exit status") && !l.trim().is_empty());
    let words = last.unwrap_or_default().split(|c: char| c.is_whitespace() || "\"'=:;,".contains(c));
    let lasting = |w: &&str| {
        let named = w.contains("runc") || w.contains("safebox") || w.contains('/');
        !w.is_empty() && !named && !w.chars().any(|c| c.is_ascii_digit())
    };
    words.filter(lasting).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |of: fn(&Row) -> &String| self.rows.iter().map(|r| of(r).chars().count()).max();
        let (first, wide) = (widest(|r| &r.stack).unwrap_or(5).max(5), widest(|r| &r.step).unwrap_or(4));
        writeln!(f, "\n{:<first$}  {:<wide$}  {:<8} {}", "stack", "step", self.columns[0], self.columns[1])?;
        for row in &self.rows {
            let (control, ours) = row.says();
            writeln!(f, "{:<first$}  {:<wide$}  {control:<8} {ours}", row.stack, row.step)?;
        }
        for row in &self.rows {
            let told: Vec<_> = row.cells.iter().zip(&self.columns).filter_map(|(c, n)| told(c, n)).collect();
            if !told.is_empty() {
                writeln!(f, "\n{}: {}: {}\n{}", row.stack, row.step, row.says().1, told.join("\n"))?;
            }
        }
        self.counts(f)
    }
}

/// The text of a runtime's cell, indented.
fn told(cell: &Option<Verdict>, name: &str) -> Option<String> {
    let (Verdict::Failed(text) | Verdict::Skipped(text)) = cell.as_ref()? else { return None };
    Some(format!("  {name}: {}", text.trim().replace('\n', "\n    ")))
}

impl Table {
    /// The last lines: one per stack, and the sum.
    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stacks: Vec<&str> = self.rows.iter().map(|r| r.stack.as_str()).collect();
        stacks.dedup();
        writeln!(f)?;
        for stack in stacks.iter().map(Some).chain([None]) {
            let rows: Vec<&Row> = self.rows.iter().filter(|r| stack.is_none_or(|s| r.stack == *s)).collect();
            let count = |word: &str| rows.iter().filter(|r| r.says().1 == word).count();
            let alone = rows.iter().filter(|r| r.says() == ("host", "ok")).count();
            writeln!(
                f,
                "{}: {} steps: {} ok ({alone} of them fail with runc), {} failed, {} skipped, {} fail with runc too \
                 in the same words (the host's), {} in other words",
                stack.unwrap_or(&"all"),
                rows.len(),
                count("ok"),
                count("FAILED"),
                count("skipped"),
                count("host"),
                count("differs"),
            )?;
        }
        Ok(())
    }
}
