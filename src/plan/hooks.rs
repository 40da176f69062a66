//! What a row that runs hooks holds.

use std::path::PathBuf;

use crate::config::Hook;

/// The hooks of one moment and the state that they receive.
#[derive(Debug)]
pub struct HookRun {
    /// The hooks, in order.
    pub hooks: Vec<Hook>,
    /// The container's state without its pid, which is added when they run.
    pub state: serde_json::Value,
    /// Where the hooks start, as with runc: the rootfs for createContainer, the bundle (or /) for the others outside.
    pub dir: PathBuf,
    /// The namespaces that a hook of the container joins, as `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// startContainer: the container whose programs these are.
    pub container: Option<std::rc::Rc<crate::state::State>>,
}
