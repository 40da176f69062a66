//! A bundle's directory: its config as written, and what its rootfs holds.

use std::path::Path;

use super::{AuditedKind, Report};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::policy::posture::look_at_rootfs;
use crate::policy::{MachineFacts, Posture};

/// Judges the bundle in `dir`.
pub fn audit(dir: &Path, machine: MachineFacts) -> Result<Report> {
    let (bundle, config) = Bundle::open(dir)?;
    let mut posture = Posture::of_config(&config, machine);
    posture.rootfs = look_at_rootfs(&bundle.rootfs);
    let mut report = Report::of_posture(dir.display().to_string(), AuditedKind::Bundle, &posture);
    report.document = Some((dir.join("config.json"), bundle.raw));
    Ok(report)
}
