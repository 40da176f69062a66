//! The files of a machine, and the checks that look at them.

use std::path::PathBuf;

use super::About;
use crate::policy::{Evidence, Judged, Place, Severity, Verdict};

/// Where the machine's files are: `/`, or a tree that a test has made.
pub struct MachineRoot {
    /// The top.
    pub top: PathBuf,
}

impl MachineRoot {
    /// This machine.
    pub fn this() -> Self {
        MachineRoot { top: "/".into() }
    }

    /// A path of the machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.top.join(path.trim_start_matches('/'))
    }

    /// A file's text without blanks around it; `Ok(None)` where there is none.
    pub fn read(&self, path: &str) -> Result<Option<String>, String> {
        match std::fs::read_to_string(self.path(path)) {
            Ok(text) => Ok(Some(text.trim().to_string())),
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(e) => Err(format!("{path}: {e}")),
        }
    }
}

/// One thing about the machine.
pub struct MachineCheck {
    /// Its words.
    pub about: About,
    /// Whether it is as it should be.
    pub judge: fn(&MachineRoot) -> Judged,
}

/// A row of a table.
pub(super) const fn check(
    (id, title): (&'static str, &'static str),
    severity: Severity,
    references: &'static [&'static str],
    remedy: &'static str,
    judge: fn(&MachineRoot) -> Judged,
) -> MachineCheck {
    MachineCheck { about: About { id, title, severity, references, remedy }, judge }
}

/// A failure with one place.
pub(super) fn fail(at: &str, text: impl Into<String>) -> Judged {
    Ok(Verdict::Fail(vec![Evidence { at: Place::File(at.into()), text: text.into(), reference: None }]))
}
