//! `safebox explain`: the plan of `run`, printed. Nothing is changed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::{self, Global};
use crate::commands::common::Outcome;
use crate::error::Error;
use crate::launch::prepare::{Request, prepare};
use crate::page::{self, Named};
use crate::perform::hints;
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::recipe::Options;
use crate::plan::report::{self, Only};
use crate::policy::Policy;
use crate::sys::tty;

/// Prints the plan, or what another plan does differently; or writes it as a page.
pub fn explain(global: &Global, args: cli::Explain) -> Outcome {
    let policy = crate::commands::common::policy(global, &args.hardening);
    let (from, to) = match args.diff_policy.as_deref() {
        Some([from, to]) => ((args.bundle.clone(), *from), Some((args.bundle.clone(), *to))),
        _ => ((args.bundle.clone(), policy), args.diff.clone().map(|other| (other, policy))),
    };
    let plan = plan_of(global, &args, &from.0, from.1)?;
    let other = to.as_ref().map(|(bundle, policy)| plan_of(global, &args, bundle, *policy)).transpose()?;
    if let Some(file) = &args.html {
        // Two bundles are told apart by their paths, two policies of one bundle by their names.
        let name = |(bundle, policy): &(PathBuf, Policy)| match args.diff_policy {
            Some(_) => policy.name().to_string(),
            None => bundle.display().to_string(),
        };
        let first = Named { name: name(&from), plan: &plan };
        let second = to.as_ref().zip(other.as_ref()).map(|(to, plan)| Named { name: name(to), plan });
        let html = page::page(&first, second.as_ref(), &hints::known);
        std::fs::write(file, html).map_err(|e| Error::msg(format!("--html {}: {e}", file.display())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match &other {
        Some(other) => report::diff(&plan, other).unwrap_or_else(|| match args.diff_policy {
            Some(_) => "the plans are the same\n".into(),
            None => {
                "the plans are the same (to compare policies: --diff-policy baseline restricted)\n".into()
            }
        }),
        None if args.json => format!("{:#}\n", report::json(&plan)),
        None => report::text(&plan, args.why, &only(&args, &plan)?),
    };
    std::io::stdout().write_all(crate::error::shown(&text).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Which rows are asked for.
fn only(args: &cli::Explain, plan: &Plan) -> Result<Only, Error> {
    match (&args.row, &args.section) {
        (Some(row), _) => plan.find(row).map(Only::Row).map_err(|e| Error::msg(format!("--row {row}: {e}"))),
        (_, Some(name)) => {
            Only::section(plan, name).map_err(|e| Error::msg(format!("--section {name}: {e}")))
        }
        _ => Ok(Only::All),
    }
}

fn plan_of(
    global: &Global,
    args: &cli::Explain,
    bundle: &Path,
    policy: Policy,
) -> anyhow::Result<Checked<Plan>> {
    let prepared = prepare(Request {
        bundle,
        id: "ID",
        root: &crate::commands::common::root(global)?,
        policy,
        asked: crate::commands::common::asked(&args.hardening)?,
        options: Options {
            die_with_runtime: true,
            window: tty::size(0).ok().map(|s| (s.rows, s.cols)),
            lf: crate::launch::stdio::lines_end_in_lf(),
            ..Options::default()
        },
        args: args.args.clone(),
        pure: true,
        stays: crate::launch::stdio::Launcher::Stays,
        cgroup_manager: crate::commands::common::cgroup_manager(global)?,
        // As `run` has it: the row that marks the container as the launcher's is in the plan.
        launcher: Some((0, 0)),
    })?;
    Ok(prepared.plan()?.0)
}
