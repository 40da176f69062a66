//! `safebox explain`: the plan of `run`, printed. Nothing is changed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{self, Global};
use crate::commands::common::Outcome;
use crate::launch::prepare::{Request, prepare};
use crate::plan::check::Checked;
use crate::plan::recipe::Options;
use crate::plan::{Plan, report};
use crate::policy::Policy;
use crate::sys::tty;

/// Prints the plan, or what another bundle's plan does differently.
pub fn explain(global: &Global, args: cli::Explain) -> Outcome {
    if let Some([from, to]) = args.diff_policy.as_deref() {
        let plan = |policy: Policy| plan_of(global, &args, &args.bundle, policy);
        let text =
            report::diff(&*plan(*from)?, &*plan(*to)?).unwrap_or_else(|| "the plans are the same\n".into());
        std::io::stdout().write_all(crate::error::shown(&text).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let policy = crate::commands::common::policy(global, &args.hardening);
    let plan = plan_of(global, &args, &args.bundle, policy)?;
    let text = match &args.diff {
        Some(other) => report::diff(&plan, &*plan_of(global, &args, other, policy)?).unwrap_or_else(|| {
            "the plans are the same (to compare policies: --diff-policy baseline restricted)\n".into()
        }),
        None if args.json => format!("{:#}\n", report::json(&plan)),
        None => report::text(&plan, args.why),
    };
    std::io::stdout().write_all(crate::error::shown(&text).as_bytes())?;
    Ok(ExitCode::SUCCESS)
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
