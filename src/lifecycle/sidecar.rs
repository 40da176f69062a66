//! What a foreground launcher attends to beside the container's process.

use std::time::{Duration, Instant};

use crate::sys::exe;
use crate::sys::io::Interest;
use crate::sys::process::ProcessExit;

/// What a foreground launcher attends to beside the container's process. No sidecar may wait: the loop comes to all
/// of them, and to signals and the container's end first.
pub trait Sidecar {
    /// What is waited for; always the same number of descriptors, -1 for none.
    fn descriptors(&self) -> Vec<Interest>;

    /// A bounded piece of work; `events` are those that came on each of the descriptors.
    fn ready(&mut self, events: &[i16]);

    /// When it is to be asked again, whatever its descriptors; it gets events that are all 0 then.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// A child of this process that is not the container's has ended.
    fn reaped(&mut self, _pid: i32, _exit: ProcessExit) {}

    /// The container's process has ended.
    fn end(&mut self) {}

    /// After that: whether nothing is left to do.
    fn is_done(&mut self) -> bool {
        true
    }
}

/// How long a container has run when its launcher releases memory.
pub const IDLE: Duration = Duration::from_secs(1);

/// Releases memory once the container has run for a while: hundreds of launchers may wait at the same time, and a short
/// run does not pay for it.
#[derive(Debug, Default)]
pub struct IdleTrim(Option<Instant>);

impl IdleTrim {
    /// For a container that starts now.
    pub fn from_now() -> Self {
        IdleTrim(Some(Instant::now() + IDLE))
    }
}

impl Sidecar for IdleTrim {
    fn descriptors(&self) -> Vec<Interest> {
        Vec::new()
    }

    fn due(&self) -> Option<Instant> {
        self.0
    }

    fn ready(&mut self, _events: &[i16]) {
        self.0 = None;
        exe::release_memory();
    }

    fn end(&mut self) {
        self.0 = None;
    }
}
