//! The last rung of the ladder: no namespace can be made. A child of the runtime gives its rights up, and that is all.

use crate::error::Result;
use crate::plan::Plan;
use crate::plan::Supplementary;
use crate::plan::check::{Checked, PlanKind, check};
use crate::plan::recipe::{Builder, Input, PlanSlots};

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
    // Only root may drop groups, and only with the right to.
    let may = input.host.euid == 0 && input.host.caps & 1 << CAP_SETGID != 0;
    let groups = if may { b.supplementary() } else { Supplementary::Keep };
    b.tail(groups)?;
    let (plan, slots) = b.finish()?;
    Ok((check(plan, PlanKind::Bare)?, slots))
}
