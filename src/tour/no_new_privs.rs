//! Layer: no_new_privs.

use std::process::Command;

use super::{TourLayer, root, world};

pub const LAYER: TourLayer = TourLayer {
    name: "no-new-privs",
    title: "setuid programs have no effect",
    attack: "the unprivileged user executes a setuid program to read the file of the container's root",
    stopped: "execve(2) ignores the setuid bit of a process with no_new_privs, and the flag cannot be cleared.",
    apply: |config, _| config["process"]["noNewPrivileges"] = true.into(),
    arguments: |_| vec!["/root-only".into(), "/setuid".into()],
    perform: |arguments| {
        let [path, rest @ ..] = arguments else { return Err("a path is needed".into()) };
        let [program, ..] = rest else {
            let who = format!("as uid {}: ", nix::unistd::geteuid());
            return root::read(arguments).map(|text| who.clone() + &text).map_err(|text| who + &text);
        };
        let words = ["tour", "--attack", LAYER.name, "--", path];
        let out =
            Command::new(program).args(words).output().map_err(|e| format!("execve({program}): {e}"))?;
        let text = format!("execve({program}), then {}", String::from_utf8_lossy(&out.stdout).trim());
        if out.status.success() { Ok(text) } else { Err(text) }
    },
    also: &[],
    missing: world::needs_root,
};
