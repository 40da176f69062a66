//! The last rung of the ladder: no namespace can be made. A child of the runtime gives its rights up, and that is all.

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::plan::Supplementary;
use crate::plan::check::{Checked, Kind, check};
use crate::plan::recipe::{Builder, Input, PlanSlots, tail};

/// The number of `CAP_SETGID` (capabilities(7)).
const CAP_SETGID: u32 = 6;

/// Builds the plan of a program that landlock(7), no_new_privs and a filter confine, without a namespace.
pub(super) fn build(input: Input<'_>) -> Result<(Checked<Plan>, PlanSlots)> {
    let mut plan = Plan::default();
    let slots = PlanSlots::new(&mut plan);
    let mut b = Builder::new(plan, input, slots);
    b.state()?;
    b.stdio()?;
    b.cgroups()?;
    b.more_files()?;
    b.spawn()?;
    b.outside()?;
    b.start()?;
    let landlock = b.landlock()?;
    // Only root may drop groups, and only with the right to.
    let may = input.host.euid == 0 && input.host.caps & 1 << CAP_SETGID != 0;
    let groups = if may { b.supplementary() } else { Supplementary::Keep };
    let (init, new_keyring) = (b.init(), b.new_keyring());
    tail::append(
        &mut b.plan,
        &tail::Tail {
            process: input.config.process.as_ref().ok_or_else(|| Error::msg("process: missing"))?,
            pty_slave: None,
            stdio: input.options.stdio,
            proc: None,
            new_keyring,
            program: None,
            filters: input.filters,
            preserve_fds: input.options.preserve_fds,
            die_with_runtime: input.options.die_with_runtime,
            groups,
            created: None,
            start_hooks: None,
            inside: None,
            host: input.host,
            state: input.state,
            container: None,
            landlock,
            init,
        },
    )?;
    let (plan, slots) = b.finish()?;
    Ok((check(plan, Kind::Bare)?, slots))
}
