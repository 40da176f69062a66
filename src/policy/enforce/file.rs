//! Reading the policy file: who can have written it, and what it says.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Enforcement, Exception, FILE, rule, way};
use crate::error::{Error, Result};

/// Bytes of the largest policy file.
const MOST: u64 = 1 << 20;

pub(super) fn read_default() -> Result<Option<(String, String)>> {
    read_at(Path::new(FILE))
}

/// A file that need not be there. A user who can write a directory on the way could remove it, and with it the policy.
fn read_at(path: &Path) -> Result<Option<(String, String)>> {
    let shown = path.display().to_string();
    if path.parent().is_some_and(|dir| dir.symlink_metadata().is_err_and(|e| is_absent(&e))) {
        return Ok(None);
    }
    let leads_nowhere = way::check(path, 0o022, is_safe_owner)?;
    match open(path) {
        Ok(file) => checked(&shown, file, is_safe_owner).map(Some),
        // A symlink is there: the policy that was meant is not.
        Err(e) if is_absent(&e) && !leads_nowhere => Ok(None),
        Err(e) => Err(Error::msg(format!("{shown}: {e}: no container starts without its policy"))),
    }
}

fn is_absent(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Root or the caller; in a user namespace the host's root has no id, and what is in /etc is the host's.
fn is_safe_owner(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw() || crate::state::trust::is_unmapped(uid)
}

/// A FIFO would wait for its writer.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

pub(super) fn read(path: &Path) -> Result<(String, String)> {
    let shown = path.display().to_string();
    let file = open(path).map_err(|e| Error::msg(format!("--policy-file {shown}: {e}")))?;
    // A directory may belong to a group of this user's own.
    way::check(path, 0o002, is_safe_owner)?;
    checked(&shown, file, |uid| uid == 0 || uid == nix::unistd::geteuid().as_raw())
}

/// Reads a file that only root, or the caller, can have written.
fn checked(shown: &str, file: std::fs::File, owner: fn(u32) -> bool) -> Result<(String, String)> {
    let failed = |what: &str| {
        Error::msg(format!("{shown}: {what}: no container starts with a policy that is not safe"))
    };
    let meta = file.metadata().map_err(|e| failed(&e.to_string()))?;
    if !meta.is_file() {
        return Err(failed("not a regular file"));
    }
    if !owner(meta.uid()) {
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
    if let Some((e, why)) = file.exceptions.iter().find_map(|e| Some((e, wrong(e)?))) {
        let line = text.lines().position(|l| l.contains("reason") && l.contains(&e.reason));
        let line = line.map_or_else(String::new, |n| format!(":{}", n + 1));
        return Err(Error::msg(format!("{shown}{line}: the exception {:?} {why}", e.reason)));
    }
    file.network.check(shown, text)?;
    file.network.file = shown.into();
    Ok(file)
}

/// Why an exception is none, or one for all.
fn wrong(e: &Exception) -> Option<String> {
    let conditions = e.annotations.values().chain(&e.cgroup).chain(&e.image);
    for condition in conditions.clone() {
        let stars = condition.matches('*').count();
        if condition.is_empty() || stars > 1 || stars == 1 && !condition.ends_with('*') {
            let text = "can never hold: a text is needed, and a * stands at its end alone";
            return Some(format!("has the condition {condition:?}, which {text}"));
        }
    }
    if e.annotations.is_empty() && conditions.clone().all(|condition| condition == "*") {
        return Some(
            "names neither annotations nor a cgroup nor an image: it would hold for every container".into(),
        );
    }
    if e.reason.trim().is_empty() {
        return Some("has no reason: it is logged with every use".into());
    }
    let none = e.rules.as_ref().is_some_and(Vec::is_empty);
    none.then(|| "excepts no rule: name one in rules, or leave rules out".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_can_write_stops_all() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("safebox");
        let file = dir.join("policy.toml");
        assert!(read_at(&file).unwrap().is_none());
        std::fs::create_dir(&dir).unwrap();
        let mode = |mode| std::fs::set_permissions(&dir, PermissionsExt::from_mode(mode)).unwrap();
        for (bits, safe) in [(0o755, true), (0o700, true), (0o775, false), (0o757, false), (0o1777, false)] {
            mode(bits);
            assert_eq!(read_at(&file).is_ok(), safe, "{bits:o}");
        }
        mode(0o755);
        std::fs::write(&file, "mode = \"off\"\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(read_at(&file).unwrap().is_some());
        mode(0o777);
        assert!(read_at(&file).unwrap_err().to_string().contains("chmod go-w"));
        // The symlink of a directory that others can write leads where they say.
        std::os::unix::fs::symlink(&dir, root.path().join("link")).unwrap();
        assert!(read_at(&root.path().join("link/policy.toml")).is_err());
        mode(0o755);
        assert!(read_at(&root.path().join("link/policy.toml")).unwrap().is_some());
        let open = root.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::os::unix::fs::symlink(&dir, open.join("safebox")).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink("open/safebox", root.path().join("through")).unwrap();
        let error = read_at(&root.path().join("through/policy.toml")).unwrap_err().to_string();
        assert!(error.contains("/open: "), "{error}");
    }

    #[test]
    fn a_symlink_to_nothing_is_no_absent_policy() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("policy.toml");
        std::os::unix::fs::symlink("nothing", &link).unwrap();
        assert!(read_at(&link).unwrap_err().to_string().contains("without its policy"));
        std::os::unix::fs::symlink("nothing", dir.path().join("safebox")).unwrap();
        assert!(read_at(&dir.path().join("safebox/policy.toml")).is_err());
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        assert!(read_at(&dir.path().join("loop/policy.toml")).is_err());
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("good")).unwrap();
        for none in ["none/policy.toml", "real/policy.toml", "good/policy.toml"] {
            assert!(read_at(&dir.path().join(none)).unwrap().is_none(), "{none}");
        }
    }
}
