//! Reading the policy file: who can have written it, and what it says.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Enforcement, FILE, rule};
use crate::error::{Error, Result};

/// Bytes of the largest policy file.
const MOST: u64 = 1 << 20;

pub(super) fn read_default() -> Result<Option<(String, String)>> {
    match std::fs::File::open(FILE) {
        Ok(file) => checked(FILE, file).map(Some),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(Error::msg(format!("{FILE}: {e}: no container starts without its policy"))),
    }
}

pub(super) fn read(path: &Path) -> Result<(String, String)> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| Error::msg(format!("--policy-file {shown}: {e}")))?;
    checked(&shown, file)
}

/// Reads a file that only root, or the caller, can have written.
fn checked(shown: &str, file: std::fs::File) -> Result<(String, String)> {
    let failed = |what: &str| {
        Error::msg(format!("{shown}: {what}: no container starts with a policy that is not safe"))
    };
    let meta = file.metadata().map_err(|e| failed(&e.to_string()))?;
    if !meta.is_file() {
        return Err(failed("not a regular file"));
    }
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != me {
        return Err(failed(&format!("its owner is {}, not root: chown root {shown}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(failed(&format!(
            "users other than its owner can write it (mode {:04o}): chmod go-w {shown}",
            meta.mode() & 0o7777
        )));
    }
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text).map_err(|e| failed(&e.to_string()))?;
    if text.len() as u64 > MOST {
        return Err(failed("larger than 1 MiB"));
    }
    Ok((shown.to_string(), text))
}

/// Reads the TOML; errors have a line and a column.
pub(super) fn parse(shown: &str, text: &str) -> Result<Enforcement> {
    let mut file: Enforcement = toml::from_str(text).map_err(|e| {
        let before = e.span().map(|span| &text[..span.start.min(text.len())]);
        let place = before.map_or_else(String::new, |before| {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
            format!(":{line}:{column}")
        });
        Error::msg(format!("{shown}{place}: {}", e.message().replace('\n', " ")))
    })?;
    let named = file.require.iter().chain(file.exceptions.iter().flat_map(|e| e.rules.iter().flatten()));
    for id in named {
        if rule(id).is_none() {
            let line = text.lines().position(|l| l.contains(&format!("\"{id}\""))).map_or(1, |n| n + 1);
            return Err(Error::msg(format!(
                "{shown}:{line}: no rule is called {id:?} (safebox audit --all lists them)"
            )));
        }
    }
    if let Some(e) =
        file.exceptions.iter().find(|e| e.annotations.is_empty() && e.cgroup.is_none() && e.image.is_none())
    {
        return Err(Error::msg(format!(
            "{shown}: the exception {:?} names neither annotations nor cgroup nor image: it would hold for every container",
            e.reason
        )));
    }
    file.network.check(shown, text)?;
    file.network.file = shown.into();
    Ok(file)
}
