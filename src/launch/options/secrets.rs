//! `--secret`: a file that the program can read, and that is nowhere else.

use std::path::{Component, Path, PathBuf};

use super::super::secrets;
use super::heading::SECRETS;
use super::verbs::CONFIG;
use super::{OptionRow, Says};
use crate::config::secrets::{DIRECTORY, MOST, Secret, SecretSource};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[OptionRow::new(
    "secret",
    SECRETS,
    CONFIG,
    Says::Each("id=NAME,...", |l, v| {
        let secret = secret(v)?;
        if l.secrets.iter().any(|s| s.name == secret.name || s.place() == secret.place()) {
            return Err("another --secret has this name or this place".into());
        }
        if l.secrets.len() == MOST {
            return Err(format!("there are {MOST} already, and no more are possible"));
        }
        l.secrets.push(secret);
        Ok(())
    }),
    "id=NAME[,src=FILE|env=VAR][,target=PATH][,mode=0400][,uid=UID][,gid=GID]: a file in /run/secrets for the program's user alone",
)
.more(
    "The file is /run/secrets/NAME, on a file system in memory of its own, mode 0400, and belongs to the program's user; \
     what it holds is in no argument, variable, state or log. It comes from FILE, which may be a pipe, or from the \
     caller's variable VAR, or NAME where neither is given; 1 MiB at most. A relative PATH is below /run/secrets, an \
     absolute one is a second place",
)
.effect(secrets::apply)
.values(
    &["id=token", "id=token,src=/root/token", "id=t,env=TOKEN,target=/etc/t,mode=0440,uid=1000,gid=1000", "id=a,target=b/c"],
    &[
        "",
        "token",
        "id=",
        "id=../x",
        "id=.x",
        "id=a,src=x,env=Y",
        "id=a,src=",
        "id=a,env=A=B",
        "id=a,mode=8",
        "id=a,mode=1000",
        "id=a,uid=root",
        "id=a,target=../x",
        "id=a,target=/",
        "id=a,target=/run/secrets",
        "id=a,what=1",
        "id=a,id=b",
    ],
)];

/// `id=NAME,...`.
fn secret(value: &str) -> Result<Secret, String> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for field in value.split(',') {
        let (key, value) = field.split_once('=').ok_or("id=NAME[,src=FILE|env=VAR] is needed")?;
        let key = match key {
            "source" => "src",
            "dst" | "destination" => "target",
            key => key,
        };
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(format!("{key}= is there twice"));
        }
        if value.is_empty() || value.contains('\0') {
            return Err(format!("{key}= needs a value"));
        }
        pairs.push((key, value));
    }
    if let Some((key, _)) =
        pairs.iter().find(|(key, _)| !["id", "src", "env", "target", "mode", "uid", "gid"].contains(key))
    {
        return Err(format!("{key}=: one of id, src, env, target, mode, uid and gid is needed"));
    }
    let get = |key: &str| pairs.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
    let name = get("id").ok_or("id=NAME is needed")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() > 128 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "id={name}: letters, digits and _ . - are possible, and no dot at the beginning"
        ));
    }
    let source = match (get("src"), get("env")) {
        (Some(_), Some(_)) => return Err("src= and env= say the same thing: give one of them".into()),
        (Some(path), None) => SecretSource::File(path.into()),
        (None, variable) => {
            let variable = variable.unwrap_or(name);
            if variable.contains('=') {
                return Err(format!("env={variable}: the name of a variable is needed"));
            }
            SecretSource::Variable(variable.into())
        }
    };
    let (file, also) = target(name, get("target"))?;
    let id = |key| get(key).map(|text| super::words::whole(text, 0..=u32::MAX - 1)).transpose();
    let mode = get("mode").unwrap_or("0400");
    let octal = mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = octal.then(|| u32::from_str_radix(mode, 8).ok()).flatten().filter(|m| *m <= 0o777);
    let mode = mode.ok_or("mode=: an octal number from 0 to 777 is needed")?;
    Ok(Secret { name: name.into(), source, file, also, mode, uid: id("uid")?, gid: id("gid")?, size: None })
}

/// The file below [`DIRECTORY`], and a second place.
fn target(name: &str, target: Option<&str>) -> Result<(PathBuf, Option<PathBuf>), String> {
    let Some(text) = target else { return Ok((name.into(), None)) };
    let path = Path::new(text);
    let relative = path.strip_prefix(DIRECTORY).unwrap_or(path);
    let plain = relative.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !plain || relative.file_name().is_none() {
        return Err(format!("target={text}: the path of a file, without .., is needed"));
    }
    match relative.is_absolute() {
        true => Ok((name.into(), Some(relative.to_path_buf()))),
        false => Ok((relative.to_path_buf(), None)),
    }
}
