//! What the policy file makes of changes to a running container: another process (`exec`), other limits (`update`).
//!
//! Only what is added is judged: a container that an exception allows, or that is older than the policy, can be entered
//! with the privileges that it has.

use super::{EnforceMode, Enforcement, Subject};
use crate::config::{Process, Resources};
use crate::error::Result;
use crate::policy::{Change, Posture};

impl Enforcement {
    /// Judges a process that is to join a container, from the container's own posture.
    pub fn judge_process(&self, of: Subject<'_>, own: &Posture, new: &Process) -> Result<Vec<Change>> {
        let mut after = own.with_process(new);
        if let (Ok(has), Ok(asks)) = (&own.capabilities, &after.capabilities)
            && [
                (asks.bounding, has.bounding),
                (asks.effective, has.effective),
                (asks.permitted, has.permitted),
                (asks.inheritable, has.inheritable),
                (asks.ambient, has.ambient),
            ]
            .iter()
            .all(|(asks, has)| asks.0 & !has.0 == 0)
        {
            // Fewer are no other finding.
            after.capabilities = Ok(*has);
        }
        self.judge_change(of, "exec", (own, &after))
    }

    /// Judges the limits of a container that are to replace others.
    pub fn judge_limits(
        &self,
        of: Subject<'_>,
        own: &Posture,
        (old, new): (&Resources, &Resources),
    ) -> Result<Vec<Change>> {
        self.judge_change(of, "update", (&own.with_resources(old), &own.with_resources(new)))
    }

    fn judge_change(
        &self,
        of: Subject<'_>,
        what: &str,
        (before, after): (&Posture, &Posture),
    ) -> Result<Vec<Change>> {
        let had = self.broken(of, before);
        let mut broken = self.broken(of, after);
        broken.retain(|(rule, found)| {
            !had.iter().any(|(other, evidence)| other.id == rule.id && evidence.text == found.text)
        });
        self.verdict(of, what, broken)
    }

    /// `harden`: a process that joins a container gets no more than the container's own, as hardened. Engines repeat
    /// the process of the config that they wrote. Returns what was changed.
    pub fn clamp(&self, own: &Process, new: &mut Process) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.mode != EnforceMode::Harden {
            return changes;
        }
        let mut note =
            |text: String| changes.push(Change::new("policy", format!("policy hardens exec: {text}")));
        let (has, asks) = (own.capabilities, &mut new.capabilities);
        let before = *asks;
        for (set, most) in [
            (&mut asks.bounding, has.bounding),
            (&mut asks.effective, has.effective),
            (&mut asks.permitted, has.permitted),
            (&mut asks.inheritable, has.inheritable),
            (&mut asks.ambient, has.ambient),
        ] {
            set.0 &= most.0;
        }
        if before != *asks {
            note(format!("capabilities beyond the container's are dropped: {has}", has = has.effective));
        }
        if own.no_new_privileges && !new.no_new_privileges {
            new.no_new_privileges = true;
            note("no_new_privs, as the container has it".into());
        }
        if new.user.uid == 0 && own.user.uid != 0 {
            new.user = own.user.clone();
            note(format!("user {} instead of root", own.user.uid));
        }
        changes
    }
}
