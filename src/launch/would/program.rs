//! Whether a root file system has the program at all, looked up before anything is made in its directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::View;
use super::place::File;
use crate::config::Config;
use crate::error::{Error, ExecError, Result};
use crate::plan::recipe::candidates;

/// Refuses a program that the root file system and the mounts certainly do not have: the launch would make mount points
/// in the directory of `--rootfs`, which may be the wrong one, before it failed for that.
pub fn check_program(config: &Config, rootfs: &Path) -> Result<()> {
    let Some(process) = &config.process else { return Ok(()) };
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let view = View { config, rootfs };
    let is_absent = |path: &Path| {
        let place = view.resolve(&process.cwd.join(path));
        place.is_some_and(|place| matches!(place.file, File::Absent))
    };
    let places = candidates(process)?;
    // Without a directory to search, the row that looks for the program says so.
    if name.is_empty() || places.is_empty() {
        return Ok(());
    }
    if places.iter().all(|place| is_absent(Path::new(OsStr::from_bytes(place.to_bytes())))) {
        let mut error = ExecError::not_found(name);
        error.message.push_str(&format!(" (of --rootfs {})", rootfs.display()));
        return Err(Error::Exec(error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn a_program_that_is_nowhere_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("bin")).expect("a directory");
        std::fs::write(dir.path().join("bin/tool"), "").expect("a file");
        let refused = |program: &str| {
            let json = serde_json::json!({
                "ociVersion": "1.3.0", "root": { "path": "rootfs" },
                "process": { "args": [program], "cwd": "/", "user": { "uid": 0, "gid": 0 },
                             "env": ["PATH=/sbin:/bin"] },
                "mounts": [{ "destination": "/run", "type": "tmpfs", "source": "tmpfs" }],
                "linux": { "namespaces": [{ "type": "mount" }] },
            });
            let config = parse::from_slice(json.to_string().as_bytes()).expect("a config");
            check_program(&config, dir.path()).err().map(|e| (e.run_code(), e.to_string()))
        };
        for (program, says) in [
            ("none", "exec: \"none\": executable file not found in $PATH (of --rootfs "),
            ("/bin/none", "exec: \"/bin/none\": stat /bin/none: no such file or directory (of --rootfs "),
            ("./none", "stat ./none: no such file"),
        ] {
            let (code, text) = refused(program).expect(program);
            assert!(code == 127 && text.contains(says), "{program}: {code} {text}");
        }
        // What is on a tmpfs only the running container knows; a file that is no program is another error.
        for known in ["tool", "/bin/tool", "bin/tool", "/run/tool", ""] {
            assert_eq!(refused(known), None, "{known}");
        }
    }
}
