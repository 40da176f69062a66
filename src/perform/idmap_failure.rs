//! Why a tree could not be idmapped: often it is not its own file system, but one that is mounted inside it.

use std::path::{Path, PathBuf};

use crate::host::IDMAP_SINCE;
use crate::host::mountinfo::mounts_below;
use crate::perform::Cx;
use crate::plan::ops::{Action, SourceOp, UserOp};
use crate::plan::{Plan, Slot};
use crate::sys::cstr::as_path;

/// The mount inside the tree of a failed [`UserOp::Idmap`] that cannot be idmapped, and what to do about it.
pub fn culprit(plan: &Plan, cx: &Cx, action: &Action) -> Option<String> {
    let Action::User(UserOp::Idmap { tree, recursive: true, .. }) = action else { return None };
    let top = source(plan, cx, tree)?;
    let inside = mounts_below(&std::fs::read("/proc/self/mountinfo").ok()?, &top);
    let cannot =
        |fs: &str| !IDMAP_SINCE.iter().any(|(_, name, _)| fs == *name || (*name == "fat" && fs == "vfat"));
    let (at, fs) = inside.into_iter().find(|(_, fs)| cannot(fs))?;
    Some(format!(
        "{} ({fs}) is mounted inside it and cannot be idmapped: umount it, or use --allow host-user",
        at.display()
    ))
}

/// Where the tree was copied from.
fn source(plan: &Plan, cx: &Cx, tree: &Slot) -> Option<PathBuf> {
    plan.rows.iter().find_map(|row| match &row.action {
        Action::Source(SourceOp::Tree { at: Some(slot), to, .. }) if to == tree => {
            std::fs::read_link(Path::new("/proc/self/fd").join(cx.fd(slot).to_string())).ok()
        }
        Action::Source(SourceOp::Tree { at: None, source, to, .. }) if to == tree => {
            Some(as_path(source).to_path_buf())
        }
        _ => None,
    })
}
