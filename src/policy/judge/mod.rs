//! How a rule judges a posture: whether it holds, and the evidence where it does not.

pub(super) mod files;
pub(super) mod image;
pub(super) mod isolation;
pub(super) mod limits;
pub(super) mod privileges;

pub use image::{known_secret, secret_in};

use super::posture::{Place, Posture};

/// How bad it is where a rule does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A second guard, or good order.
    Low,
    /// A guard that usually decides nothing alone.
    Medium,
    /// A known way out of a container, or the lack of its first guard.
    High,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        [Severity::Low, Severity::Medium, Severity::High]
            .into_iter()
            .find(|severity| severity.name() == s)
            .ok_or_else(|| format!("unknown severity {s:?}; one of low, medium, high"))
    }
}

/// Why a rule does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Its position in the input.
    pub at: Place,
    /// What is there.
    pub text: String,
    /// The item of a benchmark that this is about, where the rule has several.
    pub reference: Option<&'static str>,
}

/// What a rule says of a posture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not; each piece of evidence is one finding.
    Fail(Vec<Evidence>),
    /// It has nothing to say here.
    NotApplicable(String),
    /// Whether it holds cannot be read.
    CannotTell(String),
}

impl Verdict {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail(_) => "fail",
            Verdict::NotApplicable(_) => "not-applicable",
            Verdict::CannotTell(_) => "cannot-tell",
        }
    }
}

/// What a rule's function returns; an error is the part of the posture that cannot be read.
pub type Judged = Result<Verdict, String>;

/// One piece of evidence.
fn evidence(at: Place, text: impl Into<String>) -> Evidence {
    Evidence { at, text: text.into(), reference: None }
}

/// One that is about this item of a benchmark.
fn about(reference: &'static str, at: Place, text: impl Into<String>) -> Evidence {
    Evidence { at, text: text.into(), reference: Some(reference) }
}

/// Passes where there is no evidence.
fn verdict(found: Vec<Evidence>) -> Verdict {
    if found.is_empty() { Verdict::Pass } else { Verdict::Fail(found) }
}

/// Passes where `holds`.
fn unless(holds: bool, at: Place, text: impl Into<String>) -> Verdict {
    verdict(if holds { Vec::new() } else { vec![evidence(at, text)] })
}

/// The value of a part, or why it cannot be read.
fn known<T>(part: &super::posture::Known<T>) -> Result<&T, String> {
    part.as_ref().map_err(Clone::clone)
}

/// The rule has nothing to say.
fn not_applicable(why: &str) -> Judged {
    Ok(Verdict::NotApplicable(why.into()))
}

/// Whether ids inside are not the host's.
fn has_own_users(p: &Posture) -> bool {
    matches!(p.namespace(crate::tables::namespaces::NsKind::User), Ok(super::posture::NamespaceView::Own))
}
