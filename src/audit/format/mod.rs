//! Reports in four formats.

mod json;
mod junit;
mod sarif;
mod table;

use super::Report;

/// How reports are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One object.
    Json,
    /// SARIF 2.1.0, which code scanning services read.
    Sarif,
    /// JUnit's XML, which build servers read.
    Junit,
}

/// Prints reports. `colour` is for the table alone; `all` shows in it what passes, too.
pub fn text(format: Format, reports: &[Report], colour: bool, all: bool) -> String {
    match format {
        Format::Table => table::text(reports, colour, all),
        Format::Json => format!("{:#}\n", json::value(reports)),
        Format::Sarif => format!("{:#}\n", sarif::value(reports)),
        Format::Junit => junit::text(reports),
    }
}

/// SARIF and JSON of the same reports, for tests.
pub use sarif::value as sarif;
