//! Equality with runc: command line, words, output; and the needs of ordinary programs.

mod command_line;
mod compare;
mod programs;
mod words;
