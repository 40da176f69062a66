//! Configs before a launch: bad values, the specification's properties, what options and inputs add.

mod bad_input;
mod conformance;
mod inputs;
mod policy;
