//! Attacks from inside and from neighbours, and the tools that judge, refuse and verify.

mod apparmor;
pub mod attacks;
mod audit;
mod enforce;
mod verify;
mod watch;
