//! `safebox inspect`: all that is known of a container.

use crate::sys::start::ExitCode;

use serde_json::json;

use crate::cli::GlobalArgs;
use crate::commands::common::VerbResult;
use crate::error::Error;
use crate::lifecycle::container::Container;
use crate::lifecycle::ended::Ended;
use crate::lifecycle::health::Health;
use crate::lifecycle::listing::Listing;
use crate::network::cni::{Attachment, result};
use crate::state::files::{CNI, LOG};

/// The state that `state` prints, and what belongs to it.
pub fn inspect(global: &GlobalArgs, id: &str) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    let state = container.state()?;
    let mut value = json!(Listing::of(&container, state));
    if let Some(health) = Health::read(&container.dir) {
        value["health"] = json!(health);
    }
    let lost = |(pid, start): &(i32, u64)| !crate::sys::process::alive(*pid, *start);
    if let Some((pid, _)) =
        state.monitor.as_ref().filter(|m| lost(m) && Ended::of(&container, state).is_none())
    {
        let text = "killed: nothing is logged since then, and neither exit code nor account will be known";
        value["monitor"] = json!({ "pid": pid, "state": text });
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
    if let Some(attached) = network(&container.dir)? {
        value["network"] = attached;
    }
    value["hardened"] = json!(state.hardened);
    value["cgroups"] = json!(state.cgroups.iter().map(|(_, path)| path).collect::<Vec<_>>());
    crate::commands::common::print_json(&value)?;
    Ok(ExitCode::SUCCESS)
}

/// The network of CNI that it is on, and its addresses there.
fn network(dir: &std::path::Path) -> Result<Option<serde_json::Value>, Error> {
    let Some(attachment) = Attachment::read(&dir.join(CNI)).map_err(Error::msg)? else { return Ok(None) };
    let parts = attachment.result.as_ref().and_then(|result| result::parts(result).ok()).unwrap_or_default();
    Ok(Some(json!({
        "name": attachment.list.name,
        "addresses": parts.ips.iter().map(|ip| &ip.address).collect::<Vec<_>>(),
        "ports": attachment.ports,
    })))
}
