//! Layer: masked paths of /proc.

use serde_json::json;

use super::{TourLayer, World};

const FILE: &str = "/proc/interrupts";

pub const LAYER: TourLayer = TourLayer {
    name: "masks",
    title: "covered and read-only paths of /proc and /sys",
    attack: "a program reads /proc/interrupts, which reveals when keys are pressed and packets arrive",
    stopped: "procfs has one copy of these files for all namespaces. A /dev/null is mounted over the file: it opens, \
              and it is empty.",
    apply: |config, _| {
        config["linux"]["maskedPaths"] = json!([FILE, "/proc/kcore", "/proc/keys", "/proc/timer_list"]);
        config["linux"]["readonlyPaths"] =
            json!(["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"]);
    },
    arguments: |_| Vec::new(),
    perform: |_| match std::fs::read_to_string(FILE) {
        Ok(text) if text.is_empty() => Err(format!("open({FILE}): read nothing")),
        Ok(text) => Ok(format!("open({FILE}): read {} lines", text.lines().count())),
        Err(e) => Err(format!("open({FILE}): {e}")),
    },
    also: &[],
    missing: |_: &World| {
        let empty = std::fs::read_to_string(FILE).unwrap_or_default().is_empty();
        empty.then(|| format!("{FILE} is empty or covered on this machine already"))
    },
};
