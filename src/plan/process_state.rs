//! The message to the agent of a seccomp listener.

use serde_json::{Value, json};

use crate::config::features::OCI_VERSIONS;
use crate::state::State;

/// The message to the agent that comes with a listener: config-linux.md, "The Container Process State".
#[derive(Debug)]
pub struct ProcessState {
    /// Without the pid of the process, which is known only when the row runs.
    value: Value,
    /// The container process; `None`: it is the process itself.
    container: Option<i32>,
}

impl ProcessState {
    /// For a process of the container that `state` describes: its first one, which is being created, or
    /// another one in the container of process `container`.
    pub fn new(state: &State, container: Option<i32>, metadata: &str) -> Self {
        let mut of = state.for_hooks();
        of["status"] = if container.is_some() { "running" } else { "creating" }.into();
        let mut value = json!({ "ociVersion": OCI_VERSIONS.1, "fds": ["seccompFd"], "state": of });
        if !metadata.is_empty() {
            value["metadata"] = metadata.into();
        }
        ProcessState { value, container }
    }

    /// The JSON for the process `pid`.
    pub fn json(&self, pid: i32) -> Vec<u8> {
        let mut value = self.value.clone();
        value["pid"] = pid.into();
        value["state"]["pid"] = self.container.unwrap_or(pid).into();
        value.to_string().into_bytes()
    }
}
