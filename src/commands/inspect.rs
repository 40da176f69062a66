//! `safebox inspect`: all that is known of a container.

use crate::sys::start::ExitCode;

use serde_json::json;

use crate::cli::Global;
use crate::commands::common::Outcome;
use crate::lifecycle::container::Container;
use crate::lifecycle::health::Health;
use crate::state::files::LOG;

/// The state that `state` prints, and what belongs to it.
pub fn inspect(global: &Global, id: &str) -> Outcome {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    let state = container.state()?;
    let mut value = super::state::value(&container, state);
    if let Some(health) = Health::read(&container.dir) {
        value["health"] = json!(health);
    }
    let log = container.dir.join(LOG);
    if log.exists() {
        value["logPath"] = json!(log);
    }
    value["init"] = json!(state.init);
    value["stop"] = json!({
        "signal": crate::tables::signals::name(state.stop.signal),
        "seconds": state.stop.millis as f64 / 1000.0,
    });
    let process = &state.process;
    value["process"] = json!({
        "args": process.args,
        "cwd": process.cwd,
        "user": { "uid": process.user.uid, "gid": process.user.gid, "additionalGids": process.user.additional_gids },
        "noNewPrivileges": process.no_new_privileges,
    });
    value["hardened"] = json!(state.hardened);
    value["cgroups"] = json!(state.cgroups.iter().map(|(_, path)| path).collect::<Vec<_>>());
    crate::commands::common::print_json(&value)?;
    Ok(ExitCode::SUCCESS)
}
