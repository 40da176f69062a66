//! Names: `linux.cgroupsPath` as systemd's users write it, and the directories that units get.

use std::path::{Path, PathBuf};

use crate::config::ConfigError;

const POINTER: &str = "/linux/cgroupsPath";

/// `slice:prefix:name` of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The slice that the scope lies in.
    pub slice: String,
    /// `PREFIX-NAME.scope`.
    pub name: String,
}

impl Unit {
    /// The unit that `path` names; without one, `safebox-ID.scope` in `default_slice`.
    pub fn of(path: Option<&str>, id: &str, default_slice: &str) -> Result<Self, ConfigError> {
        let Some(path) = path.filter(|p| !p.is_empty()) else {
            return Ok(Unit { slice: default_slice.into(), name: format!("safebox-{}.scope", escape(id)) })
                .and_then(valid);
        };
        let parts: Vec<_> = path.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else {
            return Err(ConfigError::new(
                POINTER,
                format!(
                    "with systemd it is \"slice:prefix:name\", e.g. \"system.slice:box:{id}\", not {path:?}"
                ),
            ));
        };
        if name.ends_with(".slice") {
            return Err(ConfigError::new(
                POINTER,
                format!(
                    "{name:?} is a slice, which holds units and no processes: leave .slice out for a scope"
                ),
            ));
        }
        let slice = if slice.is_empty() { default_slice } else { slice };
        valid(Unit { slice: slice.into(), name: format!("{prefix}-{name}.scope") })
    }

    /// Where it lies below the manager's own cgroup, without a slash in front.
    pub fn path(&self) -> Result<PathBuf, ConfigError> {
        Ok(expand(&self.slice)?.join(&self.name))
    }
}

/// The directory of a slice: `a-b.slice` is a part of `a.slice` (systemd.slice(5)).
fn expand(slice: &str) -> Result<PathBuf, ConfigError> {
    let bad = || {
        ConfigError::new(POINTER, format!("invalid slice name {slice:?}: write e.g. a.slice or a-b.slice"))
    };
    let name = slice.strip_suffix(".slice").filter(|_| is_unit_name(slice)).ok_or_else(bad)?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(bad());
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

fn valid(unit: Unit) -> Result<Unit, ConfigError> {
    expand(&unit.slice)?;
    if is_unit_name(&unit.name) {
        return Ok(unit);
    }
    let why = "unit names have at most 255 letters, digits and : _ . \\ @ -";
    Err(ConfigError::new(POINTER, format!("{:?} is not a unit name: {why}", unit.name)))
}

/// systemd's `unit_name_is_valid`, as far as it is about letters.
fn is_unit_name(name: &str) -> bool {
    name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.\\@-".contains(&b))
}

/// An id as a part of a unit's name: `+` is the one letter of ids that units do not have (systemd-escape(1)).
fn escape(id: &str) -> String {
    id.replace('+', "\\x2b")
}

/// `path` below the mount of a tree.
pub fn below(mount: &Path, manager: &str, unit: &Path) -> PathBuf {
    super::super::below(mount, manager).join(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Result<(String, String), String> {
        let unit = Unit::of(Some(path), "c1", "system.slice").map_err(|e| e.to_string())?;
        let dir = unit.path().map_err(|e| e.to_string())?.display().to_string();
        Ok((unit.name, dir))
    }

    #[test]
    fn scopes_lie_in_their_slices() {
        for (from, name, dir) in [
            ("", "safebox-c1.scope", "system.slice/safebox-c1.scope"),
            ("machine.slice:libpod:abc", "libpod-abc.scope", "machine.slice/libpod-abc.scope"),
            ("a-b-c.slice:p:n", "p-n.scope", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            ("-.slice:p:n", "p-n.scope", "p-n.scope"),
            (":p:n", "p-n.scope", "system.slice/p-n.scope"),
            ("a.slice::n", "-n.scope", "a.slice/-n.scope"),
        ] {
            assert_eq!(unit(from), Ok((name.into(), dir.into())), "{from}");
        }
    }

    #[test]
    fn bad_shapes_are_errors_with_a_pointer() {
        for bad in [
            "/a/b",
            "a.slice",
            "a.slice:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            ".slice:p:n",
            "a/b.slice:p:n",
            "a.slice:p:n/m",
            "a.slice:p:x.slice",
            "a.slice:p:a b",
        ] {
            let text = unit(bad).expect_err(bad);
            assert!(text.starts_with("config.json: /linux/cgroupsPath: "), "{text}");
        }
        assert!(Unit::of(None, &"x".repeat(300), "system.slice").is_err());
        assert_eq!(Unit::of(None, "a+b", "system.slice").unwrap().name, "safebox-a\\x2bb.scope");
    }
}
