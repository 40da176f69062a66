//! Layer: a memory limit.

use serde_json::json;

use super::{TourLayer, world};

const LIMIT: u64 = 96 << 20;
const WANTED: usize = 256 << 20;

pub const LAYER: TourLayer = TourLayer {
    name: "cgroup",
    title: "one limit for all processes of the container together",
    attack: "a program fills 256 MiB of memory",
    stopped: "the limit belongs to the cgroup. When it is reached, the kernel kills a process in that \
              cgroup. Processes outside keep their memory, and the cgroup's counter oom_kill records the \
              kill.",
    apply: |config, _| {
        config["linux"]["resources"]["memory"] = json!({ "limit": LIMIT, "swap": LIMIT });
        config["linux"]["resources"]["pids"] = json!({ "limit": 64 });
    },
    arguments: |_| Vec::new(),
    perform: |_| {
        // A page counts once it is written to.
        let memory = std::hint::black_box(vec![1u8; WANTED]);
        Ok(format!("wrote to {} MiB of memory", memory.len() >> 20))
    },
    also: &["cgroup", "clone"],
    missing: world::needs_root,
};
