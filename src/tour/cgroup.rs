//! A limit of memory.

use serde_json::json;

use super::{Layer, world};

const LIMIT: u64 = 96 << 20;
const WANTED: usize = 256 << 20;

pub const LAYER: Layer = Layer {
    name: "cgroup",
    title: "a limit for all processes of the container together",
    attack: "a program fills 256 MiB of memory",
    stopped: "the limit belongs to the cgroup, and the kernel kills a process of that group when it is reached. \
              Nothing outside is short of memory, and the group's own account (oom_kill) says what happened.",
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
