//! `safebox install`: the few lines of configuration with which containerd, Podman, Docker and CRI-O find safebox.
//!
//! Each caller has one file. Podman and CRI-O read drop-ins, which are safebox's alone; Docker's daemon.json
//! gets one key; containerd's config.toml gets a block between two marks. What is there already is kept, in
//! the file and beside it as a backup, and doing it twice changes nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use crate::cli::Install;
use crate::commands::common::Outcome;
use crate::sys::replace::{Kind, replace_path};

/// A caller of OCI runtimes.
struct Caller {
    /// Its option.
    name: &'static str,
    /// Its file, below /etc.
    file: &'static str,
    /// The file's new text, from the old one and the path of the runtime; `None` takes safebox out.
    edit: fn(Option<&str>, Option<&str>) -> anyhow::Result<Option<String>>,
    /// What makes it read the file again.
    reload: &'static str,
    /// How a container gets this runtime.
    usage: &'static str,
}

const CALLERS: &[Caller] = &[
    Caller {
        name: "containerd",
        file: "containerd/config.toml",
        edit: containerd,
        reload: "systemctl restart containerd",
        usage: "a RuntimeClass with `handler: safebox`, or `ctr run --runc-binary`",
    },
    Caller {
        name: "podman",
        file: "containers/containers.conf.d/50-safebox.conf",
        edit: podman,
        reload: "nothing: Podman reads it at each call",
        usage: "podman --runtime safebox run ...",
    },
    Caller {
        name: "docker",
        file: "docker/daemon.json",
        edit: docker,
        reload: "systemctl reload docker",
        usage: "docker run --runtime safebox ...",
    },
    Caller {
        name: "crio",
        file: "crio/crio.conf.d/50-safebox.conf",
        edit: crio,
        reload: "systemctl restart crio",
        usage: "a RuntimeClass with `handler: safebox`",
    },
];

