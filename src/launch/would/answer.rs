//! The answer to a question: a verdict, its reason, and a remedy.

use std::fmt;

/// The answer's first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WouldVerdict {
    /// It works.
    Yes,
    /// It fails.
    No,
    /// Only the running container can tell.
    Unsure,
}

/// The verdict, its reason, and a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The verdict.
    pub verdict: WouldVerdict,
    /// The reason.
    pub why: String,
    /// The flag that would allow it.
    pub remedy: Option<String>,
    /// The cause of a refusal.
    pub cause: RefusalCause,
}

/// Cause of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// A layer of the sandbox; also the value for other verdicts.
    Sandbox,
    /// The host has the file, but it is not mounted in the container.
    Hidden,
    /// The mode of the file or of a directory on the way.
    Mode,
    /// There is no such file.
    Absence,
}

impl Answer {
    /// Allowed.
    pub(super) fn yes(why: impl Into<String>) -> Self {
        Answer { verdict: WouldVerdict::Yes, why: why.into(), remedy: None, cause: RefusalCause::Sandbox }
    }

    /// Only the running container can tell.
    pub(super) fn unsure(why: impl Into<String>) -> Self {
        Answer { verdict: WouldVerdict::Unsure, ..Self::yes(why) }
    }

    /// Refused by a layer of the sandbox.
    pub(super) fn no(why: impl Into<String>, remedy: Option<String>) -> Self {
        Answer { verdict: WouldVerdict::No, why: why.into(), remedy, cause: RefusalCause::Sandbox }
    }

    /// Not mounted, although the host has it.
    pub(super) fn hidden(why: impl Into<String>, remedy: String) -> Self {
        Answer { cause: RefusalCause::Hidden, ..Self::no(why, Some(remedy)) }
    }

    /// Refused by the file itself.
    pub(super) fn not_ours(cause: RefusalCause, why: impl Into<String>) -> Self {
        Answer { verdict: WouldVerdict::No, why: why.into(), remedy: None, cause }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            WouldVerdict::Yes => "yes",
            WouldVerdict::No => "no",
            WouldVerdict::Unsure => "depends",
        };
        write!(f, "{word}: {}", self.why)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}
