//! `safebox spec` and `safebox features`.

use crate::sys::start::ExitCode;
use std::io::Write;

use crate::cli;
use crate::commands::common::VerbResult;
use crate::config::template;
use crate::error::Error;
use crate::sys::rlimit;

/// Writes a config.json that runs `sh`, like runc's. An existing file is an error.
pub fn spec(args: &cli::SpecArgs) -> VerbResult {
    let dir = args.bundle.clone().unwrap_or_else(|| ".".into());
    let ids = args.rootless.then(|| (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
    let cgroup_v2 = crate::cgroup::Hierarchy::probe().is_ok_and(|host| host.is_v2());
    let files = match cli::called_as_runc(std::env::args_os().next().as_ref()) {
        true => None,
        false => {
            Some(rlimit::started_with(libc::RLIMIT_NOFILE).map_err(|e| Error::os("prlimit64", "", e))?.hard)
        }
    };
    let mut text = serde_json::to_string_pretty(&template::spec_for(ids, cgroup_v2, files))?;
    text.push('\n');
    let path = dir.join("config.json");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            Error::msg("File config.json exists. Remove it first")
        } else {
            Error::msg(format!("{}: {e}", path.display()))
        }
    })?;
    file.write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what this runtime supports (features.md).
pub fn features() -> VerbResult {
    let f = crate::seccomp::features();
    let seccomp = serde_json::json!({
        "enabled": true,
        "actions": f.actions,
        "operators": f.operators,
        "archs": f.archs,
        "knownFlags": f.known_flags,
        "supportedFlags": f.supported_flags,
    });
    crate::commands::common::print_json(&crate::config::features::features(seccomp))?;
    Ok(ExitCode::SUCCESS)
}
