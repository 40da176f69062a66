//! Layer: a pid namespace.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{TourLayer, always, world};

pub const LAYER: TourLayer = TourLayer {
    name: "pid",
    title: "process ids of its own",
    attack: "a program kills a process of the host (one that the tour has started)",
    stopped: "inside, the number names another process or none: system calls take pids, and the new \
              namespace contains only its own processes.",
    apply: |config, _| world::namespace(config, "pid"),
    arguments: |world| vec![world.victim.borrow().id().to_string()],
    perform: |arguments| {
        let pid: i32 = arguments.first().and_then(|pid| pid.parse().ok()).ok_or("a pid is needed")?;
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) => Ok(format!("kill({pid}, SIGKILL): done")),
            Err(e) => Err(format!("kill({pid}, SIGKILL): {e}")),
        }
    },
    also: &["mount:/proc"],
    missing: |world| {
        // A rootless procfs needs the pid namespace from the start.
        if world.root { always(world) } else { world::needs_root(world) }
    },
};
