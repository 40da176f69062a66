//! Which path a row resolves, for the report of a refused symlink.

use std::ffi::CString;

use super::Slot;
use super::action::Action;
use super::place::Target;

impl Action {
    /// The path that this row resolves: inside the container, or a bind mount's source; and what stands before it in
    /// the config.
    pub fn resolves(&self) -> Option<(&'static str, String)> {
        use Action as A;
        let below = |root: &Slot, path: &CString| {
            (if &*root.name == "dev" { "/dev/" } else { "/" }, path.to_string_lossy().into_owned())
        };
        Some(match self {
            A::MakeTarget { target: Target { root, path, .. } }
            | A::MountFs { target: Some(Target { root, path, .. }), .. }
            | A::MoveTree { target: Target { root, path, .. }, .. }
            | A::Remount { target: Target { root, path, .. }, .. }
            | A::ConsoleMount { target: Target { root, path, .. }, .. }
            | A::OpenDir { root, path, .. }
            | A::OpenInside { root, path, .. }
            | A::CopyUp { root, path, .. }
            | A::FileMount { root, path, .. }
            | A::DeviceNode { root, path, .. }
            | A::Mask { root, path, .. }
            | A::ReadonlyPath { root, path }
            | A::MakeCwd { root, path, .. } => below(root, path),
            A::ChangeDir { path, .. } | A::OpenSource { path, .. } => {
                ("", path.to_string_lossy().into_owned())
            }
            A::FindProgram { candidates, hook: true } => {
                ("", candidates.first()?.to_string_lossy().into_owned())
            }
            _ => return None,
        })
    }
}
