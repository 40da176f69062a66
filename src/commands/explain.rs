//! `safebox explain`: prints the plan of `run` without performing it.

use crate::sys::start::ExitCode;
use std::io::Write;

use crate::cli::{self, GlobalArgs};
use crate::commands::common::{VerbResult, policy, root_of, terminals};
use crate::error::Error;
use crate::launch::prepare::prepare;
use crate::launch::value::{Launch, RootSource};
use crate::launch::would::{Question, View, WouldVerdict, judge};
use crate::page::{self, NamedPlan};
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::report::{self, Only};
use crate::policy::Policy;
use crate::policy::enforce::Enforcement;

/// Prints the plan, or the differences to another plan, or writes an HTML page.
pub fn explain(global: &GlobalArgs, args: cli::ExplainArgs) -> VerbResult {
    let launch = launch(global, &args)?;
    if !args.would.is_empty() {
        return would(&launch, &args.would);
    }
    let of_policy = |policy: Policy| Launch { policy: Some(policy), ..launch.clone() };
    let of_bundle =
        |bundle: &std::path::PathBuf| Launch { root: RootSource::Bundle(bundle.clone()), ..launch.clone() };
    let (from, to) = match args.diff_policy.as_deref() {
        Some([from, to]) => (of_policy(*from), Some(of_policy(*to))),
        _ => (launch.clone(), args.diff.as_ref().map(of_bundle)),
    };
    let plan = plan_of(&from)?;
    let other = to.as_ref().map(plan_of).transpose()?;
    if let Some(file) = &args.html {
        // The names of the plans: two bundles are named by their paths, two policies of one bundle by the
        // policy.
        let name = |launch: &Launch| match (&launch.root, &args.diff_policy) {
            (_, Some(_)) => launch.policy().to_string(),
            (RootSource::Bundle(path) | RootSource::Directory(path), None) => path.display().to_string(),
            (RootSource::Host, None) => "this machine's programs".to_string(),
        };
        let first = NamedPlan { name: name(&from), plan: &plan };
        let second = to.as_ref().zip(other.as_ref()).map(|(to, plan)| NamedPlan { name: name(to), plan });
        let html = page::page(&first, second.as_ref());
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
    std::io::stdout().write_all(crate::error::escaped(&text).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Answers each question from the config: `write:/etc/x: no: ...`.
fn would(launch: &Launch, questions: &[Question]) -> VerbResult {
    let prepared = prepare(launch)?;
    let view = View { config: &prepared.config, rootfs: &prepared.bundle.rootfs_path };
    let answers: Vec<_> = questions.iter().map(|q| (q, judge(&view, q))).collect();
    for (question, answer) in &answers {
        writeln!(std::io::stdout(), "{}", crate::error::escaped(&format!("{question}: {answer}")))?;
    }
    let refused = answers.iter().any(|(_, answer)| answer.verdict == WouldVerdict::No);
    Ok(ExitCode::from(u8::from(refused)))
}

/// The rows to print.
fn only(args: &cli::ExplainArgs, plan: &Plan) -> Result<Only, Error> {
    match (&args.row, &args.section) {
        (Some(row), _) => plan.find(row).map(Only::Row).map_err(|e| Error::msg(format!("--row {row}: {e}"))),
        (_, Some(name)) => {
            Only::section(plan, name).map_err(|e| Error::msg(format!("--section {name}: {e}")))
        }
        _ => Ok(Only::All),
    }
}

/// The launch whose plan is shown: a foreground `run`.
fn launch(global: &GlobalArgs, args: &cli::ExplainArgs) -> anyhow::Result<Launch> {
    let mut launch = args.options.0.clone();
    launch.root = root_of(&launch, args.bundle.as_deref())?;
    launch.id = "ID".into();
    launch.state_root = crate::commands::common::root(global)?;
    launch.args.clone_from(&args.args);
    if launch.args.is_empty() && !args.would.is_empty() && !matches!(launch.root, RootSource::Bundle(_)) {
        // The answers do not depend on the program.
        launch.args = vec!["/bin/sh".into()];
    }
    launch.policy = Some(policy(global, &launch));
    let (_, names) = Enforcement::with_names(global.policy_file.as_deref(), None)?;
    crate::launch::network::add_names(&mut launch, &names)?;
    terminals(&mut launch);
    launch.caller.die_with_runtime = true;
    launch.caller.lf = crate::launch::stdio::lines_end_in_lf();
    launch.pure = true;
    launch.stays = crate::launch::stdio::Launcher::Stays;
    launch.cgroup_manager = crate::commands::common::cgroup_manager(global)?;
    // As for `run`: the plan contains the row that marks the container with its launcher.
    launch.launcher = Some((0, 0));
    Ok(launch)
}

/// The plan that a command line asks for.
pub(crate) fn of(global: &GlobalArgs, args: &cli::ExplainArgs) -> Result<Checked<Plan>, Error> {
    let failed = |e: anyhow::Error| e.downcast::<Error>().unwrap_or_else(|e| Error::msg(format!("{e:#}")));
    launch(global, args).and_then(|launch| plan_of(&launch)).map_err(failed)
}

fn plan_of(launch: &Launch) -> anyhow::Result<Checked<Plan>> {
    Ok(prepare(launch)?.plan()?.0)
}
