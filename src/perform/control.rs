//! Stepping through a plan: `run --step`, `run --until N`, `run --fail N[:ERRNO]`.

use std::io::{BufRead, Write};

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::sys::Errno;

/// What may happen to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is performed.
    Go,
    /// The run ends before it, and everything is undone.
    Stop,
    /// It is not performed and counts as failed.
    Fail(Errno),
}

/// The reader's wishes; rows count from 1.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Show each row and wait for Enter.
    pub step: bool,
    /// Stop after this row, and wait for Enter before everything is undone.
    pub until: Option<usize>,
    /// Make this row fail, to see the report and the undo.
    pub fail: Option<(usize, Errno)>,
}

impl Control {
    /// Whether Init must ask before each of its rows.
    pub fn asks(&self) -> bool {
        self.step || self.until.is_some() || self.fail.is_some()
    }

    /// Refuses row numbers that the plan does not have.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        let rows = plan.steps.len();
        let asked = [("--until", self.until), ("--fail", self.fail.map(|(row, _)| row))];
        for (flag, row) in asked {
            if let Some(row) = row.filter(|r| *r == 0 || *r > rows) {
                return Err(Error::msg(format!(
                    "{flag} {row}: the plan has rows 1 to {rows} (see `safebox explain`)"
                )));
            }
        }
        Ok(())
    }

    /// Called before the row with index `row`.
    pub fn before(&mut self, plan: &Plan, row: usize, pid: i32) -> Verdict {
        let number = row + 1;
        if let Some((at, errno)) = self.fail
            && at == number
        {
            return Verdict::Fail(errno);
        }
        // Row 0 is refused once the plan is known: its first rows take the name before that.
        if self.until.is_some_and(|until| until > 0 && number > until) {
            let about = if pid == 0 {
                "there is no container process yet".to_string()
            } else {
                format!(
                    "the container process is {pid}: look at /proc/{pid}/status, /proc/{pid}/mountinfo, /proc/{pid}/ns"
                )
            };
            crate::tell!("rows 1 to {row} are done; {about}");
            eprint!("press Enter to undo them ");
            wait_for_line();
            return Verdict::Stop;
        }
        if self.step { self.prompt(plan, row) } else { Verdict::Go }
    }

    fn prompt(&mut self, plan: &Plan, row: usize) -> Verdict {
        let step = &plan.steps[row];
        crate::tell!("{:3}  {:8}{}", row + 1, step.actor, step.action);
        crate::tell!("              {}", step.action.why());
        eprint!("     [Enter] do it   [c] do the rest   [q] undo everything: ");
        match wait_for_line().as_deref().map(str::trim) {
            Some("q") | None => Verdict::Stop,
            Some("c") => {
                self.step = false;
                Verdict::Go
            }
            Some(_) => Verdict::Go,
        }
    }
}

/// A line of stdin; `None` at its end.
fn wait_for_line() -> Option<String> {
    // A prompt that cannot be shown is no reason to stop.
    std::io::stderr().flush().unwrap_or_default();
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(n) if n > 0 => Some(line),
        _ => None,
    }
}
