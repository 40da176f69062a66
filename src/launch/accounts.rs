//! `--user` and `--group-add`: names are looked up in the container's /etc/passwd and /etc/group, numbers are
//! not.

use super::value::{IdOrName, Launch};
use crate::bundle::Bundle;
use crate::config::{Config, ConfigError};
use crate::error::{Error, Result};
use crate::policy::{Change, Facts};

/// Maximum number of supplementary groups that a name gets from /etc/group.
const MOST_GROUPS: usize = 64;

/// `--user`.
pub(super) fn user(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let Some((user, group)) = &launch.process.user else { return Ok(()) };
    let (uid, gid, groups) = match user {
        IdOrName::Id(uid) => (*uid, *uid, Vec::new()),
        IdOrName::Name(name) => {
            let (uid, gid) = by_name(facts.bundle, "etc/passwd", name)
                .and_then(|fields| Some((fields.first()?.parse().ok()?, fields.get(1)?.parse().ok()?)))
                .filter(|(uid, gid)| *uid != u32::MAX && *gid != u32::MAX)
                .ok_or_else(|| unknown("--user", name, "/etc/passwd"))?;
            // The image controls the file, so only the well-known name root may map to uid 0.
            if uid == 0 && name != "root" {
                return Err(Error::msg(format!(
                    "--user {name}: the container's /etc/passwd maps this name to uid 0: use --user 0 to run as root"
                )));
            }
            (uid, gid, of_member(facts.bundle, name))
        }
    };
    let gid = match group {
        Some(group) => id_of_group(facts.bundle, "--user", group)?,
        None => gid,
    };
    let process = config
        .process
        .as_mut()
        .ok_or_else(|| ConfigError::new("/process", "required to start a container"))?;
    (process.user.uid, process.user.gid) = (uid, gid);
    process.user.additional_gids = groups.into_iter().filter(|g| *g != gid).collect();
    if uid == 0 {
        changes.push(Change::weaker("process", "runs as root of the container (--user)"));
    }
    Ok(())
}

/// `--group-add`.
pub(super) fn groups(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    _: &mut Vec<Change>,
) -> Result<()> {
    for group in &launch.process.groups {
        let gid = id_of_group(facts.bundle, "--group-add", group)?;
        if let Some(process) = config.process.as_mut()
            && !process.user.additional_gids.contains(&gid)
        {
            process.user.additional_gids.push(gid);
        }
    }
    Ok(())
}

fn unknown(flag: &str, name: &str, file: &str) -> Error {
    Error::msg(format!("{flag} {name}: the container's {file} has no such name: use a number"))
}

fn id_of_group(bundle: &Bundle, flag: &str, group: &IdOrName) -> Result<u32> {
    match group {
        IdOrName::Id(gid) => Ok(*gid),
        IdOrName::Name(name) => by_name(bundle, "etc/group", name)
            .and_then(|fields| fields.first()?.parse().ok())
            .filter(|gid| *gid != u32::MAX)
            .ok_or_else(|| unknown(flag, name, "/etc/group")),
    }
}

/// The fields after the password of the first line with this name.
fn by_name(bundle: &Bundle, file: &str, name: &str) -> Option<Vec<String>> {
    let text = bundle.account_file(file)?;
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.skip(1).map(str::to_string).collect())
    })
}

/// The groups that list this user as a member.
fn of_member(bundle: &Bundle, name: &str) -> Vec<u32> {
    let text = bundle.account_file("etc/group").unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lists = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let member = fields.get(3)?.split(',').any(|m| m.trim() == name);
        fields.get(2)?.parse::<u32>().ok().filter(|gid| member && *gid != u32::MAX)
    };
    text.lines().filter_map(lists).take(MOST_GROUPS).collect()
}
