//! Stepping through a plan: `run --step`, `run --until ROW`, `run --fail ROW[:ERRNO]`.

use std::io::{BufRead, Write};

use crate::error::{Error, Result};
use crate::plan::{Plan, report};
use crate::sys::Errno;

/// What may happen to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowVerdict {
    /// It is performed.
    Go,
    /// The run ends before it, and everything is undone.
    Stop,
    /// It is not performed and counts as failed.
    Fail(Errno),
    /// It is not performed, and the launch goes on: for tests of `verify`, in debug builds alone.
    #[cfg(debug_assertions)]
    Skip,
}

/// Names the rows that a debug build leaves out, with commas between them.
#[cfg(debug_assertions)]
const SKIP: &str = "SAFEBOX_DEBUG_SKIP_ROW";

/// A row that the reader names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedRow {
    /// By its name, as long as the plan is not known.
    Name(String),
    /// By its index.
    Index(usize),
}

impl From<String> for WantedRow {
    fn from(row: String) -> Self {
        match row.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) {
            Some(index) => WantedRow::Index(index),
            None => WantedRow::Name(row),
        }
    }
}

impl WantedRow {
    fn is(&self, plan: &Plan, row: usize) -> bool {
        match self {
            WantedRow::Index(index) => *index == row,
            WantedRow::Name(name) => plan.rows[row].action.name() == *name,
        }
    }

    /// The row's index in the whole plan.
    fn resolve(&mut self, flag: &str, plan: &Plan) -> Result<()> {
        let row = match self {
            WantedRow::Index(index) => (*index + 1).to_string(),
            WantedRow::Name(name) => name.clone(),
        };
        let index = plan.find(&row).map_err(|e| Error::msg(format!("{flag} {row}: {e}")))?;
        *self = WantedRow::Index(index);
        Ok(())
    }
}

/// The reader's wishes.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Show each row and wait for a line.
    pub step: bool,
    /// Stop after this row, and wait for Enter before everything is undone.
    pub until: Option<WantedRow>,
    /// Make this row fail, to see the report and the undo.
    pub fail: Option<(WantedRow, Errno)>,
    /// Leave these rows out.
    #[cfg(debug_assertions)]
    left_out: Vec<WantedRow>,
    /// The heading that was shown last.
    part: &'static str,
    /// The rows below this heading are performed without a question.
    skip: Option<&'static str>,
}

impl Control {
    /// What `run --step`, `--until` and `--fail` ask for.
    pub fn new(step: bool, until: Option<String>, fail: Option<(String, i32)>) -> Self {
        Control {
            step,
            until: until.map(WantedRow::from),
            fail: fail.map(|(row, errno)| (row.into(), Errno::from_raw(errno))),
            #[cfg(debug_assertions)]
            left_out: std::env::var(SKIP)
                .iter()
                .flat_map(|v| v.split(','))
                .map(|row| row.to_string().into())
                .collect(),
            ..Control::default()
        }
    }

    /// Whether Init must ask before each of its rows.
    pub fn asks(&self) -> bool {
        #[cfg(debug_assertions)]
        if !self.left_out.is_empty() {
            return true;
        }
        self.step || self.until.is_some() || self.fail.is_some()
    }

    /// Finds the rows in the plan, and refuses those that it does not have.
    pub fn check(&mut self, plan: &Plan) -> Result<()> {
        if let Some(row) = &mut self.until {
            row.resolve("--until", plan)?;
        }
        if let Some((row, _)) = &mut self.fail {
            row.resolve("--fail", plan)?;
        }
        #[cfg(debug_assertions)]
        for row in &mut self.left_out {
            row.resolve(SKIP, plan)?;
        }
        Ok(())
    }

    /// Called before the row with index `row`.
    pub fn before(&mut self, plan: &Plan, row: usize, pid: i32) -> RowVerdict {
        if let Some((wanted, errno)) = &self.fail
            && wanted.is(plan, row)
        {
            return RowVerdict::Fail(*errno);
        }
        #[cfg(debug_assertions)]
        if self.left_out.iter().any(|wanted| wanted.is(plan, row)) {
            return RowVerdict::Skip;
        }
        // The first rows take the name before the whole plan is known: a row of another name is refused after them.
        if self.until.as_ref().is_some_and(|until| row > 0 && until.is(plan, row - 1)) {
            let about = if pid == 0 {
                "there is no container process yet".to_string()
            } else {
                format!(
                    "the container process is {pid}: look at /proc/{pid}/status, /proc/{pid}/mountinfo, /proc/{pid}/ns"
                )
            };
            crate::to_stderr!("rows 1 to {row} are done; {about}");
            eprint!("press Enter to undo them ");
            wait_for_line();
            return RowVerdict::Stop;
        }
        if self.step { self.prompt(plan, row) } else { RowVerdict::Go }
    }

    fn prompt(&mut self, plan: &Plan, row: usize) -> RowVerdict {
        let step = &plan.rows[row];
        if self.skip == Some(step.part) {
            return RowVerdict::Go;
        }
        self.skip = None;
        if self.part != step.part {
            self.part = step.part;
            crate::to_stderr!("\n{}", step.part);
        }
        let names = plan.names();
        crate::to_stderr!("{}", report::line(row, &names[row], step).trim_end());
        crate::to_stderr!("              why: {}", step.action.why());
        eprint!(
            "     [Enter] do it   [n] do the rest of the section   [c] do all the rest   [q] undo everything: "
        );
        match wait_for_line().as_deref().map(str::trim) {
            Some("q") | None => return RowVerdict::Stop,
            Some("c") => self.step = false,
            Some("n") => self.skip = Some(step.part),
            Some(_) => {}
        }
        RowVerdict::Go
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
