//! `safebox state`: the state of a container as JSON with runc's fields.

use crate::sys::start::ExitCode;

use crate::cli::Global;
use crate::commands::common::Outcome;
use crate::lifecycle::container::{Container, Status};
use crate::lifecycle::ended::Ended;
use crate::state::State;

/// Prints the state.
pub fn state(global: &Global, id: &str) -> Outcome {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    crate::commands::common::print_json(&value(&container, container.state()?))?;
    Ok(ExitCode::SUCCESS)
}

/// runc's fields in runc's order; a stopped container has pid 0.
pub fn value(container: &Container, state: &State) -> serde_json::Value {
    let (status, pid) = container.status_and_process();
    let pid = pid.unwrap_or(0);
    let mut value = serde_json::json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": pid,
        "status": status.name(),
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
    });
    if !state.annotations.is_empty() {
        value["annotations"] = serde_json::json!(state.annotations);
    }
    value["owner"] = state.owner.as_str().into();
    if let Some(ended) = (status == Status::Stopped).then(|| Ended::of(container, state)).flatten() {
        // One nested object, because CRI-O reads the top-level fields exitCode, started and finished as its
        // own.
        value["ended"] = serde_json::json!(ended);
    }
    value
}
