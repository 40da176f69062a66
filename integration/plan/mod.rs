//! Plans: goldens, checks, the order of system calls, faults at every row.

mod checks;
mod faults;
pub mod goldens;
mod order;
