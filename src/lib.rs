//! safebox: a secure container launcher and OCI runtime.
pub mod config;
pub mod tables;