/// Writes, prints or takes out the lines of the callers that were named.
pub fn install(args: &Install) -> Outcome {
    let asked = |c: &&Caller| match c.name {
        "containerd" => args.containerd,
        "podman" => args.podman,
        "docker" => args.docker,
        _ => args.crio,
    };
    let callers: Vec<&Caller> = CALLERS.iter().filter(asked).collect();
    if callers.is_empty() {
        bail!("install: say for whom: --containerd, --podman, --docker or --crio");
    }
    let program = program(args)?;
    // All are worked out before the first is written: one that cannot be edited stops them all.
    let mut edits = Vec::new();
    for caller in callers {
        let path = args.etc.join(caller.file);
        let old = read(&path)?;
        let new = (caller.edit)(old.as_deref(), (!args.undo).then_some(program.as_str()))
            .with_context(|| path.display().to_string())?;
        edits.push((caller, path, old, new));
    }
    let etc = match args.etc.to_str() {
        Some("/etc") => String::new(),
        _ => format!(" --etc '{}'", args.etc.display().to_string().replace('\'', "'\\''")),
    };
    let mut out = std::io::stdout().lock();
    for (caller, path, old, new) in edits {
        if args.print {
            write!(out, "# {}\n{}", path.display(), new.unwrap_or_default())?;
            continue;
        }
        let done =
            apply(&path, old.as_deref(), new.as_deref()).with_context(|| path.display().to_string())?;
        writeln!(out, "{}: {}: {done}", caller.name, path.display())?;
        if !args.undo {
            writeln!(out, "  then: {}\n  use:  {}", caller.reload, caller.usage)?;
            writeln!(out, "  undo: safebox install --undo --{}{etc}", caller.name)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The path that goes into the files. Callers pick behaviour by its last component, so that is a rule too.
fn program(args: &Install) -> anyhow::Result<String> {
    let path = match &args.program {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("this program's path")?,
    };
    let text = path.to_str().filter(|t| t.chars().all(|c| !c.is_control() && c != '"' && c != '\\'));
    let text = text.ok_or_else(|| anyhow!("--program: {path:?} cannot be written into configuration"))?;
    if !path.is_absolute() {
        bail!("--program: {text:?} is not an absolute path");
    }
    Ok(text.to_string())
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Writes whole or not at all, after a backup of what somebody else wrote. Says what was done.
fn apply(path: &Path, old: Option<&str>, new: Option<&str>) -> anyhow::Result<String> {
    if old == new {
        return Ok("nothing to do".into());
    }
    let Some(new) = new else {
        std::fs::remove_file(path)?;
        return Ok("removed".into());
    };
    let Some(old) = old else {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        replace(path, new, 0o644)?;
        return Ok("written".into());
    };
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    let mut done = "changed".to_string();
    let backup = suffixed(path, ".before-safebox");
    // The first backup is the one without safebox: it stays.
    if !backup.exists() {
        replace(&backup, old, mode)?;
        write!(done, "; as it was: {}", backup.display())?;
    }
    // A link, as configuration management makes them, stays one.
    replace(&std::fs::canonicalize(path)?, new, mode)?;
    Ok(done)
}

fn replace(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let temp = suffixed(path, ".safebox-new");
    replace_path(&temp, path, text.as_bytes(), Kind { mode, sync: true })?;
    Ok(())
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A drop-in of Podman. The lists replace the built-in ones, whose names are repeated (containers.conf(5));
/// `runtime_supports_nocgroup` is the key that is read, whatever the manual calls it.
fn podman(_: Option<&str>, program: Option<&str>) -> anyhow::Result<Option<String>> {
    Ok(program.map(|program| {
        format!(
            "# Written by `safebox install --podman`.\n\
             [engine]\n\
             runtime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"youki\", \"krun\", \"ocijail\", \"safebox\"]\n\
             runtime_supports_nocgroup = [\"crun\", \"krun\", \"safebox\"]\n\
             [engine.runtimes]\n\
             safebox = [\"{program}\"]\n"
        )
    }))
}

/// A drop-in of CRI-O (crio.conf(5), crio.runtime.runtimes).
fn crio(_: Option<&str>, program: Option<&str>) -> anyhow::Result<Option<String>> {
    Ok(program.map(|program| {
        format!(
            "# Written by `safebox install --crio`.\n\
             [crio.runtime.runtimes.safebox]\n\
             runtime_path = \"{program}\"\n\
             runtime_type = \"oci\"\n\
             runtime_root = \"/run/safebox\"\n"
        )
    }))
}

/// The key `runtimes.safebox` of daemon.json (dockerd(8)).
fn docker(old: Option<&str>, program: Option<&str>) -> anyhow::Result<Option<String>> {
    let text = old.filter(|t| !t.trim().is_empty());
    let mut config: Value = match text {
        Some(text) => serde_json::from_str(text).context("not JSON, so it is left alone")?,
        None if program.is_none() => return Ok(old.map(str::to_string)),
        None => json!({}),
    };
    let unchanged = config.clone();
    let object = config.as_object_mut().ok_or_else(|| anyhow!("not a JSON object, so it is left alone"))?;
    let runtimes = object.entry("runtimes").or_insert(json!({}));
    let runtimes = runtimes.as_object_mut().ok_or_else(|| anyhow!("/runtimes: not an object"))?;
    match program {
        Some(program) => drop(runtimes.insert("safebox".into(), json!({ "path": program }))),
        None => drop(runtimes.remove("safebox")),
    }
    if runtimes.is_empty() {
        object.remove("runtimes");
    }
    // What says the same already keeps its look, and what is empty without safebox was made for it.
    if config == unchanged {
        return Ok(old.map(str::to_string));
    }
    if config == json!({}) {
        return Ok(None);
    }
    Ok(Some(format!("{}\n", serde_json::to_string_pretty(&config)?)))
}

const BEGIN: &str = "# safebox: begin (written by `safebox install --containerd`)\n";
const END: &str = "# safebox: end\n";

/// A runtime handler of containerd's CRI plugin: the stock shim, with safebox as its program.
fn containerd(old: Option<&str>, program: Option<&str>) -> anyhow::Result<Option<String>> {
    let others = without_block(old.unwrap_or_default())?;
    let Some(program) = program else {
        // A file with nothing but the version line was made for safebox.
        let made = others.trim().is_empty() || others.trim() == "version = 2";
        return Ok(if made && old.is_some_and(|o| o.contains(BEGIN)) { None } else { old.map(|_| others) });
    };
    if others.lines().any(|l| l.trim_start().starts_with('[') && l.contains(".runtimes.safebox")) {
        bail!("it has a runtime `safebox` that this program did not write, so it is left alone");
    }
    let version = top_level(&others, "version");
    let (others, plugin) = match version.as_deref() {
        None if others.trim().is_empty() => {
            ("version = 2\n".into(), "plugins.\"io.containerd.grpc.v1.cri\".containerd")
        }
        None | Some("1") => (others, "plugins.cri.containerd"),
        Some("2") => (others, "plugins.\"io.containerd.grpc.v1.cri\".containerd"),
        Some("3") => (others, "plugins.\"io.containerd.cri.v1.runtime\".containerd"),
        Some(other) => bail!("version = {other}: not a version that is known here"),
    };
    // Whoever lets systemd make the cgroups of runc's containers wants it for these as well.
    let systemd = others
        .lines()
        .any(|l| l.split('#').next().unwrap_or("").replace(' ', "").contains("SystemdCgroup=true"));
    // The built-in table of runtimes, which holds the default `runc`, is gone as soon as a file has one.
    let alone = !others.lines().any(|l| l.trim_start().starts_with('[') && l.contains(".runtimes."));
    let mut text = others;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(BEGIN);
    if alone {
        write!(text, "[{plugin}.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n")?;
    }
    write!(
        text,
        "[{plugin}.runtimes.safebox]\n  runtime_type = \"io.containerd.runc.v2\"\n  \
         [{plugin}.runtimes.safebox.options]\n    BinaryName = \"{program}\"\n    SystemdCgroup = {systemd}\n{END}"
    )?;
    Ok(Some(text))
}

/// The text without safebox's block.
fn without_block(text: &str) -> anyhow::Result<String> {
    let Some((before, rest)) = text.split_once(BEGIN) else { return Ok(text.to_string()) };
    let (_, after) = rest.split_once(END).ok_or_else(|| anyhow!("the block of safebox has no end mark"))?;
    Ok(format!("{before}{after}"))
}

/// The value of a key before the first table.
fn top_level(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).take_while(|l| !l.starts_with('['));
    let mut values = lines.filter_map(|l| l.split('#').next()?.split_once('='));
    values.find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Option<&str> = Some("/usr/local/bin/safebox");

    /// Twice is once, and taking it out gives back what was there.
    fn round_trip(
        edit: fn(Option<&str>, Option<&str>) -> anyhow::Result<Option<String>>,
        old: Option<&str>,
    ) -> String {
        let new = edit(old, PROGRAM).unwrap().unwrap();
        assert_eq!(edit(Some(&new), PROGRAM).unwrap().unwrap(), new, "twice is once");
        assert_eq!(edit(Some(&new), None).unwrap().as_deref(), old, "undone");
        new
    }

    #[test]
    fn containerd_gets_a_block_in_the_table_of_its_version() {
        let new = round_trip(containerd, None);
        assert!(new.starts_with("version = 2\n"));
        let v2 = "version = 2\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    x = 1\n";
        let new = round_trip(containerd, Some(v2));
        assert!(new.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.safebox.options]"));
        assert!(new.contains("SystemdCgroup = false"));
        assert!(new.contains(".runtimes.runc]"), "the default runtime, which containerd would miss");
        let own = "version = 2\n[plugins.x.containerd.runtimes.runc]\n";
        assert_eq!(round_trip(containerd, Some(own)).matches(".runtimes.runc]").count(), 1);
        let v3 = "version = 3\n[a]\n  SystemdCgroup = true\n";
        let new = round_trip(containerd, Some(v3));
        assert!(new.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.safebox]"));
        assert!(new.ends_with("SystemdCgroup = true\n# safebox: end\n"));
        assert!(round_trip(containerd, Some("disabled_plugins = []\n")).contains("[plugins.cri.containerd"));
        assert!(containerd(Some("version = 2\n[x.runtimes.safebox]\n"), PROGRAM).is_err());
        assert!(containerd(Some("version = 9\n"), PROGRAM).is_err());
    }

    #[test]
    fn docker_gets_one_key_and_keeps_the_others() {
        assert_eq!(
            serde_json::from_str::<Value>(&round_trip(docker, None)).unwrap(),
            json!({ "runtimes": { "safebox": { "path": "/usr/local/bin/safebox" } } })
        );
        let old = "{\n  \"runtimes\": {\n    \"other\": {\n      \"path\": \"/o\"\n    }\n  }\n}\n";
        let new: Value = serde_json::from_str(&round_trip(docker, Some(old))).unwrap();
        assert_eq!(new.pointer("/runtimes/other/path"), Some(&json!("/o")));
        assert!(docker(Some("{ not json"), PROGRAM).is_err());
        assert!(docker(Some("[]"), PROGRAM).is_err());
        assert_eq!(docker(None, None).unwrap(), None);
    }

    #[test]
    fn drop_ins_are_safeboxs_alone() {
        assert!(round_trip(podman, None).contains("safebox = [\"/usr/local/bin/safebox\"]"));
        assert!(round_trip(crio, None).contains("runtime_path = \"/usr/local/bin/safebox\""));
    }
}
