//! `safebox explain`: the plan of `run`, printed. Nothing is changed.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::{self, Global};
use crate::commands::common::{Outcome, policy, root_of, terminals};
use crate::launch::prepare::prepare;
use crate::launch::value::{Launch, Root};
use crate::plan::check::Checked;
use crate::plan::{Plan, report};
use crate::policy::Policy;

/// Prints the plan, or what another bundle's plan does differently.
pub fn explain(global: &Global, args: cli::Explain) -> Outcome {
    let launch = launch(global, &args)?;
    if let Some([from, to]) = args.diff_policy.as_deref() {
        let plan = |policy: Policy| plan_of(&Launch { policy: Some(policy), ..launch.clone() });
        let text =
            report::diff(&*plan(*from)?, &*plan(*to)?).unwrap_or_else(|| "the plans are the same\n".into());
        std::io::stdout().write_all(crate::error::shown(&text).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan_of(&launch)?;
    let text = match &args.diff {
        Some(other) => {
            let other = plan_of(&Launch { root: Root::Bundle(other.clone()), ..launch })?;
            report::diff(&plan, &*other).unwrap_or_else(|| {
                "the plans are the same (to compare policies: --diff-policy baseline restricted)\n".into()
            })
        }
        None if args.json => format!("{:#}\n", report::json(&plan)),
        None => report::text(&plan, args.why),
    };
    std::io::stdout().write_all(crate::error::shown(&text).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The launch of which the plan is shown: that of a foreground `run`.
fn launch(global: &Global, args: &cli::Explain) -> anyhow::Result<Launch> {
    let mut launch = args.said.0.clone();
    launch.root = root_of(&launch, args.bundle.as_deref())?;
    launch.id = "ID".into();
    launch.state_root = crate::commands::common::root(global)?;
    launch.args.clone_from(&args.args);
    launch.policy = Some(policy(global, &launch));
    terminals(&mut launch);
    launch.caller.die_with_runtime = true;
    launch.caller.lf = crate::launch::stdio::lines_end_in_lf();
    launch.pure = true;
    launch.stays = crate::launch::stdio::Launcher::Stays;
    launch.cgroup_manager = crate::commands::common::cgroup_manager(global)?;
    // As `run` has it: the row that marks the container as the launcher's is in the plan.
    launch.launcher = Some((0, 0));
    Ok(launch)
}

fn plan_of(launch: &Launch) -> anyhow::Result<Checked<Plan>> {
    Ok(prepare(launch)?.plan()?.0)
}
