//! Options of `safebox audit` and `safebox verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::audit::format::Format;
use crate::policy::Severity;

/// `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// A bundle directory, a compose file, a Kubernetes manifest, a Dockerfile, the id of a running container, `host` for
    /// this machine, or `-` for a `docker run` line on standard input
    pub targets: Vec<String>,
    /// A process of a container of any runtime; repeatable
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Vec<i32>,
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: AuditFormat,
    /// Exit with 1 if a finding is at least this severe: low, medium or high
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Also list the rules that pass or do not apply
    #[arg(long)]
    pub all: bool,
}

/// `from-docker`.
#[derive(Debug, Args)]
pub struct FromDockerArgs {
    /// The whole line, in quotes: 'docker run ...'
    pub line: String,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Container id
    #[arg(required_unless_present = "pid", conflicts_with = "pid")]
    pub id: Option<String>,
    /// The first process of a container of any runtime
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// The bundle of that container [default: from the state of runc, crun or containerd]
    #[arg(long, value_name = "DIR", requires = "pid")]
    pub bundle: Option<PathBuf>,
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: super::TableFormat,
}

/// Formats of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum AuditFormat {
    Table,
    Json,
    Sarif,
    Junit,
}

impl From<AuditFormat> for Format {
    fn from(format: AuditFormat) -> Self {
        match format {
            AuditFormat::Table => Format::Table,
            AuditFormat::Json => Format::Json,
            AuditFormat::Sarif => Format::Sarif,
            AuditFormat::Junit => Format::Junit,
        }
    }
}
