//! The container on disk and the processes that stay with it: its directory, its status, its hooks, its removal,
//! and the launcher that watches it.

pub mod account;
pub mod container;
pub mod container_hook;
pub mod deadline;
pub mod denials;
pub mod destroy;
pub mod detach;
pub mod directory;
pub mod ended;
pub mod garbage;
pub mod guardian;
pub mod health;
pub mod home;
pub mod hook_points;
pub mod hook_wait;
pub mod hooks;
pub mod listing;
pub mod log_file;
pub mod name;
pub mod namespace_fds;
pub mod network;
pub mod notify;
pub mod pid_file;
pub mod processes;
pub mod refusals;
pub mod relay;
pub mod result;
pub mod sidecar;
pub mod sigsys;
pub mod stdio;
pub mod supervise;
pub mod terminal;
