//! What a foreground launcher attends to beside the container's process.

use std::time::Instant;

use crate::sys::io::Interest;
use crate::sys::process::Exit;

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
    fn reaped(&mut self, _pid: i32, _exit: Exit) {}

    /// The container's process has ended.
    fn end(&mut self) {}

    /// After that: whether nothing is left to do.
    fn is_done(&mut self) -> bool {
        true
    }
}
