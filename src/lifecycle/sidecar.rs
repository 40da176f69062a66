//! What a foreground launcher attends to beside the container's process.

use crate::sys::io::Interest;

/// What a foreground launcher attends to beside the container's process. No sidecar may wait: the loop comes to all
/// of them, and to signals and the container's end first.
pub trait Sidecar {
    /// What is waited for; always the same number of descriptors, -1 for none.
    fn descriptors(&self) -> Vec<Interest>;

    /// A bounded piece of work; `events` are those that came on each of the descriptors.
    fn ready(&mut self, events: &[i16]);

    /// It waits for something that poll(2) does not report, and is asked again after a moment.
    fn dozes(&self) -> bool {
        false
    }

    /// The container's process has ended.
    fn end(&mut self) {}

    /// After that: whether nothing is left to do.
    fn is_done(&mut self) -> bool {
        true
    }
}
