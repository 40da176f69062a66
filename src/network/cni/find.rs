//! The files of a network: its configuration by name, and the programs of its plugins. Both decide what runs as root, so
//! files that others can write are refused.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::cni::{NetworkConfigList, kind};

/// A file with more than this is no configuration.
const MOST: u64 = 1 << 20;

/// The configuration with this name: of several files the first in the order of their names, as libcni has it.
pub fn find(dir: &Path, name: &str) -> Result<NetworkConfigList, String> {
    let shown = dir.display();
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{shown}: {e}"))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| is_list(file).is_some());
    files.sort();
    let (mut names, mut broken) = (Vec::new(), None);
    for file in files {
        let single = is_list(&file) == Some(false);
        // A file of another network must not keep this one from working.
        match read(&file).and_then(|text| NetworkConfigList::parse(&text, single)) {
            Ok(list) if list.name == name => return Ok(list),
            Ok(list) => names.push(list.name),
            Err(e) => broken = broken.or(Some(format!("{}: {e}", file.display()))),
        }
    }
    let known =
        if names.is_empty() { "there is none".into() } else { format!("there are {}", names.join(", ")) };
    let broken = broken.map(|e| format!("; {e}")).unwrap_or_default();
    Err(format!("{shown} has no network of this name ({known}){broken}"))
}

/// Whether a file is a list, or one plugin; `None`: neither.
fn is_list(file: &Path) -> Option<bool> {
    match file.extension()?.to_str()? {
        "conflist" => Some(true),
        "conf" | "json" => Some(false),
        _ => None,
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let open = std::fs::File::open(file).map_err(|e| e.to_string())?;
    let meta = open.metadata().map_err(|e| e.to_string())?;
    trusted(&meta)?;
    let mut text = Vec::new();
    open.take(MOST + 1).read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MOST {
        return Err("larger than 1 MiB".into());
    }
    Ok(text)
}

/// A regular file of root's, or of the caller's, that others cannot write.
fn trusted(meta: &std::fs::Metadata) -> Result<(), String> {
    if !meta.is_file() {
        return Err("not a regular file".into());
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("its owner is {}, not root", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err("users other than its owner can write it: chmod go-w".into());
    }
    Ok(())
}

/// The program of a plugin.
pub(super) fn program(name: &str, path: &[PathBuf]) -> Result<PathBuf, String> {
    let found = path.iter().map(|dir| dir.join(name)).find_map(|p| Some((p.metadata().ok()?, p)));
    let Some((meta, program)) = found else {
        let dirs: Vec<_> = path.iter().map(|dir| dir.display().to_string()).collect();
        return Err(format!(
            "no plugin {name} in {} (Debian and Fedora: the package containernetworking-plugins; --cni-path DIR)",
            dirs.join(", ")
        ));
    };
    trusted(&meta).map_err(|e| format!("plugin {}: {e}", program.display()))?;
    if meta.mode() & 0o111 == 0 {
        return Err(format!("plugin {}: it is not executable", program.display()));
    }
    Ok(program)
}

/// That each plugin of the list has a program: a missing one is an error before anything is made.
pub fn programs(list: &NetworkConfigList, path: &[PathBuf]) -> Result<(), String> {
    list.plugins.iter().try_for_each(|plugin| program(kind(plugin), path).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_with_the_name_counts() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            path
        };
        assert!(find(dir.path(), "n").unwrap_err().contains("there is none"));
        file("10-x.conflist", r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"a"}]}"#);
        file("20-n.conf", r#"{"cniVersion":"1.0.0","name":"n","type":"ptp"}"#);
        file("30-n.conflist", r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"b"}]}"#);
        file("40-n.txt", "x");
        assert_eq!(find(dir.path(), "n").unwrap().types(), ["ptp"]);
        let broken = file("05-broken.conflist", "{");
        assert_eq!(find(dir.path(), "n").unwrap().types(), ["ptp"], "another network's file is left alone");
        let error = find(dir.path(), "m").unwrap_err();
        assert!(error.contains("there are x, n, n") && error.contains("05-broken.conflist: EOF"), "{error}");
        std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(find(dir.path(), "m").unwrap_err().contains("chmod go-w"));
        assert!(find(&dir.path().join("none"), "n").is_err());
    }

    #[test]
    fn a_program_that_others_can_write_is_not_run() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = [PathBuf::from("/nonexistent"), dir.path().to_path_buf()];
        assert!(program("p", &path).unwrap_err().contains("no plugin p in /nonexistent, "));
        std::fs::write(dir.path().join("p"), "").unwrap();
        let mode = |mode| {
            let set = std::fs::set_permissions(dir.path().join("p"), std::fs::Permissions::from_mode(mode));
            set.unwrap();
            program("p", &path)
        };
        assert!(mode(0o777).unwrap_err().contains("chmod go-w"));
        assert!(mode(0o644).unwrap_err().contains("not executable"));
        assert!(mode(0o755).is_ok());
    }
}
