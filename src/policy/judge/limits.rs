//! Memory, cpu, processes and the limits of each process.

use super::super::posture::{Aspect, Posture};
use super::{Judged, about, evidence, known, verdict};
use crate::tables::rlimits::RLIMITS;

pub(in super::super) fn limits(p: &Posture) -> Judged {
    let mut found = Vec::new();
    if known(&p.memory)?.is_none() {
        found.push(about("CIS Docker 5.11", p.at(Aspect::Memory), "memory is not limited"));
    }
    if known(&p.cpus)?.is_none() && !*known(&p.cpu_weight)? {
        found.push(about("CIS Docker 5.12", p.at(Aspect::Cpu), "cpu time has neither a limit nor a weight"));
    }
    if known(&p.pids)?.is_none() {
        found.push(about("CIS Docker 5.29", p.at(Aspect::Pids), "the number of processes is not limited"));
    }
    Ok(verdict(found))
}

/// What each process takes of tables that the whole host shares.
const SHARED: [u32; 3] = [libc::RLIMIT_NOFILE, libc::RLIMIT_SIGPENDING, libc::RLIMIT_MSGQUEUE];

pub(in super::super) fn rlimits(p: &Posture) -> Judged {
    let limits = known(&p.rlimits)?;
    let name =
        |resource: u32| RLIMITS.iter().find(|row| row.number == resource).map_or("a limit", |row| row.name);
    let found = SHARED.iter().filter_map(|resource| {
        let limit = limits.iter().find(|l| l.resource == *resource);
        let text = match limit {
            None => format!("{} is the caller's, whatever that is", name(*resource)),
            Some(l) if p.is_process() && l.hard == libc::RLIM_INFINITY => {
                format!("{} is unlimited", name(*resource))
            }
            Some(_) => return None,
        };
        Some(evidence(p.at(Aspect::Rlimits), text))
    });
    Ok(verdict(found.collect()))
}
