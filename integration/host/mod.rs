//! What is installed on and shown of a host: packages, lessons, tour, page, and the harness itself.

pub mod examples;
mod harness;
mod install;
mod lessons;
mod page;
mod tour;
