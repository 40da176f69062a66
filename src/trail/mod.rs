//! The audit trail of a state root (`safebox watch`): what happens to its containers, as lines of JSON in a hash chain.
//!
//! There are two sources. Verbs report what they do ([`spool::report`]). The watcher observes the rest from outside
//! ([`observer`]): the end of a container's process (pidfds), kills for lack of memory (the cgroup's event files),
//! directories of containers that come or go without a report (inotify(7) on the state root).
//!
//! A verb reports only while a watch is set up: the watcher creates the spool, a file in the state root. Without it a
//! report is one openat(2) that fails with `ENOENT`. A report is appended to the spool and never waits for the watcher;
//! the spool stays if the watcher is killed, and the next watcher goes on with it.

pub mod chain;
pub mod event;
pub mod observer;
pub mod spool;
#[cfg(test)]
mod tests;
