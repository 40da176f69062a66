//! Parser of `hooks`.

use super::at::At;
use super::lists::absolute;
use super::raw::{RawHook, RawHooks};
use super::{ConfigError, Hook, Hooks};

/// Names of the six hook lists, in the order of their execution (runtime.md "Lifecycle").
pub const NAMES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Parses `hooks`.
pub(super) fn hooks(raw: Option<RawHooks>, at: &At) -> Result<Hooks, ConfigError> {
    let raw = raw.unwrap_or_default();
    Ok(Hooks {
        prestart: list(raw.prestart, &at.key("prestart"))?,
        create_runtime: list(raw.create_runtime, &at.key("createRuntime"))?,
        create_container: list(raw.create_container, &at.key("createContainer"))?,
        start_container: list(raw.start_container, &at.key("startContainer"))?,
        poststart: list(raw.poststart, &at.key("poststart"))?,
        poststop: list(raw.poststop, &at.key("poststop"))?,
    })
}

/// Parses the hooks of one list.
fn list(raw: Option<Vec<RawHook>>, at: &At) -> Result<Vec<Hook>, ConfigError> {
    raw.unwrap_or_default().into_iter().enumerate().map(|(i, h)| hook(h, &at.index(i))).collect()
}

/// Parses one hook. Without `args`, `args[0]` is the program's path, as execv(3) callers expect.
fn hook(raw: RawHook, at: &At) -> Result<Hook, ConfigError> {
    let name = raw.path.unwrap_or_default();
    let args = raw.args.filter(|a| !a.is_empty()).unwrap_or_else(|| vec![name.clone()]);
    let timeout = match raw.timeout {
        None => None,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => return Err(at.key("timeout").error(format!("timeout {seconds} is not above 0 seconds"))),
        },
    };
    Ok(Hook { path: absolute(name, &at.key("path"))?, args, env: raw.env, timeout })
}

/// The lists of config.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookKind {
    /// Name in the specification.
    pub fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }

    /// Whether the hook runs in the container's namespaces.
    pub fn inside(self) -> bool {
        matches!(self, HookKind::CreateContainer | HookKind::StartContainer)
    }
}

impl std::fmt::Display for HookKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
